"""compile, the steps of training, evaluation and prediction, and their data; graphc.epochs runs them.

https://keras.io/api/models/model_training_apis/
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from graphc import optimizers
from graphc.data import align_inputs, align_labels, align_weights, ready
from graphc.epochs import Epochs, rows_of_batch, scalar_or_list
from graphc.gradients import value_and_grad
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Graph, Value, origin
from graphc.ir.tree import flat, is_nested, structured
from graphc.layers.layer import Layer
from graphc.limits import DataLimit, sort_out
from graphc.metrics import Mean, Metric
from graphc.names import refusing_unknown
from graphc.objective import Objective, Target, whole_loss
from graphc.own_steps import own_data
from graphc.passes.pipeline import PIPELINE
from graphc.ports import Port, by_port, ports
from graphc.runtime import prepare
from graphc.runtime.config import config, current
from graphc.runtime.forks import MAKING
from graphc.runtime.interrupts import uninterrupted
from graphc.runtime.profile import Profile, profile
from graphc.runtime.stages import run_passes
from graphc.sources import plain
from graphc.steps import Averages, Feed, Step, bind, remembered, symbolic_inputs, trace_step
from graphc.tracing import Trace, current_trace, tracing
from graphc.utils.splitting import unpack_x_y_sample_weight

__all__ = ["Trainer"]


class Trainer(Epochs):
    """The training half of a model.

    Programs are made when they are first used and kept until `compile` or a change of the layers. They serve every
    batch size: nothing is compiled again for the last batch of an epoch.
    """

    objective = Objective()
    takes: Any = None  # the ports of the inputs and outputs in their structure, once they are known
    gives: Any = None
    _dump: str | None = None
    _nests: Mapping[int, tuple[str, str]] = {}  # by their number, the structures of labels and weights of own steps
    _known_targets: tuple[Objective, Any, list[Target]] | None = None  # of this objective and these ports
    _predicted: Any = None  # the structure of what a `predict_step` of the user's gives
    _limited: tuple[object, Any, Sequence[DataLimit]] | None = None  # Layer.changed and the inputs at that time, limits
    _trained: tuple[object, tuple[int, ...]] = (None, ())  # Layer.changed at that time, ids of the weights to train

    @refusing_unknown
    def compile(self, optimizer: Any = "rmsprop", loss: Any = None, loss_weights: Any = None, metrics: Any = None,
                weighted_metrics: Any = None, run_eagerly: bool = False, steps_per_execution: int = 1,
                jit_compile: Any = "auto", auto_scale_loss: bool = True, *, dump: Any = None) -> None:
        """Choose optimizer, losses and metrics; unknown names raise ValueError here.

        Of a model with several outputs `loss`, `loss_weights`, `metrics` and `weighted_metrics` are lists with one
        entry for each, or dicts by the outputs' names; an output may be left out, or have None. One loss alone holds
        for every output. Weights stay as they are, what the optimizer has remembered is forgotten. `run_eagerly`,
        `jit_compile`, `steps_per_execution` and `auto_scale_loss` are Keras's; every step is compiled, whatever they
        say. `dump` is a folder for files with all that the compiler makes of this model's steps (GRAPHC_DUMP does that
        for all models).
        """
        given = list(flat(loss_weights))
        if metrics is None and given and not any(hasattr(w, "__float__") for w in given):
            loss_weights, metrics = None, loss_weights  # in Keras 2 the metrics came third
        objective = Objective(loss, loss_weights, metrics, weighted_metrics)
        if self.gives is not None:
            objective.targets(self.gives)
        new_optimizer = optimizers.get(optimizer)
        new_optimizer.reset()
        self.optimizer, self.objective = new_optimizer, objective
        self._dump = None if dump is None else os.fspath(dump)
        self._forget(*(("train", "evaluate") if dump is None else ()))
        prepare()

    @property
    def loss(self) -> Any:
        """The loss, or the losses in the structure in which `compile` received them."""
        return self.objective.loss

    @property
    def metrics(self) -> list[Metric]:
        """The metrics of all outputs, and those in attributes of the model and its layers.

        With steps of one's own the loss's mean, too.
        """
        parts = (self, *self._all_layers())  # type: ignore[attr-defined]
        held = (pair for part in parts for pair in vars(part).items())
        own = [m for name, m in held if isinstance(m, Metric) and name != "_loss_tracker"]
        tracked = self.has_own_step("train") and not any(m.name == "loss" for m in own)
        return [*([self._tracker()] if tracked else []), *self.objective.all_metrics, *own]

    @property
    def metrics_names(self) -> list[str]:
        """The names of what `evaluate` gives: the loss, of several outputs each one's, then the metrics."""
        self._check_compiled("evaluate")
        if self.gives is None:
            return ["loss", *(m.name for m in self.metrics)]
        return list(trace_step("evaluate", self).names)

    # Steps of the user's own ----------------------------------------------------------------------------------

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step of training on symbolic data (x, y) or (x, y, sample_weight), for subclasses to replace.

        Returns results by their names: values or metrics. See docs/custom_training.md.
        """
        x, y, sample_weight = unpack_x_y_sample_weight(data)

        def loss_of() -> tuple[Value, Any]:
            predicted = self(x, training=True)  # type: ignore[operator]
            return self.compute_loss(x, y, predicted, sample_weight, True), predicted

        weights = self.trainable_variables  # type: ignore[attr-defined]
        (loss, predicted), gradients = value_and_grad(loss_of, weights, has_aux=True)()
        self.optimizer.apply(gradients, weights)  # type: ignore[union-attr]
        return self._with_loss(loss, self.compute_metrics(x, y, predicted, sample_weight))

    def test_step(self, data: Any) -> dict[str, Any]:
        """One step of evaluation, as `train_step`."""
        x, y, sample_weight = unpack_x_y_sample_weight(data)
        predicted = self(x, training=False)  # type: ignore[operator]
        loss = self.compute_loss(x, y, predicted, sample_weight, False)
        return self._with_loss(loss, self.compute_metrics(x, y, predicted, sample_weight))

    def predict_step(self, data: Any) -> Any:
        """The predictions for symbolic data (x,), for subclasses to replace."""
        return self(unpack_x_y_sample_weight(data)[0], training=False)  # type: ignore[operator]

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None,
                     training: bool = True) -> Any:
        """The losses that `compile` chose and what layers and regularizers add, for a step of the user's own."""
        targets, labels, predictions, weights = self._for_targets(y, y_pred, sample_weight)
        with origin("loss"):
            total, _ = self.objective.total(targets, labels, predictions, weights, current_trace() or Trace())
        loss = whole_loss(total, self.losses)  # type: ignore[attr-defined]
        if loss is None:
            raise ValueError(f"The model {self.name!r} was compiled without a loss, and no layer adds one. Call "
                             "model.compile(optimizer, loss=...), or compute the loss yourself.")
        return loss

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """The metrics that `compile` chose, with this batch counted, by the names of their results."""
        found: dict[str, Any] = {}
        for name, metric, label, prediction, weight in self.objective.measured(
                *self._for_targets(y, y_pred, sample_weight)):
            metric.update_state(label, prediction, *(() if weight is None else (weight,)))
            found[name] = metric.result()
        return found | self._counted()

    def _counted(self) -> dict[str, Any]:
        """The results of those metrics in attributes that the step has updated so far."""
        trace = current_trace() or Trace()
        chosen = {self._tracker(), *self.objective.all_metrics}
        return {m.name: m.result() for m in self.metrics if m not in chosen
                and (m in trace.metrics or any(v in trace.updates for v in m.variables))}

    def get_metrics_result(self) -> dict[str, Any]:
        """The results of all metrics by their names, for the end of a step of the user's own."""
        return {metric.name: metric.result() for metric in self.metrics}

    def reset_metrics(self) -> None:
        """Let all metrics begin anew."""
        for metric in self.metrics:
            metric.reset_state()

    def has_own_step(self, kind: str) -> bool:
        """Whether a subclass says itself what a step of a kind does."""
        return _has_own_step(type(self), kind)  # type: ignore[arg-type]

    def _with_loss(self, loss: Value, results: dict[str, Any]) -> dict[str, Any]:
        """Results that begin with the mean of the loss over the batches so far."""
        tracker = self._tracker()
        tracker.update_state(f.broadcast(loss, next(flat(symbolic_inputs(self))).shape[:1], ()))
        return {"loss": tracker.result(), **results, **self._counted()}

    def _tracker(self) -> Metric:
        return vars(self).setdefault("_loss_tracker", Mean(name="loss"))

    def _for_targets(self, y: Any, y_pred: Any, sample_weight: Any) -> tuple[Any, ...]:
        """What each output is measured by, with its labels, prediction and weights."""
        targets, predictions = self.targets(), list(flat(y_pred))
        labels = [None] * len(targets) if y is None else by_port(y, self.gives, "compute_loss received as y", "output",
                                                                True)
        weights = by_port(sample_weight, self.gives, "compute_loss received as sample_weight", "output", True) if (
            is_nested(sample_weight)) else [sample_weight] * len(targets)
        return targets, labels, predictions, weights

    def targets(self) -> list[Target]:
        """What each output is measured by."""
        known = self._known_targets
        if known is None or known[0] is not self.objective or known[1] is not self.gives:
            known = self._known_targets = self.objective, self.gives, self.objective.targets(self.gives)
        return known[2]

    def train_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None,
                       return_dict: bool = False) -> Any:
        """One training step on all rows; the loss before the step, or a list of it and the metrics."""
        x, y, sample_weight = plain((x, y, sample_weight))
        return self._on_batch("train", self._arrays("train_on_batch", x, y, sample_weight, class_weight), return_dict)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """The loss of all rows, or a list of it and the metrics."""
        x, y, sample_weight = plain((x, y, sample_weight))
        return self._on_batch("evaluate", self._arrays("test_on_batch", x, y, sample_weight), return_dict)

    def predict_on_batch(self, x: Any) -> Any:
        """The outputs of all rows in one step."""
        return self._predict_at_once("predict_on_batch", plain(x))

    def graph(self, kind: str = "train", stage: str = "traced") -> Any:
        """The graph of a step: 'train', 'evaluate' or 'predict'.

        `stage` says when: 'traced', before any pass, or the name of the pass that made it, 'offset', 'infer',
        'stabilize', 'differentiate', 'hoist', 'simplify' or 'fuse'. 'plan' gives the Plan.
        """
        passes = [p.__name__ for p in PIPELINE]
        if stage != "traced" and stage not in passes:
            raise ValueError(f"graph(stage={stage!r}): expected 'traced' or one of {', '.join(map(repr, passes))}.")
        if kind not in ("train", "evaluate", "predict"):
            raise ValueError(f"graph({kind!r}): expected 'train', 'evaluate' or 'predict'.")
        if self.takes is None:
            raise ValueError(f"The model {self.name!r} has no input shape yet. Give one to its first layer, call "
                             "`build`, or run it once.")
        self._check_compiled(kind)
        graph = trace_step(kind, self).graph
        return run_passes(graph, PIPELINE[:passes.index(stage) + 1] if stage != "traced" else (), False)[-1].result

    def profile(self, x: Any, y: Any = None, batch_size: int | None = None, sample_weight: Any = None,
                seconds: float = 0.5) -> Profile:
        """Where the time of a step goes: of a training step, or of a prediction where there are no labels.

        The first 32 or `batch_size` rows go through the step again and again for about so many seconds. That happens
        on a copy of the weights: the model stays as it is. `print` the result, or `save_trace` it for Perfetto.
        """
        rows = rows_of_batch(batch_size, "profile")
        return profile(*self.step_arrays("profile", "predict" if y is None else "train", rows, x, y, sample_weight),
                       seconds)

    # ------------------------------------------------------------------------------------------------ inside

    def _on_batch(self, kind: str, arrays: tuple[np.ndarray, ...], return_dict: bool) -> Any:
        step, program = self._program(kind, *arrays)
        averages = Averages(step)
        averages.add(program(*map(ready, arrays, program.dtypes)), len(arrays[0]))
        return averages.results() if return_dict else scalar_or_list(averages.results())

    def _inputs(self, method: str, x: Any) -> tuple[np.ndarray, ...]:
        """The arrays of all inputs; a model that isn't built is built for them."""
        who = f"{method} of {self.name!r} received as x"
        if self.takes is None or self._opening:  # type: ignore[attr-defined]
            with MAKING:
                if self.takes is None:
                    self._settle(x, who)  # type: ignore[attr-defined]
        arrays = align_inputs(x, self.takes, who)
        for array in arrays[1:]:
            if len(array) != len(arrays[0]):
                raise ShapeError(f"{method} of {self.name!r} received {len(arrays[0])} rows in x and {len(array)} in "
                                 "another input, expected the same number in all.")
        for limit in self._limits():
            limit.check(arrays[limit.index], who)
        return arrays

    def _limits(self) -> Sequence[DataLimit]:
        """What the layers demand of the data, such as word numbers within a vocabulary."""
        if self._limited is None or self._limited[:2] != (Layer.changed, self.takes):
            found: Sequence[DataLimit] = ()
            if _is_limited(self):
                inputs = symbolic_inputs(self)
                with tracing(Trace()) as trace:
                    self.forward(inputs)  # type: ignore[attr-defined]
                found, _ = sort_out(trace.limits, list(flat(inputs)))
            self._limited = Layer.changed, self.takes, found
        return self._limited[2]

    def _arrays(self, method: str, x: Any, y: Any, sample_weight: Any = None,
                class_weight: Any = None) -> tuple[np.ndarray, ...]:
        """All inputs, then the labels of the outputs that take any, then, where there are any, weights.

        There is one array of weights for all outputs, or one for each that takes labels. `_program` takes them all.
        """
        self._check_compiled("train")
        inputs = self._inputs(method, x)
        if self.has_own_step("train"):
            if class_weight is not None:
                raise ValueError(f"{method} of {self.name!r} received class_weight, which steps of its own can't "
                                 "use: give sample_weight.")
            given, nests = own_data(len(inputs[0]), y, sample_weight, f"{method} of {self.name!r} received as y")
            self._nests = {**self._nests, len(given): nests}
            return (*inputs, *given)
        targets = self.targets()
        labels = align_labels(y, self.gives, targets, f"{method} of {self.name!r} received as y",
                              self._output_layer)  # type: ignore[attr-defined]
        for array in labels:
            if len(array) != len(inputs[0]):
                raise ShapeError(f"{method} of {self.name!r} received {len(inputs[0])} rows in x and {len(array)} in "
                                 "y, expected one label for each row.")
        if not len(inputs[0]):
            raise ShapeError(f"{method} of {self.name!r} received no rows, expected at least one.")
        weights = align_weights(sample_weight, class_weight, labels, [t.port for t in targets if t.labelled],
                                len(inputs[0]), f"{method} of {self.name!r} received")
        return (*inputs, *labels, *weights)

    def _structured(self, outputs: Sequence[Any]) -> Any:
        """Arrays of all outputs in the structure of the model's."""
        return structured(self.gives if self._predicted is None else self._predicted, outputs)

    def _check_compiled(self, kind: str) -> None:
        if kind == "predict":
            return
        if self.optimizer is None:
            raise ValueError(f"The model {self.name!r} is not compiled. Call model.compile(optimizer, loss) first.")

    def _program(self, kind: str, *arrays: np.ndarray) -> tuple[Step, Any]:
        """The step and its program for arrays like these, from the last time where nothing has changed.

        The arrays are all that `_arrays` gave, or for predictions all that `_inputs` gave.
        """
        switches = current()  # those that watch a program hold for programs that are there already, too
        feed = self._feed(arrays)
        key: tuple[Any, ...] = (kind, feed, switches.check_numerics, switches.trace)
        changed, trained = self._trained
        if changed is not Layer.changed:
            trained = tuple(map(id, self.trainable_weights))  # type: ignore[attr-defined]
            self._trained = Layer.changed, trained
        key += trained
        return remembered(self._programs, key, self._new_program, kind, feed)  # type: ignore[attr-defined]

    def _new_program(self, kind: str, feed: Feed) -> tuple[Step, Any]:
        with uninterrupted(), nullcontext() if self._dump is None else config(dump=self._dump):
            step = trace_step(kind, self, feed)
            return step, bind(step.graph, step.limits, f"A {kind} step of {self.name!r}")

    def _feed(self, arrays: Sequence[np.ndarray]) -> Feed:
        """What the arrays besides the inputs are like."""
        own = ports(self.takes)
        first, apart = len(own), _apart(own, arrays) if len(own) > 1 else ()
        if len(arrays) == first:
            return Feed(apart=apart)
        if self.has_own_step("train"):
            given = arrays[first:]
            return Feed(tuple((a.shape[1:], str(a.dtype)) for a in given), (), apart, self._nests[len(given)])
        targets = self.targets()
        left = iter(arrays[first:])
        labels = [next(left) if t.labelled else None for t in targets]
        labelled = [t for t in targets if t.labelled]
        return Feed(tuple(None if a is None or t.targets != "any" else (_sample(a, t), str(a.dtype))
                          for t, a in zip(targets, labels, strict=True)),
                    tuple(_sample(a, t) for a, t in zip(left, labelled, strict=False)), apart)

    def step_arrays(self, method: str, kind: str, rows: int, x: Any, y: Any = None,
                    sample_weight: Any = None) -> tuple[Graph, dict[str, np.ndarray]]:
        """The traced graph of a step, and the arrays of all its leaves by label: the first rows, and copies of state.

        `kind` is 'train', 'evaluate' or 'predict', which takes x only. Data are checked as in `fit`; errors name the
        `method` that asked.
        """
        arrays = self._inputs(method, x) if kind == "predict" else self._arrays(method, x, y, sample_weight)
        if not len(arrays[0]):
            raise ShapeError(f"{method} of {self.name!r} received no rows, expected at least one.")
        arrays = tuple(a[:rows] for a in arrays)
        graph = trace_step(kind, self, self._feed(arrays)).graph
        inputs = {v.op.label: ready(a, v.dtype.numpy)  # type: ignore[attr-defined]
                  for v, a in zip(graph.inputs, arrays, strict=True)}
        return graph, inputs | {v.label: v.numpy() for v in graph.state}  # type: ignore[attr-defined]

    def _forget(self, *kinds: str) -> None:
        """Drop programs; all of them where no kind is named."""
        self._trained = None, ()
        programs = self._programs  # type: ignore[attr-defined]
        for key in list(programs):
            if not kinds or key[0] in kinds:
                programs.pop(key, None)


def _is_limited(layer: Any) -> bool:
    return layer.limited or any(map(_is_limited, layer.sublayers()))


@functools.cache
def _has_own_step(cls: type, kind: str) -> bool:
    names = ("predict_step",) if kind == "predict" else ("train_step", "test_step", "compute_loss", "compute_metrics")
    return any(getattr(cls, name) is not getattr(Trainer, name) for name in names)


def _apart(own: Sequence[Port], arrays: Sequence[np.ndarray]) -> tuple[tuple[int, int], ...]:
    """The inputs and axes of unknown size whose arrays have another size there than those of inputs before."""
    sizes: dict[int, int] = {}
    found = []
    for place, (port, array) in enumerate(zip(own, arrays, strict=False)):
        for axis, size in enumerate(port.shape, 1):
            if size is None and sizes.setdefault(axis, array.shape[axis]) != array.shape[axis]:
                found.append((place, axis))
    return tuple(found)


def _sample(array: np.ndarray, target: Target) -> tuple[int | None, ...]:
    """The shape of a sample of labels or weights; where an output's size is unknown theirs is the same."""
    shape = target.port.shape
    return tuple(None if i < len(shape) and shape[i] is None else size for i, size in enumerate(array.shape[1:]))
