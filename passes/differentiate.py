"""Expand every `gradient` into a backward graph: a reverse walk that calls each op's `vjp`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from graphc.ir import functions as f
from graphc.ir.errors import place
from graphc.ir.graph import Graph, Value, origin, substitute, topological
from graphc.ir.ops.elementwise import Add
from graphc.ir.ops.movement import Pad
from graphc.ir.ops.structure import Gradient, Item, Scan
from graphc.ir.scan import leaf
from graphc.ir.types import Dim
from graphc.passes.structure import structure

__all__ = ["differentiate", "gradients", "pullback"]


def differentiate(graph: Graph) -> Graph:
    """Replace each item of a `gradient` by the value that computes it."""
    expanded: dict[Value, list[Value]] = {}

    def change(value: Value, operands: tuple[Value, ...]) -> Value | None:
        if isinstance(value.op, Gradient):
            loss, *wrt = operands
            result = gradients(loss, wrt)
            made = value if operands == value.operands else f.apply(value.op, *operands, origin=value.origin)
            expanded[made] = result
            return made
        if isinstance(value.op, Item) and operands[0] in expanded:
            return expanded[operands[0]][value.op.index]
        return None

    return graph.rebuild(change)


def gradients(loss: Value, wrt: Sequence[Value]) -> list[Value]:
    """The gradient of a scalar value by each of `wrt`, as values; zeros where the loss does not depend on one.

    What is made for a value of the layer `dense` has the origin `grad(dense)`.
    """
    with _gradient_of(loss):
        ones = f.ones_like(loss)
    found = pullback([(loss, ones)], wrt)
    return [f.zeros_like(w) if g is None else g for w, g in zip(wrt, found, strict=True)]


def pullback(cotangents: Sequence[tuple[Value, Value]], wrt: Sequence[Value]) -> list[Value | None]:
    """What the gradients of some values make for each of `wrt`; None where no value depends on one."""
    order = topological(value for value, _ in cotangents)
    needed = set(wrt)
    for value in order:
        if any(o in needed for o in value.operands):
            needed.add(value)
    parts: dict[Value, list[Value]] = {}
    items: dict[Value, dict[int, list[Value]]] = {}  # of values with several results
    for value, cotangent in cotangents:
        parts.setdefault(value, []).append(cotangent)
    for value in reversed(order):
        if value not in needed or not value.operands or not (value in parts or value in items):
            continue
        with _gradient_of(value):
            if isinstance(value.op, Item):
                (operand,) = value.operands
                items.setdefault(operand, {}).setdefault(value.op.index, []).append(_total(parts[value]))
                continue
            try:
                if isinstance(value.op, Scan):
                    totals = {i: _total(several) for i, several in items[value].items()}
                    found: Sequence[Any] = _through_scan(value, totals, [o in needed for o in value.operands])
                else:
                    found = value.op.vjp(f, _total(parts[value]), value, *value.operands)
            except Exception as error:
                place(error, f"{value!r}, in its gradient")
                raise
            for operand, part in zip(value.operands, found, strict=True):
                if part is not None and operand in needed:
                    parts.setdefault(operand, []).append(part)
    return [_total(parts[w]) if w in parts else None for w in wrt]


def _through_scan(value: Value, cotangents: Mapping[int, Value], needed: Sequence[bool]) -> list[Value | None]:
    """The gradients of a scan's operands, by a scan the other way round.

    A step backward reads what the step forward has computed: the forward scan is made once more with all of that as
    results, and `hoist` makes one of the two. Gradients of constants come step by step and are summed outside.
    """
    op: Scan = value.op  # type: ignore[assignment]
    body: Graph = op.body
    outputs: list[Any] = [v for _, v in body.outputs]
    scanned, carries, constants = op.parts(body.inputs)
    flows = [k for k, c in enumerate(carries) if c.dtype.is_float]
    wanted = [(i, v) for i, v in enumerate(body.inputs) if needed[i] and v.dtype.is_float and v not in carries]
    old, new = (1, 0) if op.reverse else (0, 1)  # the slices of a stack, behind a step's number
    # inside one step: what comes from the step after, and what the results give
    later = {k: leaf("later", outputs[k].type) for k in flows}
    given = {k: leaf("given", outputs[k].type) for k in cotangents if k >= op.carries}
    ends, spread = _ends({k: g for k, g in cotangents.items() if k in flows}, op, new)
    stacks = {k: leaf("stack", outputs[k].type) for k in spread}
    seeds = [*((outputs[k], g) for k, g in later.items()), *((outputs[k], g) for k, g in given.items())]
    found = pullback(seeds, [*(carries[k] for k in flows), *(v for _, v in wanted)])
    back = [f.zeros_like(outputs[k]) if g is None else g for k, g in zip(flows, found, strict=False)]
    back = [f.add(g, stacks[k]) if k in stacks else g for k, g in zip(flows, back, strict=True)]
    parts = [(i, g) for (i, _), g in zip(wanted, found[len(flows):], strict=True) if g is not None]
    results = [*back, *(g for _, g in parts)]
    saved = _residuals(results, body)
    more = replace(op, body=Graph(body.name, body.inputs, (), (*body.outputs, *(
        (f"r{len(outputs) + i}", v) for i, v in enumerate(saved)))))
    forward = f.apply(more, *value.operands, origin=value.origin)
    xs = [*((v, value.operands[i], op.shifts[i]) for i, v in enumerate(scanned)),
          *((c, f.item(forward, k), old) for k, c in enumerate(carries)),
          *((v, f.item(forward, len(outputs) + i), 0) for i, v in enumerate(saved)),
          *((g, cotangents[k], 0) for k, g in given.items()), *((g, spread[k], old) for k, g in stacks.items())]
    read = set(topological(substitute(results, {v: v for v in saved})))
    xs = [x for x in xs if x[0] in read]
    outside = dict(zip(constants, op.parts(value.operands)[2], strict=True))

    def step(carry: list[Value], slices: list[Value]) -> tuple[list[Value], list[Value]]:
        known = {v: s for (v, _, _), s in zip(xs, slices, strict=True)}
        made = substitute(results, outside | known | dict(zip(later.values(), carry, strict=True)))
        return made[:len(flows)], made[len(flows):]

    first = [ends[k] if k in ends else f.zeros_like(outputs[k]) for k in flows]
    last, steps = f.scan(step, first, [x for _, x, _ in xs], op.length, not op.reverse, [s for *_, s in xs])
    result: list[Value | None] = [None] * len(value.operands)
    for k, g in zip(flows, last, strict=True):
        result[op.scanned + k] = g
    for (i, _), g in zip(parts, steps, strict=True):
        result[i] = _unshifted(g, op.shifts[i], value.operands[i]) if i < op.scanned else f.sum(g, 0)
    return result


def _ends(cotangents: Mapping[int, Value], op: Scan, new: int) -> tuple[dict[int, Value], dict[int, Value]]:
    """The gradients of the carries' last values, and those of all values where more than the last one is read."""
    ends: dict[int, list[Value]] = {}
    spread: dict[int, list[Value]] = {}
    for k, total in cotangents.items():
        todo = [total]
        while todo:
            g = todo.pop()
            if isinstance(g.op, Add):
                todo += reversed(g.operands)
            elif isinstance(g.op, Pad) and g.operands[0].shape == (1, *g.shape[1:]) and (
                    g.op.before[0] == (op.length if new else 0)):
                ends.setdefault(k, []).append(f.reshape(g.operands[0], g.shape[1:]))
            else:
                spread.setdefault(k, []).append(g)
        if k in spread:
            stack = _total(spread[k])
            last = f.slice(stack, (op.length if new else 0, *(0,) * (stack.ndim - 1)), (1, *stack.shape[1:]))
            ends.setdefault(k, []).append(f.reshape(last, stack.shape[1:]))
    return {k: _total(parts) for k, parts in ends.items()}, {k: _total(parts) for k, parts in spread.items()}


def _unshifted(gradient: Value, shift: int, operand: Value) -> Value:
    """The gradient of an array of which the slices from `shift` on were read."""
    before: int | Dim = shift
    after = operand.shape[0] - gradient.shape[0] - shift
    return f.pad(gradient, [(before, after), *((0, 0),) * (gradient.ndim - 1)])


def _residuals(results: Sequence[Value], body: Graph) -> list[Value]:
    """What a step backward reads of the step forward, but for what it computes again since that takes no arithmetic."""
    inside, free = set(body.values()), body.constants()
    saved: dict[Value, None] = {}
    stack, seen = list(results), set()
    while stack:
        v = stack.pop()
        if v in seen or v in body.inputs:
            continue
        seen.add(v)
        if v in inside and v not in free and not structure(v).moves:
            saved[v] = None
        else:
            stack.extend(v.operands)
    return sorted(saved, key=body.values().index)


def _gradient_of(value: Value) -> AbstractContextManager[None]:
    """The origin of what belongs to the backward step of a value."""
    return origin(f"grad({value.origin})" if value.origin else "")


def _total(parts: list[Value]) -> Value:
    """The sum of the gradients that reach one value; kept so that it is added up once."""
    while len(parts) > 1:
        with origin(parts[1].origin):
            parts[:] = [f.add(parts[0], parts[1]), *parts[2:]]
    return parts[0]
