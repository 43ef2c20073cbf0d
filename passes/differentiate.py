"""Expand every `gradient` into a backward graph: a reverse walk that calls each op's `vjp`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from graphc.ir import functions as f
from graphc.ir.errors import place
from graphc.ir.graph import Graph, Value, origin, topological
from graphc.ir.ops.structure import Gradient, Item

__all__ = ["differentiate", "gradients"]


def differentiate(graph: Graph) -> Graph:
    """Replace each item of a `gradient` by the value that computes it."""
    expanded: dict[Value, list[Value]] = {}

    def change(value: Value, operands: tuple[Value, ...]) -> Value | None:
        if isinstance(value.op, Gradient):
            loss, *wrt = operands
            result = gradients(loss, wrt)
            made = value if operands == value.operands else f.apply(value.op, *operands, origin=value.origin)
            expanded[made] = result
            return made
        if isinstance(value.op, Item) and operands[0] in expanded:
            return expanded[operands[0]][value.op.index]
        return None

    return graph.rebuild(change)


def gradients(loss: Value, wrt: Sequence[Value]) -> list[Value]:
    """The gradient of a scalar value by each of `wrt`, as values; zeros where the loss does not depend on one.

    What is made for a value of the layer `dense` has the origin `grad(dense)`.
    """
    order = topological([loss])
    needed = set(wrt)
    for value in order:
        if any(o in needed for o in value.operands):
            needed.add(value)
    with _gradient_of(loss):
        parts: dict[Value, list[Value]] = {loss: [f.ones_like(loss)]}
    for value in reversed(order):
        if value not in needed or value not in parts or not value.operands:
            continue
        with _gradient_of(value):
            try:
                found = value.op.vjp(f, _total(parts[value]), value, *value.operands)
            except Exception as error:
                place(error, f"{value!r}, in its gradient")
                raise
            for operand, part in zip(value.operands, found, strict=True):
                if part is not None and operand in needed:
                    parts.setdefault(operand, []).append(part)
    return [_total(parts[w]) if w in parts else f.zeros_like(w) for w in wrt]


def _gradient_of(value: Value) -> AbstractContextManager[None]:
    """The origin of what belongs to the backward step of a value."""
    return origin(f"grad({value.origin})" if value.origin else "")


def _total(parts: list[Value]) -> Value:
    """The sum of the gradients that reach one value; kept so that it is added up once."""
    while len(parts) > 1:
        with origin(parts[1].origin):
            parts[:] = [f.add(parts[0], parts[1]), *parts[2:]]
    return parts[0]
