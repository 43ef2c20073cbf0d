"""Programs: a graph bound to the arrays of its state. One call runs one step."""

from __future__ import annotations

import ctypes
import math
import os
import threading
import warnings
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np

from graphc.ir.errors import DTypeError, ShapeError
from graphc.ir.evaluate import evaluate, evaluate_values
from graphc.ir.graph import Graph, Value
from graphc.ir.types import TensorType, bind_shape, evaluate_dim
from graphc.passes.pipeline import GRAPH_PASSES, run
from graphc.passes.plan import results, source
from graphc.passes.structure import NOMINAL
from graphc.runtime.config import current
from graphc.runtime.counters import count

__all__ = ["Program", "compile"]

ALONE = 400_000  # scalar operations of a step below which a second thread costs more than it gives


class Program:
    """One step of a graph, as a function of its inputs.

    Calling it takes C-contiguous arrays of the inputs' types, in the graph's order, and gives the outputs in the
    graph's order; the arrays of the state are updated in place.
    """

    def __init__(self, graph: Graph, state: Mapping[str, np.ndarray]):
        self.graph = graph
        self.state = [state[v.op.label] for v in graph.state]  # type: ignore[attr-defined]
        for v, a in zip(graph.state, self.state, strict=True):
            self.check(v, a, {})

    def check(self, value: Value, array: np.ndarray, sizes: dict[str, int]) -> None:
        """Whether native code may have this array for this leaf; raise otherwise."""
        what = f"{self.graph.name} {value.op.label}"  # type: ignore[attr-defined]
        if not isinstance(array, np.ndarray) or array.dtype != value.dtype.numpy:
            got = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            raise DTypeError(f"{what}: received {got}, expected an array of {value.type}.")
        bind_shape(value.shape, array.shape, sizes, what)
        if not array.flags.c_contiguous or not array.flags.aligned:
            raise ShapeError(f"{what}: the array must be C-contiguous and aligned; use numpy.ascontiguousarray.")

    def bind(self, inputs: tuple[np.ndarray, ...]) -> dict[str, int]:
        """Check the inputs; the values of the symbolic sizes."""
        if len(inputs) != len(self.graph.inputs):
            names = [v.op.label for v in self.graph.inputs]  # type: ignore[attr-defined]
            raise ShapeError(f"{self.graph.name} takes {len(names)} arrays ({', '.join(names)}), "
                             f"received {len(inputs)}.")
        sizes: dict[str, int] = {}
        for v, a in zip(self.graph.inputs, inputs, strict=True):
            self.check(v, a, sizes)
        return sizes

    def __call__(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        raise NotImplementedError


class NumpyProgram(Program):
    """Every op by its NumPy reference, over the graph as the passes leave it before fusion."""

    def __init__(self, graph: Graph, state: Mapping[str, np.ndarray], check: bool = False):
        super().__init__(graph, state)
        self.simplified = run(graph, GRAPH_PASSES, check=check)

    def __call__(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        self.bind(inputs)
        leaves = self.graph.inputs + self.graph.state
        arrays = {v.op.label: a for v, a in zip(leaves, (*inputs, *self.state), strict=True)}  # type: ignore
        outputs, updates = evaluate(self.simplified, arrays)
        results = tuple(np.array(a, order="C") for a in outputs.values())  # both may be views of the state
        for label, new in [(label, np.array(a)) for label, a in updates.items()]:
            arrays[label][...] = new
        return results


class NativeProgram(Program):
    """The step as native code: one call from Python, worker threads inside."""

    def __init__(self, graph: Graph, state: Mapping[str, np.ndarray], cpu: str, threads: int | None,
                 check: bool = False):
        from graphc.runtime.native import Native, compile_graph
        from graphc.runtime.targets.machine import Machine
        from graphc.runtime.targets.team import team

        super().__init__(graph, state)
        machine = Machine.named(cpu)
        self.threads = threads or machine.cores
        self.team = team(self.threads)
        self.code = compile_graph(graph, machine, self.team.barrier_address, check)
        self.native = [s if isinstance(s, Native) else None for s in self.code.segments]
        self.memory = np.zeros(0, np.uint8)
        self.lock = threading.Lock()  # the arena is one: calls from several threads take turns
        words = 1 + len(graph.inputs) + len(self.state) + len(graph.outputs) + len(self.code.sizes)
        self.words = np.zeros(words, np.int64)
        first = 1 + len(graph.inputs)
        self.words[first:first + len(self.state)] = [a.ctypes.data for a in self.state]
        self.output_types = [(v.shape, v.dtype.numpy) for _, v in graph.outputs]

    def __call__(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        sizes = self.bind(inputs)
        outputs = tuple(np.empty([evaluate_dim(d, sizes) for d in shape], dtype) for shape, dtype in self.output_types)
        scale = max(sizes.values(), default=NOMINAL) / NOMINAL
        threads = 1 if self.code.work * scale < ALONE else self.threads
        with self.lock:
            base = self.reserve(sizes)
            words, k = self.words, 1 + len(inputs)
            words[0] = base
            words[1:k] = [a.ctypes.data for a in inputs]
            k += len(self.state)
            words[k:k + len(outputs)] = [a.ctypes.data for a in outputs]
            words[k + len(outputs):] = [sizes[name] for name in self.code.sizes]
            for segment, native in zip(self.code.segments, self.native, strict=True):
                if native is None:
                    self.fall_back(segment, inputs, outputs, sizes)  # type: ignore[arg-type]
                else:
                    self.team.run(native.code.address, words.ctypes.data, threads)
                    count("native_calls")
        return outputs

    def reserve(self, sizes: Mapping[str, int]) -> int:
        """The address of the memory block, grown to what these sizes need."""
        needed = _bytes(self.code.regions.items(), sizes) + _bytes(self.code.scratch.items(), sizes) + 64
        if self.memory.size < needed:
            self.memory = np.zeros(needed, np.uint8)
        return (self.memory.ctypes.data + 63) & ~63

    def fall_back(self, step: Value, inputs: Any, outputs: Any, sizes: Mapping[str, int]) -> None:
        """Run one kernel by NumPy, on the memory that the native kernels use."""
        count("numpy_fallbacks")
        blocks = [None, *inputs, *self.state, *outputs]

        def array(v: Value) -> np.ndarray:
            t = v.type
            assert isinstance(t, TensorType)
            shape = tuple(evaluate_dim(d, sizes) for d in t.shape)
            where = self.code.locations[source(v)]
            block = blocks[where.block]
            if block is not None:
                return block.reshape(shape)
            offset = int(self.words[0]) + _bytes(where.offsets, sizes)
            number = int(np.prod(shape, dtype=np.int64))
            raw: Any = (ctypes.c_uint8 * max(1, number * t.dtype.size)).from_address(offset)
            return np.frombuffer(raw, t.dtype.numpy, number).reshape(shape)

        known: dict[Value, Any] = {o: array(o) for o in step.operands}
        evaluate_values([step], known, sizes)
        for k, v in results(self.code.plan.graph)[step].items():
            array(v)[...] = known[step][k]


def _bytes(terms: Iterable[tuple[tuple[str, ...], int]], sizes: Mapping[str, int]) -> int:
    """The sum of bytes times products of named sizes."""
    return sum(count * math.prod(sizes[name] for name in scale) for scale, count in terms)


def compile(graph: Graph, state: Mapping[str, np.ndarray]) -> Program:
    """A program for a traced graph, which updates the arrays of `state` (by label) in place.

    Native code, or NumPy where the backend is set to it (`graphc.config`), and, with a warning, where llvmlite or
    POSIX threads are missing.
    """
    switches = current()
    missing = "llvmlite" if find_spec("llvmlite") is None else "POSIX threads" if os.name != "posix" else None
    if missing and switches.backend == "native":
        warnings.warn(f"Native code needs {missing}, so models run on NumPy. Choose backend='numpy' "
                      "(GRAPHC_BACKEND) to run without this warning.", RuntimeWarning, stacklevel=2)
    if missing or switches.backend == "numpy":
        return NumpyProgram(graph, state, switches.check)
    return NativeProgram(graph, state, switches.cpu, switches.threads, switches.check)
