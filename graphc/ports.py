"""The inputs and outputs of a model: names, shapes and dtypes, and data matched with them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from graphc.ir.errors import ShapeError
from graphc.ir.tree import flat, is_nested

__all__ = ["Port", "batch_of", "by_port", "kept", "labels_of", "ports"]

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Port:
    """One input or output of a model. The shape is that of one sample, with None for unknown sizes.

    `batch` is the number of samples where that is fixed.
    """

    name: str
    shape: Shape
    dtype: str = "f32"
    batch: int | None = None

    @property
    def batch_shape(self) -> Shape:
        """The shape as Keras writes it, with None for the batch where it isn't fixed."""
        return (self.batch, *self.shape)


def kept(dtype: np.dtype) -> str:
    """What data of a dtype become where nothing else is said: floats f32, integers stay integers."""
    return {"b": "bool", "f": "f32"}.get(dtype.kind, "u8" if dtype == np.uint8 else "i32")


def ports(nest: Any) -> list[Port]:
    """All ports in their order; the names of several are made different."""
    if isinstance(nest, Port):
        return [nest]
    found = list(flat(nest))
    taken: list[str] = []
    for port in found:
        same = sum(name == port.name for name in (p.name for p in found[:len(taken)]))
        taken.append(f"{port.name}_{same}" if same else port.name)
    return [replace(p, name=name) for name, p in zip(taken, found, strict=True)]


def batch_of(nest: Any) -> int | None:
    """The number of samples that ports have, where one of them fixes it."""
    return next((p.batch for p in flat(nest) if p.batch is not None), None)


def labels_of(prefix: str, nest: Any) -> list[str]:
    """The labels that graphs have for ports: `x`, or of several `x.name`."""
    found = ports(nest)
    if len(found) == 1:
        return [prefix]
    return [f"{prefix}.{re.sub(r'[^A-Za-z0-9_.]', '_', p.name)}" for p in found]


def by_port(data: Any, nest: Any, who: str, what: str, missing: bool = False) -> list[Any]:
    """What a caller gave for each port: in the structure of the model, by the ports' names, or one after the other.

    `who` begins messages, as in "fit of 'model' received as x", `what` is the kind of port. With `missing` a port may
    be left out, and is None.
    """
    own = ports(nest)
    names = [p.name for p in own]
    if not is_nested(data):
        if len(own) != 1:
            raise ShapeError(f"{who} {_short(data)}, expected a list of {len(own)} {what}s, or a dict of them: "
                             f"{', '.join(map(repr, names))}.")
        return [data]
    if isinstance(data, Mapping):
        return list(_by_name(data, nest, names, who, what, missing))
    if isinstance(nest, list | tuple) and any(map(is_nested, nest)) and len(nest) == len(data):
        return [part for d, n in zip(data, nest, strict=True) for part in by_port(d, n, who, what, missing)]
    if len(data) != len(own):
        raise ShapeError(f"{who} {len(data)} arrays, expected {len(own)}, one for each {what}: "
                         f"{', '.join(map(repr, names))}.")
    return list(data)


def _by_name(data: Mapping[str, Any], nest: Any, names: Sequence[str], who: str, what: str,
             missing: bool) -> Iterator[Any]:
    """The parts of a dict by the names of the ports, or by the keys of the model's own dict."""
    keys = list(nest) if isinstance(nest, Mapping) else names
    deep = isinstance(nest, Mapping) and any(map(is_nested, nest.values()))
    known: dict[str, Any] = dict.fromkeys(keys) if deep else dict(zip(keys, names, strict=True))
    given = ", ".join(map(repr, data)) or "nothing"
    for key, name in known.items():
        if key not in data and name not in data and (deep or not missing):
            raise ValueError(f"{who} a dict of {given}, expected the {what}s {', '.join(map(repr, keys))}: {key!r} is "
                             "missing.")
    unknown = [key for key in data if key not in known and key not in known.values()]
    if unknown and missing:  # of inputs there may be more than the model takes
        raise ValueError(f"{who} a dict of {given}, expected the {what}s {', '.join(map(repr, keys))}: {unknown[0]!r} "
                         "is none of them.")
    for key, name in known.items():
        if deep:
            yield from by_port(data[key], nest[key], who, what, missing)
        else:
            yield data.get(key, data.get(name))


def _short(data: Any) -> str:
    shape = getattr(data, "shape", None)
    return f"one array of shape {list(shape)}" if shape is not None else f"{type(data).__name__}"


