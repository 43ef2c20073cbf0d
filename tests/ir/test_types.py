"""Dimensions, types, and how they are read and matched."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from graphc.ir.errors import DTypeError, ParseError, ShapeError
from graphc.ir.types import (
    DTYPES,
    Dim,
    DType,
    TensorType,
    at_least_zero,
    bind_dim,
    bind_shape,
    dim,
    evaluate_dim,
    least_value,
    parse_dim,
    parse_type,
    product,
)

N, T = dim("N"), dim("T")
DIMS = [N, T, 2 * N, N * T + 1, 3 * N * N - T, N - 4, -1 * N + 7, N * T - N, N // 2, (N - 7) // 3 + 1,
        2 * ((N - T) // 4) * T - 1]


@pytest.mark.parametrize("d", DIMS, ids=str)
def test_text_of_a_dim_reads_back(d):
    assert parse_dim(str(d)) == d


@pytest.mark.parametrize(("a", "b"), list(itertools.product(DIMS, repeat=2)))
def test_arithmetic_of_dims_is_that_of_numbers(a, b):
    for n, t in itertools.product((1, 2, 5), (1, 3)):
        sizes = {"N": n, "T": t}
        x, y = evaluate_dim(a, sizes), evaluate_dim(b, sizes)
        for got, expected in ((a + b, x + y), (a - b, x - y), (a * b, x * y), (7 - a, 7 - x), (-a, -x)):
            assert evaluate_dim(got, sizes) == expected
        if at_least_zero(a):
            assert x >= 0


@pytest.mark.parametrize("seed", range(20))
def test_quotients_are_those_of_numbers_and_their_bounds_hold(seed):
    rng = np.random.default_rng(seed)
    known = [N, T]
    for _ in range(12):
        a, b = (known[i] for i in rng.integers(len(known), size=2))
        made = [a + int(rng.integers(-9, 9)), a * int(rng.integers(1, 4)) - b, a // int(rng.integers(1, 7)),
                (a - 3 * b) // 2, a - (a // 3) * 3][rng.integers(5)]
        if isinstance(made, Dim) and len(str(made)) < 60:
            known.append(made)
            assert parse_dim(str(made)) == made
    for d, divisor in itertools.product(known, (1, 2, 5)):
        for n, t in itertools.product((1, 2, 3, 8, 31), (1, 4, 17)):
            sizes = {"N": n, "T": t}
            value, least = evaluate_dim(d, sizes), least_value(d)
            assert evaluate_dim(d // divisor, sizes) == value // divisor
            assert evaluate_dim(bind_dim(d, {"N": N + n - 1, "T": 2 * T}), {"N": 1, "T": t}) == evaluate_dim(
                d, {"N": n, "T": 2 * t})
            assert least is None or least <= value, (d, sizes)


def test_the_last_window_lies_within_what_it_reads():
    for size, stride in itertools.product((1, 3, 7), (1, 2, 5)):
        positions = (T - 1) // stride + 1  # of T + size - 1
        assert at_least_zero(T + size - 1 - ((positions - 1) * stride + size))
    assert least_value((T + 6 - 7) // 3 + 1) == 1 and at_least_zero(T - T // 2) and not at_least_zero(T // 2 - 1)
    assert (T * 6 + 5) // 3 == 2 * T + 1 and (T // 2 + 5) // 3 == (T + 10) // 6
    assert (3 * T + T // 2) - 3 * T == T // 2 and (T - T // 4 * 4) // 4 == 0


def test_dims_that_vanish_are_numbers():
    assert N - N == 0 and isinstance(N - N, int)
    assert (N + 3) - N == 3
    assert product((2, 3)) == 6 and product(()) == 1
    assert product((N, 2)) == 2 * N


def test_divide():
    assert (2 * N * T).divide(N) == 2 * T
    assert (2 * N).divide(2) == N
    assert (2 * N + 1).divide(2) is None
    assert (N + T).divide(N) is None
    assert N.divide(0) is None
    assert N.divide(N + 1) is None


def test_at_least_zero_knows_that_sizes_are_positive():
    assert at_least_zero(N - 1) and at_least_zero(N * T - N)
    assert not at_least_zero(N - 2) and not at_least_zero(-1 * N)


def test_bind_dim_leaves_unknown_sizes():
    assert bind_dim(N * T + 1, {"N": 3}) == 3 * T + 1
    assert bind_dim(N * T + 1, {"N": 3, "T": 2}) == 7
    assert bind_dim(5, {}) == 5


def test_a_dim_does_not_change():
    with pytest.raises(AttributeError):
        N.terms = ()
    assert {N: 1}[dim("N")] == 1 and N != "N" and isinstance(N, Dim)


@pytest.mark.parametrize("text", ["f32[]", "f32[2,3]", "bool[N]", "i64[N,2*N,N*T+1]", "u32[2]"])
def test_text_of_a_type_reads_back(text):
    assert str(parse_type(text)) == text


@pytest.mark.parametrize("text", ["f16[2]", "f32", "f32[2", "[2]", "float32[2]"])
def test_what_is_no_type(text):
    with pytest.raises(ParseError, match="Not a tensor type"):
        parse_type(text)


def test_dtypes():
    for d in DTYPES.values():
        assert DType.of(d.name) is DType.of(d.numpy) is DType.of(str(d.numpy)) is DType.of(d) is d
        assert d.numpy.itemsize == d.size
    for unknown in ("float16", "nonsense", None.__class__, complex):
        with pytest.raises(DTypeError, match=r"Supported: bool, uint8.* float32"):
            DType.of(unknown)


def test_properties_of_a_type():
    t = TensorType(DTYPES["f32"], (N, 2 * T, 3))
    assert t.ndim == 3 and t.size == 6 * N * T and t.symbols() == {"N", "T"}
    assert t == parse_type("f32[N,2*T,3]")


def test_bind_shape_learns_sizes():
    sizes: dict[str, int] = {}
    bind_shape((N, 3), (5, 3), sizes, "x")
    bind_shape((2 * N + 1,), (11,), sizes, "y")
    assert sizes == {"N": 5}


@pytest.mark.parametrize(("shape", "actual", "words"), [
    ((N, 3), (5,), "2 dimensions"),
    ((N, 3), (5, 4), r"received an array of shape \(5, 4\), expected \[N,3\]"),
    ((N, N), (5, 4), "where N=5"), ((N,), (0,), "N of at least 1"),
    ((N + T,), (4,), "not known yet"), ((N + 3,), (3,), "N of at least 1")])
def test_bind_shape_refuses(shape, actual, words):
    with pytest.raises(ShapeError, match=words):
        bind_shape(shape, actual, {}, "x")


def test_numpy_dtypes_are_exact():
    assert DTYPES["u32"].numpy == np.uint32 and DTYPES["bool"].numpy == np.bool_
