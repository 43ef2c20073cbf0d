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

from graphc.models import Model
from graphc.random import SeedGenerator
from graphc.registry import with_objects
from graphc.runtime.interrupts import uninterrupted
from graphc.safe_files import FileError, message_of, reading, replacing
from graphc.serialization import deserialize
from graphc.variable import Variable

__all__ = ["HDF5", "KERAS_VERSION", "LARGEST_CONFIG", "FileError", "Pairs", "array_of", "as_json", "beside",
           "child", "compile_as", "exclude_again", "fitting", "inside", "model_in", "numbers", "opened", "pairs_beside",
           "plain_dataset", "reading", "replacing", "room", "state_for", "stored_whole", "write_beside"]

KERAS_VERSION = "3.15.1"  # whose files these are
LARGEST_CONFIG = 1 << 25  # bytes
HDF5 = b"\x89HDF\r\n\x1a\n"  # how such files begin
# Groups of graphc's own: no attribute has a name with a dot, so they are none of Keras's.
_RANDOM, _CARRIED, _BESIDE = "graphc.random", "graphc.states", "graphc.optimizer"

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


def inside(group: Any, path: str) -> h5py.Group:
    """A group within another; links are refused on every step."""
    for name in filter(None, path.split("/")):
        group = child(group, name)
        if not isinstance(group, h5py.Group):
            raise ValueError(f"it has no group {path!r}.")
    return group


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


def numbers(group: Any, name: str) -> np.ndarray:
    """An array of numbers that the file has all bytes of, whatever its shape."""
    found = plain_dataset(group, name)
    size = group.file.id.get_filesize()
    if found.dtype.kind not in "fiub" or found.nbytes > size:
        raise ValueError(f"{found.name} is an array of shape {list(found.shape)} and type {found.dtype}, expected "
                         f"numbers that have room in {size:,} bytes.")
    return np.asarray(found[()])


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


def _carried_states(model: Model) -> list[Variable]:
    """What stateful layers carry from batch to batch, which isn't among their weights."""
    return [v for layer in dict.fromkeys(model._all_layers()) if getattr(layer, "stateful", False)
            for v in layer.states or ()]


def beside(model: Model) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """What Keras doesn't save, in groups that it doesn't look at: random state, layers' states, exclusions."""
    for name, states in ((_RANDOM, _random_states(model)), (_CARRIED, _carried_states(model))):
        if states:
            yield name, {str(i): state.array for i, state in enumerate(states)}
    excluded = [] if model.optimizer is None else [model.optimizer._excluded(w) for w in model.weights]
    if any(excluded):
        yield _BESIDE, {"undecayed": np.array(excluded, np.int32)}


def write_beside(file: h5py.File, model: Model) -> None:
    """Put that into a file."""
    for name, arrays in beside(model):
        group = file.create_group(name)
        for key, array in arrays.items():
            group[key] = array


def pairs_beside(file: h5py.File, model: Model) -> Pairs:
    """Random state and layers' states with their arrays, where the file has them for the same generators and batch."""
    pairs: Pairs = []
    for name, states in ((_RANDOM, _random_states(model)), (_CARRIED, _carried_states(model))):
        group = child(file, name)
        if isinstance(group, h5py.Group) and len(group) == len(states):
            found = [(state, plain_dataset(group, str(i))) for i, state in enumerate(states)]
            if name == _RANDOM or all(array.shape == state.shape for state, array in found):
                pairs += [(state, array_of(group, str(i), state)) for i, state in enumerate(states)]
    return pairs


def exclude_again(file: h5py.File, model: Model) -> None:
    """Leave the weights out of the decay that were left out of it when a compiled model was written."""
    group, weights = child(file, _BESIDE), model.weights
    if isinstance(group, h5py.Group) and model.optimizer is not None:
        like = Variable(np.zeros(len(weights), np.int32), "undecayed", trainable=False)
        flags = array_of(group, "undecayed", like).tolist()
        model.optimizer._not_decayed = [w for w, flag in zip(weights, flags, strict=True) if flag], []


# ----------------------------------------------------------------------------------------------- compile information

def compile_as(path: Path, compile: Callable[[Any], None], config: Any,
               custom_objects: Mapping[str, Any] | None) -> bool:
    """Have a model compile as the file says; whether that could be done."""
    if not config:  # of a model that was never compiled
        return False
    try:
        with with_objects(custom_objects):
            compile(config)
    except Exception as error:  # whatever is wrong with it, the model is good for predictions
        warnings.warn(f"{path}: the model is not compiled, because graphc can't use the file's compile information: "
                      f"{message_of(error)} Call compile before training.", stacklevel=4)
        return False
    return True
