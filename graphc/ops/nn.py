"""Activations, normalisation, encodings, attention. https://keras.io/api/ops/nn/"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc import activations
from graphc.config import epsilon as least_divisor
from graphc.config import floatx
from graphc.eager import Array, Number, op
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value
from graphc.ir.types import product
from graphc.ops.convolution import (
    adaptive_average_pool,
    adaptive_max_pool,
    average_pool,
    conv,
    conv_transpose,
    depthwise_conv,
    fold,
    max_pool,
    separable_conv,
    unfold,
)
from graphc.ops.elementwise import tanh
from graphc.ops.entropy import binary_crossentropy, categorical_crossentropy, sparse_categorical_crossentropy
from graphc.ops.reductions import cumsum

__all__ = [
    "adaptive_average_pool", "adaptive_max_pool", "average_pool", "batch_normalization", "binary_crossentropy",
    "categorical_crossentropy", "celu", "conv", "conv_transpose", "depth_to_space", "depthwise_conv",
    "dot_product_attention", "elu", "fold", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_swish",
    "hard_tanh", "layer_normalization", "leaky_relu", "log_sigmoid", "log_softmax", "max_pool", "moments", "multi_hot",
    "normalize", "one_hot", "psnr", "relu", "relu6", "rms_normalization", "selu", "separable_conv", "sigmoid", "silu",
    "soft_shrink", "softmax", "softplus", "softsign", "space_to_depth", "sparse_categorical_crossentropy",
    "sparse_plus", "sparse_sigmoid", "sparsemax", "squareplus", "swish", "tanh", "tanh_shrink", "threshold", "unfold",
]

Axis = Any


# ------------------------------------------------------------------------------------------------ activations

@op
def relu(x: Array) -> Array:
    """max(x, 0)."""
    return f.relu(x)


@op
def relu6(x: Array) -> Array:
    """min(max(x, 0), 6)."""
    return f.relu6(x)


@op
def leaky_relu(x: Array, negative_slope: float = 0.2) -> Array:
    """x where positive, `negative_slope * x` elsewhere."""
    return f.leaky_relu(x, negative_slope)


@op
def elu(x: Array, alpha: float = 1.0) -> Array:
    """x where positive, `alpha * (exp(x) - 1)` elsewhere."""
    return f.elu(f.to_float(x), alpha)


@op
def celu(x: Array, alpha: float = 1.0) -> Array:
    """x where positive, `alpha * (exp(x / alpha) - 1)` elsewhere."""
    return activations.celu(f.to_float(x), alpha)


@op
def selu(x: Array) -> Array:
    """The scaled exponential linear unit (Klambauer et al., 2017)."""
    return f.selu(f.to_float(x))


@op
def gelu(x: Array, approximate: bool = True) -> Array:
    """x * P(Z <= x) of a standard normal Z, by default approximately."""
    return f.gelu(f.to_float(x), approximate)


@op
def silu(x: Array) -> Array:
    """x * sigmoid(x)."""
    return f.silu(f.to_float(x))


swish = silu


@op
def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x))."""
    return f.sigmoid(x)


@op
def log_sigmoid(x: Array) -> Array:
    """log(sigmoid(x)), without rounding small probabilities to zero."""
    return activations.log_sigmoid(f.to_float(x))


@op
def hard_sigmoid(x: Array) -> Array:
    """relu6(x + 3) / 6."""
    return activations.hard_sigmoid(f.to_float(x))


@op
def hard_silu(x: Array) -> Array:
    """x * relu6(x + 3) / 6."""
    return activations.hard_silu(f.to_float(x))


hard_swish = hard_silu


@op
def hard_tanh(x: Array) -> Array:
    """x limited to the interval [-1, 1]."""
    return f.clip(x, -1, 1)


@op
def softplus(x: Array) -> Array:
    """log(1 + exp(x)), without overflow."""
    return f.softplus(x)


@op
def softsign(x: Array) -> Array:
    """x / (1 + |x|)."""
    return f.softsign(f.to_float(x))


@op
def squareplus(x: Array, b: float = 4) -> Array:
    """(x + sqrt(x**2 + b)) / 2."""
    x = f.to_float(x)
    return (x + f.sqrt(f.square(x) + float(b))) * 0.5


@op
def glu(x: Array, axis: int = -1) -> Array:
    """One half of x along an axis times the sigmoid of the other half."""
    return activations.glu(f.to_float(x), axis)


@op
def sparse_sigmoid(x: Array) -> Array:
    """(x + 1) / 2 limited to the interval [0, 1]."""
    return f.clip((f.to_float(x) + 1.0) * 0.5, 0.0, 1.0)


@op
def sparse_plus(x: Array) -> Array:
    """0 up to -1, x from 1 on, a parabola (x + 1)**2 / 4 between them."""
    x = f.to_float(x)
    return f.where(f.less_equal(x, -1.0), 0.0, f.where(f.less(x, 1.0), 0.25 * f.square(x + 1.0), x))


@op
def tanh_shrink(x: Array) -> Array:
    """x - tanh(x)."""
    x = f.to_float(x)
    return x - f.tanh(x)


@op
def soft_shrink(x: Array, threshold: float = 0.5) -> Array:
    """x moved towards 0 by the threshold, 0 where it is nearer than that."""
    x = f.to_float(x)
    return f.where(f.greater(x, threshold), x - threshold, f.where(f.less(x, -threshold), x + threshold, 0.0))


@op
def hard_shrink(x: Array, threshold: float = 0.5) -> Array:
    """x, and 0 where it is no further from 0 than the threshold."""
    return f.where(f.greater(f.absolute(x), threshold), x, f.zeros_like(x))


@op
def threshold(x: Array, threshold: float, default_value: float) -> Array:
    """x where it is above the threshold, elsewhere the default."""
    return f.where(f.greater(x, threshold), x, default_value)


def _along(function: Callable[[Value, int], Value], x: Value, axis: Axis) -> Value:
    """A function along one axis, along several as if they were one, or over all."""
    x, axes = f.to_float(x), f.axes_of(x, axis)
    if len(axes) == 1:
        return function(x, axes[0])
    kept = [a for a in range(x.ndim) if a not in axes]
    moved = f.transpose(x, (*kept, *axes))
    result = f.reshape(function(f.merge_axes(x, axes), -1), moved.shape)
    order = [*kept, *axes]
    return f.transpose(result, [order.index(a) for a in range(x.ndim)])


@op
def softmax(x: Array, axis: Axis = -1) -> Array:
    """exp(x) / sum(exp(x)) along an axis, several, or over all for None."""
    return _along(f.softmax, x, axis)


@op
def log_softmax(x: Array, axis: Axis = -1) -> Array:
    """log(softmax(x)), without rounding small probabilities to zero."""
    return _along(f.log_softmax, x, axis)


@op
def sparsemax(x: Array, axis: int = -1) -> Array:
    """The probabilities nearest to x, many of which are 0: A. Martins, R. Astudillo, 2016."""
    x, axis = f.to_float(x), f.axes_of(x, axis)[0]
    row = f.moveaxis(x, axis, -1)
    falling = f.take_along(row, f.argsort(f.opposite(row), -1), row.ndim - 1)
    count = f.iota(row.shape, (row.ndim - 1,), row.dtype) + 1.0
    sums = cumsum(falling, -1)
    inside = f.cast(f.greater(1.0 + count * falling, sums), row.dtype)
    size = f.sum(inside, -1, keepdims=True)
    level = (f.sum(falling * inside, -1, keepdims=True) - 1.0) / size
    return f.moveaxis(f.relu(row - level), -1, axis)


# ---------------------------------------------------------------------------------------------- normalisation

@op
def moments(x: Array, axes: Axis, keepdims: bool = False, synchronized: bool = False) -> Any:
    """The mean and the variance over the axes."""
    if synchronized:
        raise NotImplementedError("moments(synchronized=True) needs several devices; there is one.")
    x = f.to_float(x)
    middle = f.mean(x, axes, keepdims=True)
    variance = f.mean(f.square(x - middle), axes, keepdims)
    return (middle if keepdims else f.mean(x, axes)), variance


@op
def batch_normalization(x: Array, mean: Array, variance: Array, axis: int, offset: Array | None = None,
                        scale: Array | None = None, epsilon: float = 1e-3) -> Array:
    """(x - mean) / sqrt(variance + epsilon) * scale + offset, each one number for every place along the axis."""
    place = f.axes_of(x, axis)[0]
    shape = tuple(n if a == place else 1 for a, n in enumerate(x.shape))
    for v in (mean, variance, offset, scale):
        if v is not None and v.shape != (x.shape[place],):
            raise ShapeError(f"batch_normalization along axis {axis} of {x.type} needs {x.shape[place]} numbers of "
                             f"each kind, received {v.type}.")
    factor = f.rsqrt(f.reshape(variance, shape) + epsilon)
    factor = factor if scale is None else factor * f.reshape(scale, shape)
    result = (x - f.reshape(mean, shape)) * factor
    return result if offset is None else result + f.reshape(offset, shape)


@op
def layer_normalization(x: Array, gamma: Array | None = None, beta: Array | None = None, axis: Axis = -1,
                        epsilon: float | None = None, **kwargs: Any) -> Array:
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta with the mean and variance over the axes."""
    rms = kwargs.pop("rms_scaling", False)
    if kwargs:
        raise TypeError(f"layer_normalization received the unknown {sorted(kwargs)}.")
    x, epsilon = f.to_float(x), least_divisor() if epsilon is None else epsilon
    axes = f.axes_of(x, axis)
    if rms:
        variance = f.mean(f.square(x - f.mean(x, axes, keepdims=True)), axes, keepdims=True)
        result = x * f.rsqrt(variance + epsilon)
        return result if gamma is None else result * _over(gamma, x, axes)
    centred = x - f.mean(x, axes, keepdims=True)
    result = centred * f.rsqrt(f.mean(f.square(centred), axes, keepdims=True) + epsilon)
    result = result if gamma is None else result * _over(gamma, x, axes)
    return result if beta is None else result + _over(beta, x, axes)


def _over(weights: Value, x: Value, axes: Sequence[int]) -> Value:
    """Weights of the sizes of the axes, so that they broadcast to x."""
    expected = tuple(n if a in axes else 1 for a, n in enumerate(x.shape))
    if product(weights.shape) != product(expected):
        raise ShapeError(f"Weights for the axes {tuple(axes)} of {x.type} need its sizes there, received "
                         f"{weights.type}.")
    return f.reshape(weights, expected)


@op
def rms_normalization(x: Array, scale: Array | None = None, axis: Axis = -1, epsilon: float | None = None) -> Array:
    """x / sqrt(mean(x**2) + epsilon) * scale with the mean over the axes."""
    x, epsilon = f.to_float(x), least_divisor() if epsilon is None else epsilon
    axes = f.axes_of(x, axis)
    result = x * f.rsqrt(f.mean(f.square(x), axes, keepdims=True) + epsilon)
    return result if scale is None else result * f.reshape(scale, _fitting(scale, x, axes))


def _fitting(scale: Value, x: Value, axes: Sequence[int]) -> tuple[Any, ...]:
    return tuple(n if a in axes else 1 for a, n in enumerate(x.shape)) if scale.ndim != x.ndim else scale.shape


@op
def normalize(x: Array, axis: Axis = -1, order: float = 2, epsilon: float | None = None) -> Array:
    """x divided by its norm along the axis; `order` 2 is the Euclidean norm, and epsilon is its least."""
    if not isinstance(order, int | float) or order < 1:
        raise ValueError(f"normalize(order={order!r}): expected a number from 1 on.")
    x, least = f.to_float(x), least_divisor() if epsilon is None else epsilon
    if order == 2:
        square = f.sum(f.square(x), axis, keepdims=True)
        return x * f.rsqrt(f.maximum(square, least ** 2))
    if math.isinf(order):
        norm = f.max(f.absolute(x), axis, keepdims=True)
    else:
        norm = f.power(f.sum(f.power(f.absolute(x), float(order)), axis, keepdims=True), 1.0 / order)
    return x / f.maximum(norm, least)


@op
def psnr(x1: Array, x2: Array, max_val: float) -> Array:
    """The peak signal-to-noise ratio in decibels: 20 log10(max_val) - 10 log10(mean((x1 - x2)**2))."""
    x2 = f.cast(x2, x1.dtype)
    if x1.shape != x2.shape:
        raise ShapeError(f"psnr needs two images of one shape, received {x1.type} and {x2.type}.")
    error = f.mean(f.square(x1 - x2))
    return 20 * math.log10(max_val) - f.log(error) * (10 / math.log(10))


# -------------------------------------------------------------------------------------------------- encodings

def _hot(x: Value, num_classes: int, axis: int, dtype: Any) -> Value:
    x = x if x.dtype.kind in "iu" else f.cast(x, "i32")
    return f.moveaxis(f.one_hot(x, num_classes, dtype or floatx()), -1, axis)


@op
def one_hot(x: Array, num_classes: int, axis: int = -1, dtype: Any = None, sparse: bool = False) -> Array:
    """1 at the position that x gives along a new axis, 0 elsewhere; all 0 where x is out of range."""
    _dense("one_hot", sparse)
    return _hot(x, num_classes, axis, dtype)


@op
def multi_hot(inputs: Array, num_classes: int | None = None, axis: int = -1, dtype: Any = None, sparse: bool = False,
              **kwargs: Any) -> Array:
    """1 at each of the positions in a row of the inputs, 0 elsewhere."""
    _dense("multi_hot", sparse)
    num_classes = kwargs.pop("num_tokens", num_classes)
    if num_classes is None or kwargs:
        raise ValueError(f"multi_hot needs num_classes, and takes no {sorted(kwargs)}.")
    hot = _hot(inputs, num_classes, axis, dtype)
    return f.max(hot, 1 if inputs.ndim > 1 else 0)


def _dense(name: str, sparse: bool) -> None:
    if sparse:
        raise ValueError(f"{name}(sparse=True): there are no sparse arrays.")


@op
def depth_to_space(x: Array, block_size: int, data_format: str = "channels_last") -> Array:
    """Images with the channels of each pixel as a block of pixels."""
    n = block_size
    if data_format == "channels_first":
        b, c, h, w = x.shape
        x = f.reshape(x, (b, n, n, _part(c, n * n), h, w))
        return f.reshape(f.transpose(x, (0, 3, 4, 1, 5, 2)), (b, -1, h * n, w * n))
    b, h, w, c = x.shape
    x = f.reshape(x, (b, h, w, n, n, _part(c, n * n)))
    return f.reshape(f.transpose(x, (0, 1, 3, 2, 4, 5)), (b, h * n, w * n, -1))


@op
def space_to_depth(x: Array, block_size: int, data_format: str = "channels_last") -> Array:
    """Images with each block of pixels as the channels of one."""
    n = block_size
    if data_format == "channels_first":
        b, c, h, w = x.shape
        h, w = _part(h, n), _part(w, n)
        x = f.reshape(x, (b, c, h, n, w, n))
        return f.reshape(f.transpose(x, (0, 3, 5, 1, 2, 4)), (b, c * (n * n), h, w))
    b, h, w, c = x.shape
    h, w = _part(h, n), _part(w, n)
    x = f.reshape(x, (b, h, n, w, n, c))
    return f.reshape(f.transpose(x, (0, 1, 3, 2, 4, 5)), (b, h, w, c * (n * n)))


def _part(n: Any, blocks: int) -> Any:
    part = (n // blocks if n % blocks == 0 else None) if isinstance(n, int) else n.divide(blocks)
    if part is None:
        raise ShapeError(f"An extent of {n} does not divide into blocks of {blocks}.")
    return part


# -------------------------------------------------------------------------------------------------- attention

@op
def dot_product_attention(query: Array, key: Array, value: Array, bias: Array | None = None, mask: Array | None = None,
                          scale: Number | None = None, is_causal: bool = False, flash_attention: bool | None = None,
                          attn_logits_soft_cap: float | None = None) -> Array:
    """softmax(query . key * scale + bias) . value for [N, T, heads, size] and [N, S, heads, size].

    Keys and values may have fewer heads than queries: each serves as many of them. The mask, [N, heads, T, S] or what
    broadcasts to it, is false where a query doesn't see a key; `is_causal` hides later ones. The scale is by default
    1 / sqrt(size), and `attn_logits_soft_cap` limits the logits smoothly.
    """
    if flash_attention:
        raise NotImplementedError("dot_product_attention(flash_attention=True): there is one way to compute it.")
    if query.ndim != 4 or key.ndim != 4 or value.ndim != 4:
        raise ShapeError(f"dot_product_attention needs [N, T, heads, size] of each, received {query.type}, {key.type} "
                         f"and {value.type}.")
    t, heads, size = query.shape[1:]
    s, served = key.shape[1:3]
    if heads != served:
        if not (isinstance(heads, int) and isinstance(served, int)) or heads % served:
            raise ShapeError(f"{heads} heads of queries can't share {served} heads of keys.")

        def spread(x: Value) -> Value:
            shape = (*x.shape[:3], heads // served, x.shape[3])
            return f.reshape(f.broadcast(x, shape, (0, 1, 2, 4)), (*x.shape[:2], heads, x.shape[3]))

        key, value = spread(key), spread(value)
    factor = 1.0 / math.sqrt(size) if scale is None else scale
    logits = f.einsum("nthd,nshd->nhts", f.multiply(query, factor), key)
    if attn_logits_soft_cap is not None:
        logits = f.tanh(logits / float(attn_logits_soft_cap)) * float(attn_logits_soft_cap)
    if bias is not None:
        logits = logits + bias
    hidden = float(-0.7 * _largest(logits))
    if mask is not None:
        logits = f.where(f.broadcast_to(f.cast(mask, "bool"), logits.shape), logits, hidden)
    if is_causal:
        earlier = f.greater_equal(f.iota((t, s), (0,), "i32"), f.iota((t, s), (1,), "i32"))
        logits = f.where(earlier, logits, hidden)
    return f.einsum("nhts,nshd->nthd", f.softmax(logits, -1), value)


def _largest(x: Value) -> float:
    return float(np.finfo(x.dtype.numpy).max)

