"""Work that goes on in another thread while a step runs."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from contextvars import copy_context
from queue import SimpleQueue
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
    # an interrupt in the middle of a `Queue` would leave it locked; these are of one piece
    made: SimpleQueue[Any] = SimpleQueue()
    room: SimpleQueue[None] = SimpleQueue()  # for as many items more
    wanted = True
    for _ in range(ahead):
        room.put(None)

    def work() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                made.put(item)
                room.get()
                if not wanted:
                    return
        except BaseException as e:
            error = e
        made.put(_End(error))

    thread = threading.Thread(target=copy_context().run, args=(work,), name="graphc-data", daemon=True)
    try:  # an interrupt may come as soon as the thread runs
        thread.start()
        while not isinstance(item := made.get(), _End):
            room.put(None)
            yield item
        if item.error is not None:
            raise item.error
    finally:
        wanted = False
        room.put(None)
        if thread.is_alive():
            thread.join(_PATIENCE)
