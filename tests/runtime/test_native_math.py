"""Transcendentals as native code: few ulp from float64 over wide ranges, and special values as in NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from kernels import MACHINES, lowered, region, run_native
from samples import ulps

from graphc.ir import functions as f
from graphc.ir.types import dim

N = dim("N")
EXACT = {"exp": np.exp, "log": np.log, "log1p": np.log1p, "tanh": np.tanh, "sin": np.sin, "cos": np.cos,
         "erf": np.vectorize(math.erf, otypes=[float]), "sqrt": np.sqrt,
         "power": lambda x, y: np.power(x.astype(np.longdouble), y.astype(np.longdouble)).astype(float)}

# the largest error in ulps, with multiplies and adds fused where the machine can, and where it can't
LIMIT = {"exp": 1.5, "log": 1.5, "log1p": 1.5, "tanh": 4.0, "erf": 4.5, "sin": 2.0, "cos": 2.0, "power": 0.6,
         "sqrt": 0.51}

RANGES = [("exp", -87, 89), ("exp", -1, 1), ("exp", -1e-3, 1e-3), ("exp", -105, -87),
          ("log", 1e-38, 1e-30), ("log", 0.4, 2), ("log", 0.99, 1.01), ("log", 0, 3e38),
          ("log1p", -1, 2), ("log1p", -1e-3, 1e-3), ("log1p", 0, 3e38),
          ("tanh", -1, 1), ("tanh", -10, 10), ("tanh", -1e-5, 1e-5), ("tanh", -1e30, 1e30),
          ("erf", -1, 1), ("erf", -4.5, 4.5), ("erf", -1e30, 1e30),
          ("sin", -4, 4), ("sin", -1e4, 1e4), ("cos", -4, 4), ("cos", -1e4, 1e4), ("sqrt", 0, 3e38)]

SPECIAL = np.array([0, -0.0, 1, -1, 0.5, -0.5, 2, -2, 3, -3, np.inf, -np.inf, np.nan, 2.5, -2.5, 1e30, -1e30, 16777215,
                    16777216, 88.7, 89, -104, -150, 3e38, -3e38, 1e-37, -1e-37], np.float32)


def native(op, machine, *arrays):
    inputs = [f.input(f"x{k}", (N,), a.dtype) for k, a in enumerate(arrays)]
    graph = region(getattr(f, op)(*inputs))
    return run_native(graph, lowered(graph, machine), machine, {f"x{k}": a for k, a in enumerate(arrays)})["y0"]


def right(op, *arrays):
    with np.errstate(all="ignore"):
        return EXACT[op](*(a.astype(np.float64) for a in arrays))


def close(op, machine, *arrays, limit=None):
    got, want = native(op, machine, *arrays), right(op, *arrays)
    errors = ulps(got, want)
    worst = int(np.argmax(errors))
    assert errors[worst] <= (limit or LIMIT[op]), (op, machine, [a[worst] for a in arrays], got[worst], want[worst],
                                                   errors[worst])


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("op", "low", "high"), RANGES)
def test_exactness(op, low, high, machine, rng):
    close(op, machine, rng.uniform(low, high, 50_001).astype(np.float32))


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("op", ["exp", "log", "log1p", "tanh", "erf", "sqrt"])
def test_exactness_on_any_bits(op, machine, rng):
    bits = rng.integers(0, 2**32, 100_003, dtype=np.uint64).astype(np.uint32)
    close(op, machine, bits.view(np.float32))


@pytest.mark.parametrize("machine", MACHINES)
def test_pow(machine, rng):
    def uniform(low, high):
        return rng.uniform(low, high, 30_001).astype(np.float32)

    close("power", machine, uniform(0, 10), uniform(-40, 40))
    close("power", machine, uniform(0.5, 2), uniform(-120, 120))
    close("power", machine, uniform(-10, 0), rng.integers(-30, 30, 30_001).astype(np.float32))
    bits = [rng.integers(0, 2**32, 30_001, dtype=np.uint64).astype(np.uint32).view(np.float32) for _ in range(2)]
    close("power", machine, *bits)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("op", [*EXACT])
def test_special_values_are_as_in_numpy(op, machine):
    arrays = [a.ravel() for a in np.meshgrid(SPECIAL, SPECIAL)] if op == "power" else [SPECIAL]
    if op in ("sin", "cos"):
        arrays = [SPECIAL[~(np.abs(SPECIAL) > 1e6) | np.isinf(SPECIAL)]]
    got, want = native(op, machine, *arrays), right(op, *arrays)
    if op == "power":
        with np.errstate(all="ignore"):
            want = np.power(*arrays).astype(float)
    errors = ulps(got, want)
    worst = int(np.argmax(errors))
    assert errors[worst] <= 4, (op, [a[worst] for a in arrays], got[worst], want[worst])


@pytest.mark.parametrize("op", ["exp", "log", "log1p", "tanh", "erf", "sin", "cos", "sqrt"])
def test_the_tail_of_a_vector_is_the_same(op, rng):
    """Masked lanes and whole vectors agree bit for bit."""
    array = np.abs(rng.standard_normal(37)).astype(np.float32)
    whole = native(op, "host", array)
    for n in range(1, 37):
        assert native(op, "host", array[:n]).tobytes() == whole[:n].tobytes()


@pytest.mark.parametrize("op", ["exp", "log", "log1p", "tanh", "erf", "sin", "cos", "power", "sqrt"])
def test_float64_is_the_c_library(op, rng):
    arrays = [np.abs(rng.standard_normal(1001)) for _ in range(2 if op == "power" else 1)]
    np.testing.assert_allclose(native(op, "host", *arrays), right(op, *arrays), rtol=1e-14)


@pytest.mark.parametrize("machine", MACHINES)
def test_functions_made_of_them(machine, rng):
    array = np.concatenate([SPECIAL, rng.uniform(-90, 90, 1000).astype(np.float32)])
    with np.errstate(all="ignore"):
        e = np.exp(-array.astype(float))
        sigmoid = 1 / (1 + e)
        softplus = np.logaddexp(0, array.astype(float))
    np.testing.assert_allclose(native("sigmoid", machine, array), sigmoid, rtol=1e-5, atol=1e-37)
    np.testing.assert_allclose(native("softplus", machine, array), softplus.astype(np.float32), rtol=1e-5, atol=1e-37)
