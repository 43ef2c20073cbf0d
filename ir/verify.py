"""The numbered invariants of a graph. Each has a malformed graph in tests/ir/test_verify.py.

    G1   no value depends on itself
    G2   inputs are `input` ops and state are `state` ops
    G3   leaves have unique labels, which are words and not numbers: the text names values by them
    G4   every input and state that is reached is listed
    G5   outputs have unique names, which are words
    G6   outputs and updates are tensors
    G7   an update maps a listed state, each at most once
    G8   an update has the type of its state
    G9   every type is the one that the op infers from its operands' types
    G10  every symbolic size is one of a leaf's type: a step learns its sizes from its arrays
    G11  the body of a kernel or scan is a graph that holds the invariants, with no state; a kernel's has no kernels
         and no scans
    G12  no `gradient` is left once the graph has been differentiated
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from graphc.ir.errors import GraphcError, InvalidGraph
from graphc.ir.graph import Graph, Value
from graphc.ir.ops.leaf import Input, State
from graphc.ir.ops.structure import Gradient, Kernel, Scan
from graphc.ir.parser import WORD
from graphc.ir.printer import line_of
from graphc.ir.types import Dim, TensorType, TupleType

__all__ = ["verify"]


def verify(graph: Graph, differentiated: bool = False) -> None:
    """Raise an InvalidGraph that names the broken invariant and the value that breaks it."""
    _verify(graph, differentiated, set(graph.symbols()) if _acyclic(graph) else set())


def _verify(graph: Graph, differentiated: bool, symbols: set[str]) -> None:
    _acyclic(graph)
    _leaves(graph)
    _results(graph)
    for value in graph.values():
        _value(graph, value, symbols)
        if isinstance(value.op, Kernel | Scan):
            _body(graph, value, differentiated, symbols)
        if isinstance(value.op, Gradient) and differentiated:
            raise _error(graph, 12, value, "a gradient is left after differentiation")


def _acyclic(graph: Graph) -> bool:
    """G1, by a walk that ends on cycles too: a value is open while its operands are walked."""
    opened: set[Value] = set()
    done: set[Value] = set()
    stack = [(v, False) for v in (*graph.inputs, *graph.state, *graph.roots)]
    while stack:
        value, leaving = stack.pop()
        if leaving:
            opened.remove(value)
            done.add(value)
        elif value in opened:
            raise InvalidGraph(f"G1: in the graph {graph.name}, {value!r} depends on itself.")
        elif value not in done:
            opened.add(value)
            stack.append((value, True))
            stack.extend((o, False) for o in value.operands)
    return True


def _leaves(graph: Graph) -> None:
    labels: set[str] = set()
    for values, make in ((graph.inputs, Input), (graph.state, State)):
        for value in values:
            if not isinstance(value.op, make):
                raise _error(graph, 2, value, f"it is listed as {make.name} and is {value.op.name}")
            label = value.op.label
            if label in labels:
                raise _error(graph, 3, value, f"two leaves are labelled {label!r}")
            if not re.fullmatch(WORD, label) or label.isdigit():
                raise _error(graph, 3, value, f"the label {label!r} is not a word")
            labels.add(label)
    listed = {*graph.inputs, *graph.state}
    for value in graph.values():
        if isinstance(value.op, Input | State) and value not in listed:
            raise _error(graph, 4, value, f"the {value.op.name} {value.op.label!r} is read and is not listed")


def _results(graph: Graph) -> None:
    names: set[str] = set()
    for name, value in graph.outputs:
        if name in names or not re.fullmatch(WORD, name):
            reason = "taken" if name in names else "not a word"
            raise _error(graph, 5, value, f"the output name {name!r} is {reason}")
        names.add(name)
    for value in graph.roots:
        if not isinstance(value.type, TensorType):
            raise _error(graph, 6, value, f"an output or update is a tensor, received {value.type}")
    updated: set[Value] = set()
    for target, value in graph.updates:
        if target not in graph.state or target in updated:
            reason = "is updated twice" if target in updated else "is not listed state"
            raise _error(graph, 7, target, f"the target of an update {reason}")
        if target.type != value.type:
            raise _error(graph, 8, value, f"it updates {target.op.label}: {target.type}")  # type: ignore[attr-defined]
        updated.add(target)


def _value(graph: Graph, value: Value, symbols: set[str]) -> None:
    try:
        inferred = value.op.infer(*(o.type for o in value.operands))  # type: ignore[arg-type]
    except (GraphcError, TypeError, AttributeError, IndexError) as error:  # a wrong number or kind of operands
        raise _error(graph, 9, value, str(error).removesuffix(".")) from error
    if inferred != value.type:
        raise _error(graph, 9, value, f"the op gives {inferred}, its value says {value.type}")
    for d in _dims(value.type, *(getattr(value.op, f.name) for f in fields(value.op))):  # type: ignore[arg-type]
        unknown = d.names - symbols
        if unknown:
            raise _error(graph, 10, value, f"the size {min(unknown)} is in no leaf's type")


def _dims(*attributes: Any) -> Iterator[Dim]:
    """The symbolic dimensions anywhere in attributes."""
    for a in attributes:
        if isinstance(a, Dim):
            yield a
        elif isinstance(a, TensorType):
            yield from _dims(*a.shape)
        elif isinstance(a, TupleType):
            yield from _dims(*a.items)
        elif isinstance(a, tuple):
            yield from _dims(*a)


def _body(graph: Graph, value: Value, differentiated: bool, symbols: set[str]) -> None:
    body = value.op.body  # type: ignore[attr-defined]
    try:
        _verify(body, differentiated, symbols)
    except InvalidGraph as error:
        raise _error(graph, 11, value, f"in its body, {error}".removesuffix(".")) from error
    if body.state or body.updates:
        raise _error(graph, 11, value, "its body has state")
    if isinstance(value.op, Kernel) and any(isinstance(v.op, Kernel | Scan) for v in body.values()):
        raise _error(graph, 11, value, "its body has kernels")


def _error(graph: Graph, number: int, value: Value, reason: str) -> InvalidGraph:
    where = f" (layer {value.origin})" if value.origin else ""
    return InvalidGraph(f"G{number}: in the graph {graph.name}{where}, {reason}.\n    {line_of(graph, value)}")
