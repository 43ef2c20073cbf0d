"""The examples of models run on a little data, and say where their data belong when there are none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cases_data as cases
import numpy as np
import pytest
from samples import each

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
# arguments, what has to be printed, and whether the example is large: run on NumPy
RUNS = {
    "digits_mlp": (["--epochs", "1"], "test accuracy: ", False),
    "cifar_cnn": (["--epochs", "1", "--rows", "16"], "16 images to learn from, 16 to test on", True),
    "cereal_regression": (["--epochs", "5"], "calories with 5 g of sugars", False),
    "concrete_regression": (["--epochs", "1"], "MPa on recipes it has not seen", False),
    "compare_models": (["--epochs", "6"], "large: 17610 parameters", False),
    "two_inputs": (["--epochs", "2"], "strong_accuracy: ", False),
    "k_fold": (["--epochs", "1", "--folds", "2"], "accuracy over 2 folds: ", True),
    "custom_layer": (["--epochs", "1"], "gate_1 (Gate)", False),
    "resnet": (["--epochs", "1", "--rows", "8", "--blocks", "1"], "8 images, 78426 parameters", True),
    "transformer": (["--epochs", "1", "--steps", "2", "--length", "8"], "2/2 - ", True),
}
FAST = {"digits_mlp", "custom_layer"}
NEEDS = {"k_fold": "sklearn"}
SHIPPED = {"compare_models", "k_fold", "custom_layer"}  # their data come with graphc


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Keras's cache folder with a little of every data set that examples use."""
    folder = tmp_path_factory.mktemp("home")
    cases.write(folder, 16)
    rng = np.random.default_rng(0)
    tables = {"cereal": (["sugars", "fiber", "protein", "calories"], 60),
              "concrete": (["cement", "slag", "ash", "water", "superplastic", "coarseagg", "fineagg", "age",
                            "strength"], 80)}
    for name, (columns, rows) in tables.items():
        lines = [",".join(f"{v:.2f}" for v in row) for row in rng.uniform(1, 80, (rows, len(columns)))]
        (folder / "datasets" / f"{name}.csv").write_text("\n".join([",".join(columns), *lines]))
    words = rng.choice(["to", "be", "or", "not", "that", "is\n"], 300)
    (folder / "datasets" / "tinyshakespeare.txt").write_text(" ".join(words))
    return folder


def example(name, arguments, home, folder, backend="native"):
    environment = {k: v for k, v in os.environ.items() if k not in ("GRAPHC_DATA", "GRAPHC_CPU")}
    environment |= {"KERAS_HOME": str(home), "GRAPHC_CACHE": "off", "GRAPHC_BACKEND": backend}
    return subprocess.run([sys.executable, "-W", "error::UserWarning", EXAMPLES / f"{name}.py", *arguments],
                          cwd=folder, env=environment, text=True, capture_output=True, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in FAST else [pytest.mark.slow]) for n in RUNS])
def test_example(name, home, tmp_path):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason=f"examples/{name}.py needs {NEEDS[name]}")
    arguments, printed, large = RUNS[name]
    done = example(name, arguments, home, tmp_path, "numpy" if large else "native")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert printed in done.stdout


@pytest.mark.slow
def test_the_plot_of_two_models(home, tmp_path):
    pytest.importorskip("matplotlib", reason="drawing needs matplotlib")
    done = example("compare_models", ["--epochs", "2", "--plot", "losses.png"], home, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "losses.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", each(4, [n for n in RUNS if n not in SHIPPED and n not in ("digits_mlp", "cifar_cnn",
                                                                                            "resnet")]))
def test_an_example_without_data_says_so(name, tmp_path):
    done = example(name, [], tmp_path, tmp_path)
    assert done.returncode == 1 and "Put it into" in done.stderr and "GRAPHC_DATA" in done.stderr
    assert "Traceback" not in done.stderr


def test_examples_are_short():
    for path in EXAMPLES.glob("*.py"):
        assert len(path.read_text().splitlines()) <= 85, f"{path.name} is too long for an example"
