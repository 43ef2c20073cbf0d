"""A value whose gradient is not that of how it was computed."""

from __future__ import annotations

from typing import Any

from graphc.ir.errors import ShapeError
from graphc.ir.graph import substitute
from graphc.ir.op import Op

__all__ = ["WithGradient"]


class WithGradient(Op):
    """The first operand, as a function of the next ones with gradients of its own.

    `body` computes them, one for each of the next operands, from the gradient of the result and the operands left.
    """

    body: Any  # a Graph

    def infer(self, x, *operands):
        count = len(operands) - len(self.body.inputs) + 1
        if count != len(self.body.outputs):
            raise ShapeError(f"with_gradient of {len(operands)} operands has {len(self.body.outputs)} gradients.")
        for t, (_, gradient) in zip(operands, self.body.outputs, strict=False):
            if t != gradient.type:
                raise ShapeError(f"The gradient of {t} was given as {gradient.type}: they have to be the same.")
        return x

    def reference(self, x, *operands):
        return x

    def define(self, index, x, *operands):
        return x[index]

    def vjp(self, f, g, y, x, *operands):
        count = len(self.body.outputs)
        known = dict(zip(self.body.inputs, (g, *operands[count:]), strict=True))
        found = substitute([v for _, v in self.body.outputs], known)
        return None, *found, *(None for _ in operands[count:])
