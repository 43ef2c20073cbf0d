"""Scatters: one addition for each term, without a race, whatever the other axes are."""

from __future__ import annotations

import numpy as np
import pytest
from samples import graph_of

from graphc.ir import functions as f
from graphc.ir.graph import Graph
from graphc.ir.types import dim
from graphc.passes.cost import cost
from graphc.passes.pipeline import PIPELINE, run
from graphc.runtime.loops import For, Update, verify_loops, walk
from graphc.runtime.lower import lower
from graphc.runtime.rungs import run_program, run_rung
from graphc.runtime.schedule import schedule
from graphc.runtime.targets.machine import Machine

N = dim("N")


def embedding_step(rows, width):
    """A step of gradient descent on a table of which some rows were read."""
    table, ids, g = f.state("table", (rows, width)), f.input("ids", (N, 4), "i32"), f.input("g", (N, 4, width))
    gradient = f.scatter_add(f.tanh(g), ids, rows)
    return Graph("t", (ids, g), (table,), (("sum", f.sum(gradient)),), ((table, table - 0.5 * gradient),))


def arrays(rng, rows, width, n=6):
    return {"ids": rng.integers(-2, rows + 2, (n, 4)).astype(np.int32),
            "g": rng.standard_normal((n, 4, width)).astype(np.float32),
            "table": rng.standard_normal((rows, width)).astype(np.float32)}


@pytest.mark.parametrize("rung", ["definition", "loops", "native"])
@pytest.mark.parametrize("width", [1, 3, 16, 33, 70])
def test_a_step_on_a_table(rng, rung, width):
    graph, given = embedding_step(7, width), arrays(rng, 7, width)
    expected, table = run_rung(graph, given, "reference")
    found, new = run_rung(graph, given, rung)
    np.testing.assert_allclose(found["sum"], expected["sum"], rtol=1e-4)
    np.testing.assert_allclose(new["table"], table["table"], rtol=1e-5, atol=1e-5)


def test_sums_do_not_depend_on_threads(rng):
    graph, given = embedding_step(50, 64), arrays(rng, 50, 64, 300)
    one, two = (run_program(graph, given, threads=threads)[1]["table"] for threads in (1, 2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_along_any_axis(rng, axis):
    shape = [2, 3, 5]
    shape[axis] = 8
    graph = graph_of({"y": f.scatter_add(f.input("x", tuple(shape)), f.input("i", (8,), "i64"), 4, axis)})
    given = {"x": rng.standard_normal(shape).astype(np.float32), "i": rng.integers(0, 4, 8)}
    expected = run_rung(graph, given, "reference")[0]["y"]
    np.testing.assert_allclose(run_rung(graph, given, "native")[0]["y"], expected, rtol=1e-5, atol=1e-6)


def test_any_sum_of_this_form_is_one(rng):
    """Nothing knows the op: counting by comparison is the same sum."""
    labels = f.input("labels", (N,), "i32")
    hits = f.equal(f.broadcast(labels, (N, 9), (0,)), f.iota((N, 9), (1,), "i32"))
    graph = graph_of({"counts": f.sum(f.cast(f.where(hits, 1.0, 0.0), "f32"), 0)})
    (kernel,) = run(graph, PIPELINE).kernels()
    made = schedule(lower(kernel.op.body), Machine.named("host"))
    verify_loops(made)
    assert not any(s.axis.extent == 9 and any(isinstance(t, Update) for t in walk(s.body))
                   for s in walk(made.body) if isinstance(s, For))
    given = {"labels": np.array([1, 8, 1, -3, 20, 0], np.int32)}
    assert run_rung(graph, given, "native")[0]["counts"].tolist() == [1, 2, 0, 0, 0, 0, 0, 0, 1]


def test_each_term_is_added_once():
    (kernel,) = run(graph_of({"y": f.scatter_add(f.input("g", (N, 4, 32)), f.input("ids", (N, 4), "i32"), 1000)}),
                    PIPELINE).kernels()
    assert cost(kernel, {"N": 10}).flops == 10 * 4 * 32
    made = schedule(lower(kernel.op.body), Machine("x86_64-unknown-linux-gnu", "x86-64-v3", "", 256, 16, 2))
    (adding,) = [s for s in made.body if isinstance(s, For) and any(isinstance(t, Update) for t in walk([s]))]
    assert adding.kind == "parallel" and str(adding.axis.extent) == "2"
    assert not any(s.axis.extent == 1000 for s in walk([adding]) if isinstance(s, For))


def test_a_product_is_no_part_of_a_scatter():
    """Each of its terms would be added to the table by itself."""
    g = f.einsum("nk,kd->nd", f.input("x", (N, 40)), f.input("w", (40, 32)))
    plan = run(graph_of({"y": f.scatter_add(g, f.input("ids", (N,), "i32"), 1000)}), PIPELINE)
    assert [k.op.body.name for k in plan.kernels()] == ["einsum", "scatter_add"]
