"""Changes of files: of the members of an archive, and of the arrays in a file of weights."""

from __future__ import annotations

import io
import json
import zipfile

import h5py

FIRST = "layers/dense/vars/0"


def members(path):
    """What an archive has by its names."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewrite(path, config=None, weights=None, add=(), compression=zipfile.ZIP_STORED):
    """The archive again with other members; `config` and `weights` change the JSON value and the HDF5 file in place."""
    parts = members(path)
    if config is not None:
        value = json.loads(parts["config.json"])
        config(value)
        parts["config.json"] = json.dumps(value).encode()
    if weights is not None:
        data = io.BytesIO(parts["model.weights.h5"])
        with h5py.File(data, "r+") as file:
            weights(file)
        parts["model.weights.h5"] = data.getvalue()
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in [*parts.items(), *add]:
            archive.writestr(name, content)


def replaced(name, make):
    """A change of the weights' file: the thing of that name made anew."""
    def change(file):
        del file[name]
        make(file, name)
    return change
