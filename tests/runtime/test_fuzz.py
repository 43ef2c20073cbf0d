"""Random graphs through the whole compiler: native results equal the reference. Seeds are fixed and shown."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
from kernels import MACHINES
from samples import sample

import graphc
from graphc.ir import functions as f
from graphc.ir.evaluate import evaluate
from graphc.ir.graph import Graph, topological
from graphc.ir.ops.leaf import Input
from graphc.ir.types import Dim, dim
from graphc.passes.differentiate import differentiate
from graphc.runtime import compile, counters

_spec = importlib.util.spec_from_file_location(
    "random_graphs", Path(__file__).parents[1] / "passes" / "test_random_graphs.py")
random_graphs = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(random_graphs)

N = dim("N")
UNARY = (f.tanh, f.sigmoid, f.negative, f.absolute, f.relu, f.softplus, f.sin, f.silu, f.erf, f.floor, f.sign, f.gelu)
BINARY = (f.add, f.subtract, f.multiply, f.maximum, f.minimum)


class Shapes:
    """A random graph of float32 values over many shapes."""

    def __init__(self, seed, steps):
        self.rng, self.weights = np.random.default_rng(seed), 0
        c = self.pick(1, 2, 3, 8, 16, 17)
        self.pool = [f.input("x", (N, self.pick(1, 3, 5, 8, 10, 16, 20))), f.input("image", (N, 6, 5, c))]
        for _ in range(steps):
            made = self.step(self.pool[self.rng.integers(len(self.pool))])
            if made is not None and made.ndim <= 5 and self.size(made) < 4000:
                self.pool.append(made)

    def pick(self, *choices):
        return choices[self.rng.integers(len(choices))]

    def size(self, v):
        return math.prod(3 if isinstance(d, Dim) else d for d in v.shape)

    def weight(self, *shape):
        self.weights += 1
        return f.input(f"w{self.weights}", shape)

    def step(self, v):
        kind = self.rng.integers(14)
        last = v.shape[-1] if v.ndim else 1
        if kind <= 1:
            return self.pick(*UNARY)(v)
        if kind == 2:
            others = [o for o in self.pool if o.shape == v.shape or o.ndim == 0]
            return self.pick(*BINARY)(v, others[self.rng.integers(len(others))] if others else 0.5)
        if kind == 3 and v.ndim and isinstance(last, int):
            return self.pick(*BINARY)(v, self.weight(last))
        if kind == 4 and v.ndim:
            axes = [a for a in range(v.ndim) if self.rng.integers(2)] or [0]
            return self.pick(f.sum, f.max, f.mean)(v, axes, bool(self.rng.integers(2)))
        if kind == 5 and v.ndim and isinstance(last, int):
            return self.pick(f.softmax, f.log_softmax)(v)
        if kind <= 7 and v.ndim and isinstance(last, int):
            return (v * 0.5) @ self.weight(last, self.pick(1, 2, 7, 10, 16, 24, 33))
        if kind == 8 and v.ndim == 4 and v.shape[0] == N and all(isinstance(d, int) and d >= 3 for d in v.shape[1:3]):
            kernel = self.weight(3, 2, last, self.pick(1, 4, 16, 19))
            return f.conv(v, kernel, self.pick(1, 2), self.pick("same", "valid"))
        if kind == 9 and v.ndim == 4 and v.shape[0] == N and all(isinstance(d, int) and d >= 2 for d in v.shape[1:3]):
            return self.pick(f.max_pool, f.average_pool)(v, 2, self.pick(1, 2), self.pick("same", "valid"))
        if kind == 10 and v.ndim:
            return f.transpose(v, self.rng.permutation(v.ndim).tolist())
        if kind == 11 and v.ndim > 1 and v.shape[0] == N:
            return f.reshape(v, (N, -1))
        if kind == 12 and v.ndim and isinstance(last, int) and last > 1:
            return self.pick(f.concatenate([v, v * 2.0]), f.flip(v, -1), f.slice(
                v, (0,) * v.ndim, (*v.shape[:-1], last - 1)), f.pad(v, [(0, 0)] * (v.ndim - 1) + [(1, 2)]))
        if kind == 13:
            return f.where(v > 0.1, v, f.negative(v) * 0.5)
        return None

    def graph(self, with_gradients):
        outputs = {f"y{k}": v for k, v in enumerate(self.pool[-4:])}
        if with_gradients:
            loss = sum((f.mean(v * 0.1) for v in self.pool[-3:]), f.constant(0.0))
            leaves = [v for v in topological([loss]) if isinstance(v.op, Input)]
            outputs |= {f"g{k}": g for k, g in enumerate(f.gradient(loss, leaves))} if leaves else {}
        inputs = tuple(v for v in topological(outputs.values()) if isinstance(v.op, Input))
        return Graph("fuzz", inputs, (), tuple(outputs.items()))


def equal(found, expected, tolerance, what):
    for name, y in expected.items():
        x = found[name]
        assert x.dtype == y.dtype and x.shape == y.shape, what
        scale = max(1.0, float(np.abs(y).max(initial=0)))
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance * scale, err_msg=f"{name} {what}")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(24))
def test_many_shapes(seed):
    print(f"seed {seed}")
    graph = Shapes(seed, 6 + seed // 2).graph(with_gradients=seed % 2 == 0)
    rng = np.random.default_rng(seed)
    before = counters()["numpy_fallbacks"]
    with graphc.config(cpu=MACHINES[seed % len(MACHINES)], threads=1 + seed % 2, check=True):
        program = compile(graph, {})
    for n in (2, 1, 19):
        arrays = {v.op.label: sample(rng, v.type, {"N": n}) for v in graph.inputs}
        expected, _ = evaluate(differentiate(graph), arrays)
        found = dict(zip(expected, program(*arrays.values()), strict=True))
        equal(found, expected, 2e-4, f"at {n} rows of seed {seed}, {graph}")
    assert counters()["numpy_fallbacks"] == before


@pytest.mark.parametrize("seed", range(16))
def test_training_steps_in_float64(seed):
    print(f"seed {seed}")
    rng = np.random.default_rng(1000 + seed)
    graph = random_graphs.random_graph(rng, 4 + 2 * seed)
    before = counters()["numpy_fallbacks"]
    arrays = {v.op.label: sample(rng, v.type, {"N": 3}) for v in graph.inputs + graph.state}
    outputs, updates = evaluate(differentiate(graph), arrays)
    state = {v.op.label: arrays[v.op.label].copy() for v in graph.state}
    with graphc.config(cpu=MACHINES[seed % len(MACHINES)]):
        program = compile(graph, state)
    found = dict(zip(outputs, program(*(arrays[v.op.label] for v in graph.inputs)), strict=True))
    equal(found, outputs, 1e-8, str(graph))
    equal(state, updates, 1e-8, str(graph))
    assert counters()["numpy_fallbacks"] == before
