"""What shares a kernel, decided by structure; and that fused graphs compute the same."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from models import cnn
from samples import sample
from test_random_graphs import random_graph

import graphc
from graphc import layers
from graphc.ir import functions as f
from graphc.ir.evaluate import evaluate
from graphc.ir.graph import Graph, apply, topological
from graphc.ir.op import OPS, Op
from graphc.ir.ops.leaf import Input, State
from graphc.ir.ops.structure import Item, Kernel
from graphc.ir.types import dim
from graphc.ir.verify import verify
from graphc.passes import pipeline
from graphc.passes.fuse import fuse
from graphc.passes.plan import plan
from graphc.passes.structure import structure
from graphc.steps import trace_step

N = dim("N")
FUSED = (*pipeline.GRAPH_PASSES, fuse)


def graph_over(outputs, updates=()):
    leaves = [v for v in topological([*outputs, *(v for pair in updates for v in pair)])
              if isinstance(v.op, Input | State)]
    return Graph("t", tuple(v for v in leaves if isinstance(v.op, Input)),
                 tuple(v for v in leaves if isinstance(v.op, State)),
                 tuple((f"y{k}", v) for k, v in enumerate(outputs)), tuple(updates))


def fused(*outputs, updates=()):
    graph = graph_over(outputs, updates)
    made = fuse(graph)
    verify(made, differentiated=True)
    return made


def kernels(graph):
    return [v for v in graph.values() if isinstance(v.op, Kernel)]


def ops_of(kernel):
    return sorted({v.op.name for v in kernel.op.body.values() if not isinstance(v.op, Input)})


def only(made):
    (kernel,) = kernels(made)
    return kernel


def same(graph, made, rng, n=3, **tolerance):
    arrays = {v.op.label: sample(rng, v.type, {"N": n}) for v in graph.inputs + graph.state}
    for a, b in zip(evaluate(graph, arrays), evaluate(made, arrays), strict=True):
        for name in a:
            limits = {"rtol": 1e-5, "atol": 1e-6} | tolerance
            np.testing.assert_allclose(b[name], a[name], **limits, err_msg=f"{made}")


def x(*shape, dtype="f32", label="x"):
    return f.input(label, shape, dtype)


# ------------------------------------------------------------------------------------------------- one kernel

def test_convolution_bias_and_relu_are_one_kernel():
    made = fused(f.relu(f.conv(x(N, 8, 8, 3), x(3, 3, 3, 16, label="w")) + x(16, label="b")))
    kernel = only(made)
    assert {"einsum", "windows", "add", "relu", "broadcast"} <= set(ops_of(kernel))
    assert [o.op.label for o in kernel.operands] == ["x", "w", "b"] or len(kernel.operands) == 3
    assert len(kernel.op.body.outputs) == 1


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("strides", [1, 2])
def test_every_convolution_is_one_kernel_beside_its_padding(padding, strides):
    made = fused(f.tanh(f.conv(x(N, 9, 9, 3), x(3, 3, 3, 16, label="w"), strides, padding) + x(16, label="b")))
    assert ops_of(kernels(made)[-1])[-1] == "windows" and {"einsum", "tanh", "add"} <= set(ops_of(kernels(made)[-1]))
    assert [ops_of(k) for k in kernels(made)[:-1]] == [["pad"]] * (padding == "same")


@pytest.mark.parametrize("activation", [f.relu, f.tanh, f.sigmoid, f.gelu, f.elu, f.silu, f.softplus])
def test_dense_bias_and_activation_are_one_kernel(activation):
    kernel = only(fused(activation(x(N, 20) @ x(20, 30, label="w") + x(30, label="b"))))
    assert "einsum" in ops_of(kernel) and len(kernel.operands) == 3


@pytest.mark.parametrize("chain", [
    lambda v: f.exp(f.tanh(v) * 2.0) + f.square(v),
    lambda v: f.transpose(f.exp(v)) * 2.0,
    lambda v: f.where(v > 0.0, f.log1p(f.absolute(v)), v / 3.0),
    lambda v: f.exp(f.slice(v, (0, 2), (N, 5))),
    lambda v: f.concatenate([f.exp(v), v * 2.0]),
    lambda v: f.max_pool(f.relu(f.reshape(v, (N, 4, 4, 1))), 2),
], ids=["arithmetic", "transposed", "selected", "sliced", "joined", "pooled"])
def test_elementwise_chains_are_one_kernel(chain):
    only(fused(chain(x(N, 16))))


def test_softmax_and_crossentropy_are_one_kernel_of_rows():
    z, y = x(N, 10), x(N, 10, label="y")
    top = f.expand_dims(f.logsumexp(z), -1)
    loss, gradient = f.sum(y * (top - z), -1), (f.exp(z - top) - y) / f.dimension(N)
    kernel = only(pipeline.run(graph_over([loss, gradient]), FUSED, check=True))
    assert len(kernel.op.body.outputs) == 2
    assert {str(v.type) for _, v in kernel.op.body.outputs} == {"f32[N]", "f32[N,10]"}


def test_the_whole_crossentropy_of_a_dense_layer():
    """Logits, then one kernel of rows for loss and gradient, then their means and products."""
    v, w, y = x(N, 20), f.state("w", (20, 10)), x(N, 10, label="y")
    z = v @ w
    p = f.softmax(z)
    p = f.clip(p / f.sum(p, -1, keepdims=True), 1e-7, 1 - 1e-7)
    loss = f.mean(-f.sum(y * f.log(p), -1))
    graph = graph_over([loss], [(w, w - 0.1 * f.gradient(loss, [w])[0])])
    made = pipeline.run(graph, FUSED, check=True)
    assert len(kernels(made)) <= 4, str(made)
    rows = [k for k in kernels(made) if "exp" in ops_of(k) or "softmax" in ops_of(k)]
    assert len(rows) == 1, str(made)


def adam_of(gradient, p, m, v, t):
    t1 = f.cast(t, "f32") + 1.0
    rate = 0.001 * f.sqrt(1.0 - f.power(0.999, t1)) / (1.0 - f.power(0.9, t1))
    new_m, new_v = m + (gradient - m) * 0.1, v + (f.square(gradient) - v) * 0.001
    return [(m, new_m), (v, new_v), (p, p - rate * new_m / (f.sqrt(new_v) + 1e-7))]


def test_a_whole_adam_update_is_one_kernel_with_three_results():
    p, m, v = (f.state(name, (64, 10)) for name in "pmv")
    t = f.state("t", (), "i64")
    kernel = only(fused(updates=adam_of(x(64, 10, label="g"), p, m, v, t)))
    assert len(kernel.op.body.outputs) == 3 and len(kernel.operands) == 5


def test_adam_of_two_parameters_of_one_shape_writes_each_in_place():
    updates, states = [], []
    for name in "ab":
        p, m, v = (f.state(f"{name}{s}", (64, 10)) for s in "pmv")
        states += [p, m, v]
        updates += adam_of(x(64, 10, label=f"g{name}"), p, m, v, f.state("t", (), "i64"))
    made = plan(fused(updates=updates))
    assert not made.copies and sum(p.space == "state" for v, p in made.places.items() if isinstance(v.op, Item)) == 6


# ---------------------------------------------------------------------------------------------- several kernels

def test_a_reduction_joins_what_moves_each_of_its_results_once():
    x, w = f.input("x", (N, 8, 8, 4)), f.input("w", (3, 3, 4, 8))
    y = f.conv(x, w, (1, 1), "same")
    (gradient,) = f.gradient(f.sum(y * f.input("dy", y.shape)), [x])
    made = pipeline.run(graph_over([gradient]), FUSED)
    assert [k.op.body.name for k in kernels(made)] == ["fold_einsum_slice"]


def test_two_contractions_are_two_kernels():
    made = fused(f.relu(x(N, 20) @ x(20, 30, label="w")) @ x(30, 5, label="v"))
    assert len(kernels(made)) == 2


def test_what_two_kernels_need_is_computed_once():
    h = f.relu(x(N, 20) @ x(20, 30, label="w"))
    made = fused(h @ x(30, 5, label="v"), h @ x(30, 7, label="u"))
    assert sum("relu" in ops_of(k) for k in kernels(made)) == 1


def test_a_result_that_is_asked_for_stays_a_result():
    h = f.exp(x(N, 20))
    kernel = only(fused(h, f.tanh(h)))
    assert len(kernel.op.body.outputs) == 2


def test_nothing_is_repeated_for_every_column():
    """An activation between products is not computed again for each column of the next one."""
    made = fused(f.exp(x(N, 20) * 0.1) @ x(20, 300, label="w"))
    assert len(kernels(made)) == 2


def test_views_need_no_kernel():
    made = fused(f.exp(f.reshape(f.relu(x(N, 4, 4, 2) @ x(2, 3, label="w")), (N, -1)) @ x(48, 5, label="v")))
    assert len(kernels(made)) == 2
    assert any(v.op.name == "reshape" for v in made.values())


def test_an_unrelated_pair_shares_no_kernel():
    made = fused(f.exp(x(N, 7)), f.exp(x(5, 9, label="v")))
    assert len(kernels(made)) == 2


def test_the_random_key_and_the_counter():
    key, n = f.state("key", (2,), "u32"), f.state("n", (), "i64")
    made = fused(f.dropout(x(N, 8), 0.5, key, 0), updates=[(key, key + f.iota((2,), (0,), "u32")), (n, n + 1)])
    assert len(kernels(made)) <= 3
    verify(made)


# --------------------------------------------------------------------------------------------------- properties

def acyclic(made):
    assert nx.is_directed_acyclic_graph(made.to_networkx())
    order = {v: i for i, v in enumerate(made.values())}
    assert all(order[o] < order[v] for v in made.values() for o in v.operands)


def test_no_cycle_through_a_value_between():
    """a -> b -> c and a -> c: joining a and c without b would make a cycle."""
    a = f.exp(x(N, 16))
    b = a @ x(16, 16, label="w")
    made = fused(a + b * 2.0, f.tanh(a))
    acyclic(made)
    plan(made)


def test_a_diamond_of_reductions(rng):
    v = x(N, 16)
    total = f.sum(v, 0)
    centred = v - total
    graph = graph_over([f.sum(f.square(centred), 0) + total, f.sum(centred, 1), centred])
    made = fuse(graph)
    acyclic(made)
    same(graph, made, rng)


def test_fusion_keeps_what_a_step_computes(rng):
    graph = pipeline.run(cnn())
    made = fuse(graph)
    acyclic(made)
    same(graph, made, rng, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(40))
def test_random_graphs_stay_the_same(seed):
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    graph = pipeline.run(random_graph(rng, 5 + seed % 26))
    made = fuse(graph)
    verify(made, differentiated=True)
    acyclic(made)
    plan(made)
    same(graph, made, rng, rtol=1e-8, atol=1e-10)
    assert str(fuse(graph)) == str(made)


def test_every_value_in_a_kernel_is_needed():
    for k in kernels(pipeline.run(cnn(), FUSED)):
        body = k.op.body
        assert set(body.values()) == {*topological(body.roots), *body.inputs}
        assert all(body.users()[p] or p in body.roots for p in body.inputs), str(body)


def test_kernels_carry_their_origin():
    model = tutorial()
    made = pipeline.run(trace_step("predict", model).graph, FUSED)
    assert all(k.origin for k in kernels(made))
    assert any("conv2d" in k.origin for k in kernels(made))


def tutorial():
    model = graphc.Sequential([
        layers.Conv2D(32, (3, 3), activation="relu", input_shape=(28, 28, 1)), layers.MaxPooling2D((2, 2)),
        layers.Conv2D(64, (3, 3), activation="relu"), layers.MaxPooling2D((2, 2)), layers.Flatten(),
        layers.Dropout(0.5), layers.Dense(10, activation="softmax")])
    model.compile("adam", loss="categorical_crossentropy", metrics=["accuracy"])
    return model


def test_the_tutorial_cnn_has_few_kernels():
    graph = trace_step("train", tutorial()).graph
    made = pipeline.run(graph, FUSED, check=True)
    names = [k.op.body.name for k in kernels(made)]
    assert len(names) <= 23, names
    contractions = sum(any(structure(v).contracts for v in k.op.body.values() if v.operands) for k in kernels(made))
    assert contractions == 8, names  # two convolutions and one product, and the gradients of all but the images
    predict = pipeline.run(trace_step("predict", tutorial()).graph, FUSED, check=True)
    assert len(kernels(predict)) <= 6, str(predict)


def test_an_op_of_ones_own_is_fused_unasked():
    class Halve(Op):
        """x / 2."""

        def infer(self, x):
            return x

        def reference(self, x):
            return x / np.float32(2)

        def define(self, index, x):
            return x[index] * 0.5

        def vjp(self, f, g, y, x):
            return (g * 0.5,)

    try:
        kernel = only(fused(f.tanh(apply(Halve(), x(N, 20) @ x(20, 30, label="w")))))
        assert "halve" in ops_of(kernel)
    finally:
        del OPS["halve"]
