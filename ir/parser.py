"""Read a graph back from its text; the grammar is in `graphc.ir.printer`. `str(parse(str(g))) == str(g)`."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import Any

import graphc.ir.ops  # noqa: F401  (registers the ops)
from graphc.ir.errors import GraphcError
from graphc.ir.graph import Graph, Value, apply
from graphc.ir.op import OPS, Op
from graphc.ir.ops.leaf import Input, State
from graphc.ir.reader import FLOAT, TYPE, Reader, hint
from graphc.ir.types import DIM, DTYPES, TensorType, TupleType, parse_dim

__all__ = ["WORD", "parse", "parse_call"]

WORD = r"[^\s%:,()=#{}<>]+"
_STRING = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
_NAMED = {"True": True, "False": False, "None": None, **DTYPES}


def parse(text: str) -> Graph:
    """The graph that the text describes, or a ParseError that quotes the line."""
    reader = Reader(text)
    graph = _graph(reader)
    if reader.sees(r"\S"):
        raise reader.error("expected the end of the text after the graph")
    return graph


def parse_call(text: str) -> tuple[Op, tuple[TensorType | TupleType, ...], str]:
    """Read `name<field=literal>(type, ...) rest`: the op, the operands' types and the rest."""
    reader = Reader(text)
    op = _op(reader)
    types = reader.listed("(", ")", lambda: _type(reader))
    return op, types, text[reader.at:].strip()


def _graph(r: Reader) -> Graph:
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


def _leaf(r: Reader, make: type[Input] | type[State], names: dict[str, Value]) -> Value:
    name = _new(r, names)
    r.expect(":", "':'")
    names[name] = leaf = apply(make(name[1:], r.tensor_type()), origin="")
    return leaf


def _pairs(r: Reader, left: Callable[[], Any], names: dict[str, Value]) -> list[tuple[Any, Value]]:
    pairs = []
    while True:
        first = left()
        r.expect("=", "'='")
        pairs.append((first, _known(r, names)))
        if not r.accept(","):
            return pairs


def _line(r: Reader, names: dict[str, Value]) -> None:
    name = _new(r, names)
    r.expect("=", "'='")
    made = _op(r)
    start = r.last
    operands = r.listed("(", ")", lambda: _known(r, names))
    r.expect(":", "':'")
    stated = _type(r)
    at_type = r.last
    op: Op = made if isinstance(made, Op) else made(_graph(r))
    origin = _origin(r)
    try:
        value = apply(op, *operands, origin=origin)
    except (GraphcError, TypeError, AttributeError, IndexError) as error:  # a wrong number or kind of operands
        raise r.error(f"the types do not fit: {error}".removesuffix("."), start) from error
    if value.type != stated:
        raise r.error(f"expected the type {value.type}, which {op.name} gives, received {stated}", at_type)
    names[name] = value


def _origin(r: Reader) -> str:
    found = r.accept(r"#[^\n]*", blanks=r"[ \t]*")
    return found[1:].strip() if found else ""


def _new(r: Reader, names: dict[str, Value]) -> str:
    name = r.expect(f"%{WORD}", "a value such as %0, 'return', 'update' or '}'")
    if name in names:
        raise r.error(f"expected a new name: {name} is defined already")
    return name


def _known(r: Reader, names: dict[str, Value]) -> Value:
    name = r.expect(f"%{WORD}", "a value such as %0")
    if name not in names:
        raise r.error(f"expected a value defined above: {name} is not{hint(name, names)}")
    return names[name]


def _op(r: Reader) -> Any:
    """The op that stands here; of a kernel or scan, whose body follows its type, what makes it of the body."""
    name = r.expect(r"\w+", "the name of an op")
    if name not in OPS:
        raise r.error(f"expected the name of an op: there is no {name!r}{hint(name, OPS)}")
    start = r.last
    known = [f.name for f in fields(OPS[name])]  # type: ignore[arg-type]
    holds = "body" in known
    if holds:
        known.remove("body")
    given = dict(r.listed("<", ">", lambda: _field(r))) if r.sees("<") else {}
    if list(given) != known:
        raise r.error(f"expected the fields {', '.join(known) or '(none)'} of {name}, "
                      f"received {', '.join(given) or 'none'}", start)
    return partial(OPS[name], *given.values()) if holds else OPS[name](**given)


def _field(r: Reader) -> tuple[str, Any]:
    name = r.expect(r"\w+", "the name of a field")
    r.expect("=", "'='")
    return name, _literal(r)


def _literal(r: Reader) -> Any:
    if r.sees(r"\(") and not r.sees(DIM):
        return r.listed("(", ")", lambda: _literal(r))
    if text := r.accept(_STRING):
        return ast.literal_eval(text)
    if r.sees(TYPE):
        return r.tensor_type()
    if text := r.accept(FLOAT):
        return float(text)
    text = r.expect(DIM, "a number, a string, a tuple, a dtype, a type or a dim")
    return _NAMED[text] if text in _NAMED else parse_dim(text)


def _type(r: Reader) -> TensorType | TupleType:
    if r.sees(r"\("):
        start = r.last
        items = r.listed("(", ")", r.tensor_type)
        r.last = start
        return TupleType(items)
    return r.tensor_type()
