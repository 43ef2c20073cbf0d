"""Sources whose rows have numbers: arrays in memory, and data sets on disk that are larger than it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any

import numpy as np

from graphc.data import Batches, is_ready, ready
from graphc.sources.background import background
from graphc.sources.source import Arrays, Source

__all__ = ["Rows", "count_rows", "is_on_disk", "read_rows"]

PART = 1 << 21  # bytes of rows that are read and converted at a time

Take = Callable[[Any], Arrays]


class Rows(Source):
    """Rows of arrays that are read, and converted to what a program takes, a part at a time.

    `take` gives the arrays of some rows, by a slice or by their numbers. `whole` are all arrays where they are in
    memory: if a program takes them as they are, a pass over the rows is one part, and the program finds the rows
    itself. Otherwise rows come from a disk, and the next part is read while the steps of this one run.
    """

    def __init__(self, take: Take, rows: int, batch_size: int, shuffle: Any = False, whole: Arrays | None = None,
                 start: int = 0):
        super().__init__()
        if shuffle not in (True, False, "batch"):
            raise ValueError(f"shuffle={shuffle!r}: expected True, False or 'batch'.")
        self.take, self.rows, self.batch_size, self.shuffle, self.start = take, rows, batch_size, shuffle, start
        self.whole = whole
        self._order: np.ndarray | None = None
        self._done = 0  # batches of the pass in epochs that are over

    @classmethod
    def of(cls, arrays: Arrays, batch_size: int, shuffle: Any = False) -> Rows:
        """Rows of arrays in memory."""
        return cls(lambda at: tuple([a[at] for a in arrays]), len(arrays[0]), batch_size, shuffle, arrays)

    @property
    def batches(self) -> int:  # type: ignore[override]
        """The number of batches in a pass."""
        return -(-self.rows // self.batch_size)

    def split(self, at: int) -> tuple[Rows, Rows]:
        """The rows before `at`, and those from there on, which are not shuffled."""
        def part(first: int, rows: int, shuffle: Any) -> Rows:
            whole = None if self.whole is None else tuple([a[first:first + rows] for a in self.whole])
            return Rows.of(whole, self.batch_size, shuffle) if whole is not None else Rows(
                self.take, rows, self.batch_size, shuffle, start=first)
        return part(0, at, self.shuffle), part(at, self.rows - at, False)

    def sample(self) -> Arrays:
        return self.take(slice(self.start, self.start + min(self.batch_size, self.rows)))

    def restart(self) -> None:
        self._done = 0

    def place(self) -> Any:
        return [self._done, self._order] if 0 < self._done < self.batches else None

    def go_to(self, place: Any) -> None:
        self._done, self._order = place

    def epoch(self, steps: int | None = None, skip: int = 0) -> Generator[Batches]:
        if steps is None or self._done >= self.batches:
            self._done = 0
        if self._done == 0:
            self._order = self._new_order()
        first = self._done + skip
        self._done = self.batches if steps is None else min(self.batches, self._done + steps)
        begin, end = first * self.batch_size, min(self._done * self.batch_size, self.rows)
        if begin >= end:
            return
        if self.whole is not None and all(map(is_ready, self.whole, self.dtypes)):
            if self._order is None:
                yield Batches([a[begin:end] for a in self.whole], self.batch_size, None, self.pace)
            else:
                yield Batches(self.whole, self.batch_size, self._order[begin:end], self.pace)
            return
        each = self._rows_of_a_part()
        if end - begin <= each:
            yield self._part(begin, end)
            return
        parts = (self._part(at, min(at + each, end)) for at in range(begin, end, each))
        if self.whole is not None:  # a thread would take from the step the cores that it runs on
            yield from parts
            return
        with closing(background(parts)) as made:
            yield from made

    def _part(self, begin: int, end: int) -> Batches:
        at: Any = slice(self.start + begin, self.start + end)
        if self._order is not None:
            at = self._order[begin:end] + self.start
        arrays = [ready(a, d) for a, d in zip(self.take(at), self.dtypes, strict=True)]
        return Batches(arrays, self.batch_size, None, self.pace)

    def _rows_of_a_part(self) -> int:
        """A number of whole batches."""
        arrays = self.whole or self.take(slice(self.start, self.start + 1))
        row = sum(a[:1].size * d.itemsize for a, d in zip(arrays, self.dtypes, strict=True))
        return self.batch_size * max(1, PART // max(1, self.batch_size * row))

    def _new_order(self) -> np.ndarray | None:
        if not self.shuffle:
            return None
        if self.shuffle != "batch":
            return np.random.permutation(self.rows)
        starts = range(0, self.rows, self.batch_size)
        return np.concatenate([np.random.permutation(min(self.batch_size, self.rows - s)) + s for s in starts])


def is_on_disk(data: Any) -> bool:
    """Whether data are read by rows, because as a whole they may be larger than memory: h5py's data sets and others
    with a shape and slices, SciPy's sparse matrices, and memory-mapped arrays."""
    if isinstance(data, np.ndarray):
        return isinstance(data, np.memmap)
    return hasattr(data, "toarray") or (hasattr(data, "shape") and hasattr(data, "dtype") and hasattr(data, "chunks"))


def count_rows(data: Any) -> int:
    """The extent of the first axis."""
    return data.shape[0] if hasattr(data, "shape") else len(data)


def read_rows(data: Any, at: Any) -> Any:
    """Rows of an array, of a data set on disk or of a sparse matrix, by a slice or by their numbers."""
    if isinstance(data, np.ndarray):
        return data[at]
    if hasattr(data, "toarray"):
        return data[at].toarray()
    if hasattr(data, "iloc"):
        return data.iloc[at]
    if isinstance(at, slice):
        return data[at]
    numbers, places = np.unique(at, return_inverse=True)  # h5py takes them in order, each once
    first, last = int(numbers[0]), int(numbers[-1]) + 1
    if last - first <= 4 * len(numbers):  # close together: reading what lies between is quicker
        return np.asarray(data[first:last])[np.asarray(at) - first]
    return np.asarray(data[numbers])[places]
