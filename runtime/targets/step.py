"""The step: one native function that calls every kernel in order, with barriers between them, some in loops.

`step(arguments, team, thread, threads)`: arguments is an array of 64-bit words, first the addresses of the memory
blocks (arena regions and scratch are one block; inputs, state and outputs one each), then the symbolic sizes.

A step that is profiled has one more block, with a row of `stamps` for each thread: the ticks (clock.py) at which the
thread began each kernel and each loop, those at which it had done its part, and those of the end. The kernels of a loop
follow it, and keep the stamps of its last step. A thread that is alone goes on at once, so it doesn't note when a part
was done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from graphc.ir.types import Quotient
from graphc.runtime.targets.llvm import BARRIER

__all__ = ["Call", "Copy", "Instruction", "Location", "Move", "Repeat", "Terms", "emit_step", "stamps"]

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
class Move:
    """How an address moves with the steps of a loop, named by its `level`: so many bytes for each.

    It starts `ahead` steps on. Where it `turns`, there are two places, one for even and one for odd numbers.
    """

    level: int
    stride: Terms
    ahead: int = 0
    turns: bool = False


@dataclass(frozen=True)
class Location:
    """An address: a memory block, plus bytes times products of sizes, and what the loops around add."""

    block: int
    offsets: Terms = ()
    moves: tuple[Move, ...] = ()


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


@dataclass(frozen=True)
class Repeat:
    """A loop: `body` for each number below `length`, from the last one down if it is `reverse`.

    `before` copies what stands at the number that the first step reads, `after` at the one that the last has written:
    0 and `length`, or the other way round.
    """

    level: int
    length: Terms
    reverse: bool
    before: tuple[Copy, ...]
    body: tuple[Instruction, ...]
    after: tuple[Copy, ...]


Instruction = Call | Copy | Repeat


def stamps(kernels: int) -> int:
    """Words of a thread's row of stamps: whole cache lines, since every thread writes to its own."""
    return (2 * kernels + 1 + 7) & ~7


def emit_step(instructions: Sequence[Instruction], blocks: int, sizes: Sequence[str], name: str = "step",
              stamped: tuple[int, int, str] | None = None) -> str:
    """The text of a module with the function; it calls the kernels and BARRIER by name.

    `stamped`: the step is profiled. The number of its first kernel or loop within the program, that of all of them,
    and the text of the function `now` that reads the ticks; the last block is that of the stamps.
    """
    return _Emitter(blocks, sizes, stamped).module(instructions, name)


class _Emitter:
    """The lines of the function so far, and the names of the values that hold where the next line stands."""

    def __init__(self, blocks: int, sizes: Sequence[str], stamped: tuple[int, int, str] | None):
        self.blocks, self.sizes, self.stamped = blocks, list(sizes), stamped
        self.lines: list[str] = []
        self.made: dict[object, str] = {}
        self.numbers: dict[int, str] = {}  # of the steps of the loops around
        self.count = self.entries = 0

    def module(self, instructions: Sequence[Instruction], name: str) -> str:
        calls = list(_calls(instructions))
        most, numbers = (max([1, *map(len, taken)]) for taken in ([c.buffers for c in calls], [c.sizes for c in calls]))
        self.lines += [f"%buffers = alloca [{most} x ptr]", f"%sizes = alloca [{numbers} x i64]"]
        self.sequence(instructions)
        self.stamp(2 * self.entries)
        self.copies([i for i in instructions if isinstance(i, Copy)])
        kernels = dict.fromkeys(c.function for c in calls)
        return "\n".join([
            *([self.stamped[2], _STAMP] if self.stamped is not None else []),
            "declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)", f"declare void @{BARRIER}(ptr, i64)",
            *(f"declare void @{k}(ptr, ptr, ptr, i64, i64)" for k in kernels),
            f"define void @{name}(ptr %arguments, ptr %team, i64 %thread, i64 %threads) nounwind {{",
            *self.lines, "ret void", "}", ""])

    # --------------------------------------------------------------------------------------------- instructions

    def sequence(self, instructions: Sequence[Instruction]) -> None:
        """Kernels and loops one after the other, with what a profile wants to know of them."""
        for part in instructions:
            if not isinstance(part, Copy):
                entry, self.entries = self.entries, self.entries + 1
                self.stamp(2 * entry)
                if isinstance(part, Repeat):
                    self.repeat(part)
                    continue
                self.call(part)
                self.stamp(2 * entry + 1)
                self.barrier()

    def call(self, part: Call) -> None:
        for array, values in (("buffers", [f"ptr {self.address(b)}" for b in part.buffers]),
                              ("sizes", [f"i64 {self.size(n)}" for n in part.sizes])):
            for i, value in enumerate(values):
                at = self.put((array, i), f"getelementptr i64, ptr %{array}, i64 {i}")
                self.lines.append(f"store {value}, ptr {at}")
        self.lines.append(f"call void @{part.function}(ptr %buffers, ptr %sizes, ptr %team, i64 %thread, i64 %threads)")

    def repeat(self, loop: Repeat) -> None:
        n, length = self.fresh(), self.total(loop.length)
        ends = [length, "0"] if loop.reverse else ["0", length]
        self.copied(loop.level, ends[0], loop.before)
        known, at = dict(self.made), f"%at{n}"
        self.lines += [f"%any{n} = icmp ne i64 {length}, 0", f"br i1 %any{n}, label %enter{n}, label %leave{n}",
                       f"enter{n}:", f"br label %loop{n}", f"loop{n}:",
                       f"{at} = phi i64 [0, %enter{n}], [%next{n}, %again{n}]"]
        if loop.reverse:
            last = self.put(("last", n), f"sub i64 {length}, 1")
            at = self.put(("number", n), f"sub i64 {last}, {at}")
        self.numbers[loop.level] = at
        self.sequence(loop.body)
        if copies := [part for part in loop.body if isinstance(part, Copy)]:
            self.copies(copies)
            self.barrier()
        self.made = known
        self.lines += [f"br label %again{n}", f"again{n}:", f"%next{n} = add i64 %at{n}, 1",
                       f"%more{n} = icmp ult i64 %next{n}, {length}",
                       f"br i1 %more{n}, label %loop{n}, label %leave{n}", f"leave{n}:"]
        self.copied(loop.level, ends[1], loop.after)

    def copied(self, level: int, number: str, copies: Sequence[Copy]) -> None:
        """Copies outside of a loop, of what stands at a number of its steps, and a barrier."""
        if copies:
            known, self.numbers[level] = dict(self.made), number
            self.copies(copies)
            self.barrier()
            self.made = known

    def copies(self, copies: Sequence[Copy]) -> None:
        """Copies by the first thread."""
        if not copies:
            return
        n = self.fresh()
        moves = [f"call void @llvm.memcpy.p0.p0.i64(ptr {self.address(c.target)}, ptr {self.address(c.source)}, "
                 f"i64 {self.total(c.size)}, i1 false)" for c in copies]
        first = self.put("first", "icmp eq i64 %thread, 0")
        self.lines += [f"br i1 {first}, label %copy{n}, label %copied{n}", f"copy{n}:", *moves,
                       f"br label %copied{n}", f"copied{n}:"]

    def barrier(self) -> None:
        self.lines.append(f"call void @{BARRIER}(ptr %team, i64 %threads)")

    def stamp(self, place: int) -> None:
        """The ticks now, to a place of the thread's row."""
        if self.stamped is not None:
            first, kernels, _ = self.stamped
            offset = self.put("offset", f"mul i64 %thread, {stamps(kernels)}")
            row = self.put("row", f"getelementptr i64, ptr {self.word(self.blocks - 1, 'ptr')}, i64 {offset}")
            at = self.put(("stamp", place), f"getelementptr i64, ptr {row}, i64 {2 * first + place}")
            function = "part" if place % 2 else "stamp"
            self.lines.append(f"call void @{function}(ptr {at}{', i64 %threads' * (place % 2)})")

    # --------------------------------------------------------------------------------------------------- values

    def fresh(self) -> int:
        """A number that no name has."""
        self.count += 1
        return self.count

    def put(self, key: object, instruction: str) -> str:
        """The name of what an instruction gives, which is written once for a key."""
        if key not in self.made:
            self.made[key] = f"%v{self.fresh()}"
            self.lines.append(f"{self.made[key]} = {instruction}")
        return self.made[key]

    def word(self, i: int, type_: str) -> str:
        at = self.put(("argument", i), f"getelementptr i64, ptr %arguments, i64 {i}")
        return self.put(("word", i), f"load {type_}, ptr {at}, align 8")

    def size(self, name: str) -> str:
        """A size of the call, or a quotient of such, rounded down."""
        if not isinstance(name, Quotient):
            return self.word(self.blocks + self.sizes.index(name), "i64")
        whole = self.total(name.numerator.terms)
        rest = self.put((name, "rest"), f"srem i64 {whole}, {name.divisor}")
        below = self.put((name, "sign"), f"ashr i64 {rest}, 63")  # -1 where the truncated quotient is one too many
        towards_zero = self.put((name, "truncated"), f"sdiv i64 {whole}, {name.divisor}")
        return self.put(name, f"add i64 {towards_zero}, {below}")

    def total(self, terms: Terms) -> str:
        """The sum of numbers times products of sizes."""
        result = "0"
        for k, (scale, count) in enumerate(terms):
            term = str(count)
            for j, factor in enumerate(scale):
                term = self.put((count, scale[:j + 1]), f"mul i64 {term}, {self.size(factor)}")
            result = self.put(terms[:k + 1], f"add i64 {result}, {term}")
        return result

    def address(self, where: Location) -> str:
        result = self.word(where.block, "ptr")
        if where.offsets:
            result = self.put((where.block, where.offsets), f"getelementptr i8, ptr {result}, i64 "
                              f"{self.total(where.offsets)}")
        for move in where.moves:
            number = self.numbers[move.level]
            if move.ahead:
                number = self.put((number, move.ahead), f"add i64 {number}, {move.ahead}")
            if move.turns:
                number = self.put((number, "turn"), f"and i64 {number}, 1")
            moved = self.put((number, move.stride), f"mul i64 {number}, {self.total(move.stride)}")
            result = self.put((result, moved), f"getelementptr i8, ptr {result}, i64 {moved}")
        return result


def _calls(instructions: Sequence[Instruction]) -> Iterator[Call]:
    """All calls, those in loops too."""
    for i in instructions:
        if isinstance(i, Repeat):
            yield from _calls(i.body)
        elif isinstance(i, Call):
            yield i
