"""The loop IR: how it prints, what its verifier refuses, and that its interpreter is as strict."""

from __future__ import annotations

import re

import numpy as np
import pytest
from kernels import region

from graphc.ir import functions as f
from graphc.ir.errors import InvalidGraph, LoweringError
from graphc.ir.expr import Axis, axis, cast, const, load, scalar, select, size
from graphc.ir.types import DTYPES, dim
from graphc.runtime.loops import Barrier, Buffer, For, Loops, Store, Update, shared, verify_loops, walk
from graphc.runtime.lower import lower
from graphc.runtime.targets.interpreter import interpret

F32, I32 = DTYPES["f32"], DTYPES["i32"]
N = dim("N")
ROW, COLUMN = Axis("i", N), Axis("j", 10)
X, Y = Buffer("x", F32, (N, 10)), Buffer("y", F32, (N, 10))
S = Buffer("s", F32, (), "local")


def at(buffer, *index):
    return load(buffer, index, buffer.dtype)


def kernel(*body, params=(X, Y), outputs=1, scratch=()):
    return Loops("k", params, outputs, body, scratch)


def refuses(rule, *body, words="", **options):
    with pytest.raises(InvalidGraph, match=f"^{rule}: .*{re.escape(words)}"):
        verify_loops(kernel(*body, **options))


def copy(i=None, j=None, around=(ROW, COLUMN)):
    i, j = axis(ROW) if i is None else i, axis(COLUMN) if j is None else j
    body = (Store(Y, (axis(ROW), axis(COLUMN)), at(X, i, j)),)
    for a in reversed(around):
        body = (For(a, body),)
    return body


# --------------------------------------------------------------------------------------------------- the text

def test_naive_loops_of_a_softmax():
    x = f.input("x", (N, 10))
    assert str(lower(region(f.softmax(x)))) == """\
kernel kernel(x: f32[N,10], out0: f32[N,10]) writes 1 {
  for i0 in N {
    a0[] = -inf
    for r0_0 in 10 {
      a0[] max = x[i0, r0_0]
    }
    a1[] = 0.0
    for r1_0 in 10 {
      a1[] sum = exp((x[i0, r1_0] - a0[]))
    }
    for i1 in 10 {
      out0[i0, i1] = (exp((x[i0, i1] - a0[])) / a1[])
    }
  }
}"""


def test_kinds_grains_scratch_and_barriers_print():
    p = Buffer("p", F32, (16,), "scratch")
    lane = Axis("l", 8)
    loops = kernel(For(ROW, (For(lane, (Store(Y, (axis(ROW), axis(lane)), const(0, F32)),), "vector"),), "parallel", 7),
                   Barrier(), For(Axis("u", 2), (), "unroll"), scratch=(p,))
    assert str(loops) == """\
kernel k(x: f32[N,10], y: f32[N,10]) writes 1 scratch(p: f32[16]) {
  for i in N parallel grain 7 {
    for l in 8 vector {
      y[i, l] = 0.0
    }
  }
  barrier
  for u in 2 unroll {
  }
}"""


def test_what_a_store_uses_twice_is_written_once():
    e = scalar("exp", at(X, axis(ROW), axis(COLUMN)))
    value = (e + 1.0) * (e + 1.0)
    assert shared(value) == [e + 1.0]
    body = (Store(Y, (axis(ROW), axis(COLUMN)), value),)
    text = str(kernel(For(ROW, (For(COLUMN, body),))))
    assert "let t0 = (exp(x[i, j]) + 1.0)" in text and "y[i, j] = (t0 * t0)" in text and text.count("exp") == 1


def test_walk_is_outer_first():
    body = copy()
    assert [type(s).__name__ for s in walk(body)] == ["For", "For", "Store"]


# ----------------------------------------------------------------------------------------------- the verifier

def test_good_kernels_pass():
    verify_loops(kernel(*copy()))
    verify_loops(kernel(*copy(j=scalar("mod", axis(COLUMN) + 3, const(10)))))
    low = scalar("max", axis(COLUMN) - 1, const(0))
    verify_loops(kernel(*copy(j=low)))
    verify_loops(kernel(*copy(i=size(N) - 1 - axis(ROW))))
    verify_loops(kernel(*copy(i=scalar("min", scalar("max", axis(ROW) - 2, const(0)), size(N) - 1))))


@pytest.mark.parametrize("index", [
    lambda: axis(COLUMN) + 1,
    lambda: axis(COLUMN) - 1,
    lambda: axis(COLUMN) * 2,
    lambda: axis(ROW),
    lambda: scalar("max", axis(COLUMN), const(10)),
    lambda: scalar("min", axis(COLUMN), const(-1)),
    lambda: scalar("floordiv", axis(COLUMN), const(1)) + scalar("mod", axis(COLUMN), const(2)),
    lambda: const(10),
    lambda: const(-1),
    lambda: cast(at(Buffer("k", I32, (10,)), axis(COLUMN)), DTYPES["i64"]),
])
def test_l1_an_index_must_be_provably_inside(index):
    refuses("L1", *copy(j=index()), words="can't be proved within 10")


def test_l1_a_store_must_be_inside_and_have_all_axes():
    value = const(0, F32)
    refuses("L1", For(ROW, (Store(Y, (axis(ROW), const(10)), value),)))
    refuses("L1", For(ROW, (Store(Y, (axis(ROW) + 1, const(0)), value),)), words="within N")
    refuses("L1", For(ROW, (Store(Y, (axis(ROW),), value),)), words="y has 2 axes, not 1")
    refuses("L1", For(ROW, (Update(Y, (axis(ROW), const(-1)), "sum", value),)))


def test_l1_a_selection_protects_no_load():
    inside = axis(COLUMN) + 1 < const(10)
    read = select(inside, at(X, axis(ROW), axis(COLUMN) + 1), const(0, F32))
    refuses("L1", For(ROW, (For(COLUMN, (Store(Y, (axis(ROW), axis(COLUMN)), read),)),)))


def test_l1_symbolic_blocks_and_rests():
    blocks, rest = scalar("floordiv", size(N), const(4)), scalar("mod", size(N), const(4))
    o, i, r = Axis("o", blocks), Axis("i", 4), Axis("r", rest)

    def store(row):
        return Store(Y, (row, const(0)), at(X, row, const(0)))

    good = (For(o, (For(i, (store(axis(o) * 4 + axis(i)),)),)), For(r, (store(blocks * 4 + axis(r)),)))
    verify_loops(kernel(*good))
    refuses("L1", For(o, (For(i, (store(axis(o) * 4 + axis(i) + 1),)),)))
    refuses("L1", For(r, (store(blocks * 4 + axis(r) + 1),)))


def test_l1_holds_for_scratch_and_registers():
    p, v = Buffer("p", F32, (4,), "scratch"), Buffer("v", F32, (8,), "local")
    refuses("L1", For(COLUMN, (Store(p, (axis(COLUMN),), const(0, F32)),)), scratch=(p,))
    refuses("L1", For(COLUMN, (Store(v, (axis(COLUMN),), const(0, F32)),), "vector"))


def test_l2_axes_must_be_bound():
    refuses("L2", *copy(around=(ROW,)), words="['j'] are not bound")
    refuses("L2", *copy(around=(COLUMN,)))
    inner = Axis("n", axis(ROW) + 1)
    refuses("L2", For(inner, ()), words="['i']")
    verify_loops(kernel(For(ROW, (For(inner, ()),))))


def test_l3_an_unrolled_loop_has_a_known_extent():
    refuses("L3", For(ROW, (), "unroll"), words="known extent")
    refuses("L3", For(Axis("r", scalar("mod", size(N), const(4))), (), "unroll"))
    verify_loops(kernel(For(Axis("u", 3), (), "unroll")))


def test_l4_where_kinds_may_stand():
    lane = Axis("l", 8)
    refuses("L4", For(ROW, (For(COLUMN, (), "parallel"),)), words="a parallel loop can't stand here")
    refuses("L4", For(lane, (For(COLUMN, ()),), "vector"), words="a serial loop can't stand here")
    refuses("L4", For(lane, (For(COLUMN, (), "vector"),), "vector"))
    refuses("L4", For(ROW, (Barrier(),)), words="a barrier")
    verify_loops(kernel(For(lane, (For(Axis("u", 2), (), "unroll"),), "vector")))
    verify_loops(kernel(For(ROW, (), "parallel"), Barrier(), For(ROW, (), "parallel")))


def test_l5_only_results_scratch_and_registers_are_written():
    body = (For(ROW, (Store(X, (axis(ROW), const(0)), const(0, F32)),)),)
    refuses("L5", *body, words="x is not writable")
    verify_loops(kernel(*body, outputs=2))
    stranger = Buffer("z", F32, (N, 10))
    refuses("L5", For(ROW, (Store(stranger, (axis(ROW), const(0)), const(0, F32)),)))
    refuses("L5", Store(Buffer("p", F32, (), "scratch"), (), const(0, F32)))


def test_an_error_shows_the_rule_the_kernel_and_the_statement():
    with pytest.raises(InvalidGraph) as caught:
        verify_loops(kernel(*copy(j=axis(COLUMN) + 1)))
    assert "in the kernel k:" in str(caught.value) and "y[i, j] = x[i, j+1]" in str(caught.value).replace(
        "(j + 1)", "j+1")


# -------------------------------------------------------------------------------------------- the interpreter

def test_the_interpreter_checks_every_access():
    x, y = np.zeros((3, 10), np.float32), np.zeros((3, 10), np.float32)
    with pytest.raises(IndexError, match="outside its shape"):
        interpret(kernel(*copy(j=axis(COLUMN) + 1)), [x, y], {"N": 3})
    with pytest.raises(IndexError, match="outside its shape"):
        interpret(kernel(*copy(i=axis(ROW) - 1)), [x, y], {"N": 3})


def test_the_interpreter_poisons_what_was_never_written():
    y = np.zeros((3, 10), np.float32)
    interpret(kernel(For(ROW, (Update(S, (), "sum", const(1, F32)), Store(Y, (axis(ROW), const(0)), at(S))))),
              [np.zeros((3, 10), np.float32), y], {"N": 3})
    assert np.isnan(y[0, 0])


def test_a_reduction_of_no_elements_is_the_identity():
    y = np.ones((2, 10), np.float32)
    r = Axis("r", scalar("mod", size(N), const(2)))
    body = (Store(S, (), const(-np.inf, F32)), For(r, (Update(S, (), "max", at(X, axis(r), const(0))),)),
            Store(Y, (const(0), const(0)), at(S)))
    interpret(kernel(*body), [np.zeros((2, 10), np.float32), y], {"N": 2})
    assert y[0, 0] == -np.inf


# ---------------------------------------------------------------------------------------------------- lowering

def test_results_that_share_no_loops_are_refused():
    x, z = f.input("x", (N, 10)), f.input("z", (7, 3))
    with pytest.raises(LoweringError, match="do not share loops"):
        lower(region(f.exp(x), f.exp(z)))


def test_a_row_is_reduced_once_per_row():
    x = f.input("x", (N, 10))
    loops = lower(region(f.sum(x, 1), f.exp(x - f.expand_dims(f.sum(x, 1), 1))))
    updates = [s for s in walk(loops.body) if isinstance(s, Update)]
    assert len(updates) == 1, str(loops)


def test_results_are_stored_after_all_are_read():
    m, g = f.input("m", (5,)), f.input("g", (5,))
    loops = lower(region(m + g, m * g))
    body = loops.body[0].body
    kinds = [s.buffer.space for s in body]
    assert kinds == ["local", "local", "param", "param"], str(loops)


def test_sums_of_sums_are_one_sum():
    x, w = f.input("x", (N, 6, 6, 2)), f.input("w", (3, 3, 2, 5))
    dx = f.fold(f.einsum("nhwo,uvco->nhwuvc", f.conv(x, w), w), (6, 6), (1, 1), (1, 1))
    y = f.input("g", (N, 4, 4, 5))
    alone = f.fold(f.einsum("nhwo,uvco->nhwuvc", y, w), (6, 6), (1, 1), (1, 1))
    assert sum(isinstance(s, Update) for s in walk(lower(region(alone)).body)) == 1
    assert dx.shape == (N, 6, 6, 2)


def test_an_axis_of_one_has_no_loop():
    x = f.input("x", (1, 4, 1))
    loops = lower(region(f.exp(x)))
    assert [s.axis.name for s in walk(loops.body) if isinstance(s, For)] == ["i1"]
