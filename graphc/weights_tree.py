"""The weights in `.keras` and `.weights.h5` files: a tree of groups that follows the layers.

The arrays of the second dense layer are `layers/dense_1/vars/0`, `1`, ...: layers are counted by class, their names
don't matter. Layers in attributes have the attributes' names. The optimizer's state is in `optimizer/vars`.
"""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py

from graphc.layers.layer import Layer
from graphc.model_files import Pairs, array_of, child, random_pairs, state_for, write_random_state
from graphc.models import Functional, Model, Sequential
from graphc.names import snake_case
from graphc.runtime.interrupts import uninterrupted
from graphc.variable import Variable

__all__ = ["tree_of", "tree_pairs"]

_OLD_LAYERS = "_layer_checkpoint_dependencies"  # what tf.keras 2.12 to 2.14 called the layers of a model


def tree_of(model: Model, skipped: Iterable[Layer] = ()) -> bytes:
    """The file's content for a model and its optimizer, without the layers that are skipped."""
    data = io.BytesIO()
    with uninterrupted(), h5py.File(data, "w") as file:
        for path, layer, variables in _groups(model, "", set(skipped)):
            _write(file, path, layer.name, variables)
        if model.optimizer is not None:
            _write(file, "optimizer", model.optimizer.name, model.optimizer.state(model.trainable_weights))
        write_random_state(file, model)
    return data.getvalue()


def tree_pairs(path: Path, model: Model, file: h5py.File, compiled: bool, skip_mismatch: bool = False,
               skipped: Iterable[Layer] = ()) -> Pairs:
    """Every weight, state of the optimizer and random state with its array of the file. All are checked.

    With `skip_mismatch` a layer whose arrays don't fit is left out, with a warning.
    """
    pairs: Pairs = []
    layers = "layers" if child(file, _OLD_LAYERS) is None else _OLD_LAYERS
    for place, layer, variables in _groups(model, "", set(skipped), layers):
        try:
            pairs += _layer_pairs(file, place, layer, variables)
        except ValueError as error:
            if not skip_mismatch:
                raise
            warnings.warn(f"{path}: the layer {layer.name!r} is left as it is: {error}", stacklevel=5)
    if compiled and model.optimizer is not None:
        group = _vars(file, "optimizer")
        second = child(group, "1") if group else None
        rated = not isinstance(second, h5py.Dataset) or second.shape == ()
        state = state_for(path, model, len(group), rated)
        try:
            pairs += [(v, array_of(group, str(i), v)) for i, v in enumerate(state)]
        except ValueError as error:
            if not skip_mismatch:
                raise
            warnings.warn(f"{path}: the optimizer starts anew: {error}", stacklevel=5)
    return pairs + random_pairs(file, model)


def _layer_pairs(file: h5py.File, place: str, layer: Layer, variables: Sequence[Variable]) -> Pairs:
    group = _vars(file, place)
    if len(group) != len(variables):
        raise ValueError(f"it has {len(group)} arrays at {place!r} for the layer {layer.name!r} "
                         f"({type(layer).__name__}), expected {len(variables)}.")
    return [(v, array_of(group, str(i), v)) for i, v in enumerate(variables)]


def _groups(layer: Layer, path: str, seen: set[Layer],
            layers: str = "layers") -> Iterator[tuple[str, Layer, list[Variable]]]:
    """Each layer not seen yet with its path in a weights file and its own weights, trainable ones first.

    `layers` is the name of the group of a model's layers. By the old one, those with weights were counted twice.
    """
    if layer in seen:
        return
    seen.add(layer)
    yield path, layer, sorted(layer._own, key=lambda w: not w.trainable)
    if isinstance(layer, Sequential | Functional):
        twice = layers == _OLD_LAYERS
        parts: dict[str, Any] = {layers: [i for i in layer.layers for _ in range(2 if twice and i.weights else 1)]}
    else:  # Keras goes through the attributes by name, private ones last
        parts = dict(sorted(vars(layer).items(), key=lambda item: (item[0].startswith("_"), item[0])))
    for name, part in parts.items():
        for step, inner in _layers_in(part):
            yield from _groups(inner, "/".join(filter(None, (path, name, step))), seen, layers)


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


def _write(file: h5py.File, path: str, name: str, variables: Sequence[Variable]) -> None:
    group = file.create_group(f"{path}/vars" if path else "vars")
    group.attrs["name"] = name
    for i, variable in enumerate(variables):
        group[str(i)] = variable.array


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
