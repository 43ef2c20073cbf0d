"""Attention, volumes, formats, images and rules for weights: numbers of real Keras 3 against ours.

tests/fixtures/make_keras_spatial_and_attention.py made them.
"""

from __future__ import annotations

import json

import cases
import cases_spatial_and_attention as our_cases
import numpy as np
import pytest
from keras_numbers import check_training_steps, in_a_row, keras_numbers, outputs_and_gradients
from samples import each

import graphc
from graphc import constraints, layers, regularizers
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Graph
from graphc.steps import bind

EXPECTED = keras_numbers("spatial_and_attention")


@pytest.mark.parametrize("name", each(3, our_cases.layer_cases()))
def test_layer_output_and_gradients(name):
    case = our_cases.layer_cases()[name]
    layer = case.make(layers)
    masks = {argument: list(m) if isinstance(m, list) else [m] for argument, m in case.masks.items()}

    def call(*values):
        inputs, rest = values[:len(case.shapes)], iter(values[len(case.shapes):])
        given = {argument: [next(rest) for _ in m] for argument, m in masks.items()}
        options = {argument: m if isinstance(case.masks[argument], list) else m[0] for argument, m in given.items()}
        return layer(*([list(inputs)] if case.together else inputs), **case.options, **options)

    arrays = [cases.layer_input(f"{name}{i}", s) for i, s in enumerate(case.shapes)]
    with graphc.config(backend="numpy"):
        outputs, gradients = outputs_and_gradients(layer, [*arrays, *(m for ms in masks.values() for m in ms)], call)
    assert [w.path.split("/", 1)[1] for w in layer.weights] == EXPECTED[f"names.{name}"].tolist()
    np.testing.assert_allclose(in_a_row([*outputs, *gradients]), EXPECTED[f"layer.{name}"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", each(2, our_cases.step_cases()))
def test_training_steps(name):
    make, shape = our_cases.step_cases()[name]
    inputs = graphc.Input(shape)
    model = graphc.Model(inputs, make(layers, inputs))
    check_training_steps(model, 0.1, our_cases.step_data(name, shape), name, "spatial_and_attention")


@pytest.mark.parametrize("name", our_cases.regularizer_cases())
def test_regularizer(name):
    array = cases.layer_input(name, (4, 3))
    x = f.input("x", array.shape)
    value = our_cases.regularizer_cases()[name](regularizers)(x)
    graph = Graph("penalty", (x,), (), (("value", value), ("gradient", f.gradient(value, [x])[0])))
    expected = EXPECTED[f"regularizer.{name}"]
    found = in_a_row(bind(graph)(array))[:len(expected)]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", our_cases.constraint_cases())
def test_constraint(name):
    array = cases.layer_input(name, (3, 2, 4, 3))
    x = f.input("x", array.shape)
    graph = Graph("rule", (x,), (), (("value", our_cases.constraint_cases()[name](constraints)(x)),))
    np.testing.assert_allclose(bind(graph)(array)[0], EXPECTED[f"constraint.{name}"], rtol=1e-5, atol=1e-6)


def test_a_file_of_keras_s_drops_and_varies_in_training_only(tmp_path):
    """Keras writes the default of `training` into every call, False of Dropout, True of layers of images."""
    inputs = graphc.Input((4, 4, 3))
    outputs = layers.Dropout(0.5)(layers.RandomFlip("horizontal")(inputs))
    model = graphc.Model(inputs, layers.BatchNormalization()(outputs, training=False))
    config = model.get_config()
    for described, told in zip(config["layers"][1:3], (True, False), strict=True):
        described["inbound_nodes"][0]["kwargs"]["training"] = told
    again = graphc.Model.from_config(config)
    x = np.random.default_rng(0).random((20, 4, 4, 3), np.float32) + 0.1
    np.testing.assert_allclose(again.predict(x, verbose=0), x / np.sqrt(1.001), rtol=1e-5)
    trained = np.asarray(again(x, training=True)) * np.sqrt(1.001) / 2
    assert 0.4 < (trained == 0).mean() < 0.6, "BatchNormalization was told to use its averages, Dropout wasn't"
    flipped = np.isclose(trained, x[:, :, ::-1]) & (trained > 0)
    assert 0.1 < flipped.mean() < 0.4


@pytest.mark.parametrize("name", our_cases.config_cases())
def test_config_is_keras_s(name):
    """Every option of Keras's file is one of ours with the same value, or one that stands at its default."""
    from graphc.configs import describe
    from graphc.serialization import _DEFAULTS, deserialize

    layer = our_cases.config_cases()[name](layers)
    config = json.loads(json.dumps(layer.get_config()))
    expected = json.loads(str(EXPECTED[f"config.{name}"]))
    for option, value in expected.items():
        if option not in config:
            assert value is None or value == _DEFAULTS[option], f"{option}={value!r} is missing"
        elif option != "dtype":
            assert plain(config[option]) == plain(value), option
    assert set(config) <= set(expected)
    again = deserialize(describe(layer) | {"config": expected}, "layer")
    assert plain({"class_name": name, "config": json.loads(json.dumps(again.get_config()))}) == plain(
        {"class_name": name, "config": config})


def plain(value):
    """A description without where its class is from, and what graphc's doesn't have at its default."""
    if isinstance(value, dict) and "class_name" in value:
        config = {k: plain(v) for k, v in value["config"].items() if v is not None and k != "dtype"}
        return value["class_name"], config
    return round(value, 7) if isinstance(value, float) else value  # of which Keras rounds some to float32


# --------------------------------------------------------------------------------------------------- random numbers

def test_random_crop():
    rows, columns = np.meshgrid(np.arange(6), np.arange(7), indexing="ij")
    x = np.broadcast_to((rows * 10.0 + columns)[None, :, :, None], (400, 6, 7, 1)).astype(np.float32)
    y = layers.RandomCrop(3, 4)(x)
    assert y.shape == (400, 3, 4, 1)
    corners = y[:, 0, 0, 0]
    np.testing.assert_array_equal(y[..., 0] - corners[:, None, None],
                                  np.broadcast_to(rows[:3, :4] * 10 + columns[:3, :4], (400, 3, 4)))
    assert len(np.unique(corners)) == 16 and corners.max() == 33, "every place is drawn"
    whole = layers.RandomCrop(3, 4)(x, training=False)
    np.testing.assert_array_equal(whole, layers.Resizing(3, 4, crop_to_aspect_ratio=True)(x))
    assert layers.RandomCrop(8, 4)(x).shape == (400, 8, 4, 1), "what is too small is enlarged"


@pytest.mark.parametrize("layer", [layers.RandomRotation(0.3), layers.RandomCrop(4, 4)])
def test_images_are_varied_one_by_one_in_training_only(layer, rng):
    x = np.broadcast_to(rng.random((1, 5, 5, 2), np.float32), (40, 5, 5, 2))
    y = layer(x)
    assert np.abs(y - y[:1]).max((1, 2, 3))[1:].min() >= 0 and len(np.unique(y[:, 0, 0, 0])) > 3
    still = layer(x, training=False)
    np.testing.assert_array_equal(still, still[:1].repeat(40, 0))
    model = graphc.Sequential([graphc.Input((5, 5, 2)), layer])
    np.testing.assert_array_equal(model.predict(x, verbose=0), still)


def test_formats_of_random_layers(rng):
    x = rng.random((30, 4, 5, 3), np.float32)
    first = np.moveaxis(x, -1, 1)
    for make in (layers.RandomFlip, lambda **k: layers.RandomZoom(0.3, **k),
                 lambda **k: layers.RandomRotation(0.1, **k),
                 lambda **k: layers.RandomContrast(0.5, value_range=(0, 1), **k),
                 lambda **k: layers.RandomCrop(2, 3, **k)):
        graphc.utils.set_random_seed(3)
        expected = make(seed=1)(x)
        graphc.utils.set_random_seed(3)
        np.testing.assert_allclose(np.moveaxis(make(seed=1, data_format="channels_first")(first), 1, -1), expected,
                                   atol=1e-6)


def test_shape_of_the_noise():
    x = np.ones((200, 5, 6), np.float32)
    y = layers.Dropout(0.5, noise_shape=(None, 1, 6))(x, training=True)
    np.testing.assert_array_equal(np.ptp(y, 1), 0)
    assert abs((y == 0).mean() - 0.5) < 0.05
    z = layers.AlphaDropout(0.5, noise_shape=[None, 5, 1])(x, training=True)
    np.testing.assert_array_equal(np.ptp(z, 2), 0)
    images = np.ones((50, 6, 3, 3), np.float32)
    first = layers.SpatialDropout2D(0.5, data_format="channels_first")(images, training=True)
    np.testing.assert_array_equal(np.ptp(first, (2, 3)), 0)


def test_dropout_of_attention_keeps_the_mean():
    layer = layers.MultiHeadAttention(2, 4, dropout=0.5)
    x = np.random.default_rng(0).standard_normal((2, 30, 8)).astype(np.float32)
    still, first, second = layer(x, x), layer(x, x, training=True), layer(x, x, training=True)
    assert np.abs(first - second).max() > 1e-3 and np.abs(still - layer(x, x)).max() == 0
    many = np.mean([layer(x, x, training=True) for _ in range(50)], 0)
    np.testing.assert_allclose(many, still, atol=0.3)


# ------------------------------------------------------------------------------------------------------------ masks

def test_a_query_that_sees_nothing(rng):
    x = rng.standard_normal((2, 4, 6), np.float32)
    mask = np.ones((2, 4, 4), bool)
    mask[1, 2] = False
    layer = layers.MultiHeadAttention(2, 3)
    result, weights = layer(x, x, attention_mask=mask, return_attention_scores=True)
    assert (weights[1, :, 2] == 0).all() and np.allclose(weights.sum(-1)[mask.any(-1)[:, None].repeat(2, 1)], 1)
    np.testing.assert_allclose(result[1, 2], layer.output_dense.bias.numpy(), atol=1e-6)


def test_masks_stay_with_their_values():
    seen = []

    class Looking(layers.Layer):
        supports_masking = True

        def call(self, inputs, mask=None):
            seen.append(mask)
            return inputs

    inputs = graphc.Input((4, 6))
    x = layers.Masking()(inputs)
    results = [Looking()(layers.Add()([x, layers.MultiHeadAttention(2, 3)(x, x)])),
               Looking()(layers.Concatenate(axis=1)([x, layers.Dense(6)(x)])),
               Looking()(layers.Dot(axes=2)([x, x]))]
    model = graphc.Model(inputs, results)
    seen.clear()
    model.graph("predict")
    assert [None if m is None else str(m.type) for m in seen] == ["bool[N,4]", "bool[N,8]", None]


# ------------------------------------------------------------------------------------------------------ resampling

def test_bicubic_of_a_line_is_the_line():
    x = np.broadcast_to(np.arange(8, dtype=np.float32)[None, :, None, None], (1, 8, 3, 1))
    y = layers.Resizing(16, 3, interpolation="bicubic")(x)[0, 4:12, 0, 0]
    np.testing.assert_allclose(y, np.arange(4, 12) / 2 - 0.25, atol=1e-5)
    for name in ("lanczos3", "lanczos5"):
        same = layers.Resizing(8, 3, interpolation=name)(x)
        np.testing.assert_allclose(same, x, atol=1e-5)


def test_resizing_of_any_size():
    inputs = graphc.Input((None, None, 2))
    model = graphc.Model(inputs, layers.Resizing(4, 5)(inputs))
    for shape in ((3, 6, 7, 2), (2, 2, 9, 2)):
        x = np.random.default_rng(1).random(shape, np.float32)
        np.testing.assert_allclose(model.predict(x, verbose=0), layers.Resizing(4, 5)(x), atol=1e-6)


# --------------------------------------------------------------------------------------------- functions and rules

def test_functions_as_layers(tmp_path):
    def shifted(x, by):
        return x * 2.0 + by

    model = graphc.Sequential([graphc.Input((3,)), layers.Lambda(shifted, arguments={"by": 1.0}), layers.Dense(2)])
    x = np.ones((4, 3), np.float32)
    expected = model.predict(x, verbose=0)
    model.save(tmp_path / "m.keras")
    with pytest.raises(Exception, match="shifted"):
        graphc.models.load_model(tmp_path / "m.keras")
    again = graphc.models.load_model(tmp_path / "m.keras", custom_objects={"shifted": shifted})
    np.testing.assert_array_equal(again.predict(x, verbose=0), expected)
    with pytest.raises(ValueError, match="no name to write down"):
        layers.Lambda(lambda x: x).get_config()
    twice = layers.Lambda(lambda x, training=False: x * (2.0 if training else 1.0))
    np.testing.assert_array_equal(twice(x, training=True), 2 * x)


def test_descriptions_and_back():
    layer = layers.Conv1D(2, 3, kernel_regularizer="l2", bias_constraint="non_neg")
    again = layers.deserialize(layers.serialize(layer))
    assert again.get_config() == layer.get_config() and again is not layer
    for module, thing in ((regularizers, regularizers.L1L2(0.1, 0.2)), (constraints, constraints.MaxNorm(3))):
        assert module.deserialize(module.serialize(thing)).get_config() == thing.get_config()

    class Mine(regularizers.Regularizer):
        def __call__(self, x):
            return 0.0

    assert isinstance(regularizers.deserialize({"class_name": "Mine", "config": {}}, {"Mine": Mine}), Mine)


def test_input_spec():
    class Pairs(layers.Layer):
        def __init__(self, spec, **kwargs):
            super().__init__(**kwargs)
            self.input_spec = spec

        def call(self, inputs):
            return inputs

    for spec, wrong, message in ((layers.InputSpec(ndim=3), (2, 3), "needs 3 axes"),
                                 (layers.InputSpec(min_ndim=3), (2, 3), "at least 3 axes"),
                                 (layers.InputSpec(max_ndim=1), (2, 3), "at most 1 axes"),
                                 (layers.InputSpec(axes={-1: 4}), (2, 3), "extent 4 along axis -1"),
                                 (layers.InputSpec(shape=(None, 4)), (2, 3), "extent 4 along axis 1")):
        with pytest.raises(ShapeError, match=message):
            Pairs(spec)(np.ones(wrong))
    fits = Pairs(layers.InputSpec(shape=(None, 3, 1), allow_last_axis_squeeze=True))
    assert fits(np.ones((2, 3))).shape == (2, 3)


def test_spectral_normalization_survives_pickling_and_freezing(rng):
    import pickle

    inner = layers.Dense(3, kernel_constraint="non_neg")
    model = graphc.Sequential([graphc.Input((4,)), layers.SpectralNormalization(inner, power_iterations=5)])
    model.compile("sgd", "mse")
    x, y = rng.standard_normal((8, 4), np.float32), rng.standard_normal((8, 3), np.float32)
    model.fit(x, y, epochs=2, verbose=0)
    assert (inner.kernel.numpy() >= 0).all()
    again = pickle.loads(pickle.dumps(model.layers[0]))
    np.testing.assert_array_equal(again(x), model.predict(x, verbose=0))
    inner.trainable = False
    model.compile("sgd", "mse")
    for _ in range(20):
        model.train_on_batch(x, y)
    assert abs(np.linalg.svd(inner.kernel.numpy())[1][0] - 1) < 1e-3


@pytest.mark.parametrize(("make", "message"), [
    (lambda: regularizers.L2(-1), "a number from 0 on"),
    (lambda: regularizers.get("l1l3"), "Did you mean 'l1l2'"),
    (lambda: constraints.get("mx_norm"), "Did you mean 'max_norm'"),
    (lambda: layers.Dense(2, kernel_regularizer=3), "function of a weight"),
    (lambda: layers.MultiHeadAttention(2, 0), "positive integer"),
    (lambda: layers.MultiHeadAttention(2, 3, flash_attention=True), "no such kernels"),
    (lambda: layers.GroupQueryAttention(2, 3, 2), "don't divide"),
    (lambda: layers.Attention(score_mode="cosine"), "'dot' or 'concat'"),
    (lambda: layers.EinsumDense("ab->b", 3), "expected 'ab,bc->ac'"),
    (lambda: layers.Resizing(3, 3, crop_to_aspect_ratio=True, pad_to_aspect_ratio=True), "only one of the two"),
    (lambda: layers.Discretization(), "one of the two"),
    (lambda: layers.RandomRotation(2.0), "from -1 to 1"),
])
def test_wrong_options(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()
