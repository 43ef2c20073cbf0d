"""Saving the model while it trains."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from graphc.callbacks.callback import Logs
from graphc.callbacks.monitor import MonitorCallback

__all__ = ["BatchCount", "ModelCheckpoint"]


class BatchCount:
    """Whether it is time again: after each epoch ('epoch'), or whenever so many batches have gone by."""

    def __init__(self, owner: str, save_freq: Any):
        if save_freq != "epoch" and (isinstance(save_freq, bool) or not isinstance(save_freq, int) or save_freq < 1):
            raise ValueError(f"{owner}(save_freq={save_freq!r}): expected 'epoch' or a number of batches.")
        self.save_freq = save_freq
        self._seen, self._last = 0, -1

    def due(self, batch: int) -> bool:
        """Count the batch of this number, which is over, and those before it."""
        self._seen += batch + 1 if batch <= self._last else batch - self._last
        self._last = batch
        if self._seen < self.save_freq:
            return False
        self._seen = 0
        return True


class ModelCheckpoint(MonitorCallback):
    """Save the model after each epoch, or after every `save_freq` batches.

    `filepath` may name the epoch, counted from 1, the batch, and logs: '{epoch:02d}-{val_loss:.2f}.keras'. It ends in
    `.keras` (or `.h5`), with `save_weights_only` in `.weights.h5`. With `save_best_only` a file is only written where
    the monitored number is better than ever, and than `initial_value_threshold`.
    https://keras.io/api/callbacks/model_checkpoint/
    """

    remembered = ("best",)

    def __init__(self, filepath: Any, monitor: str = "val_loss", verbose: int = 0, save_best_only: bool = False,
                 save_weights_only: bool = False, mode: str = "auto", save_freq: Any = "epoch",
                 initial_value_threshold: float | None = None):
        super().__init__(monitor, mode, initial_value_threshold)
        self.filepath, self.verbose = os.fspath(filepath), verbose
        self.save_best_only, self.save_weights_only = save_best_only, save_weights_only
        self._count = BatchCount("ModelCheckpoint", save_freq)
        self._epoch = 0
        endings = (".weights.h5",) if save_weights_only else (".keras", ".h5")
        if not self.filepath.endswith(endings):
            raise ValueError(f"ModelCheckpoint({self.filepath!r}, save_weights_only={save_weights_only}): expected a "
                             f"path that ends in {' or '.join(endings)}.")
        if save_freq == "epoch":
            self.idle = (ModelCheckpoint.on_train_batch_end,)

    @property
    def save_freq(self) -> Any:
        """'epoch' or a number of batches."""
        return self._count.save_freq

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        if self.save_freq != "epoch" and self._count.due(batch):
            self._save(self._epoch, {"batch": batch + 1} | (logs or {}))

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if self.save_freq == "epoch":
            self._save(epoch, logs or {})

    def _save(self, epoch: int, logs: dict[str, Any]) -> None:
        try:
            path = self.filepath.format(**(logs | {"epoch": epoch + 1}))
        except KeyError as error:
            raise KeyError(f"ModelCheckpoint: {self.filepath!r} names {error}, which is not among epoch, "
                           f"{', '.join(sorted(logs))}.") from None
        if self.save_best_only and not self._is_best(epoch, logs):
            return
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        if Path(path).is_dir():
            raise IsADirectoryError(f"ModelCheckpoint: {path!r} is a folder, expected the path of a file.")
        (self.model.save_weights if self.save_weights_only else self.model.save)(path, overwrite=True)
        if self.verbose:
            print(f"Epoch {epoch + 1}: saved the model to {path}")

    def _is_best(self, epoch: int, logs: dict[str, Any]) -> bool:
        value, best = self.value(logs, "the model is saved anyway"), self.best
        if value is None:
            return True
        if np.ndim(value):
            warnings.warn(f"ModelCheckpoint watches {self.monitor!r}, which is no single number but {value}: the model "
                          "is saved anyway.", stacklevel=4)
            return True
        better = self.improves(value, best)
        if better:
            self.best = value
        if self.verbose:
            what = "improved" if better else "did not improve"
            print(f"Epoch {epoch + 1}: {self.monitor} {what} from {best} to {value:.5f}")
        return better
