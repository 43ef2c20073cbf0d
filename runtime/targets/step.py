"""The step: one native function that calls every kernel in order, with barriers between them.

`step(arguments, team, thread, threads)`: arguments is an array of 64-bit words, first the addresses of the memory
blocks (arena regions and scratch are one block; inputs, state and outputs one each), then the symbolic sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from graphc.runtime.targets.llvm import I64, PTR, call_address

__all__ = ["Call", "Copy", "Location", "emit_step"]

Scale = tuple[str, ...]


@dataclass(frozen=True)
class Location:
    """An address: a memory block, plus bytes times products of sizes."""

    block: int
    offsets: tuple[tuple[Scale, int], ...] = ()


@dataclass(frozen=True)
class Call:
    """One kernel: the address of its code, its buffers, and the names of the sizes it takes."""

    address: int
    buffers: tuple[Location, ...]
    sizes: tuple[str, ...]


@dataclass(frozen=True)
class Copy:
    """Bytes to copy from one place to another when all kernels have run."""

    source: Location
    target: Location
    size: tuple[tuple[Scale, int], ...]


def emit_step(calls: Sequence[Call], copies: Sequence[Copy], blocks: int, sizes: Sequence[str], barrier: int) -> str:
    """The text of a module with the function `step`."""
    module = ir.Module("step")
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [PTR, PTR, I64, I64]), "step")
    b = ir.IRBuilder(function.append_basic_block("entry"))
    arguments, team, thread, threads = function.args

    def word(i: int, t: Any) -> Any:
        return b.load(b.gep(arguments, [I64(i)], source_etype=I64), typ=t)

    value = {name: word(blocks + i, I64) for i, name in enumerate(sizes)}
    base: dict[int, Any] = {}

    def total(terms: Sequence[tuple[Scale, int]]) -> Any:
        result: Any = I64(0)
        for scale, count in terms:
            term: Any = I64(count)
            for name in scale:
                term = b.mul(term, value[name])
            result = b.add(result, term)
        return result

    def address(where: Location) -> Any:
        if where.block not in base:
            base[where.block] = word(where.block, PTR)
        pointer = base[where.block]
        return b.gep(pointer, [total(where.offsets)], source_etype=ir.IntType(8)) if where.offsets else pointer

    most = max([1, *(len(c.buffers) for c in calls)])
    buffers = b.alloca(PTR, most)
    numbers = b.alloca(I64, max(1, len(sizes)))
    for c in calls:
        for i, where in enumerate(c.buffers):
            b.store(address(where), b.gep(buffers, [I64(i)], source_etype=PTR))
        for i, name in enumerate(c.sizes):
            b.store(value[name], b.gep(numbers, [I64(i)], source_etype=I64))
        call_address(b, c.address, [buffers, numbers, team, thread, threads])
        call_address(b, barrier, [team, threads])
    if copies:
        with b.if_then(b.icmp_signed("==", thread, I64(0))):
            t = ir.FunctionType(ir.VoidType(), [PTR, PTR, I64, ir.IntType(1)])
            memcpy = ir.Function(module, t, "llvm.memcpy.p0.p0.i64")
            for copy in copies:
                b.call(memcpy, [address(copy.target), address(copy.source), total(copy.size), ir.IntType(1)(0)])
    b.ret_void()
    return str(module)
