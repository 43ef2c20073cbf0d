"""Group values into kernels, by cost on the structure of their definitions.

First every value joins the kernel of its readers where that repeats no work (elementwise chains, what follows a
reduction at the same index, moved reads), or repeats so little that the memory traffic saved is worth more. Then
whole kernels merge that share operands and loops: the rows of softmax and crossentropy, all three results of Adam.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import Any

import networkx as nx

from graphc.ir import functions as f
from graphc.ir.graph import Graph, Value, apply
from graphc.ir.op import Structural
from graphc.ir.ops.structure import Item, Kernel, Scan
from graphc.ir.types import TensorType
from graphc.passes.bodies import with_body
from graphc.passes.structure import elements, structure

__all__ = ["fuse", "members"]

FLOPS_PER_BYTE = 8  # scalar operations worth one byte of memory traffic
TINY = 16  # elements that may be read again instead of keeping what is computed from them
MOST_OPERANDS = 32


@dataclass(eq=False)
class Group:
    """Values that will be one kernel, and how often each is evaluated in it."""

    roots: list[Value]
    evaluations: dict[Value, float] = field(default_factory=dict)
    aligned: set[Value] = field(default_factory=set)  # evaluated at the kernel's own index only
    moved: set[Value] = field(default_factory=set)  # the same, or at an index that movements make of it

    def __repr__(self) -> str:
        return f"<group of {', '.join(r.op.name for r in self.roots)}>"

    @property
    def domain(self) -> tuple:
        return max((r.shape for r in self.roots), key=len)


def fuse(graph: Graph) -> Graph:
    """A graph of kernels, views and leaves that computes the same."""
    return _Fusion(graph).result()


def members(fused: Graph) -> dict[Value, list[Value]]:
    """For each kernel of a fused graph, the values of the graph before fusion that it computes.

    Values are interned, so applying a kernel's ops to what its operands stand for gives the very values. Those of a
    scan's kernels are values of its body.
    """
    return _members(fused)[0]


def _members(fused: Graph) -> tuple[dict[Value, list[Value]], dict[Value, Any]]:
    """The members of each kernel, and what every value of a fused graph stands for."""
    known: dict[Value, Any] = {v: v for v in fused.inputs + fused.state}
    found: dict[Value, list[Value]] = {}
    for v in fused.values():
        if isinstance(v.op, Scan):
            inside, stands = _members(v.op.body)
            found.update(inside)
            loop = replace(v.op, body=v.op.body.replaced(stands))
            known[v] = apply(loop, *(known[o] for o in v.operands), origin=v.origin)
            continue
        if isinstance(v.op, Kernel):
            body: Graph = v.op.body
            inner = dict(zip(body.inputs, (known[o] for o in v.operands), strict=True))
            for u in body.values():
                if u not in inner:
                    inner[u] = apply(u.op, *(inner[o] for o in u.operands), origin=u.origin)
            found[v] = [inner[u] for u in body.values() if u not in body.inputs]
            known[v] = tuple(inner[r] for _, r in body.outputs)
        elif isinstance(v.op, Item):
            whole = known[v.operands[0]]
            known[v] = whole[v.op.index] if isinstance(whole, tuple) else f.item(whole, v.op.index)
        elif v not in known:
            known[v] = apply(v.op, *(known[o] for o in v.operands), origin=v.origin)
    return found, known


class _Fusion:
    def __init__(self, graph: Graph):
        self.graph = graph
        self.users = graph.users()
        self.order = {v: i for i, v in enumerate(graph.values())}
        self.leaves = set(graph.inputs + graph.state)
        self.of = {v: structure(v) for v in self.order if v not in self.leaves and not _is_loop(v)}
        self.wanted = frozenset(graph.roots)
        self.needed = set(self.wanted)  # values that must be in memory
        self.constant = {v for v in graph.constants() if not _is_loop(v)}
        self.cheap: set[Value] = set()  # computed from a few elements: again in every kernel, never kept
        self.chain: dict[Value, float] = {}  # operations for one element of those, with those that they are made of
        self.groups: dict[Value, list[Group]] = {}
        self.classify()
        self.views = [v for v in self.order if self.is_view(v)]
        self.assign()
        self.merge()

    # ---------------------------------------------------------------------------------------- joining readers

    def classify(self) -> None:
        """Find the values that depend on a few elements of arrays only."""
        for v in self.graph.values():
            if v in self.leaves or v in self.constant or _is_loop(v):
                continue
            sources = [o for o in v.operands if o not in self.constant]
            few = all(o in self.cheap or (o in self.leaves and elements(o.shape) <= TINY) for o in sources)
            if few and not self.of[v].reduces and not self.spread(v):
                self.cheap.add(v)
                self.chain[v] = self.effort(v)

    def effort(self, v: Value) -> float:
        """The operations for one element of a value, with those of cheap values that it is made of."""
        return self.of[v].work / max(1, elements(v.shape)) + sum(self.chain.get(o, 0.0) for o in v.operands)

    def spread(self, v: Value) -> bool:
        """Whether a reader asks for elements of a value so often that they are better kept: a number for each image."""
        count = elements(v.shape)
        if count <= TINY:
            return False  # what is computed from a few elements and is a few itself leaves the loops
        most = max((self.of[u].visits[k] for u in self.users[v] if u in self.of
                    for k, o in enumerate(u.operands) if o is v), default=0)
        return max(0.0, most - count) * self.effort(v) > FLOPS_PER_BYTE * 2 * count * v.dtype.size

    def light(self, v: Value) -> bool:
        """Whether a value is computed anew wherever it is read, at no cost that matters."""
        return v in self.constant or v in self.cheap

    def is_view(self, v: Value) -> bool:
        """Whether no kernel computes a value: it names memory that holds its operand, or is part of a loop."""
        return _is_loop(v) or (v not in self.leaves and not self.light(v) and self.of[v].view)

    def assign(self) -> None:
        """Put every value into the groups of its readers, or into memory as the root of a group of its own."""
        for v in reversed(self.graph.values()):
            if v in self.leaves:
                continue
            readers = [u for u in self.users[v] if not self.is_view(u)]
            if len(readers) < len(self.users[v]):
                self.needed.add(v)
            if self.is_view(v):
                self.needed.update(v.operands)
                self.groups[v] = []
                continue
            joined = list(dict.fromkeys(g for u in readers for g in self.groups[u] if u in g.evaluations))
            if v in self.needed or not joined or not all(self.joins(v, g) for g in joined) or not (
                    len(joined) == 1 or self.repeats(v)):
                self.needed.add(v)
                joined = joined if self.light(v) else []
                self.groups[v] = [*joined, Group([v], {v: elements(v.shape)}, {v}, {v})]
            else:
                self.groups[v] = joined
            for g in joined:
                self.add(v, g)

    def repeats(self, v: Value) -> bool:
        """Whether a value is computed again in each kernel that reads it."""
        return self.light(v) or self.of[v].moves

    def reads(self, v: Value, g: Group) -> list[tuple[Value, int]]:
        """The members of a group that read a value, and as which operand."""
        return [(u, k) for u in self.users[v] if u in g.evaluations and not self.is_view(u)
                for k, o in enumerate(u.operands) if o is v]

    def evaluations(self, v: Value, g: Group) -> float:
        """How often a value's elements would be evaluated within a group."""
        return sum(self.of[u].visits[k] * g.evaluations[u] / max(1, elements(u.shape)) for u, k in self.reads(v, g))

    def add(self, v: Value, g: Group) -> None:
        g.evaluations[v] = g.evaluations.get(v, 0) + self.evaluations(v, g)
        reads = self.reads(v, g)
        if all(self.of[u].same[k] and u in g.aligned for u, k in reads):
            g.aligned.add(v)
        if all((self.of[u].same[k] or self.of[u].moves) and u in g.moved for u, k in reads):
            g.moved.add(v)

    def joins(self, v: Value, g: Group) -> bool:
        """Whether computing a value inside a group that reads it costs no more than its memory traffic."""
        if self.light(v):
            return True
        if isinstance(v.op, Structural) or self.of[v].opaque or any(self.of[u].opaque for u in g.evaluations):
            return False
        s, count, times = self.of[v], elements(v.shape), self.evaluations(v, g)
        if s.moves:
            return True
        reads = self.reads(v, g)
        if s.reduces:
            if s.sums and all(self.of[u].sums and u in g.moved for u, _ in reads) and times <= 2 * count:
                return self.reductions(g) == [u for u, _ in reads]  # a sum of sums is one sum
            once = all((self.of[u].same[k] or self.of[u].moves) and u in g.moved for u, k in reads)
            return not self.reductions(g) and once and times <= count
        if any(self.of[u].contracts for u, _ in reads) and times > count:
            return False
        extra = max(0.0, times - count) * self.effort(v)
        return extra <= FLOPS_PER_BYTE * 2 * count * v.dtype.size

    def reductions(self, g: Group) -> list[Value]:
        return [v for v in g.evaluations if self.of[v].reduces]

    # ----------------------------------------------------------------------------------------- merging kernels

    def members(self) -> list[Group]:
        """Every group once, in the order of the graph."""
        return list(dict.fromkeys(g for v in self.graph.values() for g in self.groups.get(v, ())))

    def operands(self, g: Group) -> list[Value]:
        """The values that a group reads from memory, in the order of the graph."""
        found = {o for v in g.evaluations for o in v.operands if o not in g.evaluations}
        return sorted(found, key=self.order.__getitem__)

    def merge(self) -> None:
        """Merge pairs of groups that share memory while a pair fits; the graph of groups stays without cycles."""
        flow = self.flow()
        for v in self.graph.values():
            if not isinstance(v.type, TensorType) or not v.shape:
                continue
            pairs = itertools.combinations(self.sharing(v), 2)
            while pair := next((p for p in pairs if self.fits(*p) and self.acyclic(*p, flow)), None):
                self.unite(*pair, flow)
                pairs = itertools.combinations(self.sharing(v), 2)

    def sharing(self, v: Value) -> list[Group]:
        """The groups that write a value to memory or read it from there."""
        touching = [g for g in self.groups.get(v, ()) if v in g.roots]
        touching += [g for u in self.users[v] for g in self.groups[u] if u in g.evaluations and v not in g.evaluations]
        return list(dict.fromkeys(touching))

    def flow(self) -> nx.DiGraph:
        """The groups and views as a graph; an edge runs from what is computed to what reads it."""
        result: nx.DiGraph = nx.DiGraph()
        for g in self.members():
            self.connect(g, result)
        result.add_edges_from((o, v) for v in self.views for o in v.operands)
        return result

    def connect(self, g: Group, flow: nx.DiGraph) -> None:
        """Put a group into the graph of groups."""
        flow.add_edges_from((o, g) for o in self.operands(g))
        flow.add_edges_from((g, r) for r in g.roots)

    def acyclic(self, a: Group, b: Group, flow: nx.DiGraph) -> bool:
        """Whether every path between two groups is a direct one, so that merging makes no cycle."""
        for x, y in ((a, b), (b, a)):
            direct = set(x.roots) & set(self.operands(y))
            onward = {n for r in x.roots for n in flow.successors(r) if n is not y or r not in direct}
            if any(nx.has_path(flow, n, y) for n in onward if n is not y):
                return False
        return True

    def fits(self, a: Group, b: Group) -> bool:
        """Whether two groups can share loops without repeating work that matters."""
        if len(b.domain) < len(a.domain):
            a, b = b, a
        short, long = a.domain, b.domain
        if long[:len(short)] != short or (len(short) < len(long) and not short) or not long:
            return False
        if len(set(self.operands(a) + self.operands(b))) + len(a.roots + b.roots) > MOST_OPERANDS:
            return False
        if any(self.of[v].opaque for g in (a, b) for v in g.evaluations):
            return False
        heavy = [g for g in (a, b) if any(self.of[v].contracts for v in self.reductions(g))]
        if heavy and (len(heavy) == 2 or short != long or self.reductions(a if heavy[0] is b else b)):
            return False
        few = [g for g in (a, b) if self.reductions(g) and not _is_batched(g.domain)]
        if few and (len(few) == 2 or short != long):
            return False
        for x, y in ((a, b), (b, a)):
            for r in x.roots:
                reads = self.reads(r, y)
                if all(self.of[u].prefix[k] and u in y.aligned for u, k in reads):
                    continue
                times, count = self.evaluations(r, y), elements(r.shape)
                work = sum(self.of[v].work / max(1, count) for v in x.evaluations)
                if x in heavy or times * work > FLOPS_PER_BYTE * 2 * count * r.dtype.size:
                    return False
        return True

    def unite(self, a: Group, b: Group, flow: nx.DiGraph) -> None:
        """Make one group of two, also in the graph of groups."""
        for v, times in b.evaluations.items():
            a.evaluations[v] = max(times, a.evaluations.get(v, 0))
            self.groups[v] = list(dict.fromkeys(a if g is b else g for g in self.groups[v]))
        a.roots = [v for v in sorted({*a.roots, *b.roots}, key=self.order.__getitem__) if self.read_outside(v, a)]
        a.aligned = {v for v in a.aligned | b.aligned if v.shape == a.domain}
        a.moved |= b.moved
        flow.remove_nodes_from((a, b))
        self.connect(a, flow)

    def read_outside(self, v: Value, g: Group) -> bool:
        """Whether a value of a group must be in memory for others."""
        return v in self.wanted or any(self.is_view(u) or any(h is not g for h in self.groups[u])
                                       for u in self.users[v])

    # ----------------------------------------------------------------------------------------------- the result

    def result(self) -> Graph:
        new: dict[Value, Value] = {v: v for v in self.graph.inputs + self.graph.state}
        home = {r: g for g in self.members() for r in g.roots}
        done: set[Group] = set()

        def build(root: Value) -> None:
            pending = [root]
            while pending:
                v = pending[-1]
                if v in new:
                    pending.pop()
                    continue
                group = home.get(v)
                inputs = self.operands(group) if group else list(v.operands)
                missing = [o for o in inputs if o not in new]
                if missing:
                    pending.extend(missing)
                elif group is None:
                    new[v] = apply(with_body(v.op, fuse), *(new[o] for o in v.operands), origin=v.origin)
                else:
                    assert group not in done
                    done.add(group)
                    new.update(self.kernel(group, inputs, new))

        for v in self.graph.roots:
            build(v)
        return self.graph.replaced(new)

    def kernel(self, group: Group, inputs: list[Value], new: dict[Value, Value]) -> dict[Value, Value]:
        """The items of the kernel that computes a group's roots."""
        inside: dict[Value, Value] = {v: f.input(f"p{k}", v.shape, v.dtype) for k, v in enumerate(inputs)}
        for v in sorted(group.evaluations, key=self.order.__getitem__):
            inside[v] = apply(v.op, *(inside[o] for o in v.operands), origin=v.origin)
        body = Graph(_name(group), tuple(inside[v] for v in inputs), (),
                     tuple((f"r{k}", inside[r]) for k, r in enumerate(group.roots)))
        origins = dict.fromkeys(v.origin for v in group.evaluations if v.origin and v not in self.constant)
        origin = next(iter(origins), "") if len(origins) <= 1 else "+".join(sorted(origins))
        made = apply(Kernel(body), *(new[v] for v in inputs), origin=origin)
        return {r: apply(Item(k), made, origin=r.origin) for k, r in enumerate(group.roots)}


def _is_loop(v: Value) -> bool:
    """Whether a value is a scan or one of its results."""
    return isinstance(v.op, Scan | Item)


def _is_batched(domain: tuple) -> bool:
    return bool(domain) and not isinstance(domain[0], int)


def _name(group: Group) -> str:
    """A kernel's name: its roots' ops."""
    names = list(dict.fromkeys(r.op.name for r in group.roots))
    heavy = [v.op.name for v in group.evaluations if structure(v).reduces and isinstance(v.type, TensorType)]
    return "_".join(dict.fromkeys([*heavy[:2], *names]))[:60]
