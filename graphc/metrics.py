"""Metrics as graph builders. https://keras.io/api/metrics/

`update(y_true, y_pred)` gives, for one batch, numbers that add up over an epoch (their sum is kept in float64);
`result(totals, samples)` turns the totals into the metric. So a short last batch counts for what it holds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from graphc import losses
from graphc.configs import config_of, describe, describe_function
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value
from graphc.names import choose, snake_case

__all__ = ["BinaryAccuracy", "CategoricalAccuracy", "MeanAbsoluteError", "MeanMetric", "MeanSquaredError", "Metric",
           "Precision", "Recall", "RootMeanSquaredError", "SparseCategoricalAccuracy", "binary_accuracy",
           "categorical_accuracy", "get", "resolve", "serialize", "sparse_categorical_accuracy"]


def binary_accuracy(y_true: Value, y_pred: Value, threshold: float = 0.5) -> Value:
    """The fraction of the last axis where (y_pred > threshold) equals y_true."""
    hits = f.equal(f.cast(f.greater(y_pred, threshold), y_pred.dtype), f.cast(y_true, y_pred.dtype))
    return f.mean(f.cast(hits, "f32"), -1)


def categorical_accuracy(y_true: Value, y_pred: Value) -> Value:
    """1 where y_true and y_pred are largest at the same place of the last axis."""
    if y_true.shape != y_pred.shape:
        raise ShapeError(f"categorical_accuracy received targets {y_true.type} for predictions {y_pred.type}, expected "
                         "the same shape. For class numbers use 'sparse_categorical_accuracy' or 'accuracy'.")
    return f.cast(f.equal(f.argmax(y_true, -1), f.argmax(y_pred, -1)), "f32")


def sparse_categorical_accuracy(y_true: Value, y_pred: Value) -> Value:
    """1 where y_pred is largest at the place that y_true names."""
    if y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1:
        y_true = f.squeeze(y_true, -1)
    if y_true.shape != y_pred.shape[:-1]:
        raise ShapeError(f"sparse_categorical_accuracy received targets {y_true.type} for predictions {y_pred.type}, "
                         "expected class numbers. For one-hot targets use 'categorical_accuracy' or 'accuracy'.")
    return f.cast(f.equal(f.cast(y_true, "i32"), f.argmax(y_pred, -1)), "f32")


class Metric:
    """Base of all metrics."""

    keras_module = "keras.metrics"

    def __init__(self, name: str | None = None):
        self.name = name or snake_case(type(self).__name__)

    def update(self, y_true: Value, y_pred: Value) -> tuple[Value, ...]:
        """Numbers of one batch that add up over an epoch."""
        raise NotImplementedError(f"{type(self).__name__} has no `update`: define update(self, y_true, y_pred).")

    def result(self, totals: Sequence[float], samples: int) -> float:
        """The metric from the totals of `update` and the number of samples."""
        raise NotImplementedError(f"{type(self).__name__} has no `result`: define result(self, totals, samples).")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return config_of(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


class MeanMetric(Metric):
    """The mean over the samples of a function f(y_true, y_pred)."""

    def __init__(self, function: Any, name: str | None = None):
        super().__init__(name or getattr(function, "__name__", "metric"))
        self.function = function

    def update(self, y_true: Value, y_pred: Value) -> tuple[Value, ...]:
        values = f.cast(self.function(y_true, y_pred), "f32")
        if not values.ndim:  # one number for the whole batch: it counts for each of its samples
            return (f.multiply(values, f.dimension(y_pred.shape[0])),)
        per_sample = f.mean(values, tuple(range(1, values.ndim))) if values.ndim > 1 else values
        return (f.sum(per_sample),)

    def result(self, totals: Sequence[float], samples: int) -> float:
        return totals[0] / samples


class BinaryAccuracy(MeanMetric):
    """How often (y_pred > threshold) equals y_true."""

    def __init__(self, name: str = "binary_accuracy", threshold: float = 0.5):
        super().__init__(lambda y_true, y_pred: binary_accuracy(y_true, y_pred, threshold), name)
        self.threshold = threshold


class CategoricalAccuracy(MeanMetric):
    """How often one-hot targets and predictions are largest at the same place."""

    def __init__(self, name: str = "categorical_accuracy"):
        super().__init__(categorical_accuracy, name)


class SparseCategoricalAccuracy(MeanMetric):
    """How often predictions are largest at the class that the targets name."""

    def __init__(self, name: str = "sparse_categorical_accuracy"):
        super().__init__(sparse_categorical_accuracy, name)


class MeanSquaredError(MeanMetric):
    """The mean squared error."""

    def __init__(self, name: str = "mean_squared_error"):
        super().__init__(losses.mean_squared_error, name)


class MeanAbsoluteError(MeanMetric):
    """The mean absolute error."""

    def __init__(self, name: str = "mean_absolute_error"):
        super().__init__(losses.mean_absolute_error, name)


class RootMeanSquaredError(MeanMetric):
    """The square root of the epoch's mean squared error."""

    def __init__(self, name: str = "root_mean_squared_error"):
        super().__init__(losses.mean_squared_error, name)

    def result(self, totals: Sequence[float], samples: int) -> float:
        return math.sqrt(totals[0] / samples)


class _Fraction(Metric):
    """True positives over the positives that were predicted, or that there are; 0 where there are none."""

    def __init__(self, thresholds: float | None = None, name: str | None = None):
        super().__init__(name)
        if thresholds is not None and not isinstance(thresholds, int | float):
            raise ValueError(f"{type(self).__name__}(thresholds={thresholds!r}): expected one number.")
        self.thresholds = thresholds

    def update(self, y_true: Value, y_pred: Value) -> tuple[Value, ...]:
        threshold = 0.5 if self.thresholds is None else self.thresholds
        predicted = f.cast(f.greater(y_pred, threshold), "f32")
        actual = f.cast(f.greater(f.cast(y_true, "f32"), 0.0), "f32")
        return f.sum(predicted * actual), f.sum(self.divisor(predicted, actual))

    def divisor(self, predicted: Value, actual: Value) -> Value:
        raise NotImplementedError

    def result(self, totals: Sequence[float], samples: int) -> float:
        return totals[0] / totals[1] if totals[1] else 0.0


class Precision(_Fraction):
    """True positives over predicted positives."""

    def divisor(self, predicted: Value, actual: Value) -> Value:
        return predicted


class Recall(_Fraction):
    """True positives over actual positives."""

    def divisor(self, predicted: Value, actual: Value) -> Value:
        return actual


class _Deferred(Metric):
    """`accuracy`: which one it is depends on the shapes of targets and predictions."""

    def resolve(self, y_true: Value, y_pred: Value) -> Metric:
        if y_pred.shape[-1] == 1:
            return BinaryAccuracy(self.name)
        if y_true.ndim < y_pred.ndim or y_true.shape[-1] == 1:
            return SparseCategoricalAccuracy(self.name)
        return CategoricalAccuracy(self.name)


_CLASSES = {c.__name__: c for c in (BinaryAccuracy, CategoricalAccuracy, MeanAbsoluteError, MeanSquaredError, Precision,
                                    Recall, RootMeanSquaredError, SparseCategoricalAccuracy)}
_BY_NAME: dict[str, Any] = (_CLASSES | {snake_case(n): c for n, c in _CLASSES.items()}
                            | {"accuracy": _Deferred, "acc": _Deferred, "mse": MeanSquaredError,
                               "mae": MeanAbsoluteError, "rmse": RootMeanSquaredError})


def get(identifier: Any) -> Metric:
    """The metric for a name, a Metric, a class, a Loss or a function f(y_true, y_pred). A name is kept as typed."""
    if isinstance(identifier, Metric):
        return identifier
    if isinstance(identifier, str):
        if identifier.lower() in (known.lower() for known in _BY_NAME):
            return choose("metric", identifier, _BY_NAME)(name=identifier)
        try:
            return MeanMetric(losses.get(identifier).call, identifier)
        except ValueError:
            return choose("metric", identifier, _BY_NAME)
    if isinstance(identifier, type) and issubclass(identifier, Metric):
        return identifier()
    if isinstance(identifier, losses.Loss):
        return MeanMetric(identifier.call, identifier.name)
    if callable(identifier):
        return MeanMetric(identifier)
    raise TypeError(f"A metric is a name, a Metric or a function of (y_true, y_pred), received {identifier!r}.")


def serialize(metric: Metric) -> Any:
    """The class name and arguments of a metric, its name, or the name of a function of the user's."""
    if isinstance(metric, _Deferred):
        return metric.name
    if type(metric) is not MeanMetric:
        return describe(metric)
    loss = getattr(metric.function, "__self__", None)
    if not isinstance(loss, losses.Loss):
        return describe_function(metric.function)
    described = losses.serialize(loss)
    if described["module"] == loss.keras_module:  # Keras has a metric of the same name and options
        options = {name: value for name, value in described["config"].items() if name != "reduction"}
        described |= {"module": metric.keras_module, "config": options | {"name": metric.name}}
    return described


def resolve(metric: Metric, y_true: Value, y_pred: Value) -> Metric:
    """The metric itself, or for `accuracy` the one that fits the shapes."""
    return metric.resolve(y_true, y_pred) if isinstance(metric, _Deferred) else metric
