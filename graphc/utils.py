"""Labels, seeds, sessions and pictures of models. https://keras.io/api/utils/"""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from graphc.names import reset_names
from graphc.plotting import model_to_dot, plot_model
from graphc.progress import Progbar
from graphc.sources.pydataset import PyDataset

__all__ = ["Progbar", "PyDataset", "Sequence", "clear_session", "model_to_dot", "plot_model", "set_random_seed",
           "to_categorical"]

Sequence = PyDataset  # its name in Keras 2


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
    outside = (whole < 0) | (whole >= classes)
    if outside.any():
        raise ValueError(f"to_categorical received the class {whole[outside].flat[0]}, expected 0 to {classes - 1} for "
                         f"num_classes={classes}. Number the classes from 0 or pass a larger num_classes.")
    return np.eye(classes, dtype=np.float32)[whole]


def set_random_seed(seed: int) -> None:
    """Fix the first weights, the shuffling and the dropout of what is made from now on.

    Seeds Python's and NumPy's global generators; graphc draws all of its seeds from NumPy's.
    """
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise ValueError(f"set_random_seed needs an integer from 0 to 2**32 - 1, received {seed!r}.")
    random.seed(int(seed))
    np.random.seed(int(seed))


def clear_session() -> None:
    """Let automatic names start again without a number."""
    reset_names()
