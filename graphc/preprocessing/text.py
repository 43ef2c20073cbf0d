"""Texts as word numbers, as older releases made them. https://faroit.com/keras-docs/2.0.8/preprocessing/text/

New programs use the layer TextVectorization.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

__all__ = ["Tokenizer", "hashing_trick", "one_hot", "text_to_word_sequence", "tokenizer_from_json"]

_FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'


def text_to_word_sequence(input_text: str, filters: str = _FILTERS, lower: bool = True, split: str = " ") -> list[str]:
    """The words of a text; `filters` are characters that separate words as `split` does."""
    text = input_text.lower() if lower else input_text
    return [word for word in text.translate(dict.fromkeys(map(ord, filters), split)).split(split) if word]


def one_hot(input_text: str, n: int, filters: str = _FILTERS, lower: bool = True, split: str = " ",
            analyzer: Callable[[str], list[str]] | None = None) -> list[int]:
    """The words of a text as numbers from 1 to n - 1 by Python's `hash`, which differs from process to process."""
    return hashing_trick(input_text, n, hash, filters, lower, split, analyzer)


def hashing_trick(text: str, n: int, hash_function: Any = None, filters: str = _FILTERS, lower: bool = True,
                  split: str = " ", analyzer: Callable[[str], list[str]] | None = None) -> list[int]:
    """The words of a text as numbers from 1 to n - 1 by a hash: `hash`, 'md5' or a function of a word."""

    def md5(word: str) -> int:
        return int(hashlib.md5(word.encode(), usedforsecurity=False).hexdigest(), 16)

    number = hash if hash_function is None else md5 if hash_function == "md5" else hash_function
    words = text_to_word_sequence(text, filters, lower, split) if analyzer is None else analyzer(text)
    return [number(word) % (n - 1) + 1 for word in words]


class Tokenizer:
    """Numbers words by how often they came up in `fit_on_texts`: the commonest is 1, or 2 behind an `oov_token`.

    Only words numbered below `num_words` are used; others are left out, or become the `oov_token`. With `char_level`
    characters are words. A list as a text is its words.
    """

    def __init__(self, num_words: int | None = None, filters: str = _FILTERS, lower: bool = True, split: str = " ",
                 char_level: bool = False, oov_token: str | None = None,
                 analyzer: Callable[[str], list[str]] | None = None, document_count: int = 0):
        self.num_words, self.filters, self.lower, self.split = num_words, filters, lower, split
        self.char_level, self.oov_token, self.analyzer = char_level, oov_token, analyzer
        self.document_count = document_count
        self.word_counts: dict[str, int] = {}
        self.word_docs: Counter[str] = Counter()
        self.index_docs: Counter[int] = Counter()
        self.word_index: dict[str, int] = {}
        self.index_word: dict[int, str] = {}

    def fit_on_texts(self, texts: Iterable[Any]) -> None:
        """Count the words of texts and number them."""
        for text in texts:
            self.document_count += 1
            words = self._words(text)
            for word in words:
                self.word_counts[word] = self.word_counts.get(word, 0) + 1
            self.word_docs.update(set(words))
        first = [] if self.oov_token is None else [self.oov_token]
        ranked = first + sorted(self.word_counts, key=self.word_counts.__getitem__, reverse=True)
        self.word_index = {word: i for i, word in enumerate(ranked, 1)}
        self.index_word = {i: word for word, i in self.word_index.items()}
        self.index_docs = Counter({self.word_index[word]: count for word, count in self.word_docs.items()})

    def fit_on_sequences(self, sequences: Any) -> None:
        """Count in how many sequences each number is, for `sequences_to_matrix`."""
        self.document_count += len(sequences)
        for sequence in sequences:
            self.index_docs.update(set(sequence))

    def texts_to_sequences(self, texts: Iterable[Any]) -> list[list[int]]:
        """Texts as lists of word numbers."""
        return list(self.texts_to_sequences_generator(texts))

    def texts_to_sequences_generator(self, texts: Iterable[Any]) -> Iterator[list[int]]:
        """The same one by one."""
        unknown = self.word_index.get(self.oov_token) if self.oov_token is not None else None
        for text in texts:
            numbers = (self.word_index.get(word) for word in self._words(text))
            used = (i if self._known(i) else unknown for i in numbers)
            yield [i for i in used if i is not None]

    def sequences_to_texts(self, sequences: Iterable[Iterable[int]]) -> list[str]:
        """Lists of word numbers as texts, with blanks between the words."""
        return list(self.sequences_to_texts_generator(sequences))

    def sequences_to_texts_generator(self, sequences: Iterable[Iterable[int]]) -> Iterator[str]:
        """The same one by one."""
        for sequence in sequences:
            words = (self.index_word.get(i) if self._known(i) else None for i in sequence)
            known = (self.oov_token if word is None else word for word in words)
            yield " ".join(word for word in known if word is not None)

    def texts_to_matrix(self, texts: Iterable[Any], mode: str = "binary") -> np.ndarray:
        """One row for each text, one column for each word: float64 (texts,num_words)."""
        return self.sequences_to_matrix(self.texts_to_sequences(texts), mode)

    def sequences_to_matrix(self, sequences: Any, mode: str = "binary") -> np.ndarray:
        """Which words are in each sequence ('binary'), how often ('count', 'freq'), or weighted ('tfidf')."""
        if mode not in ("binary", "count", "freq", "tfidf"):
            raise ValueError(f"mode={mode!r}: expected 'binary', 'count', 'freq' or 'tfidf'.")
        if not self.num_words and not self.word_index:
            raise ValueError("The Tokenizer knows no words: give it num_words, or call fit_on_texts first.")
        if mode == "tfidf" and not self.document_count:
            raise ValueError("mode='tfidf' needs fit_on_texts or fit_on_sequences first.")
        columns = self.num_words or len(self.word_index) + 1
        matrix = np.zeros((len(sequences), columns))
        for row, sequence in zip(matrix, sequences, strict=True):
            for i, count in Counter(j for j in sequence if j < columns).items():
                row[i] = {"binary": 1, "count": count, "freq": count / len(sequence)}.get(mode, 0)
                if mode == "tfidf":
                    row[i] = (1 + math.log(count)) * math.log(
                        1 + self.document_count / (1 + self.index_docs.get(i, 0)))
        return matrix

    def get_config(self) -> dict[str, Any]:
        """Options and counts; the dicts as JSON, which `tokenizer_from_json` reads."""
        options = {name: getattr(self, name) for name in ("num_words", "filters", "lower", "split", "char_level",
                                                          "oov_token", "document_count")}
        return options | {name: json.dumps(getattr(self, name)) for name in (
            "word_counts", "word_docs", "index_docs", "index_word", "word_index")}

    def to_json(self, **kwargs: Any) -> str:
        """The configuration as a text; keyword arguments are those of `json.dumps`."""
        return json.dumps({"class_name": type(self).__name__, "config": self.get_config()}, **kwargs)

    def _words(self, text: Any) -> list[str]:
        if isinstance(text, list):
            return [word.lower() for word in text] if self.lower else text
        if self.char_level:
            return list(text.lower() if self.lower else text)
        return text_to_word_sequence(text, self.filters, self.lower, self.split) if self.analyzer is None \
            else self.analyzer(text)

    def _known(self, number: int | None) -> bool:
        return number is not None and (not self.num_words or number < self.num_words)


def tokenizer_from_json(json_string: str) -> Tokenizer:
    """The Tokenizer that `to_json` wrote."""
    config = dict(json.loads(json_string)["config"])
    found = {name: json.loads(config.pop(name)) for name in ("word_counts", "word_docs", "index_docs", "index_word",
                                                             "word_index")}
    made = Tokenizer(**config)
    made.word_counts, made.word_index = found["word_counts"], found["word_index"]
    made.word_docs = Counter(found["word_docs"])
    made.index_docs = Counter({int(i): count for i, count in found["index_docs"].items()})
    made.index_word = {int(i): word for i, word in found["index_word"].items()}
    return made
