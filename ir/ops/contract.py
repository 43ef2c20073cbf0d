"""The one contraction: matrix products, convolutions over windows, and their gradients."""

from __future__ import annotations

import numpy as np

from graphc.ir.errors import DTypeError, ParseError, ShapeError
from graphc.ir.expr import reduce
from graphc.ir.op import Op
from graphc.ir.types import TensorType

__all__ = ["Einsum"]


class Einsum(Op):
    """Products of two operands summed over the letters that the result lacks, as `numpy.einsum` reads them.

    einsum<spec='ij,jk->ik'>(f32[2,3], f32[3,4]) -> f32[2,4]
    einsum<spec='bij,bkj->bik'>(f32[2,3,4], f32[2,5,4]) -> f32[2,3,5]
    einsum<spec='nhwuvc,uvco->nhwo'>(f32[2,3,3,2,2,1], f32[2,2,1,4]) -> f32[2,3,3,4]
    einsum<spec='nhwuvc,nhwo->uvco'>(f32[2,3,3,2,2,1], f32[2,3,3,4]) -> f32[2,2,1,4]
    einsum<spec='i,i->'>(f32[3], f32[3]) -> f32[]
    einsum<spec='ij,jk->ik'>(f32[2,3], f32[4,5]) -> ShapeError: einsum ij,jk->ik: j is 3 in f32[2,3] and 4 in f32[4,5]
    einsum<spec='ij,jk->ik'>(f32[2,3], i32[3,5]) -> DTypeError: einsum needs operands of one dtype
    """

    spec: str

    def letters(self):
        """The letters of the two operands and of the result."""
        operands, arrow, result = self.spec.partition("->")
        x, comma, y = operands.partition(",")
        if not (arrow and comma) or any(len(set(part)) != len(part) for part in (x, y, result)):
            raise ParseError(f"Not an einsum specification: {self.spec!r}. Expected for example 'ij,jk->ik'.")
        return x, y, result

    def infer(self, x, y):
        if x.dtype != y.dtype:
            raise DTypeError(f"einsum needs operands of one dtype, received {x} and {y}.")
        first, second, result = self.letters()
        extents = {}
        for part, operand in ((first, x), (second, y)):
            if len(part) != operand.ndim:
                raise ShapeError(f"einsum {self.spec}: {part!r} names {len(part)} axes, received {operand}.")
            for letter, extent in zip(part, operand.shape, strict=True):
                if extents.setdefault(letter, extent) != extent:
                    raise ShapeError(f"einsum {self.spec}: {letter} is {extents[letter]} in {x} and {extent} in {y}.")
        return TensorType(x.dtype, tuple(extents[letter] for letter in result))

    def reference(self, x, y):
        return np.asarray(np.einsum(self.spec, x, y, optimize=True), dtype=x.dtype, order="C")

    def define(self, index, x, y):
        first, second, result = self.letters()
        extents = dict(zip(first + second, x.shape + y.shape, strict=True))
        inner = [c for c in extents if c not in result]

        def term(*k):
            at = dict(zip((*result, *inner), (*index, *k), strict=True))
            return x[[at[c] for c in first]] * y[[at[c] for c in second]]

        return reduce("sum", [extents[c] for c in inner], term)

    def vjp(self, f, g, out, x, y):
        first, second, result = self.letters()

        def gradient(target, shape, other_letters, other):
            # a letter of the target that neither the gradient nor the other operand has is broadcast back
            found = "".join(c for c in target if c in result + other_letters)
            part = f.einsum(f"{result},{other_letters}->{found}", g, other)
            return f.broadcast(part, shape, tuple(target.index(c) for c in found))

        return gradient(first, x.shape, second, y), gradient(second, y.shape, first, x)

    def each(self, f, length, operands, along):
        first, second, result = self.letters()
        new = next(c for c in "tsrqponmlkjihgfedcbazyxwvu" if c not in self.spec)
        x, y = ((new if has else "") + part for part, has in zip((first, second), along, strict=True))
        return f.apply(Einsum(f"{x},{y}->{new}{result}"), *operands)

