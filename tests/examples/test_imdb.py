"""The example of film reviews, on a few of them and on all."""

from __future__ import annotations

import re

import pytest
from test_examples import ROOT, python

EXAMPLE = ROOT / "examples" / "imdb_lstm.py"
KEPT = ("GRAPHC_DATA", "GRAPHC_BACKEND", "GRAPHC_CPU")


def accuracy(*arguments):
    printed = python(EXAMPLE, *arguments, keep=KEPT)
    assert re.search(r"embedding \(Embedding\)\s+│ \(None, 100, 128\)", printed), "built by input_length"
    return float(re.search(r"test accuracy: ([\d.]+)", printed)[1])


@pytest.mark.slow
def test_few_reviews(data_dir):
    assert 0 <= accuracy("--rows", 64, "--epochs", 1) <= 1


@pytest.mark.slow
def test_all_reviews(data_dir):
    assert accuracy() > 0.80
