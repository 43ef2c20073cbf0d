"""Pooling of [N, height, width, channels]. https://keras.io/api/layers/pooling_layers/"""

from __future__ import annotations

from typing import Any

from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value
from graphc.layers.convolution import extents, padding_mode
from graphc.layers.layer import Layer

__all__ = ["AveragePooling2D", "AvgPool2D", "MaxPool2D", "MaxPooling2D"]


class _Pooling2D(Layer):
    """What both poolings share."""

    def __init__(self, pool_size: Any = (2, 2), strides: Any = None, padding: str = "valid",
                 data_format: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        owner = type(self).__name__
        self.pool_size = extents(owner, "pool_size", pool_size, 2)
        self.strides = self.pool_size if strides is None else extents(owner, "strides", strides, 2)
        self.padding = padding_mode(owner, padding, data_format)

    def build(self, input_shape: Any) -> None:
        if len(input_shape) != 4:
            raise ShapeError(f"{type(self).__name__} needs 4 axes: the batch, height, width, and the channels.")


class MaxPooling2D(_Pooling2D):
    """The largest value of each window.

    MaxPooling2D((2, 2))(f32[N,11,11,64]) -> f32[N,5,5,64]
    MaxPooling2D(3, strides=2, padding="same")(f32[N,5,4,1]) -> f32[N,3,2,1]
    MaxPooling2D()(f32[N,8]) -> ShapeError: MaxPooling2D needs 4 axes
    """

    def call(self, inputs: Value) -> Value:
        return f.max_pool(inputs, self.pool_size, self.strides, self.padding)


class AveragePooling2D(_Pooling2D):
    """The mean of each window; padding does not count.

    AveragePooling2D(2)(f32[N,5,5,3]) -> f32[N,2,2,3]
    AveragePooling2D(2, padding="same")(f32[N,5,5,3]) -> f32[N,3,3,3]
    """

    def call(self, inputs: Value) -> Value:
        return f.average_pool(inputs, self.pool_size, self.strides, self.padding)


MaxPool2D, AvgPool2D = MaxPooling2D, AveragePooling2D
