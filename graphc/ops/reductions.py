"""Sums, means, extremes and other statistics over axes. https://keras.io/api/ops/numpy/

`axis` is an axis, several, or None for all; with `keepdims` they stay, with extent 1.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from typing import Any

from graphc.eager import Array, Number, op
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value
from graphc.ops.elementwise import isclose

__all__ = [
    "all", "allclose", "amax", "amin", "any", "argmax", "argmin", "average", "corrcoef", "count_nonzero", "cumprod",
    "cumsum", "logsumexp", "max", "mean", "min", "nanargmax", "nanargmin", "nancumprod", "nancumsum", "nanmax",
    "nanmean", "nanmin", "nanprod", "nanstd", "nansum", "nanvar", "prod", "ptp", "std", "sum", "trapezoid", "var",
]

Axis = Any


def _wide(x: Value) -> Value:
    """x in the dtype of its sums: whole numbers have at least 32 bits."""
    return f.cast(x, {"b": "i32", "u": "u32" if x.dtype.name == "u32" else "i32"}[x.dtype.kind]) \
        if x.dtype.kind in "bu" else x


@op
def sum(x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
    """The sum."""
    return f.sum(_wide(x), axis, keepdims)


@op
def prod(x: Array, axis: Axis = None, keepdims: bool = False, dtype: Any = None) -> Array:
    """The product."""
    return f.prod(f.cast(x, dtype) if dtype else _wide(x), axis, keepdims)


@op
def mean(x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
    """The mean; of whole numbers in float32."""
    return f.mean(x, axis, keepdims)


@op
def var(x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
    """The mean of the squared distances from the mean."""
    return _var(f.to_float(x), axis, keepdims)


def _var(x: Value, axis: Axis, keepdims: bool) -> Value:
    return f.mean(f.square(x - f.mean(x, axis, keepdims=True)), axis, keepdims)


@op
def std(x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
    """The square root of the variance."""
    return f.sqrt(_var(f.to_float(x), axis, keepdims))


@op
def average(x: Array, axis: Axis = None, weights: Array | None = None) -> Array:
    """The mean, weighted where weights are given: of x's shape, or one for each position along the axis."""
    x = f.to_float(x)
    if weights is None:
        return f.mean(x, axis)
    if weights.ndim != x.ndim:
        if weights.ndim != 1 or not isinstance(axis, int):
            raise ShapeError(f"average of {x.type}: the weights need its shape, or one axis and an axis of x that they "
                             f"belong to; received {weights.type} and axis={axis}.")
        kept = f.axes_of(x, axis)[0]
        weights = f.reshape(weights, tuple(n if a == kept else 1 for a, n in enumerate(x.shape)))
    dtype = f.common_dtype(x, f.to_float(weights))
    weights = f.broadcast_to(f.cast(weights, dtype), x.shape)
    return f.sum(x * weights, axis) / f.sum(weights, axis)


@op
def count_nonzero(x: Array, axis: Axis = None) -> Array:
    """How many elements are not 0, int32."""
    return f.sum(f.cast(x, "bool"), axis)


@op
def any(x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
    """Whether an element is not 0."""
    return f.any(x, axis, keepdims)


@op
def all(x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
    """Whether no element is 0."""
    return f.all(x, axis, keepdims)


@op
def max(x: Array, axis: Axis = None, keepdims: bool = False, initial: Number | None = None) -> Array:
    """The maximum; `initial` counts as one more element, and is the result where there is none."""
    return _extreme(x, axis, keepdims, initial, f.max, f.maximum)


@op
def min(x: Array, axis: Axis = None, keepdims: bool = False, initial: Number | None = None) -> Array:
    """The minimum; `initial` counts as one more element, and is the result where there is none."""
    return _extreme(x, axis, keepdims, initial, f.min, f.minimum)


def _extreme(x: Value, axis: Axis, keepdims: bool, initial: Any, reduce: Callable, combine: Callable) -> Value:
    gone = f.axes_of(x, axis)
    if builtins.any(x.shape[a] == 0 for a in gone):
        if initial is None:
            raise ShapeError(f"{reduce.__name__} of {x.type} over the axes {gone}: there are no elements. Give "
                             "`initial`.")
        shape = (1 if a in gone else n for a, n in enumerate(x.shape) if keepdims or a not in gone)
        return f.full(tuple(shape), initial, x.dtype)
    result = reduce(x, axis, keepdims)
    return result if initial is None else combine(result, f.cast(initial, x.dtype))


@op
def amax(x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
    """The maximum."""
    return f.max(x, axis, keepdims)


@op
def amin(x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
    """The minimum."""
    return f.min(x, axis, keepdims)


@op
def ptp(x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
    """The maximum minus the minimum."""
    return f.max(x, axis, keepdims) - f.min(x, axis, keepdims)


@op
def argmax(x: Array, axis: int | None = None, keepdims: bool = False) -> Array:
    """The position of the first maximum, int32; counted over the flattened array where axis is None."""
    return _kept(f.argmax(x, axis), x, axis, keepdims)


@op
def argmin(x: Array, axis: int | None = None, keepdims: bool = False) -> Array:
    """The position of the first minimum, int32; counted over the flattened array where axis is None."""
    return _kept(f.argmin(x, axis), x, axis, keepdims)


def _kept(y: Value, x: Value, axis: int | None, keepdims: bool) -> Value:
    gone = f.axes_of(x, axis)
    return f.reshape(y, tuple(1 if a in gone else n for a, n in enumerate(x.shape))) if keepdims else y


@op
def logsumexp(x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
    """log(sum(exp(x))), without overflow."""
    x, gone = f.to_float(x), f.axes_of(x, axis)
    if not gone:
        return x
    return _kept(f.logsumexp(f.merge_axes(x, gone), -1), x, gone, keepdims)  # type: ignore[arg-type]


@op
def allclose(x1: Number, x2: Number, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Array:
    """Whether `isclose` holds everywhere."""
    return f.all(isclose(x1, x2, rtol, atol, equal_nan))


# ------------------------------------------------------------------------------------------------- cumulative

@op
def cumsum(x: Array, axis: int | None = None, dtype: Any = None) -> Array:
    """The sums of the elements up to each position along an axis; of the flattened array where axis is None."""
    x = f.cast(x, dtype) if dtype else f.cast(x, "i32") if x.dtype.kind == "b" else x
    return _cumulative(x, axis, f.add, 0)


@op
def cumprod(x: Array, axis: int | None = None, dtype: Any = None) -> Array:
    """The products of the elements up to each position along an axis; of the flattened array where axis is None."""
    x = f.cast(x, dtype) if dtype else f.cast(x, "i32") if x.dtype.kind == "b" else x
    return _cumulative(x, axis, f.multiply, 1)


def _cumulative(x: Value, axis: int | None, combine: Callable, neutral: int) -> Value:
    """Every element combined with the one 1, 2, 4, ... places before it: W. D. Hillis, G. L. Steele, 1986.

    Where the size is not known, step by step.
    """
    if axis is None:
        x, axis = f.reshape(x, (-1,)), 0
    axis = f.axes_of(x, axis)[0]
    n, shift = x.shape[axis], 1
    if not isinstance(n, int):
        def step(carry: Value, slice_: Value) -> tuple[Value, Value]:
            carry = combine(carry, slice_)
            return carry, carry

        first = f.moveaxis(x, axis, 0)
        _, y = f.scan(step, f.full(first.shape[1:], neutral, x.dtype), first)
        return f.moveaxis(y, 0, axis)
    while shift < n:
        before = f.slice(x, (0,) * x.ndim, tuple(n - shift if a == axis else m for a, m in enumerate(x.shape)))
        widths = [(shift, 0) if a == axis else (0, 0) for a in range(x.ndim)]
        x = combine(x, f.pad(before, widths, neutral))
        shift *= 2
    return x


@op
def trapezoid(y: Array, x: Array | None = None, dx: float = 1.0, axis: int = -1) -> Array:
    """The integral of y along an axis by the trapezoidal rule, at the points x or dx apart."""
    y, axis = f.to_float(y), f.axes_of(y, axis)[0]

    def halves(v: Value, a: int) -> tuple[Value, Value]:
        shape = tuple(n - 1 if i == a else n for i, n in enumerate(v.shape))
        return f.slice(v, (0,) * v.ndim, shape), f.slice(v, tuple(int(i == a) for i in range(v.ndim)), shape)

    first, second = halves(y, axis)
    apart: Any = dx
    if x is not None:
        before, after = halves(x, axis if x.ndim == y.ndim else 0)
        apart = after - before
        if x.ndim == 1 != y.ndim:
            apart = f.reshape(apart, tuple(apart.shape[0] if a == axis else 1 for a in range(y.ndim)))
    return f.sum((first + second) * apart * 0.5, axis)


@op
def corrcoef(x: Array) -> Array:
    """The correlations of the rows of x with one another."""
    x = f.to_float(x)
    x = f.expand_dims(x, 0) if x.ndim < 2 else x
    centred = x - f.mean(x, 1, keepdims=True)
    covariance = f.matmul(centred, f.transpose(centred))
    norm = f.sqrt(f.sum(f.square(centred), 1))
    result = f.clip(covariance / f.expand_dims(norm, 1) / f.expand_dims(norm, 0), -1.0, 1.0)
    return result if x.shape[0] != 1 else f.reshape(result, ())


# ---------------------------------------------------------------------------------------------------- and NaN

def _without_nan(x: Value, number: float) -> Value:
    return f.where(f.not_equal(x, x), number, x) if x.dtype.is_float else x


def _nan_where_all_are(result: Value, x: Value, axis: Axis, keepdims: bool) -> Value:
    if not x.dtype.is_float:
        return result
    return f.where(f.all(f.not_equal(x, x), axis, keepdims), math.nan, result)


@op
def nansum(x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
    """The sum of what is not NaN."""
    return f.sum(_wide(_without_nan(x, 0.0)), axis, keepdims)


@op
def nanprod(x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
    """The product of what is not NaN."""
    return f.prod(_wide(_without_nan(x, 1.0)), axis, keepdims)


@op
def nancumsum(x: Array, axis: int | None = None, dtype: Any = None) -> Array:
    """`cumsum` with NaN as 0."""
    return cumsum(_without_nan(x, 0.0), axis, dtype)


@op
def nancumprod(x: Array, axis: int | None = None, dtype: Any = None) -> Array:
    """`cumprod` with NaN as 1."""
    return cumprod(_without_nan(x, 1.0), axis, dtype)


@op
def nanmax(x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
    """The maximum of what is not NaN; NaN where there is nothing else."""
    return _nan_where_all_are(f.max(_without_nan(x, -math.inf), axis, keepdims), x, axis, keepdims)


@op
def nanmin(x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
    """The minimum of what is not NaN; NaN where there is nothing else."""
    return _nan_where_all_are(f.min(_without_nan(x, math.inf), axis, keepdims), x, axis, keepdims)


@op
def nanargmax(x: Array, axis: int | None = None, keepdims: bool = False) -> Array:
    """`argmax` of what is not NaN; -1 where there is nothing else."""
    result = _kept(f.argmax(_without_nan(x, -math.inf), axis), x, axis, keepdims)
    return f.where(f.all(f.not_equal(x, x), axis, keepdims), -1, result)


@op
def nanargmin(x: Array, axis: int | None = None, keepdims: bool = False) -> Array:
    """`argmin` of what is not NaN; -1 where there is nothing else."""
    result = _kept(f.argmin(_without_nan(x, math.inf), axis), x, axis, keepdims)
    return f.where(f.all(f.not_equal(x, x), axis, keepdims), -1, result)


def _counts(x: Value, axis: Axis, keepdims: bool) -> Value:
    return f.sum(f.cast(f.equal(x, x), x.dtype), axis, keepdims)


@op
def nanmean(x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
    """The mean of what is not NaN."""
    x = f.to_float(x)
    return f.sum(_without_nan(x, 0.0), axis, keepdims) / _counts(x, axis, keepdims)


def _nanvar(x: Value, axis: Axis, keepdims: bool) -> Value:
    middle = f.sum(_without_nan(x, 0.0), axis, keepdims=True) / _counts(x, axis, True)
    return f.sum(_without_nan(f.square(x - middle), 0.0), axis, keepdims) / _counts(x, axis, keepdims)


@op
def nanvar(x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
    """The variance of what is not NaN."""
    return _nan_where_all_are(_nanvar(f.to_float(x), axis, keepdims), x, axis, keepdims)


@op
def nanstd(x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
    """The square root of the variance of what is not NaN."""
    return _nan_where_all_are(f.sqrt(_nanvar(f.to_float(x), axis, keepdims)), x, axis, keepdims)
