"""Transformations of loops: pure functions, each with its picture. Schedules are compositions of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace as replaced
from functools import partial

from graphc.ir.expr import (
    REDUCTIONS,
    Axis,
    Expr,
    axis,
    bounds,
    const,
    linear,
    load,
    postorder,
    replace,
    scalar,
    size,
    substitute,
)
from graphc.ir.types import Dim
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
    substitute_axes,
    walk,
)

__all__ = ["Body", "accumulate_lanes", "chain_of", "collapse", "find", "hoist", "mark", "reorder", "sink", "split",
           "split_reduction", "stage", "stageable", "volume"]

Body = tuple[Statement, ...]


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
    outer, inner = Axis(f"{a}o", _number(blocks)), Axis(f"{a}i", factor)
    rest = None if remaining.op == "const" and remaining.attr == 0 else Axis(f"{a}r", _number(remaining))

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


def _number(e: Expr) -> int | Dim | Expr:
    return e.attr if e.op in ("const", "size") else e


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
        if isinstance(s, Barrier):
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


def accumulate_lanes(body: Body, a: Axis, lanes: int) -> Body:
    """Vectorise a reduction's innermost loop: one partial result per lane, combined at the end.

    s[] = 0                              for l in 16 vector { v[l] = 0 }
    for k in 32 { s[] sum= x[k] }    ->  for ko in 2 { for l in 16 vector { v[l] sum= x[16*ko + l] } }
                                         s[] = 0
                                         for l in 16 vector { s[] sum= v[l] }
    """
    lane = Axis(f"{a}l", lanes)

    def one(wide: Buffer, loop: For) -> Body | None:
        """The blocks and the rest of the loop over `a`, adding into lanes; a rest of one adds into the register."""
        if loop.axis != a:
            return None
        cut, _, block, rest = split((loop,), a, lanes)

        def over_lanes(s: For) -> Body | None:
            if s.axis not in (block, rest):
                return None
            here = Axis(lane.name, s.axis.extent)
            moved = substitute_axes(s.body, {s.axis: axis(here)})
            return (For(here, tuple(replaced(u, buffer=wide, index=(axis(here),)) for u in moved), "vector"),)  # type: ignore

        return map_loops(cut, over_lanes)

    def group(statements: Body) -> Body:
        """Treat [register = identity, loops that update it] within one list of statements."""
        result: list[Statement] = []
        for s in statements:
            update = _single_update(s, a) if isinstance(s, For) else None
            if update is None:
                result.append(replaced(s, body=group(s.body)) if isinstance(s, For) else s)
                continue
            wide = Buffer(update.buffer.name + "v", update.buffer.dtype, (lanes,), "local")
            identity = const(REDUCTIONS[update.op][1](update.buffer.dtype), update.buffer.dtype)
            result.append(For(lane, (Store(wide, (axis(lane),), identity),), "vector"))
            result.extend(map_loops((s,), partial(one, wide)))
            total = load(wide, (axis(lane),), wide.dtype)
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


def split_reduction(loops: Loops, a: Axis, chunks: int, blocked: Sequence[Axis] = ()) -> tuple[Loops, Axis]:
    """Cut the reduction over `a` into a fixed number of chunks, so that they can run in parallel.

    The number of threads does not change the result. Where inner reduction axes are `blocked`, they are summed in
    registers for each iteration of `a` and added to the partial results in scratch, so that operands stay in cache.

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
    part_axis = Axis(f"{a}c", last - first)
    shape = tuple(c.axis.extent for c in chain)
    parts = Buffer(f"p{len(loops.scratch)}", update.buffer.dtype, (chunks, *shape), "scratch")  # type: ignore
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
        once = (init, *around(registers, adding), Update(parts, where, update.op, formed))
        nests = (*around(chain, (Store(parts, where, init.value),)), For(part_axis, around((*outside, *chain), once)))
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


def stage(loops: Loops, part: Expr, last: Axis | None = None) -> tuple[Loops, Body]:
    """Compute a subexpression once for every index it is read at, into scratch, and read it from there.

    The buffer's axes are the different affine forms through which loop axes enter the expression, so that
    padding is done once and the loops that follow read without a condition; `last` names the axis whose form
    is to lie contiguous. Gives the loops that read, and the nest that must run before them.

    y[i] = sum(k: select(0 <= i-k < 4, x[i-k], 0) * w[k])    ->    s[p] = select(0 <= p-2 < 4, x[p-2], 0); barrier
                                                                   y[i] = sum(k: s[i-k+2] * w[k])
    """
    forms: dict[frozenset, Expr] = {}
    found: dict[Expr, frozenset] = {}
    # the axes in the order of what is read, so that the copy lies as its source does
    reads = [i for e in postorder([part]) if e.op == "load" for i in e.args]
    for e in dict.fromkeys([a for i in reads for a in _affine(i)] + _affine(part)):
        terms, constant = linear(e)
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
    moved = {e: axis(axes[key]) + size(linear(e)[1] + lows[key]) for e, key in found.items()}
    buffer = Buffer(f"p{len(loops.scratch)}", part.dtype, tuple(axes[k].extent for k in keys), "scratch")  # type: ignore
    nest: Body = (Store(buffer, tuple(axis(axes[k]) for k in keys), replace(part, moved)),)
    for key in reversed(keys):
        nest = (For(axes[key], nest),) if axes[key].extent != 1 else nest
    staged = load(buffer, tuple(forms[k] - size(lows[k]) for k in keys), part.dtype)
    body = map_expressions(loops.body, lambda e: replace(e, {part: staged}))
    return replaced(loops, body=body, scratch=(*loops.scratch, buffer)), nest


def _affine(root: Expr) -> list[Expr]:
    """The largest integer subexpressions that are affine in axes."""
    result: dict[Expr, None] = {}
    stack, seen = [root], set()
    while stack:
        e = stack.pop()
        if e in seen:
            continue
        seen.add(e)
        if e.dtype.name == "i64" and e.axes and all(a.op == "axis" for a in linear(e)[0]):
            result.setdefault(e)
        else:
            stack.extend(reversed(e.args))
    return list(result)


def stageable(part: Expr) -> bool:
    """Whether `stage` keeps the amount of work: no axis may enter through two different forms."""
    used: list[Axis] = []
    for key in {frozenset(linear(e)[0].items()) for e in _affine(part)}:
        used.extend(atom.attr for atom, _ in key)
    return len(used) == len(set(used))


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
                written = {t.buffer for t in walk(s.body) if not isinstance(t, For | Barrier)}
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


_COSTLY = {"div", "sqrt", "exp", "log", "pow", "tanh", "sin", "cos", "erf", "log1p", "load"}


def _invariant(loop: For, axes: frozenset[Axis], written: set[Buffer]) -> list[Expr]:
    """The largest costly subexpressions in a loop that need only outer axes and nothing written in the loop."""
    inside = {s.axis for s in walk((loop,)) if isinstance(s, For)}
    fixed: dict[Expr, None] = {}
    seen: set[Expr] = set()

    def steady(e: Expr) -> bool:
        nodes = postorder([e])
        return not any(n.op == "load" and n.attr in written for n in nodes) and any(n.op in _COSTLY for n in nodes)

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
