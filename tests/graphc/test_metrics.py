"""Metrics in models: sums over epochs, metrics of the user's, names."""

from __future__ import annotations

import numpy as np
import pytest

import graphc
from graphc import layers, losses, metrics, ops
from graphc.ir.errors import ShapeError

X = np.random.default_rng(2).random((50, 3)).astype(np.float32)
BITS = (X.sum(1) > 1.5).astype(int)


def binary(measured, loss="binary_crossentropy", units=1, **options):
    model = graphc.Sequential([layers.Dense(units, activation="sigmoid", input_shape=(3,))])
    model.compile("sgd", loss, measured, **options)
    return model


def alone(metric, model, y=BITS):
    """What the metric gives for the model's predictions at once."""
    metric.update_state(np.reshape(y, (50, -1)), model.predict(X, verbose=0))
    return metric.result()


class Count(metrics.Metric):
    """Written as for Keras: how many predictions are above a half."""

    def __init__(self, name="count", **kwargs):
        super().__init__(name=name, **kwargs)
        self.total = self.add_weight(shape=(), initializer="zeros", name="total")
        self.rows = self.add_variable((2,), "zeros", name="rows")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.total.assign_add(ops.sum(ops.cast(y_pred > 0.5, "float32")))
        self.rows.assign(self.rows + ops.sum(ops.ones_like(y_pred)))

    def result(self):
        return self.total * 100 / self.rows[0]


class Distance(metrics.Mean):
    """A metric on top of one of graphc's."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        return super().update_state(ops.abs(y_true - y_pred), sample_weight)


class Both(metrics.Metric):
    """A metric made of two."""

    def __init__(self):
        super().__init__(name="both")
        self.precision, self.recall = metrics.Precision(), metrics.Recall()

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.precision.update_state(y_true, y_pred, sample_weight)
        self.recall.update_state(y_true, y_pred, sample_weight)

    def result(self):
        return self.precision.result() + self.recall.result()


def test_epochs_give_what_all_rows_give_at_once():
    own = [metrics.AUC(), metrics.Precision(thresholds=[0.3, 0.5, 0.6]), metrics.RootMeanSquaredError(), Count(),
           Distance(name="distance"), Both(), metrics.F1Score(threshold=0.5)]
    model = binary(own)
    model.fit(X, BITS, batch_size=16, verbose=0, epochs=2)
    results = model.evaluate(X, BITS, batch_size=16, verbose=0, return_dict=True)
    fresh = [metrics.AUC(), metrics.Precision(thresholds=[0.3, 0.5, 0.6]), metrics.RootMeanSquaredError(), Count(),
             Distance(), Both(), metrics.F1Score(threshold=0.5)]
    for metric, name in zip(fresh, [m.name for m in own], strict=True):
        np.testing.assert_allclose(results[name], alone(metric, model), rtol=1e-5, err_msg=name)
    assert isinstance(results["auc"], float) and results["precision"].shape == (3,)
    again = model.evaluate(X, BITS, verbose=0, return_dict=True)  # from zero, and not from where the last one ended
    np.testing.assert_allclose(again["count"], results["count"])


def test_weights_are_for_weighted_metrics():
    weights = np.arange(50) % 3
    model = binary(["mae", metrics.AUC()], weighted_metrics=[metrics.MeanAbsoluteError(name="weighted_mae"),
                                                             metrics.AUC(name="weighted_auc"), Count()])
    results = model.evaluate(X, BITS, sample_weight=weights, batch_size=16, verbose=0, return_dict=True)
    p = model.predict(X, verbose=0)
    for name, w in (("mae", None), ("weighted_mae", weights)):
        assert results[name] == pytest.approx(np.average(np.abs(p[:, 0] - BITS), weights=w), rel=1e-5)
    assert results["auc"] != results["weighted_auc"]


def test_mean_and_sum():
    mean, total = metrics.Mean(), metrics.Sum()
    assert mean.result() == 0 and mean([1, 3], sample_weight=[1, 3]) == 2.5 and mean(5.0) == pytest.approx(3.0)
    assert total([[1.0, 2.0], [3.0, 4.0]]) == 10
    mean.reset_state()
    assert mean([2.0]) == 2 and Count()(np.ones((2, 1)), np.ones((2, 1))) == 100


def test_functions_and_wrappers():
    def ratio(y_true, y_pred, scale=1.0):
        return scale * ops.mean(y_pred / (y_true + 1), axis=-1)

    wrapped = metrics.MeanMetricWrapper(ratio, name="twice", scale=2.0)
    results = binary([ratio, wrapped]).evaluate(X, BITS, verbose=0, return_dict=True)
    assert results["twice"] == pytest.approx(2 * results["ratio"], rel=1e-5)


def test_names():
    for name, cls in (("AUC", metrics.AUC), ("auc", metrics.AUC), ("rmse", metrics.RootMeanSquaredError),
                      ("MAPE", metrics.MeanAbsolutePercentageError), ("f1", metrics.F1Score),
                      ("Accuracy", metrics.Accuracy), ("logcosh", metrics.LogCoshError),
                      ("top_k_categorical_accuracy", metrics.TopKCategoricalAccuracy)):
        found = metrics.get(name)
        assert type(found) is cls and found.name == name
    assert metrics.get("dice").name == "dice"  # a loss
    for name, message in (("sse", "Did you mean 'mse'"), ("accuraci", "Did you mean 'accuracy'"),
                          ("mean_io_u", "needs arguments.*num_classes")):
        with pytest.raises(ValueError, match=message):
            metrics.get(name)
    config = metrics.serialize(metrics.Precision(thresholds=[0.2], top_k=2))
    assert metrics.deserialize(config).get_config() == config["config"]


@pytest.mark.parametrize(("make", "message"), [
    (lambda: metrics.Precision(thresholds=2), "from 0 to 1"),
    (lambda: metrics.AUC(curve="ROK"), "Did you mean 'ROC'"),
    (lambda: metrics.AUC(num_labels=2), "multi_label"),
    (lambda: metrics.AUC(num_thresholds=1), "at least 2"),
    (lambda: metrics.FBetaScore(beta=0), "positive"),
    (lambda: metrics.F1Score(average="mikro"), "Did you mean 'micro'"),
    (lambda: metrics.R2Score(class_aggregation="mean"), "class_aggregation"),
    (lambda: metrics.IoU(2, [2]), "classes below"),
    (lambda: metrics.MeanSquaredError(dtype="float64"), "float32"),
])
def test_wrong_options(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("metric", [metrics.Precision(), metrics.CategoricalAccuracy(), metrics.MeanSquaredError(),
                                    metrics.AUC(multi_label=True), metrics.F1Score(), metrics.R2Score()])
def test_wrong_shapes(metric):
    with pytest.raises(ShapeError):
        metric.update_state(np.ones((4, 3)), np.ones((4, 2)))


# -------------------------------------------------------------------------------------------------------- losses

def test_losses_by_name():
    for name, cls in (("MSE", losses.MeanSquaredError), ("huber_loss", losses.Huber), ("kld", losses.KLDivergence),
                      ("logcosh", losses.LogCosh), ("cosine_proximity", losses.CosineSimilarity),
                      ("kullback_leibler_divergence", losses.KLDivergence), ("Dice", losses.Dice)):
        assert type(losses.get(name)) is cls
    assert losses.KLD is losses.kl_divergence and metrics.MSE is losses.mean_squared_error
    assert losses.get({"class_name": "Huber", "config": {"delta": 2.0}}).delta == 2
    assert losses.Reduction.SUM == "sum"
    with pytest.raises(ValueError, match=r"reduction of Huber.*Did you mean 'sum'"):
        losses.Huber(reduction="summ")


@pytest.mark.parametrize(("units", "y"), [(1, BITS), (4, np.arange(50) % 4), (4, np.eye(4)[np.arange(50) % 4])])
def test_crossentropy_follows_the_shapes(units, y):
    model = binary(None, "crossentropy", units)
    p = model.predict(X, verbose=0)
    expected = (losses.BinaryCrossentropy() if units == 1 else losses.SparseCategoricalCrossentropy() if y.ndim == 1
                else losses.CategoricalCrossentropy())(y, p)
    assert model.evaluate(X, y, verbose=0) == pytest.approx(float(expected), rel=1e-5)
    if units > 1 and y.ndim == 1:
        with pytest.raises(ValueError, match="the class 4, expected 0 to 3"):
            model.evaluate(X, y + 1, verbose=0)


def test_labels_that_are_ignored():
    model = graphc.Sequential([layers.Dense(3, activation="softmax", input_shape=(3,))])
    model.compile("sgd", losses.SparseCategoricalCrossentropy(ignore_class=-1))
    y = np.arange(50) % 3
    some = np.where(np.arange(50) < 20, y, -1)
    assert model.evaluate(X, some, batch_size=50, verbose=0) == pytest.approx(
        model.evaluate(X[:20], y[:20], batch_size=50, verbose=0), rel=1e-5)
    with pytest.raises(ValueError, match="the class 3"):
        model.evaluate(X, np.where(some == 2, 3, some), verbose=0)


def test_a_loss_of_the_users():
    class Cubic(losses.Loss):
        def call(self, y_true, y_pred):
            return ops.mean(ops.abs(y_true - y_pred) ** 3, axis=-1)

    y, p = np.array([[0.0, 1.0], [2.0, 2.0]]), np.array([[1.0, 1.0], [0.0, 2.0]])
    assert Cubic()(y, p) == pytest.approx(2.25) and Cubic(reduction="sum")(y, p, [1.0, 0.5]) == pytest.approx(2.5)
    model = binary(None, Cubic())
    p = model.predict(X, verbose=0)
    assert model.evaluate(X, BITS, verbose=0) == pytest.approx(np.mean(np.abs(p[:, 0] - BITS) ** 3), rel=1e-5)
    with pytest.raises(NotImplementedError, match="define call"):
        losses.Loss()(y, p[:2])


def test_labels_of_one_number_a_row():
    assert losses.mean_squared_error(np.ones(3), np.zeros((3, 1))).shape == (3,)
    assert losses.MeanAbsoluteError()([1, 2], [[1.0], [4.0]]) == 1
    with pytest.raises(ShapeError, match="equal shapes"):
        losses.mean_squared_error(np.ones((3, 1)), np.zeros((3, 2)))


class Watched(layers.Layer):
    """Has a metric of what goes through it, which Keras reports beside the model's."""

    def __init__(self):
        super().__init__()
        self.seen = metrics.Mean(name="seen")

    def call(self, x):
        self.seen.update_state(graphc.ops.abs(x))
        return x


def test_metrics_that_layers_update_are_reported(rng):
    x = rng.normal(size=(20, 3)).astype("f")
    model = graphc.Sequential([layers.Input((3,)), Watched(), layers.Dense(1), Watched()])
    model.compile(graphc.optimizers.SGD(0.0), "mse", metrics=["mae"])
    history = model.fit(x, x[:, :1], batch_size=8, epochs=2, verbose=0).history
    assert list(history) == ["loss", "mae", "seen", "seen_1"] == model.metrics_names
    assert history["seen"] == pytest.approx([np.abs(x).mean()] * 2)
    results = model.evaluate(x, x[:, :1], verbose=0)
    assert results[2:] == pytest.approx([np.abs(x).mean(), np.abs(model.predict(x, verbose=0)).mean()])


@pytest.mark.parametrize("place", ["compute_loss", "call", "compute_metrics"])
def test_metrics_in_attributes_that_a_step_updates_are_reported(place, rng):
    class Own(graphc.Model):
        def __init__(self):
            super().__init__()
            self.dense, self.size = layers.Dense(1), metrics.Mean(name="size")
            self.never = metrics.Mean(name="never")

        def call(self, x):
            y = self.dense(x)
            if place == "call":
                self.size.update_state(graphc.ops.abs(y))
            return y

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            if place == "compute_loss":
                self.size.update_state(graphc.ops.abs(y_pred))
            return super().compute_loss(x, y, y_pred, sample_weight, training)

        def compute_metrics(self, x, y, y_pred, sample_weight=None):
            found = super().compute_metrics(x, y, y_pred, sample_weight)
            if place == "compute_metrics":
                self.size.update_state(graphc.ops.abs(y_pred))
            return found

    x = rng.normal(size=(20, 3)).astype("f")
    model = Own()
    model.compile("sgd", "mse", metrics=["mae"])
    assert list(model.fit(x, x[:, :1], verbose=0).history) == ["loss", "mae", "size"]
    assert model.evaluate(x, x[:, :1], verbose=0)[2] == pytest.approx(np.abs(model.predict(x, verbose=0)).mean())


def test_weights_and_masks_count_alike_in_batches_of_any_size(rng):
    x, y, weights = rng.normal(size=(6, 4, 3)).astype("f"), rng.integers(0, 3, (6, 4)), rng.random((6, 4))
    x[:3, 2:] = 0
    model = graphc.Sequential([layers.Input((4, 3)), layers.Masking(), layers.Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
    right, counted = model.predict(x, verbose=0).argmax(-1) == y, weights * x.any(-1)
    for size in (6, 3, 2):
        _, accuracy = model.evaluate(x, y, sample_weight=weights, batch_size=size, verbose=0)
        assert accuracy == pytest.approx((right * counted).sum() / counted.sum())
