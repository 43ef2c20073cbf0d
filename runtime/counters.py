"""What the runtime has done so far, as numbers that tests can assert."""

from __future__ import annotations

from collections import Counter

__all__ = ["count", "counters", "reset_counters"]

_NAMES = ("kernels_compiled", "programs_compiled", "cache_hits", "native_calls", "numpy_fallbacks")
_COUNTS: Counter[str] = Counter()


def count(name: str, amount: int = 1) -> None:
    """Add to a counter."""
    assert name in _NAMES, name
    _COUNTS[name] += amount


def counters() -> dict[str, int]:
    """The counters since the process began or `reset_counters` was called.

    `kernels_compiled`: different kernels turned into machine code. `programs_compiled`: different steps linked.
    `cache_hits`: kernels and steps whose machine code came from the compile cache. `native_calls`: calls into native
    code, of one step or of several in a row. `numpy_fallbacks`: kernels run by NumPy inside a native
    program, and steps of one with empty arrays.
    """
    return {name: _COUNTS[name] for name in _NAMES}


def reset_counters() -> None:
    """Set every counter to 0."""
    _COUNTS.clear()
