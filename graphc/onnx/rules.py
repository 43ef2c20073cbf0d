"""What each op becomes in ONNX: one table, `RULES`.

A convolution, which is a contraction of windows here, becomes Conv or ConvTranspose, and pooling MaxPool or
AveragePool; a product of matrices becomes MatMul. Other windows and contractions become Gather and Einsum.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from graphc.ir.functions import broadcast_shapes
from graphc.ir.graph import Value
from graphc.ir.op import Op
from graphc.ir.ops.contract import Einsum
from graphc.ir.ops.custom import WithGradient
from graphc.ir.ops.elementwise import (
    Absolute,
    Add,
    Arctan,
    Bitwise,
    Cast,
    Cos,
    Divide,
    Equal,
    Erf,
    Exp,
    Expm1,
    Floor,
    FloorDivide,
    Less,
    LessEqual,
    Log,
    Log1p,
    LogicalAnd,
    LogicalNot,
    LogicalOr,
    Maximum,
    Minimum,
    Modulo,
    Multiply,
    Negative,
    NotEqual,
    Power,
    Relu,
    Round,
    Sigmoid,
    Sign,
    Sin,
    Softplus,
    Sqrt,
    StopGradient,
    Subtract,
    Tanh,
    Where,
)
from graphc.ir.ops.indexing import ScatterAdd, Take
from graphc.ir.ops.leaf import Constant, Dimension, Iota
from graphc.ir.ops.linalg import Determinant
from graphc.ir.ops.movement import Broadcast, Concatenate, Pad, Reshape, Reverse, Slice, Transpose
from graphc.ir.ops.ordering import Argsort
from graphc.ir.ops.random import RandomBits
from graphc.ir.ops.reduction import Argmax, Max, Product, Sum
from graphc.ir.ops.rowwise import Logsumexp, Softmax
from graphc.ir.ops.structure import Item, Scan
from graphc.ir.ops.window import Fold, Windows
from graphc.ir.types import DTYPES, Dim, DType, Shape, product
from graphc.onnx.package import element_type
from graphc.onnx.writer import ExportError, Form, Rule, Writer

__all__ = ["RULES"]

BOOL, U8, U32, I32, I64, F32, F64 = (DTYPES[n] for n in ("bool", "u8", "u32", "i32", "i64", "f32", "f64"))
RULES: dict[type[Op], Rule] = {}
_END = np.iinfo(np.int64).max


def rule(*ops: type[Op]) -> Callable[[Rule], Rule]:
    """Register a function for ops."""
    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(ops, function))
        return function
    return register


# ------------------------------------------------------------------------------------------------------- elementwise

def _wide(dtype: DType) -> DType:
    """The dtype in which runtimes compute: they have arithmetic of floats, i32 and i64 only."""
    return {"bool": I32, "u8": I32, "u32": I64}.get(dtype.name, dtype)


def _elementwise(compute: Callable[..., str], as_is: bool = False) -> Rule:
    """A rule for an op on elements; `compute` makes the nodes from the names of operands and their dtype."""
    def write(w: Writer, v: Value) -> Form:
        forms = [w.thin(o) for o in v.operands]
        names, dtype = [form.name for form in forms], v.operands[0].dtype
        wide = dtype if as_is else _wide(dtype)
        if wide != dtype:
            names = [w.cast(name, wide) for name in names]
        made = compute(w, wide, *names)
        if wide != dtype and v.dtype == dtype:
            made = w.cast(made, dtype)
        return Form(made, broadcast_shapes(*(form.shape for form in forms)))
    return write


def _named(op: str) -> Callable[..., str]:
    return lambda w, dtype, *names: w.node(op, *names)


_NAMES: dict[type[Op], str] = {
    Add: "Add", Subtract: "Sub", Multiply: "Mul", Maximum: "Max", Minimum: "Min", Relu: "Relu",
    Power: "Pow", Negative: "Neg", Absolute: "Abs", Sign: "Sign", Floor: "Floor", Round: "Round", Exp: "Exp",
    Log: "Log", Sqrt: "Sqrt", Tanh: "Tanh", Sigmoid: "Sigmoid", Softplus: "Softplus", Erf: "Erf", Sin: "Sin",
    Cos: "Cos", Arctan: "Atan", Less: "Less", LessEqual: "LessOrEqual", Equal: "Equal",
}
_BOOLS: dict[type[Op], str] = {LogicalAnd: "And", LogicalOr: "Or", LogicalNot: "Not"}
RULES |= {op: _elementwise(_named(name)) for op, name in _NAMES.items()}
RULES |= {op: _elementwise(_named(name), as_is=True) for op, name in _BOOLS.items()}
RULES[NotEqual] = _elementwise(lambda w, dtype, x, y: w.node("Not", w.node("Equal", x, y)))


@rule(StopGradient, WithGradient)
def _same(w: Writer, v: Value) -> Form:
    return w.thin(v.operands[0])


@rule(Where)
def _where(w: Writer, v: Value) -> Form:
    condition, *rest = (w.thin(o) for o in v.operands)
    made = w.node("Where", condition.name, *(form.name for form in rest))
    return Form(made, broadcast_shapes(condition.shape, *(form.shape for form in rest)))


@rule(Cast)
def _cast(w: Writer, v: Value) -> Form:
    form = w.thin(v.operands[0])
    return Form(w.cast(form.name, v.dtype), form.shape)


def _expm1(w: Writer, dtype: DType, x: str) -> str:
    one = w.array(1, dtype)
    t = w.node("Tanh", w.node("Mul", x, w.array(0.5, dtype)))
    near = w.node("Div", w.node("Add", t, t), w.node("Sub", one, t))
    return w.node("Where", w.node("Less", w.node("Abs", x), one), near, w.node("Sub", w.node("Exp", x), one))


def _log1p(w: Writer, dtype: DType, x: str) -> str:
    """The logarithm of u = 1 + x, with what was lost in that sum: x log(u) / (u - 1)."""
    one = w.array(1, dtype)
    u = w.node("Add", x, one)
    exact = w.node("Equal", u, one)
    rest = w.node("Where", exact, one, w.node("Sub", u, one))
    whole = w.node("Equal", u, x)  # of infinity, and of what 1 doesn't change
    log = w.node("Log", u)
    near = w.node("Mul", log, w.node("Div", x, w.node("Where", whole, x, rest)))
    return w.node("Where", exact, x, w.node("Where", whole, log, near))


def _floor_divide(w: Writer, dtype: DType, x: str, y: str) -> str:
    """Of what divides evenly; Div rounds to zero."""
    return w.node("Div", w.node("Sub", x, w.node("Mod", x, y)), y)


def _guarded(compute: Callable[..., str]) -> Callable[..., str]:
    """0 where y is 0, which processors stop at."""
    def write(w: Writer, dtype: DType, x: str, y: str) -> str:
        zero = w.node("Equal", y, w.array(0, dtype))
        made = compute(w, dtype, x, w.node("Where", zero, w.array(1, dtype), y))
        return w.node("Where", zero, w.array(0, dtype), made)
    return write


RULES[Expm1], RULES[Log1p] = _elementwise(_expm1), _elementwise(_log1p)
RULES[Modulo], RULES[FloorDivide] = _elementwise(_guarded(_named("Mod"))), _elementwise(_guarded(_floor_divide))


@rule(Bitwise)
def _bitwise(w: Writer, v: Value) -> Form:
    kind, dtype = v.op.kind, v.dtype  # type: ignore[attr-defined]
    if kind in ("and", "or", "xor"):
        return _elementwise(_named(f"Bitwise{kind.title()}"))(w, v)  # type: ignore[return-value]
    if kind == "shr" and dtype.kind == "i":
        raise ExportError(f"ONNX shifts no {dtype} to the right.")
    shifted = U32 if dtype.size == 4 else dtype
    direction = "LEFT" if kind == "shl" else "RIGHT"

    def shift(w: Writer, dtype: DType, x: str, y: str) -> str:
        x, y = (name if dtype == shifted else w.cast(name, shifted) for name in (x, y))
        made = w.node("BitShift", x, y, direction=direction)
        return made if dtype == shifted else w.cast(made, dtype)

    return _elementwise(shift, as_is=True)(w, v)  # type: ignore[return-value]


# ---------------------------------------------------------------------------------------------------------- movement

@rule(Broadcast)
def _broadcast(w: Writer, v: Value) -> Form:
    return w.spread(w.thin(v.operands[0]), v)


@rule(Reshape)
def _reshape(w: Writer, v: Value) -> str:
    return w.reshape(w.full(v.operands[0]), v.operands[0].shape, v.shape)


@rule(Transpose)
def _transpose(w: Writer, v: Value) -> str:
    return w.transpose(w.full(v.operands[0]), v.op.axes)  # type: ignore[attr-defined]


@rule(Reverse)
def _reverse(w: Writer, v: Value) -> str:
    axes = v.op.axes  # type: ignore[attr-defined]
    each = [np.full(len(axes), n, np.int64) for n in (-1, -_END, -1)]
    return w.node("Slice", w.full(v.operands[0]), *map(w.array, (each[0], each[1], axes, each[2])))


@rule(Slice)
def _slice(w: Writer, v: Value) -> str:
    x, start = v.operands[0], v.op.start  # type: ignore[attr-defined]
    return _part(w, w.full(x), x.shape, start, v.shape)


def _part(w: Writer, name: str, whole: Shape, start: Shape, shape: Shape) -> str:
    axes = [a for a, n in enumerate(whole) if n != shape[a]]
    if not axes:
        return name
    ends = tuple(start[a] + shape[a] for a in axes)
    return w.node("Slice", name, w.sizes(tuple(start[a] for a in axes)), w.sizes(ends), w.array(axes))


@rule(Pad)
def _pad(w: Writer, v: Value) -> str:
    op: Any = v.op
    name = w.full(v.operands[0])
    wide = I32 if v.dtype in (BOOL, U8) else I64 if v.dtype == U32 else v.dtype
    name = name if wide == v.dtype else w.cast(name, wide)
    made = w.node("Pad", name, w.sizes((*op.before, *op.after)), w.array(op.value, wide), mode="constant")
    return made if wide == v.dtype else w.cast(made, v.dtype)


@rule(Concatenate)
def _concatenate(w: Writer, v: Value) -> str:
    return w.node("Concat", *map(w.full, v.operands), axis=v.op.axis)  # type: ignore[attr-defined]


@rule(Take)
def _take(w: Writer, v: Value) -> str:
    x, indices = v.operands
    axis = v.op.axis  # type: ignore[attr-defined]
    return w.node("Gather", w.full(x), _inside(w, indices, x.shape[axis]), axis=axis)


def _inside(w: Writer, indices: Value, extent: int | Dim) -> str:
    """Indices as i64, the nearest ones that lie inside."""
    name = w.full(indices)
    name = name if indices.dtype == I64 else w.cast(name, I64)
    return w.node("Clip", name, w.array(0), w.scalar(extent - 1))


@rule(ScatterAdd)
def _scatter_add(w: Writer, v: Value) -> str:
    (x, indices), axis = v.operands, v.op.axis  # type: ignore[attr-defined]
    rank, wide = indices.ndim, _wide(v.dtype)
    order = [*range(axis, axis + rank), *range(axis), *range(axis + rank, x.ndim)]
    updates = w.transpose(w.full(x), order)
    updates = updates if wide == v.dtype else w.cast(updates, wide)
    rest = tuple(x.shape[a] for a in order[rank:])
    zeros = w.node("Expand", w.array(0, wide), w.sizes((v.shape[axis], *rest)))
    at = w.node("Unsqueeze", _inside(w, indices, v.shape[axis]), w.array([rank]))
    made = w.node("ScatterND", zeros, at, updates, reduction="add")
    made = w.transpose(made, [*range(1, axis + 1), 0, *range(axis + 1, v.ndim)])
    return made if wide == v.dtype else w.cast(made, v.dtype)


@rule(Constant)
def _constant(w: Writer, v: Value) -> str:
    return w.array(v.op.value, v.dtype)  # type: ignore[attr-defined]


@rule(Dimension)
def _dimension(w: Writer, v: Value) -> str:
    return w.cast(w.scalar(v.op.size), v.dtype)  # type: ignore[attr-defined]


def _range(w: Writer, length: int | Dim) -> str:
    return w.node("Range", w.array(0), w.scalar(length), w.array(1))


@rule(Iota)
def _iota(w: Writer, v: Value) -> Form:
    axes = v.op.axes  # type: ignore[attr-defined]
    inner = tuple(v.shape[a] for a in axes)
    counted = w.cast(_range(w, product(inner)), v.dtype)
    first = axes[0] if axes else v.ndim
    shape = tuple(v.shape[a] if a in axes else 1 for a in range(first, v.ndim))
    return Form(w.reshape(counted, (product(inner),), shape), shape)


@rule(RandomBits)
def _random_bits(w: Writer, v: Value) -> str:
    raise ExportError("It draws random numbers in predictions, which ONNX has none of that would be the same.")


# -------------------------------------------------------------------------------------------------------- reductions

def _reduce(op: str) -> Rule:
    def write(w: Writer, v: Value) -> str:
        x, axes = v.operands[0], v.op.axes  # type: ignore[attr-defined]
        name, wide = w.full(x), _wide(x.dtype)
        if not axes:
            return name
        name = name if wide == x.dtype else w.cast(name, wide)
        made = w.node(op, name, w.array(axes), keepdims=0)
        return made if wide == x.dtype else w.cast(made, x.dtype)
    return write


RULES[Product] = _reduce("ReduceProd")


@rule(Sum)
def _sum(w: Writer, v: Value) -> str:
    found = _sums(v)
    if found is None:
        return _reduce("ReduceSum")(w, v)  # type: ignore[return-value]
    x, pads, op = found
    mean = _average(w, x, pads, op, 1)
    return w.node("Mul", mean, w.array(prod(op.size), v.dtype))


@rule(Divide)
def _divide(w: Writer, v: Value) -> Form | str:
    """A mean of windows, where it is one: of all that they read, or without the padding."""
    total, count = v.operands
    found = _sums(total)
    if found is not None:
        x, pads, op = found
        if _number(count) == prod(op.size):
            return _average(w, x, pads, op, 1)
        ones = _sums(count)
        if ones is not None and ones[1:] == (pads, op) and _number(ones[0]) == 1:
            return _average(w, x, pads, op, 0)
    return _elementwise(_named("Div"))(w, v)


def _number(v: Value) -> float | None:
    """The number that a value repeats."""
    source = v.operands[0] if isinstance(v.op, Broadcast) else v
    return source.op.value if isinstance(source.op, Constant) else None


def _sums(v: Value) -> tuple[Value, list[int], Windows] | None:
    """What sums of windows without gaps read, and its padding."""
    found = _pooled(v, 0.0) if isinstance(v.op, Sum) else None
    return None if found is None or max(found[2].dilation) > 1 else found


def _average(w: Writer, x: Value, pads: list[int], op: Windows, padding: int) -> str:
    made = w.node("AveragePool", _channels_first(w, x), kernel_shape=op.size, strides=op.strides, pads=pads,
                  count_include_pad=padding)
    return _channels_last(w, made, x.ndim)


@rule(Max)
def _max(w: Writer, v: Value) -> str:
    found = _pooled(v, -np.inf)
    if found is None:
        return _reduce("ReduceMax")(w, v)  # type: ignore[return-value]
    x, pads, op = found
    made = w.node("MaxPool", _channels_first(w, x), kernel_shape=op.size, strides=op.strides, pads=pads,
                  dilations=op.dilation)
    return _channels_last(w, made, v.ndim)


def _pooled(v: Value, padding: float) -> tuple[Value, list[int], Windows] | None:
    """What a reduction of windows to one element each reads, and its padding, where it is one that ONNX has."""
    op, axes = v.operands[0].op, v.op.axes  # type: ignore[attr-defined]
    if not isinstance(op, Windows) or v.dtype != F32 or len(op.size) > 3:
        return None
    rank = len(op.size)
    if axes != tuple(range(1 + rank, 1 + 2 * rank)):
        return None
    read = v.operands[0].operands[0]
    x, pads = _padded(read, padding)
    if any(p > (k - 1) * d for p, k, d in zip(pads, op.size * 2, op.dilation * 2, strict=True)):
        x, pads = read, [0] * (2 * rank)  # runtimes refuse windows of padding alone
    return x, pads, op


def _padded(x: Value, value: float) -> tuple[Value, list[int]]:
    """What is padded by a value along spatial axes, with the numbers as Conv takes them; else x and zeros."""
    op, rank = x.op, x.ndim - 2
    if isinstance(op, Pad) and op.value == value:
        widths = [*op.before, *op.after]
        outer = [widths[i] for i in (0, rank + 1, rank + 2, -1)]
        if not any(isinstance(n, Dim) for n in widths) and outer == [0, 0, 0, 0]:
            return x.operands[0], [*op.before[1:-1], *op.after[1:-1]]  # type: ignore[list-item]
    return x, [0] * (2 * rank)


def _channels_first(w: Writer, x: Value) -> str:
    return w.transpose(w.full(x), (0, x.ndim - 1, *range(1, x.ndim - 1)))


def _channels_last(w: Writer, name: str, rank: int) -> str:
    return w.transpose(name, (0, *range(2, rank), 1))


@rule(Argmax)
def _argmax(w: Writer, v: Value) -> str:
    x, axes = v.operands[0], v.op.axes  # type: ignore[attr-defined]
    kept = [a for a in range(x.ndim) if a not in axes]
    rows = w.transpose(w.full(x), [*kept, *axes])
    shape = tuple(x.shape[a] for a in (*kept, *axes))
    rows = w.reshape(rows, shape, (*v.shape, product(shape[len(kept):])))
    rows = rows if x.dtype in (F32, F64, I32) else w.cast(rows, F64 if x.dtype in (I64, U32) else I32)
    return w.cast(w.node("ArgMax", rows, axis=len(kept), keepdims=0), v.dtype)


@rule(Argsort)
def _argsort(w: Writer, v: Value) -> str:
    x, axis = v.operands[0], v.op.axis  # type: ignore[attr-defined]
    name = w.full(x)
    name = name if _wide(x.dtype) == x.dtype else w.cast(name, _wide(x.dtype))
    places = w.several("TopK", (name, w.size(x.shape[axis])), 2, axis=axis, largest=0, sorted=1)[1]
    return w.cast(places, v.dtype)


@rule(Softmax)
def _softmax(w: Writer, v: Value) -> str:
    return w.node("Softmax", w.full(v.operands[0]), axis=v.op.axis)  # type: ignore[attr-defined]


@rule(Logsumexp)
def _logsumexp(w: Writer, v: Value) -> str:
    axes = w.array([v.op.axis])  # type: ignore[attr-defined]
    return w.node("ReduceLogSumExp", w.full(v.operands[0]), axes, keepdims=0)


@rule(Determinant)
def _determinant(w: Writer, v: Value) -> str:
    return w.node("Det", w.full(v.operands[0]))


# ------------------------------------------------------------------------------------------------------ contractions

@rule(Einsum)
def _einsum(w: Writer, v: Value) -> str:
    return _convolution(w, v) or _product(w, v) or w.node(
        "Einsum", *map(w.full, v.operands), equation=v.op.spec)  # type: ignore[attr-defined]


def _turned(w: Writer, name: str, letters: str, wanted: str) -> str:
    return w.transpose(name, [letters.index(c) for c in wanted])


def _product(w: Writer, v: Value) -> str | None:
    """A product of matrices, where the contraction is one."""
    x, y, result = v.op.letters()  # type: ignore[attr-defined]
    inner = [c for c in x if c in y and c not in result]
    batch = [c for c in result if c in x and c in y]
    left, right = ([c for c in part if c not in batch and c not in inner] for part in (x, y))
    if len(inner) != 1 or set(left + right) - set(result):
        return None
    if batch and len(left) == len(right) == 1:
        shared = "".join(batch)
        first, second = shared + left[0] + inner[0], shared + inner[0] + right[0]
    elif not batch and left and len(right) == 1:
        first, second = "".join([*left, *inner]), inner[0] + right[0]
    else:
        return None
    names = [_turned(w, w.full(o), letters, wanted)
             for o, letters, wanted in zip(v.operands, (x, y), (first, second), strict=True)]
    return _turned(w, w.node("MatMul", *names), first[:-1] + second[-1], result)


def _convolution(w: Writer, v: Value) -> str | None:
    """A contraction of windows with a kernel: each group of channels with the part of the kernel that is for it."""
    parts = v.op.letters()  # type: ignore[attr-defined]
    result = parts[2]
    for side in (0, 1):
        read, kernel, letters, others = v.operands[side], v.operands[1 - side], parts[side], parts[1 - side]
        source = read
        if isinstance(read.op, Reshape) and isinstance(read.operands[0].op, Windows) and (
                read.shape[:-2] == read.operands[0].shape[:-1]):
            source = read.operands[0]
        op = source.op
        if not isinstance(op, Windows) or v.dtype != F32 or len(op.size) > 3:
            continue
        rank = len(op.size)
        outer, taps, channels = letters[:1 + rank], letters[1 + rank:1 + 2 * rank], letters[1 + 2 * rank:]
        group = "".join(c for c in channels if c in result)
        inner = "".join(c for c in channels if c not in result)
        new = "".join(c for c in others if c not in letters)
        fits = (set(outer) <= set(result) and not set(outer) & set(others) and set(taps + channels) <= set(others)
                and not set(taps) & set(result) and set(new) <= set(result) and channels == group + inner)
        if not fits:
            continue
        extents: dict[str, Any] = dict(zip(letters + others, read.shape + kernel.shape, strict=True))
        counts = [prod(extents[c] for c in part) for part in (group, new, inner)]
        weights = _turned(w, w.full(kernel), others, group + new + inner + taps)
        old = tuple(extents[c] for c in group + new + inner + taps)
        weights = w.reshape(weights, old, (counts[0] * counts[1], counts[2], *op.size))
        x, pads = _padded(source.operands[0], 0.0)
        made = w.node("Conv", _channels_first(w, x), weights, group=counts[0], kernel_shape=op.size,
                      strides=op.strides, dilations=op.dilation, pads=pads)
        made = _channels_last(w, made, rank + 2)
        given = outer + group + new
        shape = tuple(extents[c] for c in given)
        flat = (*shape[:1 + rank], counts[0] * counts[1])
        return _turned(w, w.reshape(made, flat, shape), given, result)
    return None


@rule(Windows)
def _windows(w: Writer, v: Value) -> str:
    """Windows by their positions: each spatial axis becomes two."""
    op: Any = v.op
    name, rank = w.full(v.operands[0]), len(op.size)
    for axis in reversed(range(rank)):
        taps, count = np.arange(op.size[axis]) * op.dilation[axis], v.shape[1 + axis]
        if isinstance(count, Dim):
            starts = w.node("Mul", _range(w, count), w.array(op.strides[axis]))
            at = w.node("Add", w.node("Unsqueeze", starts, w.array([1])), w.array(taps))
        else:
            at = w.array(np.arange(count)[:, None] * op.strides[axis] + taps)
        name = w.node("Gather", name, at, axis=1 + axis)
    pairs = range(1, 1 + 2 * rank, 2)
    return w.transpose(name, (0, *pairs, *(a + 1 for a in pairs), 2 * rank + 1))


@rule(Fold)
def _fold(w: Writer, v: Value) -> str:
    """A transposed convolution with the kernel that the windows come from; else with one that takes them apart."""
    op: Any = v.op
    x, rank = v.operands[0], len(op.extent)
    if v.dtype != F32 or rank > 3:
        raise ExportError(f"ONNX Runtime has transposed convolutions of float32 and up to 3 axes, not of {x.type}.")
    size: Any = x.shape[1 + rank:-1]
    options: dict[str, Any] = {"kernel_shape": size, "strides": op.strides, "dilations": op.dilation}
    reached = [(n - 1) * s + (k - 1) * d + 1
               for n, s, k, d in zip(x.shape[1:], op.strides, size, op.dilation, strict=False)]
    rest = [whole - part for whole, part in zip(op.extent, reached, strict=True)]
    found = _spread(w, x, rank)
    if found is None:
        channels: Any = x.shape[-1]
        taps = prod(size)
        last = w.transpose(w.full(x), (0, x.ndim - 1, *range(1 + rank, x.ndim - 1), *range(1, 1 + rank)))
        old = (x.shape[0], channels, *size, *x.shape[1:1 + rank])
        name = w.reshape(last, old, (x.shape[0], channels * taps, *x.shape[1:1 + rank]))
        kernel = w.array(np.tile(np.eye(taps).reshape(taps, 1, *size), (channels, *(1,) * (rank + 1))), F32)
        found, options["group"] = (name, kernel), channels
    made = w.node("ConvTranspose", *found, **options)
    if any(not isinstance(n, int) or n for n in rest):
        none = (0,) * (rank + 2)
        made = w.node("Pad", made, w.sizes((*none, 0, 0, *rest)), w.array(0, F32), mode="constant")
    return _channels_last(w, made, rank + 2)


def _spread(w: Writer, x: Value, rank: int) -> tuple[str, str] | None:
    """The operand and the kernel of which windows are the products."""
    if not isinstance(x.op, Einsum):
        return None
    first, second, result = x.op.letters()
    outer, taps, channel = result[:1 + rank], result[1 + rank:-1], result[-1]
    for side in (0, 1):
        letters, others = (first, second)[side], (first, second)[1 - side]
        inner = letters[-1]
        if letters == outer + inner and set(others) == {*taps, channel, inner} and inner not in result:
            kernel = _turned(w, w.full(x.operands[1 - side]), others, inner + channel + taps)
            return _channels_first(w, x.operands[side]), kernel
    return None


# ------------------------------------------------------------------------------------------------------------- loops

@rule(Item)
def _item(w: Writer, v: Value) -> Form:
    return w.results[v.operands[0]][v.op.index]  # type: ignore[attr-defined]


@rule(Scan)
def _scan(w: Writer, v: Value) -> str:
    op: Any = v.op
    scanned, first, constants = op.parts(v.operands)
    slices, carried, others = op.parts(op.body.inputs)
    body = Writer(w.rules, w)
    starts = [w.full(c) for c in first]
    read = [_part(w, w.full(x), x.shape, (shift, *(0,) * (x.ndim - 1)), (op.length, *x.shape[1:]))
            for x, shift in zip(scanned, op.shifts, strict=True)]
    inputs = []
    for inner, outer in zip(others, constants, strict=True):
        body.forms[inner] = w.thin(outer)
    for inner in (*carried, *slices):
        name = w.unique(f"{v.origin}/{inner.op.label}")
        body.forms[inner] = Form(name, inner.shape)
        inputs.append(w.info(name, inner))
    if not read:  # of a loop that reads nothing, the numbers of the steps
        read = [_range(w, op.length)]
        inputs.append(w.onnx.helper.make_tensor_value_info(w.unique("step"), element_type(I64), []))
    body.write(op.body)
    given = [value for _, value in op.body.outputs]
    stacked = [*(value for value, kept in zip(given, op.kept, strict=False) if kept), *given[op.carries:]]
    outputs = [body.info(body.node("Identity", body.full(value)), value) for value in (*given[:op.carries], *stacked)]
    inside = body.finish(w.unique("body"), inputs, outputs)
    directions = {"scan_input_directions": [int(op.reverse)] * len(read)}
    if stacked:
        directions["scan_output_directions"] = [int(op.reverse)] * len(stacked)
    names = iter(w.several("Scan", (*starts, *read), len(outputs), body=inside, num_scan_inputs=len(read),
                           **directions))
    last = [next(names) for _ in first]
    results = []
    for i, kept in enumerate(op.kept):
        name = last[i]
        if kept:
            pair = [w.node("Unsqueeze", starts[i], w.array([0])), next(names)]
            name = w.node("Concat", *(pair[::-1] if op.reverse else pair), axis=0)
        results.append(Form(name, v.type.items[i].shape))  # type: ignore[union-attr]
    results += (Form(next(names), t.shape) for t in v.type.items[op.carries:])  # type: ignore[union-attr]
    w.results[v] = results
    return ""
