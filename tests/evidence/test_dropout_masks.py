"""Dropout draws the same bits natively, by NumPy, for every vector width and any number of threads."""

from __future__ import annotations

import numpy as np
import pytest
from kernels import MACHINES

import graphc
from graphc import layers
from graphc.ir import functions as f
from graphc.ir.graph import Graph
from graphc.ir.types import dim
from graphc.runtime import compile

N = dim("N")


def masks(seed, steps=3, **switches):
    """What dropout leaves of ones, step by step, with two rates."""
    x, key = f.input("x", (N, 37)), f.state("key", (2,), "u32")
    graph = Graph("drop", (x,), (key,), (("a", f.dropout(x, 0.5, key, 0)), ("b", f.dropout(f.exp(x), 0.2, key, 1)),
                                         ("bits", f.random_bits(key, (N, 37), 2)), ("u", f.uniform(key, (N, 5), 3))),
                  ((key, key + f.iota((2,), (0,), "u32")),))
    state = {"key": np.array([seed, 0], np.uint32)}
    with graphc.config(**switches):
        program = compile(graph, state)
    results = [program(np.ones((n, 37), np.float32)) for n in (5, 1, 64)[:steps]]
    assert state["key"].tolist() == [seed, steps]
    return results


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**32 - 1])
def test_graphs_draw_the_same_bits(seed):
    expected = masks(seed, backend="numpy")
    for switches in [{"cpu": m} for m in MACHINES] + [{"threads": 3}]:
        for found, step in zip(masks(seed, **switches), expected, strict=True):
            for (a, b, bits, u), (a0, b0, bits0, u0) in [(found, step)]:
                assert np.array_equal(a == 0, a0 == 0) and np.array_equal(b == 0, b0 == 0)
                assert np.array_equal(bits, bits0) and np.array_equal(u, u0)
                np.testing.assert_allclose(b, b0, rtol=1e-6)


def test_masks_have_the_rate_and_change_with_step_stream_and_seed():
    first = masks(1)
    a, third = first[0][0], first[2]
    assert not np.array_equal(third[0][:5] == 0, a == 0)
    assert not np.array_equal(masks(2)[0][0], a)
    assert abs((third[0] == 0).mean() - 0.5) < 0.05 and abs((third[1] == 0).mean() - 0.2) < 0.05
    assert set(np.unique(a)) == {0.0, 2.0}


def drops(**switches):
    """Which elements of a layer of ones a training model drops, seen through the gradient of its weights."""
    graphc.utils.clear_session()
    graphc.utils.set_random_seed(9)
    with graphc.config(**switches):
        model = graphc.Sequential([layers.Dropout(0.4, input_shape=(200,)), layers.Dense(1, use_bias=False)])
        model.compile(graphc.optimizers.SGD(1.0), "mse")
        seen = []
        for _ in range(3):
            model.set_weights([np.zeros((200, 1), np.float32)])
            model.train_on_batch(np.ones((1, 200), np.float32), np.ones((1, 1), np.float32))
            seen.append(model.get_weights()[0].ravel() != 0)
    return seen


def test_models_drop_the_same_elements():
    expected = drops(backend="numpy")
    assert not np.array_equal(expected[0], expected[1]) and 90 < expected[0].sum() < 150
    for switches in [{"cpu": m} for m in MACHINES]:
        for a, b in zip(drops(**switches), expected, strict=True):
            assert np.array_equal(a, b)
