"""The text of LLVM modules: what is folded, and what is written once."""

from __future__ import annotations

import re

import pytest

from graphc.ir.expr import Axis, axis, const, load, select
from graphc.ir.types import DTYPES, dim
from graphc.runtime.loops import Buffer, For, Loops, Store, Update, verify_loops

F32 = DTYPES["f32"]
X, Y, OUT = (Buffer(name, F32, (dim("N"), 8)) for name in ("x", "y", "out"))
SUM = Buffer("a", F32, (8,), "local")
ROW, J, K = Axis("i", dim("N")), Axis("j", 8), Axis("k", 8)


@pytest.fixture(autouse=True)
def emit():
    return pytest.importorskip("graphc.runtime.targets.llvm", exc_type=ImportError).emit


def text(emit, *body, params=(X, Y, OUT)):
    loops = Loops("kernel", params, 1, body)
    verify_loops(loops)
    return emit(loops, 8)


def total(value):
    """Eight registers, one for each j, which sum a value over k; the loop over j is unrolled."""
    j = axis(J)
    return For(ROW, (For(J, (Store(SUM, (j,), const(0.0, F32)),), "unroll"),
                   For(K, (For(J, (Update(SUM, (j,), "sum", value),), "unroll"),)),
                   For(J, (Store(OUT, (axis(ROW), j), load(SUM, (j,), F32)),), "unroll")), "parallel")


def test_conditions_on_unrolled_loops_are_folded(emit):
    product = load(X, (axis(ROW), axis(J)), F32) * load(Y, (axis(ROW), axis(K)), F32)
    made = text(emit, total(select(axis(J) < const(3), product, const(0.0, F32))))
    assert len(re.findall("call float @llvm.fmuladd", made)) == 3
    assert "select" not in made and "fadd" not in made


def test_a_condition_that_is_not_known_stays(emit):
    product = load(X, (axis(ROW), axis(J)), F32) * load(Y, (axis(ROW), axis(K)), F32)
    made = text(emit, total(select(axis(K) < axis(J), product, const(0.0, F32))))
    assert len(re.findall("select i1", made)) == 8
    assert made.count("fadd") == 8


def test_what_a_loop_does_not_change_is_read_before_it(emit):
    made = text(emit, total(load(X, (axis(ROW), axis(J)), F32) * load(Y, (axis(ROW), axis(K)), F32)))
    before, inside = re.split(r'\n"k\.\d+":\n', made)
    inside = re.split(r'\nbr i1 [^\n]*label %"k\.', inside)[0]
    assert len(re.findall("= load float, ptr %v", before)) == 8  # the eight of x
    assert len(re.findall("= load float, ptr %v", inside)) == 1  # the one of y


def test_what_is_written_in_a_loop_is_read_in_it(emit):
    row, k = axis(ROW), axis(K)
    made = text(emit, For(ROW, (For(K, (Store(OUT, (row, k), load(OUT, (row, const(0)), F32) + load(X, (row, k), F32)),
                                     ),),), "parallel"))
    inside = re.split(r'\n"k\.\d+":\n', made)[1]
    assert len(re.findall("= load float", inside)) == 2


def test_rows_of_a_tile_share_a_pointer(emit):
    made = text(emit, total(load(X, (axis(ROW), axis(J)), F32)))
    offsets = re.findall(r"getelementptr i8, ptr (%v\d+), i64 (\d+)\n", made)
    of_x = [int(offset) for _, offset in offsets][:7]
    assert of_x == [4 * j for j in range(1, 8)] and len({base for base, _ in offsets[:7]}) == 1
