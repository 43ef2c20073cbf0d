"""Losses as graph builders: values in, values out. https://keras.io/api/losses/

A function gives one loss for each sample (the mean over its last axis); a class adds the options and the
reduction to one number, by default the mean over all of them.
"""

from __future__ import annotations

from typing import Any

from graphc.configs import config_of, describe, describe_function
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value
from graphc.names import choose, snake_case

__all__ = ["BinaryCrossentropy", "CategoricalCrossentropy", "Loss", "MeanAbsoluteError", "MeanSquaredError",
           "SparseCategoricalCrossentropy", "binary_crossentropy", "categorical_crossentropy", "get",
           "mean_absolute_error", "mean_squared_error", "serialize", "sparse_categorical_crossentropy"]

EPSILON = 1e-7  # how far probabilities are kept from 0 and 1


def mean_squared_error(y_true: Value, y_pred: Value) -> Value:
    """The mean of (y_true - y_pred)**2 over the last axis."""
    return f.mean(f.square(f.subtract(y_pred, f.cast(y_true, y_pred.dtype))), -1)


def mean_absolute_error(y_true: Value, y_pred: Value) -> Value:
    """The mean of |y_true - y_pred| over the last axis."""
    return f.mean(f.absolute(f.subtract(y_pred, f.cast(y_true, y_pred.dtype))), -1)


def binary_crossentropy(y_true: Value, y_pred: Value, from_logits: bool = False,
                        label_smoothing: float = 0.0) -> Value:
    """-(y log p + (1 - y) log(1 - p)), its mean over the last axis; p is kept EPSILON away from 0 and 1."""
    y = f.cast(y_true, y_pred.dtype)
    if label_smoothing:
        y = y * (1.0 - label_smoothing) + 0.5 * label_smoothing
    if from_logits:
        return f.mean(f.softplus(y_pred) - y * y_pred, -1)
    p = f.clip(y_pred, EPSILON, 1.0 - EPSILON)
    return f.mean(-(y * f.log(p) + (1.0 - y) * f.log(1.0 - p)), -1)


def _log_probabilities(y_pred: Value, from_logits: bool) -> Value:
    if from_logits:
        return f.log_softmax(y_pred, -1)
    p = f.divide(y_pred, f.sum(y_pred, -1, keepdims=True))
    return f.log(f.clip(p, EPSILON, 1.0 - EPSILON))


def categorical_crossentropy(y_true: Value, y_pred: Value, from_logits: bool = False,
                             label_smoothing: float = 0.0) -> Value:
    """-sum(y log p) over the last axis, where y has a 1 at the class and p is made to sum to 1."""
    y = f.cast(y_true, y_pred.dtype)
    if label_smoothing:
        y = y * (1.0 - label_smoothing) + label_smoothing / int(y_pred.shape[-1])  # type: ignore[arg-type]
    return -f.sum(y * _log_probabilities(y_pred, from_logits), -1)


def sparse_categorical_crossentropy(y_true: Value, y_pred: Value, from_logits: bool = False) -> Value:
    """categorical_crossentropy of class numbers: y_true has y_pred's shape without the last axis."""
    if y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1:
        y_true = f.squeeze(y_true, -1)
    if y_true.shape != y_pred.shape[:-1]:
        raise ShapeError(f"sparse_categorical_crossentropy received labels {y_true.type} for predictions "
                         f"{y_pred.type}, expected one class number for each row of probabilities.")
    classes = f.one_hot(f.cast(y_true, "i32"), int(y_pred.shape[-1]), y_pred.dtype)  # type: ignore[arg-type]
    return categorical_crossentropy(classes, y_pred, from_logits)


class Loss:
    """Base: `call(y_true, y_pred)` gives the losses of the samples, the reduction makes one number of them."""

    keras_module = "keras.losses"
    # What the targets look like: "same" as the predictions, "classes" (numbers for the last axis), or "any".
    targets = "any"

    def __init__(self, name: str | None = None, reduction: str | None = "sum_over_batch_size"):
        self.name = name or snake_case(type(self).__name__)
        if reduction not in ("sum_over_batch_size", "mean", "sum"):
            raise ValueError(f"{type(self).__name__}(reduction={reduction!r}): expected 'sum_over_batch_size' or "
                             "'sum'.")
        self.reduction = reduction

    def call(self, y_true: Value, y_pred: Value) -> Value:
        """The losses of the samples."""
        raise NotImplementedError(f"{type(self).__name__} has no `call`: define call(self, y_true, y_pred).")

    def __call__(self, y_true: Value, y_pred: Value, sample_weight: Value | None = None) -> Value:
        """The reduced loss. Weights multiply the losses of the samples; the mean still divides by their number."""
        values = self.call(y_true, y_pred)
        if sample_weight is not None:
            values = values * f.reshape(sample_weight, (sample_weight.shape[0], *(1,) * (values.ndim - 1)))
        return f.sum(values) if self.reduction == "sum" else f.mean(values)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return config_of(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


class _Wrapped(Loss):
    """A loss function of the user's."""

    def __init__(self, function: Any):
        super().__init__(getattr(function, "__name__", "loss"))
        self.function = function

    def call(self, y_true: Value, y_pred: Value) -> Value:
        return self.function(y_true, y_pred)


class MeanSquaredError(Loss):
    """mean_squared_error, reduced."""

    targets = "same"

    def call(self, y_true: Value, y_pred: Value) -> Value:
        return mean_squared_error(y_true, y_pred)


class MeanAbsoluteError(Loss):
    """mean_absolute_error, reduced."""

    targets = "same"

    def call(self, y_true: Value, y_pred: Value) -> Value:
        return mean_absolute_error(y_true, y_pred)


class _Crossentropy(Loss):
    """Options of the crossentropies."""

    targets = "same"
    function: Any = None

    def __init__(self, from_logits: bool = False, label_smoothing: float = 0.0, reduction: str = "sum_over_batch_size",
                 name: str | None = None):
        super().__init__(name, reduction)
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"{type(self).__name__}(label_smoothing={label_smoothing!r}): expected a number from 0 to "
                             "1.")
        self.from_logits, self.label_smoothing = from_logits, label_smoothing

    def call(self, y_true: Value, y_pred: Value) -> Value:
        return type(self).function(y_true, y_pred, self.from_logits, self.label_smoothing)


class BinaryCrossentropy(_Crossentropy):
    """binary_crossentropy, reduced."""

    function = staticmethod(binary_crossentropy)


class CategoricalCrossentropy(_Crossentropy):
    """categorical_crossentropy, reduced."""

    function = staticmethod(categorical_crossentropy)


class SparseCategoricalCrossentropy(Loss):
    """sparse_categorical_crossentropy, reduced."""

    targets = "classes"

    def __init__(self, from_logits: bool = False, reduction: str = "sum_over_batch_size", name: str | None = None):
        super().__init__(name, reduction)
        self.from_logits = from_logits

    def call(self, y_true: Value, y_pred: Value) -> Value:
        return sparse_categorical_crossentropy(y_true, y_pred, self.from_logits)


_FUNCTIONS: dict[Any, type[Loss]] = {
    mean_squared_error: MeanSquaredError, mean_absolute_error: MeanAbsoluteError,
    binary_crossentropy: BinaryCrossentropy, categorical_crossentropy: CategoricalCrossentropy,
    sparse_categorical_crossentropy: SparseCategoricalCrossentropy,
}
_BY_NAME = ({fn.__name__: c for fn, c in _FUNCTIONS.items()} | {c.__name__: c for c in _FUNCTIONS.values()}
            | {"mse": MeanSquaredError, "mae": MeanAbsoluteError, "bce": BinaryCrossentropy})


def get(identifier: Any) -> Loss:
    """The loss for a name, a Loss, a class, or a function of (y_true, y_pred) that gives one loss per sample."""
    if isinstance(identifier, Loss):
        return identifier
    if isinstance(identifier, str):
        return choose("loss", identifier, _BY_NAME)()
    if isinstance(identifier, type) and issubclass(identifier, Loss):
        return identifier()
    if callable(identifier):
        return _FUNCTIONS[identifier]() if identifier in _FUNCTIONS else _Wrapped(identifier)
    raise TypeError(f"A loss is a name, a Loss or a function of (y_true, y_pred), received {identifier!r}.")


def serialize(loss: Loss) -> dict[str, Any]:
    """The class name and arguments of a loss, or the name of a function of the user's."""
    return describe_function(loss.function) if isinstance(loss, _Wrapped) else describe(loss)
