"""What happens between the batches and epochs of `fit`. https://keras.io/api/callbacks/"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphc.names import choose

__all__ = ["Callback", "EarlyStopping", "History", "LambdaCallback", "LearningRateScheduler", "TerminateOnNaN"]

Logs = Mapping[str, float] | None


class Callback:
    """Base: override the moments of interest. `model` and `params` (epochs, steps, verbose) are set by `fit`.

    `model.stop_training = True` ends training after the present batch.
    """

    model: Any = None
    params: Mapping[str, Any] = {}

    def set_model(self, model: Any) -> None:
        self.model = model

    def set_params(self, params: Mapping[str, Any]) -> None:
        self.params = params

    def on_train_begin(self, logs: Logs = None) -> None: ...
    def on_train_end(self, logs: Logs = None) -> None: ...
    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None: ...
    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None: ...
    def on_batch_begin(self, batch: int, logs: Logs = None) -> None: ...
    def on_batch_end(self, batch: int, logs: Logs = None) -> None: ...

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self.on_batch_end(batch, logs)

    def on_test_begin(self, logs: Logs = None) -> None: ...
    def on_test_end(self, logs: Logs = None) -> None: ...
    def on_test_batch_begin(self, batch: int, logs: Logs = None) -> None: ...
    def on_test_batch_end(self, batch: int, logs: Logs = None) -> None: ...
    def on_predict_begin(self, logs: Logs = None) -> None: ...
    def on_predict_end(self, logs: Logs = None) -> None: ...
    def on_predict_batch_begin(self, batch: int, logs: Logs = None) -> None: ...
    def on_predict_batch_end(self, batch: int, logs: Logs = None) -> None: ...


class Callbacks:
    """A list of callbacks; moments that none of them uses cost nothing."""

    def __init__(self, callbacks: Sequence[Callback], model: Any, params: Mapping[str, Any]):
        for callback in callbacks:
            if not isinstance(callback, Callback):
                raise TypeError(f"callbacks: {callback!r} is not a graphc.callbacks.Callback.")
        self.all = list(callbacks)
        for callback in self.all:
            callback.set_model(model)
            callback.set_params(params)

    def users_of(self, moment: str, *forwarded: str) -> list[Callable[..., None]]:
        """The bound methods of a moment, from callbacks that override it or one that it forwards to."""
        return [getattr(c, moment) for c in self.all
                if any(getattr(type(c), m) is not getattr(Callback, m) or m in vars(c) for m in (moment, *forwarded))]

    def __call__(self, moment: str, *arguments: Any) -> None:
        for method in self.users_of(moment):
            method(*arguments)


class History(Callback):
    """What `fit` returns: `history` maps loss and metrics to one number per epoch, `epoch` numbers the epochs."""

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)


class LambdaCallback(Callback):
    """Functions for single moments: `LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs))`."""

    def __init__(self, **moments: Callable[..., None]):
        known = {m: m for m in dir(Callback) if m.startswith("on_")}
        for moment, function in moments.items():
            setattr(self, choose("moment", moment, known), function)


class EarlyStopping(Callback):
    """End training when a metric has not improved for `patience` epochs.

    `mode` is 'min', 'max' or 'auto' (max for accuracy and the like). With `restore_best_weights` the weights of
    the best epoch are put back when training ends.
    """

    def __init__(self, monitor: str = "val_loss", min_delta: float = 0, patience: int = 0, verbose: int = 0,
                 mode: str = "auto", baseline: float | None = None, restore_best_weights: bool = False,
                 start_from_epoch: int = 0):
        self.monitor, self.min_delta, self.patience, self.verbose = monitor, abs(min_delta), patience, verbose
        self.mode = choose("mode", mode, {m: m for m in ("auto", "min", "max")})
        self.baseline, self.start_from_epoch = baseline, start_from_epoch
        self.restore_best_weights = restore_best_weights

    def on_train_begin(self, logs: Logs = None) -> None:
        rising = ("acc", "accuracy", "precision", "recall", "auc")
        up = self.mode == "max" or (self.mode == "auto" and self.monitor.endswith(rising))
        self._sign = -1.0 if up else 1.0
        self.best = math.inf if self.baseline is None else self._sign * self.baseline
        self.wait, self.stopped_epoch, self.best_epoch, self.best_weights = 0, 0, 0, None
        self._least = math.inf

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if epoch < self.start_from_epoch:
            return
        if self.monitor not in (logs or {}):
            warnings.warn(f"EarlyStopping watches {self.monitor!r}, which is not among {sorted(logs or {})}. Pass "
                          "validation_data or validation_split, or another `monitor`.", stacklevel=2)
            return
        value = self._sign * logs[self.monitor]  # type: ignore[index]
        if value < self._least:  # the best epoch, even where it does not beat the baseline
            self._least, self.best_epoch = value, epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
        if value < self.best - self.min_delta:
            self.best, self.wait = value, 0
            return
        self.wait += 1
        if self.wait >= self.patience and epoch > 0:
            self.stopped_epoch, self.model.stop_training = epoch, True

    def on_train_end(self, logs: Logs = None) -> None:
        if self.stopped_epoch and self.verbose:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            self.model.set_weights(self.best_weights)


class LearningRateScheduler(Callback):
    """The learning rate of each epoch: `schedule(epoch, present rate)`, or `schedule(epoch)`."""

    def __init__(self, schedule: Callable[..., float], verbose: int = 0):
        self.schedule, self.verbose = schedule, verbose

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        optimizer = self.model.optimizer
        try:
            rate = self.schedule(epoch, float(optimizer.learning_rate))
        except TypeError:
            rate = self.schedule(epoch)
        optimizer.learning_rate = rate
        if self.verbose:
            print(f"Epoch {epoch + 1}: learning rate {float(np.asarray(rate)):g}")


class TerminateOnNaN(Callback):
    """End training when the loss is no longer a finite number."""

    def on_batch_end(self, batch: int, logs: Logs = None) -> None:
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            print(f"Batch {batch}: the loss is {loss}, training ends")
            self.model.stop_training = True
