"""The passes in their order, and the loop that runs them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphc.ir.errors import GraphcError
from graphc.ir.graph import Graph
from graphc.ir.verify import verify
from graphc.passes.differentiate import differentiate
from graphc.passes.fuse import fuse
from graphc.passes.hoist import hoist
from graphc.passes.infer import infer
from graphc.passes.offset import offset
from graphc.passes.plan import plan
from graphc.passes.simplify import simplify
from graphc.passes.stabilize import stabilize

__all__ = ["GRAPH_PASSES", "PIPELINE", "Pass", "run"]

Pass = Callable[[Graph], Any]

# what can be evaluated with arrays of any size; all, from a traced graph to kernels and the place of every value
GRAPH_PASSES: tuple[Pass, ...] = (infer, stabilize, differentiate, hoist, simplify)
PIPELINE: tuple[Pass, ...] = (offset, *GRAPH_PASSES, fuse, plan)


def run(graph: Graph, passes: Sequence[Pass] = GRAPH_PASSES,
        observe: Callable[[str, Any], None] | None = None, check: bool = False) -> Any:
    """What the passes make of a graph: a graph, or a Plan where the last is `plan`.

    `observe(name, result)` sees what each made; `check` verifies every graph (a plan always is).

    An error names the pass in which it came up, in a note where its message is not graphc's own.
    """
    differentiated = False
    if check:
        verify(graph)
    for step in passes:
        differentiated |= step is differentiate
        try:
            graph = step(graph)
            if check and isinstance(graph, Graph):
                verify(graph, differentiated)
        except GraphcError as error:
            error.args = (f"In the pass {step.__name__}: {error}",)
            raise
        except Exception as error:
            error.add_note(f"In the pass {step.__name__} over the graph {graph.name}.")
            raise
        if observe is not None:
            observe(step.__name__, graph)
    return graph
