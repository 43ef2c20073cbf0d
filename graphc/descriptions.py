"""Objects as dicts and as JSON, and back. https://keras.io/api/models/model_saving_apis/serialization_utils/"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from graphc.configs import describe, describe_function
from graphc.keras_versions import Version, modern
from graphc.model import Model
from graphc.serialization import KINDS, deserialize

__all__ = ["deserialize_keras_object", "model_from_json", "model_to_json", "serialize_keras_object"]

_PLAIN = (str, int, float, bool, type(None))


def serialize_keras_object(obj: Any) -> Any:
    """A layer, model, loss, ... or function as a dict of plain values; plain values and lists stay as they are."""
    if isinstance(obj, _PLAIN):
        return obj
    if isinstance(obj, list | tuple):
        return [serialize_keras_object(part) for part in obj]
    if isinstance(obj, dict):
        return {name: serialize_keras_object(part) for name, part in obj.items()}
    return describe(obj) if hasattr(obj, "get_config") else describe_function(obj)


def deserialize_keras_object(config: Any, custom_objects: Mapping[str, Any] | None = None, **kwargs: Any) -> Any:
    """What `serialize_keras_object` was given; the user's classes are found by name in `custom_objects`.

    Raises ValueError for a class that is neither graphc's nor known.
    """
    if isinstance(config, list):
        return [deserialize_keras_object(part, custom_objects) for part in config]
    if not isinstance(config, dict):
        return config
    if "class_name" not in config:
        return {name: deserialize_keras_object(part, custom_objects) for name, part in config.items()}
    module = str(config.get("module") or "")
    kinds = [kind for kind, classes in KINDS.items() if config["class_name"] in classes]
    named = next((kind for kind in kinds if kind in ("optimizer", "loss", "metric") and module.endswith(
        {"optimizer": "optimizers", "loss": "losses", "metric": "metrics"}[kind])), None)
    return deserialize(config, named or (kinds[0] if kinds else "layer"), custom_objects)


def model_to_json(model: Model, **kwargs: Any) -> str:
    """The architecture of a model as a text; keyword arguments are those of `json.dumps`."""
    return json.dumps(describe(model), **kwargs)


def model_from_json(json_string: str, custom_objects: Mapping[str, Any] | None = None) -> Model:
    """A model with new weights of what `to_json` returned."""
    described = json.loads(json_string)
    if isinstance(described, dict) and "keras_version" in described:
        described = modern(described, Version.of(described["keras_version"], described.get("backend")))
    model = deserialize(described, "model", custom_objects)
    if not isinstance(model, Model):
        raise ValueError(f"model_from_json received the layer {model!r}, expected a model.")
    return model
