"""Numbers that have to lie in a range, such as the word numbers that an Embedding looks up.

A layer sets a limit while a step is traced. Numbers that come straight from the data are checked there, once and before
any step runs; for those that are computed in the model the step gives the smallest and the largest, and the error comes
after it. Nothing is read out of bounds in between: `take` reads the nearest row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.ir import functions as f
from graphc.ir.graph import Value, topological
from graphc.ir.op import Op
from graphc.ir.ops.elementwise import Cast
from graphc.ir.ops.leaf import Input
from graphc.ir.ops.movement import Reshape, Slice, Transpose
from graphc.ir.types import bind_shape, evaluate_dim
from graphc.tracing import current_trace

__all__ = ["DataLimit", "Guarded", "Limit", "limit", "sort_out"]


@dataclass(frozen=True, eq=False)
class Limit:
    """A layer's bounds for the elements of a value, both included."""

    value: Value
    low: int
    high: int
    layer: str

    def check(self, smallest: Any, largest: Any, who: str) -> None:
        """Raise ValueError where the smallest or the largest element, cut to whole numbers, lies outside."""
        if smallest > self.low - 1 and largest < self.high + 1:
            return
        wrong = largest if smallest > self.low - 1 else smallest
        raise ValueError(f"{who} the index {wrong}, expected {self.low} to {self.high}: the layer {self.layer!r} has "
                         f"{self.high - self.low + 1} rows. Give it a larger input_dim, or leave the rarer words out "
                         "of the data.")


@dataclass(frozen=True, eq=False)
class DataLimit:
    """A limit for a part of an input's data: what the operations make of it, one after the other."""

    limit: Limit
    input: Value
    index: int
    operations: Sequence[Op]

    def check(self, array: np.ndarray, who: str) -> None:
        """Raise ValueError where the data, of any number type, don't keep to the limit."""
        if not array.size:
            return
        sizes: dict[str, int] = {}
        bind_shape(self.input.shape, array.shape, sizes, who)
        for op in self.operations:
            array = _applied(op, array, sizes)
        # as a number without sign a negative one is large: one look at the data instead of two
        whole = array.dtype.kind == "i" and array.dtype.isnative and not self.limit.low
        if whole and array.view(f"u{array.dtype.itemsize}").max() <= self.limit.high:
            return
        self.limit.check(array.min(), array.max(), who)


def limit(value: Value, low: int, high: int, layer: str) -> None:
    """Have the elements of a value checked for every step that is traced now."""
    trace = current_trace()
    if trace is not None:
        trace.limits.append(Limit(value, low, high, layer))


def sort_out(limits: Iterable[Limit], inputs: Sequence[Value]) -> tuple[list[DataLimit], list[Limit]]:
    """The limits that hold for the data of the inputs, and those for what a step computes from them."""
    in_data, computed = [], []
    for one in limits:
        value, operations = one.value, []
        while _moves(value.op):
            operations.append(value.op)
            (value,) = value.operands
        if value in inputs:
            in_data.append(DataLimit(one, value, inputs.index(value), operations[::-1]))
        elif all(v in inputs for v in topological([value]) if isinstance(v.op, Input)):  # not inside a loop
            computed.append(one)
    return in_data, computed


def _moves(op: Op) -> bool:
    """Whether an op leaves whole numbers as they are."""
    return isinstance(op, Reshape | Slice | Transpose) or (isinstance(op, Cast) and op.dtype.name in (
        "i32", "i64", "f32", "f64"))


def _applied(op: Op, array: np.ndarray, sizes: dict[str, int]) -> np.ndarray:
    """What an op makes of an array, without copying it."""
    if isinstance(op, Reshape):
        return array.reshape([evaluate_dim(d, sizes) for d in op.shape])
    if isinstance(op, Transpose):
        return array.transpose(op.axes)
    if isinstance(op, Slice):
        bounds = ((evaluate_dim(s, sizes), evaluate_dim(n, sizes)) for s, n in zip(op.start, op.shape, strict=True))
        return array[tuple(slice(start, start + count) for start, count in bounds)]
    return array


def extremes(limits: Sequence[Limit]) -> list[tuple[str, Value]]:
    """Outputs for a step's graph: the smallest and the largest element for each limit."""
    return [(f"{one.layer}.{name}", find(one.value)) for one in limits
            for name, find in (("smallest", f.min), ("largest", f.max))]


class Guarded:
    """A program whose last outputs are the extremes of limits: it gives the others, or raises."""

    def __init__(self, program: Any, limits: Sequence[Limit], who: str):
        self.program, self.limits, self.who = program, limits, who
        self.dtypes = program.dtypes

    def __getattr__(self, name: str) -> Any:
        return getattr(self.program, name)

    def __call__(self, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        return self._checked(self.program(*arrays))

    def steps(self, *arguments: Any) -> tuple[np.ndarray, ...]:
        return self._checked(self.program.steps(*arguments))

    def _checked(self, outputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        count = len(outputs) - 2 * len(self.limits)
        for i, one in enumerate(self.limits):
            smallest, largest = outputs[count + 2 * i:count + 2 * i + 2]
            one.check(smallest.min(), largest.max(), self.who)
        return outputs[:count]
