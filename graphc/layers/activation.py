"""Activations with options or weights as layers. https://keras.io/api/layers/activation_layers/"""

from __future__ import annotations

from typing import Any

from graphc import activations
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value
from graphc.layers.layer import Layer
from graphc.layers.normalization import normal_axes
from graphc.layers.weights import add_weight, keep_options

__all__ = ["ELU", "LeakyReLU", "PReLU", "ReLU", "Softmax", "masked_softmax"]

_NEVER = -1e9  # a score so small that its exponential is 0


class ReLU(Layer):
    """max(x, 0), with a slope below the threshold and a ceiling where they are given.

    ReLU()(f32[N,3]) -> f32[N,3]
    ReLU(max_value=6.0, negative_slope=0.1, threshold=0.5)(f32[N,3]) -> f32[N,3]
    """

    supports_masking = True

    def __init__(self, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0,
                 **kwargs: Any):
        super().__init__(**kwargs)
        for name, value in (("max_value", max_value), ("negative_slope", negative_slope), ("threshold", threshold)):
            if (value is None and name != "max_value") or (value is not None and value < 0):
                raise ValueError(f"ReLU({name}={value!r}): expected a number from 0 on.")
        self.max_value, self.negative_slope, self.threshold = max_value, negative_slope, threshold

    def call(self, inputs: Value) -> Value:
        return activations.relu(inputs, self.negative_slope, self.max_value, self.threshold)


class Softmax(Layer):
    """Probabilities along an axis or several; with a mask, among the places where it holds.

    Softmax()(f32[N,3]) -> f32[N,3]
    Softmax(axis=(1, 2))(f32[N,4,3]) -> f32[N,4,3]
    Softmax(axis=3)(f32[N,3]) -> ShapeError: The axis 3 is out of range
    """

    supports_masking = True

    def __init__(self, axis: Any = -1, **kwargs: Any):
        super().__init__(**kwargs)
        self.axis = axis if isinstance(axis, int) else [int(a) for a in axis]

    def call(self, inputs: Value, mask: Any = None) -> Value:
        return masked_softmax(inputs, self.axis, mask)


class LeakyReLU(Layer):
    """x where positive, `negative_slope * x` elsewhere; `alpha` is the old name of the slope.

    LeakyReLU()(f32[N,3]) -> f32[N,3]
    LeakyReLU(alpha=0.1)(f32[N,3]) -> f32[N,3]
    """

    supports_masking = True

    def __init__(self, negative_slope: float = 0.3, **kwargs: Any):
        super().__init__(**kwargs)
        if negative_slope is None or negative_slope < 0:
            raise ValueError(f"LeakyReLU(negative_slope={negative_slope!r}): the slope must be a number from 0 on.")
        self.negative_slope = negative_slope

    def call(self, inputs: Value) -> Value:
        return activations.leaky_relu(inputs, self.negative_slope)


class ELU(Layer):
    """x where positive, `alpha * (exp(x) - 1)` elsewhere.

    ELU(alpha=0.5)(f32[N,3]) -> f32[N,3]
    """

    supports_masking = True

    def __init__(self, alpha: float = 1.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.alpha = alpha

    def call(self, inputs: Value) -> Value:
        return activations.elu(inputs, self.alpha)


class PReLU(Layer):
    """x where positive, x times a learnt slope elsewhere; along `shared_axes`, counted from 1, the slopes are one.

    K. He et al., "Delving deep into rectifiers", 2015.

    PReLU()(f32[N,4,4,3]) -> f32[N,4,4,3]
    PReLU(shared_axes=[1, 2])(f32[N,4,4,3]) -> f32[N,4,4,3]
    PReLU(shared_axes=[3])(f32[N,4]) -> ShapeError: PReLU(shared_axes=[3])
    """

    supports_masking = True

    def __init__(self, alpha_initializer: Any = "zeros", alpha_regularizer: Any = None, alpha_constraint: Any = None,
                 shared_axes: Any = None, **kwargs: Any):
        super().__init__(**kwargs)
        keep_options(self, "alpha", alpha_initializer, alpha_regularizer, alpha_constraint)
        self.shared_axes = [shared_axes] if isinstance(shared_axes, int) else shared_axes and list(shared_axes)

    def build(self, input_shape: Any) -> None:
        shared = self.shared_axes or []
        if any(not 0 < a < len(input_shape) for a in shared):
            raise ShapeError(f"PReLU(shared_axes={shared}) needs axes from 1 to {len(input_shape) - 1}.")
        shape = [1 if a in shared else n for a, n in enumerate(input_shape) if a]
        if None in shape:
            raise ShapeError("PReLU needs known extents along the axes that it doesn't share.")
        self.alpha = add_weight(self, "alpha", shape)

    def call(self, inputs: Value) -> Value:
        return f.subtract(f.relu(inputs), f.multiply(self.alpha, f.relu(f.negative(inputs))))


def masked_softmax(x: Value, axis: Any, mask: Value | None) -> Value:
    """The softmax along an axis or several, among the places where the mask holds; 0 elsewhere."""
    if mask is not None:
        mask = mask if mask.dtype.kind == "b" else f.greater(mask, 0.5)
        x = f.where(mask, x, _NEVER)
    axes = [axis] if isinstance(axis, int) else axis
    result = activations.softmax(x, axes[0]) if len(axes) == 1 else _softmax_over(x, normal_axes(axes, x.ndim))
    return result if mask is None else f.where(mask, result, 0.0)


def _softmax_over(x: Value, axes: tuple[int, ...]) -> Value:
    """The softmax over several axes as one."""
    kept = tuple(a for a in range(x.ndim) if a not in axes)
    order = (*kept, *axes)
    moved = f.transpose(x, order)
    rows = f.reshape(moved, (*moved.shape[:len(kept)], -1))
    back = tuple(order.index(a) for a in range(x.ndim))
    return f.transpose(f.reshape(f.softmax(rows), moved.shape), back)
