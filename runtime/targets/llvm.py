"""Loops to the text of LLVM IR. Nothing is decided here: the loops say what is unrolled, vectorised and staged.

A kernel becomes `void name(ptr buffers, ptr sizes, ptr team, i64 thread, i64 threads)`: buffers points to the
addresses of its params and scratch, sizes to the values of its symbolic sizes in the order of their names.

Three things are done on the way, since they shorten the text by more than they cost: what unrolled loops make
constant is folded, what no loop around changes is written before that loop, and elements that lie a constant apart
are addressed from one pointer.
"""

from __future__ import annotations

import math
import operator
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from graphc.ir.errors import LoweringError
from graphc.ir.expr import REDUCTIONS, Axis, Expr, bounds, linear, load, position, postorder, sort_key
from graphc.ir.types import DTYPES, Dim, DType, at_least_zero
from graphc.runtime.loops import Barrier, Buffer, For, Loops, Prefetch, Statement, Store, Update, expressions, walk

__all__ = ["BARRIER", "LIBM", "Value", "emit", "symbols"]

BARRIER = "graphc_barrier"  # void (ptr team, i64 threads): every thread waits for the others
# functions of the C library, under names of which LLVM knows nothing
LIBM = {f"graphc_{name}": name for stem in ("atan", "cos", "erf", "exp", "log", "log1p", "pow", "sin", "tanh")
        for name in (stem, stem + "f")}

_TYPES = {"bool": "i1", "u8": "i8", "i32": "i32", "u32": "i32", "i64": "i64", "f32": "float", "f64": "double"}
_MANGLED = {"float": "f32", "double": "f64"}
BOOL = DTYPES["bool"]


class Value(NamedTuple):
    """An LLVM value: its type, how it is written, and the number that is (in every lane) if it is constant."""

    type: str
    text: str
    constant: Any = None

    def __str__(self) -> str:
        return f"{self.type} {self.text}"

    @property
    def vector(self) -> bool:
        return self.type[0] == "<"


_BUFFERS, _SIZES, _TEAM = (Value("ptr", f"%{name}") for name in ("buffers", "sizes", "team"))
_THREAD, _THREADS = Value("i64", "%thread"), Value("i64", "%threads")


def symbols(loops: Loops) -> list[str]:
    """The names of the symbolic sizes that a kernel needs, sorted."""
    found: set[str] = set()

    def add(d: Any) -> None:
        if isinstance(d, Dim):
            found.update(n for m, _ in d.terms for n in m)

    for buffer in loops.params + loops.scratch:
        for d in buffer.shape:
            add(d)
    for s in walk(loops.body):
        for e in expressions(s):
            for node in postorder([e]):
                if node.op == "size":
                    add(node.attr)
    return sorted(found)


def emit(loops: Loops, lanes: int, name: str = "kernel") -> str:
    """The text of a module with one function. It calls BARRIER, and functions of LIBM, by name."""
    return _Emitter(loops, lanes).module(name)


@lru_cache(maxsize=2048)
def _reads(e: Expr) -> tuple[bool, bool]:
    """Whether an expression holds where it stands only, since it reads registers or might trap; and reads memory."""
    inner = [_reads(a) for a in e.args]
    local = e.op == "load" and e.attr.space == "local"
    traps = e.op in ("floordiv", "mod") and not e.dtype.is_float and not _divides_naturally(e)
    return local or traps or any(r for r, _ in inner), (e.op == "load" and not local) or any(m for _, m in inner)


def _writes(s: Statement) -> bool:
    """Whether a statement writes memory."""
    return any(isinstance(t, Store | Update) and t.buffer.space != "local" for t in walk([s]))


@lru_cache(maxsize=2048)
def _linear(e: Expr) -> tuple[tuple[tuple[Expr, Any], ...], Any]:
    """An index as a linear form, its terms in the order of their text."""
    terms, constant = linear(e)
    return tuple(sorted(terms.items(), key=lambda t: sort_key(t[0]))), constant


@lru_cache(maxsize=2048)
def _offset(e: Expr) -> tuple[tuple[tuple[Expr, Any], ...], Any]:
    """A load's or store's position in its buffer, in elements, as a linear form."""
    return _linear(position(e.args, e.attr.shape))


@lru_cache(maxsize=2048)
def _divides_naturally(e: Expr) -> bool:
    """Whether a floor division or remainder is the unsigned one: nothing negative, nothing by zero."""
    if e.dtype.name != "i64":
        return False
    low, by = bounds(e.args[0])[0], e.args[1]
    return low is not None and at_least_zero(low) and (by.op == "size" or (by.op == "const" and by.attr > 0))


class _Scope:
    """The code of a loop's body or of a branch so far, and the values that it has computed.

    While an inner scope is written, this one ends just before it: what is added here is computed before that loop.
    """

    def __init__(self, depth: int, writes: bool) -> None:
        self.depth = depth  # how many scopes there are around it
        self.writes = writes  # memory
        self.lines: list[str] = []
        self.kept: dict[Any, Value] = {}  # values that nothing can change
        self.read: dict[Any, Value] = {}  # values that depend on memory, until it is written
        self.turned: dict[Any, list[Value]] = {}  # vectors across registers, until one is written


class _Emitter:
    """The state of writing one kernel: the scopes, the loop variables and the registers."""

    def __init__(self, loops: Loops, lanes: int):
        self.loops, self.lanes = loops, lanes
        self.entry: list[str] = []
        self.scopes = [_Scope(0, True)]
        self.scope = self.scopes[0]  # where the next instruction goes
        self.block = "entry"
        self.numbers = 0
        self.declarations: dict[str, str] = {}
        self.axes: dict[Axis, Value] = {}  # loop variables; constants in unrolled loops
        self.depths: dict[Axis, int] = {}  # of the loops that are not unrolled
        self.bound: dict[frozenset[Axis], tuple[int, tuple[int, ...]]] = {}
        self.registers: dict[Any, Value] = {}
        self.lane: Axis | None = None
        self.mask: Value | None = None
        self.memo: dict[Expr, Value] = {}  # values within a statement

    def module(self, name: str) -> str:
        """The text of the whole module."""
        self.pointers = {buffer: self.argument(_BUFFERS, i, "ptr")
                         for i, buffer in enumerate(self.loops.params + self.loops.scratch)}
        self.sizes = {n: self.argument(_SIZES, i, "i64") for i, n in enumerate(symbols(self.loops))}
        for s in self.loops.body:
            if isinstance(s, Barrier):
                self.call("void", BARRIER, [_TEAM, _THREADS])
            elif isinstance(s, For) and s.kind == "parallel":
                self.parallel(s)
            elif _writes(s):
                with self.branch(self.put("i1", f"icmp eq {_THREAD}, 0"), s):
                    self.statement(s)
            else:
                self.statement(s)
        # explicit vectors must not be split by a CPU's preference for narrower ones
        width = f'"prefer-vector-width"="{self.lanes * 32}" "min-legal-vector-width"="{self.lanes * 32}"'
        arguments = ", ".join(map(str, (_BUFFERS, _SIZES, _TEAM, _THREAD, _THREADS)))
        return "\n".join([*self.declarations.values(), f"define void @{name}({arguments}) nounwind {width} {{",
                          "entry:", *self.entry, *self.scope.lines, "ret void", "}", ""])

    # ------------------------------------------------------------------------------------------ instructions

    def fresh(self) -> int:
        """A number that no name has."""
        self.numbers += 1
        return self.numbers

    def put(self, type_: str, instruction: str) -> Value:
        """Add an instruction; its result."""
        self.numbers += 1
        name = f"%v{self.numbers}"
        self.scope.lines.append(f"{name} = {instruction}")
        return Value(type_, name)

    def argument(self, array: Value, i: int, type_: str) -> Value:
        """A word of one of the function's arrays."""
        n = self.fresh()
        self.entry += [f"%a{n} = getelementptr i8, {array}, i64 {8 * i}", f"%v{n} = load {type_}, ptr %a{n}, align 8"]
        return Value(type_, f"%v{n}")

    def call(self, result: str, name: str, args: Sequence[Value], flags: str = "") -> Value:
        """Call a function by its name."""
        types = ", ".join(a.type for a in args)
        self.declarations[name] = f"declare {result} @{name}({types})"
        text = f"call {flags}{result} @{name}({', '.join(map(str, args))})"
        if result != "void":
            return self.put(result, text)
        self.scope.lines.append(text)
        return Value("void", "")

    def intrinsic(self, name: str, args: Sequence[Value]) -> Value:
        """Call an LLVM intrinsic on operands and result of one type."""
        return self.call(args[0].type, f"llvm.{name}.{_mangle(args[0].type)}", args)

    @contextmanager
    def nested(self, block: str, s: Statement) -> Iterator[_Scope]:
        """Write the code inside, the statement's, into a scope of its own, which begins with a block of this name."""
        outer = self.scope
        self.scope, self.block = _Scope(len(self.scopes), _writes(s)), block
        self.scopes.append(self.scope)
        yield self.scope
        if self.scopes.pop().writes:
            outer.read.clear()
        self.scope = outer

    @contextmanager
    def branch(self, condition: Value, s: Statement) -> Iterator[None]:
        """Run the code inside, the statement's, only where the condition holds."""
        n = self.fresh()
        outer = self.scope.lines
        with self.nested(f"then{n}", s) as inner:
            yield
        outer += [f"br {condition}, label %then{n}, label %after{n}", f"then{n}:", *inner.lines,
                  f"br label %after{n}", f"after{n}:"]
        self.block = f"after{n}"

    def bind(self, axis: Axis, value: Value) -> None:
        """Set a loop variable."""
        self.axes[axis] = value
        self.bound.clear()
        if value.constant is None:
            self.depths[axis] = len(self.scopes) - 1
        else:
            self.depths.pop(axis, None)

    # -------------------------------------------------------------------------------------------- statements

    def statement(self, s: Statement) -> None:
        self.memo = {}
        if isinstance(s, For):
            {"serial": self.serial, "parallel": self.serial, "vector": self.vector, "unroll": self.unroll}[s.kind](s)
            return
        if isinstance(s, Prefetch):
            self.call("void", "llvm.prefetch.p0", [self.address(s.place)[0], *(Value("i32", k) for k in "031")])
            return
        assert not isinstance(s, Barrier)
        value = self.chosen(s.value)
        if isinstance(s, Update) and value.op == "const" and value.attr == REDUCTIONS[s.op][1](s.buffer.dtype):
            return
        if s.buffer.space == "local":
            self.write_register(s, value)
            return
        place = load(s.buffer, s.index, s.buffer.dtype)
        new = self.value(value)
        if isinstance(s, Update):
            if self.lane is not None and self.lane not in place.axes:
                raise LoweringError(f"{s.buffer} is updated by every lane at one place")
            new = self.combine(s.op, s.buffer.dtype, self.value(place), new)
        self.write_memory(s.buffer, place, new)
        self.scope.read.clear()

    def serial(self, s: For) -> None:
        self.loop(s, self.integer(0), self.scalar_value(s.extent))

    def parallel(self, s: For) -> None:
        self.memo = {}
        total = self.scalar_value(s.extent).text
        worth = self.put("i64", f"udiv i64 {total}, {s.grain}").text
        some = self.put("i64", f"call i64 @llvm.smax.i64(i64 {worth}, i64 1)").text
        active = self.put("i64", f"call i64 @llvm.smin.i64(i64 {some}, {_THREADS})").text
        for name in ("llvm.smax.i64", "llvm.smin.i64"):
            self.declarations[name] = f"declare i64 @{name}(i64, i64)"
        with self.branch(self.put("i1", f"icmp slt {_THREAD}, {active}"), s):
            following = self.put("i64", f"add {_THREAD}, 1")
            begin, end = (self.put("i64", f"mul {t}, {total}").text for t in (_THREAD, following))
            first, last = (self.put("i64", f"udiv i64 {x}, {active}") for x in (begin, end))
            self.loop(s, first, last)

    def loop(self, s: For, first: Value, last: Value) -> None:
        """A loop that tests at its end, behind a test whether it runs at all."""
        n = self.fresh()
        body, after = f"{s.axis.name}.{n}", f"{s.axis.name}.{n}.after"
        counter, outer, before = Value("i64", f'%"{s.axis.name}.{n}.at"'), self.scope.lines, self.block
        with self.nested(body, s) as inner:
            self.bind(s.axis, counter)
            for t in s.body:
                self.statement(t)
            following = self.put("i64", f"add nuw nsw {counter}, 1")
            more = self.put("i1", f"icmp slt {following}, {last.text}")
        if first.constant is None or last.constant is None or first.constant >= last.constant:
            # a block of its own before the loop: LLVM moves what is invariant there
            outer += [f"%some{n} = icmp slt {first}, {last.text}",
                      f'br i1 %some{n}, label %"{body}.before", label %"{after}"', f'"{body}.before":']
            before = f"{body}.before"
        outer += [f'br label %"{body}"', f'"{body}":',
                  f'{counter.text} = phi i64 [{first.text}, %"{before}"], [{following.text}, %"{self.block}"]',
                  *inner.lines, f'br {more}, label %"{body}", label %"{after}"', f'"{after}":']
        self.block = after

    def unroll(self, s: For) -> None:
        for i in range(s.axis.extent):  # type: ignore[arg-type]
            self.bind(s.axis, self.integer(i))
            for t in s.body:
                self.statement(t)

    def vector(self, s: For) -> None:
        self.lane, self.mask = s.axis, None
        self.bound.clear()
        if s.axis.extent != self.lanes:
            _, most = bounds(s.extent)
            if not isinstance(most, int) or most > self.lanes:
                raise LoweringError(f"a vector loop of {s.axis.extent} does not fit {self.lanes} lanes")
            self.mask = self.first_lanes(s.extent)
        for t in s.body:
            self.statement(t)
        self.lane = self.mask = None
        self.bound.clear()

    def first_lanes(self, extent: Expr) -> Value:
        """The mask of a loop that has fewer iterations than there are lanes."""
        type_, limit = f"<{self.lanes} x i1>", self.scalar_value(extent)
        if limit.constant is not None:
            return Value(type_, f"<{', '.join(f'i1 {int(i < limit.constant)}' for i in range(self.lanes))}>")

        def make() -> Value:
            wide = self.splat(self.put("i32", f"trunc {limit} to i32"))
            return self.put(type_, f"icmp sgt {wide}, {self.steps('i32').text}")

        return self.keep(self.depth(extent), ("mask", limit.text), make)

    def steps(self, type_: str) -> Value:
        """The number of every lane."""
        return Value(f"<{self.lanes} x {type_}>", f"<{', '.join(f'{type_} {i}' for i in range(self.lanes))}>")

    # --------------------------------------------------------------------------------------------- registers

    def write_register(self, s: Store | Update, e: Expr) -> None:
        """Set or update a register; a sum of products is one fused multiply-add."""
        self.scope.turned.clear()
        register, type_ = self.register(s.buffer, s.index)
        whole = type_[0] == "<"
        if isinstance(s, Update) and s.op == "sum" and e.op == "mul" and s.buffer.dtype.is_float:
            factors = [self.value(a) for a in e.args]
            if whole or self.lane is None:
                old = self.put(type_, f"load {type_}, {register}")
                factors = [self.splat(f) for f in factors] if whole else factors
                self.set_register(s, register, self.intrinsic("fmuladd", [*factors, old]), old)
                return
        value = self.value(e)
        if whole:
            value = self.splat(value)
        elif isinstance(s, Update) and self.lane is not None:
            value = self.horizontal(s.op, s.buffer.dtype, self.splat(value))
        elif value.vector:
            raise LoweringError(f"the register {s.buffer} can't hold a vector")
        if not isinstance(s, Update):
            self.scope.lines.append(f"store {value}, {register}")
            return
        old = self.put(type_, f"load {type_}, {register}")
        self.set_register(s, register, self.combine(s.op, s.buffer.dtype, old, value), old)

    def set_register(self, s: Update, register: Value, new: Value, old: Value) -> None:
        """Store what an update made, in the lanes that take part; the others matter only if they have elements."""
        if new.vector and self.mask is not None and not any(
                self.lane in i.axes and n == self.lane.extent for i, n in zip(s.index, s.buffer.shape, strict=True)):
            new = self.select(self.mask, new, old)
        self.scope.lines.append(f"store {new}, {register}")

    def register(self, buffer: Buffer, index: Sequence[Expr]) -> tuple[Value, str]:
        """The stack slot of a register and its type; LLVM turns it into a value."""
        where = self.where(index)
        type_ = self.type_of(buffer.dtype, -1 in where)
        if (buffer, where) not in self.registers:
            slot = self.registers[buffer, where] = Value("ptr", f"%r{len(self.registers)}")
            self.entry.append(f"{slot.text} = alloca {type_}")
        return self.registers[buffer, where], type_

    def where(self, index: Sequence[Expr]) -> tuple[int, ...]:
        """Which register of a buffer an index means; -1 stands for the lanes."""
        return tuple(-1 if self.lane in i.axes else self.known(i) for i in index)

    def read_register(self, register: tuple[Value, str]) -> Value:
        return self.put(register[1], f"load {register[1]}, {register[0]}")

    def across(self, buffer: Buffer, index: Sequence[Expr]) -> Value | None:
        """A vector across registers that hold vectors along another axis: lane j of it is in the j-th of them.

        All vectors across the same registers are made at once, by shuffles of pairs in steps of 1, 2, 4, ...
        """
        where = self.where(index)
        if -1 not in where or (buffer, where) in self.registers:
            return None
        q = where.index(-1)
        for p, lane in enumerate(where):
            held = [(buffer, tuple(-1 if i == p else j if i == q else w for i, w in enumerate(where)))
                    for j in range(self.lanes)]
            if p != q and all(h in self.registers for h in held):
                key = (buffer, held[0])
                if key not in self.scope.turned:
                    type_ = self.type_of(buffer.dtype, True)
                    self.scope.turned[key] = self.transposed([self.read_register((self.registers[h], type_))
                                                              for h in held])
                return self.scope.turned[key][lane]
        return None

    def transposed(self, vectors: list[Value]) -> list[Value]:
        """As many vectors as lanes, lanes and vectors exchanged."""
        n, type_ = self.lanes, vectors[0].type
        step = n // 2
        while step:
            # lanes with the bit of `step` change places with vectors that have it not
            low = ", ".join(f"i32 {j if not j & step else n + j - step}" for j in range(n))
            high = ", ".join(f"i32 {j + step if not j & step else n + j}" for j in range(n))
            for i in (i for i in range(n) if not i & step):
                pair = f"shufflevector {vectors[i]}, {vectors[i | step]}, <{n} x i32>"
                vectors[i], vectors[i | step] = self.put(type_, f"{pair} <{low}>"), self.put(type_, f"{pair} <{high}>")
            step //= 2
        return vectors

    def known(self, e: Expr) -> int:
        """The value of an index that unrolled loops make constant."""
        terms, constant = _linear(e)
        for atom, k in terms:
            value = self.axes.get(atom.attr) if atom.op == "axis" else None
            if value is None or value.constant is None:
                raise LoweringError(f"the register index {e} is not constant")
            constant = constant + k * value.constant
        return constant

    def combine(self, op: str, dtype: DType, x: Value, y: Value) -> Value:
        return self.operation(REDUCTIONS[op][0], dtype, [x, y])

    def horizontal(self, op: str, dtype: DType, value: Value) -> Value:
        """All lanes combined into one."""
        # -0 changes no sum, and unlike 0 it does not tempt LLVM to a slow permutation of masked lanes
        identity = self.number(-0.0 if op == "sum" and dtype.is_float else REDUCTIONS[op][1](dtype), dtype)
        if self.mask is not None:
            value = self.select(self.mask, value, self.splat(identity))
        kind = "f" if dtype.is_float else "s" if dtype.kind == "i" else "u"
        name = {"sum": "add", "product": "mul", "max": f"{kind}max", "min": f"{kind}min"}[op]
        if kind != "f" or op in ("max", "min"):
            flags = "nnan nsz " if kind == "f" else ""
            best = self.call(identity.type, f"llvm.vector.reduce.{name}.{_mangle(value.type)}", [value], flags)
            return best if kind != "f" else self.select(self.any_unknown(value), self.number(math.nan, dtype), best)
        name = f"llvm.vector.reduce.f{name}.{_mangle(value.type)}"
        return self.call(identity.type, name, [identity, value], "reassoc ")

    def any_unknown(self, value: Value) -> Value:
        """Whether one of the lanes is NaN."""
        lanes = self.put(self.type_of(BOOL, True), f"fcmp uno {value}, {value.text}")
        return self.call("i1", f"llvm.vector.reduce.or.{_mangle(lanes.type)}", [lanes])

    # ------------------------------------------------------------------------------------------------ memory

    def address(self, place: Expr) -> tuple[Value, bool | None]:
        """The address of an element (of lane 0), and how lanes lie: None uniform, True adjacent, False scattered.

        For scattered lanes it is a vector of addresses.
        """
        buffer: Buffer = place.attr
        size = buffer.dtype.size
        terms, constant = _offset(place)
        lanes = [(atom, k) for atom, k in terms if self.lane in atom.axes]
        steps: list[tuple[int, Value, Any]] = []
        for atom, k in terms:
            if self.lane in atom.axes:
                continue
            value = self.scalar_value(atom)
            if value.constant is not None:
                constant = constant + k * value.constant
            else:
                steps.append((self.depth(atom), value, k))
        symbolic = constant - dict(constant.terms).get((), 0) if isinstance(constant, Dim) else 0
        if isinstance(symbolic, Dim):
            # after what it is shared by: the rows of a tile lie a symbolic size apart
            steps.append((max([0, *(d for d, _, _ in steps)]), self.dimension(symbolic), 1))
        steps.sort(key=operator.itemgetter(0))
        pointer = self.pointers[buffer] if buffer.space != "stack" else self.array(buffer)
        path: tuple[Any, ...] = (pointer.text,)
        for at, group in groupby(steps, operator.itemgetter(0)):
            added = [(value, k) for _, value, k in group]
            path += tuple((value.text, k) for value, k in added)
            pointer = self.keep(at, path, partial(self.moved, pointer, added, size))
        rest = constant - symbolic
        if rest:
            pointer = self.keep(self.scope.depth, (pointer.text, rest, size), lambda: self.put(
                "ptr", f"getelementptr i8, {pointer}, i64 {rest * size}"))
        if not lanes:
            return pointer, None
        if len(lanes) == 1 and lanes[0][0].op == "axis" and lanes[0][1] == 1:
            return pointer, True
        parts = [(self.splat(self.value(atom)), k) for atom, k in lanes]
        index = self.keep(max(self.depth(atom) for atom, _ in lanes), tuple((v.text, k) for v, k in parts),
                          lambda: self.sum(parts))
        type_ = self.type_of(buffer.dtype, memory=True)
        return self.put(f"<{self.lanes} x ptr>", f"getelementptr {type_}, {pointer}, {index}"), False

    def array(self, buffer: Buffer) -> Value:
        """The address of an array of the stack."""
        if buffer not in self.pointers:
            count, t = math.prod(buffer.shape), self.type_of(buffer.dtype, memory=True)  # type: ignore[arg-type]
            self.pointers[buffer] = Value("ptr", f"%s{len(self.pointers)}")
            self.entry.append(f"{self.pointers[buffer].text} = alloca [{count} x {t}], align 64")
        return self.pointers[buffer]

    def moved(self, pointer: Value, steps: Sequence[tuple[Value, Any]], size: int) -> Value:
        """A pointer moved on by values times numbers of elements of a size."""
        return self.put("ptr", f"getelementptr i8, {pointer}, {self.sum([(v, k * size) for v, k in steps])}")

    def sum(self, terms: Sequence[tuple[Value, Any]]) -> Value:
        """The sum of indices times numbers that may be symbolic."""
        first, *others = (self.product(value, k) for value, k in terms)
        for term in others:
            first = self.put(first.type, f"add nsw {first}, {term.text}")
        return first

    def product(self, value: Value, k: int | Dim) -> Value:
        """An index times a number that may be symbolic."""
        if k == 1:
            return value
        factor = self.dimension(k) if isinstance(k, Dim) else self.integer(k)
        return self.put(value.type, f"mul nsw {value}, {(self.splat(factor) if value.vector else factor).text}")

    def read_memory(self, e: Expr) -> Value:
        dtype = e.dtype
        pointer, layout = self.address(e)
        t = self.type_of(dtype, layout is not None, memory=True)
        if layout is None or (layout and self.mask is None):
            value = self.put(t, f"load {t}, {pointer}, align {dtype.size}")
        else:
            access = f"llvm.masked.load.{_mangle(t)}.p0" if layout else (
                f"llvm.masked.gather.{_mangle(t)}.v{self.lanes}p0")
            value = self.call(t, access, [pointer, Value("i32", str(dtype.size)), self.full_mask(),
                                          Value(t, "zeroinitializer")])
        if dtype.kind == "b":
            value = self.put(self.type_of(dtype, value.vector), f"icmp ne {value}, zeroinitializer")
        return value

    def write_memory(self, buffer: Buffer, place: Expr, value: Value) -> None:
        size = buffer.dtype.size
        pointer, layout = self.address(place)
        if layout is not None:
            value = self.splat(value)
        elif value.vector:
            raise LoweringError(f"{buffer} is written by every lane at one place")
        if buffer.dtype.kind == "b":
            t = self.type_of(buffer.dtype, value.vector, memory=True)
            value = self.put(t, f"zext {value} to {t}")
        if layout is None or (layout and self.mask is None):
            self.scope.lines.append(f"store {value}, {pointer}, align {size}")
            return
        access = f"llvm.masked.store.{_mangle(value.type)}.p0" if layout else (
            f"llvm.masked.scatter.{_mangle(value.type)}.v{self.lanes}p0")
        self.call("void", access, [value, pointer, Value("i32", str(size)), self.full_mask()])

    def full_mask(self) -> Value:
        return self.mask or self.splat(self.number(True, BOOL))

    # ------------------------------------------------------------------------------------------- expressions

    def keep(self, depth: int, key: Any, make: Callable[[], Value]) -> Value:
        """A value that memory can't change, made once in the scope of a depth."""
        home = self.scopes[depth]
        found = home.kept.get(key)
        if found is None:
            here, self.scope = self.scope, home
            found = home.kept[key] = make()
            self.scope = here
        return found

    def binding(self, axes: frozenset[Axis]) -> tuple[int, tuple[int, ...]]:
        """The depth of the innermost loop among axes, and the constants that unrolled ones are."""
        found = self.bound.get(axes)
        if found is None:
            values = [self.axes[a] for a in _ordered(axes) if a != self.lane]
            found = self.bound[axes] = (max([0, *(self.depths.get(a, 0) for a in axes if a != self.lane)]),
                                        tuple(v.constant for v in values if v.constant is not None))
        return found

    def depth(self, e: Expr) -> int:
        """The depth of the scope that a value belongs to: the outermost that it holds in."""
        fixed, memory = _reads(e)
        if fixed:
            return len(self.scopes) - 1
        depth = self.binding(e.axes)[0]
        return self.unwritten(depth) if memory else depth

    def unwritten(self, outermost: int) -> int:
        """The depth of the outermost scope, from one on, that writes no memory before here."""
        depth = len(self.scopes) - 1
        while depth > outermost and not self.scopes[depth].writes:
            depth -= 1
        return depth

    def scalar_value(self, e: Expr) -> Value:
        """An integer that no lane changes."""
        value = self.value(e)
        assert not value.vector, e
        return value

    def chosen(self, e: Expr) -> Expr:
        """An expression without the selections whose condition unrolled loops make constant."""
        while e.op == "select":
            condition = self.value(e.args[0]).constant
            if condition is None:
                break
            e = e.args[1 if condition else 2]
        return e

    def value(self, e: Expr) -> Value:
        """The value of an expression: a scalar, or a vector where it varies with the lane."""
        memo = self.memo
        stack = [e]
        while stack:
            node = stack[-1]
            if node in memo:
                stack.pop()
                continue
            fixed, memory = _reads(node)
            kept: dict[Any, Value] | None = None
            if not fixed and node.op != "const":
                depth, constants = self.binding(node.axes)
                home = self.scopes[self.unwritten(depth) if memory else depth]
                kept = home.read if memory else home.kept
                key = (node, self.lane if self.lane in node.axes else None, constants)
                found = kept.get(key)
                if found is not None:
                    memo[node] = found
                    stack.pop()
                    continue
            if node.op == "load":
                needed: tuple[Expr, ...] = ()
            elif node.op == "select":
                condition = memo.get(node.args[0])
                if condition is None:
                    needed = node.args[:1]
                else:
                    needed = node.args if condition.constant is None else (node.args[1 if condition.constant else 2],)
            else:
                needed = node.args
            missing = [a for a in needed if a not in memo]
            if missing:
                stack.extend(missing)
                continue
            if node.op == "select" and len(needed) == 1:
                value = memo[needed[0]]
            elif kept is None:
                value = self.compute(node)
            else:
                here, self.scope = self.scope, home
                value = self.compute(node)
                self.scope = here
            if kept is not None:
                kept[key] = value
            memo[node] = value
            stack.pop()
        return memo[e]

    def compute(self, e: Expr) -> Value:
        """The value of an expression whose operands have theirs."""
        if e.op == "const":
            return self.number(e.attr, e.dtype)
        if e.op == "axis":
            return self.steps("i64") if e.attr == self.lane else self.axes[e.attr]
        if e.op == "size":
            return self.dimension(e.attr)
        if e.op == "load":
            if e.attr.space != "local":
                return self.read_memory(e)
            return self.across(e.attr, e.args) or self.read_register(self.register(e.attr, e.args))
        args = [self.memo[a] for a in e.args]
        folded = self.fold(e, args)
        if folded is not None:
            return folded
        if any(a.vector for a in args):
            args = [self.splat(a) for a in args]
        if e.op == "select":
            return self.select(*args)
        if e.op == "bitcast":
            type_ = self.type_of(e.dtype, args[0].vector)
            return self.put(type_, f"bitcast {args[0]} to {type_}")
        if e.op == "cast":
            return self.convert(args[0], e.args[0].dtype, e.dtype)
        if e.op in ("max", "min") and e.dtype.is_float:
            for i, a in enumerate(e.args):
                if a.op == "const" and not math.isnan(a.attr):
                    # with a constant, one instruction that gives the other operand where that is NaN
                    sign = "ogt" if e.op == "max" else "olt"
                    keep = self.put(self.type_of(BOOL, args[0].vector), f"fcmp {sign} {args[i]}, {args[1 - i].text}")
                    return self.select(keep, args[i], args[1 - i])
        if e.op in ("floordiv", "mod") and _divides_naturally(e):
            return self.put(args[0].type, f"{'udiv' if e.op == 'floordiv' else 'urem'} {args[0]}, {args[1].text}")
        return self.operation(e.op, e.args[0].dtype, args, index=e.dtype.name == "i64")

    def fold(self, e: Expr, args: Sequence[Value]) -> Value | None:
        """The value of an operation on indices or conditions that constants decide, if they do."""
        source, numbers, whole = e.args[0].dtype, [a.constant for a in args], any(a.vector for a in args)
        if source.name not in ("i64", "bool") or all(n is None for n in numbers):
            return None
        result: Value | None = None
        if None not in numbers:
            if e.op == "cast":
                result = self.number(np.array(numbers[0]).astype(e.dtype.numpy).item(), e.dtype)
            elif e.op in _FOLDED and not (e.op in ("floordiv", "mod") and numbers[1] == 0):
                result = self.number(_FOLDED[e.op](*numbers), e.dtype)
        elif len(args) == 2:
            known, other = (numbers[0], args[1]) if numbers[1] is None else (numbers[1], args[0])
            rules = _LOGIC if source.name == "bool" else _ARITHMETIC
            neutral, absorbing = rules.get(e.op, (None, None))
            if known == neutral and neutral is not None and not (e.op == "sub" and numbers[1] is None):
                result = other
            elif known == absorbing and absorbing is not None:
                result = self.number(absorbing, e.dtype)
        return self.splat(result) if whole and result is not None else result

    def dimension(self, d: Dim) -> Value:
        """The value of a symbolic size."""
        def make() -> Value:
            total = ""
            for monomial, coefficient in d.terms:
                term = self.sizes[monomial[0]].text if monomial else str(coefficient)
                factors = [*(self.sizes[name].text for name in monomial[1:]), *([str(coefficient)] if monomial else [])]
                for factor in factors:
                    if factor != "1":
                        term = self.put("i64", f"mul nsw i64 {term}, {factor}").text
                total = self.put("i64", f"add nsw i64 {total}, {term}").text if total else term
            return Value("i64", total)

        return self.keep(0, d, make)

    def operation(self, op: str, dtype: DType, args: Sequence[Value], index: bool = False) -> Value:
        """One scalar operation of SCALARS on values of a dtype."""
        first, floating, signed = args[0], dtype.is_float, dtype.kind == "i"
        type_, operands = first.type, ", ".join([str(first), *(a.text for a in args[1:])])
        if op in ("lt", "le", "eq", "ne"):
            if floating:
                condition = "fcmp " + ("une" if op == "ne" else "o" + {"lt": "lt", "le": "le", "eq": "eq"}[op])
            else:
                condition = "icmp " + (op if op in ("eq", "ne") else ("s" if signed else "u") + op)
            return self.put(self.type_of(BOOL, first.vector), f"{condition} {operands}")
        if op in ("min", "max"):
            return self.extreme(op, dtype, *args) if floating else self.intrinsic(("s" if signed else "u") + op, args)
        if floating:
            if op in _FLOAT:
                return self.put(type_, f"{_FLOAT[op]} {operands}")
            if op in _INTRINSIC:
                return self.intrinsic(_INTRINSIC[op], args)
            return self.libm(op + ("" if dtype.size == 8 else "f"), args)
        if op in _INTEGER:
            flags = " nsw" if index and op in ("add", "sub", "mul") else ""
            return self.put(type_, f"{_INTEGER[op]}{flags} {operands}")
        if op == "shr":
            return self.put(type_, f"{'ashr' if signed else 'lshr'} {operands}")
        if op == "not":
            return self.put(type_, f"xor {first}, {self.like(first, -1)}")
        if op == "neg":
            return self.put(type_, f"sub {type_} zeroinitializer, {first.text}" if first.vector
                            else f"sub {type_} 0, {first.text}")
        if op == "abs":
            return self.call(type_, f"llvm.abs.{_mangle(type_)}", [first, Value("i1", "0")]) if signed else first
        if op in ("floordiv", "mod"):
            return self.floor_division(op, signed, args)
        raise LoweringError(f"no code for {op} on {dtype}")

    def floor_division(self, op: str, signed: bool, args: Sequence[Value]) -> Value:
        x, y = args
        if not signed:
            return self.put(x.type, f"{'udiv' if op == 'floordiv' else 'urem'} {x}, {y.text}")
        rest = self.put(x.type, f"srem {x}, {y.text}")
        truth, zero = self.type_of(BOOL, x.vector), self.like(x, 0)
        inexact = self.put(truth, f"icmp ne {rest}, {zero}")
        signs = self.put(x.type, f"xor {rest}, {y.text}")
        apart = self.put(truth, f"icmp slt {signs}, {zero}")
        wrong = self.put(truth, f"and {inexact}, {apart.text}")
        if op == "floordiv":
            quotient = self.put(x.type, f"sdiv {x}, {y.text}")
            return self.select(wrong, self.put(x.type, f"add {quotient}, {self.like(x, -1)}"), quotient)
        return self.select(wrong, self.put(x.type, f"add {rest}, {y.text}"), rest)

    def convert(self, value: Value, source: DType, target: DType) -> Value:
        t, signed = self.type_of(target, value.vector), source.kind == "i"
        if source.is_float and target.is_float:
            instruction = "fpext" if target.size > source.size else "fptrunc"
        elif source.is_float:
            instruction = "fptosi" if target.kind == "i" else "fptoui"
        elif target.is_float:
            instruction = "sitofp" if signed else "uitofp"
        elif target.kind == "b":
            return self.put(t, f"icmp ne {value}, {self.like(value, 0)}")
        elif source.kind != "b" and target.size == source.size:
            return value
        elif source.kind != "b" and target.size < source.size:
            instruction = "trunc"
        else:
            instruction = "sext" if signed else "zext"
        return self.put(t, f"{instruction} {value} to {t}")

    def libm(self, name: str, args: Sequence[Value]) -> Value:
        """A call of the C mathematics library, lane by lane."""
        if not args[0].vector:
            return self.call(args[0].type, f"graphc_{name}", args)
        result = Value(args[0].type, "poison")
        for i in range(self.lanes):
            element = _element(args[0].type)
            lane = self.libm(name, [self.put(element, f"extractelement {a}, i32 {i}") for a in args])
            result = self.put(result.type, f"insertelement {result}, {lane}, i32 {i}")
        return result

    def extreme(self, op: str, dtype: DType, x: Value, y: Value) -> Value:
        """The larger or smaller float, NaN if one is: CPUs' instruction gives x then, so y is looked at once more.

        Another NaN than y itself keeps LLVM from making two comparisons of that instruction.
        """
        condition = self.type_of(BOOL, x.vector)
        better = self.put(condition, f"fcmp {'ogt' if op == 'max' else 'olt'} {y}, {x.text}")
        unknown = self.put(condition, f"fcmp uno {y}, {y.text}")
        nan = self.number(math.nan, dtype)
        return self.select(unknown, self.splat(nan) if x.vector else nan, self.select(better, y, x))

    def select(self, condition: Value, yes: Value, no: Value) -> Value:
        return self.put(yes.type, f"select {condition}, {yes}, {no}")

    # ---------------------------------------------------------------------------------------------- constants

    def type_of(self, dtype: DType, vector: bool = False, memory: bool = False) -> str:
        """The type of a dtype in a register or in memory, where a bool is a byte."""
        t = "i8" if memory and dtype.kind == "b" else _TYPES[dtype.name]
        return f"<{self.lanes} x {t}>" if vector else t

    def integer(self, value: int) -> Value:
        return Value("i64", str(value), value)

    def number(self, value: Any, dtype: DType) -> Value:
        """A constant of a dtype."""
        if dtype.is_float:
            return Value(_TYPES[dtype.name], f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}", value)
        return Value(_TYPES[dtype.name], str(int(value)), value)

    def like(self, value: Value, number: int) -> str:
        """An integer constant of the type of a value."""
        return f"splat ({_element(value.type)} {number})" if value.vector else str(number)

    def splat(self, value: Value) -> Value:
        """A vector with the value in every lane."""
        if value.vector:
            return value
        t = f"<{self.lanes} x {value.type}>"
        if value.constant is not None:
            return Value(t, f"splat ({value})", value.constant)
        one = self.put(t, f"insertelement {t} poison, {value}, i32 0")
        return self.put(t, f"shufflevector {one}, {t} poison, <{self.lanes} x i32> zeroinitializer")


_FLOAT = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv", "neg": "fneg", "mod": "frem"}
_INTRINSIC = {"sqrt": "sqrt", "floor": "floor", "abs": "fabs", "fma": "fmuladd"}
_INTEGER = {"add": "add", "sub": "sub", "mul": "mul", "and": "and", "or": "or", "xor": "xor", "shl": "shl"}
_FOLDED: dict[str, Callable[..., Any]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "floordiv": operator.floordiv,
    "mod": operator.mod, "min": min, "max": max, "neg": operator.neg, "abs": abs, "lt": operator.lt,
    "le": operator.le, "eq": operator.eq, "ne": operator.ne, "and": operator.and_, "or": operator.or_,
    "xor": operator.xor, "not": lambda x: not x if isinstance(x, bool) else ~x}
# op -> the number that leaves the other operand as it is, and the one that decides the result
_ARITHMETIC: dict[str, tuple[Any, Any]] = {"add": (0, None), "sub": (0, None), "mul": (1, 0)}
_LOGIC = {"and": (True, False), "or": (False, True)}


@lru_cache(maxsize=4096)
def _ordered(axes: frozenset[Axis]) -> tuple[Axis, ...]:
    return tuple(sorted(axes, key=str))


@lru_cache(maxsize=256)
def _element(type_: str) -> str:
    """The type of a vector's elements."""
    return type_[1:-1].split(" x ")[1]


@lru_cache(maxsize=256)
def _mangle(type_: str) -> str:
    """A type as it stands in the name of an intrinsic."""
    if type_[0] == "<":
        count, element = type_[1:-1].split(" x ")
        return f"v{count}{_mangle(element)}"
    return _MANGLED.get(type_, type_)
