"""Loops natively: every rung gives what the reference does, in one native call."""

from __future__ import annotations

import numpy as np
import pytest
from samples import graph_of

from graphc.ir import functions as f
from graphc.ir.types import dim
from graphc.passes.pipeline import GRAPH_PASSES, run
from graphc.runtime import counters
from graphc.runtime.rungs import run_program, run_rung

T, N = dim("T"), dim("N")


def cell(reverse, sequences, units=5):
    """The gradients of a gated recurrence of 3 features, as a training step has them."""
    x, w, u = f.input("x", (T, N, 3)), f.input("w", (3, 2 * units)), f.input("u", (units, 2 * units))

    def step(h, xt):
        z = f.einsum("nf,fg->ng", xt, w) + f.einsum("nh,hg->ng", h, u)
        gate, new = (f.slice(z, (0, units * k), (N, units)) for k in range(2))
        h = f.sigmoid(gate) * h + (1.0 - f.sigmoid(gate)) * f.tanh(new)
        return h, h

    h, ys = f.scan(step, f.full((N, units), 0.1), x, reverse=reverse)
    loss = f.sum(f.square(ys)) if sequences else f.sum(f.square(h))
    gx, gw, gu = f.gradient(loss, [x, w, u])
    return graph_of({"loss": loss, "gx": gx, "gw": gw, "gu": gu})


def arrays(rng, graph, **sizes):
    shapes = {v.op.label: [sizes.get(str(d), d) for d in v.shape] for v in graph.inputs}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def same(found, expected):
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("rung", ["definition", "loops", "native"])
@pytest.mark.parametrize(("reverse", "sequences"), [(False, False), (True, True)])
def test_rungs(rng, rung, reverse, sequences):
    graph = cell(reverse, sequences)
    for steps, rows in ((1, 1), (4, 3)):
        given = arrays(rng, graph, T=steps, N=rows)
        same(run_rung(graph, given, rung)[0], run_rung(graph, given, "reference")[0])


@pytest.mark.parametrize("cpu", ["x86-64-v2", "x86-64-v3", "x86-64-v4"])
def test_other_machines(rng, cpu):
    graph = cell(False, True)
    given = arrays(rng, graph, T=6, N=17)
    try:
        found, _ = run_rung(graph, given, "native", cpu)
    except ValueError as error:
        pytest.skip(str(error))
    same(found, run_rung(graph, given, "reference")[0])


@pytest.mark.parametrize("reverse", [False, True])
def test_no_steps(rng, reverse):
    x, first = f.input("x", (T, N, 64)), f.input("first", (N, 64))

    def step(state, xt):
        return f.tanh(state) + xt, state

    last, states = f.scan(step, first, f.slice(x, (1, 0, 0), (T - 1, N, 64)), reverse=reverse)
    loss = f.sum(f.square(last)) + f.sum(states)
    gx, g = f.gradient(loss, [x, first])
    graph = graph_of({"last": last, "states": states, "loss": loss, "gx": gx, "g": g})
    for steps in (1, 2):
        given = arrays(rng, graph, T=steps, N=9)
        same(run_rung(graph, given, "native")[0], run_rung(graph, given, "reference")[0])


def test_one_native_call_and_no_difference_between_threads(rng):
    graph = cell(False, False, units=16)
    given = arrays(rng, graph, T=20, N=33)
    before = counters()["native_calls"]
    one, two = (run_program(graph, given, threads=threads)[0] for threads in (1, 2))
    assert counters()["native_calls"] == before + 2
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)


def test_a_loop_in_a_loop(rng):
    x = f.input("x", (T, N, 4))

    def outer(total, row):
        def inner(power, _):
            return power * row, power

        last, powers = f.scan(inner, total, None, length=3)
        return f.tanh(last), f.sum(powers, 0)

    last, sums = f.scan(outer, f.full((N, 4), 0.5), x)
    loss = f.sum(last) + f.sum(f.square(sums))
    graph = graph_of({"loss": loss, "gx": f.gradient(loss, [x])[0]})
    given = arrays(rng, graph, T=5, N=3)
    same(run_rung(graph, given, "native")[0], run_rung(graph, given, "reference")[0])


def test_carries_that_change_places(rng):
    x, a, b = f.input("x", (T, 3)), f.input("a", (3,)), f.input("b", (3,))
    (last_a, last_b), ys = f.scan(lambda pair, xt: (pair[::-1], (pair[0], xt)), (a, b), x)
    graph = graph_of({"a": last_a, "b": last_b, "ya": ys[0], "yx": ys[1]})
    for steps in (1, 4):
        given = arrays(rng, graph, T=steps)
        same(run_rung(graph, given, "native")[0], run_rung(graph, given, "reference")[0])


def test_a_scan_without_carries_leaves_nothing_of_its_loop():
    x, w = f.input("x", (T, N, 3)), f.input("w", (3, 2))
    _, ys = f.scan(lambda carry, xt: (carry, f.einsum("nf,fg->ng", xt, w)), (), x)
    made = run(graph_of({"y": ys}), GRAPH_PASSES, check=True)
    assert [v.op.name for v in made.values()] == ["input", "input", "einsum"]


def test_a_loop_with_a_kernel_for_numpy_runs_on_numpy(rng, monkeypatch):
    from graphc.ir.errors import LoweringError
    from graphc.runtime import listing

    def refuse(loops, machine):
        raise LoweringError("not today") if "tanh" in loops.name else AssertionError

    graph = cell(False, False, units=7)
    given = arrays(rng, graph, T=3, N=2)
    monkeypatch.setenv("GRAPHC_CACHE", "off")
    real = listing.schedule
    monkeypatch.setattr(listing, "schedule", lambda loops, machine, repeated: refuse(loops, machine)
                        if "tanh" in str(loops) else real(loops, machine, repeated))
    before = counters()["numpy_fallbacks"]
    with pytest.warns(RuntimeWarning, match="runs on NumPy: not today"):
        found, _ = run_program(graph, given)
    assert counters()["numpy_fallbacks"] > before
    same(found, run_rung(graph, given, "reference")[0])
