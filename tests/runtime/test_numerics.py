"""check_numerics: the first value with NaN or infinity, its op, layer, ranges and step."""

from __future__ import annotations

import numpy as np
import pytest

import graphc
from graphc.layers import Activation, Dense
from graphc.runtime.numerics import NumericsError

X = np.random.default_rng(1).random((64, 4)).astype(np.float32)


def compiled(rate):
    graphc.utils.set_random_seed(0)
    model = graphc.Sequential([Dense(8, activation="relu", input_shape=(4,), name="hidden"),
                               Dense(8, activation="exponential", name="wild"), Dense(1, name="last")])
    model.compile(graphc.optimizers.SGD(rate), "mse")
    return model


def fit(model, epochs=20):
    return model.fit(X, X.sum(1), epochs=epochs, batch_size=16, verbose=0).history["loss"]


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_a_step_that_overflows_is_named_and_undone(backend):
    model = compiled(50.0)
    with graphc.config(check_numerics=True, backend=backend), pytest.raises(NumericsError) as caught:
        fit(model)
    text = str(caught.value)
    assert int(model.optimizer.iterations) == 1
    assert text.startswith("Step 2 of train: exp in the layer 'wild' gives inf in 80 of 128 elements, first at [0, 2].")
    assert "wild received %3: f32[N,8] from 0 to 338.8" in text and "%wild.kernel: f32[8,8] from -95.49" in text
    assert all(np.isfinite(w).all() for w in model.get_weights())
    assert isinstance(caught.value, FloatingPointError)


def test_a_sound_step_is_left_alone():
    with graphc.config(check_numerics=True):
        losses = fit(compiled(0.01), epochs=2)
    assert fit(compiled(0.01), epochs=2) == losses


def test_a_model_that_has_run_before_is_checked_too():
    model = compiled(50.0)
    model.train_on_batch(X, X.sum(1))
    with graphc.config(check_numerics=True), pytest.raises(NumericsError, match="of train"):
        fit(model)


def test_an_input_is_named_with_the_first_place():
    model, x = compiled(0.01), X.copy()
    x[3, 2] = np.nan
    with graphc.config(check_numerics=True), pytest.raises(NumericsError, match=r"the input x has nan in 1 of 256 "
                                                           r"elements, first at \[3, 2\]"):
        model.predict(x, batch_size=64, verbose=0)


def test_the_op_its_layer_and_its_ranges_are_named():
    with graphc.config(check_numerics=True):
        model = graphc.Sequential([Activation("relu", input_shape=(3,), name="first"),
                                   Activation(lambda x: graphc.ops.log(x), name="logs")])
        x = np.array([[1, 2, 3], [4, -1, 6]], np.float32)
        with pytest.raises(NumericsError) as caught:
            model.predict(x, verbose=0)
    text = str(caught.value)
    assert text.startswith("Step 1 of predict: log in the layer 'logs' gives -inf in 1 of 6 elements, first at [1, 1].")
    assert "f32[N,3] from 0 to 6" in text
