"""All 20 steps of every curve that real Keras trained, natively, for the host's vectors and for AVX2."""

from __future__ import annotations

import cases
import numpy as np
import pytest
from keras_numbers import keras_numbers
from kernels import MACHINES

import graphc
from graphc.runtime import counters


@pytest.mark.slow
@pytest.mark.parametrize("cpu", MACHINES[:2])
@pytest.mark.parametrize("name", cases.training_cases())
def test_curve(name, cpu):
    make, optimizer, loss, metrics, x, y = cases.training_cases()[name]
    expected = keras_numbers(f"training_{name}")
    graphc.utils.clear_session()
    with graphc.config(cpu=cpu, check=True):
        model = graphc.Sequential(make(graphc.layers))
        model.compile(optimizer(graphc.optimizers), loss=loss, metrics=metrics)
        count = sum(key[0] == "w" and key[1:].isdigit() for key in expected)
        model.set_weights([expected[f"w{i}"].astype(np.float32) for i in range(count)])
        before, curve = counters(), []
        for step in range(cases.STEPS):
            rows = slice(step * cases.BATCH, (step + 1) * cases.BATCH)
            curve.append(model.train_on_batch(x[rows], y[rows]))
    assert counters()["native_calls"] == before["native_calls"] + cases.STEPS
    assert counters()["numpy_fallbacks"] == before["numpy_fallbacks"]
    assert len(expected["curve"]) == cases.STEPS
    np.testing.assert_allclose(curve, expected["curve"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(model.evaluate(x[:50], y[:50], verbose=0), expected["evaluated"], rtol=1e-4, atol=1e-4)
