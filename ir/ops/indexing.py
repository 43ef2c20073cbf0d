"""Ops that read or write at positions which another operand holds."""

from __future__ import annotations

import numpy as np

from graphc.ir.errors import DTypeError, ShapeError
from graphc.ir.expr import cast, const, reduce, scalar, select, size
from graphc.ir.op import Op
from graphc.ir.types import DTYPES, Dim, TensorType

__all__ = ["ScatterAdd", "Take"]

I64 = DTYPES["i64"]


def _check(op, x, indices):
    if not 0 <= op.axis < x.ndim:
        raise ShapeError(f"{op.name} has no axis {op.axis} in {x}.")
    if indices.dtype.kind not in "iu":
        raise DTypeError(f"{op.name} needs integers as indices, received {indices}; cast them first.")


def _inside(index, extent):
    """An index as a position of an axis: the nearest one where it lies outside."""
    return scalar("min", scalar("max", cast(index, I64), 0), size(extent) - 1)


class Take(Op):
    """The slices of x along an axis at the indices, in whose shape they stand; an index outside means the nearest one.

    take<axis=0>(f32[5,3], i32[2]) -> f32[2,3]
    take<axis=0>(f32[5,3], i64[2,4]) -> f32[2,4,3]
    take<axis=1>(f32[2,5], i32[3]) -> f32[2,3]
    take<axis=1>(i32[2,5,2], u8[]) -> i32[2,2]
    take<axis=2>(f32[2,5], i32[3]) -> ShapeError: take has no axis 2
    take<axis=0>(f32[2,5], f32[3]) -> DTypeError: take needs integers as indices
    """

    axis: int

    def infer(self, x, indices):
        _check(self, x, indices)
        return TensorType(x.dtype, (*x.shape[:self.axis], *indices.shape, *x.shape[self.axis + 1:]))

    def reference(self, x, indices):
        return np.asarray(np.take(x, indices.astype(np.int64), self.axis, mode="clip"), order="C")

    def define(self, index, x, indices):
        after = self.axis + len(indices.shape)
        at = _inside(indices[index[self.axis:after]], x.shape[self.axis])
        return x[(*index[:self.axis], at, *index[after:])]

    def vjp(self, f, g, y, x, indices):
        return f.scatter_add(g, indices, x.shape[self.axis], self.axis), None


class ScatterAdd(Op):
    """Zeros with the slices of x added along an axis at the indices: the adjoint of take.

    scatter_add<axis=0, extent=5>(f32[2,3], i32[2]) -> f32[5,3]
    scatter_add<axis=0, extent=5>(f32[2,4,3], i64[2,4]) -> f32[5,3]
    scatter_add<axis=1, extent=5>(f32[2,3], i32[3]) -> f32[2,5]
    scatter_add<axis=0, extent=40>(f32[6,33], i32[6]) -> f32[40,33]
    scatter_add<axis=0, extent=5>(f32[7], i32[7]) -> f32[5]
    scatter_add<axis=0, extent=5>(f32[2,3], i32[3]) -> ShapeError: scatter_add needs slices in the shape of the indices
    """

    axis: int
    extent: int | Dim

    def infer(self, x, indices):
        after = self.axis + indices.ndim
        if x.shape[self.axis:after] != indices.shape:
            raise ShapeError(f"scatter_add needs slices in the shape of the indices from axis {self.axis} on, received "
                             f"{x} and {indices}.")
        result = TensorType(x.dtype, (*x.shape[:self.axis], self.extent, *x.shape[after:]))
        _check(self, result, indices)
        return result

    def reference(self, x, indices):
        rank = indices.ndim
        moved = np.moveaxis(x, range(self.axis, self.axis + rank), range(rank))
        result = np.zeros((self.extent, *moved.shape[rank:]), x.dtype)
        np.add.at(result, np.clip(indices.astype(np.int64), 0, self.extent - 1), moved)
        return np.asarray(np.moveaxis(result, 0, self.axis), order="C")

    def define(self, index, x, indices):
        before, at, rest = index[:self.axis], index[self.axis], index[self.axis + 1:]

        def term(*k):
            here = scalar("eq", _inside(indices[k], self.extent), at)
            return select(here, x[(*before, *k, *rest)], const(0, x.dtype))

        return reduce("sum", indices.shape, term)

    def vjp(self, f, g, y, x, indices):
        return f.take(g, indices, self.axis), None
