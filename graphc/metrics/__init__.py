"""Metrics as graph builders. https://keras.io/api/metrics/

In a step a metric gives numbers that add up over an epoch (their sums are kept in float64), and the epoch's totals give
the metric. So a short last batch counts for what it holds. Outside of models `update_state`, `result` and `reset_state`
take arrays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphc import losses
from graphc.configs import describe, describe_function, identified
from graphc.ir.graph import Value
from graphc.losses import (
    BCE,
    KLD,
    MAE,
    MAPE,
    MSE,
    MSLE,
    bce,
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    categorical_hinge,
    cosine_proximity,
    dice,
    hinge,
    huber,
    huber_loss,
    kl_divergence,
    kld,
    kullback_leibler_divergence,
    log_cosh,
    logcosh,
    mae,
    mape,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    mse,
    msle,
    poisson,
    sparse_categorical_crossentropy,
    squared_hinge,
    tversky,
)
from graphc.metrics import confusion as _confusion
from graphc.metrics import means as _means
from graphc.metrics import scores as _scores
from graphc.metrics.confusion import *  # noqa: F403
from graphc.metrics.means import *  # noqa: F403
from graphc.metrics.means import BinaryAccuracy, CategoricalAccuracy, MeanMetricWrapper, SparseCategoricalAccuracy
from graphc.metrics.metric import Metric
from graphc.metrics.scores import *  # noqa: F403
from graphc.names import choose, snake_case

_PUBLIC: dict[str, Any] = {name: getattr(module, name) for module in (_means, _confusion, _scores)
                           for name in module.__all__}
_CLASSES = {name: c for name, c in _PUBLIC.items() if isinstance(c, type)}

if not TYPE_CHECKING:  # checkers take the names from the imports
    __all__ = ["BCE", "KLD", "MAE", "MAPE", "MSE", "MSLE", "Metric", "bce", "binary_crossentropy",
               "binary_focal_crossentropy", "categorical_crossentropy", "categorical_focal_crossentropy",
               "categorical_hinge", "cosine_proximity", "deserialize", "dice", "get", "hinge", "huber", "huber_loss",
               "kl_divergence", "kld", "kullback_leibler_divergence", "log_cosh", "logcosh", "mae", "mape",
               "mean_absolute_error", "mean_absolute_percentage_error", "mean_squared_error",
               "mean_squared_logarithmic_error", "mse", "msle", "poisson", "resolve", "serialize",
               "sparse_categorical_crossentropy", "squared_hinge", "tversky", *sorted(_PUBLIC)]


class _Deferred(Metric):
    """`accuracy`: which one it is depends on the shapes of targets and predictions."""

    def resolve(self, y_true: Value, y_pred: Value) -> Metric:
        if y_pred.shape[-1] == 1:
            return BinaryAccuracy(self.name)
        if y_true.ndim < y_pred.ndim or y_true.shape[-1] == 1:
            return SparseCategoricalAccuracy(self.name)
        return CategoricalAccuracy(self.name)

    def sums(self, y_true: Value, y_pred: Value, sample_weight: Value | None = None) -> tuple[Value, ...]:
        self._resolved = self.resolve(y_true, y_pred)
        return self._resolved.sums(y_true, y_pred, sample_weight)

    def compute(self, totals: Any, samples: int) -> Any:
        return self._resolved.compute(totals, samples)


# MeanMetricWrapper, Mean and Sum are no metrics of labels and predictions by themselves
_NAMED = {name: c for name, c in _CLASSES.items() if name not in ("MeanMetricWrapper", "Mean", "Sum")}
_SHORT = {"accuracy": _Deferred, "acc": _Deferred, "rmse": _means.RootMeanSquaredError, "f1": _scores.F1Score,
          "mse": _means.MeanSquaredError, "mae": _means.MeanAbsoluteError, "bce": _means.BinaryCrossentropy,
          "mape": _means.MeanAbsolutePercentageError, "msle": _means.MeanSquaredLogarithmicError,
          "kld": _means.KLDivergence, "logcosh": _means.LogCoshError, "log_cosh": _means.LogCoshError,
          "kullback_leibler_divergence": _means.KLDivergence, "cosine_proximity": _means.CosineSimilarity}
_BY_NAME: dict[str, Any] = _SHORT | {snake_case(n): c for n, c in _NAMED.items()} | _SHORT


def get(identifier: Any) -> Metric:
    """The metric for a name, a Metric, a class, a config, a Loss or a function f(y_true, y_pred).

    A name is kept as typed.
    """
    if isinstance(identifier, str):
        if identifier in _NAMED or identifier.lower() in _BY_NAME:
            return _named(identifier, _NAMED.get(identifier) or _BY_NAME[identifier.lower()])
        try:
            return MeanMetricWrapper(losses.get(identifier).call, identifier)
        except ValueError:
            return choose("metric", identifier, _BY_NAME)
    found = identified("metric", identifier, _CLASSES, Metric)
    if isinstance(found, Metric):
        return found
    if isinstance(found, losses.Loss):
        return MeanMetricWrapper(found.call, found.name)
    if callable(found):
        return MeanMetricWrapper(found)
    raise TypeError(f"A metric is a name, a Metric or a function of (y_true, y_pred), received {identifier!r}.")


def _named(name: str, cls: Any) -> Metric:
    try:
        return cls(name=name)
    except TypeError as error:
        raise ValueError(f"The metric {name!r} needs arguments: {error}. Pass the object, "
                         f"metrics.{cls.__name__}(...).") from None


deserialize = get


def serialize(metric: Metric) -> Any:
    """The class name and arguments of a metric, its name, or the name of a function of the user's."""
    if isinstance(metric, _Deferred):
        return metric.name
    if type(metric) is not MeanMetricWrapper:
        return describe(metric)
    loss = getattr(metric.function, "__self__", None)
    if not isinstance(loss, losses.Loss):
        return describe_function(metric.function)
    described = losses.serialize(loss)
    if isinstance(described, dict) and described["module"] == loss.keras_module:
        # Keras has a metric of the same name and options
        options = {name: value for name, value in described["config"].items() if name != "reduction"}
        described |= {"module": metric.keras_module, "config": options | {"name": metric.name}}
    return described


def resolve(metric: Metric, y_true: Value, y_pred: Value) -> Metric:
    """The metric itself, or for `accuracy` the one that fits the shapes."""
    return metric.resolve(y_true, y_pred) if isinstance(metric, _Deferred) else metric
