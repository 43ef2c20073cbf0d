"""Ops that put elements in order."""

from __future__ import annotations

import numpy as np

from graphc.ir.errors import LoweringError, ShapeError
from graphc.ir.op import Op
from graphc.ir.types import DTYPES, TensorType

__all__ = ["Argsort"]


class Argsort(Op):
    """The positions along an axis that put the elements in increasing order; equal ones keep theirs, NaNs come last.

    It runs on NumPy: an element of the result is no simple expression of the operand's.

    argsort<axis=1>(f32[2,5]) -> i32[2,5]
    argsort<axis=2>(f32[2,5]) -> ShapeError: argsort has no axis 2
    """

    axis: int

    def infer(self, x):
        if not 0 <= self.axis < x.ndim:
            raise ShapeError(f"argsort has no axis {self.axis} in {x}.")
        return TensorType(DTYPES["i32"], x.shape)

    def reference(self, x):
        return np.argsort(x, self.axis, kind="stable").astype(np.int32)

    def define(self, index, x):
        raise LoweringError("argsort runs on NumPy")

    def vjp(self, f, g, y, x):
        return (None,)
