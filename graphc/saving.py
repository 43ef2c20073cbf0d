"""Models in files: the `.keras` files of Keras 3. https://keras.io/api/models/model_saving_apis/

A `.keras` file is a zip archive of `metadata.json`, `config.json` (see graphc.configs), `model.weights.h5` (see
graphc.weights_tree) and the files of layers in `assets/` (see graphc.archives). Whole models in one HDF5 file are in
graphc.saving_h5, what both have in common in graphc.model_files.
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
from graphc import saving_h5, shards
from graphc.archives import assets_in, assets_of, load_assets, member
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
    exclude_again,
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
    with_objects,
)
from graphc.runtime.interrupts import uninterrupted
from graphc.variable import assign_all
from graphc.weights_tree import tree_of, tree_pairs

__all__ = ["CustomObjectScope", "FileError", "custom_object_scope", "deserialize_keras_object", "get_custom_objects",
           "get_registered_name", "get_registered_object", "load_model", "load_weights",
           "register_keras_serializable", "save_model", "save_weights", "serialize_keras_object"]

_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
MEMBERS = {_METADATA: LARGEST_CONFIG, _CONFIG: LARGEST_CONFIG, _WEIGHTS: None}  # of an archive, with their limits


# ------------------------------------------------------------------------------------------------------- whole models

def save_model(model: Model, filepath: Any, overwrite: bool = True, zipped: bool | None = None,
               include_optimizer: bool = True, save_format: str | None = None) -> None:
    """Write architecture, weights, compile information and the optimizer's state to a `.keras` or an `.h5` file.

    Without `include_optimizer` an `.h5` file has neither compile information nor the optimizer's state. The name says
    which file it is: `save_format`, of Keras 2, may only say the same, and folders, `zipped=False`, aren't written.
    What can't be written raises ValueError. The file is replaced as a whole: an error leaves the old one.
    """
    if not isinstance(model, Model):
        raise ValueError(f"save_model received {model!r}, expected a model.")
    ending = {None: None, "keras": ".keras", "h5": ".h5", "hdf5": ".h5"}.get(save_format, "")
    if ending == "" or (ending and (ending == ".h5") != saving_h5.is_h5(filepath)):
        raise ValueError(f"save_model received save_format={save_format!r} for {filepath}: the ending of the name says "
                         "what the file is, .keras or .h5. Leave save_format out.")
    if zipped is False:
        raise ValueError(f"save_model received zipped=False for {filepath}: graphc writes files, no folders. Leave "
                         "zipped out.")
    if saving_h5.is_h5(filepath):
        saving_h5.save(model, _checked(filepath, (".h5", ".hdf5"), overwrite), include_optimizer)
        return
    path = _checked(filepath, (".keras",), overwrite)
    config = describe(model)
    built = model.get_build_config()
    if built is not None:
        config["build_config"] = serialize_keras_object(built)
    try:
        compiled = serialize_keras_object(model.get_compile_config())
        if compiled:
            config["compile_config"] = compiled
    except ValueError as error:
        warnings.warn(f"{path}: the compile information is left out: {error}", stacklevel=3)
    metadata = {"keras_version": KERAS_VERSION, "graphc_version": graphc.__version__}
    members = {_METADATA: as_json(path, metadata), _CONFIG: as_json(path, config), _WEIGHTS: tree_of(model),
               **assets_of(model)}
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
            size = os.fstat(archive.fileno()).st_size
            version, config, weights = _members(archive, size)
            assets = assets_in(archive, size)
    with uninterrupted(), reading(path):  # what is made and removed here might drop an interrupt
        with first_values(room(len(weights))):
            model = model_in(modern(config, version), custom_objects)
        chosen = config.get("compile_config")
        chosen = modern_training(chosen, version) if isinstance(chosen, dict) else chosen
        compiled = compile and compile_as(path, model.compile_from_config, chosen, custom_objects)
        with with_objects(custom_objects), opened(weights) as file:
            if compiled:
                exclude_again(file, model)
            assign_all(tree_pairs(path, model, file, compiled))
            load_assets(model, assets)
    return model


def save_weights(model: Model, filepath: Any, overwrite: bool = True, max_shard_size: float | None = None,
                 objects_to_skip: Iterable[Layer] = ()) -> None:
    """Write the weights of a built model, and its optimizer's state, to a `.weights.h5` file.

    With `max_shard_size` they are in several files with so many GB of weights each, and a `.weights.json` file says
    what is where; each is replaced whole, that one last. Layers in `objects_to_skip`, and what is inside of them, are
    left out.
    """
    if max_shard_size is not None:
        path = _checked(Path(os.fspath(filepath)).with_suffix(".json"), (".weights.json",), overwrite)
        _need_weights(model, path)
        shards.save(model, path, max_shard_size, objects_to_skip)
        return
    path = _checked(filepath, (".weights.h5",), overwrite)
    _need_weights(model, path)
    with replacing(path) as file:
        file.write(tree_of(model, objects_to_skip))


def load_weights(model: Model, filepath: Any, skip_mismatch: bool = False, by_name: bool = False,
                 objects_to_skip: Iterable[Layer] = ()) -> None:
    """Give a built model the weights of a file, and its optimizer the state where a `.weights.h5` file has it.

    `.weights.h5` and `.keras` files, `.weights.json` files with those that they speak of, `.h5` files of weights alone
    as Keras 1 and 2 wrote them, and the weights of a whole model in an `.h5` file are told apart by their contents. The
    layers are taken in their order; in the `.h5` files of Keras 1 and 2 `by_name` goes by their names, and leaves
    layers that the file doesn't know. With `skip_mismatch` arrays of another shape are skipped with a warning; without,
    all fit or nothing changes.
    """
    path = _checked(filepath, (".keras", ".h5", ".hdf5", ".weights.json"))
    _need_weights(model, path)
    data = path.read_bytes()
    with reading(path):
        if path.name.endswith(".weights.json"):
            data = shards.merged(path, data)
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
    """Who wrote it, the configuration and the bytes of the weights' file."""
    with zipfile.ZipFile(file) as archive:
        config = json.loads(member(archive, _CONFIG, size, MEMBERS[_CONFIG]).decode())
        if not isinstance(config, dict):
            raise ValueError(f"{_CONFIG} holds {str(config)[:80]!r}, expected an object.")
        known = json.loads(member(archive, _METADATA, size, MEMBERS[_METADATA]).decode()) if (
            _METADATA in archive.namelist()) else {}
        version = Version.of(known.get("keras_version", KERAS_VERSION))
        return version, config, member(archive, _WEIGHTS, size)
