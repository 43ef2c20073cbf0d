"""One kernel on the lower rungs: its loops interpreted, and its native code on arrays with guards around them."""

from __future__ import annotations

from functools import cache

import pytest

from graphc.ir.evaluate import bind_arguments
from graphc.ir.graph import Graph, topological
from graphc.ir.ops.leaf import Input
from graphc.runtime.loops import Loops
from graphc.runtime.rungs import NativeKernel, interpret_loops, kernel_loops
from graphc.runtime.targets.machine import Machine, MachineError


def _runs(name: str) -> bool:
    try:
        Machine.named(name)
    except MachineError:
        return False
    return True


LEVELS = {"avx2": "x86-64-v3", "sse": "x86-64-v2"}
MACHINES = ["host", *(level for level in LEVELS.values() if _runs(level))]
# for sweeps: the host in the fast tests, the others in all
TARGETS = [pytest.param(m, marks=[] if m == "host" else [pytest.mark.slow]) for m in MACHINES]


def region(*outputs, name="k") -> Graph:
    """A kernel's body: the outputs, over the inputs that they reach."""
    leaves = tuple(v for v in topological(outputs) if isinstance(v.op, Input))
    return Graph(name, leaves, (), tuple((f"y{k}", v) for k, v in enumerate(outputs)))


def lowered(graph: Graph, machine: str | None = None) -> Loops:
    """The verified loops of a region, naive or scheduled for a machine."""
    return kernel_loops(graph, machine)


def run_interpreted(graph: Graph, loops: Loops, arrays):
    """The outputs of a region by the interpreter of its loops, by name."""
    return _named(graph, interpret_loops(loops, arrays, bind_arguments(graph, arrays)))


def run_native(graph: Graph, loops: Loops, machine: str, arrays):
    """The outputs of a region by the native code of its loops, by name; raises if it writes anywhere else."""
    return _named(graph, _native(_Text(loops), machine)(arrays, bind_arguments(graph, arrays)))


def _named(graph: Graph, results):
    """Results of a kernel by the names of the region's outputs."""
    return dict(zip((name for name, _ in graph.outputs), results.values(), strict=True))


class _Text:
    """Loops that are equal where their text is."""

    def __init__(self, loops):
        self.loops, self.text = loops, str(loops)

    def __eq__(self, other):
        return self.text == other.text

    def __hash__(self):
        return hash(self.text)


@cache
def _native(text: _Text, machine: str) -> NativeKernel:
    return NativeKernel(text.loops, machine)


def rung(kind: str, machine: str | None = None):
    """A function from a graph and arrays by label to outputs by name: 'loops' interprets, 'native' compiles."""
    def run(graph: Graph, arrays):
        body = region(*(v for _, v in graph.outputs))
        loops = lowered(body, machine)
        made = run_interpreted(body, loops, arrays) if kind == "loops" else run_native(body, loops, machine, arrays)
        return dict(zip((name for name, _ in graph.outputs), made.values(), strict=True))

    return run
