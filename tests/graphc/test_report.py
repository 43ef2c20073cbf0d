"""graphc.explain: what the data of the page say is what the compiler made."""

from __future__ import annotations

import base64
import gzip
import json
import re
from itertools import combinations

import numpy as np
import pytest

import graphc
from graphc.ir.errors import LoweringError
from graphc.layers import Conv2D, Dense, Dropout, Flatten, MaxPooling2D
from graphc.passes.fuse import members
from graphc.passes.pipeline import PIPELINE, run
from graphc.runtime.config import config
from graphc.runtime.schedule import schedule


def network():
    graphc.utils.set_random_seed(1)
    model = graphc.Sequential([
        Conv2D(4, 3, activation="relu", input_shape=(8, 8, 2), name="conv"), MaxPooling2D(name="pool"),
        Flatten(name="flat"), Dropout(0.3, name="drop"), Dense(3, activation="softmax", name="last")], name="small")
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return graphc.explain(network(), path=tmp_path_factory.mktemp("page") / "page.html", batch_size=6, measure=False)


def steps(report):
    return {s["kind"]: s for s in report.data["steps"]}


def test_the_page_holds_the_data(report):
    text = report.path.read_text()
    packed = max(re.findall(r">\s*([A-Za-z0-9+/=]{200,})\s*<", text), key=len)
    assert json.loads(gzip.decompress(base64.b64decode(packed))) == json.loads(json.dumps(report.data))
    assert list(steps(report)) == ["train", "evaluate", "predict"]
    assert [layer["name"] for layer in report.data["layers"]] == ["conv", "pool", "flat", "drop", "last"]
    assert report.data["layers"][0] == {"name": "conv", "type": "Conv2D", "output": "(None, 6, 6, 4)",
                                        "parameters": 76, "activation": "relu"}
    assert str(report).startswith("small: 5 layers") and str(report.path) in str(report)


@pytest.mark.parametrize("kind", ["train", "evaluate", "predict"])
def test_stages_and_kernels_are_the_compilers(report, kind):
    step, model = steps(report)[kind], network()
    assert [s["name"] for s in step["stages"]] == ["traced", "offset", "infer", "stabilize", "differentiate", "hoist",
                                                 "simplify"]
    for stage in step["stages"]:
        graph = model.graph(kind, stage=stage["name"])
        lines = [v["text"] for v in stage["values"] if v["operands"]]
        assert lines == [line.strip() for line in str(graph).splitlines() if re.match(r"  %\S+ = .*\(%", line)]
        known = {v["id"] for v in stage["values"]}
        assert len(known) == len(stage["values"]) and all(set(v["operands"]) <= known for v in stage["values"])
    made = run(model.graph(kind), PIPELINE)
    assert [k["name"] for k in step["kernels"]] == [s.op.body.name for s in made.steps]
    assert [k["body"] for k in step["kernels"]] == [str(s.op.body) for s in made.steps]
    assert all(k["schedule"].startswith("kernel ") and "define void" in k["llvm"] and k["assembly"]
               for k in step["kernels"])
    assert step["plan"]["text"] == str(made)


@pytest.mark.parametrize("kind", ["train", "predict"])
def test_every_value_is_in_a_kernel_or_a_view(report, kind):
    step = steps(report)[kind]
    last = {v["id"]: v for v in step["stages"][-1]["values"]}
    inside = {i for k in step["kernels"] for i in k["values"]}
    assert inside <= last.keys()
    assert {last[i]["op"] for i in last.keys() - inside} <= {"input", "state", "reshape"}
    first = step["kernels"][0]
    assert {last[i]["layer"] for i in first["values"]} == {"conv"} == set(first["layers"])
    makers = {o["kernel"] for k in step["kernels"] for o in k["operands"]}
    assert makers - {None} <= set(range(len(step["kernels"])))


def test_the_values_of_kernels_are_those_of_the_graph_before_fusion():
    model = network()
    before = set(model.graph("train", stage="simplify").values())
    found = members(model.graph("train", stage="fuse"))
    assert all(v in before for values in found.values() for v in values)


def test_buffers_that_live_together_lie_apart(report):
    plan = steps(report)["train"]["plan"]
    assert plan["buffers"] and all(0 <= b["offset"] <= b["offset"] + b["size"] <= plan["arena"]
                                   for b in plan["buffers"])
    for a, b in combinations(plan["buffers"], 2):
        together = a["first"] <= b["last"] and b["first"] <= a["last"]
        assert not together or a["offset"] + a["size"] <= b["offset"] or b["offset"] + b["size"] <= a["offset"]


@pytest.mark.slow
def test_what_is_measured(tmp_path):
    model = network()
    before = model.get_weights()
    x, y = np.random.default_rng(0).random((5, 8, 8, 2)).astype(np.float32), np.array([0, 1, 2, 0, 1])
    report = graphc.explain(model, x, y, path=tmp_path / "p.html")
    for was, weight in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(was, weight)
    assert set(report.profiles) == {"train", "evaluate", "predict"}
    for step in report.data["steps"]:
        assert step["sizes"] == {"N": 5} and step["seconds"] > 0
        assert all(k["seconds"] >= 0 and 0 <= k["wait"] <= k["seconds"] for k in step["kernels"])
    machine = report.data["machine"]
    assert machine["operations"] > 1e9 and all(v > 1e8 for v in machine["bandwidth"].values())
    assert "train (N=5)" in str(report)


def test_a_model_without_a_loss_predicts(tmp_path):
    model = graphc.Sequential([Dense(2, input_shape=(3,))], name="bare")
    report = graphc.explain(model, path=tmp_path / "p.html", measure=False)
    assert list(steps(report)) == ["predict"] and report.profiles == {}


def test_a_model_without_shape_needs_data(tmp_path):
    model = graphc.Sequential([Dense(2)], name="open")
    with pytest.raises(ValueError, match="the shape of the inputs of 'open' isn't known: pass x"):
        graphc.explain(model, path=tmp_path / "p.html")
    report = graphc.explain(model, np.ones((4, 7), np.float32), path=tmp_path / "p.html", measure=False)
    assert "f32[N,7]" in steps(report)["predict"]["stages"][0]["values"][0]["text"]


def test_a_kernel_that_numpy_runs_says_why(tmp_path, monkeypatch):
    def refuse(loops, *target):
        if "softmax" in loops.name:
            raise LoweringError("not on this machine")
        return schedule(loops, *target)

    monkeypatch.setattr("graphc.runtime.listing.schedule", refuse)
    model = graphc.Sequential([Dense(5, activation="softmax", input_shape=(61,))])
    with config(cpu="x86-64-v2"):
        report = graphc.explain(model, path=tmp_path / "p.html", measure=False)
    *_, kernel = steps(report)["predict"]["kernels"]
    assert kernel["fallback"] == "not on this machine" and kernel["loops"] and not kernel["assembly"]
