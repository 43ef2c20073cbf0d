"""Ops without operands: what a graph starts from."""

from __future__ import annotations

import numpy as np

from graphc.ir.errors import ShapeError
from graphc.ir.expr import cast, const, position, size
from graphc.ir.op import Op, Structural
from graphc.ir.types import DType, Shape, TensorType, product

__all__ = ["Constant", "Dimension", "Input", "Iota", "State"]


class Leaf(Structural, abstract=True):
    """A named array that the caller supplies."""

    label: str
    tensor: TensorType

    def infer(self):
        return self.tensor

    def reference(self):
        raise NotImplementedError(f"{self.label} is supplied by the caller")


class Input(Leaf):
    """An array given at each step.

    input<label='x', tensor=f32[2,3]>() -> f32[2,3]
    """

    label: str
    tensor: TensorType


class State(Leaf):
    """An array that lives between steps: a parameter, an optimizer slot, a random counter.

    state<label='w', tensor=f32[2,3]>() -> f32[2,3]
    """

    label: str
    tensor: TensorType


class Constant(Op):
    """One number.

    constant<value=0.5, dtype=f32>() -> f32[]
    constant<value=7, dtype=i64>() -> i64[]
    """

    value: float
    dtype: DType

    def infer(self):
        return TensorType(self.dtype, ())

    def reference(self):
        return np.asarray(self.value, self.dtype.numpy)

    def define(self, index):
        return const(self.value, self.dtype)

    def vjp(self, f, g, y):
        return ()


class Dimension(Op):
    """The value of a dimension, such as the number of rows in this batch.

    dimension<size=12, dtype=f32>() -> f32[]
    """

    size: object
    dtype: DType

    def infer(self):
        return TensorType(self.dtype, ())

    def reference(self):
        return np.asarray(self.size, self.dtype.numpy)

    def define(self, index):
        return cast(size(self.size), self.dtype)

    def vjp(self, f, g, y):
        return ()


class Iota(Op):
    """The position of each element along `axes`, counted in row-major order over those axes.

    iota<shape=(2, 3), axes=(1,), dtype=i32>() -> i32[2,3]
    iota<shape=(2, 3, 2), axes=(1, 2), dtype=f32>() -> f32[2,3,2]
    iota<shape=(2,), axes=(1,), dtype=i32>() -> ShapeError: iota has no axis 1
    """

    shape: Shape
    axes: tuple[int, ...]
    dtype: DType

    def infer(self):
        for a in self.axes:
            if not 0 <= a < len(self.shape):
                raise ShapeError(f"iota has no axis {a} in the shape {self.shape}.")
        if list(self.axes) != sorted(set(self.axes)):
            raise ShapeError(f"iota needs increasing axes, received {self.axes}.")
        return TensorType(self.dtype, self.shape)

    def reference(self):
        inner = [self.shape[a] for a in self.axes]
        counts = np.arange(product(inner)).reshape(inner)
        where = [self.shape[a] if a in self.axes else 1 for a in range(len(self.shape))]
        return np.broadcast_to(counts.reshape(where), self.shape).astype(self.dtype.numpy)

    def define(self, index):
        return cast(position([index[a] for a in self.axes], [self.shape[a] for a in self.axes]), self.dtype)

    def vjp(self, f, g, y):
        return ()
