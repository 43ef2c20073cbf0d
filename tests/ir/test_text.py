"""Graphs as text: what is printed reads back, and what is not a graph is refused with its line."""

from __future__ import annotations

import math

import pytest
from models import cnn

from graphc.ir import functions as f
from graphc.ir.errors import ParseError
from graphc.ir.graph import Graph, apply, origin
from graphc.ir.op import OPS
from graphc.ir.ops.leaf import Constant
from graphc.ir.ops.movement import Pad
from graphc.ir.ops.structure import Kernel
from graphc.ir.parser import parse
from graphc.ir.types import DTYPES, dim
from graphc.passes import pipeline

N = dim("N")


def reads_back(graph):
    """The text of a graph, which must read back to the same text."""
    text = str(graph)
    assert str(parse(text)) == text
    return text


def test_a_whole_training_step_before_and_after_each_pass():
    graphs = [cnn()]
    pipeline.run(graphs[0], observe=lambda name, g: graphs.append(g))
    assert len(graphs) == 1 + len(pipeline.GRAPH_PASSES)
    for g in graphs:
        reads_back(g)


@pytest.mark.parametrize("value", [0.0, -0.0, 1.5, -2.0, 2.0**-40, 2.0**90, math.inf, -math.inf, math.nan])
def test_numbers(value):
    x = f.input("x", (2,))
    padded = f.pad(x, [(1, 0)], value)
    text = reads_back(Graph("t", (x,), (), (("y", x + f.constant(value)), ("z", padded))))
    assert f"constant<value={value!r}, dtype=f32>" in text


def test_numbers_that_python_calls_equal_are_different_constants():
    numbers = [Constant(0.0, DTYPES["f32"]), Constant(-0.0, DTYPES["f32"]), Constant(0, DTYPES["f32"])]
    assert len(set(numbers)) == 3
    assert Constant(math.nan, DTYPES["f32"]) == Constant(float("nan"), DTYPES["f32"])
    assert Pad((0,), (1,), 0.0) != Pad((0,), (1,), -0.0)
    assert f.constant(-0.0) is not f.constant(0.0) and f.constant(math.nan) is f.constant(math.nan)


def test_attributes_of_every_kind():
    x, key = f.input("x", (N, 2 * N + 1, 3)), f.state("key", (2,), "u32")
    leaf = apply(OPS["input"]("other/leaf", x.type), origin="")
    y = f.max_pool(f.expand_dims(x, -1), 2, 1)
    outputs = (("bits", f.random_bits(key, (N, 3), 4)), ("sum", f.sum(x, (0, 2))), ("pool", y), ("l", leaf),
               ("rows", f.dimension(2 * N * N - 1, "f64")), ("arg", f.argmax(x, 1)),
               ("spec", f.einsum("abc,cd->abd", x, f.full((3, 2), True))), ("flag", f.constant(True, "bool")))
    reads_back(Graph("t", (x,), (key,), outputs))


def test_origins():
    x = f.input("x", (2,))
    with origin("model/dense #1 (a: b)"):
        y = f.exp(x)
    text = reads_back(Graph("t", (x,), (), (("y", f.log(y)),)))
    assert "%0 = exp(%x): f32[2]  # model/dense #1 (a: b)\n" in text


def kernel_graph():
    a, b = f.input("a", (N, 3)), f.input("b", (N, 3))
    body = Graph("k", (a, b), (), (("sum", a + b), ("product", a * b)))
    x = f.input("x", (N, 3))
    with origin("layer"):
        both = apply(Kernel(body), x, x)
    return Graph("t", (x,), (), (("y", f.item(both, 0)), ("z", f.item(both, 1))))


def test_kernels():
    assert reads_back(kernel_graph()) == """\
graph t(%x: f32[N,3]) {
  %0 = kernel(%x, %x): (f32[N,3], f32[N,3]) graph k(%a: f32[N,3], %b: f32[N,3]) {
    %0 = add(%a, %b): f32[N,3]
    %1 = multiply(%a, %b): f32[N,3]
    return sum=%0, product=%1
  }  # layer
  %1 = item<index=0>(%0): f32[N,3]
  %2 = item<index=1>(%0): f32[N,3]
  return y=%1, z=%2
}"""


def test_graphs_of_nothing():
    reads_back(Graph("empty", (), (), ()))
    reads_back(Graph("none", (), (f.state("w", (2,)),), ()))


def test_comments_and_free_spacing():
    text = "# one\ngraph t(%x: f32[2])\n{\n  # two\n %a = exp( %x ) : f32[ 2 ]\nreturn y = %a }\n# three\n"
    assert str(parse(text)) == "graph t(%x: f32[2]) {\n  %0 = exp(%x): f32[2]\n  return y=%0\n}"


HEAD = "graph t(%x: f32[2]) {\n"


@pytest.mark.parametrize(("text", "line", "words"), [
    ("", 1, "expected 'graph'"),
    ("graf t() {}", 1, "expected 'graph'"),
    ("graph t(%x f32[2]) {}", 1, "expected ':'"),
    ("graph t(%x: f16[2]) {}", 1, "expected a type such as"),
    ("graph t(%x: f32[2], %x: f32[2]) {}", 1, "expected a new name: %x is defined already"),
    (HEAD, 1, "expected a value such as %0, 'return', 'update' or '}'"),
    (HEAD + "  %0 = exxp(%x): f32[2]\n}", 2, "there is no 'exxp'; did you mean exp?"),
    (HEAD + "  %0 = exp(%y): f32[2]\n}", 2, "%y is not"),
    (HEAD + "  %10 = exp(%x): f32[2]\n  %1 = exp(%100): f32[2]\n}", 3, "did you mean %10?"),
    (HEAD + "  %0 = exp(%x): f32[3]\n}", 2, "the type f32[2], which exp gives, received f32[3]"),
    (HEAD + "  %0 = exp(%x, %x): f32[2]\n}", 2, "the types do not fit"),
    (HEAD + "  %0 = sum<axes=(0,)>(%x, %x): f32[]\n}", 2, "the types do not fit"),
    (HEAD + "  %0 = concatenate<axis=0>(): f32[]\n}", 2, "the types do not fit"),
    (HEAD + "  %0 = sum<axes=(1,)>(%x): f32[2]\n}", 2, "sum needs increasing axes"),
    (HEAD + "  %0 = sum<axis=(1,)>(%x): f32[2]\n}", 2, "expected the fields axes of sum, received axis"),
    (HEAD + "  %0 = sum(%x): f32[]\n}", 2, "expected the fields axes of sum, received none"),
    (HEAD + "  %0 = exp<x=1>(%x): f32[2]\n}", 2, "expected the fields (none) of exp, received x"),
    (HEAD + "  %0 = sum<axes=(0,>(%x): f32[]\n}", 2, "expected a number"),
    (HEAD + "  %0 = exp(%x) f32[2]\n}", 2, "expected ':'"),
    (HEAD + "  %x = exp(%x): f32[2]\n}", 2, "expected a new name"),
    (HEAD + "  return y\n}", 3, "expected '='"),
    (HEAD + "  return y=%0\n}", 2, "expected a value defined above: %0 is not"),
    (HEAD + "}\ngraph u() {}", 3, "expected the end of the text"),
], ids=lambda p: p.replace("\n", " ") if isinstance(p, str) else str(p))
def test_errors_quote_the_line(text, line, words):
    with pytest.raises(ParseError) as caught:
        parse(text)
    message = str(caught.value)
    assert message.startswith(f"Line {line}: ") and words in message
    assert (text.splitlines() or [""])[line - 1] in message
