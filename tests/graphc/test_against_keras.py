"""Numbers that real Keras 3 computed (tests/fixtures/make_keras_fixtures.py) against ours."""

from __future__ import annotations

import numpy as np

import graphc
from graphc.ir import functions as f
from graphc.ir.graph import Graph, topological
from graphc.runtime import counters
from graphc.steps import bind, new_random_key, symbolic_input
from graphc.tracing import Trace, tracing
from graphc.variable import Variable


def weights_of(arrays, prefix="w"):
    count = sum(key.startswith(prefix) for key in arrays)
    return [arrays[f"{prefix}{i}"].astype(np.float32) for i in range(count)]


def test_training_curve(training_case, cases, keras_result):
    make, optimizer, loss, metrics, x, y = cases.training_cases()[training_case]
    expected = keras_result(f"training_{training_case}")
    steps = 8 if training_case == "cnn_tutorial" else cases.STEPS
    model = graphc.Sequential(make(graphc.layers))
    model.compile(optimizer(graphc.optimizers), loss=loss, metrics=metrics)
    model.set_weights(weights_of(expected))
    for step in range(steps):
        rows = slice(step * cases.BATCH, (step + 1) * cases.BATCH)
        got = model.train_on_batch(x[rows], y[rows])
        np.testing.assert_allclose(got, expected["curve"][step], rtol=1e-4, atol=1e-4, err_msg=f"step {step}")
        if step == 2:
            np.testing.assert_allclose(model.predict(x[:32], verbose=0), expected["predictions"], rtol=1e-4, atol=1e-4)
    if steps == cases.STEPS:
        evaluated = model.evaluate(x[:50], y[:50], verbose=0)
        np.testing.assert_allclose(evaluated, expected["evaluated"], rtol=1e-4, atol=1e-4)


def test_layer_output_and_gradients(layer_case, cases, keras_result):
    make, shape = cases.layer_cases()[layer_case]
    layer, x = make(graphc.layers), cases.layer_input(layer_case, shape)
    layer(x)
    layer.set_weights(cases.start_weights(layer.weights))
    got = layer(x)
    both = [got.ravel(), *gradients(layer, x, cases.layer_input("cotangent", got.shape))]
    np.testing.assert_allclose(np.concatenate(both), keras_result("layers")[layer_case], rtol=1e-5, atol=1e-5)


def gradients(layer, x, cotangent):
    """The gradients in training of the inputs and weights."""
    arrays = x if isinstance(x, list) else [x]
    xs = [symbolic_input(a.shape, label=f"x{i}") for i, a in enumerate(arrays)]
    with tracing(Trace(True, new_random_key())):
        output = layer.forward(xs if isinstance(x, list) else xs[0])
    g = symbolic_input(cotangent.shape, label="g")
    loss = f.sum(f.multiply(output, g))
    results = f.gradient(loss, [*xs, *layer.trainable_weights])
    state = tuple(v for v in topological(results) if isinstance(v, Variable))
    graph = Graph("gradients", (*xs, g), state, tuple((f"g{i}", v) for i, v in enumerate(results)))
    return [np.ravel(a) for a in bind(graph)(*arrays, cotangent)]


def test_training_steps(step_case, cases, keras_result):
    make, shape = cases.step_cases()[step_case]
    losses, weights, predictions = (keras_result("steps")[f"{step_case}.{what}"]
                                    for what in ("losses", "weights", "predictions"))
    before = counters()["numpy_fallbacks"]
    x, y = cases.step_data(step_case, shape)
    model = graphc.Sequential([graphc.Input(shape), *make(graphc.layers)])
    model.compile(graphc.optimizers.SGD(0.01), loss="mse")
    model.set_weights(cases.start_weights(model.weights))
    found = [model.train_on_batch(x[r:r + 8], y[r:r + 8]) for r in (0, 8, 16)]
    np.testing.assert_allclose(found, losses, rtol=1e-5)
    np.testing.assert_allclose(np.concatenate([w.ravel() for w in model.get_weights()]), weights, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(model.predict(x, verbose=0), predictions, rtol=1e-5, atol=1e-5)
    assert counters()["numpy_fallbacks"] == before


def test_loss_value(loss_case, cases, keras_result):
    make, y, p = cases.loss_cases()[loss_case]
    loss = make(graphc.losses)
    model = graphc.Sequential([graphc.Input(p.shape[1:])])
    model.compile("sgd", loss=loss)
    np.testing.assert_allclose(model.evaluate(p, y, verbose=0), keras_result("losses")[loss_case], rtol=1e-5, atol=1e-6)


def test_optimizer_steps(optimizer_case, cases, keras_result):
    make = cases.optimizer_cases()[optimizer_case]
    *_, x, y = cases.training_cases()["regression"]
    model = graphc.Sequential([graphc.layers.Dense(3, activation="tanh", input_shape=(8,)), graphc.layers.Dense(1)])
    model.compile(make(graphc.optimizers), loss="mse")
    model.set_weights([np.full(w.shape, 0.1, np.float32) + np.arange(w.size, dtype=np.float32).reshape(w.shape) / 50
                       for w in model.get_weights()])
    for step in range(5):
        model.train_on_batch(x[step * 16:step * 16 + 16], y[step * 16:step * 16 + 16])
    expected = weights_of(keras_result("optimizers"), f"{optimizer_case}.w")
    for got, want in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    assert int(model.optimizer.iterations) == 5
