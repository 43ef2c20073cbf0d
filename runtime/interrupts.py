"""Ctrl-C at the right moment: what it doesn't cut in two, and how it isn't lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

__all__ = ["notice", "noticed", "uninterrupted"]

_waiting: list[Callable[[], None]] = []  # each raises an interrupt that has come and ended nothing so far
_open: set[str] = set()  # which of the contexts below are


def notice() -> None:
    """Raise an interrupt that waits."""
    while _waiting and threading.current_thread() is threading.main_thread():
        _waiting.pop(0)()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Have interrupts wait until the end of what is inside, or until `notice` is called there.

    Code that removes many objects has to have this: Python drops what is raised while it removes one.
    """
    try:
        with _handling("uninterrupted", lambda handler, *received: _waiting.append(partial(handler, *received))):
            yield
    finally:
        if "uninterrupted" not in _open:
            notice()


@contextmanager
def noticed() -> Iterator[None]:
    """Have `notice`, which is also called at the end, raise an interrupt that was dropped inside."""
    inner = bool(_open)
    try:
        with _handling("noticed", _raised):
            yield
            if not inner:
                notice()
    finally:
        if not inner:
            _waiting.clear()


def _raised(handler: Callable[..., Any], *received: Any) -> None:
    try:
        handler(*received)
    except BaseException as error:
        _waiting.append(partial(_raise, error))
        raise


def _raise(error: BaseException) -> None:
    raise error


@contextmanager
def _handling(who: str, handle: Callable[..., None]) -> Iterator[None]:
    """Let a function handle interrupts, which gets the handler that there was.

    Not so where it does that already, and outside the main thread, which is the one that Python interrupts.
    """
    handler = signal.getsignal(signal.SIGINT)
    if who in _open or not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield
        return
    try:  # an interrupt may come after any of these lines
        _open.add(who)
        signal.signal(signal.SIGINT, partial(handle, handler))
        yield
    finally:
        try:
            signal.signal(signal.SIGINT, handler)
        finally:
            _open.discard(who)
