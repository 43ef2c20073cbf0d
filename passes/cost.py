"""What a kernel costs at least, whichever way it is scheduled; and what it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graphc.ir.errors import ShapeError
from graphc.ir.graph import Graph, Value
from graphc.passes.infer import infer
from graphc.passes.structure import elements, structure

__all__ = ["Cost", "cost", "lead"]


@dataclass(frozen=True)
class Cost:
    """Floating-point operations, and bytes read and written."""

    flops: int
    bytes: int


def cost(kernel: Value, sizes: Mapping[str, int]) -> Cost:
    """What a kernel of a fused graph costs where its symbolic sizes are these numbers.

    The operations are those of the definitions of its values, each computed once: one for each addition,
    multiplication, minimum, function and so on that gives a float, two for a multiply-add. Of the operands, what is
    read counts once, and all of the results. A symbolic size without a number is a ShapeError.
    """
    body = infer(kernel.op.body, sizes)  # type: ignore[attr-defined]
    unknown = sorted({s for v in body.values() for s in v.type.symbols()})  # type: ignore[union-attr]
    if unknown:
        raise ShapeError(f"The kernel {body.name} has symbolic sizes without a number: {', '.join(unknown)}; received "
                         f"{dict(sizes)}.")
    asked = _asked(body)
    flops = sum(structure(v).flops * count // max(1, elements(v.shape)) for v, count in asked.items())
    read = sum(asked[v] * v.dtype.size for v in body.inputs)
    return Cost(flops, read + sum(elements(v.shape) * v.dtype.size for _, v in body.outputs))


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


def lead(kernel: Value) -> Value:
    """The value of a kernel's body with the most floating-point operations: its origin names the kernel's layer.

    Where none has any, the one with the most work; the first of equals, so that the forward step leads the backward
    step that shares its kernel.
    """
    body: Graph = kernel.op.body  # type: ignore[attr-defined]
    made = [v for v in body.values() if v not in body.inputs]
    return max([v for v in made if structure(v).flops] or made, key=lambda v: structure(v).flops or structure(v).work)
