"""Sequential and Model: building, summaries, weights, copies."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import graphc
from graphc import layers
from graphc.ir.errors import ShapeError

X = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
Y = X.sum(1)


def tutorial():
    return graphc.Sequential([
        layers.Convolution2D(32, kernel_size=(3, 3), activation="relu", input_shape=(28, 28, 1)),
        layers.MaxPooling2D(pool_size=(2, 2)), layers.Convolution2D(64, kernel_size=(3, 3), activation="relu"),
        layers.MaxPooling2D(pool_size=(2, 2)), layers.Flatten(), layers.Dropout(0.5),
        layers.Dense(10, activation="softmax")])


def test_deferred_build(capsys):
    model = graphc.Sequential()
    model.add(layers.Dense(4, activation="relu"))
    model.add(layers.Dense(1))
    model.summary()
    assert "0 (unbuilt)" in capsys.readouterr().out and model.weights == [] and model.input_shape is None
    with pytest.raises(ValueError, match="no weights yet"):
        model.count_params()
    with pytest.raises(ValueError, match="no input shape yet"):
        model.graph("predict")
    model.compile("sgd", "mse")
    model.fit(X, Y, verbose=0)
    assert model.count_params() == 21 and model.input_shape == (None, 3) and model.output_shape == (None, 1)
    other = graphc.Sequential([layers.Dense(4), layers.Dense(1)])
    other.build((None, 3))
    assert [w.shape for w in other.weights] == [(3, 4), (4,), (4, 1), (1,)]
    vector = graphc.Sequential([layers.Dense(2)])
    assert vector.predict(np.arange(5.0), verbose=0).shape == (5, 2)


@pytest.mark.parametrize("start", [lambda: graphc.Input(shape=(3,)), lambda: layers.InputLayer(shape=(3,)),
                                   lambda: layers.InputLayer(input_shape=(3,))])
def test_input_first(start):
    model = graphc.Sequential([start(), layers.Dense(2)])
    assert model.input_shape == (None, 3) and [layer.name for layer in model.layers] == ["dense"]
    assert model.predict(X, verbose=0).shape == (20, 2)


def test_unknown_length():
    model = graphc.Sequential([graphc.Input((None, 3)), layers.Dense(2, activation="softmax")])
    assert model.output_shape == (None, None, 2)
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    for n in (1, 4):
        x = np.ones((5, n, 3))
        assert model.predict(x, verbose=0).shape == (5, n, 2)
        loss, accuracy = model.evaluate(x, np.zeros((5, n)), verbose=0)
        p = model.predict(x, verbose=0)
        assert loss == pytest.approx(-np.log(p[..., 0]).mean(), rel=1e-4) and accuracy == (p.argmax(-1) == 0).mean()
    assert len(model._programs) == 2


def test_add_and_pop():
    model = graphc.Sequential([layers.Dense(4, input_shape=(3,)), layers.Dense(5), layers.Dense(1)])
    kernel = model.layers[0].get_weights()[0]
    assert model.predict(X, verbose=0).shape == (20, 1)
    assert model.pop().name == "dense_2" and model.output_shape == (None, 5)
    assert model.predict(X, verbose=0).shape == (20, 5) and len(model.weights) == 4
    model.add(layers.Dense(2))
    assert model.predict(X, verbose=0).shape == (20, 2)
    np.testing.assert_array_equal(model.layers[0].get_weights()[0], kernel)
    with pytest.raises(ShapeError, match=r"conv2d.*f32\[N,2\]"):
        model.add(layers.Conv2D(2, 3))
    assert len(model.layers) == 3 and model.predict(X, verbose=0).shape == (20, 2), "a failed add changes nothing"
    with pytest.raises(TypeError, match=r"Dense\(\.\.\.\)"):
        model.add(layers.Dense)
    with pytest.raises(ValueError, match="another name"):
        model.add(layers.Dense(1, name="dense"))


def test_weights():
    model = graphc.Sequential([layers.Dense(2, input_shape=(3,))])
    w, b = model.weights
    assert (w.name, w.path, w.shape, str(w.numpy().dtype)) == ("kernel", "dense/kernel", (3, 2), "float32")
    assert (b.numpy() == 0).all() and abs(w.numpy()).max() <= np.sqrt(6 / 5) and w.numpy().std() > 0
    assert "dense/kernel" in f"{w}" and "shape=(3, 2)" in f"{w}" and str(w.numpy()[0, 0])[:6] in f"{w}"
    before = np.asarray(w)
    array = w.array
    w.assign(np.ones((3, 2)))
    assert w.array is array and (np.asarray(w) == 1).all() and not (before == 1).all()
    assert ((w * 2 - 1) == 1).all() and ((2 + w) == 3).all() and (X @ w).shape == (20, 2) and (-w == -1).all()
    with pytest.raises(ShapeError, match=r"dense/kernel\.assign"):
        w.assign(np.ones((2, 3)))
    with pytest.raises(ValueError, match="1 arrays, expected 2"):
        model.set_weights([np.ones((3, 2))])
    with pytest.raises(ShapeError, match="dense/bias"):
        model.set_weights([np.zeros((3, 2)), np.ones(3)])
    assert (np.asarray(w) == 1).all(), "set_weights changes all weights or none"


def test_set_weights_reaches_programs():
    model = graphc.Sequential([layers.Dense(1, input_shape=(3,))])
    model.predict(X, verbose=0)
    model.set_weights([np.ones((3, 1)), np.ones(1)])
    np.testing.assert_allclose(model.predict(X, verbose=0)[:, 0], X.sum(1) + 1, rtol=1e-5, atol=1e-5)


def test_get_layer():
    model = graphc.Sequential([layers.Dense(2, name="first"), layers.Dense(1)])
    assert model.get_layer("first") is model.layers[0] and model.get_layer(index=1) is model.layers[1]
    with pytest.raises(ValueError, match="Layers: first, dense"):
        model.get_layer("second")


def test_nested_models():
    inner = graphc.Sequential([layers.Dense(4, activation="relu"), layers.Dropout(0.5), layers.Dense(2)], name="inner")
    model = graphc.Sequential([layers.Dense(3, input_shape=(3,)), inner, layers.Dense(1)])
    assert [w.path for w in model.weights][2:4] == ["inner/dense/kernel", "inner/dense/bias"]
    model.compile("adam", "mse")
    history = model.fit(X, Y, epochs=3, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]
    first, _, last = model.layers
    np.testing.assert_allclose(last(inner(first(X))), model.predict(X, verbose=0), rtol=1e-5, atol=1e-6)
    inner.trainable = False
    assert len(model.trainable_weights) == 4


def test_users_model():
    class Residual(graphc.Model):
        def __init__(self):
            super().__init__()
            self.blocks = [layers.Dense(3, activation="relu") for _ in range(2)]
            self.head = layers.Dense(1)

        def call(self, inputs):
            for block in self.blocks:
                inputs = inputs + block(inputs)
            return self.head(inputs)

    model = Residual()
    model.compile("adam", "mse", ["mae"])
    losses = model.fit(X, Y, epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0] and len(model.weights) == 6 and [layer.name for layer in model.layers] == [
        "dense", "dense_1", "dense_2"]
    assert model(X).shape == (20, 1)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_independent(duplicate):
    model = graphc.Sequential([layers.Dense(2, activation="relu", input_shape=(3,)), layers.Dense(1)])
    model.compile("adam", "mse")
    model.train_on_batch(X, Y)
    twin = duplicate(model)
    assert twin.train_on_batch(X, Y) == model.train_on_batch(X, Y)
    np.testing.assert_array_equal(twin.get_weights()[0], model.get_weights()[0])
    twin.train_on_batch(X, Y)
    assert not np.array_equal(twin.get_weights()[0], model.get_weights()[0])


def test_many_models_with_one_name():
    def loss():
        graphc.utils.clear_session()
        graphc.utils.set_random_seed(1)
        model = graphc.Sequential([layers.Dense(4, input_shape=(3,)), layers.Dense(1)])
        model.compile("adam", "mse")
        return model.fit(X, Y, verbose=0).history["loss"], model

    (first, one), (second, two) = loss(), loss()
    assert first == second
    one.train_on_batch(X, Y)
    assert not np.array_equal(one.get_weights()[0], two.get_weights()[0])


def test_graph():
    model = tutorial()
    model.compile("adam", "categorical_crossentropy", ["accuracy"])
    graph = model.graph("train")
    assert [str(v.type) for v in graph.inputs] == ["f32[N,28,28,1]", "f32[N,10]"]
    assert [name for name, _ in graph.outputs] == ["loss", "accuracy"]
    labels = [s.op.label for s, _ in graph.updates]
    assert {"conv2d.kernel", "dense.bias", "random.key", "optimizer.iterations"} <= set(labels)
    assert "optimizer.learning_rate" not in labels and len(labels) == 6 * 3 + 2
    assert {v.origin for v in graph.values()} >= {"conv2d", "dropout", "dense", "loss", "metrics", "optimizer"}
    assert not model.graph("evaluate").updates
    predict = model.graph("predict")
    assert [str(v.type) for v in (*predict.inputs, *(v for _, v in predict.outputs))] == ["f32[N,28,28,1]", "f32[N,10]"]
    assert [s.op.label for s in predict.state] == [w.path.replace("/", ".") for w in model.weights]
    with pytest.raises(ValueError, match="expected 'train'"):
        model.graph("fit")


def test_layers_of_one_name_keep_their_weights_apart():
    def tower():
        return graphc.Sequential([layers.Input((3,)), layers.Dense(3, name="same")])

    inputs = graphc.Input((3,))
    left, right = tower(), tower()
    model = graphc.Model(inputs, layers.Concatenate()([left(inputs), right(inputs)]))
    expected = np.concatenate([left.predict(X, verbose=0), right.predict(X, verbose=0)], 1)
    np.testing.assert_allclose(model.predict(X, verbose=0), expected, rtol=1e-6)
    model.compile("adam", "mse")
    right.trainable = False
    before = left.get_weights()[0], right.get_weights()[0]
    model.fit(X, np.ones((20, 6)), verbose=0)
    np.testing.assert_array_equal(right.get_weights()[0], before[1])
    assert np.abs(left.get_weights()[0] - before[0]).min() > 0
    left.trainable, right.trainable = False, True
    model.fit(X, np.ones((20, 6)), verbose=0)
    assert np.abs(right.get_weights()[0] - before[1]).min() > 0
