"""The loop IR of a kernel: what a schedule shapes and a target compiles.

    loops  := 'kernel' name '(' [buffer ':' type, ...] ')' 'writes' count ['scratch' '(' buffer ':' type, ... ')'] block
    block  := '{' stmt* '}'
    stmt   := 'for' axis 'in' expr ['parallel' | 'vector' | 'unroll'] ['grain' count] block
            | ('let' name '=' expr)* place [':' ['stack'] type] ['sum' | 'product' | 'max' | 'min'] '=' expr
            | 'prefetch' place | 'barrier'
    place  := buffer '[' [expr, ...] ']'
    expr   := place | axis | name | dim | 'size' '(' dim ')' | number | dtype '(' number ')'
            | '(' expr infix expr ')' | scalar '(' expr, ... ')' | 'select' '(' expr ',' expr ',' expr ')'
            | dtype '(' expr ')' | 'bits_' dtype '(' expr ')'

Infix operators and scalars are those of `graphc.ir.expr`. A number without a dtype is i64, or f32 where it has a point
or an exponent, or True or False; `dtype(number)` is a constant of another dtype, `dtype(expr)` a cast, `bits_dtype`
reads the same bits as another dtype. A `let` names what the next store uses twice or more: t0, t1, ... Equal text is
equal code: `graphc.runtime.parser` reads it back, and the compile cache knows a kernel by it.

Params and scratch live in memory, the stack's arrays in the memory of a thread; locals are registers. Both are
declared by their first store. Its type is written where it is not the plain one: a local of the value's dtype whose
sizes are the extents of the index's axes (1 where the index is 0). A name that is declared again, with a type, means
another buffer from there on. A register's index is constant but for the lanes of a vector. A statement at the top
that is not in a parallel loop and writes memory is run by one thread; barriers stand only at the top. A prefetch has
the cache fetch what is read later; it computes nothing, and may lie beside the memory.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from graphc.ir.errors import InvalidGraph
from graphc.ir.expr import Axis, Expr, axis, bounds, const, postorder, size, substitute, text
from graphc.ir.types import Dim, DType, Shape, TensorType, at_least_zero

__all__ = [
    "AXIS",
    "Barrier",
    "Buffer",
    "For",
    "Loops",
    "Prefetch",
    "Statement",
    "Store",
    "Update",
    "expressions",
    "map_expressions",
    "map_loops",
    "number",
    "register",
    "shared",
    "substitute_axes",
    "verify_loops",
    "walk",
]

AXIS = r"(?!(?:t\d+|inf|nan)\b)[a-z]\w*"  # the name of an axis; no size without `size(...)`, `let` or number has one


@dataclass(frozen=True)
class Buffer:
    """A named array: `param` (operand or result), `scratch` (the kernel's memory), `stack` or `local` (registers)."""

    name: str
    dtype: DType
    shape: Shape
    space: str = "param"

    @property
    def type(self) -> TensorType:
        return TensorType(self.dtype, self.shape)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Store:
    """buffer[index] = value."""

    buffer: Buffer
    index: tuple[Expr, ...]
    value: Expr


@dataclass(frozen=True)
class Update:
    """buffer[index] = combine(buffer[index], value), the combination being a reduction's."""

    buffer: Buffer
    index: tuple[Expr, ...]
    op: str
    value: Expr


@dataclass(frozen=True)
class For:
    """A loop over an axis. `grain` is the least number of iterations worth a thread of a parallel loop."""

    axis: Axis
    body: tuple[Statement, ...]
    kind: str = "serial"
    grain: int = 1

    @property
    def extent(self) -> Expr:
        extent = self.axis.extent
        return extent if isinstance(extent, Expr) else size(extent)


@dataclass(frozen=True)
class Barrier:
    """All threads wait for one another."""


@dataclass(frozen=True)
class Prefetch:
    """The cache line of an element of memory is asked for."""

    place: Expr


Statement = For | Store | Update | Prefetch | Barrier


@dataclass(frozen=True)
class Loops:
    """The loop nests of one kernel. `outputs` counts the params at the end that it writes."""

    name: str
    params: tuple[Buffer, ...]
    outputs: int
    body: tuple[Statement, ...]
    scratch: tuple[Buffer, ...] = ()

    def __str__(self) -> str:
        def declared(buffers: Iterable[Buffer]) -> str:
            return ", ".join(f"{b}: {b.type}" for b in buffers)

        scratch = f" scratch({declared(self.scratch)})" if self.scratch else ""
        head = f"kernel {self.name}({declared(self.params)}) writes {self.outputs}{scratch} {{"
        return "\n".join([head, *_lines(self.body, "  ", self.memory), "}"])

    @property
    def memory(self) -> dict[str, Buffer]:
        """Params and scratch by name."""
        return {b.name: b for b in self.params + self.scratch}


def _lines(body: Iterable[Statement], indent: str, known: dict[str, Buffer]) -> Iterator[str]:
    """The lines of statements, where the names of `known` mean these buffers; it is kept up to date."""
    for s in body:
        if isinstance(s, For):
            kind = "" if s.kind == "serial" else f" {s.kind}"
            grain = f" grain {s.grain}" if s.grain > 1 else ""
            yield f"{indent}for {s.axis} in {s.extent}{kind}{grain} {{"
            yield from _lines(s.body, indent + "  ", known)
            yield indent + "}"
        elif isinstance(s, Barrier):
            yield indent + "barrier"
        elif isinstance(s, Prefetch):
            yield f"{indent}prefetch {s.place}"
        else:
            op = f"{s.op} " if isinstance(s, Update) else ""
            names: dict[Expr, str] = {}
            for e in shared(s.value):
                definition = text(e, names)
                names[e] = f"t{len(names)}"
                yield f"{indent}let {names[e]} = {definition}"
            value = names.get(s.value) or text(s.value, names)
            yield f"{indent}{s.buffer}[{', '.join(map(str, s.index))}]{_declaration(s, known)} {op}= {value}"


def _declaration(s: Store | Update, known: dict[str, Buffer]) -> str:
    """What a store says of its buffer: nothing where the name means it already or it is the plain one."""
    buffer, before = s.buffer, known.get(s.buffer.name)
    known[buffer.name] = buffer
    if buffer == (before or register(buffer.name, s.index, s.value.dtype)):
        return ""
    return f": {buffer.type}" if buffer.space == "local" else f": {buffer.space} {buffer.type}"


def register(name: str, index: Iterable[Expr], dtype: DType) -> Buffer | None:
    """The local that a first store at the index declares where it states no type; None where it has to."""
    extents: list[Any] = [e.attr.extent if e.op == "axis" else 1 if e is const(0) else None for e in index]
    return Buffer(name, dtype, tuple(extents), "local") if all(isinstance(n, int) for n in extents) else None


def shared(root: Expr) -> list[Expr]:
    """The computations that an expression uses more than once, operands first."""
    uses: Counter[Expr] = Counter()
    order = postorder([root])
    for e in order:
        uses.update(e.args)
    return [e for e in order if uses[e] > 1 and e.args and e.op != "load" and e.dtype.name != "i64"]


def walk(body: Iterable[Statement]) -> Iterator[Statement]:
    """Every statement, outer ones first."""
    for s in body:
        yield s
        if isinstance(s, For):
            yield from walk(s.body)


def expressions(s: Statement) -> tuple[Expr, ...]:
    """The expressions that a statement itself evaluates."""
    if isinstance(s, For):
        return (s.extent,)
    if isinstance(s, Prefetch):
        return (s.place,)
    return () if isinstance(s, Barrier) else (*s.index, s.value)


def map_loops(body: Iterable[Statement],
              change: Callable[[For], tuple[Statement, ...] | None]) -> tuple[Statement, ...]:
    """Rebuild bottom-up; `change` may replace a loop by statements."""
    result: list[Statement] = []
    for s in body:
        if not isinstance(s, For):
            result.append(s)
            continue
        new = replace(s, body=map_loops(s.body, change))
        changed = change(new)
        result.extend((new,) if changed is None else changed)
    return tuple(result)


def map_expressions(body: Iterable[Statement], change: Callable[[Expr], Expr]) -> tuple[Statement, ...]:
    """Replace every value and index by `change` of it."""
    def one(s: Statement) -> Statement:
        if isinstance(s, For):
            extent = s.axis.extent
            axis = Axis(s.axis.name, number(change(extent))) if isinstance(extent, Expr) else s.axis
            return replace(s, axis=axis, body=map_expressions(s.body, change))
        if isinstance(s, Barrier):
            return s
        if isinstance(s, Prefetch):
            return Prefetch(change(s.place))
        return replace(s, index=tuple(map(change, s.index)), value=change(s.value))

    return tuple(map(one, body))


def substitute_axes(body: Iterable[Statement], values: Mapping[Axis, Expr]) -> tuple[Statement, ...]:
    """Replace axes by expressions in every statement, extents of inner loops included."""
    def one(s: Statement) -> Statement:
        if not isinstance(s, For):
            return map_expressions((s,), lambda e: substitute(e, values))[0]
        inner, extent = values, s.axis.extent
        if isinstance(extent, Expr) and extent.axes & values.keys():
            new = Axis(s.axis.name, number(substitute(extent, values)))
            s, inner = replace(s, axis=new), {**values, s.axis: axis(new)}
        return replace(s, body=substitute_axes(s.body, inner))

    return tuple(map(one, body))


def number(e: Expr) -> int | Dim | Expr:
    """An extent in its plainest form."""
    return e.attr if e.op in ("const", "size") else e


def verify_loops(loops: Loops) -> None:
    """Prove every access to memory in bounds and every loop well formed; raise InvalidGraph otherwise.

    L1 every index of a param, scratch or local is provably within the buffer's shape, but for prefetches
    L2 an expression uses only the axes of the loops around it
    L3 a vector or unrolled loop, and the locals indexed in it, have known extents, but for a masked vector tail
    L4 barriers and parallel loops stand at the top, a vector loop contains no loop but unrolled ones
    L5 of the params only the last `outputs` are written
    L6 a name means one thing: axes of nested loops differ in name, so do params and scratch, no register is called
       like one of these, and what is read was declared, by the latest store that declares its name
    """
    memory = loops.memory
    known = dict(memory)
    writable = set(loops.params[len(loops.params) - loops.outputs:]) | set(loops.scratch)

    def fail(rule: str, s: Statement | Loops, why: str) -> None:
        shown = [str(s).splitlines()[0]] if isinstance(s, Loops) else _lines([s], "  ", dict(memory))
        raise InvalidGraph("\n".join([f"{rule}: {why} in the kernel {loops.name}:", *shown]))

    def access(s: Statement, buffer: Buffer, index: tuple[Expr, ...]) -> None:
        if len(index) != len(buffer.shape):
            fail("L1", s, f"{buffer} has {len(buffer.shape)} axes, not {len(index)}")
        for i, extent in zip(index, buffer.shape, strict=True):
            low, high = bounds(i)
            if low is None or high is None or not at_least_zero(low) or not at_least_zero(extent - 1 - high):
                fail("L1", s, f"the index {i} of {buffer} can't be proved within {extent} (bounds {low} .. {high})")

    def check(body: tuple[Statement, ...], axes: frozenset[Axis], vector: bool) -> None:
        for s in body:
            for e in expressions(s):
                if e.axes - axes:
                    fail("L2", s, f"the axes {sorted(a.name for a in e.axes - axes)} are not bound")
                for node in () if isinstance(s, Prefetch) else postorder([e]):
                    if node.op == "load":
                        access(s, node.attr, node.args)
            if isinstance(s, For):
                if s.kind == "unroll" and not isinstance(s.axis.extent, int):
                    fail("L3", s, "an unrolled loop needs a known extent")
                if (axes and s.kind == "parallel") or (vector and s.kind != "unroll"):
                    fail("L4", s, f"a {s.kind} loop can't stand here")
                check(s.body, axes | {s.axis}, vector or s.kind == "vector")
            elif isinstance(s, Barrier):
                if axes:
                    fail("L4", s, "a barrier can't stand in a loop")
            elif not isinstance(s, Prefetch):
                access(s, s.buffer, s.index)
                if s.buffer.space in ("param", "scratch") and s.buffer not in writable:
                    fail("L5", s, f"{s.buffer} is not writable")

    def names(body: tuple[Statement, ...], axes: frozenset[str]) -> None:
        for s in body:
            for e in postorder(expressions(s)):
                if e.op == "load" and known.get(e.attr.name) != e.attr:
                    fail("L6", s, f"{e.attr} is read as {e.attr.type}, which no store above declares it to be")
            if isinstance(s, For):
                if s.axis.name in axes or not re.fullmatch(AXIS, s.axis.name):
                    fail("L6", s, f"a loop can't be named {s.axis} here")
                names(s.body, axes | {s.axis.name})
            elif isinstance(s, Store | Update):
                if s.buffer != memory.get(s.buffer.name, s.buffer):
                    fail("L6", s, f"the register {s.buffer} has the name of a param or of scratch")
                known[s.buffer.name] = s.buffer

    check(loops.body, frozenset(), False)
    if len(memory) != len(loops.params + loops.scratch):
        fail("L6", loops, "two params have one name")
    names(loops.body, frozenset())
