"""Files between graphc and real Keras, both ways, for every layer and for models with their training state.

It needs keras 3 in the same environment, and is skipped elsewhere; tests/graphc/test_saving.py and test_old_files.py
read stored files of Keras.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

import cases
import cases_hooks
import cases_models
import cases_sequences
import cases_spatial_and_attention as spatial
import numpy as np
import pytest

import graphc

if find_spec("keras") is None:
    pytest.skip("needs keras", allow_module_level=True)
os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras

pytestmark = [pytest.mark.usefixtures("reference_backend"), pytest.mark.filterwarnings("ignore:.*HDF5.*")]
FORMATS = (".keras", ".h5", ".weights.h5")


def flat(result):
    if isinstance(result, dict):
        result = [result[name] for name in sorted(result)]
    parts = result if isinstance(result, list | tuple) else [result]
    return np.concatenate([np.ravel(np.asarray(part)) for part in parts])


def wide():
    """More layers: those without a case of results, in the state that they predict in."""
    random = ("SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "GaussianDropout", "AlphaDropout", "Dropout")
    shapes = {"SpatialDropout2D": (2, 3, 3, 2), "SpatialDropout3D": (2, 2, 3, 2, 2)}
    found = {name: (lambda k, n=name: getattr(k, n)(0.3, seed=3), (shapes.get(name, (2, 3, 2)),)) for name in random}
    return found | {
        "GaussianNoise": (lambda k: k.GaussianNoise(0.3), ((2, 3),)),
        "ActivityRegularization": (lambda k: k.ActivityRegularization(0.1, 0.2), ((2, 3),)),
        "RandomFlip": (lambda k: k.RandomFlip("horizontal"), ((2, 3, 3, 1),)),
        "RandomBrightness": (lambda k: k.RandomBrightness(0.2, value_range=(0, 1)), ((2, 3, 3, 3),)),
        "RandomContrast": (lambda k: k.RandomContrast(0.2), ((2, 3, 3, 3),)),
        "RandomCrop": (lambda k: k.RandomCrop(2, 2), ((2, 3, 3, 3),)),
        "Normalization": (lambda k: k.Normalization(mean=[1.0, 2.0], variance=[1.0, 4.0]), ((2, 2),)),
        "Discretization": (lambda k: k.Discretization(bin_boundaries=[-0.5, 0.5]), ((2, 2),)),
        "CategoryEncoding": (lambda k: k.CategoryEncoding(4, "multi_hot"), ((2, 2),)),
        "SpectralNormalization": (lambda k: k.SpectralNormalization(k.Dense(3)), ((2, 4),)),
        "StackedRNNCells": (lambda k: k.RNN(k.StackedRNNCells([k.LSTMCell(2), k.SimpleRNNCell(3)])), ((2, 3, 4),)),
        "regularized": (lambda k: k.Dense(3, kernel_regularizer="l1", bias_constraint="non_neg",
                                          kernel_constraint="unit_norm", activity_regularizer="l2"), ((2, 3),)),
    }


def layer_cases():
    """name -> (layer of a module of layers, shapes of its inputs, options of the call, whether they are one list)."""
    found = {}
    for name, (make, shape) in cases.layer_cases().items():
        shapes = shape if isinstance(shape[0], tuple) else (shape,)
        found[name] = (make, shapes, {}, len(shapes) > 1)
    for name, case in spatial.layer_cases().items():
        if not case.masks:
            found[name] = (case.make, case.shapes, case.options, case.together)
    for name, case in cases_sequences.layer_cases().items():
        if not case.masked and not case.states and not name.startswith("rnn"):
            found[name] = (case.make, (case.shape,), {}, False)
    for name, (make, shapes) in wide().items():
        found[name] = (make, shapes, {}, False)
    return found


LAYERS = layer_cases()
WHOLE_NUMBERS = ("embedding", "CategoryEncoding")
LATER = {  # what Keras 3.15.1 can't do itself, on torch at least
    "RandomBrightness.h5": "it can't write it",
    "RandomCrop": "it leaves predicted images as they are",
}


def data(name, shapes):
    if name in WHOLE_NUMBERS:
        return [np.random.default_rng(1).integers(0, 4, shapes[0]).astype("float32")]
    return [cases.layer_input(f"{name}{i}", shape) for i, shape in enumerate(shapes)]


def layer_model(k, name):
    make, shapes, options, together = LAYERS[name]
    inputs = [k.Input(shape[1:], name=f"in{i}") for i, shape in enumerate(shapes)]
    layer = make(k.layers)
    results = layer(inputs, **options) if together else layer(*inputs, **options)
    model = k.Model(inputs if len(inputs) > 1 else inputs[0], results)
    # Values of their own kind, so that an exchanged pair of weights shows.
    model.set_weights([_start(i, w) for i, w in enumerate(model.get_weights())])
    return model


def _start(i, array):
    generator = np.random.default_rng(i)
    return np.abs(generator.normal(0.5, 0.3, array.shape)).astype(array.dtype) if array.dtype.kind == "f" else array


def crossed(model, k, make, path):
    """The model after a journey through a file, in the other library."""
    if path.name.endswith(".weights.h5"):
        other = make(k)
        model.save_weights(path)
        if k is keras and getattr(other, "optimizer", None) is not None:
            other.optimizer.build(other.trainable_variables)
        other.load_weights(path)
        return other
    model.save(path)
    return k.models.load_model(path)


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.filterwarnings("ignore")
def test_layers(name, ending, tmp_path):
    reason = LATER.get(name + ending) or LATER.get(name)
    if reason:
        pytest.skip(f"Keras: {reason}")
    x = data(name, LAYERS[name][1])
    x = x if len(x) > 1 else x[0]
    for one, other in ((graphc, keras), (keras, graphc)):
        model = layer_model(one, name)
        again = crossed(model, other, lambda k: layer_model(k, name), tmp_path / f"{one.__name__}{ending}")
        expected = flat(model.predict(x, verbose=0))
        np.testing.assert_allclose(flat(again.predict(x, verbose=0)), expected, rtol=1e-5, atol=1e-5,
                                   err_msg=f"from {one.__name__}")


OPTIMIZERS = {
    "sgd": lambda k: k.optimizers.SGD(0.05, momentum=0.8, nesterov=True),
    "plain": lambda k: k.optimizers.SGD(k.optimizers.schedules.ExponentialDecay(0.1, 3, 0.5)),
    "adam": lambda k: k.optimizers.Adam(0.01, amsgrad=True, clipnorm=0.5),
    "adamw": lambda k: k.optimizers.AdamW(0.01, weight_decay=0.1, use_ema=True),
    "rmsprop": lambda k: k.optimizers.RMSprop(0.01, momentum=0.5, centered=True),
    "adagrad": lambda k: k.optimizers.Adagrad(0.05), "adadelta": lambda k: k.optimizers.Adadelta(0.5),
    "adamax": lambda k: k.optimizers.Adamax(0.01), "nadam": lambda k: k.optimizers.Nadam(0.01),
    "ftrl": lambda k: k.optimizers.Ftrl(0.05), "lion": lambda k: k.optimizers.Lion(0.01),
    "lamb": lambda k: k.optimizers.Lamb(0.01),
}


def trained(k, optimizer):
    """A model with a part inside and normalisation, compiled."""
    inner = k.Sequential([k.Input((4,)), k.layers.Dense(4, activation="tanh", name="inside")], name="inner")
    inputs = k.Input((3,), name="x")
    hidden = inner(k.layers.Dense(4, activation="relu", name="first")(inputs))
    hidden = k.layers.BatchNormalization(name="norm")(hidden)
    model = k.Model(inputs, k.layers.Dense(2, name="last")(hidden))
    model.compile(OPTIMIZERS[optimizer](k), "mse", metrics=["mae"])
    model.set_weights([_start(i, w) for i, w in enumerate(model.get_weights())])
    return model


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.filterwarnings("ignore")
def test_training_goes_on(optimizer, ending, tmp_path):
    if (optimizer, ending) == ("lamb", ".h5"):
        pytest.skip("Keras: it doesn't know its Lamb by name, which it reads it by")
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(16, 3)).astype("float32"), rng.normal(size=(16, 2)).astype("float32")

    def step(model):
        return float(np.ravel(model.train_on_batch(x, y))[0])

    for one, other in ((graphc, keras), (keras, graphc)):
        model = trained(one, optimizer)
        for _ in range(4):
            step(model)
        again = crossed(model, other, lambda k: trained(k, optimizer), tmp_path / f"{one.__name__}{ending}")
        assert int(again.optimizer.iterations) == 4
        if other is keras and ending == ".h5":  # which Keras 3.15.1 can't train on, its own files as little
            np.testing.assert_allclose(again.evaluate(x, y, verbose=0), model.evaluate(x, y, verbose=0), rtol=2e-5)
            continue
        losses = [step(model) for _ in range(4)]
        np.testing.assert_allclose([step(again) for _ in range(4)], losses, rtol=2e-5, err_msg=f"from {one.__name__}")


@pytest.mark.parametrize("ending", FORMATS[:2])
@pytest.mark.parametrize("name", sorted(cases_models.CASES.keys() - {"penalties", "only_penalties", "subclass"}))
@pytest.mark.filterwarnings("ignore")
def test_models(name, ending, tmp_path):
    for one, other in ((graphc, keras), (keras, graphc)):
        case = cases_models.CASES[name](one)
        case.model.compile(one.optimizers.SGD(0.1), **case.compile)
        again = crossed(case.model, other, None, tmp_path / f"{one.__name__}{ending}")
        expected = flat(case.model.predict(case.x, verbose=0))
        np.testing.assert_allclose(flat(again.predict(case.x, verbose=0)), expected, rtol=1e-5, atol=1e-5,
                                   err_msg=f"from {one.__name__}")
        weights = {n: w for n, w in case.weights.items() if n == "sample_weight"}
        results = [np.ravel([float(v) for v in m.evaluate(case.x, case.y, batch_size=8, verbose=0, return_dict=True,
                                                          **weights).values()]) for m in (case.model, again)]
        np.testing.assert_allclose(sorted(results[1]), sorted(results[0]), rtol=1e-4, atol=1e-5)


HOOKS = {k: cases_hooks.classes(k) for k in (graphc, keras)}
HOOKED = {"hooks": lambda k: cases_hooks.functional(k, HOOKS[k]), "own": lambda k: cases_hooks.own(k, HOOKS[k]),
          "held": lambda k: cases_hooks.held(HOOKS[k])}


@pytest.mark.parametrize("ending", [".keras", ".weights.h5"])
@pytest.mark.parametrize("name", HOOKED)
@pytest.mark.filterwarnings("ignore")
def test_hooks(name, ending, tmp_path):
    a, b = cases_hooks.data()
    x, y = ([a, b] if name == "hooks" else a), b[:, :2]

    def losses(model):
        return [float(np.ravel(model.train_on_batch(x, y))[0]) for _ in range(3)] if name == "own" else []

    for one, other in ((graphc, keras), (keras, graphc)):
        model = HOOKED[name](one)
        losses(model)
        again = crossed(model, other, HOOKED[name], tmp_path / f"{one.__name__}{ending}")
        np.testing.assert_allclose(flat(again.predict(x, verbose=0)), flat(model.predict(x, verbose=0)), rtol=1e-5,
                                   err_msg=f"from {one.__name__}")
        np.testing.assert_allclose(losses(again), losses(model), rtol=2e-5, err_msg=f"from {one.__name__}")
        if name == "hooks":
            words = ["a", "ß", "c d"]
            assert list(again.get_layer("worded").words) == words and again.get_layer("packed").saved == 1
        if name == "own":
            assert again.weight == 0.5 and int(again.optimizer.iterations) == 6


@pytest.mark.parametrize("name", HOOKED)
@pytest.mark.filterwarnings("ignore")
def test_shards(name, tmp_path):
    """Weights in several files, so many that also the arrays of one layer are in two."""
    a, b = cases_hooks.data()
    x = [a, b] if name == "hooks" else a
    for one, other in ((graphc, keras), (keras, graphc)):
        model, path = HOOKED[name](one), tmp_path / f"{one.__name__}.weights.json"
        if name == "own":
            model.train_on_batch(x, b[:, :2])
        model.save_weights(path, max_shard_size=70 / 2**30)
        assert (tmp_path / f"{one.__name__}_00001.weights.h5").exists()
        again = HOOKED[name](other)
        if name == "own":
            again.optimizer.build(again.trainable_variables)
        again.set_weights([0 * w for w in again.get_weights()])
        again.load_weights(path)
        np.testing.assert_allclose(flat(again.predict(x, verbose=0)), flat(model.predict(x, verbose=0)), rtol=1e-5,
                                   err_msg=f"from {one.__name__}")
        if name == "own":
            losses = [float(np.ravel(m.train_on_batch(x, b[:, :2]))[0]) for m in (again, model)]
            np.testing.assert_allclose(*losses, rtol=2e-5, err_msg=f"from {one.__name__}")


def attributes(k):
    """A user's model with layers in attributes before and after `layers` by name, and in lists within lists."""
    class Attributes(k.Model):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.out, self.alpha, self._norm = k.layers.Dense(2), k.layers.Dense(3), k.layers.LayerNormalization()
            self.deep = [k.layers.Dense(3), (k.layers.Dense(3), [k.layers.Dense(3)])]

        def build(self, input_shape):
            for layer in (self.alpha, self._norm, self.deep[0], self.deep[1][0], self.deep[1][1][0], self.out):
                layer.build((None, 3))
            self.built = True

        def call(self, x):
            first, (second, (third,)) = self.deep
            return self.out(self._norm(third(second(first(self.alpha(x))))))

    model = Attributes()
    model.build((None, 3))
    model.set_weights([_start(i, w) for i, w in enumerate(model.get_weights())])
    return model


def test_layers_in_attributes(tmp_path):
    x = cases.layer_input("x", (4, 3))
    for one, other in ((graphc, keras), (keras, graphc)):
        model, again = attributes(one), attributes(other)
        again.set_weights([w * 0 for w in again.get_weights()])
        model.save_weights(tmp_path / f"{one.__name__}.weights.h5")
        again.load_weights(tmp_path / f"{one.__name__}.weights.h5")
        np.testing.assert_allclose(flat(again.predict(x, verbose=0)), flat(model.predict(x, verbose=0)), atol=1e-5)


def test_functions_between_layers(tmp_path):
    for one, other in ((graphc, keras), (keras, graphc)):
        ops, inputs = one.ops, one.Input((4, 3))
        hidden = inputs - ops.mean(inputs, axis=1, keepdims=True) + inputs[:, -1][:, None]
        hidden = ops.concatenate([hidden[:, 1:], ops.relu(hidden) * ops.softmax(hidden)], axis=1)
        hidden = ops.einsum("nab,ncb->nac", hidden, ops.where(inputs > 0, inputs, 0.5))
        model = one.Model(inputs, ops.reshape(ops.transpose(hidden, (0, 2, 1)), (-1, 28)))
        x = cases.layer_input("functions", (5, 4, 3))
        again = crossed(model, other, None, tmp_path / f"{one.__name__}.keras")
        np.testing.assert_allclose(flat(again.predict(x, verbose=0)), flat(model.predict(x, verbose=0)), atol=1e-5)


def test_functions_and_masks_between_layers(tmp_path):
    """Keras spells masks out as functions of the inputs."""
    ops = keras.ops
    inputs = keras.Input((None,), dtype="int32")
    hidden = keras.layers.Embedding(9, 4, mask_zero=True)(inputs)
    hidden = keras.layers.Bidirectional(keras.layers.GRU(3, return_sequences=True))(hidden)
    hidden = ops.concatenate([hidden[:, 1:], ops.mean(hidden, axis=1, keepdims=True)], axis=1)
    hidden = ops.einsum("abc,abd->acd", hidden, ops.softmax(hidden))
    model = keras.Model(inputs, ops.relu(ops.reshape(ops.transpose(hidden, (0, 2, 1)), (-1, 36))))
    x = np.random.default_rng(4).integers(0, 9, (6, 5)).astype("int32")
    model.save(tmp_path / "m.keras")
    again = graphc.models.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(flat(again.predict(x, verbose=0)), flat(model.predict(x, verbose=0)), atol=1e-5)
