"""Data in parts. https://keras.io/api/utils/python_utils/"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["pack_x_y_sample_weight", "split_dataset", "unpack_x_y_sample_weight"]


def pack_x_y_sample_weight(x: Any, y: Any = None, sample_weight: Any = None) -> Any:
    """What `unpack_x_y_sample_weight` takes apart again; just x where there is nothing else and x is no tuple."""
    if sample_weight is not None:
        return x, y, sample_weight
    if y is not None:
        return x, y
    return (x,) if isinstance(x, tuple | list) else x


def unpack_x_y_sample_weight(data: Any) -> tuple[Any, Any, Any]:
    """x, y and sample_weight of a tuple of one, two or three; None for those that are missing."""
    if isinstance(data, list):
        data = tuple(data)
    if not isinstance(data, tuple):
        return data, None, None
    if not 1 <= len(data) <= 3:
        raise ValueError(f"Data are x, (x, y) or (x, y, sample_weight), received a tuple of {len(data)}.")
    x, y, sample_weight = (*data, None, None)[:3]
    return x, y, sample_weight


def split_dataset(dataset: Any, left_size: float | None = None, right_size: float | None = None,
                  shuffle: bool = False, seed: int | None = None) -> tuple[Any, Any]:
    """The first and the last rows of an array, or of each of a tuple of arrays.

    A size is a number of rows, or a part of them as a float; the one that is missing is the rest. Rows in neither of
    the two are those between them.
    """
    arrays = [np.asarray(a) for a in dataset] if isinstance(dataset, tuple | list) else [np.asarray(dataset)]
    rows = len(arrays[0]) if arrays else 0
    if any(len(a) != rows for a in arrays):
        raise ValueError(f"split_dataset received arrays of {', '.join(str(len(a)) for a in arrays)} rows, expected "
                         "the same number in each.")
    if left_size is None and right_size is None:
        raise ValueError("split_dataset needs left_size or right_size.")
    left = None if left_size is None else _rows("left_size", left_size, rows)
    right = None if right_size is None else _rows("right_size", right_size, rows)
    left = rows - right if left is None and right is not None else left
    right = rows - left if right is None and left is not None else right
    if left + right > rows:  # type: ignore[operator]
        raise ValueError(f"split_dataset(left_size={left_size}, right_size={right_size}) asks for {left} + {right} of "
                         f"{rows} rows.")
    order = np.arange(rows)
    if shuffle:
        np.random.default_rng(np.random.randint(2**31) if seed is None else seed).shuffle(order)
    parts = [[a[at] for a in arrays] for at in (order[:left], order[rows - right:])]  # type: ignore[operator]
    if not isinstance(dataset, tuple | list):
        return parts[0][0], parts[1][0]
    return type(dataset)(parts[0]), type(dataset)(parts[1])


def _rows(name: str, size: float, rows: int) -> int:
    """A size as a number of rows."""
    if isinstance(size, float) and 0 < size < 1:
        return round(size * rows)
    if isinstance(size, int | np.integer) and 0 < size < rows:
        return int(size)
    raise ValueError(f"split_dataset({name}={size!r}): expected a part between 0 and 1, or 1 to {rows - 1} rows.")
