"""Attention, volumes, formats, images and rules for weights: numbers of real Keras 3 against ours.

tests/fixtures/make_keras_layers2.py made them.
"""

from __future__ import annotations

import importlib.util
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc import constraints, layers, regularizers
from graphc.ir import functions as f
from graphc.ir.graph import Graph, topological
from graphc.ir.tree import flat
from graphc.steps import bind, new_random_key, symbolic_input
from graphc.tracing import Trace, tracing
from graphc.variable import Variable

FIXTURES = Path(__file__).parents[1] / "fixtures"
_spec = importlib.util.spec_from_file_location("layers2_cases", FIXTURES / "cases_layers2.py")
our_cases = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(our_cases)


@cache
def results():
    with np.load(FIXTURES / "layers2.npz") as arrays:
        return {key: arrays[key] for key in arrays.files}


def in_a_row(arrays):
    return np.concatenate([np.ravel(a) for a in arrays])


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=[pytest.mark.slow] if i % 3 else []) for i, name in enumerate(our_cases.layer_cases())])
def test_layer_output_and_gradients(name, cases):
    case = our_cases.layer_cases()[name]
    with graphc.config(backend="numpy"):
        found, layer = outputs_and_gradients(name, case, cases)
    assert [w.path.split("/", 1)[1] for w in layer.weights] == results()[f"names.{name}"].tolist()
    np.testing.assert_allclose(found, results()[f"layer.{name}"], rtol=1e-5, atol=1e-5)


def outputs_and_gradients(name, case, cases):
    """What the fixture holds, from one graph: results, and the gradients of their sum with cotangents."""
    xs = [our_cases.layer_input(f"{name}{i}", s) for i, s in enumerate(case.shapes)]
    masks = {argument: list(m) if isinstance(m, list) else [m] for argument, m in case.masks.items()}
    arrays = [*xs, *(m for several in masks.values() for m in several)]
    values = [symbolic_input(a.shape, a.dtype, f"x{i}") for i, a in enumerate(arrays)]
    inputs, rest = values[:len(xs)], iter(values[len(xs):])
    given = {argument: [next(rest) for _ in m] for argument, m in masks.items()}
    options = {argument: m if isinstance(case.masks[argument], list) else m[0] for argument, m in given.items()}
    layer = case.make(layers)
    with tracing(Trace(True, new_random_key())):
        result = layer(inputs, **case.options, **options) if case.together else \
            layer(*inputs, **case.options, **options)
        outputs = list(flat(result))
    for weight, array in zip(layer.weights, cases.start_weights(layer.weights), strict=True):
        weight.assign(array)
    rows = case.shapes[0][0]
    shapes = [tuple(d if isinstance(d, int) else rows for d in v.shape) for v in outputs]
    cotangents = [our_cases.layer_input(f"cotangent{i}", shape) for i, shape in enumerate(shapes)]
    factors = [f.input(f"g{i}", v.shape) for i, v in enumerate(outputs)]
    loss = sum((f.sum(f.multiply(o, g)) for o, g in zip(outputs, factors, strict=True)), start=f.constant(0.0))
    found = [*outputs, *f.gradient(loss, [*inputs, *layer.trainable_weights])]
    state = tuple(v for v in topological(found) if isinstance(v, Variable))
    graph = Graph("both", (*values, *factors), state, tuple((f"r{i}", v) for i, v in enumerate(found)))
    return in_a_row(bind(graph)(*arrays, *cotangents)), layer


@pytest.mark.parametrize("name", our_cases.step_cases())
def test_training_steps(name, cases):
    make, shape = our_cases.step_cases()[name]
    x, y = cases.step_data(name, shape)
    inputs = graphc.Input(shape)
    model = graphc.Model(inputs, make(layers, inputs))
    model.compile(graphc.optimizers.SGD(0.1), loss="mse")
    model.set_weights(cases.start_weights(model.weights))
    losses = [model.train_on_batch(x[r:r + 8], y[r:r + 8]) for r in (0, 8, 16)]
    np.testing.assert_allclose(losses, results()[f"{name}.losses"], rtol=1e-5)
    np.testing.assert_allclose(in_a_row(model.get_weights()), results()[f"{name}.weights"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(model.predict(x, verbose=0), results()[f"{name}.predictions"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(model.evaluate(x, y, verbose=0), results()[f"{name}.evaluated"], rtol=1e-5)


@pytest.mark.parametrize("name", our_cases.regularizer_cases())
def test_regularizer(name):
    array = our_cases.layer_input(name, (4, 3))
    x = f.input("x", array.shape)
    value = our_cases.regularizer_cases()[name](regularizers)(x)
    graph = Graph("penalty", (x,), (), (("value", value), ("gradient", f.gradient(value, [x])[0])))
    expected = results()[f"regularizer.{name}"]
    found = in_a_row(bind(graph)(array))[:len(expected)]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", our_cases.constraint_cases())
def test_constraint(name):
    array = our_cases.layer_input(name, (3, 2, 4, 3))
    x = f.input("x", array.shape)
    graph = Graph("rule", (x,), (), (("value", our_cases.constraint_cases()[name](constraints)(x)),))
    np.testing.assert_allclose(bind(graph)(array)[0], results()[f"constraint.{name}"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", our_cases.config_cases())
def test_config_is_keras_s(name):
    """Every option of Keras's file is one of ours with the same value, or one that stands at its default."""
    from graphc.serialization import _DEFAULTS, deserialize

    layer = our_cases.config_cases()[name](layers)
    config = json.loads(json.dumps(layer.get_config()))
    expected = json.loads(str(results()[f"config.{name}"]))
    for option, value in expected.items():
        if option not in config:
            assert value is None or value == _DEFAULTS[option], f"{option}={value!r} is missing"
        elif option != "dtype":
            assert plain(config[option]) == plain(value), option
    assert set(config) <= set(expected)
    again = deserialize({"class_name": type(layer).__name__, "config": expected}, "layer")
    assert plain({"class_name": name, "config": json.loads(json.dumps(again.get_config()))}) == plain(
        {"class_name": name, "config": config})


def plain(value):
    """A description without where its class is from, and what graphc's doesn't have at its default."""
    if isinstance(value, dict) and "class_name" in value:
        config = {k: plain(v) for k, v in value["config"].items() if v is not None and k != "dtype"}
        return value["class_name"], config
    return round(value, 7) if isinstance(value, float) else value  # of which Keras rounds some to float32
