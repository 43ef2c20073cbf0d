"""Where the batches of fit, evaluate and predict come from: arrays, data sets on disk, generators, loaders.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.ir.errors import ShapeError
from graphc.sources.pydataset import PyDataset
from graphc.sources.rows import Rows, count_rows, is_on_disk, read_rows
from graphc.sources.source import Source
from graphc.sources.streams import Stream, is_stream, unpack_batch
from graphc.sources.structure import arrays_in, map_arrays, plain

__all__ = ["PyDataset", "Rows", "Source", "Stream", "is_stream", "open_source", "plain", "unpack_batch"]


def open_source(data: tuple[Any, Any, Any], flatten: Callable[..., tuple[np.ndarray, ...]], who: str,
                batch_size: int, shuffle: Any = False) -> Source:
    """The source for inputs, labels and weights, all in one where they come as batches.

    `flatten` makes the arrays that programs take from inputs, labels and weights, and raises where they are wrong;
    `who` begins other messages.
    """
    x, y, sample_weight = data
    if all(a is None or type(a) is np.ndarray for a in data):  # as most often: nothing to look for
        return Rows.of(flatten(*data), batch_size, shuffle)
    if is_stream(x):
        for name, given in (("y", y), ("sample_weight", sample_weight)):
            if given is not None:
                raise ValueError(f"{who} {name} beside batches from {type(x).__name__}: leave it out, and let each "
                                 "batch be (x, y) or (x, y, sample_weight).")
        return Stream(x, flatten, who, shuffle)
    # inputs are only looked at, so those that are mapped into memory may stay as they are
    if any(is_on_disk(a) and not isinstance(a, np.ndarray) for a in arrays_in(data)) or any(
            map(is_on_disk, arrays_in((y, sample_weight)))):
        return _on_disk(data, flatten, who, batch_size, shuffle)
    return Rows.of(flatten(*plain(data)), batch_size, shuffle)


def _on_disk(data: Any, flatten: Callable[..., tuple[np.ndarray, ...]], who: str, batch_size: int,
             shuffle: Any) -> Rows:
    data = map_arrays(lambda a: a if is_on_disk(a) or hasattr(a, "iloc") else np.asarray(a), data)
    data = map_arrays(lambda a: a.tocsr() if hasattr(a, "tocsr") else a, data)  # the form that gives rows
    rows = [count_rows(a) for a in arrays_in(data)]
    if len(set(rows)) > 1:
        raise ShapeError(f"{who} arrays of {', '.join(map(str, rows))} rows, expected the same number in all.")
    return Rows(lambda at: flatten(*map_arrays(lambda a: read_rows(a, at), data)), rows[0], batch_size, shuffle)
