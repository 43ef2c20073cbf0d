"""A compiled step, bound to the arrays of its state."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from graphc.ir.evaluate import evaluate
from graphc.ir.graph import Graph
from graphc.passes.differentiate import differentiate

__all__ = ["Program", "compile"]


class Program:
    """One step of a graph."""

    def __init__(self, graph: Graph, state: Mapping[str, np.ndarray]):
        self.graph = differentiate(graph)
        self.state = state

    def __call__(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        arrays = {v.op.label: a for v, a in zip(self.graph.inputs, inputs, strict=True)} | {v.op.label: self.state[v.op.label] for v in self.graph.state}
        outputs, updates = evaluate(self.graph, arrays)
        for label, new in updates.items():
            self.state[label][...] = new
        return tuple(outputs.values())


def compile(graph: Graph, state: Mapping[str, np.ndarray]) -> Program:
    """A program that runs the graph and updates `state` in place."""
    return Program(graph, state)
