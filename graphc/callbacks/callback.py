"""The base of callbacks: one method for each moment."""

from __future__ import annotations

from typing import Any

__all__ = ["Callback", "Logs"]

Logs = dict[str, Any] | None


class Callback:
    """Base: override the moments of interest. `model` and `params` (epochs, steps, verbose) are set by `fit`.

    Logs are averages of the epoch so far; what is added to those of an epoch's end becomes part of the History.
    `model.stop_training = True` ends training after the present batch. https://keras.io/api/callbacks/base_callback/
    """

    model: Any = None
    params: dict[str, Any] | None = None
    # functions of the class that do nothing with its present options: batches run together where nobody listens
    idle: tuple[Any, ...] = ()
    # names of attributes that a BackupAndRestore keeps: numbers, texts, arrays, lists and dicts of them
    remembered: tuple[str, ...] = ()
    comes_last = False  # whether the others are told before it

    def set_model(self, model: Any) -> None:
        """Called before anything else."""
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        """Called before anything else: verbose, epochs and steps, which is None where it is not known."""
        self.params = params

    def on_train_begin(self, logs: Logs = None) -> None: ...
    def on_train_end(self, logs: Logs = None) -> None: ...
    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None: ...
    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None: ...
    def on_batch_begin(self, batch: int, logs: Logs = None) -> None: ...
    def on_batch_end(self, batch: int, logs: Logs = None) -> None: ...

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self.on_batch_begin(batch, logs=logs)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self.on_batch_end(batch, logs=logs)

    def on_test_begin(self, logs: Logs = None) -> None: ...
    def on_test_end(self, logs: Logs = None) -> None: ...
    def on_test_batch_begin(self, batch: int, logs: Logs = None) -> None: ...
    def on_test_batch_end(self, batch: int, logs: Logs = None) -> None: ...
    def on_predict_begin(self, logs: Logs = None) -> None: ...
    def on_predict_end(self, logs: Logs = None) -> None: ...
    def on_predict_batch_begin(self, batch: int, logs: Logs = None) -> None: ...
    def on_predict_batch_end(self, batch: int, logs: Logs = None) -> None: ...
