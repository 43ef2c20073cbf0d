"""Layers: the examples of their docstrings, their options, the user's own layers."""

from __future__ import annotations

import re

import numpy as np
import pytest

import graphc
from graphc import layers, ops
from graphc.ir import functions as f
from graphc.ir.errors import DTypeError, ShapeError
from graphc.ir.types import parse_type

PUBLIC = [getattr(layers, n) for n in layers.__all__ if n not in ("Input", "Layer")]
EXAMPLE = re.compile(r"^\s*(\w+\(.*\))\((\w+\[.*?\])\) -> (.+)$")


def examples():
    for layer in dict.fromkeys(PUBLIC):
        for line in (layer.__doc__ or "").splitlines():
            if match := EXAMPLE.match(line):
                yield pytest.param(layer, *match.groups(), id=match[0].strip())


@pytest.mark.parametrize("layer", list(dict.fromkeys(PUBLIC)))
def test_every_layer_has_an_example(layer):
    assert any(p.values[0] is layer for p in examples())


@pytest.mark.parametrize(("layer", "make", "given", "result"), list(examples()))
def test_docstring_example(layer, make, given, result):
    made = eval(make, vars(layers))
    t = parse_type(given)
    x = f.input("x", t.shape, t.dtype)
    if ": " in result:
        with pytest.raises(ShapeError) as caught:
            made(x)
        assert result.split(": ", 1)[1] in str(caught.value)
        assert made.name in str(caught.value) and given in str(caught.value)
        return
    assert str(made(x).type) == result
    again = type(made).from_config(made.get_config())
    assert str(again(x).type) == result and again.name == made.name and again.get_config() == made.get_config()


def test_average_pooling_counts_real_pixels_only():
    x = np.arange(1, 7, dtype=np.float32).reshape(1, 2, 3, 1)
    got = layers.AveragePooling2D(2, strides=2, padding="same")(x)
    np.testing.assert_allclose(got[0, :, :, 0], [[(1 + 2 + 4 + 5) / 4, (3 + 6) / 2]])


def test_automatic_names():
    names = [layers.Dense(1).name, layers.Dense(1).name, layers.Convolution2D(1, 1).name, layers.MaxPooling2D().name,
             layers.ReLU().name, layers.Dense(1, name="mine").name, layers.Dense(1).name]
    assert names == ["dense", "dense_1", "conv2d", "max_pooling2d", "re_lu", "mine", "dense_2"]
    graphc.utils.clear_session()
    assert layers.Dense(1).name == "dense"


@pytest.mark.parametrize("options", [{"input_shape": (3,)}, {"input_shape": [3]}, {"input_dim": 3},
                                     {"batch_input_shape": (None, 3)}, {"input_shape": (np.int64(3),)}])
def test_forms_of_input_shape(options):
    model = graphc.Sequential([layers.Dense(2, **options)])
    assert model.input_shape == (None, 3) and [w.shape for w in model.weights] == [(3, 2), (2,)]


@pytest.mark.parametrize(("make", "message"), [
    (lambda: layers.Dense(0), "positive integer"),
    (lambda: layers.Dense(2.5), "positive integer"),
    (lambda: layers.Dense(2, activation="rleu"), "Did you mean 'relu'"),
    (lambda: layers.Dense(2, kernel_initializer="glorot_unifrm"), "Did you mean 'glorot_uniform'"),
    (lambda: layers.Dense(2, input_shpe=(3,)), "Did you mean 'input_shape'"),
    (lambda: layers.Conv2D(2, (3, 3, 3)), "one positive integer or 2"),
    (lambda: layers.Conv2D(2, 3, padding="smae"), "Did you mean 'same'"),
    (lambda: layers.Conv2D(2, 3, data_format="channels_first"), "channels_last"),
    (lambda: layers.Conv2D(2, 3, strides=2, dilation_rate=2), "only one of the two"),
    (lambda: layers.Dropout(1.5), "fraction"),
    (lambda: layers.Dense(2, input_shape=(0,)), "without the batch"),
    (lambda: layers.Dense(2, dtype="float16"), "float32"),
])
def test_wrong_options(make, message):
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        make()


def test_dropout_in_training_and_out_of_it():
    layer = layers.Dropout(0.25)
    x = np.ones((200, 50), np.float32)
    assert (layer(x) == 1).all()
    first, second = layer(x, training=True), layer(x, training=True)
    np.testing.assert_allclose(np.unique(first), [0, 4 / 3], rtol=1e-6)
    assert abs((first == 0).mean() - 0.25) < 0.03
    dropped = ((first == 0) & (second == 0)).mean()
    assert abs(dropped - 0.0625) < 0.02, "two steps must not drop the same elements"


def test_two_dropouts_differ_and_the_seed_repeats():
    def run():
        graphc.utils.set_random_seed(3)
        model = graphc.Sequential([layers.Dropout(0.5, input_shape=(1000,)), layers.Dropout(0.5)])
        return model(np.ones((1, 1000), np.float32), training=True)

    assert abs((run() == 4).mean() - 0.25) < 0.06, "the same mask twice would leave a half"
    np.testing.assert_array_equal(run(), run())


class Scaled(layers.Layer):
    """A user's layer: weights in a list, a layer inside, a different result in training."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.inner = layers.Dense(units)
        self.scales = []

    def build(self, input_shape):
        self.scales.append(self.add_weight(shape=(self.units,), initializer="ones", name="scale"))
        self.seen = self.add_weight(shape=(), initializer="zeros", trainable=False, name="seen")

    def call(self, inputs, training=False):
        y = self.inner(inputs) * self.scales[0] + (1.0 if training else 0.0)
        if training:
            self.seen.assign(self.seen + 1.0)
        return ops.tanh(y)


def test_users_layer():
    model = graphc.Sequential([Scaled(4, input_shape=(3,)), layers.Dense(1)])
    assert [w.path for w in model.weights] == [
        "scaled/scale", "scaled/seen", "scaled/dense/kernel", "scaled/dense/bias", "dense_1/kernel", "dense_1/bias"]
    assert [w.name for w in model.non_trainable_weights] == ["seen"]
    model.compile("sgd", "mse")
    x, y = np.ones((10, 3), np.float32), np.ones(10)
    scale = model.weights[0].numpy()
    model.fit(x, y, batch_size=4, epochs=2, verbose=0)
    assert float(model.weights[1]) == 6, "one update for each training step"
    assert not np.allclose(model.weights[0], scale)
    layer = model.layers[0]
    kernel, bias = layer.inner.get_weights()
    np.testing.assert_allclose(layer(x), np.tanh((x @ kernel + bias) * layer.scales[0].numpy()), rtol=1e-5)


def test_failed_build_leaves_no_weights():
    class Fails(layers.Layer):
        def build(self, input_shape):
            self.add_weight((input_shape[-1],))
            if input_shape[-1] == 3:
                raise ShapeError("three is too many")

        def call(self, inputs):
            return inputs

    layer = Fails()
    with pytest.raises(ShapeError, match="fails"):
        layer(np.ones((2, 3)))
    layer(np.ones((2, 2)))
    assert len(layer.weights) == 1


def test_layer_without_call_and_layer_on_text():
    with pytest.raises(NotImplementedError, match="define call"):
        layers.Layer()(np.ones((2, 2)))
    with pytest.raises(DTypeError, match="dense"):
        layers.Dense(2)(np.array([["a", "b"]]))


def test_error_names_the_users_line():
    layer = layers.Dense(4)
    layer(np.ones((2, 3)))
    with pytest.raises(ShapeError, match=r"test_layers\.py:\d+"):
        layer(np.ones((2, 5)))


def test_compute_output_shape():
    assert layers.Conv2D(3, 2).compute_output_shape((None, 5, 5, 1)) == (None, 4, 4, 3)
