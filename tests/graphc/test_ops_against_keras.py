"""The functions of graphc.ops beside Keras's: values and dtypes, of arrays and within a graph, and gradients."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from samples import check_gradients, graph_of, weighted_sum

from graphc import ops
from graphc.eager import now
from graphc.ir import functions as f
from graphc.ir.graph import Value
from graphc.ir.tree import flat

FIXTURES = Path(__file__).parent.parent / "fixtures"
sys.path.insert(0, str(FIXTURES))
from cases_ops import CASES  # noqa: E402

KNOWN = np.load(FIXTURES / "ops.npz")
EXPECTED: dict[int, list[np.ndarray]] = {}
for key in sorted(KNOWN.files, key=lambda k: tuple(map(int, k.split(".")))):
    EXPECTED.setdefault(int(key.split(".")[0]), []).append(KNOWN[key])


def function(name):
    result = ops
    for part in name.split("."):
        result = getattr(result, part)
    return result


def described(i):
    name, args, kwargs = CASES[i]
    shapes = [f"{a.dtype}{list(a.shape)}" if isinstance(a, np.ndarray) else str(a)[:20] for a in args]
    return f"{i}-{name}-{'-'.join(shapes)}-{kwargs}"


def parts(result):
    return [np.asarray(part) for part in flat(result)]


@pytest.mark.parametrize("i", EXPECTED, ids=described)
def test_arrays(i):
    name, args, kwargs = CASES[i]
    found = parts(function(name)(*args, **kwargs))
    expected = EXPECTED[i]
    assert [a.shape for a in found] == [a.shape for a in expected]
    for a, b in zip(found, expected, strict=True):
        if name not in ("shape", "size", "ndim"):
            assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-5)
