"""Hooks, sources and callbacks against what real Keras did (tests/fixtures/make_keras_loops.py)."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

import graphc

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture(scope="module")
def cases():
    spec = importlib.util.spec_from_file_location("cases_loops", FIXTURES / "cases_loops.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def keras_did():
    return json.loads((FIXTURES / "loops.json").read_text())


@pytest.fixture(autouse=True)
def reference_backend():
    with graphc.config(backend="numpy"):
        yield


def alike(got, expected, where=""):
    """Equal but for the last digit of floats, and with tuples for lists."""
    if isinstance(expected, dict):
        assert isinstance(got, dict) and sorted(got) == sorted(expected), f"{where}: {got} for {expected}"
        for key in expected:
            alike(got[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(got) == len(expected), f"{where}: {got} for {expected}"
        for i, (a, b) in enumerate(zip(got, expected, strict=True)):
            alike(a, b, f"{where}[{i}]")
    elif isinstance(expected, float):
        assert got == pytest.approx(expected, abs=2e-5), where
    else:
        assert got == expected, where


@pytest.mark.parametrize("name", ["hooks", "stopping", "frequencies", "early_stopping", "reduce_on_plateau",
                                  "schedules", "averages"])
def test_as_keras(name, cases, keras_did):
    alike(getattr(cases, name)(graphc), keras_did[name], name)


@pytest.mark.parametrize("name", ["checkpoints", "csv_files"])
def test_files_as_keras(name, cases, keras_did, tmp_path):
    alike(getattr(cases, name)(graphc, tmp_path), keras_did[name], name)


def test_sources_as_keras(cases, keras_did):
    got, expected = cases.sources(graphc), keras_did["sources"]
    # Keras warns of every generator that ends, even where nothing more was asked of it.
    for name in ("one pass", "a shorter one"):
        assert expected[name]["ran_out"] and not got[name]["ran_out"]
        expected[name]["ran_out"] = False
    alike(got, expected)
