"""What the machine can do at best: multiply-adds in registers, and copying; both by code of graphc's own compiler."""

from __future__ import annotations

import ctypes
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.runtime.targets.jit import compile_text
from graphc.runtime.targets.machine import Machine

__all__ = ["Limits"]

SIZES = tuple(1 << k for k in range(14, 29, 2))  # bytes read and written: 16 KiB to 256 MiB
BEST_OF = 3


@dataclass(frozen=True)
class Limits:
    """The peak of fused multiply-adds, and bytes copied per second where source and copy have a size together."""

    threads: int
    operations: float  # per second
    copies: dict[int, float]

    @staticmethod
    def measure(threads: int) -> Limits:
        """The limits of some threads at once; takes about two seconds."""
        return Limits(threads, _peak(threads), {size: _copy(threads, size) for size in SIZES})

    def best(self, other: Limits) -> Limits:
        """The better of two measurements: something else may have run during one of them."""
        copies = {size: max(speed, other.copies[size]) for size, speed in self.copies.items()}
        return Limits(self.threads, max(self.operations, other.operations), copies)

    def bandwidth(self, number: float) -> float:
        """Bytes per second of a copy of about this many bytes."""
        nearest = min(self.copies, key=lambda size: abs(np.log(size / max(1.0, number))))
        return self.copies[nearest]

    def seconds(self, operations: float, number: float) -> float:
        """The least time for these operations and bytes."""
        return max(operations / self.operations, number / self.bandwidth(number))

    def json(self) -> dict[str, Any]:
        return {"threads": self.threads, "gflops": self.operations / 1e9,
                "copy_gbytes": {str(size): speed / 1e9 for size, speed in self.copies.items()}}


def _peak(threads: int) -> float:
    """Multiply-adds in registers on all threads at once, in operations per second."""
    machine = Machine.host()
    chains, rounds, v = range(machine.registers - 4), 5_000_000, f"<{machine.lanes} x float>"
    fma = f"@llvm.fma.v{machine.lanes}f32"
    text = "\n".join([
        f"declare {v} {fma}({v}, {v}, {v})", "define void @peak(ptr %p, ptr %unused, i64 %unused.n, i64 %rounds) {",
        "entry:", f"%a = load {v}, ptr %p, align 4", "br label %loop", "loop:", "%i = phi i64 [0, %entry], [%j, %loop]",
        *(f"%x{k} = phi {v} [%a, %entry], [%y{k}, %loop]" for k in chains),
        *(f"%y{k} = call {v} {fma}({v} %x{k}, {v} %a, {v} %a)" for k in chains),
        "%j = add i64 %i, 1", "%more = icmp slt i64 %j, %rounds", "br i1 %more, label %loop, label %done", "done:",
        *(f"%q{k} = getelementptr {v}, ptr %p, i64 {k}\nstore {v} %y{k}, ptr %q{k}, align 4" for k in chains),
        "ret void", "}"])
    elements = len(chains) * machine.lanes
    return 2 * elements * rounds * threads / _fastest(text, "peak", machine, threads, elements, rounds)


def _copy(threads: int, size: int) -> float:
    """A loop of vector loads and stores, or memcpy where LLVM takes that; bytes read and written per second."""
    machine = Machine.host()
    v, elements = f"<{machine.lanes} x float>", size // 8 // threads // machine.lanes * machine.lanes
    text = "\n".join([
        "define void @copy(ptr noalias %p, ptr noalias %q, i64 %n, i64 %rounds) {", "entry:", "br label %round",
        "round:", "%r = phi i64 [0, %entry], [%s, %next]", "br label %loop", "loop:",
        "%i = phi i64 [0, %round], [%j, %loop]",
        "%from = getelementptr float, ptr %p, i64 %i", "%to = getelementptr float, ptr %q, i64 %i",
        f"%x = load {v}, ptr %from, align 4", f"store {v} %x, ptr %to, align 4",
        f"%j = add i64 %i, {machine.lanes}", "%more = icmp slt i64 %j, %n", "br i1 %more, label %loop, label %next",
        "next:", 'call void asm sideeffect "", "~{memory}"()', "%s = add i64 %r, 1",
        "%again = icmp slt i64 %s, %rounds", "br i1 %again, label %round, label %done", "done:", "ret void", "}"])
    rounds = max(2, (1 << 29) // size)
    moved = 8 * elements * threads * rounds
    return moved / _fastest(text, "copy", machine, threads, elements, rounds)


def _fastest(text: str, name: str, machine: Machine, threads: int, elements: int, rounds: int) -> float:
    """The least seconds of a function on two arrays of its own in each thread."""
    code = compile_text(text, name, machine)
    run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(code.address)
    pairs = [np.full((2, elements), 0.5, np.float32) for _ in range(threads)]
    best = float("inf")
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(BEST_OF):
            start = time.perf_counter()
            list(pool.map(lambda pair: run(pair[0].ctypes.data, pair[1].ctypes.data, elements, rounds), pairs))
            best = min(best, time.perf_counter() - start)
    return best
