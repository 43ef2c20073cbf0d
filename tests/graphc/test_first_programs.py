"""What a Keras user does first: many short programs, with what they print, return and refuse.

Layers of one width, so that few programs are compiled; most run on NumPy.
"""

from __future__ import annotations

import numpy as np
import pytest

import graphc as keras
from graphc import layers, ops

X = np.random.default_rng(0).standard_normal((48, 4))
Y = (X.sum(1) > 0).astype(int)
pytestmark = pytest.mark.usefixtures("reference_backend")


def small(outputs=1, activation="sigmoid", loss="binary_crossentropy", metrics=None, optimizer="adam"):
    model = keras.Sequential([layers.Dense(3, activation="relu", input_shape=(4,)),
                              layers.Dense(outputs, activation=activation)])
    model.compile(optimizer=optimizer, loss=loss, metrics=metrics)
    return model


# ------------------------------------------------------------------------------------------------ what comes back

def test_history_is_made_of_plain_floats():
    history = small(metrics=["accuracy"]).fit(X, Y, epochs=3, validation_split=0.25, verbose=0)
    assert set(history.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert next(iter(history.history)) == "loss" and history.epoch == [0, 1, 2]
    assert all(type(v) is float for values in history.history.values() for v in values)
    assert history.params["epochs"] == 3 and history.params["steps"] == 2


def test_history_can_be_plotted():
    plt = pytest.importorskip("matplotlib", reason="drawing needs matplotlib")
    plt.use("Agg")
    from matplotlib import pyplot

    history = small().fit(X, Y, epochs=2, verbose=0)
    (line,) = pyplot.plot(history.history["loss"])
    assert len(line.get_ydata()) == 2


def test_history_becomes_a_table():
    pandas = pytest.importorskip("pandas", reason="a table needs pandas")
    frame = pandas.DataFrame(small().fit(X, Y, epochs=2, verbose=0).history)
    assert frame["loss"].dtype == np.float64 and len(frame) == 2


def test_evaluate_returns_a_number_or_a_list():
    assert isinstance(small().evaluate(X, Y, verbose=0), float)
    loss, accuracy = small(metrics=["accuracy"]).evaluate(X, Y, verbose=0)
    assert isinstance(loss, float) and 0 <= accuracy <= 1
    assert list(small(metrics=["acc"]).evaluate(X, Y, verbose=0, return_dict=True)) == ["loss", "acc"]


def test_predict_and_its_first_row():
    model = small(3, "softmax", "sparse_categorical_crossentropy")
    predictions = model.predict(X, verbose=0)
    assert type(predictions) is np.ndarray and predictions.dtype == np.float32
    assert model.predict(X)[0].shape == (3,) and np.argmax(predictions, axis=1).shape == (48,)
    np.testing.assert_allclose(model.predict(X[:1], verbose=0), predictions[:1], atol=1e-6)
    np.testing.assert_allclose(model(X), predictions, atol=1e-6)
    np.testing.assert_allclose(model.predict_on_batch(X), predictions, atol=1e-6)
    np.testing.assert_allclose(model.predict([list(map(float, X[0]))], verbose=0)[0], predictions[0], atol=1e-6)


def test_labels_in_any_shape_and_dtype():
    values = [small().evaluate(X, y, verbose=0) for y in (Y, Y[:, None], Y.astype(float), Y.astype(bool), list(Y))]
    model = small()
    values = [model.evaluate(X, y, verbose=0) for y in (Y, Y[:, None], Y.astype(float), Y.astype(bool), list(Y))]
    assert len(set(values)) == 1, "(N,) and (N,1) are the same labels"


def test_data_in_any_memory_order():
    model = small()
    expected = model.predict(X, verbose=0)
    for data in (np.asfortranarray(X), X.astype(">f8"), np.repeat(X, 2, 0)[::2], X.tolist()):
        np.testing.assert_allclose(model.predict(data, verbose=0), expected, atol=1e-6)


def test_frames():
    pandas = pytest.importorskip("pandas", reason="tables need pandas")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    frame["label"] = Y
    model = small(metrics=["accuracy"])
    model.fit(frame[list("abcd")], frame["label"], epochs=1, verbose=0)
    assert model.predict(frame[list("abcd")], verbose=0).shape == (48, 1)


# ------------------------------------------------------------------------------------------------ what is printed

def test_progress_lines(capsys):
    small(metrics=["accuracy"]).fit(X, Y, epochs=2, batch_size=16, validation_split=0.25)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Epoch 1/2" and lines[1].startswith("3/3 [=") and len(lines) == 4
    names = [part.split(":")[0] for part in lines[1].split(" - ")[2:]]
    assert names == ["loss", "accuracy", "val_loss", "val_accuracy"]
    model = small()
    model.fit(X, Y, verbose=0)
    model.evaluate(X, Y, verbose=0)
    model.predict(X, verbose=0)
    assert capsys.readouterr().out == ""
    model.fit(X, Y, verbose=2)
    assert capsys.readouterr().out.count("\n") == 2


def test_summary_text():
    text = []
    model = keras.Sequential([layers.Dense(3, input_shape=(4,)), layers.Dropout(0.5), layers.BatchNormalization()])
    model.summary(print_fn=text.append)
    text = "\n".join(text)
    for part in ('Model: "sequential"', "dense (Dense)", "dropout (Dropout)", "(None, 3)", "Total params: 27",
                 "Trainable params: 21", "Non-trainable params: 6"):
        assert part in text, part
    model.layers[0].trainable = False
    text = []
    model.summary(print_fn=text.append)
    assert "Trainable params: 6" in "\n".join(text)


def test_names_count_up_and_start_again():
    assert [layers.Dense(1).name for _ in range(3)] == ["dense", "dense_1", "dense_2"]
    assert layers.MaxPooling2D().name == "max_pooling2d" and layers.Convolution2D(1, 1).name == "conv2d"
    keras.utils.clear_session()
    assert layers.Dense(1).name == "dense"


def test_weights_show_shape_and_values():
    kernel, bias = keras.Sequential([layers.Dense(2, input_shape=[3])]).weights
    assert "(3, 2)" in f"{kernel}" and bias.numpy().tolist() == [0, 0] and kernel.shape == (3, 2)
    np.testing.assert_array_equal(np.asarray(kernel), kernel.numpy())
    kernel.assign(np.ones((3, 2)))
    assert kernel.numpy().sum() == 6


# ------------------------------------------------------------------------------------------------ what users write

def test_metric_as_a_function():
    def mean_error(y_true, y_pred):
        return ops.mean(y_true - y_pred, axis=-1)

    model = small(loss="mse", activation=None, metrics=[mean_error])
    history = model.fit(X, Y, verbose=0)
    assert list(history.history) == ["loss", "mean_error"]
    found = model.evaluate(X, Y, verbose=0)[1]
    assert found == pytest.approx((Y[:, None] - model.predict(X, verbose=0)).mean(), abs=1e-5)


def test_loss_as_a_function_and_as_a_lambda():
    def own(y_true, y_pred):
        return ops.mean(ops.square(y_true - y_pred), axis=-1)

    same = small(loss="mse", activation=None)
    model = small(loss=own, activation=None)
    model.set_weights(same.get_weights())
    for loss in (own, lambda y_true, y_pred: ops.mean((y_true - y_pred) ** 2, axis=-1)):
        model.compile("adam", loss=loss)
        assert model.evaluate(X, Y, verbose=0) == pytest.approx(same.evaluate(X, Y, verbose=0), rel=1e-5)
        model.fit(X, Y, verbose=0)
        model.set_weights(same.get_weights())


def test_loss_by_the_old_backend():
    K = keras.backend

    def own(y_true, y_pred):
        return K.mean(K.square(K.clip(y_pred, K.epsilon(), 1.0) - y_true), axis=-1)

    assert small(loss=own).fit(X, Y, verbose=0).history["loss"][0] > 0
    assert K.get_value(K.variable([1, 2])).tolist() == [1, 2] and K.int_shape(keras.Input((3,))) == (None, 3)
    np.testing.assert_allclose(K.l2_normalize(np.array([[3.0, 4.0]]), -1), [[0.6, 0.8]], rtol=1e-6)
    with pytest.raises(AttributeError, match="Did you mean 'square'"):
        K.squares  # noqa: B018


def test_callbacks_as_lambdas_and_classes():
    seen = []

    class Own(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append((epoch, sorted(logs), self.params["epochs"], self.model.name))
            if epoch == 1:
                self.model.stop_training = True

    epochs = []
    print_epoch = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: epochs.append(logs["loss"]))
    history = small().fit(X, Y, epochs=5, verbose=0, callbacks=[Own(), print_epoch])
    assert seen == [(0, ["loss"], 5, "sequential"), (1, ["loss"], 5, "sequential")]
    assert epochs == history.history["loss"]


def test_early_stopping_restores_the_best():
    model = small(optimizer=keras.optimizers.SGD(50.0), loss="mse", activation=None)
    stop = keras.callbacks.EarlyStopping(monitor="loss", patience=1, restore_best_weights=True)
    history = model.fit(X, Y, epochs=20, verbose=0, callbacks=[stop])
    assert len(history.epoch) < 20


def test_learning_rate_without_a_new_program():
    model = small(optimizer=keras.optimizers.Adam(learning_rate=0.1))
    model.fit(X, Y, verbose=0)
    before = keras.runtime.counters()["programs_compiled"]
    model.optimizer.learning_rate = 0.01
    model.fit(X, Y, verbose=0)
    keras.backend.set_value(model.optimizer.learning_rate, 0.001)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.001)
    assert keras.runtime.counters()["programs_compiled"] == before


def test_compile_twice_keeps_weights_and_forgets_the_optimizer():
    model = small()
    model.fit(X, Y, verbose=0)
    weights = model.get_weights()
    model.compile("sgd", "mse", metrics=["mae"])
    assert all(np.array_equal(a, b) for a, b in zip(weights, model.get_weights(), strict=True))
    assert int(model.optimizer.iterations) == 0
    assert list(model.fit(X, Y, verbose=0).history) == ["loss", "mae"]


def test_fit_twice_goes_on():
    model = small()
    first = model.fit(X, Y, epochs=3, verbose=0)
    second = model.fit(X, Y, epochs=5, initial_epoch=3, verbose=0)
    assert second.epoch == [3, 4] and second.history["loss"][-1] < first.history["loss"][0]


def test_same_seed_same_numbers():
    runs = []
    for _ in range(2):
        keras.utils.set_random_seed(11)
        model = keras.Sequential([layers.Dense(3, input_shape=(4,)), layers.Dropout(0.3), layers.Dense(1)])
        model.compile("adam", "mse")
        runs.append(model.fit(X, Y, epochs=2, verbose=0).history["loss"])
    assert runs[0] == runs[1]


def test_models_in_a_loop_do_not_meet():
    losses = []
    for _ in range(3):
        keras.utils.clear_session()
        keras.utils.set_random_seed(1)
        losses.append(small().fit(X, Y, verbose=0).history["loss"])
    assert losses[0] == losses[1] == losses[2]


def test_freezing_a_layer():
    model = small()
    model.layers[0].trainable = False
    model.compile("adam", "mse")
    frozen, trained = (layer.get_weights()[0] for layer in model.layers)
    model.fit(X, Y, verbose=0)
    assert np.array_equal(model.layers[0].get_weights()[0], frozen)
    assert not np.array_equal(model.layers[1].get_weights()[0], trained)


def test_features_of_an_inner_layer():
    model = small()
    inner = keras.Model(model.inputs, model.layers[0].output)
    assert inner.predict(X, verbose=0).shape == (48, 3)
    assert model.get_layer("dense").name == "dense" and model.get_layer(index=1).units == 1


def test_class_weights_and_sample_weights():
    model = small()
    plain = model.evaluate(X, Y, verbose=0)
    halved = model.evaluate(X, Y, sample_weight=np.full(48, 0.5), verbose=0)
    assert halved == pytest.approx(plain / 2, rel=1e-5)
    assert model.fit(X, Y, class_weight={0: 1.0, 1: 3.0}, verbose=0).history["loss"][0] > plain


def test_generators_and_sequences():
    def batches():
        while True:
            yield X[:16], Y[:16]

    class Rows(keras.utils.Sequence):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return X[16 * index:16 * index + 16], Y[16 * index:16 * index + 16]

    model = small()
    assert len(model.fit(batches(), steps_per_epoch=4, epochs=2, verbose=0).history["loss"]) == 2
    model.fit(Rows(), verbose=0)
    assert model.predict(Rows(), verbose=0).shape == (48, 1)
    flow = keras.preprocessing.image.ImageDataGenerator(horizontal_flip=True).flow(np.ones((8, 4, 4, 1)), np.zeros(8))
    images = keras.Sequential([layers.Flatten(input_shape=(4, 4, 1)), layers.Dense(1)])
    images.compile("sgd", "mse")
    assert len(images.fit(flow, epochs=2, verbose=0).history["loss"]) == 2
    series = keras.utils.timeseries_dataset_from_array(X, Y, 5, batch_size=8)
    steps = keras.Sequential([layers.Flatten(input_shape=(5, 4)), layers.Dense(1)])
    steps.compile("sgd", "mse")
    steps.fit(series, validation_data=series, verbose=0)
    assert steps.predict(series.map(lambda x, y: x), verbose=0).shape == (44, 1)


def test_own_classes_are_found_in_files(tmp_path):
    @keras.utils.register_keras_serializable("mine")
    class Twice(layers.Layer):
        def call(self, inputs):
            return inputs * 2

    @keras.utils.register_keras_serializable("mine")
    def shifted(x):
        return x + 1

    model = keras.Sequential([Twice(input_shape=(4,)), layers.Dense(2, activation=shifted)])
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(loaded.predict(X, verbose=0), model.predict(X, verbose=0), atol=1e-6)
    assert keras.utils.get_registered_name(Twice) == "mine>Twice"
    assert keras.utils.get_registered_object("mine>Twice") is Twice
    with keras.utils.custom_object_scope({"Twice": Twice}):
        assert keras.utils.get_custom_objects()["Twice"] is Twice
    assert "Twice" not in keras.utils.get_custom_objects()
    with pytest.raises(ValueError, match="get_config"):
        keras.utils.register_keras_serializable()(type("Bare", (), {}))


def test_architectures_as_text():
    a = keras.Input((4,), name="a")
    branch = keras.Model(a, layers.Add()([layers.Dense(4)(a), a]))
    for model in (small(), branch):
        again = keras.models.model_from_json(model.to_json(indent=1))
        assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
        again.set_weights(model.get_weights())
        np.testing.assert_allclose(again.predict(X, verbose=0), model.predict(X, verbose=0), atol=1e-6)
    described = keras.saving.serialize_keras_object({"loss": keras.losses.Huber(2.0), "parts": [layers.Dense(3), 1]})
    found = keras.utils.deserialize_keras_object(described)
    assert found["loss"].delta == 2.0 and found["parts"][0].units == 3 and found["parts"][1] == 1
    assert isinstance(keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(
        keras.metrics.MeanSquaredError())), keras.metrics.Metric)
    with pytest.raises(ValueError, match="no layer class 'Spiral'"):
        keras.saving.deserialize_keras_object({"class_name": "Spiral", "config": {}})


# ------------------------------------------------------------------------------------------------ what is refused

REFUSED = {
    "a loss that isn't there": (lambda: small(loss="mean_square_error"), "Did you mean 'mean_squared_error'"),
    "an optimizer that isn't there": (lambda: small(optimizer="adm"), "Did you mean 'adam'"),
    "an activation that isn't there": (lambda: layers.Dense(1, activation="rleu"), "Did you mean 'relu'"),
    "a metric that isn't there": (lambda: small(metrics=["acuracy"]), "Did you mean 'accuracy'"),
    "an argument that isn't there": (lambda: layers.Dense(1, activations="relu"), "Did you mean 'activation'"),
    "a layer without parentheses": (lambda: keras.Sequential([layers.Flatten]), "with parentheses"),
    "units that aren't a number": (lambda: layers.Dense("ten"), "units"),
    "fit before compile": (lambda: keras.Sequential([layers.Dense(1)]).fit(X, Y), "not compiled"),
    "rows that don't match": (lambda: small().fit(X, Y[:40], verbose=0), "48 rows in x and 40 in y"),
    "another number of features": (lambda: small().fit(X[:, :3], Y, verbose=0), r"expected \[N,4\]"),
    "words for numbers": (lambda: small().fit(np.array([["a"] * 4] * 48), Y, verbose=0), "numbers"),
    "class numbers for one-hot labels": (
        lambda: small(3, "softmax", "categorical_crossentropy").fit(X, Y, verbose=0), "sparse_categorical"),
    "a class that has no output": (
        lambda: small(3, "softmax", "sparse_categorical_crossentropy").fit(X, Y + 5, verbose=0), "expected 0 to 2"),
    "all rows for validation": (lambda: small().fit(X, Y, validation_split=1.0, verbose=0), "validation_split"),
    "no epochs": (lambda: small().fit(X, Y, epochs=-1), "epochs"),
    "a layer that isn't there": (lambda: small().get_layer("dense_9"), "Layers: dense, dense_1"),
    "weights of another shape": (lambda: small().set_weights([np.ones((2, 2))] * 4), "set_weights"),
    "an argument that fit doesn't have": (lambda: small().fit(X, Y, nb_epoch=2), "Did you mean 'epochs'"),
    "an argument that compile doesn't have": (lambda: small().compile("sgd", "mse", metric=["mae"]), "'metrics'"),
    "a layer that isn't called": (lambda: layers.Dense(1)(layers.Dense(2)), "<Dense name=dense_1"),
    "a callback's class": (
        lambda: small().fit(X, Y, callbacks=[keras.callbacks.EarlyStopping]), r"EarlyStopping\(\.\.\.\)"),
    "a loss without a return": (lambda: small(loss=lambda y, p: None).fit(X, Y), "gave None, expected numbers"),
    "a metric that gives text": (lambda: small(metrics=[lambda y, p: "a"]).fit(X, Y), "gave 'a', expected numbers"),
    "rows of different lengths": (lambda: small().fit([[1, 2], [3]], [0, 1]), r"part\. Pad or cut"),
    "a recurrent layer that has only the last output before it": (
        lambda: keras.Sequential([layers.Input((5, 2)), layers.LSTM(3), layers.LSTM(3)]), "return_sequences=True"),
    "a file that isn't there": (lambda: keras.models.load_model("nowhere.keras"), "nowhere.keras"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case):
    program, message = REFUSED[case]
    with pytest.raises((ValueError, TypeError, OSError), match=message):
        program()


def test_methods_of_older_releases():
    with pytest.raises(AttributeError, match="fit takes generators"):
        _ = small().fit_generator
    assert not hasattr(small(), "quantize")


def test_variables_of_ones_own(tmp_path):
    """They belong to the layer that holds them, as in Keras: trained, counted and saved."""
    class Scaled(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.scales = [keras.Variable("ones", shape=(4,), name="scale")]

        def build(self, input_shape):
            self.calls_seen = keras.Variable(0, trainable=False)

        def call(self, x):
            self.calls_seen.assign_add(1)
            return x * self.scales[0]

    model = keras.Sequential([layers.Input((4,)), Scaled(name="scaled"), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(X, Y, epochs=2, verbose=0)
    scaled = model.layers[0]
    assert scaled.weights[0].path == "scale" and scaled.calls_seen == 4  # two epochs of two batches
    assert len(model.trainable_weights) == 3 and (scaled.scales[0] != 1).all() and model.count_params() == 10
    model.save(tmp_path / "model.keras")
    same = keras.models.load_model(tmp_path / "model.keras", custom_objects={"Scaled": Scaled})
    assert np.array_equal(same.layers[0].scales[0], scaled.scales[0])
    assert [keras.Variable(v).dtype.name for v in (1, 1.5, np.ones(2), np.int64(1))] == ["i32", "f32", "f32", "i64"]
    with pytest.raises(ValueError, match="needs a shape"):
        keras.Variable("zeros")


def test_a_loss_that_is_not_finite_is_told_once():
    with pytest.warns(UserWarning, match="the loss is nan in epoch 1") as told:
        small().fit(X * np.nan, Y, epochs=3, verbose=0)
    assert len(told) == 1


def test_elements_are_compared_by_equality():
    def focal(labels, p):
        right = ops.where(labels == 1, p, 1 - p)
        return -ops.mean((1 - right) ** 2 * ops.log(right), -1)

    def hits(labels, p):
        return ops.mean(ops.cast(labels, "bool") == (p > 0.5), -1)

    model = small(loss=focal, metrics=[hits, "accuracy"])
    loss, hit, accuracy = model.evaluate(X, Y, verbose=0)
    p = np.where(Y == 1, *((p := model.predict(X, verbose=0)[:, 0]), 1 - p))
    assert np.isclose(loss, -np.mean((1 - p) ** 2 * np.log(p))) and hit == pytest.approx(accuracy)


def test_a_failed_fit_leaves_the_model_usable():
    model = small(3, "softmax", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="expected 0 to 2"):
        model.fit(X, Y + 5, verbose=0)
    model.fit(X, Y, verbose=0)
    assert np.isfinite(model.predict(X, verbose=0)).all()
