"""fit, evaluate and predict: epochs over what a source gives, with callbacks and a progress line.

https://keras.io/api/models/model_training_apis/
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from numbers import Real
from typing import Any

import numpy as np

from graphc.callbacks import CallbackList, History, ProgbarLogger
from graphc.callbacks.backup import Fit, Start
from graphc.data import Batches, ready
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Graph
from graphc.layers.core import positive
from graphc.layers.layer import Layer
from graphc.names import refusing_unknown
from graphc.optimizers import Optimizer
from graphc.progress import Progress, verbosity
from graphc.runtime.interrupts import notice, noticed
from graphc.sources import Rows, Source, is_stream, open_source, unpack_batch
from graphc.steps import Averages, Step

__all__ = ["Epochs", "rows_of_batch", "scalar_or_list"]

_BEGINNING = Start(0)


class Epochs:
    """What runs the steps of a model; which steps, and what their data have to be, the model says."""

    name: str
    optimizer: Optimizer | None = None
    history: History | None = None
    stop_training = stop_evaluating = stop_predicting = False
    training_graph: Graph | None = None  # of the step that `fit` runs, while it does
    _fit: Fit | None = None  # while it runs

    @refusing_unknown
    def fit(self, x: Any = None, y: Any = None, batch_size: int | None = None, epochs: int = 1, verbose: Any = "auto",
            callbacks: Any = None, validation_split: float = 0.0, validation_data: Any = None, shuffle: Any = True,
            class_weight: Any = None, sample_weight: Any = None, initial_epoch: int = 0,
            steps_per_epoch: int | None = None, validation_steps: int | None = None,
            validation_batch_size: int | None = None, validation_freq: Any = 1) -> History:
        """Train on batches of 32 or `batch_size` rows, in a new random order each epoch; returns the History.

        `x` may also give batches (x, y) or (x, y, sample_weight): a generator or another iterable, a PyDataset, a
        loader of another framework. `steps_per_epoch` batches make an epoch; the next one goes on after them.
        `validation_split` keeps the last part of the rows, as they come, out of training; `validation_data`, whatever
        `x` may be or (x, y), is looked at after every `validation_freq` epochs, or after those of a list, counted from
        1. `sample_weight` has one number for each row, `class_weight` maps class numbers to weights, in training only;
        they multiply the losses, metrics leave them out. `shuffle='batch'` mixes the rows within each batch only. Wrong
        data raise ShapeError, DTypeError or ValueError before anything runs.
        """
        size, shown = rows_of_batch(batch_size), verbosity(verbose)
        _check_epochs(epochs, initial_epoch)
        steps = _steps("steps_per_epoch", steps_per_epoch)
        validation_steps = _steps("validation_steps", validation_steps)
        _validates(0, validation_freq)
        validation_size = size if validation_batch_size is None else rows_of_batch(
            validation_batch_size, "fit", "validation_batch_size")
        with noticed(), ExitStack() as held:
            source = self._source("fit", (x, y, sample_weight), size, shuffle, class_weight)
            held.callback(source.close)
            held_out: Source | None = None
            if validation_data is not None:
                who = "fit with validation_data"
                given = (validation_data, None, None) if is_stream(validation_data) else unpack_batch(
                    validation_data, f"{who} of {self.name!r} received")
                held_out = self._source(who, given, validation_size)
                held.callback(held_out.close)
            elif not isinstance(validation_split, Real | None):
                raise ValueError(f"fit(validation_split={validation_split!r}): expected a fraction between 0 and 1.")
            elif validation_split:
                if not isinstance(source, Rows):
                    raise ValueError(f"fit(validation_split={validation_split!r}): batches from {type(x).__name__} "
                                     "can't be split. Give validation_data.")
                at = _split_at(source.rows, validation_split)
                if class_weight is not None:  # which is for training only
                    held_out = self._source("fit", (x, y, sample_weight), size).split(at)[1]  # type: ignore[attr-defined]
                    source = source.split(at)[0]
                else:
                    source, held_out = source.split(at)
                held_out.batch_size = validation_size
            self.training_graph = self._prepare("train", source)[0].graph
            held.callback(setattr, self, "training_graph", None)
            number = steps or source.batches
            hooks = CallbackList(callbacks, add_history=True, model=self, verbose=verbose, epochs=epochs, steps=number)
            history = hooks.history
            assert history is not None
            self.stop_training, run = False, Fit(hooks, source, Start(initial_epoch))
            self._fit = run
            held.callback(setattr, self, "_fit", None)
            logs: dict[str, Any] = {}
            hooks("on_train_begin")
            for epoch in range(run.start.epoch, epochs):
                hooks("on_epoch_begin", epoch)
                in_the_middle = epoch == run.start.epoch and run.start.averages is not None
                begun = run.start if in_the_middle else Start(epoch)
                if begun.restore is not None:
                    begun.restore()
                line = Progress(_line(hooks, shown), number, f"Epoch {epoch + 1}/{epochs}")
                results = self._epoch("train", source, steps, hooks, line, begun, run)
                if results is None:
                    _ran_out(f"training ends before epoch {epoch + 1} of {epochs}")
                    break
                logs = results
                if not np.isfinite(logs.get("loss", 0)) and np.isfinite(history.history.get("loss", [0])[-1]):
                    warnings.warn(f"fit of {self.name!r}: the loss is {logs['loss']} in epoch {epoch + 1}. Look for "
                                  "NaN in the data, or lower the learning rate; graphc.config(check_numerics=True) "
                                  "finds where such a number comes up first.", stacklevel=3)
                if held_out is not None and not held_out.exhausted and _validates(epoch, validation_freq):
                    inner = self._test(held_out, validation_steps, hooks, 0) or {}
                    logs |= {f"val_{name}": value for name, value in inner.items()}
                if len(hooks.callbacks) > 1:  # they may print
                    line.clear()
                hooks("on_epoch_end", epoch, logs=logs)
                line.finish(logs)
                if self.stop_training:
                    break
                if source.exhausted and epoch + 1 < epochs:
                    _ran_out(f"training ends after epoch {epoch + 1} of {epochs}")
                    break
            if epochs and self.optimizer is not None:
                self.optimizer.finalize_variable_values(self.trainable_weights)  # type: ignore[attr-defined]
            hooks("on_train_end", logs=logs)
        return history

    def evaluate(self, x: Any = None, y: Any = None, batch_size: int | None = None, verbose: Any = "auto",
                 sample_weight: Any = None, steps: int | None = None, callbacks: Any = None,
                 return_dict: bool = False) -> Any:
        """The loss, or a list of the loss and the metrics, over all rows or `steps` batches; a dict with `return_dict`.

        `x` may also give batches, as in `fit`.
        """
        size, shown, steps = rows_of_batch(batch_size), verbosity(verbose), _steps("steps", steps)
        with noticed(), closing(self._source("evaluate", (x, y, sample_weight), size)) as source:
            hooks = CallbackList(callbacks, model=self, verbose=verbose, epochs=1, steps=steps or source.batches)
            results = self._test(source, steps, hooks, _line(hooks, shown)) or {}
        return results if return_dict else scalar_or_list(results)

    def predict(self, x: Any, batch_size: int | None = None, verbose: Any = "auto", steps: int | None = None,
                callbacks: Any = None) -> Any:
        """The model's outputs for all rows, or those of `steps` batches, in their order; no rows give empty arrays.

        `x` may also give batches; of those with labels the inputs are taken.
        """
        size, shown, steps = rows_of_batch(batch_size), verbosity(verbose), _steps("steps", steps)
        if type(x) is np.ndarray and x.ndim and 0 < len(x) <= size and not shown and callbacks is steps is None:
            return self._predict_at_once("predict", x)  # one batch that nobody watches
        with noticed(), closing(self._source("predict", (x, None, None), size)) as source:
            hooks = CallbackList(callbacks, model=self, verbose=verbose, epochs=1, steps=steps or source.batches)
            begin, end = hooks.users_of("on_predict_batch_begin"), hooks.users_of("on_predict_batch_end")
            self.stop_predicting = False
            hooks("on_predict_begin")
            line = Progress(_line(hooks, shown), steps or source.batches)
            made: list[list[np.ndarray]] = []
            done = 0
            with closing(self._parts("predict", source, steps)) as parts:
                for part, _, program in parts:
                    for method in begin:
                        method(done, {})
                    _, outputs = part.run(program, single=bool(begin or end))
                    rows = [o.reshape(-1, *o.shape[2:]) for o in outputs]
                    made.append(rows)
                    done += len(outputs[0])
                    line.update(done, dict)
                    logs = {"outputs": self._structured(rows)} if end else {}
                    for method in end:
                        method(done - 1, logs)
                    if self.stop_predicting:
                        break
            hooks("on_predict_end")
            if done:
                line.finish({})
        if len(made) > 1:  # what is the only batch needs no copy
            return self._structured([_joined(rows, self.name) for rows in zip(*made, strict=True)])
        return self._structured(made[0] if made else _no_rows(self._prepare("predict", source)[0]))

    # What a model says -----------------------------------------------------------------------------------------

    def _inputs(self, method: str, x: Any) -> tuple[np.ndarray, ...]:
        """The arrays of all inputs."""
        raise NotImplementedError

    def _arrays(self, method: str, x: Any, y: Any, sample_weight: Any = None,
                class_weight: Any = None) -> tuple[np.ndarray, ...]:
        """All inputs, then labels, then weights."""
        raise NotImplementedError

    def _program(self, kind: str, *arrays: np.ndarray) -> tuple[Step, Any]:
        """The step and its program for arrays like these."""
        raise NotImplementedError

    def _structured(self, outputs: Sequence[Any]) -> Any:
        """Arrays of all outputs in the structure of the model's."""
        raise NotImplementedError

    # Inside ----------------------------------------------------------------------------------------------------

    def _source(self, method: str, data: tuple[Any, Any, Any], batch_size: int, shuffle: Any = False,
                class_weight: Any = None) -> Source:
        """Where batches of inputs, labels and weights come from."""
        def flatten(x: Any, y: Any, sample_weight: Any) -> tuple[np.ndarray, ...]:
            if method == "predict":
                return self._inputs(method, x)
            return self._arrays(method, x, y, sample_weight, class_weight)

        return open_source(data, flatten, f"{method} of {self.name!r} received", batch_size, shuffle)

    def _prepare(self, kind: str, source: Source) -> tuple[Step, Any]:
        """The step and program for what a source gives first; from now on it gives what that program takes."""
        if source.made[0] is not Layer.changed:  # a layer may have been frozen between two epochs
            step, program = self._program(kind, *source.first())
            source.made, source.dtypes = (Layer.changed, step, program), program.dtypes
        return source.made[1:]

    def _parts(self, kind: str, source: Source, steps: int | None,
               skip: int = 0) -> Generator[tuple[Batches, Step, Any]]:
        """Batches with their step and program, again and again until all are done: whoever takes them runs some."""
        step, program = self._prepare(kind, source)
        with closing(source.epoch(steps, skip)) as parts:
            for part in parts:
                if source.varies:
                    step, program = self._program(kind, *part.arrays)
                while part.done < len(part):
                    notice()
                    yield part, step, program

    def _predict_at_once(self, method: str, x: Any) -> Any:
        """The predictions for one batch of all rows."""
        arrays = self._inputs(method, x)
        step, program = self._program("predict", *arrays)
        return self._structured(program(*map(ready, arrays, program.dtypes)) if len(arrays[0]) else _no_rows(step))

    def _epoch(self, kind: str, source: Source, steps: int | None, hooks: CallbackList, line: Progress,
               start: Start = _BEGINNING, run: Fit | None = None) -> dict[str, Any] | None:
        """Run the batches of an epoch that aren't done; the averages at the end, None where there was none."""
        averages, done = None, start.batch
        if start.averages is not None:
            averages = Averages(self._prepare(kind, source)[0], start.averages)
        moment = "train" if kind == "train" else "test"
        begin, end = hooks.users_of(f"on_{moment}_batch_begin"), hooks.users_of(f"on_{moment}_batch_end")
        with closing(self._parts(kind, source, steps, done)) as parts:
            for part, step, program in parts:
                averages = averages or Averages(step)
                if run is not None:
                    run.averages = averages
                for method in begin:
                    method(done, {})
                rows, outputs = part.run(program, single=bool(begin or end))
                averages.add(outputs, rows)
                done += len(outputs[0])
                line.update(done, averages.results)
                logs = averages.results() if end else {}
                for method in end:
                    method(done - 1, logs)
                if self.stop_training if kind == "train" else self.stop_evaluating:
                    return averages.results()
        if averages is not None and steps is not None and done < steps:
            _ran_out(f"an epoch had {done} batches instead of {steps}")
        return None if averages is None else averages.results()

    def _test(self, source: Source, steps: int | None, hooks: CallbackList, verbose: int) -> dict[str, Any] | None:
        """Evaluate a source from its beginning; None where nothing is left of it."""
        source.restart()
        line = Progress(verbose, steps or source.batches)
        self.stop_evaluating = False
        hooks("on_test_begin")
        results = self._epoch("evaluate", source, steps, hooks, line)
        line.finish(results or {})
        hooks("on_test_end", logs=results)
        return results


def scalar_or_list(results: dict[str, float]) -> Any:
    """A result alone, or all of them."""
    return list(results.values()) if len(results) > 1 else next(iter(results.values()))


def _joined(rows: Sequence[np.ndarray], name: str) -> np.ndarray:
    """Predictions of all batches as one array."""
    shapes = {r.shape[1:] for r in rows}
    if len(shapes) > 1:
        (a, b, *_) = (["N", *s] for s in shapes)
        raise ShapeError(f"predict of {name!r} made {rows[0].dtype}[{','.join(map(str, a))}] of one batch and "
                         f"[{','.join(map(str, b))}] of another, which make no single array. Give batches of one "
                         "shape, or call predict_on_batch for each.")
    return np.concatenate(rows)


def _no_rows(step: Step) -> list[np.ndarray]:
    """What is predicted for no rows."""
    return [np.empty([d if isinstance(d, int) else 0 for d in (0, *v.shape[1:])], v.dtype.numpy)
            for _, v in step.outputs]


def rows_of_batch(batch_size: Any, method: str = "fit, evaluate or predict", name: str = "batch_size") -> int:
    """The number of rows in a batch."""
    return 32 if batch_size is None else positive(method, name, batch_size)


def _check_epochs(epochs: Any, initial_epoch: Any) -> None:
    for name, value in (("epochs", epochs), ("initial_epoch", initial_epoch)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
            raise ValueError(f"fit({name}={value!r}): {name} must be an integer of at least 0.")


def _steps(name: str, value: Any) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1):
        raise ValueError(f"{name}={value!r}: expected a number of batches of at least 1, or None for all.")
    return None if value is None else int(value)


def _validates(epoch: int, frequency: Any) -> bool:
    """Whether `validation_freq` wants the validation of an epoch, counted from 0."""
    if isinstance(frequency, int | np.integer) and not isinstance(frequency, bool) and frequency > 0:
        return (epoch + 1) % frequency == 0
    if isinstance(frequency, list | tuple | set | range):
        return epoch + 1 in frequency
    raise ValueError(f"fit(validation_freq={frequency!r}): expected a number of epochs, or a list of epochs counted "
                     "from 1.")


def _line(hooks: CallbackList, verbose: int) -> int:
    """How the progress line is drawn; not at all where a callback draws it."""
    return 0 if any(isinstance(c, ProgbarLogger) for c in hooks.callbacks) else verbose


def _ran_out(what: str) -> None:
    warnings.warn(f"The input ran out of data: {what}. A generator has to give steps_per_epoch * epochs batches.",
                  stacklevel=4)


def _split_at(rows: int, split: float) -> int:
    """The first row of the validation part."""
    if not 0 < split < 1:
        raise ValueError(f"fit(validation_split={split!r}): expected a fraction between 0 and 1.")
    at = math.floor(rows * (1 - split))
    if not 0 < at < rows:
        raise ValueError(f"fit(validation_split={split!r}) of {rows} rows leaves {at} for training and {rows - at} for "
                         "validation, expected at least one for each.")
    return at
