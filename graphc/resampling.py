"""Images at other places than their pixels: weights between pixels, and pixels by their numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from itertools import product

from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value
from graphc.ir.types import Dim

__all__ = ["INTERPOLATIONS", "cropped", "elements_at", "fitted", "inside", "known_size", "linear_weights",
           "proportioned", "resized", "sampled"]


def linear_weights(places: Value, extent: int | Dim) -> Value:
    """How much each of `extent` elements counts at places [..., 1] between them: 1 at its own, 0 from 1 off on."""
    return _triangle(f.subtract(places, f.iota((1, extent), (1,), "f32")))


def _triangle(distance: Value) -> Value:
    return f.maximum(f.subtract(1.0, f.absolute(distance)), 0.0)


def _cubic(distance: Value) -> Value:
    """R. Keys, "Cubic convolution interpolation for digital image processing", 1981."""
    x = f.absolute(distance)
    near = f.add(f.multiply(f.multiply(f.subtract(f.multiply(x, 1.5), 2.5), x), x), 1.0)
    far = f.add(f.multiply(f.add(f.multiply(f.add(f.multiply(x, -0.5), 2.5), x), -4.0), x), 2.0)
    return f.where(f.less_equal(x, 1.0), near, f.where(f.less(x, 2.0), far, 0.0))


def _lanczos(lobes: int) -> Callable[[Value], Value]:
    """sinc(x) * sinc(x / lobes), cut off there (C. Lanczos)."""
    def weight(distance: Value) -> Value:
        x = f.multiply(distance, math.pi)
        safe = f.where(f.equal(x, 0.0), 1.0, x)
        product = f.multiply(f.sin(safe), f.sin(f.divide(safe, float(lobes))))
        wave = f.divide(f.multiply(product, float(lobes)), f.square(safe))
        return f.where(f.equal(x, 0.0), 1.0, f.where(f.less(f.absolute(distance), float(lobes)), wave, 0.0))

    return weight


_KERNELS = {"bilinear": _triangle, "bicubic": _cubic, "lanczos3": _lanczos(3), "lanczos5": _lanczos(5)}
INTERPOLATIONS = {name: name for name in ("bilinear", "nearest", "bicubic", "lanczos3", "lanczos5")}


def _resampling(extent: int | Dim, wanted: int | Dim, interpolation: str, antialias: bool) -> Value:
    """The matrix [wanted, extent] from elements to as many others of which each covers an equal part of the axis."""
    step = f.divide(f.dimension(extent, "f32"), f.dimension(wanted, "f32"))
    place = f.multiply(f.add(f.iota((wanted, 1), (0,), "f32"), 0.5), step)
    position = f.iota((1, extent), (1,), "f32")
    if interpolation == "nearest":
        return f.cast(f.equal(f.floor(place), position), "f32")
    distance = f.subtract(f.subtract(place, 0.5), position)
    if antialias:  # a kernel as wide as what becomes one element
        distance = f.divide(distance, f.maximum(step, 1.0))
    weights = _KERNELS[interpolation](distance)
    return f.divide(weights, f.sum(weights, 1, keepdims=True))


def resized(images: Value, height: int | Dim, width: int | Dim, interpolation: str = "bilinear",
            antialias: bool = False) -> Value:
    """Images [N, H, W, C] stretched to another height and width, one axis after the other."""
    images = f.cast(images, "f32")
    rows = _resampling(images.shape[1], height, interpolation, antialias)
    columns = _resampling(images.shape[2], width, interpolation, antialias)
    return f.einsum("nhvc,wv->nhwc", f.einsum("nuvc,hu->nhvc", images, rows), columns)


def known_size(owner: str, images: Value) -> tuple[int, int]:
    """The height and the width of images, which a layer needs to know beforehand."""
    height, width = images.shape[1:3]
    if isinstance(height, Dim) or isinstance(width, Dim):
        raise ShapeError(f"{owner} needs images of known height and width for this.")
    return height, width


def cropped(images: Value, height: int, width: int) -> Value:
    """The middle of images, of that size."""
    tall, wide = known_size("A crop", images)
    return f.slice(images, (0, (tall - height) // 2, (wide - width) // 2, 0),
                   (images.shape[0], height, width, images.shape[3]))


def proportioned(size: tuple[int, int], height: int, width: int) -> tuple[int, int]:
    """Height and width of what has the proportions of that height and width, and the one or the other extent."""
    return int(size[1] * height / width), int(size[0] * width / height)


def fitted(owner: str, images: Value, height: int, width: int, interpolation: str = "bilinear",
           antialias: bool = False) -> Value:
    """As much of the middle of images as has the wanted proportions, stretched to the wanted size."""
    size = known_size(owner, images)
    most = (max(min(n, m), 1) for n, m in zip(size, proportioned(size, height, width), strict=True))
    return resized(cropped(images, *most), height, width, interpolation, antialias)


def inside(place: Value, size: Value, fill_mode: str) -> Value:
    """The place on an axis of that size that is seen at a place that may be beyond its ends.

    After a row abcd, 'reflect' goes on with dcba, 'mirror' with cba, 'wrap' with abcd, every other mode with dddd.
    Whole numbers stay whole. Where 'wrap' is asked for at places between elements, they may be up to 1 beyond the end.
    """
    if fill_mode == "wrap":
        return _modulo(place, size)
    if fill_mode == "reflect":  # there and back again, every two sizes
        within = _modulo(f.add(place, 0.5), f.multiply(size, 2.0))
        place = f.subtract(f.subtract(size, f.absolute(f.subtract(size, within))), 0.5)
    last = f.subtract(size, 1.0)
    if fill_mode == "mirror":  # the same without the last element twice; there may be one only
        within = _modulo(place, f.maximum(f.multiply(last, 2.0), 1.0))
        place = f.subtract(last, f.absolute(f.subtract(last, within)))
    return f.clip(place, 0.0, last)


def _modulo(place: Value, period: Value) -> Value:
    return f.subtract(place, f.multiply(period, f.floor(f.divide(place, period))))


def elements_at(images: Value, places: Sequence[Value]) -> Value:
    """The elements [N, ..., C] of [N, *sizes, C] at whole numbers within them, [N, ...] for each of these axes."""
    count, *sizes, channels = images.shape
    index = f.iota((count, *[1] * (places[0].ndim - 1)), (0,))
    for size, place in zip(sizes, places, strict=True):
        index = f.add(f.multiply(index, f.dimension(size, "i32")), f.cast(place, "i32"))
    return f.take(f.reshape(images, (-1, channels)), index, 0)


def sampled(images: Value, places: Sequence[Value], order: int, fill_mode: str, fill_value: float) -> Value:
    """The elements [N, ..., C] of [N, *sizes, C] at places [N, ...] between and beyond them, for each of these axes.

    Order 0 takes the nearest element, 1 weighs the two beside the place along each axis. What is beyond is said by
    `fill_mode`, as in `inside`, or `fill_value` where that is 'constant'.
    """
    sizes = [f.dimension(n) for n in images.shape[1:-1]]
    lows = [f.round(p) if order == 0 else f.floor(p) for p in places]
    total: Value | None = None
    for corner in product((False, True) if order else (False,), repeat=len(places)):
        seen = [f.add(low, 1.0) if after else low for low, after in zip(lows, corner, strict=True)]
        within = [inside(place, size, fill_mode) for place, size in zip(seen, sizes, strict=True)]
        part = f.to_float(elements_at(images, within))
        if fill_mode == "constant":
            there = reduce(f.logical_and, map(f.equal, seen, within))
            part = f.where(f.expand_dims(there, -1), part, float(fill_value))
        if order:
            shares = (f.subtract(1.0, f.absolute(f.subtract(p, s))) for p, s in zip(places, seen, strict=True))
            part = f.multiply(part, f.cast(f.expand_dims(reduce(f.multiply, shares), -1), part.dtype))
        total = part if total is None else f.add(total, part)
    assert total is not None
    return f.cast(total if images.dtype.is_float or not order else f.round(total), images.dtype)
