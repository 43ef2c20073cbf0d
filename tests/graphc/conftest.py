"""What the front end's tests share: names that start from zero, and the Keras cases as parameters."""

from __future__ import annotations

import cases
import pytest

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
            # of the many layers every third is a fast test
            metafunc.parametrize(fixture, [
                pytest.param(name, marks=[pytest.mark.slow] if fixture == "layer_case" and i % 3 else [])
                for i, name in enumerate(table())])
