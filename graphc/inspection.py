"""What is in a `.keras` or `.h5` file, and what of it graphc would refuse: nothing of it is built."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from graphc.archives import is_asset, member, unpacked
from graphc.functions_config import OPERATIONS
from graphc.model_files import LARGEST_CONFIG, child, opened, stored_whole
from graphc.safe_files import message_of
from graphc.saving import MEMBERS
from graphc.serialization import KINDS

__all__ = ["inspect"]

_DETAILS = {"DTypePolicy", "__tensor__", "__numpy__", "__keras_tensor__"}
_KNOWN = {name for classes in KINDS.values() for name in classes} | set(OPERATIONS) | {"function"}


def inspect(path: Path) -> Iterator[tuple[str, bool]]:
    """Lines about a file, each with whether it tells of something that is refused."""
    data = path.read_bytes()
    yield f"{path}: {len(data):,} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}", False
    try:
        yield from _archive(data) if zipfile.is_zipfile(io.BytesIO(data)) else _weights(data)
    except Exception as error:  # zipfile, json and h5py raise a dozen kinds over damaged bytes
        yield f"refused: {message_of(error)}", True


def _archive(data: bytes) -> Iterator[tuple[str, bool]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for info in archive.infolist():
            if info.filename not in MEMBERS:
                yield _other(archive, info, len(data))
        for name, limit in MEMBERS.items():
            try:
                content = member(archive, name, len(data), limit)
            except Exception as error:
                yield f"  {name}: refused: {message_of(error)}", True
                continue
            yield f"  {name}: {len(content):,} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}", False
            try:
                yield from _indented(_weights(content) if limit is None else _json(content))
            except Exception as error:
                yield f"    refused: {message_of(error)}", True


def _other(archive: zipfile.ZipFile, info: zipfile.ZipInfo, size: int) -> tuple[str, bool]:
    """A member that may be a layer's file."""
    try:
        if not is_asset(info):
            return f"  {info.filename!r}: {info.file_size:,} bytes, never read", False
        digest = hashlib.sha256(unpacked(archive, info, size)).hexdigest()
    except Exception as error:
        return f"  {info.filename!r}: refused: {message_of(error)}", True
    return f"  {info.filename!r}: {info.file_size:,} bytes for a layer, SHA-256 {digest}", False


def _indented(lines: Iterator[tuple[str, bool]]) -> Iterator[tuple[str, bool]]:
    for line, refused in lines:
        yield f"  {line}", refused


def _json(text: str | bytes) -> Iterator[tuple[str, bool]]:
    """The classes that a configuration names, each where it first does, or what else it says."""
    value = json.loads(text if isinstance(text, str) else text.decode())
    if not isinstance(value, dict):
        raise ValueError(f"{str(value)[:80]!r}, expected an object.")
    seen: set[str] = set()
    for where, part in _objects(value, ""):
        name = part.get("class_name")
        if not isinstance(name, str) or name in _DETAILS:
            continue
        config = part.get("config")
        label = config.get("name") if isinstance(config, dict) else config if name == "function" else None
        label = label if isinstance(label, str) else part.get("name")
        named = f"{name} {label!r}" if isinstance(label, str) else name
        if name == "__lambda__":
            yield f"  {where or 'it'}: {named} refused: bytecode, which is never run", True
        elif name not in _KNOWN:
            yield f"  {where or 'it'}: {named} refused without custom_objects={{{name!r}: ...}}", True
        elif isinstance(label, str) or name not in seen:
            yield f"  {where or 'it'}: {named}", False
        seen.add(name)
    if not seen:
        yield from ((f"  {key}: {str(said)[:80]}", False) for key, said in value.items())


def _objects(value: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(value, dict):
        yield where, value
    for key, part in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        if isinstance(part, dict | list):
            yield from _objects(part, f"{where}/{key}".removeprefix("/"))


def _weights(data: bytes) -> Iterator[tuple[str, bool]]:
    """The attributes and arrays of an HDF5 file."""
    with opened(data) as file:
        yield from _attributes(file)
        yield from _group(file, len(data), set())


def _attributes(file: h5py.File) -> Iterator[tuple[str, bool]]:
    for name in file.attrs:
        said = file.attrs[name]
        said = said.decode() if isinstance(said, bytes) else said
        if name.endswith("_config") and isinstance(said, str) and len(said) <= LARGEST_CONFIG:
            yield f"  {name}: {len(said):,} characters", False
            yield from _indented(_json(said))
        else:
            yield f"  {name}: {str(said)[:80]}", False


def _group(group: h5py.Group, size: int, seen: set[int]) -> Iterator[tuple[str, bool]]:
    address = h5py.h5o.get_info(group.id).addr
    if address in seen:
        raise ValueError(f"{group.name} lies within itself.")
    seen.add(address)
    for name in group:
        try:
            part = child(group, name)
            if isinstance(part, h5py.Group):
                yield from _group(part, size, seen)
            else:
                yield f"  {_array(part, size)}", False
        except Exception as error:
            yield f"  {group.name.rstrip('/')}/{name}: refused: {message_of(error)}", True


def _array(array: Any, size: int) -> str:
    if not isinstance(array, h5py.Dataset) or not stored_whole(array):
        raise ValueError("lies in other files or in pieces, expected an array that is stored as it is.")
    if array.dtype.kind not in "fiub":
        raise ValueError(f"has the type {array.dtype}, expected numbers.")
    if array.nbytes > size:
        raise ValueError(f"would take {array.nbytes:,} bytes, more than the file has.")
    digest = hashlib.sha256(np.ascontiguousarray(array[()]).tobytes()).hexdigest()
    return f"{array.name}: {array.dtype}{list(array.shape)}, SHA-256 {digest}"
