"""Pooling of [N, *spatial, channels]. https://keras.io/api/layers/pooling_layers/"""

from __future__ import annotations

from typing import Any

from graphc.ir import functions as f
from graphc.ir.graph import Value
from graphc.layers.spatial import Spatial, extents
from graphc.names import choose

__all__ = ["AveragePooling1D", "AveragePooling2D", "AveragePooling3D", "AvgPool1D", "AvgPool2D", "AvgPool3D",
           "GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D", "GlobalAvgPool1D",
           "GlobalAvgPool2D", "GlobalAvgPool3D", "GlobalMaxPool1D", "GlobalMaxPool2D", "GlobalMaxPool3D",
           "GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D", "MaxPool1D", "MaxPool2D", "MaxPool3D",
           "MaxPooling1D", "MaxPooling2D", "MaxPooling3D"]


class _Pooling(Spatial):
    """What pooling of windows shares for every rank."""

    def __init__(self, pool_size: Any = 2, strides: Any = None, padding: str = "valid",
                 data_format: str | None = None, **kwargs: Any):
        super().__init__(data_format, **kwargs)
        owner = type(self).__name__
        self.pool_size = extents(owner, "pool_size", pool_size, self.rank)
        self.strides = self.pool_size if strides is None else extents(owner, "strides", strides, self.rank)
        self.padding = choose("padding", str(padding), {"valid": "valid", "same": "same"})


class _MaxPooling(_Pooling):
    def compute(self, inputs: Value) -> Value:
        return f.max_pool(inputs, self.pool_size, self.strides, self.padding)


class _AveragePooling(_Pooling):
    def compute(self, inputs: Value) -> Value:
        return f.average_pool(inputs, self.pool_size, self.strides, self.padding)


class MaxPooling1D(_MaxPooling):
    """The largest value of each window of a sequence.

    MaxPooling1D(3)(f32[N,10,4]) -> f32[N,3,4]
    MaxPooling1D(2, padding="same")(f32[N,5,4]) -> f32[N,3,4]
    """

    rank = 1


class MaxPooling2D(_MaxPooling):
    """The largest value of each window.

    MaxPooling2D((2, 2))(f32[N,11,11,64]) -> f32[N,5,5,64]
    MaxPooling2D(3, strides=2, padding="same")(f32[N,5,4,1]) -> f32[N,3,2,1]
    MaxPooling2D()(f32[N,8]) -> ShapeError: MaxPooling2D needs 4 axes
    """

    rank = 2


class MaxPooling3D(_MaxPooling):
    """The largest value of each window of a volume.

    MaxPooling3D()(f32[N,5,4,4,2]) -> f32[N,2,2,2,2]
    """

    rank = 3


class AveragePooling1D(_AveragePooling):
    """The mean of each window of a sequence; padding does not count.

    AveragePooling1D(2)(f32[N,5,3]) -> f32[N,2,3]
    AveragePooling1D(2, strides=1, padding="same")(f32[N,5,3]) -> f32[N,5,3]
    """

    rank = 1


class AveragePooling2D(_AveragePooling):
    """The mean of each window; padding does not count.

    AveragePooling2D(2)(f32[N,5,5,3]) -> f32[N,2,2,3]
    AveragePooling2D(2, padding="same")(f32[N,5,5,3]) -> f32[N,3,3,3]
    """

    rank = 2


class AveragePooling3D(_AveragePooling):
    """The mean of each window of a volume; padding does not count.

    AveragePooling3D(2, padding="same")(f32[N,5,4,4,2]) -> f32[N,3,2,2,2]
    """

    rank = 3


class _GlobalPooling(Spatial):
    """What pooling of whole samples shares."""

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any):
        super().__init__(data_format, **kwargs)
        self.keepdims = keepdims


class _GlobalMaxPooling(_GlobalPooling):
    def compute(self, inputs: Value) -> Value:
        return f.max(inputs, range(1, self.rank + 1), self.keepdims)


class _GlobalAveragePooling(_GlobalPooling):
    def compute(self, inputs: Value) -> Value:
        return f.mean(inputs, range(1, self.rank + 1), self.keepdims)


class GlobalMaxPooling1D(_GlobalMaxPooling):
    """The largest value of each channel of a sequence.

    GlobalMaxPooling1D()(f32[N,5,3]) -> f32[N,3]
    """

    rank = 1


class GlobalMaxPooling2D(_GlobalMaxPooling):
    """The largest value of each channel of an image.

    GlobalMaxPooling2D()(f32[N,5,4,3]) -> f32[N,3]
    GlobalMaxPooling2D(keepdims=True)(f32[N,5,4,3]) -> f32[N,1,1,3]
    """

    rank = 2


class GlobalMaxPooling3D(_GlobalMaxPooling):
    """The largest value of each channel of a volume.

    GlobalMaxPooling3D()(f32[N,5,4,3,2]) -> f32[N,2]
    """

    rank = 3


class GlobalAveragePooling1D(_GlobalAveragePooling):
    """The mean of each channel of a sequence; steps that a mask leaves out do not count.

    GlobalAveragePooling1D()(f32[N,5,3]) -> f32[N,3]
    """

    rank = 1
    supports_masking = True

    def call(self, inputs: Value, mask: Value | None = None) -> Value:
        if mask is None:
            return super().call(inputs)
        counts = f.expand_dims(f.cast(mask, "bool"), -1)
        total = f.sum(f.where(counts, self.channels_last(inputs), 0.0), 1, self.keepdims)
        return self.channels_as_given(f.divide(total, f.sum(f.cast(counts, "f32"), 1, self.keepdims)))

    def compute_mask(self, inputs: Value, mask: Value | None = None) -> None:
        """No steps are left."""


class GlobalAveragePooling2D(_GlobalAveragePooling):
    """The mean of each channel of an image.

    GlobalAveragePooling2D()(f32[N,5,4,3]) -> f32[N,3]
    GlobalAveragePooling2D(keepdims=True)(f32[N,5,4,3]) -> f32[N,1,1,3]
    GlobalAveragePooling2D()(f32[N,5]) -> ShapeError: GlobalAveragePooling2D needs 4 axes
    """

    rank = 2


class GlobalAveragePooling3D(_GlobalAveragePooling):
    """The mean of each channel of a volume.

    GlobalAveragePooling3D()(f32[N,5,4,3,2]) -> f32[N,2]
    """

    rank = 3


MaxPool1D, MaxPool2D, MaxPool3D = MaxPooling1D, MaxPooling2D, MaxPooling3D
AvgPool1D, AvgPool2D, AvgPool3D = AveragePooling1D, AveragePooling2D, AveragePooling3D
GlobalMaxPool1D, GlobalMaxPool2D, GlobalMaxPool3D = GlobalMaxPooling1D, GlobalMaxPooling2D, GlobalMaxPooling3D
GlobalAvgPool1D, GlobalAvgPool2D, GlobalAvgPool3D = (GlobalAveragePooling1D, GlobalAveragePooling2D,
                                                     GlobalAveragePooling3D)
