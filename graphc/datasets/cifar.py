"""How CIFAR-10 and CIFAR-100 are kept: pickled batches in a tar file, or in its folder."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from graphc.datasets.files import Pair, found, reading, unpickle
from graphc.utils.files import get_file

__all__ = ["download", "load", "place"]

_SERVER = "https://www.cs.toronto.edu/~kriz/"


def place(folder: str, archive: str) -> Path | None:
    """The folder or the tar file on this machine: as Keras has it now, as it had it, or as the authors call it."""
    names = (f"{folder}-target/{folder}", folder, f"{folder}-target_archive", f"{folder}.tar.gz", archive)
    return next((path for name in names if (path := found(name)) is not None), None)


def download(folder: str, archive: str, file_hash: str) -> Path:
    """The folder, after a download into Keras's cache."""
    return Path(get_file(f"{folder}-target", _SERVER + archive, extract=True, file_hash=file_hash)) / folder


def load(where: Path, folder: str, batches: Sequence[str], key: str) -> Pair:
    """The images uint8 (n,32,32,3) and labels (n,1) of some batches, the labels under a key."""
    with reading(where, f"the batches {', '.join(batches)}"):
        read = [_batch(where, folder, name) for name in batches]
        images = np.concatenate([np.asarray(b[b"data"]) for b in read]).reshape(-1, 3, 32, 32)
        labels = np.concatenate([np.asarray(b[key.encode()]) for b in read])
    return images.transpose(0, 2, 3, 1), labels.reshape(-1, 1)


def _batch(where: Path, folder: str, name: str) -> dict[bytes, np.ndarray]:
    if where.is_dir():
        content = (where / name).read_bytes()
    else:
        with tarfile.open(where) as archive:
            member = archive.extractfile(f"{folder}/{name}")
            content = member.read() if member is not None else b""
    return unpickle(io.BytesIO(content), "bytes")
