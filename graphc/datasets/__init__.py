"""Data sets to try things with: `mnist` (downloaded once) and `digits` (shipped with graphc)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphc.datasets import digits, mnist

__all__ = ["digits", "mnist"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return importlib.import_module(f"graphc.datasets.{name}")
    raise AttributeError(f"module 'graphc.datasets' has no attribute {name!r}. Data sets: {', '.join(__all__)}.")
