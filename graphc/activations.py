"""Activation functions over values. https://keras.io/api/layers/activations/"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.functions import elu, leaky_relu, log_softmax, relu6, selu, sigmoid, silu, softplus, softsign, tanh
from graphc.ir.graph import Value
from graphc.names import choose

__all__ = ["celu", "elu", "exponential", "gelu", "get", "glu", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh",
           "leaky_relu", "linear", "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu", "serialize",
           "sigmoid", "silu", "softmax", "softplus", "softsign", "swish", "tanh"]

swish = silu
Activation = Callable[[Value], Value]


def linear(x: Value) -> Value:
    """x itself."""
    return x


def relu(x: Value, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Value:
    """max(x, 0); with a slope below the threshold and a ceiling where they are given."""
    if not negative_slope and not threshold:
        result = f.relu(x)
    else:
        below = f.multiply(f.subtract(x, threshold), negative_slope) if negative_slope else f.zeros_like(x)
        result = f.where(f.greater_equal(x, threshold), x, below)
    return result if max_value is None else f.minimum(result, max_value)


def softmax(x: Value, axis: int = -1) -> Value:
    """exp(x) / sum(exp(x)) along an axis; needs at least two axes."""
    if x.ndim < 2:
        raise ShapeError(f"softmax needs at least two axes, received {x.type}: the first one is the batch.")
    return f.softmax(x, axis)


def gelu(x: Value, approximate: bool = False) -> Value:
    """x * P(Z <= x) of a standard normal Z."""
    return f.gelu(x, approximate)


def exponential(x: Value) -> Value:
    """exp(x)."""
    return f.exp(x)


def hard_sigmoid(x: Value) -> Value:
    """relu6(x + 3) / 6."""
    return f.divide(f.relu6(f.add(x, 3.0)), 6.0)


def hard_silu(x: Value) -> Value:
    """x * relu6(x + 3) / 6."""
    return f.multiply(x, hard_sigmoid(x))


hard_swish = hard_silu


def hard_tanh(x: Value) -> Value:
    """x limited to the interval [-1, 1]."""
    return f.clip(x, -1.0, 1.0)


def celu(x: Value, alpha: float = 1.0) -> Value:
    """x where positive, `alpha * (exp(x / alpha) - 1)` elsewhere."""
    return f.add(f.relu(x), f.multiply(alpha, f.subtract(f.exp(f.divide(f.minimum(x, 0.0), alpha)), 1.0)))


def log_sigmoid(x: Value) -> Value:
    """log(sigmoid(x)), without rounding small probabilities to zero."""
    return f.negative(f.softplus(f.negative(x)))


def glu(x: Value, axis: int = -1) -> Value:
    """One half of x along an axis times the sigmoid of the other half."""
    extent = x.shape[axis] if -x.ndim <= axis < x.ndim else None
    if not isinstance(extent, int) or extent % 2:
        raise ShapeError(f"glu needs a known even extent along axis={axis}, received {x.type}.")
    half = tuple(extent // 2 if a == axis % x.ndim else n for a, n in enumerate(x.shape))
    start = tuple(extent // 2 if a == axis % x.ndim else 0 for a in range(x.ndim))
    return f.multiply(f.slice(x, (0,) * x.ndim, half), f.sigmoid(f.slice(x, start, half)))


def mish(x: Value) -> Value:
    """x * tanh(softplus(x))."""
    return f.multiply(x, f.tanh(f.softplus(x)))


_BY_NAME: dict[str, Activation] = {
    "celu": celu, "elu": elu, "exponential": exponential, "gelu": gelu, "glu": glu, "hard_sigmoid": hard_sigmoid,
    "hard_silu": hard_silu, "hard_swish": hard_swish, "hard_tanh": hard_tanh, "leaky_relu": leaky_relu,
    "linear": linear, "log_sigmoid": log_sigmoid, "log_softmax": log_softmax, "mish": mish, "relu": relu,
    "relu6": relu6, "selu": selu, "sigmoid": sigmoid, "silu": silu, "softmax": softmax, "softplus": softplus,
    "softsign": softsign, "swish": swish, "tanh": tanh,
}


def get(identifier: Any) -> Activation:
    """The activation for a name, a function or None (linear)."""
    if identifier is None:
        return linear
    if isinstance(identifier, str):
        return choose("activation", identifier, _BY_NAME)
    if callable(identifier):
        return identifier
    raise TypeError(f"An activation is a name, a function or None, received {identifier!r}.")


def serialize(activation: Activation) -> str:
    """The name of an activation."""
    known = [name for name, function in _BY_NAME.items() if function is activation]
    return known[0] if known else getattr(activation, "__name__", str(activation))
