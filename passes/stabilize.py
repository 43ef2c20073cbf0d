"""Replace logarithms of probabilities by forms that lose no precision, before gradients are derived."""

from __future__ import annotations

from graphc.ir.graph import Graph
from graphc.passes.rewrite import rewrite
from graphc.passes.rules import movement, stability

__all__ = ["stabilize"]


def stabilize(graph: Graph) -> Graph:
    """The same step with losses computed from logits; joined moves let the rules see through them."""
    return rewrite(graph, (*movement.RULES, *stability.RULES), merge=True)
