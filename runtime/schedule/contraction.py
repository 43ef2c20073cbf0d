"""Contractions: sums of products of two operands, of which one is the same along the rows of a register tile.

Matrix products, convolutions and both their gradients come here alike: what differs is only how their operands'
indices depend on the loop axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from graphc.ir.expr import Axis, Expr
from graphc.ir.types import Dim
from graphc.runtime.loops import Barrier, For, Loops, map_expressions, walk
from graphc.runtime.schedule import general
from graphc.runtime.schedule.tile import (
    CHUNKS,
    Tile,
    choose_tile,
    parallelise,
    rows,
    single_reduction,
    stride,
    vectorise,
)
from graphc.runtime.targets.machine import Machine
from graphc.runtime.transform import (
    Body,
    conditions,
    distribute,
    guarded,
    mark,
    outermost,
    replicate,
    split,
    split_reduction,
    stage,
    stageable,
    tighten,
    volume,
)

__all__ = ["apply", "matches"]

READERS = 128  # rows or columns that read an operand, from which packing it is worth its cost
MOST_PARTS = 1 << 21  # bytes of partial results; half as many parts where they would take more
TAPS = 9  # iterations of a reduction that may be written out to decide conditions


@dataclass(frozen=True)
class Contraction:
    """A sum of products: the two operands, each with its conditions, and the product as the loops have it."""

    outputs: tuple[Axis, ...]
    reduced: tuple[Axis, ...]
    shared: Expr  # broadcast, or as in a depthwise convolution loaded as vectors too
    columns: Expr  # varies along the vector axis, but not along the rows of the tile: loaded as vectors once for all
    product: Expr


def analyse(body: Body) -> Contraction | None:
    """The contraction that a nest is, or None."""
    found = single_reduction(body)
    if found is None or not found.outputs or found.update.op != "sum":
        return None
    limits, value = conditions(found.update.value)
    if value.op != "mul" or not value.dtype.is_float:
        return None
    v, outputs = found.outputs[-1], set(found.outputs)
    x, y = sorted(value.args, key=lambda e: (v in e.axes, -len(e.axes & outputs)))
    if v not in y.axes or not outputs - y.axes:
        return None
    # zero times a finite number is zero: a condition may move to the operand that it depends on
    of_x = [c for c in limits if c.axes <= x.axes]
    of_y = [c for c in limits if c not in of_x]
    if not all(c.axes <= y.axes for c in of_y):
        return None
    return Contraction(found.outputs, found.reduced, guarded(of_x, x), guarded(of_y, y), found.update.value)


def _contraction(body: Body) -> Contraction:
    found = analyse(body)
    assert found is not None, "the nest is no contraction"
    return found


def matches(body: Body, machine: Machine) -> bool:
    """Whether a nest is a contraction with columns enough for vectors and operands that can be staged."""
    c = analyse(body)
    if c is None or not isinstance(c.outputs[-1].extent, int) or 4 * c.outputs[-1].extent < machine.lanes:
        return False
    return all(stageable(e) for e in (c.shared, c.columns) if _needs_stage(e, c.outputs[-1]))


def _plain(e: Expr) -> bool:
    return e.op == "load"


def _needs_stage(operand: Expr, v: Axis) -> bool:
    """Whether an operand can't be read as it is: uniformly, or as vectors."""
    return not _plain(operand) or stride(operand, v) not in (0, 1)


def apply(loops: Loops, machine: Machine, repeated: bool = False) -> Loops:
    """Stage what can't be read directly, split the reduction where outputs are few, and tile registers.

    A kernel that is `repeated` reads what the last kernels wrote, and the same columns each time: threads share out its
    rows, as they do those of the kernels around it, so that what a thread reads lies in its own cache.
    """
    c = _contraction(loops.body)
    v = c.outputs[-1]
    tile = choose_tile([a for a in c.outputs[:-1] if a not in c.columns.axes], v, machine)
    body = loops.body
    for a in c.reduced:
        body = tighten(body, a, [v, *(row for row, _ in tile.rows)])
    c = _contraction(body)
    taps = _taps(c, tile)
    new = c.shared * c.columns
    if taps is not None:
        limits, operand = conditions(c.shared)
        new = guarded(limits, operand * c.columns)
    loops = replace(loops, body=map_expressions(body, lambda e: new if e is c.product else e))
    copies: Body = ()
    if taps is None and _needs_stage(c.shared, v):
        loops, nest = stage(loops, c.shared, v)
        copies += _copy(nest, machine)
    elif _scatters_rows(c, tile, machine):
        loops, nest = stage(loops, c.shared, *tile.rows[0])
        copies += _copy(nest, machine)
    width = tile.vectors * machine.lanes if _by_columns(c, machine) else 0
    if _needs_stage(c.columns, v) or (width and _worth_packing(c.columns, c, machine)):
        loops, nest = stage(loops, c.columns, v, width)
        copies += _copy(nest, machine)
    if copies:
        copies += (Barrier(),)
    few = all(isinstance(a.extent, int) for a in c.outputs) and volume(c.outputs) <= 1 << 18
    if few and len(c.reduced) > 1 and _long(c.reduced[0]):
        chunks = CHUNKS // 2 if volume(c.outputs) * c.product.dtype.size * CHUNKS > MOST_PARTS else CHUNKS
        loops, _ = split_reduction(loops, c.reduced[0], chunks, c.reduced[1:], v)
        part, barrier, total = loops.body
        parts = _tiled((part,), c, tile, taps, v, machine)
        clear = [s.axis for s in walk(parts) if isinstance(s, For) and s.axis.name == f"{v}z"]
        for a in clear:
            parts = vectorise(parts, a, machine.lanes)
        body = (*parts, barrier, *vectorise((total,), v, machine.lanes))
    else:
        by_rows = repeated and not _fills_cache(c.columns, machine)
        body = _tiled(loops.body, c, tile, taps, v, machine, by_columns=width > 0, by_rows=by_rows)
    return replace(loops, body=(*copies, *parallelise(body)))


def _long(a: Axis) -> bool:
    """Whether an axis can be cut into chunks for the threads."""
    return isinstance(a.extent, Dim) or (isinstance(a.extent, int) and a.extent >= 2 * CHUNKS)


def _taps(c: Contraction, tile: Tile) -> list[Axis] | None:
    """The reduced axes that decide every condition on the shared operand once written out.

    None if too many do, or if the operand without its conditions can't be read as it is either.
    """
    limits, operand = conditions(c.shared)
    needed = frozenset[Axis]().union(*(limit.axes for limit in limits))
    taps = [a for a in c.reduced if a in needed]
    whole = [a for a, count in tile.rows if count == a.extent]
    small = all(isinstance(a.extent, int) for a in taps) and volume(taps) <= TAPS
    direct = not _needs_stage(operand, c.outputs[-1])
    return taps if direct and needed <= {*taps, *whole} and small else None


def _by_columns(c: Contraction, machine: Machine) -> bool:
    """Whether threads share out the columns: where they are more than the rows, or too many for a cache.

    A thread then reads its own part of them only, and in a training step the part that it has updated itself.
    """
    if not all(isinstance(a.extent, int) for a in c.columns.axes) or len(c.columns.axes) > 1 + len(c.reduced):
        return False
    return volume(c.columns.axes) > volume(c.shared.axes) or _worth_packing(c.columns, c, machine)


def _scatters_rows(c: Contraction, tile: Tile, machine: Machine) -> bool:
    """Whether the rows of a tile lie side by side in lines that the reduction strides through, beyond the cache."""
    if not tile.rows or not _plain(c.shared) or not all(isinstance(a.extent, int) for a in c.shared.axes):
        return False
    return stride(c.shared, tile.rows[0][0]) == 1 and _worth_packing(c.shared, c, machine)


def _fills_cache(operand: Expr, machine: Machine) -> bool:
    """Whether an operand takes half of the cache."""
    return 2 * volume(operand.axes) * operand.dtype.size >= machine.cache


def _worth_packing(operand: Expr, c: Contraction, machine: Machine) -> bool:
    """Whether an operand takes half of the cache, and is read again by many rows or columns."""
    readers = volume([a for a in c.outputs if a not in operand.axes])
    return _fills_cache(operand, machine) and readers >= READERS


def _tiled(body: Body, c: Contraction, tile: Tile, taps: Sequence[Axis] | None, v: Axis, machine: Machine,
           by_columns: bool = False, by_rows: bool = False) -> Body:
    """A nest with its registers: vectors along one axis, rows along others; conditions decided.

    Threads share out the outermost loops: blocks of columns where it is tiled `by_columns`, but of whole tiles the rows
    where it is `by_rows` too.
    """
    result: Body = ()
    parts = [(part, counts, a, vectors) for k, (nest, counts, vectors) in enumerate(_parts(body, tile, v, machine))
             for part, a in (outermost(nest, v, vectors * machine.lanes) if by_columns and (k or not by_rows)
                             else [(nest, v)])]
    for nest, counts, columns, vectors in parts:
        nest = vectorise(nest, columns, machine.lanes, vectors)
        for a, count in counts:
            nest = rows(nest, a, count)
        for a in taps or ():
            nest = replicate(nest, a)
        if taps is not None:
            for unrolled in dict.fromkeys(s.axis for s in walk(nest) if isinstance(s, For) and s.kind == "unroll"):
                nest = tighten(nest, unrolled)
        for a in c.reduced:
            if isinstance(a.extent, int) and a.extent <= 2:
                nest = mark(nest, a, "unroll")
        result += nest
    return result


def _parts(body: Body, tile: Tile, v: Axis, machine: Machine) -> list[tuple[Body, tuple[tuple[Axis, int], ...], int]]:
    """The nest in whole tiles and, where rows are of unknown number, nests of smaller tiles for the rows left.

    A single row is a vector times a matrix: it needs more vectors side by side to keep the adder busy.
    """
    a, count = tile.rows[0] if tile.rows else (None, 1)
    if a is None or isinstance(a.extent, int):
        return [(body, tile.rows, tile.vectors)]
    parts: list[tuple[Body, tuple[tuple[Axis, int], ...], int]] = []
    for r in [count, 4] if count > 8 else [count]:
        body, _, inner, rest = split(body, a, r)
        assert inner is not None, f"{a} is of unknown extent"
        if rest is None:
            return [*parts, (body, ((inner, r),), tile.vectors)]
        whole, body = distribute(body)
        parts.append((whole, ((inner, r),), tile.vectors))
        a = rest
    return [*parts, (body, (), choose_tile([], v, machine).vectors)]


def _copy(nest: Body, machine: Machine) -> Body:
    """The nests of a staging copy, scheduled as what they are: kernels without arithmetic."""
    return tuple(t for s in nest for t in general.apply(Loops("copy", (), 0, (s,)), machine).body)
