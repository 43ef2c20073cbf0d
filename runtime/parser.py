"""Read loops back from their text; the grammar is in `graphc.runtime.loops`. `str(parse_loops(str(l))) == str(l)`."""

from __future__ import annotations

import re

from graphc.ir.expr import INFIX, REDUCTIONS, SCALARS, Axis, Expr, const, load, make, size
from graphc.ir.parser import WORD
from graphc.ir.reader import FLOAT, Reader, hint
from graphc.ir.types import DIM, DTYPES, DType, parse_dim
from graphc.runtime.loops import AXIS, Barrier, Buffer, For, Loops, Prefetch, Statement, Store, Update, number, register

__all__ = ["parse_loops"]

BOOL, F32, I64 = DTYPES["bool"], DTYPES["f32"], DTYPES["i64"]

_NAME = r"[^\s()\[\]{},:=<>%#]+"  # a buffer, an axis, a dim, a number, ...
_NUMBER = rf"(?:{FLOAT}|-?\d+|True|False)(?=[\s)\],]|$)"
_SYMBOLS = {symbol: op for op, symbol in INFIX.items()}
_INFIX = "|".join(sorted(map(re.escape, _SYMBOLS), key=len, reverse=True))
_FUNCTIONS = sorted({*SCALARS.keys() - INFIX.keys(), "select", "size", *DTYPES, *(f"bits_{d}" for d in DTYPES)})


def parse_loops(text: str) -> Loops:
    """The loops that the text describes, or a ParseError that quotes the line.

    They equal those that were printed: nothing is simplified. Names and dtypes are checked here; that accesses are in
    bounds and loops well formed is for `verify_loops` to prove.
    """
    return _Parser(text).kernel()


class _Parser:
    """The place in the text, and what the names there mean."""

    def __init__(self, text: str):
        self.reader = Reader(text)
        self.buffers: dict[str, Buffer] = {}
        self.axes: dict[str, Expr] = {}  # of the loops around
        self.lets: dict[str, Expr] = {}  # before the store that they belong to

    def kernel(self) -> Loops:
        r = self.reader
        r.expect(r"kernel\b", "'kernel'")
        name = r.expect(WORD, "the kernel's name")
        params = r.listed("(", ")", lambda: self.declared("param"))
        r.expect(r"writes\b", "'writes'")
        outputs = int(r.expect(r"\d+\b", "how many of the params are written"))
        if outputs > len(params):
            raise r.error(f"expected at most the number of params, {len(params)}, received {outputs}")
        scratch = r.listed("(", ")", lambda: self.declared("scratch")) if r.accept(r"scratch\b") else ()
        body = self.block()
        if r.sees(r"\S"):
            raise r.error("expected the end of the text after the kernel")
        return Loops(name, params, outputs, body, scratch)

    def declared(self, space: str) -> Buffer:
        """`name: type`, a param or scratch."""
        r = self.reader
        name = r.expect(_NAME, "the name of a buffer")
        if name in self.buffers:
            raise r.error(f"expected a new name: {name} is defined already")
        r.expect(":", "':'")
        type_ = r.tensor_type()
        self.buffers[name] = Buffer(name, type_.dtype, type_.shape, space)
        return self.buffers[name]

    # -------------------------------------------------------------------------------------------- statements

    def block(self) -> tuple[Statement, ...]:
        self.reader.expect(r"\{", "'{'")
        body = []
        while not self.reader.accept(r"\}"):
            body.append(self.statement())
        return tuple(body)

    def statement(self) -> Statement:
        r = self.reader
        if r.accept(r"barrier(?=\s)"):
            return Barrier()
        if r.accept(r"for\s"):
            return self.loop()
        if r.accept(r"prefetch\s"):
            place = self.expression()
            if place.op != "load":
                raise r.error(f"expected an element of memory, received {place}")
            return Prefetch(place)
        while r.accept(r"let\s"):
            name = r.expect(r"t\d+\b", "a name such as t0")
            r.expect("=", "'='")
            self.lets[name] = self.expression()
        return self.store()

    def loop(self) -> For:
        r = self.reader
        name = r.expect(AXIS, "the name of an axis, such as i0")
        if name in self.axes:
            raise r.error(f"expected a new name: {name} is the axis of a loop around")
        r.expect(r"in\b", "'in'")
        axis = Axis(name, number(self.expression(I64)))
        kind = r.accept(r"(?:parallel|vector|unroll)\b") or "serial"
        grain = int(r.expect(r"\d+\b", "a number of iterations")) if r.accept(r"grain\b") else 1
        self.axes[name] = make("axis", (), I64, axis)
        body = self.block()
        del self.axes[name]
        return For(axis, body, kind, grain)

    def store(self) -> Store | Update:
        r = self.reader
        name = r.expect(_NAME, "a statement: 'for', 'let', 'barrier', a store, or '}'")
        begin, index = r.last, self.index()
        stated: Buffer | None = None
        if r.accept(":"):
            space = r.accept(r"stack\b") or "local"
            type_ = r.tensor_type()
            stated = Buffer(name, type_.dtype, type_.shape, space)
        op = r.accept(rf"(?:{'|'.join(REDUCTIONS)})\b")
        r.expect("=", "'='")
        value = self.expression()
        at, self.lets = r.last, {}
        buffer = stated or self.buffers.get(name) or register(name, index, value.dtype)
        if buffer is None:
            raise r.error(f"expected the type of {name}, which nothing declares above", begin)
        self.buffers[name] = buffer
        if value.dtype != buffer.dtype:
            raise r.error(f"expected a value of {name}'s dtype {buffer.dtype}, received {value.dtype}", at)
        return Store(buffer, index, value) if op is None else Update(buffer, index, op, value)

    # ------------------------------------------------------------------------------------------- expressions

    def index(self) -> tuple[Expr, ...]:
        return self.reader.listed("[", "]", lambda: self.expression(I64))

    def expression(self, dtype: DType | None = None) -> Expr:
        """The expression that stands here, which must have the dtype, if there is one."""
        r = self.reader
        r.sees(r"\S")
        begin = r.last
        e = self.infix() if r.accept(r"\(") else self.number() or self.named()
        r.last = begin
        if dtype is not None and e.dtype != dtype:
            raise r.error(f"expected an expression of the dtype {dtype}, received {e.dtype}")
        return e

    def infix(self) -> Expr:
        r = self.reader
        left = self.expression()
        symbol = r.expect(_INFIX, "an operator such as +")
        begin = r.last
        args = left, self.expression()
        r.expect(r"\)", "')'")
        return self.scalar(_SYMBOLS[symbol], args, begin)

    def number(self, dtype: DType = F32) -> Expr | None:
        """The number that stands here, of the dtype if it has a point or an exponent; None where there is none."""
        text = self.reader.accept(_NUMBER)
        if text is None:
            return None
        if text in ("True", "False"):
            return const(text == "True", BOOL)
        return const(int(text)) if re.fullmatch(r"-?\d+", text) else const(float(text), dtype)

    def named(self) -> Expr:
        """What begins with a name."""
        r = self.reader
        name = r.expect(_NAME, "an expression")
        begin = r.last
        if r.sees(r"\["):
            if name not in self.buffers:
                raise r.error(f"expected a buffer declared above: {name} is not{hint(name, self.buffers)}", begin)
            return load(self.buffers[name], self.index(), self.buffers[name].dtype)
        if r.sees(r"\("):
            if name not in _FUNCTIONS:
                raise r.error(f"expected a function: there is no {name!r}{hint(name, _FUNCTIONS)}", begin)
            return self.function(name, begin)
        known = self.axes | self.lets
        if name in known:
            return known[name]
        if name.isupper() and re.fullmatch(DIM, name):
            return size(parse_dim(name))
        raise r.error(f"expected the axis of a loop around or a size: {name} is neither{hint(name, known)}", begin)

    def function(self, name: str, begin: int) -> Expr:
        r = self.reader
        if name in DTYPES:
            return self.converted(DTYPES[name], begin)
        if name == "size":
            (dimension,) = r.listed("(", ")", lambda: r.expect(DIM, "a size such as N"))
            return size(parse_dim(dimension))
        args = r.listed("(", ")", self.expression)
        if name in SCALARS:
            return self.scalar(name, args, begin)
        dtypes = [a.dtype for a in args]
        if name == "select":
            if len(args) != 3 or dtypes[0] != BOOL or dtypes[1] != dtypes[2]:
                raise r.error(f"expected a bool and two of one dtype for select, received {_list(args)}", begin)
            return make("select", args, dtypes[1])
        dtype = DTYPES[name.removeprefix("bits_")]
        if len(args) != 1 or dtypes[0].size != dtype.size:
            raise r.error(f"expected one operand of {dtype.size} bytes for {name}, received {_list(args)}", begin)
        return make("bitcast", args, dtype)

    def converted(self, dtype: DType, begin: int) -> Expr:
        """A cast to the dtype, or a constant of it: as what casts between integers or between floats are written."""
        r = self.reader
        r.expect(r"\(", "'('")
        e = self.number(dtype if dtype.is_float else F32) or self.expression()
        r.expect(r"\)", "')'")
        if e.op != "const" or e.dtype.is_float != dtype.is_float:
            return make("cast", (e,), dtype)
        try:
            return const(e.attr, dtype)
        except OverflowError as error:
            raise r.error(f"expected a number that {dtype} can hold, received {e.attr}", begin) from error

    def scalar(self, op: str, args: tuple[Expr, ...], begin: int) -> Expr:
        """A scalar operation; the error points at its name."""
        arity = SCALARS[op].arity
        if len(args) != arity or any(a.dtype != args[0].dtype for a in args):
            count = "one operand" if arity == 1 else f"{arity} operands of one dtype"
            raise self.reader.error(f"expected {count} for {op}, received {_list(args)}", begin)
        return make(op, args, BOOL if SCALARS[op].result == "bool" else args[0].dtype)


def _list(args: tuple[Expr, ...]) -> str:
    """What operands are, for an error."""
    return ", ".join(f"{a} ({a.dtype})" for a in args) or "none"
