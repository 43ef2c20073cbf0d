"""Optimizers as graph builders: parameter, gradient and slots in, their next values out.

https://keras.io/api/optimizers/
"""

from __future__ import annotations

from typing import Any

from graphc.configs import describe, identified
from graphc.optimizers import schedules
from graphc.optimizers.adaptive import Adadelta, Adagrad, Adam, Adamax, AdamW, Ftrl, Lamb, Nadam, RMSprop
from graphc.optimizers.optimizer import Optimizer
from graphc.optimizers.sgd import SGD, Lion

__all__ = ["SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "Ftrl", "Lamb", "Lion", "Nadam", "Optimizer",
           "RMSprop", "deserialize", "get", "schedules", "serialize"]

_BY_NAME: dict[str, type[Optimizer]] = {c.__name__.lower(): c for c in (
    Adadelta, Adagrad, Adam, AdamW, Adamax, Ftrl, Lamb, Lion, Nadam, RMSprop, SGD)}


def get(identifier: Any) -> Optimizer:
    """The optimizer for a name in any case, an Optimizer, a class or a config."""
    found = identified("optimizer", identifier, _BY_NAME, Optimizer)
    if isinstance(found, Optimizer):
        return found
    raise TypeError(f"An optimizer is a name or an Optimizer, received {identifier!r}.")


deserialize, serialize = get, describe
