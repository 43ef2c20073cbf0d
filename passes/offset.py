"""Count each symbolic size from the least with which no array is empty, so that later stages needn't think of that.

A window of 3 elements over T positions is read at T-2 of them. With T+2 in the place of T they are T, at least one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from graphc.ir.graph import Graph
from graphc.ir.types import Dim, TensorType, at_least_zero, bind_dim, dim
from graphc.passes.infer import infer

__all__ = ["counted", "least_sizes", "offset"]

_MOST = 1 << 20  # sizes beyond are not looked for


def least_sizes(graph: Graph) -> dict[str, int]:
    """The symbolic sizes that must be more than 1, and how large, for every array to be provably not empty.

    An extent for which there is no such size, as T-S, is passed over.
    """
    found: dict[str, int] = {}
    for extent in dict.fromkeys(_extents(graph)):
        for name in sorted(extent.names, reverse=True):
            if _filled(extent, found):
                break
            low, high = found.get(name, 1), 2 * found.get(name, 1)
            while high < _MOST and not _filled(extent, {**found, name: high}):
                low, high = high, 2 * high
            if high < _MOST:
                while high - low > 1:
                    middle = (low + high) // 2
                    low, high = (low, middle) if _filled(extent, {**found, name: middle}) else (middle, high)
                found[name] = high
    return found


def _extents(graph: Graph) -> Iterator[Dim]:
    for value in graph.values():
        if isinstance(value.type, TensorType):
            yield from (d for d in value.type.shape if isinstance(d, Dim))
        body = getattr(value.op, "body", None)
        if body is not None:
            yield from _extents(body)


def _filled(extent: Dim, least: Mapping[str, int]) -> bool:
    """Whether an extent is at least 1 where sizes are no less than these."""
    return at_least_zero(bind_dim(extent, _symbols(least)) - 1)


def _symbols(least: Mapping[str, int]) -> dict[str, int | Dim]:
    return {name: dim(name) + size - 1 for name, size in least.items()}


def counted(sizes: Mapping[str, int], least: Mapping[str, int]) -> dict[str, int]:
    """Sizes of arrays as a graph after `offset` counts them: 1 for the least, or less."""
    return {name: size - least.get(name, 1) + 1 for name, size in sizes.items()}


def offset(graph: Graph) -> Graph:
    """The same graph, its sizes counted so that 1 stands for the least of them."""
    least = least_sizes(graph)
    return infer(graph, _symbols(least)) if least else graph
