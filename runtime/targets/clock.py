"""The clock of profiles: ticks that native code can read at little cost, and what they are in nanoseconds.

On x86-64 that is the cycle counter, if Linux has found that it runs at one rate and is the same on all cores; else the
system's monotonic clock, which takes three times as long to read.
"""

from __future__ import annotations

import ctypes
import time
from functools import cache
from pathlib import Path

import numpy as np

from graphc.runtime.targets.jit import compile_text
from graphc.runtime.targets.machine import Machine

__all__ = ["Clock", "reading"]

_CYCLES = """
declare i64 @llvm.readcyclecounter()

define internal i64 @now() alwaysinline {
  %now = call i64 @llvm.readcyclecounter()
  ret i64 %now
}
"""
_SYSTEM = f"""
declare i32 @clock_gettime(i32, ptr)

define internal i64 @now() {{
  %time = alloca [2 x i64], align 8
  call i32 @clock_gettime(i32 {time.CLOCK_MONOTONIC}, ptr %time)
  %nanoseconds_at = getelementptr i64, ptr %time, i64 1
  %seconds = load i64, ptr %time, align 8
  %nanoseconds = load i64, ptr %nanoseconds_at, align 8
  %scaled = mul i64 %seconds, 1000000000
  %now = add i64 %scaled, %nanoseconds
  ret i64 %now
}}
"""


@cache
def reading(machine: Machine, source: Path = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
            ) -> str:
    """The text of a function `i64 @now()` that reads the ticks."""
    try:
        steady = source.read_text().strip() == "tsc"
    except OSError:
        steady = False
    return _CYCLES if steady and machine.triple.startswith("x86_64") else _SYSTEM


class Clock:
    """What ticks are in nanoseconds of the monotonic clock, found from a reading of both now and one later on."""

    def __init__(self, machine: Machine):
        text = reading(machine) + "\ndefine i64 @ticks() {\n%now = call i64 @now()\nret i64 %now\n}\n"
        self.code = _compiled(text, machine)
        self.read = ctypes.CFUNCTYPE(ctypes.c_int64)(self.code.address)
        self.first = self.pair()

    def pair(self) -> tuple[int, int]:
        """The ticks and the nanoseconds of one moment: the closest of several readings."""
        found = []
        for _ in range(5):
            before, ticks, after = time.monotonic_ns(), self.read(), time.monotonic_ns()
            found.append((after - before, ticks, (before + after) // 2))
        _, ticks, nanoseconds = min(found)
        return ticks, nanoseconds

    def nanoseconds(self, ticks: np.ndarray) -> np.ndarray:
        """i64 ticks as i64 nanoseconds."""
        (a, begin), (b, end) = self.first, self.pair()
        return begin + np.rint((ticks - a) * ((end - begin) / max(1, b - a))).astype(np.int64)


@cache
def _compiled(text: str, machine: Machine):
    return compile_text(text, "ticks", machine)
