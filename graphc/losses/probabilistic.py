"""Losses of probabilities and of overlaps. https://keras.io/api/losses/probabilistic_losses/"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.eager import eager
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value
from graphc.losses.loss import EPSILON, Loss, LossFunctionWrapper, aligned

__all__ = ["BCE", "KLD", "BinaryCrossentropy", "BinaryFocalCrossentropy", "CategoricalCrossentropy",
           "CategoricalFocalCrossentropy", "Dice", "KLDivergence", "Poisson", "SparseCategoricalCrossentropy",
           "Tversky", "bce", "binary_crossentropy", "binary_focal_crossentropy", "categorical_crossentropy",
           "categorical_focal_crossentropy", "dice", "kl_divergence", "kld", "kullback_leibler_divergence", "poisson",
           "sparse_categorical_crossentropy", "tversky"]

Axes = int | tuple[int, ...] | list[int] | None


def _clipped(p: Value) -> Value:
    return f.clip(p, EPSILON, 1.0 - EPSILON)


def _bits(y: Value, p: Value) -> Value:
    """-(y log p + (1 - y) log(1 - p)), element by element."""
    p = _clipped(p)
    return -(y * f.log(p) + (1.0 - y) * f.log(1.0 - p))


def _smooth_bits(y: Value, label_smoothing: float) -> Value:
    return y * (1.0 - label_smoothing) + 0.5 * label_smoothing if label_smoothing else y


@eager("y_true", "y_pred")
def binary_crossentropy(y_true: Value, y_pred: Value, from_logits: bool = False, label_smoothing: float = 0.0,
                        axis: int = -1) -> Value:
    """-(y log p + (1 - y) log(1 - p)), its mean over an axis; p is kept EPSILON away from 0 and 1."""
    y, p = aligned("binary_crossentropy", y_true, y_pred)
    y = _smooth_bits(y, label_smoothing)
    return f.mean(f.softplus(p) - y * p if from_logits else _bits(y, p), axis)


@eager("y_true", "y_pred")
def binary_focal_crossentropy(y_true: Value, y_pred: Value, apply_class_balancing: bool = False, alpha: float = 0.25,
                              gamma: float = 2.0, from_logits: bool = False, label_smoothing: float = 0.0,
                              axis: int = -1) -> Value:
    """binary_crossentropy times (1 - the probability of the label)**gamma, and alpha or 1 - alpha with balancing.

    T. Lin et al., "Focal loss for dense object detection", 2017.
    """
    y, p = aligned("binary_focal_crossentropy", y_true, y_pred)
    y, p = _smooth_bits(y, label_smoothing), f.sigmoid(p) if from_logits else p
    of_label = y * p + (1.0 - y) * (1.0 - p)
    losses = f.power(1.0 - of_label, gamma) * _bits(y, p)
    if apply_class_balancing:
        losses = (y * alpha + (1.0 - y) * (1.0 - alpha)) * losses
    return f.mean(losses, axis)


def _log_probabilities(y_pred: Value, from_logits: bool, axis: int) -> Value:
    if from_logits:
        return f.log_softmax(y_pred, axis)
    return f.log(_clipped(f.divide(y_pred, f.sum(y_pred, axis, keepdims=True))))


def _smooth_classes(y: Value, label_smoothing: float) -> Value:
    if not label_smoothing:
        return y
    return y * (1.0 - label_smoothing) + label_smoothing / int(y.shape[-1])  # type: ignore[arg-type]


@eager("y_true", "y_pred")
def categorical_crossentropy(y_true: Value, y_pred: Value, from_logits: bool = False, label_smoothing: float = 0.0,
                             axis: int = -1) -> Value:
    """-sum(y log p) over an axis, where y has a 1 at the class and p is made to sum to 1."""
    y, p = aligned("categorical_crossentropy", y_true, y_pred)
    return -f.sum(_smooth_classes(y, label_smoothing) * _log_probabilities(p, from_logits, axis), axis)


@eager("y_true", "y_pred")
def categorical_focal_crossentropy(y_true: Value, y_pred: Value, alpha: float = 0.25, gamma: float = 2.0,
                                   from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1) -> Value:
    """The terms of categorical_crossentropy times alpha * (1 - p)**gamma, summed over an axis."""
    y, p = aligned("categorical_focal_crossentropy", y_true, y_pred)
    p = f.softmax(p, axis) if from_logits else p
    p = _clipped(f.divide(p, f.sum(p, axis, keepdims=True)))
    terms = f.negative(_smooth_classes(y, label_smoothing)) * f.log(p)
    return f.sum(f.power(1.0 - p, gamma) * alpha * terms, axis)


@eager("y_true", "y_pred")
def sparse_categorical_crossentropy(y_true: Value, y_pred: Value, from_logits: bool = False,
                                    ignore_class: int | None = None, axis: int = -1) -> Value:
    """categorical_crossentropy of class numbers: y_true has y_pred's shape without the axis of the classes.

    Labels that are `ignore_class` give 0.
    """
    last = y_pred.ndim - 1
    at = axis % y_pred.ndim
    if at != last:
        y_pred = f.transpose(y_pred, [*(a for a in range(y_pred.ndim) if a != at), at])
        y_true = f.squeeze(y_true, at) if y_true.ndim > last and y_true.shape[at] == 1 else y_true
    y = _class_numbers(y_true, y_pred)
    classes = f.one_hot(y, int(y_pred.shape[-1]), y_pred.dtype)  # type: ignore[arg-type]
    if ignore_class is None:
        return categorical_crossentropy(classes, y_pred, from_logits)
    counts = f.not_equal(y, ignore_class)
    # in the place of predictions that are left out, whatever they are, stand some of finite loss and gradient
    some = f.where(f.broadcast(counts, y_pred.shape, tuple(range(last))), y_pred, f.ones_like(y_pred))
    return f.where(counts, categorical_crossentropy(classes, some, from_logits), 0.0)


def _class_numbers(y_true: Value, y_pred: Value) -> Value:
    y = f.squeeze(y_true, -1) if y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1 else y_true
    if y.shape != y_pred.shape[:-1]:
        raise ShapeError(f"sparse_categorical_crossentropy received labels {y_true.type} for predictions "
                         f"{y_pred.type}, expected one class number for each row of probabilities.")
    return f.cast(y, "i32")


@eager("y_true", "y_pred")
def kl_divergence(y_true: Value, y_pred: Value) -> Value:
    """sum(y log(y / p)) over the last axis; both are kept in [EPSILON, 1]."""
    y, p = (f.clip(v, EPSILON, 1.0) for v in aligned("kl_divergence", y_true, y_pred))
    return f.sum(y * f.log(y / p), -1)


@eager("y_true", "y_pred")
def poisson(y_true: Value, y_pred: Value) -> Value:
    """The mean of p - y log(p + EPSILON) over the last axis."""
    y, p = aligned("poisson", y_true, y_pred)
    return f.mean(p - y * f.log(p + EPSILON), -1)


def _axes(axis: Axes) -> Any:
    return tuple(axis) if isinstance(axis, list) else axis


@eager("y_true", "y_pred")
def dice(y_true: Value, y_pred: Value, axis: Axes = None) -> Value:
    """1 - 2 sum(y p) / (sum(y) + sum(p)), the sums over the axes, all of them by default."""
    y, p = aligned("dice", y_true, y_pred)
    common, axes = f.sum(y * p, _axes(axis)), _axes(axis)
    return 1.0 - 2.0 * common / (f.sum(y, axes) + f.sum(p, axes) + EPSILON)


@eager("y_true", "y_pred")
def tversky(y_true: Value, y_pred: Value, alpha: float = 0.5, beta: float = 0.5, axis: Axes = None) -> Value:
    """1 - sum(y p) / (sum(y p) + alpha sum(y (1 - p)) + beta sum((1 - y) p)); dice with other weights.

    S. Salehi et al., "Tversky loss function for image segmentation using 3D fully convolutional deep networks", 2017.
    """
    y, p = aligned("tversky", y_true, y_pred)
    axes = _axes(axis)
    common, missed, wrong = f.sum(y * p, axes), f.sum((1.0 - p) * y, axes), f.sum(p * (1.0 - y), axes)
    return 1.0 - common / (common + missed * alpha + wrong * beta + EPSILON)


bce = BCE = binary_crossentropy
kld = KLD = kullback_leibler_divergence = kl_divergence


def _smoothing(owner: Any, label_smoothing: float) -> float:
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"{type(owner).__name__}(label_smoothing={label_smoothing!r}): expected a number from 0 to 1.")
    return label_smoothing


class BinaryCrossentropy(LossFunctionWrapper):
    """binary_crossentropy, reduced."""

    targets, function = "same", staticmethod(binary_crossentropy)

    def __init__(self, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1,
                 reduction: str | None = "sum_over_batch_size", name: str | None = None, dtype: Any = None):
        super().__init__(reduction, name, dtype, from_logits=from_logits, axis=axis,
                         label_smoothing=_smoothing(self, label_smoothing))


class BinaryFocalCrossentropy(LossFunctionWrapper):
    """binary_focal_crossentropy, reduced."""

    targets, function = "same", staticmethod(binary_focal_crossentropy)

    def __init__(self, apply_class_balancing: bool = False, alpha: float = 0.25, gamma: float = 2.0,
                 from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1,
                 reduction: str | None = "sum_over_batch_size", name: str | None = None, dtype: Any = None):
        super().__init__(reduction, name, dtype, apply_class_balancing=apply_class_balancing, alpha=alpha, gamma=gamma,
                         from_logits=from_logits, label_smoothing=_smoothing(self, label_smoothing), axis=axis)


class CategoricalCrossentropy(LossFunctionWrapper):
    """categorical_crossentropy, reduced."""

    targets, function = "same", staticmethod(categorical_crossentropy)

    def __init__(self, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1,
                 reduction: str | None = "sum_over_batch_size", name: str | None = None, dtype: Any = None):
        super().__init__(reduction, name, dtype, from_logits=from_logits, axis=axis,
                         label_smoothing=_smoothing(self, label_smoothing))


class CategoricalFocalCrossentropy(LossFunctionWrapper):
    """categorical_focal_crossentropy, reduced."""

    targets, function = "same", staticmethod(categorical_focal_crossentropy)

    def __init__(self, alpha: float = 0.25, gamma: float = 2.0, from_logits: bool = False, label_smoothing: float = 0.0,
                 axis: int = -1, reduction: str | None = "sum_over_batch_size", name: str | None = None,
                 dtype: Any = None):
        super().__init__(reduction, name, dtype, alpha=alpha, gamma=gamma, from_logits=from_logits, axis=axis,
                         label_smoothing=_smoothing(self, label_smoothing))


class SparseCategoricalCrossentropy(LossFunctionWrapper):
    """sparse_categorical_crossentropy, reduced; labels that are `ignore_class` don't count in a mean."""

    targets, function = "classes", staticmethod(sparse_categorical_crossentropy)

    def __init__(self, from_logits: bool = False, ignore_class: int | None = None,
                 reduction: str | None = "sum_over_batch_size", axis: int = -1, name: str | None = None,
                 dtype: Any = None):
        super().__init__(reduction, name, dtype, from_logits=from_logits, ignore_class=ignore_class, axis=axis)
        self.targets = "classes" if axis == -1 else "any"

    def valid(self, y_true: Value, y_pred: Value) -> Value | None:
        if self.ignore_class is None:  # type: ignore[attr-defined]
            return None
        axis = self.axis % y_pred.ndim  # type: ignore[attr-defined]
        y = f.squeeze(y_true, axis) if y_true.ndim == y_pred.ndim else y_true
        return f.not_equal(f.cast(y, "i32"), self.ignore_class)  # type: ignore[attr-defined]


class Crossentropy(Loss):
    """`crossentropy`: the binary, sparse or categorical one, as the shapes of labels and predictions say."""

    def takes_classes(self, labels: Sequence[int], output: Sequence[int | None]) -> bool:
        return output[-1] != 1 and (len(labels) <= len(output) or labels[-1] == 1)

    def call(self, y_true: Value, y_pred: Value) -> Value:
        if y_pred.shape[-1] == 1:
            return binary_crossentropy(y_true, y_pred)
        if y_true.ndim < y_pred.ndim or y_true.shape[-1] == 1:
            return sparse_categorical_crossentropy(y_true, y_pred)
        return categorical_crossentropy(y_true, y_pred)


class KLDivergence(LossFunctionWrapper):
    """kl_divergence, reduced. S. Kullback, R. Leibler, "On information and sufficiency", 1951."""

    targets, function = "same", staticmethod(kl_divergence)


class Poisson(LossFunctionWrapper):
    """poisson, reduced."""

    targets, function = "same", staticmethod(poisson)


class Dice(LossFunctionWrapper):
    """dice, reduced. L. Dice, "Measures of the amount of ecologic association between species", 1945."""

    targets, function = "same", staticmethod(dice)

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str | None = None, axis: Axes = None,
                 dtype: Any = None):
        super().__init__(reduction, name, dtype, axis=axis)


class Tversky(LossFunctionWrapper):
    """tversky, reduced."""

    targets, function = "same", staticmethod(tversky)

    def __init__(self, alpha: float = 0.5, beta: float = 0.5, reduction: str | None = "sum_over_batch_size",
                 name: str | None = None, axis: Axes = None, dtype: Any = None):
        super().__init__(reduction, name, dtype, alpha=alpha, beta=beta, axis=axis)
