"""Images cut and stretched to a size. https://keras.io/api/layers/preprocessing_layers/image_preprocessing/"""

from __future__ import annotations

from typing import Any

from graphc.ir import functions as f
from graphc.ir.graph import Value
from graphc.layers.core import positive
from graphc.layers.spatial import Spatial
from graphc.names import choose
from graphc.resampling import INTERPOLATIONS, cropped, fitted, known_size, proportioned, resized

__all__ = ["CenterCrop", "Resizing"]


class _Sized(Spatial):
    """A layer whose results have a height and a width of their own."""

    rank = 2

    def __init__(self, height: int, width: int, data_format: str | None = None, **kwargs: Any):
        super().__init__(data_format, **kwargs)
        self.height = positive(type(self).__name__, "height", height)
        self.width = positive(type(self).__name__, "width", width)


class Resizing(_Sized):
    """Images stretched to a size; `interpolation` is 'bilinear', 'nearest', 'bicubic', 'lanczos3' or 'lanczos5'.

    Proportions are kept where the images are cut before (`crop_to_aspect_ratio`) or get borders of `fill_value`
    (`pad_to_aspect_ratio`). `antialias` makes smaller ones from all of their pixels.

    Resizing(8, 6)(f32[N,4,5,3]) -> f32[N,8,6,3]
    Resizing(8, 6)(f32[N,D1,D2,3]) -> f32[N,8,6,3]
    Resizing(4, 2, interpolation="bicubic", antialias=True, crop_to_aspect_ratio=True)(f32[N,9,7,3]) -> f32[N,4,2,3]
    Resizing(4, 6, pad_to_aspect_ratio=True, data_format="channels_first")(f32[N,3,9,7]) -> f32[N,3,4,6]
    Resizing(4, 6, crop_to_aspect_ratio=True)(f32[N,D1,7,3]) -> ShapeError: needs images of known height
    """

    def __init__(self, height: int, width: int, interpolation: str = "bilinear", crop_to_aspect_ratio: bool = False,
                 pad_to_aspect_ratio: bool = False, fill_mode: str = "constant", fill_value: float = 0.0,
                 antialias: bool = False, data_format: str | None = None, **kwargs: Any):
        super().__init__(height, width, data_format, **kwargs)
        self.interpolation = choose("interpolation", interpolation, INTERPOLATIONS)
        if crop_to_aspect_ratio and pad_to_aspect_ratio:
            raise ValueError("Resizing(crop_to_aspect_ratio=True, pad_to_aspect_ratio=True): only one of the two can "
                             "be done.")
        self.crop_to_aspect_ratio, self.pad_to_aspect_ratio = crop_to_aspect_ratio, pad_to_aspect_ratio
        self.fill_mode = choose("fill_mode", fill_mode, {"constant": "constant"})
        self.fill_value, self.antialias = fill_value, bool(antialias)

    def compute(self, inputs: Value) -> Value:
        wanted = (self.height, self.width)
        if self.crop_to_aspect_ratio:
            return fitted("Resizing", inputs, *wanted, self.interpolation, self.antialias)
        if self.pad_to_aspect_ratio:
            size = known_size("Resizing", inputs)
            more = (max(m - n, 0) // 2 for n, m in zip(size, proportioned(size, *wanted), strict=True))
            inputs = f.pad(inputs, [(0, 0), *((m, m) for m in more), (0, 0)], self.fill_value)
        return resized(inputs, *wanted, self.interpolation, self.antialias)


class CenterCrop(_Sized):
    """The middle of each image; of images that are too small as much as has these proportions, enlarged.

    CenterCrop(4, 2)(f32[N,9,7,3]) -> f32[N,4,2,3]
    CenterCrop(8, 9)(f32[N,5,7,3]) -> f32[N,8,9,3]
    """

    def compute(self, inputs: Value) -> Value:
        height, width = known_size("CenterCrop", inputs)
        if height >= self.height and width >= self.width:
            return cropped(f.cast(inputs, "f32"), self.height, self.width)
        return fitted("CenterCrop", inputs, self.height, self.width)
