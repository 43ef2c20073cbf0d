"""Dtypes, shapes, conversion, and slices at given places. https://keras.io/api/ops/core/"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from graphc.eager import Array, as_array, as_value, is_symbolic, op
from graphc.ir import functions
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value
from graphc.ir.types import Dim, DType, product
from graphc.ops.math import segments

__all__ = [
    "cast", "convert_to_numpy", "convert_to_tensor", "custom_gradient", "dtype", "is_tensor", "saturate_cast",
    "scatter", "scatter_update", "shape", "slice", "slice_update", "stop_gradient", "view",
]


def shape(x: Any) -> tuple[Any, ...]:
    """The shape as a tuple: ints where they are known, else named sizes that `reshape` and others take as well."""
    return tuple(x.shape) if hasattr(x, "shape") else as_array(x).shape


def dtype(x: Any) -> str:
    """The name of the dtype, such as 'float32'."""
    return str(DType.of(x.dtype if hasattr(x, "dtype") else as_array(x).dtype).numpy)


def is_tensor(x: Any) -> bool:
    """Whether x is a value or an array."""
    return isinstance(x, Value | np.ndarray)


@op
def cast(x: Array, dtype: Any) -> Array:
    """x converted to the dtype; floats lose their fraction on the way to whole numbers."""
    return f.cast(x, dtype)


@op
def saturate_cast(x: Array, dtype: Any) -> Array:
    """x converted to the dtype, numbers outside of its range to the nearest inside."""
    target = DType.of(dtype)
    if target.is_float or target.kind == "b" or x.dtype.kind == "b":
        return f.cast(x, target)
    limits = np.iinfo(target.numpy)
    low, high = int(limits.min), int(limits.max)
    if not x.dtype.is_float:
        held = np.iinfo(x.dtype.numpy)
        low, high = max(low, int(held.min)), min(high, int(held.max))
        return f.cast(f.clip(x, low, high), target)
    wide = f.cast(x, "f64")
    return f.cast(f.clip(wide, float(low), float(np.nextafter(high, 0) if target.size == 8 else high)), target)


@op
def view(x: Array, dtype: Any = None) -> Array:
    """x itself: arrays are not read in another dtype."""
    if dtype is not None and DType.of(dtype) != x.dtype:
        raise TypeError(f"view of {x.type} as {dtype} is not supported. Convert the numbers with ops.cast.")
    return x


def convert_to_tensor(x: Any, dtype: Any = None, sparse: bool | None = None, ragged: bool | None = None) -> Any:
    """x as a value where it is symbolic, else as an array, in the dtype."""
    if sparse or ragged:
        raise ValueError("convert_to_tensor: there are no sparse or ragged arrays.")
    return as_value(x, dtype) if is_symbolic(x) else as_array(x, dtype)


def convert_to_numpy(x: Any) -> np.ndarray:
    """x as an array, if it has numbers."""
    return as_array(x)


@op
def stop_gradient(variable: Array) -> Array:
    """The same, through which no gradient flows."""
    return f.stop_gradient(variable)


def custom_gradient(f: Callable[..., tuple[Any, Callable[..., Any]]]) -> Callable[..., Any]:
    """A function that gives its result and a function from the result's gradient to those of its arguments.

    The result is one array or value; there is a gradient for each argument, in their order.
    """
    @wraps(f)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not is_symbolic(*args):
            return f(*args, **kwargs)[0]
        values = [as_value(x) for x in args]
        result, backward = f(*values, **kwargs)
        if not isinstance(result, Value):
            raise TypeError(f"custom_gradient: {f.__name__} gave {type(result).__name__}, expected one value and a "
                            "function that gives the gradients.")

        def gradients(g: Value) -> list[Value]:
            given = backward(g)
            found = list(given) if isinstance(given, list | tuple) else [given]
            if len(found) != len(values):
                raise ValueError(f"custom_gradient: {f.__name__} has {len(values)} arguments and gave {len(found)} "
                                 "gradients.")
            return [functions.cast(as_value(d), x.dtype) for d, x in zip(found, values, strict=True)]

        return functions.with_gradient(result, values, gradients)

    return call


def _starts(start: Any, rank: int) -> list[Any]:
    """One start for each axis: numbers where they are known, else values."""
    if isinstance(start, Value):
        return [f.getitem(start, i) for i in range(rank)]
    return [s if isinstance(s, Value | Dim) else int(s) for s in (as_array(start) if not isinstance(
        start, list | tuple) else start)]


@op
def slice(inputs: Array, start_indices: Any, shape: Any) -> Array:
    """The block of the shape that begins at these indices, moved inside where it would reach outside."""
    extents = tuple(n if isinstance(n, Dim) else int(n) for n in shape)
    x = inputs
    for axis, (start, count) in enumerate(zip(_starts(start_indices, x.ndim), extents, strict=True)):
        whole = x.shape[axis]
        if isinstance(start, Value):
            x = f.take(x, _places(start, count, whole), axis)
            continue
        if isinstance(start, int) and isinstance(whole, int) and isinstance(count, int):
            start = max(0, min(start, whole - count))
        part = tuple(count if a == axis else n for a, n in enumerate(x.shape))
        x = f.slice(x, tuple(start if a == axis else 0 for a in range(x.ndim)), part)
    return x


def _places(start: Value, count: Any, whole: Any) -> Value:
    """The positions of a block of an axis."""
    start = f.clip(f.cast(f.reshape(start, ()), "i32"), 0, f.dimension(whole - count, "i32"))
    return f.iota((count,), (0,), "i32") + start


@op
def slice_update(inputs: Array, start_indices: Any, updates: Array) -> Array:
    """The inputs with the block that begins at these indices replaced."""
    x, updates = inputs, f.cast(updates, inputs.dtype)
    starts = _starts(start_indices, x.ndim)
    if not any(isinstance(s, Value) for s in starts):
        starts = [max(0, min(s, n - m)) if isinstance(n, int) and isinstance(m, int) else s
                  for s, n, m in zip(starts, x.shape, updates.shape, strict=True)]
        widths = [(s, n - m - s) for s, n, m in zip(starts, x.shape, updates.shape, strict=True)]
        inside = f.pad(f.full(updates.shape, 1, "f32"), widths)
        return f.where(f.greater(inside, 0.0), f.pad(updates, widths), x)
    inside = f.full(x.shape, True, "bool")
    for axis, start in enumerate(starts):
        whole, count = x.shape[axis], updates.shape[axis]
        first = start if isinstance(start, Value) else f.constant(start, "i32")
        first = f.clip(f.cast(f.reshape(first, ()), "i32"), 0, f.dimension(whole - count, "i32"))
        at = f.iota((whole,), (0,), "i32") - first
        here = f.logical_and(f.greater_equal(at, 0), f.less(at, f.dimension(count, "i32")))
        inside = f.logical_and(inside, f.broadcast(here, x.shape, (axis,)))
        updates = f.take(updates, at, axis)
    return f.where(inside, updates, x)


def _linear(indices: Value, shape: Any) -> tuple[int, Value]:
    """The number of axes that indices are for, in their last axis, and the positions in these axes made flat."""
    depth = indices.shape[-1]
    if not isinstance(depth, int) or depth > len(shape):
        raise ShapeError(f"The indices {indices.type} have {depth} numbers each, for the shape {tuple(shape)}.")
    result = f.constant(0, "i32")
    for i in range(depth):
        place = f.cast(f.getitem(indices, (Ellipsis, i)), "i32")
        n = f.dimension(shape[i], "i32")
        place = f.where(f.less(place, 0), place + n, place)
        result = result * n + place
    return depth, f.reshape(result, (-1,))


@op
def scatter(indices: Array, values: Array, shape: Any) -> Array:
    """Zeros of the shape with the values added at the indices, which are in the last axis of `indices`."""
    return _scattered(indices, values, tuple(shape))


def _scattered(indices: Value, values: Value, shape: tuple[Any, ...]) -> Value:
    depth, places = _linear(indices, shape)
    flat = f.scatter_add(f.reshape(values, (-1, *shape[depth:])), places, product(shape[:depth]), 0)
    return f.reshape(flat, shape)


@op
def scatter_update(inputs: Array, indices: Array, updates: Array, reduction: str | None = None) -> Array:
    """The inputs with updates at the indices, which are in the last axis of `indices`.

    An update replaces what is there; with `reduction` it is added to it ('add'), or combined by 'max', 'min' or 'mul'.
    Of several updates of one place, one counts where they replace.
    """
    x, updates = inputs, f.cast(updates, inputs.dtype)
    if reduction == "add":
        return x + _scattered(indices, updates, x.shape)
    depth, places = _linear(indices, x.shape)
    rows = product(x.shape[:depth])
    flat = f.reshape(x, (rows, *x.shape[depth:]))
    updates = f.reshape(updates, (-1, *flat.shape[1:]))
    if reduction is None:
        # the number of the last update of each row, from 1 on
        count = places.shape[0]
        hits = f.equal(f.expand_dims(places, 0), f.iota((rows, count), (0,), "i32"))
        last = f.max(f.where(hits, f.iota((rows, count), (1,), "i32"), -1), 1)
        new = f.take(updates, last, 0)
        hit = f.broadcast(f.greater_equal(last, 0), flat.shape, (0,))
        return f.reshape(f.where(hit, new, flat), x.shape)
    found = segments(updates, places, rows, {"mul": "prod"}.get(reduction, reduction))
    combine = {"max": f.maximum, "min": f.minimum, "mul": f.multiply}[reduction]
    return f.reshape(combine(flat, found), x.shape)
