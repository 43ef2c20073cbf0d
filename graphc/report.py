"""What the compiler makes of a model, as a report: a text, and a page for a browser (graphc/explorer)."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.explorer import render
from graphc.ir.evaluate import bind_arguments
from graphc.ir.graph import Graph, Value, layer_of, phase_of
from graphc.ir.ops.leaf import Input, State
from graphc.ir.ops.structure import Item, Kernel, Scan
from graphc.ir.printer import name_values, print_value
from graphc.ir.tree import flat, mapped, structured
from graphc.ir.types import product
from graphc.layers.core import positive
from graphc.models import Model
from graphc.passes.cost import cost, lead
from graphc.passes.fuse import members
from graphc.passes.offset import counted, least_sizes
from graphc.passes.plan import Place, Plan, Room, source
from graphc.runtime.config import current
from graphc.runtime.profile import Profile, profile, scaled

if TYPE_CHECKING:
    from graphc.runtime.limits import Limits
    from graphc.runtime.listing import KernelListing, Listing

__all__ = ["Report", "example", "explain"]

MEASURED = 0.3  # seconds that the steps of each kind are repeated


@dataclass(frozen=True)
class Report:
    """What `explain` found: `print` it, look into `data` and `profiles` (by kind of step), open the page at `path`."""

    data: dict[str, Any]
    profiles: dict[str, Profile]
    path: Path

    def __str__(self) -> str:
        parts = [f"{self.data['title']}: {len(self.data['layers'])} layers"]
        for step in self.data["steps"]:
            values = [len(s["values"]) for s in step["stages"]]
            kernels = step["kernels"]
            parts.append(f"{step['kind']}: {values[0]} values traced, {values[-1]} after the passes, {len(kernels)} "
                         f"kernels, {scaled(sum(k['flops'] for k in kernels), 'FLOP')}, "
                         f"{scaled(sum(k['bytes'] for k in kernels), 'B')} moved, "
                         f"{scaled(step['plan']['arena'], 'B')} of arena")
            if step["kind"] in self.profiles:
                parts.append(str(self.profiles[step["kind"]]))
        return "\n\n".join([*parts, f"The page: {self.path}"])


def explain(model: Any, x: Any = None, y: Any = None, path: Any = None, batch_size: int | None = None,
            measure: bool = True) -> Report:
    """Show what becomes of a model: layers, graphs, passes, kernels down to assembly, memory, time and roofline.

    Writes one page of HTML, which needs no network, to `path` (`<model>.html` by default). Steps take the first 32 or
    `batch_size` rows of x and y, or random ones where there are none; the model stays as it is. A model that isn't
    compiled has a prediction step only. `measure=False` leaves out what has to be run.
    """
    from graphc.runtime.listing import Listing  # these need llvmlite
    from graphc.runtime.targets.jit import VERSION
    from graphc.runtime.targets.machine import Machine

    if not isinstance(model, Model):
        raise TypeError(f"explain received {type(model).__name__}, expected a model.")
    rows = 32 if batch_size is None else positive("explain", "batch_size", batch_size)
    target = Path(f"{model.name}.html" if path is None else path)
    if not target.absolute().parent.is_dir():
        raise FileNotFoundError(f"explain(path={str(path)!r}): there is no folder {target.parent}.")
    x, y, kinds = example(model, rows, x, y)
    machine = Machine.named(current().cpu)
    threads = current().threads or machine.cores
    profiles: dict[str, Profile] = {}
    steps = []
    for kind in kinds:
        graph, known = model.step_arrays("explain", kind, rows, x, y)
        listing = Listing(graph, machine)
        if measure:
            profiles[kind] = profile(graph, known, MEASURED)
        steps.append(_step(listing, bind_arguments(graph, known), profiles.get(kind)))
    limits = _limits(threads) if measure else None
    data = {
        "title": model.name, "version": _version(), "made": time.strftime("%Y-%m-%d %H:%M"),
        "machine": {
            "cpu": machine.cpu, "triple": machine.triple, "vector_bits": machine.vector_bits,
            "registers": machine.registers, "threads": threads, "llvm": VERSION.rpartition(" ")[2],
            "operations": limits and limits.operations,
            "bandwidth": {str(k): v for k, v in limits.copies.items()} if limits else {}},
        "layers": [_layer(*described) for described in model.described_layers()],
        "steps": steps,
    }
    target.write_text(render(data), encoding="utf-8")
    return Report(data, profiles, target)


@cache
def _limits(threads: int) -> Limits:
    from graphc.runtime.limits import Limits

    return Limits.measure(threads).best(Limits.measure(threads))  # something else may run during one of them


def _version() -> str:
    import graphc

    return graphc.__version__


def example(model: Any, rows: int, x: Any = None, y: Any = None) -> tuple[Any, Any, tuple[str, ...]]:
    """Data for the steps that a model has, random ones where none are given, and the kinds of these steps."""
    rng = np.random.default_rng(0)
    if x is None:
        if model.takes is None or any(None in p.shape for p in flat(model.takes)):
            raise ValueError(f"explain: the shape of the inputs of {model.name!r} isn't known: pass x.")
        x = mapped(lambda p: rng.random((rows, *p.shape), np.float32), model.takes)
    if y is None and (model.optimizer is None or model.loss is None):
        return x, None, ("predict",)
    count = len(next(flat(x)))
    if y is None:
        y = structured(model.gives, [_labels(t, count, rng) for t in model.targets()])
    return x, y, ("train", "evaluate", "predict")


def _labels(target: Any, rows: int, rng: np.random.Generator) -> np.ndarray:
    """Random labels that the loss takes."""
    shape = tuple(1 if d is None else d for d in target.port.shape)
    if target.targets == "classes":
        return rng.integers(0, shape[-1], (rows, *shape[:-1])).astype(np.int32)
    return rng.integers(0, 2, (rows, *shape)).astype(np.float32)


def _layer(of: Any, shape: Any) -> dict[str, Any]:
    activation = getattr(of, "activation", None)
    return {"name": of.name, "type": type(of).__name__, "output": str(shape) if shape is not None else "?",
            "parameters": sum(w.size for w in of.weights), "activation": getattr(activation, "__name__", "")}


# --------------------------------------------------------------------------------------------------------- a step

def _step(listing: Listing, sizes: Mapping[str, int], times: Profile | None) -> dict[str, Any]:
    *stages, fused, plan = listing.stages
    ids = _Ids()
    inside, known = members(listing.fused), counted(sizes, least_sizes(listing.graph))
    return {
        "kind": listing.graph.name, "sizes": dict(sizes), "seconds": times and times.seconds,
        "stages": [
            {"name": s.name, "seconds": s.seconds, "changed": not i or str(s.result) != str(stages[i - 1].result),
             "rules": dict(s.rules or {}), **_graph(s.result, ids)} for i, s in enumerate(stages)],
        "fusing": fused.seconds + plan.seconds,
        "kernels": list(_kernels(listing, known, inside, ids, times)),
        "plan": _plan(plan.result, known),
    }


class _Ids:
    """A short name for each value: the same value has the same one in every stage."""

    def __init__(self) -> None:
        self.known: dict[Value, str] = {}

    def __getitem__(self, value: Value) -> str:
        return self.known.setdefault(value, f"v{len(self.known)}")


def _graph(graph: Graph, ids: _Ids) -> dict[str, Any]:
    names = name_values(graph)
    values = list(_values(graph, ids, names, set()))
    return {"values": values, "outputs": {name: ids[v] for name, v in graph.outputs},
            "updates": {names[s]: ids[v] for s, v in graph.updates}}


def _values(graph: Graph, ids: _Ids, names: Mapping[Value, str], seen: set[Value]) -> Iterator[dict[str, Any]]:
    """The values of a graph, and behind each loop those of its body: `%3.5` is the value %5 inside of the loop %3.

    Loops that compute the same, as the two of a bidirectional layer, share the values inside.
    """
    layers, constants = _layers(graph), graph.constants()
    for v in graph.values():
        if v in seen:
            continue
        seen.add(v)
        text = f"{names[v]}: {v.type}" if isinstance(v.op, Input | State) else print_value(v, names).splitlines()[0]
        yield {"id": ids[v], "name": names[v], "op": v.op.name, "text": text, "type": str(v.type), "origin": v.origin,
               "layer": layers[v], "phase": _phase(v), "constant": v in constants,
               "operands": [ids[o] for o in v.operands]}
        if isinstance(v.op, Scan):
            inner = {u: f"{names[v]}.{name[1:]}" for u, name in name_values(v.op.body).items()}
            for made in _values(v.op.body, ids, inner, seen):
                made["layer"] = made["layer"] or layers[v]
                made["phase"] = _phase(v) if made["op"] == "input" else made["phase"]
                yield made


def _layers(graph: Graph) -> dict[Value, str]:
    """The layer with which each value is drawn: its own, that of an operand, or for leaves that of a reader."""
    found: dict[Value, str] = {}
    for v in graph.values():
        found[v] = layer_of(v.origin) or next((found[o] for o in v.operands if found[o]), "")
        found |= {o: found[v] for o in v.operands if isinstance(o.op, State) and not found[o]}
    return found


def _phase(v: Value) -> str:
    return v.op.name if isinstance(v.op, Input | State) else phase_of(v.origin)


def _kernels(listing: Listing, sizes: Mapping[str, int], inside: Mapping[Value, list[Value]], ids: _Ids,
             times: Profile | None) -> Iterator[dict[str, Any]]:
    made = _numbers(listing.plan)
    timed = [t for t, e in zip(times.kernels, listing.plan.entries(), strict=True) if isinstance(e.op, Kernel)] if (
        times) else []
    names = name_values(listing.fused)
    for i, kernel in enumerate(listing.kernels):
        origin, needed = lead(kernel.value).origin, cost(kernel.value, sizes)
        took = timed[i] if timed else None
        measured = {"seconds": took.seconds, "wait": took.waiting * took.seconds} if took else {}
        memory = [source(o) for o in kernel.value.operands]
        makers = [made[m.operands[0]][1] if isinstance(m.op, Item) else None for m in memory]
        yield {
            "index": i, "name": kernel.name, "origin": kernel.value.origin, "layer": layer_of(origin),
            "layers": list(dict.fromkeys(layer_of(o) for o in kernel.value.origin.split("+") if o)),
            "phase": phase_of(origin),
            "values": [ids[v] for v in inside[kernel.value]],
            "operands": [{"name": names.get(o, o.op.name), "type": str(o.type), "kernel": m}
                         for o, m in zip(kernel.value.operands, makers, strict=True)],
            "results": [str(v.type) for _, v in kernel.body.outputs],
            "flops": needed.flops, "bytes": needed.bytes, "body": str(kernel.body), **_forms(kernel), **measured}


def _numbers(plan: Plan, start: int = 0) -> dict[Value, tuple[int, int]]:
    """The number of each kernel among all; of a scan those of the first and the last inside."""
    found: dict[Value, tuple[int, int]] = {}
    for step in plan.steps:
        inside = _numbers(plan.inner[step], start) if step in plan.inner else {}
        last = start + (len(plan.inner[step].kernels()) if inside else 1) - 1
        found |= inside | {step: (start, last)}
        start = last + 1
    return found


def _forms(kernel: KernelListing) -> dict[str, str]:
    """The texts of a kernel, from naive loops to assembly; `fallback` says why there are no more."""
    forms = dict.fromkeys(("loops", "schedule", "llvm", "optimised", "assembly", "fallback"), "")
    try:
        forms["loops"] = str(kernel.loops)
        forms["schedule"] = str(kernel.schedule)
        forms["llvm"] = kernel.llvm
        forms["optimised"], forms["assembly"] = kernel.code
    except Exception as error:  # it runs on NumPy
        forms["fallback"] = str(error)
    return forms


def _plan(plan: Plan, sizes: Mapping[str, int]) -> dict[str, Any]:
    base, total = {}, 0
    for region, size in plan.regions().items():
        base[region] = total
        total += size * math.prod(sizes[s] for s in region)
    number = _numbers(plan)
    spans = [number[step] for step in plan.steps]
    buffers = []
    held: list[tuple[Value | Room, Place]] = [*plan.places.items(), *plan.rooms.items()]
    for owner, p in held:
        if p.space == "arena":
            scale = math.prod(sizes[s] for s in p.region)
            if isinstance(owner, Room):
                step, name, type_, origin = owner.scan, str(owner), "", owner.scan.origin
            else:
                (step,), type_, origin = owner.operands, str(owner.type), owner.origin
                name = f"result {owner.op.index}"  # type: ignore[attr-defined]
            buffers.append({
                "name": f"{name} of {step.op.body.name}",  # type: ignore[attr-defined]
                "type": type_, "kernel": number[step][1], "layer": layer_of(origin),
                "offset": base[p.region] + p.offset * scale, "size": p.size * scale, "first": spans[p.first][0],
                "last": spans[min(p.last, len(spans) - 1)][1]})
    weights = sum(product(v.shape) * v.dtype.size for v in plan.graph.state)
    return {"text": str(plan), "arena": total, "weights": weights, "buffers": buffers}
