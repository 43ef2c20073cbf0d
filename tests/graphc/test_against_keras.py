"""Numbers that real Keras 3 computed (tests/fixtures/make_keras_fixtures.py) against ours."""

from __future__ import annotations

import numpy as np

import graphc


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


def test_layer_output(layer_case, cases, keras_result):
    make, shape = cases.layer_cases()[layer_case]
    expected = keras_result("layers")
    layer = make(graphc.layers)
    layer(np.zeros(shape, np.float32))
    layer.set_weights(weights_of(expected, f"{layer_case}.w"))
    got = layer(cases.layer_input(layer_case, shape))
    np.testing.assert_allclose(got, expected[f"{layer_case}.output"], rtol=1e-5, atol=1e-5)


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
