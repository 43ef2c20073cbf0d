"""Weights of spectral norm 1. https://keras.io/api/layers/normalization_layers/spectral_normalization/"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from graphc import initializers
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value
from graphc.layers.core import positive
from graphc.layers.layer import Layer
from graphc.layers.wrappers import Wrapper
from graphc.variable import Variable

__all__ = ["SpectralNormalization"]


class SpectralNormalization(Wrapper):
    """A layer whose kernel is divided by its largest singular value before each training step.

    The singular value is found by power iteration, which goes on from step to step. The gradient is that of the
    divided kernel, and the step starts from it. T. Miyato et al., "Spectral normalization for GANs", 2018.

    SpectralNormalization(Dense(4))(f32[N,3]) -> f32[N,4]
    SpectralNormalization(Conv2D(4, 3), power_iterations=2)(f32[N,8,8,3]) -> f32[N,6,6,4]
    SpectralNormalization(Flatten())(f32[N,8,8]) -> ShapeError: has no kernel
    """

    def __init__(self, layer: Layer, power_iterations: int = 1, **kwargs: Any):
        super().__init__(layer, **kwargs)
        self.power_iterations = positive("SpectralNormalization", "power_iterations", power_iterations)

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        found = [name for name in ("kernel", "embeddings") if hasattr(self.layer, name)]
        if not found:
            raise ShapeError(f"{type(self.layer).__name__} has no kernel or embeddings to normalize.")
        self._weight = found[0]
        kernel = getattr(self.layer, self._weight)
        self._own.append(kernel)  # Keras counts it as this layer's too, and has it twice in files
        self.vector_u = self.add_weight((1, kernel.shape[-1]), initializers.TruncatedNormal(stddev=0.02),
                                        trainable=False, name="vector_u")
        self._rule = _AfterMove(kernel.constraint)
        object.__setattr__(kernel, "constraint", self._rule)

    def _in_training(self, frozen: bool) -> Iterator[Variable]:
        """The kernel, only if the layer inside is trained."""
        yield from self.layer._in_training(not (self._trainable and (self._chosen or not frozen)))

    def call(self, inputs: Value, training: bool = False) -> Value:
        self._rule.move = None
        if not training:
            return self.layer(inputs)
        kernel = getattr(self.layer, self._weight)
        vector, divided = self._normalized(kernel)
        self.vector_u.assign(vector)
        kernel.assign(divided)
        self._rule.move = f.stop_gradient(f.subtract(divided, kernel))
        setattr(self.layer, self._weight, f.add(kernel, self._rule.move))
        try:
            return self.layer(inputs)
        finally:
            setattr(self.layer, self._weight, kernel)

    def _normalized(self, kernel: Value) -> tuple[Value, Value]:
        """The next vector of the power iteration, and the kernel divided by the singular value; zeros stay zeros."""
        matrix = f.reshape(kernel, (-1, kernel.shape[-1]))
        u: Value = self.vector_u
        for _ in range(self.power_iterations):
            v = _unit(f.matmul(u, f.transpose(matrix)))
            u = _unit(f.matmul(v, matrix))
        largest = f.reshape(f.matmul(f.matmul(v, matrix), f.transpose(u)), ())
        zero = f.equal(f.max(f.absolute(matrix)), 0.0)
        return f.where(zero, self.vector_u, u), f.where(zero, kernel, f.divide(kernel, f.where(zero, 1.0, largest)))


def _unit(x: Value) -> Value:
    """A vector of length 1; one of zeros as it is."""
    length = f.sqrt(f.sum(f.square(x)))
    return f.divide(x, f.where(f.equal(length, 0.0), 1.0, length))


class _AfterMove:
    """The constraint of a weight that was moved before a step: the step starts from there, then its own rule holds."""

    def __init__(self, rule: Any):
        self.rule = rule
        self.move: Value | None = None

    def __call__(self, w: Value) -> Value:
        w = w if self.move is None else f.add(w, self.move)
        return w if self.rule is None else self.rule(w)

    def __getstate__(self) -> dict[str, Any]:
        return {"rule": self.rule, "move": None}
