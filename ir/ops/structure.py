"""Ops that hold a graph together: fused kernels, items of tuples, and gradients still to be derived."""

from __future__ import annotations

from typing import Any

from graphc.ir.errors import ShapeError
from graphc.ir.op import Structural
from graphc.ir.types import TensorType, TupleType

__all__ = ["Gradient", "Item", "Kernel"]


class Item(Structural):
    """One result of a value that has several.

    item<index=1>((f32[2], i32[3])) -> i32[3]
    item<index=2>((f32[2], i32[3])) -> ShapeError: item<2> needs a tuple with that many results
    """

    index: int

    def infer(self, operand):
        if not isinstance(operand, TupleType) or not 0 <= self.index < len(operand.items):
            raise ShapeError(f"item<{self.index}> needs a tuple with that many results, received {operand}.")
        return operand.items[self.index]

    def reference(self, operand):
        return operand[self.index]


class Gradient(Structural):
    """The gradients of a scalar by each other operand; `differentiate` expands it into a backward graph.

    gradient(f32[], f32[2], f32[3]) -> (f32[2], f32[3])
    gradient(f32[2], f32[2]) -> ShapeError: The gradient needs a scalar floating-point loss
    """

    def infer(self, *operands):
        loss, *wrt = operands
        if not isinstance(loss, TensorType) or loss.shape or not loss.dtype.is_float:
            raise ShapeError(f"The gradient needs a scalar floating-point loss, received {loss}.")
        return TupleType(tuple(wrt))

    def reference(self, *operands):
        raise NotImplementedError("gradient is expanded by graphc.passes.differentiate before a graph runs")


class Kernel(Structural):
    """A region of ops that runs as one loop nest; `body` computes its results from the operands."""

    body: Any  # a Graph whose inputs stand for the operands

    def infer(self, *operands):
        expected = tuple(v.type for v in self.body.inputs)
        if operands != expected:
            raise ShapeError(f"The kernel {self.body.name} needs {expected}, received {operands}.")
        return TupleType(tuple(v.type for _, v in self.body.outputs))

    def reference(self, *operands):
        raise NotImplementedError("a kernel is evaluated through its body")
