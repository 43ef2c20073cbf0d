"""graphc: Keras-style models compiled into native CPU code.

Submodules load when they are first used, so `import graphc` needs NumPy only and is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphc import (
        activations,
        callbacks,
        constraints,
        datasets,
        initializers,
        ir,
        layers,
        losses,
        metrics,
        models,
        ops,
        optimizers,
        passes,
        regularizers,
        runtime,
        saving,
        utils,
    )
    from graphc.diagnosis import diagnose
    from graphc.gradients import value_and_grad
    from graphc.layers import Input, Layer
    from graphc.models import Model, Sequential
    from graphc.report import explain
    from graphc.runtime.config import config

__version__ = "0.1.0"

__all__ = ["Input", "Layer", "Model", "Sequential", "__version__", "activations", "callbacks", "config", "constraints",
           "datasets", "diagnose", "explain", "initializers", "ir", "layers", "losses", "metrics", "models", "ops",
           "optimizers", "passes", "regularizers", "runtime", "saving", "utils", "value_and_grad"]

_SUBMODULES = {"activations", "callbacks", "constraints", "datasets", "initializers", "ir", "layers", "losses",
               "metrics", "models", "ops", "optimizers", "passes", "regularizers", "runtime", "saving", "utils"}
_NAMES = {"Input": "graphc.layers", "Layer": "graphc.layers", "Model": "graphc.models",
          "Sequential": "graphc.models", "config": "graphc.runtime.config", "diagnose": "graphc.diagnosis",
          "explain": "graphc.report", "value_and_grad": "graphc.gradients"}


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"graphc.{name}")
    if name in _NAMES:
        value = getattr(importlib.import_module(_NAMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'graphc' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
