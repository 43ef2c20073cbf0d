"""Activation functions of values, and of arrays. https://keras.io/api/layers/activations/"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc.eager import eager
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value
from graphc.names import choose
from graphc.registry import get_registered_object

__all__ = ["celu", "deserialize", "elu", "exponential", "gelu", "get", "glu", "hard_shrink", "hard_sigmoid",
           "hard_sigmoid_of_keras_2", "hard_silu", "hard_swish", "hard_tanh", "leaky_relu", "linear", "log_sigmoid",
           "log_softmax", "mish", "relu", "relu6", "selu", "serialize", "sigmoid", "silu", "soft_shrink", "softmax",
           "softplus", "softsign", "sparse_plus", "sparse_sigmoid", "squareplus", "swish", "tanh", "tanh_shrink",
           "threshold"]

Activation = Callable[[Value], Value]
_activation = eager("x")

elu, leaky_relu, log_softmax, relu6, selu = map(_activation, (f.elu, f.leaky_relu, f.log_softmax, f.relu6, f.selu))
sigmoid, silu, softplus, softsign, tanh = map(_activation, (f.sigmoid, f.silu, f.softplus, f.softsign, f.tanh))
swish = silu


@_activation
def linear(x: Value) -> Value:
    """x itself."""
    return x


@_activation
def relu(x: Value, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Value:
    """max(x, 0); with a slope below the threshold and a ceiling where they are given."""
    if not negative_slope and not threshold:
        result = f.relu(x)
    else:
        below = f.multiply(f.subtract(x, threshold), negative_slope) if negative_slope else f.zeros_like(x)
        result = f.where(f.greater(x, threshold), x, below)
    return result if max_value is None else f.minimum(result, max_value)


@_activation
def softmax(x: Value, axis: int = -1) -> Value:
    """exp(x) / sum(exp(x)) along an axis; needs at least two axes."""
    if x.ndim < 2:
        raise ShapeError(f"softmax needs at least two axes, received {x.type}: the first one is the batch.")
    return f.softmax(x, axis)


@_activation
def gelu(x: Value, approximate: bool = False) -> Value:
    """x * P(Z <= x) of a standard normal Z."""
    return f.gelu(x, approximate)


@_activation
def exponential(x: Value) -> Value:
    """exp(x)."""
    return f.exp(x)


@_activation
def hard_sigmoid(x: Value) -> Value:
    """relu6(x + 3) / 6."""
    return f.divide(f.relu6(f.add(x, 3.0)), 6.0)


@_activation
def hard_sigmoid_of_keras_2(x: Value) -> Value:
    """max(0, min(1, x / 5 + 1 / 2)), which models in files of Keras 1 and 2 were trained with."""
    return f.minimum(f.maximum(f.add(f.multiply(x, 0.2), 0.5), 0.0), 1.0)


@_activation
def hard_silu(x: Value) -> Value:
    """x * relu6(x + 3) / 6."""
    return f.multiply(x, hard_sigmoid(x))


hard_swish = hard_silu


@_activation
def hard_tanh(x: Value) -> Value:
    """x limited to the interval [-1, 1]."""
    return f.clip(x, -1.0, 1.0)


@_activation
def celu(x: Value, alpha: float = 1.0) -> Value:
    """x where positive, `alpha * (exp(x / alpha) - 1)` elsewhere."""
    return f.add(f.relu(x), f.multiply(alpha, f.subtract(f.exp(f.divide(f.minimum(x, 0.0), alpha)), 1.0)))


@_activation
def log_sigmoid(x: Value) -> Value:
    """log(sigmoid(x)), without rounding small probabilities to zero."""
    return f.negative(f.softplus(f.negative(x)))


@_activation
def glu(x: Value, axis: int = -1) -> Value:
    """One half of x along an axis times the sigmoid of the other half."""
    extent = x.shape[axis] if -x.ndim <= axis < x.ndim else None
    if not isinstance(extent, int) or extent % 2:
        raise ShapeError(f"glu needs a known even extent along axis={axis}, received {x.type}.")
    half = tuple(extent // 2 if a == axis % x.ndim else n for a, n in enumerate(x.shape))
    start = tuple(extent // 2 if a == axis % x.ndim else 0 for a in range(x.ndim))
    return f.multiply(f.slice(x, (0,) * x.ndim, half), f.sigmoid(f.slice(x, start, half)))


@_activation
def mish(x: Value) -> Value:
    """x * tanh(softplus(x))."""
    return f.multiply(x, f.tanh(f.softplus(x)))


@_activation
def tanh_shrink(x: Value) -> Value:
    """x - tanh(x)."""
    return f.subtract(x, f.tanh(x))


@_activation
def hard_shrink(x: Value, threshold: float = 0.5) -> Value:
    """x where |x| is above the threshold, 0 elsewhere."""
    return f.where(f.greater(f.absolute(x), threshold), x, 0.0)


@_activation
def soft_shrink(x: Value, threshold: float = 0.5) -> Value:
    """x moved by the threshold towards 0, and 0 where it would pass it."""
    return f.subtract(x, f.clip(x, -threshold, threshold))


@_activation
def threshold(x: Value, threshold: float, default_value: float) -> Value:
    """x where it is above the threshold, the default elsewhere."""
    return f.where(f.greater(x, threshold), x, default_value)


@_activation
def squareplus(x: Value, b: float = 4.0) -> Value:
    """(x + sqrt(x**2 + b)) / 2."""
    return f.multiply(f.add(x, f.sqrt(f.add(f.square(x), b))), 0.5)


@_activation
def sparse_plus(x: Value) -> Value:
    """0 up to -1, x from 1 on, (x + 1)**2 / 4 in between."""
    return f.where(f.greater(x, 1.0), x, f.multiply(f.square(f.add(f.clip(x, -1.0, 1.0), 1.0)), 0.25))


@_activation
def sparse_sigmoid(x: Value) -> Value:
    """(x + 1) / 2, limited to the interval [0, 1]."""
    return f.multiply(f.add(f.clip(x, -1.0, 1.0), 1.0), 0.5)


_BY_NAME: dict[str, Activation] = {name: globals()[name] for name in __all__
                                   if name not in ("deserialize", "get", "serialize")}


def get(identifier: Any) -> Activation:
    """The activation for a name, a function, None (linear), or the description of a registered function."""
    if isinstance(identifier, dict) and identifier.get("class_name") == "function":
        names = (str(identifier.get(key)) for key in ("registered_name", "config"))
        identifier = next((found for name in names if (found := get_registered_object(name))), identifier.get("config"))
    if identifier is None:
        return linear
    if isinstance(identifier, str):
        return choose("activation", identifier, _BY_NAME)
    if callable(identifier):
        return identifier
    raise TypeError(f"An activation is a name, a function or None, received {identifier!r}.")


deserialize = get


def serialize(activation: Activation) -> str:
    """The name of an activation."""
    known = [name for name, function in _BY_NAME.items() if function is activation]
    return known[0] if known else getattr(activation, "__name__", str(activation))
