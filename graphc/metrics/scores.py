"""F scores, the coefficient of determination, overlaps and correlations. https://keras.io/api/metrics/"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.eager import eager
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value
from graphc.losses.loss import EPSILON, aligned, weighted
from graphc.metrics.confusion import divide
from graphc.metrics.means import _MeanOf
from graphc.metrics.metric import Metric, Sums
from graphc.names import choose

__all__ = ["BinaryIoU", "ConcordanceCorrelation", "F1Score", "FBetaScore", "IoU", "MeanIoU", "OneHotIoU",
           "OneHotMeanIoU", "PearsonCorrelation", "R2Score", "concordance_correlation", "pearson_correlation"]


class FBetaScore(Metric):
    """(1 + beta**2) * precision * recall / (beta**2 * precision + recall) of each class.

    `average` makes one number of them: 'micro' counts all classes together, 'macro' takes the mean, 'weighted' the mean
    by the classes' numbers of positives. Without a `threshold` the largest prediction of a row counts as positive.
    """

    def __init__(self, average: str | None = None, beta: float = 1.0, threshold: float | None = None,
                 name: str = "fbeta_score", dtype: Any = None):
        super().__init__(dtype, name)
        averages = {a: a for a in ("micro", "macro", "weighted")}
        self.average = None if average is None else choose("average", average, averages)
        if not beta > 0:
            raise ValueError(f"{type(self).__name__}(beta={beta!r}): expected a positive number.")
        if threshold is not None and not 0 < threshold <= 1:
            raise ValueError(f"{type(self).__name__}(threshold={threshold!r}): expected a number above 0, 1 at most.")
        self.beta, self.threshold = beta, threshold

    def sums(self, y_true: Value, y_pred: Value, sample_weight: Value | None = None) -> Sums:
        y, p = aligned(self.name, y_true, y_pred)
        if p.ndim != 2:
            raise ShapeError(f"{self.name} received predictions {y_pred.type}, expected [N,classes].")
        if self.threshold is None:
            highest = f.greater_equal(p, f.max(p, -1, keepdims=True))
            chosen = f.logical_and(highest, f.greater(f.absolute(p), 1e-9))
        else:
            chosen = f.greater(p, self.threshold)
        predicted = f.cast(chosen, "f32")
        weights = None if sample_weight is None else weighted(sample_weight, y)
        axes = (0, 1) if self.average == "micro" else (0,)
        return tuple(f.sum(v if weights is None else f.multiply(v, weights), axes)
                     for v in (predicted * y, predicted, y))

    def compute(self, totals: Sequence[Any], samples: int) -> Any:
        tp, predicted, actual = totals
        precision, recall = tp / (predicted + EPSILON), tp / (actual + EPSILON)
        square = self.beta**2
        score = (1 + square) * precision * recall / (square * precision + recall + EPSILON)
        if self.average == "weighted":
            return (score * actual / (np.sum(actual) + EPSILON)).sum()
        return score if self.average is None else np.mean(score)


class F1Score(FBetaScore):
    """The harmonic mean of precision and recall of each class."""

    def __init__(self, average: str | None = None, threshold: float | None = None, name: str = "f1_score",
                 dtype: Any = None):
        super().__init__(average, 1.0, threshold, name, dtype)


class R2Score(Metric):
    """1 - the squared error over that of the mean of the targets, of each column, by default averaged.

    With `num_regressors` it is adjusted for so many inputs of the model.
    """

    def __init__(self, class_aggregation: str | None = "uniform_average", num_regressors: int = 0,
                 name: str = "r2_score", dtype: Any = None):
        super().__init__(dtype, name)
        known = {a: a for a in ("uniform_average", "variance_weighted_average")}
        self.class_aggregation = class_aggregation and choose("class_aggregation", class_aggregation, known)
        if num_regressors < 0:
            raise ValueError(f"R2Score(num_regressors={num_regressors!r}): expected 0 or more.")
        self.num_regressors = num_regressors

    def sums(self, y_true: Value, y_pred: Value, sample_weight: Value | None = None) -> Sums:
        y, p = aligned(self.name, y_true, y_pred)
        y, p = (f.expand_dims(v, -1) if v.ndim == 1 else v for v in (y, p))
        if p.ndim != 2:
            raise ShapeError(f"{self.name} received predictions {y_pred.type}, expected [N,columns].")
        weights = f.ones_like(y) if sample_weight is None else f.broadcast_to(weighted(sample_weight, y), y.shape)
        return tuple(f.sum(v, 0) for v in (y * weights, y * y * weights, f.square(y - p) * weights, weights))

    def compute(self, totals: Sequence[Any], samples: int) -> Any:
        first, second, residual, count = totals
        spread = second - first * first / count
        with np.errstate(all="ignore"):
            scores = 1 - residual / spread
        scores = np.where(np.isinf(scores), 0.0, scores)
        if self.class_aggregation == "uniform_average":
            scores = scores.mean()
        elif self.class_aggregation == "variance_weighted_average":
            scores = (spread * scores).sum() / spread.sum()
        if not self.num_regressors:
            return scores
        values, free = samples * len(first), self.num_regressors
        if free >= values - 1:
            warnings.warn(f"R2Score(num_regressors={free}) needs more than {free + 1} numbers, and has {values}: it is "
                          "not adjusted.", stacklevel=2)
            return scores
        return 1 - (1 - scores) * (values - 1) / (values - free - 1)


# ------------------------------------------------------------------------------------- intersection over union

class IoU(Metric):
    """The intersection over the union of labels and predictions, averaged over classes.

    Labels and predictions are class numbers, or with `sparse_y_true=False` and `sparse_y_pred=False` one-hot and
    probabilities along an axis. Labels that are `ignore_class` don't count.
    """

    def __init__(self, num_classes: int, target_class_ids: Sequence[int], name: str | None = None, dtype: Any = None,
                 ignore_class: int | None = None, sparse_y_true: bool = True, sparse_y_pred: bool = True,
                 axis: int = -1):
        super().__init__(None, name)
        if max(target_class_ids) >= num_classes:
            raise ValueError(f"{type(self).__name__} received the class {max(target_class_ids)}, expected classes "
                             f"below num_classes={num_classes}.")
        self.num_classes, self.target_class_ids = num_classes, list(target_class_ids)
        self.ignore_class, self.axis = ignore_class, axis
        self.sparse_y_true, self.sparse_y_pred = sparse_y_true, sparse_y_pred

    def sums(self, y_true: Value, y_pred: Value, sample_weight: Value | None = None) -> Sums:
        y = y_true if self.sparse_y_true else f.argmax(y_true, self.axis)
        p = y_pred if self.sparse_y_pred else f.argmax(y_pred, self.axis)
        weights = None if sample_weight is None else f.broadcast_to(weighted(sample_weight, y), y.shape)
        y, p = (f.cast(f.reshape(v, (-1,)), "i32") for v in (y, p))
        if y.shape != p.shape:
            raise ShapeError(f"{self.name} received targets {y_true.type} for predictions {y_pred.type}, expected as "
                             "many class numbers.")
        rows = f.one_hot(y, self.num_classes)
        if self.ignore_class is not None:
            rows = rows * f.expand_dims(f.cast(f.not_equal(y, self.ignore_class), "f32"), -1)
        if weights is not None:
            rows = rows * f.reshape(weights, (-1, 1))
        return (f.einsum("nc,nd->cd", rows, f.one_hot(p, self.num_classes)),)

    def compute(self, totals: Sequence[Any], samples: int) -> Any:
        (table,) = totals
        common = np.diag(table)
        union = table.sum(0) + table.sum(1) - common
        common, union = common[self.target_class_ids], union[self.target_class_ids]
        return divide(common, union + EPSILON).sum() / ((union > 1e-9).sum() + EPSILON)


class BinaryIoU(IoU):
    """IoU of probabilities: of the classes 0 and 1 by a threshold."""

    def __init__(self, target_class_ids: Sequence[int] = (0, 1), threshold: float = 0.5, name: str | None = None,
                 dtype: Any = None):
        super().__init__(2, target_class_ids, name)
        self.threshold = threshold

    def sums(self, y_true: Value, y_pred: Value, sample_weight: Value | None = None) -> Sums:
        return super().sums(y_true, f.greater_equal(y_pred, self.threshold), sample_weight)


class MeanIoU(IoU):
    """IoU averaged over all classes."""

    def __init__(self, num_classes: int, name: str | None = None, dtype: Any = None, ignore_class: int | None = None,
                 sparse_y_true: bool = True, sparse_y_pred: bool = True, axis: int = -1):
        super().__init__(num_classes, range(num_classes), name, dtype, ignore_class, sparse_y_true, sparse_y_pred, axis)


class OneHotIoU(IoU):
    """IoU of one-hot labels."""

    def __init__(self, num_classes: int, target_class_ids: Sequence[int], name: str | None = None, dtype: Any = None,
                 ignore_class: int | None = None, sparse_y_pred: bool = False, axis: int = -1):
        super().__init__(num_classes, target_class_ids, name, dtype, ignore_class, False, sparse_y_pred, axis)


class OneHotMeanIoU(MeanIoU):
    """IoU of one-hot labels, averaged over all classes."""

    def __init__(self, num_classes: int, name: str | None = None, dtype: Any = None, ignore_class: int | None = None,
                 sparse_y_pred: bool = False, axis: int = -1):
        super().__init__(num_classes, name, dtype, ignore_class, False, sparse_y_pred, axis)


# -------------------------------------------------------------------------------------------------- correlations

def _standard(name: str, y_true: Value, y_pred: Value, axis: int) -> tuple[list[Value], list[Value], list[Value]]:
    """Both less their means, the means, and the variances along an axis."""
    both = aligned(name, y_true, y_pred)
    means = [f.mean(v, axis, keepdims=True) for v in both]
    centred = [f.subtract(v, m) for v, m in zip(both, means, strict=True)]
    return centred, means, [f.mean(f.square(c), axis, keepdims=True) for c in centred]


@eager("y_true", "y_pred")
def pearson_correlation(y_true: Value, y_pred: Value, axis: int = -1) -> Value:
    """The covariance of y_true and y_pred along an axis over the product of their standard deviations."""
    (y, p), _, (y_var, p_var) = _standard("pearson_correlation", y_true, y_pred, axis)
    return f.mean((y / f.sqrt(y_var)) * (p / f.sqrt(p_var)), axis)


@eager("y_true", "y_pred")
def concordance_correlation(y_true: Value, y_pred: Value, axis: int = -1) -> Value:
    """Twice the covariance over the sum of the variances and the square of the difference of the means."""
    (y, p), (y_mean, p_mean), (y_var, p_var) = _standard("concordance_correlation", y_true, y_pred, axis)
    return f.mean(2.0 * y * p / (y_var + p_var + f.square(y_mean - p_mean) + EPSILON), axis)


class PearsonCorrelation(_MeanOf):
    """The mean correlation of targets and predictions along an axis."""

    function = staticmethod(pearson_correlation)

    def __init__(self, name: str = "pearson_correlation", dtype: Any = None, axis: int = -1):
        super().__init__(name, dtype, axis=axis)


class ConcordanceCorrelation(_MeanOf):
    """The mean concordance of targets and predictions along an axis. L. Lin, 1989."""

    function = staticmethod(concordance_correlation)

    def __init__(self, name: str = "concordance_correlation", dtype: Any = None, axis: int = -1):
        super().__init__(name, dtype, axis=axis)
