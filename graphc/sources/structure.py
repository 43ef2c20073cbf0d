"""Arrays in lists, tuples and dicts, where lists of numbers are arrays too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

__all__ = ["arrays_in", "map_arrays", "plain"]


def _is_numbers(data: list | tuple) -> bool:
    """Whether nested lists hold numbers, as their first does, and not arrays."""
    inner: Any = data
    while isinstance(inner, list | tuple) and len(inner):
        inner = inner[0]
    return not isinstance(inner, Mapping) and not hasattr(inner, "shape")


def map_arrays(function: Callable[[Any], Any], data: Any) -> Any:
    """The same structure of what a function makes of each array; None stays None."""
    if isinstance(data, np.ndarray):
        return function(data)
    if isinstance(data, Mapping):
        return {name: map_arrays(function, part) for name, part in data.items()}
    if isinstance(data, list | tuple) and not _is_numbers(data):
        parts = [map_arrays(function, part) for part in data]
        return parts if isinstance(data, list) else type(data)(*parts) if hasattr(data, "_fields") else tuple(parts)
    return None if data is None else function(data)


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
