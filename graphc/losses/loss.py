"""What all losses share: alignment of labels with predictions, masks and weights, the reduction to one number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.configs import config_of
from graphc.eager import as_value, eager
from graphc.ir import functions as f
from graphc.ir.errors import DTypeError, ShapeError
from graphc.ir.graph import Value
from graphc.names import choose, snake_case

__all__ = ["EPSILON", "Loss", "LossFunctionWrapper", "Reduction", "aligned", "check_dtype", "divide_no_nan",
           "numbers_from", "same_rank", "weighted"]

EPSILON = 1e-7  # how far probabilities are kept from 0 and 1


class Reduction:
    """The names of reductions, as old code spells them."""

    AUTO = SUM_OVER_BATCH_SIZE = "sum_over_batch_size"
    SUM, NONE, MEAN, MEAN_WITH_SAMPLE_WEIGHT = "sum", "none", "mean", "mean_with_sample_weight"


def same_rank(x1: Value, x2: Value) -> tuple[Value, Value]:
    """The two with equal numbers of axes, where they differ by a last axis of extent 1; (N,) becomes (N, 1)."""
    if x1.ndim == x2.ndim + 1 and x1.shape[-1] == 1:
        return (x1, f.expand_dims(x2, -1)) if x2.ndim == 1 else (f.squeeze(x1, -1), x2)
    if x2.ndim == x1.ndim + 1 and x2.shape[-1] == 1:
        return (f.expand_dims(x1, -1), x2) if x1.ndim == 1 else (x1, f.squeeze(x2, -1))
    return x1, x2


def aligned(name: str, y_true: Value, y_pred: Value) -> tuple[Value, Value]:
    """Labels in the dtype and rank of predictions; ShapeError where their shapes differ by more than an axis of 1."""
    y_pred = y_pred if y_pred.dtype.is_float else f.cast(y_pred, "f32")
    y, p = same_rank(f.cast(y_true, y_pred.dtype), y_pred)
    if y.ndim and p.ndim and y.shape != p.shape:
        raise ShapeError(f"{name} received labels {y_true.type} for predictions {y_pred.type}, expected equal shapes.")
    return y, p


def divide_no_nan(x1: Value, x2: Value) -> Value:
    """x1 / x2, and 0 where x2 is 0."""
    zero = f.equal(x2, 0)
    return f.where(zero, 0.0, f.divide(x1, f.where(zero, 1.0, x2)))


def weighted(weights: Value, values: Value, name: str = "sample_weight") -> Value:
    """Weights with an axis for each of the values': one weight stands for all that follows its axes."""
    if weights.ndim == values.ndim + 1 and weights.shape[-1] == 1:
        weights = f.squeeze(weights, -1)
    if weights.ndim > values.ndim > 0:
        raise ShapeError(f"{name} {weights.type} has more axes than the {values.type} that it belongs to.")
    missing = max(values.ndim - weights.ndim, 0)
    return f.cast(f.reshape(weights, (*weights.shape, *(1,) * missing)), values.dtype)


def _reduced(values: Value, sample_weight: Value | None, mask: Value | None, reduction: str | None) -> Value:
    weights = None if sample_weight is None else weighted(sample_weight, values)
    if mask is not None:
        keep = weighted(mask, values, "The mask")
        if reduction in ("mean", "sum_over_batch_size"):  # so that the divisor is the number of valid entries
            total = f.cast(f.sum(f.ones_like(keep)), values.dtype)
            keep = f.multiply(keep, divide_no_nan(total, f.sum(keep)))
        weights = keep if weights is None else f.multiply(weights, keep)
    if weights is not None:
        values = f.multiply(values, weights)
    if reduction in (None, "none") or not values.ndim:
        return values
    if reduction == "sum":
        return f.sum(values)
    if reduction == "mean_with_sample_weight" and weights is not None:
        return divide_no_nan(f.sum(values), f.sum(weights))
    return f.mean(values)


_REDUCTIONS = ("sum_over_batch_size", "sum", "mean", "mean_with_sample_weight", "none")


def numbers_from(name: str, result: Any) -> Value:
    """What a function of the user's gave, as a value of f32; DTypeError where that isn't numbers."""
    try:
        return f.cast(as_value(result), "f32")
    except DTypeError:
        raise DTypeError(f"{name!r} gave {result!r}, expected numbers: return what functions of graphc.ops make of "
                         "y_true and y_pred.") from None


def check_dtype(owner: str, dtype: Any) -> str:
    """The dtype as its name; graphc computes losses and metrics in float32."""
    if dtype not in (None, "float32"):
        raise ValueError(f"{owner}(dtype={dtype!r}): graphc computes in float32, expected 'float32' or None.")
    return "float32"


class Loss:
    """Base: `call(y_true, y_pred)` gives the losses of the samples, the reduction makes one number of them."""

    keras_module = "keras.losses"
    # What the targets look like: "same" as the predictions, "classes" (numbers for the last axis), or "any".
    targets = "any"

    def __init__(self, name: str | None = None, reduction: str | None = "sum_over_batch_size", dtype: Any = None):
        self.name = name or snake_case(type(self).__name__)
        self.dtype = check_dtype(type(self).__name__, dtype)
        owner = f"reduction of {type(self).__name__}:"
        self.reduction = reduction if reduction is None else choose(owner, reduction, {r: r for r in _REDUCTIONS})

    def call(self, y_true: Value, y_pred: Value) -> Value:
        """The losses of the samples."""
        raise NotImplementedError(f"{type(self).__name__} has no `call`: define call(self, y_true, y_pred).")

    def takes_classes(self, labels: Sequence[int], output: Sequence[int | None]) -> bool:
        """Whether labels of a shape are class numbers, for an output of a shape without the batch."""
        return self.targets == "classes"

    def valid(self, y_true: Value, y_pred: Value) -> Value | None:
        """Which of the losses of `call` count, or None for all of them."""
        return None

    @eager("y_true", "y_pred", "sample_weight", "mask")
    def __call__(self, y_true: Value, y_pred: Value, sample_weight: Value | None = None,
                 mask: Value | None = None) -> Value:
        """The reduced loss of values or arrays.

        Weights, one for each sample or time step, multiply the losses; the mean still divides by their number. What a
        mask leaves out counts for nothing, and the mean divides by the number of the rest.
        """
        y_pred = f.cast(y_pred, "f32")
        y_true = f.cast(y_true, "f32") if y_true.dtype.is_float or self.targets == "any" else y_true
        values, valid = self.call(y_true, y_pred), self.valid(y_true, y_pred)
        if valid is not None:
            mask = valid if mask is None else f.logical_and(f.cast(mask, "bool"), valid)
        return _reduced(numbers_from(self.name, values), sample_weight, mask, self.reduction)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {name: value for name, value in config_of(self).items() if name != "dtype"}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Loss:
        """The loss with these arguments."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


class LossFunctionWrapper(Loss):
    """A function of (y_true, y_pred) and of options, that gives one loss per sample."""

    function: Any = None

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str | None = None, dtype: Any = None,
                 **options: Any):
        super().__init__(name or type(self).function.__name__, reduction, dtype)
        self.options = tuple(options)
        vars(self).update(options)

    def call(self, y_true: Value, y_pred: Value) -> Value:
        return type(self).function(y_true, y_pred, **{name: getattr(self, name) for name in self.options})
