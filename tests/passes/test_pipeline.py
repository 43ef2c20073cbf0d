"""The passes together: what they keep, how errors name them, and what the gradients of losses look like."""

from __future__ import annotations

import time

import numpy as np
import pytest
from models import cnn
from samples import graph_of, run, sample

from graphc.ir import functions as f
from graphc.ir.errors import GraphcError, InvalidGraph, ShapeError
from graphc.ir.evaluate import evaluate
from graphc.ir.graph import Graph, Value, apply, origin, topological
from graphc.ir.ops.elementwise import Exp
from graphc.ir.ops.structure import Kernel
from graphc.ir.types import TensorType, dim
from graphc.passes import pipeline
from graphc.passes.differentiate import differentiate
from graphc.passes.infer import infer
from graphc.passes.simplify import simplify

N = dim("N")


def arrays_for(rng, graph, n):
    arrays = {v.op.label: sample(rng, v.type, {"N": n}) for v in graph.inputs + graph.state}
    for v in graph.state:
        if v.dtype.is_float:
            arrays[v.op.label] *= 0.1  # large logits would be clipped
    if "y" in arrays:
        arrays["y"] = np.eye(3, dtype=arrays["y"].dtype)[rng.integers(0, 3, n)]
    return arrays


def agree(a, b, rtol=1e-9):
    for x, y in zip(a, b, strict=True):
        assert x.keys() == y.keys()
        for name in x:
            np.testing.assert_allclose(x[name], y[name], rtol=rtol, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("n", [1, 3])
def test_the_passes_keep_what_a_step_computes(n, rng):
    graph = cnn("f64")
    arrays = arrays_for(rng, graph, n)
    names = []
    made = pipeline.run(graph, observe=lambda name, g: names.append(name), check=True)
    assert names == [p.__name__ for p in pipeline.GRAPH_PASSES]
    agree(evaluate(made, arrays), evaluate(differentiate(graph), arrays))
    assert len(made.values()) < len(differentiate(graph).values())


def test_simplify_is_done_after_one_run():
    made = pipeline.run(cnn())
    assert str(simplify(made)) == str(made)


def test_simplify_is_fast():
    graph = differentiate(cnn())
    start = time.perf_counter()
    simplify(graph)
    assert time.perf_counter() - start < 0.2


def test_infer_binds_sizes(rng):
    graph = differentiate(cnn("f64"))
    bound = infer(graph, {"N": 4})
    assert not bound.symbols() and "N" not in str(bound).replace("None", "")
    arrays = arrays_for(rng, graph, 4)
    agree(evaluate(bound, arrays), evaluate(graph, arrays))
    assert str(infer(graph)) == str(graph)


def test_infer_binds_some_sizes_and_kernels():
    t = dim("T")
    x = f.input("x", (N, t))
    body = Graph("k", (x,), (), (("y", f.exp(x)),))
    graph = Graph("t", (x,), (), (("y", f.item(apply(Kernel(body), x), 0)),))
    assert infer(graph, {"T": 5}).symbols() == ["N"]
    assert infer(graph, {"T": 5}).outputs[0][1].shape == (N, 5)


def test_infer_corrects_a_wrong_type_and_names_what_it_cannot():
    x = f.input("x", (2,))
    bad = Value(Exp(), (x,), TensorType(x.dtype, (3,)))
    assert infer(Graph("t", (x,), (), (("y", bad),))).outputs[0][1].shape == (2,)
    with origin("dense"):
        y = f.slice(f.input("x", (N + 3,)), (1,), (3,))
    with pytest.raises(ShapeError) as caught:
        infer(Graph("t", (y.operands[0],), (), (("y", y),)), {"N": 0})
    assert "# dense" in caught.value.__notes__[0]


def test_errors_name_the_pass():
    def spoil(graph):
        with origin("dense"):
            bad = Value(Exp(), (graph.inputs[0],), TensorType(graph.inputs[0].dtype, (7,)), "dense")
        return Graph(graph.name, graph.inputs, graph.state, (("y", bad),))

    def fail(graph):
        raise KeyError("oops")

    def refuse(graph):
        raise GraphcError("no.")

    graph = Graph("t", (f.input("x", (2,)),), (), ())
    with pytest.raises(InvalidGraph, match=r"In the pass spoil: G9: in the graph t \(layer dense\)"):
        pipeline.run(graph, (infer, spoil), check=True)
    pipeline.run(graph, (infer, spoil))
    with pytest.raises(GraphcError, match="In the pass refuse: no"):
        pipeline.run(graph, (refuse,))
    with pytest.raises(KeyError) as caught:
        pipeline.run(graph, (fail,))
    assert caught.value.__notes__ == ["In the pass fail over the graph t."]


def loss_graph(kind, classes):
    """A loss as Keras states it on probabilities, with its gradient by the logits."""
    z, y = f.input("z", (N, classes)), f.input("y", (N, classes))
    with origin("loss"):
        if kind == "categorical":
            p = f.softmax(z)
            p = f.clip(p / f.sum(p, -1, keepdims=True), 1e-7, 1 - 1e-7)
            losses = -f.sum(y * f.log(p), -1)
        else:
            p = f.clip(f.sigmoid(z), 1e-7, 1 - 1e-7)
            losses = f.mean(-(y * f.log(p) + (1.0 - y) * f.log(1.0 - p)), -1)
        loss = f.mean(losses)
    return Graph("t", (z, y), (), (("loss", loss), ("gradient", f.gradient(loss, [z])[0])))


@pytest.mark.parametrize("kind", ["categorical", "binary"])
def test_the_gradient_of_a_crossentropy_divides_by_no_probability(kind, rng):
    made = pipeline.run(loss_graph(kind, 3), check=True)
    for value in made.values():
        assert value.op.name not in ("log", "maximum", "minimum"), f"{value} in {made}"
        if value.op.name == "divide":
            assert made.inputs[0] not in topological([value.operands[1]]), f"{value} in {made}"
    z = np.array([[200, -200, 0], [-300, 1, 2], [0, 0, 0]], np.float32)
    y = np.eye(3, dtype=np.float32)[[1, 0, 2]]
    out, _ = evaluate(made, {"z": z, "y": y})
    assert np.isfinite(out["loss"]) and out["loss"] > 50
    e = np.exp(z - z.max(-1, keepdims=True))
    s = 1 / (1 + np.exp(-z.astype("f8")))
    p, count = (e / e.sum(-1, keepdims=True), 3) if kind == "categorical" else (s, 9)
    np.testing.assert_allclose(out["gradient"], (p - y) / count, atol=1e-6)


def test_stop_gradient_vanishes_once_gradients_are_derived():
    x = f.input("x", (2,))
    loss = f.sum(f.stop_gradient(x) * x)
    made = pipeline.run(Graph("t", (x,), (), (("loss", loss), ("g", f.gradient(loss, [x])[0]))))
    assert "stop_gradient" not in str(made) and made.outputs[1][1] is made.inputs[0]


def test_a_long_chain_needs_no_recursion(rng):
    x = f.input("x", (2,), "f64")
    y = x
    for _ in range(3000):
        y = f.negative(f.negative(y)) * 1.0
    made = pipeline.run(graph_of({"y": y}), check=True)
    assert made.outputs[0][1] is x
    assert run(x, {"x": np.ones(2)}).tolist() == [1, 1]
