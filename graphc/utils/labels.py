"""Class numbers as one-hot rows, and rows of unit length. https://keras.io/api/utils/python_utils/"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["normalize", "to_categorical"]


def to_categorical(x: Any, num_classes: int | None = None) -> np.ndarray:
    """Class numbers (N,) or (N,1) as rows with a single 1: float32 (N, num_classes).

    `num_classes` is the largest label + 1 where it is not given. Labels that are negative, not whole, or not
    below `num_classes` raise ValueError.
    """
    labels = np.asarray(x)
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    if labels.dtype.kind not in "biuf":
        raise ValueError(f"to_categorical needs class numbers, received values of dtype {labels.dtype}. "
                         "Map the names to 0, 1, 2, ... first, for example with numpy.unique(x, return_inverse=True).")
    whole = labels.astype(np.int64)
    if labels.dtype.kind == "f" and (whole != labels).any():
        raise ValueError(f"to_categorical needs whole class numbers, received {labels[whole != labels].flat[0]}.")
    classes = int(num_classes) if num_classes is not None else int(whole.max()) + 1 if whole.size else 0
    if (whole < 0).any():
        raise ValueError(f"to_categorical received the class {whole.min()}, expected numbers from 0 on.")
    outside = whole >= classes
    if outside.any():
        raise ValueError(f"to_categorical received the class {whole[outside].flat[0]}, expected 0 to {classes - 1} for "
                         f"num_classes={classes}. Pass a larger num_classes.")
    return np.eye(classes, dtype=np.float32)[whole]


def normalize(x: Any, axis: int = -1, order: int | float = 2) -> np.ndarray:
    """x divided by its norm of that order along an axis; zeros stay zeros."""
    array = np.asarray(x)
    norm = np.linalg.norm(array, order, axis, keepdims=True)
    return array / np.where(norm == 0, 1, norm)
