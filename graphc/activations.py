"""Activation functions over values. https://keras.io/api/layers/activations/"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.functions import elu, leaky_relu, log_softmax, relu6, selu, sigmoid, silu, softplus, softsign, tanh
from graphc.ir.graph import Value
from graphc.names import choose

__all__ = ["elu", "exponential", "gelu", "get", "hard_sigmoid", "leaky_relu", "linear", "log_softmax", "mish", "relu",
           "relu6", "selu", "serialize", "sigmoid", "silu", "softmax", "softplus", "softsign", "swish", "tanh"]

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


def mish(x: Value) -> Value:
    """x * tanh(softplus(x))."""
    return f.multiply(x, f.tanh(f.softplus(x)))


_BY_NAME: dict[str, Activation] = {
    "elu": elu, "exponential": exponential, "gelu": gelu, "hard_sigmoid": hard_sigmoid, "leaky_relu": leaky_relu,
    "linear": linear, "log_softmax": log_softmax, "mish": mish, "relu": relu, "relu6": relu6, "selu": selu,
    "sigmoid": sigmoid, "silu": silu, "softmax": softmax, "softplus": softplus, "softsign": softsign, "swish": swish,
    "tanh": tanh,
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
