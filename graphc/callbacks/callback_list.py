"""Several callbacks as one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from graphc.callbacks.callback import Callback, Logs
from graphc.callbacks.records import History, ProgbarLogger

__all__ = ["CallbackList"]

MOMENTS = tuple(name for name in vars(Callback) if name.startswith("on_"))
_FORWARDED = {"on_train_batch_begin": "on_batch_begin", "on_train_batch_end": "on_batch_end"}


class CallbackList(Callback):
    """Callbacks in their order, nested lists of them included; moments that none of them uses cost nothing.

    `fit` makes one, with a History at the end, so that callbacks before it may add to the logs. A training loop of
    one's own may do the same: `CallbackList(callbacks, add_history=True, model=model, epochs=3)`.
    """

    def __init__(self, callbacks: Any = None, add_history: bool = False, add_progbar: bool = False, model: Any = None,
                 **params: Any):
        self.callbacks = list(_flat(callbacks))
        if add_history and self._one(History) is None:
            self.callbacks.append(History())
        if add_progbar and self._one(ProgbarLogger) is None:
            self.callbacks.append(ProgbarLogger())
        self.callbacks.sort(key=lambda c: c.comes_last)
        if model is not None:
            self.set_model(model)
        self.set_params(params)

    @property
    def history(self) -> History | None:
        """The History among the callbacks."""
        return self._one(History)

    def _one(self, kind: type) -> Any:
        return next((c for c in self.callbacks if isinstance(c, kind)), None)

    def append(self, callback: Callback) -> None:
        """One more."""
        self.callbacks.append(*_flat([callback]))

    def set_model(self, model: Any) -> None:
        self.model = model
        if self.history is not None:
            model.history = self.history
        for callback in self.callbacks:
            callback.set_model(model)

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params
        for callback in self.callbacks if params else ():
            callback.set_params(params)

    def users_of(self, moment: str) -> list[Callable[..., None]]:
        """The bound methods of a moment, from callbacks that override it or one that it forwards to."""
        if not self.callbacks:
            return []
        moments = (moment, _FORWARDED[moment]) if moment in _FORWARDED else (moment,)
        return [getattr(c, moment) for c in self.callbacks if any(_listens(c, m) for m in moments)]

    def __call__(self, moment: str, *number: int, logs: Logs = None) -> None:
        """Tell all who listen; they share one dict of logs."""
        logs = {} if logs is None else logs
        for method in self.users_of(moment):
            method(*number, logs)


def _listens(callback: Callback, moment: str) -> bool:
    method = getattr(type(callback), moment)
    return moment in vars(callback) or (method is not getattr(Callback, moment) and method not in callback.idle)


def _flat(callbacks: Any) -> Iterator[Callback]:
    if isinstance(callbacks, CallbackList):
        yield from callbacks.callbacks
    elif isinstance(callbacks, list | tuple):
        for part in callbacks:
            yield from _flat(part)
    elif isinstance(callbacks, Callback):
        yield callbacks
    elif callbacks is not None:
        made = f" Make one of it: {callbacks.__name__}(...)." if isinstance(callbacks, type) else ""
        raise TypeError(f"callbacks: {callbacks!r} is not a graphc.callbacks.Callback.{made}")


def _told(moment: str) -> Callable[..., None]:
    numbered = "epoch" in moment or "batch" in moment

    def with_number(self: CallbackList, number: int, logs: Logs = None) -> None:
        self(moment, number, logs=logs)

    def alone(self: CallbackList, logs: Logs = None) -> None:
        self(moment, logs=logs)

    return with_number if numbered else alone


for _moment in MOMENTS:
    setattr(CallbackList, _moment, _told(_moment))
