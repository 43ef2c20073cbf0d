"""NumPy-like functions over values, named as in `keras.ops`.

Ops take operands of equal shapes and dtypes; here broadcasting, promotion and axis defaults become visible
values. Promotion is Keras's: Python numbers take the other operand's dtype, integers yield to floats.
Source of names and defaults: https://keras.io/api/ops/
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.ir.comparison import Comparison
from graphc.ir.errors import DTypeError, ShapeError
from graphc.ir.expr import REDUCTIONS
from graphc.ir.graph import Value, apply
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
from graphc.ir.ops.leaf import Constant, Dimension, Input, Iota, State
from graphc.ir.ops.linalg import Determinant, Inverse, Solve
from graphc.ir.ops.movement import Broadcast, Concatenate, Pad, Reshape, Reverse, Slice, Transpose
from graphc.ir.ops.ordering import Argsort
from graphc.ir.ops.random import RandomBits
from graphc.ir.ops.reduction import Argmax, Max, Product, Sum
from graphc.ir.ops.rowwise import Logsumexp, Softmax
from graphc.ir.ops.structure import Gradient, Item
from graphc.ir.ops.window import Fold, Windows
from graphc.ir.scan import closed, leaf, scan
from graphc.ir.types import DTYPES, Dim, DType, Shape, TensorType, at_least_zero, product

__all__ = [
    "absolute", "add", "all", "any", "arctan", "argmax", "argmin", "argsort", "average_pool", "bitwise",
    "broadcast_to", "cast", "ceil", "clip", "concatenate", "constant", "conv", "cos", "dimension", "divide", "dropout",
    "einsum", "elu", "equal", "erf", "exp", "expand_dims", "expm1", "flip", "floor", "floor_divide", "full", "gelu",
    "getitem", "gradient", "greater", "greater_equal", "input", "iota", "leaky_relu", "less", "less_equal", "log",
    "log1p", "log_softmax", "logical_and", "logical_not", "logical_or", "logsumexp", "matmul", "max", "max_pool",
    "maximum", "mean", "min", "minimum", "mod", "multiply", "negative", "not_equal", "one_hot", "ones_like", "pad",
    "power", "prod", "relu", "relu6", "reshape", "round", "rsqrt", "scan", "scatter_add", "selu", "sigmoid", "sign",
    "silu", "sin", "slice", "softmax", "softplus", "softsign", "sqrt", "square", "squeeze", "stack", "state",
    "stop_gradient", "subtract", "sum", "take", "tanh", "transpose", "uniform", "where", "zeros_like",
]

Axis = int | Sequence[int] | None
Number = bool | int | float | np.number | np.ndarray
Like = Value | Number


# ------------------------------------------------------------------------------------------ leaves and dtypes

def input(label: str, shape: Shape, dtype: object = "f32") -> Value:
    """A graph input."""
    return apply(Input(label, TensorType(DType.of(dtype), tuple(shape))), origin="")


def state(label: str, shape: Shape, dtype: object = "f32") -> Value:
    """A graph state: an array that lives between steps."""
    return apply(State(label, TensorType(DType.of(dtype), tuple(shape))), origin="")


def constant(value: Number, dtype: object = "f32") -> Value:
    """One number as a value of shape ()."""
    d = DType.of(dtype)
    return apply(Constant(d.numpy.type(value).item(), d))


def full(shape: Shape, value: Like, dtype: object = "f32") -> Value:
    """A value of the shape with one number everywhere."""
    scalar = value if isinstance(value, Value) else constant(float(value) if DType.of(dtype).is_float else value, dtype)
    return broadcast(scalar, tuple(shape), ())


def zeros_like(x: Value) -> Value:
    """Zeros of the shape and dtype of x."""
    return full(x.shape, 0, x.dtype)


def ones_like(x: Value) -> Value:
    """Ones of the shape and dtype of x."""
    return full(x.shape, 1, x.dtype)


def dimension(size: int | Dim, dtype: object = "f32") -> Value:
    """The value of a dimension as a number of the dtype."""
    return apply(Dimension(size, DType.of(dtype))) if isinstance(size, Dim) else constant(size, dtype)


def iota(shape: Shape, axes: Sequence[int], dtype: object = "i32") -> Value:
    """Positions along `axes`, counted in row-major order over them."""
    return apply(Iota(tuple(shape), tuple(axes), DType.of(dtype)))


def cast(x: Like, dtype: object) -> Value:
    """x converted to the dtype."""
    d = DType.of(dtype)
    x = x.value if isinstance(x, Comparison) else x
    if not isinstance(x, Value):
        return constant(x, d)
    return x if x.dtype == d else apply(Cast(d), x)


_LIFT: list[Callable[[np.ndarray], Value]] = []


def lift_arrays_with(function: Callable[[np.ndarray], Value]) -> None:
    """Let a function make a value of each array that meets a value in arithmetic."""
    _LIFT[:] = [function]


def lifted(x: np.ndarray) -> Value:
    """An array as a constant of a graph."""
    return _LIFT[0](x)


def _lifted(*operands: Any) -> list[Any]:
    """Operands with sizes and arrays as values; an array of float64 is float32 among values that aren't float64."""
    operands = tuple(x.value if isinstance(x, Comparison) else x for x in operands)
    wide = builtins.any(isinstance(x, Value) and x.dtype.size == 8 and x.dtype.is_float for x in operands)

    def lift(x: Any) -> Any:
        if isinstance(x, Dim):
            return dimension(x, "i32")
        if isinstance(x, Value) or not isinstance(x, np.ndarray | list | tuple) or not np.ndim(x):
            return x
        if not _LIFT:
            raise DTypeError("An array can't be a constant of a graph: make it an input, a weight or a number.")
        array = np.asarray(x)
        return lifted(array.astype(np.float32) if array.dtype == np.float64 and not wide else array)

    return [lift(x) for x in operands]


_ORDER = [DTYPES[n] for n in ("bool", "u8", "u32", "i32", "i64", "f32", "f64")]


def _promote(*operands: Like) -> list[Value]:
    """Operands as values of one dtype and one shape."""
    operands = tuple(_lifted(*operands))
    dtype = common_dtype(*operands)
    same = [cast(o, dtype) for o in operands]
    shape = broadcast_shapes(*(v.shape for v in same))
    return [broadcast_to(v, shape) for v in same]


def common_dtype(*operands: Like) -> DType:
    """The dtype that operands are promoted to: the widest of the values', which numbers take unless they have none."""
    values = [o for o in operands if isinstance(o, Value)]
    numbers = [o for o in operands if not isinstance(o, Value)]
    dtype = builtins.max((v.dtype for v in values), key=_ORDER.index, default=DTYPES["bool"])
    if not dtype.is_float and builtins.any(isinstance(n, float | np.floating) for n in numbers):
        dtype = DTYPES["f32"]
    if dtype.kind == "b" and builtins.any(not isinstance(n, bool | np.bool_) for n in numbers):
        dtype = DTYPES["i32"]
    return dtype


def to_float(x: Like) -> Value:
    x = x if isinstance(x, Value) else constant(x)
    return x if x.dtype.is_float else cast(x, "f32")


def broadcast_shapes(*shapes: Shape) -> Shape:
    """The shape that NumPy broadcasting gives."""
    rank = builtins.max(map(len, shapes), default=0)
    result: list[int | Dim] = [1] * rank
    for shape in shapes:
        for i, extent in enumerate(shape, rank - len(shape)):
            if extent != 1 and result[i] not in (1, extent):
                raise ShapeError(f"Shapes {' and '.join(map(_shape, shapes))} do not broadcast together: "
                                 f"{result[i]} is not {extent}.")
            result[i] = result[i] if extent == 1 else extent
    return tuple(result)


def _shape(shape: Shape) -> str:
    return f"[{','.join(map(str, shape))}]"


# --------------------------------------------------------------------------------------------------- movement

def broadcast(x: Value, shape: Shape, axes: Sequence[int]) -> Value:
    """Place the axes of x at `axes` of the shape and repeat it along the others."""
    return x if x.shape == tuple(shape) else apply(Broadcast(tuple(shape), tuple(axes)), x)


def broadcast_to(x: Value, shape: Shape) -> Value:
    """Broadcast x to the shape by NumPy's rule."""
    if x.shape == tuple(shape):
        return x
    if broadcast_shapes(x.shape, shape) != tuple(shape):
        raise ShapeError(f"{x.type} does not broadcast to the shape {_shape(shape)}.")
    offset = len(shape) - x.ndim
    kept = [a for a in range(x.ndim) if x.shape[a] == shape[a + offset]]
    squeezed = reshape(x, tuple(x.shape[a] for a in kept))
    return broadcast(squeezed, tuple(shape), tuple(a + offset for a in kept))


def reshape(x: Value, newshape: Sequence[int | Dim]) -> Value:
    """x under another shape; one extent may be -1."""
    shape = tuple(newshape)
    if -1 in shape:
        known = product(d for d in shape if not (isinstance(d, int) and d == -1))
        size = x.type.size  # type: ignore[union-attr]
        if isinstance(size, Dim):
            rest = size.divide(known)
        else:
            rest = size // known if isinstance(known, int) and known and size % known == 0 else None
        if rest is None:
            raise ShapeError(f"reshape can't turn {x.type} into the shape {shape}: {size} elements do not divide.")
        shape = tuple(rest if isinstance(d, int) and d == -1 else d for d in shape)
    return x if x.shape == shape else apply(Reshape(shape), x)


def transpose(x: Value, axes: Sequence[int] | None = None) -> Value:
    """x with its axes permuted; reversed by default."""
    order = tuple(range(x.ndim))[::-1] if axes is None else axes_of(x, axes)
    return x if order == tuple(range(x.ndim)) else apply(Transpose(order), x)


def flip(x: Value, axis: Axis = None) -> Value:
    """x in reverse order along the axes."""
    return apply(Reverse(tuple(sorted(axes_of(x, axis)))), x)


def slice(x: Value, start: Sequence[int | Dim], shape: Shape) -> Value:
    """The block of x that begins at `start`."""
    return x if x.shape == tuple(shape) else apply(Slice(tuple(start), tuple(shape)), x)


def pad(x: Value, pad_width: Sequence[tuple[int | Dim, int | Dim]], constant_values: float = 0.0) -> Value:
    """x with `pad_width[i] = (before, after)` elements added to axis i."""
    if not builtins.any(b or a for b, a in pad_width):
        return x
    before, after = zip(*pad_width, strict=True)
    return apply(Pad(tuple(before), tuple(after), float(constant_values)), x)


def concatenate(xs: Sequence[Value], axis: int = -1) -> Value:
    """The values joined along an axis."""
    return apply(Concatenate(axes_of(xs[0], axis)[0]), *xs)


def stack(xs: Sequence[Value], axis: int = 0) -> Value:
    """The values joined along a new axis."""
    return concatenate([expand_dims(x, axis) for x in xs], axis)


def getitem(x: Value, key: Any) -> Value:
    """x[key] as in NumPy, for whole numbers, slices, None, Ellipsis and one array of whole numbers.

    An axis of unknown size takes -n, n: and :-n, of which the sizes follow; others need it known.
    """
    keys = list(key) if isinstance(key, tuple) else [key]
    taken = builtins.sum(k is not None and k is not Ellipsis for k in keys)
    if taken > x.ndim:
        raise ShapeError(f"{x.type} has {x.ndim} axes, received {taken} indices: {key!r}.")
    if not builtins.any(k is Ellipsis for k in keys):
        keys.append(Ellipsis)
    at = next(i for i, k in enumerate(keys) if k is Ellipsis)
    keys[at:at + 1] = [builtins.slice(None)] * (x.ndim - taken)
    axis, steps, flips = 0, [], []
    start: list[int | Dim] = []
    shape: list[int | Dim] = []
    result: list[int | Dim] = []
    arrays: list[tuple[int, Value]] = []
    for k in keys:
        if k is None:
            result.append(1)
            continue
        n = x.shape[axis]
        if isinstance(k, builtins.slice):
            begin, count, step = _range(k, n, x)
            if step < 0:
                flips.append(axis)
            result.append(count if builtins.abs(step) == 1 else -(-count // builtins.abs(step)))
        elif isinstance(k, int | np.integer) and not isinstance(k, bool | np.bool_):
            if isinstance(n, int) and not -n <= k < n:
                raise ShapeError(f"The index {k} is out of range for axis {axis} of {x.type}.")
            begin, count, step = (k if k >= 0 else n + int(k)), 1, 1
        else:
            k = k if isinstance(k, Value) else _lifted(np.asarray(k))[0]
            if arrays or not isinstance(k, Value) or k.dtype.kind not in "iu":
                raise TypeError(f"Indices of {x.type} are whole numbers, slices, None, Ellipsis or one array of whole "
                                f"numbers, received {key!r:.200}. Choose by a condition with ops.where.")
            arrays.append((len(result), k))
            result.append(n)
            begin, count, step = 0, n, 1
        start.append(begin)
        shape.append(count)
        steps.append(builtins.abs(step))
        axis += 1
    y = slice(x, start, tuple(shape))
    y = flip(y, flips) if flips else y
    for a, step in enumerate(steps):
        if step > 1:  # every step-th: as the first column of rows that long
            n = y.shape[a]
            rows = -(-n // step)  # type: ignore[operator]
            y = pad(y, [(0, rows * step - n) if i == a else (0, 0) for i in range(y.ndim)])
            rest = y.shape[a + 1:]
            y = reshape(y, (*y.shape[:a], rows, step, *rest))
            y = slice(y, (0,) * y.ndim, (*y.shape[:a + 1], 1, *rest))
            y = reshape(y, (*y.shape[:a + 1], *rest))
    y = reshape(y, tuple(result))
    for place, indices in arrays:
        y = take(y, indices, place)
    return y


def _range(k: Any, n: int | Dim, x: Value) -> tuple[Any, Any, int]:
    """Where a slice of an axis begins, how many elements it spans, and its step."""
    step = 1 if k.step is None else int(k.step)
    if isinstance(n, int):
        chosen = range(n)[k]
        if not len(chosen):
            return 0, 0, 1
        low, high = builtins.min(chosen[0], chosen[-1]), builtins.max(chosen[0], chosen[-1])
        return low, high - low + 1, step
    whole = k.start is None and k.stop is None
    if builtins.abs(step) != 1 or not (whole or step == 1):
        raise ShapeError(f"A slice with the step {step} needs an axis of known size, received {x.type}.")

    def place(i: Any, default: Any) -> Any:
        return default if i is None else n + int(i) if isinstance(i, int | np.integer) and i < 0 else i

    begin, end = place(k.start, 0), place(k.stop, n)
    if not (at_least_zero(begin) and at_least_zero(n - end)) or at_least_zero(begin - end - 1):
        raise ShapeError(f"The slice {k.start}:{k.stop} may reach outside the axis of unknown size {n} of {x.type}. "
                         "Slice from the end (-n:) or fix the size.")
    return begin, end - begin, step


def moveaxis(x: Value, source: int, destination: int) -> Value:
    """x with one axis in another place."""
    source, destination = axes_of(x, source)[0], axes_of(x, destination)[0]
    order = [a for a in range(x.ndim) if a != source]
    order.insert(destination, source)
    return transpose(x, order)


def merge_axes(x: Value, axes: Sequence[int]) -> Value:
    """x with some of its axes as one, the last."""
    kept = [a for a in range(x.ndim) if a not in axes]
    return reshape(transpose(x, (*kept, *axes)), (*(x.shape[a] for a in kept), product(x.shape[a] for a in axes)))


def expand_dims(x: Value, axis: int) -> Value:
    """x with a new axis of extent 1."""
    axis = axis + x.ndim + 1 if axis < 0 else axis
    return reshape(x, (*x.shape[:axis], 1, *x.shape[axis:]))


def squeeze(x: Value, axis: Axis = None) -> Value:
    """x without axes of extent 1."""
    gone = {a for a, n in enumerate(x.shape) if n == 1} if axis is None else set(axes_of(x, axis))
    return reshape(x, tuple(n for a, n in enumerate(x.shape) if a not in gone))


def axes_of(x: Value, axis: Axis) -> tuple[int, ...]:
    """Axes as nonnegative numbers; all of them for None."""
    if axis is None:
        return tuple(range(x.ndim))
    given = (axis,) if isinstance(axis, int | np.integer) else tuple(axis)
    for a in given:
        if not -x.ndim <= a < x.ndim:
            raise ShapeError(f"The axis {a} is out of range for {x.type}.")
    return tuple(int(a) % x.ndim for a in given)


def take(x: Value, indices: Value, axis: int = 0) -> Value:
    """The slices of x along an axis at integer indices; an index outside reads the nearest slice."""
    return apply(Take(axes_of(x, axis)[0]), x, indices)


def take_along(x: Value, indices: Value, axis: int) -> Value:
    """For each index the element of x at that position along the axis, and at the index's place along the others.

    The shapes are equal but for the axis; indices are within it.
    """
    flat = constant(0, "i64")
    for a, extent in enumerate(x.shape):
        place = cast(indices, "i64") if a == axis else iota(indices.shape, (a,), "i64")
        if a == axis:
            place = clip(place, 0, dimension(extent - 1, "i64"))
        flat = add(multiply(flat, dimension(extent, "i64")), place) if a else place
    return take(reshape(x, (x.type.size,)), flat, 0)  # type: ignore[union-attr, arg-type]


def scatter_add(x: Value, indices: Value, extent: int | Dim, axis: int = 0) -> Value:
    """Zeros of an extent along an axis with the slices of x added at integer indices: the adjoint of `take`."""
    return apply(ScatterAdd(axis, extent), x, indices)


# ------------------------------------------------------------------------------------------------ elementwise

def _unary(op: Any, needs_float: bool = True) -> Any:
    def function(x: Like) -> Value:
        return apply(op(), to_float(x) if needs_float else _promote(x)[0])

    function.__name__ = function.__qualname__ = op.name
    function.__doc__ = op.__doc__.split("\n")[0]
    return function


def _binary(op: Any, needs_float: bool = False) -> Any:
    def function(x1: Like, x2: Like) -> Value:
        if needs_float:
            x1, x2 = (to_float(x) if isinstance(x, Value) else x for x in (x1, x2))
        return apply(op(), *_promote(x1, x2))

    function.__name__ = function.__qualname__ = op.name
    function.__doc__ = op.__doc__.split("\n")[0]
    return function


subtract = _binary(Subtract)
divide, power = _binary(Divide, needs_float=True), _binary(Power, needs_float=True)
maximum, minimum = _binary(Maximum), _binary(Minimum)
less, less_equal, equal, not_equal = _binary(Less), _binary(LessEqual), _binary(Equal), _binary(NotEqual)
logical_and, logical_or = _binary(LogicalAnd), _binary(LogicalOr)
logical_not = _unary(LogicalNot, needs_float=False)
negative, absolute, sign = _unary(Negative, False), _unary(Absolute, False), _unary(Sign, False)
relu, stop_gradient = _unary(Relu, False), _unary(StopGradient, False)
arctan, expm1, round = _unary(Arctan), _unary(Expm1), _unary(Round)
floor, exp, log, log1p, sqrt = _unary(Floor), _unary(Exp), _unary(Log), _unary(Log1p), _unary(Sqrt)
tanh, sigmoid, softplus, erf, sin, cos = map(_unary, (Tanh, Sigmoid, Softplus, Erf, Sin, Cos))


def add(x1: Like, x2: Like) -> Value:
    """x + y; of bools, whether one holds."""
    x1, x2 = _promote(x1, x2)
    return apply(LogicalOr() if x1.dtype.kind == "b" else Add(), x1, x2)


def multiply(x1: Like, x2: Like) -> Value:
    """x * y; of bools, whether both hold."""
    x1, x2 = _promote(x1, x2)
    return apply(LogicalAnd() if x1.dtype.kind == "b" else Multiply(), x1, x2)


def greater(x1: Like, x2: Like) -> Value:
    """x > y."""
    return less(x2, x1)


def greater_equal(x1: Like, x2: Like) -> Value:
    """x >= y."""
    return less_equal(x2, x1)


def where(condition: Value, x1: Like, x2: Like) -> Value:
    """x1 where the condition holds, x2 elsewhere."""
    x1, x2 = _promote(x1, x2)
    shape = broadcast_shapes(condition.shape, x1.shape)
    return apply(Where(), *(broadcast_to(v, shape) for v in (condition, x1, x2)))


def square(x: Value) -> Value:
    """x * x."""
    return multiply(x, x)


def rsqrt(x: Value) -> Value:
    """1 / sqrt(x)."""
    return divide(1.0, sqrt(x))


def clip(x: Value, x_min: Like, x_max: Like) -> Value:
    """x limited to the interval [x_min, x_max]."""
    return minimum(maximum(x, x_min), x_max)


def bitwise(kind: str, x1: Like, x2: Like) -> Value:
    """x1 and x2 bit by bit: `and`, `or`, `xor`, `shl` or `shr`."""
    return apply(Bitwise(kind), *_promote(x1, x2))


def ceil(x: Like) -> Value:
    """The smallest whole number not below x."""
    return negative(floor(negative(to_float(x))))


def floor_divide(x1: Like, x2: Like) -> Value:
    """The largest whole number not above x1 / x2; 0 where whole numbers are divided by 0."""
    x1, x2 = _promote(*_counted(x1, x2))
    if not x1.dtype.is_float:
        return apply(FloorDivide(), x1, x2)
    return cast(floor(divide(cast(x1, "f64"), cast(x2, "f64"))), x1.dtype)


def mod(x1: Like, x2: Like) -> Value:
    """What is left of x1 after division by x2, with the sign of x2; 0 where whole numbers are divided by 0."""
    x1, x2 = _promote(*_counted(x1, x2))
    if not x1.dtype.is_float:
        return apply(Modulo(), x1, x2)
    dtype, x1, x2 = x1.dtype, cast(x1, "f64"), cast(x2, "f64")  # where the quotient of f32 is exact enough
    return cast(subtract(x1, multiply(x2, floor(divide(x1, x2)))), dtype)


def _counted(*operands: Like) -> list[Like]:
    """Operands with bools as numbers."""
    return [cast(o, "i32") if isinstance(o, Value) and o.dtype.kind == "b" else o for o in _lifted(*operands)]


def relu6(x: Value) -> Value:
    """min(max(x, 0), 6)."""
    return minimum(relu(x), 6.0)


def leaky_relu(x: Value, negative_slope: float = 0.2) -> Value:
    """x where positive, `negative_slope * x` elsewhere."""
    return where(greater(x, 0.0), x, multiply(x, negative_slope))


def elu(x: Value, alpha: float = 1.0) -> Value:
    """x where positive, `alpha * (exp(x) - 1)` elsewhere."""
    return where(greater(x, 0.0), x, multiply(alpha, subtract(exp(minimum(x, 0.0)), 1.0)))


def selu(x: Value) -> Value:
    """The scaled exponential linear unit (Klambauer et al., 2017)."""
    return multiply(1.0507009873554805, elu(x, 1.6732632423543772))


def silu(x: Value) -> Value:
    """x * sigmoid(x)."""
    return multiply(x, sigmoid(x))


def gelu(x: Value, approximate: bool = True) -> Value:
    """The Gaussian error linear unit, by default its tanh approximation as in `keras.ops.gelu`."""
    if approximate:
        inner = multiply(math.sqrt(2 / math.pi), add(x, multiply(0.044715, multiply(x, square(x)))))
        return multiply(multiply(0.5, x), add(1.0, tanh(inner)))
    return multiply(multiply(0.5, x), add(1.0, erf(multiply(x, math.sqrt(0.5)))))


def softsign(x: Value) -> Value:
    """x / (1 + |x|)."""
    return divide(x, add(1.0, absolute(x)))


# ------------------------------------------------------------------------------------------------- reductions

def _reduced(x: Value, axis: Axis, keepdims: bool, make: Any) -> Value:
    axes = tuple(sorted(axes_of(x, axis)))
    result = apply(make(axes), x) if axes else x
    return reshape(result, tuple(1 if a in axes else n for a, n in enumerate(x.shape))) if keepdims else result


def sum(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """The sum over the axes; over all by default."""
    x = cast(x, "i32") if x.dtype.kind == "b" else x
    return _reduced(x, axis, keepdims, Sum)


def max(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """The maximum over the axes; over all by default. Equal maxima share the gradient."""
    return _reduced(x, axis, keepdims, lambda axes: Max(axes, False))


def min(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """The minimum over the axes; over all by default."""
    return opposite(max(opposite(x), axis, keepdims))


def opposite(x: Value) -> Value:
    """x with its order turned around, exactly."""
    if x.dtype.kind in "fb":
        return negative(x) if x.dtype.is_float else logical_not(x)
    return subtract(-1 if x.dtype.kind == "i" else int(np.iinfo(x.dtype.numpy).max), x)


def prod(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """The product over the axes; over all by default."""
    x = cast(x, "i32") if x.dtype.kind == "b" else x
    return _reduced(x, axis, keepdims, Product)


def any(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """Whether an element over the axes is not 0."""
    return max(cast(x, "bool"), axis, keepdims)


def all(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """Whether no element over the axes is 0."""
    return min(cast(x, "bool"), axis, keepdims)


def mean(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """The mean over the axes; of integers in float32."""
    x = to_float(x)
    total = sum(x, axis, keepdims)
    return divide(total, dimension(product(x.shape[a] for a in axes_of(x, axis)), x.dtype))


def argmax(x: Value, axis: int | None = None) -> Value:
    """The position of the first maximum, i32; counted over the flattened value where axis is None."""
    return argmax_over(x, tuple(range(x.ndim)) if axis is None else axes_of(x, axis), "i32")


def argmin(x: Value, axis: int | None = None) -> Value:
    """The position of the first minimum, i32; counted over the flattened value where axis is None."""
    return argmax(opposite(x), axis)


def argsort(x: Value, axis: int = -1) -> Value:
    """The positions that put x in increasing order along an axis, i32; equal elements keep their order."""
    return apply(Argsort(axes_of(x, axis)[0]), x)


def argmax_over(x: Value, axes: Sequence[int], dtype: object) -> Value:
    """The position of the first maximum over several axes, counted in row-major order over them."""
    return apply(Argmax(tuple(axes), DType.of(dtype)), x)


def softmax(x: Value, axis: int = -1) -> Value:
    """exp(x) / sum(exp(x)) along an axis."""
    return apply(Softmax(axes_of(x, axis)[0]), x)


def logsumexp(x: Value, axis: int = -1, keepdims: bool = False) -> Value:
    """log(sum(exp(x))) along an axis."""
    result = apply(Logsumexp(axes_of(x, axis)[0]), x)
    return expand_dims(result, axes_of(x, axis)[0]) if keepdims else result


def log_softmax(x: Value, axis: int = -1) -> Value:
    """log(softmax(x)), without rounding small probabilities to zero."""
    return subtract(x, logsumexp(x, axis, keepdims=True))


def one_hot(x: Value, num_classes: int, dtype: object = "f32") -> Value:
    """1 at the position that x gives along a new last axis, 0 elsewhere; all 0 where x is out of range."""
    shape = (*x.shape, num_classes)
    positions = iota(shape, (len(shape) - 1,), x.dtype)
    return cast(equal(broadcast(x, shape, tuple(range(x.ndim))), positions), dtype)


# ----------------------------------------------------------------------------------- contractions and windows

def einsum(subscripts: str, x1: Value, x2: Value) -> Value:
    """Einstein summation of two operands; each letter at most once in an operand."""
    dtype = builtins.max(x1.dtype, x2.dtype, key=_ORDER.index)
    return apply(Einsum(subscripts), cast(x1, dtype), cast(x2, dtype))


def matmul(x1: Value, x2: Value) -> Value:
    """The matrix product over the last two axes, leading axes broadcast; a vector is a matrix of one row or column."""
    x1, x2 = _lifted(x1, x2)
    if x1.ndim == 0 or x2.ndim == 0:
        raise ShapeError(f"matmul needs operands with at least one axis, received {x1.type} and {x2.type}.")
    if x1.shape[-1] != x2.shape[-2 if x2.ndim > 1 else -1]:
        raise ShapeError(f"matmul: the last axis of {x1.type} does not match the rows of {x2.type}.")
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    k = next(letters)
    i, j = (next(letters) if x1.ndim > 1 else ""), (next(letters) if x2.ndim > 1 else "")
    if x2.ndim <= 2:
        batch = "".join(next(letters) for _ in range(x1.ndim - 2))
        return einsum(f"{batch}{i}{k},{k}{j}->{batch}{i}{j}", x1, x2)
    shape = broadcast_shapes(x1.shape[:-2], x2.shape[:-2])
    batch = "".join(next(letters) for _ in shape)
    x1 = broadcast_to(x1, (*shape, *x1.shape[-2:])) if x1.ndim > 1 else x1
    x2 = broadcast_to(x2, (*shape, *x2.shape[-2:]))
    return einsum(f"{batch if i else ''}{i}{k},{batch}{k}{j}->{batch}{i}{j}", x1, x2)


def inverse(x: Value) -> Value:
    """The inverses of the matrices over the last two axes."""
    return apply(Inverse(), x)


def determinant(x: Value) -> Value:
    """The determinants of the matrices over the last two axes."""
    return apply(Determinant(), x)


def solve(a: Value, b: Value) -> Value:
    """The matrices x with a @ x = b."""
    return apply(Solve(), a, b)


def windows(x: Value, size: Sequence[int], strides: Sequence[int], dilation: Sequence[int]) -> Value:
    """Every window of the spatial axes of [N, *spatial, C], as [N, *positions, *size, C]."""
    return apply(Windows(tuple(size), tuple(strides), tuple(dilation)), x)


def fold(x: Value, extent: Shape, strides: Sequence[int], dilation: Sequence[int]) -> Value:
    """The adjoint of `windows`."""
    return apply(Fold(tuple(extent), tuple(strides), tuple(dilation)), x)  # type: ignore[arg-type]


def per_axis(value: int | Sequence[int], rank: int, name: str) -> tuple[int, ...]:
    result = (value,) * rank if isinstance(value, int | np.integer) else tuple(value)
    if len(result) != rank or builtins.any(not isinstance(v, int | np.integer) or v < 1 for v in result):
        raise ShapeError(f"{name} must be a positive integer or {rank} of them, received {value!r}.")
    return tuple(int(v) for v in result)


def pad_windows(x: Value, size: Sequence[int], strides: Sequence[int], dilation: Sequence[int], padding: str,
                value: float) -> Value:
    """x as windows of this size read it: Keras's `same` pads the smaller half first, for ceil(n / s) positions."""
    if padding == "valid":
        return x
    if padding != "same":
        raise ShapeError(f"padding must be 'valid' or 'same', received {padding!r}.")
    widths: list[tuple[Any, Any]] = [(0, 0)]
    for n, k, s, d in zip(x.shape[1:-1], size, strides, dilation, strict=True):
        covered = (k - 1) * d + 1
        total = (n - 1) // s * s + covered - n
        if covered == 1 or at_least_zero(-1 * total):
            total = 0
        elif not at_least_zero(total):
            raise ShapeError(f"padding 'same' with stride {s} beyond a window of {covered} needs known extents, "
                             f"received {x.type}.")
        widths.append((total // 2, total - total // 2))
    return pad(x, [*widths, (0, 0)], value)


def taps(x: Value, size: Sequence[int], strides: int | Sequence[int], padding: str,
         dilation_rate: int | Sequence[int]) -> Value:
    """The windows that a convolution with a kernel of this size reads: [N, *positions, *size, C]."""
    rank = len(size)
    strides, dilation = per_axis(strides, rank, "strides"), per_axis(dilation_rate, rank, "dilation_rate")
    if builtins.max(strides) > 1 and builtins.max(dilation) > 1:
        raise ShapeError(f"conv can have strides or a dilation, not both; received strides {strides} and "
                         f"dilation_rate {dilation}.")
    return windows(pad_windows(x, size, strides, dilation, padding, 0.0), size, strides, dilation)


def conv(x: Value, kernel: Value, strides: int | Sequence[int] = 1, padding: str = "valid",
         dilation_rate: int | Sequence[int] = 1) -> Value:
    """The cross-correlation of [N, *spatial, C] with a kernel [*size, C, filters].

    A kernel of fewer channels has those of x divided into groups, each with its part of the filters, in their order.
    """
    rank = kernel.ndim - 2
    *size, channels, filters = kernel.shape
    if x.ndim != rank + 2 or rank < 1:
        raise ShapeError(f"conv needs an input [N, {rank} spatial axes, {channels} channels] for the kernel "
                         f"{kernel.type}, received {x.type}.")
    groups, rest = (1, 0) if x.shape[-1] == channels else divmod(x.shape[-1], channels)  # type: ignore[operator]
    if rest or filters % groups:  # type: ignore[operator]
        raise ShapeError(f"conv needs an input [N, {rank} spatial axes, {channels} channels] for the kernel "
                         f"{kernel.type}, or groups of so many channels into which the filters divide, received "
                         f"{x.type}.")
    read = taps(x, tuple(size), strides, padding, dilation_rate)  # type: ignore[arg-type]
    position, tap = "hwd"[:rank], "uvt"[:rank]
    if groups == 1:
        return einsum(f"n{position}{tap}c,{tap}co->n{position}o", read, kernel)
    read = reshape(read, (*read.shape[:-1], groups, channels))
    kernel = reshape(kernel, (*size, channels, groups, filters // groups))  # type: ignore[operator]
    result = einsum(f"n{position}{tap}gc,{tap}cgo->n{position}go", read, kernel)
    return reshape(result, (*result.shape[:-2], filters))


def _pooled(x: Value, pool_size: Any, strides: Any, padding: str, value: float) -> tuple[Value, tuple[int, ...]]:
    rank = x.ndim - 2
    size = per_axis(pool_size, rank, "pool_size")
    step = size if strides is None else per_axis(strides, rank, "strides")
    ones = (1,) * rank
    padded = pad_windows(x, size, step, ones, padding, value)
    return windows(padded, size, step, ones), tuple(range(1 + rank, 1 + 2 * rank))


def max_pool(x: Value, pool_size: int | Sequence[int], strides: int | Sequence[int] | None = None,
             padding: str = "valid") -> Value:
    """The maximum of each window of [N, *spatial, C]; the first maximum of a window gets its gradient."""
    taps, axes = _pooled(x, pool_size, strides, padding, REDUCTIONS["max"][1](x.dtype))
    return apply(Max(axes, True), taps)


def average_pool(x: Value, pool_size: int | Sequence[int], strides: int | Sequence[int] | None = None,
                 padding: str = "valid") -> Value:
    """The mean of each window of [N, *spatial, C], of integers in float32; padding does not count."""
    x = to_float(x)
    taps, axes = _pooled(x, pool_size, strides, padding, 0.0)
    if padding == "valid":
        return mean(taps, axes)
    counts, _ = _pooled(ones_like(x), pool_size, strides, padding, 0.0)
    return divide(sum(taps, axes), sum(counts, axes))


# --------------------------------------------------------------------------------------- random and structure

def random_bits(key: Value, shape: Shape, stream: int) -> Value:
    """32 random bits for each element of the shape."""
    return apply(RandomBits(tuple(shape), stream), key)


def uniform(key: Value, shape: Shape, stream: int) -> Value:
    """Uniform float32 numbers in [0, 1), multiples of 2**-24."""
    top = cast(floor(divide(cast(random_bits(key, shape, stream), "f64"), 256.0)), "f32")
    return multiply(top, 2.0**-24)


def dropout(x: Value, rate: float, key: Value, stream: int) -> Value:
    """x with a fraction `rate` of its elements set to 0 and the others scaled by 1 / (1 - rate)."""
    if rate <= 0:
        return x
    if rate >= 1:
        return zeros_like(x)
    threshold = int(rate * 2**32)
    kept = greater_equal(random_bits(key, x.shape, stream), full(x.shape, threshold, "u32"))
    return where(kept, multiply(x, 1 / (1 - rate)), zeros_like(x))


def item(x: Value, index: int) -> Value:
    """One result of a value that has several."""
    return apply(Item(index), x)


def gradient(loss: Value, wrt: Sequence[Value]) -> list[Value]:
    """The gradients of a scalar loss; `graphc.passes.differentiate` expands them into a backward graph."""
    both = apply(Gradient(), loss, *wrt)
    return [item(both, i) for i in range(len(wrt))]


def with_gradient(y: Value, xs: Sequence[Value], gradients: Callable[[Value], Sequence[Value]]) -> Value:
    """y as a function of xs whose gradients by them are what `gradients` makes of the gradient of y."""
    g = leaf("g", y.type)  # type: ignore[arg-type]
    body, constants = closed((g,), (), (), tuple(gradients(g)))
    return apply(WithGradient(body), y, *xs, *constants)


def _swapped(function: Any) -> Any:
    return lambda x, y: function(y, x)


def _logical(kind: str, of_bools: Any) -> Any:
    """An operator such as `&`: logic of bools, else bit by bit."""
    return lambda x, y: of_bools(x, y) if common_dtype(*_lifted(x, y)).kind == "b" else bitwise(kind, x, y)


def _invert(x: Value) -> Value:
    return logical_not(x) if x.dtype.kind == "b" else bitwise("xor", x, -1 if x.dtype.kind == "i" else opposite(x) + x)


def _iterated(x: Value) -> Any:
    if not x.shape or not isinstance(x.shape[0], int):
        raise TypeError(f"{x!r} can't be iterated over: the size of its first axis is not known. Use ops.scan, or "
                        "functions along that axis.")
    return (getitem(x, i) for i in range(x.shape[0]))


def _compared(function: Any, differs: bool) -> Any:
    """`==` or `!=`: nothing with what has no numbers, such as None."""
    def compare(x: Any, y: Any) -> Any:
        return Comparison(function, x, y, differs) if isinstance(y, _COMPARABLE) else NotImplemented

    return compare


_COMPARABLE = (Value, Comparison, np.ndarray, bool, int, float, np.number)


def _of_the_value(method: Any) -> Any:
    return lambda comparison, *operands: method(comparison.value, *operands)


for _name, _function in {
    "add": add, "sub": subtract, "mul": multiply, "truediv": divide, "floordiv": floor_divide, "mod": mod,
    "pow": power, "matmul": matmul, "and": _logical("and", logical_and), "or": _logical("or", logical_or),
    "xor": _logical("xor", not_equal),
}.items():
    for _class in (Value, Comparison):
        setattr(_class, f"__{_name}__", _function)
        setattr(_class, f"__r{_name}__", _swapped(_function))
for _name, _function in {
    "__neg__": negative, "__abs__": absolute, "__invert__": _invert, "__lt__": less, "__le__": less_equal,
    "__gt__": greater, "__ge__": greater_equal, "__getitem__": getitem, "__iter__": _iterated,
}.items():
    setattr(Value, _name, _function)
for _name, _function in {"__eq__": _compared(equal, False), "__ne__": _compared(not_equal, True)}.items():
    setattr(Value, _name, _function)
    setattr(Comparison, _name, _function)
for _name in ("__abs__", "__neg__", "__invert__", "__lt__", "__le__", "__gt__", "__ge__", "__getitem__"):
    setattr(Comparison, _name, _of_the_value(getattr(Value, _name)))
