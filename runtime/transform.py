"""Transformations of loops: pure functions, each with its picture. Schedules are compositions of them."""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import replace as replaced
from functools import cmp_to_key, partial

from graphc.ir.expr import (
    REDUCTIONS,
    Axis,
    Expr,
    axis,
    bounds,
    const,
    from_linear,
    linear,
    load,
    postorder,
    replace,
    scalar,
    select,
    size,
    substitute,
)
from graphc.ir.types import Dim, at_least_zero
from graphc.passes.structure import NOMINAL, elements
from graphc.runtime.loops import (
    Barrier,
    Buffer,
    For,
    Loops,
    Statement,
    Store,
    Update,
    expressions,
    map_expressions,
    map_loops,
    number,
    substitute_axes,
    walk,
)

__all__ = ["COSTLY", "Body", "accumulate_lanes", "chain_of", "collapse", "conditions", "distribute", "find",
           "guarded", "hoist", "keep", "mark", "outermost", "peel", "reorder", "replicate", "residues", "sink",
           "spill", "split", "split_reduction", "stage", "stageable", "tighten", "transpose", "volume"]

Body = tuple[Statement, ...]

KEPT = 8192  # elements of a row that may lie on the stack of a thread


def find(body: Iterable[Statement], a: Axis) -> For:
    """The first loop over an axis."""
    return next(s for s in walk(body) if isinstance(s, For) and s.axis == a)


def mark(body: Body, a: Axis, kind: str, grain: int = 1) -> Body:
    """Make every loop over the axis vector, unroll or parallel.

    for j in 16 { y[j] = x[j] }    ->    for j in 16 vector { y[j] = x[j] }
    """
    return map_loops(body, lambda s: (replaced(s, kind=kind, grain=grain),) if s.axis == a else None)


def split(body: Body, a: Axis, factor: int) -> tuple[Body, Axis, Axis | None, Axis | None]:
    """Cut a loop into blocks of `factor` iterations and a rest; gives the outer, inner and rest axes, if there.

    for j in 35 { S(j) }    ->    for jo in 2 { for ji in 16 { S(16*jo + ji) } }
                                  for jr in 3 { S(32 + jr) }
    """
    extent = find(body, a).extent
    blocks = scalar("floordiv", extent, const(factor))
    remaining = scalar("mod", extent, const(factor))
    outer, inner = Axis(f"{a}o", number(blocks)), Axis(f"{a}i", factor)
    rest = None if remaining.op == "const" and remaining.attr == 0 else Axis(f"{a}r", number(remaining))

    def change(s: For) -> Body | None:
        if s.axis != a:
            return None
        result: Body = ()
        if not (blocks.op == "const" and blocks.attr == 0):
            whole = substitute_axes(s.body, {a: axis(outer) * factor + axis(inner)})
            result = (For(outer, (For(inner, whole),)) if outer.extent != 1 else For(inner, whole),)
        if rest is not None:
            part = substitute_axes(s.body, {a: blocks * factor + axis(rest)})
            result += (For(rest, part),) if rest.extent != 1 else part
        return result

    return map_loops(body, change), outer, None if blocks.op == "const" and blocks.attr == 0 else inner, rest


def replicate(body: Body, a: Axis) -> Body:
    """Write a loop's iterations out, its axis a number in each: they may differ where conditions are decided by it.

    for u in 2 { S(u) }    ->    S(0); S(1)
    """
    def change(s: For) -> Body | None:
        if s.axis != a:
            return None
        assert isinstance(a.extent, int), f"the iterations of {a} can't be written out: their number is unknown"
        return tuple(t for k in range(a.extent) for t in substitute_axes(s.body, {a: const(k)}))

    return map_loops(body, change)


def residues(body: Body, a: Axis, step: int) -> list[Body]:
    """One nest for each residue of an axis modulo `step`: what reads a quotient or a remainder becomes affine.

    for p in 5 { y[p] = x[p // 2] * w[p % 2] }    ->    for q in 3 { y[2*q] = x[q] * w[0] }
                                                        for q in 2 { y[2*q + 1] = x[q] * w[1] }
    """
    chain, inner = chain_of(body)
    assert isinstance(a.extent, int), f"the residues of {a} need a known extent"
    result: list[Body] = []
    for k in range(min(step, a.extent)):
        part = Axis(f"{a}q", -(-(a.extent - k) // step))
        nest = inner
        for c in reversed(chain):
            nest = (replaced(c, body=nest),) if c.axis != a else (For(part, nest),)
        result.append(substitute_axes(nest, {a: axis(part) * step + const(k)}))
    return result


def prune(body: Body) -> Body:
    """Leave out registers that nothing reads, and loops without statements."""
    read = {e.attr for s in walk(body) for e in postorder(expressions(s)) if e.op == "load"}

    def kept(statements: Body) -> Body:
        result: Body = ()
        for s in statements:
            if isinstance(s, For):
                inner = kept(s.body)
                result += (replaced(s, body=inner),) if inner else ()
            elif not isinstance(s, Store | Update) or s.buffer.space != "local" or s.buffer in read:
                result += (s,)
        return result

    return kept(body)


def conditions(value: Expr, otherwise: float = 0) -> tuple[list[Expr], Expr]:
    """The conditions without which a value is `otherwise`, and the value where they hold."""
    found: list[Expr] = []
    while value.op == "select" and value.args[2].op == "const" and value.args[2].attr == otherwise:
        stack = [value.args[0]]
        while stack:
            c = stack.pop()
            if c.op == "and":
                stack.extend(reversed(c.args))
            else:
                found.append(c)
        value = value.args[1]
    return found, value


def guarded(found: Iterable[Expr], value: Expr, otherwise: float = 0) -> Expr:
    """The value where all conditions hold, and `otherwise` elsewhere."""
    condition: Expr | None = None
    for c in found:
        condition = c if condition is None else condition & c
    return value if condition is None else select(condition, value, const(otherwise, value.dtype))


def tighten(body: Body, a: Axis, free: Iterable[Axis] = ()) -> Body:
    """Start and end a reduction where the conditions on its values allow, instead of adding zeros.

    Conditions on the `free` axes stay.

    for k in 3 { s[] sum= select(0 <= i - k, x[i - k], 0) }    ->    for k in min(3, i + 1) { s[] sum= x[i - k] }
    """
    def change(s: For) -> Body | None:
        if s.axis != a:
            return None
        chain, inner = chain_of((s,))
        update = inner[0] if len(inner) == 1 else None
        if not isinstance(update, Update):
            return None
        unknown = {*free, *(c.axis for c in chain[1:])}
        first, end, kept = const(0), s.extent, []
        identity = REDUCTIONS[update.op][1](update.value.dtype)
        found, value = conditions(update.value, identity)
        for c in found:
            limit = _limit(c, a)
            if limit is None or c.axes & unknown:
                kept.append(c)
            elif limit[0]:
                first = scalar("max", first, limit[1])
            else:
                end = scalar("min", end, limit[1])
        if len(kept) == len(found):
            return None
        tight = Axis(f"{a}t", number(end - first))
        new: Body = (replaced(update, value=guarded(kept, value, identity)),)
        for outer in reversed(chain[1:]):
            new = (replaced(outer, body=new),)
        new = substitute_axes(new, {a: axis(tight) + first})
        if isinstance(tight.extent, int) and tight.extent <= 1:
            return new if tight.extent == 1 else ()
        return (replaced(s, axis=tight, body=new),)

    return map_loops(body, change)


def _limit(condition: Expr, a: Axis) -> tuple[bool, Expr] | None:
    """What a comparison says of an axis: (True, the first value it may have) or (False, the end of its values)."""
    if condition.op not in ("lt", "le") or condition.args[0].dtype.name != "i64":
        return None
    low, high = condition.args
    slack, constant = linear(high - low - (1 if condition.op == "lt" else 0))  # at least 0 where it holds
    k = slack.pop(axis(a), 0)
    rest = from_linear((slack, constant))
    if not isinstance(k, int) or k == 0 or a in rest.axes:
        return None
    return (True, -scalar("floordiv", rest, const(k))) if k > 0 else (False, scalar("floordiv", rest, const(-k)) + 1)


def reorder(body: Body, order: Sequence[Axis]) -> Body:
    """Nest perfectly nested loops in another order.

    for i { for j { S } }    ->    for j { for i { S } }
    """
    def change(s: For) -> Body | None:
        if s.axis not in order:
            return None
        chain, inner = [s], s
        while len(inner.body) == 1 and isinstance(inner.body[0], For) and inner.body[0].axis in order:
            inner = inner.body[0]
            chain.append(inner)
        if {c.axis for c in chain} != set(order):
            return None
        by_axis, result = {c.axis: c for c in chain}, inner.body
        for a in reversed(order):
            result = (replaced(by_axis[a], body=result),)
        return result

    return map_loops(body, change)


def outermost(body: Body, a: Axis, width: int) -> list[tuple[Body, Axis]]:
    """Blocks of a perfectly nested axis around all other loops of the nest, and a nest for the rest.

    Each comes with the axis that runs within a block.

    for i { for j in 35 { S(i, j) } }    ->    for jo in 2 { for i { for ji in 16 { S(i, 16*jo + ji) } } }
                                               for i { for jr in 3 { S(i, 32 + jr) } }
    """
    chain, inner = chain_of(body)
    assert isinstance(a.extent, int), f"the blocks of {a} need a known extent"
    blocks, rest = divmod(a.extent, width)

    def nest(part: Axis, value: Expr) -> Body:
        result = inner
        for c in reversed(chain):
            result = (replaced(c, body=result),) if c.axis != a else (For(part, result),)
        return substitute_axes(result, {a: value})

    outer, block, last = Axis(f"{a}p", blocks), Axis(f"{a}w", width), Axis(f"{a}r", rest)
    found: list[tuple[Body, Axis]] = []
    if blocks:
        found.append(((For(outer, nest(block, axis(outer) * width + axis(block))),), block))
    if rest:
        found.append((nest(last, axis(last) + blocks * width), last))
    return found


def distribute(body: Body) -> list[Body]:
    """One nest for each statement in the innermost of perfectly nested loops.

    for i { for j { S(i, j) }; T(i) }    ->    for i { for j { S(i, j) } }
                                               for i { T(i) }
    """
    chain, inner = chain_of(body)
    nests: list[Body] = []
    for s in inner:
        nest: Body = (s,)
        for c in reversed(chain):
            nest = (replaced(c, body=nest),)
        nests.append(nest)
    return nests


def transpose(body: Body, a: Axis, b: Axis, lanes: int, reads: Sequence[Expr]) -> Body:
    """Read blocks of a nest as vectors along a, where operands lie contiguous, and write them as vectors along b.

    The last block begins where a whole one still fits: some elements are computed twice.

    for i { for j { y[i, j] = x[j, i] } }    ->    for io { for jo {
                                                     for j in 16 unroll { for i in 16 vector { t[i, j] = x[.., ..] } }
                                                     for i in 16 unroll { for j in 16 vector { y[.., ..] = t[i, j] } }
                                                   } }
    """
    chain, inner = chain_of(body)
    (store,) = inner
    assert isinstance(store, Store)
    blocks, begin, within = {}, {}, {}
    for x in (a, b):
        assert isinstance(x.extent, int) and x.extent >= lanes, f"no block of {lanes} fits into {x}"
        blocks[x], within[x] = Axis(f"{x}o", -(-x.extent // lanes)), Axis(f"{x}i", lanes)
        begin[x] = scalar("min", axis(blocks[x]) * lanes, const(x.extent - lanes)) + axis(within[x])
    held = {e: Buffer(f"{e.attr}{k}t", e.dtype, (lanes, lanes), "local") for k, e in enumerate(reads)}
    place = (axis(within[a]), axis(within[b]))
    read = tuple(Store(register, place, e) for e, register in held.items())
    write = replaced(store, value=replace(store.value, {e: load(r, place, e.dtype) for e, r in held.items()}))
    nest: Body = (For(within[b], (For(within[a], read, "vector"),), "unroll"),
                  For(within[a], (For(within[b], (write,), "vector"),), "unroll"))
    for c in reversed(chain):
        nest = (replaced(c, axis=blocks[c.axis], body=nest),) if c.axis in blocks else (replaced(c, body=nest),)
    return substitute_axes(nest, begin)


def collapse(body: Body, a: Axis, b: Axis) -> tuple[Body, Axis]:
    """Make one loop of two perfectly nested ones.

    for i in 8 { for j in 10 { y[i, j] = x[i, j] } }    ->    for ij in 80 { y[ij//10, ij%10] = x[ij//10, ij%10] }
    """
    joined = Axis(f"{a}{b}", a.extent * b.extent)  # type: ignore[operator]

    def change(s: For) -> Body | None:
        if s.axis != a or len(s.body) != 1 or not isinstance(s.body[0], For) or s.body[0].axis != b:
            return None
        at = axis(joined)
        values = {a: scalar("floordiv", at, size(b.extent)), b: scalar("mod", at, size(b.extent))}  # type: ignore
        return (For(joined, substitute_axes(s.body[0].body, values), s.kind, s.grain),)

    return map_loops(body, change), joined


def sink(body: Body, a: Axis) -> Body:
    """Move a loop inward past the serial loops in it; registers become arrays along its axis.

    for i in 4 {                         for i in 4 { s[i] = 0 }
      s[] = 0                            for k in K {
      for k in K { s[] sum= x[i,k] }  ->   for i in 4 { s[i] sum= x[i,k] }
      y[i] = s[]                         }
    }                                    for i in 4 { y[i] = s[i] }
    """
    def change(s: For) -> Body | None:
        return _distribute(s) if s.axis == a else None

    return map_loops(body, change)


def _distribute(loop: For) -> Body:
    a, extent = loop.axis, loop.axis.extent
    assert isinstance(extent, int), f"the registers along {a} need a known extent"
    made = {t.buffer for t in walk(loop.body) if isinstance(t, Store) and t.buffer.space == "local"
            and not any(a in i.axes for i in t.index)}
    arrays = {b: Buffer(b.name, b.dtype, (*b.shape, extent), "local") for b in made}

    def widen(e: Expr) -> Expr:
        found = {n: load(arrays[n.attr], (*n.args, axis(a)), n.dtype) for n in postorder([e])
                 if n.op == "load" and n.attr in arrays}
        return replace(e, found) if found else e

    def registers(s: Statement) -> Statement:
        if isinstance(s, For):
            return replaced(s, body=tuple(map(registers, s.body)))
        if not isinstance(s, Store | Update):
            return s
        index = (*s.index, axis(a)) if s.buffer in arrays else s.index
        return replaced(s, buffer=arrays.get(s.buffer, s.buffer), index=index)

    def inward(statements: Iterable[Statement]) -> Body:
        result: list[Statement] = []
        for serial, group in itertools.groupby(statements, lambda s: isinstance(s, For) and s.kind == "serial"):
            if serial:
                result.extend(replaced(s, body=inward(s.body)) for s in group)  # type: ignore[union-attr,arg-type]
            else:
                result.append(replaced(loop, body=tuple(group)))
        return tuple(result)

    return inward(map(registers, map_expressions(loop.body, widen)))


def accumulate_lanes(body: Body, a: Axis, lanes: int, vectors: int = 1) -> Body:
    """Vectorise a reduction's innermost loop: one partial result per lane of each vector, combined at the end.

    Several vectors do not wait for one another's additions. A row of one vector needs no partial results.

    s[] = 0                               for u in 4 unroll { for l in 16 vector { v[l, u] = 0 } }
    for k in 136 { s[] sum= x[k] }    ->  for ko in 2 { for u in 4 unroll { for l in 16 vector {
                                            v[l, u] sum= x[64*ko + 16*u + l] } } }
                                          for l in 8 vector { v[l, 0] sum= x[128 + l] }
                                          for u in 3 unroll { for l in 16 vector { v[l, 0] sum= v[l, u + 1] } }
                                          s[] = 0
                                          for l in 16 vector { s[] sum= v[l, 0] }
    """
    lane, side = Axis(f"{a}l", lanes), Axis(f"{a}u", vectors)
    short = isinstance(a.extent, int) and a.extent <= lanes

    def among(u: Axis, inner: For) -> For:
        return For(u, (inner,), "unroll") if u.extent != 1 else inner

    def one(wide: Buffer, loop: For) -> Body | None:
        """The blocks and the rest of the loop over `a`, adding into lanes; a rest of one adds into the register."""
        if loop.axis != a:
            return None
        (update,) = loop.body
        assert isinstance(update, Update)

        def add(here: Axis, first: Expr, u: Axis | None = None) -> For:
            at = first + axis(here) + (axis(u) * lanes if u is not None else 0)
            where = (axis(here), axis(u) if u is not None else const(0))[:len(wide.shape)]
            value = substitute(update.value, {a: at})
            return For(here, (replaced(update, buffer=wide, index=where, value=value),), "vector")

        result: Body = ()
        done, remaining = const(0), loop.extent
        for count in dict.fromkeys((vectors, 1)):
            blocks = scalar("floordiv", remaining, const(lanes * count))
            if blocks.op == "const" and blocks.attr == 0:
                continue
            outer = Axis(f"{a}{'o' if count == vectors else 'r'}", number(blocks))
            single = outer.extent == 1
            first = done + (const(0) if single else axis(outer) * (lanes * count))
            block = among(side, add(lane, first, side)) if count > 1 else add(lane, first)
            result += (block,) if single else (For(outer, (block,)),)
            done = done + blocks * (lanes * count)
            remaining = scalar("mod", remaining, const(lanes * count))
        if remaining.op == "const" and remaining.attr == 1:
            result += (replaced(update, value=substitute(update.value, {a: done})),)
        elif not (remaining.op == "const" and remaining.attr == 0):
            result += (add(Axis(lane.name, number(remaining)), done),)
        return result

    def group(statements: Body) -> Body:
        """Treat [register = identity, loops that update it] within one list of statements."""
        result: list[Statement] = []
        for s in statements:
            update = _single_update(s, a) if isinstance(s, For) else None
            if update is None:
                result.append(replaced(s, body=group(s.body)) if isinstance(s, For) else s)
                continue
            if short:
                result.extend(mark((s,), a, "vector"))
                continue
            shape, where = ((lanes, vectors), (axis(lane), axis(side))) if vectors > 1 else ((lanes,), (axis(lane),))
            wide = Buffer(update.buffer.name + "v", update.buffer.dtype, shape, "local")
            identity = const(REDUCTIONS[update.op][1](update.buffer.dtype), update.buffer.dtype)
            result.append(among(side, For(lane, (Store(wide, where, identity),), "vector")))
            result.extend(map_loops((s,), partial(one, wide)))
            first = (axis(lane), const(0))[:len(shape)]
            if vectors > 1:
                other = Axis(side.name, vectors - 1)
                more = load(wide, (axis(lane), axis(other) + 1), wide.dtype)
                result.append(among(other, For(lane, (Update(wide, first, update.op, more),), "vector")))
            total = load(wide, first, wide.dtype)
            result.append(For(lane, (Update(update.buffer, update.index, update.op, total),), "vector"))
        return tuple(result)

    return group(body)


def _single_update(loop: For, a: Axis) -> Update | None:
    """The update that a nest of loops ending in the axis consists of, if it is nothing else."""
    s: Statement = loop
    while isinstance(s, For) and len(s.body) == 1:
        if s.axis == a:
            only = s.body[0]
            return only if isinstance(only, Update) and only.buffer.space == "local" and not only.index else None
        s = s.body[0]
    return None


def split_reduction(loops: Loops, a: Axis, chunks: int, blocked: Sequence[Axis] = (),
                    outer: Axis | None = None) -> tuple[Loops, Axis]:
    """Cut the reduction over `a` into a fixed number of chunks, so that they can run in parallel.

    The number of threads does not change the result. Where inner reduction axes are `blocked`, they are summed in
    registers for each iteration of `a` and added to the partial results in scratch, so that operands stay in cache:
    what lies along the loop that is to be the `outer` one stays there until all others have read it.

    for j {                                for c in 16 { for j {
      s[] = 0                                s[] = 0; for n in N*(c+1)//16 - N*c//16 { s[] sum= x[.., j] }
      for n in N { s[] sum= x[n, j] }        p[c, j] = s[] } }
      y[j] = s[]                      ->   barrier
    }                                      for j { s[] = 0; for c in 16 { s[] sum= p[c, j] }; y[j] = s[] }
    """
    chain, inner = chain_of(loops.body)
    init, reduction, rest = inner[0], inner[1], inner[2:]
    assert isinstance(init, Store) and isinstance(reduction, For), "one reduction at the innermost level"
    axes, (update,) = chain_of((reduction,))
    assert isinstance(update, Update)
    chunk = Axis("c", chunks)
    extent = find((reduction,), a).extent
    first = scalar("floordiv", axis(chunk) * extent, const(chunks))
    last = scalar("floordiv", axis(chunk) * extent + extent, const(chunks))
    part_axis = Axis(f"{a}c", number(last - first))
    shape = tuple(c.axis.extent for c in chain)
    parts = Buffer(f"part{len(loops.scratch)}", update.buffer.dtype, (chunks, *shape), "scratch")  # type: ignore
    where = (axis(chunk), *(axis(c.axis) for c in chain))

    def around(outer: Iterable[For], body: Body) -> Body:
        for c in reversed(list(outer)):
            body = (For(c.axis, body),)
        return body

    value = substitute(update.value, {a: first + axis(part_axis)})
    inner_axes = [c for c in axes if c.axis != a]
    adding: Body = (Update(update.buffer, (), update.op, value),)
    formed = load(update.buffer, (), update.buffer.dtype)
    if blocked:
        registers = [c for c in inner_axes if c.axis in blocked]
        outside = [c for c in inner_axes if c.axis not in blocked]
        order = sorted(chain, key=lambda c: c.axis != outer)
        once = (init, *around(registers, adding), Update(parts, where, update.op, formed))
        clear = [For(Axis(f"{c.axis}z", c.axis.extent), ()) for c in chain]
        cleared = Store(parts, (axis(chunk), *(axis(c.axis) for c in clear)), init.value)
        nests = (*around(clear, (cleared,)), For(part_axis, around((*outside, *order), once)))
    else:
        once = (init, For(part_axis, around(inner_axes, adding)), Store(parts, where, formed))
        nests = around(chain, once)
    first_phase = For(chunk, nests)
    total = (init, For(chunk, (Update(update.buffer, (), update.op, load(parts, where, parts.dtype)),)), *rest)
    body = (first_phase, Barrier(), *around(chain, total))
    return replaced(loops, body=body, scratch=(*loops.scratch, parts)), chunk


def chain_of(body: Body) -> tuple[list[For], Body]:
    """The perfectly nested loops at the top, and what is in the innermost."""
    chain: list[For] = []
    while len(body) == 1 and isinstance(body[0], For):
        chain.append(body[0])
        body = body[0].body
    return chain, body


def stage(loops: Loops, part: Expr, last: Axis | None = None, width: int = 0) -> tuple[Loops, Body]:
    """Compute a subexpression once for every index it is read at, into scratch, and read it from there.

    The buffer's axes are the different affine forms through which loop axes enter the expression, so that
    padding is done once and the loops that follow read without a condition; `last` names the axis whose form
    is to lie contiguous. With a `width` it lies in panels so wide, one panel after the other. Gives the loops that
    read, and the nest that must run before them.

    y[i] = sum(k: select(0 <= i-k < 4, x[i-k], 0) * w[k])    ->    s[p] = select(0 <= p-2 < 4, x[p-2], 0); barrier
                                                                   y[i] = sum(k: s[i-k+2] * w[k])
    """
    forms: dict[frozenset, Expr] = {}
    found: dict[Expr, frozenset] = {}
    for e in _coordinates(part):
        terms, constant = _form(e)
        key = frozenset(terms.items())
        found[e] = key
        forms.setdefault(key, e - size(constant))
    keys = sorted(forms, key=lambda k: any(atom.op == "axis" and atom.attr == last for atom, _ in k))
    axes: dict[frozenset, Axis] = {}
    lows: dict[frozenset, int | Dim] = {}
    for i, key in enumerate(keys):
        low, high = bounds(forms[key])
        assert low is not None and high is not None, f"{forms[key]} has no bounds"
        axes[key], lows[key] = Axis(f"s{len(loops.scratch)}_{i}", high - low + 1), low
    moved = {e: axis(axes[key]) + (e - forms[key]) + size(lows[key]) for e, key in found.items()}
    shape = [axes[k].extent for k in keys]

    def place(*index: Expr) -> tuple[Expr, ...]:
        return (index[-1] // width, *index[:-1], index[-1] % width) if width else index

    panels = (-(-shape[-1] // width), *shape[:-1], width) if width else tuple(shape)  # type: ignore[operator]
    buffer = Buffer(f"copy{len(loops.scratch)}", part.dtype, panels, "scratch")  # type: ignore[arg-type]
    nest: Body = (Store(buffer, place(*(axis(axes[k]) for k in keys)), replace(part, moved)),)
    for key in reversed(keys):
        nest = (For(axes[key], nest),) if axes[key].extent != 1 else nest
    if width:
        nest = tuple(s for panel, _ in outermost(nest, axes[keys[-1]], width) for s in panel)
    staged = load(buffer, place(*(forms[k] - size(lows[k]) for k in keys)), part.dtype)
    body = map_expressions(loops.body, lambda e: replace(e, {part: staged}))
    return replaced(loops, body=body, scratch=(*loops.scratch, buffer)), nest


def _coordinates(part: Expr) -> list[Expr]:
    """The integers through which loop axes enter an expression: affine ones, and whole indices that nothing else needs.

    They come in the order of the axes of what is read, so that a copy lies as its source does.
    """
    found, _ = conditions(part)
    bound = frozenset().union(*(c.axes for c in found))
    reads = [i for e in postorder([part]) if e.op == "load" for i in e.args]
    whole = [i for i in reads if i.axes and not i.axes & bound and not _is_affine(i)]
    return list(dict.fromkeys([e for i in (*reads, part) for e in _affine(i, whole)]))


def _is_affine(e: Expr) -> bool:
    return all(atom.op == "axis" for atom in linear(e)[0])


def _form(coordinate: Expr) -> tuple[dict[Expr, int | Dim], int | Dim]:
    return linear(coordinate) if _is_affine(coordinate) else ({coordinate: 1}, 0)


def _affine(root: Expr, whole: Sequence[Expr] = ()) -> list[Expr]:
    """The largest integer subexpressions that are affine in axes, or among those taken whole."""
    result: dict[Expr, None] = {}
    stack, seen = [root], set()
    while stack:
        e = stack.pop()
        if e in seen:
            continue
        seen.add(e)
        if e.dtype.name == "i64" and e.axes and (e in whole or _is_affine(e)):
            result.setdefault(e)
        else:
            stack.extend(reversed(e.args))
    return list(result)


def stageable(part: Expr) -> bool:
    """Whether `stage` keeps the amount of work: no axis may enter through two different forms."""
    used: list[Axis] = []
    for key in {frozenset(_form(e)[0].items()) for e in _coordinates(part)}:
        used.extend(a for atom, _ in key for a in atom.axes)
    return len(used) == len(set(used))


def spill(body: Body, most: int) -> Body:
    """Put registers into memory before unrolled loops that would take more than `most` operations, and let them loop.

    for i in 14 unroll {              for i in 14 unroll { s[i] = a[i] }
      y[i] = (a long expression of a[i])    ->    for i in 14 { y[i] = (the same of s[i]) }
    }
    """
    names = itertools.count()

    def change(outer: For) -> Body | None:
        chain, inner = chain_of((outer,))
        unrolled = [c.axis for c in chain if c.kind == "unroll"]
        if outer.kind != "unroll" or any(isinstance(s, For | Update) for s in inner):
            return None
        work = sum(e.dtype.name != "i64" and e.op not in ("const", "load")
                   for s in inner for e in postorder([s.value]))  # type: ignore[union-attr]
        if volume(unrolled) * work <= most or all(s.buffer.space == "local" for s in inner):  # type: ignore[union-attr]
            return None
        vector = {c.axis for c in chain if c.kind == "vector"}
        own: dict[Buffer, Buffer] = {}  # what is made and used within an iteration needs no place for each

        def within(index: Sequence[Expr]) -> tuple[Expr, ...]:
            return tuple(i for i in index if i.axes & vector)

        for s in inner:
            if s.buffer.space == "local":  # type: ignore[union-attr]
                lanes = within(s.index)  # type: ignore[union-attr]
                shape = tuple(n for i, n in zip(s.index, s.buffer.shape, strict=True) if i in lanes)  # type: ignore
                own[s.buffer] = replaced(s.buffer, shape=shape)  # type: ignore[union-attr]
        place = tuple(axis(c.axis) for c in chain)
        shape = tuple(c.axis.extent for c in chain)
        saved: dict[Expr, Expr] = {}
        for e in postorder([e for s in inner for e in expressions(s)]):
            if e.op == "load" and e.attr in own:
                saved[e] = load(own[e.attr], within(e.args), e.dtype)
            elif e.op == "load" and e.attr.space == "local" and e.axes & set(unrolled):
                held = Buffer(f"{e.attr}s{next(names)}", e.dtype, shape, "stack")  # type: ignore[arg-type]
                saved[e] = load(held, place, e.dtype)
        first: Body = tuple(Store(new.attr, place, e) for e, new in saved.items() if new.attr.space == "stack")
        then = tuple(replaced(s, buffer=own.get(s.buffer, s.buffer), value=replace(s.value, saved),  # type: ignore
                              index=within(s.index) if s.buffer in own else s.index) for s in inner)  # type: ignore
        for c in reversed(chain):
            first = (replaced(c, body=first),)
            then = (replaced(c, body=then, kind="serial" if c.kind == "unroll" else c.kind),)
        return (*first, *then)

    def outermost_first(statements: Body) -> Body:
        result: Body = ()
        for s in statements:
            changed = change(s) if isinstance(s, For) else None
            if changed is None and isinstance(s, For):
                changed = (replaced(s, body=outermost_first(s.body)),)
            result += (s,) if changed is None else changed
        return result

    return outermost_first(body)


def peel(body: Body, a: Axis, most: int) -> tuple[Body, list[Axis]]:
    """Cut a loop where a condition on its axis changes, into at most `most` pieces; gives their axes.

    A piece of one iteration has no loop.

    for j in 20 { y[j] = select(2 <= j, x[max(j - 2, 0)], 0) }    ->    for j0 in 2 { y[j] = 0 }
                                                                        for j1 in 18 { y[j1 + 2] = x[j1] }
    """
    extent = a.extent
    if isinstance(extent, Expr):
        return body, [a]

    def order(p: int | Dim, q: int | Dim) -> int:
        return 0 if p == q else 1 if at_least_zero(p - q) else -1

    points: list[int | Dim] = []
    for s in walk(body):
        if isinstance(s, For) and s.axis == a:
            for e in dict.fromkeys(e for t in walk(s.body) for e in postorder(expressions(t))):
                points.extend(p for p in _turns(e, a) if at_least_zero(p - 1) and at_least_zero(extent - p - 1))
    points = sorted(set(points), key=cmp_to_key(order))
    ordered = all(at_least_zero(q - p) for p, q in itertools.pairwise(points))
    if not points or len(points) >= most or not ordered:
        return body, [a]
    spans = [*zip([0, *points], [*points, extent], strict=True)]
    pieces = [Axis(f"{a}p{k}", last - first) for k, (first, last) in enumerate(spans)]

    def change(s: For) -> Body | None:
        if s.axis != a:
            return None
        result: Body = ()
        for piece, (first, _) in zip(pieces, spans, strict=True):
            if piece.extent == 1:
                result += substitute_axes(s.body, {a: size(first)})
            else:
                result += (replaced(s, axis=piece, body=substitute_axes(s.body, {a: axis(piece) + size(first)})),)
        return result

    return map_loops(body, change), pieces


def _turns(condition: Expr, a: Axis) -> Iterator[int | Dim]:
    """From which values of an axis on a comparison is the same whatever the other axes are."""
    limit = _limit(condition, a)
    if limit is not None:
        yield from (p for p in dict.fromkeys(bounds(limit[1])) if p is not None)


def keep(body: Body, axes: Container[Axis], lanes: int) -> tuple[Body, list[Axis]]:
    """Store the costly values that reductions over `axes` add up, where they are asked for again; gives the new axes.

    for k in 40 { s[] sum= exp(x[k]) }                    for k in 40 { t[k] = exp(x[k]) }
    for i in 40 { y[i] = exp(x[i]) / s[] }    ->    for k in 40 { s[] sum= t[k] }
                                                    for i in 40 { y[i] = t[i] / s[] }

    Not for rows of two vectors or less, whose values stay in registers anyway.
    """
    filled: list[Axis] = []

    def again(part: Expr, a: Axis, after: Iterable[Statement]) -> list[tuple[Expr, Expr]]:
        """What equals a value over `a` in later loops of the same extent, and its index."""
        loops = [s for s in after if isinstance(s, For) and s.axis.extent == a.extent]
        same = [(substitute(part, {a: axis(s.axis)}), axis(s.axis), s) for s in loops]
        return [(e, i) for e, i, s in same if any(e in postorder(expressions(t)) for t in walk(s.body))]

    def visit(statements: Body) -> Body:
        result: list[Statement] = []
        pending = list(statements)
        while pending:
            s = pending.pop(0)
            if not isinstance(s, For):
                result.append(s)
                continue
            update, extent = s.body[0] if len(s.body) == 1 else None, s.axis.extent
            if not isinstance(update, Update) or s.axis not in axes or not (
                    isinstance(extent, int) and 2 * lanes < extent <= KEPT):
                result.append(replaced(s, body=visit(s.body)))
                continue
            costly = [e for e in postorder([update.value]) if e.op in COSTLY and e.op != "load" and s.axis in e.axes]
            for part in reversed(costly):
                found = again(part, s.axis, pending)
                if found:
                    row = Buffer(f"t{len(filled)}", part.dtype, (extent,), "stack")
                    filled.append(Axis(f"{s.axis}k", extent))
                    at = axis(filled[-1])
                    result.append(For(filled[-1], (Store(row, (at,), substitute(part, {s.axis: at})),)))
                    kept = {e: load(row, (i,), part.dtype) for e, i in [(part, axis(s.axis)), *found]}
                    s, *pending = map_expressions((s, *pending), partial(replace, values=kept))
                    break
            result.append(s)
        return tuple(result)

    return visit(body), filled


def hoist(body: Body) -> Body:
    """Compute what a loop does not change before it, in a register.

    for i in 8 { y[i] = x[i] * sqrt(a[]) }    ->    h0[] = sqrt(a[]); for i in 8 { y[i] = x[i] * h0[] }
    """
    names = itertools.count()

    def visit(statements: Body, axes: frozenset[Axis]) -> Body:
        result: list[Statement] = []
        for s in statements:
            if not isinstance(s, For):
                result.append(s)
                continue
            if s.kind not in ("vector", "unroll"):
                written = {t.buffer for t in walk(s.body) if isinstance(t, Store | Update)}
                fixed = _invariant(s, axes, written)
                stored: dict[Expr, Expr] = {}
                for e in fixed:
                    register = Buffer(f"h{next(names)}", e.dtype, (), "local")
                    result.append(Store(register, (), replace(e, stored)))
                    stored[e] = load(register, (), e.dtype)
                if stored:
                    s = replaced(s, body=map_expressions(s.body, partial(replace, values=stored)))
                s = replaced(s, body=visit(s.body, axes | {s.axis}))
            result.append(s)
        return tuple(result)

    return visit(body, frozenset())


COSTLY = {"div", "sqrt", "exp", "log", "pow", "tanh", "sin", "cos", "erf", "log1p", "atan", "load"}


def _invariant(loop: For, axes: frozenset[Axis], written: set[Buffer]) -> list[Expr]:
    """The largest costly subexpressions in a loop that need only outer axes and nothing written in the loop."""
    inside = {s.axis for s in walk((loop,)) if isinstance(s, For)}
    fixed: dict[Expr, None] = {}
    seen: set[Expr] = set()

    def steady(e: Expr) -> bool:
        nodes = postorder([e])
        return not any(n.op == "load" and n.attr in written for n in nodes) and any(n.op in COSTLY for n in nodes)

    for s in walk(loop.body):
        stack = list(expressions(s))
        while stack:
            e = stack.pop()
            if e in seen:
                continue
            seen.add(e)
            plain_load = e.op == "load" and e.attr.space == "local"
            if e.dtype.name != "i64" and not plain_load and not e.axes & inside and e.axes <= axes and steady(e):
                fixed.setdefault(e)
            else:
                stack.extend(e.args)
    return list(fixed)


def volume(axes: Iterable[Axis], nominal: int = NOMINAL) -> int:
    """The number of iterations of nested loops, symbolic sizes counted as `nominal`."""
    return elements([a.extent for a in axes], nominal)  # type: ignore[misc]
