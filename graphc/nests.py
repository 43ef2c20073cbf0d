"""Values in lists, tuples and dicts: what layers and models take and give."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from graphc.ir import tree
from graphc.ir.tree import flat

__all__ = ["flat", "is_nested", "mapped", "parts_of", "structured"]


def is_nested(thing: Any) -> bool:
    """Whether something is a list, tuple or dict of others."""
    return isinstance(thing, list | tuple | Mapping)


def parts_of(thing: Any) -> list[Any]:
    """What a list, tuple or dict holds, or the thing itself in a list."""
    return list(thing.values()) if isinstance(thing, Mapping) else list(thing) if is_nested(thing) else [thing]


def mapped(function: Callable[[Any], Any], nest: Any) -> Any:
    """The nest of what a function makes of the things in it, None among them."""
    if isinstance(nest, Mapping):
        return {name: mapped(function, part) for name, part in nest.items()}
    if isinstance(nest, list | tuple):
        made = [mapped(function, part) for part in nest]
        return made if isinstance(nest, list) else type(nest)(*made) if hasattr(nest, "_fields") else tuple(made)
    return function(nest)


def structured(like: Any, parts: Iterable[Any]) -> Any:
    """Parts one after the other in the structure of a nest."""
    return tree.structured(like, iter(parts))
