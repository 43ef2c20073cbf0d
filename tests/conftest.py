"""Options and fixtures of all tests."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import numpy as np
import pytest

# what a test counts must not depend on what earlier runs left on disk; tests of the cache name a folder of their own
os.environ["GRAPHC_CACHE"] = "off"


def pytest_addoption(parser):
    parser.addoption("--update", action="store_true", help="rewrite the expected text of text cases")
    parser.addoption("--seed", help="seed of random tests: a number, or `random`; by default each test has its own")


@pytest.fixture
def update(request):
    """Whether expected text is rewritten instead of compared."""
    return request.config.getoption("--update")


@pytest.fixture
def rng(request):
    """Random numbers from a seed that a failing test shows."""
    given = request.config.getoption("--seed")
    if given is None:
        seed = zlib.crc32(request.node.nodeid.encode())
    else:
        seed = int.from_bytes(os.urandom(4), "little") if given == "random" else int(given)
    print(f"random numbers: repeat with --seed {seed}")
    return np.random.default_rng(seed)


@pytest.fixture(scope="session")
def data_dir():
    """The folder of real data that GRAPHC_DATA names."""
    folder = Path(os.environ.get("GRAPHC_DATA", "/nonexistent"))
    if not folder.is_dir():
        pytest.skip("GRAPHC_DATA names no folder with data")
    return folder
