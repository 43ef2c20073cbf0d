"""Arithmetic, comparisons, logic and mathematics, element by element. https://keras.io/api/ops/numpy/

Operands broadcast as in NumPy. Whole numbers become float32 where the result is no whole number.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.eager import Array, Arrays, Number, as_array, numbers_of, op
from graphc.ir import functions as f
from graphc.ir.graph import Value

__all__ = [
    "abs", "absolute", "add", "angle", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh",
    "bitwise_and", "bitwise_invert", "bitwise_left_shift", "bitwise_not", "bitwise_or", "bitwise_right_shift",
    "bitwise_xor", "cbrt", "ceil", "clip", "conj", "conjugate", "copy", "cos", "cosh", "deg2rad", "divide",
    "divide_no_nan", "equal", "exp", "exp2", "expm1", "fabs", "floor", "floor_divide", "fmax", "fmin", "fmod", "gcd",
    "greater", "greater_equal", "heaviside", "hypot", "i0", "imag", "isclose", "isfinite", "isinf", "isnan",
    "isneginf", "isposinf", "isreal", "lcm", "ldexp", "left_shift", "less", "less_equal", "log", "log1p", "log2",
    "log10", "logaddexp", "logaddexp2", "logical_and", "logical_not", "logical_or", "logical_xor", "maximum", "minimum",
    "mod", "multiply", "nan_to_num", "negative", "nextafter", "not_equal", "power", "rad2deg", "real", "reciprocal",
    "right_shift", "round", "select", "sign", "signbit", "sin", "sinc", "sinh", "sqrt", "square", "subtract", "tan",
    "tanh", "true_divide", "trunc", "vectorize",
]


def _whole(x: Value) -> Value:
    """x with bools as whole numbers."""
    return f.cast(x, "i32") if x.dtype.kind == "b" else x


# ------------------------------------------------------------------------------------------------- arithmetic

@op
def add(x1: Number, x2: Number) -> Array:
    """x1 + x2."""
    return f.add(x1, x2)


@op
def subtract(x1: Number, x2: Number) -> Array:
    """x1 - x2."""
    return f.subtract(x1, x2)


@op
def multiply(x1: Number, x2: Number) -> Array:
    """x1 * x2."""
    return f.multiply(x1, x2)


@op
def divide(x1: Number, x2: Number) -> Array:
    """x1 / x2, true division."""
    return f.divide(x1, x2)


true_divide = divide


@op
def divide_no_nan(x1: Number, x2: Number) -> Array:
    """x1 / x2, and 0 where x2 is 0."""
    zero = f.equal(x2, 0)
    return f.where(zero, 0.0, f.divide(x1, f.where(zero, 1, x2)))


@op
def floor_divide(x1: Number, x2: Number) -> Array:
    """The largest whole number not above x1 / x2; 0 where a whole number is divided by 0."""
    return f.floor_divide(x1, x2)


@op
def mod(x1: Number, x2: Number) -> Array:
    """What is left of x1 after `floor_divide`, with the sign of x2; 0 where a whole number is divided by 0."""
    return f.mod(x1, x2)


@op
def fmod(x1: Number, x2: Number) -> Array:
    """What is left of x1 after division by x2, with the sign of x1."""
    rest = f.mod(f.absolute(x1), f.absolute(x2))
    return f.where(f.less(x1, 0), f.negative(rest), rest)


@op
def power(x1: Number, x2: Number) -> Array:
    """x1 ** x2; of whole numbers a whole number."""
    dtype = f.common_dtype(x1, x2)
    if dtype.is_float:
        return f.power(f.cast(x1, dtype), f.cast(x2, dtype))
    dtype = f.DType.of("i32") if dtype.kind == "b" else dtype
    return f.cast(f.round(f.power(f.cast(x1, "f64"), f.cast(x2, "f64"))), dtype)


@op
def negative(x: Array) -> Array:
    """-x."""
    return f.negative(x)


@op
def absolute(x: Array) -> Array:
    """|x|."""
    return x if x.dtype.kind in "bu" else f.absolute(x)


abs = absolute


@op
def fabs(x: Array) -> Array:
    """|x| as a float."""
    return f.absolute(f.to_float(x))


@op
def sign(x: Array) -> Array:
    """-1, 0 or 1; NaN where x is."""
    return f.sign(_whole(x))


@op
def square(x: Array) -> Array:
    """x * x."""
    return f.square(_whole(x))


@op
def sqrt(x: Array) -> Array:
    """The square root; NaN of negative numbers."""
    return f.sqrt(x)


@op
def cbrt(x: Array) -> Array:
    """The cube root."""
    x = f.to_float(x)
    root = f.power(f.absolute(x), 1 / 3)
    return f.where(f.less(x, 0), f.negative(root), root)


@op
def reciprocal(x: Array) -> Array:
    """1 / x."""
    return f.divide(1.0, x)


@op
def hypot(x1: Number, x2: Number) -> Array:
    """sqrt(x1**2 + x2**2), without overflow."""
    x1, x2 = f.absolute(f.to_float(x1)), f.absolute(f.to_float(x2))
    large, small = f.maximum(x1, x2), f.minimum(x1, x2)
    ratio = f.divide(small, f.where(f.equal(large, 0), 1, large))
    result = f.multiply(large, f.sqrt(f.add(1.0, f.square(ratio))))
    return f.where(f.equal(large, math.inf), large, result)


@op
def maximum(x1: Number, x2: Number) -> Array:
    """The larger of the two; NaN if either is."""
    return f.maximum(x1, x2)


@op
def minimum(x1: Number, x2: Number) -> Array:
    """The smaller of the two; NaN if either is."""
    return f.minimum(x1, x2)


@op
def fmax(x1: Number, x2: Number) -> Array:
    """The larger of the two; the other one where one is NaN."""
    return f.where(_isnan(x1), x2, f.where(_isnan(x2), x1, f.maximum(x1, x2)))


@op
def fmin(x1: Number, x2: Number) -> Array:
    """The smaller of the two; the other one where one is NaN."""
    return f.where(_isnan(x1), x2, f.where(_isnan(x2), x1, f.minimum(x1, x2)))


@op
def clip(x: Array, x_min: Number, x_max: Number) -> Array:
    """x limited to the interval [x_min, x_max]."""
    return f.clip(_whole(x), x_min, x_max)


# ------------------------------------------------------------------------------------------------------ whole

@op
def floor(x: Array) -> Array:
    """The largest whole number not above x, as a float."""
    return f.floor(x)


@op
def ceil(x: Array) -> Array:
    """The smallest whole number not below x, as a float."""
    return f.ceil(x)


@op
def trunc(x: Array) -> Array:
    """x without its fraction."""
    return f.where(f.less(x, 0), f.ceil(x), f.floor(x)) if x.dtype.is_float else x


@op
def round(x: Array, decimals: int = 0) -> Array:
    """The nearest number of so many decimals; of two that are as near, the even one."""
    if not x.dtype.is_float:
        return x if decimals >= 0 else f.cast(_rounded(f.cast(x, "f64"), decimals), x.dtype)
    return _rounded(x, decimals)


def _rounded(x: Value, decimals: int) -> Value:
    if not decimals:
        return f.round(x)
    scale = 10.0 ** builtins.abs(decimals)
    return (f.divide(f.round(f.multiply(x, scale)), scale) if decimals > 0
            else f.multiply(f.round(f.divide(x, scale)), scale))


# ------------------------------------------------------------------------------------------------- mathematics

@op
def exp(x: Array) -> Array:
    """e ** x."""
    return f.exp(x)


@op
def exp2(x: Array) -> Array:
    """2 ** x."""
    return f.power(2.0, f.to_float(x))


@op
def expm1(x: Array) -> Array:
    """exp(x) - 1, precise near 0."""
    return f.expm1(x)


@op
def log(x: Array) -> Array:
    """The natural logarithm."""
    return f.log(x)


@op
def log2(x: Array) -> Array:
    """The logarithm to base 2."""
    return f.divide(f.log(x), math.log(2))


@op
def log10(x: Array) -> Array:
    """The logarithm to base 10."""
    return f.divide(f.log(x), math.log(10))


@op
def log1p(x: Array) -> Array:
    """log(1 + x), precise near 0."""
    return f.log1p(x)


@op
def logaddexp(x1: Number, x2: Number) -> Array:
    """log(exp(x1) + exp(x2)), without overflow."""
    return _logaddexp(x1, x2)


@op
def logaddexp2(x1: Number, x2: Number) -> Array:
    """log2(2**x1 + 2**x2), without overflow."""
    scale = math.log(2)
    return f.divide(_logaddexp(f.multiply(f.to_float(x1), scale), f.multiply(f.to_float(x2), scale)), scale)


def _logaddexp(x1: Any, x2: Any) -> Value:
    x1, x2 = f.to_float(x1), f.to_float(x2)
    top, apart = f.maximum(x1, x2), f.absolute(f.subtract(x1, x2))
    equal = f.equal(x1, x2)  # infinities too, whose difference has no value
    return f.where(equal, f.add(x1, math.log(2)), f.add(top, f.log1p(f.exp(f.negative(apart)))))


@op
def sin(x: Array) -> Array:
    """The sine, x in radians."""
    return f.sin(x)


@op
def cos(x: Array) -> Array:
    """The cosine, x in radians."""
    return f.cos(x)


@op
def tan(x: Array) -> Array:
    """The tangent, x in radians."""
    return f.divide(f.sin(x), f.cos(x))


@op
def sinc(x: Array) -> Array:
    """sin(pi * x) / (pi * x); 1 at 0."""
    angle = f.multiply(f.to_float(x), math.pi)
    zero = f.equal(angle, 0)
    safe = f.where(zero, 1.0, angle)
    return f.where(zero, 1.0, f.divide(f.sin(safe), safe))


@op
def arctan(x: Array) -> Array:
    """The angle in radians whose tangent is x."""
    return f.arctan(x)


@op
def arcsin(x: Array) -> Array:
    """The angle in radians whose sine is x."""
    x = f.to_float(x)
    return f.multiply(2.0, f.arctan(f.divide(x, f.add(1.0, f.sqrt((1.0 - x) * (1.0 + x))))))


@op
def arccos(x: Array) -> Array:
    """The angle in radians whose cosine is x."""
    x = f.to_float(x)
    return f.multiply(2.0, f.arctan(f.divide(f.sqrt(1.0 - x), f.sqrt(1.0 + x))))


@op
def arctan2(x1: Number, x2: Number) -> Array:
    """The angle in radians of the point (x2, x1)."""
    y, x = f.to_float(x1), f.to_float(x2)
    both = f.logical_and(f.equal(f.absolute(x), math.inf), f.equal(f.absolute(y), math.inf))
    y, x = f.where(both, f.sign(y), y), f.where(both, f.sign(x), x)
    steep = f.less(f.absolute(x), f.absolute(y))
    top, bottom = f.where(steep, f.negative(x), y), f.where(steep, y, x)
    origin = f.equal(bottom, 0)
    turn = f.arctan(f.divide(top, f.where(origin, 1.0, bottom)))
    up = f.where(_signbit(y), -1.0, 1.0)
    steeply = f.add(turn, f.multiply(up, math.pi / 2))
    return f.where(steep, steeply, f.where(_signbit(x), f.add(turn, f.multiply(up, math.pi)), turn))


@op
def sinh(x: Array) -> Array:
    """The hyperbolic sine."""
    x = f.to_float(x)
    e = f.expm1(f.absolute(x))
    half = f.where(f.less(f.absolute(x), 20.0), (e + e / (e + 1.0)) * 0.5, f.exp(f.absolute(x) - math.log(2)))
    return f.where(f.less(x, 0), f.negative(half), half)


@op
def cosh(x: Array) -> Array:
    """The hyperbolic cosine."""
    x = f.absolute(f.to_float(x)) - math.log(2)  # so that nothing overflows before the result does
    return f.add(f.exp(x), f.multiply(0.25, f.exp(f.negative(x))))


@op
def tanh(x: Array) -> Array:
    """The hyperbolic tangent."""
    return f.tanh(x)


@op
def arcsinh(x: Array) -> Array:
    """The number whose hyperbolic sine is x."""
    x = f.to_float(x)
    size = f.absolute(x)
    large = f.greater(size, 1e10)  # where the square might overflow
    inner = f.where(large, 1.0, size)
    near = f.log1p(inner + f.square(inner) / (1.0 + f.sqrt(f.square(inner) + 1.0)))
    result = f.where(large, f.log(size) + math.log(2), near)
    return f.where(f.less(x, 0), f.negative(result), result)


@op
def arccosh(x: Array) -> Array:
    """The number from 0 on whose hyperbolic cosine is x."""
    t = f.to_float(x) - 1.0
    return f.log1p(t + f.sqrt(t) * f.sqrt(t + 2.0))


@op
def arctanh(x: Array) -> Array:
    """The number whose hyperbolic tangent is x."""
    x = f.to_float(x)
    return f.multiply(0.5, f.subtract(f.log1p(x), f.log1p(f.negative(x))))


@op
def deg2rad(x: Array) -> Array:
    """Degrees as radians."""
    return f.multiply(f.to_float(x), math.pi / 180)


@op
def rad2deg(x: Array) -> Array:
    """Radians as degrees."""
    return f.multiply(f.to_float(x), 180 / math.pi)


@op
def ldexp(x1: Number, x2: Number) -> Array:
    """x1 * 2 ** x2."""
    return f.multiply(f.to_float(x1), f.power(2.0, f.to_float(x2)))


@op
def heaviside(x1: Number, x2: Number) -> Array:
    """0 where x1 is negative, 1 where it is positive, x2 where it is 0."""
    x1 = f.to_float(x1)
    return f.where(f.equal(x1, 0), x2, f.where(_isnan(x1), x1, f.where(f.less(x1, 0), 0.0, 1.0)))


# ------------------------------------------------------------------------------- comparisons, logic and numbers

@op
def equal(x1: Number, x2: Number) -> Array:
    """x1 == x2, element by element."""
    return f.equal(x1, x2)


@op
def not_equal(x1: Number, x2: Number) -> Array:
    """x1 != x2, element by element."""
    return f.not_equal(x1, x2)


@op
def less(x1: Number, x2: Number) -> Array:
    """x1 < x2."""
    return f.less(x1, x2)


@op
def less_equal(x1: Number, x2: Number) -> Array:
    """x1 <= x2."""
    return f.less_equal(x1, x2)


@op
def greater(x1: Number, x2: Number) -> Array:
    """x1 > x2."""
    return f.greater(x1, x2)


@op
def greater_equal(x1: Number, x2: Number) -> Array:
    """x1 >= x2."""
    return f.greater_equal(x1, x2)


@op
def logical_and(x1: Array, x2: Array) -> Array:
    """x1 and x2; numbers other than 0 are true."""
    return f.logical_and(f.cast(x1, "bool"), f.cast(x2, "bool"))


@op
def logical_or(x1: Array, x2: Array) -> Array:
    """x1 or x2; numbers other than 0 are true."""
    return f.logical_or(f.cast(x1, "bool"), f.cast(x2, "bool"))


@op
def logical_xor(x1: Array, x2: Array) -> Array:
    """One of x1 and x2, not both; numbers other than 0 are true."""
    return f.not_equal(f.cast(x1, "bool"), f.cast(x2, "bool"))


@op
def logical_not(x: Array) -> Array:
    """Not x; numbers other than 0 are true."""
    return f.logical_not(f.cast(x, "bool"))


@op
def select(condlist: Arrays, choicelist: Arrays, default: Number = 0) -> Array:
    """The element of the first choice whose condition holds, else the default."""
    if len(condlist) != len(choicelist) or not condlist:
        raise ValueError(f"select needs as many conditions as choices, received {len(condlist)} and "
                         f"{len(choicelist)}.")
    result = default
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        result = f.where(f.cast(condition, "bool"), choice, result)
    return result


def _isnan(x: Any) -> Value:
    return f.not_equal(x, x)


def _signbit(x: Value) -> Value:
    return f.logical_or(f.less(x, 0), f.less(f.divide(1.0, x), 0))  # 1 / -0 is -inf


@op
def isnan(x: Array) -> Array:
    """Whether x is NaN."""
    return f.not_equal(x, x)


@op
def isinf(x: Array) -> Array:
    """Whether x is infinite, of either sign."""
    return f.equal(f.absolute(f.to_float(x)), math.inf)


@op
def isfinite(x: Array) -> Array:
    """Whether x is neither infinite nor NaN."""
    return f.less(f.absolute(f.to_float(x)), math.inf)


@op
def isposinf(x: Array) -> Array:
    """Whether x is positive infinity."""
    return f.equal(f.to_float(x), math.inf)


@op
def isneginf(x: Array) -> Array:
    """Whether x is negative infinity."""
    return f.equal(f.to_float(x), -math.inf)


@op
def isreal(x: Array) -> Array:
    """Whether x has no imaginary part: always, there are no complex numbers."""
    return f.ones_like(f.cast(x, "bool"))


@op
def signbit(x: Array) -> Array:
    """Whether x is below 0, or -0."""
    return _signbit(x) if x.dtype.is_float else f.less(x, 0)


@op
def isclose(x1: Number, x2: Number, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Array:
    """Whether |x1 - x2| <= atol + rtol * |x2|."""
    x1, x2 = f.to_float(x1), f.to_float(x2)
    near = f.less_equal(f.absolute(x1 - x2), atol + rtol * f.absolute(x2))
    finite = f.logical_and(f.less(f.absolute(x1), math.inf), f.less(f.absolute(x2), math.inf))
    result = f.logical_or(f.equal(x1, x2), f.logical_and(near, finite))
    return f.logical_or(result, f.logical_and(_isnan(x1), _isnan(x2))) if equal_nan else result


@op
def nan_to_num(x: Array, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Array:
    """x with numbers for NaN and the infinities, by default 0 and the largest of the dtype."""
    if not x.dtype.is_float:
        return x
    limits = np.finfo(x.dtype.numpy)
    x = f.where(_isnan(x), nan, x)
    x = f.where(f.equal(x, math.inf), float(limits.max) if posinf is None else posinf, x)
    return f.where(f.equal(x, -math.inf), float(limits.min) if neginf is None else neginf, x)


@op
def real(x: Array) -> Array:
    """x: there are no complex numbers."""
    return x


conj = conjugate = real


@op
def imag(x: Array) -> Array:
    """Zeros: there are no complex numbers."""
    return f.zeros_like(x)


@op
def angle(x: Array) -> Array:
    """The angle of a number in the complex plane: 0, or pi where it is negative."""
    x = f.to_float(x)
    return f.where(_isnan(x), x, f.where(_signbit(x), math.pi, f.zeros_like(x)))


@op
def copy(x: Array) -> Array:
    """x, in an array of its own."""
    return x


# -------------------------------------------------------------------------------------------------------- bits

def _bits(kind: str, x: Any, y: Any) -> Value:
    if f.common_dtype(x, y).kind == "b" and kind in ("shl", "shr"):
        x, y = f.cast(x, "i32"), f.cast(y, "i32")
    return f.bitwise(kind, x, y)


@op
def bitwise_and(x: Number, y: Number) -> Array:
    """x and y bit by bit."""
    return _bits("and", x, y)


@op
def bitwise_or(x: Number, y: Number) -> Array:
    """x or y bit by bit."""
    return _bits("or", x, y)


@op
def bitwise_xor(x: Number, y: Number) -> Array:
    """The bits that x and y differ in."""
    return _bits("xor", x, y)


@op
def bitwise_left_shift(x: Number, y: Number) -> Array:
    """The bits of x moved y places up."""
    return _bits("shl", x, y)


@op
def bitwise_right_shift(x: Number, y: Number) -> Array:
    """The bits of x moved y places down, the sign kept."""
    return _bits("shr", x, y)


@op
def bitwise_invert(x: Array) -> Array:
    """Every bit of x turned around."""
    return ~x


bitwise_not, left_shift, right_shift = bitwise_invert, bitwise_left_shift, bitwise_right_shift


# ---------------------------------------------------------------------------------------------- of arrays only

def nextafter(x1: Any, x2: Any) -> np.ndarray:
    """The floating-point number beside x1 in the direction of x2."""
    return np.nextafter(*numbers_of("nextafter", x1, x2))


def gcd(x1: Any, x2: Any) -> np.ndarray:
    """The greatest common divisor of whole numbers."""
    return np.gcd(*numbers_of("gcd", x1, x2))


def lcm(x1: Any, x2: Any) -> np.ndarray:
    """The least common multiple of whole numbers."""
    return np.lcm(*numbers_of("lcm", x1, x2))


def i0(x: Any) -> np.ndarray:
    """The modified Bessel function of the first kind and order 0."""
    (array,) = numbers_of("i0", x)
    return np.i0(array).astype(array.dtype if array.dtype.kind == "f" else np.float32)


def vectorize(pyfunc: Callable[..., Any], *, excluded: Any = None, signature: str | None = None) -> Callable[..., Any]:
    """A function of arrays that calls a function of single numbers for each."""
    function = np.vectorize(pyfunc, excluded=excluded, signature=signature)
    return lambda *args: function(*(x if callable(x) else as_array(x) for x in args))
