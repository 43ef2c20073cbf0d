"""Random numbers. https://keras.io/api/random/

A whole number as seed gives the same numbers at each call; a `SeedGenerator` moves on with each. Without a seed they
come from NumPy's global generator, and while a step is traced from the model's key. The bits are a function of a key
and a position, the same on every backend: see `RandomBits`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.config import floatx
from graphc.eager import as_value, is_symbolic, now
from graphc.initializers import draw_seed
from graphc.ir import functions as f
from graphc.ir.graph import Value
from graphc.ir.types import DType
from graphc.ops.math import erfinv
from graphc.tracing import current_trace, random_source
from graphc.variable import Variable

__all__ = ["SeedGenerator", "beta", "binomial", "categorical", "dropout", "gamma", "normal", "randint", "shuffle",
           "truncated_normal", "uniform"]


class SeedGenerator:
    """A seed and a counter that moves on with each use, in traced steps as well.

    `state` is a variable of two numbers; a layer that has one is saved with it.
    """

    def __init__(self, seed: int | None = None, name: str | None = None, **kwargs: Any):
        if kwargs:
            raise TypeError(f"SeedGenerator received the unknown {sorted(kwargs)}.")
        if seed is not None and (not isinstance(seed, int | np.integer) or seed < 0):
            raise ValueError(f"SeedGenerator(seed={seed!r}): expected a whole number from 0 on, or None.")
        self.seed, self.name = draw_seed() if seed is None else int(seed), name or "seed_generator"
        self.state = Variable(np.array([self.seed % 2**32, 0], np.uint32), f"{self.name}/seed_generator_state",
                              trainable=False)

    def next(self, ordered: bool = True) -> Value:
        """The key of the next use."""
        trace = current_trace()
        one = f.iota((2,), (0,), "u32")
        if trace is None:
            key = as_value(self.state.numpy())
            self.state.assign(self.state.numpy() + np.array([0, 1], np.uint32))
            return key
        key = trace.updates.get(self.state, self.state)
        trace.updates[self.state] = f.add(key, one)
        return key

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"seed": self.seed, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SeedGenerator:
        """The generator of a config."""
        return cls(**config)


def _source(seed: Any) -> tuple[Value, int]:
    """The key and the stream for one use."""
    if isinstance(seed, SeedGenerator):
        return seed.next(), 0
    if seed is None:
        source = random_source(None)
        if source is not None:
            return source
        seed = draw_seed()
    return as_value(np.array([int(seed) % 2**32, int(seed) >> 32], np.uint32)), 0


def _result(value: Value, *arguments: Any) -> Any:
    """The value while a step is traced or where it depends on values without numbers, else its array."""
    return value if current_trace() is not None or is_symbolic(*arguments) else now(value)


def _shape(shape: Any) -> tuple[Any, ...]:
    return tuple(n if hasattr(n, "terms") else int(n) for n in ((shape,) if isinstance(shape, int) else shape))


def _uniform(shape: tuple[Any, ...], source: tuple[Value, int]) -> Value:
    return f.uniform(source[0], shape, source[1])


def _normal(shape: tuple[Any, ...], source: tuple[Value, int]) -> Value:
    """Two uniform numbers as radius and angle: G. Box, M. Muller, 1958."""
    both = f.uniform(source[0], (2, *shape), source[1])
    first, second = (f.squeeze(f.slice(both, (i, *(0,) * len(shape)), (1, *shape)), 0) for i in range(2))
    return f.sqrt(-2.0 * f.log(1.0 - first)) * f.cos(second * (2 * math.pi))


def uniform(shape: Any, minval: float = 0.0, maxval: float = 1.0, dtype: Any = None, seed: Any = None) -> Any:
    """Numbers in [minval, maxval), each as likely."""
    low, high = as_value(minval, "f32"), as_value(maxval, "f32")
    result = _uniform(_shape(shape), _source(seed)) * (high - low) + low
    return _result(f.cast(result, dtype or floatx()), shape, minval, maxval)


def normal(shape: Any, mean: float = 0.0, stddev: float = 1.0, dtype: Any = None, seed: Any = None) -> Any:
    """Normally distributed numbers."""
    result = _normal(_shape(shape), _source(seed)) * as_value(stddev, "f32") + as_value(mean, "f32")
    return _result(f.cast(result, dtype or floatx()), shape, mean, stddev)


def truncated_normal(shape: Any, mean: float = 0.0, stddev: float = 1.0, dtype: Any = None, seed: Any = None) -> Any:
    """Normally distributed numbers within two standard deviations of the mean."""
    share = math.erf(math.sqrt(2))  # of numbers that lie within
    unit = (_uniform(_shape(shape), _source(seed)) * 2.0 - 1.0) * share
    result = f.clip(erfinv(unit) * math.sqrt(2), -2.0, 2.0)
    result = f.cast(result * as_value(stddev, "f32") + as_value(mean, "f32"), dtype or floatx())
    return _result(result, shape, mean, stddev)


def randint(shape: Any, minval: Any, maxval: Any, dtype: Any = "int32", seed: Any = None) -> Any:
    """Whole numbers in [minval, maxval), each as likely."""
    if DType.of(dtype).kind not in "iu":
        raise ValueError(f"randint(dtype={dtype!r}): expected whole numbers.")
    key, stream = _source(seed)
    low, high = as_value(minval, "i64"), as_value(maxval, "i64")
    bits = f.cast(f.random_bits(key, _shape(shape), stream), "f64") * 2.0**-32
    result = f.floor(bits * f.cast(high - low, "f64")) + f.cast(low, "f64")
    return _result(f.cast(result, dtype), shape, minval, maxval)


def dropout(inputs: Any, rate: float, noise_shape: Any = None, seed: Any = None) -> Any:
    """The inputs with a fraction `rate` of them set to 0, and the others scaled by 1 / (1 - rate)."""
    if not 0 <= rate <= 1:
        raise ValueError(f"dropout(rate={rate}): expected a number from 0 to 1.")
    x = as_value(inputs)
    shape = x.shape if noise_shape is None else tuple(x.shape[i] if n is None else n for i, n in enumerate(noise_shape))
    if rate == 0:
        return _result(x, inputs)
    kept = f.greater_equal(_uniform(shape, _source(seed)), rate)
    scaled = f.zeros_like(x) if rate == 1 else x * (1 / (1 - rate))
    return _result(f.where(f.broadcast_to(kept, x.shape), scaled, f.zeros_like(x)), inputs)


def shuffle(x: Any, axis: int = 0, seed: Any = None) -> Any:
    """The slices along an axis in a random order."""
    value = as_value(x)
    axis = f.axes_of(value, axis)[0]
    order = f.argsort(_uniform((value.shape[axis],), _source(seed)), 0)
    return _result(f.take(value, order, axis), x)


def categorical(logits: Any, num_samples: int, dtype: Any = "int32", seed: Any = None) -> Any:
    """For each row of logits so many classes, with the probabilities softmax(logits): E. Gumbel's method."""
    value = f.to_float(as_value(logits))
    if value.ndim != 2:
        raise ValueError(f"categorical needs logits [N, classes], received {value.type}.")
    shape = (value.shape[0], num_samples, value.shape[1])
    noise = -f.log(-f.log(f.maximum(_uniform(shape, _source(seed)), 2.0**-25)))
    return _result(f.cast(f.argmax(f.expand_dims(value, 1) + f.cast(noise, value.dtype), 2), dtype), logits)


# --------------------------------------------------------------------------------------------------- as arrays

def _numbers(seed: Any, dtype: Any, draw: Callable[[np.random.Generator], Any]) -> np.ndarray:
    """What a generator of NumPy's draws, seeded by one use of a seed."""
    key = now(_source(seed)[0])
    return np.asarray(draw(np.random.default_rng(key)), dtype or floatx())


def gamma(shape: Any, alpha: Any, dtype: Any = None, seed: Any = None) -> np.ndarray:
    """Numbers of the gamma distribution, as an array."""
    return _numbers(seed, dtype, lambda g: g.standard_gamma(alpha, _shape(shape)))


def beta(shape: Any, alpha: Any, beta: Any, dtype: Any = None, seed: Any = None) -> np.ndarray:
    """Numbers of the beta distribution, as an array."""
    return _numbers(seed, dtype, lambda g: g.beta(alpha, beta, _shape(shape)))


def binomial(shape: Any, counts: Any, probabilities: Any, dtype: Any = None, seed: Any = None) -> np.ndarray:
    """How often of so many times something of these probabilities happens, as an array."""
    return _numbers(seed, dtype, lambda g: g.binomial(np.asarray(counts).astype(int), probabilities, _shape(shape)))
