"""The ops, one class each, grouped by the shape of their definitions. Importing this registers them all."""

from graphc.ir.ops import (
    contract,
    custom,
    elementwise,
    indexing,
    leaf,
    linalg,
    movement,
    ordering,
    random,
    reduction,
    rowwise,
    structure,
    window,
)

__all__ = ["contract", "custom", "elementwise", "indexing", "leaf", "linalg", "movement", "ordering", "random",
           "reduction", "rowwise", "structure", "window"]
