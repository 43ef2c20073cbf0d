"""Graphs as text. The grammar, which `graphc.ir.parser` reads back:

    graph   := 'graph' name '(' leaves ')' ['state' '(' leaves ')'] '{' line* '}'
    leaves  := ['%' name ':' type (',' '%' name ':' type)*]
    line    := '%' name '=' op ['<' field '=' literal, ... '>'] '(' ['%' name, ...] ')' ':' type ['#' origin]
             | 'return' name '=' '%' name, ...
             | 'update' '%' name '=' '%' name, ...

A kernel's op is followed by its body, a graph, in braces. Values are numbered in topological order.
"""

from __future__ import annotations

from typing import Any

__all__ = ["print_graph"]


def print_graph(graph: Any, indent: str = "") -> str:
    """The canonical text of a graph."""
    names: dict[Any, str] = {v: f"%{v.op.label}" for v in graph.inputs + graph.state}
    lines = []
    for value in graph.values():
        if value in names:
            continue
        names[value] = f"%{len(names) - len(graph.inputs) - len(graph.state)}"
        lines.append(f"{indent}  {names[value]} = {_operation(value, names, indent)}")
    lines.extend(_results("return", ((n, names[v]) for n, v in graph.outputs), indent))
    lines.extend(_results("update", ((names[s], names[v]) for s, v in graph.updates), indent))
    state = f" state({_leaves(graph.state, names)})" if graph.state else ""
    head = f"graph {graph.name}({_leaves(graph.inputs, names)}){state} {{"
    return "\n".join([head, *lines, f"{indent}}}"])


def _leaves(values: Any, names: dict[Any, str]) -> str:
    return ", ".join(f"{names[v]}: {v.type}" for v in values)


def _results(word: str, pairs: Any, indent: str) -> list[str]:
    items = [f"{a}={b}" for a, b in pairs]
    return [f"{indent}  {word} {', '.join(items)}"] if items else []


def _operation(value: Any, names: dict[Any, str], indent: str) -> str:
    operands = ", ".join(names[o] for o in value.operands)
    origin = f"  # {value.origin}" if value.origin else ""
    body = getattr(value.op, "body", None)
    if body is None:
        return f"{value.op}({operands}): {value.type}{origin}"
    return f"{value.op.name}({operands}): {value.type} {print_graph(body, indent + '  ')}{origin}"
