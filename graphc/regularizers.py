"""Penalties on weights and results, which training adds to the loss. https://keras.io/api/layers/regularizers/

A regularizer is a function from a value to a number, an object of a class below, or the name of one. That of a weight
counts once for each training step; that of a layer's result is divided by the number of samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from graphc import ops
from graphc.configs import describe, rule_for
from graphc.ir.errors import ShapeError
from graphc.names import choose, snake_case

__all__ = ["L1", "L1L2", "L2", "OrthogonalRegularizer", "Regularizer", "deserialize", "get", "l1", "l1_l2", "l2",
           "orthogonal_regularizer", "serialize"]


class Regularizer:
    """Base: `__call__(x)` gives the penalty for a weight; subclass it with `graphc.ops` and `get_config`."""

    keras_module = "keras.regularizers"

    def __call__(self, x: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no `__call__`: define __call__(self, x) with graphc.ops.")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return dict(vars(self))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Regularizer:
        """A regularizer from what `get_config` returned."""
        return cls(**config)


class L1L2(Regularizer):
    """l1 * sum(|x|) + l2 * sum(x^2)."""

    def __init__(self, l1: float | None = 0.0, l2: float | None = 0.0):
        self.l1, self.l2 = _factor(self, "l1", l1 or 0.0), _factor(self, "l2", l2 or 0.0)

    def __call__(self, x: Any) -> Any:
        return L1(self.l1)(x) + L2(self.l2)(x) if self.l1 and self.l2 else L1(self.l1)(x) if self.l1 else L2(self.l2)(x)


class L1(Regularizer):
    """l1 * sum(|x|)."""

    def __init__(self, l1: float | None = 0.01):
        self.l1 = _factor(self, "l1", 0.01 if l1 is None else l1)

    def __call__(self, x: Any) -> Any:
        return ops.multiply(ops.sum(ops.absolute(x)), self.l1)


class L2(Regularizer):
    """l2 * sum(x^2)."""

    def __init__(self, l2: float | None = 0.01):
        self.l2 = _factor(self, "l2", 0.01 if l2 is None else l2)

    def __call__(self, x: Any) -> Any:
        return ops.multiply(ops.sum(ops.square(x)), self.l2)


class OrthogonalRegularizer(Regularizer):
    """`factor` times the mean of |cosine| between any two rows of a matrix, or two columns."""

    def __init__(self, factor: float = 0.01, mode: str = "rows"):
        self.factor = _factor(self, "factor", factor)
        self.mode = choose("mode", mode, {"rows": "rows", "columns": "columns"})

    def __call__(self, x: Any) -> Any:
        if len(x.shape) != 2:
            raise ShapeError(f"OrthogonalRegularizer needs a matrix, received the shape {list(x.shape)}.")
        rows = x if self.mode == "rows" else ops.transpose(x)
        count = rows.shape[0]
        squares = ops.sum(ops.square(rows), 1, keepdims=True)
        # rows of zeros stay zeros, as in Keras
        rows = ops.divide(rows, ops.sqrt(ops.where(ops.equal(squares, 0.0), 1.0, squares)))
        cosines = ops.matmul(rows, ops.transpose(rows))
        others = ops.subtract(ops.sum(ops.absolute(cosines)), ops.sum(ops.square(rows)))
        return ops.multiply(others, self.factor / max(count * (count - 1.0), 1.0))


def _factor(owner: Regularizer, name: str, value: Any) -> float:
    if not isinstance(value, float | int) or not 0 <= value < math.inf:
        raise ValueError(f"{type(owner).__name__}({name}={value!r}): expected a number from 0 on.")
    return float(value)


_CLASSES = {c.__name__: c for c in (L1, L1L2, L2, OrthogonalRegularizer)}
# Keras's other spelling of each class, usable like it: `regularizers.l2(0.01)`.
l1, l2, l1_l2, orthogonal_regularizer = L1, L2, L1L2, OrthogonalRegularizer
_BY_NAME = {snake_case(name): c for name, c in _CLASSES.items()} | {"l1": L1, "l2": L2, "l1_l2": L1L2}


def get(identifier: Any) -> Any:
    """The regularizer for a name, a class, a config or a function; None for None.

    >>> get("l2").get_config()
    {'l2': 0.01}
    """
    return rule_for("regularizer", identifier, _BY_NAME | _CLASSES, Regularizer)


def serialize(regularizer: Any) -> Any:
    """The class name and arguments of a regularizer."""
    return describe(regularizer) if isinstance(regularizer, Regularizer) else regularizer


def deserialize(config: Any, custom_objects: Mapping[str, type] | None = None) -> Any:
    """The regularizer that `serialize` described; classes of one's own are found in `custom_objects`."""
    return rule_for("regularizer", config, _BY_NAME | _CLASSES | dict(custom_objects or {}), Regularizer)
