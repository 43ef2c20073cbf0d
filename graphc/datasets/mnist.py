"""The MNIST handwritten digits: 70,000 images of 28x28. https://keras.io/api/datasets/mnist/"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import urllib.request
import zipfile
import zlib
from pathlib import Path

import numpy as np

__all__ = ["load_data"]

Pair = tuple[np.ndarray, np.ndarray]
_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
_SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"
_KEYS = ("x_train", "y_train", "x_test", "y_test")


def load_data(path: str = "mnist.npz") -> tuple[Pair, Pair]:
    """(x_train, y_train), (x_test, y_test): images uint8 (n,28,28) with values 0 to 255, labels uint8 (n,).

    The file is looked for as an absolute `path`, in ~/.keras/datasets, and in the folder that GRAPHC_DATA names;
    if it is in none of them it is downloaded to ~/.keras/datasets. A download whose SHA-256 is wrong and a file that
    does not hold the four arrays raise ValueError; no file and no network raise FileNotFoundError.
    """
    cache = Path.home() / ".keras" / "datasets" / Path(path).name
    folder = os.environ.get("GRAPHC_DATA")
    places = [Path(path)] if Path(path).is_absolute() else [cache, *([Path(folder) / path] if folder else [])]
    found = next((p for p in places if p.is_file()), None)
    if found is None:
        _download(cache)
        found = cache
    try:
        with np.load(found, allow_pickle=False) as arrays:
            x_train, y_train, x_test, y_test = (arrays[key] for key in _KEYS)
    except (KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{found} does not hold the arrays {', '.join(_KEYS)} ({error}). It is damaged or another "
                         f"file: delete it, or put the file from {_URL} there.") from None
    return (x_train, y_train), (x_test, y_test)


def _download(target: Path) -> None:
    """Fetch the file; it appears under its name only when it is complete and its hash is right."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        part = Path(folder) / target.name
        try:
            with urllib.request.urlopen(_URL, timeout=30) as answer, part.open("wb") as file:
                shutil.copyfileobj(answer, file)
        except OSError as error:
            raise FileNotFoundError(
                f"mnist.npz is not in {target.parent} and could not be downloaded from {_URL} ({error}). Put the file "
                f"there or into the folder that the variable GRAPHC_DATA names; its SHA-256 is {_SHA256}.") from None
        digest = hashlib.sha256(part.read_bytes()).hexdigest()
        if digest != _SHA256:
            raise ValueError(f"The download from {_URL} has the SHA-256 {digest}, expected {_SHA256}. Try again.")
        part.replace(target)
