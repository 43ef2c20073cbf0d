"""What the front end's tests share: the Keras cases, and names that start from zero."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import graphc

FIXTURES = Path(__file__).parents[1] / "fixtures"
_spec = importlib.util.spec_from_file_location("keras_cases", FIXTURES / "cases.py")
keras_cases = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(keras_cases)


@pytest.fixture(scope="session")
def cases():
    """The models and data of tests/fixtures/cases.py."""
    return keras_cases


@pytest.fixture
def keras_result():
    """A function from a fixture's name to its arrays."""
    def load(name):
        with np.load(FIXTURES / f"{name}.npz") as arrays:
            return {key: arrays[key] for key in arrays.files}
    return load


@pytest.fixture(autouse=True)
def fresh():
    """Automatic names and random numbers as in a new process."""
    graphc.utils.clear_session()
    graphc.utils.set_random_seed(0)


def pytest_generate_tests(metafunc):
    for fixture, table in (("training_case", keras_cases.training_cases), ("layer_case", keras_cases.layer_cases),
                           ("loss_case", keras_cases.loss_cases), ("optimizer_case", keras_cases.optimizer_cases),
                           ("step_case", keras_cases.step_cases)):
        if fixture in metafunc.fixturenames:
            # of the many layers every third is a fast test
            metafunc.parametrize(fixture, [
                pytest.param(name, marks=[pytest.mark.slow] if fixture == "layer_case" and i % 3 else [])
                for i, name in enumerate(table())])
