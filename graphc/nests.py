"""Values in lists, tuples and dicts: what layers and models take and give."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

__all__ = ["flat", "is_nested", "mapped", "structured"]


def is_nested(thing: Any) -> bool:
    """Whether something is a list, tuple or dict of others."""
    return isinstance(thing, list | tuple | Mapping)


def flat(nest: Any) -> Iterator[Any]:
    """The things in lists, tuples and dicts, in their order."""
    if isinstance(nest, Mapping):
        nest = nest.values()
    elif not isinstance(nest, list | tuple):
        yield nest
        return
    for part in nest:
        yield from flat(part)


def mapped(function: Callable[..., Any], nest: Any, *others: Any) -> Any:
    """The nest of what a function makes of the things in it, and in others of the same structure."""
    if isinstance(nest, Mapping):
        return {name: mapped(function, part, *(o[name] for o in others)) for name, part in nest.items()}
    if isinstance(nest, list | tuple):
        parts = [mapped(function, *together) for together in zip(nest, *others, strict=True)]
        if isinstance(nest, list):
            return parts
        return type(nest)(*parts) if hasattr(nest, "_fields") else tuple(parts)
    return function(nest, *others)


def structured(like: Any, things: Iterable[Any]) -> Any:
    """Things one after the other in the structure of a nest."""
    left = iter(things)
    return mapped(lambda _: next(left), like)
