"""Arrays of given numbers: zeros, ranges, grids. https://keras.io/api/ops/numpy/

While a step is traced they are values; sizes may be those of `ops.shape`, known or not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.config import floatx
from graphc.eager import Array, Arrays, Number, as_array, op
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value
from graphc.ir.types import Dim
from graphc.ops.movement import diagonal

__all__ = [
    "arange", "array", "bartlett", "blackman", "diag", "diagflat", "empty", "empty_like", "eye", "full", "full_like",
    "geomspace", "hamming", "hanning", "identity", "kaiser", "linspace", "logspace", "meshgrid", "ones", "ones_like",
    "tri", "tril", "triu", "vander", "zeros", "zeros_like",
]


def _shape(shape: Any) -> tuple[Any, ...]:
    given = (shape,) if isinstance(shape, int | np.integer | Dim) else tuple(shape)
    return tuple(n if isinstance(n, Dim) else int(n) for n in given)


@op
def zeros(shape: Any, dtype: Any = None) -> Array:
    """Zeros of the shape."""
    return f.full(_shape(shape), 0, dtype or floatx())


@op
def ones(shape: Any, dtype: Any = None) -> Array:
    """Ones of the shape."""
    return f.full(_shape(shape), 1, dtype or floatx())


@op
def empty(shape: Any, dtype: Any = None) -> Array:
    """Some numbers of the shape: zeros."""
    return f.full(_shape(shape), 0, dtype or floatx())


@op
def full(shape: Any, fill_value: Number, dtype: Any = None) -> Array:
    """One number, or an array that broadcasts, in the whole shape."""
    return f.broadcast_to(f.cast(fill_value, dtype or floatx()), _shape(shape))


@op
def zeros_like(x: Array, dtype: Any = None) -> Array:
    """Zeros of the shape of x."""
    return f.full(x.shape, 0, dtype or x.dtype)


@op
def ones_like(x: Array, dtype: Any = None) -> Array:
    """Ones of the shape of x."""
    return f.full(x.shape, 1, dtype or x.dtype)


@op
def empty_like(x: Array, dtype: Any = None) -> Array:
    """Some numbers of the shape of x: zeros."""
    return f.full(x.shape, 0, dtype or x.dtype)


@op
def full_like(x: Array, fill_value: Number, dtype: Any = None) -> Array:
    """One number, or an array that broadcasts, in the shape of x."""
    return f.broadcast_to(f.cast(fill_value, dtype or x.dtype), x.shape)


@op
def array(x: Array, dtype: Any = None) -> Array:
    """x as an array."""
    return f.cast(x, dtype) if dtype else x


@op
def arange(start: Any, stop: Any = None, step: Any = None, dtype: Any = None) -> Array:
    """start, start + step, ... before stop; from 0 on where only one number is given."""
    numbers = [n for n in (start, stop, step) if n is not None]
    number = 0.0 if any(isinstance(n, float | np.floating) for n in numbers) else 0
    given = [np.asarray(n).dtype for n in numbers if isinstance(n, np.generic | np.ndarray)]
    kind = f.common_dtype(*(f.constant(0, d) for d in given), number)
    if stop is None:
        start, stop = 0, start
    step = 1 if step is None else step
    if isinstance(start, Dim) or isinstance(stop, Dim):
        if step != 1:
            raise ShapeError(f"arange({start}, {stop}, {step}) needs known numbers, or the step 1.")
        count = stop - start
    else:
        count = max(0, math.ceil((stop - start) / step))
    positions = f.iota((count,), (0,), dtype or kind)
    if not isinstance(start, Dim) and start == 0 and step == 1:
        return positions
    if isinstance(start, Dim):
        return positions + f.dimension(start, positions.dtype)
    if not positions.dtype.is_float:
        return positions * int(step) + int(start)
    return f.cast(f.cast(positions, "f64") * float(step) + float(start), positions.dtype)


def _spaced(start: Any, stop: Any, num: int, endpoint: bool, dtype: Any, axis: int,
            scale: Callable[[Value], Value]) -> Value:
    start, stop = f.to_float(start), f.to_float(stop)
    dtype = dtype or f.common_dtype(start, stop)
    last = max(num - 1 if endpoint else num, 1)
    share = f.iota((num,), (0,), "f64") / float(last)
    start, stop = f.cast(start, "f64"), f.cast(stop, "f64")
    apart = stop - start
    share = f.reshape(share, (num, *(1,) * apart.ndim))
    points = scale(start + share * apart)
    return f.cast(f.moveaxis(points, 0, axis) if axis else points, dtype)


@op
def linspace(start: Number, stop: Number, num: int = 50, endpoint: bool = True, retstep: bool = False,
             dtype: Any = None, axis: int = 0) -> Any:
    """`num` numbers at equal distances from start to stop, which `endpoint` includes; `retstep` gives the step too."""
    points = _spaced(start, stop, num, endpoint, dtype, axis, lambda x: x)
    if not retstep:
        return points
    parts = num - 1 if endpoint else num
    step = f.divide(f.subtract(stop, start), float(parts) if parts else math.nan)
    return points, step


@op
def logspace(start: Number, stop: Number, num: int = 50, endpoint: bool = True, base: float = 10, dtype: Any = None,
             axis: int = 0) -> Array:
    """`num` numbers from base**start to base**stop whose logarithms are at equal distances."""
    return _spaced(start, stop, num, endpoint, dtype, axis, lambda x: f.power(float(base), x))


@op
def geomspace(start: Number, stop: Number, num: int = 50, endpoint: bool = True, dtype: Any = None,
              axis: int = 0) -> Array:
    """`num` numbers from start to stop, each a multiple of the one before by the same factor."""
    start, stop = f.to_float(start), f.to_float(stop)
    dtype = dtype or f.common_dtype(start, stop)
    low, high = f.log(f.absolute(f.cast(start, "f64"))), f.log(f.absolute(f.cast(stop, "f64")))
    size = _spaced(low, high, num, endpoint, "f64", axis, f.exp)
    return f.cast(size * f.cast(f.sign(start), "f64"), dtype)


@op
def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> Array:
    """A matrix of N rows and M columns with ones on the k-th diagonal, counted upwards."""
    rows, columns = _grid(N, N if M is None else M)
    return f.cast(f.equal(columns - rows, int(k)), dtype or floatx())


@op
def identity(n: int, dtype: Any = None) -> Array:
    """The matrix of n rows with ones on its diagonal."""
    rows, columns = _grid(n, n)
    return f.cast(f.equal(rows, columns), dtype or floatx())


@op
def tri(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> Array:
    """A matrix with ones on and below the k-th diagonal."""
    rows, columns = _grid(N, N if M is None else M)
    return f.cast(f.less_equal(columns - rows, int(k)), dtype or floatx())


def _grid(rows: Any, columns: Any) -> tuple[Value, Value]:
    """The row and the column of each element of a matrix."""
    rows, columns = (n if isinstance(n, Dim) else int(n) for n in (rows, columns))
    return f.iota((rows, columns), (0,), "i32"), f.iota((rows, columns), (1,), "i32")


def _triangle(x: Value, k: int, lower: bool) -> Value:
    if x.ndim < 2:
        raise ShapeError(f"{'tril' if lower else 'triu'} needs a matrix, received {x.type}.")
    rows, columns = (f.iota(x.shape, (x.ndim - 2 + i,), "i32") for i in range(2))
    inside = f.less_equal(columns - rows, k) if lower else f.greater_equal(columns - rows, k)
    return f.where(inside, x, f.zeros_like(x))


@op
def tril(x: Array, k: int = 0) -> Array:
    """The matrices x with zeros above the k-th diagonal."""
    return _triangle(x, k, lower=True)


@op
def triu(x: Array, k: int = 0) -> Array:
    """The matrices x with zeros below the k-th diagonal."""
    return _triangle(x, k, lower=False)


@op
def diag(x: Array, k: int = 0) -> Array:
    """The k-th diagonal of a matrix, or the matrix with that diagonal."""
    if x.ndim == 2:
        return diagonal(x, k)
    if x.ndim != 1:
        raise ShapeError(f"diag needs one axis or two, received {x.type}.")
    return _with_diagonal(x, k)


@op
def diagflat(x: Array, k: int = 0) -> Array:
    """The matrix with the elements of x on its k-th diagonal."""
    return _with_diagonal(f.reshape(x, (-1,)), k)


def _with_diagonal(x: Value, k: int) -> Value:
    n = x.shape[0] + abs(k)
    x = f.pad(x, [(max(-k, 0), max(k, 0))])  # one element for each row
    rows, columns = _grid(n, n)
    inside = f.equal(columns - rows, k)
    return f.where(inside, f.broadcast(x, (n, n), (0,)), f.full((n, n), 0, x.dtype))


@op
def meshgrid(*x: Arrays, indexing: str = "xy") -> Any:
    """For each of the vectors, its elements along an axis of its own; 'xy' has the first two axes in turn."""
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid(indexing={indexing!r}): expected 'xy' or 'ij'.")
    vectors = [f.reshape(v, (-1,)) for v in x]
    places = list(range(len(vectors)))
    if indexing == "xy" and len(vectors) > 1:
        places[:2] = [1, 0]
    shape = [vectors[places.index(a)].shape[0] for a in range(len(vectors))]
    return [f.broadcast(v, tuple(shape), (place,)) for v, place in zip(vectors, places, strict=True)]


@op
def vander(x: Array, N: int | None = None, increasing: bool = False) -> Array:
    """The powers of the elements of x: one row for each, the highest power first unless `increasing`."""
    count = x.shape[0] if N is None else N
    powers = f.iota((x.shape[0], count), (1,), "i32")
    powers = powers if increasing else f.subtract(count - 1, powers)
    base = f.cast(f.broadcast(x, (x.shape[0], count), (0,)), "f64")
    return f.cast(f.power(base, f.cast(powers, "f64")), x.dtype)


# ---------------------------------------------------------------------------------------------------- windows

def _window(x: Any, coefficients: Sequence[float]) -> Value:
    """A sum of cosines over x points."""
    n = int(as_array(x))
    angle = f.iota((n,), (0,), "f64") * (2 * math.pi / max(n - 1, 1))
    terms = (c * f.cos(angle * float(i)) for i, c in enumerate(coefficients))
    total = sum(terms, start=f.full((n,), 0.0, "f64"))
    return f.cast(f.full((n,), 1.0, "f64") if n == 1 else total, "f32")


@op
def hanning(x: Any) -> Array:
    """The Hann window of x points."""
    return _window(x, (0.5, -0.5))


@op
def hamming(x: Any) -> Array:
    """The Hamming window of x points."""
    return _window(x, (0.54, -0.46))


@op
def blackman(x: Any) -> Array:
    """The Blackman window of x points."""
    return _window(x, (0.42, -0.5, 0.08))


@op
def bartlett(x: Any) -> Array:
    """The triangular window of x points."""
    n = int(as_array(x))
    if n == 1:
        return f.full((1,), 1.0, "f32")
    return f.cast(1.0 - f.absolute(f.iota((n,), (0,), "f64") * (2.0 / (n - 1)) - 1.0), "f32")


@op
def kaiser(x: Any, beta: float) -> Array:
    """The Kaiser window of x points."""
    return f.lifted(np.kaiser(int(as_array(x)), beta).astype(np.float32))


