"""What several rules ask of a value."""

from __future__ import annotations

from graphc.ir.graph import Value
from graphc.ir.ops.leaf import Constant
from graphc.ir.ops.movement import Broadcast, Reshape

__all__ = ["is_number", "number", "spread_over"]


def number(value: Value) -> float | None:
    """The number that the value holds everywhere, or None."""
    match value:
        case Value(Constant(n)) | Value(Broadcast(), (Value(Constant(n)),)):
            return n
    return None


def is_number(value: Value, n: float) -> bool:
    """Whether the value is n everywhere, -0.0 not being 0.0."""
    found = number(value)
    return found is not None and found == n and str(float(found)) == str(float(n))


def spread_over(value: Value, axis: int) -> Value | None:
    """The value that is repeated along one axis to give this one, or None; it may be reshaped between."""
    rest = (*value.shape[:axis], *value.shape[axis + 1:])
    match value:
        case Value(Broadcast(shape, axes), (x,)) if axis not in axes:
            repeated = [n for a, n in enumerate(shape) if a not in (*axes, axis)]
            while isinstance(x.op, Reshape):
                x = x.operands[0]
            return x if x.shape == rest and all(n == 1 for n in repeated) else None
    return None
