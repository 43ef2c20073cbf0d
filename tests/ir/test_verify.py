"""One malformed graph for each invariant."""

from __future__ import annotations

import re

import pytest
from models import cnn
from test_text import kernel_graph

from graphc.ir import functions as f
from graphc.ir import verify as module
from graphc.ir.errors import InvalidGraph
from graphc.ir.graph import Graph, Value, apply, origin
from graphc.ir.ops.elementwise import Add, Exp
from graphc.ir.ops.structure import Kernel
from graphc.ir.types import TensorType, dim
from graphc.ir.verify import verify
from graphc.passes.differentiate import differentiate

X, W = f.input("x", (2, 3)), f.state("w", (2, 3))
N = dim("N")


def cyclic():
    y = Value(Exp(), (X,), X.type)
    object.__setattr__(y, "operands", (y,))
    return Graph("t", (X,), (), (("y", y),))


def wrongly_typed():
    with origin("dense_1"):
        y = f.exp(X)
    bad = Value(Add(), (y, y), TensorType(y.dtype, (3, 2)), "dense_1")
    return Graph("t", (X,), (), (("y", bad),))


def kernel_of(body):
    return Graph("t", (X,), (), (("y", f.item(apply(Kernel(body), X), 0)),))


def inner_kernel():
    inner = Graph("inner", (X,), (), (("y", f.exp(X)),))
    return kernel_of(Graph("outer", (X,), (), (("y", f.item(apply(Kernel(inner), X), 0)),)))


def with_gradient():
    (g,) = f.gradient(f.sum(X), [X])
    return Graph("t", (X,), (), (("g", g),))


def one(value, inputs=(X,), state=()):
    return Graph("t", inputs, state, (("y", value),))


MALFORMED = [
    (1, cyclic(), "depends on itself"),
    (2, one(X, (W, X)), "listed as input and is state"),
    (2, one(X, (f.exp(X),)), "listed as input and is exp"),
    (3, one(X, (X, f.input("x", (4,)))), "two leaves are labelled 'x'"),
    (3, one(X, (X,), (f.state("x", (4,)),)), "two leaves are labelled 'x'"),
    (3, one(X, (X, f.input("my input", (4,)))), "'my input' is not a word"),
    (3, one(X, (X, f.input("0", (4,)))), "'0' is not a word"),
    (4, one(X + W), "the state 'w' is read and is not listed"),
    (5, Graph("t", (X,), (), (("y", X), ("y", f.exp(X)))), "'y' is taken"),
    (5, Graph("t", (X,), (), (("a b", X),)), "'a b' is not a word"),
    (6, one(f.gradient(f.sum(X), [X])[0].operands[0]), "an output or update is a tensor"),
    (7, Graph("t", (X,), (), (), ((W, X),)), "is not listed state"),
    (7, Graph("t", (X,), (W,), (), ((W, X), (W, W + X))), "is updated twice"),
    (8, Graph("t", (X,), (W,), (), ((W, f.sum(X)),)), r"it updates w: f32\[2,3\]"),
    (9, wrongly_typed(), r"layer dense_1.*the op gives f32\[2,3\], its value says f32\[3,2\]"),
    (9, one(Value(Add(), (X, f.transpose(X)), X.type)), "add needs operands of one shape"),
    (10, one(f.full((N, 3), 1.0)), "the size N is in no leaf's type"),
    (10, one(f.dimension(2 * N)), "the size N is in no leaf's type"),
    (11, kernel_of(Graph("k", (X,), (W,), (("y", X + W),))), "its body has state"),
    (11, kernel_of(Graph("k", (X,), (), (("y", X + W),))), "in its body, G4"),
    (11, inner_kernel(), "its body has kernels"),
    (12, with_gradient(), "a gradient is left"),
]


@pytest.mark.parametrize(("number", "graph", "words"), MALFORMED, ids=[f"G{n}-{w}" for n, _, w in MALFORMED])
def test_malformed(number, graph, words):
    with pytest.raises(InvalidGraph, match=re.compile(words, re.S)) as caught:
        verify(graph, differentiated=True)
    assert str(caught.value).startswith(f"G{number}: in the graph t")


def test_each_invariant_has_a_malformed_graph():
    listed = [int(n) for n in re.findall(r"^ +G(\d+) ", module.__doc__, re.M)]
    assert listed == list(range(1, len(listed) + 1)) == sorted({n for n, _, _ in MALFORMED})


def test_the_error_shows_the_line_of_the_value():
    with pytest.raises(InvalidGraph) as caught:
        verify(wrongly_typed())
    assert str(caught.value).endswith("\n    %1 = add(%0, %0): f32[3,2]  # dense_1")


def test_valid_graphs():
    graph = cnn()
    verify(graph)
    verify(differentiate(graph), differentiated=True)
    verify(kernel_graph())
