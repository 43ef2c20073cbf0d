"""Activations with options or weights as layers. https://keras.io/api/layers/activation_layers/"""

from __future__ import annotations

from typing import Any

from graphc import activations, initializers
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value
from graphc.layers.layer import Layer

__all__ = ["ELU", "LeakyReLU", "PReLU"]


class LeakyReLU(Layer):
    """x where positive, `negative_slope * x` elsewhere; `alpha` is the old name of the slope.

    LeakyReLU()(f32[N,3]) -> f32[N,3]
    LeakyReLU(alpha=0.1)(f32[N,3]) -> f32[N,3]
    """

    def __init__(self, negative_slope: float = 0.3, **kwargs: Any):
        slope = kwargs.pop("alpha", negative_slope)
        super().__init__(**kwargs)
        if slope is None or slope < 0:
            raise ValueError(f"LeakyReLU(negative_slope={slope!r}): the slope must be a number from 0 on.")
        self.negative_slope = slope

    def call(self, inputs: Value) -> Value:
        return activations.leaky_relu(inputs, self.negative_slope)


class ELU(Layer):
    """x where positive, `alpha * (exp(x) - 1)` elsewhere.

    ELU(alpha=0.5)(f32[N,3]) -> f32[N,3]
    """

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

    def __init__(self, alpha_initializer: Any = "zeros", shared_axes: Any = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.alpha_initializer = initializers.get(alpha_initializer)
        self.shared_axes = [shared_axes] if isinstance(shared_axes, int) else shared_axes and list(shared_axes)

    def build(self, input_shape: Any) -> None:
        shared = self.shared_axes or []
        if any(not 0 < a < len(input_shape) for a in shared):
            raise ShapeError(f"PReLU(shared_axes={shared}) needs axes from 1 to {len(input_shape) - 1}.")
        shape = [1 if a in shared else n for a, n in enumerate(input_shape) if a]
        if None in shape:
            raise ShapeError("PReLU needs known extents along the axes that it doesn't share.")
        self.alpha = self.add_weight(shape, self.alpha_initializer, name="alpha")

    def call(self, inputs: Value) -> Value:
        return f.subtract(f.relu(inputs), f.multiply(self.alpha, f.relu(f.negative(inputs))))
