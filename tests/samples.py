"""Random arrays of a type, and what several tests do with graphs."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.ir import functions as f
from graphc.ir.evaluate import evaluate
from graphc.ir.graph import Graph, topological
from graphc.ir.ops.leaf import Input, State
from graphc.ir.types import TensorType, evaluate_dim
from graphc.passes.differentiate import gradients


def each(k, names):
    """Names as parameters of a test; one in k of them, the first, is among the fast tests."""
    return [pytest.param(name, marks=[pytest.mark.slow] if i % k else []) for i, name in enumerate(names)]


def sample(rng, t: TensorType, sizes=None, positive=False) -> np.ndarray:
    """A random array: floats of both signs or positive, small integers, bools."""
    shape = tuple(evaluate_dim(d, sizes or {}) for d in t.shape)
    if t.dtype.kind == "f":
        x = rng.uniform(0.3, 2.0, shape) if positive else rng.standard_normal(shape)
    elif t.dtype.kind == "b":
        x = rng.integers(0, 2, shape)
    else:
        x = rng.integers(0 if t.dtype.kind == "u" else -4, 5, shape)
    return np.asarray(x).astype(t.dtype.numpy)


def graph_of(outputs: dict, name="t") -> Graph:
    """The graph of named outputs; its leaves are those that they reach."""
    leaves = [v for v in topological(outputs.values()) if isinstance(v.op, Input | State)]
    inputs = tuple(v for v in leaves if isinstance(v.op, Input))
    state = tuple(v for v in leaves if isinstance(v.op, State))
    return Graph(name, inputs, state, tuple(outputs.items()))


def run(value, arrays):
    """The array of one value by the reference."""
    return evaluate(graph_of({"y": value}), arrays)[0]["y"]


def check_gradients(loss, arrays, wrt=None, rtol=1e-5, atol=1e-7, step=1e-6):
    """Compare derived gradients with central differences; the graph and the arrays are float64."""
    graph = graph_of({"loss": loss})
    wrt = wrt or [v for v in graph.inputs + graph.state if v.dtype.is_float]
    derived = graph_of({v.op.label: g for v, g in zip(wrt, gradients(loss, wrt), strict=True)})
    used = {v.op.label: arrays[v.op.label] for v in derived.inputs + derived.state}
    found, _ = evaluate(derived, used)
    for v in wrt:
        label, expected = v.op.label, np.zeros_like(arrays[v.op.label])
        for i in np.ndindex(expected.shape):
            around = []
            for sign in (1, -1):
                moved = arrays[label].copy()
                moved[i] += sign * step
                around.append(evaluate(graph, arrays | {label: moved})[0]["loss"])
            expected[i] = (around[0] - around[1]) / (2 * step)
        words = f"gradient by {label} of {graph}"
        np.testing.assert_allclose(found[label], expected, rtol, atol, err_msg=words)


def weighted_sum(rng, value, arrays):
    """A scalar loss that weighs each element of a value differently."""
    weights = f.input("weights", value.shape, value.dtype)
    arrays["weights"] = sample(rng, value.type)
    return f.sum(value * weights)


def ulps(got, want):
    """Errors in float32 ulps at the exact result, where both are finite; 0 or infinity where one isn't."""
    with np.errstate(all="ignore"):
        rounded = want.astype(np.float32)
        ulp = np.spacing(np.maximum(np.abs(rounded), np.float32(2.0**-126))).astype(float)
        close = np.abs(got.astype(float) - want) / ulp
    same = (got == rounded) | (np.isnan(got) & np.isnan(want))
    return np.where(np.isfinite(got) & np.isfinite(rounded), close, np.where(same, 0, np.inf))
