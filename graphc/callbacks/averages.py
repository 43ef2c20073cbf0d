"""Evaluating and saving with averaged weights."""

from __future__ import annotations

from graphc.callbacks.callback import Callback, Logs
from graphc.runtime.interrupts import uninterrupted
from graphc.variable import assign_all

__all__ = ["SwapEMAWeights"]


class SwapEMAWeights(Callback):
    """Exchange the weights and their averages, which an optimizer with `use_ema=True` keeps, for evaluation.

    With `swap_on_epoch` they are also exchanged from the end of each epoch to the beginning of the next, so that a
    ModelCheckpoint after this callback saves the averages, and a training that comes to its end leaves them in the
    model. https://keras.io/api/callbacks/swap_ema_weights/
    """

    def __init__(self, swap_on_epoch: bool = False):
        self.swap_on_epoch = swap_on_epoch
        self._swapped = False

    def _swap(self, averages: bool) -> None:
        """Have the model hold the averages, or its own weights."""
        if self._swapped == averages:
            return
        with uninterrupted():
            self._swapped = averages
            for weight, average in self._pairs():
                held = weight.array.copy()
                weight.array[...] = average.array
                average.array[...] = held

    def _pairs(self) -> list:
        optimizer = self.model.optimizer
        known = {v.path: v for v in optimizer.variables}
        pairs = [(w, known.get(f"optimizer/{w.path}/average")) for w in self.model.trainable_weights]
        if not pairs or any(average is None for _, average in pairs):
            raise ValueError(f"SwapEMAWeights found no averages in {optimizer!r}. Give the optimizer use_ema=True, and "
                             "train before evaluating.")
        return pairs

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        if self.swap_on_epoch:
            self._swap(False)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if not self.swap_on_epoch:
            return
        self._swap(True)
        if epoch == (self.params or {}).get("epochs", 0) - 1:  # then training replaces the weights by the averages
            assign_all((average, weight.array) for weight, average in self._pairs())

    def on_test_begin(self, logs: Logs = None) -> None:
        self._swap(True)

    def on_test_end(self, logs: Logs = None) -> None:
        self._swap(False)

    def on_predict_begin(self, logs: Logs = None) -> None:
        self._swap(True)

    def on_predict_end(self, logs: Logs = None) -> None:
        self._swap(False)
