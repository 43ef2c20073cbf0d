"""Elementwise ops: `scalar` is the definition."""

from __future__ import annotations

import math

import numpy as np

from graphc.ir.errors import DTypeError, ShapeError
from graphc.ir.expr import SCALARS, cast, const, scalar, select
from graphc.ir.op import Elementwise, Op
from graphc.ir.types import DTYPES, DType, TensorType

__all__ = ["Absolute", "Add", "Arctan", "Bitwise", "Cast", "Cos", "Divide", "Equal", "Erf", "Exp", "Expm1", "Floor",
           "FloorDivide", "Less", "LessEqual", "Log", "Log1p", "LogicalAnd", "LogicalNot", "LogicalOr", "Maximum",
           "Minimum", "Modulo", "Multiply", "Negative", "NotEqual", "Power", "Relu", "Round", "Sigmoid", "Sign", "Sin",
           "Softplus", "Sqrt", "StopGradient", "Subtract", "Tanh", "Where"]

BOOL = DTYPES["bool"]


class Add(Elementwise):
    """x + y.

    add(f32[2,3], f32[2,3]) -> f32[2,3]
    add(f32[2,3], f32[3]) -> ShapeError: add needs operands of one shape
    add(f32[2], i32[2]) -> DTypeError: add needs operands of one dtype
    """

    def reference(self, x, y):
        return x + y

    def scalar(self, x, y):
        return x + y

    def vjp(self, f, g, out, x, y):
        return g, g


class Subtract(Elementwise):
    """x - y.

    subtract(f32[2,3], f32[2,3]) -> f32[2,3]
    """

    def reference(self, x, y):
        return x - y

    def scalar(self, x, y):
        return x - y

    def vjp(self, f, g, out, x, y):
        return g, f.negative(g)


class Multiply(Elementwise):
    """x * y.

    multiply(f32[2,3], f32[2,3]) -> f32[2,3]
    multiply(i32[4], i32[4]) -> i32[4]
    """

    def reference(self, x, y):
        return x * y

    def scalar(self, x, y):
        return x * y

    def vjp(self, f, g, out, x, y):
        return g * y, g * x


class Divide(Elementwise):
    """x / y, true division.

    divide(f32[2,3], f32[2,3]) -> f32[2,3]
    divide(i32[2], i32[2]) -> DTypeError: divide needs floating-point operands
    """

    floating = True

    def reference(self, x, y):
        return x / y

    def scalar(self, x, y):
        return x / y

    def vjp(self, f, g, out, x, y):
        return g / y, f.negative(g * out / y)


class Maximum(Elementwise):
    """The larger of x and y; NaN if either is. Where they are equal, y gets the gradient.

    maximum(f32[2,3], f32[2,3]) -> f32[2,3]
    """

    def reference(self, x, y):
        return np.maximum(x, y)

    def scalar(self, x, y):
        return scalar("max", x, y)

    def vjp(self, f, g, out, x, y):
        zero, first = f.zeros_like(g), f.less(y, x)
        return f.where(first, g, zero), f.where(first, zero, g)


class Minimum(Elementwise):
    """The smaller of x and y; NaN if either is. Where they are equal, y gets the gradient.

    minimum(f32[2,3], f32[2,3]) -> f32[2,3]
    """

    def reference(self, x, y):
        return np.minimum(x, y)

    def scalar(self, x, y):
        return scalar("min", x, y)

    def vjp(self, f, g, out, x, y):
        zero, first = f.zeros_like(g), f.less(x, y)
        return f.where(first, g, zero), f.where(first, zero, g)


class Relu(Elementwise):
    """max(x, 0); the gradient at 0 is 0.

    relu(f32[2,3]) -> f32[2,3]
    """

    def reference(self, x):
        return np.maximum(x, x.dtype.type(0))

    def scalar(self, x):
        return scalar("max", x, const(0, x.dtype))

    def vjp(self, f, g, y, x):
        # y > 0 holds where x > 0 does, so x need not be kept
        return (f.where(f.less(f.zeros_like(y), y), g, f.zeros_like(g)),)


class Power(Elementwise):
    """x ** y.

    power(f32[2,3], f32[2,3]) -> f32[2,3]
    power(i32[2], i32[2]) -> DTypeError: power needs floating-point operands
    """

    floating = True

    def reference(self, x, y):
        return np.power(x, y)

    def scalar(self, x, y):
        return scalar("pow", x, y)

    def vjp(self, f, g, out, x, y):
        # where x is 0 the logarithm has no value, and the power does not change with y
        safe = f.where(f.less(f.zeros_like(x), x), x, f.ones_like(x))
        return g * y * f.power(x, y - f.ones_like(y)), g * out * f.log(safe)


class Negative(Elementwise):
    """-x.

    negative(f32[2,3]) -> f32[2,3]
    """

    def reference(self, x):
        return -x

    def scalar(self, x):
        return -x

    def vjp(self, f, g, y, x):
        return (f.negative(g),)


class Absolute(Elementwise):
    """|x|; the gradient at 0 is 0.

    absolute(f32[2,3]) -> f32[2,3]
    """

    def reference(self, x):
        return np.abs(x)

    def scalar(self, x):
        return abs(x)

    def vjp(self, f, g, y, x):
        return (g * f.sign(x),)


class Sign(Elementwise):
    """-1, 0 or 1; NaN where x is.

    sign(f32[2,3]) -> f32[2,3]
    sign(u8[4]) -> u8[4]
    """

    def reference(self, x):
        return np.sign(x)

    def scalar(self, x):
        zero = const(0, x.dtype)
        otherwise = x if x.dtype.kind == "u" else select(x < zero, const(-1, x.dtype), x)
        return select(x > zero, const(1, x.dtype), otherwise)

    def vjp(self, f, g, y, x):
        return (None,)


class Floor(Elementwise):
    """The largest whole number not above x.

    floor(f32[2,3]) -> f32[2,3]
    """

    floating = True

    def reference(self, x):
        return np.floor(x)

    def scalar(self, x):
        return scalar("floor", x)

    def vjp(self, f, g, y, x):
        return (None,)


class Round(Elementwise):
    """The nearest whole number; of two that are as near, the even one.

    round(f32[2,3]) -> f32[2,3]
    """

    floating = True

    def reference(self, x):
        return np.round(x)

    def scalar(self, x):
        whole = scalar("floor", x)
        rest = x - whole
        odd = scalar("ne", scalar("floor", whole * 0.5) * 2, whole)
        up = (rest > 0.5) | (scalar("eq", rest, 0.5) & odd)
        return select(scalar("eq", rest, 0), x, select(up, whole + 1, whole))  # x: -0 too

    def vjp(self, f, g, y, x):
        return (None,)


class WholeDivision(Elementwise, abstract=True):
    """A division of whole numbers that gives 0 where y is 0, as NumPy's does."""

    def infer(self, x, y):
        result = super().infer(x, y)
        if result.dtype.kind not in "iu":
            raise DTypeError(f"{self.name} needs operands of whole numbers, received {x} and {y}.")
        return result

    def guarded(self, op, x, y, by_minus_one):
        """The division by 1 instead of the two numbers that processors stop at: 0, and -1 with the smallest x."""
        zero, one = const(0, x.dtype), const(1, x.dtype)
        divided = scalar(op, x, select(scalar("eq", y, zero), one, y))
        if x.dtype.kind == "i":
            minus = scalar("eq", y, const(-1, x.dtype))
            safe = select(scalar("eq", y, zero) | minus, one, y)
            divided = select(minus, by_minus_one, scalar(op, x, safe))
        return select(scalar("eq", y, zero), zero, divided)

    def vjp(self, f, g, out, x, y):
        return None, None


class FloorDivide(WholeDivision):
    """The largest whole number not above x / y; 0 where y is 0.

    floor_divide(i32[40], i32[40]) -> i32[40]
    floor_divide(u8[40], u8[40]) -> u8[40]
    floor_divide(i64[40], i64[40]) -> i64[40]
    floor_divide(f32[4], f32[4]) -> DTypeError: floor_divide needs operands of whole numbers
    """

    def reference(self, x, y):
        return np.floor_divide(x, y)

    def scalar(self, x, y):
        return self.guarded("floordiv", x, y, -x)


class Modulo(WholeDivision):
    """x - y * (x // y), which has the sign of y; 0 where y is 0.

    modulo(i32[40], i32[40]) -> i32[40]
    modulo(u8[40], u8[40]) -> u8[40]
    modulo(f32[4], f32[4]) -> DTypeError: modulo needs operands of whole numbers
    """

    def reference(self, x, y):
        return np.mod(x, y)

    def scalar(self, x, y):
        return self.guarded("mod", x, y, const(0, x.dtype))


class Bitwise(Elementwise):
    """x and y bit by bit, `kind` being and, or, xor, shl (x shifted left by y) or shr (right, keeping the sign).

    bitwise<kind='and'>(i32[2,3], i32[2,3]) -> i32[2,3]
    bitwise<kind='xor'>(u8[2,3], u8[2,3]) -> u8[2,3]
    bitwise<kind='shl'>(u32[2,3], u32[2,3]) -> u32[2,3]
    bitwise<kind='or'>(f32[2], f32[2]) -> DTypeError: bitwise needs operands of whole numbers
    """

    kind: str

    def infer(self, x, y):
        result = super().infer(x, y)
        if result.dtype.is_float:
            raise DTypeError(f"{self.name} needs operands of whole numbers, received {x} and {y}.")
        return result

    def reference(self, x, y):
        return np.asarray(SCALARS[self.kind].numpy(x, y)).astype(x.dtype)

    def scalar(self, x, y):
        return scalar(self.kind, x, y)

    def vjp(self, f, g, out, x, y):
        return None, None


class Expm1(Elementwise):
    """exp(x) - 1, precise near 0.

    expm1(f32[2,3]) -> f32[2,3]
    """

    floating = True

    def reference(self, x):
        return np.expm1(x)

    def scalar(self, x):
        # with t = tanh(x/2), exp(x) = (1 + t) / (1 - t)
        t = scalar("tanh", x * 0.5)
        return select(abs(x) < 1, 2 * t / (1 - t), scalar("exp", x) - 1)

    def vjp(self, f, g, y, x):
        return (g * (y + f.ones_like(y)),)


class Exp(Elementwise):
    """e ** x.

    exp(f32[2,3]) -> f32[2,3]
    exp(i32[2]) -> DTypeError: exp needs floating-point operands
    """

    floating = True

    def reference(self, x):
        return np.exp(x)

    def scalar(self, x):
        return scalar("exp", x)

    def vjp(self, f, g, y, x):
        return (g * y,)


class Log(Elementwise):
    """The natural logarithm.

    log(f32[2,3]) -> f32[2,3]
    """

    floating = True

    def reference(self, x):
        return np.log(x)

    def scalar(self, x):
        return scalar("log", x)

    def vjp(self, f, g, y, x):
        return (g / x,)


class Log1p(Elementwise):
    """log(1 + x), precise near 0.

    log1p(f32[2,3]) -> f32[2,3]
    """

    floating = True

    def reference(self, x):
        return np.log1p(x)

    def scalar(self, x):
        return scalar("log1p", x)

    def vjp(self, f, g, y, x):
        return (g / (x + f.ones_like(x)),)


class Sqrt(Elementwise):
    """The square root.

    sqrt(f32[2,3]) -> f32[2,3]
    """

    floating = True

    def reference(self, x):
        return np.sqrt(x)

    def scalar(self, x):
        return scalar("sqrt", x)

    def vjp(self, f, g, y, x):
        return (g / (y + y),)


class Tanh(Elementwise):
    """The hyperbolic tangent.

    tanh(f32[2,3]) -> f32[2,3]
    """

    floating = True

    def reference(self, x):
        return np.tanh(x)

    def scalar(self, x):
        return scalar("tanh", x)

    def vjp(self, f, g, y, x):
        return (g * (f.ones_like(y) - y * y),)


class Sigmoid(Elementwise):
    """1 / (1 + exp(-x)).

    sigmoid(f32[2,3]) -> f32[2,3]
    """

    floating = True

    def reference(self, x):
        e = np.exp(-np.abs(x))
        return np.where(x < 0, e / (1 + e), 1 / (1 + e)).astype(x.dtype)

    def scalar(self, x):
        return 1 / (scalar("exp", -x) + 1)

    def vjp(self, f, g, y, x):
        return (g * y * (f.ones_like(y) - y),)


class Softplus(Elementwise):
    """log(1 + exp(x)), without overflow.

    softplus(f32[2,3]) -> f32[2,3]
    """

    floating = True

    def reference(self, x):
        return np.logaddexp(x, x.dtype.type(0))

    def scalar(self, x):
        return scalar("max", x, const(0, x.dtype)) + scalar("log1p", scalar("exp", -abs(x)))

    def vjp(self, f, g, y, x):
        return (g * f.sigmoid(x),)


class Erf(Elementwise):
    """The error function.

    erf(f32[2,3]) -> f32[2,3]
    """

    floating = True

    def reference(self, x):
        return SCALARS["erf"].numpy(x)

    def scalar(self, x):
        return scalar("erf", x)

    def vjp(self, f, g, y, x):
        slope = f.constant(2 / math.sqrt(math.pi), x.dtype)
        return (g * f.exp(f.negative(x * x)) * slope,)


class Sin(Elementwise):
    """The sine, x in radians.

    sin(f32[2,3]) -> f32[2,3]
    """

    floating = True

    def reference(self, x):
        return np.sin(x)

    def scalar(self, x):
        return scalar("sin", x)

    def vjp(self, f, g, y, x):
        return (g * f.cos(x),)


class Cos(Elementwise):
    """The cosine, x in radians.

    cos(f32[2,3]) -> f32[2,3]
    """

    floating = True

    def reference(self, x):
        return np.cos(x)

    def scalar(self, x):
        return scalar("cos", x)

    def vjp(self, f, g, y, x):
        return (f.negative(g * f.sin(x)),)


class Arctan(Elementwise):
    """The angle in radians whose tangent is x, within -pi/2 .. pi/2.

    arctan(f32[2,3]) -> f32[2,3]
    """

    floating = True

    def reference(self, x):
        return np.arctan(x)

    def scalar(self, x):
        return scalar("atan", x)

    def vjp(self, f, g, y, x):
        return (g / (f.ones_like(x) + x * x),)


class Comparison(Elementwise, abstract=True):
    """An elementwise op with a bool result and no gradient."""

    result = BOOL

    def vjp(self, f, g, y, *operands):
        return (None,) * len(operands)


class Less(Comparison):
    """x < y.

    less(f32[2,3], f32[2,3]) -> bool[2,3]
    """

    def reference(self, x, y):
        return x < y

    def scalar(self, x, y):
        return x < y


class LessEqual(Comparison):
    """x <= y.

    less_equal(f32[2,3], f32[2,3]) -> bool[2,3]
    """

    def reference(self, x, y):
        return x <= y

    def scalar(self, x, y):
        return x <= y


class Equal(Comparison):
    """x == y.

    equal(i32[2,3], i32[2,3]) -> bool[2,3]
    """

    def reference(self, x, y):
        return x == y

    def scalar(self, x, y):
        return scalar("eq", x, y)


class NotEqual(Comparison):
    """x != y.

    not_equal(i32[2,3], i32[2,3]) -> bool[2,3]
    """

    def reference(self, x, y):
        return x != y

    def scalar(self, x, y):
        return scalar("ne", x, y)


class LogicalAnd(Comparison):
    """x and y, for bools.

    logical_and(bool[2,3], bool[2,3]) -> bool[2,3]
    """

    def reference(self, x, y):
        return x & y

    def scalar(self, x, y):
        return x & y


class LogicalOr(Comparison):
    """x or y, for bools.

    logical_or(bool[2,3], bool[2,3]) -> bool[2,3]
    """

    def reference(self, x, y):
        return x | y

    def scalar(self, x, y):
        return x | y


class LogicalNot(Comparison):
    """not x, for bools.

    logical_not(bool[2,3]) -> bool[2,3]
    """

    def reference(self, x):
        return ~x

    def scalar(self, x):
        return ~x


class Where(Op):
    """x where the condition holds, y elsewhere.

    where(bool[2,3], f32[2,3], f32[2,3]) -> f32[2,3]
    where(f32[2], f32[2], f32[2]) -> DTypeError: where needs a bool condition
    """

    def infer(self, condition, x, y):
        if condition.dtype != BOOL or x.dtype != y.dtype:
            raise DTypeError(f"where needs a bool condition and two operands of one dtype, received {condition}, "
                             f"{x} and {y}.")
        if not condition.shape == x.shape == y.shape:
            raise ShapeError(f"where needs operands of one shape, received {condition}, {x} and {y}.")
        return x

    def reference(self, condition, x, y):
        return np.where(condition, x, y)

    def define(self, index, condition, x, y):
        return select(condition[index], x[index], y[index])

    def vjp(self, f, g, out, condition, x, y):
        zero = f.zeros_like(g)
        return None, f.where(condition, g, zero), f.where(condition, zero, g)

    each = Elementwise.each


class Cast(Op):
    """Convert to another dtype; float to integer truncates towards zero, anything to bool is `x != 0`.

    cast<dtype=f32>(i32[2,3]) -> f32[2,3]
    cast<dtype=bool>(f32[2,3]) -> bool[2,3]
    """

    dtype: DType

    def infer(self, x):
        return TensorType(self.dtype, x.shape)

    def reference(self, x):
        return x.astype(self.dtype.numpy)

    def define(self, index, x):
        element = x[index]
        if self.dtype == BOOL and x.dtype != BOOL:
            return scalar("ne", element, const(0, x.dtype))
        return cast(element, self.dtype)

    def vjp(self, f, g, y, x):
        return (f.cast(g, x.dtype) if x.dtype.is_float and self.dtype.is_float else None,)

    each = Elementwise.each


class StopGradient(Elementwise):
    """x, through which no gradient flows.

    stop_gradient(f32[2,3]) -> f32[2,3]
    """

    def reference(self, x):
        return x

    def scalar(self, x):
        return x

    def vjp(self, f, g, y, x):
        return (None,)
