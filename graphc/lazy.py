"""Packages whose modules and names load when they are first used, so that importing them costs nothing."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from graphc.names import nearest

__all__ = ["lazy"]

Hooks = tuple[Callable[[str], Any], Callable[[], list[str]]]


def lazy(package: str, modules: Iterable[str] = (), names: Mapping[str, str] | None = None,
         refused: Mapping[str, str] | None = None, hint: str = "") -> Hooks:
    """`__getattr__` and `__dir__` for a package: its submodules, and the modules that have its other names.

    A name that is another one there is written `module:other`.
    `refused` gives the reason why a name that Keras has is missing; `hint` ends the message for any other name.
    """
    submodules, places, reasons = frozenset(modules), dict(names or {}), dict(refused or {})
    known = sorted({*submodules, *places})

    def get(name: str) -> Any:
        if name in submodules:
            return importlib.import_module(f"{package}.{name}")
        if name in places:
            place, _, other = places[name].partition(":")
            value = getattr(importlib.import_module(place), other or name)
            setattr(sys.modules[package], name, value)
            return value
        close = nearest(name, known)
        more = reasons.get(name) or (f"Did you mean {close!r}?" if close else hint)
        raise AttributeError(f"module {package!r} has no attribute {name!r}. {more}".rstrip(" ").removesuffix("."),
                             name=name)

    return get, lambda: known
