"""Convolutions of [N, *spatial, channels]. https://keras.io/api/layers/convolution_layers/"""

from __future__ import annotations

from typing import Any

from graphc import activations, ops
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value
from graphc.layers.core import positive
from graphc.layers.spatial import Spatial, extents
from graphc.layers.weights import add_weight, keep_options
from graphc.names import choose

__all__ = ["Conv1D", "Conv2D", "Conv3D", "Convolution1D", "Convolution2D", "Convolution3D", "DepthwiseConv1D",
           "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D", "SeparableConvolution1D", "SeparableConvolution2D",
           "WindowedWeights"]


class WindowedWeights(Spatial):
    """What layers of windows with weights share: the options of the windows, activation and bias."""

    paddings: tuple[str, ...] = ("valid", "same")

    def __init__(self, kernel_size: Any, strides: Any = 1, padding: str = "valid", data_format: str | None = None,
                 dilation_rate: Any = 1, activation: Any = None, use_bias: bool = True,
                 bias_initializer: Any = "zeros", bias_regularizer: Any = None, bias_constraint: Any = None,
                 **kwargs: Any):
        super().__init__(data_format, **kwargs)
        owner = type(self).__name__
        self.kernel_size = extents(owner, "kernel_size", kernel_size, self.rank)
        self.strides = extents(owner, "strides", strides, self.rank)
        self.dilation_rate = extents(owner, "dilation_rate", dilation_rate, self.rank)
        self.padding = choose("padding", str(padding), {p: p for p in self.paddings})
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(f"{owner}(strides={strides!r}, dilation_rate={dilation_rate!r}): only one of the two can "
                             "be larger than 1.")
        self.activation, self.use_bias = activations.get(activation), use_bias
        keep_options(self, "bias", bias_initializer, bias_regularizer, bias_constraint)

    def build_weights(self, input_shape: Any) -> None:
        if input_shape[-1] is None:
            raise ShapeError(f"{type(self).__name__} needs a known number of channels.")
        self.add_kernels(input_shape[-1])
        self.bias = add_weight(self, "bias", (self.channels(input_shape[-1]),)) if self.use_bias else None

    def add_kernels(self, channels: int) -> None:
        """Make the weights for inputs of that many channels."""
        raise NotImplementedError

    def channels(self, channels: int) -> int:
        """How many the result has, for inputs of that many."""
        raise NotImplementedError

    def compute(self, inputs: Value) -> Value:
        result = self.convolve(inputs)
        return result if self.bias is None else f.add(result, self.bias)

    def call(self, inputs: Value) -> Value:
        return self.activation(super().call(inputs))

    def convolve(self, inputs: Value) -> Value:
        """The result without bias and activation."""
        raise NotImplementedError


class _Conv(WindowedWeights):
    """What the convolutions of every rank share."""

    def __init__(self, filters: int, kernel_size: Any, strides: Any = 1, padding: str = "valid",
                 data_format: str | None = None, dilation_rate: Any = 1, groups: int = 1, activation: Any = None,
                 use_bias: bool = True, kernel_initializer: Any = "glorot_uniform", bias_initializer: Any = "zeros",
                 kernel_regularizer: Any = None, kernel_constraint: Any = None, **kwargs: Any):
        super().__init__(kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias,
                         bias_initializer, **kwargs)
        owner = type(self).__name__
        self.filters, self.groups = positive(owner, "filters", filters), positive(owner, "groups", groups)
        if self.filters % self.groups:
            raise ValueError(f"{owner}(filters={filters}, groups={groups}): the filters don't divide into groups.")
        keep_options(self, "kernel", kernel_initializer, kernel_regularizer, kernel_constraint)

    def add_kernels(self, channels: int) -> None:
        if channels % self.groups:
            raise ShapeError(f"{channels} channels don't divide into groups={self.groups}.")
        self.kernel = add_weight(self, "kernel", (*self.kernel_size, channels // self.groups, self.filters))

    def channels(self, channels: int) -> int:
        return self.filters

    def convolve(self, inputs: Value) -> Value:
        padding = self.padding
        if padding == "causal":
            reach = [(k - 1) * d for k, d in zip(self.kernel_size, self.dilation_rate, strict=True)]
            inputs, padding = f.pad(inputs, [(0, 0), *((r, 0) for r in reach), (0, 0)]), "valid"
        return ops.conv(inputs, self.kernel, self.strides, padding, dilation_rate=self.dilation_rate)


class Conv1D(_Conv):
    """A convolution along one axis; `padding` is 'valid', 'same' or 'causal': then no result depends on later steps.

    Conv1D(8, 3)(f32[N,10,4]) -> f32[N,8,8]
    Conv1D(8, 3, strides=2, padding="same")(f32[N,9,4]) -> f32[N,5,8]
    Conv1D(8, 3, padding="causal", dilation_rate=2)(f32[N,9,4]) -> f32[N,9,8]
    Conv1D(8, 3, groups=4)(f32[N,10,4]) -> f32[N,8,8]
    """

    rank = 1
    paddings = ("valid", "same", "causal")


class Conv2D(_Conv):
    """A convolution of images; `padding` is 'valid' or 'same'.

    With `groups`, the channels and the filters divide into as many parts, and filters see their own part only.

    Conv2D(32, (3, 3))(f32[N,28,28,1]) -> f32[N,26,26,32]
    Conv2D(8, 3, strides=2, padding="same")(f32[N,7,6,3]) -> f32[N,4,3,8]
    Conv2D(8, 3, dilation_rate=2)(f32[N,7,6,3]) -> f32[N,3,2,8]
    Conv2D(8, 3, groups=2, kernel_regularizer="l2")(f32[N,7,6,4]) -> f32[N,5,4,8]
    Conv2D(8, 3, data_format="channels_first")(f32[N,3,7,6]) -> f32[N,8,5,4]
    Conv2D(8, 3)(f32[N,28,28]) -> ShapeError: Conv2D needs 4 axes
    Conv2D(8, 5)(f32[N,4,4,1]) -> ShapeError: a window
    Conv2D(8, 3, groups=2)(f32[N,7,6,3]) -> ShapeError: 3 channels don't divide into groups=2
    """

    rank = 2


class Conv3D(_Conv):
    """A convolution of volumes, or of images in time; `padding` is 'valid' or 'same'.

    Conv3D(8, 3)(f32[N,5,7,6,2]) -> f32[N,3,5,4,8]
    Conv3D(8, (3, 2, 2), strides=2, padding="same")(f32[N,5,7,6,2]) -> f32[N,3,4,3,8]
    """

    rank = 3


class _DepthwiseConv(WindowedWeights):
    """What convolutions of single channels share for every rank."""

    def __init__(self, kernel_size: Any, strides: Any = 1, padding: str = "valid", depth_multiplier: int = 1,
                 data_format: str | None = None, dilation_rate: Any = 1, activation: Any = None,
                 use_bias: bool = True, depthwise_initializer: Any = "glorot_uniform",
                 bias_initializer: Any = "zeros", depthwise_regularizer: Any = None, depthwise_constraint: Any = None,
                 **kwargs: Any):
        super().__init__(kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias,
                         bias_initializer, **kwargs)
        self.depth_multiplier = positive(type(self).__name__, "depth_multiplier", depth_multiplier)
        keep_options(self, "depthwise", depthwise_initializer, depthwise_regularizer, depthwise_constraint)

    def add_kernels(self, channels: int) -> None:
        shape = (*self.kernel_size, channels, self.depth_multiplier)
        self.kernel = add_weight(self, "depthwise", shape, "kernel")

    def channels(self, channels: int) -> int:
        return channels * self.depth_multiplier

    def convolve(self, inputs: Value) -> Value:
        return ops.depthwise_conv(inputs, self.kernel, self.strides, self.padding, dilation_rate=self.dilation_rate)


class DepthwiseConv1D(_DepthwiseConv):
    """A convolution of each channel of a sequence by itself, with `depth_multiplier` filters for each.

    DepthwiseConv1D(3)(f32[N,7,4]) -> f32[N,5,4]
    DepthwiseConv1D(3, strides=2, padding="same", depth_multiplier=2)(f32[N,7,4]) -> f32[N,4,8]
    """

    rank = 1


class DepthwiseConv2D(_DepthwiseConv):
    """A convolution of each channel by itself, with `depth_multiplier` filters for each.

    DepthwiseConv2D(3)(f32[N,7,6,4]) -> f32[N,5,4,4]
    DepthwiseConv2D((3, 2), strides=2, padding="same", depth_multiplier=2)(f32[N,7,6,4]) -> f32[N,4,3,8]
    """

    rank = 2


class _SeparableConv(WindowedWeights):
    """What convolutions in two steps share for every rank."""

    def __init__(self, filters: int, kernel_size: Any, strides: Any = 1, padding: str = "valid",
                 data_format: str | None = None, dilation_rate: Any = 1, depth_multiplier: int = 1,
                 activation: Any = None, use_bias: bool = True, depthwise_initializer: Any = "glorot_uniform",
                 pointwise_initializer: Any = "glorot_uniform", bias_initializer: Any = "zeros",
                 depthwise_regularizer: Any = None, pointwise_regularizer: Any = None,
                 depthwise_constraint: Any = None, pointwise_constraint: Any = None, **kwargs: Any):
        super().__init__(kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias,
                         bias_initializer, **kwargs)
        owner = type(self).__name__
        self.filters = positive(owner, "filters", filters)
        self.depth_multiplier = positive(owner, "depth_multiplier", depth_multiplier)
        keep_options(self, "depthwise", depthwise_initializer, depthwise_regularizer, depthwise_constraint)
        keep_options(self, "pointwise", pointwise_initializer, pointwise_regularizer, pointwise_constraint)

    def add_kernels(self, channels: int) -> None:
        each = (*self.kernel_size, channels, self.depth_multiplier)
        self.depthwise_kernel = add_weight(self, "depthwise", each, "depthwise_kernel")
        across = (*(1,) * self.rank, channels * self.depth_multiplier, self.filters)
        self.pointwise_kernel = add_weight(self, "pointwise", across, "pointwise_kernel")

    def channels(self, channels: int) -> int:
        return self.filters

    def convolve(self, inputs: Value) -> Value:
        return ops.separable_conv(inputs, self.depthwise_kernel, self.pointwise_kernel, self.strides, self.padding,
                                  dilation_rate=self.dilation_rate)


class SeparableConv1D(_SeparableConv):
    """A convolution of each channel of a sequence by itself, and then one of size 1 over the results.

    SeparableConv1D(8, 3)(f32[N,7,4]) -> f32[N,5,8]
    """

    rank = 1


class SeparableConv2D(_SeparableConv):
    """A convolution of each channel by itself, and then one of size 1 over the results.

    SeparableConv2D(8, 3)(f32[N,7,6,4]) -> f32[N,5,4,8]
    SeparableConv2D(8, 3, padding="same", depth_multiplier=2)(f32[N,7,6,4]) -> f32[N,7,6,8]
    """

    rank = 2


Convolution1D, Convolution2D, Convolution3D = Conv1D, Conv2D, Conv3D
SeparableConvolution1D, SeparableConvolution2D = SeparableConv1D, SeparableConv2D
