"""How a program runs: compile a graph, call it, count what was done."""

from graphc.runtime.counters import counters, reset_counters
from graphc.runtime.program import Program, compile, prepare

__all__ = ["Program", "compile", "counters", "prepare", "reset_counters"]
