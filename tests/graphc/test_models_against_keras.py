"""Models of several inputs and outputs: Keras's results of three steps and of an evaluation, weights, predictions."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc.runtime import counters

FIXTURES = Path(__file__).parents[1] / "fixtures"
sys.path.insert(0, str(FIXTURES))
import cases_models  # noqa: E402

NATIVE = ("two_ends", "frozen", "penalties")


@pytest.fixture(scope="module")
def keras_results():
    with np.load(FIXTURES / "models.npz") as file:
        return dict(file)


@pytest.mark.parametrize("name", cases_models.CASES)
def test_case(name, keras_results):
    before = counters()["numpy_fallbacks"]
    with graphc.config(backend="native" if name in NATIVE else "numpy"):
        found = cases_models.run(graphc, cases_models.CASES[name](graphc))
    expected = {key.partition(".")[2]: value for key, value in keras_results.items() if key.startswith(f"{name}.")}
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-5, atol=1e-5, err_msg=key)
    assert counters()["numpy_fallbacks"] == before


def test_results_come_in_the_order_of_keras_but_for_the_alphabet():
    case = cases_models.two_ends(graphc)
    case.model.compile("sgd", **case.compile)
    names = ["loss", "kind_loss", "priority_loss", "kind_accuracy", "priority_mae", "kind_weighted_accuracy"]
    assert case.model.metrics_names == names
    with graphc.config(backend="numpy"):
        history = case.model.fit(case.x, case.y, verbose=0, validation_data=(case.x, case.y, case.weights[
            "sample_weight"])).history
        assert list(history) == [*names, *(f"val_{name}" for name in names)]
        assert len(case.model.evaluate(case.x, case.y, verbose=0)) == len(names)
