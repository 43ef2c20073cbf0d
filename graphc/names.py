"""Names: automatic ones for layers and models, and the nearest known one for a misspelt string."""

from __future__ import annotations

import difflib
import functools
import inspect
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

__all__ = ["choose", "nearest", "refuse_unknown", "refusing_unknown", "reset_names", "snake_case", "unique_name"]

T = TypeVar("T")
_COUNTS: Counter[str] = Counter()


def snake_case(name: str) -> str:
    """`MaxPooling2D` as `max_pooling2d`, `ReLU` as `re_lu`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=.)(?=[A-Z][a-z])", "_", name.lstrip("_")).lower()


def unique_name(base: str) -> str:
    """`dense`, then `dense_1`, `dense_2`, ... for the whole process."""
    count = _COUNTS[base]
    _COUNTS[base] += 1
    return f"{base}_{count}" if count else base


def reset_names() -> None:
    """Start counting again, as `clear_session` does."""
    _COUNTS.clear()


def nearest(name: str, options: list[str]) -> str:
    """The option that looks most like the name, or nothing."""
    found = difflib.get_close_matches(name.lower(), [o.lower() for o in options], n=1)
    return next((o for o in options if found and o.lower() == found[0]), "")


def choose(kind: str, name: str, options: Mapping[str, T]) -> T:
    """The option of that name, in any case; a ValueError with the nearest name where there is none."""
    folded = {key.lower(): value for key, value in options.items()}
    if name.lower() in folded:
        return folded[name.lower()]
    close = nearest(name, list(options))
    hint = f" Did you mean {close!r}?" if close else ""
    raise ValueError(f"Unknown {kind} {name!r}.{hint} Known names: {', '.join(sorted(options))}.")


def refuse_unknown(owner: str, given: Mapping[str, Any], known: list[str]) -> None:
    """Raise TypeError where keyword arguments are left that nobody knows."""
    for name in given:
        close = nearest(name, known)
        hint = f" Did you mean {close!r}?" if close else f" Known arguments: {', '.join(known)}."
        raise TypeError(f"{owner} got the unknown argument {name}={given[name]!r}.{hint}")


def refusing_unknown(method: Callable[..., T]) -> Callable[..., T]:
    """A method whose error about a keyword argument that it doesn't have tells the nearest that it has."""
    known = list(inspect.signature(method).parameters)

    @functools.wraps(method)
    def call(self: Any, *args: Any, **options: Any) -> T:
        refuse_unknown(method.__name__, {n: v for n, v in options.items() if n not in known}, known[1:])
        return method(self, *args, **options)

    return call
