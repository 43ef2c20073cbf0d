"""One kernel on the lower rungs: its loops interpreted, and its native code on arrays with guards around them."""

from __future__ import annotations

import ctypes
from functools import cache

import numpy as np
import pytest

from graphc.ir.evaluate import bind_arguments
from graphc.ir.graph import Graph, topological
from graphc.ir.ops.leaf import Input
from graphc.ir.types import evaluate_dim
from graphc.runtime.config import config
from graphc.runtime.loops import Loops, verify_loops
from graphc.runtime.lower import lower
from graphc.runtime.schedule import schedule
from graphc.runtime.targets.interpreter import interpret
from graphc.runtime.targets.jit import compile_text, define
from graphc.runtime.targets.llvm import BARRIER, emit, symbols
from graphc.runtime.targets.machine import Machine, MachineError
from graphc.runtime.targets.team import team

GUARD = 192  # bytes before and after each array that native code must leave alone


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
    loops = lower(graph, graph.name)
    verify_loops(loops)
    if machine is not None:
        loops = schedule(loops, Machine.named(machine))
        verify_loops(loops)
    return loops


def run_interpreted(graph: Graph, loops: Loops, arrays) -> dict[str, np.ndarray]:
    """The outputs of a region by the interpreter of its loops."""
    sizes, results = _results(graph, arrays)
    interpret(loops, [*(arrays[v.op.label] for v in graph.inputs), *results.values()], sizes)
    return results


def run_native(graph: Graph, loops: Loops, machine: str, arrays) -> dict[str, np.ndarray]:
    """The outputs of a region by the native code of its loops; fails if it writes anywhere else."""
    sizes, results = _results(graph, arrays)
    inputs = [arrays[v.op.label] for v in graph.inputs]
    raws, views = [], []
    for k, array in enumerate([*inputs, *results.values()]):
        raw, view = guarded(array.shape, array.dtype, skew=k)
        view[...] = array
        raws.append(raw)
        views.append(view)
    before = [raw.copy() for raw in raws]
    scratch = [guarded([evaluate_dim(d, sizes) for d in b.shape], b.dtype.numpy, 0) for b in loops.scratch]
    for _, view in scratch:
        view[...] = np.nan if view.dtype.kind == "f" else 77
    pointers = [view.ctypes.data for view in (*views, *(view for _, view in scratch))]
    buffers = (ctypes.c_void_p * max(1, len(pointers)))(*pointers)
    names = symbols(loops)
    numbers = (ctypes.c_int64 * max(1, len(names)))(*(sizes[n] for n in names))
    code = native_code(loops, machine)
    ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_int64, ctypes.c_int64)(code.address)(
        buffers, numbers, None, 0, 1)
    for k, (raw, was, view) in enumerate(zip(raws, before, views, strict=True)):
        if k < len(inputs):
            assert np.array_equal(raw, was), f"the native code of {loops.name} wrote to an input"
        at = view.ctypes.data - raw.ctypes.data
        assert (raw[:at] == _BYTE).all() and (raw[at + view.nbytes:] == _BYTE).all(), (
            f"the native code of {loops.name} wrote outside result {k - len(inputs)} of the shape {view.shape}")
    for raw, view in scratch:
        at = view.ctypes.data - raw.ctypes.data
        assert (raw[:at] == _BYTE).all() and (raw[at + view.nbytes:] == _BYTE).all(), (
            f"the native code of {loops.name} wrote outside its scratch of the shape {view.shape}")
    return {name: np.array(view) for name, view in zip(results, views[len(inputs):], strict=True)}


_BYTE = 0xA5


def guarded(shape, dtype, skew=1):
    """Bytes with a pattern, and an array in the midst of them, aligned to `skew` elements past a cache line."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    raw = np.full(size + 2 * GUARD + 128, _BYTE, np.uint8)
    at = GUARD + (-raw.ctypes.data - GUARD) % 64 + skew * dtype.itemsize % 64
    return raw, raw[at:at + size].view(dtype).reshape(shape)


def native_code(loops: Loops, machine: str):
    """The machine code of loops; equal loops are compiled once."""
    return _compiled(_Text(loops), machine)


class _Text:
    """Loops that are equal where their text is."""

    def __init__(self, loops):
        self.loops, self.text = loops, str(loops)

    def __eq__(self, other):
        return self.text == other.text

    def __hash__(self):
        return hash(self.text)


@cache
def _compiled(key: _Text, machine: str):
    made = Machine.named(machine)
    define(BARRIER, team(1).barrier_address)
    with config(check=True):
        return compile_text(emit(key.loops, made.lanes), "kernel", made)


def _results(graph: Graph, arrays):
    """The symbolic sizes, and arrays of poison for the outputs."""
    sizes = bind_arguments(graph, arrays)
    results = {}
    for name, v in graph.outputs:
        shape = [evaluate_dim(d, sizes) for d in v.shape]
        results[name] = np.full(shape, np.nan if v.dtype.is_float else v.dtype.kind != "b" and 77, v.dtype.numpy)
    return sizes, results


def rung(kind: str, machine: str | None = None):
    """A function from a graph and arrays by label to outputs by name: 'loops' interprets, 'native' compiles."""
    def run(graph: Graph, arrays):
        body = region(*(v for _, v in graph.outputs))
        loops = lowered(body, machine)
        made = run_interpreted(body, loops, arrays) if kind == "loops" else run_native(body, loops, machine, arrays)
        return dict(zip((name for name, _ in graph.outputs), made.values(), strict=True))

    return run
