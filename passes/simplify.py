"""Make a graph smaller: fold constants, merge equal values, drop moves and arithmetic that change nothing."""

from __future__ import annotations

from graphc.ir.graph import Graph
from graphc.ir.ops.structure import Gradient
from graphc.passes.rewrite import rewrite
from graphc.passes.rules import algebra, movement

__all__ = ["simplify"]


def simplify(graph: Graph) -> Graph:
    """The same step from fewer values; equal values become the first of them and keep its origin."""
    rules = (*algebra.RULES, *movement.RULES)
    if not any(isinstance(v.op, Gradient) for v in graph.values()):
        rules += algebra.AFTER_GRADIENTS
    return rewrite(graph, rules, merge=True)
