"""Loops to LLVM IR. Nothing is decided here: the loops say what is unrolled, vectorised, parallel and staged.

A kernel becomes `void name(ptr buffers, ptr sizes, ptr team, i64 thread, i64 threads)`: buffers points to the
addresses of its params and scratch, sizes to the values of its symbolic sizes in the order of their names.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import math
import re
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any

from llvmlite import ir

from graphc.ir.errors import LoweringError
from graphc.ir.expr import REDUCTIONS, Axis, Expr, bounds, linear, load, position, postorder, size
from graphc.ir.types import Dim, DType, at_least_zero
from graphc.runtime.loops import Barrier, Buffer, For, Loops, Statement, Store, Update, expressions, walk

__all__ = ["call_address", "emit", "symbols"]

I1, I8, I32, I64, PTR = ir.IntType(1), ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.PointerType()
_FLOATS = {4: ir.FloatType(), 8: ir.DoubleType()}


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


def emit(loops: Loops, lanes: int, barrier: int, name: str = "kernel") -> str:
    """The text of a module with one function; `barrier` is the address of the team's barrier."""
    module = ir.Module(name)
    _Emitter(module, loops, lanes, barrier, name).run()
    # explicit vectors must not be split by a CPU's preference for narrower ones
    width = f'"prefer-vector-width"="{lanes * 32}" "min-legal-vector-width"="{lanes * 32}"'
    return re.sub(r"(define void @[^\n]*\))", rf"\1 {width}", str(module), count=1)


def llvm_type(dtype: DType, memory: bool = False) -> ir.Type:
    """The register type of a dtype, or its type in memory."""
    if dtype.is_float:
        return _FLOATS[dtype.size]
    if dtype.kind == "b":
        return I8 if memory else I1
    return ir.IntType(dtype.size * 8)


@cache
def libm_address(name: str) -> int:
    """The address of a function of the C mathematics library."""
    library = ctypes.CDLL(ctypes.util.find_library("m"))
    return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0


@lru_cache(maxsize=65536)
def _reads_registers(e: Expr) -> bool:
    return (e.op == "load" and e.attr.space == "local") or any(map(_reads_registers, e.args))


@lru_cache(maxsize=65536)
def _offset(e: Expr) -> tuple[tuple[tuple[Expr, Any], ...], Any]:
    """A load's or store's position in its buffer, in elements, as a linear form."""
    terms, constant = linear(position(e.args, e.attr.shape))
    return tuple(sorted(terms.items(), key=lambda t: str(t[0]))), constant


class _Emitter:
    """The state of emitting one kernel: the builder, the loop variables and the registers."""

    def __init__(self, module: ir.Module, loops: Loops, lanes: int, barrier: int, name: str):
        self.module, self.loops, self.lanes, self.barrier_address = module, loops, lanes, barrier
        self.function = ir.Function(module, ir.FunctionType(ir.VoidType(), [PTR, PTR, PTR, I64, I64]), name)
        self.builder = ir.IRBuilder(self.function.append_basic_block("entry"))
        self.buffers, self.sizes, self.team, self.thread, self.threads = self.function.args
        self.axes: dict[Axis, Any] = {}  # loop variables: llvm values, or ints in unrolled loops
        self.registers: dict[tuple[Buffer, tuple[int, ...]], Any] = {}
        self.lane: Axis | None = None
        self.mask: Any = None
        self.memo: dict[Expr, Any] = {}  # values within a statement
        self.kept: dict[Any, Any] = {}  # values that hold for the statements of a straight piece of code

    def run(self) -> None:
        b = self.builder
        self.pointers = {}
        for i, buffer in enumerate(self.loops.params + self.loops.scratch):
            self.pointers[buffer] = b.load(b.gep(self.buffers, [I64(i)], source_etype=PTR), typ=PTR)
        self.size_values = {n: b.load(b.gep(self.sizes, [I64(i)], source_etype=I64), typ=I64)
                            for i, n in enumerate(symbols(self.loops))}
        for s in self.loops.body:
            if isinstance(s, Barrier):
                call_address(b, self.barrier_address, [self.team, self.threads])
            elif isinstance(s, For) and s.kind == "parallel":
                self.parallel(s)
            elif any(isinstance(t, Store | Update) and t.buffer.space != "local" for t in walk([s])):
                with b.if_then(b.icmp_signed("==", self.thread, I64(0))):
                    self.kept = {}
                    self.statement(s)
                self.kept = {}
            else:
                self.statement(s)
        b.ret_void()

    # ------------------------------------------------------------------------------------------- statements

    def statement(self, s: Statement) -> None:
        self.memo = {}
        if isinstance(s, For):
            {"serial": self.serial, "parallel": self.serial, "vector": self.vector, "unroll": self.unroll}[s.kind](s)
            return
        assert not isinstance(s, Barrier)
        value = self.value(s.value)
        if s.buffer.space == "local":
            self.write_register(s, value)
            return
        place = _place(s.buffer, s.index)
        if isinstance(s, Update):
            value = self.combine(s.op, s.buffer.dtype, self.value(place), value)
        self.write_memory(s.buffer, place, value)
        self.kept = {key: v for key, v in self.kept.items() if isinstance(key, Axis)}

    def serial(self, s: For) -> None:
        self.loop(s, I64(0), self.scalar_value(s.extent))

    def parallel(self, s: For) -> None:
        b = self.builder
        total = self.scalar_value(s.extent)
        worth = b.udiv(total, I64(s.grain)) if s.grain > 1 else total
        worth = b.select(b.icmp_signed("<", worth, I64(1)), I64(1), worth)
        active = b.select(b.icmp_signed("<", worth, self.threads), worth, self.threads)
        with b.if_then(b.icmp_signed("<", self.thread, active)):
            first = b.udiv(b.mul(total, self.thread), active)
            last = b.udiv(b.mul(total, b.add(self.thread, I64(1))), active)
            self.loop(s, first, last)

    def loop(self, s: For, first: Any, last: Any) -> None:
        b = self.builder
        head, body, exit_ = (b.append_basic_block(f"{s.axis.name}.{part}") for part in ("head", "body", "exit"))
        before = b.block
        b.branch(head)
        b.position_at_end(head)
        counter = b.phi(I64, s.axis.name)
        counter.add_incoming(first, before)
        b.cbranch(b.icmp_signed("<", counter, last), body, exit_)
        b.position_at_end(body)
        self.axes[s.axis], self.kept = counter, {}
        for t in s.body:
            self.statement(t)
        following = b.add(counter, I64(1), flags=("nsw", "nuw"))
        counter.add_incoming(following, b.block)
        b.branch(head)
        b.position_at_end(exit_)
        self.kept = {}

    def unroll(self, s: For) -> None:
        for i in range(s.axis.extent):  # type: ignore[arg-type]
            self.axes[s.axis] = i
            for t in s.body:
                self.statement(t)

    def vector(self, s: For) -> None:
        b, n = self.builder, s.axis.extent
        self.lane, self.mask = s.axis, None
        if n != self.lanes:
            _, most = bounds(s.extent)
            if not isinstance(most, int) or most > self.lanes:
                raise LoweringError(f"a vector loop of {n} does not fit {self.lanes} lanes")
            if s.axis not in self.kept:
                limit = b.trunc(self.scalar_value(s.extent), I32) if not isinstance(n, int) else I32(n)
                steps = ir.Constant(ir.VectorType(I32, self.lanes), list(range(self.lanes)))
                self.kept[s.axis] = b.icmp_signed("<", steps, self.splat(limit))
            self.mask = self.kept[s.axis]
        for t in s.body:
            self.statement(t)
        self.lane = self.mask = None

    def write_register(self, s: Any, value: Any) -> None:
        b = self.builder
        register, vector = self.register(s.buffer, s.index)
        if vector and not _is_vector(value):
            value = self.splat(value)
        if isinstance(s, Update):
            if _is_vector(value) and not vector:
                value = self.horizontal(s.op, s.buffer.dtype, value)
            old = b.load(register, typ=value.type)
            new = self.accumulate(s, old, value)
            value = b.select(self.mask, new, old) if vector and self.mask is not None else new
        elif _is_vector(value) and not vector:
            raise LoweringError(f"the register {s.buffer} can't hold a vector")
        b.store(value, register)

    def register(self, buffer: Buffer, index: Sequence[Expr]) -> tuple[Any, bool]:
        """The stack slot of a register, and whether it holds a vector; mem2reg turns it into a value."""
        vector = self.lane is not None and any(self.lane in i.axes for i in index)
        where = tuple(-1 if self.lane in i.axes else self.integer(i) for i in index)
        if (buffer, where) not in self.registers:
            t = llvm_type(buffer.dtype)
            with self.builder.goto_entry_block():
                self.registers[buffer, where] = self.builder.alloca(ir.VectorType(t, self.lanes) if vector else t)
        return self.registers[buffer, where], vector

    def integer(self, e: Expr) -> int:
        """The value of an index that unrolled loops make constant."""
        terms, constant = linear(e)
        for atom, k in terms.items():
            value = self.axes.get(atom.attr) if atom.op == "axis" else None
            if not isinstance(value, int):
                raise LoweringError(f"the register index {e} is not constant")
            constant = constant + k * value
        return constant  # type: ignore[return-value]

    def accumulate(self, s: Update, old: Any, value: Any) -> Any:
        """old combined with the value; a sum of products is one fused multiply-add."""
        if s.op == "sum" and s.value.op == "mul" and s.buffer.dtype.is_float and _is_vector(value) == (
                _is_vector(old)):
            x, y = (self.value(a) for a in s.value.args)
            x, y = (self.splat(v) if _is_vector(old) and not _is_vector(v) else v for v in (x, y))
            return self.intrinsic("fmuladd", [x, y, old])
        return self.combine(s.op, s.buffer.dtype, old, value)

    def combine(self, op: str, dtype: DType, x: Any, y: Any) -> Any:
        return self.operation(REDUCTIONS[op][0], dtype, [x, y])

    def horizontal(self, op: str, dtype: DType, value: Any) -> Any:
        """All lanes combined into one."""
        identity = REDUCTIONS[op][1](dtype)
        if self.mask is not None:
            value = self.builder.select(self.mask, value, self.splat(_constant(identity, dtype)))
        kind = "f" if dtype.is_float else "s" if dtype.kind == "i" else "u"
        name = {"sum": "fadd" if kind == "f" else "add", "product": "fmul" if kind == "f" else "mul",
                "max": "fmaximum" if kind == "f" else f"{kind}max",
                "min": "fminimum" if kind == "f" else f"{kind}min"}[op]
        t = value.type
        element = t.element
        if name in ("fadd", "fmul"):
            fn = self.declare(f"llvm.vector.reduce.{name}.{_mangle(t)}", element, [element, t])
            return self.builder.call(fn, [_constant(identity, dtype), value], fastmath=("reassoc",))
        fn = self.declare(f"llvm.vector.reduce.{name}.{_mangle(t)}", element, [t])
        return self.builder.call(fn, [value])

    # ----------------------------------------------------------------------------------------------- memory

    def address(self, place: Expr) -> tuple[Any, bool | None]:
        """The address of an element (of lane 0), and how lanes lie: None uniform, True adjacent, False scattered."""
        buffer: Buffer = place.attr
        b, t = self.builder, llvm_type(buffer.dtype, memory=True)
        terms, constant = _offset(place)
        layout: bool | None = None
        total: Any = None
        extra: Any = I64(0)
        for atom, k in terms:
            if self.lane is not None and self.lane in atom.axes:
                if atom.op == "axis" and k == 1 and layout is None:
                    layout = True
                    continue
                layout = False
                break
            known = self.axes.get(atom.attr) if atom.op == "axis" else None
            if isinstance(known, int) and isinstance(k, int) and isinstance(constant, int):
                constant += known * k
                continue
            value = self.scalar_value(atom)
            term = value if k == 1 else b.mul(value, self.scalar_value(size(k)), flags=("nsw",))
            total = term if total is None else b.add(total, term, flags=("nsw",))
        pointer = self.pointers[buffer]
        if layout is False:
            index: Any = None
            for atom, k in terms:
                term = self.operation("mul", atom.dtype, [self.splat(self.value(atom)), self.splat(
                    self.scalar_value(size(k)))])
                index = term if index is None else b.add(index, term)
            index = b.add(index, self.splat(self.scalar_value(size(_offset(place)[1]))))
            return b.gep(self.splat_pointer(pointer), [index], source_etype=t), False
        if total is not None:
            pointer = b.gep(pointer, [total], inbounds=True, source_etype=t)
        extra = self.scalar_value(size(constant))
        if constant != 0:
            pointer = b.gep(pointer, [extra], inbounds=True, source_etype=t)
        return pointer, layout

    def read_memory(self, e: Expr) -> Any:
        b, dtype = self.builder, e.dtype
        t = llvm_type(dtype, memory=True)
        pointer, layout = self.address(e)
        if layout is None:
            value = b.load(pointer, typ=t, align=dtype.size)
        else:
            v = ir.VectorType(t, self.lanes)
            zero = ir.Constant(v, [0] * self.lanes) if not dtype.is_float else ir.Constant(v, [0.0] * self.lanes)
            if layout and self.mask is None:
                value = b.load(pointer, typ=v, align=dtype.size)
            elif layout:
                fn = self.declare(f"llvm.masked.load.{_mangle(v)}.p0", v, [PTR, I32, ir.VectorType(I1, self.lanes), v])
                value = b.call(fn, [pointer, I32(dtype.size), self.mask, zero])
            else:
                pv = ir.VectorType(PTR, self.lanes)
                fn = self.declare(f"llvm.masked.gather.{_mangle(v)}.v{self.lanes}p0", v,
                                  [pv, I32, ir.VectorType(I1, self.lanes), v])
                value = b.call(fn, [pointer, I32(dtype.size), self.full_mask(), zero])
        if dtype.kind == "b":
            value = b.icmp_unsigned("!=", value, self.like(value, 0))
        return value

    def write_memory(self, buffer: Buffer, place: Expr, value: Any) -> None:
        b, dtype = self.builder, buffer.dtype
        t = llvm_type(dtype, memory=True)
        pointer, layout = self.address(place)
        if layout is not None and not _is_vector(value):
            value = self.splat(value)
        if dtype.kind == "b":
            value = b.zext(value, ir.VectorType(I8, self.lanes) if _is_vector(value) else I8)
        if layout is None:
            if _is_vector(value):
                raise LoweringError(f"{buffer} is written by every lane at one place")
            b.store(value, pointer, align=dtype.size)
            return
        v = ir.VectorType(t, self.lanes)
        if layout and self.mask is None:
            b.store(value, pointer, align=dtype.size)
        elif layout:
            fn = self.declare(f"llvm.masked.store.{_mangle(v)}.p0", ir.VoidType(),
                              [v, PTR, I32, ir.VectorType(I1, self.lanes)])
            b.call(fn, [value, pointer, I32(dtype.size), self.mask])
        else:
            pv = ir.VectorType(PTR, self.lanes)
            fn = self.declare(f"llvm.masked.scatter.{_mangle(v)}.v{self.lanes}p0", ir.VoidType(),
                              [v, pv, I32, ir.VectorType(I1, self.lanes)])
            b.call(fn, [value, pointer, I32(dtype.size), self.full_mask()])

    def full_mask(self) -> Any:
        return self.mask if self.mask is not None else ir.Constant(ir.VectorType(I1, self.lanes), [1] * self.lanes)

    # ------------------------------------------------------------------------------------------ expressions

    def scalar_value(self, e: Expr) -> Any:
        """An integer that no lane changes."""
        value = self.value(e)
        assert not _is_vector(value), e
        return value

    def value(self, e: Expr) -> Any:
        """The value of an expression: a scalar, or a vector where it varies with the lane."""
        stack = [e]
        while stack:
            node = stack[-1]
            if node in self.memo:
                stack.pop()
                continue
            inputs = () if node.op == "load" and node.attr.space != "local" else node.args
            missing = [a for a in inputs if a not in self.memo and node.op != "load"]
            if missing:
                stack.extend(missing)
                continue
            key = self.lasting(node)
            if key is None:
                self.memo[node] = self.compute(node)
            else:
                if key not in self.kept:
                    self.kept[key] = self.compute(node)
                self.memo[node] = self.kept[key]
            stack.pop()
        return self.memo[e]

    def lasting(self, e: Expr) -> Any:
        """What a value depends on beside the variables of serial loops; None if it reads a register."""
        if e.op == "const" or _reads_registers(e):
            return None
        lane = self.lane if self.lane in e.axes else None
        return e, lane, tuple(v for a in sorted(e.axes, key=str) if isinstance(v := self.axes.get(a), int))

    def compute(self, e: Expr) -> Any:
        b = self.builder
        if e.op == "const":
            return _constant(e.attr, e.dtype)
        if e.op == "axis":
            if e.attr == self.lane:
                return ir.Constant(ir.VectorType(I64, self.lanes), list(range(self.lanes)))
            value = self.axes[e.attr]
            return I64(value) if isinstance(value, int) else value
        if e.op == "size":
            return self.dimension(e.attr)
        if e.op == "load":
            if e.attr.space == "local":
                register, vector = self.register(e.attr, e.args)
                t = llvm_type(e.dtype)
                return b.load(register, typ=ir.VectorType(t, self.lanes) if vector else t)
            return self.read_memory(e)
        args = [self.memo[a] for a in e.args]
        if any(_is_vector(a) for a in args):
            args = [self.splat(a) for a in args]
        if e.op == "select":
            return b.select(*args)
        if e.op == "bitcast":
            t = llvm_type(e.dtype)
            return b.bitcast(args[0], ir.VectorType(t, self.lanes) if _is_vector(args[0]) else t)
        if e.op == "cast":
            return self.convert(args[0], e.args[0].dtype, e.dtype)
        if e.op in ("max", "min") and e.dtype.is_float:
            for i, a in enumerate(e.args):
                if a.op == "const" and not math.isnan(a.attr):
                    # with a constant, one instruction that gives the other operand where that is NaN
                    keep = b.fcmp_ordered(">" if e.op == "max" else "<", args[i], args[1 - i])
                    return b.select(keep, args[i], args[1 - i])
        if e.op in ("floordiv", "mod") and e.dtype.kind == "i":
            low, _ = bounds(e.args[0]) if e.dtype.size == 8 else (None, None)
            by = e.args[1]
            if low is not None and at_least_zero(low) and (by.op == "size" or (by.op == "const" and by.attr > 0)):
                return b.udiv(*args) if e.op == "floordiv" else b.urem(*args)
        return self.operation(e.op, e.args[0].dtype, args, index=e.dtype.name == "i64")

    def dimension(self, d: Dim) -> Any:
        b, total = self.builder, None
        for monomial, coefficient in d.terms:
            term: Any = I64(coefficient)
            for name in monomial:
                term = b.mul(term, self.size_values[name], flags=("nsw",))
            total = term if total is None else b.add(total, term, flags=("nsw",))
        return total

    def operation(self, op: str, dtype: DType, args: Sequence[Any], index: bool = False) -> Any:
        """One scalar operation of SCALARS on values of a dtype."""
        b, floating = self.builder, dtype.is_float
        signed = dtype.kind == "i"
        flags = ("nsw",) if index else ()
        if op in ("lt", "le", "eq", "ne"):
            sign = {"lt": "<", "le": "<=", "eq": "==", "ne": "!="}[op]
            if floating:
                return b.fcmp_unordered(sign, *args) if op == "ne" else b.fcmp_ordered(sign, *args)
            return (b.icmp_signed if signed else b.icmp_unsigned)(sign, *args)
        if op in ("min", "max"):
            return self.intrinsic({"min": "minimum", "max": "maximum"}[op] if floating else
                                  ("s" if signed else "u") + op, args)
        if floating:
            simple: dict[str, Callable[..., Any]] = {"add": b.fadd, "sub": b.fsub, "mul": b.fmul, "div": b.fdiv,
                                                     "neg": b.fneg, "mod": b.frem}
            if op in simple:
                return simple[op](*args)
            if op in ("sqrt", "floor"):
                return self.intrinsic(op, args)
            if op == "abs":
                return self.intrinsic("fabs", args)
            if op == "fma":
                return self.intrinsic("fmuladd", args)
            return self.libm(op + ("" if dtype.size == 8 else "f"), args)
        integer: dict[str, Callable[..., Any]] = {"and": b.and_, "or": b.or_, "xor": b.xor, "shl": b.shl,
                                                  "shr": b.ashr if signed else b.lshr, "not": b.not_}
        if op in integer:
            return integer[op](*args)
        if op in ("add", "sub", "mul"):
            return {"add": b.add, "sub": b.sub, "mul": b.mul}[op](*args, flags=flags)
        if op == "neg":
            return b.sub(self.like(args[0], 0), args[0])
        if op == "abs":
            return b.select(b.icmp_signed("<", args[0], self.like(args[0], 0)), b.neg(args[0]), args[0])
        if op in ("floordiv", "mod"):
            return self.floor_division(op, signed, args)
        raise LoweringError(f"no code for {op} on {dtype}")

    def floor_division(self, op: str, signed: bool, args: Sequence[Any]) -> Any:
        b = self.builder
        if not signed:
            return b.udiv(*args) if op == "floordiv" else b.urem(*args)
        x, y = args
        quotient, rest = b.sdiv(x, y), b.srem(x, y)
        wrong = b.and_(b.icmp_signed("!=", rest, self.like(rest, 0)),
                       b.icmp_signed("<", b.xor(rest, y), self.like(rest, 0)))
        if op == "floordiv":
            return b.select(wrong, b.sub(quotient, self.like(quotient, 1)), quotient)
        return b.select(wrong, b.add(rest, y), rest)

    def convert(self, value: Any, source: DType, target: DType) -> Any:
        b, t = self.builder, llvm_type(target)
        t = ir.VectorType(t, self.lanes) if _is_vector(value) else t
        if source.is_float and target.is_float:
            return b.fpext(value, t) if target.size > source.size else b.fptrunc(value, t)
        if source.is_float:
            return b.fptosi(value, t) if target.kind == "i" else b.fptoui(value, t)
        if target.is_float:
            return b.sitofp(value, t) if source.kind == "i" else b.uitofp(value, t)
        if target.kind == "b":
            return b.icmp_unsigned("!=", value, self.like(value, 0))
        if source.kind != "b" and target.size == source.size:
            return value
        if source.kind != "b" and target.size < source.size:
            return b.trunc(value, t)
        return b.sext(value, t) if source.kind == "i" else b.zext(value, t)

    def libm(self, name: str, args: Sequence[Any]) -> Any:
        """A call of the C mathematics library, lane by lane."""
        b = self.builder
        if _is_vector(args[0]):
            result: Any = ir.Constant(args[0].type, ir.Undefined)
            for i in range(self.lanes):
                lane = self.libm(name, [b.extract_element(a, I32(i)) for a in args])
                result = b.insert_element(result, lane, I32(i))
            return result
        return call_address(b, libm_address(name), args, args[0].type)

    def intrinsic(self, name: str, args: Sequence[Any]) -> Any:
        t = args[0].type
        fn = self.declare(f"llvm.{name}.{_mangle(t)}", t, [a.type for a in args])
        return self.builder.call(fn, args)

    def declare(self, name: str, result: Any, parameters: Sequence[Any]) -> Any:
        found = self.module.globals.get(name)
        return found or ir.Function(self.module, ir.FunctionType(result, parameters), name)

    def splat(self, value: Any) -> Any:
        """A vector with the value in every lane."""
        if _is_vector(value):
            return value
        v = ir.VectorType(value.type, self.lanes)
        if isinstance(value, ir.Constant):
            return ir.Constant(v, [value.constant] * self.lanes)
        b = self.builder
        one = b.insert_element(ir.Constant(v, ir.Undefined), value, I32(0))
        zeros = ir.Constant(ir.VectorType(I32, self.lanes), [0] * self.lanes)
        return b.shuffle_vector(one, ir.Constant(v, ir.Undefined), zeros)

    def splat_pointer(self, pointer: Any) -> Any:
        b, v = self.builder, ir.VectorType(PTR, self.lanes)
        one = b.insert_element(ir.Constant(v, ir.Undefined), pointer, I32(0))
        zeros = ir.Constant(ir.VectorType(I32, self.lanes), [0] * self.lanes)
        return b.shuffle_vector(one, ir.Constant(v, ir.Undefined), zeros)

    def like(self, value: Any, number: int) -> Any:
        return ir.Constant(value.type, [number] * self.lanes) if _is_vector(value) else ir.Constant(value.type, number)


def call_address(builder: ir.IRBuilder, address: int, args: Sequence[Any], result: Any = None) -> Any:
    """Call the function at a known address."""
    t = ir.FunctionType(result or ir.VoidType(), [a.type for a in args])
    return builder.call(_Callee(builder.inttoptr(I64(address), PTR), t), args)


class _Callee:
    """A function at a known address, in the form that `IRBuilder.call` takes."""

    def __init__(self, pointer: Any, function_type: ir.FunctionType):
        self.pointer, self.function_type = pointer, function_type
        self.type, self.args = PTR, function_type.args

    def get_reference(self) -> str:
        return self.pointer.get_reference()


def _place(buffer: Buffer, index: Sequence[Expr]) -> Expr:
    return load(buffer, index, buffer.dtype)


def _is_vector(value: Any) -> bool:
    return isinstance(value.type, ir.VectorType)


def _constant(value: Any, dtype: DType) -> ir.Constant:
    t = llvm_type(dtype)
    if dtype.kind in "u":
        bits = dtype.size * 8
        value = value - (1 << bits) if value >= 1 << (bits - 1) else value
    return ir.Constant(t, int(value) if not dtype.is_float else float(value))


def _mangle(t: Any) -> str:
    if isinstance(t, ir.VectorType):
        return f"v{t.count}{_mangle(t.element)}"
    return {"float": "f32", "double": "f64"}.get(str(t), str(t))
