"""Callbacks that change the learning rate; nothing is compiled again for that."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from graphc.callbacks.callback import Callback, Logs
from graphc.callbacks.monitor import MonitorCallback

__all__ = ["LearningRateScheduler", "ReduceLROnPlateau"]


class LearningRateScheduler(Callback):
    """The learning rate of each epoch: `schedule(epoch, present rate)`, or `schedule(epoch)`.

    It is part of the logs of an epoch as `learning_rate`. https://keras.io/api/callbacks/learning_rate_scheduler/
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0):
        self.schedule, self.verbose = schedule, verbose

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        optimizer = self.model.optimizer
        try:
            rate = self.schedule(epoch, float(optimizer.learning_rate))
        except TypeError:
            rate = self.schedule(epoch)
        if isinstance(rate, bool) or np.ndim(rate) or not isinstance(rate, int | float | np.number | np.ndarray):
            raise ValueError(f"LearningRateScheduler received {rate!r} from its schedule for epoch {epoch}, expected "
                             "a number.")
        optimizer.learning_rate = float(rate)
        if self.verbose:
            print(f"Epoch {epoch + 1}: learning rate {float(rate):g}")

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if logs is not None:
            logs["learning_rate"] = float(self.model.optimizer.learning_rate)


class ReduceLROnPlateau(MonitorCallback):
    """Multiply the learning rate by `factor` when a metric has not improved for `patience` epochs.

    After that it waits for `cooldown` epochs before it counts again, and never goes below `min_lr`. The rate is part of
    the logs of an epoch as `learning_rate`. `epsilon` is Keras 1's name of `min_delta`.
    https://keras.io/api/callbacks/reduce_lr_on_plateau/
    """

    remembered = ("best", "wait", "cooldown_counter")

    def __init__(self, monitor: str = "val_loss", factor: float = 0.1, patience: int = 10, verbose: int = 0,
                 mode: str = "auto", min_delta: float = 1e-4, cooldown: int = 0, min_lr: float = 0.0,
                 epsilon: float | None = None):
        super().__init__(monitor, mode, min_delta=min_delta if epsilon is None else epsilon)
        if factor >= 1.0:
            raise ValueError(f"ReduceLROnPlateau(factor={factor}): expected a factor below 1.")
        self.factor, self.min_lr, self.patience, self.cooldown = factor, min_lr, patience, cooldown
        self.verbose = verbose
        self._reset()

    def _reset(self) -> None:
        self.best: float | None = None
        self.wait = self.cooldown_counter = 0

    def on_train_begin(self, logs: Logs = None) -> None:
        self._reset()

    def in_cooldown(self) -> bool:
        """Whether the last reduction was less than `cooldown` epochs ago."""
        return self.cooldown_counter > 0

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        logs = {} if logs is None else logs
        rate = logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        value = self.value(logs, "the learning rate stays")
        if value is None:
            return
        if self.in_cooldown():
            self.cooldown_counter -= 1
            self.wait = 0
        if self.improves(value, self.best):
            self.best, self.wait = value, 0
        elif not self.in_cooldown():
            self.wait += 1
            if self.wait >= self.patience and rate > np.float32(self.min_lr):
                rate = max(rate * self.factor, self.min_lr)
                self.model.optimizer.learning_rate = rate
                self.cooldown_counter, self.wait = self.cooldown, 0
                if self.verbose:
                    print(f"Epoch {epoch + 1}: ReduceLROnPlateau reduces the learning rate to {rate:g}")
