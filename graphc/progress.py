"""The progress line of fit, evaluate and predict."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

__all__ = ["Progbar", "Progress", "verbosity"]

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

    A terminal sees it grow, ten times a second at most; elsewhere only the finished line is written. `steps` is None
    where their number is not known before they are done.
    """

    def __init__(self, verbose: int, steps: int | None, title: str = "", width: int = _WIDTH,
                 pause: float | None = None, unit: str = "step"):
        self.steps, self.verbose, self._width, self._unit = steps, verbose, width, unit
        self._out = sys.stdout
        self._live = verbose == 1 and hasattr(self._out, "isatty") and self._out.isatty()
        self._start = time.perf_counter()
        self._pause = _PAUSE if pause is None else pause
        self._next, self._drawn, self._done = self._start + self._pause, 0, 0
        if verbose and title:
            print(title, file=self._out)

    def update(self, step: int, values: Callable[[], Mapping[str, Any]]) -> None:
        """After each batch; `values` is only called where the line is drawn."""
        self._done = step
        if not self._live or (now := time.perf_counter()) < self._next:
            return
        self._next = now + self._pause
        if self.steps is None:
            line = f"{step}/Unknown - {now - self._start:.0f}s{_numbers(values())}"
        else:
            done = self._width * step // self.steps
            bar = "=" * done + ">" + "." * (self._width - done - 1)
            left = (now - self._start) / max(step, 1) * (self.steps - step)
            line = (f"{step:{len(str(self.steps))}}/{self.steps} [{bar[:self._width]}] - ETA: {left:.0f}s"
                    f"{_numbers(values())}")
        self._write(line, "")

    def clear(self) -> None:
        """Take the line away for other output; the next drawing brings it back."""
        if self._drawn:
            self._out.write(f"\r{' ' * self._drawn}\r")
            self._drawn = 0

    def finish(self, values: Mapping[str, Any]) -> None:
        """After the last batch."""
        if not self.verbose:
            return
        seconds = time.perf_counter() - self._start
        steps = self._done if self.steps is None else self.steps
        each = _duration(seconds / max(steps, 1))
        if self.verbose == 2:
            line = f"{steps}/{steps} - {seconds:.0f}s - {each}/{self._unit}{_numbers(values)}"
        else:
            line = f"{steps}/{steps} [{'=' * self._width}] - {seconds:.0f}s {each}/{self._unit}{_numbers(values)}"
        self._write(line, "\n")

    def _write(self, line: str, end: str) -> None:
        # A carriage return and blanks over what a longer line has left.
        text = f"\r{line.ljust(self._drawn)}{end}" if self._live else f"{line}{end}"
        self._drawn = len(line)
        self._out.write(text)
        self._out.flush()


def _numbers(values: Mapping[str, Any]) -> str:
    return "".join(f" - {name}: {_number(value)}" for name, value in values.items())


def _number(value: Any) -> str:
    if not isinstance(value, int | float | np.number):  # one for each class, for example
        return f"[{', '.join(map(_number, value))}]" if np.ndim(value) else str(value)
    number = float(value)
    return f"{number:.4f}" if abs(number) > 1e-3 or number == 0 else f"{number:.4e}"


def _duration(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.0f}s"
    return f"{seconds * 1e3:.0f}ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f}us"


class Progbar:
    """A progress line for loops of one's own: `bar = Progbar(steps)`, then `bar.update(i + 1, [("loss", loss)])`.

    The values of a name are averaged over the steps, but for those in `stateful_metrics` (or outside of
    `stateless_metrics`), which are shown as they are. https://keras.io/api/utils/python_utils/#progbar-class
    """

    def __init__(self, target: int | None, width: int = 20, verbose: int = 1, interval: float = 0.05,
                 stateful_metrics: Iterable[str] | None = None, stateless_metrics: Iterable[str] | None = None,
                 unit_name: str = "step"):
        if stateful_metrics is not None and stateless_metrics is not None:
            raise ValueError("Progbar received both stateful_metrics and stateless_metrics: give one of them.")
        self.target, self._seen, self._finished = target, 0, False
        self._averaged = set(stateless_metrics) if stateless_metrics is not None else None
        self._shown = set(stateful_metrics or ())
        self._values: dict[str, tuple[float, int]] = {}
        self._line = Progress(verbose, target, "", width, interval, unit_name)

    def update(self, current: int, values: Iterable[tuple[str, Any]] | None = None,
               finalize: bool | None = None) -> None:
        """The number of steps that are done, and values of the last ones; `finalize` ends the line."""
        if finalize is None:
            finalize = self.target is not None and current >= self.target
        weight = max(current - self._seen, 1)
        for name, value in values or ():
            averaged = name in self._averaged if self._averaged is not None else name not in self._shown
            total, count = self._values.get(name, (0.0, 0)) if averaged and not finalize else (0.0, 0)
            self._values[name] = total + float(np.mean(value)) * weight, count + weight
        self._seen = current
        self._line.update(current, self._results)
        if finalize and not self._finished:
            self._finished = True
            self._line.finish(self._results())

    def add(self, n: int, values: Iterable[tuple[str, Any]] | None = None) -> None:
        """So many more steps are done."""
        self.update(self._seen + n, values)

    def _results(self) -> dict[str, float]:
        return {name: total / count for name, (total, count) in self._values.items()}
