"""Scatters: sums of terms that belong to one position of an output each, by a number that is read.

As an embedding's gradient is defined, every position looks at every term. Here each term is added where it belongs.
Threads share out the other axes, so that no two of them write the same element, and no sum depends on their number.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace as replaced

from graphc.ir.expr import Axis, axis, const, load, make, replace, scalar, select, size
from graphc.passes.structure import Scattered, scattered
from graphc.runtime.loops import Barrier, Buffer, For, Loops, Store, Update, map_expressions
from graphc.runtime.schedule import general
from graphc.runtime.schedule.tile import Reduction, share, single_reduction, vectorise
from graphc.runtime.targets.machine import Machine
from graphc.runtime.transform import Body, chain_of, outermost

__all__ = ["apply", "matches"]

VECTORS = 2  # of a row that a thread takes at least: whole cache lines


def _scatter(found: Reduction | None) -> Scattered | None:
    """The scatter along an output axis that a nest's sum is, if it is one."""
    if found is None or found.update.op != "sum":
        return None
    value = found.update.value
    made = scattered(make("reduce", (value,), value.dtype, ("sum", found.reduced)))
    return made if made is not None and made.axis in found.outputs else None


def matches(body: Body, machine: Machine) -> bool:
    """Whether a nest is a scatter."""
    return _scatter(single_reduction(body)) is not None


def apply(loops: Loops, machine: Machine, repeated: bool = False) -> Loops:
    """Clear the sums, add the terms, and go on with what is made of the sums.

    for v { for d { s[] = 0                                        for v { for d { y[v, d] = 0 } }; barrier
      for n { s[] sum= select(i[n] == v, x[n, d], 0) }      ->     for d parallel { for n { y[i[n], d] sum= x[n, d] } }
      y[v, d] = s[] } }
    """
    found, (chain, inner) = single_reduction(loops.body), chain_of(loops.body)
    scatter = _scatter(found)
    assert found is not None and scatter is not None, "the nest is no scatter"
    at, index = scatter.axis, scatter.index
    local, dtype, where = found.update.buffer, found.update.buffer.dtype, tuple(axis(c.axis) for c in chain)
    finish = inner[2:]
    total = load(local, (), dtype)
    if len(finish) == 1 and isinstance(finish[0], Store) and finish[0].value is total and finish[0].index == where:
        sums, finish = finish[0].buffer, ()
    else:
        shape = tuple(c.axis.extent for c in chain)
        sums = Buffer(f"sums{len(loops.scratch)}", dtype, shape, "scratch")  # type: ignore[arg-type]
        loops = replaced(loops, scratch=(*loops.scratch, sums))
        placed = load(sums, where, dtype)
        finish = map_expressions(finish, lambda e: replace(e, {total: placed}))
    inside = scalar("min", scalar("max", index, 0), size(at.extent) - 1)  # type: ignore[arg-type]
    term = select(scalar("eq", inside, index), scatter.term, const(0, dtype))
    place = tuple(inside if c.axis == at else axis(c.axis) for c in chain)
    body: Body = (*_alone(_around(found.outputs, (Store(sums, where, const(0, dtype)),)), machine), Barrier(),
                  *_adding(found, at, (Update(sums, place, "sum", term),), machine))
    if finish:
        body += (Barrier(), *_alone(_around(found.outputs, finish), machine))
    return replaced(loops, body=body)


def _around(axes: Iterable[Axis], body: Body) -> Body:
    for a in reversed(list(axes)):
        body = (For(a, body),) if a.extent != 1 else body
    return body


def _alone(nest: Body, machine: Machine) -> Body:
    """A nest scheduled as the loops of a kernel of its own."""
    return general.apply(Loops("part", (), 0, nest), machine).body


def _adding(found: Reduction, at: Axis, update: Body, machine: Machine) -> Body:
    """The terms in their order, along the other axes of the output by threads, and in vectors along the last one."""
    others, v = [a for a in found.outputs if a != at], found.outputs[-1]
    nests = [_around((*others, *found.reduced), update)]
    if v != at and isinstance(v.extent, int) and v.extent >= machine.lanes:
        nest = _around((*others[:-1], *found.reduced, v), update)
        width = VECTORS * machine.lanes
        parts = outermost(nest, v, width) if v.extent > width else [(nest, v)]
        nests = [vectorise(part, columns, machine.lanes, VECTORS) for part, columns in parts]
    first = [s for nest in nests for s in nest]
    return tuple(share(s) if isinstance(s, For) and s.axis not in found.reduced else s for s in first)
