"""Noise that is there in training only. https://keras.io/api/layers/regularization_layers/"""

from __future__ import annotations

import math
from typing import Any

from graphc.ir import functions as f
from graphc.ir.graph import Value
from graphc.ir.types import Shape
from graphc.layers.core import fraction, shape_of_noise
from graphc.layers.layer import Layer
from graphc.layers.spatial import Spatial
from graphc.tracing import random_source

__all__ = ["AlphaDropout", "GaussianDropout", "GaussianNoise", "SpatialDropout1D", "SpatialDropout2D",
           "SpatialDropout3D"]

# What self-normalizing networks have for minus infinity: G. Klambauer et al., 2017.
_LEAST = -1.6732632423543772 * 1.0507009873554805


def normal(key: Value, shape: Shape, stream: int) -> Value:
    """Normal numbers of mean 0 and deviation 1, two uniform ones for each (G. Box, M. Muller, 1958)."""
    pair = f.uniform(key, (2, *shape), stream)
    first, second = (f.reshape(f.slice(pair, (i, *(0,) * len(shape)), (1, *shape)), shape) for i in (0, 1))
    radius = f.sqrt(f.multiply(-2.0, f.log(f.subtract(1.0, first))))
    return f.multiply(radius, f.cos(f.multiply(second, 2 * math.pi)))


class _Noise(Layer):
    """A layer that changes its inputs in training, by numbers from its `seed` where it has one."""

    supports_masking = True

    def __init__(self, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.seed = seed

    def call(self, inputs: Value, training: bool = False) -> Value:
        source = random_source(self.seed) if training and self.strength else None
        return inputs if source is None else self.disturb(inputs, *source)

    @property
    def strength(self) -> float:
        """How much the layer does; at 0 it does nothing."""
        raise NotImplementedError

    def disturb(self, inputs: Value, key: Value, stream: int) -> Value:
        """The inputs with noise."""
        raise NotImplementedError


class GaussianNoise(_Noise):
    """Normal noise of deviation `stddev` is added in training.

    GaussianNoise(0.1)(f32[N,3]) -> f32[N,3]
    """

    def __init__(self, stddev: float, seed: int | None = None, **kwargs: Any):
        super().__init__(seed, **kwargs)
        self.stddev = fraction(self, "stddev", stddev)

    @property
    def strength(self) -> float:
        return self.stddev

    def disturb(self, inputs: Value, key: Value, stream: int) -> Value:
        return f.add(inputs, f.multiply(normal(key, inputs.shape, stream), self.stddev))


class _RateNoise(_Noise):
    """Noise whose strength is a fraction of the inputs."""

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any):
        super().__init__(seed, **kwargs)
        self.rate = fraction(self, "rate", rate)

    @property
    def strength(self) -> float:
        return self.rate


class GaussianDropout(_RateNoise):
    """In training the inputs are multiplied by normal numbers of mean 1 and variance rate / (1 - rate).

    GaussianDropout(0.5)(f32[N,3]) -> f32[N,3]
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any):
        super().__init__(rate, seed, **kwargs)
        if rate == 1:
            raise ValueError("GaussianDropout(rate=1) would multiply by numbers of infinite variance.")

    def disturb(self, inputs: Value, key: Value, stream: int) -> Value:
        deviation = math.sqrt(self.rate / (1 - self.rate))
        return f.multiply(inputs, f.add(1.0, f.multiply(normal(key, inputs.shape, stream), deviation)))


class AlphaDropout(_RateNoise):
    """Dropout that keeps mean and variance, for selu: in training a fraction `rate` takes selu's least value.

    G. Klambauer et al., "Self-normalizing neural networks", 2017.

    AlphaDropout(0.2)(f32[N,3]) -> f32[N,3]
    AlphaDropout(0.2, noise_shape=(None, 1, 3))(f32[N,5,3]) -> f32[N,5,3]
    """

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **kwargs: Any):
        super().__init__(rate, seed, **kwargs)
        self.noise_shape = None if noise_shape is None else tuple(noise_shape)

    def disturb(self, inputs: Value, key: Value, stream: int) -> Value:
        if self.rate == 1:
            return f.zeros_like(inputs)
        kept = f.greater_equal(f.uniform(key, shape_of_noise(self, inputs), stream), self.rate)
        scale = ((1 - self.rate) * (1 + self.rate * _LEAST**2)) ** -0.5
        return f.add(f.multiply(f.where(kept, inputs, _LEAST), scale), -scale * _LEAST * self.rate)


class _SpatialDropout(Spatial):
    """Dropout of whole channels."""

    supports_masking = True

    def __init__(self, rate: float, data_format: str | None = None, seed: int | None = None, **kwargs: Any):
        super().__init__(data_format, **kwargs)
        self.rate, self.seed = fraction(self, "rate", rate), seed

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["trainable"]  # which Keras's constructors of these layers don't take
        return config

    def call(self, inputs: Value, training: bool = False) -> Value:
        source = random_source(self.seed) if training and self.rate else None
        if source is None:
            return inputs
        shape = tuple(n if a in (0, self.channel_axis) else 1 for a, n in enumerate(inputs.shape))
        return f.multiply(inputs, f.dropout(f.full(shape, 1.0), self.rate, *source))


class SpatialDropout1D(_SpatialDropout):
    """In training a fraction `rate` of a sequence's channels becomes 0 and the others grow by 1 / (1 - rate).

    SpatialDropout1D(0.5)(f32[N,5,3]) -> f32[N,5,3]
    """

    rank = 1
    formats = ("channels_last",)

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any):
        super().__init__(rate, seed=seed, **kwargs)


class SpatialDropout2D(_SpatialDropout):
    """In training a fraction `rate` of an image's channels becomes 0 and the others grow by 1 / (1 - rate).

    SpatialDropout2D(0.5)(f32[N,5,5,3]) -> f32[N,5,5,3]
    SpatialDropout2D(0.5, data_format="channels_first")(f32[N,3,5,5]) -> f32[N,3,5,5]
    SpatialDropout2D(0.5)(f32[N,3]) -> ShapeError: SpatialDropout2D needs 4 axes
    """

    rank = 2


class SpatialDropout3D(_SpatialDropout):
    """In training a fraction `rate` of a volume's channels becomes 0 and the others grow by 1 / (1 - rate).

    SpatialDropout3D(0.5)(f32[N,4,5,5,3]) -> f32[N,4,5,5,3]
    """

    rank = 3
