"""Pictures, parts and differences of graphs."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

import networkx as nx
import numpy as np
import pytest
from models import cnn
from samples import graph_of, sample

from graphc.ir import functions as f
from graphc.ir.evaluate import evaluate
from graphc.ir.graph import Graph, apply, origin
from graphc.ir.layout import layout
from graphc.ir.op import OPS
from graphc.ir.ops.structure import Kernel
from graphc.ir.parser import parse
from graphc.ir.types import dim
from graphc.ir.verify import verify
from graphc.passes.pipeline import GRAPH_PASSES, run

N = dim("N")


@pytest.fixture
def stages():
    """The training step of a small network after each pass up to `fuse`."""
    from graphc.passes.fuse import fuse

    found = {"traced": cnn()}
    run(found["traced"], (*GRAPH_PASSES, fuse), observe=found.__setitem__)
    return found


def nested():
    """Two layers in a block, one outside of it."""
    x, w, b = f.input("x", (N, 3)), f.state("block.dense.kernel", (3, 4)), f.state("block.dense.bias", (4,))
    with origin("block/dense"):
        h = f.relu(f.matmul(x, w) + b)
    with origin("block"):
        h = h * 2.0
    with origin("head"):
        out = f.sum(h + 1.0, 1)
    return graph_of({"out": out})


# ------------------------------------------------------------------------------------------------------ layout

def random_picture(rng, count, density):
    sizes = {i: (rng.uniform(10, 90), rng.uniform(10, 40)) for i in range(count)}
    return sizes, [(a, b) for a in range(count) for b in range(a + 1, count) if rng.random() < density]


@pytest.mark.parametrize("direction", ["TB", "BT", "LR", "RL"])
def test_boxes_keep_apart_and_edges_run_one_way(rng, direction):
    for count, density in ((1, 0), (7, 0.3), (30, 0.1), (60, 0.03)):
        sizes, edges = random_picture(rng, count, density)
        placed = layout(sizes, edges, direction)
        sides = {}
        for node, (x, y) in placed.centres.items():
            w, h = sizes[node]
            sides[node] = x - w / 2, y - h / 2, x + w / 2, y + h / 2
            assert sides[node][0] >= -1e-6 and sides[node][2] <= placed.width + 1e-6
            assert sides[node][1] >= -1e-6 and sides[node][3] <= placed.height + 1e-6
        for a, (left, top, right, bottom) in sides.items():
            for b, other in sides.items():
                assert a == b or right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top
        forward = {"TB": (0, 1), "BT": (0, -1), "LR": (1, 0), "RL": (-1, 0)}[direction]
        for a, b in edges:
            assert np.dot(np.subtract(placed.centres[b], placed.centres[a]), forward) > 0
            x, y = placed.paths[a, b][-1]
            left, top, right, bottom = sides[b]
            assert left - 1e-6 <= x <= right + 1e-6 and top - 1e-6 <= y <= bottom + 1e-6, "an edge ends at its box"


def test_long_edges_pass_beside_boxes():
    sizes = {name: (80.0, 30.0) for name in "abcde"}
    placed = layout(sizes, [("a", "b"), ("b", "c"), ("c", "d"), ("d", "e"), ("a", "e")])
    path = placed.paths["a", "e"]
    for (x0, y0), (x1, y1) in zip(path[::3], path[3::3], strict=False):
        for t in np.linspace(0.05, 0.95, 7):
            x, y = x0 + (x1 - x0) * (3 - 2 * t) * t * t, y0 + (y1 - y0) * t  # about where the curve is
            for node in "bcd":
                cx, cy = placed.centres[node]
                assert abs(x - cx) > 40 or abs(y - cy) > 15, f"the edge runs through {node}"


def test_few_crossings():
    """A ladder drawn from shuffled names has no crossings."""
    sizes = {f"{side}{i}": (20.0, 10.0) for i in (3, 0, 4, 1, 2) for side in "ba"}
    edges = [(f"{side}{i}", f"{side}{i + 1}") for i in range(4) for side in "ab"]
    placed = layout(sizes, edges)
    left = [placed.centres[f"a{i}"][0] < placed.centres[f"b{i}"][0] for i in range(5)]
    assert len(set(left)) == 1


def test_a_main_path_is_straighter_than_its_side_branches():
    sizes = {name: (40.0, 20.0) for name in ["m0", *(f"{k}{i}" for i in range(1, 9) for k in "ms")]}
    edges = [e for i in range(1, 9) for e in ((f"m{i - 1}", f"m{i}"), (f"s{i}", f"m{i}"))]
    placed = layout(sizes, edges)
    xs = [placed.centres[f"m{i}"][0] for i in range(1, 9)]
    assert max(xs) - min(xs) < 40, xs


# ---------------------------------------------------------------------------------------------------- pictures

def shapes_of(svg):
    root = ElementTree.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    return root, [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]


def test_svg_names_ops_types_layers_and_results(stages):
    root, texts = shapes_of(stages["simplify"].to_svg())
    assert {"einsum", "x", "conv/kernel", "loss", "spec='nhwuvc,uvco->nhwo'", "f32[N,8,8,4]"} <= set(texts)
    assert "conv and its gradient" in texts and "sgd" in texts
    assert "constant" not in texts and "less(0, ·)" in texts, "numbers stand in what reads them"
    hints = [t.text for t in root.iter("{http://www.w3.org/2000/svg}title")]
    line = next(line.strip() for line in str(stages["simplify"]).splitlines() if "= einsum" in line)
    assert line in hints, "a box says what the text of the graph says"


def test_svg_of_a_fused_graph_has_kernels_not_items(stages):
    fused = stages["fuse"]
    _, texts = shapes_of(fused.to_svg())
    kernels = [v for v in fused.values() if isinstance(v.op, Kernel)]
    assert len(kernels) > 5 and "item" not in texts
    for kernel in kernels:
        assert any(t and kernel.op.body.name.startswith(t.removesuffix("...")) for t in texts)
    inside = " ".join(filter(None, texts))
    assert "windows" in inside and "random_bits" in inside


def test_svg_is_the_same_each_time_and_escapes(stages):
    assert stages["fuse"].to_svg() == stages["fuse"].to_svg()
    x = f.input("a&b", (2,))
    with origin("<odd>"):
        _, texts = shapes_of(graph_of({"out": f.relu(x)}).to_svg())
    assert "a&b" in texts and "<odd>" in texts


def test_svg_of_nothing():
    _, texts = shapes_of(Graph("empty", (), (), ()).to_svg())
    assert texts[0] == "empty"


def test_dot_has_clusters_by_layer():
    text = nested().to_dot()
    outer, inner = text.index('subgraph "cluster_block" {'), text.index('subgraph "cluster_block/dense" {')
    assert outer < inner < text.index('subgraph "cluster_head" {')
    assert text.count("{") == text.count("}") and text[inner:].index("relu") < text[inner:].index("}")
    assert 'label="%2 add\\nf32[N,4]"' in text


def test_dot_has_the_edges_of_the_graph(stages):
    for graph in (stages["simplify"], stages["fuse"]):
        text = graph.to_dot()
        nodes = re.findall(r"^ *(n\d+) \[label=", text, re.M)
        edges = re.findall(r"^ *(n\d+) -> (n\d+);", text, re.M)
        assert len(set(nodes)) == len(nodes) and {n for e in edges for n in e} <= set(nodes)
        assert nx.is_directed_acyclic_graph(nx.DiGraph(edges))
        kernels = [v.op.body.name for v in graph.values() if isinstance(v.op, Kernel)]
        assert all(f" {name[:31]}" in text for name in kernels)
    assert 'subgraph "cluster_grad(conv)"' in stages["simplify"].to_dot()


# -------------------------------------------------------------------------------------------- parts of a graph

def test_a_part_computes_what_the_whole_graph_does(rng, stages):
    graph = stages["simplify"]
    part = graph.select("sgd")
    verify(part, True)
    assert str(parse(str(part))) == str(part)
    arrays = {v.op.label: sample(rng, v.type, {"N": 3}, positive=True) for v in graph.inputs + graph.state}
    read = [v for v, users in graph.users().items() if v.origin[:5] == "grad("
            and any(u.origin == "sgd" for u in users)]
    names = tuple(f"grad.{v.origin[5:-1]}.{v.op.name}" for v in read)
    gradients, _ = evaluate(Graph("gradients", graph.inputs, graph.state, tuple(zip(names, read, strict=True))), arrays)
    _, whole = evaluate(graph, arrays)
    _, mine = evaluate(part, arrays | gradients)
    assert mine.keys() == {"conv/kernel", "conv/bias", "dense/kernel"}
    for label, array in mine.items():
        np.testing.assert_array_equal(array, whole[label])


def test_select_a_layer_and_its_gradient(stages):
    graph = stages["simplify"]
    both, backward = graph.select("dense"), graph.select("grad(dense)")
    assert {v.origin for v in both.values() if v.operands} >= {"dense", "grad(dense)"}
    assert {v.origin for v in backward.values() if len(v.operands) > 1} == {"grad(dense)"}
    for part in (both, backward):
        verify(part, True)
        assert [s.op.label for s in part.state] == ["dense/kernel"]
    assert any(n.startswith("grad.dense.") for n, _ in both.outputs)


def test_select_what_lies_below():
    graph = nested()
    assert str(graph.select("block/dense")) == """\
graph t(%x: f32[N,3]) state(%block.dense.kernel: f32[3,4], %block.dense.bias: f32[4]) {
  %0 = einsum<spec='ba,ac->bc'>(%x, %block.dense.kernel): f32[N,4]  # block/dense
  %1 = broadcast<shape=(N, 4), axes=(1,)>(%block.dense.bias): f32[N,4]  # block/dense
  %2 = add(%0, %1): f32[N,4]  # block/dense
  %3 = relu(%2): f32[N,4]  # block/dense
  return block.dense.relu=%3
}"""
    assert {v.origin for v in graph.select("block").values() if v.operands} == {"block", "block/dense"}
    assert str(graph.select("head")) == """\
graph t(%block.multiply: f32[N,4]) {
  %0 = constant<value=1.0, dtype=f32>(): f32[]  # head
  %1 = broadcast<shape=(N, 4), axes=()>(%0): f32[N,4]  # head
  %2 = add(%block.multiply, %1): f32[N,4]  # head
  %3 = sum<axes=(1,)>(%2): f32[N]  # head
  return out=%3
}"""


def test_select_of_a_fused_graph_has_whole_kernels(stages):
    graph = stages["fuse"]
    part = graph.select("pool")
    verify(part, True)
    holding = [v for v in graph.values() if isinstance(v.op, Kernel) and any(
        o.removeprefix("grad(").removesuffix(")") == "pool" for o in v.origin.split("+"))]
    assert [v.op for v in part.values() if isinstance(v.op, Kernel)] == [v.op for v in holding] and holding


def test_select_of_an_unknown_layer():
    with pytest.raises(ValueError, match=r"select\('dens'\).*Layers: block/dense, block, head\."):
        nested().select("dens")
    with pytest.raises(ValueError, match=r"grad\(head\)"):
        nested().select("grad(head)")


# ------------------------------------------------------------------------------------------------- differences

def test_no_difference(stages):
    for graph in stages.values():
        assert graph.diff(graph) == "" and graph.diff(parse(str(graph))) == ""


def test_numbers_and_order_make_no_difference():
    x = f.input("x", (4,))
    a, b = f.exp(x), f.sqrt(x)
    one, other = graph_of({"a": a, "b": b}), graph_of({"b": b, "a": a})
    assert str(one) != str(other)
    swapped = Graph("t", other.inputs, (), tuple(reversed(other.outputs)))
    assert one.diff(swapped) == ""


def test_one_more_value_is_one_line_and_what_reads_it():
    x = f.input("x", (4,))
    with origin("first"):
        h = f.exp(f.negative(x))

    def rest(h):
        for _ in range(8):
            h = f.tanh(h)
        return graph_of({"out": h})

    assert rest(h).diff(rest(f.sqrt(h))) == """\
  %0 = negative(%x): f32[4]  # first
  %1 = exp(%0): f32[4]  # first
+ %2 = sqrt(%1): f32[4]
- %2 = tanh(%1): f32[4]
+ %3 = tanh(%2): f32[4]
  %4 = tanh(%3): f32[4]
  %5 = tanh(%4): f32[4]"""


def test_swapped_operands_are_a_difference():
    x, y = f.input("x", (4,)), f.input("y", (4,))
    one, other = (Graph("t", (x, y), (), (("out", v),)) for v in (x - y, y - x))
    assert one.diff(other) == """\
  input %x: f32[4]
  input %y: f32[4]
- %0 = subtract(%x, %y): f32[4]
+ %0 = subtract(%y, %x): f32[4]
  return out=%0"""


def test_differences_of_stages_are_lines_of_those_stages(stages):
    order = list(stages)
    for before, after in pairwise(order):
        text = stages[before].diff(stages[after])
        lines = {name: {line.strip() for line in str(stages[name]).splitlines()} for name in (before, after)}
        shown = {sign: {line[2:].strip() for line in text.splitlines() if line.startswith(f"{sign} %")}
                 for sign in "-+"}
        assert shown["-"] <= lines[before] and shown["+"] <= lines[after]
        assert bool(text) == (str(stages[before]) != str(stages[after]))
        if before == "differentiate":
            assert len(text.splitlines()) < len(str(stages[after]).splitlines()), "most of the step is as it was"


def test_a_changed_op_somewhere_in_a_graph_is_found(rng):
    """Whatever value is replaced, the difference shows it and no value above it."""
    graph = run(cnn())
    values = [v for v in graph.values() if v.operands and v.type.dtype.is_float]
    for place in rng.choice(len(values), 8, replace=False):
        old = values[place]
        new = graph.rebuild(lambda v, o, old=old: apply(OPS["negative"](), apply(v.op, *o, origin=v.origin),
                                                        origin="new") if v is old else None)
        text = graph.diff(new)
        added = [line for line in text.splitlines() if line.startswith("+") and line.endswith("# new")]
        assert len(added) == 1 and "negative" in added[0]
        changed = [line for line in text.splitlines() if line[0] in "-+"]
        assert len(changed) <= 1 + 2 * (len(graph.users()[old]) + sum(v is old for v in graph.roots))
