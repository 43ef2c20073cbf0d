"""Ask for what is needed later before long sums are computed: by then it lies in the cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from graphc.ir.expr import Axis, Expr, axis, const, load, position, postorder, size, substitute
from graphc.runtime.loops import (
    Buffer,
    For,
    Loops,
    Prefetch,
    Statement,
    Store,
    Update,
    map_loops,
    number,
    walk,
)
from graphc.runtime.transform import Body, chain_of, replaced, split, volume

__all__ = ["following", "prefetched"]

LEAST = 32  # iterations of a reduction that take longer than memory
MOST = 32  # lines asked for at once, as many as a core waits for
FEW = 8  # lines that a tile asks for of the next block
PACE = 4  # iterations of a tile's sums in which memory gives a line
APART = 4  # tiles beside one another in a row, from which on a core does not foresee what they read


def prefetched(body: Body) -> Body:
    """The loops with a prefetch, before each long reduction into registers, of what is read behind it.

    for k in 128 { a[i] sum= ... } y[i] = p[i] + a[i]    ->    prefetch p[i] for k in 128 { ... } y[i] = p[i] + a[i]
    """
    return map_loops(body, lambda loop: (_ahead(replaced(loop, body=_before_sums(loop.body))),))


def _before_sums(body: Body) -> Body:
    at = next((k for k, s in enumerate(body) if isinstance(s, For) and s.kind == "serial" and _sums(s)), None)
    if at is None:
        return body
    asked = tuple(dict.fromkeys(p for s in body[at + 1:] for p in _reads(s)))
    lines = sum(volume([s.axis for s in walk([p]) if isinstance(s, For)]) for p in asked)
    return (*body[:at], *asked, *body[at:]) if lines <= MOST else body


def _sums(loop: For) -> bool:
    """Whether a loop is a long reduction and no more."""
    loops = [s for s in walk([loop]) if isinstance(s, For) and s.kind == "serial"]
    extents = [s.axis.extent for s in loops]
    inside = all(isinstance(s, For) or (isinstance(s, Update) and s.buffer.space == "local") for s in walk([loop]))
    return inside and (not all(isinstance(n, int) for n in extents) or volume([s.axis for s in loops]) >= LEAST)


def _reads(s: Statement) -> Iterator[Statement]:
    """The prefetches of what unrolled loops read of memory, an element of its own each time."""
    chain, inner = chain_of((s,))
    unrolled = [c for c in chain if c.kind == "unroll"]
    if not unrolled or any(c.kind not in ("unroll", "vector") for c in chain):
        return
    lanes: dict[Axis, Expr] = {c.axis: const(0) for c in chain if c.kind == "vector"}
    for place in _loads(inner):
        if all(c.axis in place.axes for c in unrolled):
            nest: Body = (Prefetch(substitute(place, lanes)),)
            for c in reversed(unrolled):
                nest = (replaced(c, body=nest),)
            yield from nest


def _loads(body: Sequence[Statement]) -> Iterator[Expr]:
    for e in postorder([s.value for s in body if isinstance(s, (Store, Update))]):
        if e.op == "load" and e.attr.space == "param":
            yield e


def _ahead(loop: For) -> For:
    """A loop whose tiles multiply a block of an operand each time: each of them asks for a part of the next block.

    for t in T { for q in tiles { for k in K { a[..] sum= .. * p[t, k, q..] } } }
    ->   for t in T { for q in tiles { prefetch p[t + 1, ..]  for k in K { .. } } }
    """
    tiles, work = chain_of(loop.body)
    reduction = next((s for s in work if isinstance(s, For) and s.kind == "serial" and _sums(s)), None)
    if loop.kind != "serial" or not tiles or reduction is None:
        return loop
    chain, inner = chain_of((reduction,))
    lanes = {c.axis for c in chain if c.kind == "vector"}
    for place in _loads(inner):
        if loop.axis in place.axes and lanes & place.axes and chain[0].axis in place.axes:
            asked = _of_next(place, loop, [c.axis for c in tiles], chain)
            body: Body = (*asked, *work)
            for c in reversed(tiles):
                body = (replaced(c, body=body),)
            return replaced(loop, body=body)
    return loop


def _of_next(place: Expr, loop: For, tiles: Sequence[Axis], chain: Sequence[For]) -> Body:
    """The prefetches of one tile: its part of the block that `place` goes through in the next iteration of a loop."""
    first, *others = [c.axis for c in chain if c.kind == "serial"]
    beside = [a for a in tiles if a in place.axes]
    others += [*beside, *(c.axis for c in chain if c.kind == "unroll" and c.axis in place.axes)]
    if not all(isinstance(a.extent, int) for a in (*others, *tiles)):
        return ()
    lines, count = volume(others), volume(tiles)
    parts = max(1, lines // FEW)  # of a row, one for each tile
    if volume(beside) < APART or count < LEAST or count % parts or lines % parts:
        return ()
    tile = position([axis(a) for a in tiles], [a.extent for a in tiles])  # type: ignore[misc]
    rows = count // parts
    again, part = Axis(f"{first}g", number((_size(first) + (rows - 1)) // rows)), Axis(f"{first}h", lines // parts)
    line = tile % parts * (lines // parts) + axis(part)
    places: dict[Axis, Expr] = {c.axis: const(0) for c in chain if c.kind == "vector"}
    for a in reversed(others):
        places[a], line = line % _size(a), line // _size(a)
    places[first], places[loop.axis] = tile // parts + axis(again) * rows, axis(loop.axis) + 1
    asked: Body = (Prefetch(substitute(place, places)),)
    for a, kind in ((part, "unroll"), (again, "serial")):
        asked = (For(a, asked, kind),) if a.extent != 1 else asked
    return asked


def following(loops: Loops, slices: Sequence[Buffer], step: int) -> Loops:
    """Loops that ask, while their tiles are summed, for what the next step of a loop around them reads.

    That are slices of arrays, next to those at hand: so many rows on, or back where the `step` is -1. Of each that has
    the shape of the first result a tile asks for its own place, a row at a time; of as many as memory can give so fast.

    for k in 512 { a[r] sum= .. } z[r] = a[r]    ->    for q in 8 { prefetch s[q + R] for k in 64 { .. } } ..
    """
    result = loops.params[-loops.outputs]
    asked: dict[Buffer, None] = {}

    def change(loop: For) -> Body:
        at = next((k for k, s in enumerate(loop.body) if isinstance(s, For) and s.kind == "serial" and _sums(s)), None)
        if at is None:
            return (loop,)
        k = loop.body[at].axis  # type: ignore[union-attr]
        for chain, inner in map(chain_of, (loop.body[n:n + 1] for n in range(at + 1, len(loop.body)))):
            place = next((s.index for s in inner if isinstance(s, Store) and s.buffer == result), None)
            unrolled = [c.axis for c in chain if c.kind == "unroll"]
            if place is None or not unrolled or unrolled[0] not in place[0].axes or not isinstance(k.extent, int):
                continue
            row, columns = unrolled[0], unrolled[1:]
            assert isinstance(row.extent, int), f"{row} is written out"
            found = [b for b in slices if b.shape == result.shape]
            found = found[:k.extent // (row.extent * PACE * volume(columns))]
            if not found:
                continue
            (parts, *rest), at_part, _, _ = split(loop.body[at:at + 1], k, k.extent // row.extent)
            at_row = {row: axis(at_part), **{c.axis: const(0) for c in chain if c.kind == "vector"}}
            next_row = place[0] + size(result.shape[0]) * step
            nests: Body = ()
            for b in found:
                nest: Body = (Prefetch(substitute(load(b, (next_row, *place[1:]), b.dtype), at_row)),)
                for c in reversed(columns):
                    nest = (For(c, nest, "unroll"),)
                nests += nest
            asked.update(dict.fromkeys(found))
            parts = replaced(parts, body=(*nests, *parts.body))  # type: ignore
            return (replaced(loop, body=(*loop.body[:at], parts, *rest, *loop.body[at + 1:])),)
        return (loop,)

    body = map_loops(loops.body, change)
    more = tuple(b for b in asked if b not in loops.params)
    return replaced(loops, params=(*loops.params[:-loops.outputs], *more, *loops.params[-loops.outputs:]), body=body)


def _size(a: Axis) -> Expr:
    return a.extent if isinstance(a.extent, Expr) else size(a.extent)
