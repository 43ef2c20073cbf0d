"""Linear algebra of square matrices, the last two axes. It runs on NumPy: an element is no simple expression."""

from __future__ import annotations

import numpy as np

from graphc.ir.errors import DTypeError, LoweringError, ShapeError
from graphc.ir.op import Op
from graphc.ir.types import TensorType

__all__ = ["Determinant", "Inverse", "Solve"]


class Linear(Op, abstract=True):
    """An op on square matrices."""

    def square(self, x):
        """Refuse what is no square matrix of floats."""
        if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
            raise ShapeError(f"{self.name} needs square matrices, received {x}.")
        if not x.dtype.is_float:
            raise DTypeError(f"{self.name} needs floating-point operands, received {x}; cast it first.")

    def define(self, index, *operands):
        raise LoweringError(f"{self.name} runs on NumPy")


def _transposed(f, x):
    return f.transpose(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


class Inverse(Linear):
    """The inverse matrix.

    inverse(f32[3,3]) -> f32[3,3]
    inverse(f32[2,3,3]) -> f32[2,3,3]
    inverse(f32[2,3]) -> ShapeError: inverse needs square matrices
    """

    def infer(self, x):
        self.square(x)
        return x

    def reference(self, x):
        return np.linalg.inv(x)

    def vjp(self, f, g, y, x):
        turned = _transposed(f, y)
        return (f.negative(f.matmul(f.matmul(turned, g), turned)),)


class Determinant(Linear):
    """The determinant; its gradient needs the inverse.

    determinant(f32[3,3]) -> f32[]
    determinant(f32[2,3,3]) -> f32[2]
    determinant(f32[3]) -> ShapeError: determinant needs square matrices
    """

    def infer(self, x):
        self.square(x)
        return TensorType(x.dtype, x.shape[:-2])

    def reference(self, x):
        return np.asarray(np.linalg.det(x))

    def vjp(self, f, g, y, x):
        return (f.broadcast(g * y, x.shape, tuple(range(x.ndim - 2))) * _transposed(f, f.inverse(x)),)


class Solve(Linear):
    """The matrices x with a @ x = b.

    solve(f32[3,3], f32[3,2]) -> f32[3,2]
    solve(f32[2,3,3], f32[2,3,1]) -> f32[2,3,1]
    solve(f32[3,3], f32[2,2]) -> ShapeError: solve needs a right-hand side
    """

    def infer(self, a, b):
        self.square(a)
        if b.ndim != a.ndim or b.shape[:-1] != a.shape[:-1] or b.dtype != a.dtype:
            raise ShapeError(f"solve needs a right-hand side with the rows of {a}, received {b}.")
        return b

    def reference(self, a, b):
        return np.linalg.solve(a, b)

    def vjp(self, f, g, y, a, b):
        by_b = f.solve(_transposed(f, a), g)
        return f.negative(f.matmul(by_b, _transposed(f, y))), by_b
