"""Metrics of true and false positives and negatives. https://keras.io/api/metrics/classification_metrics/

Every one is made of four counts: of positives and negatives among the labels, and of those of each whose prediction is
above a threshold. Counts are weighted, and add up over an epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value
from graphc.losses.loss import same_rank, weighted
from graphc.metrics.metric import Metric, Sums
from graphc.names import choose
from graphc.variable import constant

__all__ = ["AUC", "FalseNegatives", "FalsePositives", "Precision", "PrecisionAtRecall", "Recall", "RecallAtPrecision",
           "SensitivityAtSpecificity", "SpecificityAtSensitivity", "TrueNegatives", "TruePositives"]

_NONE = -1e10  # what stands for the predictions that are not among the top k


def divide(x: Any, y: Any) -> Any:
    """x / y, 0 where y is 0."""
    x, y = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(y, np.float64))
    return np.divide(x, y, out=np.zeros_like(x), where=y != 0)[()]


def _only_top(p: Value, k: int) -> Value:
    """The k largest of the last axis, the first of equal ones, and _NONE in the place of the others."""
    size = int(p.shape[-1])  # type: ignore[arg-type]
    square = (*p.shape, size)
    this, other = f.broadcast(p, square, tuple(range(p.ndim))), f.expand_dims(p, -2)
    place = tuple(range(p.ndim + 1))
    earlier = f.less(f.iota(square, place[-1:]), f.iota(square, place[-2:-1]))
    before = f.logical_or(f.greater(other, this), f.logical_and(f.equal(other, this), earlier))
    return f.where(f.less(f.sum(before, -1), k), p, _NONE)


class _Confusion(Metric):
    """Base: the four counts, with the two above thresholds for each threshold, in increasing order."""

    per_label = False  # whether counts of the columns are kept apart

    def __init__(self, dtype: Any, name: str | None, levels: Sequence[float], even: bool = False,
                 top_k: int | None = None, class_id: int | None = None):
        super().__init__(dtype, name)
        self._levels, self._even, self.top_k, self.class_id = list(levels), even, top_k, class_id

    def sums(self, y_true: Value, y_pred: Value, sample_weight: Value | None = None) -> Sums:
        p, y = same_rank(f.cast(y_pred, "f32"), y_true)
        if y.shape != p.shape:
            raise ShapeError(f"{self.name} received targets {y_true.type} for predictions {y_pred.type}, expected the "
                             "same shape.")
        p = p if self.top_k is None else _only_top(p, self.top_k)
        if self.class_id is not None:
            if p.ndim < 2:
                raise ShapeError(f"{self.name} has class_id={self.class_id}, and received predictions {y_pred.type}, "
                                 "expected an axis of classes.")
            start = (*(0,) * (p.ndim - 1), self.class_id)
            y, p = (f.slice(v, start, (*p.shape[:-1], 1)) for v in (y, p))
        actual = f.cast(f.not_equal(y, 0), "f32")
        weights = self.weights(p, sample_weight)
        positive, negative = (actual, f.subtract(1.0, actual)) if weights is None else (
            f.multiply(actual, weights), f.multiply(f.subtract(1.0, actual), weights))
        axes = (0,) if self.per_label else tuple(range(p.ndim))
        return (*self._above(p, positive, negative, axes), f.sum(positive, axes), f.sum(negative, axes))

    def weights(self, p: Value, sample_weight: Value | None) -> Value | None:
        """The weight of each prediction."""
        return None if sample_weight is None else f.broadcast_to(weighted(sample_weight, p), p.shape)

    def _above(self, p: Value, positive: Value, negative: Value, axes: tuple[int, ...]) -> Sums:
        """True and false positives for each threshold; of even ones the counts between two of them."""
        count = len(self._levels)
        shape, places = (count, *p.shape), tuple(range(1, p.ndim + 1))
        if count == 1:
            above: Value = f.greater(p, self._levels[0])
            return tuple(f.reshape(f.sum(f.where(above, v, 0.0), axes), (1, *_kept(p, axes)))
                         for v in (positive, negative))
        if self._even:
            return tuple(self._histogram(p, v) for v in (positive, negative))
        levels = f.broadcast(constant(np.asarray(self._levels, np.float32)), shape, (0,))
        above = f.greater(f.broadcast(p, shape, places), levels)
        return tuple(f.sum(f.where(above, f.broadcast(v, shape, places), 0.0), tuple(a + 1 for a in axes))
                     for v in (positive, negative))

    def _histogram(self, p: Value, weights: Value) -> Value:
        """The sum of the weights of the predictions between each threshold and the next one."""
        count = len(self._levels)
        scaled = f.clip(p, 0.0, 1.0) * float(count - 1)
        bucket = f.subtract(f.negative(f.floor(f.negative(scaled))), 1.0)  # below the first threshold it is -1
        weights = weights if self._levels[0] < 0 else f.where(f.less(bucket, 0.0), 0.0, weights)
        place = f.cast(f.relu(bucket), "i32")
        columns = int(p.shape[-1]) if self.per_label else 1  # type: ignore[arg-type]
        if columns > 1:
            place = f.add(f.multiply(place, columns), f.iota(p.shape, (p.ndim - 1,)))
        sums = f.scatter_add(f.reshape(weights, (-1,)), f.reshape(place, (-1,)), count * columns)
        return f.reshape(sums, (count, columns)) if self.per_label else sums

    def counts(self, totals: Sequence[Any]) -> tuple[Any, Any, Any, Any]:
        """True and false positives, true and false negatives, each for every threshold."""
        tp, fp, positive, negative = totals
        if self._even:
            tp, fp = (np.cumsum(v[::-1], axis=0)[::-1] for v in (tp, fp))
        return tp, fp, negative - fp, positive - tp


def _kept(p: Value, axes: tuple[int, ...]) -> tuple[Any, ...]:
    return tuple(n for a, n in enumerate(p.shape) if a not in axes)


def _thresholds(owner: str, thresholds: Any, default: float = 0.5) -> list[float]:
    given = [default] if thresholds is None else list(np.atleast_1d(thresholds))
    if thresholds is not None and any(not isinstance(t, int | float | np.number) or not 0 <= t <= 1 for t in given):
        raise ValueError(f"{owner}(thresholds={thresholds!r}): expected numbers from 0 to 1.")
    return [float(t) for t in given]


class _Count(_Confusion):
    """One of the four counts; for several thresholds an array."""

    which = 0

    def __init__(self, thresholds: Any = None, name: str | None = None, dtype: Any = None):
        super().__init__(dtype, name, _thresholds(type(self).__name__, thresholds))
        self.thresholds = thresholds

    def compute(self, totals: Sequence[Any], samples: int) -> Any:
        count = self.counts(totals)[self.which]
        return count[0] if len(self._levels) == 1 else count


class TruePositives(_Count):
    """How many positives were predicted as such."""

    which = 0


class FalsePositives(_Count):
    """How many negatives were predicted as positives."""

    which = 1


class TrueNegatives(_Count):
    """How many negatives were predicted as such."""

    which = 2


class FalseNegatives(_Count):
    """How many positives were predicted as negatives."""

    which = 3


class _Fraction(_Confusion):
    """True positives over the positives that were predicted, or that there are; 0 where there are none.

    `thresholds` may be several, which give an array. With `top_k` the k largest predictions of a row count as positive,
    with `class_id` only that column counts.
    """

    other = 1

    def __init__(self, thresholds: Any = None, top_k: int | None = None, class_id: int | None = None,
                 name: str | None = None, dtype: Any = None):
        levels = _thresholds(type(self).__name__, thresholds, 0.5 if top_k is None else _NONE)
        super().__init__(dtype, name, levels, False, top_k, class_id)
        self.thresholds = thresholds

    def compute(self, totals: Sequence[Any], samples: int) -> Any:
        counts = self.counts(totals)
        result = divide(counts[0], counts[0] + counts[self.other])
        return result[0] if len(self._levels) == 1 else result


class Precision(_Fraction):
    """True positives over predicted positives."""

    other = 1


class Recall(_Fraction):
    """True positives over actual positives."""

    other = 3


def _even_levels(count: int, least: float, most: float) -> list[float]:
    return [least, *(i / (count - 1) for i in range(1, count - 1)), most]


# -------------------------------------------------------------------------------------------- one rate at another one

class _At(_Confusion):
    """The best of one rate where another is at least a given value."""

    def __init__(self, value: float, num_thresholds: int = 200, class_id: int | None = None, name: str | None = None,
                 dtype: Any = None):
        owner = type(self).__name__
        if not 0 <= value <= 1:
            raise ValueError(f"{owner} received {value!r}, expected a number from 0 to 1.")
        if num_thresholds < 1:
            raise ValueError(f"{owner}(num_thresholds={num_thresholds!r}): expected a positive integer.")
        levels = [0.5] if num_thresholds == 1 else _even_levels(num_thresholds, 0.0, 1.0)
        super().__init__(dtype, name, levels, num_thresholds > 1, None, class_id)
        self.num_thresholds, self._value = num_thresholds, value

    def rates(self, tp: Any, fp: Any, tn: Any, fn: Any) -> tuple[Any, Any]:
        """The rate that is asked for, and the one that is given."""
        raise NotImplementedError

    def compute(self, totals: Sequence[Any], samples: int) -> Any:
        wanted, given = self.rates(*self.counts(totals))
        return max(np.max(wanted[given >= self._value], initial=0.0), 0.0)


class SensitivityAtSpecificity(_At):
    """The best recall of positives where that of negatives is at least `specificity`."""

    def __init__(self, specificity: float, num_thresholds: int = 200, class_id: int | None = None,
                 name: str | None = None, dtype: Any = None):
        super().__init__(specificity, num_thresholds, class_id, name, dtype)
        self.specificity = specificity

    def rates(self, tp: Any, fp: Any, tn: Any, fn: Any) -> tuple[Any, Any]:
        return divide(tp, tp + fn), divide(tn, tn + fp)


class SpecificityAtSensitivity(_At):
    """The best recall of negatives where that of positives is at least `sensitivity`."""

    def __init__(self, sensitivity: float, num_thresholds: int = 200, class_id: int | None = None,
                 name: str | None = None, dtype: Any = None):
        super().__init__(sensitivity, num_thresholds, class_id, name, dtype)
        self.sensitivity = sensitivity

    def rates(self, tp: Any, fp: Any, tn: Any, fn: Any) -> tuple[Any, Any]:
        return divide(tn, tn + fp), divide(tp, tp + fn)


class PrecisionAtRecall(_At):
    """The best precision where the recall is at least `recall`."""

    def __init__(self, recall: float, num_thresholds: int = 200, class_id: int | None = None, name: str | None = None,
                 dtype: Any = None):
        super().__init__(recall, num_thresholds, class_id, name, dtype)
        self.recall = recall

    def rates(self, tp: Any, fp: Any, tn: Any, fn: Any) -> tuple[Any, Any]:
        return divide(tp, tp + fp), divide(tp, tp + fn)


class RecallAtPrecision(_At):
    """The best recall where the precision is at least `precision`."""

    def __init__(self, precision: float, num_thresholds: int = 200, class_id: int | None = None,
                 name: str | None = None, dtype: Any = None):
        super().__init__(precision, num_thresholds, class_id, name, dtype)
        self.precision = precision

    def rates(self, tp: Any, fp: Any, tn: Any, fn: Any) -> tuple[Any, Any]:
        return divide(tp, tp + fn), divide(tp, tp + fp)


# ------------------------------------------------------------------------------------------------- area under a curve

class AUC(_Confusion):
    """The area under the ROC, precision-recall ('PR') or precision-recall-gain ('PRGAIN') curve of 200 thresholds.

    J. Davis, M. Goadrich, "The relationship between precision-recall and ROC curves", 2006, for the interpolation of
    'PR'. With `multi_label` the areas of the columns are averaged.
    """

    def __init__(self, num_thresholds: int = 200, curve: str = "ROC", summation_method: str = "interpolation",
                 name: str | None = None, dtype: Any = None, thresholds: Sequence[float] | None = None,
                 multi_label: bool = False, num_labels: int | None = None,
                 label_weights: Sequence[float] | None = None, from_logits: bool = False):
        if thresholds is None and num_thresholds <= 1:
            raise ValueError(f"AUC(num_thresholds={num_thresholds!r}): expected an integer of at least 2.")
        if num_labels and not multi_label:
            raise ValueError(f"AUC(num_labels={num_labels!r}) goes with multi_label=True.")
        given = sorted(_thresholds("AUC", list(thresholds))) if thresholds is not None else []
        self.num_thresholds = num_thresholds if thresholds is None else len(given) + 2
        regular = _even_levels(self.num_thresholds, 0.0, 1.0)
        even = thresholds is None or np.allclose([0.0, *given, 1.0], regular, atol=1e-7)
        inner = regular[1:-1] if thresholds is None else given
        super().__init__(dtype, name, [-1e-7, *inner, 1.0 + 1e-7], even)
        self.curve = choose("curve", curve, {c: c for c in ("ROC", "PR", "PRGAIN")})
        methods = ("interpolation", "majoring", "minoring")
        self.summation_method = choose("summation_method", summation_method, {m: m for m in methods})
        self.thresholds = None if thresholds is None else given
        self.multi_label = self.per_label = multi_label
        self.num_labels, self.from_logits = num_labels, from_logits
        self.label_weights = None if label_weights is None else [float(w) for w in label_weights]

    def sums(self, y_true: Value, y_pred: Value, sample_weight: Value | None = None) -> Sums:
        if self.multi_label and (y_pred.ndim != 2 or self.num_labels not in (None, y_pred.shape[1])):
            raise ShapeError(f"{self.name} received predictions {y_pred.type}, expected "
                             f"[N,{self.num_labels or 'labels'}] with multi_label=True.")
        return super().sums(y_true, f.sigmoid(y_pred) if self.from_logits else y_pred, sample_weight)

    def weights(self, p: Value, sample_weight: Value | None) -> Value | None:
        weights = super().weights(p, sample_weight)
        if self.multi_label or self.label_weights is None:
            return weights
        of_labels = f.broadcast_to(constant(np.asarray(self.label_weights, np.float32)), p.shape)
        return of_labels if weights is None else f.multiply(weights, of_labels)

    def compute(self, totals: Sequence[Any], samples: int) -> Any:
        tp, fp, tn, fn = self.counts(totals)
        if self.curve == "PR" and self.summation_method == "interpolation":
            areas = _interpolated(tp, fp, fn)
        else:
            x, y = self._curve(tp, fp, tn, fn)
            heights = {"interpolation": (y[:-1] + y[1:]) / 2, "minoring": np.minimum(y[:-1], y[1:]),
                       "majoring": np.maximum(y[:-1], y[1:])}[self.summation_method]
            areas = (x[:-1] - x[1:]) * heights
        if not self.multi_label:
            return areas.sum()
        each = areas.sum(0)
        return each.mean() if self.label_weights is None else divide(each @ self.label_weights, sum(self.label_weights))

    def _curve(self, tp: Any, fp: Any, tn: Any, fn: Any) -> tuple[Any, Any]:
        recall, precision = divide(tp, tp + fn), divide(tp, tp + fp)
        if self.curve == "ROC":
            return divide(fp, fp + tn), recall
        if self.curve == "PR":
            return recall, precision
        scale = divide(tp + fn, tn + fp)
        gains = [np.where(tp == 0, none, 1 - scale * divide(wrong, tp)) for none, wrong in ((0.0, fn), (1.0, fp))]
        return np.maximum(gains[0], 0.0), gains[1]


def _interpolated(tp: Any, fp: Any, fn: Any) -> Any:
    """The pieces of the area under a precision-recall curve on which false positives grow linearly with true ones."""
    p = tp + fp
    slope = divide(tp[:-1] - tp[1:], np.maximum(p[:-1] - p[1:], 0))
    intercept = tp[1:] - slope * p[1:]
    both = (p[:-1] > 0) & (p[1:] > 0)
    ratio = np.where(both, divide(p[:-1], np.maximum(p[1:], 0)), 1.0)
    return divide(slope * (tp[:-1] - tp[1:] + intercept * np.log(ratio)), np.maximum(tp[1:] + fn[1:], 0))
