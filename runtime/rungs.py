"""The rungs of truth: what a graph computes by reference, by definition, by its kernels' loops, and natively.

    reference    every op by NumPy
    definition   every op by the definition of one element, at every index
    loops        every kernel's naive loops, interpreted
    native       the program, all threads taking part; a fused graph kernel by kernel, each on arrays of its own

Each rung is made of the one above it: where two differ, what lies between them is wrong.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from graphc.ir.errors import GraphcError
from graphc.ir.evaluate import bind_arguments, by_definition, evaluate, evaluate_values, scan_steps
from graphc.ir.graph import Graph, Value
from graphc.ir.ops.structure import Gradient, Kernel, Scan
from graphc.ir.types import evaluate_dim, size_of
from graphc.passes.differentiate import differentiate
from graphc.passes.fuse import fuse
from graphc.passes.pipeline import PIPELINE, run
from graphc.runtime.config import config, current
from graphc.runtime.loops import Buffer, Loops, verify_loops
from graphc.runtime.lower import lower
from graphc.runtime.program import Choice, NativeProgram
from graphc.runtime.targets.interpreter import interpret

__all__ = ["RUNGS", "NativeKernel", "RunKernel", "StrayWrite", "expanded", "fused", "interpret_loops", "kernel_loops",
           "run_kernels", "run_program", "run_rung"]

RUNGS = ("reference", "definition", "loops", "native")
_GUARD = 192  # bytes before and after each array that native code must leave alone
_BYTE = 0xA5  # what they hold

Arrays = Mapping[str, np.ndarray]
Results = tuple[dict[str, np.ndarray], dict[str, np.ndarray]]
# from a kernel's body, the arrays of its inputs and the symbolic sizes to its outputs by name
RunKernel = Callable[[Graph, Arrays, Mapping[str, int]], Mapping[str, np.ndarray]]


class StrayWrite(GraphcError, RuntimeError):
    """Native code has written to an input, or outside of its results and scratch."""


def run_rung(graph: Graph, arrays: Arrays, rung: str, cpu: str = "host") -> Results:
    """One step of a graph on one rung: the outputs by name, and the updated state by label.

    The graph may be traced, come from any pass, or be fused; `arrays` are those of its leaves by label, and stay as
    they are. `cpu` names the machine of native code.
    """
    if rung == "reference":
        return evaluate(expanded(graph), arrays)
    if rung == "definition":
        return evaluate(expanded(graph), arrays, by_definition)
    if rung == "loops":
        return run_kernels(fused(graph), arrays, lambda body, given, sizes:
                           interpret_loops(kernel_loops(body), given, sizes))
    if rung == "native":
        if _has(graph, Kernel):
            return run_kernels(graph, arrays, lambda body, given, sizes:
                               NativeKernel(kernel_loops(body, cpu), cpu)(given, sizes))
        return run_program(graph, arrays, cpu)
    raise ValueError(f"run_rung(rung={rung!r}): expected one of {', '.join(map(repr, RUNGS))}.")


def expanded(graph: Graph) -> Graph:
    """A graph with its gradients derived, as it can be evaluated."""
    return differentiate(graph) if _has(graph, Gradient) else graph


def fused(graph: Graph) -> Graph:
    """A graph of the kernels that the compiler makes; one that has kernels keeps them."""
    return graph if _has(graph, Kernel) else run(graph, PIPELINE[:PIPELINE.index(fuse) + 1])


def _has(graph: Graph, op: type) -> bool:
    """Whether a graph, or a loop in it, has a value of an op."""
    return any(isinstance(v.op, op) or (isinstance(v.op, Scan) and _has(v.op.body, op)) for v in graph.values())


def run_kernels(graph: Graph, arrays: Arrays, run_kernel: RunKernel) -> Results:
    """One step of a fused graph with each kernel run by a function; what stands between kernels is only moved."""
    sizes = bind_arguments(graph, arrays)
    known: dict[Value, Any] = {v: arrays[v.op.label] for v in graph.inputs + graph.state}  # type: ignore
    _run_kernels(graph, known, sizes, run_kernel)
    outputs = {name: np.asarray(known[v]) for name, v in graph.outputs}
    return outputs, {s.op.label: np.asarray(known[v]) for s, v in graph.updates}  # type: ignore[attr-defined]


def _run_kernels(graph: Graph, known: dict[Value, Any], sizes: Mapping[str, int], run_kernel: RunKernel) -> None:
    """Compute the values of a fused graph, each added to `known`; loops one step after the other."""
    for v in graph.values():
        if isinstance(v.op, Kernel):
            given = {p.op.label: known[o] for p, o in zip(v.op.body.inputs, v.operands, strict=True)}
            known[v] = tuple(run_kernel(v.op.body, given, sizes).values())
        elif isinstance(v.op, Scan):
            body = v.op.body

            def step(inputs: Sequence[np.ndarray], body: Graph = body) -> list[Any]:
                inner: dict[Value, Any] = dict(zip(body.inputs, map(np.ascontiguousarray, inputs), strict=True))
                _run_kernels(body, inner, sizes, run_kernel)
                return [inner[out] for _, out in body.outputs]

            operands = [known[o] for o in v.operands]
            known[v] = scan_steps(v.op, operands, sizes, step)
        elif v not in known:
            evaluate_values([v], known, sizes)


def run_program(graph: Graph, arrays: Arrays, cpu: str = "host", threads: int | None = None) -> Results:
    """One step of the native program of a graph, by so many threads, or all; small as the step may be."""
    leaves = {v.op.label: np.array(arrays[v.op.label], order="C") for v in graph.inputs + graph.state}  # type: ignore
    switches = current()
    with config(dump=""):
        program = NativeProgram(graph, leaves, cpu, threads or switches.threads, switches.check)
    inputs = tuple(leaves[v.op.label] for v in graph.inputs)  # type: ignore[attr-defined]
    program.frame(inputs).choice = Choice(program.threads, measured=False)
    outputs = program(*inputs)
    return (dict(zip((name for name, _ in graph.outputs), outputs, strict=True)),
            {s.op.label: leaves[s.op.label] for s, _ in graph.updates})  # type: ignore[attr-defined]


# ------------------------------------------------------------------------------------------------- one kernel


def kernel_loops(body: Graph, cpu: str | None = None) -> Loops:
    """The loops of a kernel's body, proved in bounds: the naive ones, or those scheduled for a machine."""
    loops = lower(body, body.name)
    verify_loops(loops)
    if cpu is not None:
        from graphc.runtime.schedule import schedule  # both need llvmlite
        from graphc.runtime.targets.machine import Machine

        loops = schedule(loops, Machine.named(cpu))
        verify_loops(loops)
    return loops


def interpret_loops(loops: Loops, arrays: Arrays, sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    """What a kernel's loops write, interpreted: arrays by the names of its params."""
    inputs, results = _params(loops, arrays, sizes)
    interpret(loops, [*inputs.values(), *results.values()], sizes)
    return results


class NativeKernel:
    """The native code of a kernel's loops, as a function from arrays by the names of its params to those it writes.

    `text` is that of a module with one function, where it isn't the one that the loops become.
    """

    def __init__(self, loops: Loops, cpu: str = "host", text: str | None = None):
        from graphc.runtime.targets.llvm import emit, symbols  # needs llvmlite
        from graphc.runtime.targets.machine import Machine
        from graphc.runtime.targets.team import team

        team(1)  # which has the barrier
        machine = Machine.named(cpu)
        self.loops, self.symbols = loops, symbols(loops)
        self.code = _code(emit(loops, machine.lanes) if text is None else text, machine)

    def __call__(self, arrays: Arrays, sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
        """The results, from one thread; no two arrays lie equally beside the borders of cache lines.

        Raises StrayWrite where the code writes to memory that is not its own.
        """
        inputs, results = _params(self.loops, arrays, sizes)
        scratch = {b.name: _poison(b, sizes) for b in self.loops.scratch}
        memory = [_Guarded(a, k) for k, a in enumerate([*inputs.values(), *results.values(), *scratch.values()])]
        pointers = (ctypes.c_void_p * max(1, len(memory)))(*(m.array.ctypes.data for m in memory))
        numbers = (ctypes.c_int64 * max(1, len(self.symbols)))(*(size_of(n, sizes) for n in self.symbols))
        function = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_int64, ctypes.c_int64)
        function(self.code.address)(pointers, numbers, None, 0, 1)
        for name, m in zip([*inputs, *results, *scratch], memory, strict=True):
            if name in inputs and not m.same_as(inputs[name]):
                raise StrayWrite(f"The native code of {self.loops.name} wrote to its operand {name}.")
            if not m.intact:
                raise StrayWrite(f"The native code of {self.loops.name} wrote outside {name} of the shape "
                                 f"{m.array.shape}.")
        made = memory[len(inputs):len(inputs) + len(results)]
        return {name: np.array(m.array) for name, m in zip(results, made, strict=True)}


@lru_cache(maxsize=256)
def _code(text, machine):
    """The machine code of a module's text, which holds all that it depends on but the machine."""
    from graphc.runtime.targets.jit import compile_text

    with config(check=True):
        return compile_text(text, "kernel", machine)


class _Guarded:
    """A copy of an array in the midst of bytes of a pattern, so many elements past a cache line."""

    def __init__(self, array: np.ndarray, skew: int):
        size = array.nbytes
        self.bytes = np.full(size + 2 * _GUARD + 128, _BYTE, np.uint8)
        self.start = _GUARD + (-self.bytes.ctypes.data - _GUARD) % 64 + skew * array.itemsize % 64
        self.end = self.start + size
        self.array = self.bytes[self.start:self.end].view(array.dtype).reshape(array.shape)
        self.array[...] = array

    @property
    def intact(self) -> bool:
        """Whether the bytes around the array are as they were."""
        return bool((self.bytes[:self.start] == _BYTE).all() and (self.bytes[self.end:] == _BYTE).all())

    def same_as(self, array: np.ndarray) -> bool:
        """Whether the array holds the same bytes as another one."""
        return self.array.tobytes() == array.tobytes()


def _params(loops: Loops, arrays: Arrays, sizes: Mapping[str, int]) -> tuple[dict[str, np.ndarray], ...]:
    """The arrays of what a kernel reads, and new ones for what it writes, by name."""
    read, written = loops.params[:-loops.outputs], loops.params[-loops.outputs:]
    return {p.name: np.asarray(arrays[p.name], order="C") for p in read}, {p.name: _poison(p, sizes) for p in written}


def _poison(buffer: Buffer, sizes: Mapping[str, int]) -> np.ndarray:
    """An array of numbers that no kernel gives by chance."""
    dtype = buffer.dtype.numpy
    number = np.nan if dtype.kind == "f" else dtype.kind != "b" and 77
    return np.full([evaluate_dim(d, sizes) for d in buffer.shape], number, dtype)
