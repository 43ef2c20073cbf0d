"""Layers of several inputs, called on lists: `Add()([x, y])`. https://keras.io/api/layers/merging_layers/"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value
from graphc.layers.layer import Layer
from graphc.layers.normalization import normal_axes, unit

__all__ = ["Add", "Average", "Concatenate", "Dot", "Maximum", "Minimum", "Multiply", "Subtract", "add", "average",
           "concatenate", "dot", "maximum", "minimum", "multiply", "subtract"]


class _Merge(Layer):
    """A layer of a list of values, of exactly `count` where that is set."""

    supports_masking = True
    count: int | None = None

    def build(self, input_shape: Any) -> None:
        several = bool(input_shape) and all(isinstance(shape, list | tuple) for shape in input_shape)
        if not several or self.count not in (None, len(input_shape)):
            raise ShapeError(f"{type(self).__name__} needs a list of {self.count or 'one or more'} inputs.")


class _Elementwise(_Merge):
    """Inputs of different ranks get axes of extent 1 after the batch, then they broadcast together."""

    def call(self, inputs: Sequence[Value]) -> Value:
        rank = max(x.ndim for x in inputs)
        return self.merge([f.reshape(x, (x.shape[0], *(1,) * (rank - x.ndim), *x.shape[1:])) for x in inputs])

    def merge(self, inputs: Sequence[Value]) -> Value:
        """The result for inputs of one rank."""
        raise NotImplementedError

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Where any of the masks holds; none if an input has none, because then all of it counts."""
        if mask is None or any(m is None for m in mask):
            return None
        return functools.reduce(f.logical_or, mask)


class Add(_Elementwise):
    """The sum of the inputs.

    Add()(f32[N,3], f32[N,3], f32[N,3]) -> f32[N,3]
    Add()(f32[N,5,3], f32[N,3]) -> f32[N,5,3]
    Add()(f32[N,3]) -> ShapeError: Add needs a list of one or more inputs
    """

    def merge(self, inputs: Sequence[Value]) -> Value:
        return functools.reduce(f.add, inputs)


class Subtract(_Elementwise):
    """The first input minus the second.

    Subtract()(f32[N,3], f32[N,1]) -> f32[N,3]
    Subtract()(f32[N,3], f32[N,3], f32[N,3]) -> ShapeError: Subtract needs a list of 2 inputs
    """

    count = 2

    def merge(self, inputs: Sequence[Value]) -> Value:
        return f.subtract(*inputs)


class Multiply(_Elementwise):
    """The product of the inputs.

    Multiply()(f32[N,4,4,3], f32[N,1,1,3]) -> f32[N,4,4,3]
    """

    def merge(self, inputs: Sequence[Value]) -> Value:
        return functools.reduce(f.multiply, inputs)


class Average(_Elementwise):
    """The mean of the inputs.

    Average()(f32[N,3], f32[N,3]) -> f32[N,3]
    """

    def merge(self, inputs: Sequence[Value]) -> Value:
        return f.divide(functools.reduce(f.add, inputs), float(len(inputs)))


class Maximum(_Elementwise):
    """The largest of the inputs at each position.

    Maximum()(f32[N,3], f32[N,3]) -> f32[N,3]
    """

    def merge(self, inputs: Sequence[Value]) -> Value:
        return functools.reduce(f.maximum, inputs)


class Minimum(_Elementwise):
    """The smallest of the inputs at each position.

    Minimum()(f32[N,3], f32[N,3]) -> f32[N,3]
    """

    def merge(self, inputs: Sequence[Value]) -> Value:
        return functools.reduce(f.minimum, inputs)


class Concatenate(_Merge):
    """The inputs side by side along an axis; axis 0 is the batch.

    Concatenate()(f32[N,4,2], f32[N,4,3]) -> f32[N,4,5]
    Concatenate(axis=1)(f32[N,4,2], f32[N,1,2], f32[N,3,2]) -> f32[N,8,2]
    Concatenate()(f32[N,4,2], f32[N,5,2]) -> ShapeError: concatenate needs equal shapes
    """

    def __init__(self, axis: int = -1, **kwargs: Any):
        super().__init__(**kwargs)
        self.axis = axis

    def call(self, inputs: Sequence[Value]) -> Value:
        return f.concatenate(inputs, self.axis)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The masks side by side; along the features, where any of them holds."""
        if mask is None or all(m is None for m in mask):
            return None
        whole = [f.full(x.shape, True, "bool") if m is None else f.broadcast(m, x.shape, range(m.ndim))
                 for x, m in zip(inputs, mask, strict=True)]
        return _any(f.concatenate(whole, self.axis))


def _any(mask: Value) -> Value:
    """Where a mask holds anywhere along its last axis."""
    return f.greater(f.sum(f.cast(mask, "i32"), -1), 0)


class Dot(_Merge):
    """The products of two inputs summed along one axis of each; `normalize` makes them cosines.

    Dot(axes=1)(f32[N,3], f32[N,3]) -> f32[N,1]
    Dot(axes=(1, 2))(f32[N,3,5], f32[N,10,3]) -> f32[N,5,10]
    Dot(axes=-1, normalize=True)(f32[N,4,3], f32[N,3]) -> f32[N,4]
    Dot(axes=1)(f32[N,3], f32[N,4]) -> ShapeError: Dot needs equal extents along axes=1
    Dot(axes=0)(f32[N,3], f32[N,4]) -> ShapeError: without the batch
    """

    count = 2

    def __init__(self, axes: Any, normalize: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        pair = (axes, axes) if isinstance(axes, int) else tuple(axes)
        if len(pair) != 2 or not all(isinstance(a, int) for a in pair):
            raise ValueError(f"Dot(axes={axes!r}): axes must be one integer, or one for each of the two inputs.")
        self.axes, self.normalize = axes if isinstance(axes, int) else list(axes), normalize

    def call(self, inputs: Sequence[Value]) -> Value:
        x, y = inputs
        pair = [self.axes] * 2 if isinstance(self.axes, int) else self.axes
        (i,), (j,) = normal_axes(pair[0], x.ndim), normal_axes(pair[1], y.ndim)
        if not i or not j:
            raise ShapeError(f"Dot needs axes without the batch, received axes={self.axes!r}.")
        if x.shape[i] != y.shape[j]:
            raise ShapeError(f"Dot needs equal extents along axes={self.axes!r}, which are {x.shape[i]} and "
                             f"{y.shape[j]}.")
        if self.normalize:
            x, y = unit(x, (i,), 1e-7), unit(y, (j,), 1e-7)
        left, right = _letters("abcdefghij", x.ndim, i), _letters("opqrstuvwxyz", y.ndim, j)
        rest = (left + right).replace("n", "").replace("k", "")
        result = f.einsum(f"{left},{right}->n{rest}", x, y)
        return result if rest else f.expand_dims(result, 1)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """None: the result has no axis of the inputs' steps to speak of."""
        return None


def _letters(names: str, rank: int, summed: int) -> str:
    """A name for each axis: n for the batch, k for the summed one."""
    return "n" + "".join("k" if a == summed else names[a - 1] for a in range(1, rank))


def add(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """`Add(**kwargs)(inputs)`."""
    return Add(**kwargs)(inputs)


def subtract(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """`Subtract(**kwargs)(inputs)`."""
    return Subtract(**kwargs)(inputs)


def multiply(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """`Multiply(**kwargs)(inputs)`."""
    return Multiply(**kwargs)(inputs)


def average(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """`Average(**kwargs)(inputs)`."""
    return Average(**kwargs)(inputs)


def maximum(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """`Maximum(**kwargs)(inputs)`."""
    return Maximum(**kwargs)(inputs)


def minimum(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """`Minimum(**kwargs)(inputs)`."""
    return Minimum(**kwargs)(inputs)


def concatenate(inputs: Sequence[Any], axis: int = -1, **kwargs: Any) -> Any:
    """`Concatenate(axis, **kwargs)(inputs)`."""
    return Concatenate(axis, **kwargs)(inputs)


def dot(inputs: Sequence[Any], axes: Any = -1, **kwargs: Any) -> Any:
    """`Dot(axes, **kwargs)(inputs)`."""
    return Dot(axes, **kwargs)(inputs)
