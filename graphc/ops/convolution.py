"""Convolutions and pooling of [N, *spatial, channels], or [N, channels, *spatial]. https://keras.io/api/ops/nn/"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.config import image_data_format
from graphc.eager import Array, op
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value
from graphc.names import choose

__all__ = ["adaptive_average_pool", "adaptive_max_pool", "average_pool", "conv", "conv_transpose", "depthwise_conv",
           "fold", "in_last_format", "max_pool", "separable_conv", "unfold"]

Size = Any


def in_last_format(x: Value, data_format: str | None, function: Callable[[Value], Value]) -> Value:
    """A function of images whose channels come last, of images in either format."""
    names = ("channels_last", "channels_first")
    chosen = choose("data_format", data_format or image_data_format(), {n: n for n in names})
    if chosen == "channels_last":
        return function(x)
    batched = x.ndim != 3  # a single image has no axis for the batch
    return f.moveaxis(function(f.moveaxis(x, 1 if batched else 0, -1)), -1, 1 if batched else 0)


def _letters(rank: int) -> tuple[str, str]:
    return "hwd"[:rank], "uvt"[:rank]


def _together(x: Value, *kernels: Value) -> list[Value]:
    dtype = f.common_dtype(*(f.to_float(v) for v in (x, *kernels)))
    return [f.cast(v, dtype) for v in (x, *kernels)]


def _kernel_size(x: Value, kernel: Value, name: str) -> tuple[int, ...]:
    if kernel.ndim != x.ndim or x.ndim < 3:
        raise ShapeError(f"{name} needs inputs [N, *spatial, channels] and a kernel [*size, channels, filters] with "
                         f"as many axes, received {x.type} and {kernel.type}.")
    return tuple(int(k) for k in kernel.shape[:-2])  # type: ignore[arg-type]


@op
def conv(inputs: Array, kernel: Array, strides: Size = 1, padding: str = "valid", data_format: str | None = None,
         dilation_rate: Size = 1) -> Array:
    """The convolution with a kernel [*size, channels, filters].

    A kernel of fewer channels than the inputs has them divided into groups, each with its part of the filters.
    """
    inputs, kernel = _together(inputs, kernel)
    return in_last_format(inputs, data_format, lambda x: f.conv(x, kernel, strides, padding.lower(), dilation_rate))


def _depthwise(x: Value, kernel: Value, strides: Size, padding: str, dilation: Size) -> Value:
    size = _kernel_size(x, kernel, "depthwise_conv")
    if kernel.shape[-2] != x.shape[-1]:
        raise ShapeError(f"depthwise_conv needs a kernel with the {x.shape[-1]} channels of {x.type}, received "
                         f"{kernel.type}.")
    taps = f.taps(x, size, strides, padding.lower(), dilation)
    position, tap = _letters(len(size))
    if kernel.shape[-1] == 1:
        return f.einsum(f"n{position}{tap}g,{tap}g->n{position}g", taps, f.squeeze(kernel, -1))
    result = f.einsum(f"n{position}{tap}g,{tap}go->n{position}go", taps, kernel)
    return f.reshape(result, (*result.shape[:-2], result.shape[-2] * result.shape[-1]))


@op
def depthwise_conv(inputs: Array, kernel: Array, strides: Size = 1, padding: str = "valid",
                   data_format: str | None = None, dilation_rate: Size = 1) -> Array:
    """The convolution of each channel by itself with a kernel [*size, channels, filters of each]."""
    inputs, kernel = _together(inputs, kernel)
    return in_last_format(inputs, data_format, lambda x: _depthwise(x, kernel, strides, padding, dilation_rate))


@op
def separable_conv(inputs: Array, depthwise_kernel: Array, pointwise_kernel: Array, strides: Size = 1,
                   padding: str = "valid", data_format: str | None = None, dilation_rate: Size = 1) -> Array:
    """`depthwise_conv`, and then a convolution of size 1 over its results."""
    inputs, depthwise, pointwise = _together(inputs, depthwise_kernel, pointwise_kernel)

    def both(x: Value) -> Value:
        return f.conv(_depthwise(x, depthwise, strides, padding, dilation_rate), pointwise)

    return in_last_format(inputs, data_format, both)


# ------------------------------------------------------------------------------------------------- transposed

@op
def conv_transpose(inputs: Array, kernel: Array, strides: Size = 1, padding: str = "valid", output_padding: Any = None,
                   data_format: str | None = None, dilation_rate: Size = 1) -> Array:
    """The adjoint of a convolution, with a kernel [*size, filters, channels]: every pixel adds its multiple of it.

    'same' gives n * strides pixels, 'valid' all that are reached; `output_padding` sets the size exactly.
    """
    inputs, kernel = _together(inputs, kernel)
    size = _kernel_size(inputs, kernel, "conv_transpose")
    rank = len(size)
    strides, dilation = f.per_axis(strides, rank, "strides"), f.per_axis(dilation_rate, rank, "dilation_rate")
    padding = choose("padding", padding.lower(), {p: p for p in ("valid", "same")})
    more = (output_padding,) * rank if isinstance(output_padding, int | None) else tuple(output_padding)

    def transposed(x: Value) -> Value:
        if x.shape[-1] != kernel.shape[-1]:
            raise ShapeError(f"conv_transpose needs {kernel.shape[-1]} channels, received {x.type}.")
        position, tap = _letters(rank)
        taps = f.einsum(f"n{position}c,{tap}oc->n{position}{tap}o", x, kernel)
        reach = [(k - 1) * d + 1 for k, d in zip(size, dilation, strict=True)]
        whole = [(n - 1) * s + r for n, s, r in zip(x.shape[1:-1], strides, reach, strict=True)]
        ends = [_ends(padding, *numbers) for numbers in zip(reach, strides, more, strict=True)]
        return _with_ends(f.fold(taps, tuple(whole), strides, dilation), ends)

    return in_last_format(inputs, data_format, transposed)


def _ends(padding: str, reach: int, stride: int, more: int | None) -> tuple[int, int]:
    """How many elements to add before and after, or to take away where negative; `more` is the output padding."""
    if padding == "valid":
        return 0, max(stride - reach, 0) if more is None else more
    longer = stride - reach if more is None else reach % 2 + more - reach
    total = longer + 2 * (reach - 1)
    before = min(total - total // 2, reach - 1) - (reach - 1)
    return before, longer - before


def _with_ends(x: Value, ends: Sequence[tuple[int, int]]) -> Value:
    """Images with zeros added at the ends, or pixels taken away where the numbers are negative."""
    padded = f.pad(x, [(0, 0), *((max(b, 0), max(a, 0)) for b, a in ends), (0, 0)])
    shape = (x.shape[0], *(n + b + a for n, (b, a) in zip(x.shape[1:-1], ends, strict=True)), x.shape[-1])
    return f.slice(padded, (0, *(max(-b, 0) for b, _ in ends), 0), shape)


# ---------------------------------------------------------------------------------------------------- pooling

@op
def max_pool(inputs: Array, pool_size: Size, strides: Size | None = None, padding: str = "valid",
             data_format: str | None = None) -> Array:
    """The maximum of each window; the windows lie side by side where there are no strides."""
    return in_last_format(inputs, data_format, lambda x: f.max_pool(x, pool_size, strides, padding.lower()))


@op
def average_pool(inputs: Array, pool_size: Size, strides: Size | None = None, padding: str = "valid",
                 data_format: str | None = None) -> Array:
    """The mean of each window; padding does not count."""
    return in_last_format(inputs, data_format, lambda x: f.average_pool(x, pool_size, strides, padding.lower()))


def _adaptive(x: Value, output_size: Size, reduce: Callable[..., Value]) -> Value:
    """Each axis cut into so many parts, as equal as they can be; neighbours may share an element."""
    sizes = f.per_axis(output_size, x.ndim - 2, "output_size")
    for axis, count in enumerate(sizes, 1):
        n = x.shape[axis]
        if not isinstance(n, int):
            raise ShapeError(f"Adaptive pooling needs known extents, received {x.type}.")
        parts = []
        for i in range(count):
            start, stop = i * n // count, -(-(i + 1) * n // count)
            shape = tuple(stop - start if a == axis else m for a, m in enumerate(x.shape))
            block = f.slice(x, tuple(start if a == axis else 0 for a in range(x.ndim)), shape)
            parts.append(reduce(block, axis, keepdims=True))
        x = f.concatenate(parts, axis)
    return x


@op
def adaptive_max_pool(inputs: Array, output_size: Size, data_format: str | None = None) -> Array:
    """The maxima of so many parts of each axis."""
    return in_last_format(inputs, data_format, lambda x: _adaptive(x, output_size, f.max))


@op
def adaptive_average_pool(inputs: Array, output_size: Size, data_format: str | None = None) -> Array:
    """The means of so many parts of each axis."""
    return in_last_format(f.to_float(inputs), data_format, lambda x: _adaptive(x, output_size, f.mean))


# ------------------------------------------------------------------------------------- windows as torch has them

def _two(value: Any, name: str) -> tuple[int, int]:
    numbers = (value,) * 2 if isinstance(value, int | np.integer) else tuple(value)
    if len(numbers) != 2:
        raise ValueError(f"{name}={value!r}: expected a number or two.")
    return int(numbers[0]), int(numbers[1])


@op
def unfold(x: Array, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Array:
    """The windows of images [N, channels, height, width] as columns: [N, channels * size, positions]."""
    size, padded = _two(kernel_size, "kernel_size"), _two(padding, "padding")
    x = f.pad(f.moveaxis(x, 1, -1), [(0, 0), *((p, p) for p in padded), (0, 0)])
    taps = f.windows(x, size, _two(stride, "stride"), _two(dilation, "dilation"))  # n h w u v c
    n, h, w, u, v, c = taps.shape
    return f.reshape(f.transpose(taps, (0, 5, 3, 4, 1, 2)), (n, c * u * v, h * w))


@op
def fold(x: Array, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Array:
    """The adjoint of `unfold`: the columns added up in images [N, channels, *output_size]."""
    size, padded, out = _two(kernel_size, "kernel_size"), _two(padding, "padding"), _two(output_size, "output_size")
    strides, dilations = _two(stride, "stride"), _two(dilation, "dilation")
    whole = [n + 2 * p for n, p in zip(out, padded, strict=True)]
    counts = [(n - (k - 1) * d - 1) // s + 1 for n, k, d, s in zip(whole, size, dilations, strides, strict=True)]
    channels = x.shape[1] // (size[0] * size[1])
    taps = f.reshape(x, (x.shape[0], channels, *size, *counts))
    images = f.fold(f.transpose(taps, (0, 4, 5, 2, 3, 1)), tuple(whole), strides, dilations)
    images = f.slice(images, (0, *padded, 0), (x.shape[0], *out, channels))
    return f.moveaxis(images, -1, 1)
