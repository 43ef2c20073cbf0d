"""Files that are replaced as a whole or not at all, and errors that name them."""

from __future__ import annotations

import glob
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from graphc.ir.errors import GraphcError

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["FileError", "message_of", "reading", "replacing"]


class FileError(GraphcError, ValueError, OSError):
    """A file isn't what it should be, or can't be written; the message names the file and what is wrong."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Say of every error inside that it is about the contents of this file."""
    try:
        yield
    except FileError:
        raise
    except Exception as error:  # zipfile, json and h5py raise a dozen kinds over damaged bytes
        raise FileError(f"{path} can't be read: {message_of(error)}") from error


def message_of(error: Exception) -> str:
    """An error in one line, with its kind where the text alone may not tell, and its notes."""
    kind = "" if isinstance(error, ValueError | GraphcError) else f"{type(error).__name__}: "
    return " ".join([f"{kind}{error}", *(f"({note})" for note in getattr(error, "__notes__", ()))])


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A new file beside this one that takes its place at the end, at once and for good, if nothing goes wrong.

    Whatever happens in between, also to the process or the machine, the path has the old file or the new one. The new
    one has the mode and owner of the old. What a save that was killed has left is removed by the next one. A full disk,
    a folder that nobody may write to and the like raise FileError.
    """
    try:
        target = path.resolve()  # of a link, the file that it leads to
        old = _state(target)
        _tidy(target)
        with _beside(target, old) as (new, file):
            yield file
            file.flush()
            os.fsync(file.fileno())
            if fcntl is None:
                file.close()
            os.replace(new, target)
        _sync(target.parent)
    except FileError:
        raise
    except (OSError, RuntimeError) as error:  # the latter for links that lead to one another
        reason = getattr(error, "strerror", None) or error
        raise FileError(f"{path} can't be written: {reason}. What was there is as it was.") from error


def _state(target: Path) -> os.stat_result | None:
    """What the system knows of the file that is replaced; only an ordinary one that may be written to is."""
    try:
        old = target.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(old.st_mode):
        kind = "a folder" if stat.S_ISDIR(old.st_mode) else "no ordinary file"
        raise FileError(f"{target} can't be written: it is {kind}. Choose another name.")
    if not os.access(target, os.W_OK):
        raise PermissionError(0, "the file may not be changed")
    return old


def _prefix(target: Path) -> str:
    return f".{target.name}."


@contextmanager
def _beside(target: Path, old: os.stat_result | None) -> Iterator[tuple[Path, IO[bytes]]]:
    """A new file in the folder of another, locked as long as it is written, gone in the end if it keeps its name."""
    mode = 0o666 if old is None else stat.S_IMODE(old.st_mode)
    while True:
        new = target.with_name(f"{_prefix(target)}{secrets.token_hex(4)}.new")
        file = open(new, "xb", opener=lambda name, flags: os.open(name, flags, mode))  # noqa: SIM115
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)
            if not new.exists():  # another save took it for left over before the lock was there
                continue
            if old is not None and hasattr(os, "fchown"):
                with suppress(OSError):  # of another user's
                    os.fchown(file.fileno(), old.st_uid, old.st_gid)
                os.fchmod(file.fileno(), mode)
            yield new, file
            return
        finally:
            with suppress(OSError):  # a full disk has been complained of
                file.close()
            new.unlink(missing_ok=True)


def _tidy(target: Path) -> None:
    """Remove what saves that were killed have left: files that nobody holds a lock on."""
    if fcntl is None:
        return
    for name in glob.glob(f"{glob.escape(_prefix(target))}????????.new", root_dir=target.parent, include_hidden=True):
        with suppress(OSError):
            left = os.open(target.with_name(name), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
            try:
                fcntl.flock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(target.with_name(name))
            finally:
                os.close(left)


def _sync(folder: Path) -> None:
    """Have the disk know the names in a folder; a system that can't do that for folders is as safe as it gets."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
