"""Models in files: the `.keras` files of Keras 3. https://keras.io/api/models/model_saving_apis/

A `.keras` file is a zip archive of `metadata.json`, `config.json` (see graphc.configs) and `model.weights.h5`: an HDF5
file with the arrays of the layer at a path, such as the second dense one, as `layers/dense_1/vars/0`, `1`, ... and the
optimizer's in `optimizer/vars`. Layers are counted by class, their names don't matter.
Whole models in one HDF5 file are in graphc.saving_h5, what both have in common in graphc.model_files.
"""

from __future__ import annotations

import io
import json
import os
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py

import graphc
from graphc import saving_h5
from graphc.configs import describe
from graphc.descriptions import deserialize_keras_object, serialize_keras_object
from graphc.layers.layer import Layer, first_values
from graphc.model_files import (
    KERAS_VERSION,
    LARGEST_CONFIG,
    FileError,
    Pairs,
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
from graphc.models import Functional, Model, Sequential
from graphc.names import snake_case
from graphc.registry import (
    CustomObjectScope,
    custom_object_scope,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
)
from graphc.variable import Variable

__all__ = ["CustomObjectScope", "FileError", "custom_object_scope", "deserialize_keras_object", "get_custom_objects",
           "get_registered_name", "get_registered_object", "load_model", "load_weights",
           "register_keras_serializable", "save_model", "save_weights", "serialize_keras_object"]

_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
MEMBERS = {_METADATA: LARGEST_CONFIG, _CONFIG: LARGEST_CONFIG, _WEIGHTS: None}  # of an archive, with their limits
_EXPANSION = 100  # how many times a compressed member may be larger than what is stored of it


# ------------------------------------------------------------------------------------------------------- whole models

def save_model(model: Model, filepath: Any, overwrite: bool = True) -> None:
    """Write architecture, weights, compile information and the optimizer's state to a `.keras` or an `.h5` file.

    What can't be written raises ValueError. The file is replaced as a whole: an error leaves the old one.
    """
    if saving_h5.is_h5(filepath):
        saving_h5.save(model, _checked(filepath, "", overwrite))
        return
    path = _checked(filepath, ".keras", overwrite)
    config = describe(model)
    if model.built:
        config["build_config"] = {"input_shape": model.input_shape}
    if model.optimizer is not None:
        try:
            config["compile_config"] = compile_config(model)
        except ValueError as error:
            warnings.warn(f"{path}: the compile information is left out: {error}", stacklevel=3)
    metadata = {"keras_version": KERAS_VERSION, "graphc_version": graphc.__version__}
    members = {_METADATA: as_json(path, metadata), _CONFIG: as_json(path, config), _WEIGHTS: _weights_file(model)}
    with replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)  # stored, with a date that is always the same


def load_model(filepath: Any, custom_objects: Mapping[str, Any] | None = None, compile: bool = True) -> Model:
    """The model in a `.keras` or `.h5` file, with its weights; with `compile`, to be trained on from where it was.

    `custom_objects` has the user's own classes and functions by their names in the file. Where graphc can't use the
    compile information the model comes uncompiled, with a warning. A damaged file, or one with layers or options that
    graphc doesn't have, raises FileError.
    """
    if saving_h5.is_h5(filepath):
        return saving_h5.load(_checked(filepath, ""), custom_objects, compile)
    path = _checked(filepath, ".keras")
    with open(path, "rb") as file, reading(path):
        config, weights = _members(file)
        with first_values(room(len(weights))):
            model = model_in(config, custom_objects)
            shape = (config.get("build_config") or {}).get("input_shape")
            if shape and not model.built:
                model.build(shape)
        compiled = compile and compile_as(path, model, config.get("compile_config"), custom_objects)
        assign(_arrays(path, model, weights, compiled))
    return model


def save_weights(model: Model, filepath: Any, overwrite: bool = True) -> None:
    """Write the weights of a built model, and its optimizer's state, to a `.weights.h5` file."""
    path = _checked(filepath, ".weights.h5", overwrite)
    with replacing(path) as file:
        file.write(_weights_file(model))


def load_weights(model: Model, filepath: Any) -> None:
    """Give a built model the weights in a `.weights.h5` file, and its optimizer the state, where both have it."""
    path = _checked(filepath, ".weights.h5")
    data = path.read_bytes()
    with reading(path):
        assign(_arrays(path, model, data, model.optimizer is not None))


def _checked(filepath: Any, ending: str, overwrite: bool = True) -> Path:
    path = Path(os.fspath(filepath))
    if not path.name.endswith(ending):
        raise FileError(f"{path}: expected a name that ends in {ending}. graphc knows .keras and .h5 files for "
                        "whole models, and .weights.h5 files for weights.")
    if not overwrite and path.exists():
        raise FileError(f"{path} is there already. Choose another name or pass overwrite=True.")
    return path


# ------------------------------------------------------------------------------------------------------- the archive

def _members(file: Any) -> tuple[dict[str, Any], bytes]:
    """The configuration and the bytes of the weights' file; no other member is looked at."""
    size = os.fstat(file.fileno()).st_size
    with zipfile.ZipFile(file) as archive:
        config = json.loads(member(archive, _CONFIG, size, MEMBERS[_CONFIG]).decode())
        if not isinstance(config, dict):
            raise ValueError(f"{_CONFIG} holds {str(config)[:80]!r}, expected an object.")
        return config, member(archive, _WEIGHTS, size)


def member(archive: zipfile.ZipFile, name: str, size: int, limit: int | None = None) -> bytes:
    """The bytes of a member of an archive of that size, if they are no more than what is stored can be."""
    found = [i for i in archive.infolist() if i.filename == name]
    if len(found) != 1:
        raise ValueError(f"the archive has {len(found)} members {name!r}, expected one.")
    (info,) = found
    largest = _EXPANSION * info.compress_size
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is encrypted, or compressed in a way that isn't read.")
    if info.compress_size > size or info.file_size > (largest if limit is None else min(largest, limit)):
        raise ValueError(f"{name} would take {info.file_size:,} bytes, of which {info.compress_size:,} are stored in a "
                         f"file of {size:,}.")
    with archive.open(info) as content:
        return content.read(info.file_size)  # so much at most is unpacked, whatever lies there


# ------------------------------------------------------------------------------------------------------- the weights

def _groups(layer: Layer, path: str, seen: set[Layer]) -> Iterator[tuple[str, Layer, list[Variable]]]:
    """Each layer not seen yet with its path in a weights file and its own weights, trainable ones first."""
    if layer in seen:
        return
    seen.add(layer)
    yield path, layer, sorted(layer._own, key=lambda w: not w.trainable)
    if isinstance(layer, Sequential | Functional):
        parts: dict[str, Any] = {"layers": layer.layers}
    else:  # Keras goes through the attributes by name, private ones last
        parts = dict(sorted(vars(layer).items(), key=lambda item: (item[0].startswith("_"), item[0])))
    for name, part in parts.items():
        for step, inner in _layers_in(part):
            yield from _groups(inner, "/".join(filter(None, (path, name, step))), seen)


def _layers_in(part: Any) -> Iterator[tuple[str, Layer]]:
    """The layers that an attribute holds; those in a list or dict with names by class: dense, dense_1."""
    if isinstance(part, Layer):
        yield "", part
    elif isinstance(part, list | tuple | dict):
        counts: Counter[str] = Counter()
        for inner in part.values() if isinstance(part, dict) else part:
            if isinstance(inner, Layer):
                name = snake_case(type(inner).__name__)
                yield f"{name}_{counts[name]}" if counts[name] else name, inner
                counts[name] += 1


def _weights_file(model: Model) -> bytes:
    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        for path, layer, variables in _groups(model, "", set()):
            _write(file, path, layer.name, variables)
        if model.optimizer is not None:
            _write(file, "optimizer", model.optimizer.name, model.optimizer.state(model.trainable_weights))
    return data.getvalue()


def _write(file: h5py.File, path: str, name: str, variables: Sequence[Variable]) -> None:
    group = file.create_group(f"{path}/vars" if path else "vars")
    group.attrs["name"] = name
    for i, variable in enumerate(variables):
        group[str(i)] = variable.array


def _arrays(path: Path, model: Model, data: bytes, compiled: bool) -> Pairs:
    """Every weight, and state of the optimizer, with its array of the file. All are checked."""
    with h5py.File(io.BytesIO(data), "r") as file:
        pairs: Pairs = []
        for place, layer, variables in _groups(model, "", set()):
            group = _vars(file, place)
            if len(group) != len(variables):
                raise ValueError(f"it has {len(group)} arrays at {place!r} for the layer {layer.name!r} "
                                 f"({type(layer).__name__}), expected {len(variables)}.")
            pairs += ((v, array_of(group, str(i), v)) for i, v in enumerate(variables))
        if compiled and model.optimizer is not None:
            group = _vars(file, "optimizer")
            pairs += ((v, array_of(group, str(i), v)) for i, v in enumerate(state_for(path, model, len(group))))
        return pairs


def _vars(file: h5py.File, path: str) -> Mapping[str, Any]:
    """The group with the arrays of a path, empty where there is none."""
    group: Any = file
    for name in [*filter(None, path.split("/")), "vars"]:
        group = child(group, name)
        if group is None:
            return {}
        if not isinstance(group, h5py.Group):
            raise ValueError(f"{path!r} has {name!r} as an array, expected a group.")
    return group
