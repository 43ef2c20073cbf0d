"""Dense layers over any axes. https://keras.io/api/layers/core_layers/einsum_dense/"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from graphc import activations, initializers
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value
from graphc.layers.layer import Layer
from graphc.layers.weights import add_weight, keep_options

__all__ = ["EinsumDense"]

_EQUATION = re.compile(r"(\.\.\.)?([a-zA-Z]+)(\.\.\.)?,([a-zA-Z]+)->(\.\.\.)?([a-zA-Z]+)(\.\.\.)?")


class EinsumDense(Layer):
    """activation(einsum(equation, inputs, kernel) + bias).

    `output_shape` is that of one sample, with None for axes that it has from the inputs; `bias_axes` are the letters
    of those that the bias has. "..." stands for as many axes as there are, first or last.

    EinsumDense("ab,bc->ac", output_shape=8, bias_axes="c")(f32[N,3]) -> f32[N,8]
    EinsumDense("abc,cde->abde", output_shape=(None, 2, 5), bias_axes="de")(f32[N,4,3]) -> f32[N,4,2,5]
    EinsumDense("...x,xy->...y", output_shape=6)(f32[N,4,3]) -> f32[N,4,6]
    EinsumDense("ab,bc->ad", output_shape=8)(f32[N,3]) -> ShapeError: the axis 'd'
    """

    def __init__(self, equation: str, output_shape: Any, activation: Any = None, bias_axes: str | None = None,
                 kernel_initializer: Any = "glorot_uniform", bias_initializer: Any = "zeros",
                 kernel_regularizer: Any = None, bias_regularizer: Any = None, kernel_constraint: Any = None,
                 bias_constraint: Any = None, **kwargs: Any):
        super().__init__(**kwargs)
        match = _EQUATION.fullmatch(equation.replace(" ", ""))
        if match is None or (match[1], match[3]) != (match[5], match[7]) or (match[1] and match[3]):
            raise ValueError(f"EinsumDense(equation={equation!r}): expected 'ab,bc->ac', '...b,bc->...c' or "
                             "'ab...,bc->ac...'.")
        self.equation, self.bias_axes = equation, bias_axes
        self._terms = match[2], match[4], match[6], bool(match[1]), bool(match[3])
        self.partial_output_shape = (output_shape,) if isinstance(output_shape, int) else tuple(output_shape)
        self.activation = activations.get(activation)
        keep_options(self, "kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        keep_options(self, "bias", bias_initializer, bias_regularizer, bias_constraint)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"output_shape": self.partial_output_shape}

    def build(self, input_shape: Any) -> None:
        given, weight, result = self._letters(len(input_shape))
        extent = dict(zip(given, input_shape, strict=True))
        free = [c for c in result[1:] if c not in _ELIDED]  # what "..." stands for is not said again
        if len(free) != len(self.partial_output_shape):
            raise ShapeError(f"EinsumDense(output_shape={self.partial_output_shape}) needs {len(free)} extents for "
                             f"the equation {self.equation!r}.")
        for letter, n in zip(free, self.partial_output_shape, strict=True):
            if letter in extent and n is not None and extent[letter] not in (None, n):
                raise ShapeError(f"the axis {letter!r} of {self.equation!r} has the extent {extent[letter]} in the "
                                 f"inputs and {n} in output_shape={self.partial_output_shape}.")
            extent.setdefault(letter, n)
        lost = [c for c in result + weight if c not in given + weight or (c in weight and extent.get(c) is None)]
        if lost:
            raise ShapeError(f"the axis {lost[0]!r} of {self.equation!r} has no known extent, in the inputs or in "
                             f"output_shape={self.partial_output_shape}.")
        inputs = [i for i, c in enumerate(weight) if c not in result]
        outputs = [i for i, c in enumerate(weight) if c in result]
        self.kernel = add_weight(self, "kernel", [extent[c] for c in weight],
                                 begin=lambda initializer: _by_axes(initializer, inputs, outputs))
        self.bias = None if self.bias_axes is None else add_weight(self, "bias", self._bias_shape(result, extent))

    def _bias_shape(self, result: str, extent: dict[str, Any]) -> list[int]:
        """From the first axis that the bias has on: its extent, or 1 where it hasn't that axis."""
        axes = self.bias_axes or ""
        for letter in axes:
            if letter not in result or extent.get(letter) is None:
                raise ShapeError(f"the bias can't have the axis {letter!r} of {self.equation!r}: the result has no "
                                 "such axis of known extent.")
        first = min(map(result.index, axes))
        return [extent[c] if c in axes else 1 for c in result[first:]]

    def _letters(self, rank: int) -> tuple[str, str, str]:
        """The three terms with a letter for each axis; numbers stand for those of "..."."""
        given, weight, result, left, right = self._terms
        if rank - len(given) < 0 or (rank > len(given) and not left and not right):
            raise ShapeError(f"EinsumDense(equation={self.equation!r}) needs {len(given)} axes.")
        more = _ELIDED[:rank - len(given)]
        return (more + given, weight, more + result) if left else (given + more, weight, result + more)

    def call(self, inputs: Value) -> Value:
        given, weight, result = self._letters(inputs.ndim)
        letters = "".join(dict.fromkeys(given + weight))
        plain = str.maketrans(letters, "abcdefghijklmnopqrstuvwxyz"[:len(letters)])
        x = f.einsum(f"{given},{weight}->{result}".translate(plain), inputs, self.kernel)
        return self.activation(x if self.bias is None else f.add(x, self.bias))


_ELIDED = "0123456789"


def _by_axes(initializer: Any, inputs: list[int], outputs: list[int]) -> Callable[..., np.ndarray]:
    """One that counts a kernel's axes as inputs and outputs of a unit, where the variance depends on them."""
    if not isinstance(initializer, initializers.VarianceScaling):
        return initializer

    def make(shape: tuple[int, ...], dtype: Any = "float32") -> np.ndarray:
        order = [*inputs, *outputs]
        flat = initializer((math.prod(shape[i] for i in inputs), math.prod(shape[i] for i in outputs)), dtype)
        return flat.reshape([shape[i] for i in order]).transpose(np.argsort(order))

    return make
