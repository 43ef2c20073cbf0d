"""Ops with several reductions over one row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from graphc.ir.errors import DTypeError, ShapeError
from graphc.ir.expr import reduce, scalar
from graphc.ir.op import Op
from graphc.ir.types import TensorType

__all__ = ["Logsumexp", "Softmax"]


def _check(op, x):
    if not 0 <= op.axis < x.ndim:
        raise ShapeError(f"{op.name} has no axis {op.axis} in {x}.")
    if not x.dtype.is_float:
        raise DTypeError(f"{op.name} needs a floating-point operand, received {x}; cast it first.")


def _at(op, x, index, k):
    return x[(*index[:op.axis], k, *index[op.axis + (len(index) == len(x.shape)):])]


class Softmax(Op):
    """exp(x) / sum(exp(x)) along an axis, shifted by the maximum so that nothing overflows.

    softmax<axis=1>(f32[2,3]) -> f32[2,3]
    softmax<axis=2>(f32[2,3]) -> ShapeError: softmax has no axis 2
    softmax<axis=0>(i32[3]) -> DTypeError: softmax needs a floating-point operand
    """

    axis: int

    def infer(self, x):
        _check(self, x)
        return x

    def reference(self, x):
        e = np.exp(x - x.max(self.axis, keepdims=True))
        return e / e.sum(self.axis, keepdims=True, dtype=x.dtype)

    def define(self, index, x):
        row = [x.shape[self.axis]]
        top = reduce("max", row, lambda k: _at(self, x, index, k))
        total = reduce("sum", row, lambda k: scalar("exp", _at(self, x, index, k) - top))
        return scalar("exp", x[index] - top) / total

    def vjp(self, f, g, y, x):
        return ((g - f.sum(g * y, axis=self.axis, keepdims=True)) * y,)

    def each(self, f, length, operands, along):
        return f.apply(replace(self, axis=self.axis + 1), *operands)


class Logsumexp(Op):
    """log(sum(exp(x))) along an axis, shifted by the maximum; its gradient is the softmax, without a division.

    logsumexp<axis=1>(f32[2,3]) -> f32[2]
    logsumexp<axis=1>(f32[3]) -> ShapeError: logsumexp has no axis 1
    """

    axis: int

    def infer(self, x):
        _check(self, x)
        return TensorType(x.dtype, x.shape[:self.axis] + x.shape[self.axis + 1:])

    def reference(self, x):
        top = x.max(self.axis, keepdims=True)
        return np.log(np.exp(x - top).sum(self.axis, dtype=x.dtype)) + top.squeeze(self.axis)

    def define(self, index, x):
        row = [x.shape[self.axis]]
        top = reduce("max", row, lambda k: _at(self, x, index, k))
        return scalar("log", reduce("sum", row, lambda k: scalar("exp", _at(self, x, index, k) - top))) + top

    def vjp(self, f, g, y, x):
        kept = tuple(a for a in range(x.ndim) if a != self.axis)
        return (f.broadcast(g, x.shape, kept) * f.exp(x - f.broadcast(y, x.shape, kept)),)

    def each(self, f, length, operands, along):
        return f.apply(replace(self, axis=self.axis + 1), *operands)

