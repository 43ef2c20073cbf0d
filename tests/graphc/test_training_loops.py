"""Hooks, sources and callbacks against what real Keras did (tests/fixtures/make_keras_loops.py)."""

from __future__ import annotations

import json

import cases_loops as cases
import pytest
from keras_numbers import FIXTURES

import graphc

KERAS_DID = json.loads((FIXTURES / "loops.json").read_text())
pytestmark = pytest.mark.usefixtures("reference_backend")


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
def test_as_keras(name):
    alike(getattr(cases, name)(graphc), KERAS_DID[name], name)


@pytest.mark.parametrize("name", ["checkpoints", "csv_files"])
def test_files_as_keras(name, tmp_path):
    alike(getattr(cases, name)(graphc, tmp_path), KERAS_DID[name], name)


def test_sources_as_keras():
    got, expected = cases.sources(graphc), KERAS_DID["sources"]
    # Keras warns of every generator that ends, even where nothing more was asked of it.
    for name in ("one pass", "a shorter one"):
        assert expected[name]["ran_out"] and not got[name]["ran_out"]
        expected[name]["ran_out"] = False
    alike(got, expected)
