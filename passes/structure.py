"""What an op's definition says of its structure: which elements it reads, how often, and what it computes.

Fusion and planning ask these questions instead of the op's name, so a new op is fused unasked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

from graphc.ir.errors import LoweringError, place
from graphc.ir.expr import SCALARS, Axis, Expr, axis, cast, const, load, position, postorder, select
from graphc.ir.graph import Value
from graphc.ir.op import Op, Operand, Structural
from graphc.ir.types import DTYPES, Dim, Shape, TensorType, evaluate_dim, product

__all__ = ["NOMINAL", "Scattered", "Structure", "elements", "scattered", "structure"]

I64 = DTYPES["i64"]
NOMINAL = 32  # what a symbolic size counts for when costs are compared


@dataclass(frozen=True)
class Structure:
    """What one op does to compute its whole result.

    `visits[k]`: reads of operand k's elements, a row's reductions counted once per row. `same[k]`: operand k is
    read only at the result's own index. `prefix[k]`: only at the leading part of it. `work`: scalar operations;
    `flops`: those that compute a float, a multiply-add counted as two, but no selections and casts. `reduces`: there
    is a reduction; `contracts`: it is a sum of products of two operands; `sums`: it is a sum, but no scatter.
    `moves`: each element is one operand element. `view`: at the same row-major position, so no copy is needed.
    `opaque`: nothing is known, since the op has no definition that can be lowered.
    """

    visits: tuple[int, ...]
    same: tuple[bool, ...]
    prefix: tuple[bool, ...]
    work: int
    flops: int
    reduces: bool
    contracts: bool
    sums: bool
    moves: bool
    view: bool
    opaque: bool = False


def elements(shape: Sequence[int | Dim], nominal: int = NOMINAL) -> int:
    """The number of elements of a shape, symbolic sizes counted as `nominal`."""
    total = product(shape)
    return evaluate_dim(total, dict.fromkeys(total.names, nominal)) if isinstance(total, Dim) else total


def structure(value: Value) -> Structure:
    """The structure of the op that computes a value."""
    try:
        return _structure(value.op, tuple(o.type for o in value.operands), value.shape)  # type: ignore[arg-type]
    except Exception as error:
        place(error, f"{value!r}, in its definition")
        raise


@lru_cache(maxsize=4096)
def _structure(op: Op, operands: tuple[TensorType, ...], shape: Shape) -> Structure:
    n = len(operands)
    if isinstance(op, Structural):
        return Structure((0,) * n, (False,) * n, (False,) * n, 0, 0, False, False, False, False, False)
    axes = [Axis(f"i{k}", e) for k, e in enumerate(shape)]
    index = tuple(map(axis, axes))
    readers = [Operand(t, partial(load, k, dtype=t.dtype)) for k, t in enumerate(operands)]
    try:
        root = op.define(index, *readers)
    except LoweringError:  # it will run on NumPy, and takes nothing else there with it
        whole = tuple(elements(t.shape) for t in operands)
        return Structure(whole, (False,) * n, (False,) * n, 0, 0, True, False, False, False, False, opaque=True)
    visits, work, flops, reduces = [0] * n, 0, 0, False
    same, prefix = [True] * n, [True] * n
    stack: list[tuple[Expr, int]] = [(root, elements(shape))]
    seen: set[tuple[Expr, int]] = set()
    while stack:
        e, count = stack.pop()
        if e.op == "reduce":
            if e.axes <= set(axes):  # computed once for each value of the result's axes that it varies with
                found = scattered(e)  # each term is added at one position of that axis only
                once = None if found is None else found.axis
                count = elements([n for a, n in zip(axes, shape, strict=True) if a in e.axes and a != once])
            count *= elements([a.extent for a in e.attr[1]])
        if (e, count) in seen:
            continue
        seen.add((e, count))
        if e.op == "load":
            visits[e.attr] += count
            same[e.attr] &= e.args == index
            prefix[e.attr] &= e.args == index[:len(e.args)]
            stack.extend((a, count) for a in e.args if any(part.op == "load" for part in postorder([a])))
            continue
        reduces |= e.op == "reduce"
        if e.op == "reduce" or (e.dtype.name != "i64" and e.args):
            work += count
            flops += count * _flops(e)
        stack.extend((a, count) for a in e.args)
    body = root.args[0] if root.op == "reduce" else root
    while body.op == "select" and body.args[2].op == "const":
        body = body.args[1]
    multiplies = body.op == "mul" and all(a.op == "load" for a in body.args)
    sums = root.op == "reduce" and root.attr[0] == "sum" and scattered(root) is None
    moves = root.op == "load" and n == 1
    view = moves and position(root.args, operands[0].shape) is position(index, shape)
    return Structure(tuple(visits), tuple(same), tuple(prefix), work, flops, reduces, sums and multiplies, sums, moves,
                     view)


@dataclass(frozen=True)
class Scattered:
    """A sum whose terms belong to one position of an axis each: a `term` is added where the axis is `index`."""

    axis: Axis
    index: Expr
    term: Expr


def scattered(e: Expr) -> Scattered | None:
    """The scatter that a sum is, if it is one.

    sum(r0<7: select((i[r0] == i0), x[r0, i1], 0.0))    ->    along i0, x[r0, i1] at i[r0]
    """
    if e.op != "reduce" or e.attr[0] != "sum":
        return None
    term, reduced = e.args[0], set(e.attr[1])
    conditions: list[Expr] = []
    while term.op == "select" and term.args[2].op == "const" and term.args[2].attr == 0:
        stack, term = [term.args[0]], term.args[1]
        while stack:
            c = stack.pop()
            conditions += [] if c.op == "and" else [c]
            stack += c.args if c.op == "and" else ()
    for c in conditions:
        for at, index in (c.args, c.args[::-1]) if c.op == "eq" else ():
            at = at.args[0] if at.op == "cast" and at.dtype.kind in "iu" else at
            rest = [o for o in conditions if o is not c]
            if at.op == "axis" and index.axes & reduced and not any(
                    at.attr in part.axes for part in (index, term, *rest)) and at.attr not in reduced:
                for condition in rest:
                    term = select(condition, term, const(0, term.dtype))
                return Scattered(at.attr, cast(index, I64), term)
    return None


def _flops(e: Expr) -> int:
    """The floating-point operations that make an expression of its operands; of a reduction, for each of its terms."""
    if not e.dtype.is_float or not (e.op in SCALARS or e.op == "reduce"):
        return 0
    return 2 if e.op == "fma" else 1
