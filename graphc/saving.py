"""Models in files: the `.keras` files of Keras 3. https://keras.io/api/models/model_saving_apis/

A `.keras` file is a zip archive of `metadata.json`, `config.json` (see graphc.configs) and `model.weights.h5` (see
graphc.weights_tree). Whole models in one HDF5 file are in graphc.saving_h5, what both have in common in
graphc.model_files.
"""

from __future__ import annotations

import io
import json
import os
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import graphc
from graphc import saving_h5
from graphc.configs import describe
from graphc.descriptions import deserialize_keras_object, serialize_keras_object
from graphc.keras_versions import Version, modern, modern_training
from graphc.layers.layer import Layer, first_values
from graphc.model_files import (
    HDF5,
    KERAS_VERSION,
    LARGEST_CONFIG,
    FileError,
    as_json,
    compile_as,
    compile_config,
    model_in,
    opened,
    reading,
    replacing,
    room,
)
from graphc.models import Model
from graphc.registry import (
    CustomObjectScope,
    custom_object_scope,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
)
from graphc.runtime.interrupts import uninterrupted
from graphc.variable import assign_all
from graphc.weights_tree import tree_of, tree_pairs

__all__ = ["CustomObjectScope", "FileError", "custom_object_scope", "deserialize_keras_object", "get_custom_objects",
           "get_registered_name", "get_registered_object", "load_model", "load_weights",
           "register_keras_serializable", "save_model", "save_weights", "serialize_keras_object"]

_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
MEMBERS = {_METADATA: LARGEST_CONFIG, _CONFIG: LARGEST_CONFIG, _WEIGHTS: None}  # of an archive, with their limits
_EXPANSION = 100  # how many times a compressed member may be larger than what is stored of it


# ------------------------------------------------------------------------------------------------------- whole models

def save_model(model: Model, filepath: Any, overwrite: bool = True, include_optimizer: bool = True) -> None:
    """Write architecture, weights, compile information and the optimizer's state to a `.keras` or an `.h5` file.

    Without `include_optimizer` an `.h5` file has neither compile information nor the optimizer's state. What can't be
    written raises ValueError. The file is replaced as a whole: an error leaves the old one.
    """
    if saving_h5.is_h5(filepath):
        saving_h5.save(model, _checked(filepath, (".h5", ".hdf5"), overwrite), include_optimizer)
        return
    path = _checked(filepath, (".keras",), overwrite)
    config = describe(model)
    if model.built:
        config["build_config"] = {"input_shape": model.input_shape}
    if model.optimizer is not None:
        try:
            config["compile_config"] = compile_config(model)
        except ValueError as error:
            warnings.warn(f"{path}: the compile information is left out: {error}", stacklevel=3)
    metadata = {"keras_version": KERAS_VERSION, "graphc_version": graphc.__version__}
    members = {_METADATA: as_json(path, metadata), _CONFIG: as_json(path, config), _WEIGHTS: tree_of(model)}
    with replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)  # stored, with a date that is always the same


def load_model(filepath: Any, custom_objects: Mapping[str, Any] | None = None, compile: bool = True,
               safe_mode: bool = True) -> Model:
    """The model in a `.keras` or `.h5` file, with its weights; with `compile`, to be trained on from where it was.

    `custom_objects` has the user's own classes and functions by their names in the file. `safe_mode` is Keras's: code
    in a file never runs, whatever it says. Where graphc can't use the
    compile information the model comes uncompiled, with a warning. A damaged file, or one with layers or options that
    graphc doesn't have, raises FileError.
    """
    path = _checked(filepath, (".keras", ".h5", ".hdf5"))
    with open(path, "rb") as archive:
        # TensorFlow 2.12 and before wrote .keras files that are HDF5
        if archive.read(8) == HDF5 or not path.name.endswith(".keras"):
            return saving_h5.load(path, custom_objects, compile)
        with reading(path):
            version, config, weights = _members(archive, os.fstat(archive.fileno()).st_size)
    with uninterrupted(), reading(path):  # what is made and removed here might drop an interrupt
        with first_values(room(len(weights))):
            model = model_in(modern(config, version), custom_objects)
            shape = (config.get("build_config") or {}).get("input_shape")
            if shape and not model.built:
                model.build(shape)
        chosen = config.get("compile_config")
        chosen = modern_training(chosen, version) if isinstance(chosen, dict) else chosen
        compiled = compile and compile_as(path, model, chosen, custom_objects)
        with opened(weights) as file:
            assign_all(tree_pairs(path, model, file, compiled))
    return model


def save_weights(model: Model, filepath: Any, overwrite: bool = True, objects_to_skip: Iterable[Layer] = ()) -> None:
    """Write the weights of a built model, and its optimizer's state, to a `.weights.h5` file.

    Layers in `objects_to_skip`, and what is inside of them, are left out.
    """
    path = _checked(filepath, (".weights.h5",), overwrite)
    _need_weights(model, path)
    with replacing(path) as file:
        file.write(tree_of(model, objects_to_skip))


def load_weights(model: Model, filepath: Any, skip_mismatch: bool = False, by_name: bool = False,
                 objects_to_skip: Iterable[Layer] = ()) -> None:
    """Give a built model the weights of a file, and its optimizer the state where a `.weights.h5` file has it.

    `.weights.h5` and `.keras` files, `.h5` files of weights alone as Keras 1 and 2 wrote them, and the weights of a
    whole model in an `.h5` file are told apart by their contents. The layers are taken in their order; in the `.h5`
    files of Keras 1 and 2 `by_name` goes by their names, and leaves layers that the file doesn't know. With
    `skip_mismatch` arrays of another shape are skipped with a warning; without, all fit or nothing changes.
    """
    path = _checked(filepath, (".keras", ".h5", ".hdf5"))
    _need_weights(model, path)
    data = path.read_bytes()
    with reading(path):
        if data[:2] == b"PK":
            _, _, data = _members(io.BytesIO(data), len(data))
        with opened(data) as file:
            layered = saving_h5.weights_in(file)
            if layered is None:
                if by_name:
                    raise ValueError("it holds the weights by their places in the model, not by the names of layers. "
                                     "Leave out by_name.")
                compiled = model.optimizer is not None
                pairs = tree_pairs(path, model, file, compiled, skip_mismatch, objects_to_skip)
            elif tuple(objects_to_skip):
                raise ValueError("objects_to_skip is for .weights.h5 files. Name the layers apart and use by_name.")
            else:
                pairs = saving_h5.layer_pairs(path, model, layered, by_name, skip_mismatch)
        assign_all(pairs)


def _need_weights(model: Model, path: Path) -> None:
    if not model.built:
        raise FileError(f"{path}: the model {model.name!r} has no weights yet. Call build, or run it once, before.")


def _checked(filepath: Any, endings: tuple[str, ...], overwrite: bool = True) -> Path:
    path = Path(os.fspath(filepath))
    if not path.name.endswith(endings):
        raise FileError(f"{path}: expected a name that ends in {' or '.join(endings)}. graphc knows .keras and .h5 "
                        "files for whole models, and .weights.h5 files for weights.")
    if not overwrite and path.exists():
        raise FileError(f"{path} is there already. Choose another name or pass overwrite=True.")
    return path


# ------------------------------------------------------------------------------------------------------- the archive

def _members(file: Any, size: int) -> tuple[Version, dict[str, Any], bytes]:
    """Who wrote it, the configuration and the bytes of the weights' file; no other member is looked at."""
    with zipfile.ZipFile(file) as archive:
        config = json.loads(member(archive, _CONFIG, size, MEMBERS[_CONFIG]).decode())
        if not isinstance(config, dict):
            raise ValueError(f"{_CONFIG} holds {str(config)[:80]!r}, expected an object.")
        known = json.loads(member(archive, _METADATA, size, MEMBERS[_METADATA]).decode()) if (
            _METADATA in archive.namelist()) else {}
        version = Version.of(known.get("keras_version", KERAS_VERSION))
        return version, config, member(archive, _WEIGHTS, size)


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
