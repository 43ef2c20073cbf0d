"""Rules of arithmetic: neutral operands, signs, conversions, choices, constants, sums of equal elements."""

from __future__ import annotations

import numpy as np

from graphc.ir import functions as f
from graphc.ir.graph import Value, apply
from graphc.ir.op import Elementwise
from graphc.ir.ops.custom import WithGradient
from graphc.ir.ops.elementwise import (
    Add,
    Cast,
    Divide,
    LogicalAnd,
    LogicalNot,
    LogicalOr,
    Multiply,
    Negative,
    StopGradient,
    Subtract,
    Where,
)
from graphc.ir.ops.leaf import Constant, Dimension
from graphc.ir.ops.movement import Broadcast
from graphc.ir.ops.reduction import Max, Sum
from graphc.ir.types import DTYPES, Dim, DType, at_least_zero, product
from graphc.passes.rewrite import Rule, rule
from graphc.passes.rules.matching import is_number, number

__all__ = ["AFTER_GRADIENTS", "RULES"]


@rule(Elementwise, Where, Cast, Dimension)
def op_of_constants(value: Value) -> Value | None:
    """An op on numbers is a number.

    => add(constant(1.5), constant(2.0))
    => where(constant(True, "bool"), constant(1, "i32"), constant(2, "i32"))
    => apply(Dimension(12, DType.of("f32")))
    """
    if not all(isinstance(o.op, Constant) for o in value.operands):
        return None
    if isinstance(value.op, Dimension) and isinstance(value.op.size, Dim):
        return None
    with np.errstate(all="ignore"):
        result = value.op.reference(*(o.op.reference() for o in value.operands))
    return apply(Constant(value.dtype.numpy.type(result).item(), value.dtype))


@rule(Multiply)
def multiply_by_1(value: Value) -> Value | None:
    """x * 1 = 1 * x = x.

    x: f32[2,3] => multiply(x, 1.0)
    x: i32[4] => multiply(1, x)
    """
    x, y = value.operands
    return x if is_number(y, 1) else y if is_number(x, 1) else None


@rule(Divide)
def divide_by_1(value: Value) -> Value | None:
    """x / 1 = x.

    x: f32[2,3] => divide(x, 1.0)
    """
    x, y = value.operands
    return x if is_number(y, 1) else None


@rule(Add)
def add_0(value: Value) -> Value | None:
    """x + 0 = x for integers; for floats x + -0.0 = x, but -0.0 + 0.0 is 0.0.

    x: i32[4] => add(x, 0)
    x: f32[4] => add(-0.0, x)
    """
    zero = -0.0 if value.dtype.is_float else 0
    x, y = value.operands
    return x if is_number(y, zero) else y if is_number(x, zero) else None


@rule(Subtract)
def subtract_0(value: Value) -> Value | None:
    """x - 0 = x, for every float too.

    x: f32[2,3] => subtract(x, 0.0)
    """
    x, y = value.operands
    return x if is_number(y, 0) else None


@rule(Negative)
def negative_of_negative(value: Value) -> Value | None:
    """--x = x.

    x: f32[2,3] => negative(negative(x))
    """
    match value.operands[0]:
        case Value(Negative(), (x,)):
            return x
    return None


@rule(Add)
def add_negative(value: Value) -> Value | None:
    """x + -y = x - y and -x + y = y - x, which is how a subtraction is defined.

    x: f32[3], y: f32[3] => add(x, negative(y))
    x: f32[3], y: f32[3] => add(negative(x), y)
    """
    match value.operands:
        case (x, Value(Negative(), (y,))) | (Value(Negative(), (y,)), x):
            return f.subtract(x, y)
    return None


@rule(Subtract)
def subtract_negative(value: Value) -> Value | None:
    """x - -y = x + y.

    x: f32[3], y: f32[3] => subtract(x, negative(y))
    """
    match value.operands:
        case (x, Value(Negative(), (y,))):
            return f.add(x, y)
    return None


@rule(LogicalNot)
def not_of_not(value: Value) -> Value | None:
    """not not x = x.

    x: bool[4] => logical_not(logical_not(x))
    """
    match value.operands[0]:
        case Value(LogicalNot(), (x,)):
            return x
    return None


@rule(LogicalAnd, LogicalOr)
def logical_with_constant(value: Value) -> Value | None:
    """x and True = x, x or False = x.

    x: bool[4] => logical_and(x, True)
    x: bool[4] => logical_or(False, x)
    """
    neutral = isinstance(value.op, LogicalAnd)
    x, y = value.operands
    return x if number(y) is neutral else y if number(x) is neutral else None


@rule(Where)
def where_of_same(value: Value) -> Value | None:
    """where(c, x, x) = x.

    c: bool[4], x: f32[4] => where(c, x, x)
    """
    _, x, y = value.operands
    return x if x is y else None


@rule(Where)
def where_of_constant(value: Value) -> Value | None:
    """where(True, x, y) = x, where(False, x, y) = y.

    x: f32[4], y: f32[4] => where(full((4,), True, "bool"), x, y)
    x: f32[4], y: f32[4] => where(full((4,), False, "bool"), x, y)
    """
    condition, x, y = value.operands
    known = number(condition)
    return None if known is None else x if known else y


@rule(Where)
def where_of_not(value: Value) -> Value | None:
    """where(not c, x, y) = where(c, y, x).

    c: bool[4], x: f32[4], y: f32[4] => where(logical_not(c), x, y)
    """
    match value.operands:
        case (Value(LogicalNot(), (c,)), x, y):
            return f.where(c, y, x)
    return None


@rule(Cast)
def cast_to_same(value: Value) -> Value | None:
    """A cast of x to its own dtype is x.

    x: f32[4] => apply(Cast(DType.of("f32")), x)
    """
    (x,) = value.operands
    return x if x.dtype == value.dtype else None


@rule(Cast)
def cast_of_cast(value: Value) -> Value | None:
    """A cast through a dtype that holds every value of the first one is one cast.

    x: f32[4] => cast(cast(x, "f64"), "f32")
    x: bool[4] => cast(cast(x, "i32"), "f32")
    """
    match value.operands[0]:
        case Value(Cast(middle), (x,)) if _holds(middle, x.dtype):
            # out of range, a float's integer value is undefined and may depend on the float's width
            undefined = x.dtype.is_float and value.dtype.kind in "iu"
            return None if undefined else f.cast(x, value.dtype)
    return None


def _holds(wide: DType, narrow: DType) -> bool:
    """Whether every value of one dtype is a value of the other; NumPy lets i64 pass as f64."""
    lossy = narrow == DTYPES["i64"] and wide.is_float
    return not lossy and bool(np.can_cast(narrow.numpy, wide.numpy, "safe"))


@rule(Sum, exact=False)
def sum_of_broadcast(value: Value) -> Value | None:
    """The sum of equal elements is their number times one of them; other axes are summed before they repeat.

    x: f32[3] => sum(broadcast_to(x, (2, 3)), 0)
    x: f32[] => sum(broadcast_to(x, (2, 3)))
    x: f32[3] => sum(broadcast_to(x, (2, 3)), 1)
    x: i32[3] => sum(broadcast_to(x, (4, 2, 3)), (0, 2))
    """
    match value:
        case Value(Sum(summed), (Value(Broadcast(shape, axes), (x,)),)):
            count = product(shape[a] for a in summed if a not in axes)
            if not at_least_zero(count - 1):
                return None  # an empty sum is 0, and 0 times infinity is not
            own = tuple(i for i, a in enumerate(axes) if a in summed)
            part = apply(Sum(own), x) if own else x
            part = part if count == 1 else f.multiply(part, f.dimension(count, part.dtype))
            return _kept(part, value, summed, axes)
    return None


@rule(Max)
def max_of_broadcast(value: Value) -> Value | None:
    """The maximum of equal elements is one of them.

    x: f32[3] => max(broadcast_to(x, (2, 3)), 0)
    x: f32[3] => max(broadcast_to(x, (2, 3)), 1)
    """
    match value:
        case Value(Max(reduced, first), (Value(Broadcast(shape, axes), (x,)),)):
            if not at_least_zero(product(shape[a] for a in reduced) - 1):
                return None
            own = tuple(i for i, a in enumerate(axes) if a in reduced)
            return _kept(apply(Max(own, first), x) if own else x, value, reduced, axes)
    return None


def _kept(part: Value, value: Value, reduced: tuple[int, ...], axes: tuple[int, ...]) -> Value:
    """Repeat a reduced part along the axes that the reduction of a broadcast keeps."""
    kept = [a for a in range(value.operands[0].ndim) if a not in reduced]
    return f.broadcast(part, value.shape, tuple(kept.index(a) for a in axes if a in kept))


@rule(Sum, exact=False)
def sum_of_sum(value: Value) -> Value | None:
    """A sum of sums is one sum, in another order of addition.

    x: f32[2,3,4] => sum(sum(x, 1), 1)
    x: f32[2,3,4] => sum(sum(x, 0), 0)
    """
    match value:
        case Value(Sum(outer), (Value(Sum(inner), (x,)),)):
            kept = [a for a in range(x.ndim) if a not in inner]
            return f.sum(x, tuple(sorted((*inner, *(kept[a] for a in outer)))))
    return None


@rule(Sum, Max, exact=False)
def reduction_of_one(value: Value) -> Value | None:
    """A reduction over axes of extent 1 only drops them; NumPy's sum of -0.0 alone is 0.0.

    x: f32[2,1,3] => sum(x, 1)
    x: f32[1] => max(x)
    """
    match value:
        case Value(Sum(axes) | Max(axes), (x,)) if all(x.shape[a] == 1 for a in axes):
            return f.reshape(x, value.shape)
    return None


@rule(StopGradient)
def stop_gradient_is_x(value: Value) -> Value | None:
    """Once gradients are derived, stop_gradient(x) = x.

    x: f32[4] => stop_gradient(x)
    """
    return value.operands[0]


@rule(WithGradient)
def with_gradient_is_x(value: Value) -> Value | None:
    """Once gradients are derived, a value with a gradient of its own is that value.

    x: f32[4] => with_gradient(x, [x], lambda g: [g])
    """
    return value.operands[0]


RULES: tuple[Rule, ...] = (
    op_of_constants, multiply_by_1, divide_by_1, add_0, subtract_0, negative_of_negative, add_negative,
    subtract_negative, not_of_not, logical_with_constant, where_of_same, where_of_constant, where_of_not,
    cast_to_same, cast_of_cast, reduction_of_one, sum_of_broadcast, max_of_broadcast, sum_of_sum)
AFTER_GRADIENTS: tuple[Rule, ...] = (stop_gradient_is_x, with_gradient_is_x)
