"""Shapes and order: reshape, transpose, join, cut, repeat. https://keras.io/api/ops/numpy/"""

from __future__ import annotations

import builtins
import itertools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.eager import Array, Arrays, Number, as_array, op
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value
from graphc.ir.types import Dim, at_least_zero, product

__all__ = [
    "append", "array_split", "broadcast_to", "concatenate", "diagonal", "diff", "dsplit", "dstack", "expand_dims",
    "flip", "fliplr", "flipud", "get_item", "hsplit", "hstack", "moveaxis", "ndim", "pad", "ravel", "rearrange",
    "repeat", "reshape", "roll", "rot90", "size", "split", "squeeze", "stack", "swapaxes", "take", "take_along_axis",
    "tile", "trace", "transpose", "unravel_index", "unstack", "vsplit", "vstack",
]

Axis = Any


@op
def reshape(x: Array, newshape: Any) -> Array:
    """x under another shape; one extent may be -1, and is what the others leave."""
    shape = (newshape,) if isinstance(newshape, int | np.integer | Dim) else newshape
    return f.reshape(x, tuple(n if isinstance(n, Dim) else int(n) for n in shape))


@op
def ravel(x: Array) -> Array:
    """x with one axis."""
    return f.reshape(x, (-1,))


@op
def transpose(x: Array, axes: Sequence[int] | None = None) -> Array:
    """x with its axes permuted; reversed by default."""
    return f.transpose(x, axes)


@op
def swapaxes(x: Array, axis1: int, axis2: int) -> Array:
    """x with two axes in each other's place."""
    return _swapped(x, axis1, axis2)


def _swapped(x: Value, axis1: int, axis2: int) -> Value:
    first, second = f.axes_of(x, (axis1, axis2))
    order = list(range(x.ndim))
    order[first], order[second] = second, first
    return f.transpose(x, order)


@op
def moveaxis(x: Array, source: Axis, destination: Axis) -> Array:
    """x with some of its axes in other places; the rest keep their order."""
    sources, places = f.axes_of(x, source), f.axes_of(x, destination)
    if len(sources) != len(places):
        raise ShapeError(f"moveaxis needs as many places as axes, received {source} and {destination}.")
    order = [a for a in range(x.ndim) if a not in sources]
    for place, axis in sorted(zip(places, sources, strict=True)):
        order.insert(place, axis)
    return f.transpose(x, order)


@op
def expand_dims(x: Array, axis: Axis) -> Array:
    """x with new axes of extent 1, at these places of the result."""
    given = (axis,) if isinstance(axis, int | np.integer) else tuple(axis)
    rank = x.ndim + len(given)
    if any(not -rank <= a < rank for a in given):
        raise ShapeError(f"expand_dims of {x.type} can't make the axes {given}: the result has {rank}.")
    for a in sorted(a % rank for a in given):
        x = f.expand_dims(x, a)
    return x


@op
def squeeze(x: Array, axis: Axis = None) -> Array:
    """x without axes of extent 1; by default without all of them."""
    if axis is not None and any(x.shape[a] != 1 for a in f.axes_of(x, axis)):
        raise ShapeError(f"squeeze can't take away the axis {axis} of {x.type}: its extent is not 1.")
    return f.squeeze(x, axis)


@op
def broadcast_to(x: Array, shape: Any) -> Array:
    """x repeated along axes of extent 1 and new first axes, up to the shape."""
    return f.broadcast_to(x, tuple(shape))


@op
def flip(x: Array, axis: Axis = None) -> Array:
    """x in reverse order along the axes; by default along all."""
    return f.flip(x, axis)


@op
def fliplr(x: Array) -> Array:
    """x in reverse order along the second axis."""
    return f.flip(x, 1)


@op
def flipud(x: Array) -> Array:
    """x in reverse order along the first axis."""
    return f.flip(x, 0)


@op
def rot90(array: Array, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Array:
    """The array turned k times by 90 degrees, from the first of the axes to the second."""
    first, second = f.axes_of(array, axes)
    if first == second:
        raise ShapeError(f"rot90 needs two different axes, received {axes}.")
    for _ in range(k % 4):
        array = f.flip(_swapped(array, first, second), first)
    return array


@op
def roll(x: Array, shift: Any, axis: Axis = None) -> Array:
    """x with its elements moved on by `shift` along the axes, the last ones to the beginning."""
    if axis is None:
        return f.reshape(_rolled(f.reshape(x, (-1,)), int(shift), 0), x.shape)
    axes = f.axes_of(x, axis)
    shifts = (shift,) * len(axes) if isinstance(shift, int | np.integer) else tuple(shift)
    for s, a in zip(shifts, axes, strict=True):
        x = _rolled(x, int(s), a)
    return x


def _rolled(x: Value, shift: int, axis: int) -> Value:
    n = x.shape[axis]
    if isinstance(n, int):
        shift %= builtins.max(n, 1)
    cut = n - shift if shift >= 0 else -shift
    if not (at_least_zero(cut) and at_least_zero(n - cut)):
        raise ShapeError(f"roll by {shift} needs a known size along axis {axis} of {x.type}.")
    if not shift:
        return x
    return f.concatenate([_part(x, axis, cut, n - cut), _part(x, axis, 0, cut)], axis)


def _part(x: Value, axis: int, start: Any, count: Any) -> Value:
    """`count` slices along an axis, from the position `start` on."""
    shape = tuple(count if a == axis else n for a, n in enumerate(x.shape))
    return f.slice(x, tuple(start if a == axis else 0 for a in range(x.ndim)), shape)


@op
def rearrange(tensor: Array, pattern: str, **axes_lengths: int) -> Array:
    """A reshape and a transpose by the names of the axes: 'b (h w) c -> b c h w', h=2 (A. Rogozhnikov, einops, 2022).

    Names in parentheses make one axis together; of those that a given axis consists of, one may be left to follow.
    """
    left, arrow, right = pattern.partition("->")
    given, wanted = _grouped(left), _grouped(right)
    names = [n for group in given for n in group]
    if not arrow or sorted(names) != sorted(n for group in wanted for n in group) or len(set(names)) != len(names):
        raise ValueError(f"rearrange: not a pattern: {pattern!r}. Expected each name once on each side of '->'.")
    if len(given) != tensor.ndim:
        raise ShapeError(f"rearrange: {pattern!r} names {len(given)} axes, received {tensor.type}.")
    sizes: dict[str, Any] = dict(axes_lengths)
    for group, n in zip(given, tensor.shape, strict=True):
        unknown = [name for name in group if name not in sizes]
        known: Any = product(sizes[name] for name in group if name in sizes)
        if len(unknown) > 1:
            raise ValueError(f"rearrange: {pattern!r} needs the sizes of {unknown[1:]}.")
        if unknown:
            sizes[unknown[0]] = n if known == 1 else n // known if isinstance(n, int) else n.divide(known)
        if product(sizes[name] for name in group) != n:
            raise ShapeError(f"rearrange: the axis {' '.join(group)} of {pattern!r} can't have the size {n}.")
    parts = f.transpose(f.reshape(tensor, tuple(sizes[n] for n in names)),
                        [names.index(n) for group in wanted for n in group])
    return f.reshape(parts, tuple(product(sizes[n] for n in group) for group in wanted))


def _grouped(side: str) -> list[list[str]]:
    """The names of one side of a pattern, those that make one axis together in one list."""
    return [(inside or alone).split() for inside, alone in re.findall(r"\(([^)]*)\)|(\w+)", side)]


# ------------------------------------------------------------------------------------------------ join and cut

def _together(xs: Sequence[Value]) -> list[Value]:
    """The values in the dtype that all of them are promoted to; ShapeError where there are none."""
    if not len(xs):
        raise ShapeError("concatenate and stack need at least one array, received none.")
    dtype = f.common_dtype(*xs)
    return [f.cast(x, dtype) for x in xs]


@op
def concatenate(xs: Arrays, axis: int = 0) -> Array:
    """The arrays joined along an axis."""
    return f.concatenate(_together(xs), axis)


@op
def stack(x: Arrays, axis: int = 0) -> Array:
    """The arrays joined along a new axis."""
    xs = _together(x)
    rank = xs[0].ndim + 1
    if not -rank <= axis < rank:
        raise ShapeError(f"stack of {xs[0].type} can't make the axis {axis}: the result has {rank}.")
    return f.stack(xs, axis % rank)


@op
def append(x1: Array, x2: Array, axis: int | None = None) -> Array:
    """x2 after x1 along an axis; both flattened where that is None."""
    both = _together((x1, x2))
    return f.concatenate([f.reshape(x, (-1,)) for x in both] if axis is None else both, axis or 0)


def _at_least(x: Value, rank: int) -> Value:
    """x with at least so many axes, as NumPy's stacking functions make them."""
    if x.ndim == 0:
        x = f.reshape(x, (1,))
    if x.ndim == 1 and rank > 1:
        x = f.expand_dims(x, 0)
    return f.expand_dims(x, 2) if x.ndim == 2 and rank > 2 else x


@op
def hstack(xs: Arrays) -> Array:
    """The arrays joined along the second axis; vectors along their only one."""
    xs = [_at_least(x, 1) for x in _together(xs)]
    return f.concatenate(xs, 0 if xs[0].ndim == 1 else 1)


@op
def vstack(xs: Arrays) -> Array:
    """The arrays joined along the first axis; vectors are rows."""
    return f.concatenate([_at_least(x, 2) for x in _together(xs)], 0)


@op
def dstack(xs: Arrays) -> Array:
    """The arrays joined along the third axis."""
    return f.concatenate([_at_least(x, 3) for x in _together(xs)], 2)


@op
def split(x: Array, indices_or_sections: Any, axis: int = 0) -> Any:
    """x cut into as many equal parts, or at positions, along an axis."""
    return _split(x, indices_or_sections, axis)


def _split(x: Value, where: Any, axis: int) -> list[Value]:
    axis = f.axes_of(x, axis)[0]
    n = x.shape[axis]
    if isinstance(where, int | np.integer):
        part = n.divide(int(where)) if isinstance(n, Dim) else n // where if where > 0 and n % where == 0 else None
        if part is None:
            raise ShapeError(f"split can't cut the axis {axis} of {x.type} into {where} equal parts.")
        return [_part(x, axis, i * part, part) for i in range(int(where))]
    cuts: list[Any] = [0, *(int(c) for c in as_array(where)), n]
    if isinstance(n, int):  # counted from the end where negative, and never beyond it
        cuts = [builtins.slice(c, None).indices(n)[0] for c in cuts[:-1]] + [n]
        return [_part(x, axis, a, builtins.max(b - a, 0)) for a, b in itertools.pairwise(cuts)]
    return [_part(x, axis, a, b - a) for a, b in itertools.pairwise(cuts)]


@op
def array_split(x: Array, indices_or_sections: Any, axis: int = 0) -> Any:
    """x cut into parts whose sizes differ by at most 1, the larger ones first, or at positions."""
    axis = f.axes_of(x, axis)[0]
    n, parts = x.shape[axis], indices_or_sections
    if not isinstance(parts, int | np.integer):
        return _split(x, parts, axis)
    if not isinstance(n, int):
        raise ShapeError(f"array_split needs a known size along axis {axis} of {x.type}.")
    small, more = divmod(n, int(parts))
    return _split(x, np.cumsum([small + (i < more) for i in range(parts - 1)]), axis)


@op
def hsplit(x: Array, indices_or_sections: Any) -> Any:
    """x cut along the second axis; a vector along its only one."""
    return _split(x, indices_or_sections, 0 if x.ndim == 1 else 1)


@op
def vsplit(x: Array, indices_or_sections: Any) -> Any:
    """x cut along the first axis."""
    return _split(x, indices_or_sections, 0)


@op
def dsplit(x: Array, indices_or_sections: Any) -> Any:
    """x cut along the third axis."""
    return _split(x, indices_or_sections, 2)


@op
def unstack(x: Array, num: int | None = None, axis: int = 0) -> Any:
    """The slices of x along an axis, without it."""
    axis = f.axes_of(x, axis)[0]
    n = x.shape[axis]
    if not isinstance(n, int) or num not in (None, n):
        raise ShapeError(f"unstack of {x.type} along axis {axis} can't give {num or 'an unknown number of'} slices.")
    return [f.squeeze(_part(x, axis, i, 1), axis) for i in range(n)]


# ---------------------------------------------------------------------------------------------- repeat and pad

@op
def repeat(x: Array, repeats: Any, axis: int | None = None) -> Array:
    """Every element of x as many times in a row, along an axis or of the flattened array; each its own number of times
    where `repeats` has several."""
    x, axis = (f.reshape(x, (-1,)), 0) if axis is None else (x, f.axes_of(x, axis)[0])
    times = np.atleast_1d(as_array(repeats))
    if times.size == 1:
        n, count = x.shape[axis], int(times[0])
        shape = (*x.shape[:axis + 1], count, *x.shape[axis + 1:])
        kept = tuple(a for a in range(len(shape)) if a != axis + 1)
        return f.reshape(f.broadcast(x, shape, kept), (*x.shape[:axis], n * count, *x.shape[axis + 1:]))
    if times.shape != (x.shape[axis],):
        raise ShapeError(f"repeat needs one number for each of the {x.shape[axis]} slices along axis {axis} of "
                         f"{x.type}, received {times.size}.")
    return f.take(x, f.lifted(np.repeat(np.arange(times.size, dtype=np.int32), times)), axis)


@op
def tile(x: Array, repeats: Any) -> Array:
    """x as a whole, repeated so many times along each axis."""
    times = tuple(int(n) for n in np.atleast_1d(as_array(repeats)))
    times = (1,) * (x.ndim - len(times)) + times
    x = f.reshape(x, (1,) * (len(times) - x.ndim) + x.shape)
    shape = [m for pair in zip(times, x.shape, strict=True) for m in pair]
    whole = f.broadcast(x, tuple(shape), tuple(range(1, len(shape), 2)))
    return f.reshape(whole, tuple(t * n for t, n in zip(times, x.shape, strict=True)))


@op
def pad(x: Array, pad_width: Any, mode: str = "constant", constant_values: Any = None) -> Array:
    """x with elements added at the ends of its axes: a number, or (before, after), for all or for each of them.

    'constant' adds zeros or `constant_values`, 'reflect' the elements beside the edge in reverse order, 'symmetric'
    those with the edge, 'edge' the edge again, 'wrap' (also 'circular') those at the other end.
    """
    widths = np.broadcast_to(as_array(pad_width), (x.ndim, 2)).astype(int).tolist()
    if mode == "constant":
        return f.pad(x, [tuple(w) for w in widths], 0 if constant_values is None else float(as_array(constant_values)))
    if constant_values is not None:
        raise ValueError(f"pad(mode={mode!r}) takes no constant_values.")
    mode = "wrap" if mode == "circular" else mode
    if mode not in ("reflect", "symmetric", "edge", "wrap"):
        raise ValueError(f"pad(mode={mode!r}): expected 'constant', 'reflect', 'symmetric', 'edge' or 'wrap'.")
    for axis, (before, after) in enumerate(widths):
        if before or after:
            x = _extended(x, axis, before, after, mode)
    return x


def _extended(x: Value, axis: int, before: int, after: int, mode: str) -> Value:
    n = x.shape[axis]
    if mode == "edge":
        first, last = _part(x, axis, 0, 1), _part(x, axis, n - 1, 1)

        def many(v: Value, count: int) -> Value:
            return f.concatenate([v] * count, axis)

        return f.concatenate([*([many(first, before)] if before else []), x, *([many(last, after)] if after else [])],
                             axis)
    if not isinstance(n, int):
        raise ShapeError(f"pad(mode={mode!r}) needs a known size along axis {axis} of {x.type}.")
    places = np.pad(np.arange(n, dtype=np.int32), (before, after), mode=mode)  # type: ignore[call-overload]
    return f.take(x, f.lifted(places), axis)


# ---------------------------------------------------------------------------------------------------- elements

@op
def get_item(x: Array, key: Any) -> Array:
    """x[key], for whole numbers, slices, None, Ellipsis and one array of whole numbers."""
    return f.getitem(x, key)


@op
def take(x: Array, indices: Array, axis: int | None = None) -> Array:
    """The slices of x at indices along an axis, or elements of the flattened array; from the end where negative.

    An index outside reads the nearest slice.
    """
    x, axis = (f.reshape(x, (-1,)), 0) if axis is None else (x, f.axes_of(x, axis)[0])
    return f.take(x, _from_start(indices, x.shape[axis]), axis)


def _from_start(indices: Value, n: int | Dim) -> Value:
    """Indices with those from the end counted from the start."""
    indices = indices if indices.dtype.kind in "iu" else f.cast(indices, "i32")
    if indices.dtype.kind == "u":
        return indices
    return f.where(f.less(indices, 0), indices + f.dimension(n, indices.dtype), indices)


@op
def take_along_axis(x: Array, indices: Array, axis: int | None = None) -> Array:
    """For each index the element of x at that position along the axis and at the index's place along the others."""
    if axis is None:
        return f.take(f.reshape(x, (-1,)), _from_start(f.reshape(indices, (-1,)), x.type.size), 0)
    axis = f.axes_of(x, axis)[0]
    if indices.ndim != x.ndim:
        raise ShapeError(f"take_along_axis needs as many axes of indices as of {x.type}, received {indices.type}.")
    shape = tuple(indices.shape[a] if a == axis else
                  f.broadcast_shapes((x.shape[a],), (indices.shape[a],))[0] for a in range(x.ndim))
    x = f.broadcast_to(x, tuple(x.shape[a] if a == axis else n for a, n in enumerate(shape)))
    return f.take_along(x, f.broadcast_to(_from_start(indices, x.shape[axis]), shape), axis)


@op
def diagonal(x: Array, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
    """The diagonals of the matrices over two axes, as the last axis; `offset` counts upwards from the main one."""
    return _diagonal(x, offset, axis1, axis2)


def _diagonal(x: Value, offset: int, axis1: int, axis2: int) -> Value:
    if x.ndim < 2:
        raise ShapeError(f"diagonal needs a matrix, received {x.type}.")
    rows, columns = (x.shape[a] for a in f.axes_of(x, (axis1, axis2)))
    down, right = builtins.max(-offset, 0), builtins.max(offset, 0)
    if rows == columns:
        count = rows - down - right
    elif isinstance(rows, int) and isinstance(columns, int):
        count = builtins.max(builtins.min(rows - down, columns - right), 0)
    else:
        raise ShapeError(f"diagonal needs known sizes of the axes {axis1} and {axis2} of {x.type}.")
    flat = f.merge_axes(x, f.axes_of(x, (axis1, axis2)))
    places = f.iota((count,), (0,), "i32") * f.dimension(columns + 1, "i32")
    return f.take(flat, places + f.dimension(columns * down + right, "i32"), -1)


@op
def trace(x: Array, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
    """The sums of the diagonals of the matrices over two axes."""
    x = f.cast(x, "i32") if x.dtype.kind in "bu" else x
    return f.sum(_diagonal(x, offset, axis1, axis2), -1)


@op
def diff(a: Array, n: int = 1, axis: int = -1) -> Array:
    """The differences of neighbours along an axis, n times."""
    axis = f.axes_of(a, axis)[0]
    for _ in range(n):
        count = a.shape[axis] - 1
        after, before = _part(a, axis, 1, count), _part(a, axis, 0, count)
        a = f.not_equal(after, before) if a.dtype.kind == "b" else after - before
    return a


@op
def unravel_index(indices: Array, shape: Any) -> Any:
    """For positions in the flattened array of a shape, their indices along each axis."""
    indices, shape = _from_start(indices, product(shape)), tuple(shape)
    result = []
    for n in reversed(shape):
        extent = f.dimension(n, indices.dtype)
        result.append(f.mod(indices, extent))
        indices = f.floor_divide(indices, extent)
    return tuple(reversed(result))


# ------------------------------------------------------------------------------------------------------- sizes

def ndim(x: Number) -> int:
    """The number of axes."""
    return x.ndim if hasattr(x, "ndim") else as_array(x).ndim


def size(x: Number) -> Any:
    """The number of elements, where it is known."""
    return product(x.shape) if hasattr(x, "shape") else as_array(x).size
