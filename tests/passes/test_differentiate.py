"""Gradients of whole graphs against finite differences in float64."""

from __future__ import annotations

import numpy as np
import pytest
from samples import check_gradients, graph_of, run, sample, weighted_sum

from graphc.ir import functions as f
from graphc.ir.evaluate import by_definition, by_reference, evaluate
from graphc.ir.graph import Graph
from graphc.ir.parser import parse
from graphc.ir.types import dim
from graphc.passes.differentiate import differentiate, gradients
from graphc.passes.simplify import simplify


def state(label, *shape):
    return f.state(label, shape, "f64")


def input(label, *shape):
    return f.input(label, shape, "f64")


A, B, C = input("a", 2, 3), input("b", 3), input("c", 3, 4)
IMAGE, FILTER = input("x", 1, 6, 5, 2), state("w", 3, 2, 2, 2)
KEY = f.state("key", (2,), "u32")

EXPRESSIONS = {
    "broadcasting": A * B + 2.0 / (B * B + 1.0),
    "matmul": f.tanh(A @ C) @ f.transpose(C),
    "batched matmul": f.expand_dims(A, 0) @ f.broadcast_to(C, (2, 3, 4)),
    "shared value": (A + A * A) * f.exp(A) - A,
    "softmax": f.softmax(A * 2.0) * A,
    "softmax along 0": f.softmax(A, 0),
    "logsumexp": f.logsumexp(A, -1, keepdims=True) - A,
    "log_softmax": f.log_softmax(A),
    "mean and variance": f.mean(f.square(A - f.mean(A, 0, True)), 0) + f.mean(A),
    "min and max": f.max(A, 0) * f.min(A, 1, True),
    "clip": f.clip(A, -0.4, 0.4),
    "where": f.where(A < B, A * B, f.exp(A)),
    "activations": f.gelu(A) + f.gelu(A, False) + f.elu(A) + f.selu(A) + f.silu(A),
    "more activations": f.softsign(A) + f.leaky_relu(A) + f.relu6(A * 4.0) + f.softplus(A) + f.sigmoid(A),
    "power": (A * A + 0.5) ** (B * 0.1),
    "moves": f.concatenate([f.flip(A, 1), f.pad(f.slice(A, (0, 1), (2, 2)), [(0, 0), (1, 0)])], 0) * 2.0,
    "einsum with a lone letter": f.einsum("ij,jk->k", A, C),
    "conv": f.conv(IMAGE, FILTER),
    "conv with strides, same": f.conv(IMAGE, FILTER, (2, 3), "same"),
    "conv with dilation": f.conv(IMAGE, FILTER, 1, "valid", 2),
    "windows with strides and dilations": f.windows(IMAGE, (3, 2), (2, 4), (2, 2)),
    "max pooling": f.max_pool(IMAGE, 2),
    "overlapping max pooling": f.max_pool(IMAGE, 3, 2, "same"),
    "average pooling": f.average_pool(IMAGE, 2),
    "overlapping average pooling": f.average_pool(IMAGE, (3, 2), (2, 1), "same"),
    "conv net": f.relu(f.conv(f.max_pool(f.tanh(f.conv(IMAGE, FILTER)), 2, 1), state("v", 2, 2, 2, 1))),
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_gradient(name, rng):
    value = EXPRESSIONS[name]
    graph = graph_of({"y": value})
    arrays = {v.op.label: sample(rng, v.type) for v in graph.inputs + graph.state}
    check_gradients(weighted_sum(rng, value, arrays), arrays, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("axis", [0, 1])
def test_gradient_of_a_concatenation_along_an_unknown_extent(axis, rng):
    lengths = {"x": dim("N"), "y": 3, "z": dim("T")}
    parts = [input(label, *((n, 2) if axis == 0 else (2, n))) for label, n in lengths.items()]
    joined = f.concatenate([*parts, parts[0]], axis)
    graph = graph_of(dict(zip(lengths, gradients(f.sum(joined * joined), parts), strict=True)))
    assert str(parse(str(graph))) == str(graph)
    for sizes in ({"N": 1, "T": 4}, {"N": 3, "T": 1}):
        arrays = {v.op.label: sample(rng, v.type, sizes) for v in graph.inputs}
        for interpreter in (by_reference, by_definition):
            found, _ = evaluate(graph, arrays, interpreter)
            for label, times in {"x": 4, "y": 2, "z": 2}.items():  # x is joined twice
                np.testing.assert_allclose(found[label], times * arrays[label], rtol=1e-12)


def test_gradient_through_dropout(rng):
    arrays = {"a": sample(rng, A.type), "key": np.array([7, 9], np.uint32)}
    value = f.dropout(f.exp(A), 0.4, KEY, 3)
    check_gradients(weighted_sum(rng, value, arrays), arrays)


def test_gradient_of_a_gradient(rng):
    arrays = {"a": sample(rng, A.type)}
    first = gradients(f.sum(f.exp(A) * A * A), [A])[0]
    check_gradients(weighted_sum(rng, first, arrays), arrays)


def test_gradient_by_a_value_inside():
    y = f.exp(A)
    z = f.sum(y * y)
    made = simplify(graph_of({"g": gradients(z, [y])[0]}))
    assert made.outputs[0][1] is y + y


def test_what_a_loss_does_not_depend_on_has_gradient_0():
    g = gradients(f.sum(A), [B, A])
    assert run(g[0], {}).tolist() == [0, 0, 0] and run(g[1], {}).sum() == 6


def test_overlapping_windows_give_the_first_maximum_the_gradient():
    x = f.input("x", (1, 3, 1))
    g = gradients(f.sum(f.max_pool(x, 2, 1)), [x])[0]
    assert run(g, {"x": np.array([[[5], [5], [1]]], np.float32)}).ravel().tolist() == [1, 1, 0]


def test_equal_maxima_share_the_gradient_of_max():
    x = f.input("x", (3,))
    g = gradients(f.max(x), [x])[0]
    assert run(g, {"x": np.array([2, 2, 1], np.float32)}).tolist() == [0.5, 0.5, 0]


def test_differentiate_expands_every_gradient():
    w = f.state("w", (3,))
    loss = f.sum(w * w)
    (first,) = f.gradient(loss, [w])
    (second,) = f.gradient(f.sum(first * first), [w])
    made = differentiate(Graph("t", (), (w,), (("first", first), ("second", second))))
    assert "gradient" not in str(made) and "item" not in str(made)
    arrays = {"w": np.array([1, 2, 3], np.float32)}
    assert run(made.outputs[0][1], arrays).tolist() == [2, 4, 6]
    assert run(made.outputs[1][1], arrays).tolist() == [8, 16, 24]
