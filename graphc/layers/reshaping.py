"""Layers that move elements: reshaping, padding, cropping, upsampling. https://keras.io/api/layers/reshaping_layers/"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value
from graphc.layers.core import positive
from graphc.layers.layer import Layer
from graphc.layers.spatial import Spatial, extents
from graphc.names import choose
from graphc.resampling import INTERPOLATIONS, resized

__all__ = ["Cropping1D", "Cropping2D", "Cropping3D", "Permute", "RepeatVector", "Reshape", "UpSampling1D",
           "UpSampling2D", "UpSampling3D", "ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D"]


class Reshape(Layer):
    """The elements of each sample under another shape; one extent may be -1.

    Reshape((3, -1))(f32[N,4,6]) -> f32[N,3,8]
    Reshape((5,))(f32[N,4]) -> ShapeError: reshape can't turn f32[N,4] into
    """

    def __init__(self, target_shape: Any, **kwargs: Any):
        super().__init__(**kwargs)
        self.target_shape = tuple(int(d) for d in target_shape)
        if self.target_shape.count(-1) > 1 or any(d < 1 and d != -1 for d in self.target_shape):
            raise ValueError(f"Reshape(target_shape={target_shape!r}): expected positive integers, one of which may be "
                             "-1.")

    def call(self, inputs: Value) -> Value:
        return f.reshape(inputs, (inputs.shape[0], *self.target_shape))


class Permute(Layer):
    """The axes of each sample in the order `dims`, which counts them from 1.

    Permute((2, 1))(f32[N,4,6]) -> f32[N,6,4]
    Permute((2, 1))(f32[N,4]) -> ShapeError: Permute needs 3 axes
    """

    def __init__(self, dims: Any, **kwargs: Any):
        super().__init__(**kwargs)
        self.dims = tuple(dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ValueError(f"Permute(dims={dims!r}): expected the numbers 1 to {len(self.dims)} in any order. The "
                             "batch, axis 0, stays first.")

    def build(self, input_shape: Any) -> None:
        if len(input_shape) != len(self.dims) + 1:
            raise ShapeError(f"Permute needs {len(self.dims) + 1} axes for dims={self.dims}.")

    def call(self, inputs: Value) -> Value:
        return f.transpose(inputs, (0, *self.dims))


class RepeatVector(Layer):
    """Each sample, a vector, n times.

    RepeatVector(4)(f32[N,3]) -> f32[N,4,3]
    RepeatVector(4)(f32[N,3,2]) -> ShapeError: RepeatVector needs 2 axes
    """

    def __init__(self, n: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.n = positive("RepeatVector", "n", n)

    def build(self, input_shape: Any) -> None:
        if len(input_shape) != 2:
            raise ShapeError("RepeatVector needs 2 axes: the batch and the features.")

    def call(self, inputs: Value) -> Value:
        return f.broadcast(inputs, (inputs.shape[0], self.n, inputs.shape[1]), (0, 2))


# ----------------------------------------------------------------------------------------------------------- the ends

def _ends(owner: str, name: str, value: Any, rank: int) -> tuple[tuple[int, int], ...]:
    """How many elements at both ends of each spatial axis: one number, one for each axis, or a pair for each."""
    given = (value,) * rank if isinstance(value, int | np.integer) else tuple(value) if rank > 1 else (value,)
    pairs = tuple((v, v) if isinstance(v, int | np.integer) else tuple(v) for v in given)
    if len(pairs) != rank or any(len(p) != 2 or not all(isinstance(n, int | np.integer) and n >= 0 for n in p)
                                 for p in pairs):
        raise ValueError(f"{owner}({name}={value!r}): expected an integer from 0 on, {rank} of them, or {rank} pairs "
                         "of them.")
    return tuple((int(b), int(a)) for b, a in pairs)


def _pad(x: Value, ends: Sequence[tuple[int, int]]) -> Value:
    return f.pad(x, [(0, 0), *ends, (0, 0)])


def _crop(x: Value, ends: Sequence[tuple[int, int]]) -> Value:
    shape = (x.shape[0], *(n - b - a for n, (b, a) in zip(x.shape[1:-1], ends, strict=True)), x.shape[-1])
    if any(isinstance(n, int) and n < 1 for n in shape):
        raise ShapeError(f"Cropping by {tuple(ends)} leaves nothing.")
    return f.slice(x, (0, *(b for b, _ in ends), 0), shape)


class _ZeroPadding(Spatial):
    """What padding shares for every rank."""

    def __init__(self, padding: Any = 1, data_format: str | None = None, **kwargs: Any):
        super().__init__(data_format, **kwargs)
        self.ends = _ends(type(self).__name__, "padding", padding, self.rank)
        self.padding = self.ends if self.rank > 1 else self.ends[0]

    def compute(self, inputs: Value) -> Value:
        return _pad(inputs, self.ends)


class ZeroPadding1D(_ZeroPadding):
    """Zeros before and after each sequence.

    ZeroPadding1D((2, 0))(f32[N,4,3]) -> f32[N,6,3]
    """

    rank = 1


class ZeroPadding2D(_ZeroPadding):
    """Zeros around each image: `padding` is ((top, bottom), (left, right)), (rows, columns) or one number.

    ZeroPadding2D(((1, 0), (2, 3)))(f32[N,4,4,3]) -> f32[N,5,9,3]
    ZeroPadding2D((1, 2))(f32[N,4,4,3]) -> f32[N,6,8,3]
    ZeroPadding2D((1, 2), data_format="channels_first")(f32[N,3,4,4]) -> f32[N,3,6,8]
    """

    rank = 2


class ZeroPadding3D(_ZeroPadding):
    """Zeros around each volume: one number, one for each axis, or a pair for each.

    ZeroPadding3D((1, 2, 0))(f32[N,4,4,5,2]) -> f32[N,6,8,5,2]
    """

    rank = 3


class _Cropping(Spatial):
    """What cropping shares for every rank."""

    def __init__(self, cropping: Any = 1, data_format: str | None = None, **kwargs: Any):
        super().__init__(data_format, **kwargs)
        self.ends = _ends(type(self).__name__, "cropping", cropping, self.rank)
        self.cropping = self.ends if self.rank > 1 else self.ends[0]

    def compute(self, inputs: Value) -> Value:
        return _crop(inputs, self.ends)


class Cropping1D(_Cropping):
    """Each sequence without its first and last steps.

    Cropping1D((2, 0))(f32[N,5,3]) -> f32[N,3,3]
    Cropping1D(2)(f32[N,4,3]) -> ShapeError: leaves nothing
    """

    rank = 1
    formats = ("channels_last",)


class Cropping2D(_Cropping):
    """Each image without its borders: `cropping` is ((top, bottom), (left, right)), (rows, columns) or one number.

    Cropping2D(((1, 0), (2, 1)))(f32[N,4,6,3]) -> f32[N,3,3,3]
    """

    rank = 2

    def __init__(self, cropping: Any = 0, data_format: str | None = None, **kwargs: Any):
        super().__init__(cropping, data_format, **kwargs)


class Cropping3D(_Cropping):
    """Each volume without its borders: one number, one for each axis, or a pair for each.

    Cropping3D(((1, 0), (2, 1), (0, 0)))(f32[N,4,6,3,2]) -> f32[N,3,3,3,2]
    """

    rank = 3


# --------------------------------------------------------------------------------------------------------- upsampling

def _repeat(x: Value, size: Sequence[int]) -> Value:
    """Every element of the spatial axes `size` times."""
    spread, places, shape = [x.shape[0]], [0], [x.shape[0]]
    for n, times in zip(x.shape[1:-1], size, strict=True):
        places.append(len(spread))
        spread += [n, times]
        shape.append(n * times)
    places.append(len(spread))
    return f.reshape(f.broadcast(x, (*spread, x.shape[-1]), places), (*shape, x.shape[-1]))


class UpSampling1D(Spatial):
    """Every step of a sequence `size` times.

    UpSampling1D(3)(f32[N,4,2]) -> f32[N,12,2]
    """

    rank = 1
    formats = ("channels_last",)

    def __init__(self, size: int = 2, **kwargs: Any):
        super().__init__(**kwargs)
        self.size = positive("UpSampling1D", "size", size)

    def compute(self, inputs: Value) -> Value:
        return _repeat(inputs, (self.size,))


class UpSampling2D(Spatial):
    """Images enlarged by whole numbers; `interpolation` is 'nearest', 'bilinear', 'bicubic', 'lanczos3' or 'lanczos5'.

    UpSampling2D((2, 3))(f32[N,4,5,2]) -> f32[N,8,15,2]
    UpSampling2D(2, interpolation="bilinear")(f32[N,4,5,2]) -> f32[N,8,10,2]
    UpSampling2D()(f32[N,4,5]) -> ShapeError: UpSampling2D needs 4 axes
    """

    rank = 2

    def __init__(self, size: Any = (2, 2), data_format: str | None = None, interpolation: str = "nearest",
                 **kwargs: Any):
        super().__init__(data_format, **kwargs)
        self.size = extents("UpSampling2D", "size", size, 2)
        self.interpolation = choose("interpolation", interpolation, INTERPOLATIONS)

    def compute(self, inputs: Value) -> Value:
        if self.interpolation == "nearest":
            return _repeat(inputs, self.size)
        height, width = (n * times for n, times in zip(inputs.shape[1:3], self.size, strict=True))
        return resized(inputs, height, width, self.interpolation)


class UpSampling3D(Spatial):
    """Every element of a volume `size` times along each axis.

    UpSampling3D((1, 2, 3))(f32[N,4,5,2,3]) -> f32[N,4,10,6,3]
    """

    rank = 3

    def __init__(self, size: Any = (2, 2, 2), data_format: str | None = None, **kwargs: Any):
        super().__init__(data_format, **kwargs)
        self.size = extents("UpSampling3D", "size", size, 3)

    def compute(self, inputs: Value) -> Value:
        return _repeat(inputs, self.size)
