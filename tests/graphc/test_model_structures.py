"""Inputs, outputs, data and calls in lists, tuples and dicts; steps of the user's own; models like others."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import graphc
from graphc import layers, ops
from graphc.ir.errors import ShapeError

RNG = np.random.default_rng(3)
A, B = RNG.random((12, 3), np.float32), RNG.random((12, 2), np.float32)
Y, Z = A.sum(1, keepdims=True), np.arange(12) % 3

pytestmark = pytest.mark.usefixtures("reference_backend")


def two(outputs=lambda one, two: [one, two]):
    a, b = layers.Input((3,), name="a"), layers.Input((2,), name="b")
    x = layers.Concatenate(name="join")([a, b])
    one = layers.Dense(1, name="one")(x)
    return graphc.Model([a, b], outputs(one, layers.Dense(3, activation="softmax", name="two")(x)))


def compiled(**arguments):
    model = two()
    model.compile("sgd", **({"loss": ["mse", "sparse_categorical_crossentropy"]} | arguments))
    return model


@pytest.mark.parametrize("outputs", [lambda a, b: [a, b], lambda a, b: (a, b), lambda a, b: {"p": a, "q": b},
                                     lambda a, b: [a, {"q": b}]])
def test_predictions_have_the_structure_of_the_outputs(outputs):
    model = two(outputs)
    one, other = model.get_layer("one").output, model.get_layer("two").output
    made = model.predict([A, B], verbose=0)
    expected = outputs(graphc.Model(model.inputs, one).predict([A, B], verbose=0),
                       graphc.Model(model.inputs, other).predict([A, B], verbose=0))
    assert type(made) is type(expected)
    for found in (made, model([A, B]), model.predict_on_batch([A, B])):
        for got, want in zip(ops_flat(found), ops_flat(expected), strict=True):
            np.testing.assert_array_equal(got, want)
    empty = ops_flat(model.predict([A[:0], B[:0]], verbose=0))
    assert [e.shape for e in empty] == [(0, 1), (0, 3)]


def ops_flat(nest):
    from graphc.ir.tree import flat

    return list(flat(nest))


def test_data_by_place_and_by_name():
    model = two()
    expected = model.predict([A, B], verbose=0)[0]
    for data in ((A, B), {"b": B, "a": A}, {"a": A.tolist(), "b": B, "spare": 1}):
        np.testing.assert_array_equal(model.predict(data, verbose=0)[0], expected)
    by_name = graphc.Model({"b": model.inputs[1], "a": model.inputs[0]}, model.outputs[0])
    np.testing.assert_array_equal(by_name.predict({"a": A, "b": B}, verbose=0), expected)
    np.testing.assert_array_equal(by_name({"a": A, "b": B}), expected)


def test_one_input_and_one_output_by_name():
    inputs = layers.Input((3,), name="in")
    model = graphc.Model(inputs, layers.Dense(1, name="out")(inputs))
    model.compile("sgd", {"out": "mse"}, metrics={"out": ["mae"]})
    first = model.evaluate(A, Y, verbose=0)
    for x, y in (([A], Y), ({"in": A}, {"out": Y}), (A, [Y]), ([A], {"out": Y})):
        assert model.evaluate(x, y, verbose=0) == first
    assert model.metrics_names == ["loss", "mae"]
    with pytest.raises(ValueError, match="'in'"):
        model.predict({"other": A}, verbose=0)


def test_errors_name_inputs_and_outputs():
    model = compiled()
    for x, message in (([A], "expected 2, one for each input: 'a', 'b'"), (A, "expected a list of 2 inputs"),
                       ({"a": A}, "'b' is missing"),
                       ([A, B[:, :1]], r"for the input 'b' f32\[12,1\], expected \[N,2\]"),
                       ([A, B[:5]], "12 rows in x and 5 in another input")):
        with pytest.raises((ShapeError, ValueError), match=message):
            model.fit(x, [Y, Z], verbose=0)
    for y, message in (([Y], "1 arrays, expected 2"), ({"one": Y}, "no labels for the output 'two'"),
                       ([Y, Z + 3], "for the output 'two' the class 5, expected 0 to 2: the layer 'two'"),
                       ([Y[:3], Z], "12 rows in x and 3 in y")):
        with pytest.raises((ShapeError, ValueError), match=message):
            model.fit([A, B], y, verbose=0)
    with pytest.raises(ValueError, match="class_weight for a model with 2 outputs"):
        model.fit([A, B], [Y, Z], class_weight={0: 1.0}, verbose=0)
    assert model.fit([A, B], [Y, Z], verbose=0).history["loss"], "what failed before does no harm"


@pytest.mark.parametrize(("arguments", "message"), [
    ({"loss": {"on": "mse"}}, "key 'on', expected names of outputs: 'one', 'two'"),
    ({"loss": ["mse"]}, "1 entries, expected 2"), ({"metrics": ["mae"]}, "1 entries, expected 2"),
    ({"loss_weights": 2.0}, "give a list with one for each"), ({"loss_weights": [1.0, "a"]}, "'a' is not a number"),
])
def test_compile_checks_the_structure(arguments, message):
    with pytest.raises(ValueError, match=message):
        compiled(**arguments)


def test_layers_take_values_in_any_argument():
    class Scale(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.seen = None

        def build(self, x_shape, by_shape):
            self.seen = x_shape, by_shape
            self.gain = self.add_weight((x_shape[-1],), "ones", name="gain")

        def call(self, x, factor, by=None, offsets=()):
            result = x * factor * self.gain
            result = result if by is None else result * ops.sum(by, -1, keepdims=True)
            return [result + o for o in offsets.values()] if offsets else result

    a, b = layers.Input((3,)), layers.Input((2,))
    layer = Scale()
    first, second = layer(a, 2.0, by=b, offsets={"one": 1.0, "a": a})
    model = graphc.Model([a, b], [first, second])
    assert layer.seen == ((None, 3), (None, 2)) and [w.path for w in model.weights] == ["scale/gain"]
    got = model.predict([A, B], verbose=0)
    scaled = A * 2 * B.sum(1, keepdims=True)
    np.testing.assert_allclose(got[0], scaled + 1, rtol=1e-6)
    np.testing.assert_allclose(got[1], scaled + A, rtol=1e-6)
    np.testing.assert_allclose(layer(A, 2.0, by=B), scaled, rtol=1e-6)


def test_a_build_that_builds_layers_and_the_names_of_weights():
    class Block(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.parts = {"a": layers.Dense(4), "b": layers.Dense(2)}

        def build(self, input_shape):
            self.parts["a"].build(input_shape)
            self.parts["b"].build((None, 4))

        def call(self, x):
            return self.parts["b"](self.parts["a"](x))

    model = graphc.Sequential([layers.Input((3,)), Block(name="block")])
    assert [w.path for w in model.weights] == ["block/dense/kernel", "block/dense/bias", "block/dense_1/kernel",
                                               "block/dense_1/bias"]
    assert layers.Dense(3).built is False and model.layers[0].parts["a"].built


def test_masks_pass_and_are_dropped_with_a_warning():
    class Seen(layers.Layer):
        supports_masking = True

        def call(self, x, mask=None):
            return x if mask is None else x * ops.expand_dims(ops.cast(mask, "float32"), -1)

    class Drop(layers.Layer):
        def call(self, x):
            return x + 0.0

    inputs = layers.Input((4,), dtype="int32")
    x = layers.Embedding(5, 2, mask_zero=True, embeddings_initializer="ones")(inputs)
    data = np.array([[1, 2, 0, 0], [3, 0, 0, 0]])
    np.testing.assert_array_equal(graphc.Model(inputs, Seen()(x)).predict(data, verbose=0)[..., 0], data > 0)
    with pytest.warns(UserWarning, match="'drop' .* received a mask"):
        dropped = graphc.Model(inputs, Seen()(Drop()(x))).predict(data, verbose=0)
    assert (dropped == 1).all()


def test_losses_of_layers_outside_of_models():
    layer = layers.Dense(2, kernel_regularizer="l2", activity_regularizer=graphc.regularizers.L1(0.1))
    result = layer(A)
    kernel = layer.kernel.numpy()
    np.testing.assert_allclose([float(v) for v in layer.losses],
                               [0.1 * np.abs(result).sum() / 12, 0.01 * (kernel**2).sum()], rtol=1e-5)
    with pytest.raises(ValueError, match=r"add_loss .*outside of a layer's call"):
        layer.add_loss(1.0)


def test_freezing_between_fits_takes_effect_without_compiling():
    model = compiled()
    model.fit([A, B], [Y, Z], verbose=0)
    model.get_layer("one").trainable = False
    before = model.get_layer("one").get_weights()[0]
    other = model.get_layer("two").get_weights()[0]
    model.fit([A, B], [Y, Z], verbose=0)
    np.testing.assert_array_equal(model.get_layer("one").get_weights()[0], before)
    assert np.abs(model.get_layer("two").get_weights()[0] - other).max() > 0
    assert len(model.trainable_weights) == 2


@pytest.mark.parametrize("make", [
    two, lambda: graphc.Sequential([layers.Input((3,)), layers.Dense(2), layers.Dense(1)], name="stack")])
def test_clones_have_the_same_names_and_new_weights(make):
    model = make()
    twin = graphc.models.clone_model(model)
    assert [w.path for w in twin.weights] == [w.path for w in model.weights] and twin.name == model.name
    assert np.abs(twin.get_weights()[0] - model.get_weights()[0]).max() > 0
    twin.set_weights(model.get_weights())
    x = [A, B] if len(model.inputs) > 1 else A
    for got, want in zip(ops_flat(twin.predict(x, verbose=0)), ops_flat(model.predict(x, verbose=0)), strict=True):
        np.testing.assert_array_equal(got, want)

    def wider(layer):
        if not isinstance(layer, layers.Dense):
            return type(layer).from_config(layer.get_config())
        return layers.Dense(layer.units + 1, name=layer.name)

    wide = graphc.models.clone_model(model, clone_function=wider)
    assert wide.get_layer(index=-1).units == model.get_layer(index=-1).units + 1


class Counting(graphc.Model):
    """A step of its own: half of the loss, and two kinds of metrics."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.mean = graphc.metrics.Mean(name="mean")

    def train_step(self, data):
        x, y = data
        (loss, predicted), gradients = graphc.value_and_grad(self.loss_of, self.trainable_variables, has_aux=True)(x, y)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        self.mean.update_state(loss)
        return {"half": loss, "mean": self.mean.result(), **self.compute_metrics(x, y, predicted)}

    def loss_of(self, x, y):
        predicted = self(x, training=True)
        return 0.5 * self.compute_loss(x, y, predicted), predicted


@pytest.mark.parametrize("backend", ["numpy", "native"])
def test_a_step_of_ones_own_trains_as_the_usual_one(backend):
    with graphc.config(backend=backend):
        inputs = layers.Input((3,))
        outputs = layers.Dense(1)(layers.Dropout(0.5)(layers.Dense(4, activation="tanh")(inputs)))
        own, usual = Counting(inputs, outputs), graphc.Model(inputs, outputs)
        start = own.get_weights()
        own.compile(graphc.optimizers.SGD(0.1), "mse", metrics=["mae"])
        usual.compile(graphc.optimizers.SGD(0.05), "mse", metrics=["mae"])
        usual.random_key.assign(own.random_key.numpy())
        mine = own.fit(A, Y, batch_size=5, epochs=2, shuffle=False, verbose=0).history
        weights = own.get_weights()
        own.set_weights(start)
        theirs = usual.fit(A, Y, batch_size=5, epochs=2, shuffle=False, verbose=0).history
        for got, want in zip(weights, usual.get_weights(), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(mine["mae"], theirs["mae"], rtol=1e-5)
        assert list(mine) == ["half", "mean", "mae"] and mine["half"] != mine["mean"]
        assert own.evaluate(A, Y, verbose=0, return_dict=True).keys() == {"loss", "mae"}
        assert len([k for k in own._programs if k[0] == "train"]) == 1, "traced once"


def test_metrics_and_losses_written_as_keras_s_inside_a_step():
    class Total(graphc.metrics.Metric):
        def __init__(self, name="total", **kwargs):
            super().__init__(name=name, **kwargs)
            self.sum = self.add_variable((), "zeros", name="sum")

        def update_state(self, y_true, y_pred, sample_weight=None):
            self.sum.assign(self.sum + ops.sum(y_pred - y_true))

        def result(self):
            return self.sum * 1.0

    class Own(graphc.Model):
        def __init__(self):
            super().__init__()
            self.dense, self.total = layers.Dense(1, kernel_initializer="ones"), Total()

        def call(self, x):
            return self.dense(x)

        def train_step(self, data):
            x, y = data
            self.total.update_state(y, self(x))
            return {"total": self.total.result()}

    model = Own()
    model.compile("sgd")
    history = model.fit(A, Y + 1, batch_size=4, epochs=2, verbose=0).history
    assert history["total"] == pytest.approx([-12, -12], rel=1e-5)


def test_updates_within_a_step_follow_one_another():
    class Twice(graphc.Model):
        def __init__(self):
            super().__init__()
            self.norm, self.dense = layers.BatchNormalization(momentum=0.5), layers.Dense(1)

        def call(self, x, training=None):
            return self.dense(self.norm(x, training=training))

        def train_step(self, data):
            x, y = data
            losses = []
            for _ in range(2):
                loss, gradients = graphc.value_and_grad(
                    lambda: self.compute_loss(x, y, self(x, training=True)), self.trainable_variables)()
                self.optimizer.apply(gradients, self.trainable_variables)
                losses.append(loss)
            return {"first": losses[0], "second": losses[1]}

    once, twice = Twice(), Twice()
    for model in (once, twice):
        model.compile(graphc.optimizers.Adam(0.1), "mse")
        model.predict(A, verbose=0)
    twice.set_weights(once.get_weights())
    found = twice.train_on_batch(A, Y, return_dict=True)
    start = once.get_weights()
    step = graphc.value_and_grad(lambda x, y: once.compute_loss(x, y, once(x, training=True)), once.trainable_variables)
    expected = []
    for _ in range(2):
        value, gradients = step(A, Y)
        once.optimizer.apply(gradients, once.trainable_variables)
        expected.append(float(value))
    assert list(found.values()) == pytest.approx(expected, rel=1e-5) and expected[1] != expected[0]
    assert np.abs(start[0] - once.get_weights()[0]).max() > 0 and int(twice.optimizer.iterations) == 2
    for got, want in zip(twice.get_weights(), once.get_weights(), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def test_two_optimizers_in_one_step():
    class Two(graphc.Model):
        def __init__(self):
            super().__init__()
            self.left, self.right = layers.Dense(1), layers.Dense(1)
            self.second = graphc.optimizers.Adam(0.01)

        def call(self, x):
            return self.left(x) + self.right(x)

        def train_step(self, data):
            x, y = data
            for part, optimizer in ((self.left, self.optimizer), (self.right, self.second)):
                loss, gradients = graphc.value_and_grad(lambda: self.compute_loss(x, y, self(x)), part.weights)()
                optimizer.apply(gradients, part.weights)
            return {"loss": loss}

    model = Two()
    model.compile("adam", "mse")
    history = model.fit(A, Y, epochs=3, batch_size=4, verbose=0).history["loss"]
    assert history[-1] < history[0] and int(model.optimizer.iterations) == int(model.second.iterations) == 9


def test_wrong_steps_and_functions():
    class Nothing(graphc.Model):
        def call(self, x):
            return x

        def train_step(self, data):
            return None

    model = Nothing()
    model.compile("sgd")
    with pytest.raises(TypeError, match=r"Nothing\.train_step gave NoneType, expected a dict"):
        model.fit(A, Y, verbose=0)
    with pytest.raises(ShapeError, match="expected one number"):
        graphc.value_and_grad(lambda x: x * 2.0)(A)
    value, gradient = graphc.value_and_grad(lambda x: ops.sum(ops.square(x)))(A)
    np.testing.assert_allclose([value, *gradient.ravel()], [(A**2).sum(), *(2 * A).ravel()], rtol=1e-5)


def test_a_model_without_any_loss_says_so_and_works_after_compiling():
    model = two()
    model.compile("sgd")
    with pytest.raises(ValueError, match="compiled without a loss"):
        model.fit([A, B], [Y, Z], verbose=0)
    model.compile("sgd", ["mse", None])
    assert model.fit([A, B], [Y], verbose=0).history.keys() == {"loss"}


def test_inputs_of_unknown_lengths_may_differ():
    first, second = layers.Input((None, 3)), layers.Input((None, 3))
    model = graphc.Model([first, second], layers.Dot(axes=(2, 2))([first * 2.0, second + 1.0]))
    for m, n in ((4, 4), (2, 5)):
        x, y = RNG.random((6, m, 3), np.float32), RNG.random((6, n, 3), np.float32)
        np.testing.assert_allclose(model.predict([x, y], verbose=0), (2 * x) @ (y + 1).transpose(0, 2, 1), rtol=1e-5)


def test_summary_says_what_layers_read(capsys):
    model = two()
    model.summary(line_length=100)
    printed = capsys.readouterr().out
    assert "Connected to" in printed and "a[0][0], b[0][0]" in printed and "join[0][0]" in printed
    graphc.Model(model.inputs[0], layers.Dense(1)(model.inputs[0])).summary()
    assert "Connected to" not in capsys.readouterr().out


def test_copies_of_models_with_several_ends():
    model = compiled()
    own = Counting(model.inputs, model.outputs)
    assert isinstance(pickle.loads(pickle.dumps(own)), Counting) and len(copy.deepcopy(own).weights) == 4
    twin = copy.deepcopy(model)
    assert twin.fit([A, B], [Y, Z], shuffle=False, verbose=0).history == model.fit(
        [A, B], [Y, Z], shuffle=False, verbose=0).history


def test_training_in_a_call_holds_whatever_the_step(rng):
    x = rng.normal(size=(32, 3)).astype("f")
    kept, moved = (layers.BatchNormalization(momentum=0.5) for _ in range(2))
    start = layers.Input((3,))
    inner = graphc.Model(start, moved(kept(start, training=False)))
    start = layers.Input((3,))
    model = graphc.Model(start, layers.Dropout(0.5)(inner(start), training=True))
    model.compile("sgd", "mse")
    model.fit(x, x, verbose=0)
    assert not kept.moving_mean.numpy().any() and moved.moving_mean.numpy().all()
    assert (model.predict(x, verbose=0) == 0).any()
    frozen = graphc.Sequential([start, layers.BatchNormalization(momentum=0.5)])
    start = layers.Input((3,))
    model = graphc.Model(start, layers.Dense(1)(frozen(start, training=False)))
    model.compile("sgd", "mse")
    model.fit(x, x[:, :1], verbose=0)
    assert not frozen.layers[-1].moving_mean.numpy().any()


def test_a_result_for_each_row_is_refused():
    class Own(graphc.Model):
        def train_step(self, data):
            return {"loss": ops.mean(data[0], axis=1)}

    x = layers.Input((3,))
    model = Own(x, layers.Dense(1)(x))
    model.compile("sgd", "mse")
    with pytest.raises(ShapeError, match=r"Own\.train_step gives the result 'loss' as f32\[N\], a number for each row"):
        model.fit(A, Y, verbose=0)


def test_a_layer_that_is_set_to_be_trained_in_a_frozen_model_is(tmp_path):
    """As in Keras 3: what was set last for a layer holds, also when it comes back from a file or a clone."""
    inner = graphc.Sequential([graphc.Input((3,)), layers.Dense(2, name="first"), layers.Dense(2, name="second")])
    inner.trainable = False
    inner.layers[1].trainable = True
    model = graphc.Sequential([graphc.Input((3,)), inner, layers.Dense(1, name="last")])
    model.compile("sgd", "mse")
    x, y = np.ones((4, 3), "float32"), np.ones((4, 1), "float32")
    model.save(tmp_path / "m.keras")
    for one in (model, graphc.models.clone_model(model), graphc.models.load_model(tmp_path / "m.keras")):
        assert [w.path.split("/")[-2] for w in one.trainable_weights] == ["second", "second", "last", "last"]
        assert not one.layers[0].trainable_weights
        before = one.get_weights()
        one.compile("sgd", "mse")
        one.fit(x, y, verbose=0)
        changed = [bool((a != b).any()) for a, b in zip(before, one.get_weights(), strict=True)]
        assert changed[:2] == [False, False] and changed[3] and changed[5]
    model.trainable = False
    assert not model.trainable_weights
    frozen = layers.Bidirectional(layers.LSTM(2), trainable=False)
    assert not graphc.Sequential([graphc.Input((4, 3)), frozen]).trainable_weights
