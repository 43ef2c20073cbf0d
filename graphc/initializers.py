"""First values of weights. https://keras.io/api/layers/initializers/

Every draw takes its seed from `numpy.random`, so `numpy.random.seed` or `graphc.utils.set_random_seed` fixes
them all; an initializer with a `seed` of its own gives the same values at each call.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.configs import describe, identified
from graphc.names import choose, snake_case

__all__ = ["Constant", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "Identity", "IdentityInitializer",
           "Initializer", "LecunNormal", "LecunUniform", "Ones", "Orthogonal", "OrthogonalInitializer", "RandomNormal",
           "RandomUniform", "TruncatedNormal", "VarianceScaling", "Zeros", "constant", "deserialize", "draw_seed",
           "get", "glorot_normal", "glorot_uniform", "he_normal", "he_uniform", "identity", "lecun_normal",
           "lecun_uniform", "ones", "orthogonal", "random_normal", "random_uniform", "serialize", "truncated_normal",
           "variance_scaling", "zeros"]

# Standard deviation of a standard normal distribution cut off at two standard deviations.
_TRUNCATED_STDDEV = 0.8796256610342398


def draw_seed() -> int:
    """A seed from NumPy's global generator."""
    return int(np.random.randint(0, 2**31 - 1))


class Initializer:
    """Base: `__call__(shape, dtype)` gives the first array of a weight."""

    keras_module = "keras.initializers"

    def __init__(self, seed: int | None = None):
        self.seed = seed

    def generator(self) -> np.random.Generator:
        """The source of this call's numbers."""
        return np.random.default_rng(draw_seed() if self.seed is None else self.seed)

    def __call__(self, shape: tuple[int, ...], dtype: Any = "float32") -> np.ndarray:
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return dict(vars(self))


class Constant(Initializer):
    """One number everywhere."""

    def __init__(self, value: float = 0.0):
        self.value = value

    def __call__(self, shape: tuple[int, ...], dtype: Any = "float32") -> np.ndarray:
        return np.full(shape, self.value, dtype)


class Zeros(Initializer):
    """Zeros."""

    def __init__(self) -> None:
        pass

    def __call__(self, shape: tuple[int, ...], dtype: Any = "float32") -> np.ndarray:
        return np.zeros(shape, dtype)


class Ones(Zeros):
    """Ones."""

    def __call__(self, shape: tuple[int, ...], dtype: Any = "float32") -> np.ndarray:
        return np.ones(shape, dtype)


class RandomUniform(Initializer):
    """Uniform numbers in [minval, maxval)."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None):
        super().__init__(seed)
        self.minval, self.maxval = minval, maxval

    def __call__(self, shape: tuple[int, ...], dtype: Any = "float32") -> np.ndarray:
        return self.generator().uniform(self.minval, self.maxval, shape).astype(dtype)


class RandomNormal(Initializer):
    """Normal numbers."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None):
        super().__init__(seed)
        self.mean, self.stddev = mean, stddev

    def __call__(self, shape: tuple[int, ...], dtype: Any = "float32") -> np.ndarray:
        return self.generator().normal(self.mean, self.stddev, shape).astype(dtype)


class TruncatedNormal(RandomNormal):
    """Normal numbers, drawn again where they are more than two standard deviations off."""

    def __call__(self, shape: tuple[int, ...], dtype: Any = "float32") -> np.ndarray:
        return (self.mean + self.stddev * _truncated(self.generator(), shape)).astype(dtype)


def _truncated(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    result = np.asarray(generator.standard_normal(shape))
    while (outside := np.abs(result) > 2).any():
        result[outside] = generator.standard_normal(int(outside.sum()))
    return result


class VarianceScaling(Initializer):
    """Numbers whose variance is `scale` over the number of inputs, outputs, or their mean.

    X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010;
    K. He et al., "Delving deep into rectifiers", 2015.
    """

    def __init__(self, scale: float = 1.0, mode: str = "fan_in", distribution: str = "truncated_normal",
                 seed: int | None = None):
        super().__init__(seed)
        self.scale = scale
        self.mode = choose("mode", mode, {m: m for m in ("fan_in", "fan_out", "fan_avg")})
        names = ("truncated_normal", "untruncated_normal", "uniform")
        self.distribution = choose("distribution", distribution, {d: d for d in names})

    def __call__(self, shape: tuple[int, ...], dtype: Any = "float32") -> np.ndarray:
        inputs, outputs = _fans(shape)
        fan = {"fan_in": inputs, "fan_out": outputs, "fan_avg": (inputs + outputs) / 2}[self.mode]
        variance = self.scale / max(1.0, fan)
        generator = self.generator()
        if self.distribution == "uniform":
            limit = math.sqrt(3 * variance)
            return generator.uniform(-limit, limit, shape).astype(dtype)
        if self.distribution == "untruncated_normal":
            return generator.normal(0, math.sqrt(variance), shape).astype(dtype)
        return (math.sqrt(variance) / _TRUNCATED_STDDEV * _truncated(generator, shape)).astype(dtype)


def _fans(shape: tuple[int, ...]) -> tuple[float, float]:
    """Inputs and outputs of one unit: a kernel's window counts with both."""
    if len(shape) < 2:
        size = shape[0] if shape else 1
        return size, size
    window = math.prod(shape[:-2])
    return window * shape[-2], window * shape[-1]


class Orthogonal(Initializer):
    """A matrix whose columns, or rows where they are fewer, are orthonormal, times `gain`.

    Of more than two axes all but the last count as rows. A. Saxe et al., "Exact solutions to the nonlinear dynamics of
    learning in deep linear neural networks", 2014.
    """

    def __init__(self, gain: float = 1.0, seed: int | None = None):
        super().__init__(seed)
        self.gain = gain

    def __call__(self, shape: tuple[int, ...], dtype: Any = "float32") -> np.ndarray:
        if len(shape) < 2:
            raise ValueError(f"Orthogonal needs a weight of at least two axes, received the shape {list(shape)}.")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        q, r = np.linalg.qr(self.generator().standard_normal((max(rows, columns), min(rows, columns))))
        q *= np.where(np.diag(r) < 0, -1.0, 1.0)  # then all orthogonal matrices are equally likely
        return (self.gain * (q if rows >= columns else q.T).reshape(shape)).astype(dtype)


class Identity(Initializer):
    """The identity matrix times `gain`."""

    def __init__(self, gain: float = 1.0):
        self.gain = gain

    def __call__(self, shape: tuple[int, ...], dtype: Any = "float32") -> np.ndarray:
        if len(shape) != 2:
            raise ValueError(f"Identity needs a weight of two axes, received the shape {list(shape)}.")
        return (self.gain * np.eye(*shape)).astype(dtype)


OrthogonalInitializer, IdentityInitializer = Orthogonal, Identity


def _scaling(name: str, scale: float, mode: str, distribution: str) -> type[VarianceScaling]:
    def __init__(self: VarianceScaling, seed: int | None = None) -> None:
        VarianceScaling.__init__(self, scale, mode, distribution, seed)

    def get_config(self: VarianceScaling) -> dict[str, Any]:
        return {"seed": self.seed}

    doc = f"VarianceScaling({scale}, {mode!r}, {distribution!r})."
    body = {"__init__": __init__, "get_config": get_config, "__doc__": doc, "__module__": __name__}
    return type(name, (VarianceScaling,), body)


GlorotUniform = _scaling("GlorotUniform", 1.0, "fan_avg", "uniform")
GlorotNormal = _scaling("GlorotNormal", 1.0, "fan_avg", "truncated_normal")
HeUniform = _scaling("HeUniform", 2.0, "fan_in", "uniform")
HeNormal = _scaling("HeNormal", 2.0, "fan_in", "truncated_normal")
LecunUniform = _scaling("LecunUniform", 1.0, "fan_in", "uniform")
LecunNormal = _scaling("LecunNormal", 1.0, "fan_in", "truncated_normal")

_CLASSES: dict[str, type[Initializer]] = {c.__name__: c for c in (
    Constant, GlorotNormal, GlorotUniform, HeNormal, HeUniform, Identity, LecunNormal, LecunUniform, Ones, Orthogonal,
    RandomNormal, RandomUniform, TruncatedNormal, VarianceScaling, Zeros)}
_BY_NAME = {snake_case(n): c for n, c in _CLASSES.items()} | {"normal": RandomNormal, "uniform": RandomUniform,
                                                              "zero": Zeros, "one": Ones}
# Keras's other spelling of each class, usable like it: `initializers.glorot_uniform(seed=1)`.
constant, identity, ones, orthogonal, zeros = Constant, Identity, Ones, Orthogonal, Zeros
glorot_normal, he_normal, lecun_normal = GlorotNormal, HeNormal, LecunNormal
glorot_uniform, he_uniform, lecun_uniform = GlorotUniform, HeUniform, LecunUniform
random_normal, random_uniform, truncated_normal = RandomNormal, RandomUniform, TruncatedNormal
variance_scaling = VarianceScaling


def get(identifier: Any) -> Initializer:
    """The initializer for a name, a class, a config, a function of (shape, dtype), or a number array."""
    found = identified("initializer", identifier, _BY_NAME | _CLASSES, Initializer)
    if callable(found):
        return found
    raise TypeError("An initializer is a name, an Initializer or a function of (shape, dtype), received "
                    f"{identifier!r}.")


deserialize = get


def serialize(initializer: Any) -> Any:
    """The class name and arguments of an initializer."""
    return describe(initializer) if isinstance(initializer, Initializer) else initializer
