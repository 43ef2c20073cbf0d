"""What graphc makes of the models that benchmarks measure: kernels, their costs, memory, and how much is compiled.

tests/passes/structures/<model>.txt holds it as text, the same on every machine, so that a fusion that is lost or a
buffer that is no longer shared shows up as a difference. `pytest --update` writes what graphc makes now.
"""

from __future__ import annotations

import importlib.util
import math
import re
import sys
from pathlib import Path

import pytest

import graphc
from graphc.ir.ops.structure import Kernel, Scan
from graphc.ir.types import evaluate_dim
from graphc.passes import fuse as fusion
from graphc.passes.cost import cost, lead
from graphc.passes.fuse import fuse
from graphc.passes.pipeline import GRAPH_PASSES, PIPELINE, run
from graphc.passes.structure import structure
from graphc.runtime import counters, native

FOLDER = Path(__file__).parent / "structures"
STEPS = ("train", "evaluate", "predict")


def benchmark_models():
    """The models of benchmarks/models.py by their names; tests/models.py has the same name, so it gets another one."""
    name = "benchmarks_models"
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[2] / "benchmarks" / "models.py")
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.MODELS


MODELS = benchmark_models()
every_model = pytest.mark.parametrize("model", MODELS.values(), ids=lambda m: m.name)


def build(model):
    """The compiled network."""
    graphc.utils.clear_session()
    network = model.build(graphc, dropout=True)
    network.compile("adam", loss=model.loss)
    return network


def size_in_bytes(t, sizes):
    return evaluate_dim(t.size, sizes) * t.dtype.size


def step_table(graph, sizes):
    """The rows (name, flops, bytes, layers) of a step: its kernels and copies, their sum, and its memory."""
    plan = run(graph, PIPELINE)
    found = list(steps_of(plan, sizes))
    rows = [("  " * depth + name, times * c.flops, times * c.bytes, layers) for name, c, layers, times, depth in found]
    total = [sum(getattr(c, what) for _, c, _, _, depth in found if not depth) for what in ("flops", "bytes")]
    rows += [("copy", 0, 2 * size_in_bytes(v.type, sizes), v.origin) for v, _ in plan.copies]
    arena = sum(size * math.prod(sizes[s] for s in region) for region, size in plan.regions().items())
    state = sum(size_in_bytes(v.type, sizes) for v in plan.graph.state)
    moved = sum(r[2] for r in rows[len(found):])
    return [*rows, (f"{len(plan.kernels())} kernels", total[0], total[1] + moved, ""),
            ("arena", None, arena, ""), ("state", None, state, "")]


def steps_of(plan, sizes, times=1, depth=0):
    """The kernels and loops of a plan, those of a loop after it: name, cost, layers, how often, in how many loops."""
    for k in plan.steps:
        yield k.op.body.name, cost(k, sizes), k.origin, times, depth
        if isinstance(k.op, Scan):
            yield from steps_of(plan.inner[k], sizes, times * evaluate_dim(k.op.length, sizes), depth + 1)


def tables_text(model, network):
    """The tables of all steps under their names, in the same columns."""
    rows = []
    for step in STEPS:
        table = step_table(network.graph(step), {"N": model.batch})
        rows += [(step, "flops", "bytes", "layers")]
        rows += [(f"  {label}", "" if flops is None else f"{flops:,}", f"{moved:,}", layers)
                 for label, flops, moved, layers in table] + [("", "", "", "")]
    first, second, third = (max(len(r[k]) for r in rows) for k in range(3))
    return "\n".join(f"{a:{first}}  {b:>{second}}  {c:>{third}}  {d}".rstrip() for a, b, c, d in rows)


def compiled(model, network):
    """How many kernels and programs are compiled to run all steps, on a whole batch and on one row left over."""
    native._KERNELS.clear()
    native._PROGRAMS.clear()
    before = counters()
    x, y = model.data(model.batch + 1)
    network.fit(x, y, batch_size=model.batch, verbose=0)
    network.evaluate(x, y, batch_size=model.batch, verbose=0)
    network.predict(x, batch_size=model.batch, verbose=0)
    made = {name: number - before[name] for name, number in counters().items()}
    assert made["cache_hits"] == made["numpy_fallbacks"] == 0
    return made["kernels_compiled"], made["programs_compiled"]


def describe(model, network):
    """The text of a model's file."""
    parameters = sum(math.prod(w.shape) for w in network.trainable_weights)
    kernels, programs = compiled(model, network)
    return (f"{model.title}\n{parameters:,} parameters, {model.batch} samples in a batch\n"
            f"{kernels} different kernels and {programs} programs compiled\n\n{tables_text(model, network)}")


LARGE = ("resnet20", "transformer")  # take longest to compile


@pytest.mark.parametrize("model", [pytest.param(m, marks=[pytest.mark.slow] if m.name in LARGE else [], id=m.name)
                                   for m in MODELS.values()])
def test_structure(model, update):
    made, path = describe(model, build(model)), FOLDER / f"{model.name}.txt"
    if update:
        path.write_text(made)
    else:
        assert path.exists(), f"{path.name} is missing: pytest --update writes it"
        assert made == path.read_text(), f"{model.title}: if this is better, run pytest --update"


def test_every_file_is_of_a_model():
    assert {path.stem for path in FOLDER.iterdir()} <= set(MODELS)


@pytest.mark.parametrize("decision", ["joins", "fits"])
def test_a_lost_fusion_shows_up(decision, monkeypatch):
    model = MODELS["mnist_cnn"]
    network, text = build(model), (FOLDER / "mnist_cnn.txt").read_text()
    assert tables_text(model, network) in text
    monkeypatch.setattr(fusion._Fusion, decision, lambda *groups: False)
    worse = tables_text(model, network)
    assert worse not in text
    few, many = (sum(map(int, re.findall(r"^  (\d+) kernels", t, re.M))) for t in (text, worse))
    assert many > few


@every_model
def test_contractions_of_a_prediction_are_those_of_the_benchmarks(model, monkeypatch):
    """Where nothing is fused, the kernels that contract have the operations that the benchmarks count by hand."""
    network = build(model)
    for name in ("joins", "fits"):
        monkeypatch.setattr(fusion._Fusion, name, lambda *groups: False)
    sizes = {"N": model.batch}

    def contracted(graph):
        for v in graph.values():
            if isinstance(v.op, Scan):
                yield from [evaluate_dim(v.op.length, sizes) * flops for flops in contracted(v.op.body)]
            elif isinstance(v.op, Kernel) and structure(lead(v)).contracts:
                yield cost(v, sizes).flops

    fused = fuse(run(network.graph("predict"), GRAPH_PASSES))
    assert sum(contracted(fused)) == model.operations("predict", model.batch)
