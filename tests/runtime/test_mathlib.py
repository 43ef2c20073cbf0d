"""The expansions of transcendentals: exactness against float64, special values, and nothing but basic operations."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from samples import ulps

from graphc.ir.evaluate import evaluate_expr
from graphc.ir.expr import SCALARS, Axis, axis, load, postorder, rewrite, scalar
from graphc.ir.types import DTYPES
from graphc.runtime.mathlib import EXPANSIONS, expand

F32, F64 = DTYPES["f32"], DTYPES["f64"]
BASIC = {"add", "sub", "mul", "div", "fma", "min", "max", "floor", "abs", "neg", "sqrt", "lt", "le", "eq", "ne",
         "and", "or", "xor", "not", "shl", "shr", "select", "cast", "bitcast", "const", "load"}

exact = {"exp": np.exp, "log": np.log, "log1p": np.log1p, "tanh": np.tanh, "sin": np.sin, "cos": np.cos,
         "atan": np.arctan, "erf": np.vectorize(math.erf, otypes=[float]),
         "pow": lambda x, y: np.power(x.astype(np.longdouble), y.astype(np.longdouble)).astype(float)}

# the largest error in ulps; fma not fused, as NumPy has it, costs up to one of them
LIMIT = {"exp": 1.5, "log": 1.5, "log1p": 1.5, "tanh": 4.0, "erf": 4.5, "sin": 2.0, "cos": 2.0, "atan": 4.0,
         "pow": 0.6}

CASES = [("exp", -87, 89), ("exp", -105, -87), ("exp", -1, 1), ("exp", -1e-3, 1e-3),
         ("log", 0, 1e-38), ("log", 0.4, 2), ("log", 0.99, 1.01), ("log", 0, 3e38),
         ("log1p", -1, 2), ("log1p", -1e-3, 1e-3), ("log1p", -1e-9, 1e-9), ("log1p", 0, 3e38),
         ("tanh", -1, 1), ("tanh", -10, 10), ("tanh", -1e-5, 1e-5), ("erf", -1, 1), ("erf", -4.5, 4.5),
         ("sin", -4, 4), ("sin", -1e4, 1e4), ("sin", -1e6, 1e6), ("cos", -4, 4), ("cos", -1e4, 1e4),
         ("cos", -1e6, 1e6), ("atan", -1, 1), ("atan", -100, 100), ("atan", -1e-5, 1e-5)]


def fused(x, y, z):
    """A fused multiply-add of float32 by way of float64, where the product is exact."""
    if np.result_type(x, y, z) != np.float32:
        return x * y + z
    return (np.asarray(x, float) * np.asarray(y, float) + np.asarray(z, float)).astype(np.float32)


@pytest.fixture(params=["fused", "not fused"], autouse=True)
def fma(request, monkeypatch):
    """Both meanings that `fma` has: a target's and NumPy's."""
    if request.param == "fused":
        monkeypatch.setitem(SCALARS, "fma", replace(SCALARS["fma"], numpy=fused))


def expanded(op, dtype=F32):
    i = Axis("i", 2)
    operands = [load(k, (axis(i),), dtype) for k in range(2 if op == "pow" else 1)]
    return rewrite(scalar(op, *operands), expand)


def apply(op, *arrays):
    i = Axis("i", len(arrays[0]))
    operands = [load(k, (axis(i),), F32) for k in range(len(arrays))]
    return evaluate_expr(rewrite(scalar(op, *operands), expand), [i], arrays)


def right(op, *arrays):
    with np.errstate(all="ignore"):
        return exact[op](*(a.astype(np.float64) for a in arrays))


def check(op, *arrays, limit=None):
    got, want = apply(op, *arrays), right(op, *arrays)
    assert got.dtype == np.float32
    errors = ulps(got, want)
    worst = int(np.argmax(errors))
    assert errors[worst] <= (limit or LIMIT[op]), (op, [a[worst] for a in arrays], got[worst], want[worst])


def any_bits(rng, size):
    return rng.integers(0, 2**32, size, dtype=np.uint64).astype(np.uint32).view(np.float32)


@pytest.mark.parametrize("op", EXPANSIONS)
def test_only_basic_operations_are_left(op):
    assert {e.op for e in postorder([expanded(op)])} - {"axis"} <= BASIC


@pytest.mark.parametrize("op", EXPANSIONS)
def test_float64_stays_a_call(op):
    assert expanded(op, F64).op == op


def test_other_nodes_are_left_alone():
    x = load(0, (), F32)
    assert expand(x) is None and expand(scalar("sqrt", x)) is None and expand(x + 1.0) is None


@pytest.mark.parametrize(("op", "low", "high"), CASES)
def test_exactness_on_an_interval(op, low, high, rng):
    check(op, rng.uniform(low, high, 30_000).astype(np.float32))


@pytest.mark.parametrize("op", [op for op in EXPANSIONS if op not in ("sin", "cos", "pow")])
def test_exactness_on_any_bits(op, rng):
    check(op, any_bits(rng, 50_000))


@pytest.mark.parametrize("op", ["sin", "cos"])
def test_exactness_beside_multiples_of_half_pi(op):
    check(op, (np.arange(1, 6367) * (math.pi / 2)).astype(np.float32))


@pytest.mark.parametrize("op", ["sin", "cos"])
def test_large_angles(op, rng):
    x = rng.uniform(1e6, 1e12, 20_000).astype(np.float32)
    assert np.all(np.abs(apply(op, x) - right(op, x)) <= np.abs(x).astype(float) * 2.0**-52 + 1.2e-7)
    assert np.all(np.abs(apply(op, np.float32([1e16, -1e20, 3e38]))) <= 1)


def test_pow_on_any_bits(rng):
    check("pow", any_bits(rng, 50_000), any_bits(rng, 50_000))
    check("pow", rng.uniform(0, 10, 50_000).astype(np.float32), rng.uniform(-40, 40, 50_000).astype(np.float32))
    check("pow", rng.uniform(-10, 0, 50_000).astype(np.float32), rng.integers(-30, 30, 50_000).astype(np.float32))


@pytest.mark.parametrize("beta", [0.5, 0.9, 0.99, 0.999, 0.99999, 0.9999999])
def test_pow_of_decay_rates(beta, rng):
    t = rng.integers(0, 1_000_000, 20_000).astype(np.float32)
    check("pow", np.full_like(t, beta), t)


def test_pow_by_constants(rng):
    x = any_bits(rng, 10_000)
    i = Axis("i", len(x))
    for y in (1.0, 2.0, 3.0, 0.5, -1.0, 0.0):
        e = rewrite(scalar("pow", load(0, (axis(i),), F32), y), expand)
        got = np.broadcast_to(evaluate_expr(e, [i], [x]), x.shape)
        assert ulps(got, right("pow", x, np.full_like(x, y))).max() <= 0.6, y


SPECIAL = np.array([0, -0.0, 1, -1, 0.5, -0.5, 2, -2, 3, -3, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 2.5, -2.5, 1e30,
                    -1e30, 16777215, 16777216], np.float32)


@pytest.mark.parametrize("op", EXPANSIONS)
def test_special_values_are_as_in_numpy(op):
    arrays = [a.ravel() for a in np.meshgrid(SPECIAL, SPECIAL)] if op == "pow" else [SPECIAL]
    if op in ("sin", "cos"):
        arrays = [SPECIAL[~(np.abs(SPECIAL) > 1e6) | np.isinf(SPECIAL)]]
    got, want = apply(op, *arrays), right(op, *arrays)
    if op == "pow":
        with np.errstate(all="ignore"):
            want = np.power(*arrays).astype(float)
    assert np.all(ulps(got, want) <= 4)
    numbers = ~np.isnan(got)
    if op in ("log1p", "tanh", "sin", "atan"):  # these lose the sign of zero
        numbers &= got != 0
    assert np.array_equal(np.signbit(got[numbers]), np.signbit(want[numbers]))
    if op in ("tanh", "erf"):
        assert list(apply(op, np.float32([-np.inf, np.inf]))) == [-1, 1]


def test_saturation_is_exact(rng):
    for op, start in (("tanh", 9.2), ("erf", 3.96)):
        x = rng.uniform(start, 100, 1000).astype(np.float32)
        assert np.all(apply(op, x) == 1) and np.all(apply(op, -x) == -1)
        x = rng.uniform(-start, start, 100_000).astype(np.float32)
        assert np.abs(apply(op, x)).max() <= 1
