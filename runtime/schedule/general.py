"""Everything that is not a contraction: elementwise chains, rows with several reductions, pooling, reductions."""

from __future__ import annotations

import math
from dataclasses import replace

from graphc.ir.expr import Axis, Expr, linear, load, postorder
from graphc.ir.types import Dim
from graphc.runtime.loops import For, Loops, Statement, Store, Update, expressions, map_loops, walk
from graphc.runtime.schedule.tile import CHUNKS, parallelise, single_reduction, stride, vectorise
from graphc.runtime.targets.machine import Machine
from graphc.runtime.transform import (
    COSTLY,
    Body,
    accumulate_lanes,
    chain_of,
    collapse,
    keep,
    peel,
    sink,
    split,
    split_reduction,
    tighten,
    transpose,
    volume,
)

__all__ = ["apply", "matches"]

PIECES = 8  # copies of a nest that differ in the conditions which hold; half as many of one with reductions
UNROLLED = 32  # statements that a loop of few iterations may be written out to
SIDE = 4  # vectors of partial results that hide the latency of their addition


def matches(body: Body, machine: Machine) -> bool:
    """Any nest: this is the last template."""
    return True


def apply(loops: Loops, machine: Machine, repeated: bool = False) -> Loops:
    """Vectors along the last output axis, or along a reduction where that is what lies contiguous."""
    loops = _split_few(loops)
    chain = _output_axes(loops)
    rows = [a for a in _contiguous_reductions(loops.body, chain[-1:]) if isinstance(a.extent, int)]
    body, kept = keep(loops.body, rows, machine.lanes)
    body, columns = _peel(body, chain)
    if _pointwise(body):
        body = _flatten(body, machine.lanes)
        columns = list(dict.fromkeys(s.axis for s in walk(body) if isinstance(s, For) and _innermost(s)))
        body, columns = _transposed(body, columns, machine)
    inner = _contiguous_reductions(body, columns)
    for a, light in inner.items():
        if isinstance(a.extent, Dim) or 2 * a.extent >= machine.lanes:
            side = SIDE if light and (isinstance(a.extent, Dim) or a.extent >= 2 * SIDE * machine.lanes) else 1
            body = accumulate_lanes(body, a, machine.lanes, side)
    for a in columns:
        if not _reduces_contiguously(body, a, list(inner)):
            vectors = SIDE if any(isinstance(s, Update) for s in walk(body)) else 1
            body = vectorise(body, a, machine.lanes, vectors)
    for a in kept:
        body = vectorise(body, a, machine.lanes)
    return replace(loops, body=parallelise(_unroll(body)))


def _innermost(loop: For) -> bool:
    return not any(isinstance(t, For) for t in loop.body)


def _reduces(loop: For) -> bool:
    return isinstance(chain_of((loop,))[1][0], Update)


def _output_axes(loops: Loops) -> list[Axis]:
    """The axes of the longest output, in order."""
    stores = [s for s in walk(loops.body) if isinstance(s, Store) and s.buffer.space != "local"]
    longest = max(stores, key=lambda s: len(s.index))
    return [atom.attr for i in longest.index for atom in linear(i)[0] if atom.op == "axis"]


def _pointwise(body: Body) -> bool:
    return not any(isinstance(s, Update) for s in walk(body))


def _peel(body: Body, chain: list[Axis]) -> tuple[Body, list[Axis]]:
    """Cut output loops where padding and parts begin and end, so that each piece reads without a condition.

    Gives the pieces of the last one that can be vectors: no loop inside is longer for some lanes than for others.
    """
    columns, pieces = chain[-1:], 1 if _pointwise(body) else 2
    for a in reversed(chain):
        body, parts = peel(body, a, PIECES // pieces)
        pieces *= len(parts)
        columns = parts if [a] == columns else columns
    for a in dict.fromkeys(s.axis for s in walk(body) if isinstance(s, For) and _reduces(s)):
        body = tighten(body, a, columns)
    uneven = {a for s in walk(body) if isinstance(s, For) for a in s.extent.axes}
    return body, [a for a in columns if a.extent != 1 and a not in uneven]


def _flatten(body: Body, lanes: int) -> Body:
    """Join nested loops while every access stays affine: whole rows become one vector loop.

    Not where rows of unknown number are of an unknown length or a part of a vector: then no bound could be proved.
    """
    def change(s: For) -> Body:
        while len(s.body) == 1 and isinstance(inner := s.body[0], For):
            rows, row = s.axis.extent, inner.axis.extent
            if isinstance(row, Dim | Expr) or (isinstance(rows, Dim) and row < lanes and lanes % row == 0):
                break
            (joined,), a = collapse((s,), s.axis, inner.axis)
            assert isinstance(joined, For)
            if any(stride(p, a) is None for t in walk((joined,)) for p in _places(t)):
                break
            s = joined
        return (s,)

    return map_loops(body, change)


def _transposed(body: Body, columns: list[Axis], machine: Machine) -> tuple[Body, list[Axis]]:
    """Visit what is read across its rows in square blocks, so that every line of it is used while in cache.

    Blocks of a known nest are transposed in registers; gives the axes that are left to vectorise.
    """
    stores = [s for s in walk(body) if isinstance(s, Store)]
    if any(s.buffer.space == "local" for s in stores):
        return body, columns
    uncut = list(dict.fromkeys(s.axis for s in walk(body) if isinstance(s, For)))
    left: list[Axis] = []
    for v in columns:
        across = [p for s in stores for p in _places(s) if stride(p, v) not in (0, 1)]
        rows = [a for a in uncut if any(stride(p, a) == 1 for p in across)]
        blocks = all(isinstance(a.extent, int) and a.extent >= machine.lanes for a in (v, *rows))
        if rows and blocks and len(stores) == 1 and _repeatable(stores[0], [v, *rows], machine.lanes):
            reads = [p for p in across if stride(p, rows[0]) == 1]
            body = transpose(body, rows[0], v, machine.lanes, reads)
            continue
        left.append(v)
        for a in rows:
            uncut.remove(a)
            inner: Axis | None = a
            if not isinstance(a.extent, int) or a.extent > machine.lanes:
                body, _, inner, _ = split(body, a, machine.lanes)
            body = sink(body, inner) if inner is not None else body
    return body, left


def _repeatable(store: Store, axes: list[Axis], lanes: int) -> bool:
    """Whether elements may be computed twice: not where a result may lie on an operand, but for whole blocks."""
    aligned = any(e.op == "load" and e.args == store.index for e in postorder([store.value]))
    return not aligned or all(isinstance(a.extent, int) and a.extent % lanes == 0 for a in axes)


def _places(s: Statement) -> list[Expr]:
    """Every load of a statement, and its store as if it were one."""
    result = [e for e in postorder(expressions(s)) if e.op == "load"]
    if isinstance(s, Store | Update) and s.buffer.space != "local":
        result.append(load(s.buffer, s.index, s.buffer.dtype))
    return result


def _contiguous_reductions(body: Body, columns: list[Axis]) -> dict[Axis, bool]:
    """Innermost reduction axes along which operands lie contiguous, more of them than along the output axis.

    They come with whether an iteration is but a few operations, so that their sum waits for the adder.
    """
    def scattered(places: list[Expr], a: Axis) -> int:
        return sum(stride(p, a) not in (0, 1) for p in places)

    found: dict[Axis, bool] = {}
    for s in walk(body):
        if isinstance(s, For) and len(s.body) == 1 and isinstance(s.body[0], Update):
            places = [p for p in _places(s.body[0]) if p.axes]
            others = [scattered(places, v) for v in columns if any(v in p.axes for p in places)]
            if any(stride(p, s.axis) == 1 for p in places) and all(scattered(places, s.axis) < n for n in others):
                light = not any(e.op in COSTLY and e.op != "load" for e in postorder([s.body[0].value]))
                found[s.axis] = found.get(s.axis, True) and light
    return found


def _reduces_contiguously(body: Body, output: Axis, inner: list[Axis]) -> bool:
    """Whether the innermost output loop is already used up by reductions along lanes."""
    for s in walk(body):
        if isinstance(s, For) and s.axis == output:
            return any(isinstance(t, For) and t.kind == "vector" for t in walk(s.body)) or (
                bool(inner) and any(isinstance(t, Update) for t in walk(s.body)))
    return False


def _unroll(body: Body) -> Body:
    """Write out loops of few iterations around vectors, while they are not too much code."""
    def statements(s: Statement) -> int:
        if not isinstance(s, For):
            return 1
        times = s.axis.extent if s.kind == "unroll" else 1
        assert isinstance(times, int)
        return times * sum(map(statements, s.body))

    def change(s: For) -> Body | None:
        flat = all(not isinstance(t, For) or t.kind in ("unroll", "vector") for t in walk(s.body))
        few = isinstance(s.axis.extent, int) and s.axis.extent <= 4
        written = replace(s, kind="unroll")
        return (written,) if s.kind == "serial" and flat and few and statements(written) <= UNROLLED else None

    return map_loops(body, change)


def _split_few(loops: Loops) -> Loops:
    """Cut a long reduction with few outputs into chunks, so that threads can share it."""
    found = single_reduction(loops.body)
    if found is None or any(not isinstance(a.extent, int) for a in found.outputs):
        return loops
    first = found.reduced[0]
    few, long = volume(found.outputs) <= 4096, volume(found.outputs + found.reduced) >= 32768
    if not (few and long and isinstance(first.extent, Dim)):
        return loops
    body = loops.body
    lone = not found.outputs and len(found.reduced) == 1
    if lone or first in _contiguous_reductions(body, list(found.outputs[-1:])):
        # vectors lie along it: a chunk has whole rows, since of one that ends anywhere no bound could be proved
        row = math.gcd(*(k for _, k in first.extent.terms))
        if row == 1:
            return loops
        body, first, _, _ = split(body, first, row)
    return split_reduction(replace(loops, body=body), first, CHUNKS)[0]
