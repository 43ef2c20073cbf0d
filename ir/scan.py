"""Loops from a function of one step, as `keras.ops.scan` takes it. https://keras.io/api/ops/core/"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphc.ir.errors import ShapeError
from graphc.ir.graph import Graph, Value, apply, substitute, topological
from graphc.ir.ops.leaf import Input
from graphc.ir.ops.movement import Broadcast, Reshape, Slice
from graphc.ir.ops.structure import Item, Scan
from graphc.ir.tree import flat, structured
from graphc.ir.types import Dim, TensorType

__all__ = ["closed", "leaf", "scan"]


def scan(function: Callable[[Any, Any], tuple[Any, Any]], init: Any, xs: Any = None, length: int | Dim | None = None,
         reverse: bool = False, shifts: Sequence[int] = ()) -> tuple[Any, Any]:
    """Call `function(carry, x) -> (carry, y)` for every slice of xs along axis 0; the last carry, and all y stacked.

    init, xs and what the function gives may be values, or lists, tuples and dicts of them; the carry's shapes and
    dtypes stay the same from step to step. Without xs, `length` says how many steps there are. `reverse` begins with
    the last slice; y stays in the order of xs. The function is called once, with symbolic values: what it reads
    besides its arguments is the same for all steps. `shifts` says for each x how many slices come before the first
    step's, where there are any.
    """
    scanned, first = list(flat(xs)), list(flat(init))
    if length is None:
        if not scanned or not scanned[0].ndim:
            raise ShapeError("scan needs xs with an axis of steps, or a length.")
        length = scanned[0].shape[0]
    for x in scanned:
        if not x.ndim or (not shifts and x.shape[0] != length):
            raise ShapeError(f"scan of {length} steps received {x.type}, expected so many slices along its first axis.")
    slices = [leaf(f"x{i}", TensorType(x.dtype, x.shape[1:])) for i, x in enumerate(scanned)]
    carried = [leaf(f"c{i}", c.type) for i, c in enumerate(first)]
    carry, y = function(structured(init, iter(carried)), structured(xs, iter(slices)))
    after, given = list(flat(carry)), list(flat(y))
    if [v.type for v in after] != [v.type for v in first]:
        raise ShapeError(f"scan began with the carry {[v.type for v in first]}, and a step gives "
                         f"{[v.type for v in after]}: they have to be the same.")
    body, constants = closed(slices, carried, (), (*after, *given))
    op = Scan(tuple(shifts) or (0,) * len(scanned), len(first), length, reverse, (True,) * len(first), body)
    made = apply(op, *scanned, *first, *constants)
    last = [_last(apply(Item(i), made), length, reverse) for i in range(len(first))]
    stacked = (apply(Item(i), made) for i in range(len(first), len(after) + len(given)))
    return structured(carry, iter(last)), structured(y, stacked)


def leaf(label: str, type_: TensorType) -> Value:
    """An input of a body that is no other's, whatever that is called."""
    return Value(Input(label, type_), (), type_)


def _last(stack: Value, length: int | Dim, reverse: bool) -> Value:
    """The slice of a carry's stack that the last step wrote."""
    zeros = (0,) * (stack.ndim - 1)
    one = apply(Slice((0 if reverse else length, *zeros), (1, *stack.shape[1:])), stack)
    return apply(Reshape(stack.shape[1:]), one)


def closed(xs: Sequence[Value], carries: Sequence[Value], constants: Sequence[Value],
           outputs: Sequence[Value]) -> tuple[Graph, list[Value]]:
    """The body of a scan from leaves to outputs, and what else the outputs depend on: further constants.

    What depends on no array at all, such as numbers, is computed inside; what is only repeated outside is so inside, as
    a step then reads less.
    """
    leaves = (*xs, *carries, *constants)
    order = topological(outputs)
    inside, free = set(leaves), set()
    for v in order:
        if any(o in inside for o in v.operands):
            inside.add(v)
        elif v not in inside and not hasattr(v.op, "label") and all(o in free for o in v.operands):
            free.add(v)
    for v in reversed(order):
        if isinstance(v.op, Broadcast) and v not in free and any(
                v in u.operands for u in inside if u not in leaves):
            inside.add(v)
    read = {o for v in order if v in inside for o in v.operands} | set(outputs)
    more = [v for v in order if v in read and v not in inside and v not in free]
    new: dict[Value, Value] = {}
    for prefix, group in (("x", xs), ("c", carries), ("k", [*constants, *more])):
        for i, v in enumerate(group):
            new[v] = apply(Input(f"{prefix}{i}", v.type), origin="")  # type: ignore[arg-type]
    inputs = tuple(new.values())
    made = substitute(outputs, new)
    return Graph("scan", inputs, (), tuple((f"r{i}", v) for i, v in enumerate(made))), more
