"""From a kernel's body to naive loops: every output becomes one expression by substitution of definitions.

A reduction is placed at the shallowest loop where its free axes are known, so a row's maximum is computed once
per row:

    for i0 in N {
      a0[] = -inf
      for r0_0 in 10 { a0[] max= x[i0, r0_0] }
      for i1 in 10 { y[i0, i1] = exp(x[i0, i1] - a0[]) }
    }
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace as replaced

from graphc.ir.errors import LoweringError
from graphc.ir.expr import (
    REDUCTIONS,
    Axis,
    Expr,
    axis,
    const,
    load,
    postorder,
    rebuild_reduce,
    replace,
    rewrite,
    select,
)
from graphc.ir.graph import Graph, Value
from graphc.ir.op import Operand
from graphc.ir.types import Shape
from graphc.runtime.loops import Buffer, For, Loops, Statement, Store, Update

__all__ = ["define_outputs", "lower", "nest"]


def define_outputs(body: Graph, buffers: dict[Value, Buffer]) -> list[tuple[Value, Expr]]:
    """Each output's element at the axes i0, i1, ... as one expression over loads of the inputs' buffers."""
    memo: dict[tuple[Value, tuple[Expr, ...]], Expr] = {}

    def element(value: Value, index: tuple[Expr, ...]) -> Expr:
        key = (value, index)
        if key not in memo:
            if value in buffers:
                memo[key] = load(buffers[value], index, value.dtype)
            else:
                operands = [Operand(o.type, lambda at, o=o: element(o, at)) for o in value.operands]  # type: ignore
                memo[key] = value.op.define(index, *operands)
        return memo[key]

    return [(v, flatten_sums(element(v, domain_index(v.shape)))) for _, v in body.outputs]


def domain_index(shape: Shape) -> tuple[Expr, ...]:
    """The axes i0, i1, ... of a result of the shape."""
    return tuple(axis(Axis(f"i{k}", n)) for k, n in enumerate(shape))


def flatten_sums(root: Expr) -> Expr:
    """A sum of a sum becomes one sum, also through a selection against zero."""
    def change(e: Expr) -> Expr | None:
        if e.op != "reduce" or e.attr[0] != "sum":
            return None
        body, conditions = e.args[0], []
        while body.op == "select" and body.args[2].op == "const" and body.args[2].attr == 0:
            conditions.append(body.args[0])
            body = body.args[1]
        if body.op != "reduce" or body.attr[0] != "sum":
            return None
        inner = body.args[0]
        for condition in reversed(conditions):
            inner = select(condition, inner, const(0, inner.dtype))
        return rebuild_reduce("sum", (*e.attr[1], *body.attr[1]), inner)

    return rewrite(root, change)


def lower(body: Graph, name: str = "kernel") -> Loops:
    """The naive loops of a region: params are its inputs, then its outputs."""
    inputs = {v: Buffer(v.op.label, v.dtype, v.shape) for v in body.inputs}  # type: ignore[attr-defined]
    defined = define_outputs(body, inputs)
    results = tuple(Buffer(f"out{k}", v.dtype, v.shape) for k, (v, _) in enumerate(defined))
    stores = [Store(b, domain_index(b.shape), e) for b, (_, e) in zip(results, defined, strict=True)]
    return Loops(name, (*inputs.values(), *results), len(results), nest(stores))


def nest(stores: Sequence[Store]) -> tuple[Statement, ...]:
    """Loops around stores whose index axes are prefixes of the longest one's."""
    longest = max(stores, key=lambda s: len(s.buffer.shape))
    domain = longest.buffer.shape
    for s in stores:
        if s.buffer.shape != domain[:len(s.buffer.shape)]:
            raise LoweringError(f"results of the shapes {domain} and {s.buffer.shape} do not share loops")
    axes = _loop_order(stores, [e.attr for e in longest.index if e.op == "axis"])
    levels: list[list[Statement]] = [[] for _ in range(len(axes) + 1)]
    locals_: dict[Expr, Expr] = {}
    names = itertools.count()

    def level(e: Expr) -> int:
        return max((axes.index(a) + 1 for a in e.axes if a in axes), default=0)

    Scopes = tuple[tuple[set[Axis], list[Statement]], ...]

    def placed(root: Expr, scopes: Scopes = ()) -> Expr:
        """The expression with each reduction replaced by the local that holds it, its loops put in place."""
        for e in outer_reductions(root):
            if e not in locals_:
                # in the innermost reduction's loop that it varies with, or at its level of the output loops
                home = next((statements for over, statements in scopes if e.axes & over), levels[level(e)])
                accumulate(e, home, scopes)
        return replace(root, locals_)

    def accumulate(e: Expr, statements: list[Statement], scopes: Scopes) -> None:
        """Reduce into a local, in the given statements."""
        op, over = e.attr
        local = Buffer(f"a{next(names)}", e.dtype, (), "local")
        locals_[e] = load(local, (), e.dtype)
        inside: list[Statement] = []
        value = placed(e.args[0], ((set(over), inside), *scopes))
        for r in [r for r in locals_ if r.axes & set(over)]:
            del locals_[r]  # computed in this loop; another reduction over an axis of the same name needs its own
        loop: tuple[Statement, ...] = (*inside, Update(local, (), op, value))
        for a in reversed(over):
            loop = (For(a, loop),)
        statements.append(Store(local, (), const(REDUCTIONS[op][1](e.dtype), e.dtype)))
        statements.extend(loop)

    by_depth: dict[int, list[Store]] = {}
    for s in stores:
        by_depth.setdefault(sum(e.op == "axis" for e in s.index), []).append(s)
    for depth, group in sorted(by_depth.items()):
        made = [replaced(s, value=placed(s.value)) for s in group]
        levels[depth].extend(_together(made) if len(made) > 1 else made)
    body: tuple[Statement, ...] = tuple(levels[-1])
    for a, before in zip(reversed(axes), reversed(levels[:-1]), strict=True):
        body = (*before, For(a, body))
    return body


def _loop_order(stores: Sequence[Store], axes: list[Axis]) -> list[Axis]:
    """The axes that reductions vary with first, so that none is computed again for each value of another axis.

    An axis of extent 1 is the constant 0 and has no loop. Where some reduction varies with all axes, or a result has
    only a part of them, their order stays.
    """
    found = [e.axes & set(axes) for s in stores for e in outer_reductions(s.value)]
    if any(len(varying) == len(axes) for varying in found) or len({len(s.index) for s in stores}) > 1:
        return axes
    return sorted(axes, key=lambda a: bool(found) and not any(a in varying for varying in found))


def _together(stores: Sequence[Store]) -> list[Statement]:
    """All values first, then the stores: a result may lie where another one's operand did.

    A value that is a part of a later one is read from its register there, but for one made of constants and axes only:
    it may be an index, of which more can be proved as it stands.
    """
    known: dict[Expr, Expr] = {}
    shared: dict[Expr, Expr] = {}
    first: list[Statement] = []
    for k, s in enumerate(stores):
        register = Buffer(f"v{k}", s.value.dtype, (), "local")
        first.append(Store(register, (), replace(s.value, shared)))
        known.setdefault(s.value, load(register, (), s.value.dtype))
        if any(e.op == "load" for e in postorder([s.value])):
            shared[s.value] = known[s.value]
    return [*first, *(replaced(s, value=known[s.value]) for s in stores)]


def outer_reductions(root: Expr) -> list[Expr]:
    """The reductions in an expression that are not inside another one, each once."""
    found: dict[Expr, None] = {}
    seen: set[Expr] = set()
    stack = [root]
    while stack:
        e = stack.pop()
        if e in seen:
            continue
        seen.add(e)
        if e.op == "reduce":
            found.setdefault(e)
        else:
            stack.extend(reversed(e.args))
    return list(found)
