"""Objects as dicts and as JSON, and back. https://keras.io/api/models/model_saving_apis/serialization_utils/"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from graphc import losses, metrics
from graphc.configs import describe, serialize_keras_object
from graphc.ir.tree import mapped
from graphc.keras_versions import Version, modern
from graphc.model import Model
from graphc.serialization import KINDS, deserialize

__all__ = ["compile_config", "compile_from", "deserialize_keras_object", "model_from_json", "model_to_json",
           "serialize_keras_object"]


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


def compile_config(model: Model) -> dict[str, Any]:
    """What `compile` was told, as Keras writes it."""
    def written(serialize: Callable[[Any], Any], nest: Any) -> Any:
        return None if nest is None else mapped(lambda part: None if part is None else serialize(part), nest)

    chosen = model.objective
    return {"optimizer": describe(model.optimizer), "loss": written(losses.serialize, chosen.loss),
            "loss_weights": chosen.loss_weights, "metrics": written(metrics.serialize, chosen.metrics) or None,
            "weighted_metrics": written(metrics.serialize, chosen.weighted_metrics) or None,
            "run_eagerly": False, "steps_per_execution": 1, "jit_compile": "auto"}


def compile_from(model: Model, config: Mapping[str, Any]) -> None:
    """Compile as `compile_config` says."""
    def read(name: str, kind: str) -> Any:
        return mapped(lambda part: None if part is None else deserialize(part, kind), config.get(name),
                      lambda part: isinstance(part, dict) and "class_name" in part)

    model.compile(deserialize(config.get("optimizer"), "optimizer"), read("loss", "loss"), config.get("loss_weights"),
                  read("metrics", "metric"), read("weighted_metrics", "metric"))


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
