"""Layers that prepare data, and vary images in training. https://keras.io/api/layers/preprocessing_layers/"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.data import raw_array
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value, current_origin
from graphc.ir.types import Dim
from graphc.layers.core import positive
from graphc.layers.layer import Layer, is_symbolic
from graphc.layers.normalization import normal_axes
from graphc.layers.reshaping import linear_weights
from graphc.layers.spatial import Spatial
from graphc.names import choose
from graphc.tracing import random_source
from graphc.variable import Variable

__all__ = ["CategoryEncoding", "Normalization", "RandomBrightness", "RandomContrast", "RandomFlip",
           "RandomTranslation", "RandomZoom", "Rescaling"]


class Rescaling(Layer):
    """inputs * scale + offset; both may be lists with a number for each channel.

    Rescaling(1 / 255)(f32[N,28,28,1]) -> f32[N,28,28,1]
    Rescaling([1.0, 2.0], offset=-1.0)(f32[N,2]) -> f32[N,2]
    """

    def __init__(self, scale: Any, offset: Any = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.scale, self.offset = (v.tolist() if isinstance(v, np.ndarray) else v for v in (scale, offset))

    def build(self, input_shape: Any) -> None:
        self.factor, self.summand = self.fixed("scale", self.scale), self.fixed("offset", self.offset)

    def fixed(self, name: str, value: Any) -> Any:
        """A number as it is, and numbers as an array that is no weight of the layer."""
        return _fixed(self, name, value) if np.ndim(value) else float(value)

    def call(self, inputs: Value) -> Value:
        return f.add(f.multiply(inputs, self.factor), self.summand)


def _fixed(layer: Layer, name: str, value: Any) -> Variable:
    """An array of a layer that is not among its weights."""
    return Variable(np.asarray(value, np.float32), f"{current_origin() or layer.name}/{name}", trainable=False)


class Normalization(Layer):
    """(x - mean) / sqrt(variance) for each position along `axis`, or one mean for all where it is None.

    `adapt(data)` takes mean and variance from data; or give them as numbers or arrays. `invert` goes back from
    normalized values.

    Normalization()(f32[N,3]) -> f32[N,3]
    Normalization(axis=None, mean=1.5, variance=4.0)(f32[N,3]) -> f32[N,3]
    Normalization(mean=[1.0, 2.0], variance=[1.0, 1.0])(f32[N,3]) -> ShapeError: does not broadcast
    """

    def __init__(self, axis: Any = -1, mean: Any = None, variance: Any = None, invert: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.axis = () if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
        if (mean is None) != (variance is None) or np.shape(mean) != np.shape(variance):
            raise ValueError(f"Normalization(mean={mean!r}, variance={variance!r}): give both in one shape, or none.")
        self.given = None if mean is None else (np.asarray(mean, np.float32), np.asarray(variance, np.float32))
        self.invert = invert

    def get_config(self) -> dict[str, Any]:
        mean, variance = (None, None) if self.given is None else (v.tolist() for v in self.given)
        return super().get_config() | {"mean": mean, "variance": variance}

    def build(self, input_shape: Any) -> None:
        shape = tuple(input_shape[a] for a in normal_axes(self.axis, len(input_shape)))
        if None in shape:
            raise ShapeError(f"Normalization needs known extents along axis={self.axis}.")
        if self.given is None:
            self.mean = self.add_weight(shape, "zeros", trainable=False, name="mean")
            self.variance = self.add_weight(shape, "ones", trainable=False, name="variance")
            self.count = self.add_weight((), "zeros", dtype="int32", trainable=False, name="count")  # Keras's third
            return
        try:
            mean, variance = (np.broadcast_to(v, shape) for v in self.given)
        except ValueError:
            raise ShapeError(f"mean of shape {list(self.given[0].shape)} does not broadcast to {list(shape)}, the "
                             f"extents along axis={self.axis}.") from None
        self.mean, self.variance = _fixed(self, "mean", mean), _fixed(self, "variance", variance)

    def adapt(self, data: Any) -> None:
        """Take mean and variance from an array or a list of batches, in place of earlier ones."""
        batches = data if isinstance(data, list) and data and isinstance(data[0], np.ndarray) else [data]
        x = np.concatenate([raw_array(b, f"adapt of {self.name!r} received") for b in batches]).astype(np.float64)
        if self.given is not None:
            raise ValueError(f"{self.name!r} has a mean and a variance given: adapt would have no effect.")
        if not self.built:
            self.build((None, *x.shape[1:]))
            self.built = True
        kept = normal_axes(self.axis, x.ndim)
        if tuple(x.shape[a] for a in kept) != self.mean.shape:
            raise ShapeError(f"adapt of {self.name!r} received the shape {list(x.shape)}, expected {self.mean.type} "
                             f"along axis={self.axis}.")
        others = tuple(a for a in range(x.ndim) if a not in kept)
        self.mean.assign(x.mean(others))
        self.variance.assign(x.var(others))

    def call(self, inputs: Value) -> Value:
        axes = normal_axes(self.axis, inputs.ndim)
        mean, variance = (f.broadcast(v, inputs.shape, axes) for v in (self.mean, self.variance))
        deviation = f.maximum(f.sqrt(variance), 1e-7)
        if self.invert:
            return f.add(mean, f.multiply(inputs, deviation))
        return f.divide(f.subtract(inputs, mean), deviation)


class CategoryEncoding(Layer):
    """Numbers of categories as 0s and 1s: 'one_hot' for each, 'multi_hot' or 'count' for all of a sample.

    CategoryEncoding(4)(i32[N,7]) -> f32[N,4]
    CategoryEncoding(4, output_mode="one_hot")(i32[N,1]) -> f32[N,4]
    CategoryEncoding(4, output_mode="one_hot")(i32[N,7]) -> f32[N,7,4]
    CategoryEncoding(4, output_mode="count")(i32[N]) -> ShapeError: CategoryEncoding needs 2 axes
    """

    input_dtype = "i32"

    def __init__(self, num_tokens: int | None = None, output_mode: str = "multi_hot", **kwargs: Any):
        super().__init__(**kwargs)
        self.num_tokens = positive("CategoryEncoding", "num_tokens", num_tokens)
        modes = {m: m for m in ("count", "multi_hot", "one_hot")} | {"binary": "multi_hot"}
        self.output_mode = choose("output_mode", output_mode, modes)

    def build(self, input_shape: Any) -> None:
        if self.output_mode != "one_hot" and len(input_shape) != 2:
            raise ShapeError(f"CategoryEncoding needs 2 axes for output_mode={self.output_mode!r}: the batch and the "
                             "categories of a sample.")

    def call(self, inputs: Value) -> Value:
        if self.output_mode == "one_hot" and inputs.ndim > 1 and inputs.shape[-1] == 1:
            inputs = f.squeeze(inputs, -1)
        each = f.one_hot(inputs, self.num_tokens)
        if self.output_mode == "one_hot":
            return each
        return f.sum(each, 1) if self.output_mode == "count" else f.max(each, 1)


# ------------------------------------------------------------------------------------------------------ augmentation

class _RandomImage(Spatial):
    """A layer that varies each image by itself in training, and when it is called with arrays directly."""

    rank = 2
    numbers = 1  # how many random ones it takes for an image

    def __init__(self, seed: int | None = None, data_format: str | None = None, **kwargs: Any):
        super().__init__(data_format, **kwargs)
        self.seed = seed

    def __call__(self, inputs: Any, training: bool | None = None, **options: Any) -> Any:
        if training is None and not is_symbolic(inputs):
            training = True
        return super().__call__(inputs, training=training, **options)

    def call(self, inputs: Value, training: bool = False) -> Value:
        source = random_source(self.seed) if training else None
        if source is None:
            return inputs
        key, stream = source
        draw = f.uniform(key, (inputs.shape[0], 1, 1, self.numbers), stream)
        return self.channels_as_given(self.vary(self.channels_last(inputs), draw))

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


class _RandomView(_RandomImage):
    """Images seen through a window of the same size that lies elsewhere, with places between the pixels.

    `interpolation` is 'bilinear' or 'nearest'. Beyond the image is what `fill_mode` says: after a row abcd, 'reflect'
    goes on with dcba, 'wrap' with abcd, 'nearest' with dddd, 'constant' with `fill_value`.
    """

    numbers = 2

    def __init__(self, height_factor: Any, width_factor: Any, fill_mode: str = "reflect",
                 interpolation: str = "bilinear", seed: int | None = None, fill_value: float = 0.0,
                 data_format: str | None = None, **kwargs: Any):
        super().__init__(seed, data_format, **kwargs)
        self.height_factor, self.width_factor = (tuple(v) if isinstance(v, list) else v
                                                 for v in (height_factor, width_factor))
        self.height_ends = self._ends("height_factor")
        self.width_ends = None if width_factor is None else self._ends("width_factor")
        self.fill_mode = choose("fill_mode", fill_mode, {m: m for m in ("constant", "nearest", "reflect", "wrap")})
        self.interpolation = choose("interpolation", interpolation, {m: m for m in ("bilinear", "nearest")})
        self.fill_value = float(fill_value)

    def _ends(self, name: str) -> tuple[float, float]:
        factor = getattr(self, name)
        ends = sorted(factor) if isinstance(factor, list | tuple) else (-abs(factor), abs(factor))
        return _checked(self, name, ends, -1.0)

    def vary(self, images: Value, draw: Value) -> Value:
        count, height, width, _ = images.shape
        first, second = (f.reshape(f.slice(draw, (0, 0, 0, i), (count, 1, 1, 1)), (count, 1, 1)) for i in (0, 1))
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
        if self.fill_mode == "wrap":
            place = f.subtract(place, f.multiply(size, f.floor(f.divide(place, size))))
            return f.add(linear_weights(place, extent), linear_weights(f.subtract(place, size), extent))
        if self.fill_mode == "reflect":  # there and back again, every two sizes
            twice, edge = f.multiply(size, 2.0), f.add(place, 0.5)
            within = f.subtract(edge, f.multiply(twice, f.floor(f.divide(edge, twice))))
            place = f.subtract(f.subtract(size, f.absolute(f.subtract(size, within))), 0.5)
        if self.fill_mode != "constant":
            place = f.clip(place, 0.0, f.subtract(size, 1.0))
        return linear_weights(place, extent)

    def _filled(self, images: Value, weights: Value, axis: int) -> Value:
        """What is seen along an axis, with `fill_value` for as much of it as is beyond the image."""
        if self.fill_mode != "constant" or not self.fill_value:
            return images
        part = f.multiply(f.subtract(1.0, f.sum(weights, 2)), self.fill_value)
        return f.add(images, f.broadcast(part, images.shape, (0, axis)))

    def window(self, place: Value, size: Value, factor: Value) -> Value:
        """Which place along an axis of that size is seen at each place, for a factor of each image."""
        raise NotImplementedError


class RandomTranslation(_RandomView):
    """In training, images moved down and to the right by fractions of their size, up and left where negative.

    A factor is a number, which stands for both directions, or two from -1 to 1.

    RandomTranslation(0.2, 0.1)(f32[N,4,5,3]) -> f32[N,4,5,3]
    RandomTranslation((-0.1, 0.3), 0.1, fill_mode="constant")(f32[N,4,5,3]) -> f32[N,4,5,3]
    """

    def window(self, place: Value, size: Value, factor: Value) -> Value:
        return f.subtract(place, f.multiply(factor, size))


class RandomZoom(_RandomView):
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
