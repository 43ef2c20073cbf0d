"""Sequences of different lengths as one array. https://keras.io/api/data_loading/timeseries/"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.errors import ShapeError
from graphc.names import choose

__all__ = ["pad_sequences"]

_ENDS = {"pre": "pre", "post": "post"}


def pad_sequences(sequences: Sequence[Any], maxlen: int | None = None, dtype: Any = "int32", padding: str = "pre",
                  truncating: str = "pre", value: Any = 0.0) -> np.ndarray:
    """Sequences cut or filled up to `maxlen` elements, by default as many as the longest has: (n, maxlen, ...).

    `padding` and `truncating` say where: at the beginning ('pre') or at the end ('post'). Elements may be arrays, all
    of one shape; others raise ShapeError, and what is no list of sequences raises ValueError.

    >>> pad_sequences([[1, 2, 3], [4]])
    array([[1, 2, 3],
           [0, 0, 4]], dtype=int32)
    """
    padding, truncating = choose("padding", padding, _ENDS), choose("truncating", truncating, _ENDS)
    single = next((s for s in sequences if not hasattr(s, "__len__")), None) if hasattr(
        sequences, "__len__") else sequences
    if single is not None:
        raise ValueError(f"pad_sequences received {single!r}, expected a list of sequences, such as [[1, 2], [3]].")
    if isinstance(value, str) and np.dtype(dtype).kind not in "OSU":
        raise ValueError(f"pad_sequences(value={value!r}, dtype={dtype!r}): texts need dtype=object.")
    element = next((np.shape(s)[1:] for s in sequences if len(s)), ())
    extent = max(map(len, sequences), default=0) if maxlen is None else maxlen
    result = np.full((len(sequences), extent, *element), value, dtype)
    for row, sequence in zip(result, sequences, strict=True):
        kept = sequence[max(0, len(sequence) - extent):] if truncating == "pre" else sequence[:extent]
        if not len(kept):
            continue
        array = np.asarray(kept, dtype)
        if array.shape[1:] != element:
            raise ShapeError(f"pad_sequences received elements of the shapes {list(element)} and "
                             f"{list(array.shape[1:])}, expected one shape.")
        row[slice(extent - len(kept), None) if padding == "pre" else slice(len(kept))] = array
    return result
