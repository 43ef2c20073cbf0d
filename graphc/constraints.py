"""What weights are made to fulfil after every training step. https://keras.io/api/layers/constraints/

A constraint is a function from a weight to the nearest allowed one, an object of a class below, or the name of one.
Optimizers apply it to the weight that a step leaves behind. Norms are taken along `axis`, an axis or several: 0 for the
inputs of each unit of a Dense layer, [0, 1, 2] for the filters of a Conv2D layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphc import ops
from graphc.configs import describe, rule_for
from graphc.names import snake_case

__all__ = ["Constraint", "MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm", "deserialize", "get", "max_norm",
           "min_max_norm", "non_neg", "serialize", "unit_norm"]

_EPSILON = 1e-7  # keras.config.epsilon(), added to norms that divide


class Constraint:
    """Base: `__call__(w)` gives the weight's value in its place; subclass it with `graphc.ops` and `get_config`."""

    keras_module = "keras.constraints"

    def __call__(self, w: Any) -> Any:
        return w

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return dict(vars(self))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Constraint:
        """A constraint from what `get_config` returned."""
        return cls(**config)


def _norms(w: Any, axis: Any) -> Any:
    return ops.sqrt(ops.sum(ops.square(w), axis, keepdims=True))


class MaxNorm(Constraint):
    """Norms of at most `max_value`."""

    def __init__(self, max_value: float = 2, axis: Any = 0):
        self.max_value, self.axis = max_value, axis

    def __call__(self, w: Any) -> Any:
        norms = _norms(w, self.axis)
        return ops.multiply(w, ops.divide(ops.clip(norms, 0.0, float(self.max_value)), ops.add(norms, _EPSILON)))


class NonNeg(Constraint):
    """No negative weights."""

    def __call__(self, w: Any) -> Any:
        return ops.maximum(w, 0.0)


class UnitNorm(Constraint):
    """Norms of 1."""

    def __init__(self, axis: Any = 0):
        self.axis = axis

    def __call__(self, w: Any) -> Any:
        return ops.divide(w, ops.add(_norms(w, self.axis), _EPSILON))


class MinMaxNorm(Constraint):
    """Norms from `min_value` to `max_value`; a `rate` below 1 goes only that part of the way at each step."""

    def __init__(self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: Any = 0):
        self.min_value, self.max_value, self.rate, self.axis = min_value, max_value, rate, axis

    def __call__(self, w: Any) -> Any:
        norms = _norms(w, self.axis)
        within = ops.clip(norms, float(self.min_value), float(self.max_value))
        wanted = ops.add(ops.multiply(within, self.rate), ops.multiply(norms, 1 - self.rate))
        return ops.multiply(w, ops.divide(wanted, ops.add(norms, _EPSILON)))


_CLASSES = {c.__name__: c for c in (MaxNorm, MinMaxNorm, NonNeg, UnitNorm)}
# Keras's other spelling of each class, usable like it: `constraints.max_norm(3)`.
max_norm, min_max_norm, non_neg, unit_norm = MaxNorm, MinMaxNorm, NonNeg, UnitNorm
_BY_NAME = {snake_case(name): c for name, c in _CLASSES.items()}


def get(identifier: Any) -> Any:
    """The constraint for a name, a class, a config or a function; None for None.

    >>> get("max_norm").get_config()
    {'max_value': 2, 'axis': 0}
    """
    return rule_for("constraint", identifier, _BY_NAME | _CLASSES, Constraint)


def serialize(constraint: Any) -> Any:
    """The class name and arguments of a constraint."""
    return describe(constraint) if isinstance(constraint, Constraint) else constraint


def deserialize(config: Any, custom_objects: Mapping[str, type] | None = None) -> Any:
    """The constraint that `serialize` described; classes of one's own are found in `custom_objects`."""
    return rule_for("constraint", config, _BY_NAME | _CLASSES | dict(custom_objects or {}), Constraint)
