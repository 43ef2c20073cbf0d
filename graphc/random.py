"""Random numbers: arrays, and inside a layer's `call` symbolic values of the step. https://keras.io/api/random/

A whole number as `seed` gives the same numbers at every call; a SeedGenerator gives others each time, as no seed does.
In a step, numbers of the same seed change from one step to the next.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir import functions as f
from graphc.ir.graph import Value
from graphc.tracing import current_trace, random_source

__all__ = ["SeedGenerator", "beta", "binomial", "categorical", "dropout", "gamma", "normal", "randint", "shuffle",
           "truncated_normal", "uniform"]

_CUT = 0.9544997361036416  # of normal numbers lie within two deviations


class SeedGenerator:
    """Seeds for random functions, one after the other."""

    def __init__(self, seed: int | None = None, name: str | None = None):
        self.seed, self.name = int(np.random.randint(2**31)) if seed is None else int(seed), name
        self._given = np.random.default_rng(self.seed)

    def next(self) -> int:
        """Another seed."""
        return int(self._given.integers(2**31))

    def get_config(self) -> dict[str, Any]:
        """The first seed."""
        return {"seed": self.seed}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SeedGenerator:
        """A generator that begins again."""
        return cls(**config)


def _generator(seed: Any) -> np.random.Generator:
    if isinstance(seed, SeedGenerator):
        return np.random.default_rng(seed.next())
    return np.random.default_rng(int(np.random.randint(2**31)) if seed is None else int(seed))


def _uniform(shape: Any, seed: Any) -> Any:
    """Numbers from 0 to 1, without 1: a value in a step, elsewhere an array."""
    if current_trace() is None:
        return _generator(seed).random(tuple(shape), np.float32)
    source = random_source(seed.seed if isinstance(seed, SeedGenerator) else seed)
    if source is None:  # only the shape is asked for
        return f.full(tuple(shape), 0.5, "f32")
    key, stream = source
    return f.uniform(key, tuple(shape), stream)


def _typed(x: Any, dtype: Any) -> Any:
    if isinstance(x, Value):
        return x if dtype is None else f.cast(x, dtype)
    return np.asarray(x, dtype or "float32")


def uniform(shape: Sequence[Any], minval: float = 0.0, maxval: float = 1.0, dtype: Any = None, seed: Any = None) -> Any:
    """Numbers from `minval` to below `maxval`, all as likely."""
    return _typed(_uniform(shape, seed) * (maxval - minval) + minval, dtype)


def normal(shape: Sequence[Any], mean: float = 0.0, stddev: float = 1.0, dtype: Any = None, seed: Any = None) -> Any:
    """Normal numbers of that mean and deviation: two uniform ones for each (G. Box, M. Muller, 1958)."""
    if current_trace() is None:
        return _typed(_generator(seed).normal(mean, stddev, tuple(shape)), dtype)
    pair, dims = _uniform((2, *shape), seed), tuple(shape)
    first, second = (f.reshape(f.slice(pair, (i, *(0,) * len(dims)), (1, *dims)), dims) for i in (0, 1))
    radius = f.sqrt(f.multiply(-2.0, f.log(f.subtract(1.0, first))))
    return _typed(radius * f.cos(f.multiply(second, 2 * math.pi)) * stddev + mean, dtype)


def truncated_normal(shape: Sequence[Any], mean: float = 0.0, stddev: float = 1.0, dtype: Any = None,
                     seed: Any = None) -> np.ndarray:
    """Normal numbers within two deviations of the mean, as an array."""
    random, size = _generator(seed), int(np.prod(tuple(shape)))
    drawn = np.empty(0)
    while len(drawn) < size:
        more = random.standard_normal(int(size / _CUT) + 16)
        drawn = np.concatenate([drawn, more[abs(more) <= 2]])
    return _typed(drawn[:size].reshape(tuple(shape)) * stddev + mean, dtype)


def randint(shape: Sequence[Any], minval: int, maxval: int, dtype: Any = "int32", seed: Any = None) -> Any:
    """Whole numbers from `minval` to below `maxval`."""
    if current_trace() is None:
        return _generator(seed).integers(minval, maxval, tuple(shape)).astype(dtype)
    return f.cast(f.floor(_uniform(shape, seed) * float(maxval - minval) + float(minval)), dtype)


def categorical(logits: Any, num_samples: int, dtype: Any = "int32", seed: Any = None) -> np.ndarray:
    """Classes (n,num_samples) drawn by the logarithms of their odds (n,classes), as an array (E. Gumbel, 1954)."""
    odds = np.asarray(logits)[:, None, :]
    noise = _generator(seed).gumbel(size=(odds.shape[0], num_samples, odds.shape[-1]))
    return (odds + noise).argmax(-1).astype(dtype)


def dropout(inputs: Any, rate: float, noise_shape: Any = None, seed: Any = None) -> Any:
    """Inputs with a part of them set to zero and the rest scaled up; `noise_shape` has 1 where all go together."""
    shape = tuple(inputs.shape) if noise_shape is None else tuple(
        own if given is None else given for own, given in zip(inputs.shape, noise_shape, strict=True))
    kept = _uniform(shape, seed) >= rate
    if isinstance(kept, Value):
        return f.where(f.broadcast_to(kept, inputs.shape), f.divide(inputs, 1 - rate), f.zeros_like(inputs))
    return np.where(kept, np.asarray(inputs) / (1 - rate), 0).astype(np.asarray(inputs).dtype)


def shuffle(x: Any, axis: int = 0, seed: Any = None) -> np.ndarray:
    """An array with its entries along an axis in another order."""
    return _generator(seed).permutation(np.asarray(x), axis)


def gamma(shape: Sequence[Any], alpha: Any, dtype: Any = None, seed: Any = None) -> np.ndarray:
    """Numbers of the gamma distribution, as an array."""
    return _typed(_generator(seed).standard_gamma(alpha, tuple(shape)), dtype)


def beta(shape: Sequence[Any], alpha: Any, beta: Any, dtype: Any = None, seed: Any = None) -> np.ndarray:
    """Numbers of the beta distribution, as an array."""
    return _typed(_generator(seed).beta(alpha, beta, tuple(shape)), dtype)


def binomial(shape: Sequence[Any], counts: Any, probabilities: Any, dtype: Any = None, seed: Any = None) -> np.ndarray:
    """How often of so many times something of these probabilities happens, as an array."""
    return _typed(_generator(seed).binomial(np.asarray(counts).astype(int), probabilities, tuple(shape)), dtype)
