"""Sources that give batches one after the other: generators and other iterables, loaders, PyDatasets."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing, suppress
from itertools import chain, islice
from typing import Any

from graphc.data import Batches, ready
from graphc.sources.background import background
from graphc.sources.pydataset import PyDataset, fetched
from graphc.sources.source import Arrays, Source
from graphc.sources.structure import plain

__all__ = ["Stream", "is_stream", "unpack_batch"]

_KINDS = "x, (x,), (x, y) or (x, y, sample_weight)"


def is_stream(x: Any) -> bool:
    """Whether something gives batches: a PyDataset, an iterator, or an iterable that is not an array of any kind."""
    if isinstance(x, PyDataset) or hasattr(x, "__next__"):
        return True
    if x is None or isinstance(x, list | tuple | dict | str | bytes):
        return False
    if any(hasattr(x, name) for name in ("shape", "__array__", "iloc", "keys")):
        return False
    return hasattr(x, "__iter__") or (hasattr(x, "__getitem__") and hasattr(x, "__len__"))


def unpack_batch(batch: Any, who: str) -> tuple[Any, Any, Any]:
    """The inputs, labels and weights of one batch as generators and validation_data give it."""
    if not isinstance(batch, list | tuple):
        return batch, None, None
    if not 1 <= len(batch) <= 3:
        raise ValueError(f"{who} a {type(batch).__name__} of {len(batch)} items, expected {_KINDS}. Put several inputs "
                         "or outputs of a model into a list, tuple or dict of their own.")
    x, y, weights = (*batch, None, None)[:3]
    return x, y, weights


class Stream(Source):
    """Batches from an iterable; the next one is fetched and converted while the step of this one runs.

    `flatten` makes the arrays of a program from the inputs, labels and weights of a batch. An iterator goes on where
    the last epoch has left it, anything else starts again once it is through.
    """

    varies = True  # batches may need different programs

    def __init__(self, data: Any, flatten: Callable[[Any, Any, Any], Arrays], who: str, shuffle: Any = False):
        super().__init__()
        self.data, self.flatten, self.who, self.shuffle = data, flatten, who, shuffle
        self.once = hasattr(data, "__next__") and not isinstance(data, PyDataset)
        self.batches = _length(data)
        self._iterator: Any = None  # of the present pass
        self._ahead: list[Any] = []  # the batch that was looked at and comes next
        self._passed = 0  # batches of the pass in epochs that are over

    def sample(self) -> Arrays:
        if isinstance(self.data, PyDataset):
            if self.batches == 0:
                raise self._empty()
            return self._arrays(self.data[0])  # so `on_epoch_begin` comes before anything of the epoch
        self._start()
        self._ahead = list(islice(self._iterator, 1))
        if not self._ahead:
            raise self._empty()
        return self._arrays(self._ahead[0])

    def epoch(self, steps: int | None = None, skip: int = 0) -> Generator[Batches]:
        self._go_on()
        iterator = chain(self._ahead, self._iterator)
        self._ahead = []
        data = self.data if isinstance(self.data, PyDataset) else None
        if data is not None:
            data.on_epoch_begin()
        taken = skip
        try:
            parts = background(map(self._prepared, islice(iterator, skip, steps)))
            with closing(parts) as made:
                for arrays in made:
                    taken += 1
                    yield Batches(arrays, max(1, len(arrays[0])), None, self.pace)
        finally:
            self._passed += taken
        if steps is None or taken < steps:
            self.exhausted = self.once
            self.restart()
        if data is not None:
            data.on_epoch_end()

    def restart(self) -> None:
        if not self.once and self._passed:
            self.close()

    def close(self) -> None:
        if isinstance(self.data, PyDataset) and self._iterator is not None:
            with suppress(ValueError):  # its thread has not come back from fetching
                self._iterator.close()
        self._iterator = None

    def _go_on(self) -> None:
        """Begin a new pass where the present one is through."""
        again = not self.once and self._passed
        if again and self.batches is None and self._iterator is not None and not isinstance(self.data, PyDataset):
            self._ahead = list(islice(self._iterator, 1))  # only a look tells
            again = not self._ahead
        elif again:
            again = self._passed == self.batches
        if self._iterator is None or again:
            self._start()

    def _start(self) -> None:
        self.close()
        self._passed, self._ahead = 0, []
        self._iterator = fetched(self.data, self.shuffle) if isinstance(self.data, PyDataset) else iter(self.data)

    def _prepared(self, batch: Any) -> Arrays:
        arrays = self._arrays(batch)
        if len(self.dtypes) != len(arrays):
            return arrays
        return tuple(map(ready, arrays, self.dtypes))

    def _arrays(self, batch: Any) -> Arrays:
        return self.flatten(*unpack_batch(plain(batch), self.who))

    def _empty(self) -> ValueError:
        return ValueError(f"{self.who} no batch: a generator or data set must give at least one.")


def _length(data: Any) -> int | None:
    """The number of batches where it is known."""
    if isinstance(data, PyDataset):
        return data.num_batches
    try:
        return len(data)
    except (TypeError, NotImplementedError, AttributeError):
        return None
