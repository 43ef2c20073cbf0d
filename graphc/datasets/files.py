"""Where the files of data sets are, and how they are read without running anything that is written in them."""

from __future__ import annotations

import io
import pickle
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from graphc.utils.files import cache_folder, get_file, provided

__all__ = ["Pair", "check_split", "find", "found", "instead", "load_npz", "reading", "split", "unpickle"]

Pair = tuple[np.ndarray, np.ndarray]
_SERVER = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"


def find(path: Any, name: str, file_hash: str | None, subdir: str = "datasets") -> Path:
    """The file of a data set: the absolute `path`, or that name in Keras's cache, with GRAPHC_DATA, or downloaded."""
    return found(path, subdir) or Path(get_file(path, _SERVER + name, file_hash=file_hash, cache_subdir=subdir))


def found(path: Any, subdir: str = "datasets") -> Path | None:
    """The file or folder where it is on this machine already."""
    if Path(path).is_absolute():
        return Path(path)
    cached = cache_folder(cache_subdir=subdir) / path
    return cached if cached.exists() else provided(path)


def instead(name: str, of: str) -> Path | None:
    """A file with GRAPHC_DATA that stands for a data set that is nowhere else; says so."""
    path = provided(name)
    if path is not None:
        warnings.warn(f"{of} is not in Keras's cache: {path} is read instead, which is not the same data.",
                      stacklevel=3)
    return path


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Errors inside say that the file is not what it should be."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (KeyError, OSError, EOFError, ValueError, IndexError, TypeError, zipfile.BadZipFile, zlib.error,
            tarfile.TarError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} does not hold {what} ({error}). It is damaged or another file: delete it, or put the "
                         "right one there.") from None


def load_npz(path: Path, keys: Sequence[str]) -> list[np.ndarray]:
    """The arrays of an .npz file, which may hold lists of numbers as objects."""
    with reading(path, f"the arrays {', '.join(keys)}"), np.load(path, allow_pickle=False) as arrays:
        return [_member(arrays, key) for key in keys]


def _member(arrays: Any, key: str) -> np.ndarray:
    try:
        return arrays[key]
    except ValueError:  # objects
        content = io.BytesIO(arrays.zip.read(f"{key}.npy"))
    major, _ = np.lib.format.read_magic(content)
    if major == 1:
        np.lib.format.read_array_header_1_0(content)
    else:
        np.lib.format.read_array_header_2_0(content)
    return unpickle(content)


class _Unpickler(pickle.Unpickler):
    """Makes arrays and Python's plain containers, and calls nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct")):
            return _new_array
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, and only arrays are read")


def _new_array(cls: type, shape: tuple[int, ...], kind: bytes) -> np.ndarray:
    """An empty array, which the pickle fills."""
    return np.ndarray.__new__(np.ndarray, (0,), "b")


def unpickle(file: Any, encoding: str = "ASCII") -> Any:
    """What a pickle of arrays, lists, dicts, numbers and texts holds; UnpicklingError for any other."""
    return _Unpickler(file, encoding=encoding).load()


def split(x: np.ndarray, y: np.ndarray, test_split: float, seed: int) -> tuple[Pair, Pair]:
    """The rows in a random order, the last part of them for tests."""
    order = np.arange(len(x))
    np.random.RandomState(seed).shuffle(order)
    x, y, at = x[order], y[order], int(len(x) * (1 - test_split))
    return (x[:at], y[:at]), (x[at:], y[at:])


def check_split(test_split: float) -> None:
    """Refuse a part that is none."""
    if not 0 <= test_split < 1:
        raise ValueError(f"load_data(test_split={test_split!r}): expected a fraction of at least 0 and below 1.")
