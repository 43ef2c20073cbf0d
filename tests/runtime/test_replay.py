"""replay: what a dump has written runs again, on every rung that it can be run on, and differences show."""

from __future__ import annotations

import numpy as np
import pytest
from models import cnn

from graphc.__main__ import main
from graphc.ir import functions as f
from graphc.ir.errors import ParseError
from graphc.ir.graph import Graph
from graphc.ir.ops.elementwise import Exp
from graphc.ir.types import dim
from graphc.passes.pipeline import PIPELINE
from graphc.runtime.listing import Listing
from graphc.runtime.replay import replay
from graphc.runtime.rungs import RUNGS
from graphc.runtime.stages import run_passes
from graphc.runtime.targets import interpreter
from graphc.runtime.targets.machine import Machine

N = dim("N")
STAGES = {s.name: s.result for s in run_passes(cnn(), PIPELINE, check=False)}


def lines(text, *args, **options):
    return [str(o) for o in replay(text, *args, **options)]


@pytest.mark.parametrize("stage", ["traced", "differentiate", "simplify", "fuse"])
def test_a_graph_agrees_on_every_rung(stage):
    results = len(STAGES[stage].roots)
    assert lines(str(STAGES[stage]), sizes={"N": 3}) == [f"{rung:12}{results} results agree" for rung in RUNGS]


def test_kernels_agree_in_every_form():
    for kernel in Listing(cnn(), Machine.host()).kernels:
        sizes = {"N": 2} if "N" in str(kernel.loops) else {}
        head = f"; {str(kernel.schedule).splitlines()[0]}\n"
        n = f"{len(kernel.body.outputs)} result{'s' * (len(kernel.body.outputs) > 1)}"
        for loops in (kernel.loops, kernel.schedule):
            assert lines(str(loops), sizes=sizes) == [f"{'loops':12}{n}", f"{'native':12}{n} agree"]
        for text in (kernel.llvm, kernel.code[0]):
            assert lines(head + text, sizes=sizes) == [f"{'native':12}{n}"]


def test_a_rung_that_differs_is_shown(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(Exp, "define", lambda self, index, x: x[index] + 1.0)
    x = f.input("x", (N, 59))
    path = tmp_path / "wrong.graph"
    path.write_text(str(Graph("t", (x,), (), (("y", f.exp(x)),))))
    assert main(["replay", str(path)]) == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "reference   1 result agree"
    assert [line.split()[0] for line in printed[1::2]] == list(RUNGS[1:])
    assert all("of 118 elements differ" in line for line in printed[2::2])


def test_loops_that_are_compiled_wrong_are_shown(monkeypatch):
    def interpret(loops, arrays, sizes):
        interpreter.interpret(loops, arrays, sizes)
        arrays[-1].flat[0] += 1

    monkeypatch.setattr("graphc.runtime.rungs.interpret", interpret)
    x = f.input("x", (6, 2))
    (kernel,) = Listing(Graph("t", (x,), (), (("y", f.exp(x)),)), Machine.host()).kernels
    assert lines(str(kernel.loops))[1] == "native\n    out0: 1 of 12 elements differ"


def test_a_rung_that_fails_is_shown(monkeypatch):
    def fail(self, x):
        raise OverflowError("too much")

    monkeypatch.setattr(Exp, "reference", fail)
    text = str(Graph("t", (f.input("x", (3,)),), (), (("y", f.exp(f.input("x", (3,)))),)))
    assert lines(text, ["reference"]) == ["reference\n    OverflowError: too much"]


def test_arrays_sizes_and_seeds_are_taken(tmp_path, capsys):
    x = f.input("x", (N,))
    graph = Graph("t", (x,), (), (("y", f.sqrt(x)),))
    path, arrays = tmp_path / "t.graph", tmp_path / "x.npz"
    path.write_text(f"# sizes: N=5\n# seed: 3\n{graph}")
    np.savez(arrays, x=np.array([1, 4, 9, 16, np.nan], np.float32))
    for options in ([], ["--seed", "8"], ["--size", "N=4"], ["--arrays", str(arrays)], ["--by", "native,reference"]):
        assert main(["replay", str(path), *options]) == 0
        printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines()] == ["native", "reference"]


@pytest.mark.parametrize(("options", "words"), [
    (["--by", "nativ"], "There is no rung 'nativ'. Expected some of reference,"),
    (["--size", "M=3"], "There is no size 'M'. Expected some of N."),
    (["--size", "N=0"], "expected a name and a number of at least 1"),
    (["--arrays", "x.npz"], "No such file"),
])
def test_wrong_options(options, words, tmp_path, capsys):
    path = tmp_path / "t.graph"
    path.write_text(str(Graph("t", (f.input("x", (N,)),), (), (("y", f.exp(f.input("x", (N,)))),))))
    assert main(["replay", str(path), *options]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


@pytest.mark.parametrize(("text", "words"), [
    ("", "neither a graph, nor loops"),
    (str(STAGES["plan"]), "A plan is made of the fused graph"),
    ("; kernel k(x: f32[3], out0: f32[3]) writes 1 {\ndefine i32 @other()", "defines no kernel"),
    ("graph t(", "Line 1"),
    ("kernel k(", "Line 1"),
])
def test_what_can_not_be_replayed(text, words):
    with pytest.raises(ParseError, match=words):
        list(replay(text))


def test_code_that_llvm_refuses_is_an_error_and_no_crash():
    text = "; kernel k(x: f32[3], out0: f32[3]) writes 1 {\ndefine void @k(ptr %a) {\n  nonsense\n}\n"
    (found,) = replay(text)
    assert found.rung == "native" and "expected instruction opcode" in found.wrong[0]
