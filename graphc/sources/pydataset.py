"""Data sets that give whole batches by their number, as threads or processes fetch them."""

from __future__ import annotations

import os
import random
import signal
import threading
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from itertools import count, islice
from multiprocessing import parent_process
from typing import Any

__all__ = ["PyDataset", "fetched"]


class PyDataset:
    """Base of data sets whose batches have numbers: `__getitem__(i)` gives (x, y) or (x, y, sample_weight).

    Define `__len__`, or the property `num_batches`, which is None where there is no end. With `workers` above 1 as many
    threads, or processes with `use_multiprocessing`, fetch batches, at most `max_queue_size` ahead of the one that is
    used; they keep their order. https://keras.io/api/utils/python_utils/#pydataset-class
    """

    def __init__(self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10):
        self._fetching_options = workers, use_multiprocessing, max_queue_size

    @property
    def workers(self) -> int:
        """The number of threads or processes."""
        return self._fetching[0]

    @workers.setter
    def workers(self, value: int) -> None:
        self._fetching_options = value, *self._fetching[1:]

    @property
    def use_multiprocessing(self) -> bool:
        """Whether workers are processes."""
        return self._fetching[1]

    @use_multiprocessing.setter
    def use_multiprocessing(self, value: bool) -> None:
        self._fetching_options = self._fetching[0], value, self._fetching[2]

    @property
    def max_queue_size(self) -> int:
        """How many batches are fetched ahead."""
        return self._fetching[2]

    @max_queue_size.setter
    def max_queue_size(self, value: int) -> None:
        self._fetching_options = *self._fetching[:2], value

    @property
    def _fetching(self) -> tuple[int, bool, int]:
        if "_fetching_options" not in vars(self):
            warnings.warn(f"{type(self).__name__}.__init__ should call super().__init__(**kwargs), which takes "
                          "workers, use_multiprocessing and max_queue_size.", stacklevel=3)
            self._fetching_options = 1, False, 10
        return self._fetching_options

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no `__getitem__`: define __getitem__(self, index), which "
                                  "returns a batch (x, y).")

    @property
    def num_batches(self) -> int | None:
        """The number of batches; None where there is no end."""
        if hasattr(self, "__len__"):
            return len(self)
        raise NotImplementedError(f"{type(self).__name__} has no length: define __len__(self) or the property "
                                  "num_batches.")

    def __iter__(self) -> Iterator[Any]:
        for index in _numbers(self.num_batches):
            yield self[index]

    def on_epoch_begin(self) -> None:
        """Called before the first batch of each epoch."""

    def on_epoch_end(self) -> None:
        """Called after each epoch, to shuffle the rows for example."""


def _numbers(batches: int | None) -> Iterable[int]:
    return count() if batches is None else range(batches)


def fetched(data: PyDataset, shuffle: Any = False) -> Iterator[Any]:
    """The batches of one pass, in an order drawn by Python's `random` where they are shuffled."""
    numbers = _numbers(data.num_batches)
    if shuffle and data.num_batches is not None:
        numbers = list(numbers)
        random.shuffle(numbers)
    workers, processes = data.workers, data.use_multiprocessing
    if workers < 1 or (workers == 1 and not processes):
        for number in numbers:
            yield data[number]
        return
    executor: Executor = (ProcessPoolExecutor(workers, initializer=_adopt, initargs=(data,)) if processes
                          else ThreadPoolExecutor(workers, "graphc-data"))
    fetch = _adopted if processes else data.__getitem__
    try:
        left = iter(numbers)
        ahead: deque[Future[Any]] = deque(executor.submit(fetch, i) for i in islice(left, max(1, data.max_queue_size)))
        while ahead:
            batch = ahead.popleft().result()
            ahead.extend(executor.submit(fetch, i) for i in islice(left, 1))
            yield batch
    finally:
        executor.shutdown(cancel_futures=True)


_DATA: list[PyDataset] = []  # of a worker process


def _adopt(data: PyDataset) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all processes: the parent ends its workers
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    _DATA[:] = [data]


def _end_with_the_parent() -> None:
    """A parent that is killed ends no workers: they look for that themselves."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _adopted(number: int) -> Any:
    return _DATA[0][number]
