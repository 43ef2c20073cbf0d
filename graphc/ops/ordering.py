"""Sorting, searching, counting. https://keras.io/api/ops/numpy/

Sizes that depend on the numbers (of `nonzero`, `unique`, ...) need arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.eager import Array, Number, as_array, is_symbolic, numbers_of, op
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value

__all__ = [
    "argpartition", "argsort", "bincount", "digitize", "histogram", "isin", "median", "nanmedian", "nanpercentile",
    "nanquantile", "nonzero", "percentile", "quantile", "searchsorted", "sort", "unique", "where",
]


def _sorted(x: Value, axis: int) -> Value:
    return f.take_along(x, f.argsort(x, axis), f.axes_of(x, axis)[0])


@op
def sort(x: Array, axis: int | None = -1) -> Array:
    """x in increasing order along an axis, NaNs last; flattened where axis is None."""
    return _sorted(f.reshape(x, (-1,)), 0) if axis is None else _sorted(x, axis)


@op
def argsort(x: Array, axis: int | None = -1) -> Array:
    """The positions that put x in increasing order along an axis, int32; equal elements keep their order."""
    return f.argsort(f.reshape(x, (-1,)), 0) if axis is None else f.argsort(x, axis)


@op
def argpartition(x: Array, kth: int, axis: int | None = -1) -> Array:
    """Positions that put the k-th element in order in its place, the smaller ones before it: those of `argsort`."""
    return f.argsort(f.reshape(x, (-1,)), 0) if axis is None else f.argsort(x, axis)


@op
def searchsorted(sorted_sequence: Array, values: Array, side: str = "left") -> Array:
    """How many elements of a sequence in order are smaller than each value, or not larger with side='right'."""
    if sorted_sequence.ndim != 1 or side not in ("left", "right"):
        raise ValueError(f"searchsorted needs a sequence with one axis and side 'left' or 'right', received "
                         f"{sorted_sequence.type} and {side!r}.")
    return _before(sorted_sequence, values, f.less if side == "left" else f.less_equal)


@op
def digitize(x: Array, bins: Array) -> Array:
    """How many of the increasing bounds are not above each element."""
    return _before(bins, f.cast(x, "i32") if x.dtype.kind == "b" else x, f.less_equal)


def _before(sequence: Value, values: Value, is_before: Callable[[Any, Any], Value]) -> Value:
    return f.sum(f.cast(is_before(sequence, f.expand_dims(values, values.ndim)), "i32"), -1)


@op
def isin(x1: Array, x2: Array, assume_unique: bool = False, invert: bool = False) -> Array:
    """Whether each element of x1 is one of x2's, or isn't with `invert`."""
    found = f.any(f.equal(f.expand_dims(x1, x1.ndim), f.reshape(x2, (-1,))), -1)
    return f.logical_not(found) if invert else found


# -------------------------------------------------------------------------------------------------- quantiles

def _quantile(x: Value, q: Value, axis: Any, method: str, keepdims: bool, ignore: bool = False) -> Value:
    """The numbers below which a fraction q lies; of what isn't NaN with `ignore`, else NaN where one is."""
    if method not in ("linear", "lower", "higher", "midpoint", "nearest"):
        raise ValueError(f"method={method!r}: expected 'linear', 'lower', 'higher', 'midpoint' or 'nearest'.")
    x = f.to_float(x)
    gone = f.axes_of(x, axis)
    row = _sorted(f.merge_axes(x, gone), -1)
    unknown = f.not_equal(row, row)
    last = f.dimension(row.shape[-1] - 1, "f64")
    if ignore:
        last = f.sum(f.cast(f.logical_not(unknown), "f64"), -1, keepdims=True) - 1.0
    fractions = f.cast(f.reshape(q, (-1,)), "f64")
    place = f.broadcast_to(fractions * last, (*row.shape[:-1], fractions.shape[0]))
    low, high = f.floor(place), f.ceil(place)
    if method == "nearest":
        low = high = f.round(place)
    below, above = (f.take_along(row, f.cast(f.maximum(p, 0.0), "i32"), row.ndim - 1) for p in (low, high))
    share = {"linear": f.cast(place - low, x.dtype), "lower": 0.0, "higher": 1.0, "midpoint": 0.5,
             "nearest": 0.0}[method]
    if method == "midpoint":
        share = f.cast(f.where(f.equal(low, high), 0.0, f.full(low.shape, 0.5, "f64")), x.dtype)
    result = f.where(f.equal(below, above), below, below + (above - below) * share)
    if not ignore:
        result = f.where(f.any(unknown, -1, keepdims=True), math.nan, result)
    result = f.moveaxis(result, -1, 0)
    shape = tuple(1 if a in gone else n for a, n in enumerate(x.shape) if keepdims or a not in gone)
    return f.reshape(result, q.shape + shape)


@op
def quantile(x: Array, q: Array, axis: Any = None, method: str = "linear", keepdims: bool = False) -> Array:
    """The numbers below which the fractions q of the elements lie, from 0 to 1."""
    return _quantile(x, q, axis, method, keepdims)


@op
def percentile(x: Array, q: Array, axis: Any = None, method: str = "linear", keepdims: bool = False) -> Array:
    """The numbers below which q percent of the elements lie."""
    return _quantile(x, f.divide(f.cast(q, "f64"), 100.0), axis, method, keepdims)


@op
def median(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    """The middle one of the elements in order, or the mean of the middle two."""
    return _quantile(x, f.constant(0.5, "f64"), axis, "linear", keepdims)


@op
def nanquantile(x: Array, q: Array, axis: Any = None, method: str = "linear", keepdims: bool = False) -> Array:
    """`quantile` of what is not NaN."""
    return _quantile(x, q, axis, method, keepdims, ignore=True)


@op
def nanpercentile(x: Array, q: Array, axis: Any = None, method: str = "linear", keepdims: bool = False) -> Array:
    """`percentile` of what is not NaN."""
    return _quantile(x, f.divide(f.cast(q, "f64"), 100.0), axis, method, keepdims, ignore=True)


@op
def nanmedian(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    """`median` of what is not NaN."""
    return _quantile(x, f.constant(0.5, "f64"), axis, "linear", keepdims, ignore=True)


# ------------------------------------------------------------------------- results whose size depends on numbers

@op
def _where(condition: Array, x1: Number, x2: Number) -> Array:
    return f.where(f.cast(condition, "bool"), x1, x2)


def where(condition: Any, x1: Any = None, x2: Any = None) -> Any:
    """x1 where the condition holds, x2 elsewhere; without the two, the indices of the elements that are not 0."""
    if (x1 is None) != (x2 is None):
        raise ValueError("where needs both x1 and x2, or neither.")
    return nonzero(condition) if x1 is None else _where(condition, x1, x2)


def nonzero(x: Any) -> tuple[np.ndarray, ...]:
    """The indices of the elements that are not 0: for each axis an int32 array."""
    return tuple(i.astype(np.int32) for i in np.nonzero(*numbers_of("nonzero", x)))


def unique(x: Any, sorted: bool = True, return_index: bool = False, return_inverse: bool = False,
           return_counts: bool = False, axis: int | None = None, size: int | None = None,
           fill_value: Any = None) -> Any:
    """The different elements in order; with `size` so many, `fill_value` (by default the smallest) after the last.

    The index of the first of each, the position among them of each element, and how often each occurs come with them
    where they are asked for.
    """
    (array,) = numbers_of("unique", x)
    asked: dict[str, Any] = {"return_index": return_index, "return_inverse": return_inverse,
                             "return_counts": return_counts}
    result = np.unique(array, **asked, axis=axis)
    parts = list(result) if isinstance(result, tuple) else [result]
    parts[1:] = [p.astype(np.int32) for p in parts[1:]]
    if size is not None:
        along = axis or 0
        count = parts[0].shape[along]
        parts[0] = np.take(parts[0], np.minimum(np.arange(size), count - 1), along)
        if count < size:
            places = (np.s_[:],) * along + (np.s_[count:],)
            parts[0][places] = np.take(parts[0], [0], along) if fill_value is None else fill_value
    return tuple(parts) if len(parts) > 1 else parts[0]


def bincount(x: Any, weights: Any = None, minlength: int = 0, sparse: bool = False) -> Any:
    """How often each number from 0 on occurs along the last axis, or the sum of its weights.

    Of values without numbers up to `minlength`; larger ones do not count.
    """
    if sparse:
        raise ValueError("bincount: there are no sparse arrays.")
    if not is_symbolic(x, weights):
        array = as_array(x)
        return _bincount(array, weights, max(int(array.max()) + 1 if array.size else 0, int(minlength)))
    if not minlength:
        raise ShapeError("bincount of values without numbers needs minlength: the size of the result.")
    return _bincount(x, weights, int(minlength))


@op
def _bincount(x: Array, weights: Array | None, extent: int) -> Array:
    x = f.cast(x, "i32")
    hits = f.equal(f.expand_dims(x, x.ndim), f.iota((extent,), (0,), "i32"))
    counted = f.cast(hits, "i32") if weights is None else f.where(hits, f.expand_dims(weights, x.ndim), 0)
    return f.sum(counted, x.ndim - 1)


def histogram(x: Any, bins: Any = 10, range: Any = None) -> tuple[Any, Any]:
    """How many elements lie in each bin, and the edges of the bins; the last bin includes its upper edge."""
    if not is_symbolic(x):
        array = as_array(x)
        dtype = array.dtype if array.dtype.kind == "f" else np.float32
        edges = np.histogram_bin_edges(array, bins, range).astype(dtype)
    elif range is not None or np.ndim(bins):
        edges = np.asarray(bins, np.float32) if np.ndim(bins) else np.linspace(range[0], range[1], bins + 1,
                                                                                          dtype=np.float32)
    else:
        raise ShapeError("histogram of values without numbers needs a range, or the edges as bins.")
    return _histogram(x, edges), edges


@op
def _histogram(x: Array, edges: Array) -> Array:
    x = f.expand_dims(f.reshape(x, (-1,)), 1)
    low, high = f.getitem(edges, np.s_[:-1]), f.getitem(edges, np.s_[1:])
    last = f.equal(f.iota(low.shape, (0,), "i32"), f.dimension(low.shape[0] - 1, "i32"))
    below = f.logical_or(f.less(x, high), f.logical_and(last, f.less_equal(x, high)))
    return f.cast(f.sum(f.cast(f.logical_and(f.less_equal(low, x), below), "i32"), 0), edges.dtype)


