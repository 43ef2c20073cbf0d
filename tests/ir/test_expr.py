"""Index expressions: what their constructors simplify keeps its value, and bounds hold."""

from __future__ import annotations

import itertools
import operator

import numpy as np
import pytest

from graphc.ir.errors import DTypeError
from graphc.ir.expr import (
    Axis,
    axis,
    bitcast,
    bounds,
    cast,
    const,
    load,
    postorder,
    reduce,
    scalar,
    select,
    size,
    substitute,
)
from graphc.ir.types import DTYPES, dim, evaluate_dim

N = dim("N")
AXES = I4, J6, KN = Axis("i", 4), Axis("j", 6), Axis("k", N)
i, j, k = map(axis, AXES)
F32, I64, BOOL = DTYPES["f32"], DTYPES["i64"], DTYPES["bool"]

PYTHON = {"floordiv": operator.floordiv, "min": min, "max": max, "and": operator.and_, "or": operator.or_,
          **{name: getattr(operator, name) for name in ("add", "sub", "mul", "mod", "neg", "lt", "le", "eq")}}


def value_of(e, point, sizes):
    """An integer expression by Python's arithmetic."""
    if e.op == "const":
        return e.attr
    if e.op == "size":
        return evaluate_dim(e.attr, sizes)
    if e.op == "axis":
        return point[e.attr]
    args = [value_of(a, point, sizes) for a in e.args]
    return (args[1] if args[0] else args[2]) if e.op == "select" else PYTHON[e.op](*args)


def points(n):
    for a, b, c in itertools.product(range(4), range(6), range(n)):
        yield {I4: a, J6: b, KN: c}


def random_expr(rng, depth):
    """An expression, and the same built of plain Python functions."""
    if depth == 0:
        leaf = rng.integers(5)
        if leaf < 3:
            a = AXES[leaf]
            return axis(a), lambda p, s: p[a]
        if leaf == 3:
            return size(N), lambda p, s: s["N"]
        n = int(rng.integers(-3, 9))
        return const(n), lambda p, s: n
    op = rng.choice(["add", "sub", "mul", "floordiv", "mod", "min", "max", "neg", "select"])
    a, fa = random_expr(rng, depth - 1)
    b, fb = random_expr(rng, depth - 1)
    if op == "neg":
        return -a, lambda p, s: -fa(p, s)
    if op == "select":
        return select(a < b, a, b + 1), lambda p, s: fa(p, s) if fa(p, s) < fb(p, s) else fb(p, s) + 1
    if op in ("floordiv", "mod"):
        if rng.integers(2):
            return scalar(op, a, size(N)), lambda p, s: PYTHON[op](fa(p, s), s["N"])
        n = int(rng.integers(1, 7))
        return scalar(op, a, const(n)), lambda p, s: PYTHON[op](fa(p, s), n)
    if op == "mul":
        n = int(rng.integers(-3, 5))
        return a * n, lambda p, s: fa(p, s) * n
    return scalar(op, a, b), lambda p, s: PYTHON[op](fa(p, s), fb(p, s))


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_simplification_keeps_the_value_and_bounds_hold(depth, rng):
    for _ in range(60):
        e, meaning = random_expr(rng, depth)
        low, high = bounds(e)
        for n in (1, 3):
            sizes = {"N": n}
            for p in points(n):
                got = value_of(e, p, sizes)
                assert got == meaning(p, sizes), f"{e} at {p}, {sizes}"
                assert low is None or evaluate_dim(low, sizes) <= got, f"{e} < {low} at {p}, {sizes}"
                assert high is None or got <= evaluate_dim(high, sizes), f"{e} > {high} at {p}, {sizes}"


@pytest.mark.parametrize(("e", "simple"), [
    (j // 3 * 3 + j % 3, "j"),
    ((i * 6 + j) // 6, "i"),
    ((i * 6 + j) % 6, "j"),
    (((k * 6 + j) * 4 + i) // 24, "k"),
    ((k + i) - k, "i"),
    (i + j + 3, "((i + j) + 3)"),
    (scalar("min", i, 3), "i"),
    (scalar("max", i, 0), "i"),
    (i < 4, "True"),
    (i < 3, "(i < 3)"),
    (i - j, "(i + (j * -1))"),
    (size(N) * 2 + size(N), "3*N"),
    ((i * size(N) + k) // size(N), "i"),
    (k < size(N), "True"),
    (scalar("eq", i, i), "True"),
    (scalar("eq", i, 7), "False"),
    (i // 4, "0"),
    ((i // 2) // 2, "0"),
], ids=str)
def test_known_forms(e, simple):
    assert str(e) == simple


def test_bounds_of_minima_cancel_what_their_sides_share():
    tap = Axis("t", scalar("min", const(3), i + 1) - scalar("max", i - 2, 0))
    row = i - scalar("max", i - 2, 0) - axis(tap)
    assert bounds(row) == (0, 2)  # the last of them is i - max(i - 2, 0), at most 2
    assert bounds(scalar("min", i, j) - i) == (-3, 0)
    assert bounds(scalar("max", i, j) - i) == (0, 5)


@pytest.mark.parametrize("swap", [False, True])
def test_of_bounds_that_cannot_be_compared_the_one_without_axes_is_kept(swap):
    def limited(op, e, limit):
        return scalar(op, *((limit, e) if swap else (e, limit)))

    assert bounds(limited("min", k, const(2))) == (0, 2)  # k is at most N-1, too
    assert bounds(limited("min", i, size(N) - 1)) == (0, N - 1)  # i is at most 3, too
    assert bounds(limited("max", k - size(N) + 3, const(0)))[0] == 0
    assert bounds(limited("max", i, 3 - size(N)))[0] == 3 - N


def test_equal_expressions_are_one_object():
    assert i + j is j + i
    assert (i + 1) * 2 is i * 2 + 2
    assert const(0.0, F32) is not const(-0.0, F32)
    one, other = (reduce("sum", [5], lambda a: load("x", [a], F32)) for _ in range(2))
    assert one is other


def test_an_axis_of_one_is_0():
    assert axis(Axis("a", 1)) is const(0)
    assert reduce("sum", [1], lambda a: load("x", [a], F32)) is load("x", [const(0)], F32)


def test_floats_are_not_rearranged():
    x, y = load("x", [i], F32), load("y", [i], F32)
    assert (x + y) is not (y + x)
    assert str(x * 0.0) == "(x[i] * 0.0)"
    assert x * 1 is x and x / 1 is x
    assert str(x + 0.0) == "(x[i] + 0.0)"


def test_constants_are_rounded_to_their_dtype():
    assert const(0.1, F32).attr == float(np.float32(0.1))
    assert (const(1.0, F32) / const(3.0, F32)).attr == float(np.float32(1) / np.float32(3))
    assert const(7) // 2 is const(3) and const(-7) // 2 is const(-4)


def test_logic_and_select():
    a, b = i < 3, j < 2
    assert (a & const(True, BOOL)) is a and (a | const(True, BOOL)) is const(True, BOOL)
    assert select(const(False, BOOL), i, j) is j
    assert select(a, i, i) is i
    assert select(a & b, i, j).op == "select"


def test_casts():
    assert cast(i, I64) is i and cast(const(3), F32) is const(3.0, F32)
    x = load("x", [i], F32)
    assert bitcast(bitcast(x, DTYPES["i32"]), DTYPES["i32"]).dtype == DTYPES["i32"]


def test_mixed_dtypes_are_refused():
    with pytest.raises(DTypeError, match="needs operands of one dtype"):
        load("x", [i], F32) + i


def test_substitute_simplifies_and_stays_out_of_reductions():
    e = (i * 6 + j) % 6
    assert substitute(e, {J6: const(2)}) is const(2)
    total = reduce("sum", [3], lambda a: load("x", [a + i], F32))
    moved = substitute(total, {I4: j})
    assert moved is reduce("sum", [3], lambda a: load("x", [a + j], F32))
    assert total.axes == {I4} and moved.axes == {J6}


def test_nested_reductions_have_different_axes():
    e = reduce("max", [3], lambda a: reduce("sum", [4], lambda b: load("x", [a, b], F32)))
    assert str(e) == "max(r1_0<3: sum(r0_0<4: x[r1_0, r0_0]))"
    assert not e.axes


def test_postorder_lists_operands_first():
    e = load("x", [i + j], F32) * load("x", [i + j], F32)
    order = postorder([e])
    assert len(order) == len(set(order)) and order[-1] is e
    assert all(order.index(a) < order.index(n) for n in order for a in n.args)


def test_an_expression_does_not_change():
    with pytest.raises(AttributeError):
        i.op = "const"
