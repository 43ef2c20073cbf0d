"""Move out of loops what needn't be in them.

What a step computes of its slices alone is computed for all steps before the loop, and what no later step waits for
after it, where that makes one large contraction of many small ones. An LSTM's loop keeps the product with its own
state, the loop of its gradient those with the weights; the products with the inputs, and all gradients of weights,
leave. What a scan gives and nobody reads is not given any more.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from graphc.ir import functions as f
from graphc.ir.graph import Graph, Value, apply, origin, phase_of, substitute, topological
from graphc.ir.op import Op
from graphc.ir.ops.contract import Einsum
from graphc.ir.ops.movement import Slice
from graphc.ir.ops.structure import Item, Scan
from graphc.ir.scan import closed, leaf
from graphc.passes.structure import elements, structure

__all__ = ["hoist"]

Outside = tuple[Value, bool]  # a value outside of a loop, and whether it has a first axis of steps


def hoist(graph: Graph) -> Graph:
    """The same step with loops that compute as little as they can."""
    if not any(isinstance(v.op, Scan) for v in graph.values()):
        return graph
    return _improved(_merged(graph))


def _merged(graph: Graph) -> Graph:
    """One scan in place of several that take the same steps and differ in what they give: a loop and its gradient's."""
    groups: dict[Any, dict[Value, None]] = {}
    of: dict[Value, Any] = {}
    for v in graph.values():
        if isinstance(v.op, Scan):
            op = replace(v.op, body=None)
            carried = tuple(v.op.body.outputs[:op.carries])
            of[v] = (str(op), v.operands, v.op.body.inputs, tuple(out for _, out in carried))
            groups.setdefault(of[v], {}).update(dict.fromkeys(out for _, out in v.op.body.outputs[op.carries:]))
    made: dict[Any, Value] = {}

    def change(value: Value, operands: tuple[Value, ...]) -> Value | None:
        if isinstance(value.op, Scan):
            key = of[value]
            if key not in made:
                outputs = (*key[-1], *groups[key])
                body = replace(value.op.body, outputs=tuple((f"r{i}", v) for i, v in enumerate(outputs)), _order=[])
                made[key] = apply(replace(value.op, body=body), *operands, origin=value.origin)
            return made[key]
        if isinstance(value.op, Item) and value.operands[0] in of:
            scan, (new,), index = value.operands[0], operands, value.op.index
            if index >= scan.op.carries:  # type: ignore[attr-defined]
                given = scan.op.body.outputs[index][1]  # type: ignore[attr-defined]
                index = scan.op.carries + list(groups[of[scan]]).index(given)  # type: ignore[attr-defined]
            return f.item(new, index)
        return None

    return graph.rebuild(change)


def _improved(graph: Graph) -> Graph:
    """Every scan as `_Loop` makes it anew."""
    users = graph.users()
    results: dict[Value, dict[int, Value]] = {}
    lasts: dict[Value, Value] = {}  # items of which only the last slice is read, and what gives that

    def change(value: Value, operands: tuple[Value, ...]) -> Value | None:
        if isinstance(value.op, Scan):
            op = value.op
            items = {u.op.index: u for u in users[value]}  # type: ignore[attr-defined]
            ended = {i for i, u in items.items() if i < op.carries and u not in graph.roots
                     and all(_is_last(r, op) for r in users[u])}
            made = _Loop(op, operands, set(items) - ended, ended).made(value.origin)
            results[value] = made
            lasts.update((items[i], made[i]) for i in ended)
            return made.get(-1)
        if isinstance(value.op, Item) and value.operands[0] in results:
            return results[value.operands[0]][value.op.index]
        if value.operands and value.operands[0] in lasts:
            return f.expand_dims(lasts[value.operands[0]], 0)
        return None

    return graph.rebuild(change)


def _is_last(reader: Value, scan: Scan) -> bool:
    """Whether a reader of a carry's stack takes its last slice."""
    return isinstance(reader.op, Slice) and reader.op.start[0] == (0 if scan.reverse else scan.length) and (
        reader.shape[0] == 1)


class _Loop:
    """A scan to be made anew, where its results `read` are asked for, and of the carries `ended` the last value only.

    `before` and `after` are the values of the body that leave the loop.
    """

    def __init__(self, op: Scan, operands: tuple[Value, ...], read: set[int], ended: set[int]):
        self.op, self.read, self.ended = op, read, ended
        self.outputs = [v for _, v in op.body.outputs]
        self.xs, self.carries, constants = op.parts(op.body.inputs)
        arrays, self.first, given = op.parts(operands)
        self.slices = {x: (array, shift) for x, array, shift in zip(self.xs, arrays, op.shifts, strict=True)}
        self.outer: dict[Value, Value] = {}  # what stands outside for a constant inside
        self.known: dict[Value, Value] = {}  # what becomes of values inside
        for inside, v in zip(constants, given, strict=True):
            self.known[inside] = leaf("k", v.type)  # type: ignore[arg-type]
            self.outer[self.known[inside]] = v
        self.moved: dict[Value, Outside | None] = {}  # of values inside
        self.moved.update((inside, (v, False)) for inside, v in zip(constants, given, strict=True))
        self.moved.update((v, (v, False)) for v in op.body.constants())
        self.live = self.living()
        self.values = topological(self.outputs[i] for i in sorted(self.live))
        self.before = self.leaving_before()
        self.after = self.leaving_after()

    def living(self) -> set[int]:
        """The outputs that are asked for, and the carries that those depend on."""
        live = self.read | self.ended
        while True:
            reached = set(topological(self.outputs[i] for i in live))
            more = live | {k for k, c in enumerate(self.carries) if c in reached}
            if more == live:
                return live
            live = more

    def leaving_before(self) -> set[Value]:
        """What depends on no carry, and contracts slices of arrays or is made of what does, no larger than that."""
        found: set[Value] = set()
        carried = set(self.carries)
        for v in self.values:
            if v in carried or any(o in carried for o in v.operands):
                carried.add(v)
                continue
            made = [o for o in v.operands if o in found]
            small = made and elements(v.shape) <= max(elements(o.shape) for o in made)
            if (small or structure(v).contracts) and self.outside(v) is not None:
                found.add(v)
        return found

    def leaving_after(self) -> set[Value]:
        """What no later step waits for, and contracts or is made of what does, up to the outputs.

        In the loop of a gradient a product with a constant stays: it finds its operand in the cache, and the constant
        too. Elsewhere there may be one row only, for which a constant is read as long as for many.
        """
        varying = {*self.xs, *self.carries}
        for v in self.values:
            if any(o in varying for o in v.operands):
                varying.add(v)
        waited = set(topological(self.outputs[k] for k in self.live if k < self.op.carries))
        users: dict[Value, list[Value]] = {v: [] for v in self.values}
        for v in self.values:
            for o in v.operands:
                users[o].append(v)
        found: set[Value] = set()
        for v in self.values:
            if v in waited or v in self.before or v in found or not structure(v).contracts:
                continue
            if phase_of(v.origin) == "backward" and not varying.issuperset(v.operands):
                continue
            chain, todo = {v: None}, [v]
            while todo:
                more = [u for u in users[todo.pop()] if u not in chain]
                chain.update(dict.fromkeys(more))
                todo += more
            if all(type(u.op).each is not Op.each for u in chain):
                found.update(chain)
        return found

    def outside(self, v: Value) -> Outside | None:
        """A value outside, for all steps at once; None where it depends on carries, or an op doesn't know how."""
        if v not in self.moved:
            self.moved[v] = self.taken_out(v)
        return self.moved[v]

    def taken_out(self, v: Value) -> Outside | None:
        if v in self.slices:
            return self.cut(*self.slices[v]), True
        operands = [self.outside(o) for o in v.operands]
        if not operands or None in operands or type(v.op).each is Op.each:
            return None
        values, along = zip(*operands, strict=True)  # type: ignore[arg-type]
        with origin(v.origin):
            return (v.op.each(f, self.op.length, values, along), True) if any(along) else (apply(v.op, *values), False)

    def cut(self, stack: Value, start: int) -> Value:
        """The slices of a stack, one for each step, from one on."""
        return f.slice(stack, (start, *(0,) * (stack.ndim - 1)), (self.op.length, *stack.shape[1:]))

    def made(self, origin_: str) -> dict[int, Value]:
        """What stands for each result that is asked for, by its index; under -1 the new scan, if there is one."""
        op, carried = self.op, [k for k in range(self.op.carries) if k in self.live]
        inner = [i for i in sorted(self.live) if i >= op.carries and self.outputs[i] not in self.before | self.after]
        stacks = dict.fromkeys(o for v in self.values if v in self.after for o in v.operands
                               if o not in self.after and o not in self.before and self.moved.get(o) is None
                               and o not in self.xs)
        kept = {k for k in carried if k in self.read or self.carries[k] in stacks}
        saved = [v for v in stacks if v not in self.carries and v not in {self.outputs[i] for i in inner}]
        after = [self.outputs[k] for k in carried]
        wanted = [*after, *(self.outputs[i] for i in inner), *saved]
        if not wanted:
            return {i: self.value_of(i) for i in self.read}
        entering = {v: leaf("x", v.type) for v in self.values if v in self.before}  # type: ignore[arg-type]
        bodies = laid_out(substitute(wanted, self.known | entering), self.outer)
        reached = set(topological(bodies))
        xs = [(x, *self.slices[x]) for x in self.xs if x in reached]
        xs += [(x, self.moved[v][0], 0) for v, x in entering.items() if x in reached]  # type: ignore[index]
        constants = [c for c in self.outer if c in reached]
        body, more = closed([x for x, *_ in xs], [self.carries[k] for k in carried], constants, bodies)
        scan = Scan(tuple(shift for *_, shift in xs), len(carried), op.length, op.reverse,
                    tuple(k in kept for k in carried), body)
        made = apply(scan, *(array for _, array, _ in xs), *(self.first[k] for k in carried),
                     *(self.outer[c] for c in constants), *more, origin=origin_)
        old, last = (1, 0) if op.reverse else (0, op.length)
        items = {k: f.item(made, n) for n, k in enumerate([*carried, *inner])}
        self.moved = {v: found for v, found in self.moved.items() if found is not None}  # more is outside from here on
        self.moved.update((self.carries[k], (self.cut(items[k], old), True)) for k in kept)
        self.moved.update((self.outputs[i], (items[i], True)) for i in inner)
        self.moved.update((v, (f.item(made, len(carried) + len(inner) + n), True)) for n, v in enumerate(saved))
        for k in self.ended & kept:
            items[k] = f.reshape(f.slice(items[k], (last, *(0,) * (items[k].ndim - 1)), (1, *items[k].shape[1:])),
                                 items[k].shape[1:])
        return {-1: made} | {i: items[i] if i in items else self.value_of(i) for i in self.read | self.ended}

    def value_of(self, i: int) -> Value:
        """An output that has left the loop."""
        found = self.outside(self.outputs[i])
        assert found is not None
        return found[0]


def laid_out(roots: list[Value], outer: dict[Value, Value]) -> list[Value]:
    """The values with each constant that is contracted laid out as a contraction reads it: once, before the loop."""
    new: dict[Value, Value] = {}
    for v in topological(roots):
        operands = tuple(new[o] for o in v.operands)
        new[v] = v if operands == v.operands else apply(v.op, *operands, origin=v.origin)
        if isinstance(v.op, Einsum):
            x, y, result = v.op.letters()
            for k, (letters, o) in enumerate(((x, v.operands[0]), (y, v.operands[1]))):
                order = sorted(letters, key=lambda c: (c in result, result.find(c)))
                if o in outer and result and result[-1] in letters and letters[-1] != result[-1]:
                    turned = f.transpose(outer[o], [letters.index(c) for c in order])
                    constant = leaf("k", turned.type)  # type: ignore[arg-type]
                    outer[constant] = turned
                    pair = [new[a] for a in v.operands]
                    pair[k] = constant
                    spec = ",".join("".join(order) if j == k else part for j, part in enumerate((x, y)))
                    new[v] = apply(Einsum(f"{spec}->{result}"), *pair, origin=v.origin)
    return [new[v] for v in roots]
