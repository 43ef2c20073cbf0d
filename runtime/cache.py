"""The compile cache: a folder of files, each an entry that one process has made and others can use.

An entry is found by a key that says all that it depends on, and is only ever replaced by an equal one. A file holds a
checksum of key and value, so one that is truncated, damaged or another's is no entry, and is written again. It gets
its name when it is complete, so processes can write the same entry at once. When the folder grows past its limit, the
entries that were not used for longest go first.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
import warnings
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

__all__ = ["Cache", "Entry", "digest", "open_cache", "sources"]

LIMIT = 128 << 20  # bytes of all entries
_MAGIC = b"graphc cache 1\n"
_HOUR = 3600.0


def digest(*parts: str) -> str:
    """A name for what the parts say together."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:40]


@cache
def sources() -> str | None:
    """A digest of the compiler's own source text; None where it can't be read."""
    found = hashlib.sha256()
    files = [p for layer in ("ir", "passes", "runtime")
             for p in sorted(Path(import_module(f"graphc.{layer}").__path__[0]).rglob("*.py"))]
    try:
        for path in files:
            found.update(path.name.encode() + b"\0" + path.read_bytes())
    except OSError:
        return None
    return found.hexdigest() if files else None


class Entry(NamedTuple):
    """A file of the cache: when it was last used (seconds since 1970), its bytes, its name."""

    used: float
    size: int
    key: str


class Cache:
    """The entries in a folder. Whatever the file system refuses is as if it were not there."""

    def __init__(self, folder: Path, limit: int = LIMIT):
        self.folder, self.limit = folder, limit

    def get(self, key: str) -> bytes | None:
        """The value of a key, or None."""
        path = self.folder / key
        try:
            data = path.read_bytes()
            os.utime(path)  # used now
        except OSError:
            return None
        value = data[len(_MAGIC) + 32:]
        return value if data == _framed(key, value) else None

    def put(self, key: str, value: bytes) -> bool:
        """Keep a value; whether that was possible."""
        temporary = None
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(prefix=".", dir=self.folder)
            with os.fdopen(handle, "wb") as file:
                file.write(_framed(key, value))
            os.replace(temporary, self.folder / key)
        except OSError:
            if temporary is not None:
                with suppress(OSError):
                    os.unlink(temporary)
            return False
        return True

    def entries(self) -> list[Entry]:
        """All entries, those used longest ago first. What crashed writers left is removed."""
        found = []
        with suppress(OSError), os.scandir(self.folder) as files:
            for file in files:
                with suppress(OSError):
                    state = file.stat(follow_symlinks=False)
                    if file.name.startswith(".") and state.st_mtime < time.time() - _HOUR:
                        os.unlink(file.path)
                    elif file.is_file(follow_symlinks=False) and not file.name.startswith("."):
                        found.append(Entry(state.st_mtime, state.st_size, file.name))
        return sorted(found)

    def trim(self) -> None:
        """Where all is beyond the limit, remove the entries used longest ago until the rest is well below it."""
        entries = self.entries()
        total = sum(e.size for e in entries)
        if total > self.limit:
            for e in entries:
                if total <= self.limit * 3 // 4:
                    break
                self.remove(e)
                total -= e.size

    def remove(self, entry: Entry) -> None:
        """Remove an entry; one that is gone already is no error."""
        with suppress(OSError):
            os.unlink(self.folder / entry.key)


def _framed(key: str, value: bytes) -> bytes:
    return _MAGIC + hashlib.sha256(key.encode() + b"\0" + value).digest() + value


def open_cache(setting: str) -> Cache | None:
    """The cache that the switch names: a folder, `off` or `0`, or nothing for the user's cache folder.

    A folder that others may write to is not used: its code would run here.
    """
    if setting.lower() in ("off", "0") or sources() is None:
        return None
    folder = Path(setting).expanduser() if setting else _default_folder()
    reason = _refused(folder)
    if reason and setting:
        _warn(f"The compile cache (GRAPHC_CACHE) is off: {reason}.")
    return None if reason else Cache(folder)


def _default_folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    if home:
        return Path(home) / "graphc"
    return Path("~").expanduser() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "graphc"


@cache
def _refused(folder: Path) -> str:
    """Why a folder can't be used; empty if it can, or may still be made."""
    try:
        state = folder.stat()
    except FileNotFoundError:
        above = next(p for p in folder.absolute().parents if p.exists())
        return "" if os.access(above, os.W_OK) else f"{folder} can't be made in {above}"
    except OSError as error:
        return str(error)
    if state.st_uid != os.geteuid() or state.st_mode & 0o022:
        return f"{folder} is not a folder that only its user can write to"
    return "" if folder.is_dir() and os.access(folder, os.R_OK | os.W_OK) else f"{folder} is not a writable folder"


@cache
def _warn(text: str) -> None:
    warnings.warn(text, RuntimeWarning, stacklevel=4)
