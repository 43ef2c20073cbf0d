"""Words and numbers of categories as positions in a vocabulary. https://keras.io/api/layers/preprocessing_layers/

These layers work on arrays and lists, with NumPy, before the data go into a model: compiled programs compute with
numbers only. IntegerLookup can also be a part of a model.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graphc.ir import functions as f
from graphc.ir.errors import DTypeError
from graphc.ir.graph import Value, current_origin
from graphc.layers.encoding import MODES, encode, encoded
from graphc.layers.layer import Layer, is_symbolic
from graphc.names import choose
from graphc.variable import Variable

__all__ = ["IntegerLookup", "StringLookup", "TextVectorization"]

_MODES = MODES | {"binary": "multi_hot", "tf_idf": "tf_idf", "tf-idf": "tf_idf"}


def batches_of(data: Any, steps: int | None) -> Iterator[np.ndarray]:
    """An array or a list as one batch, or the batches of any other iterable, at most `steps` of them."""
    if isinstance(data, np.ndarray | list | tuple) or not isinstance(data, Iterable):
        yield np.asarray(data)
        return
    for i, batch in enumerate(data):
        if steps is not None and i >= steps:
            return
        yield np.asarray(batch)


def _without_files(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration whose vocabulary isn't a path: that might be any file."""
    if isinstance(config.get("vocabulary"), str):
        raise ValueError(f"The layer {config.get('name')!r} has the vocabulary {config['vocabulary']!r} in its "
                         "configuration, a file that isn't part of it. Make the layer with the list of tokens.")
    return config


class _Lookup(Layer):
    """A table from tokens to numbers, or back.

    With 'int' there is a number for the mask first, where there is a mask token, then `num_oov_indices` for tokens that
    the vocabulary doesn't have, then the tokens' own. Other modes count them for each sample, without the mask.
    """

    def __init__(self, max_tokens: int | None, num_oov_indices: int, mask_token: Any, oov_token: Any,
                 vocabulary: Any = None, idf_weights: Any = None, invert: bool = False, output_mode: str = "int",
                 pad_to_max_tokens: bool = False, vocabulary_size: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        owner = type(self).__name__
        if max_tokens is not None and max_tokens <= 1:
            raise ValueError(f"{owner}(max_tokens={max_tokens!r}): expected a number above 1, or None.")
        if pad_to_max_tokens and max_tokens is None:
            raise ValueError(f"{owner}(pad_to_max_tokens=True) needs max_tokens.")
        if num_oov_indices < 0:
            raise ValueError(f"{owner}(num_oov_indices={num_oov_indices!r}): expected a number from 0 on.")
        self.output_mode = choose("output_mode", output_mode, _MODES)
        if invert and self.output_mode != "int":
            raise ValueError(f"{owner}(invert=True, output_mode={output_mode!r}): numbers go back to tokens one by "
                             "one, so the mode has to be 'int'.")
        self.max_tokens, self.num_oov_indices, self.invert = max_tokens, num_oov_indices, invert
        self.mask_token, self.oov_token, self.pad_to_max_tokens = mask_token, oov_token, pad_to_max_tokens
        self.tokens: list[Any] = []
        self.weights_of_tokens: np.ndarray | None = None
        self._size = vocabulary_size  # until the vocabulary is there
        self.given = vocabulary is not None
        if vocabulary is not None:
            self.set_vocabulary(vocabulary, idf_weights)
            self.given = True

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; the vocabulary is among them, so that a file needs no others beside it."""
        weights = self.weights_of_tokens
        return super().get_config() | {"vocabulary": list(self.tokens) or None,
                                       "vocabulary_size": self.vocabulary_size() if self.tokens else self._size,
                                       "idf_weights": None if weights is None else weights[self._first:].tolist()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """A layer from what `get_config` returned, in which a vocabulary is a list."""
        return cls(**_without_files(config))

    def load_assets(self, dir_path: str) -> None:
        """Take the vocabulary of a file of Keras's, which has one that came by `adapt` outside of the configuration."""
        if not self.tokens:
            self.set_vocabulary(os.path.join(dir_path, "vocabulary.txt"))

    # The vocabulary -----------------------------------------------------------------------------------------

    def token(self, value: Any) -> Any:
        """A token of the layer's kind."""
        raise NotImplementedError

    @property
    def _special(self) -> list[Any]:
        mask = [self.mask_token] if self.mask_token is not None and self.output_mode == "int" else []
        return mask + [self.oov_token] * self.num_oov_indices

    @property
    def _first(self) -> int:
        """The number of the first token of the vocabulary."""
        return len(self._special)

    def set_vocabulary(self, vocabulary: Any, idf_weights: Any = None) -> None:
        """Take a list of tokens, with or without the special ones first, or a text file with one in each line."""
        if isinstance(vocabulary, str | os.PathLike):
            vocabulary = Path(vocabulary).read_text(encoding="utf-8").splitlines()
        tokens = [self.token(t) for t in np.asarray(vocabulary).tolist()]
        whole = tokens[:self._first] == self._special
        tokens = tokens[self._first:] if whole and self._special else tokens
        twice = [t for t, n in Counter(tokens).items() if n > 1]
        if not tokens or twice or (self.mask_token is not None and self.mask_token in tokens):
            problem = f"has {twice[:5]!r} more than once" if twice else "is empty" if not tokens else \
                f"has the mask token {self.mask_token!r} in a place that isn't the first"
            raise ValueError(f"The vocabulary of {self.name!r} {problem}. Expected tokens that differ from one "
                             f"another; the special ones, {self._special!r}, may come first.")
        if self.max_tokens is not None and self._first + len(tokens) > self.max_tokens:
            raise ValueError(f"The vocabulary of {self.name!r} has {len(tokens)} tokens, with the special ones more "
                             f"than max_tokens={self.max_tokens}.")
        if (self.output_mode == "tf_idf") != (idf_weights is not None):
            raise ValueError(f"{self.name!r}: output_mode='tf_idf' needs idf_weights, one for each token, and no other "
                             "mode has them.")
        self.tokens = tokens
        if idf_weights is not None:
            weights = np.asarray(idf_weights, np.float32)
            self._keep_weights(weights[self._first:] if len(weights) == self._first + len(tokens) else weights)
        self._programs.clear()

    def _keep_weights(self, weights: np.ndarray) -> None:
        """Weights of the tokens; a token that the vocabulary doesn't have weighs as much as the mean."""
        if len(weights) != len(self.tokens):
            raise ValueError(f"{self.name!r} received {len(weights)} idf_weights for {len(self.tokens)} tokens.")
        self.weights_of_tokens = np.concatenate([np.full(self._first, weights.mean(), np.float32), weights])

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[Any]:
        """The tokens; with the special ones, each at the place that is its number."""
        return (self._special if include_special_tokens else []) + self.tokens

    def vocabulary_size(self) -> int:
        """How many tokens there are, with the special ones."""
        return self._first + len(self.tokens) if self.tokens or self._size is None else self._size

    @property
    def waits(self) -> bool:
        """Whether there is to be a vocabulary, of so many tokens, that nobody has given yet."""
        return not self.tokens and self.vocabulary_size() > self._first

    @property
    def depth(self) -> int:
        """How many numbers there are for each sample, in other modes than 'int'."""
        return self.max_tokens if self.pad_to_max_tokens and self.max_tokens else self.vocabulary_size()

    def adapt(self, data: Any, steps: int | None = None) -> None:
        """Take the vocabulary from data, an array, a list or batches of them: the most frequent tokens first.

        Of tokens that are as frequent, the later ones in order come first.
        """
        self._adapt([self.token(t) for t in row] for batch in batches_of(data, steps)
                    for row in np.atleast_1d(batch).reshape(len(np.atleast_1d(batch)), -1).tolist())

    def _adapt(self, documents: Iterable[Sequence[Any]]) -> None:
        if self.given:
            raise ValueError(f"{self.name!r} was given a vocabulary: adapt would replace it. Make a layer without one.")
        counts: Counter[Any] = Counter()
        within: Counter[Any] = Counter()
        number = 0
        for document in documents:
            counts.update(document)
            within.update(set(document))
            number += 1
        for special in (self.mask_token, self.oov_token):
            counts.pop(special, None)
        order = sorted(counts, key=lambda t: (counts[t], t), reverse=True)
        self.tokens = order if self.max_tokens is None else order[:self.max_tokens - self._first]
        if self.output_mode == "tf_idf" and self.tokens:
            self._keep_weights(np.array([math.log(1 + number / (1 + within[t])) for t in self.tokens], np.float32))
        self._programs.clear()

    # Looking up ---------------------------------------------------------------------------------------------

    def __call__(self, inputs: Any, **options: Any) -> Any:
        return super().__call__(inputs, **options) if is_symbolic(inputs) else self.look_up(inputs)

    def call(self, inputs: Value) -> Value:
        raise DTypeError(f"{type(self).__name__} turns words into numbers, which compiled models can't. Apply it to "
                         "the data before they go into the model: model.fit(layer(x), y).")

    def table(self) -> dict[Any, int]:
        """The number of each token that has one."""
        known = {t: self._first + i for i, t in enumerate(self.tokens)}
        return known if self.mask_token is None else {self.mask_token: 0 if self.output_mode == "int" else -1, **known}

    def look_up(self, inputs: Any) -> Any:
        """The numbers, or the counts, of an array or a list."""
        array = np.asarray(inputs)
        if self.invert:
            tokens = self.get_vocabulary()
            back = [tokens[i] if 0 <= i < len(tokens) else self.oov_token for i in array.ravel().tolist()]
            return np.array(back).reshape(array.shape)
        numbers = self.numbers(array.ravel().tolist()).reshape(array.shape)
        return numbers if self.output_mode == "int" else self.counted(numbers)

    def numbers(self, tokens: Sequence[Any]) -> np.ndarray:
        """The number of each of some tokens; in modes other than 'int', -1 for the mask."""
        table, start = self.table(), self._first - self.num_oov_indices
        found = np.empty(len(tokens), np.int64)
        for i, value in enumerate(map(self.token, tokens)):
            number = table.get(value)
            if number is None:
                if not self.num_oov_indices:
                    raise ValueError(f"{self.name!r} received {value!r}, which its vocabulary doesn't have. With "
                                     "num_oov_indices=1 there is a number for such values.")
                number = start + self.bucket(value)
            found[i] = number
        return found

    def bucket(self, value: Any) -> int:
        """Which of the numbers for unknown tokens one gets."""
        return 0

    def counted(self, numbers: np.ndarray) -> np.ndarray:
        """Numbers in another mode than 'int'."""
        depth = self.depth
        result = encode(numbers, "count" if self.output_mode == "tf_idf" else self.output_mode, depth)
        if self.output_mode != "tf_idf":
            return result
        if self.weights_of_tokens is None:
            raise ValueError(f"{self.name!r} has no idf_weights yet. Call adapt first.")
        return result * np.pad(self.weights_of_tokens, (0, depth - len(self.weights_of_tokens)))


class StringLookup(_Lookup):
    """Words as numbers: 0 for those that the vocabulary doesn't have, then the vocabulary; `invert` goes back.

    `adapt(data)` takes the vocabulary from data. The layer works on arrays and lists of texts, outside of models.

    StringLookup(vocabulary=["a", "b"])(f32[N,3]) -> DTypeError: StringLookup turns words into numbers
    """

    def __init__(self, max_tokens: int | None = None, num_oov_indices: int = 1, mask_token: str | None = None,
                 oov_token: str = "[UNK]", vocabulary: Any = None, **kwargs: Any):
        super().__init__(max_tokens, num_oov_indices, mask_token, oov_token, vocabulary, **kwargs)
        if num_oov_indices > 1:
            raise ValueError(f"StringLookup(num_oov_indices={num_oov_indices}): expected 0 or 1. Which of several "
                             "numbers a word gets is up to a hash function that graphc doesn't have.")

    def token(self, value: Any) -> str:
        return value.decode("utf-8") if isinstance(value, bytes) else str(value)


class IntegerLookup(_Lookup):
    """Numbers of categories as positions in a vocabulary: 0 for those that it doesn't have, then the vocabulary.

    `adapt(data)` takes the vocabulary from data; `invert` goes back from positions.

    IntegerLookup(vocabulary=[7, 3, 9])(i32[N,4]) -> i32[N,4]
    IntegerLookup(vocabulary=[7, 3, 9], mask_token=0, num_oov_indices=2)(i32[N,4]) -> i32[N,4]
    IntegerLookup(vocabulary=[7, 3, 9], output_mode="count")(i32[N,4]) -> f32[N,4]
    IntegerLookup(vocabulary=[7, 3, 9], invert=True)(i32[N,4]) -> i32[N,4]
    """

    input_dtype = "i32"

    def __init__(self, max_tokens: int | None = None, num_oov_indices: int = 1, mask_token: int | None = None,
                 oov_token: int = -1, vocabulary: Any = None, vocabulary_dtype: str = "int64", **kwargs: Any):
        super().__init__(max_tokens, num_oov_indices, mask_token, oov_token, vocabulary, **kwargs)
        self.vocabulary_dtype = vocabulary_dtype

    def token(self, value: Any) -> int:
        return int(value)

    def bucket(self, value: int) -> int:
        return value % self.num_oov_indices

    def call(self, inputs: Value) -> Value:
        if self.invert:
            return self._mapped(inputs, dict(enumerate(self.get_vocabulary())), f.full(inputs.shape, self.oov_token,
                                                                                       inputs.dtype))
        if not self.num_oov_indices:
            raise ValueError(f"{self.name!r}: in a model, IntegerLookup needs num_oov_indices of 1 or more.")
        start, count = self._first - self.num_oov_indices, self.num_oov_indices
        wide = f.cast(inputs, "f64")
        bucket = f.subtract(wide, f.multiply(f.floor(f.divide(wide, float(count))), float(count)))
        numbers = self._mapped(inputs, self.table(), f.add(f.cast(bucket, inputs.dtype), start))
        if self.output_mode == "int":
            return numbers
        depth = self.depth
        result = encoded(numbers, "count" if self.output_mode == "tf_idf" else self.output_mode, depth)
        if self.output_mode != "tf_idf":
            return result
        return f.multiply(result, self._fixed("idf_weights", np.pad(self.weights_of_tokens, (  # type: ignore[arg-type]
            0, depth - self.vocabulary_size()))))

    def _mapped(self, x: Value, table: dict[int, int], otherwise: Value) -> Value:
        """What the table has for each element, by comparing it with every key."""
        shape = (*x.shape, len(table))
        kind = x.dtype.numpy
        keys = f.broadcast(self._fixed("keys", np.array(list(table), kind)), shape, (x.ndim,))
        values = f.broadcast(self._fixed("values", np.array(list(table.values()), kind)), shape, (x.ndim,))
        equal = f.equal(f.broadcast(x, shape, range(x.ndim)), keys)
        found = f.sum(f.where(equal, values, 0), -1)
        return f.where(f.greater(f.sum(f.cast(equal, "i32"), -1), 0), found, otherwise)

    def _fixed(self, name: str, array: np.ndarray) -> Variable:
        """An array that is no weight of the layer."""
        return Variable(array, f"{current_origin() or self.name}/{name}", trainable=False)


# -------------------------------------------------------------------------------------------------------------- texts

_PUNCTUATION = re.compile(r"[!\"#$%&()*+,\-./:;<=>?@\[\\\]^_`{|}~']")
_STANDARDS: dict[str, Callable[[str], str]] = {
    "lower_and_strip_punctuation": lambda text: _PUNCTUATION.sub("", text.lower()),
    "lower": str.lower,
    "strip_punctuation": lambda text: _PUNCTUATION.sub("", text),
}
_SPLITS: dict[str, Callable[[str], list[str]]] = {"whitespace": str.split, "character": list}


class TextVectorization(Layer):
    """Texts as rows of numbers of their words: 0 is padding, 1 any word that the vocabulary doesn't have.

    Texts are made lower case without punctuation, and split at white space, unless `standardize` and `split` say
    otherwise, by a name, a function of an array or of a text, or None. `ngrams` adds sequences of up to as many words,
    or of the numbers in a tuple. With output_mode 'int' rows are as long as the longest, or `output_sequence_length`.
    The layer works on arrays and lists of texts, outside of models.

    TextVectorization(vocabulary=["a", "b"])(f32[N]) -> DTypeError: TextVectorization turns words into numbers
    """

    def __init__(self, max_tokens: int | None = None, standardize: Any = "lower_and_strip_punctuation",
                 split: Any = "whitespace", ngrams: Any = None, output_mode: str = "int",
                 output_sequence_length: int | None = None, pad_to_max_tokens: bool = False, vocabulary: Any = None,
                 idf_weights: Any = None, vocabulary_size: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.standardize = standardize if standardize is None or callable(standardize) else \
            choose("standardize", standardize, {n: n for n in _STANDARDS})
        self.split = split if split is None or callable(split) else choose("split", split, {n: n for n in _SPLITS})
        self.ngrams = tuple(ngrams) if isinstance(ngrams, list) else ngrams
        self.output_sequence_length = output_sequence_length
        self._words = StringLookup(max_tokens, mask_token="", vocabulary=vocabulary, idf_weights=idf_weights,
                                   output_mode=output_mode, pad_to_max_tokens=pad_to_max_tokens)
        self.max_tokens, self.output_mode, self.pad_to_max_tokens = max_tokens, self._words.output_mode, \
            pad_to_max_tokens
        if output_sequence_length is not None and self.output_mode != "int":
            raise ValueError(f"TextVectorization(output_sequence_length={output_sequence_length}, output_mode="
                             f"{output_mode!r}): only rows of 'int' have a length.")

    def sublayers(self) -> list[Layer]:
        return []  # the table of words is part of this layer

    def get_config(self) -> dict[str, Any]:
        words = self._words.get_config()
        return super().get_config() | {n: words[n] for n in ("vocabulary", "vocabulary_size", "idf_weights")}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TextVectorization:
        """A layer from what `get_config` returned, in which a vocabulary is a list."""
        return cls(**_without_files(config))

    def adapt(self, data: Any, batch_size: int | None = None, steps: int | None = None) -> None:
        """Take the vocabulary from texts, an array, a list or batches of them: the most frequent words first."""
        self._words._adapt(words for batch in batches_of(data, steps) for words in self._split_up(batch))

    def set_vocabulary(self, vocabulary: Any, idf_weights: Any = None) -> None:
        """Take a list of words, or a text file with one in each line."""
        self._words.set_vocabulary(vocabulary, idf_weights)

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[str]:
        """The words; with the special ones, each at the place that is its number."""
        return self._words.get_vocabulary(include_special_tokens)

    def vocabulary_size(self) -> int:
        """How many words there are, with the special ones."""
        return self._words.vocabulary_size()

    def __call__(self, inputs: Any, **options: Any) -> Any:
        return super().__call__(inputs, **options) if is_symbolic(inputs) else self._rows(np.asarray(inputs))

    def call(self, inputs: Value) -> Value:
        raise DTypeError("TextVectorization turns words into numbers, which compiled models can't. Apply it to the "
                         "data before they go into the model: model.fit(layer(x), y).")

    def _rows(self, texts: np.ndarray) -> np.ndarray:
        documents = self._split_up(texts)
        numbers = [self._words.numbers(words) for words in documents]
        length = self.output_sequence_length or max(map(len, numbers), default=0)
        empty = 0 if self.output_mode == "int" else -1
        rows = np.full((len(numbers), length), empty, np.int64)
        for row, found in zip(rows, numbers, strict=True):
            row[:min(len(found), length)] = found[:length]
        rows = rows if self.output_mode == "int" else self._words.counted(rows)
        return rows if texts.ndim else rows[0]

    def _split_up(self, texts: np.ndarray) -> list[list[str]]:
        """The words of each text, with those that `ngrams` adds."""
        if texts.ndim > 1 and texts.shape[-1] != 1:
            raise ValueError(f"{self.name!r} received texts of shape {list(texts.shape)}, expected [n] or [n, 1].")
        plain = [self._words.token(t) for t in texts.ravel().tolist()]
        if callable(self.standardize):
            plain = [self._words.token(t) for t in np.asarray(self.standardize(np.array(plain))).tolist()]
        elif self.standardize is not None:
            plain = [_STANDARDS[self.standardize](text) for text in plain]
        if self.split is None:
            words = [[text] for text in plain]
        else:
            split = self.split if callable(self.split) else _SPLITS[self.split]
            words = [[self._words.token(w) for w in split(text)] for text in plain]
        if self.ngrams is None:
            return words
        sizes = range(1, self.ngrams + 1) if isinstance(self.ngrams, int) else self.ngrams
        return [[" ".join(row[i:i + n]) for n in sizes for i in range(len(row) - n + 1)] for row in words]
