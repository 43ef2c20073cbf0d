"""Orders of nodes that point at their operands: expressions and values alike."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

__all__ = ["postorder"]

Node = TypeVar("Node", bound=Hashable)


def postorder(roots: Iterable[Node], operands: Callable[[Node], Iterable[Node]]) -> list[Node]:
    """Every node at or below the roots once, operands before users, in a stable order; no recursion."""
    entered: set[Node] = set()
    done: set[Node] = set()
    order: list[Node] = []
    stack = list(roots)
    stack.reverse()
    while stack:
        node = stack[-1]
        if node not in entered:
            entered.add(node)
            below = [o for o in operands(node) if o not in entered]
            below.reverse()
            stack += below
            if below:
                continue
        stack.pop()
        if node not in done:
            done.add(node)
            order.append(node)
    return order
