"""Embedding: what it takes, and what it says of numbers outside its vocabulary, wherever they come from."""

from __future__ import annotations

import re

import numpy as np
import pytest

import graphc
from graphc import layers, ops

pytestmark = pytest.mark.usefixtures("reference_backend")


def model_of(*inside):
    model = graphc.Sequential([layers.Embedding(10, 4, input_length=5, name="words"), *inside])
    model.compile("sgd", "mse")
    return model


def test_input_length_builds_the_model():
    model = model_of(layers.LSTM(3))
    assert model.built and model.output_shape == (None, 3) and model.input_shape == (None, 5)
    table = model.get_weights()[0]
    assert table.shape == (10, 4) and -0.05 <= table.min() < -0.03 and 0.03 < table.max() <= 0.05
    assert layers.Embedding(10, 4, input_length=(5, 2)).given_shape == (5, 2)


def test_weights_and_integers_of_any_kind():
    table = np.arange(20, dtype=np.float32).reshape(5, 4)
    for given in (table, [table]):
        layer = layers.Embedding(5, 4, weights=given)
        for ids in ([[1, 4]], np.array([[1, 4]], np.uint8), np.array([[1, 4]], np.int64), np.array([[1.0, 4.7]])):
            np.testing.assert_array_equal(layer(np.asarray(ids)), table[[[1, 4]]])
    with pytest.raises(ValueError, match="shape"):
        layers.Embedding(6, 4, weights=table)


CALLS = {
    "fit": lambda m, x, y: m.fit(x, y, verbose=0),
    "fit with validation_data": lambda m, x, y: m.fit(x * 0, y, validation_data=(x, y), verbose=0),
    "evaluate": lambda m, x, y: m.evaluate(x, y, verbose=0),
    "predict": lambda m, x, y: m.predict(x, verbose=0),
    "train_on_batch": lambda m, x, y: m.train_on_batch(x, y),
    "test_on_batch": lambda m, x, y: m.test_on_batch(x, y),
    "predict_on_batch": lambda m, x, y: m.predict_on_batch(x),
    "call": lambda m, x, y: m(x),
}


@pytest.mark.parametrize("wrong", [10, -1, 2**32 + 3, 10.5])
@pytest.mark.parametrize("method", CALLS)
def test_a_number_outside_is_found_before_anything_runs(method, wrong):
    model = model_of(layers.Flatten(), layers.Dense(1))
    x, y = np.zeros((6, 5), np.asarray(wrong).dtype), np.zeros((6, 1))
    x[3, 2] = wrong
    before = model.get_weights()
    message = f"{method} of 'sequential' received as x the index {wrong}, expected 0 to 9: the layer 'words'"
    with pytest.raises(ValueError, match=re.escape(message)):
        CALLS[method](model, x, y)
    for got, want in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(got, want)
    x[3, 2] = 9
    CALLS[method](model, x, y)


def test_parts_of_inputs_are_checked():
    """Only what the layer looks up: the first two columns, behind a reshape, a slice and a cast."""
    inputs = graphc.Input((6,))
    pairs = layers.Reshape((3, 2))(inputs)
    found = layers.Flatten()(layers.Embedding(4, 3)(ops.cast(pairs[:, 0], "int32")))
    model = graphc.Model(inputs, found)
    x = np.full((2, 6), 100)
    x[:, :2] = 3
    assert model.predict(x, verbose=0).shape == (2, 6)
    x[1, 1] = 4
    with pytest.raises(ValueError, match="the index 4, expected 0 to 3"):
        model.predict(x, verbose=0)


def test_computed_numbers_are_found_after_the_step():
    inputs = graphc.Input((5,), dtype="int32")
    model = graphc.Model(inputs, layers.Flatten()(layers.Embedding(10, 4, name="words")(inputs + inputs)))
    model.compile("sgd", "mse", metrics=["mae"])
    x, y = np.full((40, 5), 4), np.zeros((40, 20))
    assert len(model.evaluate(x, y, verbose=0)) == 2 and model.predict(x, verbose=0).shape == (40, 20)
    model.fit(x, y, batch_size=4, verbose=0)
    x[-1] = 5
    for call in CALLS.values():
        with pytest.raises(ValueError, match=r"computed the index 10, expected 0 to 9: the layer 'words'"):
            call(model, x, y)


def test_layers_around_it_and_no_rows():
    x = np.array([[[0, 3]]])
    with pytest.raises(ValueError, match="the index 3, expected 0 to 2"):
        layers.TimeDistributed(layers.Embedding(3, 2))(x)
    assert layers.Embedding(3, 2)(np.zeros((0, 4), int)).shape == (0, 4, 2)
    inner = graphc.Sequential([layers.Embedding(3, 2, input_length=2)])
    with pytest.raises(ValueError, match="predict of 'outer' received as x the index 3"):
        graphc.Sequential([inner], name="outer").predict(x[0], verbose=0)
