"""Images varied in training. https://keras.io/api/layers/preprocessing_layers/image_augmentation/

Each image is varied by itself. Outside of training the layers do nothing, but for RandomCrop, whose results have one
size always.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from graphc.ir import functions as f
from graphc.ir.graph import Value
from graphc.ir.types import Dim
from graphc.layers.core import positive
from graphc.layers.layer import Layer, is_symbolic
from graphc.layers.spatial import Spatial
from graphc.names import choose
from graphc.resampling import elements_at, fitted, inside, known_size, linear_weights, sampled
from graphc.tracing import random_source

__all__ = ["RandomBrightness", "RandomContrast", "RandomCrop", "RandomFlip", "RandomRotation", "RandomTranslation",
           "RandomZoom"]


class _RandomImage(Spatial):
    """A layer that varies each image by itself in training, and when it is called with arrays directly."""

    rank = 2
    numbers = 1  # how many random ones it takes for an image

    def __init__(self, seed: int | None = None, data_format: str | None = None, **kwargs: Any):
        super().__init__(data_format, **kwargs)
        self.seed = seed

    def __call__(self, inputs: Any, **options: Any) -> Any:
        if options.get("training") is None and not is_symbolic(inputs):
            options["training"] = True
        return super().__call__(inputs, **options)

    def call(self, inputs: Value, training: bool = True) -> Value:
        source = random_source(self.seed) if training else None
        if source is None:
            return inputs
        return self.channels_as_given(self.vary(self.channels_last(inputs), self.draw(inputs, *source)))

    def draw(self, images: Value, key: Value, stream: int) -> Value:
        """The random numbers for each image, from 0 to 1: [N, 1, 1, numbers]."""
        return f.uniform(key, (images.shape[0], 1, 1, self.numbers), stream)

    def vary(self, images: Value, draw: Value) -> Value:
        """The images changed by a `draw` of numbers from 0 to 1: [N, 1, 1, numbers]."""
        raise NotImplementedError


_FLIPPED = {"horizontal": (2,), "vertical": (1,), "horizontal_and_vertical": (1, 2)}


class RandomFlip(_RandomImage):
    """Half of the images mirrored, in training: 'horizontal', 'vertical', or in both directions at once.

    RandomFlip("horizontal")(f32[N,4,5,3]) -> f32[N,4,5,3]
    RandomFlip()(f32[N,4]) -> ShapeError: RandomFlip needs 4 axes
    """

    def __init__(self, mode: str = "horizontal_and_vertical", seed: int | None = None,
                 data_format: str | None = None, **kwargs: Any):
        super().__init__(seed, data_format, **kwargs)
        self.mode = choose("mode", mode, {m: m for m in _FLIPPED})

    def vary(self, images: Value, draw: Value) -> Value:
        return f.where(f.less_equal(draw, 0.5), f.flip(images, _FLIPPED[self.mode]), images)


def _checked(layer: Layer, name: str, ends: Sequence[float], least: float) -> tuple[float, float]:
    """The ends of an interval that factors are drawn from."""
    if len(ends) != 2 or not least <= ends[0] <= ends[1] <= 1:
        raise ValueError(f"{type(layer).__name__}({name}={ends!r}): expected a number or two, from {least:g} to 1.")
    return ends[0], ends[1]


def _between(ends: tuple[float, float], draw: Value) -> Value:
    return f.add(f.multiply(draw, ends[1] - ends[0]), ends[0])


class _RandomColor(_RandomImage):
    """Values changed by up to `factor`, a number from 0 to 1 or two of them, and kept within `value_range`."""

    least = 0.0  # of the factors

    def __init__(self, factor: Any, value_range: Any = (0, 255), seed: int | None = None,
                 data_format: str | None = None, **kwargs: Any):
        super().__init__(seed, data_format, **kwargs)
        ends = sorted(factor) if isinstance(factor, list | tuple) else self.ends(factor)
        self.factor = _checked(self, "factor", ends, self.least)
        self.value_range = tuple(value_range)

    def ends(self, factor: float) -> tuple[float, float]:
        """The two factors that one stands for."""
        raise NotImplementedError

    def vary(self, images: Value, draw: Value) -> Value:
        return f.clip(self.recolor(images, draw), *self.value_range)

    def recolor(self, images: Value, draw: Value) -> Value:
        """The images with new values, which may be out of range."""
        raise NotImplementedError


class RandomContrast(_RandomColor):
    """In training, differences from each channel's mean multiplied by a number in [1 - factor[0], 1 + factor[1]].

    RandomContrast(0.2)(f32[N,4,5,3]) -> f32[N,4,5,3]
    RandomContrast((0.1, 0.3), value_range=(0, 1))(f32[N,4,5,3]) -> f32[N,4,5,3]
    """

    def ends(self, factor: float) -> tuple[float, float]:
        return factor, factor

    def recolor(self, images: Value, draw: Value) -> Value:
        mean = f.mean(images, (1, 2), keepdims=True)
        times = _between((1 - self.factor[0], 1 + self.factor[1]), draw)
        return f.add(f.multiply(f.subtract(images, mean), times), mean)


class RandomBrightness(_RandomColor):
    """In training, a number from factor[0] to factor[1] parts of the range of values is added to each image.

    RandomBrightness(0.2)(f32[N,4,5,3]) -> f32[N,4,5,3]
    RandomBrightness((-0.1, 0.3), value_range=(0, 1))(f32[N,4,5,3]) -> f32[N,4,5,3]
    """

    least = -1.0

    def ends(self, factor: float) -> tuple[float, float]:
        return -abs(factor), abs(factor)

    def recolor(self, images: Value, draw: Value) -> Value:
        least, greatest = self.value_range
        return f.add(images, f.multiply(_between(self.factor, draw), float(greatest - least)))


class RandomCrop(_RandomImage):
    """In training a part of each image somewhere in it, elsewhere all of its middle that has these proportions.

    The middle is stretched to the size, and so it is in training where images are too small.

    RandomCrop(3, 4)(f32[N,5,6,3]) -> f32[N,3,4,3]
    RandomCrop(7, 4, data_format="channels_first")(f32[N,3,5,6]) -> f32[N,3,7,4]
    """

    numbers = 2

    def __init__(self, height: int, width: int, seed: int | None = None, data_format: str | None = None, **kwargs: Any):
        super().__init__(seed, data_format, **kwargs)
        self.height, self.width = positive("RandomCrop", "height", height), positive("RandomCrop", "width", width)

    def call(self, inputs: Value, training: bool = True) -> Value:
        images = self.channels_last(inputs)
        height, width = known_size("RandomCrop", images)
        source = random_source(self.seed) if training and height >= self.height and width >= self.width else None
        if source is None:
            return self.channels_as_given(fitted("RandomCrop", images, self.height, self.width))
        return self.channels_as_given(self.vary(f.cast(images, "f32"), self.draw(images, *source)))

    def vary(self, images: Value, draw: Value) -> Value:
        height, width = known_size("RandomCrop", images)
        shape = (images.shape[0], self.height, self.width)
        down, right = (f.floor(f.multiply(part, float(spare + 1))) for part, spare in
                       zip(_apart(draw), (height - self.height, width - self.width), strict=True))
        rows, columns = (f.add(f.iota(shape, (axis,), "f32"), offset) for axis, offset in ((1, down), (2, right)))
        return elements_at(images, (rows, columns))


def _apart(draw: Value) -> tuple[Value, ...]:
    """Each of the numbers for an image: [N, 1, 1]."""
    count, numbers = draw.shape[0], int(draw.shape[-1])  # type: ignore[arg-type]
    return tuple(f.reshape(f.slice(draw, (0, 0, 0, i), (count, 1, 1, 1)), (count, 1, 1)) for i in range(numbers))


class _View(_RandomImage):
    """Images seen at other places, also between the pixels.

    `interpolation` is 'bilinear' or 'nearest'. Beyond the image is what `fill_mode` says: after a row abcd, 'reflect'
    goes on with dcba, 'wrap' with abcd, 'nearest' with dddd, 'constant' with `fill_value`.
    """

    def __init__(self, fill_mode: str = "reflect", interpolation: str = "bilinear", seed: int | None = None,
                 fill_value: float = 0.0, data_format: str | None = None, **kwargs: Any):
        super().__init__(seed, data_format, **kwargs)
        self.fill_mode = choose("fill_mode", fill_mode, {m: m for m in ("constant", "nearest", "reflect", "wrap")})
        self.interpolation = choose("interpolation", interpolation, {m: m for m in ("bilinear", "nearest")})
        self.fill_value = float(fill_value)


class RandomRotation(_View):
    """In training, images turned counterclockwise by a part of a circle, clockwise where it is negative.

    A factor is a number, which stands for both directions, or two from -1 to 1.

    RandomRotation(0.1)(f32[N,4,5,3]) -> f32[N,4,5,3]
    RandomRotation((0.1, 0.2), fill_mode="constant", interpolation="nearest")(f32[N,4,5,3]) -> f32[N,4,5,3]
    """

    def __init__(self, factor: Any, fill_mode: str = "reflect", interpolation: str = "bilinear",
                 seed: int | None = None, fill_value: float = 0.0, data_format: str | None = None, **kwargs: Any):
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        ends = sorted(factor) if isinstance(factor, list | tuple) else (-abs(factor), abs(factor))
        self.factor = _checked(self, "factor", ends, -1.0)

    def vary(self, images: Value, draw: Value) -> Value:
        (part,) = _apart(draw)
        angle = f.multiply(_between(self.factor, part), 2 * math.pi)
        cosine, sine = f.cos(angle), f.sin(angle)
        _, height, width, _ = images.shape
        middle = [f.multiply(f.subtract(f.dimension(n), 1.0), 0.5) for n in (height, width)]
        down, right = (f.subtract(f.iota((1, height, width), (axis,), "f32"), m)
                       for axis, m in zip((1, 2), middle, strict=True))
        rows = f.add(f.add(f.multiply(sine, right), f.multiply(cosine, down)), middle[0])
        columns = f.add(f.subtract(f.multiply(cosine, right), f.multiply(sine, down)), middle[1])
        if self.interpolation == "nearest":
            rows, columns = (f.floor(f.add(place, 0.5)) for place in (rows, columns))
        order = int(self.interpolation == "bilinear")
        return sampled(images, (rows, columns), order, self.fill_mode, self.fill_value)


class _Window(_View):
    """Images seen through a window of the same size that lies elsewhere: rows and columns by themselves."""

    numbers = 2

    def __init__(self, height_factor: Any, width_factor: Any, fill_mode: str = "reflect",
                 interpolation: str = "bilinear", seed: int | None = None, fill_value: float = 0.0,
                 data_format: str | None = None, **kwargs: Any):
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        self.height_factor, self.width_factor = (tuple(v) if isinstance(v, list) else v
                                                 for v in (height_factor, width_factor))
        self.height_ends = self._ends("height_factor")
        self.width_ends = None if width_factor is None else self._ends("width_factor")

    def _ends(self, name: str) -> tuple[float, float]:
        factor = getattr(self, name)
        ends = sorted(factor) if isinstance(factor, list | tuple) else (-abs(factor), abs(factor))
        return _checked(self, name, ends, -1.0)

    def vary(self, images: Value, draw: Value) -> Value:
        _, height, width, _ = images.shape
        first, second = _apart(draw)
        down = _between(self.height_ends, first)
        right = down if self.width_ends is None else _between(self.width_ends, second)
        rows, columns = self._weights(height, down), self._weights(width, right)
        lower = self._filled(f.einsum("nuvc,nhu->nhvc", images, rows), rows, 1)
        return self._filled(f.einsum("nhvc,nwv->nhwc", lower, columns), columns, 2)

    def _weights(self, extent: int | Dim, factor: Value) -> Value:
        """For each image the matrix from the pixels along an axis to what is seen: [N, extent, extent]."""
        size = f.dimension(extent)
        place = self.window(f.iota((extent, 1), (0,), "f32"), size, factor)
        if self.interpolation == "nearest":
            place = f.floor(f.add(place, 0.5))
        if self.fill_mode != "constant":
            place = inside(place, size, self.fill_mode)
        weights = linear_weights(place, extent)
        if self.fill_mode != "wrap":
            return weights
        return f.add(weights, linear_weights(f.subtract(place, size), extent))  # between the last and the first one

    def _filled(self, images: Value, weights: Value, axis: int) -> Value:
        """What is seen along an axis, with `fill_value` for as much of it as is beyond the image."""
        if self.fill_mode != "constant" or not self.fill_value:
            return images
        part = f.multiply(f.subtract(1.0, f.sum(weights, 2)), self.fill_value)
        return f.add(images, f.broadcast(part, images.shape, (0, axis)))

    def window(self, place: Value, size: Value, factor: Value) -> Value:
        """Which place along an axis of that size is seen at each place, for a factor of each image."""
        raise NotImplementedError


class RandomTranslation(_Window):
    """In training, images moved down and to the right by fractions of their size, up and left where negative.

    A factor is a number, which stands for both directions, or two from -1 to 1.

    RandomTranslation(0.2, 0.1)(f32[N,4,5,3]) -> f32[N,4,5,3]
    RandomTranslation((-0.1, 0.3), 0.1, fill_mode="constant")(f32[N,4,5,3]) -> f32[N,4,5,3]
    """

    def window(self, place: Value, size: Value, factor: Value) -> Value:
        return f.subtract(place, f.multiply(factor, size))


class RandomZoom(_Window):
    """In training, images made smaller by a fraction, larger where it is negative, around their middle.

    Without a `width_factor` both directions change alike.

    RandomZoom(0.2)(f32[N,4,5,3]) -> f32[N,4,5,3]
    RandomZoom((-0.3, -0.1), 0.1, interpolation="nearest")(f32[N,4,5,3]) -> f32[N,4,5,3]
    """

    def __init__(self, height_factor: Any, width_factor: Any = None, fill_mode: str = "reflect",
                 interpolation: str = "bilinear", seed: int | None = None, fill_value: float = 0.0,
                 data_format: str | None = None, **kwargs: Any):
        super().__init__(height_factor, width_factor, fill_mode, interpolation, seed, fill_value, data_format, **kwargs)

    def window(self, place: Value, size: Value, factor: Value) -> Value:
        middle = f.divide(f.subtract(size, 1.0), 2.0)
        return f.add(f.multiply(f.subtract(place, middle), f.add(factor, 1.0)), middle)
