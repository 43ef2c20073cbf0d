"""Work that goes on in another thread while a step runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterable
from contextlib import suppress
from contextvars import copy_context
from queue import Empty, Queue
from typing import Any, TypeVar

__all__ = ["background"]

T = TypeVar("T")
_PATIENCE = 5.0  # seconds that the end waits for an item that is being made


class _End:
    """What the thread puts last: nothing, or the error that ended it."""

    def __init__(self, error: BaseException | None):
        self.error = error


def background(items: Iterable[T], ahead: int = 1) -> Generator[T]:
    """The items, made in a thread of their own, `ahead` of them before they are asked for.

    An error comes out where its item would have, with its own traceback. Closing the iterator ends the thread: a
    `with closing(background(...))` leaves none behind. No item beyond the last of `items` is asked for, so a caller
    who bounds them takes from a generator exactly what it uses.
    """
    made: Queue[Any] = Queue(ahead)
    unwanted = threading.Event()

    def work() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                made.put(item)
                if unwanted.is_set():
                    return
        except BaseException as e:
            error = e
        made.put(_End(error))

    thread = threading.Thread(target=copy_context().run, args=(work,), name="graphc-data", daemon=True)
    try:  # an interrupt may come as soon as the thread runs
        thread.start()
        while not isinstance(item := made.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        unwanted.set()
        deadline = time.monotonic() + _PATIENCE
        while thread.is_alive() and time.monotonic() < deadline:
            with suppress(Empty):  # room for the item that the thread holds
                made.get_nowait()
            thread.join(0.005)
