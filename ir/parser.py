"""Read a graph back from its text; the grammar is in `graphc.ir.printer`. `str(parse(str(g))) == str(g)`."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any

import graphc.ir.ops  # noqa: F401  (registers the ops)
from graphc.ir.errors import GraphcError, ParseError
from graphc.ir.graph import Graph, Value, apply
from graphc.ir.op import OPS, Op
from graphc.ir.ops.leaf import Input, State
from graphc.ir.ops.structure import Kernel
from graphc.ir.types import DTYPES, TensorType, TupleType, parse_dim, parse_type

__all__ = ["WORD", "parse", "parse_call"]

WORD = r"[^\s%:,()=#{}<>]+"
_FLOAT = r"-?(?:inf|nan)\b|-?\d+\.\d*(?:e[+-]?\d+)?|-?\d+e[+-]?\d+"
_STRING = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
_TYPE = r"\w+\[[^\]\n]*\]"
_DIM = r"-?\w+(?:[*+-]\w+)*"
_NAMED = {"True": True, "False": False, "None": None, **DTYPES}


def parse(text: str) -> Graph:
    """The graph that the text describes, or a ParseError that quotes the line."""
    reader = _Reader(text)
    graph = _graph(reader)
    if reader.sees(r"\S"):
        raise reader.error("expected the end of the text after the graph")
    return graph


def parse_call(text: str) -> tuple[Op, tuple[TensorType | TupleType, ...], str]:
    """Read `name<field=literal>(type, ...) rest`: the op, the operands' types and the rest."""
    reader = _Reader(text)
    op = _op(reader)
    types = reader.listed("(", ")", lambda: _type(reader))
    return op, types, text[reader.at:].strip()


class _Reader:
    """A place in a text; blanks and lines that hold only a comment are skipped."""

    def __init__(self, text: str):
        self.text, self.at = text, 0
        self.last = 0  # where the latest token began: what an error points at

    def accept(self, pattern: str, blanks: str = r"(?:(?m:^)[ \t]*#[^\n]*|\s)*") -> str | None:
        """The text that matches here, which is then behind; None where nothing does."""
        start = re.compile(blanks).match(self.text, self.at).end()  # type: ignore[union-attr]
        found = re.compile(pattern).match(self.text, start)
        if found is None:
            return None
        self.last, self.at = start, found.end()
        return found[0]

    def sees(self, pattern: str) -> bool:
        """Whether the pattern matches here; nothing is read."""
        return self.accept(f"(?={pattern})") is not None

    def expect(self, pattern: str, what: str) -> str:
        found = self.accept(pattern)
        if found is None:
            self.sees(r"\S")
            raise self.error(f"expected {what}")
        return found

    def listed(self, start: str, end: str, item: Callable[[], Any]) -> tuple[Any, ...]:
        """Items between brackets, commas between them."""
        self.expect(re.escape(start), f"{start!r}")
        items = []
        while self.accept(re.escape(end)) is None:
            items.append(item())
            if not self.accept(","):
                self.expect(re.escape(end), f"',' or {end!r}")
                break
        return tuple(items)

    def error(self, message: str) -> ParseError:
        number = self.text.count("\n", 0, self.last) + 1
        line = (self.text.splitlines() or [""])[min(number, self.text.count("\n") + 1) - 1]
        column = self.last - (self.text.rfind("\n", 0, self.last) + 1)
        end = "" if message.endswith("?") else "."
        return ParseError(f"Line {number}: {message}{end}\n    {line}\n    {' ' * column}^")


def _graph(r: _Reader) -> Graph:
    r.expect(r"graph\b", "'graph'")
    name = r.expect(WORD, "the graph's name")
    names: dict[str, Value] = {}
    inputs = r.listed("(", ")", lambda: _leaf(r, Input, names))
    state = r.listed("(", ")", lambda: _leaf(r, State, names)) if r.accept(r"state\b") else ()
    outputs: list[tuple[str, Value]] = []
    updates: list[tuple[Value, Value]] = []
    r.expect(r"\{", "'{'")
    while not r.accept(r"\}"):
        if r.accept(r"return\b"):
            outputs.extend(_pairs(r, lambda: r.expect(WORD, "the name of an output"), names))
        elif r.accept(r"update\b"):
            updates.extend(_pairs(r, lambda: _known(r, names), names))
        else:
            _line(r, names)
    return Graph(name, inputs, state, tuple(outputs), tuple(updates))


def _leaf(r: _Reader, make: type[Input] | type[State], names: dict[str, Value]) -> Value:
    name = _new(r, names)
    r.expect(":", "':'")
    names[name] = leaf = apply(make(name[1:], _tensor(r)), origin="")
    return leaf


def _pairs(r: _Reader, left: Callable[[], Any], names: dict[str, Value]) -> list[tuple[Any, Value]]:
    pairs = []
    while True:
        first = left()
        r.expect("=", "'='")
        pairs.append((first, _known(r, names)))
        if not r.accept(","):
            return pairs


def _line(r: _Reader, names: dict[str, Value]) -> None:
    name = _new(r, names)
    r.expect("=", "'='")
    op = _op(r)
    start = r.last
    operands = r.listed("(", ")", lambda: _known(r, names))
    r.expect(":", "':'")
    stated = _type(r)
    at_type = r.last
    if op is None:
        op = Kernel(_graph(r))
    origin = _origin(r)
    try:
        value = apply(op, *operands, origin=origin)
    except (GraphcError, TypeError, AttributeError, IndexError) as error:  # a wrong number or kind of operands
        r.last = start
        raise r.error(f"the types do not fit: {error}".removesuffix(".")) from error
    if value.type != stated:
        r.last = at_type
        raise r.error(f"expected the type {value.type}, which {op.name} gives, received {stated}")
    names[name] = value


def _origin(r: _Reader) -> str:
    found = r.accept(r"#[^\n]*", blanks=r"[ \t]*")
    return found[1:].strip() if found else ""


def _new(r: _Reader, names: dict[str, Value]) -> str:
    name = r.expect(f"%{WORD}", "a value such as %0, 'return', 'update' or '}'")
    if name in names:
        raise r.error(f"expected a new name: {name} is defined already")
    return name


def _known(r: _Reader, names: dict[str, Value]) -> Value:
    name = r.expect(f"%{WORD}", "a value such as %0")
    if name not in names:
        raise r.error(f"expected a value defined above: {name} is not{_hint(name, names)}")
    return names[name]


def _hint(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {close[0]}?" if close else ""


def _op(r: _Reader) -> Any:
    """The op that stands here; None for a kernel, whose body follows its type."""
    name = r.expect(r"\w+", "the name of an op")
    if name not in OPS:
        raise r.error(f"expected the name of an op: there is no {name!r}{_hint(name, OPS)}")
    if OPS[name] is Kernel:
        return None
    start = r.last
    known = [f.name for f in fields(OPS[name])]  # type: ignore[arg-type]
    given = dict(r.listed("<", ">", lambda: _field(r))) if r.sees("<") else {}
    if list(given) != known:
        r.last = start
        raise r.error(f"expected the fields {', '.join(known) or '(none)'} of {name}, "
                      f"received {', '.join(given) or 'none'}")
    return OPS[name](**given)


def _field(r: _Reader) -> tuple[str, Any]:
    name = r.expect(r"\w+", "the name of a field")
    r.expect("=", "'='")
    return name, _literal(r)


def _literal(r: _Reader) -> Any:
    if r.sees(r"\("):
        return r.listed("(", ")", lambda: _literal(r))
    if text := r.accept(_STRING):
        return ast.literal_eval(text)
    if r.sees(_TYPE):
        return _tensor(r)
    if text := r.accept(_FLOAT):
        return float(text)
    text = r.expect(_DIM, "a number, a string, a tuple, a dtype, a type or a dim")
    return _NAMED[text] if text in _NAMED else parse_dim(text)


def _tensor(r: _Reader) -> TensorType:
    text = r.expect(_TYPE, "a type such as f32[N,10]")
    try:
        return parse_type(text)
    except ParseError as error:
        raise r.error(f"expected a type such as f32[N,10], received {text}") from error


def _type(r: _Reader) -> TensorType | TupleType:
    if r.sees(r"\("):
        start = r.last
        items = r.listed("(", ")", lambda: _tensor(r))
        r.last = start
        return TupleType(items)
    return _tensor(r)
