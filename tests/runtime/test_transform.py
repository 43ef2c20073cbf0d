"""Each transformation's picture: what it makes, and that it computes the same, at odd and symbolic sizes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from kernels import region

from graphc.ir import functions as f
from graphc.ir.expr import Axis, axis, bounds, linear, load, postorder, scalar
from graphc.ir.graph import Graph
from graphc.ir.types import DTYPES, dim, evaluate_dim
from graphc.runtime.loops import Barrier, Buffer, For, Loops, Statement, Store, Update, expressions, verify_loops, walk
from graphc.runtime.lower import lower
from graphc.runtime.targets.interpreter import interpret
from graphc.runtime.transform import (
    accumulate_lanes,
    chain_of,
    collapse,
    distribute,
    hoist,
    keep,
    mark,
    outermost,
    peel,
    reorder,
    replicate,
    residues,
    sink,
    spill,
    split,
    split_reduction,
    stage,
    stageable,
    tighten,
    transpose,
    volume,
)

N, T = dim("N"), dim("T")
F32 = DTYPES["f32"]


def kernel(*outputs) -> Loops:
    return lower(region(*outputs))


def loop(loops: Loops, name: str) -> For:
    return next(s for s in walk(loops.body) if isinstance(s, For) and s.axis.name == name)


def text(loops: Loops) -> str:
    """The loops without the head."""
    return "\n".join(line[2:] for line in str(loops).splitlines()[1:-1])


def computed(loops: Loops, inputs, sizes):
    results = [np.full([evaluate_dim(d, sizes) for d in b.shape], np.nan if b.dtype.is_float else 77, b.dtype.numpy)
               for b in loops.params[len(loops.params) - loops.outputs:]]
    interpret(loops, [*inputs, *results], sizes)
    return results


def same(before: Loops, after: Loops, rng, sizes=({"N": 1}, {"N": 4}, {"N": 7})):
    """Both pass the verifier, and compute the same on random arrays."""
    verify_loops(before)
    verify_loops(after)
    for n in sizes:
        inputs = [rng.standard_normal([evaluate_dim(d, n) for d in b.shape]).astype(b.dtype.numpy)
                  for b in before.params[:len(before.params) - before.outputs]]
        for x, y in zip(computed(before, inputs, n), computed(after, inputs, n), strict=True):
            np.testing.assert_allclose(y, x, rtol=1e-5, atol=1e-5, err_msg=f"{n}:\n{before}\n{after}")


def with_body(loops: Loops, body: tuple[Statement, ...]) -> Loops:
    return replace(loops, body=body)


def copy(n):
    x = f.input("x", (n,))
    return kernel(f.exp(x))


def row_sums(n, k):
    x = f.input("x", (n, k))
    return kernel(f.sum(x, 1))


# ------------------------------------------------------------------------------------------------ mark, split

def test_mark():
    loops = copy(16)
    a = loop(loops, "i0").axis
    assert text(with_body(loops, mark(loops.body, a, "vector"))) == (
        "for i0 in 16 vector {\n  out0[i0] = exp(x[i0])\n}")
    assert text(with_body(loops, mark(loops.body, a, "parallel", 3))).startswith("for i0 in 16 parallel grain 3 {")
    assert mark(loops.body, Axis("other", 16), "vector") == loops.body


def test_split_into_blocks_and_a_rest(rng):
    loops = copy(35)
    body, outer, inner, rest = split(loops.body, loop(loops, "i0").axis, 16)
    assert text(with_body(loops, body)) == """\
for i0o in 2 {
  for i0i in 16 {
    out0[(i0i + (i0o * 16))] = exp(x[(i0i + (i0o * 16))])
  }
}
for i0r in 3 {
  out0[(i0r + 32)] = exp(x[(i0r + 32)])
}"""
    assert (outer.extent, inner.extent, rest.extent) == (2, 16, 3)
    same(loops, with_body(loops, body), rng)


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 5, 8, 16])
@pytest.mark.parametrize("extent", [1, 2, 3, 4, 7, 8, 15, 16, 17, 33])
def test_split_of_every_size(extent, factor, rng):
    x = f.input("x", (extent, 2))
    loops = kernel(f.exp(x))
    if extent == 1:
        return
    body, _, inner, rest = split(loops.body, loop(loops, "i0").axis, factor)
    assert (rest is None) == (extent % factor == 0) and (inner is None) == (extent < factor)
    same(loops, with_body(loops, body), rng, [{}])


@pytest.mark.parametrize("factor", [2, 3, 4, 16])
def test_split_of_a_symbolic_size(factor, rng):
    loops = copy(N)
    body, *_, rest = split(loops.body, loop(loops, "i0").axis, factor)
    assert str(rest.extent) == f"(N % {factor})"
    same(loops, with_body(loops, body), rng, [{"N": n} for n in (1, 2, 3, 4, 5, 15, 16, 17, 33)])


def test_split_twice(rng):
    loops = copy(N)
    body, _, _, rest = split(loops.body, loop(loops, "i0").axis, 8)
    body, *_ = split(body, rest, 2)
    same(loops, with_body(loops, body), rng, [{"N": n} for n in range(1, 20)])


def test_split_of_a_multiple_of_a_symbolic_size_has_no_rest(rng):
    loops = kernel(f.exp(f.reshape(f.input("x", (N, 8)), (-1,))))
    body, outer, _, rest = split(loops.body, loop(loops, "i0").axis, 4)
    assert rest is None and str(outer.extent) == "2*N"
    same(loops, with_body(loops, body), rng)


# ------------------------------------------------------------------------------------------ reorder, collapse

def test_reorder(rng):
    x = f.input("x", (N, 3, 5))
    loops = kernel(f.exp(x))
    i, j, k = (loop(loops, f"i{d}").axis for d in range(3))
    made = with_body(loops, reorder(loops.body, [k, i, j]))
    assert [s.axis for s in walk(made.body) if isinstance(s, For)] == [k, i, j]
    same(loops, made, rng)
    inner = with_body(loops, reorder(loops.body, [k, j]))
    assert [s.axis for s in walk(inner.body) if isinstance(s, For)] == [i, k, j]
    same(loops, inner, rng)


def test_reorder_leaves_imperfect_nests_alone():
    loops = row_sums(N, 5)
    order = [loop(loops, "r0_0").axis, loop(loops, "i0").axis]
    assert reorder(loops.body, order) == loops.body


@pytest.mark.parametrize(("rows", "columns"), [(8, 10), (3, 7), (N, 5), (2, 1)])
def test_collapse(rows, columns, rng):
    loops = kernel(f.exp(f.input("x", (rows, columns, 2))))
    chain, _ = chain_of(loops.body)
    a, b = chain[0].axis, chain[1].axis
    body, joined = collapse(loops.body, a, b)
    assert joined.extent == a.extent * b.extent
    assert next(s.axis for s in walk(body) if isinstance(s, For)) == joined
    same(loops, with_body(loops, body), rng)


def test_collapse_of_whole_rows_reads_straight_through():
    loops = kernel(f.exp(f.input("x", (N, 10))))
    body, joined = collapse(loops.body, loop(loops, "i0").axis, loop(loops, "i1").axis)
    (store,) = (s for s in walk(body) if isinstance(s, Store))
    row, column = store.index
    assert linear(row * 10 + column)[0] == {axis(joined): 1}


# ------------------------------------------------------------------------------------------------------- sink

def test_sink(rng):
    loops = row_sums(4, 9)
    made = with_body(loops, sink(loops.body, loop(loops, "i0").axis))
    assert text(made) == """\
for i0 in 4 {
  a0[i0] = 0.0
}
for r0_0 in 9 {
  for i0 in 4 {
    a0[i0] sum = x[i0, r0_0]
  }
}
for i0 in 4 {
  out0[i0] = a0[i0]
}"""
    same(loops, made, rng)


def test_sinking_again_changes_nothing():
    loops = row_sums(4, 9)
    a = loop(loops, "i0").axis
    once = sink(loops.body, a)
    assert sink(once, a) == once


@pytest.mark.parametrize("outputs", [
    lambda x: (f.softmax(x),),
    lambda x: (f.sum(f.exp(x), 1), f.logsumexp(x)),
    lambda x: (f.argmax(x, 1),),
], ids=["softmax", "two rows", "argmax"])
@pytest.mark.parametrize("rows", [2, 3, 5])
def test_sink_past_several_reductions(outputs, rows, rng):
    loops = kernel(*outputs(f.input("x", (rows, 5))))
    made = with_body(loops, sink(loops.body, loop(loops, "i0").axis))
    assert all(s.axis.name == "i0" for s in walk(made.body) if isinstance(s, For) and any(
        not isinstance(t, For) for t in s.body))
    same(loops, made, rng)


def test_a_tile_of_rows_and_columns(rng):
    x, w = f.input("x", (N, 6)), f.input("w", (6, 7))
    loops = kernel(x @ w)
    body, _, columns, rest = split(loops.body, loop(loops, "i1").axis, 4)
    for part in (columns, rest):
        body = sink(body, part)
    body, _, rows, _ = split(body, loop(loops, "i0").axis, 2)
    made = with_body(loops, mark(mark(sink(body, rows), rows, "unroll"), columns, "vector"))
    same(loops, made, rng, [{"N": n} for n in (1, 2, 3, 5)])


# ------------------------------------------------------------------------------------------- accumulate_lanes

@pytest.mark.parametrize("extent", [2, 5, 8, 9, 16, 31, 32])
@pytest.mark.parametrize("lanes", [4, 8])
@pytest.mark.parametrize("vectors", [1, 2, 4])
def test_accumulate_lanes(extent, lanes, vectors, rng):
    loops = row_sums(N, extent)
    made = with_body(loops, accumulate_lanes(loops.body, loop(loops, "r0_0").axis, lanes, vectors))
    assert any(s.kind == "vector" for s in walk(made.body) if isinstance(s, For))
    same(loops, made, rng)


@pytest.mark.parametrize("vectors", [1, 2, 4])
def test_accumulate_lanes_of_a_symbolic_extent(vectors, rng):
    loops = kernel(f.sum(f.input("x", (N,))), )
    made = with_body(loops, accumulate_lanes(loops.body, loop(loops, "r0_0").axis, 4, vectors))
    same(loops, made, rng, [{"N": n} for n in range(1, 40)])


def test_accumulate_lanes_draws_its_picture():
    loops = kernel(f.sum(f.input("x", (19,))))
    assert text(with_body(loops, accumulate_lanes(loops.body, loop(loops, "r0_0").axis, 4, 2))) == """\
a0[] = 0.0
for r0_0u in 2 unroll {
  for r0_0l in 4 vector {
    a0v[r0_0l, r0_0u] = 0.0
  }
}
for r0_0o in 2 {
  for r0_0u in 2 unroll {
    for r0_0l in 4 vector {
      a0v[r0_0l, r0_0u] sum = x[((r0_0l + (r0_0o * 8)) + (r0_0u * 4))]
    }
  }
}
for r0_0l in 3 vector {
  a0v[r0_0l, 0] sum = x[(r0_0l + 16)]
}
for r0_0l in 4 vector {
  a0v[r0_0l, 0] sum = a0v[r0_0l, 1]
}
for r0_0l in 4 vector {
  a0[] sum = a0v[r0_0l, 0]
}
out0[] = a0[]"""


def test_accumulate_lanes_of_a_maximum_and_two_axes(rng):
    loops = kernel(f.max(f.input("x", (N, 3, 7)), (1, 2)))
    made = with_body(loops, accumulate_lanes(loops.body, loop(loops, "r0_1").axis, 4))
    wide = {s.buffer for s in walk(made.body) if isinstance(s, Update) and s.buffer.shape}
    assert len(wide) == 1 and next(iter(wide)).shape == (4,)
    same(loops, made, rng)


def test_accumulate_lanes_keeps_a_row_of_reductions(rng):
    loops = kernel(f.softmax(f.input("x", (N, 19))))
    body = loops.body
    for name in ("r0_0", "r1_0"):
        body = accumulate_lanes(body, loop(loops, name).axis, 8)
    same(loops, with_body(loops, body), rng)


# -------------------------------------------------------------------------------------------- split_reduction

@pytest.mark.parametrize("chunks", [1, 2, 3, 16])
def test_split_reduction(chunks, rng):
    loops = kernel(f.sum(f.input("x", (N, 5)), 0))
    made, c = split_reduction(loops, loop(loops, "r0_0").axis, chunks)
    assert c.extent == chunks and made.scratch[-1].shape[0] == chunks
    assert sum(isinstance(s, Barrier) for s in made.body) == 1
    same(loops, made, rng, [{"N": n} for n in (1, 2, 15, 16, 17, 40)])


@pytest.mark.parametrize("blocked", [(), ("r0_1", "r0_2"), ("r0_2",)], ids=str)
def test_split_reduction_of_a_filter_gradient(blocked, rng):
    x, g = f.input("x", (N, 4, 5, 2)), f.input("g", (N, 2, 3, 3))
    loops = kernel(f.einsum("nhwuvc,nhwo->uvco", f.windows(x, (3, 3), (1, 1), (1, 1)), g))
    registers = [loop(loops, name).axis for name in blocked]
    made, _ = split_reduction(loops, loop(loops, "r0_0").axis, 4, registers)
    same(loops, made, rng, [{"N": n} for n in (1, 3, 6)])


def test_split_reduction_keeps_what_follows(rng):
    loops = kernel(f.sqrt(f.absolute(f.mean(f.input("x", (N, 3)), 0))) + f.input("b", (3,)))
    made, _ = split_reduction(loops, loop(loops, "r0_0").axis, 4)
    same(loops, made, rng, [{"N": n} for n in (1, 5)])


# ------------------------------------------------------------------------------------------------------ stage

def staged(loops: Loops, part, last=None) -> Loops:
    made, nest = stage(loops, part, last)
    return replace(made, body=(*nest, Barrier(), *made.body))


def padded_reads(loops: Loops):
    """The first selection in the kernel's products."""
    return next(e for s in walk(loops.body) if isinstance(s, Update)
                for e in postorder([s.value]) if e.op == "select")


def test_stage_pads_once(rng):
    x, w = f.input("x", (N, 6, 2)), f.input("w", (3, 2, 4))
    loops = kernel(f.conv(x, w, padding="same"))
    part = padded_reads(loops)
    assert stageable(part)
    made = staged(loops, part)
    assert made.scratch[0].shape == (N, 8, 2), "laid out as what it pads"
    after = [s for s in made.body if isinstance(s, For)][-1]
    assert not any(e.op == "select" for s in walk((after,)) if isinstance(s, Update) for e in postorder([s.value]))
    same(loops, made, rng)


@pytest.mark.parametrize(("strides", "dilation"), [(1, 1), (2, 1), (1, 2), (3, 1)])
def test_stage_of_every_window(strides, dilation, rng):
    x, w = f.input("x", (N, 7, 2)), f.input("w", (3, 2, 4))
    loops = kernel(f.conv(x, w, strides, "same", dilation))
    part = padded_reads(loops)
    made = staged(loops, part)
    assert all(low is not None for b in made.scratch for low in bounds(axis(Axis("t", b.shape[1]))))
    same(loops, made, rng)


def test_stage_lays_the_named_axis_last(rng):
    x, w = f.input("x", (N, 6)), f.input("w", (7, 6))
    loops = kernel(f.einsum("nk,jk->nj", x, w))
    update = next(s for s in walk(loops.body) if isinstance(s, Update))
    column = loop(loops, "i1").axis
    part = next(e for e in update.value.args if column in e.axes)
    made = staged(loops, part, column)
    assert made.scratch[0].shape == (6, 7)
    same(loops, made, rng)


def test_stageable_asks_for_one_form_per_axis():
    i, j = Axis("i", 4), Axis("j", 4)
    buffer = Buffer("x", F32, (8, 8))
    assert stageable(load(buffer, (axis(i) + axis(j), axis(Axis("k", 8))), F32))
    assert not stageable(load(buffer, (axis(i) + axis(j), axis(i)), F32))
    assert not stageable(load(buffer, (axis(i) * 2, axis(i)), F32))


# -------------------------------------------------------------------------------------------------------- peel

def selects(statements) -> int:
    return sum(e.op == "select" for s in walk(statements) for e in postorder(expressions(s)))


def test_peel_draws_its_picture():
    loops = kernel(f.pad(f.input("x", (N, 18)), ((0, 0), (2, 1))))
    body, pieces = peel(loops.body, loop(loops, "i1").axis, 3)
    assert [p.extent for p in pieces] == [2, 18, 1]
    assert text(with_body(loops, body)) == """\
for i0 in N {
  for i1p0 in 2 {
    out0[i0, i1p0] = 0.0
  }
  for i1p1 in 18 {
    out0[i0, (i1p1 + 2)] = x[i0, i1p1]
  }
  out0[i0, 20] = 0.0
}"""


@pytest.mark.parametrize("make", [
    lambda: f.concatenate([f.input("x", (N, 3)), f.input("y", (N, 4)), f.input("z", (N, 2))]),
    lambda: f.concatenate([f.input("x", (N, 3)), f.input("y", (2 * N, 3))], 0),
    lambda: f.pad(f.input("x", (N, 3)), ((2, 1), (0, 0))),
    lambda: f.flip(f.pad(f.input("x", (N, 7)), ((0, 0), (1, 2))), 1),
])
def test_peel_leaves_no_condition(make, rng):
    loops = kernel(make())
    body = loops.body
    for name in ("i0", "i1"):
        body, _ = peel(body, loop(loops, name).axis, 3)
    assert selects(loops.body) and not selects(body)
    same(loops, with_body(loops, body), rng)


@pytest.mark.parametrize("size, strides, extent", [(3, 1, 6), (3, 2, 7), (2, 1, 4), (4, 3, 10)])
def test_peel_frees_the_inner_windows(size, strides, extent, rng):
    loops = kernel(f.max_pool(f.input("x", (N, extent, extent, 2)), size, strides, "same"))
    body, pieces = peel(loops.body, loop(loops, "i2").axis, 4)
    body, _ = peel(body, loop(loops, "i1").axis, 4)
    nests = [s for s in walk(body) if isinstance(s, For) and s.axis in pieces]
    assert len(pieces) > 1 and min(selects((s,)) for s in nests) == 0
    same(loops, with_body(loops, body), rng)


def test_peel_makes_no_more_pieces_than_asked_for():
    loops = kernel(f.pad(f.input("x", (N, 18)), ((0, 0), (2, 1))))
    a = loop(loops, "i1").axis
    assert peel(loops.body, a, 2) == (loops.body, [a])


# -------------------------------------------------------------------------------------------------------- keep

def exponentials(statements) -> int:
    return sum(e.op == "exp" for s in walk(statements) for e in postorder(expressions(s)))


@pytest.mark.parametrize("make, count", [
    (lambda x: (f.softmax(x),), 1),
    (lambda x: (f.softmax(x), f.logsumexp(x)), 1),
    (lambda x: (f.softmax(x) * x - f.exp(x),), 2),
    (lambda x: (f.exp(x) - f.sum(f.exp(x), 1, True),), 1),
])
def test_keep(make, count, rng):
    loops = kernel(*make(f.input("x", (N, 11))))
    reduced = [s.axis for s in walk(loops.body) if isinstance(s, For) and s.axis.name.startswith("r")]
    body, rows = keep(loops.body, reduced, 4)
    assert len(rows) == 1 and exponentials(body) == count < exponentials(loops.body)
    same(loops, with_body(loops, body), rng)
    assert keep(loops.body, reduced, 16) == (loops.body, []), "a row within one vector stays in registers"
    assert keep(loops.body, [], 4) == (loops.body, [])


# ------------------------------------------------------------------------------------------------------ hoist

def test_hoist(rng):
    x, a = f.input("x", (N, 8)), f.input("a", ())
    loops = kernel(x * f.sqrt(f.absolute(a)))
    made = with_body(loops, hoist(loops.body))
    assert isinstance(made.body[0], Store) and made.body[0].value.op == "sqrt", str(made)
    inner = [s for s in walk(made.body) if isinstance(s, Store)][-1]
    assert not any(e.op == "sqrt" for e in postorder([inner.value]))
    same(loops, made, rng)


def test_hoist_to_the_right_depth(rng):
    x, b = f.input("x", (N, 8)), f.input("b", (N,))
    loops = kernel(x * f.exp(f.expand_dims(b, 1)))
    made = with_body(loops, hoist(loops.body))
    assert isinstance(made.body[0], For) and made.body[0].body[0].value.op == "exp", str(made)
    same(loops, made, rng)


def test_hoist_leaves_what_a_loop_writes():
    loops = kernel(f.softmax(f.input("x", (N, 8))))
    made = with_body(loops, hoist(loops.body))
    same(loops, made, np.random.default_rng(0))
    sums = [s for s in walk(made.body) if isinstance(s, Update) and s.op == "sum"]
    assert "exp" in str(sums[0].value)


def test_hoist_takes_shared_parts_once(rng):
    x, t = f.input("x", (N, 4)), f.input("t", ())
    p = f.power(0.9, t)
    loops = kernel(x * f.sqrt(1.0 - p) / (1.0 - p * 0.5))
    made = with_body(loops, hoist(loops.body))
    inner = [s for s in walk(made.body) if isinstance(s, Store)][-1]
    assert not any(e.op in ("pow", "sqrt") for e in postorder([inner.value]))
    verify_loops(made)
    x, t = rng.standard_normal((3, 4)).astype("f4"), np.float32(3).reshape(())
    for a, b in zip(computed(loops, [x, t], {"N": 3}), computed(made, [x, t], {"N": 3}), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


# ------------------------------------------------------------------------------------------------------ rest

# ------------------------------------------------------------------------------------ outermost, transpose, spill

@pytest.mark.parametrize("columns", [8, 35, 48])
def test_outermost_blocks(columns, rng):
    x = f.input("x", (N, columns))
    loops = kernel(x * 2.0)
    nests = outermost(loops.body, loop(loops, "i1").axis, 16)
    assert [a.extent for _, a in nests] == {8: [8], 35: [16, 3], 48: [16]}[columns]
    same(loops, with_body(loops, tuple(s for nest, _ in nests for s in nest)), rng)


def test_transpose_reads_and_writes_vectors(rng):
    x = f.input("x", (8, 12))
    loops = kernel(f.transpose(x) + 1.0)
    store = next(s for s in walk(loops.body) if isinstance(s, Store))
    (read,) = [e for e in postorder([store.value]) if e.op == "load"]
    body = transpose(loops.body, loop(loops, "i0").axis, loop(loops, "i1").axis, 4, [read])
    assert text(with_body(loops, body)) == """\
for i0o in 3 {
  for i1o in 2 {
    for i1i in 4 unroll {
      for i0i in 4 vector {
        x0t[i0i, i1i] = x[(i1i + (i1o * 4)), (i0i + (i0o * 4))]
      }
    }
    for i0i in 4 unroll {
      for i1i in 4 vector {
        out0[(i0i + (i0o * 4)), (i1i + (i1o * 4))] = (x0t[i0i, i1i] + 1.0)
      }
    }
  }
}"""
    same(loops, with_body(loops, body), rng)


def test_distribute_gives_every_statement_its_own_nest(rng):
    loops = kernel(f.exp(f.input("x", (4, N))))
    body, *_ = split(loops.body, loop(loops, "i1").axis, 8)
    assert "\n".join(text(with_body(loops, nest)) for nest in distribute(body)) == """\
for i0 in 4 {
  for i1o in (N // 8) {
    for i1i in 8 {
      out0[i0, (i1i + (i1o * 8))] = exp(x[i0, (i1i + (i1o * 8))])
    }
  }
}
for i0 in 4 {
  for i1r in (N % 8) {
    out0[i0, (((N // 8) * 8) + i1r)] = exp(x[i0, (((N // 8) * 8) + i1r)])
  }
}"""
    same(loops, with_body(loops, tuple(s for nest in distribute(body) for s in nest)), rng)


@pytest.mark.parametrize("rows, columns", [(4, 4), (5, 4), (7, 9), (4, 13)])
def test_transpose_of_odd_sizes_computes_some_elements_twice(rows, columns, rng):
    x, y = f.input("x", (N, rows, columns)), f.input("y", (N, columns, rows))
    loops = kernel(f.transpose(x, (0, 2, 1)) * y)
    store = next(s for s in walk(loops.body) if isinstance(s, Store))
    (read,) = [e for e in postorder([store.value]) if e.op == "load" and e.attr.name == "x"]
    body = transpose(loops.body, loop(loops, "i1").axis, loop(loops, "i2").axis, 4, [read])
    same(loops, with_body(loops, body), rng)


def test_spill_puts_registers_into_memory_and_loops(rng):
    x = f.input("x", (8, 5))
    loops = kernel(f.sqrt(f.sum(x * x, 1)))
    rows = loop(loops, "i0").axis
    unrolled = mark(sink(loops.body, rows), rows, "unroll")
    assert spill(unrolled, 8) == unrolled
    body = spill(unrolled, 7)
    assert text(with_body(loops, body)).endswith("""
for i0 in 8 unroll {
  a0s0[i0]: stack f32[8] = a0[i0]
}
for i0 in 8 {
  out0[i0] = sqrt(a0s0[i0])
}""")
    same(loops, with_body(loops, body), rng)


def test_spill_of_several_results(rng):
    x = f.input("x", (8, 5))
    total = f.sum(x, 1)
    loops = kernel(f.exp(total), total * total)
    rows = loop(loops, "i0").axis
    body = mark(sink(loops.body, rows), rows, "unroll")
    after = with_body(loops, spill(body, 10))
    assert str(after).count("in 8 {") == 1
    same(loops, after, rng)


# --------------------------------------------------------------------------------- replicate, residues, tighten

def transposed_convolution(stride=1, size=3, extent=None):
    """The gradient of a convolution to its input: windows that partly lie outside, and quotients with a stride."""
    extent = extent or (4 - 1) * stride + size
    dy, w = f.input("dy", (N, 4, 2)), f.input("w", (size, 3, 2))
    return kernel(f.fold(f.einsum("nho,uco->nhuc", dy, w), (extent,), (stride,), (1,)))


def test_tighten_starts_and_ends_a_reduction_where_its_values_do(rng):
    loops = transposed_convolution()
    body = tighten(loops.body, loop(loops, "r0_0").axis)
    tight = with_body(loops, body)
    assert "select" in str(loops) and "select" not in str(tight)
    same(loops, tight, rng)
    counted = [sum(0 <= i - k < 4 for k in range(3)) for i in range(6)]
    extent = loop(tight, "r0_0t").extent
    assert [evaluate(extent, {"i1": i}) for i in range(6)] == counted


def evaluate(e, axes):
    return {"const": lambda: e.attr, "axis": lambda: axes[e.attr.name if e.op == "axis" else ""],
            "add": lambda: sum(evaluate(a, axes) for a in e.args),
            "mul": lambda: evaluate(e.args[0], axes) * evaluate(e.args[1], axes),
            "min": lambda: min(evaluate(a, axes) for a in e.args),
            "max": lambda: max(evaluate(a, axes) for a in e.args)}[e.op]()


def test_tighten_keeps_conditions_on_free_axes():
    loops = transposed_convolution()
    assert tighten(loops.body, loop(loops, "r0_0").axis, [loop(loops, "i1").axis]) == loops.body


def test_tighten_after_replicate_decides_every_condition(rng):
    loops = transposed_convolution()
    rows, tap = loop(loops, "i1").axis, loop(loops, "r0_0").axis
    body = mark(sink(loops.body, rows), rows, "unroll")
    body = tighten(replicate(body, tap), rows)
    assert str(with_body(loops, body)).count("in 4 unroll") == 3  # of 6 positions, each tap reaches 4
    assert "select" not in str(with_body(loops, body))
    same(loops, with_body(loops, body), rng)


def test_residues_have_taps_of_their_own():
    loops = transposed_convolution(stride=2)
    even, odd = (tighten(nest, loop(loops, "r0_0").axis, [c.axis for c in chain_of(nest)[0]])
                 for nest in residues(loops.body, loop(loops, "i1").axis, 2))
    assert "for r0_0 in 2 {" in str(with_body(loops, even)) and "for r0_0" not in str(with_body(loops, odd))


@pytest.mark.parametrize("extent", [None, 10, 11])
@pytest.mark.parametrize("stride", [2, 3])
def test_residues_of_a_stride_are_affine(stride, extent, rng):
    size = 3 if extent is None else extent - 3 * stride
    loops = transposed_convolution(stride, size, extent)
    nests = residues(loops.body, loop(loops, "i1").axis, stride)
    assert len(nests) == stride
    for nest in nests:
        (update,) = [s for s in walk(nest) if isinstance(s, Update)]
        assert not {e.op for e in postorder([update.value])} & {"mod", "floordiv"}
    nests = [tighten(nest, loop(loops, "r0_0").axis, [c.axis for c in chain_of(nest)[0]]) for nest in nests]
    same(loops, with_body(loops, tuple(s for nest in nests for s in nest)), rng)


def test_chain_of_and_volume():
    loops = row_sums(4, 9)
    chain, inner = chain_of(loops.body)
    assert [c.axis.name for c in chain] == ["i0"] and len(inner) == 3
    assert volume([Axis("a", 3), Axis("b", 5)]) == 15
    assert volume([Axis("a", N), Axis("b", 5)]) == 160 and volume([Axis("a", N)], nominal=2) == 2
    assert volume([]) == 1


@pytest.mark.parametrize("seed", range(12))
def test_random_compositions(seed):
    """Any sequence of splits, sinks and marks computes the same."""
    rng = np.random.default_rng(seed)
    print(f"seed {seed}")
    x = f.input("x", (N, int(rng.integers(2, 9))))
    w = f.input("w", (x.shape[1], int(rng.integers(2, 12))))
    b = f.input("b", (w.shape[1],))
    loops = kernel(f.relu(x @ w + b)) if seed % 2 else kernel(f.softmax(x @ w))
    body, sunk = loops.body, set()
    for _ in range(int(rng.integers(2, 5))):
        axes = [s.axis for s in walk(body) if isinstance(s, For)]
        a = axes[rng.integers(len(axes))]
        reduces = a.name.startswith("r")
        if isinstance(a.extent, int) and a.extent > 1 and not reduces and rng.integers(2):
            body = sink(body, a)
            sunk.add(a)
        elif a not in sunk:
            body = split(body, a, int(rng.integers(2, 5)))[0]
    same(loops, with_body(loops, body), rng)


def test_a_graph_without_inputs():
    graph = Graph("k", (), (), (("y", f.iota((2, 3), (1,), "f32")),))
    (result,) = computed(lower(graph), [], {})
    assert result.tolist() == [[0, 1, 2], [0, 1, 2]]
    assert scalar("add", axis(Axis("i", 1)), 3).attr == 3
