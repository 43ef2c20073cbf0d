"""Losses of numbers. https://keras.io/api/losses/regression_losses/"""

from __future__ import annotations

import math
from typing import Any

from graphc.eager import eager
from graphc.ir import functions as f
from graphc.ir.graph import Value
from graphc.losses.loss import EPSILON, LossFunctionWrapper, aligned

__all__ = ["MAE", "MAPE", "MSE", "MSLE", "CosineSimilarity", "Huber", "LogCosh", "MeanAbsoluteError",
           "MeanAbsolutePercentageError", "MeanSquaredError", "MeanSquaredLogarithmicError", "cosine_proximity",
           "cosine_similarity", "huber", "huber_loss", "log_cosh", "logcosh", "mae", "mape", "mean_absolute_error",
           "mean_absolute_percentage_error", "mean_squared_error", "mean_squared_logarithmic_error", "mse", "msle"]


@eager("y_true", "y_pred")
def mean_squared_error(y_true: Value, y_pred: Value) -> Value:
    """The mean of (y_true - y_pred)**2 over the last axis."""
    y, p = aligned("mean_squared_error", y_true, y_pred)
    return f.mean(f.square(f.subtract(p, y)), -1)


@eager("y_true", "y_pred")
def mean_absolute_error(y_true: Value, y_pred: Value) -> Value:
    """The mean of |y_true - y_pred| over the last axis."""
    y, p = aligned("mean_absolute_error", y_true, y_pred)
    return f.mean(f.absolute(f.subtract(p, y)), -1)


@eager("y_true", "y_pred")
def mean_absolute_percentage_error(y_true: Value, y_pred: Value) -> Value:
    """100 times the mean of |y_true - y_pred| / max(|y_true|, EPSILON) over the last axis."""
    y, p = aligned("mean_absolute_percentage_error", y_true, y_pred)
    return f.multiply(100.0, f.mean(f.absolute(f.divide(f.subtract(y, p), f.maximum(f.absolute(y), EPSILON))), -1))


@eager("y_true", "y_pred")
def mean_squared_logarithmic_error(y_true: Value, y_pred: Value) -> Value:
    """The mean of (log(y_true + 1) - log(y_pred + 1))**2 over the last axis; negative numbers count as EPSILON."""
    y, p = aligned("mean_squared_logarithmic_error", y_true, y_pred)
    return f.mean(f.square(f.log(f.maximum(p, EPSILON) + 1.0) - f.log(f.maximum(y, EPSILON) + 1.0)), -1)


def cosine(y_true: Value, y_pred: Value, axis: int = -1) -> Value:
    """The cosine of the angle between y_true and y_pred along an axis; 0 where one of them is 0."""
    def normalized(x: Value) -> Value:
        return f.multiply(x, f.rsqrt(f.maximum(f.sum(f.square(x), axis, keepdims=True), EPSILON**2)))

    y, p = aligned("cosine_similarity", y_true, y_pred)
    return f.sum(f.multiply(normalized(y), normalized(p)), axis)


@eager("y_true", "y_pred")
def cosine_similarity(y_true: Value, y_pred: Value, axis: int = -1) -> Value:
    """The negative cosine of the angle between y_true and y_pred along an axis."""
    return f.negative(cosine(y_true, y_pred, axis))


@eager("y_true", "y_pred")
def huber(y_true: Value, y_pred: Value, delta: float = 1.0) -> Value:
    """The mean of e**2 / 2 where the error |e| is at most delta, of delta * |e| - delta**2 / 2 elsewhere."""
    y, p = aligned("huber", y_true, y_pred)
    error = f.absolute(f.subtract(p, y))
    far = f.subtract(f.multiply(error, delta), 0.5 * delta**2)
    return f.mean(f.where(f.less_equal(error, delta), f.multiply(0.5, f.square(error)), far), -1)


@eager("y_true", "y_pred")
def log_cosh(y_true: Value, y_pred: Value) -> Value:
    """The mean of log(cosh(y_pred - y_true)) over the last axis."""
    y, p = aligned("log_cosh", y_true, y_pred)
    error = f.subtract(p, y)
    return f.mean(f.subtract(f.add(error, f.softplus(f.multiply(error, -2.0))), math.log(2.0)), -1)


# short names, and those of older versions of Keras
mse, mae, mape, msle = (
    mean_squared_error, mean_absolute_error, mean_absolute_percentage_error, mean_squared_logarithmic_error)
MSE, MAE, MAPE, MSLE = mse, mae, mape, msle
cosine_proximity, huber_loss, logcosh = cosine_similarity, huber, log_cosh


class MeanSquaredError(LossFunctionWrapper):
    """mean_squared_error, reduced."""

    targets, function = "same", staticmethod(mean_squared_error)


class MeanAbsoluteError(LossFunctionWrapper):
    """mean_absolute_error, reduced."""

    targets, function = "same", staticmethod(mean_absolute_error)


class MeanAbsolutePercentageError(LossFunctionWrapper):
    """mean_absolute_percentage_error, reduced."""

    targets, function = "same", staticmethod(mean_absolute_percentage_error)


class MeanSquaredLogarithmicError(LossFunctionWrapper):
    """mean_squared_logarithmic_error, reduced."""

    targets, function = "same", staticmethod(mean_squared_logarithmic_error)


class LogCosh(LossFunctionWrapper):
    """log_cosh, reduced."""

    targets, function = "same", staticmethod(log_cosh)


class CosineSimilarity(LossFunctionWrapper):
    """cosine_similarity, reduced: -1 where the directions agree."""

    targets, function = "same", staticmethod(cosine_similarity)

    def __init__(self, axis: int = -1, reduction: str | None = "sum_over_batch_size", name: str | None = None,
                 dtype: Any = None):
        super().__init__(reduction, name, dtype, axis=axis)


class Huber(LossFunctionWrapper):
    """huber, reduced. P. Huber, "Robust estimation of a location parameter", 1964."""

    targets, function = "same", staticmethod(huber)

    def __init__(self, delta: float = 1.0, reduction: str | None = "sum_over_batch_size", name: str = "huber_loss",
                 dtype: Any = None):
        super().__init__(reduction, name, dtype, delta=delta)
