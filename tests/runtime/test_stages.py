"""Dumps: a file for every stage of a program, each of which can be read back; and failures that can be repeated."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from models import cnn

from graphc.__main__ import main
from graphc.ir import functions as f
from graphc.ir.graph import Graph, origin
from graphc.ir.op import OPS, Elementwise
from graphc.ir.parser import parse
from graphc.ir.types import dim
from graphc.passes import pipeline
from graphc.passes.pipeline import PIPELINE, run
from graphc.passes.rewrite import counting_rules
from graphc.passes.simplify import simplify
from graphc.runtime import compile
from graphc.runtime.config import config, current
from graphc.runtime.listing import Listing
from graphc.runtime.parser import parse_loops
from graphc.runtime.stages import run_passes
from graphc.runtime.targets.jit import compile_text
from graphc.runtime.targets.machine import Machine

N = dim("N")


def files_of(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.fixture
def dumped(tmp_path):
    """The folder of a training step's dump, and its graph."""
    graph = cnn()
    with config(dump=str(tmp_path / "dump")):
        compile(graph, {v.op.label: _zeros(v) for v in graph.state})
    (folder,) = (tmp_path / "dump").iterdir()
    return folder, graph


def _zeros(v):
    return np.zeros(v.shape, v.dtype.numpy)


def test_a_dump_has_every_stage_that_changed_and_every_form_of_each_kernel(dumped):
    folder, graph = dumped
    assert folder.name == "000-train"
    stages = run_passes(graph, PIPELINE, check=False)
    changed = [s for i, s in enumerate(stages) if not i or str(s.result) != str(stages[i - 1].result)]
    names = [f"{stages.index(s):02}-{s.name}.{'plan' if s.name == 'plan' else 'graph'}" for s in changed]
    assert [n for n in files_of(folder) if "/" not in n] == sorted(names)
    assert "02-infer.graph" not in names and {"00-traced.graph", "06-simplify.graph", "08-plan.plan"} <= set(names)
    for name, stage in zip(names, changed, strict=True):
        assert (folder / name).read_text() == f"{stage.result}\n"
    forms = ["1-lowered.loops", "2-scheduled.loops", "3-emitted.ll", "4-optimised.ll", "5-assembly.s"]
    kernels = [f"kernels/{i:02}-{k.op.body.name}/{form}" for i, k in enumerate(stages[-1].result.steps)
               for form in forms]
    assert [n for n in files_of(folder) if "/" in n] == kernels


def test_what_is_dumped_is_read_back(dumped):
    folder, graph = dumped
    machine = Machine.named(current().cpu)
    for path in folder.rglob("*.graph"):
        assert f"{parse(path.read_text())}\n" == path.read_text()
    kernels = Listing(graph, machine).kernels
    for kernel, place in zip(kernels, sorted((folder / "kernels").iterdir()), strict=True):
        for form in ("1-lowered", "2-scheduled"):
            text = (place / f"{form}.loops").read_text()
            assert f"{parse_loops(text)}\n" == text
        emitted = (place / "3-emitted.ll").read_text()
        assert emitted.startswith(f"; kernel {kernel.name}(") and kernel.llvm in emitted
        optimised = (place / "4-optimised.ll").read_text().replace(kernel.function, "read_back")
        assert compile_text(optimised, "read_back", machine).address
        assert kernel.function in (place / "5-assembly.s").read_text()


def test_every_program_gets_a_folder_even_where_its_code_is_known(tmp_path):
    x = f.input("x", (N, 7))
    graph = Graph("twice", (x,), (), (("y", f.exp(x)),))
    for backend in ("native", "native", "numpy"):
        with config(dump=str(tmp_path), backend=backend):
            compile(graph, {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["000-twice", "001-twice", "002-twice"]
    assert files_of(tmp_path / "000-twice") == files_of(tmp_path / "001-twice")
    assert files_of(tmp_path / "002-twice") == ["00-traced.graph"]


def test_rules_are_counted():
    x = f.input("x", (3,))
    graph = Graph("t", (x,), (), (("y", f.negative(f.negative(x)) * 1.0 + f.negative(f.negative(f.exp(x)))),))
    with counting_rules() as fired:
        simplify(graph)
    assert fired == {"multiply_by_1": 1, "negative_of_negative": 2}
    stages = {s.name: s for s in run_passes(graph, PIPELINE, check=False)}
    assert stages["simplify"].rules == dict(fired)
    assert stages["fuse"].rules == {} and stages["fuse"].seconds > 0


def planted(method):
    """A graph with a value of an op whose method fails."""
    def fail(self, *args):
        raise RuntimeError(f"no {method} today")

    class FailsToday(Elementwise):
        floating = True

        def reference(self, x):
            return x

        def scalar(self, x):
            return x

        def vjp(self, f, g, y, x):
            return (g,)

    setattr(FailsToday, method, fail)
    w = f.state("w", (3,))
    with origin("dense_7"):
        loss = f.sum(f.apply(FailsToday(), w))
    (g,) = f.gradient(loss, [w])
    return Graph("train", (), (w,), (("loss", loss),), ((w, g),))


@pytest.fixture
def without_failing_op():
    yield
    OPS.pop("fails_today", None)


@pytest.mark.usefixtures("without_failing_op")
@pytest.mark.parametrize(("method", "name"), [("vjp", "differentiate"), ("define", "fuse")])
def test_a_failing_pass_is_named_with_its_value_layer_and_command(method, name, tmp_path, capsys):
    graph = planted(method)
    with config(dump=str(tmp_path)), pytest.raises(RuntimeError, match=f"no {method} today") as caught:
        compile(graph, {"w": _zeros(graph.state[0])})
    notes = "\n".join(caught.value.__notes__)
    assert "fails_today: f32[3] in dense_7" in notes and f"In the pass {name}" in notes
    command = re.search(rf"python -m graphc (passes {name} (.*\.graph))$", notes, re.M)
    assert str(tmp_path) in command[2] and parse(Path(command[2]).read_text())
    assert main(command[1].split()) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"no {method} today" in error and "dense_7" in error


def test_a_verifier_that_fails_names_pass_value_layer_and_command(monkeypatch, tmp_path):
    def wrong(graph):
        value = graph.roots[0]
        object.__setattr__(value, "type", f.input("z", (4,)).type)
        return graph

    wrong.__name__ = "simplify"
    x = f.input("x", (3,))
    with origin("dense_8"):
        graph = Graph("t", (x,), (), (("y", f.exp(x)),))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ValueError, match=r"In the pass simplify: G9.*layer dense_8") as caught:
        run_passes(graph, [pipeline.infer, wrong], check=True)
    assert re.search(rf"python -m graphc passes simplify {tmp_path}/graphc-.*/t-failed.graph",
                     "\n".join(caught.value.__notes__))


@pytest.mark.parametrize("name", ["simplify", "differentiate"])
def test_the_passes_command_takes_up_a_dump(dumped, capsys, name):
    folder, _ = dumped
    numbers = {p.stem.partition("-")[2]: p for p in folder.glob("*.graph")}
    before = {"simplify": "differentiate", "differentiate": "stabilize"}[name]
    assert main(["passes", name, str(numbers[before])]) == 0
    assert capsys.readouterr().out == numbers[name].read_text()


def test_the_passes_command_prints_a_diff_or_a_plan(dumped, capsys, tmp_path):
    folder, graph = dumped
    path = folder / "04-differentiate.graph"
    assert main(["passes", "simplify,fuse,plan", str(path)]) == 0
    assert capsys.readouterr().out == f"{run(graph, PIPELINE)}\n"
    assert main(["passes", "simplify", str(path), "--diff"]) == 0
    assert "\n- " in capsys.readouterr().out
    assert main(["passes", "infer", str(path), "--out", str(tmp_path / "out.graph")]) == 0
    assert (tmp_path / "out.graph").read_text() == path.read_text()
    assert capsys.readouterr().out == ""
