"""What all sources have in common."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import numpy as np

from graphc.data import Batches, Pace

__all__ = ["Arrays", "Source"]

Arrays = tuple[np.ndarray, ...]


class Source:
    """Base of sources: define `sample` and `epoch`, and say how many `batches` there are in a pass, if that is known.

    `dtypes` are those of the program that takes the batches, and are set before the first epoch; `made` keeps what was
    made for the source.
    """

    varies = False  # whether parts may need different programs
    once = False  # whether a pass can't be repeated
    exhausted = False  # whether the only pass is through
    batches: int | None

    def __init__(self) -> None:
        self.dtypes: Sequence[np.dtype] = ()
        self.made: Any = (None,)
        self.pace = Pace()
        self._first: Arrays | None = None

    def first(self) -> Arrays:
        """The arrays of some rows, which tell what kind of program they need."""
        if self._first is None:
            self._first = self.sample()
        return self._first

    def sample(self) -> Arrays:
        """The arrays that `first` gives; no row is lost by that."""
        raise NotImplementedError

    def epoch(self, steps: int | None = None, skip: int = 0) -> Generator[Batches]:
        """The next `steps` batches of a pass, but for the first `skip`; without a number all that are left of it."""
        raise NotImplementedError

    def restart(self) -> None:
        """Begin again with the next epoch where that is possible."""

    def place(self) -> Any:
        """Where in a pass the next epoch begins, for `go_to`; None at a beginning, and where that isn't known."""
        return None

    def go_to(self, place: Any) -> None:
        """Begin the next epoch at a place of a source of the same data."""

    def close(self) -> None:
        """Let go of what a pass holds."""
