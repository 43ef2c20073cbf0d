"""Sequences padded, cut into windows, and paired. https://keras.io/api/data_loading/timeseries/"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.padding import pad_sequences
from graphc.sources.pydataset import PyDataset

__all__ = ["TimeseriesGenerator", "make_sampling_table", "pad_sequences", "skipgrams"]


class TimeseriesGenerator(PyDataset):
    """Batches of windows of a series, each with the target of the step after it.

    A window is every `sampling_rate`-th of the `length` steps before a row; rows are `stride` apart, from
    `start_index + length` to `end_index`. With `shuffle` rows are drawn at random, `reverse` turns windows round.
    """

    def __init__(self, data: Any, targets: Any, length: int, sampling_rate: int = 1, stride: int = 1,
                 start_index: int = 0, end_index: int | None = None, shuffle: bool = False, reverse: bool = False,
                 batch_size: int = 128, **options: Any):
        super().__init__(**options)
        if len(data) != len(targets):
            raise ValueError(f"TimeseriesGenerator received {len(data)} steps of data and {len(targets)} targets, "
                             "expected as many.")
        self.data, self.targets, self.length, self.sampling_rate = data, targets, length, sampling_rate
        self.stride, self.shuffle, self.reverse, self.batch_size = stride, shuffle, reverse, batch_size
        self.start_index = start_index + length
        self.end_index = len(data) - 1 if end_index is None else end_index
        if self.start_index > self.end_index:
            raise ValueError(f"TimeseriesGenerator: no window of {length} steps fits between start_index={start_index} "
                             f"and end_index={self.end_index}.")

    def __len__(self) -> int:
        return -(-(self.end_index - self.start_index + 1) // (self.batch_size * self.stride))

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if self.shuffle:
            rows = np.random.randint(self.start_index, self.end_index + 1, self.batch_size)
        else:
            first = self.start_index + self.batch_size * self.stride * index
            last = min(first + self.batch_size * self.stride, self.end_index + 1)
            rows = np.arange(first, last, self.stride)
        windows = np.array([self.data[row - self.length:row:self.sampling_rate] for row in rows])
        return windows[:, ::-1] if self.reverse else windows, np.array([self.targets[row] for row in rows])


def make_sampling_table(size: int, sampling_factor: float = 1e-5) -> np.ndarray:
    """How often each of `size` words, by rank, is kept by `skipgrams`: float64 (size,).

    Frequencies are those of Zipf's law, the rule is that of word2vec (Mikolov et al., 2013).
    """
    rank = np.arange(size)
    rank[:1] = 1
    inverse = rank * (np.log(rank) + 0.577) + 0.5 - 1 / (12 * rank)
    return np.minimum(1, np.sqrt(sampling_factor * inverse))


def skipgrams(sequence: Sequence[int], vocabulary_size: int, window_size: int = 4, negative_samples: float = 1.0,
              shuffle: bool = True, categorical: bool = False, sampling_table: Any = None,
              seed: int | None = None) -> tuple[list[list[int]], list[Any]]:
    """Pairs of words that stand near each other, labelled 1, and of a word and a random one, labelled 0.

    The number 0 is no word. Draws from Python's `random`. https://arxiv.org/abs/1301.3781
    """
    positive, negative = ([0, 1], [1, 0]) if categorical else (1, 0)
    pairs: list[list[int]] = []
    for i, word in enumerate(sequence):
        if not word or (sampling_table is not None and sampling_table[word] < random.random()):
            continue
        around = range(max(0, i - window_size), min(len(sequence), i + window_size + 1))
        pairs += [[word, sequence[j]] for j in around if j != i and sequence[j]]
    labels: list[Any] = [positive] * len(pairs)
    count = int(len(pairs) * negative_samples)
    if count:
        words = [word for word, _ in pairs]
        random.shuffle(words)
        pairs += [[words[i % len(words)], random.randint(1, vocabulary_size - 1)] for i in range(count)]
        labels += [negative] * count
    if shuffle:
        seed = random.randint(0, 10**7) if seed is None else seed
        for values in (pairs, labels):
            random.seed(seed)
            random.shuffle(values)
    return pairs, labels
