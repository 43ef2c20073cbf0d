"""Images [N, height, width, channels], one image, or with the channels first. https://keras.io/api/ops/image/"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.eager import Array, op
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value
from graphc.names import choose
from graphc.ops.convolution import in_last_format
from graphc.resampling import INTERPOLATIONS, fitted, known_size, proportioned, resized, sampled

__all__ = ["affine_transform", "crop_images", "extract_patches", "hsv_to_rgb", "map_coordinates", "pad_images",
           "resize", "rgb_to_grayscale", "rgb_to_hsv", "sobel_edges"]


def _known(x: Value, name: str) -> tuple[int, int]:
    """The height and the width of images in the last three axes."""
    if x.ndim not in (3, 4):
        raise ShapeError(f"{name} needs images [N, height, width, channels] or one without N, received {x.type}.")
    height, width = x.shape[-3:-1]
    if not isinstance(height, int) or not isinstance(width, int):
        raise ShapeError(f"{name} needs images of known height and width, received {x.type}.")
    return height, width


# --------------------------------------------------------------------------------------------------- resizing

@op
def resize(images: Array, size: Sequence[int], interpolation: str = "bilinear", antialias: bool = False,
           crop_to_aspect_ratio: bool = False, pad_to_aspect_ratio: bool = False, fill_mode: str = "constant",
           fill_value: float = 0.0, data_format: str | None = None) -> Array:
    """Images of another height and width, by 'bilinear', 'nearest', 'bicubic', 'lanczos3' or 'lanczos5' resampling.

    Where the aspect ratio differs, images are stretched, or cut to the new ratio, or filled up to it with a number.
    """
    choose("interpolation", interpolation, INTERPOLATIONS)
    if crop_to_aspect_ratio and pad_to_aspect_ratio:
        raise ValueError("resize: only one of crop_to_aspect_ratio and pad_to_aspect_ratio can be True.")
    if fill_mode != "constant":
        raise ValueError(f"resize(fill_mode={fill_mode!r}): expected 'constant'.")
    wanted = tuple(int(n) for n in size)
    if len(wanted) != 2 or min(wanted) < 1:
        raise ValueError(f"resize(size={size!r}): expected a height and a width.")

    def resize(x: Value) -> Value:
        x = x if x.ndim == 4 else f.expand_dims(x, 0)
        if crop_to_aspect_ratio:
            return fitted("resize", x, *wanted, interpolation, antialias)
        if pad_to_aspect_ratio:
            given = known_size("resize", x)
            ends = [max(m - n, 0) // 2 for n, m in zip(given, proportioned(given, *wanted), strict=True)]
            x = f.pad(x, [(0, 0), *((n, n) for n in ends), (0, 0)], fill_value)
        return resized(x, *wanted, interpolation, antialias)

    def typed(x: Value) -> Value:
        result = resize(x) if x.ndim == 4 else f.squeeze(resize(x), 0)
        if x.dtype.is_float or interpolation == "nearest":
            return f.cast(result, x.dtype)
        limits = np.iinfo(x.dtype.numpy)
        return f.cast(f.clip(f.round(result), float(limits.min), float(limits.max)), x.dtype)

    return in_last_format(images, data_format, typed)


def _block(x: Value, start: Sequence[int], size: Sequence[int]) -> Value:
    """A rectangle of images."""
    lead = x.ndim - 3
    return f.slice(x, ((0,) * lead) + (*start, 0), (*x.shape[:lead], *size, x.shape[-1]))


# ---------------------------------------------------------------------------------------------- transformations

_FILLS = ("constant", "nearest", "wrap", "mirror", "reflect")


@op
def affine_transform(images: Array, transform: Array, interpolation: str = "bilinear", fill_mode: str = "constant",
                     fill_value: float = 0, data_format: str | None = None) -> Array:
    """Images whose pixel (x, y) is that at (a0 x + a1 y + a2, b0 x + b1 y + b2) / (c0 x + c1 y + 1) of the given ones.

    A transform is [a0, a1, a2, b0, b1, b2, c0, c1], one for all images or one for each. `fill_mode` says what lies
    outside: 'constant' the fill value, 'nearest' the edge, 'wrap' the other end, 'reflect' the mirror image with the
    edge, 'mirror' without.
    """
    order = choose("interpolation", interpolation, {"nearest": 0, "bilinear": 1})
    mode = choose("fill_mode", fill_mode, {n: n for n in _FILLS})

    def transformed(x: Value) -> Value:
        height, width = _known(x, "affine_transform")
        batched = x if x.ndim == 4 else f.expand_dims(x, 0)
        a = f.to_float(transform)
        a = a if a.ndim == 2 else f.expand_dims(a, 0)
        if a.shape[-1] != 8 or a.shape[0] not in (1, batched.shape[0]):
            raise ShapeError(f"affine_transform needs 8 numbers, for all images or for each of {x.type}, received "
                             f"{transform.type}.")
        shape = (batched.shape[0], height, width)
        numbers = [f.broadcast_to(f.reshape(f.getitem(a, (Ellipsis, i)), (a.shape[0], 1, 1)), shape) for i in range(8)]
        across, down = f.iota(shape, (2,), "f32"), f.iota(shape, (1,), "f32")
        depth = numbers[6] * across + numbers[7] * down + 1.0
        xs = (numbers[0] * across + numbers[1] * down + numbers[2]) / depth
        ys = (numbers[3] * across + numbers[4] * down + numbers[5]) / depth
        result = sampled(batched, [ys, xs], order, mode, fill_value)
        return result if x.ndim == 4 else f.squeeze(result, 0)

    return in_last_format(images, data_format, transformed)


@op
def map_coordinates(inputs: Array, coordinates: Array, order: int, fill_mode: str = "constant",
                    fill_value: float = 0) -> Array:
    """The elements of an array at fractional places, of which `coordinates` has one for each axis along its first.

    Order 0 takes the nearest element, 1 weighs the ones around the place; see `affine_transform` for the rest.
    """
    mode = choose("fill_mode", fill_mode, {n: n for n in _FILLS})
    if order not in (0, 1):
        raise NotImplementedError(f"map_coordinates(order={order}): expected 0 or 1.")
    if coordinates.shape[0] != inputs.ndim:
        raise ShapeError(f"map_coordinates needs a coordinate for each axis of {inputs.type}, received "
                         f"{coordinates.type}.")
    places = [f.expand_dims(f.to_float(f.getitem(coordinates, i)), 0) for i in range(inputs.ndim)]
    flat = f.expand_dims(f.expand_dims(inputs, inputs.ndim), 0)
    return f.squeeze(f.squeeze(sampled(flat, places, order, mode, fill_value), -1), 0)


# ----------------------------------------------------------------------------------------------- cut and pad

@op
def pad_images(images: Array, top_padding: int | None = None, left_padding: int | None = None,
               bottom_padding: int | None = None, right_padding: int | None = None, target_height: int | None = None,
               target_width: int | None = None, data_format: str | None = None) -> Array:
    """Images with zeros around them: two of top, bottom and the height, and of left, right and the width, say how."""
    def padded(x: Value) -> Value:
        height, width = _known(x, "pad_images")
        ends = [_missing("pad_images", height, top_padding, bottom_padding, target_height, "top", "bottom", 1),
                _missing("pad_images", width, left_padding, right_padding, target_width, "left", "right", 1)]
        return f.pad(x, [*[(0, 0)] * (x.ndim - 3), *ends, (0, 0)])

    return in_last_format(images, data_format, padded)


@op
def crop_images(images: Array, top_cropping: int | None = None, left_cropping: int | None = None,
                bottom_cropping: int | None = None, right_cropping: int | None = None, target_height: int | None = None,
                target_width: int | None = None, data_format: str | None = None) -> Array:
    """Images without their edges: two of top, bottom and the height, and of left, right and the width, say how."""
    def cropped(x: Value) -> Value:
        height, width = _known(x, "crop_images")
        (top, bottom), (left, right) = (
            _missing("crop_images", height, top_cropping, bottom_cropping, target_height, "top", "bottom", -1),
            _missing("crop_images", width, left_cropping, right_cropping, target_width, "left", "right", -1))
        return _block(x, (top, left), (height - top - bottom, width - left - right))

    return in_last_format(images, data_format, cropped)


def _missing(name: str, extent: int, before: int | None, after: int | None, target: int | None, first: str, second: str,
             sign: int) -> tuple[int, int]:
    """The numbers before and after, of which one may follow from the new extent."""
    if [before, after, target].count(None) != 1:
        raise ValueError(f"{name} needs two of {first}, {second} and the target, received {before}, {after} and "
                         f"{target}.")
    if before is None:
        before = sign * (target - extent) - after  # type: ignore[operator]
    elif after is None:
        after = sign * (target - extent) - before  # type: ignore[operator]
    if before < 0 or after < 0 or (sign < 0 and before + after >= extent):  # type: ignore[operator]
        raise ValueError(f"{name}: {first} {before} and {second} {after} are not possible for an extent of {extent}.")
    return before, after  # type: ignore[return-value]


@op
def extract_patches(images: Array, size: Any, strides: Any = None, dilation_rate: Any = 1, padding: str = "valid",
                    data_format: str | None = None) -> Array:
    """The windows of images, the pixels of each in a row as channels: [N, rows, columns, pixels * channels]."""
    window = f.per_axis(size, 2, "size")
    steps = window if strides is None else f.per_axis(strides, 2, "strides")
    dilation = f.per_axis(dilation_rate, 2, "dilation_rate")

    def patches(x: Value) -> Value:
        batched = x if x.ndim == 4 else f.expand_dims(x, 0)
        taps = f.windows(f.pad_windows(batched, window, steps, dilation, padding.lower(), 0.0), window, steps, dilation)
        n, rows, columns = taps.shape[:3]
        result = f.reshape(taps, (n, rows, columns, window[0] * window[1] * x.shape[-1]))
        return result if x.ndim == 4 else f.squeeze(result, 0)

    return in_last_format(images, data_format, patches)


# ------------------------------------------------------------------------------------------------------ colours

def _colours(x: Value, name: str) -> list[Value]:
    if not x.ndim or x.shape[-1] != 3:
        raise ShapeError(f"{name} needs images of three channels, received {x.type}.")
    return [f.getitem(x, (Ellipsis, np.s_[i:i + 1])) for i in range(3)]


@op
def rgb_to_grayscale(images: Array, data_format: str | None = None) -> Array:
    """The brightness of red, green and blue as one channel (ITU-R BT.601)."""
    def gray(x: Value) -> Value:
        red, green, blue = map(f.to_float, _colours(x, "rgb_to_grayscale"))
        return f.cast(red * 0.2989 + green * 0.587 + blue * 0.114, x.dtype)

    return in_last_format(images, data_format, gray)


@op
def rgb_to_hsv(images: Array, data_format: str | None = None) -> Array:
    """Red, green and blue from 0 to 1 as hue, saturation and value from 0 to 1."""
    def hsv(x: Value) -> Value:
        red, green, blue = _colours(x, "rgb_to_hsv")
        value = f.maximum(f.maximum(red, green), blue)
        spread = value - f.minimum(f.minimum(red, green), blue)
        grey, black = f.equal(spread, 0.0), f.equal(value, 0.0)
        saturation = f.where(black, 0.0, spread / f.where(black, 1.0, value))
        unit = 1.0 / (6.0 * f.where(grey, 1.0, spread))
        hue = f.where(f.equal(red, value), unit * (green - blue), f.where(
            f.equal(green, value), unit * (blue - red) + 2 / 6, unit * (red - green) + 4 / 6))
        hue = f.where(grey, 0.0, f.where(f.less(hue, 0.0), hue + 1.0, hue))
        return f.concatenate([hue, saturation, value], x.ndim - 1)

    return in_last_format(f.to_float(images), data_format, hsv)


@op
def hsv_to_rgb(images: Array, data_format: str | None = None) -> Array:
    """Hue, saturation and value from 0 to 1 as red, green and blue from 0 to 1."""
    def rgb(x: Value) -> Value:
        hue, saturation, value = _colours(x, "hsv_to_rgb")
        turn = hue * 6.0
        shares = (f.absolute(turn - 3.0) - 1.0, 2.0 - f.absolute(turn - 2.0), 2.0 - f.absolute(turn - 4.0))
        return f.concatenate([((f.clip(s, 0.0, 1.0) - 1.0) * saturation + 1.0) * value for s in shares], x.ndim - 1)

    return in_last_format(f.to_float(images), data_format, rgb)


@op
def sobel_edges(images: Array, data_format: str | None = None) -> Array:
    """The changes of brightness downwards and to the right, as a new last axis of two (I. Sobel, 1968)."""
    kernels = np.array([[[-1, -2, -1], [0, 0, 0], [1, 2, 1]], [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]], np.float32)
    first = data_format == "channels_first"
    x = f.to_float(f.moveaxis(images, 1, -1) if first else images)
    _known(x, "sobel_edges")
    edged = x
    for axis in (1, 2):
        n = int(x.shape[axis])  # type: ignore[arg-type]
        edged = f.take(edged, f.lifted(np.pad(np.arange(n, dtype=np.int32), 1, mode="reflect")), axis)
    taps = f.windows(edged, (3, 3), (1, 1), (1, 1))
    result = f.einsum("nhwuvc,kuv->nhwck", taps, f.cast(f.lifted(kernels), x.dtype))
    return f.moveaxis(result, 3, 1) if first else result
