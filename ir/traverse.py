"""Orders of nodes that point at their operands: expressions and values alike."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

__all__ = ["postorder"]

Node = TypeVar("Node", bound=Hashable)


def postorder(roots: Iterable[Node], operands: Callable[[Node], Iterable[Node]]) -> list[Node]:
    """Every node at or below the roots once, operands before users, in a stable order; no recursion."""
    seen: dict[Node, None] = {}
    stack = [(r, False) for r in reversed(list(roots))]
    while stack:
        node, done = stack.pop()
        if done:
            seen.setdefault(node)
        elif node not in seen:
            stack.append((node, True))
            stack.extend((o, False) for o in reversed(list(operands(node))))
    return list(seen)
