"""Linear algebra over the last two axes. https://keras.io/api/ops/linalg/

Norms, determinants, inverses and solutions are also computed, with gradients, of values; decompositions need arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from graphc.eager import Array, as_array, is_symbolic, op
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value
from graphc.ops.contraction import einsum, inner, kron, matmul, outer, tensordot, vdot
from graphc.ops.movement import diagonal, trace

__all__ = [
    "cholesky", "cholesky_inverse", "det", "diagonal", "eig", "eigh", "einsum", "inner", "inv", "kron", "logdet",
    "lstsq", "lu_factor", "matmul", "matrix_rank", "norm", "outer", "pinv", "qr", "slogdet", "solve",
    "solve_triangular", "svd", "tensordot", "trace", "vdot",
]


def _of_arrays(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of arrays that refuses values and gives arrays of its first argument's precision."""
    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if is_symbolic(*args):
            raise TypeError(f"{function.__name__} is computed of arrays only, received a value without numbers. "
                            "Compute it before the graph is made, or use ops.solve, ops.inv or ops.det, which have "
                            "gradients.")
        first = as_array(args[0])
        x = first if first.dtype.kind == "f" else first.astype(np.float32)
        result = function(x, *args[1:], **kwargs)
        parts = tuple(p.astype(x.dtype) if getattr(p, "dtype", np.dtype(int)).kind == "f" else p for p in (
            result if isinstance(result, tuple) else (result,)))
        return parts if isinstance(result, tuple) else parts[0]

    return call


# ------------------------------------------------------------------------------------------------ with gradients

@op
def inv(x: Array) -> Array:
    """The inverse matrices."""
    return f.inverse(f.to_float(x))


@op
def det(x: Array) -> Array:
    """The determinants."""
    return f.determinant(f.to_float(x))


@op
def solve(a: Array, b: Array) -> Array:
    """The x with a @ x = b; b may be a vector for each matrix."""
    a, b = f.to_float(a), f.to_float(b)
    dtype = f.common_dtype(a, b)
    a, b = f.cast(a, dtype), f.cast(b, dtype)
    if b.ndim == a.ndim - 1:
        return f.squeeze(f.solve(a, f.expand_dims(b, b.ndim)), -1)
    return f.solve(a, b)


@op
def norm(x: Array, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Array:
    """The norm of vectors along an axis, or of matrices over two: by default the root of the sum of squares.

    Of vectors also inf, -inf, 0 (how many are not 0) and any power; of matrices 'fro', 1, -1, inf and -inf (sums along
    columns or rows), and of arrays also 2, -2 and 'nuc'.
    """
    x = f.to_float(x)
    if axis is None and ord is None:
        return _kept(f.sqrt(f.sum(f.square(x))), x, range(x.ndim), keepdims)
    axes = f.axes_of(x, axis)
    if len(axes) == 1:
        return _of_vectors(x, ord, axes[0], keepdims)
    if len(axes) != 2:
        raise ShapeError(f"norm(ord={ord!r}) needs one axis or two, received axis={axis} for {x.type}.")
    size = f.absolute(x)
    if ord in (None, "fro"):
        return f.sqrt(f.sum(f.square(x), axes, keepdims))
    if ord in (1, -1, math.inf, -math.inf):
        summed, kept = (axes[0], axes[1]) if abs(ord) == 1 else (axes[1], axes[0])
        lines = f.sum(size, summed, keepdims=True)
        result = (f.max if ord > 0 else f.min)(lines, kept, keepdims=True)
        return result if keepdims else f.squeeze(result, axes)
    raise ValueError(f"norm(ord={ord!r}) of matrices: expected None, 'fro', 1, -1, inf or -inf, and of arrays also 2, "
                     "-2 or 'nuc'.")


def _of_vectors(x: Value, ord: Any, axis: int, keepdims: bool) -> Value:
    size = f.absolute(x)
    if ord in (None, 2):
        return f.sqrt(f.sum(f.square(x), axis, keepdims))
    if ord in (math.inf, -math.inf):
        return (f.max if ord > 0 else f.min)(size, axis, keepdims)
    if ord == 0:
        return f.sum(f.cast(f.not_equal(x, 0.0), x.dtype), axis, keepdims)
    if ord == 1:
        return f.sum(size, axis, keepdims)
    if not isinstance(ord, int | float):
        raise ValueError(f"norm(ord={ord!r}) of vectors: expected a number or None.")
    return f.power(f.sum(f.power(size, float(ord)), axis, keepdims), 1.0 / ord)


def _kept(y: Value, x: Value, axes: Any, keepdims: bool) -> Value:
    return f.reshape(y, tuple(1 if a in axes else n for a, n in enumerate(x.shape))) if keepdims else y


_symbolic_norm = norm


@wraps(norm)
def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    if ord in (2, -2, "nuc") and not is_symbolic(x):
        array = as_array(x)
        array = array if array.dtype.kind == "f" else array.astype(np.float32)
        if array.ndim == 2 if axis is None else np.ndim(axis) == 1 and len(axis) == 2:
            return np.asarray(np.linalg.norm(array, ord, None if axis is None else tuple(axis), keepdims))
    return _symbolic_norm(x, ord, axis, keepdims)


norm = _norm


# ------------------------------------------------------------------------------------------------- of arrays only

@_of_arrays
def cholesky(x: Any, upper: bool = False) -> Any:
    """The lower triangular matrix whose product with its transpose is x, or the upper one."""
    result = np.linalg.cholesky(x)
    return np.swapaxes(result, -1, -2) if upper else result


@_of_arrays
def cholesky_inverse(x: Any, upper: bool = False) -> Any:
    """The inverse of the matrix with the Cholesky factor x."""
    turned = np.swapaxes(x, -1, -2)
    return np.linalg.inv(turned @ x if upper else x @ turned)


@_of_arrays
def qr(x: Any, mode: str = "reduced") -> Any:
    """The orthogonal matrix and the upper triangular one whose product is x."""
    if mode not in ("reduced", "complete"):
        raise ValueError(f"qr(mode={mode!r}): expected 'reduced' or 'complete'.")
    return tuple(np.linalg.qr(x, mode))  # type: ignore[call-overload]


@_of_arrays
def svd(x: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """The u, s and vh with x = u * s @ vh: singular values in falling order, alone unless `compute_uv`."""
    result = np.linalg.svd(x, full_matrices, compute_uv)  # type: ignore[call-overload]
    return tuple(result) if compute_uv else result


@_of_arrays
def eigh(x: Any) -> Any:
    """The eigenvalues of symmetric matrices in rising order, and the eigenvectors as columns."""
    return tuple(np.linalg.eigh(x))


@_of_arrays
def eig(x: Any) -> Any:
    """The eigenvalues and eigenvectors, complex where they have to be."""
    return tuple(np.linalg.eig(x))


@_of_arrays
def pinv(x: Any, rcond: float | None = None) -> Any:
    """The Moore-Penrose inverse."""
    return np.linalg.pinv(x) if rcond is None else np.linalg.pinv(x, rcond)


@_of_arrays
def matrix_rank(x: Any, tol: float | None = None) -> Any:
    """How many singular values are above the tolerance, int32."""
    return np.asarray(np.linalg.matrix_rank(x, tol), np.int32)


@_of_arrays
def lstsq(a: Any, b: Any, rcond: float | None = None) -> Any:
    """The x for which a @ x is nearest to b."""
    return np.linalg.lstsq(a, as_array(b).astype(a.dtype), rcond)[0]


@_of_arrays
def solve_triangular(a: Any, b: Any, lower: bool = False) -> Any:
    """The x with a @ x = b for an upper triangular a, or a lower one; what is beyond its diagonal is not looked at."""
    right = as_array(b).astype(a.dtype)
    triangle = np.tril(a) if lower else np.triu(a)
    if right.ndim == a.ndim - 1:
        return np.linalg.solve(triangle, right[..., None])[..., 0]
    return np.linalg.solve(triangle, right)


@_of_arrays
def lu_factor(x: Any) -> Any:
    """Both triangular factors in one matrix, and the row that each one was exchanged with, int32."""
    if x.ndim > 2:
        parts = [lu_factor(m) for m in x]
        return np.stack([p[0] for p in parts]), np.stack([p[1] for p in parts])
    lu, count = x.copy(), min(x.shape)
    pivots = np.arange(count, dtype=np.int32)
    for i in range(count):
        pivots[i] = i + int(np.abs(lu[i:, i]).argmax())
        lu[[i, pivots[i]]] = lu[[pivots[i], i]]
        if lu[i, i]:
            lu[i + 1:, i] /= lu[i, i]
        lu[i + 1:, i + 1:] -= np.outer(lu[i + 1:, i], lu[i, i + 1:])
    return lu, pivots


@_of_arrays
def slogdet(x: Any) -> Any:
    """The sign of the determinant, and the logarithm of its size."""
    return tuple(np.asarray(p) for p in np.linalg.slogdet(x))


@_of_arrays
def logdet(x: Any) -> Any:
    """The logarithm of the determinant of positive definite matrices."""
    return np.asarray(np.linalg.slogdet(x)[1])
