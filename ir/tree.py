"""Structures: lists, tuples and dicts that hold values or arrays, also in one another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["flat", "structured"]


def flat(structure: Any) -> Iterator[Any]:
    """What lists, tuples and dicts hold, in their order; nothing for None."""
    if isinstance(structure, Mapping):
        structure = structure.values()
    elif not isinstance(structure, list | tuple):
        if structure is not None:
            yield structure
        return
    for part in structure:
        yield from flat(part)


def structured(like: Any, parts: Iterator[Any]) -> Any:
    """The next of the parts in the place of everything that a structure holds."""
    if isinstance(like, Mapping):
        return {name: structured(part, parts) for name, part in like.items()}
    if isinstance(like, list | tuple):
        return type(like)(structured(part, parts) for part in like)
    return None if like is None else next(parts)
