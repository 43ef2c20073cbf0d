"""Numbers that real Keras 3 computed (tests/fixtures/make_keras_fixtures.py) against ours."""

from __future__ import annotations

import cases
import numpy as np
from keras_numbers import check_training_steps, in_a_row, keras_numbers, outputs_and_gradients

import graphc


def weights_of(arrays, prefix="w"):
    count = sum(key.startswith(prefix) for key in arrays)
    return [arrays[f"{prefix}{i}"].astype(np.float32) for i in range(count)]


def test_training_curve(training_case):
    make, optimizer, loss, metrics, x, y = cases.training_cases()[training_case]
    expected = keras_numbers(f"training_{training_case}")
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


def test_layer_output_and_gradients(layer_case):
    make, shape = cases.layer_cases()[layer_case]
    layer, x = make(graphc.layers), cases.layer_input(layer_case, shape)
    arrays = x if isinstance(x, list) else [x]
    _, gradients = outputs_and_gradients(
        layer, arrays, lambda *values: layer(list(values) if isinstance(x, list) else values[0]), "cotangent")
    expected = keras_numbers("layers")[layer_case]
    np.testing.assert_allclose(in_a_row([layer(x), *gradients]), expected, rtol=1e-5, atol=1e-5)


def test_training_steps(step_case):
    make, shape = cases.step_cases()[step_case]
    model = graphc.Sequential([graphc.Input(shape), *make(graphc.layers)])
    check_training_steps(model, 0.01, cases.step_data(step_case, shape), step_case, "steps")


def test_loss_value(loss_case):
    make, y, p = cases.loss_cases()[loss_case]
    loss = make(graphc.losses)
    model = graphc.Sequential([graphc.Input(p.shape[1:])])
    model.compile("sgd", loss=loss)
    expected = keras_numbers("losses")[loss_case]
    np.testing.assert_allclose(model.evaluate(p, y, verbose=0), expected, rtol=1e-5, atol=1e-6)


def test_optimizer_steps(optimizer_case):
    make = cases.optimizer_cases()[optimizer_case]
    *_, x, y = cases.training_cases()["regression"]
    model = graphc.Sequential([graphc.layers.Dense(3, activation="tanh", input_shape=(8,)), graphc.layers.Dense(1)])
    model.compile(make(graphc.optimizers), loss="mse")
    model.set_weights([np.full(w.shape, 0.1, np.float32) + np.arange(w.size, dtype=np.float32).reshape(w.shape) / 50
                       for w in model.get_weights()])
    for step in range(5):
        model.train_on_batch(x[step * 16:step * 16 + 16], y[step * 16:step * 16 + 16])
    expected = weights_of(keras_numbers("optimizers"), f"{optimizer_case}.w")
    for got, want in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    assert int(model.optimizer.iterations) == 5
