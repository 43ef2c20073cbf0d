"""What the parsers of graphs and of loops share: a place in a text, and errors that quote the line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from typing import Any

from graphc.ir.errors import ParseError
from graphc.ir.types import TensorType, parse_type

__all__ = ["FLOAT", "TYPE", "Reader", "hint"]

FLOAT = r"-?(?:inf|nan)\b|-?\d+\.\d*(?:e[+-]?\d+)?|-?\d+e[+-]?\d+"
TYPE = r"\w+\[[^\]\n]*\]"


class Reader:
    """A place in a text; blanks and lines that hold only a comment are skipped."""

    def __init__(self, text: str):
        self.text, self.at = text, 0
        self.last = 0  # where the latest token began: what an error points at

    def accept(self, pattern: str, blanks: str = r"(?:(?m:^)[ \t]*#[^\n]*|\s)*") -> str | None:
        """The text that matches here, which is then behind; None where nothing does."""
        start = re.compile(blanks).match(self.text, self.at).end()  # type: ignore[union-attr]
        found = re.compile(pattern).match(self.text, start)
        if found is None:
            return None
        self.last, self.at = start, found.end()
        return found[0]

    def sees(self, pattern: str) -> bool:
        """Whether the pattern matches here; nothing is read."""
        return self.accept(f"(?={pattern})") is not None

    def expect(self, pattern: str, what: str) -> str:
        found = self.accept(pattern)
        if found is None:
            self.sees(r"\S")
            raise self.error(f"expected {what}")
        return found

    def listed(self, start: str, end: str, item: Callable[[], Any]) -> tuple[Any, ...]:
        """Items between brackets, commas between them."""
        self.expect(re.escape(start), f"{start!r}")
        items = []
        while self.accept(re.escape(end)) is None:
            items.append(item())
            if not self.accept(","):
                self.expect(re.escape(end), f"',' or {end!r}")
                break
        return tuple(items)

    def tensor_type(self) -> TensorType:
        """The type that stands here."""
        text = self.expect(TYPE, "a type such as f32[N,10]")
        try:
            return parse_type(text)
        except ParseError as error:
            raise self.error(f"expected a type such as f32[N,10], received {text}") from error

    def error(self, message: str, at: int | None = None) -> ParseError:
        """An error about the latest token, or about one before by the place where it began."""
        at = self.last if at is None else at
        number = self.text.count("\n", 0, at) + 1
        line = (self.text.splitlines() or [""])[min(number, self.text.count("\n") + 1) - 1]
        column = at - (self.text.rfind("\n", 0, at) + 1)
        end = "" if message.endswith("?") else "."
        return ParseError(f"Line {number}: {message}{end}\n    {line}\n    {' ' * column}^")


def hint(word: str, known: Iterable[str]) -> str:
    """The end of an error about an unknown word: the known word that it might have been meant to be."""
    close = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {close[0]}?" if close else ""
