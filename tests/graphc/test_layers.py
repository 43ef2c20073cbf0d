"""Layers: the examples of their docstrings, their options, the user's own layers."""

from __future__ import annotations

import inspect
import re

import numpy as np
import pytest

import graphc
from graphc import layers, ops
from graphc.ir import functions as f
from graphc.ir.errors import DTypeError, ShapeError
from graphc.ir.types import parse_type
from graphc.passes.pipeline import PIPELINE, run

CELLS = ("GRUCell", "LSTMCell", "SimpleRNNCell", "StackedRNNCells")  # which test_cells has
BASES = ("InputSpec", "Layer", "Wrapper", *CELLS)
PUBLIC = [getattr(layers, n) for n in layers.__all__ if isinstance(getattr(layers, n), type) and n not in BASES]
EXAMPLE = re.compile(r"^\s*(\w+\(.*\))\((\w+\[[^()]*\])\) -> (.+)$")


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
    types = [parse_type(t) for t in given.split(", ")]
    xs = [f.input(f"x{i}", t.shape, t.dtype) for i, t in enumerate(types)]
    together = list(inspect.signature(layer.call).parameters)[1] == "inputs"  # after self
    x = [xs] if together and len(xs) > 1 else xs
    if ": " in result:
        with pytest.raises((ShapeError, DTypeError)) as caught:
            made(*x)
        assert result.split(": ", 1)[1] in str(caught.value)
        assert made.name in str(caught.value) and all(str(t) in str(caught.value) for t in types)
        return
    assert str(made(*x).type) == result
    again = type(made).from_config(made.get_config())
    assert str(again(*x).type) == result and again.name == made.name and again.get_config() == made.get_config()


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
    (lambda: layers.Conv2D(2, 3, data_format="channels_frist"), "Did you mean 'channels_first'"),
    (lambda: layers.Conv2D(2, 3, strides=2, dilation_rate=2), "only one of the two"),
    (lambda: layers.Dropout(1.5), "from 0 to 1"), (lambda: layers.SpatialDropout1D("0.5"), "from 0 to 1"),
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


def test_automatic_names_are_keras_s():
    made = [layers.BatchNormalization(), layers.RMSNormalization(), layers.PReLU(), layers.LeakyReLU(), layers.ELU(),
            layers.SpatialDropout1D(0.1), layers.GlobalMaxPooling1D(), layers.GlobalAvgPool2D(),
            layers.DepthwiseConv2D(3), layers.SeparableConvolution2D(4, 3), layers.Conv2DTranspose(4, 3),
            layers.ZeroPadding2D(), layers.UpSampling1D(), layers.CategoryEncoding(3)]
    assert [layer.name for layer in made] == [
        "batch_normalization", "rms_normalization", "p_re_lu", "leaky_re_lu", "elu", "spatial_dropout1d",
        "global_max_pooling1d", "global_average_pooling2d", "depthwise_conv2d", "separable_conv2d",
        "conv2d_transpose", "zero_padding2d", "up_sampling1d", "category_encoding"]


@pytest.mark.parametrize(("make", "message"), [
    (lambda: layers.GroupNormalization(0), "positive integer, or -1"),
    (lambda: layers.Conv2D(4, 3, groups=3), "don't divide into groups"),
    (lambda: layers.Conv2DTranspose(4, 3, strides=2, output_padding=2), "smaller than strides=(2, 2)"),
    (lambda: layers.UpSampling1D(data_format="channels_first"), "Known names: channels_last"),
    (lambda: layers.Dot(axes=(1, 2, 3)), "one for each of the two inputs"),
    (lambda: layers.Reshape((-1, -1)), "one of which may be -1"),
    (lambda: layers.Permute((0, 1)), "The batch, axis 0, stays first"),
    (lambda: layers.ZeroPadding2D(((1, 2, 3), 1)), "2 pairs of them"),
    (lambda: layers.Cropping1D(-1), "integer from 0 on"),
    (lambda: layers.UpSampling2D(interpolation="cubic"), "Did you mean 'bicubic'"),
    (lambda: layers.LeakyReLU(-0.1), "number from 0 on"),
    (lambda: layers.GaussianNoise(2), "from 0 to 1"),
    (lambda: layers.GaussianDropout(1), "infinite variance"),
    (lambda: layers.Normalization(mean=1.0), "give both"),
    (lambda: layers.CategoryEncoding(), "positive integer"),
    (lambda: layers.RandomFlip("diagonal"), "Unknown mode"),
    (lambda: layers.RandomContrast((0.3, -0.1)), "a number or two, from 0 to 1"),
    (lambda: layers.RandomZoom(1.5), "RandomZoom(height_factor=(-1.5, 1.5))"),
])
def test_wrong_options_of_more_layers(make, message):
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        make()


# ------------------------------------------------------------------------------------------------------ normalization

def normalized_model(**options):
    model = graphc.Sequential([layers.Dense(3, input_shape=(4,)), layers.BatchNormalization(**options),
                               layers.Dense(1)])
    model.compile("sgd", "mse")
    return model, model.layers[1]


def test_batch_normalization_moves_its_averages_in_training_only(rng):
    model, layer = normalized_model(momentum=0.5)
    x, y = rng.standard_normal((8, 4), np.float32), np.zeros(8)
    assert [w.name for w in layer.weights] == ["gamma", "beta", "moving_mean", "moving_variance"]
    model.evaluate(x, y, verbose=0)
    model.predict(x, verbose=0)
    np.testing.assert_array_equal(layer.moving_mean, 0)
    hidden = x @ model.layers[0].kernel.numpy() + model.layers[0].bias.numpy()
    model.train_on_batch(x, y)
    np.testing.assert_allclose(layer.moving_mean, hidden.mean(0) / 2, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer.moving_variance, 0.5 + hidden.var(0) / 2, rtol=1e-5)


def test_batch_normalization_that_is_not_trainable_uses_and_keeps_its_averages(rng):
    model, layer = normalized_model()
    x, y = rng.standard_normal((8, 4), np.float32), np.zeros(8)
    model.train_on_batch(x, y)
    layer.trainable = False
    before = layer.get_weights()
    expected = model.evaluate(x, y, verbose=0)
    np.testing.assert_allclose(model.train_on_batch(x, y), expected, rtol=1e-5)
    for weight, array in zip(layer.weights, before, strict=True):
        np.testing.assert_array_equal(weight, array)
    layer.trainable = True
    model.train_on_batch(x, y)
    assert not np.array_equal(layer.moving_mean, before[2])


def test_normalization_far_from_zero(rng):
    x = (rng.standard_normal((64, 5)) + 1000).astype(np.float32)
    expected = (x - x.mean(0, dtype=np.float64)) / np.sqrt(x.var(0, dtype=np.float64) + 1e-3)
    np.testing.assert_allclose(layers.BatchNormalization()(x, training=True), expected, atol=2e-3)
    np.testing.assert_allclose(layers.LayerNormalization()(x.T.copy()), expected.T, atol=2e-3)


def test_unit_normalization_of_zeros_has_a_gradient():
    model = graphc.Sequential([layers.Dense(2, kernel_initializer="zeros", input_shape=(3,)),
                               layers.UnitNormalization()])
    model.compile("sgd", "mse")
    model.train_on_batch(np.ones((4, 3)), np.zeros((4, 2)))
    assert np.isfinite(model.get_weights()[0]).all()


def test_batch_normalization_adds_few_kernels():
    def kernels(kind, *between):
        model = graphc.Sequential([layers.Conv2D(4, 3, use_bias=False, input_shape=(8, 8, 2)), *between, layers.ReLU(),
                                   layers.Flatten(), layers.Dense(1)])
        model.compile("sgd", "mse")
        return len(run(model.graph(kind), PIPELINE).steps)

    assert kernels("predict", layers.BatchNormalization()) == kernels("predict"), "part of the convolution's kernel"
    # forwards: mean, what is around it, variance, result; backwards: two sums, which update the weights, the gradient
    assert kernels("train", layers.BatchNormalization()) <= kernels("train") + 7


# ------------------------------------------------------------------------------------- several inputs, preprocessing

def test_functions_of_several_inputs(rng):
    x, y = rng.standard_normal((2, 5, 4, 3), np.float32)
    for name, expected in {"add": x + y, "subtract": x - y, "multiply": x * y, "average": (x + y) / 2,
                           "maximum": np.maximum(x, y), "minimum": np.minimum(x, y),
                           "concatenate": np.concatenate([x, y], -1), "dot": np.einsum("nac,nbc->nab", x, y)}.items():
        np.testing.assert_allclose(getattr(layers, name)([x, y]), expected, rtol=1e-5, atol=1e-6, err_msg=name)
    assert layers.concatenate([x, y], axis=1, name="joined").shape == (5, 8, 3)


def test_normalization_adapts_to_data(rng):
    x = (rng.standard_normal((50, 3)) * [1, 5, 0.1] + [0, 3, -2]).astype(np.float32)
    layer = layers.Normalization()
    layer.adapt(x)
    assert [w.name for w in layer.weights] == ["mean", "variance", "count"] and not layer.trainable_weights
    np.testing.assert_allclose(layer(x), (x - x.mean(0)) / x.std(0), rtol=1e-4, atol=1e-4)
    back = layers.Normalization(invert=True)
    back.adapt(x)
    np.testing.assert_allclose(back(layer(x)), x, rtol=1e-4, atol=1e-4)
    layer.adapt(iter([x[:20] + 7, x[20:] + 7, x]), steps=2)
    np.testing.assert_allclose(layer.mean, x.mean(0) + 7, rtol=1e-5)
    layer.adapt([x[:20] + 7, x[20:] + 7])
    np.testing.assert_allclose(layer.mean, x.mean(0) + 7, rtol=1e-5)
    whole = layers.Normalization(axis=None)
    whole.adapt(x[:, 1])
    np.testing.assert_allclose(whole(x[:, 1:2]), (x[:, 1:2] - x[:, 1].mean()) / x[:, 1].std(), rtol=1e-4, atol=1e-4)
    with pytest.raises(ShapeError, match=r"expected f32\[3\] along axis"):
        layer.adapt(x[:, :2])
    with pytest.raises(ValueError, match="no effect"):
        layers.Normalization(mean=0.0, variance=1.0).adapt(x)


def test_a_model_takes_over_what_normalization_adapted_to(rng):
    x = (rng.standard_normal((50, 3)) * 4 + 1).astype(np.float32)
    layer = layers.Normalization()
    layer.adapt(x)
    model = graphc.Sequential([layer, layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(x, x[:, 0], verbose=0)
    np.testing.assert_allclose(layer.mean, x.mean(0), rtol=1e-5)
    kernel, bias = model.layers[1].get_weights()
    np.testing.assert_allclose(model.predict(x, verbose=0), (x - x.mean(0)) / x.std(0) @ kernel + bias, rtol=1e-3,
                               atol=1e-4)


def test_category_encoding():
    x = np.array([[0, 1, 1], [2, 2, 5]])
    np.testing.assert_array_equal(layers.CategoryEncoding(4)(x), [[1, 1, 0, 0], [0, 0, 1, 0]])
    np.testing.assert_array_equal(layers.CategoryEncoding(4, "count")(x), [[1, 2, 0, 0], [0, 0, 2, 0]])
    np.testing.assert_array_equal(layers.CategoryEncoding(3, "one_hot")(np.array([2, 0])), [[0, 0, 1], [1, 0, 0]])


# --------------------------------------------------------------------------------------------------- random numbers

@pytest.mark.parametrize(("layer", "mean", "deviation"), [
    (layers.GaussianNoise(0.5), 2, 0.5), (layers.GaussianDropout(0.2), 2, 2 * 0.5),
    (layers.SpatialDropout1D(0.2), 2, 2 * 0.5), (layers.SpatialDropout2D(0.2), 2, 2 * 0.5)])
def test_noise_in_training_only(layer, mean, deviation):
    x = np.full((400, 3, 3, 20) if "2d" in layer.name else (400, 9, 20), 2, np.float32)
    np.testing.assert_array_equal(layer(x), x)
    first, second = layer(x, training=True), layer(x, training=True)
    assert abs(first.mean() - mean) < 0.05 and abs(first.std() - deviation) < 0.05
    assert abs(np.mean((first - mean) * (second - mean))) < 0.05, "two steps must not have the same noise"
    if "spatial" in layer.name:
        np.testing.assert_array_equal(np.ptp(first.reshape(400, 9, 20), 1), 0)


def test_alpha_dropout_keeps_mean_and_variance(rng):
    x = rng.standard_normal((500, 100), np.float32)
    y = layers.AlphaDropout(0.3)(x, training=True)
    assert abs(y.mean()) < 0.03 and abs(y.std() - 1) < 0.03
    _, counts = np.unique(y, return_counts=True)
    assert abs(counts.max() / y.size - 0.3) < 0.01, "one value takes the place of what is dropped"
    np.testing.assert_array_equal(layers.AlphaDropout(0.3)(x), x)


def test_gaussian_noise_is_normal_and_its_seed_repeats():
    x = np.zeros((1000, 100), np.float32)
    graphc.utils.set_random_seed(5)
    first = layers.GaussianNoise(1.0, seed=7)(x, training=True)
    for bound, share in ((1, 0.6827), (2, 0.9545), (3, 0.9973)):
        assert abs((np.abs(first) < bound).mean() - share) < 0.01
    assert abs(np.corrcoef(first[:, ::2].ravel(), first[:, 1::2].ravel())[0, 1]) < 0.01
    graphc.utils.set_random_seed(5)
    np.testing.assert_array_equal(layers.GaussianNoise(1.0, seed=7)(x, training=True), first)


@pytest.mark.parametrize(("mode", "axes"), [("horizontal", [2]), ("vertical", [1]),
                                            ("horizontal_and_vertical", [1, 2])])
def test_random_flip(mode, axes, rng):
    x = rng.standard_normal((200, 3, 4, 2), np.float32)
    y = layers.RandomFlip(mode)(x)
    same, turned = (y == x).all((1, 2, 3)), (y == np.flip(x, axes)).all((1, 2, 3))
    assert (same ^ turned).all() and 70 < turned.sum() < 130
    np.testing.assert_array_equal(layers.RandomFlip(mode)(x, training=False), x)
    model = graphc.Sequential([layers.RandomFlip(mode, input_shape=(3, 4, 2))])
    np.testing.assert_array_equal(model.predict(x, verbose=0), x)


def test_random_contrast_and_brightness(rng):
    x = rng.random((300, 4, 4, 2), np.float32)
    y = layers.RandomContrast((0.2, 0.5), value_range=(-5, 5))(x)
    around, before = (a - a.mean((1, 2), keepdims=True) for a in (y, x))
    factors = (around / before).mean((1, 2, 3))
    np.testing.assert_allclose(around, before * factors[:, None, None, None], atol=1e-4)
    assert 0.8 <= factors.min() < 0.83 and 1.47 < factors.max() <= 1.5001
    added = layers.RandomBrightness(0.3, value_range=(-5, 5))(x) - x
    assert np.ptp(added, (1, 2, 3)).max() < 1e-5 and -3 <= added.min() < -2.9 and 2.9 < added.max() <= 3.0001
    dark = layers.RandomBrightness((-1, -1), value_range=(0, 1))(x)
    np.testing.assert_array_equal(dark, 0)


@pytest.mark.parametrize("layer", [layers.RandomTranslation(0.4, 0.4), layers.RandomZoom(0.4)])
def test_random_views(layer, rng):
    x = rng.random((50, 6, 6, 1), np.float32)
    y = layer(x)
    assert len(np.unique(y.reshape(50, -1)[:, 0])) > 40 and y.min() >= x.min() and y.max() <= x.max()
    same = layer(np.broadcast_to(x[:1], x.shape))
    assert np.abs(same - same[0]).max((1, 2, 3))[1:].min() > 1e-4, "each image has its own window"
    np.testing.assert_array_equal(layer(x, training=False), x)
    seen = layer(x + x.transpose(0, 2, 1, 3))
    alike = np.abs(seen - seen.transpose(0, 2, 1, 3)).max() < 1e-5
    assert alike == isinstance(layer, layers.RandomZoom), "without a width_factor both directions zoom alike"


@pytest.mark.parametrize("given", [None, 3, [None]])
def test_a_layer_that_gives_nothing(given):
    class Forgets(layers.Layer):
        def call(self, x):
            return given

    for x in (layers.Input((3,)), np.ones((2, 3))):
        with pytest.raises(TypeError, match=r"Forgets, made at test_layers.*gave .* Does call end with `return`"):
            Forgets()(x)


def test_a_weight_of_unknown_size():
    class Wrong(layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(shape=(shape[0], 3), name="kernel")

    with pytest.raises(ShapeError, match=r"'wrong'\.add_weight\(shape=\(None, 3\)\): expected known sizes"):
        Wrong(name="wrong")(np.ones((2, 3)))


def test_a_name_is_a_text():
    for make in (lambda: layers.Dense(2, name=5), lambda: graphc.Sequential(name=5)):
        with pytest.raises(TypeError, match=r"\(name=5\): expected a text, such as '5'"):
            make()
