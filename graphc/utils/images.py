"""Images as files, as Pillow's objects and as arrays. https://keras.io/api/data_loading/image/"""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np

__all__ = ["array_to_img", "img_to_array", "load_img", "resize", "save_img", "smart_resize"]

_MODES = {"rgb": "RGB", "rgba": "RGBA", "grayscale": "L"}
_METHODS = ("nearest", "bilinear", "bicubic", "hamming", "box", "lanczos")


def _pillow(what: str) -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise ImportError(f"{what} needs Pillow: pip install pillow.") from None
    return Image


def load_img(path: Any, color_mode: str = "rgb", target_size: tuple[int, int] | None = None,
             interpolation: str = "nearest", keep_aspect_ratio: bool = False) -> Any:
    """The image in a file, or in an io.BytesIO, as a Pillow image.

    `color_mode` is 'rgb', 'rgba' or 'grayscale', `target_size` (height, width). With `keep_aspect_ratio` the middle
    of the image is used, cut to the shape of the target.
    """
    pillow = _pillow("load_img")
    if color_mode not in _MODES:
        raise ValueError(f"load_img(color_mode={color_mode!r}): expected 'rgb', 'rgba' or 'grayscale'.")
    if not isinstance(path, io.BytesIO | str | bytes | os.PathLike):
        raise TypeError(f"load_img received {path!r}, expected a path or an io.BytesIO.")
    with pillow.open(path) as file:
        deep = color_mode == "grayscale" and file.mode in ("I;16", "I")
        image = file.copy() if deep or file.mode == _MODES[color_mode] else file.convert(_MODES[color_mode])
    if target_size is None or image.size == (target_size[1], target_size[0]):
        return image
    if interpolation not in _METHODS:
        raise ValueError(f"load_img(interpolation={interpolation!r}): expected one of {', '.join(_METHODS)}.")
    height, width = target_size
    box = None
    if keep_aspect_ratio:
        kept = min(image.width, image.height * width // height), min(image.height, image.width * height // width)
        left, top = (image.width - kept[0]) // 2, (image.height - kept[1]) // 2
        box = (left, top, left + kept[0], top + kept[1])
    return image.resize((width, height), getattr(pillow.Resampling, interpolation.upper()), box)


def img_to_array(img: Any, data_format: str | None = None, dtype: Any = None) -> np.ndarray:
    """A Pillow image or an array (height,width) or (height,width,channels) as float32 with three axes."""
    array = np.asarray(img, dtype or "float32")
    if array.ndim not in (2, 3):
        raise ValueError(f"img_to_array received the shape {array.shape}, expected (height, width) or (height, width, "
                         "channels).")
    array = array[..., None] if array.ndim == 2 else array
    return array if _last(data_format) else np.moveaxis(array, -1, 0)


def array_to_img(x: Any, data_format: str | None = None, scale: bool = True, dtype: Any = None) -> Any:
    """An array (height,width,channels) of 1, 3 or 4 channels as a Pillow image.

    With `scale` its smallest number becomes 0 and its largest 255.
    """
    pillow = _pillow("array_to_img")
    array = np.asarray(x, dtype or "float32")
    if array.ndim != 3:
        raise ValueError(f"array_to_img received the shape {array.shape}, expected (height, width, channels).")
    array = array if _last(data_format) else np.moveaxis(array, 0, -1)
    if array.shape[-1] not in (1, 3, 4):
        raise ValueError(f"array_to_img received {array.shape[-1]} channels, expected 1, 3 or 4.")
    if scale:
        array = array - array.min()
        array = array / (array.max() or 1) * 255
    if array.shape[-1] > 1:
        return pillow.fromarray(array.astype(np.uint8))
    return pillow.fromarray(array[..., 0].astype(np.int32 if array.max(initial=0) > 255 else np.uint8))


def save_img(path: Any, x: Any, data_format: str | None = None, file_format: str | None = None, scale: bool = True,
             **kwargs: Any) -> None:
    """Write an array as an image file, in the format of the name's end or `file_format`."""
    image = array_to_img(x, data_format, scale)
    if image.mode == "RGBA" and (file_format or os.fspath(path).rpartition(".")[-1]).lower() in ("jpg", "jpeg"):
        image = image.convert("RGB")  # JPEG has no transparency
    image.save(path, format=file_format, **kwargs)


def smart_resize(x: Any, size: tuple[int, int], interpolation: str = "bilinear",
                 data_format: str | None = None) -> np.ndarray:
    """Images (...,height,width,channels) in another size; what doesn't fit its shape is cut off at the sides."""
    images = np.asarray(x) if _last(data_format) else np.moveaxis(np.asarray(x), -3, -1)
    if images.ndim not in (3, 4):
        raise ValueError(f"smart_resize received the shape {np.shape(x)}, expected one image or a batch of them.")
    height, width = images.shape[-3:-1]
    kept = (max(min(height, int(width * size[0] / size[1])), 1), max(min(width, int(height * size[1] / size[0])), 1))
    top, left = (height - kept[0]) // 2, (width - kept[1]) // 2
    result = resize(images[..., top:top + kept[0], left:left + kept[1], :], size, interpolation)
    return result if _last(data_format) else np.moveaxis(result, -1, -3)


def resize(images: np.ndarray, size: tuple[int, int], interpolation: str = "bilinear") -> np.ndarray:
    """Images (...,height,width,channels) read at the centres of new pixels, 'nearest' or 'bilinear', as float32."""
    if interpolation not in ("nearest", "bilinear"):
        raise ValueError(f"resize(interpolation={interpolation!r}): expected 'nearest' or 'bilinear'.")
    result = images.astype(np.float32)
    for axis, new in zip((-3, -2), size, strict=True):
        old = result.shape[axis]
        if old == new:
            continue
        at = (np.arange(new) + 0.5) * old / new - 0.5
        if interpolation == "nearest":
            result = result.take(np.floor(at + 0.5).clip(0, old - 1).astype(int), axis)
            continue
        low = np.floor(at).astype(int)
        part = (at - low).astype(np.float32).reshape([-1] + [1] * (-axis - 1))
        first, second = (result.take(i.clip(0, old - 1), axis) for i in (low, low + 1))
        result = first + (second - first) * part
    return result


def _last(data_format: str | None) -> bool:
    """Whether the channels come last."""
    if data_format not in (None, "channels_last", "channels_first"):
        raise ValueError(f"data_format={data_format!r}: expected 'channels_last' or 'channels_first'.")
    return data_format != "channels_first"
