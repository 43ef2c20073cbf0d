"""Files that are downloaded once and kept in Keras's cache. https://keras.io/api/utils/python_utils/"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tarfile
import tempfile
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

__all__ = ["cache_folder", "get_file", "provided"]


def cache_folder(cache_dir: Any = None, cache_subdir: str = "") -> Path:
    """A folder of Keras's cache: in `cache_dir`, in the folder that KERAS_HOME names, or in ~/.keras."""
    home = cache_dir if cache_dir is not None else os.environ.get("KERAS_HOME")
    return (Path(home).expanduser() if home else Path.home() / ".keras") / cache_subdir


def provided(name: str) -> Path | None:
    """The file or folder of that name in the folder that GRAPHC_DATA names."""
    folder = os.environ.get("GRAPHC_DATA")
    path = Path(folder) / name if folder else None
    return path if path is not None and path.exists() else None


def get_file(fname: Any = None, origin: str | None = None, untar: bool = False, md5_hash: str | None = None,
             file_hash: str | None = None, cache_subdir: str = "datasets", hash_algorithm: str = "auto",
             extract: bool = False, archive_format: str | None = "auto", cache_dir: Any = None,
             force_download: bool = False) -> str:
    """The path of a file in the cache, downloaded from the address `origin` where it isn't there yet.

    `file_hash` is the SHA-256 or, shorter, the MD5 that the file has to have. With `extract` it is unpacked, and the
    path is that of the folder. A file appears in the cache only when it is complete and right. Raises FileNotFoundError
    where the file can't be had, and ValueError for a wrong hash.
    """
    if not origin:
        raise ValueError("get_file needs `origin`, the address that the file is downloaded from.")
    expected = file_hash or md5_hash
    algorithm = "md5" if file_hash is None or len(file_hash) == 32 else "sha256"
    if hash_algorithm not in ("auto", "md5", "sha256"):
        raise ValueError(f"get_file(hash_algorithm={hash_algorithm!r}): expected 'auto', 'md5' or 'sha256'.")
    if hash_algorithm != "auto" and file_hash is not None:
        algorithm = hash_algorithm
    name = os.fspath(fname) if fname else Path(urllib.parse.urlsplit(origin).path).name
    if not name or Path(name).name != name or name in (".", ".."):
        raise ValueError(f"get_file(fname={name!r}): expected the name of a file; its folder is `cache_dir` and "
                         "`cache_subdir`.")
    folder = cache_folder(cache_dir, cache_subdir)
    extract = extract or untar
    stem = name.partition(".")[0]
    unpacked = folder / (f"{stem}_extracted" if stem != name else name)
    path = folder / (name if stem != name or not extract else f"{name}_archive")
    fresh = force_download or not path.exists() or (expected is not None and _digest(path, algorithm) != expected)
    if fresh:
        _download(path, origin, expected, algorithm)
    if not extract:
        return str(path)
    if fresh or not unpacked.is_dir():
        _unpack(path, unpacked, archive_format)
    return str(unpacked)


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _download(path: Path, origin: str, expected: str | None, algorithm: str) -> None:
    """Fetch a file; it appears under its name only when it is complete and its hash is right."""
    path.parent.mkdir(parents=True, exist_ok=True)
    spelled = {"md5": "MD5", "sha256": "SHA-256"}[algorithm]
    print(f"Downloading data from {origin}", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        part = Path(folder) / path.name
        try:
            with urllib.request.urlopen(origin, timeout=30) as answer, part.open("wb") as file:
                shutil.copyfileobj(answer, file)
        except OSError as error:
            state = "in it has another hash" if path.exists() else f"is not in {path.parent}"
            where = f"{path.name} {state}" if state.startswith("is") else f"The {path.name} that is {state}"
            hashed = f" Its {spelled} is {expected}." if expected else ""
            raise FileNotFoundError(
                f"{where} and could not be downloaded from {origin} ({error}). Put the file into {path.parent} under "
                f"that name; a data set is also looked for in the folder that the variable GRAPHC_DATA names.{hashed}"
            ) from None
        if expected is not None and (digest := _digest(part, algorithm)) != expected:
            raise ValueError(f"The download from {origin} has the {spelled} {digest}, expected {expected}. Try again.")
        part.replace(path)


def _unpack(path: Path, target: Path, archive_format: str | None) -> None:
    """Unpack a tar or zip file; the folder appears when it is complete, and nothing lands outside of it."""
    formats = ("tar", "zip") if archive_format == "auto" else (archive_format,)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        inside = Path(folder) / target.name
        if "tar" in formats and tarfile.is_tarfile(path):
            with tarfile.open(path) as archive:
                archive.extractall(inside, filter="data")
        elif "zip" in formats and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as zipped:
                zipped.extractall(inside)
        else:
            raise ValueError(f"{path} is no archive of the format {archive_format!r}.")
        shutil.rmtree(target, ignore_errors=True)
        inside.replace(target)
