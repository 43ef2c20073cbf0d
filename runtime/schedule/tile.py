"""What the templates share: register tiles, strides, and the parallel loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from graphc.ir.expr import Axis, Expr, bounds, linear, position, postorder
from graphc.ir.types import Dim, least_value
from graphc.runtime.loops import For, Statement, Store, Update, expressions, walk
from graphc.runtime.targets.machine import Machine
from graphc.runtime.transform import Body, chain_of, collapse, mark, reorder, sink, split, volume

__all__ = ["CHUNKS", "Reduction", "Tile", "best_tile", "choose_tile", "most_rows", "parallelise", "rows",
           "share", "single_reduction", "stride", "vectorise"]

GRAIN = 16384  # scalar operations worth handing to another thread
MANY = 64  # iterations of a loop that are enough for all threads
REST = 0.07  # how much longer a tile may take that leaves no rest, which needs code of its own
CHUNKS = 16  # parts of a reduction that run in parallel; fixed, so that results do not depend on threads


@dataclass(frozen=True)
class Reduction:
    """The parts of loops that are `for outputs { s = identity; for reduced { s op= value }; stores }`."""

    outputs: tuple[Axis, ...]
    reduced: tuple[Axis, ...]
    update: Update


def single_reduction(body: Body) -> Reduction | None:
    """The one reduction that loops consist of, at their innermost level; None if they are something else."""
    chain, inner = chain_of(body)
    if len(inner) < 3 or not isinstance(inner[1], For) or not all(isinstance(s, Store) for s in (inner[0], *inner[2:])):
        return None
    reduced, last = chain_of((inner[1],))
    if len(last) != 1 or not isinstance(last[0], Update):
        return None
    return Reduction(tuple(c.axis for c in chain), tuple(c.axis for c in reduced), last[0])


def stride(place: Expr, a: Axis) -> int | Dim | None:
    """How far a load or store moves in memory, in elements, when the axis advances by one; None if unevenly."""
    step: int | Dim = 0
    for atom, k in linear(position(place.args, place.attr.shape))[0].items():
        if atom.op == "axis" and atom.attr == a:
            step = k
        elif a in atom.axes:
            return None
    return step


def vectorise(body: Body, a: Axis, lanes: int, vectors: int = 1) -> Body:
    """Make the loop over `a` vectors of `lanes`, `vectors` of them side by side, sunk to the innermost place."""
    if vectors == 1:
        return _columns(body, a, lanes, "serial")
    body, _, inner, rest = split(body, a, lanes * vectors)
    for part in (inner, rest):
        if part is not None:
            body = _columns(body, part, lanes, "unroll")
    return body


def _columns(body: Body, a: Axis, lanes: int, kind: str) -> Body:
    """Vectors of `lanes` along `a`; the loop over whole vectors is of the kind, unrolled with registers for each."""
    if isinstance(a.extent, int) and a.extent <= lanes:
        return mark(sink(body, a), a, "vector") if a.extent > 1 else body
    body, outer, inner, rest = split(body, a, lanes)
    for part in (inner, rest):
        if part is not None and part.extent != 1:
            known = isinstance(part.extent, int)
            body = mark(sink(body, part), part, "vector") if known else _masked(body, part)
    if isinstance(outer.extent, int) and inner is not None and kind == "unroll" and outer.extent > 1:
        body = mark(sink(body, outer), outer, "unroll")
    return body


def _masked(body: Body, a: Axis) -> Body:
    """A vector loop of a computed extent below the lanes: where its body has no loops, masked lanes will do."""
    simple = all(isinstance(t, Store | Update) and t.buffer.space != "local"
                 for s in walk(body) if isinstance(s, For) and s.axis == a for t in s.body)
    return mark(body, a, "vector") if simple else body


def rows(body: Body, a: Axis, count: int) -> Body:
    """Unroll `count` iterations of `a`, of a known extent, into a tile of registers; the rest is a smaller tile."""
    body, _, inner, rest = split(body, a, count)
    for part in (inner, rest):
        if part is not None and part.extent != 1:
            body = mark(sink(body, part), part, "unroll")
    return body


def parallelise(body: Body) -> Body:
    """Share the outermost loops among threads, where they do enough.

    Where the outermost alone may have few iterations, as a batch of one row has, the next one joins it or goes first.
    """
    result: list[Statement] = []
    for s in body:
        while isinstance(s, For) and _joins(s):
            inner = s.body[0].axis  # type: ignore[union-attr]
            if isinstance(bounds(s.extent)[1], int) and isinstance(s.axis.extent, Expr):
                (s,) = reorder((s,), [inner, s.axis])  # a rest of less than a tile
            else:
                ((s,), _) = collapse((s,), s.axis, inner)
        if isinstance(s, For) and s.kind == "serial" and s.axis.extent != 1 and _independent(s):
            result.append(share(s))
        else:
            result.append(s)
    return tuple(result)


def share(loop: For) -> For:
    """A loop whose iterations threads share out, as long as each has enough to do."""
    return replace(loop, kind="parallel", grain=max(1, GRAIN // max(1, _work(loop.body))))


def _joins(loop: For) -> bool:
    """Whether a loop of few or unknown iterations can be one with the loop inside it."""
    inner = loop.body[0]
    if len(loop.body) > 1 or not isinstance(inner, For) or not isinstance(inner.axis.extent, int):
        return False
    extent = loop.axis.extent
    # a loop joined more often than it must be divides in its innermost iterations
    least = 1 if isinstance(extent, Expr) else least_value(extent) or 1
    return least < MANY and loop.kind == inner.kind == "serial" and _independent(loop) and _independent(inner)


def _independent(loop: For) -> bool:
    """Whether a loop's iterations share no register: it is no reduction."""
    inside = list(walk(loop.body))
    own = {s.buffer for s in inside if isinstance(s, Store)}
    return all(s.buffer in own for s in inside if isinstance(s, Update) and s.buffer.space == "local")


def _work(body: Body) -> int:
    """Scalar operations of one run of the statements."""
    total = 0
    for s in body:
        if isinstance(s, For):
            extent = s.axis.extent
            count = volume([s.axis]) if not isinstance(extent, Expr) else 4
            total += count * _work(s.body)
        else:
            total += 1 + sum(len(postorder([e])) for e in expressions(s)) // 2
    return total


def most_rows(vectors: int, machine: Machine) -> int:
    """The rows of a tile whose sums, with a row of columns, fill the vector registers.

    AVX-512 broadcasts the other operand from memory within the multiply-add; elsewhere it takes one register.
    """
    return (machine.registers - vectors - (machine.vector_bits < 512)) // vectors


@dataclass(frozen=True)
class Tile:
    """A tile of registers: rows along some axes, and vectors side by side."""

    rows: tuple[tuple[Axis, int], ...]
    vectors: int


def choose_tile(free: Sequence[Axis], columns: Axis, machine: Machine) -> Tile:
    """Rows along the axes that share columns, innermost first, and vectors along the columns."""
    width = columns.extent
    assert isinstance(width, int)
    taken: list[tuple[Axis, int]] = []
    count, vectors = 1, min(4 if free else 8, -(-width // machine.lanes))  # 8 sums keep the adder busy
    for a in reversed(free):
        extent = a.extent if isinstance(a.extent, int) else 64
        r = min(extent, most_rows(vectors, machine) // count)
        if count == 1:
            r, vectors = best_tile(extent, width, machine)
        elif r < extent:  # a second axis joins the tile only whole
            break
        taken.append((a, r))
        count *= r
        if r < extent or 2 * count >= most_rows(vectors, machine):
            break
    return Tile(tuple(taken), vectors)


def best_tile(row_extent: int, column_extent: int, machine: Machine) -> tuple[int, int]:
    """Rows and vectors of the register tile that take the least time over an output of the given extents.

    A tile of r rows and v vectors issues r*v multiply-adds, v vector loads and r broadcasts for each step of the
    reduction; below some number of independent sums it waits for the adder. Vectors of less than 512 bits are added
    two at a time.
    """
    enough = 8.0 if machine.vector_bits == 512 else 10.0
    vectors = -(-column_extent // machine.lanes)

    def cost(r: int, v: int) -> float:
        return max(r * v, enough) + 0.25 * r + 0.5 * v if r and v else 0.0

    def total(r: int, v: int) -> float:
        (m, row_rest), (n, column_rest) = divmod(row_extent, r), divmod(vectors, v)
        time = n * (m * cost(r, v) + cost(row_rest, v)) + m * cost(r, column_rest) + cost(row_rest, column_rest)
        return time * (1 + REST * (row_rest > 0)) * (1 + REST * (column_rest > 0))

    choices = [(r, v) for v in range(1, min(4, vectors) + 1)
               for r in range(1, min(row_extent, most_rows(v, machine)) + 1)]
    return min(choices, key=lambda c: (total(*c), -c[0] * c[1]))
