"""compile, fit, evaluate, predict: what they return, what they refuse, what they leave behind."""

from __future__ import annotations

import re
import tracemalloc

import numpy as np
import pytest

import graphc
from graphc import callbacks, data, layers, ops
from graphc.ir.errors import DTypeError, ShapeError
from graphc.runtime import counters
from graphc.sources import rows


def regression(units=1, **options):
    model = graphc.Sequential([layers.Dense(units, input_shape=(3,))])
    model.compile(**({"optimizer": "sgd", "loss": "mse"} | options))
    return model


def classifier(loss="sparse_categorical_crossentropy", metrics=("accuracy",)):
    model = graphc.Sequential([layers.Dense(4, activation="softmax", input_shape=(3,))])
    model.compile("adam", loss, list(metrics))
    return model


X = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
Y = X @ np.array([1.0, -2.0, 0.5], np.float32) + 3


def test_history():
    model = classifier()
    classes = np.arange(50) % 4
    history = model.fit(X, classes, batch_size=8, epochs=4, initial_epoch=1, validation_split=0.2, verbose=0)
    assert list(history.history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert all(len(v) == 3 and all(type(n) is float for n in v) for v in history.history.values())
    assert history.epoch == [1, 2, 3] and history.params == {"verbose": 0, "epochs": 4, "steps": 5}
    assert model.history is history


def test_linear_regression_is_learnt():
    model = regression()
    model.compile(graphc.optimizers.SGD(0.1), "mse", ["mae"])
    model.fit(X, Y, epochs=60, verbose=0)
    kernel, bias = model.weights
    np.testing.assert_allclose(kernel.numpy().ravel(), [1, -2, 0.5], atol=1e-2)
    np.testing.assert_allclose(bias.numpy(), [3], atol=1e-2)
    assert model.evaluate(X, Y, verbose=0)[1] < 0.02


def test_epoch_loss_weighs_batches_by_their_rows():
    model = regression()
    model.set_weights([np.zeros((3, 1)), np.zeros(1)])
    y = np.array([0, 0, 0, 0, 10.0])
    assert model.evaluate(X[:5], y, batch_size=4, verbose=0) == pytest.approx(20)


def test_accuracy_is_exact_over_uneven_batches():
    model = classifier()
    y = model.predict(X, verbose=0).argmax(1)
    y[:7] = (y[:7] + 1) % 4
    assert model.evaluate(X, y, batch_size=16, verbose=0)[1] == 43 / 50


def test_evaluate_returns_number_list_or_dict():
    assert isinstance(regression().evaluate(X, Y, verbose=0), float)
    model = classifier()
    results = model.evaluate(X, np.zeros(50), verbose=0)
    assert isinstance(results, list) and len(results) == 2
    assert list(model.evaluate(X, np.zeros(50), verbose=0, return_dict=True)) == ["loss", "accuracy"]
    assert isinstance(regression().train_on_batch(X, Y), float)
    assert model.test_on_batch(X, np.zeros(50), return_dict=True).keys() == {"loss", "accuracy"}


def test_predict():
    model = regression(units=2)
    whole = model.predict(X, verbose=0)
    kernel, bias = model.get_weights()
    np.testing.assert_allclose(whole, X @ kernel + bias, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(model.predict(X, batch_size=7, verbose=0).shape, whole.shape)
    np.testing.assert_allclose(model.predict(X, batch_size=7, verbose=0), whole, rtol=1e-6)
    empty = model.predict(X[:0], verbose=0)
    assert empty.shape == (0, 2) and empty.dtype == np.float32
    assert model(X[:0]).shape == (0, 2)
    np.testing.assert_allclose(model(X), whole, rtol=1e-6)
    np.testing.assert_allclose(model.predict_on_batch(X[:3]), whole[:3], rtol=1e-6)


def test_predict_result_is_the_callers():
    model = graphc.Sequential([graphc.Input((3,)), layers.Activation("linear")])
    x = X.copy()
    model.predict(x, verbose=0)[:] = 7
    model(x)[:] = 7
    np.testing.assert_array_equal(x, X)


def test_steps_run_together_where_nobody_listens(monkeypatch):
    def calls(seconds, **options):
        monkeypatch.setattr(data, "TOGETHER", seconds)
        model = regression()
        before = counters()["native_calls"]
        model.fit(X, Y, batch_size=8, epochs=2, verbose=0, **options)
        return counters()["native_calls"] - before

    assert calls(1e9) == 1 + 1 + 1 + 2  # the first batch tells the time; 5 more; the 2 rows that are left; epoch two
    assert calls(0.0) == 14
    listener = callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None)
    assert calls(1e9, callbacks=[listener]) == 14
    assert calls(1e9, callbacks=[callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: None)]) == 5
    model = regression()
    model.fit(X, Y, verbose=0)
    for seconds, expected in ((1e9, 3), (0.0, 7)):
        monkeypatch.setattr(data, "TOGETHER", seconds)
        for run in (lambda: model.evaluate(X, Y, 8, 0), lambda: model.predict(X, 8, 0)):
            before = counters()["native_calls"]
            run()
            assert counters()["native_calls"] - before == expected


@pytest.mark.parametrize("seconds", [0.0, 1e9])
@pytest.mark.parametrize("form", ["f32", "f64", "strided"])
def test_fit_is_a_loop_of_train_on_batch(form, seconds, monkeypatch):
    """Bit for bit: the order of rows, the averages, the weights, dropout."""
    def make():
        graphc.utils.clear_session()
        graphc.utils.set_random_seed(3)
        model = graphc.Sequential([layers.Dense(8, activation="relu", input_shape=(3,)), layers.Dropout(0.3),
                                   layers.Dense(4, activation="softmax")])
        model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
        return model

    monkeypatch.setattr(data, "TOGETHER", seconds)
    monkeypatch.setattr(rows, "PART", 16 * 20)  # two batches
    x = {"f32": X, "f64": X.astype(np.float64), "strided": np.repeat(X, 2, axis=1)[:, ::2]}[form]
    classes = np.arange(50) % 4
    model = make()
    history = model.fit(x, classes, batch_size=8, epochs=3, verbose=0).history
    other = make()
    for epoch in range(3):
        order, loss, hits = np.random.permutation(50), 0.0, 0.0
        for at in (order[i:i + 8] for i in range(0, 50, 8)):
            one, accuracy = other.train_on_batch(X[at], classes[at])
            loss, hits = loss + one * len(at), hits + round(accuracy * len(at))
        assert history["loss"][epoch] == loss / 50 and history["accuracy"][epoch] == hits / 50
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "uint8", "float64"])
def test_data_are_not_copied(dtype):
    """However large: `fit`, `evaluate` and `predict` allocate less than one copy in float32."""
    number, columns = 20_000, 500
    x = np.zeros((number, columns), dtype)
    model = graphc.Sequential([layers.Dense(1, input_shape=(columns,))])
    model.compile("sgd", "mse")
    y = np.zeros((number, 1), np.float32)
    model.fit(x[:64], y[:64], verbose=0)
    model.predict(x[:64], verbose=0)
    tracemalloc.start()
    try:
        model.fit(x, y, batch_size=100, validation_split=0.1, verbose=0)
        model.evaluate(x, y, batch_size=100, verbose=0)
        model.predict(x, batch_size=100, verbose=0)
        assert tracemalloc.get_traced_memory()[1] < number * columns * 4 / 2
    finally:
        tracemalloc.stop()


def test_one_row_is_one_native_call_and_no_batches(monkeypatch):
    model = regression()
    model.predict(X, verbose=0)
    before = counters()["native_calls"]
    monkeypatch.setattr("graphc.epochs.open_source", None)
    row = model.predict_on_batch(X[:1])
    assert counters()["native_calls"] == before + 1 and row.shape == (1, 1)
    assert model.predict_on_batch(X[:0]).shape == (0, 1)
    np.testing.assert_array_equal(model.predict_on_batch(X[:1].astype(np.float64)), row)
    np.testing.assert_array_equal(model.predict_on_batch([X[0].tolist()]), row)
    with pytest.raises(ShapeError, match=r"predict_on_batch of 'sequential.*add the batch axis"):
        model.predict_on_batch(X[0])


def test_one_program_serves_every_batch_size():
    model = regression()
    model.fit(X, Y, batch_size=8, verbose=0)
    program = {k: v[1] for k, v in model._programs.items()}
    model.fit(X, Y, batch_size=50, verbose=0)
    model.fit(X[:5], Y[:5], batch_size=2, verbose=0)
    assert {k: v[1] for k, v in model._programs.items()} == program


def test_learning_rate_changes_without_a_new_program():
    model = regression()
    model.train_on_batch(X, Y)
    programs = dict(model._programs)
    model.optimizer.learning_rate = 0
    before = model.get_weights()
    model.train_on_batch(X, Y)
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))
    model.optimizer.learning_rate.assign(0.5)
    model.train_on_batch(X, Y)
    assert not np.array_equal(before[0], model.get_weights()[0]) and model._programs == programs


def test_compile_again_keeps_weights_and_forgets_the_optimizer():
    model = regression(optimizer="adam")
    model.fit(X, Y, verbose=0)
    optimizer, weights = model.optimizer, model.get_weights()
    assert int(optimizer.iterations) == 2 and len(optimizer.variables) == 6
    model.compile(optimizer, "mse")
    assert int(model.optimizer.iterations) == 0 and len(model.optimizer.variables) == 2
    np.testing.assert_array_equal(model.get_weights()[0], weights[0])
    first = regression(optimizer="adam")
    first.set_weights(weights)
    assert model.train_on_batch(X, Y) == first.train_on_batch(X, Y)
    np.testing.assert_array_equal(model.get_weights()[0], first.get_weights()[0])


def test_shuffling_follows_the_numpy_seed():
    def weights(seed, **options):
        model = regression()
        model.set_weights([np.ones((3, 1)), np.zeros(1)])
        np.random.seed(seed)
        model.fit(X, Y, batch_size=4, epochs=2, verbose=0, **options)
        return model.get_weights()[0]

    np.testing.assert_array_equal(weights(1), weights(1))
    assert not np.array_equal(weights(1), weights(2))
    np.testing.assert_array_equal(weights(1, shuffle=False), weights(2, shuffle=False))


def test_validation_split_is_the_last_part():
    model = regression(optimizer=graphc.optimizers.SGD(0.0))
    history = model.fit(X, Y, validation_split=0.3, epochs=1, verbose=0)
    assert history.history["val_loss"][0] == pytest.approx(model.evaluate(X[35:], Y[35:], verbose=0), rel=1e-6)
    assert history.history["loss"][0] == pytest.approx(model.evaluate(X[:35], Y[:35], verbose=0), rel=1e-5)


def test_forms_of_data():
    model = regression()
    model.optimizer.learning_rate = 0
    expected = model.evaluate(X, Y, verbose=0)
    strided = np.repeat(X, 2, axis=1)[:, ::2]
    assert not strided.flags.c_contiguous
    forms = [(X.astype(np.float64), Y[:, None]), (np.asfortranarray(X), list(Y)), (X.tolist(), Y.astype(np.float16)),
             ([X], Y), (strided, Y), (X.astype(object), Y)]
    for x, y in forms:
        assert model.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=1e-2)
        assert model.fit(x, y, verbose=0).history["loss"][0] == pytest.approx(expected, rel=1e-2)
    integers = np.arange(30).reshape(10, 3)
    floats = integers.astype(np.float32)
    np.testing.assert_array_equal(model.predict(integers, verbose=0), model.predict(floats, verbose=0))


def test_images_without_channels():
    model = graphc.Sequential([layers.Conv2D(2, 3, input_shape=(5, 5, 1)), layers.Flatten()])
    x = np.random.default_rng(0).integers(0, 255, (4, 5, 5), np.uint8)
    np.testing.assert_array_equal(model.predict(x, verbose=0), model.predict(x[..., None], verbose=0))


@pytest.mark.parametrize(("make", "x", "y", "message"), [
    (regression, X, Y[:10], "50 rows in x and 10 in y"),
    (regression, X[:, :2], Y, "f32[50,2], expected [N,3]"),
    (regression, X[0], Y[:1], "add the batch axis"),
    (regression, X, np.zeros((50, 4)), "f64[50,4], expected [N,1]"),
    (regression, np.full((50, 3), "a"), Y, "Encode text"),
    (regression, X, None, "received as y None"),
    (regression, X[:0], Y[:0], "no rows"),
    (regression, [[1, 2, 3], [1, 2]], Y[:2], "different lengths"),
    (classifier, X, np.full(50, 4), "the class 4, expected 0 to 3"),
    (classifier, X, np.full(50, -1), "the class -1, expected 0 to 3"),
    (classifier, X, np.full(100, -128, np.int8)[::2], "the class -128, expected 0 to 3"),
    (classifier, X, np.full(50, -1, ">i4"), "the class -1, expected 0 to 3"),
    (classifier, X, np.full(50, np.nan), "the class nan, expected 0 to 3"),
    (classifier, X, np.full(50, 0.5), "0.5 as a class"),
    (classifier, X, np.eye(4)[np.zeros(50, int)], "categorical_crossentropy"),
    (lambda: classifier("categorical_crossentropy"), X, np.zeros(50, int), "to_categorical(y, 4)"),
    (lambda: classifier("categorical_crossentropy"), X, np.zeros((50, 3)), "f64[50,3], expected [N,4]"),
])
def test_wrong_data(make, x, y, message):
    model = make()
    before = model.get_weights()
    with pytest.raises((ValueError, DTypeError), match=re.escape(message)):
        model.fit(x, y, verbose=0)
    assert not model._programs, "errors come before anything is traced"
    good = np.zeros(50) if "categorical" in model.loss.name else Y
    if model.loss.name == "categorical_crossentropy":
        good = graphc.utils.to_categorical(good, 4)
    assert np.isfinite(model.fit(X, good, verbose=0).history["loss"][0]), "a failed fit leaves the model usable"
    assert not np.array_equal(before[0], model.get_weights()[0])


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"batch_size": 2.5}, {"epochs": -1}, {"verbose": 3},
                                     {"validation_split": 1.0}, {"validation_split": 0.999}, {"validation_data": (X,)},
                                     {"validation_data": (X, Y[:3])}])
def test_wrong_arguments(options):
    with pytest.raises(ValueError, match=r"expected|must|positive|received"):
        regression().fit(X, Y, **({"verbose": 0} | options))


@pytest.mark.parametrize(("arguments", "message"), [
    ({"optimizer": "adm", "loss": "mse"}, "Did you mean 'adam'"),
    ({"optimizer": "adam", "loss": "mean_square_error"}, "Did you mean 'mean_squared_error'"),
    ({"optimizer": "adam", "loss": "mse", "metrics": ["acuracy"]}, "Did you mean 'accuracy'"),
])
def test_compile_refuses_unknown_names(arguments, message):
    model = graphc.Sequential([layers.Dense(1, input_shape=(3,))])
    with pytest.raises(ValueError, match=message):
        model.compile(**arguments)


def test_not_compiled():
    model = graphc.Sequential([layers.Dense(1, input_shape=(3,))])
    with pytest.raises(ValueError, match="not compiled"):
        model.fit(X, Y)
    assert model.predict(X, verbose=0).shape == (50, 1)
    model.compile("adam")
    with pytest.raises(ValueError, match="without a loss"):
        model.fit(X, Y)


def test_zero_epochs():
    history = regression().fit(X, Y, epochs=0, verbose=0)
    assert history.history == {} and history.epoch == []


@pytest.mark.parametrize(("units", "activation", "loss", "y", "kind"), [
    (1, "sigmoid", "binary_crossentropy", np.arange(50) % 2, "BinaryAccuracy"),
    (4, "softmax", "sparse_categorical_crossentropy", np.arange(50) % 4, "SparseCategoricalAccuracy"),
    (4, "softmax", "categorical_crossentropy", np.eye(4)[np.arange(50) % 4], "CategoricalAccuracy"),
])
def test_accuracy_follows_the_shapes(units, activation, loss, y, kind):
    model = graphc.Sequential([layers.Dense(units, activation=activation, input_shape=(3,))])
    model.compile("adam", loss, ["acc"])
    loss_value, accuracy = model.evaluate(X, y, verbose=0)
    (key,) = model._programs
    assert type(model._programs[key][0].metrics[0][0]).__name__ == kind
    p = model.predict(X, verbose=0)
    hits = (p[:, 0] > 0.5) == y if units == 1 else p.argmax(1) == (y if y.ndim == 1 else y.argmax(1))
    assert accuracy == hits.mean() and loss_value > 0


def test_own_loss_and_metric():
    def cubic(y_true, y_pred):
        return ops.mean(ops.absolute(y_true - y_pred) ** 3, axis=-1)

    def bias(y_true, y_pred):
        return ops.mean(y_pred - y_true, axis=-1)

    model = regression(loss=cubic, metrics=[bias, graphc.metrics.RootMeanSquaredError(), "mse"])
    error = model.predict(X, verbose=0)[:, 0] - Y
    results = model.evaluate(X, Y, verbose=0, batch_size=8, return_dict=True)
    square = (error**2).mean()
    expected = {"loss": (abs(error) ** 3).mean(), "bias": error.mean(), "root_mean_squared_error": np.sqrt(square),
                "mse": square}
    assert list(results) == list(expected)
    assert results == pytest.approx(expected, rel=1e-4)


def test_sample_weights_multiply_losses_and_not_metrics():
    model = regression(metrics=["mse"])
    error = (model.predict(X, verbose=0)[:, 0] - Y) ** 2
    weights = np.arange(50) % 3
    loss, mse = model.evaluate(X, Y, batch_size=8, sample_weight=weights, verbose=0)
    assert loss == pytest.approx((weights * error).mean(), rel=1e-4) and mse == pytest.approx(error.mean(), rel=1e-4)
    model.set_weights([np.zeros((3, 1)), np.zeros(1)])
    model.fit(X, Y, sample_weight=np.zeros(50), verbose=0)
    assert (model.get_weights()[0] == 0).all()
    history = model.fit(X, Y, verbose=0, validation_data=(X, Y, np.zeros(50)), validation_split=0.1).history
    assert history["val_loss"] == [0.0]
    with pytest.raises(ShapeError, match="each of the 50 rows"):
        model.fit(X, Y, sample_weight=[1, 2], verbose=0)


def test_class_weights():
    classes = np.arange(50) % 4
    by_class = {0: 2.0, 3: 0.0}
    table = np.array([2.0, 1.0, 1.0, 0.0])
    for loss, y in (("sparse_categorical_crossentropy", classes), ("categorical_crossentropy", np.eye(4)[classes])):
        model = classifier(loss)
        before = model.get_weights()
        got = model.train_on_batch(X, y, class_weight=by_class)[0]
        model.set_weights(before)
        assert got == pytest.approx(model.test_on_batch(X, y, sample_weight=table[classes])[0], rel=1e-6)
        assert got != pytest.approx(model.test_on_batch(X, y)[0], rel=1e-3)
    with pytest.raises(ValueError, match="both"):
        model.fit(X, y, class_weight=by_class, sample_weight=np.ones(50))


def test_precision_and_recall_count_over_the_epoch():
    model = graphc.Sequential([layers.Dense(1, activation="sigmoid", input_shape=(3,))])
    model.compile("adam", "binary_crossentropy", [graphc.metrics.Precision(), "recall"])
    y = (Y > 3).astype(int)
    _, precision, recall = model.evaluate(X, y, batch_size=7, verbose=0)
    p = model.predict(X, verbose=0)[:, 0] > 0.5
    assert precision == (p & (y == 1)).sum() / p.sum() and recall == (p & (y == 1)).sum() / y.sum()


def test_saturated_softmax_keeps_learning():
    model = graphc.Sequential([layers.Dense(2, activation="softmax", input_shape=(1,))])
    model.compile(graphc.optimizers.SGD(1.0), "sparse_categorical_crossentropy")
    model.set_weights([np.zeros((1, 2)), np.array([0.0, 5.0])])
    losses = model.fit(np.ones((8, 1)), np.zeros(8, int), epochs=30, verbose=0).history["loss"]
    assert losses[0] == pytest.approx(5.0067, abs=1e-3) and losses[-1] < 0.1


def test_frozen_layer():
    model = graphc.Sequential([layers.Dense(4, input_shape=(3,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.train_on_batch(X, Y)
    model.layers[0].trainable = False
    before = model.get_weights()
    model.train_on_batch(X, Y)
    same = [np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert same == [True, True, False, False]


def test_callbacks_hear_everything():
    heard = []

    class Ear(callbacks.Callback):
        def on_train_begin(self, logs=None):
            heard.append("begin")

        def on_epoch_begin(self, epoch, logs=None):
            heard.append(epoch)

        def on_batch_end(self, batch, logs=None):
            heard.append((batch, round(logs["loss"], 3)))

        def on_epoch_end(self, epoch, logs=None):
            heard.append(sorted(logs))

        def on_test_end(self, logs=None):
            heard.append("tested")

        def on_train_end(self, logs=None):
            heard.append("end")

    ear = Ear()
    model = regression()
    model.fit(X[:10], Y[:10], batch_size=6, callbacks=[ear], validation_data=(X, Y), verbose=0)
    assert [h if not isinstance(h, tuple) else h[0] for h in heard] == [
        "begin", 0, 0, 1, "tested", ["loss", "val_loss"], "end"]
    assert ear.model is model and ear.params["steps"] == 2
    said = []
    speak = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: said.append(epoch))
    model.fit(X, Y, epochs=2, verbose=0, callbacks=[speak])
    assert said == [0, 1]


def test_early_stopping_restores_the_best_weights():
    model = regression()
    model.set_weights([np.array([[1.0], [-2], [0.5]]), np.array([3.0])])  # right already: any change is for the worse
    model.optimizer.learning_rate = 0.0
    stop = callbacks.EarlyStopping(monitor="loss", patience=2, restore_best_weights=True)
    schedule = callbacks.LearningRateScheduler(lambda epoch: 0.0 if epoch < 2 else 2.0)
    noise = np.random.default_rng(1).standard_normal(50).astype(np.float32)
    history = model.fit(X, Y + noise, epochs=20, verbose=0, callbacks=[schedule, stop])
    assert len(history.epoch) == stop.stopped_epoch + 1 < 20
    np.testing.assert_array_equal(model.get_weights()[0], [[1], [-2], [0.5]])


def test_progress_on_a_file(capsys):
    regression(metrics=["mae"]).fit(X, Y, epochs=2, batch_size=10)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Epoch 1/2" and lines[2] == "Epoch 2/2" and len(lines) == 4
    assert re.fullmatch(r"5/5 \[=+\] - \d+s \d+[mu]?s/step - loss: \d+\.\d{4} - mae: \d+\.\d{4}", lines[1])
    regression().fit(X, Y, verbose=2, batch_size=10)
    assert re.search(r"^5/5 - 0s - \d+[mu]?s/step - loss: ", capsys.readouterr().out.splitlines()[1])
    regression().fit(X, Y, verbose=0)
    assert capsys.readouterr().out == ""


def test_progress_on_a_terminal(monkeypatch):
    import io
    import sys

    from graphc import progress

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(progress, "_PAUSE", -1.0)
    monkeypatch.setattr(data, "TOGETHER", 0.0)
    regression().fit(X, Y, batch_size=10, verbose=1)
    text = out.getvalue()
    assert text.count("\r") == 6 and "\b" not in text and text.endswith("\n") and "ETA" in text


def test_numbers_do_not_depend_on_the_progress_line(capsys):
    def loss(verbose):
        graphc.utils.set_random_seed(5)
        return regression().fit(X, Y, batch_size=10, epochs=2, verbose=verbose).history["loss"]

    assert loss(0) == loss(1) == loss(2)


def test_class_weights_are_not_for_the_rows_that_validation_keeps(rng):
    x, y = rng.normal(size=(20, 3)).astype("f"), np.arange(20) % 2
    model = graphc.Sequential([layers.Dense(2, activation="softmax", input_shape=(3,))])
    model.compile(graphc.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    history = model.fit(x, y, verbose=0, validation_split=0.25, class_weight={0: 3.0, 1: 5.0}).history
    assert history["val_loss"] == pytest.approx([model.evaluate(x[15:], y[15:], verbose=0)], rel=1e-5)
    assert history["loss"] == pytest.approx([model.evaluate(x[:15], y[:15], sample_weight=3.0 + 2 * y[:15], verbose=0)],
                                            rel=1e-5)
