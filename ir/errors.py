"""The errors that graphc raises on purpose; each is also the built-in error a caller would expect."""

from __future__ import annotations

__all__ = ["DTypeError", "GraphcError", "InvalidGraph", "LoweringError", "ParseError", "ShapeError",
           "place"]


class GraphcError(Exception):
    """Base of every error that graphc raises on purpose."""


class ShapeError(GraphcError, ValueError):
    """Operand shapes do not fit the operation."""


class DTypeError(GraphcError, TypeError):
    """Operand dtypes do not fit the operation."""


class InvalidGraph(GraphcError, ValueError):
    """A graph, a plan or a loop nest breaks a numbered invariant."""


def place(error: Exception, where: str) -> None:
    """Note the value over which an error came up; one that is noted already lies closer to it."""
    if not any(note.startswith("at ") for note in getattr(error, "__notes__", ())):
        error.add_note(f"at {where}")


class ParseError(GraphcError, ValueError):
    """Text is not a graph; the message quotes the line."""


class LoweringError(GraphcError, NotImplementedError):
    """A kernel can't be turned into native code; it runs on NumPy instead."""
