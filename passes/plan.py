"""When kernels and loops run and where their results lie: order, one arena, and updates in place.

A loop has a plan of its own for its body. Its inputs and outputs are slices of what the loop reads and gives; the
buffers of its arena, and of what it carries from step to step, are rooms in the arena around it.

The arena has one region for each product of symbolic sizes (1, N, ...), so that offsets are constants times that
product and one plan serves every batch size. Within a region a buffer takes the lowest offset that is free during
its life. The verifier proves that no two live buffers overlap.
"""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce

import networkx as nx

from graphc.ir.errors import InvalidGraph, LoweringError
from graphc.ir.graph import Graph, Value
from graphc.ir.ops.structure import Item, Kernel, Scan
from graphc.ir.types import Dim, Quotient, Shape, TensorType, at_least_zero, product
from graphc.passes.structure import elements, structure

__all__ = ["ALIGNMENT", "Place", "Plan", "Room", "extent_in_bytes", "plan", "verify_plan"]

ALIGNMENT = 64  # bytes: a cache line, and the widest vector
Monomial = tuple[str, ...]
Readers = dict[Value, list[Value]]  # the kernels that read a leaf or an item


@dataclass(frozen=True)
class Place:
    """Where a value lies: `space` is input, state, output or arena.

    `index` counts within inputs, state or outputs. In the arena the value takes `size` bytes from `offset`, both
    times the product of the sizes named by `region`, from step `first` to step `last`.
    """

    space: str
    index: int = 0
    region: Monomial = ()
    offset: int = 0
    size: int = 0
    first: int = 0
    last: int = 0

    def __str__(self) -> str:
        if self.space != "arena":
            return f"{self.space}[{self.index}]"
        scale = "*".join(("", *self.region))
        return f"arena[{self.offset}{scale} .. {self.offset + self.size}{scale}) live {self.first}..{self.last}"


@dataclass(frozen=True)
class Room:
    """What a loop needs memory for: a `region` of its arena, or the slices of an output that nobody keeps."""

    scan: Value
    region: Monomial | None
    output: int = -1

    def __str__(self) -> str:
        return f"output {self.output}" if self.region is None else f"arena {'*'.join(self.region) or '1'}"


@dataclass(frozen=True, eq=False)
class Plan:
    """The kernels and scans in order, the place of every value, and what is copied to its place at the end.

    `inner` has the plans of the scans' bodies, `rooms` the places of what those need.
    """

    graph: Graph
    steps: tuple[Value, ...]
    places: dict[Value, Place]
    copies: tuple[tuple[Value, Place], ...]
    inner: dict[Value, Plan]
    rooms: dict[Room, Place]

    def entries(self) -> list[Value]:
        """All kernels and scans in order, a scan before those inside of it."""
        return [e for step in self.steps for e in (step, *(self.inner[step].entries() if step in self.inner else ()))]

    def kernels(self) -> list[Value]:
        """All kernels in order, those inside of loops too."""
        return [e for e in self.entries() if isinstance(e.op, Kernel)]

    def regions(self) -> dict[Monomial, int]:
        """Bytes of each region of the arena, per unit of its product of sizes."""
        result: dict[Monomial, int] = {}
        for p in (*self.places.values(), *self.rooms.values()):
            if p.space == "arena":
                result[p.region] = max(result.get(p.region, 0), p.offset + p.size)
        return dict(sorted(result.items()))

    def __str__(self) -> str:
        lines = [f"plan {self.graph.name} {{"]
        for i, step in enumerate(self.steps):
            origin = f"  # {step.origin}" if step.origin else ""
            lines.append(f"  {i}: {step.op.body.name}{origin}")  # type: ignore[attr-defined]
            lines.extend(f"    {v.type} at {p}" for v, p in self.places.items() if v.operands[:1] == (step,))
            if step in self.inner:
                lines.extend(f"    {room} at {p}" for room, p in self.rooms.items() if room.scan is step)
                lines.extend(f"    {line}" for line in str(self.inner[step]).splitlines())
        lines.extend(f"  copy {v.type} from {self.places[source(v)]} to {p}" for v, p in self.copies)
        return "\n".join([*lines, "}"])


def extent_in_bytes(t: TensorType) -> tuple[Monomial, int]:
    """An upper bound of a type's bytes: a multiple of ALIGNMENT times a product of symbolic sizes."""
    return bytes_of(t.shape, t.dtype.size)


def bytes_of(shape: Shape, item: int) -> tuple[Monomial, int]:
    """As `extent_in_bytes`, for a shape and the bytes of an element."""
    size = product(shape) * item
    if not isinstance(size, Dim):
        return (), -(-max(size, 1) // ALIGNMENT) * ALIGNMENT
    terms = _above(size) or {(): Fraction(1)}
    counted: Counter[str] = reduce(operator.or_, map(Counter, terms))
    region = tuple(sorted(counted.elements()))
    total = math.ceil(sum(terms.values()))  # every named size is at least 1, so this product bounds each term
    return region, -(-total // ALIGNMENT) * ALIGNMENT


def _above(size: Dim) -> dict[Monomial, Fraction]:
    """Positive terms whose sum is at least the size, without quotients: (p - s + 1) / s <= p // s <= p / s."""
    terms = {m: Fraction(c) for m, c in size.terms}
    while quotients := {f for m in terms for f in m if isinstance(f, Quotient)}:
        q = max(quotients, key=len)  # what it is made of is shorter
        bounded: dict[Monomial, Fraction] = {}
        for monomial, c in terms.items():
            others = list(monomial)
            parts: list[tuple[Monomial, Fraction]] = [((), Fraction(1))]
            if q in others:
                others.remove(q)
                if not at_least_zero(product(Dim({(f,): 1}) for f in others)):
                    raise LoweringError(f"The bytes of an array of the size {size} can't be bounded.")
                end = q.numerator if c > 0 else q.numerator - q.divisor + 1
                parts = [(m, Fraction(k, q.divisor)) for m, k in (end.terms if isinstance(end, Dim) else [((), end)])]
            for m, k in parts:
                key = tuple(sorted((*others, *m)))
                bounded[key] = bounded.get(key, Fraction(0)) + c * k
        terms = bounded
    return {m: c for m, c in terms.items() if c > 0}


def source(v: Value) -> Value:
    """The value whose memory a view names."""
    while not isinstance(v.op, Item) and v.operands:
        v = v.operands[0]
    return v


def results(graph: Graph) -> dict[Value, dict[int, Value]]:
    """For each kernel, the values of its results that the graph has, by their position."""
    found: dict[Value, dict[int, Value]] = {}
    for v in graph.values():
        if isinstance(v.op, Item):
            found.setdefault(v.operands[0], {})[v.op.index] = v
    return found


def plan(graph: Graph) -> Plan:
    """Order the kernels and scans of a fused graph and give every value a place."""
    kernels = [v for v in graph.values() if isinstance(v.op, Kernel | Scan)]
    places: dict[Value, Place] = {v: Place("input", i) for i, v in enumerate(graph.inputs)}
    places.update((v, Place("state", i)) for i, v in enumerate(graph.state))
    readers = _readers(graph)
    flow, copies = _dependencies(kernels, readers), []
    for s, v in graph.updates:
        if v is s:
            continue
        where = places[s]
        if v not in places and isinstance(v.op, Item) and _updates_in_place(graph, readers, flow, s, v):
            places[v] = where
        else:
            copies.append((v, where))
    for i, (_, v) in enumerate(graph.outputs):
        if isinstance(v.op, Item) and v not in places:
            places[v] = Place("output", i)
        else:
            copies.append((v, Place("output", i)))
    steps = _order(kernels, flow, results(graph))
    inner = {k: plan(k.op.body) for k in steps if isinstance(k.op, Scan)}
    rooms = _allocate(graph, steps, readers, places, copies, inner)
    made = Plan(graph, steps, places, tuple(_in_order(copies, places)), inner, rooms)
    verify_plan(made)
    return made


def _order(kernels: list[Value], flow: nx.DiGraph, made: dict[Value, dict[int, Value]]) -> tuple[Value, ...]:
    """The kernels in an order in which each follows those it needs.

    Of those that could be next it is the one that shares most memory with the last: that is still in the cache. Among
    equals the first of the graph.
    """
    touched = {k: {source(o) for o in k.operands} | set(made[k].values()) for k in kernels}
    waiting = {k: flow.in_degree(k) for k in kernels}
    ready = [k for k in kernels if not waiting[k]]
    position = {k: i for i, k in enumerate(kernels)}
    order: list[Value] = []
    last: set[Value] = set()

    def shared(k: Value) -> int:
        return sum(elements(v.shape) * v.dtype.size for v in touched[k] & last)

    while ready:
        step = max(ready, key=lambda k: (shared(k), -position[k]))
        ready.remove(step)
        order.append(step)
        last = touched[step]
        for k in flow.successors(step):
            waiting[k] -= 1
            if not waiting[k]:
                ready.append(k)
    return tuple(order)


def _in_order(copies: list[tuple[Value, Place]], places: dict[Value, Place]) -> list[tuple[Value, Place]]:
    """The copies in an order in which every old state is read before a new one takes its place."""
    ordered = [c for c in copies if c[1].space == "output"]
    todo = [c for c in copies if c[1].space != "output"]
    while todo:
        free = [c for c in todo if not any(places[source(v)] == c[1] for v, to in todo if to != c[1])]
        if not free:
            labels = ", ".join(source(v).op.label for v, _ in todo)  # type: ignore[attr-defined]
            raise LoweringError(f"The states {labels} exchange their values, which needs a place in between: "
                                "give one of them a computed value.")
        ordered += free
        todo = [c for c in todo if c not in free]
    return ordered


def _readers(graph: Graph) -> Readers:
    """The kernels and scans that read each leaf's or item's memory, also through views."""
    result: Readers = {}
    for v in graph.values():
        if isinstance(v.op, Kernel | Scan):
            for o in v.operands:
                result.setdefault(source(o), []).append(v)
    return result


def _dependencies(kernels: Iterable[Value], readers: Readers) -> nx.DiGraph:
    flow: nx.DiGraph = nx.DiGraph()
    flow.add_nodes_from(kernels)
    for memory, kernels_after in readers.items():
        if isinstance(memory.op, Item):
            flow.add_edges_from((memory.operands[0], r) for r in kernels_after)
    return flow


def _updates_in_place(graph: Graph, readers: Readers, flow: nx.DiGraph, state: Value, new: Value) -> bool:
    """Whether a kernel may write a state's next value over it; orders the other readers before it if so."""
    kernel = new.operands[0]
    if isinstance(kernel.op, Scan):
        return False
    body: Graph = kernel.op.body  # type: ignore[attr-defined]
    domain = max((v.shape for _, v in body.outputs), key=len)
    params = [p for p, o in zip(body.inputs, kernel.operands, strict=True) if source(o) is state]
    if new.shape != domain or any(p.shape != domain or not _reads_aligned(body, p, domain) for p in params):
        return False
    if any(v is state or source(v) is state for _, v in graph.outputs) or any(
            source(v) is state for s, v in graph.updates if s is not state):
        return False  # the old value is still asked for
    others = [r for r in readers.get(state, []) if r is not kernel]
    if any(nx.has_path(flow, kernel, r) for r in others):
        return False
    flow.add_edges_from((r, kernel) for r in others)
    return True


def _reads_aligned(body: Graph, param: Value, domain: Shape) -> bool:
    """Whether a kernel reads a param only at the index that it writes."""
    users = body.users()
    results = {v for _, v in body.outputs}
    aligned: dict[Value, bool] = {}
    for v in reversed(body.values()):
        reads = [structure(u).same[k] and aligned[u] for u in users[v] for k, o in enumerate(u.operands) if o is v]
        aligned[v] = all(reads) and (v not in results or v.shape == domain)
    return aligned[param]


def _allocate(graph: Graph, steps: tuple[Value, ...], readers: Readers, places: dict[Value, Place],
              copies: list[tuple[Value, Place]], inner: dict[Value, Plan]) -> dict[Room, Place]:
    """Places in the arena for what has none: the largest first, each at the lowest offset free for its life."""
    when = {k: i for i, k in enumerate(steps)}
    kept = {source(v) for v, _ in copies}
    made = results(graph)
    rooms: dict[Room, Place] = {}
    todo: list[tuple[Value | Room, Place]] = []
    for scan, body in inner.items():
        needed = [(Room(scan, region), (region, size)) for region, size in body.regions().items()]
        op: Scan = scan.op  # type: ignore[assignment]
        for i, (_, v) in enumerate(op.body.outputs):
            if (i < op.carries and not op.kept[i]) or i not in made[scan]:
                slices = 2 if i < op.carries else 1  # a carry's old and new value take turns
                needed.append((Room(scan, None, i), bytes_of((slices, *v.shape), v.dtype.size)))
        todo += [(room, Place("arena", 0, region, 0, size, when[scan], when[scan])) for room, (region, size) in needed]
    for step in steps:
        for v in made[step].values():
            if v not in places:
                region, size = extent_in_bytes(v.type)  # type: ignore[arg-type]
                last = len(steps) if v in kept else max((when[r] for r in readers.get(v, [])), default=when[step])
                todo.append((v, Place("arena", 0, region, 0, size, when[step], last)))
    taken: list[Place] = []
    for v, p in sorted(todo, key=lambda item: -item[1].size):
        near = sorted((q.offset, q.offset + q.size) for q in taken if q.region == p.region and _overlap(p, q))
        offset = 0
        for start, end in near:
            if offset + p.size <= start:
                break
            offset = max(offset, end)
        placed = Place("arena", 0, p.region, offset, p.size, p.first, p.last)
        taken.append(placed)
        if isinstance(v, Room):
            rooms[v] = placed
        else:
            places[v] = placed
    return rooms


def _overlap(p: Place, q: Place) -> bool:
    """Whether two buffers are live at the same step."""
    return p.first <= q.last and q.first <= p.last


def verify_plan(plan: Plan) -> None:
    """Prove a plan right; raise InvalidGraph otherwise.

    P1 a kernel runs after those whose results it reads
    P2 no two buffers of the arena that are live at the same step overlap
    P3 a buffer is live from the step that writes it to the last that reads it
    P4 a state written in place is read by no later kernel
    """
    when = {k: i for i, k in enumerate(plan.steps)}
    readers = _readers(plan.graph)
    for v, p in plan.places.items():
        for r in readers.get(v, []):
            if isinstance(v.op, Item) and when[v.operands[0]] >= when[r]:
                raise InvalidGraph(f"P1: {r.op.body.name} runs before what it reads, {v!r}")  # type: ignore
            if p.space == "arena" and not p.first <= when[r] <= p.last:
                raise InvalidGraph(f"P3: {v!r} is read at step {when[r]} but {p}")
        if isinstance(v.op, Item) and p.space == "state":
            old = plan.graph.state[p.index]
            late = [r for r in readers.get(old, []) if when[r] > when[v.operands[0]]]
            if late:
                raise InvalidGraph(f"P4: {old!r} is overwritten before {late[0].op.body.name} reads it")  # type: ignore
    held: list[tuple[Value | Room, Place]] = [*plan.places.items(), *plan.rooms.items()]
    arena = [(owner, p) for owner, p in held if p.space == "arena"]
    for i, (owner, p) in enumerate(arena):
        for other, q in arena[i + 1:]:
            if p.region == q.region and _overlap(p, q) and (
                    p.offset < q.offset + q.size and q.offset < p.offset + p.size):
                raise InvalidGraph(f"P2: {owner!r} at {p} overlaps {other!r} at {q}")
