"""Optimizers in models: native steps as the same steps on arrays, rates that change, what files hold."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import graphc
from graphc import layers, ops, optimizers
from graphc.optimizers import schedules
from graphc.runtime import counters

X = np.random.default_rng(1).random((64, 3)).astype(np.float32)
Y = X.sum(1)


class Halving(schedules.LearningRateSchedule):
    """A schedule of a user's, by functions and by arithmetic."""

    def __init__(self, top):
        self.top = top

    def __call__(self, step):
        return self.top * ops.minimum(1.0, 4.0 / (step + 1))


def fitted(optimizer, backend=None, epochs=2):
    graphc.utils.set_random_seed(3)
    model = graphc.Sequential([layers.Dense(2, activation="tanh", input_shape=(3,)), layers.Dense(1)])
    model.compile(optimizer, "mse")
    with graphc.config(**({} if backend is None else {"backend": backend})):
        model.fit(X, Y, epochs=epochs, batch_size=16, shuffle=False, verbose=0)
    return model


def weights(model):
    return np.concatenate([w.ravel() for w in model.get_weights()])


@pytest.mark.parametrize("make", [
    lambda: optimizers.Nadam(0.05, global_clipnorm=0.1),
    lambda: optimizers.Adam(Halving(0.1), gradient_accumulation_steps=2, use_ema=True, ema_overwrite_frequency=2),
    lambda: optimizers.Ftrl(0.1, l1_regularization_strength=0.01, weight_decay=0.1),
])
def test_native_steps_are_those_on_arrays(make):
    before = counters()["numpy_fallbacks"]
    native = fitted(make())
    assert counters()["numpy_fallbacks"] == before
    np.testing.assert_allclose(weights(native), weights(fitted(make(), "numpy")), rtol=1e-5, atol=1e-6)


def test_a_new_rate_is_no_new_program():
    model = fitted(optimizers.Adam(0.01))
    before, start = counters()["programs_compiled"], weights(model)
    model.optimizer.learning_rate = 0
    model.fit(X, Y, verbose=0)
    assert (weights(model) == start).all() and counters()["programs_compiled"] == before
    model.optimizer.learning_rate.assign(0.5)
    assert model.optimizer.lr.numpy() == 0.5 and model.optimizer.get_config()["learning_rate"] == 0.5


def test_schedules_follow_the_steps_done():
    model = fitted(optimizers.SGD(Halving(0.1)), epochs=1)
    assert int(model.optimizer.iterations) == 4 and model.optimizer.learning_rate == pytest.approx(0.1 * 4 / 5)
    with pytest.raises(TypeError, match="can't be set to a number"):
        model.optimizer.learning_rate = 0.1
    with pytest.raises(ValueError, match="has begun training"):
        model.optimizer.learning_rate = Halving(0.2)
    model.compile(model.optimizer, "mse")
    model.optimizer.learning_rate = Halving(0.0)
    start = weights(model)
    model.fit(X, Y, verbose=0)
    assert (weights(model) == start).all()


def test_a_rate_with_the_decay_of_old_code():
    model = fitted(optimizers.SGD(lr=0.1, decay=0.5), epochs=1)
    other = fitted(optimizers.SGD(schedules.InverseTimeDecay(0.1, 1, 0.5)), epochs=1)
    np.testing.assert_allclose(weights(model), weights(other), rtol=1e-6)
    assert optimizers.SGD.from_config(model.optimizer.get_config()).decay == 0.5


def test_averages_replace_the_weights_at_the_end():
    model = fitted(optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5), "numpy")
    averages = [v.numpy() for v in model.optimizer.variables if v.name == "average"]
    assert len(averages) == 4
    for weight, average in zip(model.get_weights(), averages, strict=True):
        np.testing.assert_array_equal(weight, average)


def test_a_scaled_loss_gives_the_same_steps():
    np.testing.assert_allclose(weights(fitted(optimizers.SGD(0.1, loss_scale_factor=8.0), "numpy")),
                               weights(fitted(optimizers.SGD(0.1), "numpy")), rtol=1e-5)


def test_what_is_left_out_of_the_decay():
    optimizer = optimizers.AdamW(0.0, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    kernel, bias = (graphc.variable.Variable(np.ones(2, np.float32), f"dense/{n}") for n in ("kernel", "bias"))
    optimizer.learning_rate = 0.1
    optimizer.apply([np.zeros(2), np.zeros(2)], [kernel, bias])
    np.testing.assert_allclose([kernel.numpy(), bias.numpy()], [[0.95] * 2, [1.0] * 2])
    with pytest.raises(ValueError, match="comes before the first step"):
        optimizer.exclude_from_weight_decay(var_list=[kernel])


def test_apply_on_arrays():
    variable = graphc.variable.Variable(np.ones(2, np.float32), "v")
    optimizer = optimizers.SGD(0.5, momentum=0.9)
    with pytest.raises(ValueError, match="received no variables"):
        optimizer.apply([np.ones(2)])
    assert int(optimizer.apply_gradients([(np.ones(2), variable)])) == 1
    optimizer.apply([[1.0, 1.0]])
    np.testing.assert_allclose(variable.numpy(), -0.45 * np.ones(2), rtol=1e-6)
    with pytest.raises(graphc.ir.errors.ShapeError, match=r"gradient of shape \[3\] for v"):
        optimizer.apply([np.ones(3)], [variable])
    with pytest.warns(UserWarning, match="no gradient for other"):
        optimizer.apply([np.ones(2), None], [variable, graphc.variable.Variable(np.ones(1, np.float32), "other")])


@pytest.mark.parametrize("make", [
    lambda: optimizers.Adam(schedules.CosineDecay(0.1, 20, warmup_target=0.2, warmup_steps=3)),
    lambda: optimizers.Nadam(0.1, use_ema=True, gradient_accumulation_steps=2),
])
def test_files_hold_the_state(make, tmp_path):
    model = fitted(make(), "numpy")
    model.save(tmp_path / "model.keras")
    again = graphc.models.load_model(tmp_path / "model.keras")
    assert again.optimizer.get_config() == model.optimizer.get_config()
    for a, b in zip(again.optimizer.variables, model.optimizer.variables, strict=True):
        assert a.path == b.path
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    with graphc.config(backend="numpy"):
        for m in (again, model):
            m.fit(X, Y, verbose=0, shuffle=False)
    np.testing.assert_array_equal(weights(again), weights(model))


@pytest.mark.parametrize(("make", "message"), [
    (lambda: optimizers.Adam(learning_rates=0.1), "Did you mean 'learning_rate'"),
    (lambda: optimizers.Adam(clipnorm=1, global_clipnorm=2), "clipnorm=1 and global_clipnorm=2: give one of them"),
    (lambda: optimizers.SGD(-1), "can't be negative"),
    (lambda: optimizers.SGD("fast"), "a number, a schedule or a function"),
    (lambda: optimizers.SGD(momentum=2), "from 0 to 1"),
    (lambda: optimizers.SGD(gradient_accumulation_steps=1), "at least 2, or None"),
    (lambda: optimizers.SGD(ema_momentum=1.5), "from 0 to 1"),
    (lambda: optimizers.Ftrl(l1_regularization_strength=-1), "0 or a positive number"),
    (lambda: optimizers.AdamW(weight_decay=None), "expected a number"),
    (lambda: optimizers.get("nadamm"), "Did you mean 'nadam'"),
    (lambda: schedules.ExponentialDecay(0.1, 0, 0.5), "expected a positive number"),
    (lambda: schedules.PiecewiseConstantDecay([1], [0.1]), "one value more than boundaries"),
])
def test_errors(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_pickles():
    optimizer = optimizers.AdamW(schedules.CosineDecay(0.1, 5))
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    variable = graphc.variable.Variable(np.ones(2, np.float32), "dense/bias")
    optimizer.apply([np.ones(2)], [variable])
    again, other = pickle.loads(pickle.dumps((optimizer, variable)))
    for o, v in ((optimizer, variable), (again, other)):
        o.apply([np.ones(2)], [v])
    np.testing.assert_array_equal(variable.numpy(), other.numpy())
    assert int(again.iterations) == 2


@pytest.mark.parametrize("name", ["Adadelta", "Adagrad", "Adam", "Adamax", "Ftrl", "Lamb", "Lion", "Nadam", "RMSprop"])
def test_weights_without_axes(name, reference_backend):
    """As the scale of Attention is one: what an optimizer keeps for it is an array, too."""
    x = layers.Input((2, 3))
    model = graphc.Model(x, layers.Attention(use_scale=True)([x, x]))
    model.compile(getattr(graphc.optimizers, name)(0.1, use_ema=True), "mse")
    before = float(model.get_weights()[0])
    model.fit(np.eye(3, dtype="f")[None, :2], np.ones((1, 2, 3)), verbose=0)
    assert float(model.get_weights()[0]) != before
