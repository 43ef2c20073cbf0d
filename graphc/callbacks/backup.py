"""Going on after an interruption as if there had been none."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np

from graphc.callbacks.callback import Callback, Logs
from graphc.callbacks.checkpoint import BatchCount

__all__ = ["BackupAndRestore"]

_STATE, _BEFORE = "training.npz", "training.before.npz"


class BackupAndRestore(Callback):
    """Save all of the training's state, and go on from there when `fit` is called with the same arguments again.

    That is after each epoch, or every `save_freq` batches: the weights, what the optimizer remembers, the random
    numbers of layers, and those of Python and NumPy that give the order of the rows. So the weights come out as in one
    run without interruption; the averages of an epoch that is gone on with are those of its last part.
    `double_checkpoint` keeps the backup before the last one, too, and takes it where the last can't be read. A training
    that comes to its end removes the backup, unless `delete_checkpoint` is False.
    https://keras.io/api/callbacks/backup_and_restore/
    """

    def __init__(self, backup_dir: Any, save_freq: Any = "epoch", double_checkpoint: bool = False,
                 delete_checkpoint: bool = True):
        if not backup_dir:
            raise ValueError(f"BackupAndRestore(backup_dir={backup_dir!r}): expected the path of a folder.")
        self.backup_dir, self.double_checkpoint = os.fspath(backup_dir), double_checkpoint
        self.delete_checkpoint = delete_checkpoint
        self._count = BatchCount("BackupAndRestore", save_freq)
        self._epoch, self._random = 0, ""
        if save_freq == "epoch":
            self.idle = (BackupAndRestore.on_train_batch_end,)

    def on_train_begin(self, logs: Logs = None) -> None:
        for name in (_STATE, _BEFORE):
            if not (path := Path(self.backup_dir, name)).exists():
                continue
            try:
                with np.load(path, allow_pickle=False) as file:
                    saved = dict(file)
                break
            except (OSError, ValueError, EOFError):
                if not self.double_checkpoint or name == _BEFORE:
                    raise
        else:
            return
        where = json.loads(str(saved["where"]))
        arrays = self._arrays()
        for label, array in arrays.items():
            if label not in saved or saved[label].shape != array.shape:
                raise ValueError(f"BackupAndRestore: {path} is not of this model: it has no {label!r} of shape "
                                 f"{list(array.shape)}. Remove the folder {self.backup_dir!r} to begin anew.")
        for label, array in arrays.items():
            array[...] = saved[label]
        _set_random(where["random"])
        self.model._resume = where["epoch"], where["batch"]

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._epoch, self._random = epoch, _get_random()  # the order of the epoch's rows is drawn after this

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        if self._count.save_freq != "epoch" and self._count.due(batch):
            self._save(self._epoch, batch + 1, self._random)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if self._count.save_freq == "epoch":
            self._save(epoch + 1, 0, _get_random())

    def on_train_end(self, logs: Logs = None) -> None:
        folder = Path(self.backup_dir)
        if self.delete_checkpoint and folder.is_dir():
            for name in (_STATE, _BEFORE):
                (folder / name).unlink(missing_ok=True)
            if not any(folder.iterdir()):
                folder.rmdir()

    def _save(self, epoch: int, batch: int, random_state: Any) -> None:
        folder = Path(self.backup_dir)
        folder.mkdir(parents=True, exist_ok=True)
        where = json.dumps({"epoch": epoch, "batch": batch, "random": random_state})
        new = folder / f"{_STATE}.new"
        with open(new, "wb") as file:
            np.savez(file, **{"where": np.array(where)} | self._arrays())  # type: ignore[arg-type]
        if self.double_checkpoint and (folder / _STATE).exists():
            os.replace(folder / _STATE, folder / _BEFORE)
        os.replace(new, folder / _STATE)  # at no time is there half a file of that name

    def _arrays(self) -> dict[str, np.ndarray]:
        """Every array that training changes, by the label of its variable."""
        model = self.model
        state = () if model.training_graph is None else model.training_graph.state
        variables = [*model.weights, model.random_key, *model.optimizer.variables, *state]
        return {f"state/{v.label}": v.array for v in variables}


def _get_random() -> Any:
    """The state of Python's and of NumPy's global random numbers, as JSON can hold it."""
    kind, keys, *rest = tuple(np.random.get_state())
    version, words, gauss = random.getstate()
    return [[kind, np.asarray(keys).tolist(), *rest], [version, list(words), gauss]]


def _set_random(state: Any) -> None:
    (kind, keys, *rest), (version, words, gauss) = state
    np.random.set_state((kind, np.array(keys, np.uint32), *rest))
    random.setstate((version, tuple(words), gauss))
