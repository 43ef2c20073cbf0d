"""From a traced graph to native code: passes, fusion, plan, schedules, one step function. Equal work is done once.

A kernel is compiled once for its loops' text, in a process and, by the cache (cache.py), on a machine; a program once
for its graph's text. What the cache has for a program is its step's object code, what it takes to run it, and which
kernels it calls.
"""

from __future__ import annotations

import json
import warnings
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from weakref import WeakValueDictionary

from graphc.ir.errors import InvalidGraph, LoweringError
from graphc.ir.graph import Graph, Value
from graphc.ir.ops.structure import Scan
from graphc.ir.types import Dim, Shape, product
from graphc.passes.cost import work
from graphc.passes.plan import Place, Plan, bytes_of, results, source
from graphc.runtime.cache import Cache, open_cache
from graphc.runtime.config import current
from graphc.runtime.counters import count
from graphc.runtime.forks import MAKING
from graphc.runtime.interrupts import notice
from graphc.runtime.listing import KernelListing, Listing, code_key, symbol
from graphc.runtime.loops import Loops
from graphc.runtime.targets.clock import reading
from graphc.runtime.targets.jit import Code, Submit, compiler, link
from graphc.runtime.targets.llvm import symbols
from graphc.runtime.targets.machine import Machine
from graphc.runtime.targets.step import Call, Copy, Instruction, Location, Move, Repeat, Terms, emit_step

__all__ = ["Compiled", "Native", "compile_graph", "name_of"]

_KERNELS: WeakValueDictionary[str, Code] = WeakValueDictionary()
_PROGRAMS: WeakValueDictionary[tuple[str, tuple[type, ...], Machine, bool], Compiled] = WeakValueDictionary()
_RECENT: deque[Compiled] = deque(maxlen=64)  # code lives with the programs that use it, and a while longer


@dataclass
class Native:
    """Consecutive kernels in one native function."""

    code: Code


@dataclass
class Compiled:
    """What equal graphs share: the segments of a step, and what it takes to run them.

    A segment that is a Value is a kernel left to NumPy, which looks up plan and locations. A program from the cache
    has neither, and no such segment.
    """

    segments: list[Native | Value]
    sizes: list[str]
    regions: dict[tuple[str, ...], int]  # bytes per unit of each region of the memory block
    scratch: dict[tuple[str, ...], int]
    work: int  # scalar operations of a step, symbolic sizes counted as structure.NOMINAL
    plan: Plan | None = None
    locations: dict[Value, Location] | None = None


def compile_graph(graph: Graph, machine: Machine, check: bool = False, profiled: bool = False) -> Compiled:
    """The native program of a traced graph: the process's, the cache's, or a new one.

    One that is profiled takes a block for the stamps of its kernels (targets/step.py), and always has its plan.
    """
    # the text names ops; the classes tell a redefined op of the same name from the one compiled before
    ops = tuple(dict.fromkeys(type(v.op) for v in graph.values()))
    text, switches = str(graph), current()
    with MAKING:
        listing = Listing(graph, machine, check, switches.dump) if switches.dump else None
        found = _PROGRAMS.get((text, ops, machine, profiled))
        if found is None:
            store, key = open_cache(switches.cache), code_key("program", repr(machine), f"{profiled} {text}")
            # what a user's op computes is in no text
            kept = store is not None and not profiled and all(op.__module__.startswith("graphc.") for op in ops)
            if kept and not check:
                found = _load(key, _Functions(machine, store))
            if found is None:
                listing = listing or Listing(graph, machine, check)
                found = _compile(listing, key, _Functions(machine, store), kept, profiled)
            _PROGRAMS[text, ops, machine, profiled] = found
            count("programs_compiled")
        _RECENT.append(found)
        return found


class _Functions:
    """The native functions of a program: those that the process or the cache has, and those compiled for it."""

    def __init__(self, machine: Machine, store: Cache | None):
        self.machine, self.store = machine, store
        self.kernels: dict[str, str] = {}  # names of functions by the keys of the kernels
        self.linked: dict[str, Code] = {}  # by name
        self.stored: dict[str, bytes] = {}
        self.made: dict[str, Future[bytes]] = {}

    def find(self, key: str) -> str | None:
        """The function of a kernel that needn't be compiled."""
        if key not in self.kernels:
            code = _KERNELS.get(key)
            entry = self.store.get(key) if self.store and code is None else None
            if code is not None:
                self.kernels[key] = code.name
                self.linked[code.name] = code
            elif entry is not None:
                name, _, content = entry.partition(b"\n")
                self.kernels[key] = name.decode()
                self.stored[name.decode()] = content
        return self.kernels.get(key)

    def kernel(self, kernel: KernelListing, submit: Submit) -> str:
        """The function of a kernel, which is submitted to be compiled if there is none."""
        found = self.find(kernel.key)
        if found is None:
            found = self.kernels[kernel.key] = kernel.function
            self.made[found] = submit(kernel.llvm)
            count("kernels_compiled")
        return found

    def link(self) -> dict[str, Code]:
        """Link everything; the code by name. New kernels go to the cache."""
        new = {}
        for name, future in self.made.items():
            notice()
            new[name] = future.result()
        codes = self.linked | link(self.stored | new, self.machine)
        count("cache_hits", len(self.stored))
        for key, name in self.kernels.items():
            _KERNELS[key] = codes[name]
            if self.store and name in new:
                self.store.put(key, name.encode() + b"\n" + new[name])
        return codes

    def native(self, codes: dict[str, Code], name: str) -> Native:
        """A step, which keeps the kernels alive that it calls."""
        codes[name].uses = tuple(codes[kernel] for kernel in self.kernels.values())
        return Native(codes[name])


def _compile(listing: Listing, key: str, functions: _Functions, kept: bool, profiled: bool) -> Compiled:
    """Compile the kernels of a listing, each while the next one is scheduled, and keep what was made in the cache."""
    made = listing.plan
    graph, store = made.graph, functions.store
    native: dict[Value, tuple[KernelListing, str]] = {}  # each kernel that NumPy needn't run, and its function
    segments: list[str | Value] = []
    pending: list[Value] = []
    with compiler(functions.machine) as submit:
        for kernel in listing.kernels:
            notice()
            try:
                native[kernel.value] = kernel, functions.kernel(kernel, submit)
            except Exception as error:  # NumPy can do it, whatever went wrong
                reason = str(error) if isinstance(error, LoweringError | InvalidGraph) else repr(error)
                where = f" of {kernel.value.origin}" if kernel.value.origin else ""
                warnings.warn(f"The kernel {kernel.name}{where} runs on NumPy: {reason}", RuntimeWarning, stacklevel=2)
        regions, scratch = made.regions(), _scratch([kernel.schedule for kernel, _ in native.values()])
        layout = _Layout.of(made, regions)
        blocks = layout.blocks + profiled

        entries = made.entries()

        def flush(copies: list[Copy]) -> None:
            if pending or copies:
                name = symbol(f"{graph.name}_{len(segments)}", key)
                calls = [layout.instruction(step, native) for step in pending]
                first = entries.index(pending[0]) if pending else len(entries)
                stamped = (first, len(entries), reading(functions.machine)) if profiled else None
                functions.made[name] = submit(emit_step([*calls, *copies], blocks, graph.symbols(), name, stamped))
                segments.append(name)
                pending.clear()

        for step in made.steps:
            if all(k in native for k in (made.inner[step].kernels() if step in made.inner else [step])):
                pending.append(step)
            else:
                flush([])
                segments.append(step)
        flush(layout.copies())
    codes = functions.link()
    done = Compiled([functions.native(codes, s) if isinstance(s, str) else s for s in segments], graph.symbols(),
                    regions, scratch, sum(map(work, made.steps)), made, layout.locations)
    if store is not None:
        if kept and len(segments) == 1 and isinstance(segments[0], str):
            _save(key, functions, segments[0], done)
        store.trim()
    return done


def _save(key: str, functions: _Functions, step: str, made: Compiled) -> None:
    """Keep a program of native kernels in the cache: a line of JSON, and its step's object code."""
    assert functions.store is not None
    regions, scratch = ([[list(region), size] for region, size in d.items()] for d in (made.regions, made.scratch))
    entry = {"kernels": list(functions.kernels), "step": step, "sizes": made.sizes, "regions": regions,
             "scratch": scratch, "work": made.work}
    functions.store.put(key, json.dumps(entry).encode() + b"\n" + functions.made[step].result())


def name_of(entry: bytes) -> str:
    """What an entry of the cache is called: the function of a kernel, the step of a program."""
    head, _, _ = entry.partition(b"\n")
    if head.startswith(b"{"):
        return json.loads(head)["step"]
    return head.decode() if head.isascii() else "the team of threads"


def _load(key: str, functions: _Functions) -> Compiled | None:
    """A program from the cache, or None if it or one of its kernels is not there."""
    found = functions.store.get(key) if functions.store else None
    if found is None:
        return None
    head, _, content = found.partition(b"\n")
    entry = json.loads(head)
    if any(functions.find(k) is None for k in entry["kernels"]):
        return None
    functions.stored[entry["step"]] = content
    codes = functions.link()
    regions, scratch = ({tuple(region): size for region, size in entry[name]} for name in ("regions", "scratch"))
    return Compiled([functions.native(codes, entry["step"])], entry["sizes"], regions, scratch, entry["work"])


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


@dataclass
class _Layout:
    """Where everything lies: block 0 holds arena and scratch, then one block for each input, state and output.

    The layout of a loop's body has its places within those of the graph around it.
    """

    plan: Plan
    blocks: int
    regions: dict[tuple[str, ...], int]  # bytes per unit of each region of the whole arena
    fixed: dict[Place, Location]  # of inputs, states and outputs
    arena: dict[tuple[str, ...], Location]  # where each region begins
    level: int = 0  # the number of loops around

    def __post_init__(self) -> None:
        self.results = results(self.plan.graph)
        self.locations = {v: self.location(p) for v, p in self.plan.places.items()}

    @staticmethod
    def of(plan: Plan, regions: dict[tuple[str, ...], int]) -> _Layout:
        """The layout of a program."""
        graph = plan.graph
        counts = {"input": len(graph.inputs), "state": len(graph.state), "output": len(graph.outputs)}
        places = [Place(space, i) for space, count in counts.items() for i in range(count)]
        fixed = {p: Location(1 + n) for n, p in enumerate(places)}
        arena = {r: Location(0, tuple((b, size) for b, size in regions.items() if b < r)) for r in regions}
        return _Layout(plan, 1 + len(places), regions, fixed, arena)

    def location(self, place: Place) -> Location:
        if place.space != "arena":
            return self.fixed[place]
        return _at(self.arena[place.region], ((place.region, place.offset),))

    def instruction(self, step: Value, native: Mapping[Value, tuple[KernelListing, str]]) -> Call | Repeat:
        """What runs a kernel or a loop."""
        return self.repeat(step, native) if isinstance(step.op, Scan) else self.call(step, *native[step])

    def call(self, step: Value, kernel: KernelListing, function: str) -> Call:
        made, loops = self.results[step], kernel.schedule
        buffers = [self.locations[source(o)] for o in kernel.operands]
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

    def repeat(self, step: Value, native: Mapping[Value, tuple[KernelListing, str]]) -> Repeat:
        """The loop of a scan: its body's inputs and outputs are slices of what it reads and gives."""
        op: Scan = step.op  # type: ignore[assignment]
        plan, made = self.plan.inner[step], self.results[step]
        rooms = {(r.region, r.output): self.location(p) for r, p in self.plan.rooms.items() if r.scan is step}
        fixed: dict[Place, Location] = {}
        before, after = [], []
        old, new = (1, 0) if op.reverse else (0, 1)
        given = [self.locations[source(o)] for o in step.operands]
        for i, (v, where) in enumerate(zip(op.body.inputs, given, strict=True)):
            k = i - op.scanned
            stride = _terms(v.shape, v.dtype.size)
            if k < 0:
                start = tuple((scale, count * op.shifts[i]) for scale, count in stride if op.shifts[i])
                fixed[Place("input", i)] = _moving(_at(where, start), Move(self.level, stride))
            elif k < op.carries:
                room = rooms.get((None, k))
                slices = self.locations[made[k]] if room is None else room
                turns = room is not None
                fixed[Place("input", i)] = _moving(slices, Move(self.level, stride, old, turns))
                fixed[Place("output", k)] = _moving(slices, Move(self.level, stride, new, turns))
                ends = _moving(slices, Move(self.level, stride, 0, turns))
                before.append(Copy(where, ends, stride))
                if room is not None and k in made:
                    after.append(Copy(ends, self.locations[made[k]], stride))
            else:
                fixed[Place("input", i)] = where
        for i, (_, v) in enumerate(op.body.outputs[op.carries:], op.carries):
            move = Move(self.level, _terms(v.shape, v.dtype.size))
            fixed[Place("output", i)] = (_moving(self.locations[made[i]], move) if i in made else rooms[None, i])
        arena = {r: where for (r, _), where in rooms.items() if r is not None}
        inner = _Layout(plan, self.blocks, self.regions, fixed, arena, self.level + 1)
        body: list[Instruction] = [inner.instruction(k, native) for k in plan.steps]
        length = _terms((op.length,), 1)
        return Repeat(self.level, length, op.reverse, tuple(before), (*body, *inner.copies()), tuple(after))

    def copies(self) -> list[Copy]:
        """What is copied to its place at the end."""
        return [Copy(self.locations[source(v)], self.location(p), _terms(v.shape, v.dtype.size))
                for v, p in self.plan.copies]


def _at(where: Location, offsets: Terms) -> Location:
    return Location(where.block, (*where.offsets, *offsets), where.moves)


def _moving(where: Location, move: Move) -> Location:
    return Location(where.block, where.offsets, (*where.moves, move))


def _terms(shape: Shape, item: int) -> Terms:
    """The bytes of an array, as numbers times products of sizes."""
    size = product(shape) * item
    return size.terms if isinstance(size, Dim) else (((), size),)
