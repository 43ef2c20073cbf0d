"""Going on after an interruption as if there had been none."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graphc.callbacks.callback import Callback, Logs
from graphc.callbacks.checkpoint import BatchCount
from graphc.runtime.interrupts import uninterrupted
from graphc.safe_files import FileError, reading, replacing

__all__ = ["BackupAndRestore", "Fit", "Start"]

_ARRAY = "__array__"  # in JSON, the key of an array's name

_STATE, _BEFORE = "training.npz", "training.before.npz"


@dataclass(frozen=True)
class Start:
    """Where training begins: with an epoch, or in its middle.

    `batch` says how many of its batches are done, and `averages` what they came to. `restore` makes everything as it
    was then, once the callbacks have begun the epoch again.
    """

    epoch: int
    batch: int = 0
    averages: Any = None
    restore: Callable[[], None] | None = None


@dataclass
class Fit:
    """A call of `fit`, as long as it runs: its callbacks, its source, and the averages of its present epoch.

    Callbacks may change where it starts when they are told that training begins.
    """

    hooks: Any
    source: Any
    start: Start
    averages: Any = None


class BackupAndRestore(Callback):
    """Save all of the training's state, and go on from there when `fit` is called with the same arguments again.

    That is after each epoch, or every `save_freq` batches: the weights, what the optimizer remembers, the averages of
    the epoch so far, what the other callbacks remember, the random numbers of layers, and those of Python and NumPy
    that give the order of the rows. So weights and History come out as in one run without interruption.
    `double_checkpoint` keeps the backup before the last one, too, and takes it where the last can't be read. A training
    that comes to its end removes the backup, unless `delete_checkpoint` is False. It comes after the other callbacks,
    wherever it stands among them. https://keras.io/api/callbacks/backup_and_restore/
    """

    comes_last = True

    def __init__(self, backup_dir: Any, save_freq: Any = "epoch", double_checkpoint: bool = False,
                 delete_checkpoint: bool = True):
        if not backup_dir:
            raise ValueError(f"BackupAndRestore(backup_dir={backup_dir!r}): expected the path of a folder.")
        self.backup_dir, self.double_checkpoint = os.fspath(backup_dir), double_checkpoint
        self.delete_checkpoint = delete_checkpoint
        self._count = BatchCount("BackupAndRestore", save_freq)
        self._begun: dict[str, Any] = {}  # the epoch that runs, as `_save` writes it
        if save_freq == "epoch":
            self.idle = (BackupAndRestore.on_train_batch_end,)

    def on_train_begin(self, logs: Logs = None) -> None:
        if self.model._fit is None:
            raise RuntimeError("BackupAndRestore keeps what `fit` needs to go on: it can't serve a training loop of "
                               "one's own. Save the model there.")
        paths = [p for name in (_STATE, _BEFORE) if (p := Path(self.backup_dir, name)).exists()]
        for path in paths:
            try:
                self._go_on_from(path)
                return
            except FileError:
                if not self.double_checkpoint or path is paths[-1]:
                    raise

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._begun = {"epoch": epoch, **self._next()}  # the order of the epoch's rows is drawn after this

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        if self._count.save_freq != "epoch" and self._count.due(batch):
            self._save(self._begun | {"batch": batch + 1, "averages": self.model._fit.averages.saved()})

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if self._count.save_freq == "epoch":
            self._save({"epoch": epoch + 1, **self._next()})

    def on_train_end(self, logs: Logs = None) -> None:
        folder = Path(self.backup_dir)
        if self.delete_checkpoint and folder.is_dir():
            for name in (_STATE, _BEFORE):
                (folder / name).unlink(missing_ok=True)
            if not any(folder.iterdir()):
                folder.rmdir()

    def _next(self) -> dict[str, Any]:
        """What gives the order of the rows in the next epoch."""
        return {"random": _get_random(), "place": self.model._fit.source.place()}

    def _save(self, where: dict[str, Any]) -> None:
        folder = Path(self.backup_dir)
        folder.mkdir(parents=True, exist_ok=True)
        kept: list[np.ndarray] = []
        where |= {"stopped": self.model.stop_training, "callbacks": {
            label: {name: getattr(callback, name) for name in callback.remembered}
            for label, callback in self._others()}}
        text = json.dumps(_written(where, kept))
        arrays = self._arrays() | {f"kept/{i}": array for i, array in enumerate(kept)}
        if self.double_checkpoint and (folder / _STATE).exists():
            os.replace(folder / _STATE, folder / _BEFORE)
        with replacing(folder / _STATE) as file:
            np.savez(file, where=np.array(text), **arrays)  # type: ignore[arg-type]

    def _go_on_from(self, path: Path) -> None:
        """Have everything as it was when this backup was made."""
        with reading(path):
            with np.load(path, allow_pickle=False) as file:
                saved = dict(file)
            where = json.loads(str(saved["where"]), object_hook=lambda d: saved[d[_ARRAY]][()] if _ARRAY in d else d)
            start = int(where["epoch"]), int(where.get("batch", 0)), where.get("averages")
            random_state, place, stopped = where["random"], where["place"], where["stopped"]
        arrays = self._arrays()
        for label, array in arrays.items():
            if label not in saved or saved[label].shape != array.shape:
                raise ValueError(f"BackupAndRestore: {path} is not of this model: it has no {label!r} of shape "
                                 f"{list(array.shape)}. Remove the folder {self.backup_dir!r} to begin anew.")

        def restore() -> None:
            with uninterrupted():
                for label, array in arrays.items():
                    array[...] = saved[label]
                for label, callback in self._others():
                    vars(callback).update(where["callbacks"].get(label, {}))
            if place is not None:
                self.model._fit.source.go_to(place)
            _set_random(random_state)

        restore()
        epochs = (self.params or {}).get("epochs", 0)
        self.model._fit.start = Start(max(epochs, start[0])) if stopped else Start(*start, restore)

    def _others(self) -> list[tuple[str, Callback]]:
        """The callbacks that remember something; those of one class are numbered."""
        seen: Counter[str] = Counter()
        found = []
        for callback in self.model._fit.hooks.callbacks:
            if callback.remembered:
                kind = type(callback).__name__
                found.append((f"{kind} {seen[kind]}", callback))
                seen[kind] += 1
        return found

    def _arrays(self) -> dict[str, np.ndarray]:
        """Every array that training changes, by the label of its variable."""
        model = self.model
        state = () if model.training_graph is None else model.training_graph.state
        variables = [*model.weights, model.random_key, *model.optimizer.variables, *state]
        return {f"state/{v.label}": v.array for v in variables}


def _written(value: Any, arrays: list[np.ndarray]) -> Any:
    """A value as JSON has it; of arrays, which are added to those that there are, their places."""
    if isinstance(value, dict):
        return {key: _written(part, arrays) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_written(part, arrays) for part in value]
    if isinstance(value, np.ndarray | np.generic):
        arrays.append(np.asarray(value))
        return {_ARRAY: f"kept/{len(arrays) - 1}"}
    return value


def _get_random() -> Any:
    """The state of Python's and of NumPy's global random numbers."""
    kind, keys, *rest = tuple(np.random.get_state())
    version, words, gauss = random.getstate()
    return [[kind, np.asarray(keys), *rest], [version, np.array(words), gauss]]


def _set_random(state: Any) -> None:
    (kind, keys, *rest), (version, words, gauss) = state
    np.random.set_state((kind, keys, *rest))
    random.setstate((version, tuple(words.tolist()), gauss))
