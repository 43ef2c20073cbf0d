"""Functional models: calls on symbolic values are made again in every step."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import graphc
from graphc import ops
from graphc.ir.errors import ShapeError
from graphc.layers import Activation, Conv2D, Dense, Dropout, Flatten, Input
from graphc.runtime import counters

X = np.random.default_rng(4).random((24, 8, 8, 3)).astype(np.float32)
Y = np.arange(24) % 3


def residual():
    """A convolution around which its input is added."""
    graphc.utils.set_random_seed(2)
    inputs = Input((8, 8, 3), name="image")
    x = Conv2D(4, 3, padding="same", activation="relu", name="first")(inputs)
    y = Conv2D(4, 3, padding="same", name="second")(x)
    z = Activation("relu", name="sum")(x + y)
    outputs = Dense(3, activation="softmax", name="last")(Dropout(0.25, name="drop")(Flatten(name="flat")(z)))
    model = graphc.Model(inputs, outputs, name="residual")
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


class Same(graphc.Model):
    """The same network, written as a class."""

    def __init__(self):
        super().__init__()
        self.first = Conv2D(4, 3, padding="same", activation="relu", name="first")
        self.second = Conv2D(4, 3, padding="same", name="second")
        self.drop = Dropout(0.25, name="drop")
        self.last = Dense(3, activation="softmax", name="last")

    def call(self, x):
        x = self.first(x)
        return self.last(self.drop(Flatten(name="flat")(ops.relu(x + self.second(x)))))


def test_a_functional_model_trains_as_the_same_model_written_as_a_class():
    model, other = residual(), Same()
    other.build((None, 8, 8, 3))
    other.set_weights(model.get_weights())
    other.random_key.assign(model.random_key.numpy())
    other.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    before = counters()["numpy_fallbacks"]
    a, b = (m.fit(X, Y, epochs=3, batch_size=8, shuffle=False, verbose=0).history for m in (model, other))
    np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-5)
    np.testing.assert_allclose(model.predict(X, verbose=0), other.predict(X, verbose=0), rtol=1e-4, atol=1e-5)
    assert counters()["numpy_fallbacks"] == before


def test_layers_names_shapes_and_summary(capsys):
    model = residual()
    assert [layer.name for layer in model.layers] == ["image", "first", "second", "sum", "flat", "drop", "last"]
    assert [w.path for w in model.weights][:2] == ["first/kernel", "first/bias"]
    assert model.input_shape == (None, 8, 8, 3) and model.output_shape == (None, 3)
    assert model.count_params() == 112 + 148 + 771
    model.summary()
    printed = capsys.readouterr().out
    assert "second (Conv2D)" in printed and "(None, 256)" in printed and "1,031" in printed


def test_a_shared_layer_has_one_set_of_weights():
    shared = Dense(4, name="shared")
    inputs = Input((4,))
    model = graphc.Model(inputs, shared(shared(inputs)))
    assert len(model.weights) == 2
    kernel, bias = np.random.default_rng(0).random((4, 4)), np.arange(4)
    model.set_weights([kernel, bias])
    x = np.ones((2, 4), np.float32)
    np.testing.assert_allclose(model.predict(x, verbose=0), (x @ kernel + bias) @ kernel + bias, rtol=1e-5)
    with pytest.raises(ValueError, match="'shared' was called on 2 symbolic inputs"):
        _ = shared.output


def test_a_part_of_a_model_is_a_model_with_the_same_weights():
    model = residual()
    features = graphc.Model(model.inputs, model.get_layer("second").output)
    from_the_middle = graphc.Model(model.get_layer("flat").output, model.outputs)
    assert features.predict(X[:2], verbose=0).shape == (2, 8, 8, 4)
    before = features.predict(X[:2], verbose=0)
    model.fit(X, Y, verbose=0)
    assert np.abs(features.predict(X[:2], verbose=0) - before).max() > 0
    x = features.predict(X[:2], verbose=0)
    first = graphc.Model(model.inputs, model.get_layer("first").output).predict(X[:2], verbose=0)
    flat = np.maximum(first + x, 0).reshape(2, -1)
    np.testing.assert_allclose(from_the_middle.predict(flat, verbose=0), model.predict(X[:2], verbose=0), rtol=1e-5)


def test_models_are_layers():
    inner = residual()
    outer = graphc.Sequential([inner, Dense(2, name="top")])
    outer.compile("sgd", "mse")
    assert outer.predict(X[:3], verbose=0).shape == (3, 2)
    inputs = Input((8, 8, 3))
    twice = graphc.Model(inputs, inner(inputs) + inner(inputs))
    np.testing.assert_allclose(twice.predict(X[:3], verbose=0), 2 * inner.predict(X[:3], verbose=0), rtol=1e-5)


def test_dropout_is_off_in_prediction_and_follows_the_training_argument():
    model = residual()
    np.testing.assert_array_equal(model(X[:4]), model.predict(X[:4], verbose=0))
    assert np.abs(model(X[:4], training=True) - model(X[:4])).max() > 0
    inputs = Input((50,))
    always = graphc.Model(inputs, Dropout(0.5)(inputs, training=True))
    assert (always.predict(np.ones((2, 50)), verbose=0) == 0).any()


@pytest.mark.parametrize("again", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies(again):
    model = residual()
    twin = again(model)
    np.testing.assert_array_equal(twin.predict(X, verbose=0), model.predict(X, verbose=0))
    model.fit(X, Y, verbose=0)
    assert np.abs(twin.predict(X, verbose=0) - model.predict(X, verbose=0)).max() > 0


def test_wrong_arguments():
    inputs, other = Input((4,), name="one"), Input((4,), name="other")
    x = Dense(3, name="dense")(inputs)
    with pytest.raises(ValueError, match=r"depend on the input 'one': give it in `inputs`"):
        graphc.Model(other, x)
    with pytest.raises(TypeError, match=r"Model\(inputs\): expected what Input or a layer gave, received 3"):
        graphc.Model(3, x)
    with pytest.raises(TypeError, match=r"Model\(inputs\)"):
        graphc.Model(x + 1.0, x)
    with pytest.raises(ValueError, match="two layers named 'dense'"):
        graphc.Model(inputs, Dense(3, name="dense")(x))
    with pytest.raises(ShapeError, match=r"'next'.*received f32"):
        Conv2D(3, 3, name="next")(x)
    with pytest.raises(TypeError, match="is symbolic"):
        bool(x > 0)


def test_files_of_functional_models(tmp_path):
    model, twin = residual(), residual()
    model.fit(X, Y, verbose=0)
    model.save_weights(tmp_path / "m.weights.h5")
    twin.load_weights(tmp_path / "m.weights.h5")
    np.testing.assert_array_equal(twin.predict(X, verbose=0), model.predict(X, verbose=0))
    model.save(tmp_path / "m.keras")
    loaded = graphc.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), model.predict(X, verbose=0))
    assert loaded.fit(X, Y, verbose=0, shuffle=False).history["loss"][0] > 0
    inputs = Input((4,))
    with pytest.raises(ValueError, match=r"computes .* outside of layers"):
        graphc.Model(inputs, ops.cumsum(inputs, 1)).get_config()


def test_the_shape_of_an_output_is_no_call():
    layer = Dense(3)
    assert layer.compute_output_shape((None, 4)) == (None, 3)
    inputs = Input((4,))
    assert graphc.Model(inputs, layer(inputs)).get_layer(layer.name).output.shape[1] == 3
