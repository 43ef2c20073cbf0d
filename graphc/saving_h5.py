"""Whole models in one HDF5 file, `model.h5`, as Keras 3 writes them still. See graphc.model_files for what is refused.

Attributes of the file have the configuration and the compile information as JSON. The weights of each layer that has
any are in `model_weights/NAME`, whose attribute `weight_names` says in which order; the optimizer's are in
`optimizer_weights`. Layers are taken in their order, as Keras does.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from graphc.configs import describe
from graphc.layers.layer import first_values
from graphc.model_files import (
    KERAS_VERSION,
    LARGEST_CONFIG,
    FileError,
    array_of,
    as_json,
    assign,
    child,
    compile_as,
    compile_config,
    model_in,
    reading,
    replacing,
    room,
    state_for,
)
from graphc.models import Model
from graphc.variable import Variable

__all__ = ["is_h5", "load", "save"]


def is_h5(filepath: Any) -> bool:
    """Whether the name is that of such a file."""
    name = str(filepath)
    return name.endswith((".h5", ".hdf5")) and not name.endswith(".weights.h5")


def save(model: Model, path: Path) -> None:
    """Write architecture, weights, compile information and the optimizer's state."""
    if not model.built:
        raise FileError(f"{path}: the model {model.name!r} has no weights yet, and an .h5 file would have none. "
                        "Build it first, or save it as a .keras file.")
    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        file.attrs["keras_version"], file.attrs["backend"] = KERAS_VERSION, "graphc"
        described = describe(model)
        file.attrs["model_config"] = as_json(path, {k: described[k] for k in ("class_name", "config")}).decode()
        if model.optimizer is not None:
            chosen = compile_config(model)
            optimizer = chosen.pop("optimizer")
            chosen["optimizer_config"] = {k: optimizer[k] for k in ("class_name", "config")}
            file.attrs["training_config"] = as_json(path, chosen).decode()
            _write(file.create_group("optimizer_weights"), model.optimizer.state(model.trainable_weights))
        group = file.create_group("model_weights")
        group.attrs["keras_version"], group.attrs["backend"] = KERAS_VERSION, "graphc"
        layers = [(layer.name, weights) for layer in model.layers if (weights := _weights_of(layer))]
        group.attrs["layer_names"] = _texts([name for name, _ in layers])
        for name, weights in layers:
            _write(group.create_group(name), weights)
        _write(group.create_group("top_level_model_weights"), _own_weights(model))
    with replacing(path) as target:
        target.write(data.getvalue())


def load(path: Path, custom_objects: Mapping[str, Any] | None, compile: bool) -> Model:
    """The model in such a file."""
    data = path.read_bytes()
    with reading(path), h5py.File(io.BytesIO(data), "r") as file:
        described = _json_of(file, "model_config")
        with first_values(room(len(data))):
            model = model_in(described, custom_objects)
        group = child(file, "model_weights")
        if not isinstance(group, h5py.Group):
            raise ValueError("it has no group 'model_weights'.")
        if not model.built:
            raise ValueError("it doesn't say what the model takes: there is no shape of the first layer.")
        pairs = list(_layers_of(model, group))
        if compile and "training_config" in file.attrs:
            given = _json_of(file, "training_config")
            chosen = {**given, "optimizer": given.get("optimizer_config")}
            if compile_as(path, model, chosen, custom_objects):
                pairs += _state_of(path, model, child(file, "optimizer_weights"))
        assign(pairs)
    return model


def _weights_of(layer: Any) -> list[Variable]:
    return [*layer.trainable_weights, *layer.non_trainable_weights]


def _own_weights(model: Model) -> list[Variable]:
    """Those that no layer inside has."""
    inside = {w for layer in model.layers for w in layer.weights}
    return [w for w in _weights_of(model) if w not in inside]


def _texts(names: Sequence[str]) -> np.ndarray:
    return np.array(names, h5py.string_dtype()) if names else np.zeros(0)


def _write(group: h5py.Group, variables: Sequence[Variable]) -> None:
    group.attrs["weight_names"] = _texts([v.path for v in variables])
    for variable in variables:
        group[variable.path] = variable.array


def _json_of(file: h5py.File, name: str) -> dict[str, Any]:
    text = file.attrs.get(name)
    text = text.decode() if isinstance(text, bytes) else text
    if not isinstance(text, str) or len(text) > LARGEST_CONFIG:
        raise ValueError(f"it has no attribute {name!r} with a configuration. Files of weights alone are read by "
                         "model.load_weights.")
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError(f"its {name} is {text[:80]!r}, expected an object.")
    return found


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """A list of texts, which long ones are cut into several attributes of."""
    parts = [attribute] if attribute in group.attrs else sorted(
        (a for a in group.attrs if a.startswith(attribute) and a[len(attribute):].isdigit()),
        key=lambda a: int(a[len(attribute):]))
    found = [name for part in parts for name in np.asarray(group.attrs[part]).reshape(-1).tolist()]
    return [name.decode() if isinstance(name, bytes) else str(name) for name in found]


def _layers_of(model: Model, group: h5py.Group) -> Iterator[tuple[Variable, np.ndarray]]:
    """Every weight with its array of the file. All are checked."""
    kept = [(name, _inside(group, name)) for name in _names(group, "layer_names")]
    kept = [(name, part) for name, part in kept if _names(part, "weight_names")]
    layers = [layer for layer in model.layers if layer.weights]
    if len(kept) != len(layers):
        raise ValueError(f"it has weights of {len(kept)} layers, expected {len(layers)}.")
    for (name, part), layer in zip(kept, layers, strict=True):
        yield from _paired(part, _weights_of(layer), f"the layer {layer.name!r}, {name!r} in the file")
    if own := _own_weights(model):
        yield from _paired(_inside(group, "top_level_model_weights"), own, "the model itself")


def _paired(group: h5py.Group, variables: Sequence[Variable], whose: str) -> Iterator[tuple[Variable, np.ndarray]]:
    names = _names(group, "weight_names")
    if len(names) != len(variables):
        raise ValueError(f"it has {len(names)} arrays for {whose}, expected {len(variables)}.")
    for name, variable in zip(names, variables, strict=True):
        *folders, last = name.split("/")
        yield variable, array_of(_inside(group, "/".join(folders)), last, variable)


def _inside(group: Any, path: str) -> h5py.Group:
    """A group within another; links are refused on every step."""
    for name in filter(None, path.split("/")):
        group = child(group, name)
        if not isinstance(group, h5py.Group):
            raise ValueError(f"it has no group {path!r}.")
    return group


def _state_of(path: Path, model: Model, group: Any) -> list[tuple[Variable, np.ndarray]]:
    """The optimizer's state, where the file has all of it."""
    count = len(_names(group, "weight_names")) if isinstance(group, h5py.Group) else 0
    state = state_for(path, model, count)
    return list(_paired(group, state, "the optimizer")) if state else []
