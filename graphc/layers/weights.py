"""What Keras lets a caller say about each weight: its initializer, its regularizer and its constraint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc import constraints, initializers, regularizers
from graphc.layers.layer import Layer
from graphc.variable import Variable

__all__ = ["add_weight", "keep_options"]


def keep_options(layer: Layer, weight: str, initializer: Any, regularizer: Any = None, constraint: Any = None) -> None:
    """Set `layer.<weight>_initializer`, `_regularizer` and `_constraint`, where `get_config` finds them."""
    setattr(layer, f"{weight}_initializer", initializers.get(initializer))
    setattr(layer, f"{weight}_regularizer", regularizers.get(regularizer))
    setattr(layer, f"{weight}_constraint", constraints.get(constraint))


def add_weight(layer: Layer, weight: str, shape: Any, name: str | None = None,
               begin: Callable[[Any], Any] = lambda initializer: initializer) -> Variable:
    """Make the trainable weight of those options; its name is `weight` unless `name` says otherwise.

    `begin` gives what the weight starts from in place of its initializer.
    """
    kept = {kind: getattr(layer, f"{weight}_{kind}") for kind in ("initializer", "regularizer", "constraint")}
    return layer.add_weight(shape, name=name or weight, **kept | {"initializer": begin(kept["initializer"])})
