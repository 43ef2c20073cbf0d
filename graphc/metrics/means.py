"""Metrics that are means over samples. https://keras.io/api/metrics/"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc import losses
from graphc.eager import eager
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value
from graphc.losses.loss import aligned, numbers_from, same_rank, weighted
from graphc.losses.regression import cosine
from graphc.metrics.metric import Metric, Sums
from graphc.tracing import current_trace

__all__ = ["Accuracy", "BinaryAccuracy", "BinaryCrossentropy", "CategoricalAccuracy", "CategoricalCrossentropy",
           "CategoricalHinge", "CosineSimilarity", "Hinge", "KLDivergence", "LogCoshError", "Mean",
           "MeanAbsoluteError", "MeanAbsolutePercentageError", "MeanMetricWrapper", "MeanSquaredError",
           "MeanSquaredLogarithmicError", "Poisson", "RootMeanSquaredError", "SparseCategoricalAccuracy",
           "SparseCategoricalCrossentropy", "SparseTopKCategoricalAccuracy", "SquaredHinge", "Sum",
           "TopKCategoricalAccuracy", "accuracy", "binary_accuracy", "categorical_accuracy", "cosine_similarity",
           "sparse_categorical_accuracy", "sparse_top_k_categorical_accuracy", "top_k_categorical_accuracy"]


# --------------------------------------------------------------------------------------------------- functions

def _hits(equal: Value) -> Value:
    return f.cast(equal, "f32")


@eager("y_true", "y_pred")
def accuracy(y_true: Value, y_pred: Value) -> Value:
    """1 where y_true and y_pred are equal."""
    y, p = same_rank(f.cast(y_true, y_pred.dtype), y_pred)
    return _hits(f.equal(y, p))


@eager("y_true", "y_pred")
def binary_accuracy(y_true: Value, y_pred: Value, threshold: float = 0.5) -> Value:
    """1 where (y_pred > threshold) equals y_true."""
    y, p = aligned("binary_accuracy", y_true, y_pred)
    return _hits(f.equal(f.cast(f.greater(p, threshold), p.dtype), y))


@eager("y_true", "y_pred")
def categorical_accuracy(y_true: Value, y_pred: Value) -> Value:
    """1 where y_true and y_pred are largest at the same place of the last axis."""
    return _hits(f.equal(_one_hot_class("categorical_accuracy", y_true, y_pred), f.argmax(y_pred, -1)))


@eager("y_true", "y_pred")
def sparse_categorical_accuracy(y_true: Value, y_pred: Value) -> Value:
    """1 where y_pred is largest at the place that y_true names."""
    return _hits(f.equal(_class_number("sparse_categorical_accuracy", y_true, y_pred), f.argmax(y_pred, -1)))


@eager("y_true", "y_pred")
def top_k_categorical_accuracy(y_true: Value, y_pred: Value, k: int = 5) -> Value:
    """1 where less than k of y_pred are larger than that at the largest of y_true."""
    return _in_top_k(_one_hot_class("top_k_categorical_accuracy", y_true, y_pred), y_pred, k)


@eager("y_true", "y_pred")
def sparse_top_k_categorical_accuracy(y_true: Value, y_pred: Value, k: int = 5, from_sorted_ids: bool = False) -> Value:
    """1 where less than k of y_pred are larger than that at the place that y_true names.

    `from_sorted_ids` says that y_pred has class numbers, the most probable first.
    """
    y = _class_number("sparse_top_k_categorical_accuracy", y_true, y_pred)
    if not from_sorted_ids:
        return _in_top_k(y, y_pred, k)
    first = f.slice(y_pred, (0,) * y_pred.ndim, (*y_pred.shape[:-1], min(k, int(y_pred.shape[-1]))))  # type: ignore
    return f.max(_hits(f.equal(f.cast(f.expand_dims(y, -1), first.dtype), first)), -1)


@eager("y_true", "y_pred")
def cosine_similarity(y_true: Value, y_pred: Value, axis: int = -1) -> Value:
    """The cosine of the angle between y_true and y_pred along an axis: 1 where the directions agree."""
    return cosine(y_true, y_pred, axis)


def _one_hot_class(name: str, y_true: Value, y_pred: Value) -> Value:
    if y_true.shape != y_pred.shape:
        raise ShapeError(f"{name} received targets {y_true.type} for predictions {y_pred.type}, expected the same "
                         f"shape. For class numbers use 'sparse_{name}' or 'accuracy'.")
    return f.argmax(y_true, -1)


def _class_number(name: str, y_true: Value, y_pred: Value) -> Value:
    y = f.squeeze(y_true, -1) if y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1 else y_true
    if y.shape != y_pred.shape[:-1]:
        raise ShapeError(f"{name} received targets {y_true.type} for predictions {y_pred.type}, expected class "
                         f"numbers. For one-hot targets use '{name.removeprefix('sparse_')}' or 'accuracy'.")
    return f.cast(y, "i32")


def _in_top_k(y: Value, y_pred: Value, k: int) -> Value:
    at = f.one_hot(y, int(y_pred.shape[-1]), "bool")  # type: ignore[arg-type]
    chosen = f.sum(f.where(at, y_pred, 0.0), -1, keepdims=True)
    return _hits(f.less(f.sum(f.greater(y_pred, chosen), -1), k))


# --------------------------------------------------------------------------------------------------- the means

def _weighted_sums(values: Value, sample_weight: Value) -> Sums:
    """The sum of values times weights, and the sum of weights; axes that have no weights count by their mean."""
    weights = weighted(sample_weight, values)
    rest = tuple(a for a in range(min(sample_weight.ndim, values.ndim), values.ndim))
    values = f.mean(values, rest) if rest else values
    weights = f.squeeze(weights, rest) if rest else f.broadcast_to(weights, values.shape)
    return f.sum(f.multiply(values, weights)), f.sum(weights)


class Mean(Metric):
    """The weighted mean of numbers: `update_state(values, sample_weight)`."""

    def __init__(self, name: str = "mean", dtype: Any = None):
        super().__init__(dtype, name)

    def sums(self, values: Value, sample_weight: Value | None = None) -> Sums:  # type: ignore[override]
        values = f.cast(values, "f32")
        if sample_weight is not None:
            return _weighted_sums(values, sample_weight)
        rows = f.dimension(values.shape[0]) if values.ndim else f.constant(1.0)
        return (f.sum(f.mean(values, tuple(range(1, values.ndim))) if values.ndim > 1 else values), rows)

    def compute(self, totals: Sequence[Any], samples: int) -> Any:
        return totals[0] / totals[1] if totals[1] else 0.0


class Sum(Metric):
    """The weighted sum of numbers: `update_state(values, sample_weight)`."""

    def __init__(self, name: str = "sum", dtype: Any = None):
        super().__init__(dtype, name)

    def sums(self, values: Value, sample_weight: Value | None = None) -> Sums:  # type: ignore[override]
        values = f.cast(values, "f32")
        return (f.sum(values if sample_weight is None else f.multiply(values, weighted(sample_weight, values))),)

    def compute(self, totals: Sequence[Any], samples: int) -> Any:
        return totals[0]


class _MeanOf(Metric):
    """The mean over the samples of a function of (y_true, y_pred) and of options; a mask leaves some out."""

    function: Any = None

    def __init__(self, name: str | None = None, dtype: Any = None, **options: Any):
        super().__init__(dtype, name or getattr(self.function, "__name__", "metric").strip("<>"))
        self._options = tuple(options)
        vars(self).update(options)

    def sums(self, y_true: Value, y_pred: Value, sample_weight: Value | None = None) -> Sums:
        options = {name: getattr(self, name) for name in self._options}
        values = numbers_from(self.name, self.function(y_true, y_pred, **options))
        trace = current_trace()
        mask = None if trace is None else trace.masks.get(y_pred)
        if mask is not None:
            weights = f.cast(mask, "f32")
            sample_weight = weights if sample_weight is None else weights * weighted(sample_weight, weights)
        if not values.ndim:  # one number for the whole batch: it counts for each of its samples
            values = f.broadcast(values, y_pred.shape[:1], ())
        if sample_weight is not None:
            return _weighted_sums(values, sample_weight)
        return (f.sum(f.mean(values, tuple(range(1, values.ndim))) if values.ndim > 1 else values),)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        if sample_weight is None and current_trace() is None:  # batches with weights may follow, so all have some
            sample_weight = np.ones(np.shape(y_pred)[:1], np.float32)
        super().update_state(y_true, y_pred, sample_weight)

    def compute(self, totals: Sequence[Any], samples: int) -> Any:
        count = totals[1] if len(totals) > 1 else samples
        return totals[0] / count if count else 0.0


class MeanMetricWrapper(_MeanOf):
    """The mean over the samples of a function of the user's."""

    def __init__(self, fn: Any, name: str | None = None, dtype: Any = None, **kwargs: Any):
        self.function = self.fn = fn
        super().__init__(name, dtype, **kwargs)


class Accuracy(_MeanOf):
    """How often predictions equal targets."""

    function = staticmethod(accuracy)


class BinaryAccuracy(_MeanOf):
    """How often (y_pred > threshold) equals y_true."""

    function = staticmethod(binary_accuracy)

    def __init__(self, name: str = "binary_accuracy", dtype: Any = None, threshold: float = 0.5):
        super().__init__(name, dtype, threshold=threshold)


class CategoricalAccuracy(_MeanOf):
    """How often one-hot targets and predictions are largest at the same place."""

    function = staticmethod(categorical_accuracy)


class SparseCategoricalAccuracy(_MeanOf):
    """How often predictions are largest at the class that the targets name."""

    function = staticmethod(sparse_categorical_accuracy)


class TopKCategoricalAccuracy(_MeanOf):
    """How often the class of one-hot targets is among the k most probable ones."""

    function = staticmethod(top_k_categorical_accuracy)

    def __init__(self, k: int = 5, name: str | None = None, dtype: Any = None):
        super().__init__(name, dtype, k=k)


class SparseTopKCategoricalAccuracy(_MeanOf):
    """How often the class that the targets name is among the k most probable ones."""

    function = staticmethod(sparse_top_k_categorical_accuracy)

    def __init__(self, k: int = 5, name: str | None = None, dtype: Any = None, from_sorted_ids: bool = False):
        super().__init__(name, dtype, k=k, from_sorted_ids=from_sorted_ids)


class MeanSquaredError(_MeanOf):
    """The mean squared error."""

    function = staticmethod(losses.mean_squared_error)


class RootMeanSquaredError(_MeanOf):
    """The square root of the epoch's mean squared error."""

    function = staticmethod(losses.mean_squared_error)

    def __init__(self, name: str = "root_mean_squared_error", dtype: Any = None):
        super().__init__(name, dtype)

    def compute(self, totals: Sequence[Any], samples: int) -> Any:
        return math.sqrt(super().compute(totals, samples))


class MeanAbsoluteError(_MeanOf):
    """The mean absolute error."""

    function = staticmethod(losses.mean_absolute_error)


class MeanAbsolutePercentageError(_MeanOf):
    """The mean absolute error in percent of the targets."""

    function = staticmethod(losses.mean_absolute_percentage_error)


class MeanSquaredLogarithmicError(_MeanOf):
    """The mean squared error of logarithms."""

    function = staticmethod(losses.mean_squared_logarithmic_error)


class LogCoshError(_MeanOf):
    """The mean logarithm of the error's hyperbolic cosine."""

    function = staticmethod(losses.log_cosh)

    def __init__(self, name: str = "logcosh", dtype: Any = None):
        super().__init__(name, dtype)


class CosineSimilarity(_MeanOf):
    """The mean cosine of the angle between targets and predictions."""

    function = staticmethod(cosine_similarity)

    def __init__(self, name: str = "cosine_similarity", dtype: Any = None, axis: int = -1):
        super().__init__(name, dtype, axis=axis)


class KLDivergence(_MeanOf):
    """The mean Kullback-Leibler divergence."""

    function = staticmethod(losses.kl_divergence)


class Poisson(_MeanOf):
    """The mean Poisson loss."""

    function = staticmethod(losses.poisson)


class Hinge(_MeanOf):
    """The mean hinge loss."""

    function = staticmethod(losses.hinge)


class SquaredHinge(_MeanOf):
    """The mean squared hinge loss."""

    function = staticmethod(losses.squared_hinge)


class CategoricalHinge(_MeanOf):
    """The mean categorical hinge loss."""

    function = staticmethod(losses.categorical_hinge)


class BinaryCrossentropy(_MeanOf):
    """The mean binary crossentropy."""

    function = staticmethod(losses.binary_crossentropy)

    def __init__(self, name: str = "binary_crossentropy", dtype: Any = None, from_logits: bool = False,
                 label_smoothing: float = 0.0):
        super().__init__(name, dtype, from_logits=from_logits, label_smoothing=label_smoothing)


class CategoricalCrossentropy(_MeanOf):
    """The mean categorical crossentropy."""

    function = staticmethod(losses.categorical_crossentropy)

    def __init__(self, name: str = "categorical_crossentropy", dtype: Any = None, from_logits: bool = False,
                 label_smoothing: float = 0.0, axis: int = -1):
        super().__init__(name, dtype, from_logits=from_logits, label_smoothing=label_smoothing, axis=axis)


class SparseCategoricalCrossentropy(_MeanOf):
    """The mean crossentropy of class numbers."""

    function = staticmethod(losses.sparse_categorical_crossentropy)

    def __init__(self, name: str = "sparse_categorical_crossentropy", dtype: Any = None, from_logits: bool = False,
                 ignore_class: int | None = None, axis: int = -1):
        super().__init__(name, dtype, from_logits=from_logits, ignore_class=ignore_class, axis=axis)
