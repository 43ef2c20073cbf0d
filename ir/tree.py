"""Structures: lists, tuples and dicts that hold values or arrays, also in one another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

__all__ = ["flat", "is_nested", "mapped", "parts_of", "structured"]


def is_nested(thing: Any) -> bool:
    """Whether something is a list, tuple or dict of others."""
    return isinstance(thing, list | tuple | Mapping)


def parts_of(thing: Any) -> list[Any]:
    """What a list, tuple or dict holds, or the thing itself in a list."""
    return list(thing.values()) if isinstance(thing, Mapping) else list(thing) if is_nested(thing) else [thing]


def flat(structure: Any) -> Iterator[Any]:
    """What lists, tuples and dicts hold, in their order; nothing for None."""
    if is_nested(structure):
        for part in parts_of(structure):
            yield from flat(part)
    elif structure is not None:
        yield structure


def mapped(function: Callable[[Any], Any], structure: Any, whole: Callable[[Any], bool] = lambda _: False) -> Any:
    """The structure of what a function makes of the things in it, None among them.

    `whole` says which lists, tuples and dicts are things themselves.
    """
    if not is_nested(structure) or whole(structure):
        return function(structure)
    made = [mapped(function, part, whole) for part in parts_of(structure)]
    if isinstance(structure, Mapping):
        return dict(zip(structure, made, strict=True))
    if isinstance(structure, list):
        return made
    return type(structure)(*made) if hasattr(structure, "_fields") else tuple(made)


def structured(like: Any, parts: Iterable[Any]) -> Any:
    """The next of the parts in the place of everything that a structure holds; None stays."""
    left = iter(parts)
    return mapped(lambda thing: None if thing is None else next(left), like)
