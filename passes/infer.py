"""Derive every type again from the leaves; with `sizes`, under known symbolic sizes."""

from __future__ import annotations

from collections.abc import Mapping

from graphc.ir.errors import GraphcError
from graphc.ir.graph import Graph, Value, apply
from graphc.ir.ops.structure import Kernel
from graphc.ir.printer import name_values, print_value

__all__ = ["infer"]


def infer(graph: Graph, sizes: Mapping[str, int] | None = None) -> Graph:
    """The same graph with each value typed by its op; `sizes={"N": 32}` puts a number for a symbolic size."""
    sizes = dict(sizes or {})

    def typed(value: Value, operands: tuple[Value, ...]) -> Value:
        op = Kernel(infer(value.op.body, sizes)) if isinstance(value.op, Kernel) else value.op.bound(sizes)
        try:
            return apply(op, *operands, origin=value.origin)
        except GraphcError as error:
            error.add_note(f"at {print_value(value, name_values(graph))}")
            raise

    return graph.rebuild(typed)
