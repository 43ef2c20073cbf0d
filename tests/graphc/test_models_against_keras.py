"""Models of several inputs and outputs: Keras's results of three steps and of an evaluation, weights, predictions."""

from __future__ import annotations

import cases_models
import numpy as np
import pytest
from keras_numbers import keras_numbers

import graphc
from graphc.runtime import counters

NATIVE = ("two_ends", "frozen", "penalties")


@pytest.mark.parametrize("name", cases_models.CASES)
def test_case(name):
    before = counters()["numpy_fallbacks"]
    with graphc.config(backend="native" if name in NATIVE else "numpy"):
        found = cases_models.run(graphc, cases_models.CASES[name](graphc))
    numbers = keras_numbers("models")
    expected = {key.partition(".")[2]: value for key, value in numbers.items() if key.startswith(f"{name}.")}
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-5, atol=1e-5, err_msg=key)
    assert counters()["numpy_fallbacks"] == before


def test_results_come_in_the_order_of_keras_with_the_loss_first():
    case = cases_models.two_ends(graphc)
    case.model.compile("sgd", **case.compile)
    names = ["loss", "priority_loss", "kind_loss", "kind_accuracy", "kind_weighted_accuracy", "priority_mae"]
    assert case.model.metrics_names == names
    with graphc.config(backend="numpy"):
        history = case.model.fit(case.x, case.y, verbose=0, validation_data=(case.x, case.y, case.weights[
            "sample_weight"])).history
        assert list(history) == [*names, *(f"val_{name}" for name in names)]
        assert len(case.model.evaluate(case.x, case.y, verbose=0)) == len(names)


@pytest.mark.parametrize("loss, order", [("mse", "abc"), (["mse"] * 3, "abc"),
                                         ({"b": "mse", "c": "mse", "a": "mse"}, "bca")])
def test_what_evaluate_lists_is_in_the_order_of_keras(loss, order):
    """Losses as a list of outputs has them, of a dict as their own dict has, or the alphabet; metrics as that has."""
    x = graphc.layers.Input((2,))
    outputs = {name: graphc.layers.Dense(1, name=name)(x) for name in "cba"}
    for given, expected in ((outputs, order), (list(outputs.values()), "cba")):
        model = graphc.Model(x, given)
        model.compile("sgd", loss, metrics={name: ["mse", "mae"] for name in "cab"})
        metrics = [f"{name}_{metric}" for name in "abc" for metric in ("mae", "mse")]
        assert model.metrics_names == ["loss", *(f"{name}_loss" for name in expected), *metrics]
