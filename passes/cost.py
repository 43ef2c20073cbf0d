"""What a kernel costs at least, whichever way it is scheduled; and what it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graphc.ir.errors import ShapeError
from graphc.ir.graph import Graph, Value
from graphc.ir.ops.structure import Kernel, Scan
from graphc.ir.types import evaluate_dim
from graphc.passes.infer import infer
from graphc.passes.structure import elements, structure

__all__ = ["Cost", "cost", "lead", "work"]


@dataclass(frozen=True)
class Cost:
    """Floating-point operations, and bytes read and written."""

    flops: int
    bytes: int


def cost(step: Value, sizes: Mapping[str, int]) -> Cost:
    """What a kernel or scan of a fused graph costs where its symbolic sizes are these numbers.

    The operations are those of the definitions of its values, each computed once: one for each addition,
    multiplication, minimum, function and so on that gives a float, two for a multiply-add. Of the operands, what is
    read counts once, and all of the results; a scan costs its body times its length. A symbolic size without a number
    is a ShapeError.
    """
    if isinstance(step.op, Scan):
        parts = [cost(v, sizes) for v in step.op.body.values() if isinstance(v.op, Kernel | Scan)]
        times = evaluate_dim(step.op.length, sizes)
        return Cost(times * sum(p.flops for p in parts), times * sum(p.bytes for p in parts))
    body = infer(step.op.body, sizes)  # type: ignore[attr-defined]
    unknown = sorted({s for v in body.values() for s in v.type.symbols()})  # type: ignore[union-attr]
    if unknown:
        raise ShapeError(f"The kernel {body.name} has symbolic sizes without a number: {', '.join(unknown)}; received "
                         f"{dict(sizes)}.")
    asked = _asked(body)
    flops = sum(structure(v).flops * count // max(1, elements(v.shape)) for v, count in asked.items())
    read = sum(asked[v] * v.dtype.size for v in body.inputs)
    return Cost(flops, read + sum(elements(v.shape) * v.dtype.size for _, v in body.outputs))


def work(step: Value) -> int:
    """The scalar operations of a kernel or scan of a fused graph, symbolic sizes counted as NOMINAL."""
    body: Graph = step.op.body  # type: ignore[attr-defined]
    if isinstance(step.op, Scan):
        inside = sum(work(v) for v in body.values() if isinstance(v.op, Kernel | Scan))
        return elements((step.op.length,)) * inside
    return sum(structure(v).work for v in body.values())


def _asked(body: Graph) -> dict[Value, int]:
    """How many elements of each value are needed: reductions are computed whole, of the others what is read."""
    asked = dict.fromkeys(body.values(), 0)
    asked.update((v, elements(v.shape)) for _, v in body.outputs)
    for v in reversed(body.values()):
        s, whole = structure(v), elements(v.shape)
        asked[v] = whole if s.reduces else min(asked[v], whole)
        for operand, visits in zip(v.operands, s.visits, strict=True):
            asked[operand] += visits * asked[v] // max(1, whole)
    return asked


def lead(step: Value) -> Value:
    """The value inside of a kernel or scan with the most floating-point operations: its origin names the layer.

    Where none has any, the one with the most work; the first of equals, so that the forward step leads the backward
    step that shares its kernel.
    """
    body: Graph = step.op.body  # type: ignore[attr-defined]
    if isinstance(step.op, Scan):
        made = [lead(v) for v in body.values() if isinstance(v.op, Kernel | Scan)]
    else:
        made = [v for v in body.values() if v not in body.inputs]
    return max([v for v in made if structure(v).flops] or made, key=lambda v: structure(v).flops or structure(v).work)
