"""Models: a layer that can be trained, the stack of layers, and the functional model. https://keras.io/api/models/"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphc.cloning import clone_model
from graphc.functional_model import Functional
from graphc.model import Model
from graphc.sequential import Sequential

if TYPE_CHECKING:
    from graphc.descriptions import model_from_json
    from graphc.saving import load_model, save_model

__all__ = ["Functional", "Model", "Sequential", "clone_model", "load_model", "model_from_json", "save_model"]


def __getattr__(name: str) -> Any:
    if name in ("load_model", "save_model"):
        from graphc import saving  # saving builds on models

        return getattr(saving, name)
    if name == "model_from_json":
        from graphc.descriptions import model_from_json  # which builds on models

        return model_from_json
    raise AttributeError(f"module 'graphc.models' has no attribute {name!r}")
