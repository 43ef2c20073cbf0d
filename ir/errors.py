"""The errors that graphc raises on purpose; each is also the built-in error a caller would expect."""

from __future__ import annotations

__all__ = ["DTypeError", "GraphcError", "InvalidGraph", "LoweringError", "ParseError", "ShapeError"]


class GraphcError(Exception):
    """Base of every error that graphc raises on purpose."""


class ShapeError(GraphcError, ValueError):
    """Operand shapes do not fit the operation."""


class DTypeError(GraphcError, TypeError):
    """Operand dtypes do not fit the operation."""


class InvalidGraph(GraphcError, ValueError):
    """A graph, a plan or a loop nest breaks a numbered invariant."""


class ParseError(GraphcError, ValueError):
    """Text is not a graph; the message quotes the line."""


class LoweringError(GraphcError, NotImplementedError):
    """A kernel can't be turned into native code; it runs on NumPy instead."""
