"""Losses of margins. https://keras.io/api/losses/hinge_losses/"""

from __future__ import annotations

from graphc.eager import eager
from graphc.ir import functions as f
from graphc.ir.graph import Value
from graphc.losses.loss import LossFunctionWrapper, aligned

__all__ = ["CategoricalHinge", "Hinge", "SquaredHinge", "categorical_hinge", "hinge", "squared_hinge"]


def _margins(name: str, y_true: Value, y_pred: Value) -> Value:
    """max(1 - y_true * y_pred, 0), where labels that are all 0 or 1 stand for -1 and 1."""
    y, p = aligned(name, y_true, y_pred)
    others = f.logical_not(f.logical_or(f.equal(y, 0.0), f.equal(y, 1.0)))
    signs = f.where(f.equal(f.sum(others), 0), f.subtract(f.multiply(y, 2.0), 1.0), y)
    return f.maximum(f.subtract(1.0, f.multiply(signs, p)), 0.0)


@eager("y_true", "y_pred")
def hinge(y_true: Value, y_pred: Value) -> Value:
    """The mean of max(1 - y_true * y_pred, 0) over the last axis; labels are -1 and 1, or 0 and 1."""
    return f.mean(_margins("hinge", y_true, y_pred), -1)


@eager("y_true", "y_pred")
def squared_hinge(y_true: Value, y_pred: Value) -> Value:
    """The mean of max(1 - y_true * y_pred, 0)**2 over the last axis; labels are -1 and 1, or 0 and 1."""
    return f.mean(f.square(_margins("squared_hinge", y_true, y_pred)), -1)


@eager("y_true", "y_pred")
def categorical_hinge(y_true: Value, y_pred: Value) -> Value:
    """max(1 + the largest score of another class - the score of the class, 0) over the last axis."""
    y, p = aligned("categorical_hinge", y_true, y_pred)
    own, other = f.sum(f.multiply(y, p), -1), f.max(f.multiply(f.subtract(1.0, y), p), -1)
    return f.maximum(f.add(f.subtract(other, own), 1.0), 0.0)


class Hinge(LossFunctionWrapper):
    """hinge, reduced."""

    targets, function = "same", staticmethod(hinge)


class SquaredHinge(LossFunctionWrapper):
    """squared_hinge, reduced."""

    targets, function = "same", staticmethod(squared_hinge)


class CategoricalHinge(LossFunctionWrapper):
    """categorical_hinge, reduced."""

    targets, function = "same", staticmethod(categorical_hinge)
