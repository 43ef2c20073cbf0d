"""Weights in several files of a limited size, as `save_weights(..., max_shard_size=...)` of Keras 3 writes them.

`NAME.weights.json` is the index: which of the files `NAME_00000.weights.h5`, `NAME_00001.weights.h5`, ... beside it
have the arrays of each place in the tree of weights (see graphc.weights_tree).
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py

from graphc.layers.layer import Layer
from graphc.model_files import LARGEST_CONFIG, as_json, inside, numbers, opened, replacing
from graphc.models import Model
from graphc.runtime.interrupts import uninterrupted
from graphc.weights_tree import arrays_of

__all__ = ["merged", "save"]

_NAME = re.compile(r"[^/\\:\0]+\.weights\.h5")


def save(model: Model, path: Path, gigabytes: float, skipped: Iterable[Layer] = ()) -> None:
    """Write the weights of a model; the index comes last, when all files that it speaks of are there."""
    if not isinstance(gigabytes, int | float) or not gigabytes > 0:
        raise ValueError(f"save_weights(max_shard_size={gigabytes!r}): expected a number of GB above 0.")
    contents: dict[str, io.BytesIO] = {}
    places: dict[str, list[str]] = {}
    most, used, total = gigabytes * 2**30, 0, 0
    with uninterrupted(), ExitStack() as stack:
        for place, name, arrays in arrays_of(model, skipped):
            for key, array in arrays.items():
                if array.nbytes > most:
                    raise ValueError(f"save_weights(max_shard_size={gigabytes!r}): {place}/{key} has {array.nbytes:,} "
                                     f"bytes, more than the {most:,.0f} of a file.")
                if not contents or used + array.nbytes > most:
                    stack.close()
                    used, file_name = 0, f"{path.name.removesuffix('.weights.json')}_{len(contents):05}.weights.h5"
                    contents[file_name] = io.BytesIO()
                    file = stack.enter_context(h5py.File(contents[file_name], "w"))
                used, total = used + array.nbytes, total + array.nbytes
                group = file.require_group(place)
                group.attrs["name"] = name
                group[key] = array
                places.setdefault(group.name, []).append(file_name)
    index = {"metadata": {"total_size": total}, "weight_map": {
        place: names[0] if len(set(names)) == 1 else list(dict.fromkeys(names)) for place, names in places.items()}}
    for file_name, content in contents.items():
        with replacing(path.with_name(file_name)) as target:
            target.write(content.getvalue())
    with replacing(path) as target:
        target.write(as_json(path, index))


def merged(path: Path, index: bytes) -> bytes:
    """The files that an index speaks of as one, which has no more bytes than they have."""
    found = json.loads(index.decode()) if len(index) <= LARGEST_CONFIG else None
    places = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(places, dict):
        raise ValueError("it has no weight_map, expected an index of files of weights.")
    whole, files, left = io.BytesIO(), dict[str, Any](), dict[str, int]()
    with ExitStack() as stack, h5py.File(whole, "w") as result:
        for place, names in places.items():
            for name in names if isinstance(names, list) else [names]:
                if not isinstance(name, str) or not _NAME.fullmatch(name):
                    raise ValueError(f"it has {str(name)[:80]!r} for {place!r}, expected a .weights.h5 file beside it.")
                if name not in files:
                    data = path.with_name(name).read_bytes()
                    files[name], left[name] = stack.enter_context(opened(data)), len(data)
                group = inside(files[name], place)
                for key in group:
                    array = numbers(group, key)
                    left[name] -= array.nbytes
                    if left[name] < 0:
                        raise ValueError(f"{name} has an array at {place!r} for which it has no room.")
                    result[f"{place}/{key}"] = array
    return whole.getvalue()
