"""Images moved, turned, sheared, zoomed and shifted in brightness, in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["apply_affine_transform", "apply_brightness_shift", "apply_channel_shift", "random_brightness",
           "random_channel_shift", "random_rotation", "random_shear", "random_shift", "random_zoom"]

_MODES = ("constant", "nearest", "reflect", "wrap")


def apply_affine_transform(x: Any, theta: float = 0, tx: float = 0, ty: float = 0, shear: float = 0, zx: float = 1,
                           zy: float = 1, row_axis: int = 1, col_axis: int = 2, channel_axis: int = 0,
                           fill_mode: str = "nearest", cval: float = 0.0, order: int = 1) -> np.ndarray:
    """An image turned by `theta` degrees, moved by `tx` columns and `ty` rows, sheared by degrees, and zoomed out.

    Pixels are read at their places before, to the nearest (`order` 0) or between the four around (1). `fill_mode` says
    what lies outside: 'nearest', 'constant' with `cval`, 'reflect' or 'wrap'.
    """
    image = np.asarray(x)
    if image.ndim != 3 or sorted((row_axis, col_axis, channel_axis)) != [0, 1, 2]:
        raise ValueError(f"apply_affine_transform received the shape {image.shape} with row_axis={row_axis}, col_axis="
                         f"{col_axis} and channel_axis={channel_axis}, expected one image and three different axes.")
    if fill_mode not in _MODES:
        raise ValueError(f"fill_mode={fill_mode!r}: expected one of {', '.join(_MODES)}.")
    if order not in (0, 1):
        raise ValueError(f"order={order!r}: expected 0, the nearest pixel, or 1, between pixels.")
    turn, slant = np.deg2rad(theta), np.deg2rad(shear)
    matrix = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    matrix = matrix @ np.array([[1, 0, tx], [0, 1, ty], [0, 0, 1]])
    matrix = matrix @ np.array([[1, -np.sin(slant), 0], [0, np.cos(slant), 0], [0, 0, 1]])
    matrix = matrix @ np.diag([zx, zy, 1])
    if np.array_equal(matrix, np.eye(3)):
        return image
    axes = (row_axis, col_axis, channel_axis)
    pixels = image.transpose(axes)
    rows, columns = np.indices(pixels.shape[:2], np.float64)
    # the matrix is for (column, row) and turns about the middle of the image
    x_middle, y_middle = (pixels.shape[1] - 1) / 2, (pixels.shape[0] - 1) / 2
    (a, b, x_move), (c, d, y_move), _ = matrix
    x_at = a * (columns - x_middle) + b * (rows - y_middle) + x_move + x_middle
    y_at = c * (columns - x_middle) + d * (rows - y_middle) + y_move + y_middle
    return _read(pixels, y_at, x_at, fill_mode, cval, order).transpose(np.argsort(axes)).astype(image.dtype)


def _read(pixels: np.ndarray, rows: np.ndarray, columns: np.ndarray, fill_mode: str, cval: float,
          order: int) -> np.ndarray:
    """The pixels (height,width,channels) at places between them."""
    result: Any = 0
    if order == 0:
        result = pixels[_inside(np.rint(rows), pixels.shape[0], fill_mode),
                        _inside(np.rint(columns), pixels.shape[1], fill_mode)]
    else:
        top, left = np.floor(rows), np.floor(columns)
        down, right = rows - top, columns - left
        for row, row_part in ((top, 1 - down), (top + 1, down)):
            for column, column_part in ((left, 1 - right), (left + 1, right)):
                near = pixels[_inside(row, pixels.shape[0], fill_mode), _inside(column, pixels.shape[1], fill_mode)]
                result = result + near * (row_part * column_part)[..., None]
    if fill_mode == "constant":
        rounding = 1e-9  # a place at the border may come out just outside
        outside = ((rows < -rounding) | (rows > pixels.shape[0] - 1 + rounding)
                   | (columns < -rounding) | (columns > pixels.shape[1] - 1 + rounding))
        result = np.where(outside[..., None], cval, result)
    return result


def _inside(at: np.ndarray, extent: int, fill_mode: str) -> np.ndarray:
    """The pixel that stands for one outside of the image."""
    index = at.astype(np.int64)
    if fill_mode == "wrap":
        return index % extent
    if fill_mode == "reflect":
        index = index % (2 * extent)
        return np.minimum(index, 2 * extent - 1 - index)
    return index.clip(0, extent - 1)


def apply_channel_shift(x: Any, intensity: float, channel_axis: int = 0) -> np.ndarray:
    """An image with a number added to every channel, within the range that it had."""
    image = np.asarray(x)
    return np.clip(image + intensity, image.min(), image.max())


def apply_brightness_shift(x: Any, brightness: float, scale: bool = True) -> np.ndarray:
    """An image (height,width,channels) multiplied by a number, within 0 to 255.

    With `scale`, or where numbers lie outside of 0 to 255, its smallest number first becomes 0 and its largest 255.
    """
    image = np.asarray(x, np.float32)
    low, high = image.min(), image.max()
    outside = low < 0 or high > 255
    if scale or outside:
        image = (image - low) / ((high - low) or 1) * 255
    image = np.floor((np.floor(image) * brightness).clip(0, 255))  # whole numbers, as in an image file
    return image / 255 * (high - low) + low if outside and not scale else image


def random_rotation(x: Any, rg: float, row_axis: int = 1, col_axis: int = 2, channel_axis: int = 0,
                    fill_mode: str = "nearest", cval: float = 0.0, interpolation_order: int = 1) -> np.ndarray:
    """An image turned by up to `rg` degrees."""
    return apply_affine_transform(x, theta=np.random.uniform(-rg, rg), row_axis=row_axis, col_axis=col_axis,
                                  channel_axis=channel_axis, fill_mode=fill_mode, cval=cval, order=interpolation_order)


def random_shift(x: Any, wrg: float, hrg: float, row_axis: int = 1, col_axis: int = 2, channel_axis: int = 0,
                 fill_mode: str = "nearest", cval: float = 0.0, interpolation_order: int = 1) -> np.ndarray:
    """An image moved by up to these parts of its width and height."""
    ty = np.random.uniform(-hrg, hrg) * np.shape(x)[row_axis]
    tx = np.random.uniform(-wrg, wrg) * np.shape(x)[col_axis]
    return apply_affine_transform(x, tx=tx, ty=ty, row_axis=row_axis, col_axis=col_axis, channel_axis=channel_axis,
                                  fill_mode=fill_mode, cval=cval, order=interpolation_order)


def random_shear(x: Any, intensity: float, row_axis: int = 1, col_axis: int = 2, channel_axis: int = 0,
                 fill_mode: str = "nearest", cval: float = 0.0, interpolation_order: int = 1) -> np.ndarray:
    """An image sheared by up to `intensity` degrees."""
    return apply_affine_transform(x, shear=np.random.uniform(-intensity, intensity), row_axis=row_axis,
                                  col_axis=col_axis, channel_axis=channel_axis, fill_mode=fill_mode, cval=cval,
                                  order=interpolation_order)


def random_zoom(x: Any, zoom_range: Any, row_axis: int = 1, col_axis: int = 2, channel_axis: int = 0,
                fill_mode: str = "nearest", cval: float = 0.0, interpolation_order: int = 1) -> np.ndarray:
    """An image zoomed by numbers in a range, where 2 shows twice as much of it."""
    low, high = zoom_range
    zx, zy = (1.0, 1.0) if low == high == 1 else np.random.uniform(low, high, 2)
    return apply_affine_transform(x, zx=zx, zy=zy, row_axis=row_axis, col_axis=col_axis, channel_axis=channel_axis,
                                  fill_mode=fill_mode, cval=cval, order=interpolation_order)


def random_channel_shift(x: Any, intensity_range: float, channel_axis: int = 0) -> np.ndarray:
    """An image with up to that number added to or taken from every channel."""
    return apply_channel_shift(x, np.random.uniform(-intensity_range, intensity_range), channel_axis)


def random_brightness(x: Any, brightness_range: Any, scale: bool = True) -> np.ndarray:
    """An image multiplied by a number in a range."""
    low, high = brightness_range
    return apply_brightness_shift(x, np.random.uniform(low, high), scale)
