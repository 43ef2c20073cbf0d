"""Contractions: sums of products of two operands, of which one is shared along the rows of a register tile.

Matrix products, convolutions and both their gradients come here alike: what differs is only how their operands'
indices depend on the loop axes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from graphc.ir.expr import Axis, Expr, const, select
from graphc.ir.types import Dim
from graphc.runtime.loops import Barrier, Loops, map_expressions
from graphc.runtime.schedule.tile import (
    CHUNKS,
    best_tile,
    parallelise,
    rows,
    single_reduction,
    stride,
    tile_registers,
    vectorise,
)
from graphc.runtime.targets.machine import Machine
from graphc.runtime.transform import Body, chain_of, mark, split_reduction, stage, stageable, volume

__all__ = ["apply", "matches"]


@dataclass(frozen=True)
class Contraction:
    """A sum of products: the two operands, and the expression of the product in the loops."""

    outputs: tuple[Axis, ...]
    reduced: tuple[Axis, ...]
    shared: Expr  # does not vary along the vector axis: broadcast
    columns: Expr  # varies along the vector axis: loaded as vectors
    product: Expr


def analyse(loops: Loops) -> Contraction | None:
    """The contraction that loops are, or None."""
    found = single_reduction(loops.body)
    if found is None or not found.outputs or found.update.op != "sum":
        return None
    value, conditions = found.update.value, []
    while value.op == "select" and value.args[2].op == "const" and value.args[2].attr == 0:
        conditions.append(value.args[0])
        value = value.args[1]
    if value.op != "mul" or not value.dtype.is_float:
        return None
    v = found.outputs[-1]
    x, y = value.args
    if v in x.axes:
        x, y = y, x
    if v in x.axes or v not in y.axes:
        return None
    for c in conditions:  # zero times a finite number is zero: a condition may move to the operand it depends on
        if c.axes <= x.axes:
            x = select(c, x, const(0, x.dtype))
        elif c.axes <= y.axes:
            y = select(c, y, const(0, y.dtype))
        else:
            return None
    return Contraction(found.outputs, found.reduced, x, y, found.update.value)


def _contraction(loops: Loops) -> Contraction:
    found = analyse(loops)
    assert found is not None, f"{loops.name} is no contraction"
    return found


def matches(loops: Loops, machine: Machine) -> bool:
    """Whether loops are a contraction with columns enough for vectors and operands that can be staged."""
    c = analyse(loops)
    if c is None or not isinstance(c.outputs[-1].extent, int) or 4 * c.outputs[-1].extent < machine.lanes:
        return False
    return (_plain(c.shared) or stageable(c.shared)) and (not _needs_stage(c) or stageable(c.columns))


def _plain(e: Expr) -> bool:
    return e.op == "load"


def _needs_stage(c: Contraction) -> bool:
    return not _plain(c.columns) or stride(c.columns, c.outputs[-1]) != 1


def apply(loops: Loops, machine: Machine) -> Loops:
    """Stage what can't be read directly, split the reduction where outputs are few, and tile registers."""
    c = _contraction(loops)
    before: Body = ()
    old, new = c.product, c.shared * c.columns
    loops = replace(loops, body=map_expressions(loops.body, lambda e: new if e is old else e))
    v = c.outputs[-1]
    if not _plain(c.shared):
        loops, nest = stage(loops, c.shared)
        before += _copy(nest, machine)
    if _needs_stage(c):
        loops, nest = stage(loops, c.columns, v)
        before += _copy(nest, machine)
    c = _contraction(loops)
    free = [a for a in c.outputs[:-1] if a not in c.columns.axes]
    few = all(isinstance(a.extent, int) for a in c.outputs) and volume(c.outputs) <= 1 << 18
    if few and len(c.reduced) > 1 and isinstance(c.reduced[0].extent, Dim):
        loops, _ = split_reduction(loops, c.reduced[0], CHUNKS, c.reduced[1:])
    body = _tile(loops.body, free, v, machine)
    for a in c.reduced:
        if isinstance(a.extent, int) and a.extent <= 2:
            body = mark(body, a, "unroll")
    body = parallelise(body)
    barrier = (Barrier(),) if before else ()
    return replace(loops, body=(*before, *barrier, *body))


def _copy(nest: Body, machine: Machine) -> Body:
    """The nest of a staging copy: vectors along its last axis, threads along its first."""
    chain, _ = chain_of(nest)
    body = vectorise(nest, chain[-1].axis, machine.lanes) if chain else nest
    return parallelise(body)


def _tile(body: Body, free: list[Axis], v: Axis, machine: Machine) -> Body:
    """A tile of rows along the axes that share columns, innermost first, and of vectors along `v`."""
    extents = [a.extent if isinstance(a.extent, int) else 64 for a in reversed(free)]
    columns, registers = v.extent, tile_registers(machine)
    assert isinstance(columns, int)
    taken: list[tuple[Axis, int]] = []
    count, vectors = 1, min(4, -(-columns // machine.lanes))
    for a, extent in zip(reversed(free), extents, strict=True):
        if extent > 1:
            r, vectors = best_tile(extent, columns, machine) if count == 1 else (
                min(extent, registers // (count * vectors)), vectors)
            if count > 1 and r < extent:  # a second axis joins the tile only whole
                break
            taken.append((a, r))
            count *= r
            if r < extent or count * vectors >= registers // 2:
                break
    body = vectorise(body, v, machine.lanes, vectors)
    for a, r in taken:
        body = rows(body, a, r)
    return body
