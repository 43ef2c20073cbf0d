"""What `.keras` and `.h5` files have in common: what is refused, arrays, and compile information.

Files are taken for what anyone may have written. Nothing in them runs or is imported, links and references to other
files are refused, nothing larger than the file can back up is allocated, and all is checked before a weight changes.
"""

from __future__ import annotations

import io
import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from graphc import losses, metrics
from graphc.configs import describe
from graphc.ir.tree import mapped
from graphc.models import Model
from graphc.random import SeedGenerator
from graphc.runtime.interrupts import uninterrupted
from graphc.safe_files import FileError, message_of, reading, replacing
from graphc.serialization import deserialize
from graphc.variable import Variable

__all__ = ["HDF5", "KERAS_VERSION", "LARGEST_CONFIG", "FileError", "Pairs", "array_of", "as_json", "child",
           "compile_as", "compile_config", "fitting", "model_in", "opened", "plain_dataset", "random_pairs", "reading",
           "replacing", "room", "state_for", "stored_whole", "write_random_state"]

KERAS_VERSION = "3.15.1"  # whose files these are
LARGEST_CONFIG = 1 << 25  # bytes
HDF5 = b"\x89HDF\r\n\x1a\n"  # how such files begin
_RANDOM = "graphc.random"  # no attribute has a name with a dot, so it is none of Keras's groups

Pairs = list[tuple[Variable, np.ndarray]]


def as_json(path: Path, value: Any) -> bytes:
    """A configuration as text."""
    def plain(number: Any) -> Any:
        if isinstance(number, np.generic):
            return number.item()
        raise TypeError(f"{number!r} is no number, text, list or object")

    try:
        return json.dumps(value, default=plain).encode()
    except (TypeError, ValueError) as error:
        raise FileError(f"{path}: the configuration can't be written: {error}.") from error


def model_in(described: Any, custom_objects: Mapping[str, Any] | None) -> Model:
    """The model that a file describes."""
    model = deserialize(described, "model", custom_objects)
    if not isinstance(model, Model):
        raise ValueError(f"it holds the layer {model!r}, expected a model.")
    return model


# ---------------------------------------------------------------------------------------------------------- arrays

@contextmanager
def opened(data: bytes) -> Iterator[h5py.File]:
    """An HDF5 file in memory, for which libhdf5 comes to an end. Interrupts wait: h5py would drop some of them.

    It walks from object to object through the heaps that hold texts, and would stay for ever at one without a size.
    HDF5 File Format Specification, III.E (global heap).
    """
    sizes = data[13:15] if data[8:9] < b"\2" else data[9:11]  # of addresses and lengths, by the version
    if not data.startswith(HDF5) or sizes != b"\10\10":
        raise ValueError("it doesn't begin as HDF5 files with sizes of 8 bytes do.")
    at = -1
    while (at := data.find(b"GCOL\1", at + 1)) >= 0:
        here, end = at + 16, min(at + int.from_bytes(data[at + 8:at + 16], "little"), len(data))
        while here + 16 <= end:
            number, size = int.from_bytes(data[here:here + 2], "little"), int.from_bytes(
                data[here + 8:here + 16], "little")
            step = size if number == 0 else 16 + (size + 7) // 8 * 8  # of free space the size is that of all
            if not 0 < step <= end - here:
                raise ValueError(f"its heap at byte {at} has an object of {size} bytes where there is none.")
            here += step
    with uninterrupted(), h5py.File(io.BytesIO(data), "r") as file:
        yield file


def child(group: Any, name: str) -> Any:
    """A member of a group; links, which may lead to other files, are refused."""
    link = group.get(name, getlink=True)
    if link is not None and not isinstance(link, h5py.HardLink):
        raise ValueError(f"{group.name}/{name} is a link, expected the thing itself.")
    return None if link is None else group[name]


def plain_dataset(group: Any, name: str, whose: str = "") -> h5py.Dataset:
    """An array that lies in the file as it is: not in other files, nor in pieces that may be compressed."""
    found = child(group, name)
    place = f"{group.name}/{name}{whose}"
    if not isinstance(found, h5py.Dataset):
        raise ValueError(f"{place} is missing.")
    if not stored_whole(found):
        raise ValueError(f"{place} lies in other files or in pieces, expected an array that is stored as it is.")
    if found.shape is None:
        raise ValueError(f"{place} is an array of shape [] without an element, expected numbers.")
    return found


def stored_whole(found: h5py.Dataset) -> bool:
    """Whether an array lies in the file as it is; to be asked before its shape, for which HDF5 may look elsewhere."""
    return not found.is_virtual and not found.external and found.chunks is None


def array_of(group: Any, name: str, variable: Variable) -> np.ndarray:
    """The array of a weight, with the shape and kind of numbers of the weight."""
    whose = f", for the weight {variable.path},"
    found = plain_dataset(group, name, whose)
    fitting(found, variable, f"{group.name}/{name}{whose}")
    return np.asarray(found[()], variable.array.dtype)


def fitting(array: Any, variable: Variable, place: str) -> Any:
    """The array, or dataset, where it has the shape and kind of numbers of a weight."""
    if array.shape != variable.shape or array.dtype.kind not in ("f" if variable.array.dtype.kind == "f" else "iu"):
        raise ValueError(f"{place} is an array of shape {list(array.shape)} and type {array.dtype}, expected "
                         f"{variable.type}.")
    return array


def room(size: int) -> Any:
    """First values for weights: zeros, as many as a weights file of that size can replace."""
    left = size

    def zeros(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        nonlocal left
        left -= math.prod(shape)
        if left < 0:
            raise ValueError(f"its configuration asks for a weight of shape {list(shape)}, more than its {size:,} "
                             "bytes of weights hold.")
        return np.zeros(shape, dtype)

    return zeros


def state_for(path: Path, model: Model, count: int, rated: bool = True) -> Sequence[Variable]:
    """The optimizer's variables for so many arrays; none, with a warning, where it has another number of them.

    Before Keras 3 the learning rate isn't one of them (`rated`).
    """
    assert model.optimizer is not None
    for state in (model.optimizer.state(()), model.optimizer.state(model.trainable_weights)):
        state = state if rated else [v for v in state if v.name != "learning_rate"]
        if len(state) == count:
            return state
    if count:
        warnings.warn(f"{path}: the optimizer starts anew: its state has {count} arrays, expected {len(state)}.",
                      stacklevel=5)
    return []


def _random_states(model: Model) -> list[Variable]:
    """The model's seed and counter, and those of the generators in its layers."""
    held = (part for layer in (model, *model._all_layers()) for part in vars(layer).values())
    return [model.random_key, *(part.state for part in dict.fromkeys(
        p for p in held if isinstance(p, SeedGenerator)))]


def write_random_state(file: h5py.File, model: Model) -> None:
    """Put the random state into a group that Keras doesn't look at."""
    group = file.create_group(_RANDOM)
    for i, state in enumerate(_random_states(model)):
        group[str(i)] = state.array


def random_pairs(file: h5py.File, model: Model) -> Pairs:
    """The random state with its arrays, where the file has it for the same generators."""
    group, states = child(file, _RANDOM), _random_states(model)
    if not isinstance(group, h5py.Group) or len(group) != len(states):
        return []
    return [(state, array_of(group, str(i), state)) for i, state in enumerate(states)]


# ----------------------------------------------------------------------------------------------- compile information

def compile_config(model: Model) -> dict[str, Any]:
    """What `compile` was told, as Keras writes it."""
    def written(serialize: Callable[[Any], Any], nest: Any) -> Any:
        return None if nest is None else mapped(lambda part: None if part is None else serialize(part), nest)

    chosen = model.objective
    return {"optimizer": describe(model.optimizer), "loss": written(losses.serialize, chosen.loss),
            "loss_weights": chosen.loss_weights, "metrics": written(metrics.serialize, chosen.metrics) or None,
            "weighted_metrics": written(metrics.serialize, chosen.weighted_metrics) or None,
            "run_eagerly": False, "steps_per_execution": 1, "jit_compile": "auto"}


def compile_as(path: Path, model: Model, config: Any, custom_objects: Mapping[str, Any] | None) -> bool:
    """Compile as the file says; whether that could be done."""
    if not config:  # of a model that was never compiled
        return False
    try:
        def read(name: str, kind: str) -> Any:
            return mapped(lambda part: None if part is None else deserialize(part, kind, custom_objects),
                          config.get(name), lambda part: isinstance(part, dict) and "class_name" in part)

        model.compile(deserialize(config.get("optimizer"), "optimizer", custom_objects), read("loss", "loss"),
                      config.get("loss_weights"), read("metrics", "metric"), read("weighted_metrics", "metric"))
    except Exception as error:  # whatever is wrong with it, the model is good for predictions
        warnings.warn(f"{path}: the model is not compiled, because graphc can't use the file's compile information: "
                      f"{message_of(error)} Call compile before training.", stacklevel=4)
        return False
    return True
