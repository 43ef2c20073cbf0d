"""Convolutions of [N, *spatial, channels]. https://keras.io/api/layers/convolution_layers/"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc import activations, initializers
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value
from graphc.layers.core import positive
from graphc.layers.layer import Layer
from graphc.names import choose

__all__ = ["Conv1D", "Conv2D", "Convolution1D", "Convolution2D", "extents", "padding_mode"]


def extents(owner: str, name: str, value: Any, rank: int) -> tuple[int, ...]:
    """One positive integer for each spatial axis; a single number counts for all."""
    given = (value,) * rank if isinstance(value, int | np.integer) else tuple(value)
    if len(given) != rank:
        raise ValueError(f"{owner}({name}={value!r}): {name} must be one positive integer or {rank} of them.")
    return tuple(positive(owner, name, v) for v in given)


def padding_mode(owner: str, padding: str, data_format: str | None) -> str:
    """`valid` or `same`; refuses channels_first."""
    if data_format not in (None, "channels_last"):
        raise ValueError(f"{owner}(data_format={data_format!r}): only 'channels_last' is supported. "
                         "Move the channels to the last axis, for example with numpy.moveaxis(x, 1, -1).")
    return choose("padding", str(padding), {"valid": "valid", "same": "same"})


class _Conv(Layer):
    """What the convolutions of every rank share."""

    rank = 0

    def __init__(self, filters: int, kernel_size: Any, strides: Any = 1, padding: str = "valid",
                 data_format: str | None = None, dilation_rate: Any = 1, activation: Any = None, use_bias: bool = True,
                 kernel_initializer: Any = "glorot_uniform", bias_initializer: Any = "zeros", **kwargs: Any):
        super().__init__(**kwargs)
        owner = type(self).__name__
        self.filters = positive(owner, "filters", filters)
        self.kernel_size = extents(owner, "kernel_size", kernel_size, self.rank)
        self.strides = extents(owner, "strides", strides, self.rank)
        self.dilation_rate = extents(owner, "dilation_rate", dilation_rate, self.rank)
        self.padding = padding_mode(owner, padding, data_format)
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(f"{owner}(strides={strides!r}, dilation_rate={dilation_rate!r}): only one of the two can "
                             "be larger than 1.")
        self.activation, self.use_bias = activations.get(activation), use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)

    def build(self, input_shape: Any) -> None:
        if len(input_shape) != self.rank + 2 or input_shape[-1] is None:
            raise ShapeError(f"{type(self).__name__} needs {self.rank + 2} axes: the batch, {self.rank} spatial, and "
                             "the channels. Images without channels get them with numpy.expand_dims(x, -1).")
        shape = (*self.kernel_size, input_shape[-1], self.filters)
        self.kernel = self.add_weight(shape, self.kernel_initializer, name="kernel")
        self.bias = self.add_weight((self.filters,), self.bias_initializer, name="bias") if self.use_bias else None

    def call(self, inputs: Value) -> Value:
        result = f.conv(inputs, self.kernel, self.strides, self.padding, self.dilation_rate)
        return self.activation(result if self.bias is None else f.add(result, self.bias))


class Conv1D(_Conv):
    """A convolution along one axis; `padding` is 'valid' or 'same'.

    Conv1D(8, 3)(f32[N,10,4]) -> f32[N,8,8]
    Conv1D(8, 3, strides=2, padding="same")(f32[N,9,4]) -> f32[N,5,8]
    """

    rank = 1


class Conv2D(_Conv):
    """A convolution of images; `padding` is 'valid' or 'same'.

    Conv2D(32, (3, 3))(f32[N,28,28,1]) -> f32[N,26,26,32]
    Conv2D(8, 3, strides=2, padding="same")(f32[N,7,6,3]) -> f32[N,4,3,8]
    Conv2D(8, 3, dilation_rate=2)(f32[N,7,6,3]) -> f32[N,3,2,8]
    Conv2D(8, 3)(f32[N,28,28]) -> ShapeError: Conv2D needs 4 axes
    Conv2D(8, 5)(f32[N,4,4,1]) -> ShapeError: windows
    """

    rank = 2


Convolution1D, Convolution2D = Conv1D, Conv2D
