"""Graphs as text. The grammar, which `graphc.ir.parser` reads back:

    graph   := 'graph' name '(' leaves ')' ['state' '(' leaves ')'] '{' line* '}'
    leaves  := ['%' name ':' type (',' '%' name ':' type)*]
    line    := '%' name '=' op ['<' field '=' literal, ... '>'] '(' ['%' name, ...] ')' ':' type ['#' origin]
             | 'return' name '=' '%' name, ...
             | 'update' '%' name '=' '%' name, ...

The type of an op that holds a graph, such as a kernel, is followed by its body, a graph. Values are numbered in
topological order. A literal is a Python number (`inf` and `nan` too), string or tuple, a dtype, a type, or a dim. A
name is a word: no blanks, none of `%:,()=#{}<>`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

__all__ = ["line_of", "name_values", "print_graph", "print_value"]


def print_graph(graph: Any, indent: str = "") -> str:
    """The canonical text of a graph."""
    names = name_values(graph)
    leaves = {*graph.inputs, *graph.state}
    lines = [f"{indent}  {print_value(v, names, indent)}" for v in graph.values() if v not in leaves]
    lines.extend(_results("return", ((n, names[v]) for n, v in graph.outputs), indent))
    lines.extend(_results("update", ((names[s], names[v]) for s, v in graph.updates), indent))
    state = f" state({_leaves(graph.state, names)})" if graph.state else ""
    head = f"graph {graph.name}({_leaves(graph.inputs, names)}){state} {{"
    return "\n".join([head, *lines, f"{indent}}}"])


def name_values(graph: Any) -> dict[Any, str]:
    """What the text calls each value: leaves by their labels, the others by their positions."""
    names = {v: f"%{getattr(v.op, 'label', '?')}" for v in graph.inputs + graph.state}
    others = (v for v in graph.values() if v not in names)
    return names | {v: f"%{i}" for i, v in enumerate(list(others))}


def print_value(value: Any, names: Mapping[Any, str], indent: str = "") -> str:
    """The line of one value."""
    operands = ", ".join(names[o] for o in value.operands)
    origin = f"  # {value.origin}" if value.origin else ""
    body = getattr(value.op, "body", None)
    inner = "" if body is None else f" {print_graph(body, indent + '  ')}"
    return f"{names[value]} = {value.op}({operands}): {value.type}{inner}{origin}"


def line_of(graph: Any, value: Any) -> str:
    """The line of one value, of a kernel without its body; `%?` stands for values that the graph doesn't have."""
    names: dict[Any, str] = defaultdict(lambda: "%?", name_values(graph))
    return print_value(value, names).splitlines()[0]


def _leaves(values: Any, names: dict[Any, str]) -> str:
    return ", ".join(f"{names[v]}: {v.type}" for v in values)


def _results(word: str, pairs: Any, indent: str) -> list[str]:
    items = [f"{a}={b}" for a, b in pairs]
    return [f"{indent}  {word} {', '.join(items)}"] if items else []
