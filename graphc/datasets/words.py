"""Texts as lists of word numbers: which words are kept, and where their numbers start."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

__all__ = ["encode", "objects", "shorter", "start"]


def start(texts: Iterable[Sequence[int]], start_char: int | None, index_from: int) -> list[list[int]]:
    """Texts of ranks with their numbers moved up, behind a first number that is the same for all."""
    first = [] if start_char is None else [start_char]
    move = index_from if start_char is not None or index_from else 0
    return [[*first, *(word + move for word in text)] for text in texts]


def shorter(texts: list[list[int]], labels: np.ndarray, maxlen: int | None) -> tuple[list[list[int]], np.ndarray]:
    """The texts that have fewer words than `maxlen`, and their labels."""
    if not maxlen:
        return texts, labels
    kept = [i for i, text in enumerate(texts) if len(text) < maxlen]
    if not kept:
        raise ValueError(f"load_data(maxlen={maxlen}): every text has at least that many words. Use a larger maxlen.")
    return [texts[i] for i in kept], labels[kept]


def encode(texts: list[list[int]], num_words: int | None, skip_top: int, oov_char: int | None) -> list[list[int]]:
    """Texts with the numbers below `skip_top` and from `num_words` on replaced, or left out without `oov_char`."""
    end = num_words or max(max(text) for text in texts)
    if oov_char is None:
        return [[w for w in text if skip_top <= w < end] for text in texts]
    return [[w if skip_top <= w < end else oov_char for w in text] for text in texts]


def objects(texts: list[list[int]]) -> Any:
    """The lists as the elements of an array."""
    array = np.empty(len(texts), object)
    array[:] = texts
    return array
