"""Schedules: what shapes naive loops for a machine, as compositions of `graphc.runtime.transform`."""

from __future__ import annotations

from dataclasses import replace

from graphc.ir.expr import rewrite
from graphc.runtime.loops import Loops, map_expressions
from graphc.runtime.mathlib import expand
from graphc.runtime.schedule import contraction, general
from graphc.runtime.targets.machine import Machine
from graphc.runtime.transform import hoist

__all__ = ["schedule"]


def schedule(loops: Loops, machine: Machine) -> Loops:
    """The loops of a kernel shaped for the machine by the first template that matches their structure."""
    template = contraction if contraction.matches(loops, machine) else general
    shaped = template.apply(loops, machine)
    body = map_expressions(hoist(shaped.body), lambda e: rewrite(e, expand))
    return replace(shaped, body=body)
