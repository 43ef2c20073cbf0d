"""11,228 newswires as word numbers, in 46 topics. https://keras.io/api/datasets/reuters/"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from graphc.datasets.files import Pair, check_split, find, load_npz, reading
from graphc.datasets.words import encode, objects, shorter, start
from graphc.names import refuse_unknown

__all__ = ["get_label_names", "get_word_index", "load_data"]

_SHA256 = "d6586e694ee56d7a4e65172e12b3e987c03096cb01eab99753921ef915959916"
_WORDS_MD5 = "4d44cc38712099c9e383dc6e5f11a921"
_TOPICS = ("cocoa grain veg-oil earn acq wheat copper housing money-supply coffee sugar trade reserves ship cotton "
           "carcass crude nat-gas cpi money-fx interest gnp meal-feed alum oilseed gold tin strategic-metal livestock "
           "retail ipi iron-steel rubber heat jobs lei bop zinc orange pet-chem dlr gas silver wpi hog lead")


def load_data(path: str = "reuters.npz", num_words: int | None = None, skip_top: int = 0, maxlen: int | None = None,
              test_split: float = 0.2, seed: int = 113, start_char: int | None = 1, oov_char: int | None = 2,
              index_from: int = 3, **kwargs: Any) -> tuple[Pair, Pair]:
    """(x_train, y_train), (x_test, y_test): arrays of lists of word numbers, and topics int64 (n,).

    The arguments are those of `imdb.load_data`; the last `test_split` of the shuffled wires are the test set. Read
    from `path`, an absolute one or a name in ~/.keras/datasets, or from the folder that GRAPHC_DATA names, otherwise
    downloaded (2 MB). A file that holds something else raises ValueError; no file and no network raise
    FileNotFoundError.
    """
    refuse_unknown("reuters.load_data", kwargs, ["num_words", "skip_top", "maxlen", "test_split", "seed", "start_char",
                                                 "oov_char", "index_from"])
    check_split(test_split)
    x, labels = load_npz(find(path, "reuters.npz", _SHA256), ("x", "y"))
    order = np.arange(len(x))
    np.random.RandomState(seed).shuffle(order)
    texts, labels = shorter(start(x[order], start_char, index_from), labels[order], maxlen)
    encoded, at = objects(encode(texts, num_words, skip_top, oov_char)), int(len(texts) * (1 - test_split))
    return (encoded[:at], labels[:at]), (encoded[at:], labels[at:])


def get_word_index(path: str = "reuters_word_index.json") -> dict[str, int]:
    """The words and their ranks by frequency, which `index_from` is added to in the wires."""
    file = find(path, "reuters_word_index.json", _WORDS_MD5)
    with reading(file, "words"):
        return json.loads(file.read_text("utf-8"))


def get_label_names() -> tuple[str, ...]:
    """The topics, in the order of their numbers."""
    return tuple(_TOPICS.split())
