"""What threads share while programs are made, and how that is whole in a forked child.

A fork copies the memory of a process and the thread that forks: what another thread holds at that moment, the child
never gets. So a fork waits until no program is being made, and what programs hold while they run is made anew.
"""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401  # its lock at a fork has to be taken after ours
import os
import threading
from typing import Protocol
from weakref import WeakSet

__all__ = ["MAKING", "renewed"]

MAKING = threading.RLock()  # held while layers are built, steps traced and programs compiled: one thread at a time


class Renewed(Protocol):
    """Something that begins anew in a forked child."""

    def after_fork(self) -> None:
        """Forget threads and locks of the parent."""


_RENEWED: WeakSet[Renewed] = WeakSet()


def renewed(thing: Renewed) -> None:
    """Have `after_fork` called in forked children as long as the thing lives."""
    _RENEWED.add(thing)


def _after_fork() -> None:
    MAKING.release()
    for thing in list(_RENEWED):
        thing.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=MAKING.acquire, after_in_parent=MAKING.release, after_in_child=_after_fork)
