"""Cross-entropies between targets and outputs. https://keras.io/api/ops/nn/"""

from __future__ import annotations

from typing import Any

from graphc.config import epsilon
from graphc.eager import Array, op
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value

__all__ = ["binary_crossentropy", "categorical_crossentropy", "sparse_categorical_crossentropy"]


def _clipped(x: Value) -> Value:
    return f.clip(x, epsilon(), 1.0 - epsilon())


@op
def binary_crossentropy(target: Array, output: Array, from_logits: bool = False) -> Array:
    """-(t log o + (1 - t) log(1 - o)), element by element."""
    output = f.to_float(output)
    target = f.cast(target, output.dtype)
    if target.shape != output.shape:
        raise ShapeError(f"binary_crossentropy needs arrays of one shape, received {target.type} and {output.type}.")
    if from_logits:
        return f.softplus(output) - target * output
    output = _clipped(output)
    return f.negative(target * f.log(output) + (1.0 - target) * f.log(1.0 - output))


def _log_probabilities(output: Value, from_logits: bool, axis: Any) -> Value:
    if from_logits:
        return f.log_softmax(output, axis)
    return f.log(_clipped(output / f.sum(output, axis, keepdims=True)))


@op
def categorical_crossentropy(target: Array, output: Array, from_logits: bool = False, axis: int = -1) -> Array:
    """-sum(t log o) along an axis, where o is made to sum to 1."""
    output = f.to_float(output)
    target = f.cast(target, output.dtype)
    if target.shape != output.shape or not target.ndim:
        raise ShapeError(f"categorical_crossentropy needs arrays of one shape, received {target.type} and "
                         f"{output.type}.")
    return f.negative(f.sum(target * _log_probabilities(output, from_logits, axis), axis))


@op
def sparse_categorical_crossentropy(target: Array, output: Array, from_logits: bool = False, axis: int = -1) -> Array:
    """-log o at the position along an axis that the target names."""
    output = f.to_float(output)
    place = f.axes_of(output, axis)[0]
    if target.ndim == output.ndim and target.shape[place] == 1:
        target = f.squeeze(target, place)
    if target.shape != output.shape[:place] + output.shape[place + 1:]:
        raise ShapeError(f"sparse_categorical_crossentropy needs a target for each position of {output.type} but along "
                         f"axis {axis}, received {target.type}.")
    hot = f.moveaxis(f.one_hot(f.cast(target, "i32"), output.shape[place], output.dtype), -1, place)
    return f.negative(f.sum(hot * _log_probabilities(output, from_logits, axis), axis))
