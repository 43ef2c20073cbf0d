"""The contraction schedule: what it computes, how often, and from where."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from kernels import MACHINES, TARGETS, region, run_interpreted

from graphc.ir import functions as f
from graphc.ir.evaluate import evaluate
from graphc.ir.expr import SCALARS, const, postorder, substitute
from graphc.ir.graph import Graph
from graphc.ir.types import dim, evaluate_dim
from graphc.passes.pipeline import GRAPH_PASSES, run
from graphc.runtime.listing import Listing
from graphc.runtime.loops import Barrier, Buffer, For, Prefetch, Store, Update, expressions, verify_loops, walk
from graphc.runtime.lower import lower
from graphc.runtime.program import NativeProgram
from graphc.runtime.rungs import NativeKernel
from graphc.runtime.schedule import following, schedule
from graphc.runtime.schedule.tile import stride
from graphc.runtime.targets.machine import Machine

N, T = dim("N"), dim("T")


@cache
def machine(name="host", **changes) -> Machine:
    return replace(Machine.named(name), **changes)


def scheduled(*outputs, on="host", **changes):
    loops = schedule(lower(region(*outputs)), machine(on, **changes))
    verify_loops(loops)
    return loops


def number(e, at, sizes):
    """The value of an index."""
    e = substitute(e, at)
    if e.op == "const":
        return e.attr
    if e.op == "size":
        return evaluate_dim(e.attr, sizes)
    return int(SCALARS[e.op].numpy(*(number(a, {}, sizes) for a in e.args)))


def multiply_adds(loops, sizes) -> int:
    """How many products of two elements of memory the loops add."""
    def count(body, at) -> int:
        total = 0
        for s in body:
            if isinstance(s, For):
                kept = {a for t in walk(s.body) for e in ([] if isinstance(t, Barrier) else expressions(t))
                        for a in e.axes}
                extent = number(s.extent, at, sizes)
                varies = any(isinstance(t, For) and s.axis in t.extent.axes for t in walk(s.body))
                if varies and s.axis in kept:
                    total += sum(count(s.body, {**at, s.axis: const(i)}) for i in range(extent))
                elif extent > 0:
                    total += extent * count(s.body, {**at, s.axis: const(0)})
            elif isinstance(s, Update) and s.value.op == "mul" and all(a.op == "load" for a in s.value.args):
                total += 1
        return total

    return count(loops.body, {})


def gradient(y, x):
    """The gradient of a sum of y's elements times weights, as the passes leave it."""
    dy = f.input("dy", y.shape)
    (g,) = f.gradient(f.sum(y * dy), [x])
    graph = region(g)
    return run(graph, GRAPH_PASSES).outputs[0][1]


def convolution(extent, channels, filters, size=3, strides=1, padding="valid"):
    x, w = f.input("x", (N, extent, extent, channels)), f.input("w", (size, size, channels, filters))
    return x, w, f.conv(x, w, (strides, strides), padding)


@pytest.mark.parametrize("extent, size, strides", [(7, 3, 1), (13, 3, 1), (9, 3, 2), (8, 3, 2), (8, 2, 2), (11, 5, 3),
                                                   (6, 1, 2)])
def test_the_gradient_of_a_convolution_adds_no_zeros(extent, size, strides):
    x, _, y = convolution(extent, 4, 16, size, strides)
    side = (extent - size) // strides + 1
    loops = scheduled(gradient(y, x), registers=32, vector_bits=128)
    assert multiply_adds(loops, {"N": 3}) == 3 * side * side * size * size * 4 * 16


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("rows, inner, columns", [(1, 5, 64), (7, 3, 40), (33, 17, 70), (14, 2, 16)])
def test_a_product_multiplies_no_more_than_it_must(rows, inner, columns, name):
    loops = scheduled(f.matmul(f.input("a", (N, inner)), f.input("b", (inner, columns))), on=name)
    assert multiply_adds(loops, {"N": rows}) == rows * inner * columns


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("rows", [1, 2, 5, 7])
def test_rows_of_unknown_number_may_be_anywhere(rows, name):
    """Inside another loop, or so many to each of the unknown number that no tile is left over."""
    sizes = {"N": 3, "T": rows}
    inner = scheduled(f.einsum("btk,bkj->btj", f.input("a", (N, T, 9)), f.input("b", (N, 9, 40))), on=name)
    assert multiply_adds(inner, sizes) == 3 * rows * 9 * 40
    flat = scheduled(f.matmul(f.reshape(f.input("a", (T, 12, 9)), (-1, 9)), f.input("b", (9, 40))), on=name)
    assert multiply_adds(flat, sizes) == rows * 12 * 9 * 40


def accumulators(loops) -> int:
    """The most vector registers that one nest sums into."""
    most = 0
    for nest in (s for s in walk(loops.body) if isinstance(s, For) and s.kind == "serial"):
        tile = 1
        inner = nest.body
        while len(inner) == 1 and isinstance(inner[0], For) and inner[0].kind in ("unroll", "vector"):
            tile *= inner[0].axis.extent if inner[0].kind == "unroll" else 1
            inner = inner[0].body
        if len(inner) == 1 and isinstance(inner[0], Update):
            most = max(most, tile)
    return most


@pytest.mark.parametrize("name", MACHINES)
def test_tiles_fit_the_registers_and_keep_the_adder_busy(name):
    a, b = f.input("a", (N, 64)), f.input("b", (64, 512))
    for outputs in ([f.matmul(a, b)], [convolution(13, 8, 64)[2]], [f.einsum("ki,kj->ij", f.input("x", (40, 64)),
                                                                            f.input("y", (40, 512)))]):
        assert 8 <= accumulators(scheduled(*outputs, on=name)) <= machine(name).registers - 2


def test_a_single_row_has_sums_side_by_side():
    loops = scheduled(f.matmul(f.input("a", (N, 64)), f.input("b", (64, 512))), vector_bits=512, registers=32)
    rest = next(s for s in reversed(loops.body) if isinstance(s, For))
    assert accumulators(replace(loops, body=(rest,))) == 8


def scattered(loops) -> int:
    """The accesses in vector loops that are neither uniform nor contiguous."""
    total = 0
    for s in walk(loops.body):
        if isinstance(s, For) and s.kind == "vector":
            for t in s.body:
                places = [e for e in expressions(t)[-1:] for e in _loads(e)]
                total += sum(stride(p, s.axis) not in (0, 1) for p in places)
                if isinstance(t, Store) and t.buffer.space != "local":
                    total += sum(s.axis in i.axes for i in t.index) != 1
    return total


def _loads(e):
    return [n for n in postorder([e]) if n.op == "load" and n.attr.space != "local"]


def test_a_transposed_operand_is_copied_through_registers():
    a, b = f.input("a", (N, 48)), f.input("b", (40, 48))
    loops = scheduled(f.einsum("ij,kj->ik", a, b), vector_bits=256, registers=16)
    (copy,) = loops.scratch
    assert np.prod(copy.shape) == 48 * 40
    assert not scattered(loops)


def test_rows_across_which_columns_lie_are_copied_through_registers():
    """Also where the operand that rows share varies along the columns."""
    a, b = f.input("a", (N, 24, 9)), f.input("b", (9, 24))
    loops = scheduled(f.einsum("nvk,kv->nv", a, b), vector_bits=256, registers=16)
    assert [s.shape for s in loops.scratch] == [(N, 9, 24)]
    assert not scattered(loops)


def test_columns_beyond_the_cache_are_packed():
    a, b = f.input("a", (256, 80)), f.input("b", (80, 200))
    product = f.matmul(a, b)
    small = scheduled(product, vector_bits=256, registers=16, cache=1 << 16)
    assert [len(s.shape) for s in small.scratch] == [3]
    panels, rows, width = small.scratch[0].shape
    assert rows == 80 and (panels - 1) * width < 200 <= panels * width
    assert not scheduled(product, vector_bits=256, registers=16, cache=1 << 20).scratch


def test_rows_that_lie_side_by_side_are_packed_too():
    product = f.einsum("ki,kj->ij", f.input("a", (80, 256)), f.input("b", (80, 200)))
    loops = scheduled(product, vector_bits=256, registers=16, cache=1 << 16)
    (rows, columns) = loops.scratch
    assert rows.shape[1] == columns.shape[1] == 80 and rows.shape[0] * rows.shape[2] >= 256 > rows.shape[2]
    assert not scheduled(product, vector_bits=256, registers=16, cache=1 << 20).scratch


CASES = {
    "packed": lambda: [f.matmul(f.input("a", (130, 3)), f.input("b", (3, 37)))],
    "packed with an epilogue": lambda: [f.relu(f.matmul(f.input("a", (130, 3)), f.input("b", (3, 41)))
                                               + f.input("c", (41,)))],
    "packed, transposed": lambda: [f.einsum("ij,kj->ik", f.input("a", (131, 17)), f.input("b", (17, 17)))],
    "packed rows and columns": lambda: [f.einsum("ki,kj->ij", f.input("a", (3, 130)), f.input("b", (3, 131)))],
    "gradient at borders": lambda: [gradient(*reversed(convolution(6, 3, 8)[::2]))],
    "gradient at borders, dilated": lambda: [f.fold(f.einsum("nho,uco->nhuc", f.input("dy", (N, 5, 8)), f.input(
        "w", (3, 6, 8))), (9,), (1,), (2,))],
    "gradient with a stride": lambda: [gradient(*reversed(convolution(8, 4, 8, 3, 2)[::2]))],
    "gradient with padding and a stride": lambda: [gradient(*reversed(convolution(7, 4, 2, 3, 2, "same")[::2]))],
    "gradient of a long row": lambda: [f.fold(f.einsum("nho,uco->nhuc", f.input("dy", (N, 38, 2)), f.input(
        "w", (3, 6, 2))), (40,), (1,), (1,))],
}


@pytest.mark.parametrize("cache", [256, 1 << 20])
@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("case", CASES)
def test_schedules_equal_the_reference(case, name, cache, rng):
    graph = region(*CASES[case]())
    for n in (1, 2):
        arrays = {v.op.label: rng.standard_normal([evaluate_dim(d, {"N": n}) for d in v.shape]).astype("float32")
                  for v in graph.inputs}
        loops = schedule(lower(graph), machine(name, cache=cache))
        verify_loops(loops)
        found = run_interpreted(graph, loops, arrays)
        wanted, _ = evaluate(graph, arrays)
        for key, array in wanted.items():
            np.testing.assert_allclose(found[key], array, rtol=1e-4, atol=1e-5)
        if not any("N" in str(v.type) for v in graph.inputs):
            break


# -------------------------------------------------------------------------------------------------------- prefetches

def asked_for(loops, sizes, last=()):
    """What the loops prefetch: for each name the places, by their numbers; of some loops in the last iteration."""
    found: dict[str, list[tuple[int, ...]]] = {}

    def visit(body, at):
        for s in body:
            if isinstance(s, For) and any(isinstance(t, Prefetch) for t in walk([s])):
                extent = number(s.extent, at, sizes)
                for i in range(extent - 1 if s.axis.name in last else 0, extent):
                    visit(s.body, {**at, s.axis: const(i)})
            elif isinstance(s, Prefetch):
                index = tuple(number(i, at, sizes) for i in s.place.args)
                found.setdefault(s.place.attr.name, []).append(index)

    visit(loops.body, {})
    return found


def test_what_is_added_to_a_long_product_is_asked_for_before_it():
    x, w, before = f.input("x", (N, 64)), f.input("w", (64, 96)), f.input("z", (N, 96))
    loops = scheduled(f.einsum("nk,kj->nj", x, w) + before, on="x86-64-v4")
    (name,) = [p.name for p in loops.params if p.shape == (N, 96)][:1]
    lines = asked_for(loops, {"N": 24})
    assert lines.keys() == {name} and sorted(lines[name]) == [(i, j) for i in range(24) for j in range(0, 96, 16)]
    short = f.einsum("nk,kj->nj", f.input("x", (N, 8)), f.input("w", (8, 96))) + before
    assert not asked_for(scheduled(short, on="x86-64-v4"), {"N": 24})


@pytest.mark.parametrize("rows", [5, 64, 100])
def test_the_next_block_is_asked_for_while_one_is_multiplied(rows):
    g, x = f.input("g", (40, N, 512)), f.input("x", (40, N, 128))
    loops = scheduled(f.sum(f.einsum("tng,tnf->tfg", g, x), 0), on="x86-64-v4")
    steps = [s.axis.name for s in walk(loops.body) if isinstance(s, For) and any(
        isinstance(t, Prefetch) for t in walk([s]))][:2]  # of the parts, and of the blocks in one
    (lines,) = asked_for(loops, {"N": rows}, steps).values()
    inside = {line for line in lines if line[1] < rows}  # what lies beside the memory does no harm
    assert inside == {(40, n, j) for n in range(rows) for j in range(0, 512, 16)}


def test_slices_of_the_next_step_are_asked_for_while_a_product_is_summed():
    x, w = f.input("x", (N, 512)), f.input("w", (512, 128))
    loops = scheduled(f.einsum("nk,kj->nj", x, w), on="x86-64-v4")
    dtype, shapes = loops.params[-1].dtype, [(N, 128), (N, 512), (N, 128)]
    slices = [Buffer(f"next{k}", dtype, shape) for k, shape in enumerate(shapes)]
    for step in (1, -1):
        made = following(loops, slices, step)
        verify_loops(made)
        assert [p.name for p in made.params] == ["x", "w", "next0", "next2", "out0"]
        lines = asked_for(made, {"N": 24})
        assert lines.keys() == {"next0", "next2"}
        for asked in lines.values():
            assert sorted(asked) == [(i + 24 * step, j) for i in range(24) for j in range(0, 128, 16)]
    arrays = {p.name: np.ones([evaluate_dim(d, {"N": 24}) for d in p.shape], "float32") for p in made.params}
    assert (NativeKernel(made)(arrays, {"N": 24})["out0"] == 512).all()


def test_no_more_slices_are_asked_for_than_come_in_time():
    x, w = f.input("x", (N, 64)), f.input("w", (64, 128))
    loops = scheduled(f.einsum("nk,kj->nj", x, w), on="x86-64-v4")
    slices = [Buffer(f"next{k}", loops.params[-1].dtype, (N, 128)) for k in range(4)]
    assert sum(p in slices for p in following(loops, slices, 1).params) == 1


@pytest.mark.parametrize("reverse", [False, True])
def test_the_product_of_a_loop_asks_for_what_others_read(reverse):
    x, w, h = f.input("x", (T, N, 128)), f.input("w", (128, 128)), f.input("h", (N, 128))

    def step(h, x):
        made = f.matmul(h, w)
        return f.softmax(made * x), made

    last, steps = f.scan(step, h, x, reverse=reverse)
    graph = Graph("loop", (x, w, h), (), (("last", last), ("steps", steps)))
    product, other = Listing(graph, machine("x86-64-v4")).kernels
    (slices,) = set(product.operands) - {*product.value.operands}
    assert slices in other.value.operands and other.operands == list(other.value.operands)
    lines = asked_for(product.schedule, {"N": 8})["next0"]
    assert {i // 8 for i, _ in lines} == {-1 if reverse else 1}
    rng = np.random.default_rng(0)
    arrays = {v.op.label: rng.standard_normal([evaluate_dim(d, {"N": 9, "T": 4}) for d in v.shape]).astype("float32")
              for v in graph.inputs}
    wanted, _ = evaluate(graph, arrays)
    found = NativeProgram(graph, {}, "host", 2)(*arrays.values())
    for a, b in zip(found, wanted.values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)
