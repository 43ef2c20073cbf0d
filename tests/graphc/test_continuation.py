"""Training that stops, is saved and loaded, and goes on is the training that never stopped, bit for bit."""

from __future__ import annotations

import io
import zipfile

import h5py
import numpy as np
import pytest
from samples import each

import graphc
from graphc import layers, optimizers
from graphc.optimizers import schedules

X = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)
Y = np.stack([X.sum(1), X[:, 0] * X[:, 1]], 1)
pytestmark = pytest.mark.usefixtures("reference_backend")

OPTIMIZERS = {
    "sgd": lambda: optimizers.SGD(schedules.ExponentialDecay(0.05, 4, 0.7), momentum=0.9),
    "decay": lambda: optimizers.SGD(0.05, decay=0.1, nesterov=True, momentum=0.5),
    "adam": lambda: optimizers.Adam(0.01, amsgrad=True, clipnorm=0.5),
    "adamw": lambda: optimizers.AdamW(0.01, use_ema=True, ema_overwrite_frequency=3),
    "rmsprop": lambda: optimizers.RMSprop(0.003, momentum=0.5, centered=True),
    "nadam": lambda: optimizers.Nadam(0.01), "ftrl": lambda: optimizers.Ftrl(0.01),
    "accumulating": lambda: optimizers.Adam(0.01, gradient_accumulation_steps=3),
}


class Jitter(layers.Layer):
    """Noise from a generator of its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.generator = graphc.random.SeedGenerator()

    def call(self, inputs, training=None):
        if not training:
            return inputs
        return inputs + graphc.random.normal(inputs.shape, stddev=0.1, seed=self.generator)


def model(optimizer):
    """A model with four sources of random numbers, statistics that move, and a layer without weights."""
    inside = graphc.Sequential([layers.Dense(4, activation="relu"), layers.Dropout(0.2)], name="inside")
    made = graphc.Sequential([
        graphc.Input((6,)), layers.GaussianNoise(0.2, seed=3), layers.Reshape((3, 2)),
        layers.LSTM(5, dropout=0.3, recurrent_dropout=0.2), layers.BatchNormalization(), Jitter(), inside,
        layers.Dense(2)])
    made.compile(OPTIMIZERS[optimizer](), "mse", metrics=["mae"])
    return made


def losses(trained, steps):
    return [float(trained.train_on_batch(X[8 * i:8 * i + 8], Y[8 * i:8 * i + 8])[0]) for i in np.arange(steps) % 5]


@pytest.mark.parametrize("ending", [".keras", ".h5", ".weights.h5"])
@pytest.mark.parametrize("optimizer", each(4, OPTIMIZERS))
def test_ten_steps_and_ten_are_twenty(optimizer, ending, tmp_path):
    through = model(optimizer)
    losses(through, 10)
    path = tmp_path / f"model{ending}"
    if ending == ".weights.h5":
        through.save_weights(path)
        again = model(optimizer)
        again.load_weights(path)
    else:
        through.save(path)
        again = graphc.models.load_model(path, {"Jitter": Jitter})
    assert losses(again, 10) == losses(through, 10)
    for left, right in zip(again.weights, through.weights, strict=True):
        np.testing.assert_array_equal(left.array, right.array)


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_fit_goes_on_with_the_same_order_of_data(ending, tmp_path):
    through = model("adam")
    through.fit(X, Y, batch_size=8, epochs=2, verbose=0)
    through.save(tmp_path / f"model{ending}")
    again = graphc.models.load_model(tmp_path / f"model{ending}", {"Jitter": Jitter})
    curves = []
    for one in (through, again):
        np.random.seed(7)
        curves.append(one.fit(X, Y, batch_size=8, epochs=2, verbose=0).history)
    assert curves[0] == curves[1]


def test_where_the_random_state_is(tmp_path):
    """In a group that Keras doesn't look at; without it, and with other generators, training begins anew."""
    through = model("adam")
    losses(through, 3)
    through.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        weights = archive.read("model.weights.h5")
    with h5py.File(io.BytesIO(weights)) as file:
        np.testing.assert_array_equal(file["graphc.random/0"], through.random_key.array)
        assert file["graphc.random/0"][1] == 3 and len(file["graphc.random"]) == 2
    through.save_weights(tmp_path / "m.weights.h5")
    with h5py.File(tmp_path / "m.weights.h5", "r+") as file:
        del file["graphc.random/1"]
    again = model("adam")
    before = again.random_key.numpy()
    again.load_weights(tmp_path / "m.weights.h5")
    np.testing.assert_array_equal(again.random_key.numpy(), before)
    np.testing.assert_array_equal(again.get_weights()[0], through.get_weights()[0])


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_states_of_layers_go_on(ending, tmp_path):
    """What a stateful layer carries is in a group of its own, and left where the batch has another size."""
    def made(rows):
        inputs = graphc.Input(batch_shape=(rows, 3, 2))
        model = graphc.Model(inputs, layers.Dense(2)(layers.LSTM(4, stateful=True)(inputs)))
        model.compile("adam", "mse")
        return model

    x, y = X[:8].reshape(8, 3, 2), Y[:8]
    through = made(8)
    for _ in range(3):
        through.train_on_batch(x, y)
    through.save(tmp_path / f"m{ending}")
    again = graphc.models.load_model(tmp_path / f"m{ending}")
    assert [again.train_on_batch(x, y) for _ in range(3)] == [through.train_on_batch(x, y) for _ in range(3)]
    one = made(1)
    one.load_weights(tmp_path / f"m{ending}")
    np.testing.assert_array_equal(one.layers[1].states[0].array, np.zeros((1, 4)))


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_what_is_not_decayed_stays_so(ending, tmp_path):
    optimizer = optimizers.AdamW(0.05, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma"])
    through = graphc.Sequential([graphc.Input((6,)), layers.Dense(4), layers.LayerNormalization(), layers.Dense(2)])
    through.compile(optimizer, "mse", metrics=["mae"])
    losses(through, 3)
    through.save(tmp_path / f"m{ending}")
    again = graphc.models.load_model(tmp_path / f"m{ending}")
    assert losses(again, 5) == losses(through, 5)
    again.save(tmp_path / f"n{ending}")
    assert losses(graphc.models.load_model(tmp_path / f"n{ending}"), 5) == losses(again, 5)
