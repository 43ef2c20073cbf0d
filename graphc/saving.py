"""Models in files: the `.keras` files of Keras 3. https://keras.io/api/models/model_saving_apis/

A `.keras` file is a zip archive of `metadata.json`, `config.json` (see graphc.configs) and `model.weights.h5`: an HDF5
file with the arrays of the layer at a path, such as the second dense one, as `layers/dense_1/vars/0`, `1`, ... and the
optimizer's in `optimizer/vars`. Layers are counted by class, their names don't matter.

Files are taken for what anyone may have written. Nothing in them runs or is imported, links and references to other
files are refused, nothing larger than the file can back up is allocated, and all is checked before a weight changes.
"""

from __future__ import annotations

import io
import json
import math
import os
import secrets
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np

import graphc
from graphc import losses, metrics, saving_h5
from graphc.configs import describe
from graphc.descriptions import deserialize_keras_object, serialize_keras_object
from graphc.ir.errors import GraphcError
from graphc.layers.layer import Layer, first_values
from graphc.models import Functional, Model, Sequential
from graphc.names import snake_case
from graphc.nests import mapped
from graphc.registry import (
    CustomObjectScope,
    custom_object_scope,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
)
from graphc.serialization import deserialize
from graphc.variable import Variable

__all__ = ["CustomObjectScope", "FileError", "custom_object_scope", "deserialize_keras_object", "get_custom_objects",
           "get_registered_name", "get_registered_object", "load_model", "load_weights",
           "register_keras_serializable", "save_model", "save_weights", "serialize_keras_object"]

_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
KERAS_VERSION = "3.15.1"  # whose files these are
_LARGEST_CONFIG = 1 << 25  # bytes
_EXPANSION = 100  # how many times a compressed member may be larger than what is stored of it

Pairs = list[tuple[Variable, np.ndarray]]


class FileError(GraphcError, ValueError):
    """A file isn't what it should be; the message names the file and what is wrong in it."""


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
            model = deserialize(config, "model", custom_objects)
            if not isinstance(model, Model):
                raise ValueError(f"it holds the layer {model!r}, expected a model.")
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


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Say of every error inside that it is about the contents of this file."""
    try:
        yield
    except FileError:
        raise
    except Exception as error:  # zipfile, json and h5py raise a dozen kinds over damaged bytes
        raise FileError(f"{path} can't be read: {_text(error)}") from error


def _text(error: Exception) -> str:
    kind = "" if isinstance(error, ValueError | GraphcError) else f"{type(error).__name__}: "
    return " ".join([f"{kind}{error}", *(f"({note})" for note in getattr(error, "__notes__", ()))])


# ------------------------------------------------------------------------------------------------------- the archive

def _members(file: Any) -> tuple[dict[str, Any], bytes]:
    """The configuration and the bytes of the weights' file; no other member is looked at."""
    size = os.fstat(file.fileno()).st_size
    with zipfile.ZipFile(file) as archive:
        config = json.loads(_member(archive, _CONFIG, size, _LARGEST_CONFIG))
        if not isinstance(config, dict):
            raise ValueError(f"{_CONFIG} holds {str(config)[:80]!r}, expected an object.")
        return config, _member(archive, _WEIGHTS, size)


def _member(archive: zipfile.ZipFile, name: str, size: int, limit: int | None = None) -> bytes:
    found = [i for i in archive.infolist() if i.filename == name]
    if len(found) != 1:
        raise ValueError(f"the archive has {len(found)} members {name!r}, expected one.")
    (info,) = found
    largest = _EXPANSION * info.compress_size
    if info.compress_size > size or info.file_size > (largest if limit is None else min(largest, limit)):
        raise ValueError(f"{name} would take {info.file_size:,} bytes, of which {info.compress_size:,} are stored in a "
                         f"file of {size:,}.")
    return archive.read(info)


def as_json(path: Path, value: Any) -> bytes:
    def plain(number: Any) -> Any:
        if isinstance(number, np.generic):
            return number.item()
        raise TypeError(f"{number!r} is no number, text, list or object")

    try:
        return json.dumps(value, default=plain).encode()
    except (TypeError, ValueError) as error:
        raise FileError(f"{path}: the configuration can't be written: {error}.") from error


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A new file beside this one that takes its place at the end, at once and for good, if nothing goes wrong."""
    target = path.resolve()  # of a link, the file that it leads to
    new = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with open(new, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, target)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


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
            group, state = _vars(file, "optimizer"), model.optimizer.state(model.trainable_weights)
            untrained = model.optimizer.state(())
            if len(group) == len(untrained):
                state = untrained
            if len(group) == len(state):
                pairs += ((v, array_of(group, str(i), v)) for i, v in enumerate(state))
            elif len(group):
                warnings.warn(f"{path}: the optimizer starts anew: its state has {len(group)} arrays, expected "
                              f"{len(state)}.", stacklevel=4)
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


def child(group: Any, name: str) -> Any:
    """A member of a group; links, which may lead to other files, are refused."""
    link = group.get(name, getlink=True)
    if link is not None and not isinstance(link, h5py.HardLink):
        raise ValueError(f"{group.name}/{name} is a link, expected the thing itself.")
    return None if link is None else group[name]


def array_of(group: Any, name: str, variable: Variable) -> np.ndarray:
    """The array of a weight; it lies in the file as it is, with the shape and kind of numbers of the weight."""
    found = child(group, name)
    place = f"{group.name}/{name}, for the weight {variable.path},"
    if not isinstance(found, h5py.Dataset):
        raise ValueError(f"{place} is missing.")
    if found.shape != variable.shape or found.dtype.kind not in ("f" if variable.array.dtype.kind == "f" else "iu"):
        raise ValueError(f"{place} is an array of shape {list(found.shape or ())} and type {found.dtype}, expected "
                         f"{variable.type}.")
    if found.external or found.is_virtual or found.chunks is not None:
        raise ValueError(f"{place} lies in other files or in pieces, expected an array that is stored as it is.")
    return np.asarray(found[()], variable.array.dtype)


def room(size: int) -> Any:
    """First values for weights: zeros, as many as a weights file of that size can replace."""
    left = size

    def zeros(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        nonlocal left
        left -= math.prod(shape)
        if left < 0:
            raise ValueError(f"{_CONFIG} asks for a weight of shape {list(shape)}, more than {_WEIGHTS} holds with its "
                             f"{size:,} bytes.")
        return np.zeros(shape, dtype)

    return zeros


def assign(pairs: Pairs) -> None:
    for variable, array in pairs:
        variable.assign(array)


# ----------------------------------------------------------------------------------------------- compile information

def compile_config(model: Model) -> dict[str, Any]:
    def written(serialize: Callable[[Any], Any], nest: Any) -> Any:
        return None if nest is None else mapped(lambda part: None if part is None else serialize(part), nest)

    chosen = model.objective
    return {"optimizer": describe(model.optimizer), "loss": written(losses.serialize, chosen.loss),
            "loss_weights": chosen.loss_weights, "metrics": written(metrics.serialize, chosen.metrics) or None,
            "weighted_metrics": written(metrics.serialize, chosen.weighted_metrics) or None,
            "run_eagerly": False, "steps_per_execution": 1, "jit_compile": "auto"}


def _described(nest: Any, read: Callable[[Any], Any]) -> Any:
    """What is read from each description, or name, in lists and in dicts by the names of outputs."""
    if isinstance(nest, list):
        return [_described(part, read) for part in nest]
    if isinstance(nest, dict) and "class_name" not in nest:
        return {name: _described(part, read) for name, part in nest.items()}
    return None if nest is None else read(nest)


def compile_as(path: Path, model: Model, config: Any, custom_objects: Mapping[str, Any] | None) -> bool:
    """Compile as the file says; whether that could be done."""
    if not config:  # of a model that was never compiled
        return False
    try:
        def read(name: str, kind: str) -> Any:
            return _described(config.get(name), lambda part: deserialize(part, kind, custom_objects))

        model.compile(deserialize(config.get("optimizer"), "optimizer", custom_objects), read("loss", "loss"),
                      config.get("loss_weights"), read("metrics", "metric"), read("weighted_metrics", "metric"))
    except Exception as error:  # whatever is wrong with it, the model is good for predictions
        warnings.warn(f"{path}: the model is not compiled, because graphc can't use the file's compile information: "
                      f"{_text(error)} Call compile before training.", stacklevel=4)
        return False
    return True
