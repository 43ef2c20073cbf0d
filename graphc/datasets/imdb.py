"""50,000 film reviews as word numbers, half of them positive. https://keras.io/api/datasets/imdb/"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from graphc.datasets.files import Pair, find, found, instead, load_npz, reading
from graphc.datasets.words import encode, objects, shorter, start
from graphc.names import refuse_unknown

__all__ = ["get_word_index", "load_data"]

_SHA256 = "69664113be75683a8fe16e3ed0ab59fda8886cb3cd7ada244f7d9544e4676b9f"
_WORDS_MD5 = "bfafd718b763782e994055a2d397834f"
_SUBSET_WORDS = 20000  # the words that imdb_subset.npz tells apart, its three special numbers among them


def load_data(path: str = "imdb.npz", num_words: int | None = None, skip_top: int = 0, maxlen: int | None = None,
              seed: int = 113, start_char: int | None = 1, oov_char: int | None = 2, index_from: int = 3,
              **kwargs: Any) -> tuple[Pair, Pair]:
    """(x_train, y_train), (x_test, y_test): arrays of lists of word numbers, and labels int64 (n,).

    A word's number is its rank by frequency plus `index_from`; a review starts with `start_char`. Numbers below
    `skip_top` and from `num_words` on become `oov_char`, or are left out where that is None. Reviews of `maxlen` words
    and more are left out.

    Read from `path`, an absolute one or a name in ~/.keras/datasets, or from the folder that GRAPHC_DATA names, where
    imdb_subset.npz with 15,000 of the reviews will do too; otherwise downloaded (17 MB). A file that holds something
    else raises ValueError; no file and no network raise FileNotFoundError.
    """
    if "nb_words" in kwargs:
        num_words = kwargs.pop("nb_words")  # its name in Keras 1
    refuse_unknown("imdb.load_data", kwargs, ["num_words", "skip_top", "maxlen", "seed", "start_char", "oov_char",
                                              "index_from"])
    if found(path) is None and (subset := instead("imdb_subset.npz", "IMDB")):
        x_train, y_train, x_test, y_test = _subset(subset)
        num_words = min(num_words or _SUBSET_WORDS, _SUBSET_WORDS)
    else:
        x_train, y_train, x_test, y_test = load_npz(find(path, "imdb.npz", _SHA256),
                                                    ("x_train", "y_train", "x_test", "y_test"))
    random = np.random.RandomState(seed)
    parts = []
    for x, y in ((x_train, y_train), (x_test, y_test)):
        order = np.arange(len(x))
        random.shuffle(order)
        parts.append(shorter(start(x[order], start_char, index_from), y[order], maxlen))
    (train, y_train), (test, y_test) = parts
    texts = objects(encode(train + test, num_words, skip_top, oov_char))
    return (texts[:len(train)], y_train), (texts[len(train):], y_test)


def _subset(path: Path) -> list[np.ndarray]:
    """The reviews as ranks; a word that the file doesn't tell apart has one beyond those that it does."""
    arrays = []
    for part in ("train", "test"):
        tokens, offsets, labels = load_npz(path, (f"{part}_tokens", f"{part}_offsets", f"y_{part}"))
        ranks = np.where(tokens == 2, _SUBSET_WORDS, tokens - 3)
        arrays += [objects([ranks[a + 1:b].tolist() for a, b in pairwise(offsets.tolist())]), labels]
    return arrays


def get_word_index(path: str = "imdb_word_index.json") -> dict[str, int]:
    """The words and their ranks by frequency: `the` has 1, and the number 4 in reviews with `index_from=3`."""
    file = find(path, "imdb_word_index.json", _WORDS_MD5)
    with reading(file, "words"):
        return json.loads(file.read_text("utf-8"))
