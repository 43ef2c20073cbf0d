"""Listings: what the compiler makes of one graph, from the traced graph to assembly, in the order in which it does.

The compiler itself works through a listing (native.py), so what is dumped, profiled or explained is what runs.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cached_property

from graphc.ir.graph import Graph, Value
from graphc.passes.pipeline import PIPELINE
from graphc.passes.plan import Plan
from graphc.runtime.cache import digest, sources
from graphc.runtime.loops import Loops, verify_loops
from graphc.runtime.lower import lower
from graphc.runtime.schedule import schedule
from graphc.runtime.stages import Dump, run_passes
from graphc.runtime.targets.jit import VERSION, optimised_code
from graphc.runtime.targets.llvm import emit
from graphc.runtime.targets.machine import Machine

__all__ = ["KernelListing", "Listing", "code_key", "symbol"]


def code_key(kind: str, machine: str, text: str) -> str:
    """The key under which the compile cache keeps what was made of a text: all that it depends on."""
    return digest(kind, sources() or "", VERSION, machine, text)


def symbol(name: str, key: str) -> str:
    """A name for a native function that no other has."""
    return f"{re.sub('[^A-Za-z0-9_]', '_', name)}.{key[:16]}"


class KernelListing:
    """One kernel of a fused graph on its way to machine code; each form is made when it is first asked for."""

    def __init__(self, value: Value, machine: Machine, repeated: bool = False):
        self.value, self.machine, self.repeated = value, machine, repeated
        self.body: Graph = value.op.body  # type: ignore[attr-defined]

    @property
    def name(self) -> str:
        return self.body.name

    @cached_property
    def loops(self) -> Loops:
        """The naive loops."""
        return lower(self.body, self.name)

    @cached_property
    def schedule(self) -> Loops:
        """The loops as they are compiled, proved in bounds."""
        loops = schedule(self.loops, self.machine, self.repeated)
        verify_loops(loops)
        return loops

    @cached_property
    def key(self) -> str:
        """What the compile cache knows the kernel by: equal loops are equal code, whatever they are called."""
        machine = self.machine
        target = f"{machine.triple} {machine.cpu} {machine.features} {machine.lanes}"
        return code_key("kernel", target, str(replace(self.schedule, name="kernel")))

    @property
    def function(self) -> str:
        """The name of the native function."""
        return symbol(self.name, self.key)

    @property
    def llvm(self) -> str:
        """The text of the LLVM module that the schedule becomes."""
        return emit(self.schedule, self.machine.lanes, self.function)

    @cached_property
    def code(self) -> tuple[str, str]:
        """The text of the module after LLVM's passes, and its assembly."""
        return optimised_code(self.llvm, self.machine)


class Listing:
    """All stages of one graph: the passes, the plan and its kernels. With `dump` they are written to that folder."""

    def __init__(self, graph: Graph, machine: Machine, check: bool = False, dump: str = ""):
        self.graph, self.machine = graph, machine
        sink = Dump(dump, graph.name) if dump else None
        self.stages = run_passes(graph, PIPELINE, check, sink)
        outside = set(self.plan.steps)
        self.kernels = [KernelListing(kernel, machine, kernel not in outside) for kernel in self.plan.kernels()]
        if sink is not None:
            for number, kernel in enumerate(self.kernels):
                _write(sink, number, kernel)

    @property
    def plan(self) -> Plan:
        """The plan: the last stage."""
        return self.stages[-1].result

    @property
    def fused(self) -> Graph:
        """The graph of kernels."""
        return self.plan.graph


def _write(dump: Dump, number: int, kernel: KernelListing) -> None:
    """Write every form of a kernel into a dump; forms that can't be made are left out."""
    place = f"kernels/{number:02}-{kernel.name}"
    try:
        dump.write(f"{place}/1-lowered.loops", str(kernel.loops))
        dump.write(f"{place}/2-scheduled.loops", str(kernel.schedule))
        head = f"; {str(kernel.schedule).splitlines()[0]}\n"  # says what its arguments are
        dump.write(f"{place}/3-emitted.ll", head + kernel.llvm)
        dump.write(f"{place}/4-optimised.ll", head + kernel.code[0])
        dump.write(f"{place}/5-assembly.s", kernel.code[1])
    except Exception as error:
        dump.write(f"{place}/failed.txt", f"{type(error).__name__}: {error}")
