"""Rules about moved elements: two moves are one, and computing comes before repeating."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import reduce

from graphc.ir import functions as f
from graphc.ir.graph import Value, apply
from graphc.ir.op import Elementwise
from graphc.ir.ops.contract import Einsum
from graphc.ir.ops.elementwise import Add, Cast, Where
from graphc.ir.ops.movement import Broadcast, Concatenate, Pad, Reshape, Reverse, Slice, Transpose
from graphc.ir.types import Shape
from graphc.passes.rewrite import Rule, rule

__all__ = ["RULES"]


@rule(Elementwise, Where, Cast)
def op_of_broadcasts(value: Value) -> Value | None:
    """op(broadcast(x), broadcast(y)) = broadcast(op(x, y)): compute on few elements, then repeat them.

    x: f32[3], y: f32[3] => add(broadcast_to(x, (2, 3)), broadcast_to(y, (2, 3)))
    x: f32[3] => multiply(broadcast_to(x, (2, 3)), 2.5)
    x: i32[3] => cast(broadcast_to(x, (2, 3)), "f32")
    c: bool[3], x: f32[] => where(broadcast_to(c, (2, 3)), broadcast_to(x, (2, 3)), 0.0)
    """
    repeated = [(o.op.axes, o.operands[0]) for o in value.operands if isinstance(o.op, Broadcast)]
    axes, widest = max(repeated, key=lambda r: len(r[0]), default=((), value))
    if len(repeated) < len(value.operands) or any(a not in ((), axes) for a, _ in repeated):
        return None
    few = (f.broadcast(x, widest.shape, tuple(range(len(a)))) for a, x in repeated)
    return f.broadcast(apply(value.op, *few), value.shape, axes)


@rule(Broadcast, Reshape, Slice, Transpose)
def move_to_same(value: Value) -> Value | None:
    """A move that leaves every element in its place is nothing.

    x: f32[2,3] => apply(Broadcast((2, 3), (0, 1)), x)
    x: f32[2,3] => apply(Reshape((2, 3)), x)
    x: f32[2,3] => apply(Slice((0, 0), (2, 3)), x)
    x: f32[2,3] => apply(Transpose((0, 1)), x)
    """
    (x,) = value.operands
    still = not isinstance(value.op, Transpose) or value.op.axes == tuple(range(x.ndim))
    return x if still and x.shape == value.shape else None


@rule(Concatenate)
def concatenate_of_one(value: Value) -> Value | None:
    """One operand joined to nothing is that operand.

    x: f32[2,3] => concatenate([x], 0)
    """
    return value.operands[0] if len(value.operands) == 1 else None


@rule(Add, exact=False)
def add_of_pads(value: Value) -> Value | None:
    """Parts that are padded to lie side by side, and added, are joined: so the gradients of what was split.

    x: f32[2,3], y: f32[2,1] => pad(x, ((0, 0), (0, 1))) + pad(y, ((0, 0), (3, 0)))
    x: f32[2], y: f32[3], z: f32[6] => (pad(x, ((4, 0),)) + z) + pad(y, ((1, 2),))
    """
    terms, todo = [], [value]
    while todo:
        v = todo.pop()
        if isinstance(v.op, Add):
            todo += reversed(v.operands)
        else:
            terms.append(v)
    padded = [(v, axis) for v in terms if (axis := _padded_axis(v)) is not None]
    for (a, axis), (b, other) in itertools.permutations(padded, 2):
        x, y = a.operands[0], b.operands[0]
        start, end = a.op.before[axis], b.op.after[axis]  # type: ignore[attr-defined]
        if axis == other and b.op.before[axis] == start + x.shape[axis]:  # type: ignore[attr-defined]
            widths = [(start, end) if k == axis else (0, 0) for k in range(value.ndim)]
            joined = f.concatenate([p for v in (x, y) for p in _joined(v, axis)], axis)
            rest = [t for t in terms if t is not a and t is not b]
            return reduce(f.add, rest, f.pad(joined, widths) if widths[axis] != (0, 0) else joined)
    return None


def _padded_axis(value: Value) -> int | None:
    """The one axis along which a value has zeros beside what is padded."""
    match value.op:
        case Pad(before, after, 0.0):
            axes = [k for k, widths in enumerate(zip(before, after, strict=True)) if widths != (0, 0)]
            return axes[0] if len(axes) == 1 else None
    return None


def _joined(value: Value, axis: int) -> tuple[Value, ...]:
    """The parts of a value that is joined along an axis, or the value."""
    return value.operands if isinstance(value.op, Concatenate) and value.op.axis == axis else (value,)


@rule(Transpose)
def transpose_of_transpose(value: Value) -> Value | None:
    """Two permutations are one.

    x: f32[2,3,4] => transpose(transpose(x, (1, 2, 0)), (1, 0, 2))
    x: f32[2,3] => transpose(transpose(x))
    """
    match value:
        case Value(Transpose(outer), (Value(Transpose(inner), (x,)),)):
            return f.transpose(x, tuple(inner[a] for a in outer))
    return None


@rule(Reshape)
def reshape_of_reshape(value: Value) -> Value | None:
    """Two reshapes are one.

    x: f32[2,6] => reshape(reshape(x, (3, 4)), (12,))
    x: f32[2,6] => reshape(reshape(x, (3, 4)), (2, 6))
    """
    match value.operands[0]:
        case Value(Reshape(), (x,)):
            return f.reshape(x, value.shape)
    return None


@rule(Reverse)
def reverse_of_reverse(value: Value) -> Value | None:
    """Reversed twice is as before.

    x: f32[2,3] => flip(flip(x, 1), 1)
    """
    match value:
        case Value(Reverse(outer), (Value(Reverse(inner), (x,)),)) if outer == inner:
            return x
    return None


@rule(Broadcast)
def broadcast_of_broadcast(value: Value) -> Value | None:
    """Two broadcasts are one.

    x: f32[3] => broadcast_to(broadcast_to(x, (2, 3)), (4, 2, 3))
    """
    match value:
        case Value(Broadcast(shape, outer), (Value(Broadcast(_, inner), (x,)),)):
            return f.broadcast(x, shape, tuple(outer[a] for a in inner))
    return None


@rule(Transpose)
def transpose_of_broadcast(value: Value) -> Value | None:
    """A broadcast may place its axes where the transpose moves them, if their order stays.

    x: f32[3] => transpose(broadcast_to(x, (2, 3)))
    x: f32[] => transpose(broadcast_to(x, (2, 3)))
    """
    match value:
        case Value(Transpose(order), (Value(Broadcast(_, axes), (x,)),)):
            moved = tuple(order.index(a) for a in axes)
            return f.broadcast(x, value.shape, moved) if moved == tuple(sorted(moved)) else None
    return None


@rule(Reshape)
def reshape_of_broadcast(value: Value) -> Value | None:
    """A reshape that only adds or drops axes of extent 1, or meets one repeated number, is another broadcast.

    x: f32[] => reshape(broadcast_to(x, (2, 6)), (3, 4))
    x: f32[3] => reshape(broadcast_to(x, (2, 3)), (2, 1, 3, 1))
    """
    match value:
        case Value(Reshape(new), (Value(Broadcast(old, axes), (x,)),)):
            places = _places(old, new) if axes else {}
            if places is not None and all(a in places for a in axes):
                return f.broadcast(x, new, tuple(places[a] for a in axes))
    return None


def _places(old: Shape, new: Shape) -> dict[int, int] | None:
    """Where the axes of one shape are in another that differs in axes of extent 1 only."""
    before = [a for a, n in enumerate(old) if n != 1]
    after = [a for a, n in enumerate(new) if n != 1]
    same = [old[a] for a in before] == [new[a] for a in after]
    return dict(zip(before, after, strict=True)) if same else None


@rule(Slice)
def slice_of_broadcast(value: Value) -> Value | None:
    """A part of repeated elements is a part, repeated less often.

    x: f32[5] => slice(broadcast_to(x, (4, 5)), (1, 2), (2, 3))
    """
    match value:
        case Value(Slice(start, shape), (Value(Broadcast(_, axes), (x,)),)):
            part = f.slice(x, tuple(start[a] for a in axes), tuple(shape[a] for a in axes))
            return f.broadcast(part, shape, axes)
    return None


@rule(Einsum, exact=False)
def einsum_of_transpose(value: Value) -> Value | None:
    """A contraction reads a transposed operand under permuted letters.

    x: f32[3,2], y: f32[3,4] => matmul(transpose(x), y)
    x: f32[2,3], y: f32[4,3] => matmul(x, transpose(y))
    """
    def letters(part: str, o: Value) -> str | None:
        axes = o.op.axes if isinstance(o.op, Transpose) else None
        return "".join(part[axes.index(a)] for a in range(len(part))) if axes else None

    return _read_through(value, letters)


@rule(Einsum, exact=False)
def einsum_of_broadcast(value: Value) -> Value | None:
    """A contraction need not repeat an operand along a batch axis that the other operand has.

    x: f32[5,2,3], y: f32[3,4] => einsum("bij,bjk->bik", x, broadcast_to(y, (5, 3, 4)))
    """
    first, second, result = _einsum_letters(value)
    batch = set(first) & set(second) & set(result)

    def letters(part: str, o: Value) -> str | None:
        axes = o.op.axes if isinstance(o.op, Broadcast) else ()
        repeats = isinstance(o.op, Broadcast) and all(a in axes or c in batch for a, c in enumerate(part))
        return "".join(part[a] for a in axes) if repeats else None

    return _read_through(value, letters)


def _einsum_letters(value: Value) -> tuple[str, str, str]:
    assert isinstance(value.op, Einsum)
    return value.op.letters()


def _read_through(value: Value, letters: Callable[[str, Value], str | None]) -> Value | None:
    """The einsum on the operand of an operand, for the first that has `letters` to read it by."""
    first, second, result = _einsum_letters(value)
    x, y = value.operands
    if (found := letters(first, x)) is not None:
        return f.einsum(f"{found},{second}->{result}", x.operands[0], y)
    if (found := letters(second, y)) is not None:
        return f.einsum(f"{first},{found}->{result}", x, y.operands[0])
    return None


RULES: tuple[Rule, ...] = (
    move_to_same, concatenate_of_one, transpose_of_transpose, reshape_of_reshape, reverse_of_reverse,
    broadcast_of_broadcast, transpose_of_broadcast, reshape_of_broadcast, slice_of_broadcast,
    op_of_broadcasts, add_of_pads, einsum_of_transpose, einsum_of_broadcast)
