"""Callbacks that write down how training goes: in memory, in a file, on the screen."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from typing import IO, Any

import numpy as np

from graphc.callbacks.callback import Callback, Logs
from graphc.names import choose
from graphc.progress import Progress, verbosity
from graphc.runtime.interrupts import uninterrupted

__all__ = ["CSVLogger", "History", "LambdaCallback", "ProgbarLogger"]


class History(Callback):
    """What `fit` returns: `history` maps loss and metrics to one number per epoch, `epoch` numbers the epochs."""

    remembered = ("history", "epoch")

    def __init__(self) -> None:
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []

    def on_train_begin(self, logs: Logs = None) -> None:
        self.epoch = []

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        with uninterrupted():  # all of an epoch or nothing
            self.epoch.append(epoch)
            for name, value in (logs or {}).items():
                self.history.setdefault(name, []).append(value)


class LambdaCallback(Callback):
    """Functions for single moments: `LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs))`.

    They take what the method of a Callback does, without self. https://keras.io/api/callbacks/lambda_callback/
    """

    def __init__(self, **moments: Callable[..., None] | None):
        known = {m: m for m in dir(Callback) if m.startswith("on_")}
        for moment, function in moments.items():
            name = choose("moment", moment, known)
            if function is not None:
                setattr(self, name, function)


class CSVLogger(Callback):
    """Write the epoch and its logs as a line of a file; `append` goes on with one that is there.

    Numbers of an epoch that has no such metric are NA. https://keras.io/api/callbacks/csv_logger/
    """

    def __init__(self, filename: Any, separator: str = ",", append: bool = False):
        self.filename, self.sep, self.append = os.fspath(filename), separator, append
        self._file: IO[str] | None = None
        self._keys: list[str] | None = None

    def on_train_begin(self, logs: Logs = None) -> None:
        self._close()
        self._file = open(self.filename, "a" if self.append else "w", newline="")  # noqa: SIM115, until training ends
        self._has_header = self._file.tell() > 0
        if self._has_header and not _ends_a_line(self.filename):
            self._file.write("\n")
        self._keys = None

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        logs = logs or {}
        assert self._file is not None
        writer = csv.writer(self._file, delimiter=self.sep)
        if self._keys is None:
            self._keys = sorted(logs)
            if not any(k.startswith("val_") for k in self._keys):  # later epochs may validate
                self._keys += [f"val_{k}" for k in self._keys]
            if not self._has_header:
                writer.writerow(["epoch", *self._keys])
        writer.writerow([epoch, *(_cell(logs.get(k, "NA")) for k in self._keys)])
        self._file.flush()

    def on_train_end(self, logs: Logs = None) -> None:
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _ends_a_line(path: str) -> bool:
    """Whether a file, which isn't empty, ends as a line does; one that was being written when the disk was full may
    not."""
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() in (b"\n", b"\r")


def _cell(value: Any) -> Any:
    return value if np.ndim(value) == 0 else f"[{', '.join(map(str, value))}]"


class ProgbarLogger(Callback):
    """The progress line as a callback, for training loops of one's own; `fit` draws one without it.

    https://keras.io/api/callbacks/progbar_logger/
    """

    def __init__(self) -> None:
        self._in_fit = False
        self._line: Progress | None = None

    def on_train_begin(self, logs: Logs = None) -> None:
        self._in_fit = True

    def on_train_end(self, logs: Logs = None) -> None:
        self._in_fit = False

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._begin(f"Epoch {epoch + 1}/{(self.params or {}).get('epochs', '?')}")

    def on_test_begin(self, logs: Logs = None) -> None:
        if not self._in_fit:
            self._begin()

    def on_predict_begin(self, logs: Logs = None) -> None:
        self._begin()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._line.update(batch + 1, lambda: logs or {})  # type: ignore[union-attr]

    def on_test_batch_end(self, batch: int, logs: Logs = None) -> None:
        if not self._in_fit:
            self._line.update(batch + 1, lambda: logs or {})  # type: ignore[union-attr]

    def on_predict_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._line.update(batch + 1, dict)  # type: ignore[union-attr]

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._line.finish(logs or {})  # type: ignore[union-attr]

    def on_test_end(self, logs: Logs = None) -> None:
        if not self._in_fit:
            self._line.finish(logs or {})  # type: ignore[union-attr]

    def on_predict_end(self, logs: Logs = None) -> None:
        self._line.finish({})  # type: ignore[union-attr]

    def _begin(self, title: str = "") -> None:
        params = self.params or {}
        self._line = Progress(verbosity(params.get("verbose", 1)), params.get("steps"), title)
