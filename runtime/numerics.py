"""Programs that stop at a step that gives NaN or infinity, and say where it came up first."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.ir.errors import GraphcError
from graphc.ir.evaluate import bind_arguments, evaluate_values, scan_steps
from graphc.ir.graph import Graph, Value, layer_of, phase_of
from graphc.ir.ops.leaf import Constant, Input, State
from graphc.ir.ops.structure import Scan
from graphc.ir.printer import line_of, name_values
from graphc.ir.types import TensorType, evaluate_dim
from graphc.passes.pipeline import GRAPH_PASSES, run
from graphc.runtime.interrupts import uninterrupted
from graphc.runtime.program import Program

__all__ = ["CheckedProgram", "NumericsError"]


class NumericsError(GraphcError, FloatingPointError):
    """A step has computed NaN or infinity."""


class CheckedProgram(Program):
    """A program whose outputs and state stay finite.

    After a step that breaks this the state is as before it, and a NumericsError names the first value, in the order
    of the graph, that has a NaN or infinity: that step is computed again, value by value, by NumPy. What is infinite
    only inside a step, as `exp(1000)` in `1 / (1 + exp(1000))`, stops nothing.
    """

    def __init__(self, program: Program):
        self.program, self.graph, self.state, self.dtypes = program, program.graph, program.state, program.dtypes
        self.lock = threading.Lock()
        self.calls = 0

    def __call__(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        with self.lock:
            before = [a.copy() for a in self.state]
            with uninterrupted():
                outputs = self.program(*inputs)
                self.calls += 1
                if all(map(_is_finite, (*outputs, *self.state))):
                    return outputs
                for array, old in zip(self.state, before, strict=True):
                    array[...] = old
            raise NumericsError(self.found(inputs))

    def found(self, inputs: tuple[np.ndarray, ...]) -> str:
        """What is wrong with a step, from the arrays before it."""
        graph: Graph = run(self.graph, GRAPH_PASSES)
        leaves = graph.inputs + graph.state
        known: dict[Value, Any] = dict(zip(leaves, (*inputs, *self.state), strict=True))
        sizes = bind_arguments(graph, {v.op.label: known[v] for v in leaves})  # type: ignore[attr-defined]
        head = f"Step {self.step(known)} of {graph.name}"
        wrong = _first(graph, known, sizes)
        if wrong is not None:
            return f"{head}: {wrong}"
        return (f"{head} gives NaN or infinity in native code and not by NumPy. graphc.diagnose finds the kernel that "
                "differs.")

    def step(self, known: Mapping[Value, Any]) -> int:
        """The number of the present step, from 1: the optimizer's count, or that of the calls."""
        for v, array in known.items():
            if v.op.label == "optimizer.iterations":  # type: ignore[attr-defined]
                return int(array) + 1
        return self.calls


class _Found(Exception):
    """What is wrong inside of a loop."""


def _first(graph: Graph, known: dict[Value, Any], sizes: Mapping[str, int]) -> str | None:
    """The first value of a graph that is not finite, described; of a loop the first step that has one."""
    for v in graph.values():
        if isinstance(v.op, Scan):
            found = _in_loop(v, known, sizes)
            if found is not None:
                return found
        evaluate_values([v], known, sizes)
        if isinstance(v.type, TensorType) and not _is_finite(known[v]):
            return _described(graph, v, known)
    return None


def _in_loop(scan: Value, known: Mapping[Value, Any], sizes: Mapping[str, int]) -> str | None:
    op: Scan = scan.op  # type: ignore[assignment]
    length, taken = evaluate_dim(op.length, sizes), 0

    def step(inputs: Sequence[np.ndarray]) -> list[Any]:
        nonlocal taken
        inner: dict[Value, Any] = dict(zip(op.body.inputs, inputs, strict=True))
        wrong = _first(op.body, inner, sizes)
        if wrong is not None:
            raise _Found(f"in step {length - 1 - taken if op.reverse else taken} of {length} of a loop, {wrong}")
        taken += 1
        return [inner[v] for _, v in op.body.outputs]

    try:
        scan_steps(op, [known[o] for o in scan.operands], sizes, step)
    except _Found as found:
        return str(found)
    return None


def _is_finite(array: Any) -> bool:
    return np.asarray(array).dtype.kind != "f" or bool(np.isfinite(array).all())


def _described(graph: Graph, v: Value, known: Mapping[Value, Any]) -> str:
    array = np.asarray(known[v])
    wrong = ~np.isfinite(array)
    place = tuple(int(i) for i in np.argwhere(wrong)[0])
    what = f"{array[place]} in {np.count_nonzero(wrong)} of {array.size} elements, first at {list(place)}"
    if isinstance(v.op, Input | State):
        kind = "the input" if isinstance(v.op, Input) else "the state"
        return f"{kind} {v.op.label} has {what}. Clean the data, or see which step wrote it."
    names = name_values(graph)
    where = f" in {'the gradient of ' * (phase_of(v.origin) == 'backward')}the layer {layer_of(v.origin)!r}"
    lines = [f"{v.op.name}{where * bool(v.origin)} gives {what}.", f"    {line_of(graph, v)}"]
    lines += [f"  its operand {_range(names[o], o, known)}" for o in dict.fromkeys(v.operands)]
    inside = [u for u in graph.values() if u.origin and u.origin == v.origin]
    received = dict.fromkeys(o for u in inside for o in u.operands if o.origin != v.origin and o in known)
    lines += [f"  {v.origin} received {_range(names[o], o, known)}" for o in received
              if o not in v.operands and not isinstance(o.op, Constant)]
    return "\n".join([*lines, "  The state is as it was before this step."])


def _range(name: str, v: Value, known: Mapping[Value, Any]) -> str:
    array = np.asarray(known[v])
    if not array.size:
        return f"{name}: {v.type}, empty"
    with np.errstate(invalid="ignore"):
        return f"{name}: {v.type} from {array.min():.6g} to {array.max():.6g}"
