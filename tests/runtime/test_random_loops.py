"""Random loops with their gradients: after the passes and natively they give what the reference gives."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from samples import graph_of

from graphc.ir import functions as f
from graphc.ir.evaluate import evaluate
from graphc.ir.types import dim
from graphc.passes.pipeline import GRAPH_PASSES, run
from graphc.runtime.rungs import run_rung

N = dim("N")


def random_loop(rng):
    """A scan whose step is made of random ops; None where nothing of it is read."""
    length, width = (int(rng.integers(1, 7)) if rng.random() < 0.5 else dim("T")), int(rng.choice([3, 4, 8, 16, 33]))
    x, mask = f.input("x", (length, N, width)), f.input("mask", (length, N), "bool")
    ids, table = f.input("ids", (length, N), "i32"), f.input("table", (7, width))
    weights, bias = [f.input(f"w{i}", (width, width)) for i in range(3)], f.input("b", (width,))
    first = [f.full((N, width), 0.3) if rng.random() < 0.5 else f.input(f"first{k}", (N, width))
             for k in range(rng.integers(0, 4))]
    looks_up, masked, half = rng.random() < 0.3, rng.random() < 0.4, width // 2

    def some(pool):
        return pool[rng.integers(len(pool))]

    choices = [
        lambda a, c: f.einsum("nd,de->ne", a, some(weights)) * 0.3,
        lambda a, c: f.einsum("nd,ed->ne", a, some(weights)) * 0.3,
        lambda a, c: f.tanh(a), lambda a, c: a * c, lambda a, c: a - c, lambda a, c: f.softmax(a),
        lambda a, c: f.sigmoid(a + bias),
        lambda a, c: f.pad(f.slice(a, (0, half), (N, width - half)), ((0, 0), (0, half)))]

    def step(carry, slices):
        pool = [slices[0], *carry, *([f.take(table, slices[1])] if looks_up else [])]
        for _ in range(rng.integers(2, 9)):
            a, c = some(pool), some(pool)
            kept = f.where(f.broadcast(slices[2], a.shape, (0,)), a, c) if masked else f.maximum(a, c)
            pool.append(kept if rng.random() < 0.1 else some(choices)(a, c))
        given = [pool[-1 - i] for i in range(rng.integers(0, 3))]
        return [some(pool) for _ in carry], [*given, *([f.sum(pool[-1], 1)] if rng.random() < 0.3 else [])]

    last, ys = f.scan(step, first, [x, ids, mask], reverse=bool(rng.random() < 0.4))
    results = {f"r{i}": v for i, v in enumerate([*last, *ys]) if rng.random() < 0.7}
    if not results:
        return None
    loss = f.add(0.0, sum((f.sum(f.square(v)) for v in results.values()), start=f.constant(0.0)))
    leaves = [v for v in graph_of({"loss": loss}).inputs if v.dtype.is_float]
    gradients = f.gradient(loss, leaves) if leaves else []
    return graph_of(results | {"loss": loss} | {f"g_{v.op.label}": g for v, g in zip(leaves, gradients, strict=True)})


def random_arrays(rng, graph):
    sizes = {"N": int(rng.integers(1, 6)), "T": int(rng.integers(1, 6))}
    shapes = {v: [sizes.get(str(d), d) for d in v.shape] for v in graph.inputs}
    made = {"i32": lambda s: rng.integers(-1, 8, s).astype(np.int32), "bool": lambda s: rng.random(s) > 0.4,
            "f32": lambda s: (rng.standard_normal(s) / 2).astype(np.float32)}
    return {v.op.label: made[str(v.dtype)](shape) for v, shape in shapes.items()}


SEEDS = [*range(12), 106, 182, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1000, 1080))]


@pytest.mark.parametrize("seed", SEEDS)
def test_random_loop(seed):
    rng = np.random.default_rng(seed)
    graph = random_loop(rng)
    if graph is None:
        return
    arrays = random_arrays(rng, graph)
    expected, _ = run_rung(graph, arrays, "reference")
    after, _ = evaluate(run(graph, GRAPH_PASSES, check=True), arrays)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of kernels that run on NumPy
        native, _ = run_rung(graph, arrays, "native")
    for name, want in expected.items():
        near = 2e-4 * (1 + np.abs(want).max())
        for found in (after, native):
            np.testing.assert_allclose(found[name], want, rtol=2e-3, atol=near, err_msg=f"{name} of seed {seed}")
