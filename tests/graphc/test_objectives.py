"""Losses, metrics, optimizers, schedules and activations against real Keras (tests/fixtures/objectives.npz)."""

from __future__ import annotations

import json

import cases_objectives as cases
import numpy as np
import pytest
from keras_numbers import FIXTURES, in_a_row, keras_numbers

import graphc
from graphc.ir import functions as f
from graphc.ir.graph import Graph
from graphc.runtime import compile as compile_graph
from graphc.serialization import deserialize
from graphc.variable import Variable

EXPECTED = keras_numbers("objectives")


def close(parts, want, rtol=1e-5, atol=1e-6):
    np.testing.assert_allclose(in_a_row(parts), want, rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", cases.loss_cases())
def test_loss(name):
    make, kind = cases.loss_cases()[name]
    y, p, weights, mask = cases.sequence_data(kind)
    parts = []
    for reduction in cases.REDUCTIONS:
        loss = make(graphc.losses, reduction=reduction)
        for w, m in ((None, None), (weights, None), (None, mask), (weights, mask)):
            if name not in cases.SCALAR_LOSSES or (w is None and m is None):
                parts.append(loss(y, p, sample_weight=w, mask=m))
    close(parts, EXPECTED[f"loss.{name}"])
    again = type(loss).from_config(loss.get_config())
    np.testing.assert_array_equal(again(y, p), loss(y, p))


@pytest.mark.parametrize("name", cases.loss_cases())
def test_gradient(name):
    make, kind = cases.loss_cases()[name]
    y, p, weights, mask = cases.sequence_data(kind)
    arrays = [y, p] if name in cases.SCALAR_LOSSES else [y, p, weights, mask]
    inputs = tuple(f.input(f"x{i}", a.shape, a.dtype) for i, a in enumerate(arrays))
    (gradient,) = f.gradient(make(graphc.losses)(*inputs), [inputs[1]])
    with graphc.config(backend="numpy"):
        (found,) = compile_graph(Graph("gradient", inputs, (), (("g", gradient),)), {})(*arrays)
    np.testing.assert_allclose(found, EXPECTED[f"gradient.{name}"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", cases.metric_cases())
def test_metric(name):
    make, kind = cases.metric_cases()[name]
    metric, parts = make(graphc.metrics), []
    for y, p, _ in cases.metric_batches(kind):
        metric.update_state(y, p)
        parts.append(metric.result())
    metric.reset_state()
    for y, p, w in cases.metric_batches(kind):
        if name not in cases.UNWEIGHTED:
            metric.update_state(y, p, sample_weight=w)
    parts.append(metric.result())
    want = EXPECTED[f"metric.{name}"]
    close(parts, want)
    again = type(metric).from_config(metric.get_config())
    for y, p, _ in cases.metric_batches(kind):
        again.update_state(y, p)
    last = np.ravel(again.result())
    np.testing.assert_allclose(last, want[len(want) - 2 * len(last):len(want) - len(last)], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", cases.optimizer_cases())
def test_optimizer(name):
    variables = [Variable(a, n) for a, n in zip(cases.optimizer_start(), ("kernel", "bias"), strict=True)]
    if name == "constraint":
        variables[0] = Variable(variables[0].array, "kernel", constraint=graphc.constraints.NonNeg())
    optimizer, parts = cases.optimizer_cases()[name](graphc.optimizers), []
    optimizer = type(optimizer).from_config(optimizer.get_config())
    for i, gradients in enumerate(cases.optimizer_gradients()):
        optimizer.apply(gradients, variables)
        if i in (0, cases.STEPS - 1):
            parts += [v.numpy() for v in variables]
    parts += [v.numpy() for v in optimizer.variables]
    optimizer.finalize_variable_values(variables)
    parts += [v.numpy() for v in variables]
    close(parts, EXPECTED[f"optimizer.{name}"], rtol=2e-5)
    assert int(optimizer.iterations) == cases.STEPS // (optimizer.gradient_accumulation_steps or 1)


@pytest.mark.parametrize("name", cases.schedule_cases())
def test_schedule(name):
    schedule = cases.schedule_cases()[name](graphc.optimizers.schedules)
    close([schedule(step) for step in cases.SCHEDULE_STEPS], EXPECTED[f"schedule.{name}"], atol=1e-7)
    again = type(schedule).from_config(schedule.get_config())
    assert again(7) == schedule(7)


@pytest.mark.parametrize("name", cases.activation_cases())
def test_activation(name):
    function, options = cases.activation_cases()[name]
    found = getattr(graphc.activations, function)(cases.ACTIVATED, **options)
    np.testing.assert_allclose(found, EXPECTED[f"activation.{name}"], rtol=1e-5, atol=1e-6)
    assert graphc.activations.get(function) is getattr(graphc.activations, function)


_DESCRIBED = json.loads((FIXTURES / "objectives.json").read_text())
_FORGOTTEN = ("huber_delta", "dice_axis", "tversky_axis")  # Keras 3.15 writes no delta; of axes it makes lists


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k, named in _DESCRIBED.items() for n in named])
def test_what_keras_writes_down(kind, name):
    module = {"loss": graphc.losses, "metric": graphc.metrics, "optimizer": graphc.optimizers,
              "schedule": graphc.optimizers.schedules}[kind]
    case = getattr(cases, f"{kind}_cases")()[name]
    own = (case[0] if isinstance(case, tuple) else case)(module)
    described = _DESCRIBED[kind][name]
    found = deserialize(described, "initializer, layer or schedule" if kind == "schedule" else kind)
    ours = own.get_config()
    assert type(found) is type(own)
    assert name in _FORGOTTEN or found.get_config() | {"name": ""} == ours | {"name": ""}
    for option, value in described["config"].items():
        if option not in ("dtype", "name") and name not in _FORGOTTEN and not isinstance(value, dict):
            assert ours[option] == pytest.approx(value) if isinstance(value, float) else ours[option] == value, option
