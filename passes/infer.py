"""Derive every type again from the leaves; with `sizes`, with others in the place of symbolic sizes."""

from __future__ import annotations

from collections.abc import Mapping

from graphc.ir.graph import Graph, Value, apply
from graphc.ir.types import Dim
from graphc.passes.bodies import with_body

__all__ = ["infer"]


def infer(graph: Graph, sizes: Mapping[str, int | Dim] | None = None) -> Graph:
    """The same graph with each value typed by its op.

    `sizes={"N": 32}` puts a number, or another size, in the place of a symbolic size.
    """
    sizes = dict(sizes or {})

    def typed(value: Value, operands: tuple[Value, ...]) -> Value:
        op = with_body(value.op.bound(sizes), lambda body: infer(body, sizes))
        return apply(op, *operands, origin=value.origin)

    return graph.rebuild(typed)
