"""Transcendentals of float32 from basic operations: exp, log, log1p, tanh, erf, sin, cos, atan and pow.

`rewrite(e, expand)` leaves only arithmetic, comparisons, selects and bit operations, without a branch, so a
kernel that holds one of these functions is vectorised like any other arithmetic. Other dtypes stay calls of
the library.

The method is that of Cody & Waite, "Software Manual for the Elementary Functions" (1980): reduce the
argument to a small interval exactly, evaluate a minimax polynomial or rational there, and put the scale
back by exponent bits. The coefficients were fitted here: least squares on 4,001 Chebyshev nodes, reweighted
by Lawson's algorithm until the relative error is level (for rationals with the linearisation of Sanathanan
& Koerner), then rounded to the dtype of the evaluation. Each table says its interval and the relative error
of the approximation before rounding (one float32 ulp is 6e-8 to 1.2e-7). Note [Accuracy] has what the whole
functions reach.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from graphc.ir.expr import Expr, Operand, bitcast, cast, const, scalar, select
from graphc.ir.types import DTYPES

__all__ = ["EXPANSIONS", "expand"]

F32, F64, I32, U32 = DTYPES["f32"], DTYPES["f64"], DTYPES["i32"], DTYPES["u32"]
INF, NAN = const(math.inf, F32), const(math.nan, F32)
ONE_BITS = 0x3F800000  # float32 1.0
ROUND = 1.5 * 2.0**23  # x + ROUND - ROUND is the nearest integer, which also stands in the sum's low bits
ROUND_BITS = 0x4B400000

# exp(r) = 1 + r + r^2 * q(r), |r| <= log(2)/2: 3.1e-9
EXP = (0.4999999403953552, 0.1666652113199234, 0.04166838899254799, 0.008368710055947304,
       0.001381461275741458)
LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440e-4  # the high part has 10 bits: exact times an exponent

# log(1 + f) = f - f^2/2 + f^3 * p(f), sqrt(1/2) <= 1 + f < sqrt(2): 5.8e-9
LOG = (0.3333333134651184, -0.2500081956386566, 0.20001226663589478, -0.16623356938362122,
       0.14201757311820984, -0.13160182535648346, 0.1276157647371292, -0.07634496688842773)
SQRT_HALF_BITS = 0x3F3504F3

# w(x) = x * p(x^2) / q(x^2), where w / (1 + w^2 / 4) is tanh, |x| <= 9.2: 7.5e-9, or erf, |x| <= 4: 3.3e-8
TANH = ((1.0, 0.02976108156144619, 0.00011398633796488866),
        (1.0, 0.11309436708688736, 0.0012052274541929364, 1.2235561825946206e-06))
ERF = ((1.1283791065216064, 0.1600458174943924, 0.019911032170057297, 0.0006252748426049948,
        -6.647930604231078e-06),
       (1.0, 0.15686003863811493, 0.035669341683387756, 0.0022437607403844595))
# f(x) = x + x * p(x^2): tanh, |x| <= 0.55: 1.3e-9, and erf, |x| <= 0.48: 1.4e-9
SMALL_TANH = (0.0, -0.3333331346511841, 0.13332480192184448, -0.0538405179977417, 0.02102055586874485,
              -0.006198726128786802)
SMALL_ERF = (0.12837916612625122, -0.37612608075141907, 0.11282823234796524, -0.026757188141345978,
             0.004717998206615448)

# sin(r) = r + r^3 * p(r^2): 3.8e-9 and cos(r) = 1 - r^2/2 + r^4 * q(r^2): 1.2e-10, |r| <= pi/4
SIN = (-0.16666655242443085, 0.00833216030150652, -0.00019515282474458218)
COS = (0.04166664555668831, -0.0013887316454201937, 2.44331567955669e-05)
HALF_PI_HIGH, HALF_PI_LOW = 1.57079632673412561417, 6.07710050650619224932e-11  # the high part has 33 bits

# atan(r) = r + r^3 * p(r^2), |r| <= tan(pi/8): 6.7e-10
ATAN = (-0.33333316445350647, 0.19998471438884735, -0.14243532717227936, 0.1059381365776062, -0.06078221648931503)

# float64: log2(m) = s * p(s^2), s = (m - 1) / (m + 1), sqrt(1/2) <= m < sqrt(2): 4.2e-12
LOG2 = (2.88539008179008, 0.9617966733505646, 0.5770835831860505, 0.4116728313562914, 0.3407279333812982)
# float64: 2^r, |r| <= 1/2: 1.9e-9
EXP2 = (1.0000000005541676, 0.6931472057372633, 0.2402264689062743, 0.055503287769708566,
        0.009618488957863065, 0.001339993121721318, 0.000153458117970536)


def _fma(x: Operand, y: Operand, z: Operand) -> Expr:
    return scalar("fma", x, y, z)


def _horner(coefficients: Sequence[float], x: Expr) -> Expr:
    """The polynomial with the lowest coefficient first."""
    result: Expr | float = coefficients[-1]
    for c in reversed(coefficients[:-1]):
        result = _fma(result, x, c) if c else result * x
    return result  # type: ignore[return-value]


def _clamp(x: Expr, low: float, high: float) -> Expr:
    """x within bounds, NaN kept; one instruction a side, which `min` with NumPy's NaN rule is not."""
    x = select(x < low, low, x)
    return select(x > high, high, x)


def _is(x: Expr, value: float | Expr) -> Expr:
    return scalar("eq", x, value)


def _exponential(power: Expr) -> Expr:
    """2^power from an i32 within the exponents of normal numbers."""
    return bitcast((power << 23) + ONE_BITS, F32)


def _halves(rounded: Expr) -> tuple[Expr, Expr]:
    """2^a and 2^b, where a + b is the integer in the low bits of `rounded`.

    A product with one after the other is right where 2^(a + b) alone is not a normal number: near overflow,
    and into the denormals with a single rounding.
    """
    n = bitcast(rounded, I32) - ROUND_BITS
    half = n >> 1
    return _exponential(half), _exponential(n - half)


def _exp(x: Expr) -> Expr:
    x = _clamp(x, -104.0, 89.0)  # beyond both the result is 0 or infinity already
    rounded = _fma(x, 1.0 / math.log(2.0), ROUND)
    n = rounded - ROUND
    r = _fma(n, -LN2_LOW, _fma(n, -LN2_HIGH, x))
    a, b = _halves(rounded)
    return (_fma(r * r, _horner(EXP, r), r) + 1.0) * a * b


def _mantissa(x: Expr) -> tuple[Expr, Expr]:
    """x = m * 2^e for a positive finite x: m within [sqrt(1/2), sqrt(2)), and e as a float."""
    small = x < 2.0**-126
    shifted = bitcast(select(small, x * 2.0**23, x), U32) - SQRT_HALF_BITS
    m = bitcast((shifted & 0x007FFFFF) + SQRT_HALF_BITS, F32)
    e = cast(bitcast(shifted, I32) >> 23, F32)
    return m, e + select(small, const(-23.0, F32), 0.0)


def _log(x: Expr, correction: Expr | None = None) -> Expr:
    """log(x), plus a correction that is small beside it."""
    m, e = _mantissa(x)
    f = m - 1.0
    low = _fma(f * f, _fma(f, _horner(LOG, f), -0.5), e * LN2_LOW)
    if correction is not None:
        low = low + correction
    result = _fma(e, LN2_HIGH, f + low)
    return select(x > 0.0, select(x < INF, result, x), select(_is(x, 0.0), -INF, NAN))


def _log1p(x: Expr) -> Expr:
    """log(u + c) = log(u) + c / u, where u = 1 + x rounded and c is the rounding error."""
    u = x + 1.0
    c = select(x < 1.0, x - (u - 1.0), 1.0 - (u - x))
    return _log(u, c / u)


def _sigmoidal(x: Expr, small: Sequence[float], p: Sequence[float], q: Sequence[float], half: float,
               one: float) -> Expr:
    """An odd f, 1/2 at about `half` and rounded to 1 from `one` on, as w / (1 + w^2 / 4) with rational w.

    Where f is near 1, w is near 2 and f hardly changes with it: the detour takes away the rounding errors of
    p and q, and a smaller rational does. Multiplied out there is one division. Below 1/2 a polynomial is
    more exact. `one` is a point where the rounding errors do give 1, with fma fused or not.
    """
    x = _clamp(x, -one, one)
    square = x * x
    u, v = x * _horner(p, square), _horner(q, square)
    large = _clamp(u * v / _fma(u * 0.25, u, v * v), -1.0, 1.0)
    return select(abs(x) < half, _fma(x, _horner(small, square), x), large)


def _tanh(x: Expr) -> Expr:
    return _sigmoidal(x, SMALL_TANH, *TANH, half=0.55, one=9.2)


def _erf(x: Expr) -> Expr:
    return _sigmoidal(x, SMALL_ERF, *ERF, half=0.48, one=3.9503)


def _quarter(x: Expr) -> tuple[Expr, Expr]:
    """x = r + k * pi/2 with |r| <= pi/4; k modulo 4, as a float.

    The reduction is done in float64: three float32 parts of pi/2 hold 46 bits, too few for the arguments
    that are closest to a multiple, where the result is nothing but the last bits. The high part's product
    is exact for |x| <= 1.6e6; after that the remainder is off by up to |x| * 2^-53, which is much less
    than the rounding of x itself. A quadrant kept as a float needs no conversion that would be undefined
    for NaN.
    """
    wide = cast(x, F64)
    k = scalar("floor", wide * (2.0 / math.pi) + 0.5)
    r = wide - k * HALF_PI_HIGH - k * HALF_PI_LOW
    return _clamp(cast(r, F32), -0.7854, 0.7854), cast(k - scalar("floor", k * 0.25) * 4.0, F32)


def _wave(r: Expr, k: Expr) -> Expr:
    """sin(r + k * pi/2), k within 0 .. 4."""
    square = r * r
    sine = _fma(square * r, _horner(SIN, square), r)
    cosine = _fma(square * square, _horner(COS, square), _fma(square, -0.5, 1.0))
    value = select(_is(k, 1.0) | _is(k, 3.0), cosine, sine)
    return select(_is(k, 2.0) | _is(k, 3.0), -value, value)


def _sin(x: Expr) -> Expr:
    return _wave(*_quarter(x))


def _cos(x: Expr) -> Expr:
    r, k = _quarter(x)
    return _wave(r, select(k < 3.0, k + 1.0, 0.0))


def _atan(x: Expr) -> Expr:
    """atan(|x|) = pi/2 - atan(1/|x|) beyond tan(3*pi/8), pi/4 + atan((|x| - 1) / (|x| + 1)) from tan(pi/8) on."""
    size = abs(x)
    large, middle = size > math.tan(3 * math.pi / 8), size > math.tan(math.pi / 8)
    r = select(large, -1.0, select(middle, size - 1.0, size)) / select(large, size, select(middle, size + 1.0, 1.0))
    start = select(large, const(math.pi / 2, F32), select(middle, const(math.pi / 4, F32), 0.0))
    square = r * r
    result = start + _fma(r * square, _horner(ATAN, square), r)
    return select(x < 0.0, -result, result)


def _pow(x: Expr, y: Expr) -> Expr:
    """2^(y * log2|x|), then the sign and the special cases.

    It is done in float64, since y multiplies the error of the logarithm.
    """
    if y.op == "const" and y.attr in (1.0, 2.0):
        return x if y.attr == 1.0 else x * x
    size = abs(x)
    m, e = _mantissa(size)
    wide = cast(m, F64)
    s = (wide - 1.0) / (wide + 1.0)
    log2 = _fma(s, _horner(LOG2, s * s), cast(e, F64))
    edge = select(_is(size, 0.0), -INF, size)  # of 0, infinity and NaN
    t = cast(y, F64) * select((size > 0.0) & (size < INF), log2, cast(edge, F64))
    t = _clamp(t, -152.0, 130.0)  # beyond both the result is 0 or infinity already
    n = scalar("floor", t + 0.5)
    a, b = _halves(cast(n, F32) + ROUND)
    # scaled in float64, which is exact, so that rounding to a denormal or to infinity happens once
    result = cast(_horner(EXP2, t - n) * cast(a, F64) * cast(b, F64), F32)
    whole = _is(scalar("floor", y), y)
    odd = scalar("ne", scalar("floor", y * 0.5) * 2.0, y) & whole
    negative = bitcast(bitcast(x, U32) & 0x80000000, I32) < 0
    result = select(odd & negative, -result, result)
    result = select((x < 0.0) & (x > -INF) & ~whole, NAN, result)
    flat = _is(x, 1.0) | _is(y, 0.0) | (_is(x, -1.0) & _is(abs(y), INF))
    return select(flat, 1.0, result)


EXPANSIONS: dict[str, Callable[..., Expr]] = {
    "exp": _exp, "log": _log, "log1p": _log1p, "tanh": _tanh, "erf": _erf, "sin": _sin, "cos": _cos,
    "atan": _atan, "pow": _pow,
}


def expand(e: Expr) -> Expr | None:
    """A transcendental of float32 as basic operations; None for any other node. For use with `rewrite`."""
    return EXPANSIONS[e.op](*e.args) if e.op in EXPANSIONS and e.dtype == F32 else None


# Note [Accuracy]
#
# The largest errors in float32 ulps against float64, measured over millions of random bit patterns and over
# the interesting intervals, with fma fused (as compiled) and not fused (as NumPy evaluates it):
#
#            fused  unfused
#     exp     0.99     0.96   denormal results and overflow included
#     log     0.84     0.91   denormal arguments included
#     log1p   0.92     0.92
#     tanh    2.8      3.3
#     erf     3.0      3.7
#     sin     1.6      1.6    |x| <= 1.6e6; then |x| * 2^-53 absolute; above 1e15 some value within [-1, 1]
#     cos     1.6      1.6    as sin
#     pow     0.53     0.53   denormal results and beta^t with t up to 1e6 included
#
# NaN, infinity and zero give what NumPy gives, pow's table of special cases included; but 0 for an argument of
# -0 in log1p, tanh, sin and atan.
