"""Layers of sequences: numbers that real Keras 3 computed (tests/fixtures/make_keras_sequences.py) against ours."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc import layers
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Graph, topological
from graphc.ir.tree import flat
from graphc.padding import pad_sequences
from graphc.runtime import counters
from graphc.steps import bind, new_random_key, symbolic_input
from graphc.tracing import Trace, tracing
from graphc.variable import Variable

FIXTURES = Path(__file__).parents[1] / "fixtures"
_spec = importlib.util.spec_from_file_location("sequence_cases", FIXTURES / "cases_sequences.py")
sequence_cases = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sequence_cases)


@cache
def results():
    with np.load(FIXTURES / "sequences.npz") as arrays:
        return {key: arrays[key] for key in arrays.files}


def in_a_row(arrays):
    return np.concatenate([np.ravel(a) for a in arrays])


@pytest.mark.parametrize("name", sequence_cases.layer_cases())
def test_layer_output_and_gradients(name, cases):
    with graphc.config(backend="numpy"):
        compare(name, cases)


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] if i % 8 else [])
                                  for i, name in enumerate(sequence_cases.layer_cases())])
def test_layer_output_and_gradients_natively(name, cases):
    before = counters()["numpy_fallbacks"]
    compare(name, cases)
    assert counters()["numpy_fallbacks"] == before


def compare(name, cases):
    found = outputs_and_gradients(name, sequence_cases.layer_cases()[name], cases)
    np.testing.assert_allclose(found, results()[f"layer.{name}"], rtol=1e-5, atol=1e-5)


def outputs_and_gradients(name, case, cases):
    """What the fixture holds, from one graph: outputs, states, and the gradients of their sum with cotangents."""
    shape = (case.shape[0], sequence_cases.UNITS)
    arrays = [sequence_cases.layer_input(name, case.shape),
              *(sequence_cases.layer_input(f"state{i}", shape) for i in range(case.states))]
    mask = sequence_cases.mask_of(case)
    arrays += [mask] if mask is not None else []
    values = [symbolic_input(a.shape, a.dtype, f"x{i}") for i, a in enumerate(arrays)]
    layer = case.make(layers)
    states = values[1:1 + case.states]
    options = ({"initial_state": states} if states else {}) | ({"mask": values[-1]} if mask is not None else {})
    with tracing(Trace(True, new_random_key())):
        outputs = list(flat(layer(values[0], **options)))
    for weight, array in zip(layer.weights, cases.start_weights(layer.weights), strict=True):
        weight.assign(array)
    cotangents = [sequence_cases.layer_input(f"cotangent{i}", tuple(d if isinstance(d, int) else case.shape[0]
                                                                     for d in v.shape)) for i, v in enumerate(outputs)]
    given = [f.input(f"g{i}", v.shape) for i, v in enumerate(outputs)]
    loss = sum((f.sum(o * g) for o, g in zip(outputs, given, strict=True)), start=f.constant(0.0))
    leaves = [v for v in (values[0], *states) if v.dtype.is_float]
    found = [*outputs, *f.gradient(loss, [*leaves, *layer.trainable_weights])]
    state = tuple(v for v in topological(found) if isinstance(v, Variable))
    graph = Graph("both", (*values, *given), state, tuple((f"r{i}", v) for i, v in enumerate(found)))
    return in_a_row(bind(graph)(*arrays, *cotangents))


@pytest.mark.parametrize("name", sequence_cases.step_cases())
def test_training_steps(name, cases):
    make, shape, integers = sequence_cases.step_cases()[name]
    before = counters()["numpy_fallbacks"]
    x, y = sequence_cases.step_data(name, shape, integers)
    model = graphc.Sequential([graphc.Input(shape, dtype="int32" if integers else "float32"), *make(layers)])
    model.compile(graphc.optimizers.SGD(0.1), loss="mse")
    model.set_weights(cases.start_weights(model.weights))
    losses = [model.train_on_batch(x[r:r + 8], y[r:r + 8]) for r in (0, 8, 16)]
    np.testing.assert_allclose(losses, results()[f"{name}.losses"], rtol=1e-5)
    np.testing.assert_allclose(in_a_row(model.get_weights()), results()[f"{name}.weights"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(model.predict(x, verbose=0), results()[f"{name}.predictions"], rtol=1e-5, atol=1e-5)
    assert counters()["numpy_fallbacks"] == before


@pytest.mark.parametrize("name", sequence_cases.sequence_cases())
def test_pad_sequences(name):
    arguments, options = sequence_cases.sequence_cases()[name]
    padded = pad_sequences(*arguments, **options)
    np.testing.assert_array_equal(padded, results()[f"pad.{name}"])
    assert padded.dtype == results()[f"pad.{name}"].dtype


def test_pad_sequences_refuses():
    for wrong in (7, [1, 2, 3]):
        with pytest.raises(ValueError, match="expected a list of sequences"):
            pad_sequences(wrong)
    with pytest.raises(ValueError, match="Did you mean 'post'"):
        pad_sequences([[1]], padding="posts")
    with pytest.raises(ShapeError, match="expected one shape"):
        pad_sequences([[[1, 2]], [[3]]])
    texts = pad_sequences([["a"], ["b", "c"]], dtype=object, value="")
    assert texts.tolist() == [["", "a"], ["b", "c"]] and pad_sequences([]).shape == (0, 0)
