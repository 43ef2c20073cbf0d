"""graphc: Keras-style models compiled into native CPU code.

Submodules load when they are first used, so `import graphc` needs NumPy only and is quick; `import graphc as keras`
stands in for Keras. https://keras.io/api/
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphc.lazy import lazy

if TYPE_CHECKING:
    from graphc import (
        activations,
        backend,
        callbacks,
        config,
        constraints,
        datasets,
        initializers,
        ir,
        layers,
        losses,
        metrics,
        models,
        onnx,
        ops,
        optimizers,
        passes,
        preprocessing,
        random,
        regularizers,
        runtime,
        saving,
        utils,
        wrappers,
    )
    from graphc.constraints import Constraint
    from graphc.diagnosis import diagnose
    from graphc.gradients import value_and_grad
    from graphc.initializers import Initializer
    from graphc.ir.graph import Value as KerasTensor
    from graphc.layers import Input, Layer
    from graphc.losses import Loss
    from graphc.metrics import Metric
    from graphc.models import Model, Sequential
    from graphc.optimizers import Optimizer
    from graphc.redirect import install_as
    from graphc.regularizers import Regularizer
    from graphc.report import explain
    from graphc.variable import Variable

__version__ = "0.1.0"

__all__ = [
    "Constraint", "Initializer", "Input", "KerasTensor", "Layer", "Loss", "Metric", "Model", "Optimizer",
    "Regularizer", "Sequential", "Variable", "__version__", "activations", "backend", "callbacks", "config",
    "constraints", "datasets", "diagnose", "explain", "initializers", "install_as", "ir", "layers", "losses", "metrics",
    "models", "onnx", "ops", "optimizers", "passes", "preprocessing", "random", "regularizers", "runtime", "saving",
    "utils", "value_and_grad", "version", "wrappers",
]

_MODULES = ("activations", "backend", "callbacks", "config", "constraints", "datasets", "initializers", "ir", "layers",
            "losses", "metrics", "models", "onnx", "ops", "optimizers", "passes", "preprocessing", "random",
            "regularizers", "runtime", "saving", "utils", "wrappers")
_NAMES = {
    "Constraint": "graphc.constraints", "Initializer": "graphc.initializers", "Input": "graphc.layers",
    "KerasTensor": "graphc.ir.graph:Value", "Layer": "graphc.layers", "Loss": "graphc.losses",
    "Metric": "graphc.metrics", "Model": "graphc.models", "Optimizer": "graphc.optimizers",
    "Regularizer": "graphc.regularizers", "Sequential": "graphc.models", "Variable": "graphc.variable",
    "diagnose": "graphc.diagnosis", "explain": "graphc.report", "install_as": "graphc.redirect",
    "value_and_grad": "graphc.gradients",
}
_REFUSED = {
    "applications": "Build the network from graphc.layers: pretrained ones are not part of graphc",
    "distribution": "graphc runs on one machine",
    "dtype_policies": "graphc computes in float32",
    "export": "Models are written with model.save and model.export",
    "mixed_precision": "graphc computes in float32",
    "quantizers": "graphc computes in float32",
}

__getattr__, __dir__ = lazy(__name__, _MODULES, _NAMES, _REFUSED)


def version() -> str:
    """The version of graphc."""
    return __version__
