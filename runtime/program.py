"""Programs: a graph bound to the arrays of its state. One call runs one step."""

from __future__ import annotations

import ctypes
import math
import os
import threading
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import numpy as np

from graphc.ir.errors import DTypeError, ShapeError
from graphc.ir.evaluate import evaluate, evaluate_values
from graphc.ir.graph import Graph, Value
from graphc.ir.types import TensorType, bind_shape, evaluate_dim
from graphc.passes.offset import counted, least_sizes
from graphc.passes.pipeline import GRAPH_PASSES
from graphc.passes.plan import results, source
from graphc.passes.structure import NOMINAL
from graphc.runtime.config import current
from graphc.runtime.counters import count
from graphc.runtime.forks import MAKING, renewed
from graphc.runtime.interrupts import uninterrupted
from graphc.runtime.profile import Recorder, Ring, traced
from graphc.runtime.stages import Dump, run_passes

__all__ = ["Program", "compile", "prepare"]

# Scalar operations of a step: below ALONE a second thread costs more than it gives, from SHARED on it gives more.
# Between them it depends on more than the work, such as what moves from one core's cache to another's.
ALONE, SHARED = 250_000, 4_000_000
_TRIALS, _PERIOD = 8, 1000  # so many of so many calls try out the number of threads
_TRIAL_STEPS = 4  # and take no more steps, where they could take many
_addressof, _from_buffer = ctypes.addressof, ctypes.c_char.from_buffer  # looked up several times in every step
_FRAMES = 64  # sets of shapes that a program remembers


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
        self.dtypes = [v.dtype.numpy for v in graph.inputs]

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

    def steps(self, arrays: Sequence[np.ndarray], rows: int, times: int, first: int = 0,
              order: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
        """Run a step on each of `times` batches of as many rows; the outputs of all, stacked along a new first axis.

        The batches follow one another in the arrays from row `first` on, or in `order`, which has numbers of rows.
        """
        numbers = self.batches(arrays, rows, times, first, order)
        made = []
        for start in range(first, first + rows * times, rows):
            at = slice(start, start + rows) if numbers is None else numbers[start - first:start - first + rows]
            made.append(self(*(a[at] for a in arrays)))
        return tuple(np.stack(outputs) for outputs in zip(*made, strict=True))

    def batches(self, arrays: Sequence[np.ndarray], rows: int, times: int, first: int,
                order: np.ndarray | None) -> np.ndarray | None:
        """Check the arguments of `steps`; the numbers of the rows where there is an order."""
        self.bind(tuple(arrays))
        known = min((len(a) for a in arrays), default=0)
        if min(rows, times) < 1 or first < 0 or first + rows * times > (known if order is None else len(order)):
            raise ShapeError(f"{self.graph.name}: {times} batches of {rows} rows from row {first} on don't lie in "
                             f"{known} rows.")
        if order is None:
            return None
        numbers = np.ascontiguousarray(order[first:first + rows * times], np.int64)
        if numbers.min() < 0 or numbers.max() >= known:
            raise ShapeError(f"{self.graph.name}: an order names row {numbers.min()} or {numbers.max()}, there "
                             f"are {known} rows.")
        return numbers


class NumpyProgram(Program):
    """Every op by its NumPy reference, over the graph as the passes leave it before fusion."""

    def __init__(self, graph: Graph, state: Mapping[str, np.ndarray], check: bool = False, dump: str = ""):
        super().__init__(graph, state)
        stages = run_passes(graph, GRAPH_PASSES, check, Dump(dump, graph.name) if dump else None)
        self.simplified: Graph = stages[-1].result

    def __call__(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        self.bind(inputs)
        leaves = self.graph.inputs + self.graph.state
        arrays = {v.op.label: a for v, a in zip(leaves, (*inputs, *self.state), strict=True)}  # type: ignore
        outputs, updates = evaluate(self.simplified, arrays)
        results = tuple(np.array(a, order="C") for a in outputs.values())  # both may be views of the state
        made = [(arrays[label], np.array(a)) for label, a in updates.items()]
        with uninterrupted():
            for array, new in made:
                array[...] = new
        return results


class Choice:
    """How many threads run calls with the same shapes: one or all, whichever was faster lately.

    The number of threads changes no bit of any result (docs/semantics.md), so timings may decide.
    """

    def __init__(self, most: int, measured: bool):
        self.most = self.threads = most
        self.measured = measured and most > 1  # otherwise it is always `most`, and nothing is timed
        self.calls, self.began = 0, 0.0
        self.seconds: dict[int, float] = {}

    @property
    def tries(self) -> bool:
        """Whether the next call is timed."""
        return self.measured and self.calls % _PERIOD < _TRIALS

    def begin(self) -> int:
        """The number of threads of the next call."""
        trial = self.calls % _PERIOD
        if trial >= _TRIALS:
            return self.threads
        self.began = time.perf_counter()
        return 1 if trial % 2 else self.most

    def end(self, threads: int, steps: int = 1) -> None:
        """Count a call of so many steps, which has just returned."""
        trial = self.calls % _PERIOD
        self.calls += 1
        if trial >= _TRIALS:
            return
        seconds = (time.perf_counter() - self.began) / steps
        self.seconds[threads] = min(seconds, self.seconds.get(threads, seconds))
        if trial == _TRIALS - 1:
            self.threads = min(self.seconds, key=self.seconds.__getitem__)
            self.seconds.clear()


@dataclass
class Frame:
    """What calls with inputs of the same shapes share.

    `words` are those of a call (runtime/targets/team.py): the step's address, then its arguments: the address of the
    memory block, of the inputs, the states and the outputs, and the symbolic sizes.
    """

    sizes: dict[str, int]  # as the code counts them (passes/offset.py)
    outputs: list[tuple[tuple[int, ...], np.dtype]]
    memory: int  # bytes of the memory block, from a multiple of 64 on
    choice: Choice
    words: Any
    address: int  # of the words
    buffers: list[np.ndarray]  # for gathered inputs, made when they are needed
    small: bool  # arrays are empty
    ring: Ring | None = None  # where a program that is profiled writes the stamps of its kernels


class NativeProgram(Program):
    """The step as native code: one call from Python, worker threads inside. `recorder` gets its kernels' times."""

    def __init__(self, graph: Graph, state: Mapping[str, np.ndarray], cpu: str, threads: int | None,
                 check: bool = False, recorder: Recorder | None = None):
        from graphc.runtime.native import Native, compile_graph
        from graphc.runtime.targets.machine import Machine
        from graphc.runtime.targets.team import MAX_THREADS, team

        super().__init__(graph, state)
        machine = Machine.named(cpu)
        self.threads = threads or min(machine.cores, MAX_THREADS)
        self.team = team(self.threads)
        self.recorder = recorder
        self.least = least_sizes(graph)
        self.code = compile_graph(graph, machine, check, recorder is not None)
        if recorder is not None:
            from graphc.runtime.targets.clock import Clock

            recorder.begin(graph.name, self.code.plan.entries(), Clock(machine), self.least)  # type: ignore[union-attr]
        self.segments = [(s, s.code.address if isinstance(s, Native) else None) for s in self.code.segments]
        self.memory = np.zeros(0, np.uint8)
        self.base = 0
        self.lock = threading.Lock()  # the arena is one: calls from several threads take turns
        self.frames: dict[tuple, Frame] = {}
        renewed(self)

    def after_fork(self) -> None:
        """Begin without calls of other threads, which may have been about to change all of this."""
        self.memory, self.base = np.zeros(0, np.uint8), 0
        self.lock = threading.Lock()
        self.frames = {}

    @cached_property
    def small(self) -> NumpyProgram:
        """What runs the steps with sizes below `least`, where arrays are empty: native code takes none for that."""
        return NumpyProgram(self.graph, {v.op.label: a for v, a in zip(  # type: ignore[attr-defined]
            self.graph.state, self.state, strict=True)})

    def is_small(self, inputs: tuple[np.ndarray, ...]) -> bool:
        """Whether some size is below `least`."""
        return bool(self.least) and self.below(self.bind(inputs))

    def below(self, sizes: Mapping[str, int]) -> bool:
        return any(sizes[name] < least for name, least in self.least.items())

    def __call__(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        with self.lock:
            frame = self.frame(inputs)
            if frame.small:
                count("numpy_fallbacks")
                return self.small(*inputs)
            outputs = tuple([np.empty(shape, dtype) for shape, dtype in frame.outputs])
            self.place(frame, inputs, outputs)
            choice = frame.choice
            threads = choice.begin() if choice.measured else choice.threads
            with nullcontext() if len(self.segments) == 1 else uninterrupted():
                for segment, native in self.segments:
                    if native is None:
                        self.fall_back(segment, inputs, outputs, frame)  # type: ignore[arg-type]
                    else:
                        frame.words[0] = native
                        self.team.run(frame.address, threads)
                        count("native_calls")
            if choice.measured:
                choice.end(threads)
            if frame.ring is not None:
                frame.ring.done(threads)
        return outputs

    def steps(self, arrays: Sequence[np.ndarray], rows: int, times: int, first: int = 0,
              order: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
        if len(self.segments) != 1 or self.segments[0][1] is None or self.is_small(tuple(arrays)):
            return super().steps(arrays, rows, times, first, order)
        numbers = self.batches(arrays, rows, times, first, order)
        with self.lock:
            frame = self.frame(tuple(a[:rows] for a in arrays))
            outputs = tuple(np.empty((times, *shape), dtype) for shape, dtype in frame.outputs)
            done = 0
            while done < times:
                part = min(times - done, _TRIAL_STEPS) if frame.choice.tries else times - done
                part = part if frame.ring is None else min(part, frame.ring.left)
                results = tuple(o[done:done + part] for o in outputs)
                taken = None if numbers is None else numbers[done * rows:(done + part) * rows]
                self.repeat(frame, arrays, rows, part, first + done * rows, taken, results)
                done += part
        return outputs

    def repeat(self, frame: Frame, arrays: Sequence[np.ndarray], rows: int, times: int, first: int,
               numbers: np.ndarray | None, outputs: tuple[np.ndarray, ...]) -> None:
        """So many steps in one native call: of rows in order from the first on, or of rows by their numbers."""
        native = self.segments[0][1]
        strides = [a.nbytes // len(a) for a in arrays]
        sources: list[int] = []
        if numbers is None:
            inputs = [a[first:] for a in arrays]
        else:
            frame.buffers = frame.buffers or [np.empty((rows, *a.shape[1:]), a.dtype) for a in arrays]
            inputs = frame.buffers
            for a, stride in zip(arrays, strides, strict=True):
                sources += _address(a), stride
        self.place(frame, inputs, outputs)
        growth = [0, *(s * rows if numbers is None else 0 for s in strides), *(0 for _ in self.state),
                  *(o.nbytes // times for o in outputs), *([frame.ring.stride] if frame.ring is not None else []),
                  *(0 for _ in self.code.sizes)]
        arguments = frame.words[1:]
        call = [self.team.repeat_address, native, times, len(sources) // 2, rows,
                0 if numbers is None else _address(numbers), len(arguments), *arguments, *growth, *sources]
        words = (ctypes.c_int64 * len(call))(*call)
        choice = frame.choice
        threads = choice.begin() if choice.measured else choice.threads
        self.team.run(_addressof(words), threads)
        if choice.measured:
            choice.end(threads, times)
        if frame.ring is not None:
            frame.ring.done(threads, times)
        count("native_calls")

    def frame(self, inputs: tuple[np.ndarray, ...]) -> Frame:
        """The frame of these inputs; raises where they are not what native code takes."""
        # None for an array that may be wrong: no frame is known by it
        shapes = tuple([a.shape if type(a) is np.ndarray and a.dtype == dtype and (
            (flags := a.flags).carray or (flags.c_contiguous and flags.aligned)) else None
            for a, dtype in zip(inputs, self.dtypes)])  # noqa: B905
        found = self.frames.get(shapes) if len(inputs) == len(self.dtypes) else None
        if found is None:
            sizes = self.bind(inputs)
            shapes = tuple(a.shape for a in inputs)
            if len(self.frames) >= _FRAMES:
                self.frames.clear()
            found = self.frames[shapes] = self.new_frame(sizes)
        return found

    def new_frame(self, sizes: dict[str, int]) -> Frame:
        """A frame for these values of the symbolic sizes."""
        code, known = self.code, counted(sizes, self.least)
        outputs = [(tuple(evaluate_dim(d, sizes) for d in v.shape), v.dtype.numpy) for _, v in self.graph.outputs]
        ring = None if self.recorder is None else self.recorder.ring(sizes, self.threads)
        needed = _bytes(code.regions.items(), known) + _bytes(code.scratch.items(), known)
        scale = max(sizes.values(), default=NOMINAL) / NOMINAL
        work = code.work * scale
        choice = Choice(1 if work < ALONE else self.threads, measured=work < SHARED)
        values = [0, 0, *(0 for _ in self.dtypes), *map(_address, self.state), *(0 for _ in outputs),
                  *([0] if ring is not None else []), *(known[name] for name in code.sizes)]
        words = (ctypes.c_int64 * len(values))(*values)
        return Frame(known, outputs, needed, choice, words, _addressof(words), [], self.below(sizes), ring)

    def place(self, frame: Frame, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> None:
        """Write down where everything lies, in memory that is large enough."""
        if self.memory.size < frame.memory + 64:
            self.memory = np.zeros(frame.memory + 64, np.uint8)
            self.base = (self.memory.ctypes.data + 63) & ~63
        words = frame.words
        words[1] = self.base
        k = 2
        for a in inputs:
            words[k] = _address(a)
            k += 1
        k += len(self.state)
        for a in outputs:
            words[k] = _address(a)
            k += 1
        if frame.ring is not None:
            words[k] = frame.ring.here

    def fall_back(self, step: Value, inputs: Any, outputs: Any, frame: Frame) -> None:
        """Run one kernel by NumPy, on the memory that the native kernels use."""
        count("numpy_fallbacks")
        sizes, plan, locations = frame.sizes, self.code.plan, self.code.locations
        assert plan is not None and locations is not None  # a program from the cache leaves no kernel to NumPy
        read = self.recorder.clock.read if self.recorder is not None else int  # type: ignore[union-attr]
        began = read()
        blocks = [None, *inputs, *self.state, *outputs]

        def array(v: Value) -> np.ndarray:
            t = v.type
            assert isinstance(t, TensorType)
            shape = tuple(evaluate_dim(d, sizes) for d in t.shape)
            where = locations[source(v)]
            block, number = blocks[where.block], math.prod(shape)
            if block is not None:
                return block.reshape(-1)[:number].reshape(shape)  # a view may name the beginning of an array
            offset = self.base + _bytes(where.offsets, sizes)
            raw: Any = (ctypes.c_uint8 * max(1, number * t.dtype.size)).from_address(offset)
            return np.frombuffer(raw, t.dtype.numpy, number).reshape(shape)

        known: dict[Value, Any] = {o: array(o) for o in step.operands}
        evaluate_values([step], known, sizes)
        for k, v in results(plan.graph)[step].items():
            array(v)[...] = known[step][k]
        if frame.ring is not None:
            place = 2 * plan.entries().index(step)
            inside = len(plan.inner[step].entries()) if step in plan.inner else 0
            frame.ring.stamps[frame.ring.at, 0, place:place + 2 * inside + 3] = read()
            frame.ring.stamps[frame.ring.at, 0, place] = began


def _address(array: np.ndarray) -> int:
    """Where an array's elements begin."""
    try:  # a quarter of the time of `array.ctypes.data`, which serves read-only and empty arrays
        return _addressof(_from_buffer(array))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return array.ctypes.data


def _bytes(terms: Iterable[tuple[tuple[str, ...], int]], sizes: Mapping[str, int]) -> int:
    """The sum of bytes times products of named sizes."""
    return sum(count * math.prod(sizes[name] for name in scale) for scale, count in terms)


def prepare() -> None:
    """Load the compiler where programs will need it, so that the first step doesn't wait for that."""
    if current().backend == "native" and _missing() is None:
        import graphc.runtime.native  # noqa: F401


def _missing() -> str | None:
    """What native code needs and this installation or system lacks."""
    return "llvmlite" if find_spec("llvmlite") is None else "POSIX threads" if os.name != "posix" else None


@uninterrupted()
def compile(graph: Graph, state: Mapping[str, np.ndarray], recorder: Recorder | None = None) -> Program:
    """A program for a traced graph, which updates the arrays of `state` (by label) in place.

    Native code, or NumPy where the backend is set to it (`graphc.config`), and, with a warning, where llvmlite or
    POSIX threads are missing. A `recorder` gets the times of native kernels.
    """
    switches, missing = current(), _missing()
    if missing and switches.backend == "native":
        warnings.warn(f"Native code needs {missing}, so models run on NumPy. Choose backend='numpy' "
                      "(GRAPHC_BACKEND) to run without this warning.", RuntimeWarning, stacklevel=2)
    program: Program
    with MAKING:
        if missing or switches.backend == "numpy":
            program = NumpyProgram(graph, state, switches.check, switches.dump)
        else:
            if recorder is None and switches.trace:
                recorder = traced(switches.trace)
            program = NativeProgram(graph, state, switches.cpu, switches.threads, switches.check, recorder)
    if switches.check_numerics:
        from graphc.runtime.numerics import CheckedProgram  # builds on programs

        return CheckedProgram(program)
    return program
