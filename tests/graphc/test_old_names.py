"""Options of layers under the names that they had in Keras 1 and 2."""

from __future__ import annotations

import inspect

import pytest

from graphc import layers


@pytest.mark.parametrize(("old", "new"), [
    (lambda: layers.Convolution2D(nb_filter=8, nb_row=3, nb_col=2, border_mode="same", subsample=(2, 2), init="normal",
                                  dim_ordering="th", W_regularizer="l2", bias=False),
     lambda: layers.Conv2D(8, (3, 2), strides=2, padding="same", data_format="channels_first",
                           kernel_initializer="normal", kernel_regularizer="l2", use_bias=False)),
    (lambda: layers.Convolution1D(nb_filter=4, filter_length=3, subsample_length=2),
     lambda: layers.Conv1D(4, 3, strides=2)),
    (lambda: layers.Dense(output_dim=4, input_dim=3, b_constraint="non_neg"),
     lambda: layers.Dense(4, input_shape=(3,), bias_constraint="non_neg")),
    (lambda: layers.LSTM(output_dim=4, inner_init="zeros", inner_activation="hard_sigmoid", dropout_W=0.1,
                         dropout_U=0.2, forget_bias_init="one"),
     lambda: layers.LSTM(4, recurrent_initializer="zeros", recurrent_activation="hard_sigmoid", dropout=0.1,
                         recurrent_dropout=0.2)),
    (lambda: layers.Embedding(input_dim=5, output_dim=3, init="normal"),
     lambda: layers.Embedding(5, 3, embeddings_initializer="normal")),
    (lambda: layers.Dropout(p=0.3), lambda: layers.Dropout(0.3)),
    (lambda: layers.GaussianNoise(sigma=0.3), lambda: layers.GaussianNoise(0.3)),
    (lambda: layers.MaxPooling1D(pool_length=3, stride=2), lambda: layers.MaxPooling1D(3, strides=2)),
    (lambda: layers.UpSampling1D(length=3), lambda: layers.UpSampling1D(3)),
    (lambda: layers.LeakyReLU(alpha=0.1), lambda: layers.LeakyReLU(0.1)),
    (lambda: layers.ELU(alpha=0.1), lambda: layers.ELU(0.1)),
])
def test_old_names(old, new):
    assert old().get_config() | {"name": "a"} == new().get_config() | {"name": "a"}


def test_a_layer_keeps_options_of_its_own():
    class Odd(layers.Dense):
        def __init__(self, units, p=3, **kwargs):
            super().__init__(units, **kwargs)
            self.p = p

    assert Odd(2, p=4).p == 4 and list(inspect.signature(Odd.__init__).parameters) == ["self", "units", "p", "kwargs"]
    with pytest.raises(TypeError, match="unknown argument border_mode"):
        Odd(2, border_mode="same")


def test_weights_by_name_first():
    layer = layers.Dense(1)
    assert layer.add_weight("w", (2,), initializer="ones").name == layer.add_weight("w", shape=[2]).name[:1] == "w"
    assert layer.get_weights()[0].tolist() == [1, 1]
