"""Arrays in lists, tuples and dicts, where lists of numbers are arrays too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from graphc.ir.tree import mapped

__all__ = ["arrays_in", "map_arrays", "plain"]


def _is_numbers(data: Any) -> bool:
    """Whether nested lists hold numbers, as their first does, and not arrays."""
    inner: Any = data
    while isinstance(inner, list | tuple) and len(inner):
        inner = inner[0]
    return not isinstance(inner, Mapping) and not hasattr(inner, "shape")


def map_arrays(function: Callable[[Any], Any], data: Any) -> Any:
    """The same structure of what a function makes of each array; None stays None."""
    return mapped(lambda part: None if part is None else function(part), data, _is_numbers)


def arrays_in(data: Any) -> Iterator[Any]:
    """Every array of a structure."""
    found: list[Any] = []
    map_arrays(found.append, data)
    return iter(found)


def plain(data: Any) -> Any:
    """The structure without tensors of other frameworks and sparse matrices: NumPy arrays in their places."""
    return map_arrays(_array, data)


def _array(leaf: Any) -> Any:
    if isinstance(leaf, np.ndarray):
        return leaf
    if hasattr(leaf, "detach"):  # torch
        return leaf.detach().cpu().numpy()
    if hasattr(leaf, "toarray"):  # SciPy
        return leaf.toarray()
    return leaf.numpy() if callable(getattr(leaf, "numpy", None)) else leaf
