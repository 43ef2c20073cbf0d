"""Ops that move elements without computing: each output element is one operand element, or padding."""

from __future__ import annotations

import numpy as np

from graphc.ir.errors import DTypeError, ShapeError
from graphc.ir.expr import const, position, scalar, select, size
from graphc.ir.op import Op, spread
from graphc.ir.types import Shape, TensorType, at_least_zero, product

__all__ = ["Broadcast", "Concatenate", "Pad", "Reshape", "Reverse", "Slice", "Transpose"]


class Broadcast(Op):
    """Repeat along new axes; axis i of the operand becomes axis `axes[i]` of the result.

    broadcast<shape=(2, 3), axes=(1,)>(f32[3]) -> f32[2,3]
    broadcast<shape=(2, 3), axes=()>(f32[]) -> f32[2,3]
    broadcast<shape=(), axes=()>(f32[]) -> f32[]
    broadcast<shape=(2, 3), axes=(0,)>(f32[3]) -> ShapeError: broadcast can't place f32[3]
    """

    shape: Shape
    axes: tuple[int, ...]

    def infer(self, x):
        fits = len(self.axes) == x.ndim and tuple(self.shape[a] for a in self.axes) == x.shape
        if not fits or list(self.axes) != sorted(set(self.axes)):
            raise ShapeError(f"broadcast can't place {x} on the axes {self.axes} of the shape {self.shape}.")
        return TensorType(x.dtype, self.shape)

    def reference(self, x):
        spread = [self.shape[a] if a in self.axes else 1 for a in range(len(self.shape))]
        return np.asarray(np.broadcast_to(x.reshape(spread), self.shape), order="C")

    def define(self, index, x):
        return x[tuple(index[a] for a in self.axes)]

    def vjp(self, f, g, y, x):
        return (f.sum(g, axis=tuple(a for a in range(len(self.shape)) if a not in self.axes)),)

    def each(self, f, length, operands, along):
        return f.broadcast(operands[0], (length, *self.shape), (0, *(a + 1 for a in self.axes)))


class Reshape(Op):
    """The same elements in row-major order under another shape.

    reshape<shape=(3, 2)>(f32[2,3]) -> f32[3,2]
    reshape<shape=(4,)>(f32[2,3]) -> ShapeError: reshape can't turn f32[2,3] into
    """

    shape: Shape

    def infer(self, x):
        if product(self.shape) != x.size:
            raise ShapeError(f"reshape can't turn {x} into the shape {self.shape}: {x.size} elements are not "
                             f"{product(self.shape)}.")
        return TensorType(x.dtype, self.shape)

    def reference(self, x):
        return x.reshape(self.shape)

    def define(self, index, x):
        place, source = position(index, self.shape), []
        for extent in reversed(x.shape):
            source.append(place % size(extent))
            place = place // size(extent)
        return x[tuple(reversed(source))]

    def vjp(self, f, g, y, x):
        return (f.reshape(g, x.shape),)

    def each(self, f, length, operands, along):
        return f.reshape(operands[0], (length, *self.shape))


class Transpose(Op):
    """Permute the axes; axis i of the result is axis `axes[i]` of the operand.

    transpose<axes=(1, 0)>(f32[2,3]) -> f32[3,2]
    transpose<axes=()>(f32[]) -> f32[]
    transpose<axes=(0, 0)>(f32[2,3]) -> ShapeError: transpose needs a permutation
    """

    axes: tuple[int, ...]

    def infer(self, x):
        if sorted(self.axes) != list(range(x.ndim)):
            raise ShapeError(f"transpose needs a permutation of {x.ndim} axes, received {self.axes} for {x}.")
        return TensorType(x.dtype, tuple(x.shape[a] for a in self.axes))

    def reference(self, x):
        return np.asarray(np.transpose(x, self.axes), order="C")

    def define(self, index, x):
        return x[tuple(index[self.axes.index(a)] for a in range(len(index)))]

    def vjp(self, f, g, y, x):
        return (f.transpose(g, tuple(self.axes.index(a) for a in range(len(self.axes)))),)

    def each(self, f, length, operands, along):
        return f.transpose(operands[0], (0, *(a + 1 for a in self.axes)))


class Reverse(Op):
    """Reverse the order of elements along `axes`.

    reverse<axes=(0,)>(f32[3,2]) -> f32[3,2]
    """

    axes: tuple[int, ...]

    def infer(self, x):
        if any(not 0 <= a < x.ndim for a in self.axes):
            raise ShapeError(f"reverse has no axes {self.axes} in {x}.")
        return x

    def reference(self, x):
        return np.asarray(np.flip(x, self.axes), order="C")

    def define(self, index, x):
        return x[tuple(size(x.shape[a]) - 1 - i if a in self.axes else i for a, i in enumerate(index))]

    def vjp(self, f, g, y, x):
        return (f.flip(g, self.axes),)

    def each(self, f, length, operands, along):
        return f.flip(operands[0], tuple(a + 1 for a in self.axes))


class Slice(Op):
    """The block that begins at `start`, which may be symbolic, and has the given shape.

    slice<start=(1, 0), shape=(2, 3)>(f32[4,3]) -> f32[2,3]
    slice<start=(3, 0), shape=(2, 3)>(f32[4,3]) -> ShapeError: slice reaches outside f32[4,3]
    """

    start: Shape
    shape: Shape

    def infer(self, x):
        outside = not len(self.start) == len(self.shape) == x.ndim or any(
            at_least_zero(-1 - s) or at_least_zero(s + part - whole - 1)  # of symbolic ones the arrays tell
            for s, part, whole in zip(self.start, self.shape, x.shape, strict=True))
        if outside:
            raise ShapeError(f"slice reaches outside {x}: start {self.start}, shape {self.shape}.")
        return TensorType(x.dtype, self.shape)

    def reference(self, x):
        if any(s < 0 or s + n > whole for s, n, whole in zip(self.start, self.shape, x.shape, strict=True)):
            raise ShapeError(f"slice reaches outside an array of shape {x.shape}: start {self.start}, shape "
                             f"{self.shape}.")
        return x[tuple(slice(s, s + n) for s, n in zip(self.start, self.shape, strict=True))].copy()

    def define(self, index, x):
        return x[tuple(i + size(s) for i, s in zip(index, self.start, strict=True))]

    def vjp(self, f, g, y, x):
        after = tuple(whole - part - s for s, part, whole in zip(self.start, self.shape, x.shape, strict=True))
        return (f.pad(g, tuple(zip(self.start, after, strict=True))),)

    def each(self, f, length, operands, along):
        return f.slice(operands[0], (0, *self.start), (length, *self.shape))


class Pad(Op):
    """Add `before` and `after` elements of `value` at the ends of each axis; their numbers may be symbolic.

    pad<before=(1, 0), after=(0, 2), value=0.0>(f32[2,3]) -> f32[3,5]
    pad<before=(1,), after=(0,), value=0.0>(f32[2,3]) -> ShapeError: pad needs one width for each of 2 axes
    """

    before: Shape
    after: Shape
    value: float

    def infer(self, x):
        if not len(self.before) == len(self.after) == x.ndim or any(
                at_least_zero(-1 - width) for width in self.before + self.after):
            raise ShapeError(f"pad needs one width for each of {x.ndim} axes, none negative, received {self.before} "
                             f"and {self.after} for {x}.")
        return TensorType(x.dtype, tuple(b + n + a for b, n, a in zip(self.before, x.shape, self.after, strict=True)))

    def reference(self, x):
        return np.pad(x, tuple(zip(self.before, self.after, strict=True)), constant_values=self.value)

    def define(self, index, x):
        inside, source = None, []
        for i, before, n in zip(index, self.before, x.shape, strict=True):
            i = i - size(before)
            here = (scalar("le", const(0), i)) & (i < size(n))
            inside = here if inside is None else inside & here
            source.append(scalar("min", scalar("max", i, 0), size(n) - 1))
        return x[()] if inside is None else select(inside, x[tuple(source)], const(self.value, x.dtype))

    def vjp(self, f, g, y, x):
        return (f.slice(g, self.before, x.shape),)

    def each(self, f, length, operands, along):
        return f.pad(operands[0], ((0, 0), *zip(self.before, self.after, strict=True)), self.value)


class Concatenate(Op):
    """Join along an axis.

    concatenate<axis=1>(f32[2,3], f32[2,1]) -> f32[2,4]
    concatenate<axis=0>(f32[2,3], f32[2,1]) -> ShapeError: concatenate needs equal shapes but for axis 0
    """

    axis: int

    def infer(self, *operands):
        def rest(t):
            return t.shape[:self.axis] + t.shape[self.axis + 1:]

        first = operands[0]
        if any(o.ndim != first.ndim or rest(o) != rest(first) for o in operands) or not 0 <= self.axis < first.ndim:
            raise ShapeError(f"concatenate needs equal shapes but for axis {self.axis}, received "
                             f"{' and '.join(map(str, operands))}.")
        if any(o.dtype != first.dtype for o in operands):
            raise DTypeError(f"concatenate needs operands of one dtype, received {' and '.join(map(str, operands))}.")
        total = sum((o.shape[self.axis] for o in operands[1:]), first.shape[self.axis])
        return TensorType(first.dtype, (*first.shape[:self.axis], total, *first.shape[self.axis + 1:]))

    def reference(self, *operands):
        return np.concatenate(operands, self.axis)

    def define(self, index, *operands):
        result, start = None, 0
        for x in operands:
            i = scalar("min", scalar("max", index[self.axis] - size(start), 0), size(x.shape[self.axis]) - 1)
            element = x[(*index[:self.axis], i, *index[self.axis + 1:])]
            result = element if result is None else select(index[self.axis] < size(start), result, element)
            start = start + x.shape[self.axis]
        return result

    def vjp(self, f, g, y, *operands):
        gradients, start = [], 0
        for x in operands:
            begin = tuple(start if a == self.axis else 0 for a in range(x.ndim))
            gradients.append(f.slice(g, begin, x.shape))
            start = start + x.shape[self.axis]
        return tuple(gradients)

    def each(self, f, length, operands, along):
        return f.concatenate(spread(f, length, operands, along), self.axis + 1)

