"""Largest elements, segments, error functions. https://keras.io/api/ops/math/"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.eager import Array, as_array, is_symbolic, op
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value
from graphc.ops.reductions import logsumexp

__all__ = [
    "cdist", "erf", "erfc", "erfinv", "extract_sequences", "fft", "fft2", "ifft2", "in_top_k", "irfft", "logsumexp",
    "rfft", "rsqrt", "segment_max", "segment_min", "segment_prod", "segment_sum", "top_k",
]


@op
def top_k(x: Array, k: int, sorted: bool = True) -> Any:
    """The k largest elements along the last axis, largest first, and their positions, int32."""
    order = f.argsort(f.opposite(x), -1)
    places = f.slice(order, (0,) * x.ndim, (*x.shape[:-1], k))
    return f.take_along(x, places, x.ndim - 1), places


@op
def in_top_k(targets: Array, predictions: Array, k: int) -> Array:
    """Whether fewer than k of the predictions of a row are above the one that its target names.

    Not where the target lies outside, or where its prediction is not finite.
    """
    chosen = f.equal(f.expand_dims(targets, targets.ndim), f.iota((predictions.shape[-1],), (0,), targets.dtype))
    own = f.sum(f.where(chosen, predictions, 0.0), -1, keepdims=True)
    above = f.sum(f.cast(f.less(own, predictions), "i32"), -1)
    known = f.less(f.absolute(f.squeeze(own, -1)), math.inf)
    return f.logical_and(f.less(above, k), f.logical_and(f.any(chosen, -1), known))


@op
def rsqrt(x: Array) -> Array:
    """1 / sqrt(x)."""
    return f.rsqrt(x)


@op
def erf(x: Array) -> Array:
    """The error function."""
    return f.erf(x)


@op
def erfc(x: Array) -> Array:
    """1 - erf(x)."""
    return f.subtract(1.0, f.erf(x))


# the two polynomials of M. Giles, "Approximating the erfinv function", GPU Computing Gems, 2011, in single precision
_CENTRE = (2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503,
           -0.00417768164, 0.246640727, 1.50140941)
_TAIL = (-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613, 0.00943887047,
         1.00167406, 2.83297682)


@op
def erfinv(x: Array) -> Array:
    """The number whose error function is x; infinite at -1 and 1, NaN beyond."""
    x = f.to_float(x)
    w = f.negative(f.log((1.0 - x) * (1.0 + x)))
    middle = f.less(w, 5.0)
    t = f.where(middle, w - 2.5, f.sqrt(f.maximum(w, 5.0)) - 3.0)
    polynomial = f.where(middle, _CENTRE[0], f.full(x.shape, _TAIL[0], x.dtype))
    for a, b in zip(_CENTRE[1:], _TAIL[1:], strict=True):
        polynomial = f.where(middle, a, f.full(x.shape, b, x.dtype)) + polynomial * t
    result = f.stop_gradient(polynomial * x)
    edge = f.where(f.equal(x, 1.0), math.inf, f.where(f.equal(x, -1.0), -math.inf, f.full(x.shape, math.nan, x.dtype)))
    inside = f.less(f.absolute(x), 1.0)
    for _ in range(1 if x.dtype.size == 4 else 3):  # steps of Newton's method, the last of which has the gradient
        slope = math.sqrt(math.pi) / 2 * f.exp(f.square(f.stop_gradient(result)))
        result = f.stop_gradient(result) - (f.erf(f.stop_gradient(result)) - x) * slope
    return f.where(inside, result, edge)


# --------------------------------------------------------------------------------------------------- segments

def segments(data: Value, ids: Value, count: Any, kind: str) -> Value:
    """The slices of data with the same id, combined: a sum is scattered, others compare each id with each row."""
    ids = f.cast(ids, "i32")
    if kind == "sum":
        outside = f.logical_or(f.less(ids, 0), f.greater_equal(ids, f.dimension(count, "i32")))
        kept = f.where(f.reshape(outside, (*ids.shape, *(1,) * (data.ndim - 1))), f.zeros_like(data), data)
        return f.scatter_add(kept, ids, count, 0)
    limits = np.finfo(data.dtype.numpy) if data.dtype.is_float else np.iinfo(data.dtype.numpy)
    number: Any = {"max": limits.min, "min": limits.max, "prod": 1}[kind]
    if data.dtype.is_float and kind != "prod":
        number = -math.inf if kind == "max" else math.inf
    hits = f.equal(f.iota((count, ids.shape[0]), (0,), "i32"), f.expand_dims(ids, 0))
    hits = f.reshape(hits, (count, ids.shape[0], *(1,) * (data.ndim - 1)))
    neutral = float(number) if data.dtype.is_float else int(number)
    return {"max": f.max, "min": f.min, "prod": f.prod}[kind](f.where(hits, data, neutral), 1)


def _segments(data: Any, ids: Any, count: int | None, kind: str) -> Any:
    if count is None:
        if is_symbolic(ids):
            raise ShapeError(f"segment_{kind} of values without numbers needs num_segments: the size of the result.")
        array = as_array(ids)
        count = int(array.max()) + 1 if array.size else 0
    return _of_segments(data, ids, count, kind)


@op
def _of_segments(data: Array, ids: Array, count: int, kind: str) -> Array:
    if ids.ndim != 1 or data.shape[:1] != ids.shape:
        raise ShapeError(f"segment_{kind} needs one id for each slice of {data.type}, received {ids.type}.")
    return segments(data, ids, count, kind)


def segment_sum(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Any:
    """The sums of the slices of data with the same id."""
    return _segments(data, segment_ids, num_segments, "sum")


def segment_max(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Any:
    """The maxima of the slices of data with the same id; the lowest number where there is none."""
    return _segments(data, segment_ids, num_segments, "max")


def segment_min(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Any:
    """The minima of the slices of data with the same id; the highest number where there is none."""
    return _segments(data, segment_ids, num_segments, "min")


def segment_prod(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Any:
    """The products of the slices of data with the same id; 1 where there is none."""
    return _segments(data, segment_ids, num_segments, "prod")


# ---------------------------------------------------------------------------------------- distances and signals

@op
def cdist(x: Array, y: Array) -> Array:
    """The Euclidean distances between the rows of x and those of y."""
    x, y = f.to_float(x), f.to_float(y)
    apart = f.expand_dims(x, x.ndim - 1) - f.expand_dims(y, y.ndim - 2)
    total = f.sum(f.square(apart), -1)
    zero = f.equal(total, 0.0)
    return f.where(zero, 0.0, f.sqrt(f.where(zero, 1.0, total)))


@op
def extract_sequences(x: Array, sequence_length: int, sequence_stride: int) -> Array:
    """The windows of a length along the last axis, `sequence_stride` apart."""
    n = x.shape[-1]
    if not isinstance(n, int) or n < sequence_length:
        raise ShapeError(f"extract_sequences of length {sequence_length} needs at least as many known steps in the "
                         f"last axis, received {x.type}.")
    count = 1 + (n - sequence_length) // sequence_stride
    starts = f.expand_dims(f.iota((count,), (0,), "i32") * int(sequence_stride), 1)
    return f.take(x, starts + f.iota((sequence_length,), (0,), "i32"), x.ndim - 1)


def _transform(real: Value, imag: Value, axis: int, sign: float, length: Any = None) -> tuple[Value, Value]:
    """The discrete Fourier transform along an axis, as the product with the matrix of its waves."""
    n = real.shape[axis]
    if not isinstance(n, int):
        raise ShapeError(f"A Fourier transform needs a known size of the last axis, received {real.type}.")
    places = np.outer(np.arange(n), np.arange(n if length is None else length)) % n
    angles = sign * 2 * np.pi / n * places
    dtype = real.dtype.numpy
    cosine, sine = f.lifted(np.cos(angles).astype(dtype)), f.lifted(np.sin(angles).astype(dtype))
    real, imag = f.moveaxis(real, axis, -1), f.moveaxis(imag, axis, -1)
    parts = (f.matmul(real, cosine) - f.matmul(imag, sine), f.matmul(real, sine) + f.matmul(imag, cosine))
    return f.moveaxis(parts[0], -1, axis), f.moveaxis(parts[1], -1, axis)


@op
def _fft(real: Array, imag: Array, axes: tuple[int, ...], sign: float) -> Any:
    real, imag = f.to_float(real), f.to_float(imag)
    for axis in axes:
        real, imag = _transform(real, imag, axis, sign)
    return real, imag


def fft(x: Any) -> Any:
    """The discrete Fourier transform along the last axis, of a pair of real and imaginary parts."""
    real, imag = x
    return _fft(real, imag, (-1,), -1.0)


def fft2(x: Any) -> Any:
    """The discrete Fourier transform along the last two axes, of a pair of real and imaginary parts."""
    real, imag = x
    return _fft(real, imag, (-1, -2), -1.0)


def ifft2(x: Any) -> Any:
    """The inverse of `fft2`."""
    real, imag = x
    real, imag = _fft(real, imag, (-1, -2), 1.0)
    count = real.shape[-1] * real.shape[-2]
    return real / count, imag / count


def _of_length(x: Value, n: int) -> Value:
    have = x.shape[-1]
    if have < n:  # type: ignore[operator]
        return f.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, n - have)])
    return f.slice(x, (0,) * x.ndim, (*x.shape[:-1], n))


@op
def rfft(x: Array, fft_length: int | None = None) -> Any:
    """The first half of the Fourier transform of real numbers along the last axis: real and imaginary parts."""
    x = f.to_float(x)
    x = x if fft_length is None else _of_length(x, fft_length)
    return _transform(x, f.zeros_like(x), -1, -1.0, x.shape[-1] // 2 + 1)


@op
def _irfft(real: Array, imag: Array, length: int | None) -> Array:
    n = 2 * (real.shape[-1] - 1) if length is None else length
    real, imag = _of_length(f.to_float(real), n // 2 + 1), _of_length(f.to_float(imag), n // 2 + 1)
    places = np.outer(np.arange(n // 2 + 1), np.arange(n)) * (2 * np.pi / n)
    twice = np.full((n // 2 + 1, 1), 2.0)  # but for those that are their own mirror image
    twice[0] = 1.0
    if n % 2 == 0:
        twice[-1] = 1.0
    dtype = real.dtype.numpy
    cosine = f.lifted((np.cos(places) * twice / n).astype(dtype))
    sine = f.lifted((np.sin(places) * twice / n).astype(dtype))
    return f.matmul(real, cosine) - f.matmul(imag, sine)


def irfft(x: Any, fft_length: int | None = None) -> Any:
    """The inverse of `rfft`, of a pair of real and imaginary parts."""
    real, imag = x
    return _irfft(real, imag, fft_length)


