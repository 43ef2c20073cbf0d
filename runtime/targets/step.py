"""The step: one native function that calls every kernel in order, with barriers between them.

`step(arguments, team, thread, threads)`: arguments is an array of 64-bit words, first the addresses of the memory
blocks (arena regions and scratch are one block; inputs, state and outputs one each), then the symbolic sizes.

A step that is profiled has one more block, with a row of `stamps` for each thread: the ticks (clock.py) at which the
thread began each kernel, those at which it had done its part, and those of the end. A thread that is alone goes on at
once, so it doesn't note when a part was done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphc.runtime.targets.llvm import BARRIER

__all__ = ["Call", "Copy", "Location", "emit_step", "stamps"]

_STAMP = """
define internal void @stamp(ptr %to) alwaysinline {
  %now = call i64 @now()
  store i64 %now, ptr %to, align 8
  ret void
}

define internal void @part(ptr %to, i64 %threads) alwaysinline {
  %alone = icmp eq i64 %threads, 1
  br i1 %alone, label %done, label %note
note:
  call void @stamp(ptr %to)
  br label %done
done:
  ret void
}
"""

Scale = tuple[str, ...]
Terms = tuple[tuple[Scale, int], ...]  # numbers of bytes times products of sizes


@dataclass(frozen=True)
class Location:
    """An address: a memory block, plus bytes times products of sizes."""

    block: int
    offsets: Terms = ()


@dataclass(frozen=True)
class Call:
    """One kernel: the name of its function, its buffers, and the names of the sizes it takes."""

    function: str
    buffers: tuple[Location, ...]
    sizes: tuple[str, ...]


@dataclass(frozen=True)
class Copy:
    """Bytes to copy from one place to another when all kernels have run."""

    source: Location
    target: Location
    size: Terms


def stamps(kernels: int) -> int:
    """Words of a thread's row of stamps: whole cache lines, since every thread writes to its own."""
    return (2 * kernels + 1 + 7) & ~7


def emit_step(calls: Sequence[Call], copies: Sequence[Copy], blocks: int, sizes: Sequence[str],
              name: str = "step", stamped: tuple[int, int, str] | None = None) -> str:
    """The text of a module with the function; it calls the kernels and BARRIER by name.

    `stamped`: the step is profiled. The number of its first kernel within the program, that of all kernels, and the
    text of the function `now` that reads the ticks; the last block is that of the stamps.
    """
    lines: list[str] = []
    made: dict[object, str] = {}

    def put(key: object, instruction: str) -> str:
        """The name of what an instruction gives, which is written once for a key."""
        if key not in made:
            made[key] = f"%v{len(made)}"
            lines.append(f"{made[key]} = {instruction}")
        return made[key]

    def word(i: int, type_: str) -> str:
        at = put(("argument", i), f"getelementptr i64, ptr %arguments, i64 {i}")
        return put(("word", i), f"load {type_}, ptr {at}, align 8")

    def total(terms: Terms) -> str:
        result = "0"
        for k, (scale, count) in enumerate(terms):
            term = str(count)
            for j, factor in enumerate(scale):
                size = word(blocks + sizes.index(factor), "i64")
                term = put((count, scale[:j + 1]), f"mul i64 {term}, {size}")
            result = put(terms[:k + 1], f"add i64 {result}, {term}")
        return result

    def address(where: Location) -> str:
        block = word(where.block, "ptr")
        if not where.offsets:
            return block
        return put(where, f"getelementptr i8, ptr {block}, i64 {total(where.offsets)}")

    def stamp(place: int) -> None:
        if stamped is not None:
            first, kernels, _ = stamped
            row = put("row", f"getelementptr i64, ptr {word(blocks - 1, 'ptr')}, i64 "
                      + put("offset", f"mul i64 %thread, {stamps(kernels)}"))
            at = put(("stamp", place), f"getelementptr i64, ptr {row}, i64 {2 * first + place}")
            function = "part" if place % 2 else "stamp"
            lines.append(f"call void @{function}(ptr {at}{', i64 %threads' * (place % 2)})")

    most, numbers = max([1, *(len(c.buffers) for c in calls)]), max(1, len(sizes))
    lines += [f"%buffers = alloca [{most} x ptr]", f"%sizes = alloca [{numbers} x i64]"]
    for k, c in enumerate(calls):
        for array, values in (("buffers", [f"ptr {address(b)}" for b in c.buffers]),
                              ("sizes", [f"i64 {word(blocks + sizes.index(n), 'i64')}" for n in c.sizes])):
            for i, value in enumerate(values):
                lines.append(f"store {value}, ptr {put((array, i), f'getelementptr i64, ptr %{array}, i64 {i}')}")
        stamp(2 * k)
        lines.append(f"call void @{c.function}(ptr %buffers, ptr %sizes, ptr %team, i64 %thread, i64 %threads)")
        stamp(2 * k + 1)
        lines.append(f"call void @{BARRIER}(ptr %team, i64 %threads)")
    stamp(2 * len(calls))
    if copies:
        moves = [f"call void @llvm.memcpy.p0.p0.i64(ptr {address(c.target)}, ptr {address(c.source)}, "
                 f"i64 {total(c.size)}, i1 false)" for c in copies]
        lines += ["%first = icmp eq i64 %thread, 0", "br i1 %first, label %copy, label %done", "copy:", *moves,
                  "br label %done", "done:"]
    kernels = dict.fromkeys(c.function for c in calls)
    return "\n".join([
        *([stamped[2], _STAMP] if stamped is not None else []),
        "declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)", f"declare void @{BARRIER}(ptr, i64)",
        *(f"declare void @{k}(ptr, ptr, ptr, i64, i64)" for k in kernels),
        f"define void @{name}(ptr %arguments, ptr %team, i64 %thread, i64 %threads) nounwind {{",
        *lines, "ret void", "}", ""])
