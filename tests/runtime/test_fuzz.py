"""Random graphs through the whole compiler: native results equal the reference. Seeds are fixed and shown."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
from kernels import MACHINES, TARGETS
from samples import graph_of, sample

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

N, T = dim("N"), dim("T")
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


def with_gradients(y, *wrt):
    """A value, and the gradients of its elements' weighted sum."""
    loss = f.sum(y * f.input("weights", y.shape, y.dtype))
    return y, *f.gradient(loss, wrt)


def gradients_of_conv(size, dtype="f32"):
    x, w = f.input("x", (N, T, 3), dtype), f.input("w", (size, 3, 17), dtype)
    return with_gradients(f.conv(x, w, padding="same"), x, w)


def gradients_of_windows(size, strides, dilation, image=(N, 19, 17, 3)):
    x, w = f.input("x", image), f.input("w", (*size, 3, 5))
    return with_gradients(f.einsum("nhwuvc,uvco->nhwo", f.windows(x, size, strides, dilation), w), x, w)


def gradients_of_concatenate(axis):
    x, y = (f.input(label, (n, 5) if axis == 0 else (5, n)) for label, n in zip("xy", (N, T), strict=True))
    return with_gradients(f.concatenate([x, f.input("z", (3, 5) if axis == 0 else (5, 3)), y, x], axis), x, y)


def index_beside_an_element():
    x, k = f.input("x", (N, 9), "i64"), f.input("k", (N,), "i64")
    column = f.slice(x, (0, 3), (N, 1))  # argmax over one column is 0, which stands in the index of the sum, too
    return f.argmax_over(column, (1,), "i64"), f.sum(f.slice(x, (0, 0), (N, 1)), 1) * k


FOUND = {  # what longer runs than these have found
    **{f"gradients of same convolution, kernel {k}": lambda k=k: gradients_of_conv(k) for k in (2, 3, 4, 5, 7)},
    "gradients of same convolution in float64": lambda: gradients_of_conv(3, "f64"),
    "gradients of strided and dilated windows": lambda: gradients_of_windows((3, 2), (2, 3), (3, 2)),
    "strides and dilations have a divisor": lambda: gradients_of_windows((2, 3), (4, 2), (6, 4)),
    "strides here, a dilation there": lambda: gradients_of_windows((3, 3), (2, 1), (1, 2)),
    "gradients of joined rows": lambda: gradients_of_concatenate(0),
    "gradients of joined columns": lambda: gradients_of_concatenate(1),
    "numbers from an unknown extent": lambda: (f.slice(f.pad(f.input("x", (N, 4)), [(2, 3), (0, 0)]), (0, 0), (4, 4)),),
    "a result that is another one's index": index_beside_an_element,
    "sign of bytes": lambda: (f.sign(f.input("x", (N, 33), "u8")),),
    **{f"same max pooling of {d}": lambda d=d: (f.max_pool(f.input("x", (N, 7, 5, 3), d), 3, 2, "same"),)
       for d in ("u8", "i32", "i64", "bool")},
}


@pytest.mark.parametrize("machine", TARGETS)
@pytest.mark.parametrize("name", FOUND)
def test_what_was_found(name, machine, rng):
    graph = graph_of({f"y{k}": v for k, v in enumerate(FOUND[name]())})
    before = counters()["numpy_fallbacks"]
    with graphc.config(cpu=machine, check=True):
        program = compile(graph, {})
    for n, t in ((2, 3), (1, 1), (5, 9), (19, 2)):
        arrays = {v.op.label: sample(rng, v.type, {"N": n, "T": t}) for v in graph.inputs}
        expected, _ = evaluate(differentiate(graph), arrays)
        found = dict(zip(expected, program(*arrays.values()), strict=True))
        equal(found, expected, 2e-4, f"at N={n}, T={t}")
    assert counters()["numpy_fallbacks"] == before


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
