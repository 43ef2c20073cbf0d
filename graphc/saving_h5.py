"""Whole models in one HDF5 file, `model.h5`, and files of weights by the names of layers, as Keras 1 to 3 have them.

Attributes of the file have the configuration and the compile information as JSON. The weights of each layer that has
any are in `model_weights/NAME`, whose attribute `weight_names` says in which order; the optimizer's are in
`optimizer_weights`. A file of weights alone is what `model_weights` holds. Layers are taken in their order, as Keras
does. What old versions did otherwise is in graphc.keras_versions; see graphc.model_files for what is refused.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from graphc.configs import describe
from graphc.descriptions import compile_config
from graphc.keras_versions import SLOTS, Version, modern, modern_arrays, modern_training, written_for_all
from graphc.layers.layer import first_values
from graphc.layers.lookup import IntegerLookup
from graphc.model_files import (
    KERAS_VERSION,
    LARGEST_CONFIG,
    FileError,
    Pairs,
    array_of,
    as_json,
    child,
    compile_as,
    exclude_again,
    fitting,
    inside,
    model_in,
    opened,
    pairs_beside,
    plain_dataset,
    reading,
    replacing,
    room,
    state_for,
    write_beside,
)
from graphc.models import Model
from graphc.runtime.interrupts import uninterrupted
from graphc.variable import Variable, assign_all

__all__ = ["is_h5", "layer_pairs", "load", "save", "weights_in"]

_LARGEST_ATTRIBUTE = 64512  # bytes of fixed length that an HDF5 object has room for in one attribute


def is_h5(filepath: Any) -> bool:
    """Whether the name is that of such a file."""
    name = str(filepath)
    return name.endswith((".h5", ".hdf5")) and not name.endswith(".weights.h5")


# ------------------------------------------------------------------------------------------------------------ writing

def save(model: Model, path: Path, include_optimizer: bool = True) -> None:
    """Write architecture, weights, and what `compile` was told with the optimizer's state."""
    if not model.built:
        raise FileError(f"{path}: the model {model.name!r} has no weights yet, and an .h5 file would have none. "
                        "Build it first, or save it as a .keras file.")
    data = io.BytesIO()
    with uninterrupted(), h5py.File(data, "w") as file:
        described = describe(model)
        name = described["registered_name"] or described["class_name"]  # package>name, of a class of the user's
        _say(file, "model_config", _json(path, {"class_name": name, "config": described["config"]}))
        if model.optimizer is not None and include_optimizer:
            chosen = compile_config(model)
            optimizer = chosen.pop("optimizer")
            chosen["optimizer_config"] = {k: optimizer[k] for k in ("class_name", "config")}
            _say(file, "training_config", _json(path, chosen))
            _write(file.create_group("optimizer_weights"), model.optimizer.state(model.trainable_weights))
        group = file.create_group("model_weights")
        for part in (file, group):
            _say(part, "keras_version", KERAS_VERSION.encode())
            _say(part, "backend", b"graphc")
        layers = [(layer.name, weights) for layer in model.layers if (weights := _weights_of(layer))]
        _list(group, "layer_names", [name for name, _ in layers])
        for name, weights in layers:
            _write(group.create_group(name), weights)
        _write(group.create_group("top_level_model_weights"), _own_weights(model))
        write_beside(file, model)
    with replacing(path) as target:
        target.write(data.getvalue())


def _json(path: Path, config: Any) -> bytes:
    return as_json(path, written_for_all(config))


def _say(group: h5py.Group, name: str, text: bytes) -> None:
    """An attribute, of fixed length where that has room: old versions of Keras want bytes."""
    group.attrs[name] = np.bytes_(text) if len(text) <= _LARGEST_ATTRIBUTE else text.decode()


def _list(group: h5py.Group, name: str, texts: Sequence[str]) -> None:
    """A list of texts, in several attributes where it is long."""
    array = np.array([text.encode() for text in texts]) if texts else np.zeros(0, "S1")
    parts = -(-array.nbytes // _LARGEST_ATTRIBUTE) or 1
    while max(part.nbytes for part in np.array_split(array, parts)) > _LARGEST_ATTRIBUTE:
        parts += 1
    for i, part in enumerate(np.array_split(array, parts)):
        group.attrs[f"{name}{i}" if parts > 1 else name] = part


def _write(group: h5py.Group, variables: Sequence[Variable]) -> None:
    _list(group, "weight_names", [v.path for v in variables])
    for variable in variables:
        group[variable.path] = variable.array


def _weights_of(layer: Any) -> list[Variable]:
    return [*layer.trainable_weights, *layer.non_trainable_weights]


def _own_weights(model: Model) -> list[Variable]:
    """Those that no layer inside has."""
    inside = {w for layer in model.layers for w in layer.weights}
    return [w for w in _weights_of(model) if w not in inside]


# ------------------------------------------------------------------------------------------------------------ reading

def load(path: Path, custom_objects: Mapping[str, Any] | None, compile: bool) -> Model:
    """The model in such a file."""
    data = path.read_bytes()
    with reading(path), opened(data) as file:
        described = _json_of(file, "model_config")
        registered = str(described.get("class_name"))
        described = {"registered_name": registered, **described, "class_name": registered.rpartition(">")[2]}
        group = child(file, "model_weights")
        if not isinstance(group, h5py.Group):
            raise ValueError("it has no group 'model_weights'.")
        version = _version(group, file)
        with first_values(room(len(data))):
            model = model_in(modern(described, version), custom_objects)
        if not model.built:
            raise ValueError("it doesn't say what the model takes: there is no shape of the first layer.")
        pairs = layer_pairs(path, model, group, version=version)
        if compile and "training_config" in file.attrs:
            given = _json_of(file, "training_config")
            chosen = modern_training({**given, "optimizer": given.get("optimizer_config")}, version)
            if compile_as(path, partial(Model.compile_from_config, model), chosen, custom_objects):
                exclude_again(file, model)
                pairs += _state_of(path, model, child(file, "optimizer_weights"), group, version)
        assign_all(pairs + pairs_beside(file, model))
    for layer in model._all_layers():
        if isinstance(layer, IntegerLookup) and layer.waits:
            warnings.warn(f"{path}: the layer {layer.name!r} has no vocabulary, since Keras's .h5 files don't hold one "
                          "that came by adapt: every token is unknown to it. Call its adapt or set_vocabulary, or have "
                          "Keras save a .keras file.", stacklevel=3)
    return model


def weights_in(file: h5py.File) -> h5py.Group | None:
    """The group with weights by the names of layers, of a whole model or of weights alone; None where there is none."""
    if _names(file, "layer_names") or "layer_names" in file.attrs:
        return file
    group = child(file, "model_weights")
    return group if isinstance(group, h5py.Group) and "model_config" in file.attrs else None


def layer_pairs(path: Path, model: Model, group: h5py.Group, by_name: bool = False, skip_mismatch: bool = False,
                version: Version | None = None) -> Pairs:
    """Every weight with its array of the file. All are checked.

    By name, layers that the file doesn't know are left. With `skip_mismatch` what doesn't fit is, with a warning.
    """
    version = version or _version(group, group.file)
    pairs: Pairs = []
    left = group.file.id.get_filesize()  # bytes that arrays may take: none is in there twice
    for name, part, layer in _matched(model, group, by_name):
        whose = f"the layer {layer.name!r}, {name!r} in the file"
        arrays, left = _arrays_of(part, left)
        if version.major < 3:
            arrays = modern_arrays(layer, arrays, version)
        pairs += _paired(path, arrays, _weights_of(layer), whose, skip_mismatch)
    own = _own_weights(model)
    if own and (not by_name or child(group, "top_level_model_weights") is not None):
        arrays, _ = _arrays_of(inside(group, "top_level_model_weights"), left)
        pairs += _paired(path, arrays, own, "the model itself", skip_mismatch)
    return pairs


def _matched(model: Model, group: h5py.Group, by_name: bool = False) -> list[tuple[str, h5py.Group, Any]]:
    """The layers that have weights, each with its name and group in the file."""
    kept = [(name, inside(group, name)) for name in _names(group, "layer_names")]
    kept = [(name, part) for name, part in kept if _names(part, "weight_names")]
    layers = [layer for layer in model.layers if layer.weights]
    if by_name:
        parts = dict(kept)
        return [(layer.name, parts[layer.name], layer) for layer in layers if layer.name in parts]
    if len(kept) != len(layers):
        raise ValueError(f"it has weights of {len(kept)} layers, expected {len(layers)}.")
    return [(name, part, layer) for (name, part), layer in zip(kept, layers, strict=True)]


def _version(group: h5py.Group, file: h5py.File) -> Version:
    """What wrote a group of weights."""
    said = {name: next((_text(g.attrs[name]) for g in (group, file) if name in g.attrs), None)
            for name in ("keras_version", "backend")}
    names = []
    if said["keras_version"] is None or said["keras_version"].startswith("1"):
        names = [n for layer in _names(group, "layer_names") for n in _names(inside(group, layer), "weight_names")]
    return Version.of(said["keras_version"], said["backend"], names)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


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
    return [_text(name) for part in parts for name in np.asarray(group.attrs[part]).reshape(-1).tolist()]


def _arrays_of(group: h5py.Group, left: int) -> tuple[list[np.ndarray], int]:
    """The arrays of a group in their order, and how many bytes are left for others."""
    arrays = []
    for name in _names(group, "weight_names"):
        *folders, last = name.split("/")
        found = plain_dataset(inside(group, "/".join(folders)), last)
        if found.dtype.kind not in "fiub":
            raise ValueError(f"{found.name} has numbers of type {found.dtype}, expected floats or integers.")
        left -= found.size * found.dtype.itemsize
        if left < 0:
            raise ValueError(f"{found.name} is an array of shape {list(found.shape)}, for which the file has no room.")
        arrays.append(np.asarray(found[()]))
    return arrays, left


def _paired(path: Path, arrays: Sequence[np.ndarray], variables: Sequence[Variable], whose: str,
            skip_mismatch: bool) -> Iterator[tuple[Variable, np.ndarray]]:
    if len(arrays) != len(variables):
        problem = f"it has {len(arrays)} arrays for {whose}, expected {len(variables)}."
        if not skip_mismatch:
            raise ValueError(problem)
        warnings.warn(f"{path}: {whose} is left as it is: {problem}", stacklevel=5)
        return
    for array, variable in zip(arrays, variables, strict=True):
        try:
            yield variable, fitting(array, variable, f"An array of {whose}, for the weight {variable.path},")
        except ValueError as error:
            if not skip_mismatch:
                raise
            warnings.warn(f"{path}: a weight is left as it is: {error}", stacklevel=5)


# -------------------------------------------------------------------------------------------------- optimizer's state

def _state_of(path: Path, model: Model, group: Any, weights: h5py.Group, version: Version) -> Pairs:
    """The optimizer's state, where the file has all of it."""
    names = _names(group, "weight_names") if isinstance(group, h5py.Group) else []
    if version.major >= 3:
        places = [(inside(group, name.rpartition("/")[0]), name.rpartition("/")[2]) for name in names]
        state = state_for(path, model, len(names))
        return [(v, array_of(part, last, v)) for v, (part, last) in zip(state, places, strict=True)] if state else []
    if not names:
        return []
    arrays, _ = _arrays_of(group, group.file.id.get_filesize())
    try:
        return list(_old_state(model, list(zip(names, arrays, strict=True)), weights, version))
    except (ValueError, OverflowError) as error:
        warnings.warn(f"{path}: the optimizer starts anew: {error}", stacklevel=4)
        return []


def _old_state(model: Model, arrays: Sequence[tuple[str, np.ndarray]], weights: h5py.Group,
               version: Version) -> Iterator[tuple[Variable, np.ndarray]]:
    """The state that Keras 1 and 2 wrote: an array for each trained one of the file in each slot."""
    optimizer = model.optimizer
    assert optimizer is not None
    count, *_ = optimizer.state(model.trainable_weights)
    parts = [(layer, _names(part, "weight_names")) for _, part, layer in _matched(model, weights)]
    trained = [(layer, names[:len(names) - len(layer.non_trainable_weights)])
               for layer, names in parts if layer.trainable_weights]
    order = [name for _, names in trained for name in names]
    places = sorted(range(len(order)), key=order.__getitem__) if version.major == 1 else range(len(order))
    slots = [name for group in optimizer.slots() for name in group]
    scalars, found = _kinds(arrays, slots, len(order))
    if scalars:
        steps = int(scalars[0])
        yield count, np.asarray(steps, count.array.dtype)
        yield from ((v, np.asarray(value, v.array.dtype)) for v, value in optimizer.scalars_after(steps))
    for slot in slots:
        if len(found.get(slot, ())) != len(order):
            raise ValueError(f"it has {len(found.get(slot, ()))} arrays of the kind {slot!r}, expected {len(order)}.")
        placed = dict(zip(places, found[slot], strict=True))
        rest = [placed[i] for i in range(len(order))]
        for layer, names in trained:
            own, rest = rest[:len(names)], rest[len(names):]
            modern = modern_arrays(layer, own, version)
            if len(modern) != len(layer.trainable_weights):
                raise ValueError(f"it has {len(modern)} arrays of the kind {slot!r} for the layer {layer.name!r}.")
            for array, parameter in zip(modern, layer.trainable_weights, strict=True):
                variable = optimizer.slot(parameter, slot)
                yield variable, fitting(array, variable, f"the array {slot!r} of {parameter.path}")


def _kinds(arrays: Sequence[tuple[str, np.ndarray]], slots: Sequence[str],
           size: int) -> tuple[list[np.ndarray], dict[str, list[np.ndarray]]]:
    """The single numbers, and the arrays by slot: of the kind in their names, else one slot after the other."""
    scalars: list[np.ndarray] = []
    found: dict[str, list[np.ndarray]] = {}
    unnamed: list[np.ndarray] = []
    for name, array in arrays:
        steps = name.removesuffix(":0").split("/")
        kinds = [known for step in (steps[-1], *steps[1:2]) for known in SLOTS.get(step, ())]
        if array.ndim == 0:
            scalars.append(array)
        elif kinds:
            found.setdefault(next((k for k in kinds if k in slots), kinds[0]), []).append(array)
        else:
            unnamed.append(array)
    return scalars, found or {slot: unnamed[i * size:(i + 1) * size] for i, slot in enumerate(slots)}
