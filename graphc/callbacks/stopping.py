"""Callbacks that end training."""

from __future__ import annotations

import math
from typing import Any

from graphc.callbacks.callback import Callback, Logs
from graphc.callbacks.monitor import MonitorCallback
from graphc.runtime.interrupts import uninterrupted

__all__ = ["EarlyStopping", "TerminateOnNaN"]


class EarlyStopping(MonitorCallback):
    """End training when a metric has not improved by more than `min_delta` for `patience` epochs.

    `mode` is 'min', 'max' or 'auto' (by the metric). An improvement that does not beat the `baseline` counts as none,
    but still makes its epoch the best one. With `restore_best_weights` the weights of the best epoch are put back when
    training ends, early or not. Epochs before `start_from_epoch` are not looked at.
    https://keras.io/api/callbacks/early_stopping/
    """

    remembered = ("best", "wait", "best_epoch", "stopped_epoch", "best_weights")

    def __init__(self, monitor: str = "val_loss", min_delta: float = 0, patience: int = 0, verbose: int = 0,
                 mode: str = "auto", baseline: float | None = None, restore_best_weights: bool = False,
                 start_from_epoch: int = 0):
        super().__init__(monitor, mode, min_delta=min_delta)
        self.patience, self.verbose, self.baseline = patience, verbose, baseline
        self.restore_best_weights, self.start_from_epoch = restore_best_weights, start_from_epoch
        self._reset()

    def _reset(self) -> None:
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best: float | None = None
        self.best_weights: Any = None

    def on_train_begin(self, logs: Logs = None) -> None:
        self._reset()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        value = self.value(logs or {}, "training is not ended early")
        if value is None or epoch < self.start_from_epoch:
            return
        self.wait += 1
        if self.improves(value, self.best):
            with uninterrupted():
                self.best, self.best_epoch = value, epoch
                if self.restore_best_weights:
                    self.best_weights = self.model.get_weights()
            if self.baseline is None or self.improves(value, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:  # the first epoch never ends training
            self.stopped_epoch, self.model.stop_training = epoch, True

    def on_train_end(self, logs: Logs = None) -> None:
        if self.stopped_epoch and self.verbose:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            if self.verbose:
                print(f"Restoring the weights of the best epoch: {self.best_epoch + 1}")
            self.model.set_weights(self.best_weights)


class TerminateOnNaN(Callback):
    """End training when the loss is no longer a finite number, or raise RuntimeError with `raise_error`.

    https://keras.io/api/callbacks/terminate_on_nan/
    """

    def __init__(self, raise_error: bool = False):
        self.raise_error = raise_error

    def on_batch_end(self, batch: int, logs: Logs = None) -> None:
        loss = (logs or {}).get("loss", 0.0)
        if math.isfinite(loss):
            return
        if self.raise_error:
            raise RuntimeError(f"Batch {batch}: the loss is {loss}. Look for where it comes from with "
                               "graphc.config(check_numerics=True).")
        print(f"Batch {batch}: the loss is {loss}, training ends")
        self.model.stop_training = True
