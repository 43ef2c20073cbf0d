"""Convolutions of [N, *spatial, channels]. https://keras.io/api/layers/convolution_layers/"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc import activations, initializers
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value
from graphc.ir.types import Dim
from graphc.layers.core import positive
from graphc.layers.layer import Layer
from graphc.names import choose

__all__ = ["Conv1D", "Conv2D", "Conv2DTranspose", "Convolution1D", "Convolution2D", "Convolution2DTranspose",
           "DepthwiseConv2D", "SeparableConv2D", "SeparableConvolution2D", "check_axes", "extents", "padding_mode"]


def check_axes(owner: str, input_shape: Any, rank: int) -> None:
    """Refuse inputs that don't have the batch, `rank` spatial axes and the channels."""
    if len(input_shape) != rank + 2:
        spatial = {1: "the steps", 2: "height, width"}[rank]
        raise ShapeError(f"{owner} needs {rank + 2} axes: the batch, {spatial}, and the channels. Data without "
                         "channels get them with numpy.expand_dims(x, -1).")


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


def _taps(x: Value, size: Sequence[int], strides: Sequence[int], padding: str, dilation: Sequence[int]) -> Value:
    """Every window of the padded images: [N, *positions, *size, channels]."""
    return f.windows(f.pad_windows(x, size, strides, dilation, padding, 0.0), size, strides, dilation)


def _grouped(x: Value, kernel: Value, groups: int, strides: Sequence[int], padding: str,
             dilation: Sequence[int]) -> Value:
    """The convolution whose channels come in groups: filters see the channels of their group only.

    The kernel is [*size, channels of a group, filters]; the filters of the first group come first.
    """
    *size, channels, filters = map(int, kernel.shape)  # type: ignore[arg-type]
    taps = _taps(x, size, strides, padding, dilation)
    taps = f.reshape(taps, (*taps.shape[:-1], groups, channels))
    kernel = f.reshape(kernel, (*size, channels, groups, filters // groups))
    position, tap = "hwd"[:len(size)], "uvt"[:len(size)]
    result = f.einsum(f"n{position}{tap}gc,{tap}cgo->n{position}go", taps, kernel)
    return f.reshape(result, (*result.shape[:-2], filters))


def _depthwise(x: Value, kernel: Value, strides: Sequence[int], padding: str, dilation: Sequence[int]) -> Value:
    """The convolution of each channel by itself with a kernel [*size, channels, filters of each]."""
    *size, channels, multiplier = map(int, kernel.shape)  # type: ignore[arg-type]
    taps = _taps(x, size, strides, padding, dilation)
    if multiplier == 1:
        return f.einsum("nhwuvg,uvg->nhwg", taps, f.squeeze(kernel, -1))
    result = f.einsum("nhwuvg,uvgo->nhwgo", taps, kernel)
    return f.reshape(result, (*result.shape[:-2], channels * multiplier))


class _Windowed(Layer):
    """What layers of windows with weights share: the options of the windows, activation and bias."""

    rank = 0

    def __init__(self, kernel_size: Any, strides: Any = 1, padding: str = "valid", data_format: str | None = None,
                 dilation_rate: Any = 1, activation: Any = None, use_bias: bool = True,
                 bias_initializer: Any = "zeros", **kwargs: Any):
        super().__init__(**kwargs)
        owner = type(self).__name__
        self.kernel_size = extents(owner, "kernel_size", kernel_size, self.rank)
        self.strides = extents(owner, "strides", strides, self.rank)
        self.dilation_rate = extents(owner, "dilation_rate", dilation_rate, self.rank)
        self.padding = padding_mode(owner, padding, data_format)
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(f"{owner}(strides={strides!r}, dilation_rate={dilation_rate!r}): only one of the two can "
                             "be larger than 1.")
        self.activation, self.use_bias = activations.get(activation), use_bias
        self.bias_initializer = initializers.get(bias_initializer)

    def build(self, input_shape: Any) -> None:
        check_axes(type(self).__name__, input_shape, self.rank)
        if input_shape[-1] is None:
            raise ShapeError(f"{type(self).__name__} needs a known number of channels.")
        self.add_kernels(input_shape[-1])
        self.bias = self.add_weight((self.channels(input_shape[-1]),), self.bias_initializer, name="bias") \
            if self.use_bias else None

    def add_kernels(self, channels: int) -> None:
        """Make the weights for inputs of that many channels."""
        raise NotImplementedError

    def channels(self, channels: int) -> int:
        """How many the result has, for inputs of that many."""
        raise NotImplementedError

    def call(self, inputs: Value) -> Value:
        result = self.convolve(inputs)
        return self.activation(result if self.bias is None else f.add(result, self.bias))

    def convolve(self, inputs: Value) -> Value:
        """The result without bias and activation."""
        raise NotImplementedError


class _Conv(_Windowed):
    """What the convolutions of every rank share."""

    def __init__(self, filters: int, kernel_size: Any, strides: Any = 1, padding: str = "valid",
                 data_format: str | None = None, dilation_rate: Any = 1, groups: int = 1, activation: Any = None,
                 use_bias: bool = True, kernel_initializer: Any = "glorot_uniform", bias_initializer: Any = "zeros",
                 **kwargs: Any):
        super().__init__(kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias,
                         bias_initializer, **kwargs)
        owner = type(self).__name__
        self.filters, self.groups = positive(owner, "filters", filters), positive(owner, "groups", groups)
        if self.filters % self.groups:
            raise ValueError(f"{owner}(filters={filters}, groups={groups}): the filters don't divide into groups.")
        self.kernel_initializer = initializers.get(kernel_initializer)

    def add_kernels(self, channels: int) -> None:
        if channels % self.groups:
            raise ShapeError(f"{channels} channels don't divide into groups={self.groups}.")
        shape = (*self.kernel_size, channels // self.groups, self.filters)
        self.kernel = self.add_weight(shape, self.kernel_initializer, name="kernel")

    def channels(self, channels: int) -> int:
        return self.filters

    def convolve(self, inputs: Value) -> Value:
        if self.groups == 1:
            return f.conv(inputs, self.kernel, self.strides, self.padding, self.dilation_rate)
        return _grouped(inputs, self.kernel, self.groups, self.strides, self.padding, self.dilation_rate)


class Conv1D(_Conv):
    """A convolution along one axis; `padding` is 'valid' or 'same'.

    Conv1D(8, 3)(f32[N,10,4]) -> f32[N,8,8]
    Conv1D(8, 3, strides=2, padding="same")(f32[N,9,4]) -> f32[N,5,8]
    Conv1D(8, 3, groups=4)(f32[N,10,4]) -> f32[N,8,8]
    """

    rank = 1


class Conv2D(_Conv):
    """A convolution of images; `padding` is 'valid' or 'same'.

    With `groups`, the channels and the filters divide into as many parts, and filters see their own part only.

    Conv2D(32, (3, 3))(f32[N,28,28,1]) -> f32[N,26,26,32]
    Conv2D(8, 3, strides=2, padding="same")(f32[N,7,6,3]) -> f32[N,4,3,8]
    Conv2D(8, 3, dilation_rate=2)(f32[N,7,6,3]) -> f32[N,3,2,8]
    Conv2D(8, 3, groups=2)(f32[N,7,6,4]) -> f32[N,5,4,8]
    Conv2D(8, 3)(f32[N,28,28]) -> ShapeError: Conv2D needs 4 axes
    Conv2D(8, 5)(f32[N,4,4,1]) -> ShapeError: windows
    Conv2D(8, 3, groups=2)(f32[N,7,6,3]) -> ShapeError: 3 channels don't divide into groups=2
    """

    rank = 2


class DepthwiseConv2D(_Windowed):
    """A convolution of each channel by itself, with `depth_multiplier` filters for each.

    DepthwiseConv2D(3)(f32[N,7,6,4]) -> f32[N,5,4,4]
    DepthwiseConv2D((3, 2), strides=2, padding="same", depth_multiplier=2)(f32[N,7,6,4]) -> f32[N,4,3,8]
    """

    rank = 2

    def __init__(self, kernel_size: Any, strides: Any = 1, padding: str = "valid", depth_multiplier: int = 1,
                 data_format: str | None = None, dilation_rate: Any = 1, activation: Any = None,
                 use_bias: bool = True, depthwise_initializer: Any = "glorot_uniform",
                 bias_initializer: Any = "zeros", **kwargs: Any):
        super().__init__(kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias,
                         bias_initializer, **kwargs)
        self.depth_multiplier = positive("DepthwiseConv2D", "depth_multiplier", depth_multiplier)
        self.depthwise_initializer = initializers.get(depthwise_initializer)

    def add_kernels(self, channels: int) -> None:
        shape = (*self.kernel_size, channels, self.depth_multiplier)
        self.kernel = self.add_weight(shape, self.depthwise_initializer, name="kernel")

    def channels(self, channels: int) -> int:
        return channels * self.depth_multiplier

    def convolve(self, inputs: Value) -> Value:
        return _depthwise(inputs, self.kernel, self.strides, self.padding, self.dilation_rate)


class SeparableConv2D(_Windowed):
    """A convolution of each channel by itself, and then one of size 1 over the results.

    SeparableConv2D(8, 3)(f32[N,7,6,4]) -> f32[N,5,4,8]
    SeparableConv2D(8, 3, padding="same", depth_multiplier=2)(f32[N,7,6,4]) -> f32[N,7,6,8]
    """

    rank = 2

    def __init__(self, filters: int, kernel_size: Any, strides: Any = 1, padding: str = "valid",
                 data_format: str | None = None, dilation_rate: Any = 1, depth_multiplier: int = 1,
                 activation: Any = None, use_bias: bool = True, depthwise_initializer: Any = "glorot_uniform",
                 pointwise_initializer: Any = "glorot_uniform", bias_initializer: Any = "zeros", **kwargs: Any):
        super().__init__(kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias,
                         bias_initializer, **kwargs)
        self.filters = positive("SeparableConv2D", "filters", filters)
        self.depth_multiplier = positive("SeparableConv2D", "depth_multiplier", depth_multiplier)
        self.depthwise_initializer = initializers.get(depthwise_initializer)
        self.pointwise_initializer = initializers.get(pointwise_initializer)

    def add_kernels(self, channels: int) -> None:
        each = (*self.kernel_size, channels, self.depth_multiplier)
        self.depthwise_kernel = self.add_weight(each, self.depthwise_initializer, name="depthwise_kernel")
        across = (1, 1, channels * self.depth_multiplier, self.filters)
        self.pointwise_kernel = self.add_weight(across, self.pointwise_initializer, name="pointwise_kernel")

    def channels(self, channels: int) -> int:
        return self.filters

    def convolve(self, inputs: Value) -> Value:
        each = _depthwise(inputs, self.depthwise_kernel, self.strides, self.padding, self.dilation_rate)
        return f.conv(each, self.pointwise_kernel)


class Conv2DTranspose(_Windowed):
    """The adjoint of a convolution: every pixel adds its multiple of the kernel to a larger image.

    Windows may be cut off ('same': n * strides pixels) or not ('valid'); `output_padding` sets the size exactly.

    Conv2DTranspose(8, 3)(f32[N,4,5,3]) -> f32[N,6,7,8]
    Conv2DTranspose(8, 3, strides=2, padding="same")(f32[N,4,5,3]) -> f32[N,8,10,8]
    Conv2DTranspose(8, 3, strides=2, padding="same", output_padding=0)(f32[N,4,5,3]) -> f32[N,7,9,8]
    Conv2DTranspose(8, 3, strides=2)(f32[N,D1,5,3]) -> ShapeError: Conv2DTranspose needs known
    """

    rank = 2

    def __init__(self, filters: int, kernel_size: Any, strides: Any = 1, padding: str = "valid",
                 output_padding: Any = None, data_format: str | None = None, dilation_rate: Any = 1,
                 activation: Any = None, use_bias: bool = True, kernel_initializer: Any = "glorot_uniform",
                 bias_initializer: Any = "zeros", **kwargs: Any):
        super().__init__(kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias,
                         bias_initializer, **kwargs)
        self.filters = positive("Conv2DTranspose", "filters", filters)
        self.kernel_initializer = initializers.get(kernel_initializer)
        one = isinstance(output_padding, int) or output_padding is None
        given = (output_padding,) * 2 if one else tuple(output_padding)
        if len(given) != 2 or any(p is not None and not 0 <= p < s for p, s in zip(given, self.strides, strict=True)):
            raise ValueError(f"Conv2DTranspose(output_padding={output_padding!r}): expected one or two integers from 0 "
                             f"on, smaller than strides={self.strides}.")
        self.output_padding = None if output_padding is None else given

    def add_kernels(self, channels: int) -> None:
        shape = (*self.kernel_size, self.filters, channels)
        self.kernel = self.add_weight(shape, self.kernel_initializer, name="kernel")

    def channels(self, channels: int) -> int:
        return self.filters

    def convolve(self, inputs: Value) -> Value:
        if any(isinstance(n, Dim) for n in inputs.shape[1:3]):
            raise ShapeError("Conv2DTranspose needs known extents of its images.")
        taps = f.einsum("nhwc,uvoc->nhwuvo", inputs, self.kernel)
        reach = [(k - 1) * d + 1 for k, d in zip(self.kernel_size, self.dilation_rate, strict=True)]
        whole = [(n - 1) * s + r for n, s, r in zip(inputs.shape[1:3], self.strides, reach, strict=True)]
        result = f.fold(taps, tuple(whole), self.strides, self.dilation_rate)
        ends = map(self._ends, reach, self.strides, self.output_padding or (None, None))
        return _with_ends(result, list(ends))

    def _ends(self, reach: int, stride: int, more: int | None) -> tuple[int, int]:
        """How many pixels to add before and after, or to take away where negative; `more` is the output padding."""
        if self.padding == "valid":
            return 0, max(stride - reach, 0) if more is None else more
        longer = stride - reach if more is None else reach % 2 + more - reach
        total = longer + 2 * (reach - 1)
        before = min(total - total // 2, reach - 1) - (reach - 1)
        return before, longer - before


def _with_ends(x: Value, ends: Sequence[tuple[int, int]]) -> Value:
    """The images with zeros added at the ends, or pixels taken away where the numbers are negative."""
    padded = f.pad(x, [(0, 0), *((max(b, 0), max(a, 0)) for b, a in ends), (0, 0)])
    shape = (x.shape[0], *(n + b + a for n, (b, a) in zip(x.shape[1:-1], ends, strict=True)), x.shape[-1])
    return f.slice(padded, (0, *(max(-b, 0) for b, _ in ends), 0), shape)


Convolution1D, Convolution2D, Convolution2DTranspose = Conv1D, Conv2D, Conv2DTranspose
SeparableConvolution2D = SeparableConv2D
