"""Passes over the graphs that ops hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from graphc.ir.graph import Graph
from graphc.ir.op import Op

__all__ = ["with_body"]


def with_body(op: Op, change: Callable[[Graph], Graph]) -> Op:
    """A kernel or a scan with `change` of its body; another op as it is."""
    body: Any = getattr(op, "body", None)
    if body is None:
        return op
    new = change(body)
    return op if new is body else replace(op, body=new)  # type: ignore[type-var]
