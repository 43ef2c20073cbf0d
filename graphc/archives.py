"""Members of `.keras` archives, and the files that layers put there.

What a layer's `save_assets` wrote into a folder is in `assets/`, at the layer's place in the tree of weights. Nothing
is unpacked by name: files are written into a new folder, for the layer's `load_assets` alone, after their names have
been looked at.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from graphc.layers.layer import Layer
from graphc.models import Model
from graphc.weights_tree import layers_at

__all__ = ["assets_in", "assets_of", "is_asset", "load_assets", "member", "unpacked"]

_ASSETS = "assets/"
_EXPANSION = 100  # how many times a compressed member may be larger than what is stored of it


def member(archive: zipfile.ZipFile, name: str, size: int, limit: int | None = None) -> bytes:
    """The bytes of the only member of that name, in an archive of that size."""
    found = [i for i in archive.infolist() if i.filename == name]
    if len(found) != 1:
        raise ValueError(f"the archive has {len(found)} members {name!r}, expected one.")
    return unpacked(archive, found[0], size, limit)


def unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo, size: int, limit: int | None = None) -> bytes:
    """The bytes of a member of an archive of that size, if they are no more than what is stored can be."""
    largest = _EXPANSION * info.compress_size
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{info.filename} is encrypted, or compressed in a way that isn't read.")
    if info.compress_size > size or info.file_size > (largest if limit is None else min(largest, limit)):
        raise ValueError(f"{info.filename} would take {info.file_size:,} bytes, of which {info.compress_size:,} are "
                         f"stored in a file of {size:,}.")
    with archive.open(info) as content:
        return content.read(info.file_size)  # so much at most is unpacked, whatever lies there


# ------------------------------------------------------------------------------------------------ the files of layers

def assets_of(model: Model) -> dict[str, bytes]:
    """What the layers' `save_assets` write, by the names of members."""
    found = {}
    for place, layer in layers_at(model):
        if hasattr(layer, "save_assets"):
            with TemporaryDirectory() as folder:
                layer.save_assets(folder)
                for path in sorted(p for p in Path(folder).rglob("*") if p.is_file()):
                    found[_below(place) + path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


def is_asset(info: zipfile.ZipInfo) -> bool:
    """Whether a member is a layer's file; a name that might lead out of its folder raises ValueError."""
    if not info.filename.startswith(_ASSETS) or info.is_dir():
        return False
    if any(step in ("", ".", "..") or set(step) & set("\\:\0") for step in info.filename.split("/")):
        raise ValueError(f"the name {info.filename!r} is none of a file in {_ASSETS}.")
    return True


def assets_in(file: Any, size: int) -> dict[str, bytes]:
    """The files of layers in an archive of that size, by their names; together they are no more than it can hold."""
    found: dict[str, bytes] = {}
    left = size
    with zipfile.ZipFile(file) as archive:
        for info in filter(is_asset, archive.infolist()):
            left -= info.compress_size
            if left < 0 or info.filename in found:
                raise ValueError(f"{info.filename} is in there twice, or shares its bytes with others.")
            found[info.filename] = unpacked(archive, info, size)
    return found


def load_assets(model: Model, assets: Mapping[str, bytes]) -> None:
    """Have each layer read its files; those of a layer without `load_assets` raise ValueError, before any is read."""
    taking: list[tuple[Layer, dict[str, bytes]]] = []
    left = dict(assets)
    for place, layer in layers_at(model) if assets else ():
        if hasattr(layer, "load_assets"):
            names = [name for name in assets if name.startswith(_below(place))]
            taking.append((layer, {name.removeprefix(_below(place)): assets[name] for name in names}))
            for name in names:
                left.pop(name, None)
    if left:
        raise ValueError(f"it has the file {next(iter(left))!r}, which no layer of the model reads. The layer "
                         "that wrote it needs a `load_assets`.")
    for layer, files in taking:
        if files:
            _have_read(layer, files)


def _have_read(layer: Layer, files: Mapping[str, bytes]) -> None:
    """Call a layer's `load_assets` with a folder that has these files."""
    try:
        with TemporaryDirectory() as folder:
            for name, content in files.items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                with open(path, "xb") as file:
                    file.write(content)
            layer.load_assets(folder)
    except Exception as error:
        error.add_note(f"in the files of the layer {layer.name!r} ({type(layer).__name__})")
        raise


def _below(place: str) -> str:
    """How the names of a layer's files begin."""
    return f"{_ASSETS}{place}/" if place else _ASSETS
