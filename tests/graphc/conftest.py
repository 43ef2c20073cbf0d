"""What the front end's tests share: names that start from zero, and the Keras cases as parameters."""

from __future__ import annotations

import cases
import pytest
from samples import each

import graphc


@pytest.fixture(autouse=True)
def fresh():
    """Automatic names and random numbers as in a new process."""
    graphc.utils.clear_session()
    graphc.utils.set_random_seed(0)


@pytest.fixture
def reference_backend():
    """For tests in which native code isn't the point: no compiler."""
    with graphc.config(backend="numpy"):
        yield


def pytest_generate_tests(metafunc):
    for fixture, table in (("training_case", cases.training_cases), ("layer_case", cases.layer_cases),
                           ("loss_case", cases.loss_cases), ("optimizer_case", cases.optimizer_cases),
                           ("step_case", cases.step_cases)):
        if fixture in metafunc.fixturenames:
            metafunc.parametrize(fixture, each({"layer_case": 5, "step_case": 2}.get(fixture, 1), table()))
