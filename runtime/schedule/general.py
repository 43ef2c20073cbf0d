"""Everything that is not a contraction: elementwise chains, rows with several reductions, pooling, reductions."""

from __future__ import annotations

from dataclasses import replace

from graphc.ir.expr import Axis, Expr, load, postorder
from graphc.ir.types import Dim
from graphc.runtime.loops import For, Loops, Statement, Store, Update, expressions, walk
from graphc.runtime.schedule.tile import CHUNKS, parallelise, single_reduction, stride, vectorise
from graphc.runtime.targets.machine import Machine
from graphc.runtime.transform import Body, accumulate_lanes, collapse, mark, split_reduction, volume

__all__ = ["apply"]


def apply(loops: Loops, machine: Machine) -> Loops:
    """Vectors along the last output axis, or along a reduction where that is what lies contiguous."""
    loops = _split_few(loops)
    chain, body = _output_axes(loops), loops.body
    if _pointwise(loops):
        body, chain = _flatten(body, chain, machine.lanes)
    inner = _contiguous_reductions(body, chain[-1] if chain else None)
    for a in inner:
        if isinstance(a.extent, Dim) or 2 * a.extent >= machine.lanes:
            body = accumulate_lanes(body, a, machine.lanes)
    if chain and not _reduces_contiguously(body, chain[-1], inner):
        vectors = 4 if any(isinstance(s, Update) for s in walk(body)) else 1
        body = vectorise(body, chain[-1], machine.lanes, vectors)
    for s in list(walk(body)):
        if isinstance(s, For) and s.kind == "serial" and isinstance(s.axis.extent, int) and s.axis.extent <= 4 and (
                _innermost(s)):
            body = mark(body, s.axis, "unroll")
    return replace(loops, body=parallelise(body))


def _innermost(loop: For) -> bool:
    return all(not isinstance(t, For) or t.kind in ("unroll", "vector") for t in walk(loop.body))


def _output_axes(loops: Loops) -> list[Axis]:
    """The axes of the longest output, in order."""
    stores = [s for s in walk(loops.body) if isinstance(s, Store) and s.buffer in loops.params]
    longest = max(stores, key=lambda s: len(s.index))
    return [i.attr for i in longest.index if i.op == "axis"]


def _pointwise(loops: Loops) -> bool:
    return not any(isinstance(s, Update) for s in walk(loops.body))


def _flatten(body: Body, chain: list[Axis], lanes: int) -> tuple[Body, list[Axis]]:
    """Join trailing axes while every access stays affine: whole rows become one vector loop.

    Not where rows of unknown number are of an unknown length or a part of a vector: then no bound could be proved.
    """
    while len(chain) > 1 and not isinstance(chain[-1].extent, Expr):
        rows, row = chain[-2].extent, chain[-1].extent
        if isinstance(row, Dim) or (isinstance(rows, Dim) and row < lanes and lanes % row == 0):
            break
        joined, a = collapse(body, chain[-2], chain[-1])
        places = [e for s in walk(joined) for e in _places(s)]
        if joined == body or any(stride(p, a) is None for p in places):
            break
        body, chain = joined, [*chain[:-2], a]
    return body, chain


def _places(s: Statement) -> list[Expr]:
    """Every load of a statement, and its store as if it were one."""
    result = [e for e in postorder(expressions(s)) if e.op == "load" and e.attr.space != "local"]
    if isinstance(s, Store | Update) and s.buffer.space != "local":
        result.append(load(s.buffer, s.index, s.buffer.dtype))
    return result


def _contiguous_reductions(body: Body, output: Axis | None) -> list[Axis]:
    """Innermost reduction axes along which some operand lies contiguous, and none along the output axis."""
    found: dict[Axis, None] = {}
    for s in walk(body):
        if isinstance(s, For) and len(s.body) == 1 and isinstance(s.body[0], Update):
            places = [p for p in _places(s.body[0]) if p.axes]
            if any(stride(p, s.axis) == 1 for p in places) and not any(
                    output is not None and stride(p, output) == 1 for p in places):
                found.setdefault(s.axis)
    return list(found)


def _reduces_contiguously(body: Body, output: Axis, inner: list[Axis]) -> bool:
    """Whether the innermost output loop is already used up by reductions along lanes."""
    for s in walk(body):
        if isinstance(s, For) and s.axis == output:
            return any(isinstance(t, For) and t.kind == "vector" for t in walk(s.body)) or (
                bool(inner) and any(isinstance(t, Update) for t in walk(s.body)))
    return False


def _split_few(loops: Loops) -> Loops:
    """Cut a long reduction with few outputs into chunks, so that threads can share it."""
    found = single_reduction(loops.body)
    if found is None or any(not isinstance(a.extent, int) for a in found.outputs):
        return loops
    first = found.reduced[0]
    few, long = volume(found.outputs) <= 4096, volume(found.outputs + found.reduced) >= 32768
    return split_reduction(loops, first, CHUNKS)[0] if few and long and isinstance(first.extent, Dim) else loops
