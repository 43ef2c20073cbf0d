"""Windows over spatial axes and their adjoint: with them, convolutions and pooling are contractions and reductions.

A window of size k, dilation d and stride s at position h covers the elements h*s + u*d, u = 0 .. k-1.
"""

from __future__ import annotations

import math

import numpy as np

from graphc.ir.errors import ShapeError
from graphc.ir.expr import const, reduce, scalar, select, size
from graphc.ir.op import Op
from graphc.ir.types import TensorType, at_least_zero

__all__ = ["Fold", "Windows"]


def _positions(extent, k, s, d):
    """How many windows fit: (extent - (k-1)*d - 1) // s + 1."""
    return (extent - (k - 1) * d - 1) // s + 1


def _check(extents, size, dilation, what):
    """Refuse what no window fits into. Of a symbolic extent only the array that comes can tell."""
    for extent, k, d in zip(extents, size, dilation, strict=True):
        if at_least_zero((k - 1) * d - extent):
            raise ShapeError(f"a window of size {k} and dilation {d} does not fit into {extent} positions of "
                             f"{what}.")


class Windows(Op):
    """Every window of the spatial axes 1 .. r of [N, *spatial, C]: the result is [N, *positions, *size, C].

    windows<size=(2, 2), strides=(1, 1), dilation=(1, 1)>(f32[1,4,4,3]) -> f32[1,3,3,2,2,3]
    windows<size=(2, 2), strides=(2, 2), dilation=(1, 1)>(f32[1,5,4,3]) -> f32[1,2,2,2,2,3]
    windows<size=(3,), strides=(1,), dilation=(2,)>(f32[2,7,1]) -> f32[2,3,3,1]
    windows<size=(3,), strides=(2,), dilation=(3,)>(f32[2,12,1]) -> f32[2,3,3,1]
    windows<size=(3, 3), strides=(1, 1), dilation=(1, 1)>(f32[1,2,4,3]) -> ShapeError: a window of size 3
    """

    size: tuple[int, ...]
    strides: tuple[int, ...]
    dilation: tuple[int, ...]

    def infer(self, x):
        rank = len(self.size)
        if x.ndim != rank + 2 or not len(self.strides) == len(self.dilation) == rank:
            raise ShapeError(f"windows of size {self.size} need an operand of {rank + 2} axes, received {x}.")
        _check(x.shape[1:-1], self.size, self.dilation, x)
        positions = tuple(map(_positions, x.shape[1:-1], self.size, self.strides, self.dilation))
        return TensorType(x.dtype, (x.shape[0], *positions, *self.size, x.shape[-1]))

    def reference(self, x):
        rank = len(self.size)
        _check(x.shape[1:-1], self.size, self.dilation, f"an array of shape {x.shape}")
        spread = [(k - 1) * d + 1 for k, d in zip(self.size, self.dilation, strict=True)]
        view = np.lib.stride_tricks.sliding_window_view(x, spread, axis=tuple(range(1, rank + 1)))
        steps = tuple(slice(None, None, s) for s in self.strides)
        taps = tuple(slice(None, None, d) for d in self.dilation)
        return np.moveaxis(view[(slice(None), *steps, slice(None), *taps)], rank + 1, -1)

    def define(self, index, x):
        rank = len(self.size)
        n, position, tap, c = index[0], index[1:rank + 1], index[rank + 1:-1], index[-1]
        spatial = [h * s + u * d for h, u, s, d in zip(position, tap, self.strides, self.dilation, strict=True)]
        return x[(n, *spatial, c)]

    def vjp(self, f, g, y, x):
        return (f.fold(g, x.shape[1:-1], self.strides, self.dilation),)


def _covering(p, t, s, d):
    """The t-th window that covers position p, by its number, and the element of it that lies there.

    They solve h*s + u*d = p, which has solutions where the greatest common divisor of s and d divides p: the first
    result. From one to the next u grows by s, and h falls by d, both divided by that divisor. So with dilation 1 it is
    the element p%s + t*s of the window p//s - t, and with stride 1 the element t of the window p - t*d.
    """
    common = math.gcd(s, d)
    s, d, place = s // common, d // common, p // common
    first = place % s * pow(d, -1, s) % s
    return scalar("eq", p % common, 0), place // s + (place % s - first * d) // s - t * d, first + t * s


class Fold(Op):
    """The adjoint of windows: add every window's elements back to the positions they came from.

    fold<extent=(4, 4), strides=(1, 1), dilation=(1, 1)>(f32[1,3,3,2,2,3]) -> f32[1,4,4,3]
    fold<extent=(5, 4), strides=(2, 2), dilation=(1, 1)>(f32[1,2,2,2,2,3]) -> f32[1,5,4,3]
    fold<extent=(5, 5), strides=(2, 2), dilation=(1, 1)>(f32[1,2,2,3,3,1]) -> f32[1,5,5,1]
    fold<extent=(7,), strides=(1,), dilation=(2,)>(f32[2,3,3,1]) -> f32[2,7,1]
    fold<extent=(12,), strides=(2,), dilation=(3,)>(f32[2,3,3,1]) -> f32[2,12,1]
    fold<extent=(18,), strides=(4,), dilation=(6,)>(f32[2,2,3,1]) -> f32[2,18,1]
    fold<extent=(9,), strides=(1,), dilation=(1,)>(f32[2,3,3,1]) -> ShapeError: fold of f32[2,3,3,1]
    """

    extent: tuple[int, ...]
    strides: tuple[int, ...]
    dilation: tuple[int, ...]

    def infer(self, x):
        rank = len(self.extent)
        result = TensorType(x.dtype, (x.shape[0], *self.extent, x.shape[-1]))
        try:
            made = Windows(x.shape[rank + 1:-1], self.strides, self.dilation).infer(result)
        except ShapeError:
            made = None
        if made != x:
            raise ShapeError(f"fold of {x} can't give the spatial extent {self.extent}: its windows would be {made}.")
        return result

    def reference(self, x):
        rank = len(self.extent)
        result = np.zeros((x.shape[0], *self.extent, x.shape[-1]), x.dtype)
        for tap in np.ndindex(x.shape[rank + 1:-1]):
            where = tuple(slice(u * d, u * d + (n - 1) * s + 1, s) for u, d, s, n in
                          zip(tap, self.dilation, self.strides, x.shape[1:rank + 1], strict=True))
            result[(slice(None), *where)] += x[(slice(None),) * (rank + 1) + tap]
        return result

    def define(self, index, x):
        rank = len(self.extent)
        taps, positions = x.shape[rank + 1:-1], x.shape[1:rank + 1]
        covering = [-(-k * math.gcd(s, d) // s) for k, s, d in zip(taps, self.strides, self.dilation, strict=True)]

        def term(*t):
            inside, h, u = None, [], []
            for i, (p, ti, s, d) in enumerate(zip(index[1:-1], t, self.strides, self.dilation, strict=True)):
                exists, hi, ui = _covering(p, ti, s, d)
                fits = exists & (hi >= 0) & (hi < size(positions[i])) & (ui < size(taps[i]))
                inside = fits if inside is None else inside & fits
                h.append(scalar("min", scalar("max", hi, 0), size(positions[i]) - 1))
                u.append(scalar("min", ui, size(taps[i]) - 1))
            return select(inside, x[(index[0], *h, *u, index[-1])], const(0, x.dtype))

        return reduce("sum", covering, term)

    def vjp(self, f, g, y, x):
        rank = len(self.extent)
        return (f.windows(g, x.shape[rank + 1:-1], self.strides, self.dilation),)
