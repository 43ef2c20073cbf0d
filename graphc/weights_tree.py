"""The weights in `.keras` and `.weights.h5` files: a tree of groups that follows the layers.

The arrays of the second dense layer are `layers/dense_1/vars/0`, `1`, ...: layers are counted by class, their names
don't matter. Layers in attributes have the attributes' names. The optimizer's state is in `optimizer/vars`.
"""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from graphc.layers.layer import Layer
from graphc.model_files import Pairs, array_of, beside, child, inside, numbers, pairs_beside, state_for
from graphc.models import Functional, Model, Sequential
from graphc.names import snake_case
from graphc.runtime.interrupts import uninterrupted
from graphc.safe_files import message_of
from graphc.variable import Variable, assign_all

__all__ = ["arrays_of", "layers_at", "tree_of", "tree_pairs"]

_OLD_LAYERS = "_layer_checkpoint_dependencies"  # what tf.keras 2.12 to 2.14 called the layers of a model


def tree_of(model: Model, skipped: Iterable[Layer] = ()) -> bytes:
    """The file's content for a model and its optimizer, without the layers that are skipped."""
    data = io.BytesIO()
    with uninterrupted(), h5py.File(data, "w") as file:
        for place, name, arrays in arrays_of(model, skipped):
            group = file.create_group(place)
            group.attrs["name"] = name
            for key, array in arrays.items():
                group[key] = array
    return data.getvalue()


def arrays_of(model: Model, skipped: Iterable[Layer] = ()) -> Iterator[tuple[str, str, dict[str, np.ndarray]]]:
    """The groups of such a file: the place, whose arrays these are, and the arrays by their names."""
    for place, layer in layers_at(model, skipped=skipped):
        store: dict[str, Any] = {}
        layer.save_own_variables(store)
        yield f"{place}/vars" if place else "vars", layer.name, {k: _numbers(layer, k, v) for k, v in store.items()}
    if model.optimizer is not None:
        state = model.optimizer.state(model.trainable_weights)
        yield f"{_optimizer_of(model)}/vars", model.optimizer.name, {str(i): v.array for i, v in enumerate(state)}
    for name, arrays in beside(model):
        yield name, model.name, arrays


def tree_pairs(path: Path, model: Model, file: h5py.File, compiled: bool, skip_mismatch: bool = False,
               skipped: Iterable[Layer] = ()) -> Pairs:
    """Every weight, state of the optimizer and random state with its array of the file. All are checked.

    With `skip_mismatch` a layer whose arrays don't fit is left out, with a warning.
    """
    pairs: Pairs = []
    for place, layer in layers_at(model, file, skipped):
        try:
            pairs += _layer_pairs(file, place, layer)
        except ValueError as error:
            if not skip_mismatch:
                raise
            warnings.warn(f"{path}: the layer {layer.name!r} is left as it is: {error}", stacklevel=5)
    if compiled and model.optimizer is not None:
        group = _vars(file, _optimizer_of(model))
        second = child(group, "1") if group else None
        rated = not isinstance(second, h5py.Dataset) or second.shape == ()
        state = state_for(path, model, len(group), rated)
        try:
            pairs += [(v, array_of(group, str(i), v)) for i, v in enumerate(state)]
        except ValueError as error:
            if not skip_mismatch:
                raise
            warnings.warn(f"{path}: the optimizer starts anew: {error}", stacklevel=5)
    return pairs + pairs_beside(file, model)


def _layer_pairs(file: h5py.File, place: str, layer: Layer) -> Pairs:
    group = _vars(file, place)
    if type(layer).load_own_variables is not Layer.load_own_variables:
        return _loaded(layer, Arrays(group))
    variables = layer._own_weights
    if len(group) != len(variables):
        raise ValueError(f"it has {len(group)} arrays at {place!r} for the layer {layer.name!r} "
                         f"({type(layer).__name__}), expected {len(variables)}.")
    return [(v, array_of(group, str(i), v)) for i, v in enumerate(variables)]


class Arrays(Mapping[str, np.ndarray]):
    """What `load_own_variables` receives: the arrays that a file has for a layer, each read when it is asked for."""

    def __init__(self, group: Mapping[str, Any]):
        self._group = group

    def __getitem__(self, name: str) -> np.ndarray:
        *folders, last = name.split("/")
        if name not in self:
            raise KeyError(f"{name!r} is not among the arrays {list(self)}")
        return numbers(inside(self._group, "/".join(folders)), last)

    def __contains__(self, name: object) -> bool:
        return str(name).partition("/")[0] in self._group

    def __iter__(self) -> Iterator[str]:
        return iter(self._group)

    def __len__(self) -> int:
        return len(self._group)


def _loaded(layer: Layer, arrays: Arrays) -> Pairs:
    """What the user's `load_own_variables` changes, which is put off until all of the file is known to fit."""
    before = {v: v.numpy() for v in layer.weights}
    try:
        layer.load_own_variables(arrays)
        return [(v, v.numpy()) for v in layer.weights if v not in before or v.array.tobytes() != before[v].tobytes()]
    except Exception as error:
        raise ValueError(f"load_own_variables of the layer {layer.name!r} ({type(layer).__name__}): "
                         f"{message_of(error)}") from error
    finally:
        assign_all(before.items())


def _optimizer_of(model: Model) -> str:
    """The place of the optimizer's state: the first of the attributes that hold the optimizer."""
    return min((name for name, part in vars(model).items() if part is model.optimizer), key=_order)


def _order(name: str) -> tuple[bool, str]:
    """By name, private attributes last, as Keras goes through them."""
    return name.startswith("_"), name


def layers_at(model: Model, file: h5py.Group | None = None,
              skipped: Iterable[Layer] = ()) -> Iterator[tuple[str, Layer]]:
    """Each layer of a model, which is the first, with its path in a weights file, but for those that are skipped."""
    return _groups(model, set(skipped), file)


def _groups(layer: Layer, seen: set[Layer], file: h5py.Group | None,
            path: str = "") -> Iterator[tuple[str, Layer]]:
    """Each layer not seen yet with its path.

    Keras goes through the attributes by name, private ones last; `layers` is one of those of a model, which a graph
    begins with. Files of old releases, where one is given, have it otherwise.
    """
    if layer in seen:
        return
    seen.add(layer)
    yield path, layer
    parts, name = dict(vars(layer)), _name_of_layers(layer, file, path)
    if name:
        inside = layer._layers if isinstance(layer, Functional) else layer.layers  # without those beside the graph
        twice = name == _OLD_LAYERS  # by which those with weights were counted twice
        parts[name] = [i for i in inside for _ in range(2 if twice and i.weights else 1)]
    first = name if isinstance(layer, Sequential | Functional) else ""
    for name, part in sorted(parts.items(), key=lambda item: (item[0] != first, _order(item[0]))):
        for step, inner in _layers_in(part):
            yield from _groups(inner, seen, file, "/".join(filter(None, (path, name, step))))


def _name_of_layers(layer: Layer, file: h5py.Group | None, path: str) -> str:
    """What the layers of a model are called in a file; nothing where they have the names of attributes only."""
    if not isinstance(layer, Model):
        return ""
    group, default = file, "layers" if file is None or isinstance(layer, Sequential | Functional) else ""
    for name in filter(None, path.split("/")):
        group = child(group, name) if isinstance(group, h5py.Group) else None
    known = ("layers", _OLD_LAYERS) if isinstance(group, h5py.Group) else ()
    return next((name for name in known if child(group, name) is not None), default)


def _layers_in(part: Any) -> Iterator[tuple[str, Layer]]:
    """The layers that an attribute holds; those in a list or dict with names by class: dense, dense_1, container."""
    if isinstance(part, Layer):
        yield "", part
    elif isinstance(part, list | tuple | dict):
        counts: Counter[str] = Counter()
        for inner in part.values() if isinstance(part, dict) else part:
            if isinstance(inner, Layer | list | tuple | dict):
                name = snake_case(type(inner).__name__) if isinstance(inner, Layer) else "container"
                unique = f"{name}_{counts[name]}" if counts[name] else name
                counts[name] += 1
                yield from (("/".join(filter(None, (unique, step))), layer) for step, layer in _layers_in(inner))


def _numbers(layer: Layer, key: str, value: Any) -> np.ndarray:
    """What a layer saves by a name as an array."""
    array = value.array if isinstance(value, Variable) else np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"save_own_variables of the layer {layer.name!r} gave {value!r} for {key!r}, expected "
                         "numbers. Other things can be files: save_assets.")
    return array


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
