"""The benchmarks and the small comparison run, whatever peers there are; nothing is said about times."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def python(folder, *arguments):
    """Run a program in a folder; what it prints."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GRAPHC_") or k == "GRAPHC_CACHE"}
    done = subprocess.run([sys.executable, *map(str, arguments)], cwd=folder, env=environment, text=True,
                          capture_output=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_comparison(tmp_path):
    printed = python(tmp_path, ROOT / "examples" / "comparison.py", 3)
    losses = dict(re.findall(r"^(graphc(?: on NumPy)?) .*loss ([\d.]+)$", printed, re.M))
    assert len(losses) == 2 and all(0 < float(loss) < 4 for loss in losses.values())


@pytest.mark.slow
def test_run(tmp_path):
    """Native and NumPy code agree on what they are measured on; the tables have both."""
    printed = python(tmp_path, ROOT / "benchmarks" / "run.py", "--models", "linear", "mlp", "mnist_cnn", "--contenders",
                     "graphc", "numpy", "--threads", 1, "--batches", 2, "--turns", 1, "--seconds", 0.001)
    results = json.loads((tmp_path / "results" / "run.json").read_text())
    for model in results["models"].values():
        assert not any("refused" in check for check in model["checks"].values())
        for case in model["cases"]:
            assert case["limit"] > 0 and all(r["median"] > 0 for r in case["contenders"].values())
            assert set(case["contenders"]) == {"graphc", "numpy"}
        assert model["title"] in printed


@pytest.mark.slow
def test_fresh(tmp_path):
    python(tmp_path, ROOT / "benchmarks" / "fresh.py", "--models", "mlp", "--contenders", "graphc", "--threads", 1)
    results = json.loads((tmp_path / "results" / "fresh.json").read_text())
    measured = results["models"]["mlp"]["contenders"]["graphc"]
    assert measured["epoch"]["bytes"] > measured["epoch"]["bytes_of_samples"] > 0


@pytest.mark.slow
def test_sweep(tmp_path):
    python(tmp_path, ROOT / "benchmarks" / "sweep.py", "--contenders", "graphc", "--points", 1, "--threads", 1,
           "--turns", 1, "--seconds", 0.001)
    results = json.loads((tmp_path / "results" / "sweep.json").read_text())
    assert set(results["sweeps"]) == {"batch", "width", "depth", "image", "threads"}


@pytest.mark.slow
def test_kernels(tmp_path):
    """Every kernel below a size compiles and runs."""
    python(tmp_path, ROOT / "benchmarks" / "kernels.py", "--small", 700_000, "--threads", 1, "--turns", 1, "--seconds",
           0.001)
    (run,) = json.loads((tmp_path / "results" / "kernels.json").read_text())["runs"]
    assert len(run["kernels"]) > 10 and not run["failed"]


def test_outlines_are_what_graphc_builds():
    """The layers that peers are made of have the parameters of graphc's model."""
    program = """
import graphc
from models import MODELS
from suite import initial_weights
for model in MODELS.values():
    try:
        weights = initial_weights(model)
    except NotImplementedError as error:
        print("skipped", model.name, error)
        continue
    network = model.build(graphc, dropout=True)
    assert model.parameters == sum(w.size for w in network.trainable_weights), model.name
    assert model.outline[-1].shape == network.output_shape[1:], model.name
    assert set(weights) == {node.name for node in model.outline if node.parameters}, model.name
"""
    assert "mnist_cnn" not in python(ROOT / "benchmarks", "-c", program)
