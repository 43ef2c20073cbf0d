"""Ops that hold a graph together: fused kernels, loops, items of tuples, and gradients still to be derived."""

from __future__ import annotations

from typing import Any

from graphc.ir.errors import ShapeError
from graphc.ir.op import Structural
from graphc.ir.types import Dim, TensorType, TupleType, at_least_zero

__all__ = ["Gradient", "Item", "Kernel", "Scan"]


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


class Scan(Structural):
    """A loop of `length` steps; `body` computes one of them.

    The operands are, in this order: arrays that are read a slice of axis 0 at a time, one for each of `shifts`, by
    which the slice lies behind the step's number; the first values of `carries` values that each step hands on to
    the next; and constants, which every step reads whole. The body's inputs stand for the same, its outputs are the
    next values of the carries and then what else the step gives. `reverse` takes the steps from the last to the first.

    Every result has a slice for each step. That of a carry has one more, so that a step reads its old value from the
    slice of its number and writes the new one to the next slice; in reverse it is the other way round, and the first
    value stands last. A carry that is not `kept` gives its last value only, without the axis of steps.
    """

    shifts: tuple[int, ...]
    carries: int
    length: int | Dim
    reverse: bool
    kept: tuple[bool, ...]
    body: Any  # a Graph

    @property
    def scanned(self) -> int:
        """The number of operands that are read a slice at a time."""
        return len(self.shifts)

    def parts(self, operands):
        """The operands, or the body's inputs: the scanned ones, the carries, the constants."""
        first, last = self.scanned, self.scanned + self.carries
        return tuple(operands[:first]), tuple(operands[first:last]), tuple(operands[last:])

    def infer(self, *operands):
        inputs, outputs = [v.type for v in self.body.inputs], [v.type for _, v in self.body.outputs]
        if len(operands) != len(inputs) or len(self.kept) != self.carries or len(outputs) < self.carries:
            raise ShapeError(f"scan of {len(inputs)} operands and {self.carries} carries received {len(operands)} "
                             f"operands, {len(outputs)} outputs and kept={self.kept}.")
        scanned, carries, constants = self.parts(operands)
        wanted, states, others = self.parts(inputs)
        for t, inner, shift in zip(scanned, wanted, self.shifts, strict=True):
            slices = t.shape[0] - self.length - shift if t.ndim else -1
            if TensorType(t.dtype, t.shape[1:]) != inner or not at_least_zero(slices):
                raise ShapeError(f"scan reads {inner} at each of {self.length} steps from {shift} on, received {t}.")
        for t, inner, after in zip(carries, states, outputs, strict=False):
            if not t == inner == after:
                raise ShapeError(f"scan carries {inner} from step to step, received {t} to begin with, and a step "
                                 f"gives {after}.")
        if constants != others:
            raise ShapeError(f"scan needs the constants {others}, received {constants}.")
        stacks = [TensorType(t.dtype, (self.length + 1, *t.shape)) if kept else t
                  for t, kept in zip(outputs, self.kept, strict=False)]
        return TupleType((*stacks, *(TensorType(t.dtype, (self.length, *t.shape)) for t in outputs[self.carries:])))

    def reference(self, *operands):
        raise NotImplementedError("a scan is evaluated through its body")
