"""The progress line of fit, evaluate and predict."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["Progress", "verbosity"]

_WIDTH = 30
_PAUSE = 0.1  # seconds between two drawings on a terminal


def verbosity(verbose: Any) -> int:
    """0, 1 or 2; 'auto' is 1."""
    if verbose == "auto":
        return 1
    if verbose not in (0, 1, 2):
        raise ValueError(f"verbose={verbose!r}: expected 0 (silent), 1 (progress bar), 2 (one line per epoch) or "
                         "'auto'.")
    return int(verbose)


class Progress:
    """One line: `422/422 [====] - 21s 49ms/step - loss: 0.2 - accuracy: 0.9`.

    A terminal sees it grow, ten times a second at most; elsewhere only the finished line is written.
    """

    def __init__(self, verbose: int, steps: int, title: str = ""):
        self.steps, self.verbose = steps, verbose
        self._out = sys.stdout
        self._live = verbose == 1 and hasattr(self._out, "isatty") and self._out.isatty()
        self._start = time.perf_counter()
        self._next, self._drawn = self._start + _PAUSE, 0
        if verbose and title:
            print(title, file=self._out)

    def update(self, step: int, values: Callable[[], Mapping[str, float]]) -> None:
        """After each batch; `values` is only called where the line is drawn."""
        if not self._live or (now := time.perf_counter()) < self._next:
            return
        self._next = now + _PAUSE
        done = _WIDTH * step // self.steps
        bar = "=" * done + ">" + "." * (_WIDTH - done - 1)
        left = (now - self._start) / step * (self.steps - step)
        line = f"{step:{len(str(self.steps))}}/{self.steps} [{bar[:_WIDTH]}] - ETA: {left:.0f}s{_numbers(values())}"
        self._write(line, "")

    def finish(self, values: Mapping[str, float]) -> None:
        """After the last batch."""
        if not self.verbose:
            return
        seconds = time.perf_counter() - self._start
        each = _duration(seconds / max(self.steps, 1))
        if self.verbose == 2:
            line = f"{self.steps}/{self.steps} - {seconds:.0f}s - {each}/step{_numbers(values)}"
        else:
            line = f"{self.steps}/{self.steps} [{'=' * _WIDTH}] - {seconds:.0f}s {each}/step{_numbers(values)}"
        self._write(line, "\n")

    def _write(self, line: str, end: str) -> None:
        # A carriage return and blanks over what a longer line has left.
        text = f"\r{line.ljust(self._drawn)}{end}" if self._live else f"{line}{end}"
        self._drawn = len(line)
        self._out.write(text)
        self._out.flush()


def _numbers(values: Mapping[str, float]) -> str:
    return "".join(f" - {k}: {v:.4f}" if abs(v) > 1e-3 or v == 0 else f" - {k}: {v:.4e}" for k, v in values.items())


def _duration(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.0f}s"
    return f"{seconds * 1e3:.0f}ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f}us"
