"""From a traced graph to native code: passes, fusion, plan, schedules, one step function. Equal work is done once."""

from __future__ import annotations

import hashlib
import threading
import warnings
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from weakref import WeakValueDictionary

from graphc.ir.errors import InvalidGraph, LoweringError
from graphc.ir.graph import Graph, Value
from graphc.ir.types import TensorType
from graphc.passes.pipeline import PIPELINE, run
from graphc.passes.plan import Place, Plan, bytes_of, results, source
from graphc.passes.structure import structure
from graphc.runtime.counters import count
from graphc.runtime.loops import Loops, verify_loops
from graphc.runtime.lower import lower
from graphc.runtime.schedule import schedule
from graphc.runtime.targets.jit import Code, compile_text, link, object_code
from graphc.runtime.targets.llvm import emit, symbols
from graphc.runtime.targets.machine import Machine
from graphc.runtime.targets.step import Call, Copy, Location, emit_step

__all__ = ["Compiled", "Native", "compile_graph"]

_LOCK = threading.Lock()
_KERNELS: WeakValueDictionary[str, Code] = WeakValueDictionary()
_PROGRAMS: WeakValueDictionary[tuple[str, tuple[type, ...], Machine], Compiled] = WeakValueDictionary()
_RECENT: deque[Compiled] = deque(maxlen=64)  # code lives with the programs that use it, and a while longer


@dataclass
class Native:
    """Consecutive kernels in one native function."""

    code: Code
    kernels: tuple[Loops, ...]


@dataclass
class Compiled:
    """What equal graphs share: the plan, and the segments that run it; a Value is a kernel left to NumPy."""

    plan: Plan
    segments: list[Native | Value]
    sizes: list[str]
    regions: dict[tuple[str, ...], int]  # bytes per unit of each region of the memory block
    scratch: dict[tuple[str, ...], int]
    work: int  # scalar operations of a step, symbolic sizes counted as structure.NOMINAL
    locations: dict[Value, Location]


def compile_graph(graph: Graph, machine: Machine, barrier: int, check: bool = False) -> Compiled:
    """The native program of a traced graph, from the cache where an equal one was compiled before."""
    # the text names ops; the classes tell a redefined op of the same name from the one compiled before
    ops = tuple(dict.fromkeys(type(v.op) for v in graph.values()))
    key = (str(graph), ops, machine)
    with _LOCK:
        found = _PROGRAMS.get(key)
        if found is None:
            found = _PROGRAMS[key] = _compile(run(graph, PIPELINE, check=check), machine)
            count("programs_compiled")
        _RECENT.append(found)
        return found


def _compile(made: Plan, machine: Machine) -> Compiled:
    graph = made.graph
    lowered: dict[Value, Loops | None] = {step: _shape(step, machine) for step in made.steps}
    codes = _codes([loops for loops in lowered.values() if loops], machine)
    regions, scratch = made.regions(), _scratch([loops for loops in lowered.values() if loops])
    layout = _Layout(made, regions)
    segments: list[Native | Value] = []
    pending: list[tuple[Value, Loops]] = []

    def flush(copies: list[Copy]) -> None:
        if pending or copies:
            names = [codes[_key(loops)].name for _, loops in pending]
            calls = [layout.call(step, loops, name) for (step, loops), name in zip(pending, names, strict=True)]
            text = emit_step(calls, copies, layout.blocks, graph.symbols())
            code = compile_text(text, "step", machine)
            code.uses = [codes[_key(loops)] for _, loops in pending]
            segments.append(Native(code, tuple(loops for _, loops in pending)))
            pending.clear()

    for step, loops in lowered.items():
        if loops is None:
            flush([])
            segments.append(step)
        else:
            pending.append((step, loops))
    flush([layout.copy(v, p) for v, p in made.copies])
    inside: list[Value] = [v for step in made.steps for v in step.op.body.values()]  # type: ignore[attr-defined]
    work = sum(structure(v).work for v in inside)
    return Compiled(made, segments, graph.symbols(), regions, scratch, work, layout.locations)


def _shape(step: Value, machine: Machine) -> Loops | None:
    """The scheduled loops of a kernel, proved in bounds; None, with one warning, where that can't be done."""
    body: Graph = step.op.body  # type: ignore[attr-defined]
    try:
        loops = schedule(lower(body, body.name), machine)
        verify_loops(loops)
    except (LoweringError, InvalidGraph) as error:
        where = f" of {step.origin}" if step.origin else ""
        warnings.warn(f"The kernel {body.name}{where} runs on NumPy: {error}", RuntimeWarning, stacklevel=2)
        return None
    return loops


def _key(loops: Loops) -> str:
    return str(replace(loops, name="kernel"))


def _codes(kernels: list[Loops], machine: Machine) -> dict[str, Code]:
    """Machine code by kernel text; different kernels are compiled side by side."""
    texts = {_key(loops): loops for loops in kernels}
    names = {text: f"{loops.name}.{hashlib.sha256(f'{machine} {text}'.encode()).hexdigest()[:16]}"
             for text, loops in texts.items()}
    found = {text: code for text, name in names.items() if (code := _KERNELS.get(name.split(".")[-1])) is not None}
    new = [(text, loops) for text, loops in texts.items() if text not in found]

    def one(item: tuple[str, Loops]) -> bytes:
        return object_code(emit(item[1], machine.lanes, names[item[0]]), machine)

    with ThreadPoolExecutor(machine.cores) as pool:
        objects = dict(zip((names[text] for text, _ in new), pool.map(one, new), strict=True))
    made = link(objects, machine)
    for text, _ in new:
        found[text] = _KERNELS[names[text].split(".")[-1]] = made[names[text]]
    count("kernels_compiled", len(new))
    return found


def _scratch(kernels: list[Loops]) -> dict[tuple[str, ...], int]:
    """Bytes per unit of each region that the kernels' scratch needs; kernels run one after the other and share it."""
    result: dict[tuple[str, ...], int] = {}
    for loops in kernels:
        for region, size in _scratch_of(loops).items():
            result[region] = max(result.get(region, 0), size)
    return dict(sorted(result.items()))


def _scratch_of(loops: Loops) -> dict[tuple[str, ...], int]:
    result: dict[tuple[str, ...], int] = {}
    for buffer in loops.scratch:
        region, size = bytes_of(buffer.shape, buffer.dtype.size)
        result[region] = result.get(region, 0) + size
    return result


class _Layout:
    """Where everything lies: block 0 holds arena and scratch, then one block for each input, state and output."""

    def __init__(self, plan: Plan, regions: dict[tuple[str, ...], int]):
        graph = plan.graph
        self.regions, self.results = regions, results(graph)
        self.first = {"input": 1, "state": 1 + len(graph.inputs), "output": 1 + len(graph.inputs) + len(graph.state)}
        self.blocks = self.first["output"] + len(graph.outputs)
        self.locations = {v: self.location(p) for v, p in plan.places.items()}

    def location(self, place: Place) -> Location:
        if place.space != "arena":
            return Location(self.first[place.space] + place.index)
        before = [(r, size) for r, size in self.regions.items() if r < place.region]
        return Location(0, (*before, (place.region, place.offset)))

    def call(self, step: Value, loops: Loops, function: str) -> Call:
        made = self.results[step]
        buffers = [self.locations[source(o)] for o in step.operands]
        buffers += [self.locations[made[k]] for k in range(loops.outputs)]
        arena = tuple(self.regions.items())
        used: dict[tuple[str, ...], int] = {}
        whole = _scratch_of(loops)
        for buffer in loops.scratch:
            region, size = bytes_of(buffer.shape, buffer.dtype.size)
            # within a kernel's scratch the regions follow one another as they do in the arena
            before = [(r, whole[r]) for r in sorted(whole) if r < region]
            buffers.append(Location(0, (*arena, *before, (region, used.get(region, 0)))))
            used[region] = used.get(region, 0) + size
        return Call(function, tuple(buffers), tuple(symbols(loops)))

    def copy(self, value: Value, place: Place) -> Copy:
        t = value.type
        assert isinstance(t, TensorType)
        size = t.size * t.dtype.size
        terms = size.terms if hasattr(size, "terms") else (((), size),)
        return Copy(self.locations[source(value)], self.location(place), terms)  # type: ignore[arg-type]
