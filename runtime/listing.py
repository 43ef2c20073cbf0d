"""Listings: what the compiler makes of one graph, from the traced graph to assembly, in the order in which it does.

The compiler itself works through a listing (native.py), so what is dumped, profiled or explained is what runs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property

from graphc.ir.graph import Graph, Value
from graphc.ir.ops.structure import Scan
from graphc.passes.cost import work
from graphc.passes.pipeline import PIPELINE
from graphc.passes.plan import Plan
from graphc.runtime.cache import digest, sources
from graphc.runtime.loops import Buffer, Loops, verify_loops
from graphc.runtime.lower import lower
from graphc.runtime.schedule import following, schedule
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


@dataclass(frozen=True)
class Surroundings:
    """The loop that runs a kernel again and again.

    `slices` are what the kernel may ask for meanwhile, one `step` further: what others read of arrays.
    """

    slices: tuple[Value, ...] = ()
    step: int = 1


def surroundings(plan: Plan) -> dict[Value, Surroundings]:
    """The loop around each kernel that is in one; the kernel with the most work asks for all slices."""
    found: dict[Value, Surroundings] = {}
    for scan, inner in plan.inner.items():
        op: Scan = scan.op  # type: ignore[assignment]
        found.update(dict.fromkeys(inner.kernels(), Surroundings()))
        heaviest = max(inner.steps, key=work, default=None)
        if heaviest is not None:
            found[heaviest] = Surroundings(inner.graph.inputs[:op.scanned], -1 if op.reverse else 1)
        found.update(surroundings(inner))
    return found


class KernelListing:
    """One kernel of a fused graph on its way to machine code; each form is made when it is first asked for."""

    def __init__(self, value: Value, machine: Machine, loop: Surroundings | None = None):
        self.value, self.machine, self.loop = value, machine, loop
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
        loops = schedule(self.loops, self.machine, self.loop is not None)
        if self.slices:
            loops = following(loops, list(self.slices), self.loop.step)  # type: ignore[union-attr]
        verify_loops(loops)
        return loops

    @cached_property
    def slices(self) -> dict[Buffer, Value]:
        """What the kernel may ask for of the next step's slices, as its params: those it reads, and others."""
        read = {v: Buffer(p.op.label, p.dtype, p.shape)  # type: ignore[attr-defined]
                for v, p in zip(self.value.operands, self.body.inputs, strict=True)}
        found = self.loop.slices if self.loop is not None else ()
        return {read.get(v) or Buffer(f"next{k}", v.dtype, v.shape): v for k, v in enumerate(found)}

    @property
    def operands(self) -> list[Value]:
        """What the params of the schedule are before its results: the operands, and slices to ask for."""
        params = self.schedule.params[len(self.body.inputs):-self.schedule.outputs]
        return [*self.value.operands, *(self.slices[p] for p in params)]

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
        loops = surroundings(self.plan)
        self.kernels = [KernelListing(kernel, machine, loops.get(kernel)) for kernel in self.plan.kernels()]
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
