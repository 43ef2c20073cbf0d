"""Schedules: what shapes naive loops for a machine, as compositions of `graphc.runtime.transform`."""

from __future__ import annotations

from dataclasses import replace

from graphc.ir.expr import postorder, rewrite
from graphc.runtime.loops import Loops, expressions, map_expressions, walk
from graphc.runtime.mathlib import expand
from graphc.runtime.schedule import contraction, general, scatter
from graphc.runtime.schedule.prefetch import following, prefetched
from graphc.runtime.schedule.tile import single_reduction
from graphc.runtime.targets.machine import Machine
from graphc.runtime.transform import Body, chain_of, hoist, prune, residues, spill, tighten

__all__ = ["following", "schedule"]

UNROLLED = 256  # operations on vectors beyond which code is better repeated by a loop


def schedule(loops: Loops, machine: Machine, repeated: bool = False) -> Loops:
    """The loops of a kernel shaped for the machine by the first template that matches their structure.

    `repeated`: the kernel is run again and again on few bytes, as those of a scan's body are.
    """
    shaped = replace(loops, body=())
    for nest in separate(loops.body):
        template = next(t for t in (scatter, contraction, general) if t.matches(nest, machine))
        one = template.apply(replace(shaped, body=nest), machine, repeated)
        shaped = replace(one, body=(*shaped.body, *one.body))
    body = map_expressions(hoist(shaped.body), lambda e: rewrite(e, expand))
    return replace(shaped, body=prefetched(spill(body, UNROLLED)))


def separate(body: Body) -> list[Body]:
    """One nest for each residue of the output axes that a contraction reads by quotient and remainder.

    In the gradient of a convolution with strides each of them has taps of its own. Other loops stay together.
    """
    found = single_reduction(body)
    if found is None:
        return [body]
    used = [e for s in walk(body) for e in expressions(s)]
    steps = {e.args[0].attr: e.args[1].attr for e in postorder(used)
             if e.op == "mod" and e.args[0].op == "axis" and e.args[1].op == "const"}
    nests: list[Body] = [body]
    for a in found.outputs:
        if a in steps and isinstance(a.extent, int):
            nests = [prune(part) for nest in nests for part in residues(nest, a, steps[a])]
    for a in found.reduced if steps else ():
        nests = [tighten(nest, a, [c.axis for c in chain_of(nest)[0]]) for nest in nests]
    return nests
