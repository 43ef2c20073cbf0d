"""Imports go one way: ir <- passes <- runtime <- graphc; llvmlite stays in runtime/targets."""

from __future__ import annotations

import ast
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ["ir", "passes", "runtime", "graphc"]
FILES = [p for layer in LAYERS for p in sorted((ROOT / layer).rglob("*.py"))]


def imported(path):
    """The modules that a file imports, with those that `from x import y` may name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute"
            yield str(node.module)
            yield from (f"{node.module}.{a.name}" for a in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports(path):
    place = path.relative_to(ROOT)
    layer = LAYERS.index(place.parts[0])
    for module in imported(path):
        parts = module.split(".")
        if parts[0] == "llvmlite":
            assert place.parts[:2] == ("runtime", "targets"), f"{place} imports llvmlite"
        if parts[0] == "graphc" and layer < LAYERS.index("graphc"):
            assert len(parts) > 1, f"{place} imports the user's surface"
            above = parts[1] not in LAYERS[:layer + 1]
            assert not above, f"{place} imports {module}, which is in a layer above it"


def test_no_circles():
    """Modules import one another at their tops in one direction; `graphc` itself has everything lazily."""
    modules = {dotted(path): path for path in FILES}
    imports = {name: set(imported_at_the_top(path, modules)) - {name} for name, path in modules.items()}
    TopologicalSorter(imports).prepare()  # names the modules of a circle


def dotted(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in (parts if parts[0] == "graphc" else ("graphc", *parts)) if part != "__init__")


def imported_at_the_top(path, modules):
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            names = (f"{node.module}.{a.name}" for a in node.names)
            yield from (m for m in (name if name in modules else node.module for name in names) if m in modules)


def test_every_package_is_installed():
    """A folder of code that pyproject.toml doesn't list would be missing in a wheel only."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {p.parent.relative_to(ROOT).parts for layer in LAYERS for p in (ROOT / layer).rglob("__init__.py")}
    assert sorted(listed) == sorted(".".join(("graphc", *parts) if parts[0] != "graphc" else parts)
                                    for parts in folders)
