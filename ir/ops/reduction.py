"""Reductions over axes; the reduced axes vanish from the result."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from graphc.ir.errors import DTypeError, ShapeError
from graphc.ir.expr import cast, position, reduce, scalar, select, size
from graphc.ir.op import Op
from graphc.ir.types import DType, TensorType, product

__all__ = ["Argmax", "Max", "Product", "Sum"]


class Reduction(Op, abstract=True):
    """A reduction over `axes`, given in increasing order."""

    def infer(self, x):
        if list(self.axes) != sorted({a for a in self.axes if 0 <= a < x.ndim}):
            raise ShapeError(f"{self.name} needs increasing axes of {x}, received {self.axes}.")
        return TensorType(x.dtype, tuple(n for a, n in enumerate(x.shape) if a not in self.axes))

    def at(self, x, index, inner):
        """The operand's element at the kept `index` and the reduced `inner` position."""
        kept, reduced = iter(index), iter(inner)
        return x[tuple(next(reduced) if a in self.axes else next(kept) for a in range(len(x.shape)))]

    def spread(self, f, y, x):
        """Broadcast a result back over the reduced axes."""
        return f.broadcast(y, x.shape, tuple(a for a in range(x.ndim) if a not in self.axes))

    def each(self, f, length, operands, along):
        return f.apply(replace(self, axes=tuple(a + 1 for a in self.axes)), *operands)


class Sum(Reduction):
    """The sum over `axes`, in any order of addition.

    sum<axes=(1,)>(f32[2,3]) -> f32[2]
    sum<axes=(0, 2)>(f32[2,3,4]) -> f32[3]
    sum<axes=(2,)>(f32[2,3]) -> ShapeError: sum needs increasing axes of f32[2,3]
    """

    axes: tuple[int, ...]

    def reference(self, x):
        return x.sum(self.axes, dtype=x.dtype)

    def define(self, index, x):
        return reduce("sum", [x.shape[a] for a in self.axes], lambda *k: self.at(x, index, k))

    def vjp(self, f, g, y, x):
        return (self.spread(f, g, x),)


class Max(Reduction):
    """The maximum over `axes`; NaN if one is. Its gradient goes to the first maximum, or is shared among equals.

    max<axes=(1,), first=False>(f32[2,3]) -> f32[2]
    max<axes=(0, 1), first=True>(f32[2,3,4]) -> f32[4]
    """

    axes: tuple[int, ...]
    first: bool

    def reference(self, x):
        return x.max(self.axes)

    def define(self, index, x):
        return reduce("max", [x.shape[a] for a in self.axes], lambda *k: self.at(x, index, k))

    def vjp(self, f, g, y, x):
        if self.first:
            # positions within a window are kept until the backward pass: in a byte each, where that is enough
            count = product([x.shape[a] for a in self.axes])
            dtype = "u8" if isinstance(count, int) and count < 256 else "i32"
            position = f.iota(x.shape, self.axes, dtype)
            chosen = f.equal(position, self.spread(f, f.argmax_over(x, self.axes, dtype), x))
            share = self.spread(f, g, x)
        else:
            chosen = f.equal(x, self.spread(f, y, x))
            share = self.spread(f, g / f.sum(f.cast(chosen, g.dtype), axis=self.axes), x)
        return (f.where(chosen, share, f.zeros_like(share)),)


class Product(Reduction):
    """The product over `axes`, in any order.

    product<axes=(1,)>(f32[2,3]) -> f32[2]
    product<axes=(0, 2)>(i32[2,3,2]) -> i32[3]
    """

    axes: tuple[int, ...]

    def reference(self, x):
        return x.prod(self.axes, dtype=x.dtype)

    def define(self, index, x):
        return reduce("product", [x.shape[a] for a in self.axes], lambda *k: self.at(x, index, k))

    def vjp(self, f, g, y, x):
        # by an element: the product of all others, which is y / x but where that is 0 / 0
        zero = f.equal(x, f.zeros_like(x))
        others = f.prod(f.where(zero, f.ones_like(x), x), axis=self.axes)
        zeros = f.sum(f.cast(zero, x.dtype), axis=self.axes)
        none, one = f.equal(zeros, f.zeros_like(zeros)), f.equal(zeros, f.ones_like(zeros))
        by_zero, by_others = (self.spread(f, f.where(c, g * others, f.zeros_like(g)), x) for c in (one, none))
        return (f.where(zero, by_zero, by_others / f.where(zero, f.ones_like(x), x)),)


class Argmax(Reduction):
    """The position of the first maximum over `axes`, counted in row-major order over them; a NaN is the maximum.

    argmax<axes=(1,), dtype=i32>(f32[2,3]) -> i32[2]
    argmax<axes=(1, 2), dtype=i64>(f32[2,3,2]) -> i64[2]
    argmax<axes=(0,), dtype=f32>(f32[2]) -> DTypeError: argmax gives an integer
    """

    axes: tuple[int, ...]
    dtype: DType

    def infer(self, x):
        if self.dtype.kind not in "iu":
            raise DTypeError(f"argmax gives an integer position, received dtype {self.dtype}.")
        return TensorType(self.dtype, super().infer(x).shape)

    def reference(self, x):
        kept = [a for a in range(x.ndim) if a not in self.axes]
        rows = np.transpose(x, (*kept, *self.axes)).reshape([x.shape[a] for a in kept] + [-1])
        return rows.argmax(-1).astype(self.dtype.numpy)

    def define(self, index, x):
        extents = [x.shape[a] for a in self.axes]
        best = reduce("max", extents, lambda *k: self.at(x, index, k))

        def candidate(*inner):
            place = cast(position(inner, extents), self.dtype)
            element = self.at(x, index, inner)
            found = scalar("eq", element, best)
            if x.dtype.is_float:
                found = found | scalar("ne", element, element)
            return select(found, place, cast(size(product(extents)), self.dtype))

        return reduce("min", extents, candidate)

    def vjp(self, f, g, y, x):
        return (None,)
