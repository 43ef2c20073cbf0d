"""Layers that prepare numbers. https://keras.io/api/layers/preprocessing_layers/"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from graphc.data import raw_array
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value, current_origin
from graphc.layers.layer import Layer
from graphc.layers.normalization import normal_axes
from graphc.variable import Variable, assign_all

__all__ = ["Normalization", "Rescaling"]


class Rescaling(Layer):
    """inputs * scale + offset; both may be lists with a number for each channel.

    Rescaling(1 / 255)(f32[N,28,28,1]) -> f32[N,28,28,1]
    Rescaling([1.0, 2.0], offset=-1.0)(f32[N,2]) -> f32[N,2]
    """

    supports_masking = True

    def __init__(self, scale: Any, offset: Any = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.scale, self.offset = (v.tolist() if isinstance(v, np.ndarray) else v for v in (scale, offset))

    def build(self, input_shape: Any) -> None:
        self.factor, self.summand = self.fixed("scale", self.scale), self.fixed("offset", self.offset)

    def fixed(self, name: str, value: Any) -> Any:
        """A number as it is, and numbers as an array that is no weight of the layer."""
        return _fixed(self, name, value) if np.ndim(value) else float(value)

    def call(self, inputs: Value) -> Value:
        return f.add(f.multiply(inputs, self.factor), self.summand)


def _fixed(layer: Layer, name: str, value: Any) -> Variable:
    """An array of a layer that is not among its weights."""
    return Variable(np.asarray(value, np.float32), f"{current_origin() or layer.name}/{name}", trainable=False)


class Normalization(Layer):
    """(x - mean) / sqrt(variance) for each position along `axis`, or one mean for all where it is None.

    `adapt(data)` takes mean and variance from data; or give them as numbers or arrays. `invert` goes back from
    normalized values.

    Normalization()(f32[N,3]) -> f32[N,3]
    Normalization(axis=None, mean=1.5, variance=4.0)(f32[N,3]) -> f32[N,3]
    Normalization(mean=[1.0, 2.0], variance=[1.0, 1.0])(f32[N,3]) -> ShapeError: does not broadcast
    """

    supports_masking = True

    def __init__(self, axis: Any = -1, mean: Any = None, variance: Any = None, invert: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.axis = () if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
        if (mean is None) != (variance is None) or np.shape(mean) != np.shape(variance):
            raise ValueError(f"Normalization(mean={mean!r}, variance={variance!r}): give both in one shape, or none.")
        self.given = None if mean is None else (np.asarray(mean, np.float32), np.asarray(variance, np.float32))
        self.invert = invert

    def get_config(self) -> dict[str, Any]:
        mean, variance = (None, None) if self.given is None else (v.tolist() for v in self.given)
        return super().get_config() | {"mean": mean, "variance": variance}

    def build(self, input_shape: Any) -> None:
        shape = tuple(input_shape[a] for a in normal_axes(self.axis, len(input_shape)))
        if None in shape:
            raise ShapeError(f"Normalization needs known extents along axis={self.axis}.")
        if self.given is None:
            self.mean = self.add_weight(shape, "zeros", trainable=False, name="mean")
            self.variance = self.add_weight(shape, "ones", trainable=False, name="variance")
            self.count = self.add_weight((), "zeros", dtype="int32", trainable=False, name="count")  # Keras's third
            return
        try:
            mean, variance = (np.broadcast_to(v, shape) for v in self.given)
        except ValueError:
            raise ShapeError(f"mean of shape {list(self.given[0].shape)} does not broadcast to {list(shape)}, the "
                             f"extents along axis={self.axis}.") from None
        self.mean, self.variance = _fixed(self, "mean", mean), _fixed(self, "variance", variance)

    def adapt(self, data: Any, steps: int | None = None) -> None:
        """Take mean and variance from an array or from batches, of which `steps` count, in place of earlier ones."""
        several = isinstance(data, Iterator) or (isinstance(data, list) and data and isinstance(data[0], np.ndarray))
        batches = itertools.islice(data, steps) if several else [data]
        x = np.concatenate([raw_array(b, f"adapt of {self.name!r} received") for b in batches]).astype(np.float64)
        if self.given is not None:
            raise ValueError(f"{self.name!r} has a mean and a variance given: adapt would have no effect.")
        if not self.built:
            self.build((None, *x.shape[1:]))
            self.built = True
        kept = normal_axes(self.axis, x.ndim)
        if tuple(x.shape[a] for a in kept) != self.mean.shape:
            raise ShapeError(f"adapt of {self.name!r} received the shape {list(x.shape)}, expected {self.mean.type} "
                             f"along axis={self.axis}.")
        others = tuple(a for a in range(x.ndim) if a not in kept)
        assign_all([(self.mean, x.mean(others)), (self.variance, x.var(others))])

    def call(self, inputs: Value) -> Value:
        axes = normal_axes(self.axis, inputs.ndim)
        mean, variance = (f.broadcast(v, inputs.shape, axes) for v in (self.mean, self.variance))
        deviation = f.maximum(f.sqrt(variance), 1e-7)
        if self.invert:
            return f.add(mean, f.multiply(inputs, deviation))
        return f.divide(f.subtract(inputs, mean), deviation)
