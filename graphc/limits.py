"""Numbers that have to lie in a range, such as the word numbers that an Embedding looks up.

A layer sets a limit while a step is traced. Numbers that come straight from the data are checked there, once and before
any step runs; for those that are computed in the model the step gives the smallest and the largest, and the error comes
after it. Nothing is read out of bounds in between: `take` reads the nearest row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.ir import functions as f
from graphc.ir.graph import Value, topological
from graphc.ir.op import Op
from graphc.ir.ops.elementwise import Cast
from graphc.ir.ops.leaf import Input
from graphc.ir.ops.movement import Reshape, Slice, Transpose
from graphc.ir.types import bind_shape, evaluate_dim
from graphc.tracing import current_trace

if TYPE_CHECKING:
    from graphc.layers.layer import Layer

__all__ = ["BatchLimit", "DataLimit", "Guarded", "Limit", "extremes", "limit", "limit_batch", "sort_out"]


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


@dataclass(frozen=True, eq=False)
class BatchLimit:
    """The number of rows that each batch has to have, because a layer keeps a state for each of them."""

    rows: int
    layer: str

    def check(self, rows: int, who: str) -> None:
        """Raise ValueError for another number of rows."""
        if rows != self.rows:
            raise ValueError(f"{who} received a batch of {rows} rows, expected {self.rows}: the stateful layer "
                             f"{self.layer!r} has a state for each of so many rows. Give batch_size={self.rows}, and "
                             "data whose number of rows is a multiple of that.")


def limit(value: Value, low: int, high: int, layer: Layer) -> None:
    """Have the elements of a value checked for every step that is traced now."""
    trace = current_trace()
    if trace is not None:
        trace.limits.append(Limit(value, low, high, layer.name))
        layer.limited = True


def limit_batch(rows: int, layer: Layer) -> None:
    """Have the number of rows checked for every step that is traced now."""
    trace = current_trace()
    if trace is not None:
        trace.limits.append(BatchLimit(rows, layer.name))


def sort_out(limits: Iterable[Limit | BatchLimit],
             inputs: Sequence[Value]) -> tuple[list[DataLimit], list[Limit | BatchLimit]]:
    """The limits that hold for the data of the inputs, and those that are checked when a step runs."""
    in_data: list[DataLimit] = []
    running: list[Limit | BatchLimit] = []
    for one in limits:
        if isinstance(one, BatchLimit):
            running.append(one)
            continue
        value, operations = one.value, []
        while _moves(value.op):
            operations.append(value.op)
            (value,) = value.operands
        if value in inputs:
            in_data.append(DataLimit(one, value, inputs.index(value), operations[::-1]))
        elif all(v in inputs for v in topological([value]) if isinstance(v.op, Input)):  # not inside a loop
            running.append(one)
    return in_data, running


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


def extremes(limits: Iterable[Limit | BatchLimit]) -> list[tuple[str, Value]]:
    """Outputs for a step's graph: the smallest and the largest element for each limit of numbers."""
    return [(f"{one.layer}.{name}", find(one.value)) for one in limits if isinstance(one, Limit)
            for name, find in (("smallest", f.min), ("largest", f.max))]


class Guarded:
    """A program that keeps to limits: its last outputs are their extremes, which it checks and leaves out."""

    def __init__(self, program: Any, limits: Sequence[Limit | BatchLimit], who: str):
        self.program, self.who, self.dtypes = program, who, program.dtypes
        self.numbers = [one for one in limits if isinstance(one, Limit)]
        self.batches = [one for one in limits if isinstance(one, BatchLimit)]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.program, name)

    def __call__(self, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        return self._checked(len(arrays[0]), self.program, *arrays)

    def steps(self, arrays: Sequence[np.ndarray], rows: int, *rest: Any) -> tuple[np.ndarray, ...]:
        """Several steps on batches of so many rows."""
        return self._checked(rows, self.program.steps, arrays, rows, *rest)

    def _checked(self, rows: int, run: Any, *arguments: Any) -> tuple[np.ndarray, ...]:
        for batch in self.batches:
            batch.check(rows, self.who)
        outputs = run(*arguments)
        count = len(outputs) - 2 * len(self.numbers)
        for i, one in enumerate(self.numbers):
            smallest, largest = outputs[count + 2 * i:count + 2 * i + 2]
            one.check(smallest.min(), largest.max(), f"{self.who} computed")
        return outputs[:count]
