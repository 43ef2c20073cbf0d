"""Losses as graph builders: values in, values out. https://keras.io/api/losses/

A function gives one loss for each sample (the mean over its last axis); a class adds the options and the
reduction to one number, by default the mean over all of them. Both take arrays, too, and give arrays then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphc.configs import describe, describe_function, identified
from graphc.ir.graph import Value
from graphc.losses import hinge as _hinge
from graphc.losses import probabilistic as _probabilistic
from graphc.losses import regression as _regression
from graphc.losses.hinge import *  # noqa: F403
from graphc.losses.loss import Loss, LossFunctionWrapper, Reduction
from graphc.losses.probabilistic import *  # noqa: F403
from graphc.losses.regression import *  # noqa: F403

_PUBLIC: dict[str, Any] = {name: getattr(module, name) for module in (_regression, _hinge, _probabilistic)
                           for name in module.__all__}
_FUNCTIONS: dict[Any, type[LossFunctionWrapper]] = {
    c.function: c for c in _PUBLIC.values() if isinstance(c, type) and issubclass(c, LossFunctionWrapper)}
_BY_NAME: dict[str, type[Loss]] = ({name: _FUNCTIONS.get(found, found) for name, found in _PUBLIC.items()}
                                   | {"crossentropy": _probabilistic.Crossentropy, "ce": _probabilistic.Crossentropy})

if not TYPE_CHECKING:  # checkers take the names from the imports
    __all__ = ["Loss", "Reduction", "deserialize", "get", "serialize", *sorted(_PUBLIC)]


class _Wrapped(Loss):
    """A loss function of the user's."""

    def __init__(self, function: Any):
        super().__init__(getattr(function, "__name__", "loss"))
        self.function = function

    def call(self, y_true: Value, y_pred: Value) -> Value:
        return self.function(y_true, y_pred)


def get(identifier: Any) -> Loss:
    """The loss for a name, a Loss, a class, a config, or a function of (y_true, y_pred) that gives one loss per sample.

    Raises ValueError for an unknown name, TypeError for anything else.
    """
    found = identified("loss", identifier, _BY_NAME, Loss)
    if isinstance(found, Loss):
        return found
    if callable(found):
        return _FUNCTIONS[found]() if found in _FUNCTIONS else _Wrapped(found)
    raise TypeError(f"A loss is a name, a Loss or a function of (y_true, y_pred), received {identifier!r}.")


deserialize = get


def serialize(loss: Loss) -> Any:
    """The class name and arguments of a loss, or the name of a function of the user's."""
    if isinstance(loss, _Wrapped):
        return describe_function(loss.function)
    return "crossentropy" if isinstance(loss, _probabilistic.Crossentropy) else describe(loss)
