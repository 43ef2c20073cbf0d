"""The examples run as a user would run them, and the pages of text say what is true."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from samples import each

import graphc

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks" / "README.md"]
RECIPES = sorted((ROOT / "examples").glob("add_*.py"))
FILE = re.compile(r"(?:graphc|ir|passes|runtime|tests|docs|examples|benchmarks)/[\w/.]*\w/?|\.ci/run")


def python(*arguments, folder=ROOT, keep=()):
    """Run a Python program without the switches of this process, but for those to keep; what it prints.

    There is no compile cache: what is counted must not depend on earlier runs.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GRAPHC_") or k in keep}
    environment["GRAPHC_CACHE"] = "off"
    done = subprocess.run([sys.executable, *map(str, arguments)], cwd=folder, env=environment, text=True,
                          capture_output=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def name(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("recipe", RECIPES, ids=name)
def test_recipe(recipe, tmp_path):
    python("-W", "error", recipe, folder=tmp_path)


def test_every_recipe_is_listed():
    index = (ROOT / "docs" / "recipes.md").read_text()
    assert RECIPES and all(name(recipe) in index for recipe in RECIPES)


@pytest.mark.slow
def test_mnist(data_dir):
    """One epoch of the tutorial network on all images."""
    printed = python(ROOT / "examples" / "mnist_cnn.py", 1, keep=("GRAPHC_DATA", "GRAPHC_BACKEND", "GRAPHC_CPU"))
    assert float(re.search(r"test accuracy: ([\d.]+)", printed)[1]) > 0.96


@pytest.mark.parametrize("page", each(2, [p for p in PAGES if "```python" in p.read_text()]), ids=name)
def test_blocks_of_a_page(page, update):
    """What its Python blocks print is what the page says; `--update` writes it there."""
    python("-W", "error", Path(__file__).parent / "pages.py", page, *(["--update"] if update else []))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_references_of_a_page(page):
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (page.parent / target).exists(), f"{name(page)} links to {target}, which does not exist"
    for path in FILE.findall(text):
        assert (ROOT / path).exists(), f"{name(page)} names {path}, which does not exist"
    for file, test in re.findall(r"(tests/[\w/]+\.py)::(\w+)", text):
        assert f"def {test}(" in (ROOT / file).read_text(), f"{name(page)} cites {file}::{test}, which does not exist"


def test_what_is_missing():
    """The table of docs/keras.md says of no name that it is missing where it is there."""
    for line in (ROOT / "docs" / "keras.md").read_text().splitlines():
        if line.startswith("| `"):
            modules, _, missing = (re.findall(r"`([\w.]+)`", cell) for cell in line.strip("|").split("|"))
            for module in modules:
                there = dir(graphc if module == "graphc" else getattr(graphc, module))
                assert not set(missing) & set(there), line


def test_switches_are_listed():
    """README's table has every switch, each under its variable and its keyword."""
    text, source = (ROOT / "README.md").read_text(), (ROOT / "runtime" / "config.py").read_text()
    for keyword, variable in re.findall(r"^    (\w+) \((GRAPHC_\w+)\)", source, re.M):
        assert re.search(rf"`{variable}`.*`{keyword}`", text), f"README lacks {variable}"
