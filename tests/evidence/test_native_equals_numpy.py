"""Whole models train to the same numbers natively and by NumPy, for every vector width, and without a fallback."""

from __future__ import annotations

import numpy as np
import pytest
from kernels import TARGETS
from samples import each, graph_of, weighted_sum
from whole_models import models, train

import graphc
from graphc.ir import functions as f
from graphc.ir.types import dim
from graphc.passes.differentiate import differentiate
from graphc.runtime import compile, counters

N = dim("N")


@pytest.mark.parametrize("cpu", TARGETS[:2])
@pytest.mark.parametrize("name", each(2, models()))
def test_three_training_steps(name, cpu):
    before = counters()
    found = train(name, cpu=cpu)
    assert counters()["numpy_fallbacks"] == before["numpy_fallbacks"]
    assert counters()["native_calls"] > before["native_calls"]
    before = counters()
    expected = train(name, backend="numpy")
    assert counters() == before
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def _nets():
    """name -> (value, arrays of its leaves), in float64."""
    rng = np.random.default_rng(11)

    def weight(label, *shape):
        arrays[label] = rng.standard_normal(shape) * 0.5
        return f.input(label, shape, "f64")

    arrays: dict = {}
    x = weight("x", 2, 7, 6, 2)
    h = f.tanh(f.conv(x, weight("k1", 3, 3, 2, 5), padding="same") + weight("b1", 5))
    h = f.max_pool(h, 2)
    h = f.sigmoid(f.conv(h, weight("k2", 2, 2, 5, 3)) + weight("b2", 3))
    z = f.reshape(h, (2, -1)) @ weight("w", 12, 4) + weight("b3", 4)
    y = np.eye(4)[[1, 3]]
    arrays["y"] = y
    p = f.softmax(z)
    p = f.clip(p / f.sum(p, -1, keepdims=True), 1e-7, 1 - 1e-7)
    yield "convolutions", f.mean(-f.sum(f.input("y", (2, 4), "f64") * f.log(p), -1)), arrays
    arrays = {}
    h = f.gelu(weight("x", 5, 6) @ weight("w1", 6, 9) + weight("b1", 9))
    h = f.softplus(h @ weight("w2", 9, 8)) + f.silu(h @ weight("w3", 9, 8))
    h = (h - f.mean(h, -1, True)) * f.rsqrt(f.mean(f.square(h - f.mean(h, -1, True)), -1, True) + 1e-3)
    yield "dense", f.mean(f.square(h @ weight("w4", 8, 1))), arrays
    arrays = {}
    x = weight("x", 2, 9, 9, 2)
    h = f.elu(f.conv(x, weight("k1", 3, 3, 2, 4), strides=2, padding="same"))
    h = f.average_pool(h, 3, 2, "same")
    h = f.conv(h, weight("k2", 2, 2, 4, 3), dilation_rate=2)
    yield "strided and dilated", weighted_sum(rng, h, arrays), arrays


@pytest.mark.parametrize("cpu", TARGETS)
@pytest.mark.parametrize(("name", "loss", "arrays"), list(_nets()), ids=[name for name, *_ in _nets()])
def test_gradients_are_finite_differences(name, loss, arrays, cpu):
    """Both the loss and its gradients are native code, in float64."""
    forward = graph_of({"loss": loss}, name="forward")
    wrt = [v for v in forward.inputs if v.op.label not in ("y", "weights")]
    backward = graph_of({v.op.label: g for v, g in zip(wrt, f.gradient(loss, wrt), strict=True)}, name="backward")
    with graphc.config(cpu=cpu):
        run, derive = compile(forward, {}), compile(differentiate(backward), {})
    before = counters()
    found = derive(*(arrays[v.op.label] for v in backward.inputs))
    assert counters()["native_calls"] == before["native_calls"] + 1
    assert counters()["numpy_fallbacks"] == before["numpy_fallbacks"]
    step = 1e-6
    for (label, _), gradient in zip(backward.outputs, found, strict=True):
        expected = np.zeros_like(arrays[label])
        for i in np.ndindex(expected.shape):
            around = []
            for sign in (1, -1):
                moved = arrays[label].copy()
                moved[i] += sign * step
                (value,) = run(*((arrays | {label: moved})[v.op.label] for v in forward.inputs))
                around.append(float(value))
            expected[i] = (around[0] - around[1]) / (2 * step)
        np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-8, err_msg=f"{name}: {label}")
