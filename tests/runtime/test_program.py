"""Programs: what is compiled and called how often, what they refuse, and what they do without native code."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import types
import warnings

import numpy as np
import pytest
from models import cnn
from samples import graph_of, sample

from graphc.ir import functions as f
from graphc.ir.errors import DTypeError, LoweringError, ShapeError
from graphc.ir.evaluate import evaluate
from graphc.ir.graph import Graph, apply, origin
from graphc.ir.op import OPS, Elementwise, Op
from graphc.ir.types import dim
from graphc.passes import pipeline
from graphc.runtime import compile, counters
from graphc.runtime import program as program_module
from graphc.runtime.config import config
from graphc.runtime.program import NativeProgram, NumpyProgram

N = dim("N")


def arrays_of(rng, graph, n):
    arrays = {v.op.label: sample(rng, v.type, {"N": n}) for v in graph.inputs + graph.state}
    for v in graph.state:
        if v.dtype.is_float:
            arrays[v.op.label] *= np.float32(0.1)
    if "y" in arrays and arrays["y"].shape == (n, 3):
        arrays["y"] = np.eye(3, dtype=np.float32)[rng.integers(0, 3, n)]
    return arrays


def bound(rng, graph, n=3):
    """A program on its own state, and the arrays of its inputs."""
    arrays = arrays_of(rng, graph, n)
    state = {v.op.label: arrays[v.op.label] for v in graph.state}
    return compile(graph, state), state, [arrays[v.op.label] for v in graph.inputs]


def delta(before):
    """What has been counted since."""
    return {k: v - before[k] for k, v in counters().items() if v != before[k]}


def counter_step(extent, name="t"):
    """A step that no other test has: y = x * w + extent, w += sum over rows."""
    x, w = f.input("x", (N, extent)), f.state("w", (extent,))
    return Graph(name, (x,), (w,), (("y", f.tanh(x * w) + float(extent)),), ((w, w + f.sum(x, 0)),))


# --------------------------------------------------------------------------------------------------- counters

def test_one_native_call_per_step_and_nothing_compiled_again(rng):
    graph = cnn()
    program, _, _ = bound(rng, graph)
    assert isinstance(program, NativeProgram)
    before = counters()
    for steps, n in enumerate((3, 1, 17, 64, 5, 1, 3), 1):
        arrays = arrays_of(rng, graph, n)
        program(*(arrays[v.op.label] for v in graph.inputs))
        assert delta(before) == {"native_calls": steps}


def test_equal_graphs_compile_once_and_keep_their_own_state(rng):
    before = counters()
    first, state, (x,) = bound(rng, counter_step(43))
    assert delta(before)["programs_compiled"] == 1 and delta(before)["kernels_compiled"] >= 1
    before = counters()
    second, other, _ = bound(rng, counter_step(43))
    assert delta(before) == {}
    kept = {k: v.copy() for k, v in other.items()}
    first(x)
    assert np.array_equal(other["w"], kept["w"]) and not np.array_equal(state["w"], kept["w"])
    second(x)
    np.testing.assert_allclose(other["w"], kept["w"] + x.sum(0), rtol=1e-5, atol=1e-5)


def test_equal_kernels_compile_once(rng):
    bound(rng, counter_step(47))
    before = counters()
    bound(rng, counter_step(47, name="another"))
    assert delta(before) == {"programs_compiled": 1}
    x = f.input("other", (N, 47))
    w = f.state("elsewhere", (47,))
    bound(rng, Graph("third", (x,), (w,), (("z", f.tanh(x * w) + 47.0),), ((w, w + f.sum(x, 0)),)))
    assert delta(before) == {"programs_compiled": 2}


def test_equal_kernels_in_one_graph_compile_once(rng):
    x, v = f.input("x", (N, 53)), f.input("v", (N, 53))
    graph = Graph("t", (x, v), (), (("a", f.sum(f.exp(x), 0)), ("b", f.sum(f.exp(v), 0))))
    before = counters()
    program, _, inputs = bound(rng, graph)
    assert delta(before)["kernels_compiled"] == 1
    a, b = program(*inputs)
    np.testing.assert_allclose(a, np.exp(inputs[0]).sum(0), rtol=1e-5)
    np.testing.assert_allclose(b, np.exp(inputs[1]).sum(0), rtol=1e-5)


def test_each_machine_has_its_own_code(rng):
    graph = counter_step(59)
    bound(rng, graph)
    before = counters()
    with config(cpu="x86-64-v2"):
        bound(rng, graph)
    assert delta(before)["programs_compiled"] == 1


# ------------------------------------------------------------------------------------------------------ checks

@pytest.mark.parametrize(("change", "error", "words"), [
    (lambda x: x.astype(np.float64), DTypeError, "received float64, expected an array of f32"),
    (lambda x: x[:, :4], ShapeError, r"expected \[N,5\]"),
    (lambda x: x[0], ShapeError, "2 dimensions"),
    (lambda x: x[:0], ShapeError, "N of at least 1"),
    (lambda x: np.asfortranarray(np.tile(x, (2, 1))), ShapeError, "C-contiguous"),
    (lambda x: np.tile(x, (2, 2))[:, ::2], ShapeError, "C-contiguous"),
    (lambda x: x.tolist(), DTypeError, "received list"),
    (lambda x: np.frombuffer(b"?" + x.tobytes(), np.uint8)[1:].view("f4").reshape(x.shape), ShapeError, "aligned"),
    (lambda x: x.astype(">f4"), DTypeError, "received >f4"),
], ids=["dtype", "columns", "rank", "no rows", "order", "stride", "list", "alignment", "byte order"])
@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_wrong_arrays_never_reach_native_code(change, error, words, backend, rng):
    with config(backend=backend):
        program, state, (x,) = bound(rng, counter_step(5))
    before, w = counters(), state["w"].copy()
    with pytest.raises(error, match=words):
        program(change(x))
    assert delta(before) == {} and np.array_equal(w, state["w"])
    program(x)


def test_the_number_of_arrays_and_one_size_for_all(rng):
    program, _, (x, y) = bound(rng, cnn())
    with pytest.raises(ShapeError, match=r"train takes 2 arrays \(x, y\), received 1"):
        program(x)
    with pytest.raises(ShapeError, match="N=3"):
        program(x, y[:2])


def test_wrong_state_is_refused_when_compiling(rng):
    graph = counter_step(5)
    for wrong in (np.zeros(4, np.float32), np.zeros(5), np.zeros(10, np.float32)[::2]):
        with pytest.raises((ShapeError, DTypeError), match="t w"):
            compile(graph, {"w": wrong})


# ---------------------------------------------------------------------------------------------------- results

@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_outputs_are_fresh_and_state_is_updated_in_place(backend, rng):
    with config(backend=backend):
        program, state, (x,) = bound(rng, counter_step(5))
    w, held = state["w"].copy(), state["w"]
    (first,) = program(x)
    copy = first.copy()
    (second,) = program(x)
    assert first is not second and not np.shares_memory(first, second)
    assert np.array_equal(first, copy) and not np.array_equal(first, second)
    np.testing.assert_allclose(first, np.tanh(x * w) + 5, rtol=1e-5)
    assert state["w"] is held
    np.testing.assert_allclose(held, w + 2 * x.sum(0), rtol=1e-5, atol=1e-5)
    assert first.flags.owndata and first.flags.writeable


@pytest.mark.parametrize("n", [1, 2, 9])
def test_a_training_step_equals_the_reference(n, rng):
    graph = cnn()
    arrays = arrays_of(rng, graph, n)
    state = {v.op.label: arrays[v.op.label].copy() for v in graph.state}
    (loss,) = compile(graph, state)(*(arrays[v.op.label] for v in graph.inputs))
    outputs, updates = evaluate(pipeline.run(graph), arrays)
    np.testing.assert_allclose(loss, outputs["loss"], rtol=1e-5)
    for label, new in updates.items():
        np.testing.assert_allclose(state[label], new, rtol=1e-4, atol=1e-6, err_msg=label)


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_states_exchanged_and_outputs_of_old_states(backend, rng):
    a, b, c, x = f.state("a", (30,)), f.state("b", (30,)), f.state("c", (30,)), f.input("x", (30,))
    graph = Graph("t", (x,), (a, b, c), (("a", a), ("line", f.reshape(a, (5, 6))), ("x", x), ("new", b + x), ("b", b)),
                  ((c, b), (a, c), (b, b + x)))
    with config(backend=backend):
        program, state, (x,) = bound(rng, graph)
    for _ in range(2):
        a, b, c = (state[k].copy() for k in "abc")
        outputs = program(x)
        for found, expected in zip(outputs, (a, a.reshape(5, 6), x, b + x, b), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-6)
        for k, expected in zip("abc", (c, b + x, b), strict=True):
            np.testing.assert_allclose(state[k], expected, rtol=1e-6, err_msg=k)
        assert not any(np.shares_memory(o, s) for o in outputs for s in (*state.values(), x))


def test_states_that_exchange_their_values(rng):
    """Right, or refused: never wrong."""
    a, b = f.state("a", (30,)), f.state("b", (30,))
    graph = Graph("t", (), (a, b), (), ((a, b), (b, a)))
    with config(backend="numpy"):
        program, state, _ = bound(rng, graph)
    a, b = state["a"].copy(), state["b"].copy()
    program()
    assert np.array_equal(state["a"], b) and np.array_equal(state["b"], a)
    with pytest.raises(LoweringError, match="exchange their values"):
        bound(rng, graph)


def test_a_state_that_follows_another(rng):
    a, b, x = f.state("a", (6,)), f.state("b", (6,)), f.input("x", (6,))
    graph = Graph("t", (x,), (a, b), (), ((a, a + x), (b, a * b)))
    program, state, (x,) = bound(rng, graph)
    a, b = state["a"].copy(), state["b"].copy()
    assert program(x) == ()
    np.testing.assert_allclose(state["a"], a + x, rtol=1e-6)
    np.testing.assert_allclose(state["b"], a * b, rtol=1e-6)


def test_graphs_without_inputs_or_kernels(rng):
    x = f.input("x", (3,))
    assert compile(Graph("t", (), (), (("y", f.iota((2, 3), (1,), "f32")),)), {})()[0].tolist() == [[0, 1, 2]] * 2
    (y,) = compile(Graph("t", (x,), (), (("y", x),)), {})(np.ones(3, np.float32))
    assert y.tolist() == [1, 1, 1]
    (y,) = compile(Graph("t", (x,), (), (("y", f.reshape(x, (3, 1))),)), {})(np.ones(3, np.float32))
    assert y.tolist() == [[1], [1], [1]]
    assert compile(Graph("t", (), (), (("y", f.constant(2.5)),)), {})()[0] == 2.5


def test_every_dtype_goes_in_and_out(rng):
    for dtype in ("bool", "u8", "i32", "u32", "i64", "f32", "f64"):
        x = f.input("x", (N, 11), dtype)
        graph = graph_of({"y": x, "z": f.transpose(x), "w": f.flip(x, 1)})
        program, _, (array,) = bound(rng, graph)
        for found, expected in zip(program(array), (array, array.T, array[:, ::-1]), strict=True):
            assert found.dtype == array.dtype and np.array_equal(found, expected)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_several_steps_are_as_single_ones(backend, ordered, threads, monkeypatch, rng):
    monkeypatch.setattr(program_module, "ALONE", 0)
    monkeypatch.setattr(program_module, "SHARED", 0)
    graph = counter_step(37)
    rows, times, first = 5, 4, 3
    x = rng.standard_normal((60, 37)).astype(np.float32)
    order = rng.permutation(60) if ordered else None
    w = rng.standard_normal(37).astype(np.float32)
    with config(backend=backend, threads=threads):
        one, several = {"w": w.copy()}, {"w": w.copy()}
        single, together = compile(graph, one), compile(graph, several)
    taken = x if order is None else x[order]
    expected = [single(taken[first + i * rows:first + (i + 1) * rows].copy())[0] for i in range(times)]
    before = counters()
    (y,) = together.steps([x], rows, times, first, order)
    assert delta(before) == ({"native_calls": 1} if backend == "native" else {})
    assert y.shape == (times, rows, 37) and y.tobytes() == np.stack(expected).tobytes()
    assert one["w"].tobytes() == several["w"].tobytes() and not np.array_equal(one["w"], w)


def test_several_steps_of_several_inputs(rng):
    """With labels beside the images, one size for both, and random numbers that follow a state."""
    graph = cnn()
    arrays = arrays_of(rng, graph, 12)
    inputs = [arrays[v.op.label] for v in graph.inputs]
    states = [{v.op.label: arrays[v.op.label].copy() for v in graph.state} for _ in range(2)]
    single, together = (compile(graph, state) for state in states)
    order = rng.permutation(12)
    losses = [single(*(a[order[i:i + 3]] for a in inputs))[0] for i in range(0, 12, 3)]
    (loss,) = together.steps(inputs, 3, 4, order=order)
    assert loss.tolist() == [float(one) for one in losses]
    for label in states[0]:
        assert states[0][label].tobytes() == states[1][label].tobytes(), label


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_rows_that_are_not_there_are_never_read(backend, rng):
    with config(backend=backend):
        program, state, _ = bound(rng, counter_step(5))
    x = rng.standard_normal((10, 5)).astype(np.float32)
    before, w = counters(), state["w"].copy()
    for order in ([0, 10], [-1, 0], [0, 2**40]):
        with pytest.raises(ShapeError, match="there are 10 rows"):
            program.steps([x], 1, 2, order=np.array(order))
    for rows, times, first, order in ((5, 3, 0, None), (5, 2, 1, None), (0, 2, 0, None), (1, 0, 0, None),
                                      (1, 1, -1, None), (2, 2, 0, np.arange(3))):
        with pytest.raises(ShapeError, match="10 rows"):
            program.steps([x], rows, times, first, order)
    for wrong, error in ((x[:, ::-1], ShapeError), (x.astype(np.float64), DTypeError), (x[::2], ShapeError)):
        with pytest.raises(error, match="t x"):
            program.steps([wrong], 1, 2)
    assert delta(before) == {} and np.array_equal(w, state["w"])


def test_arrays_that_may_not_be_written_or_are_of_a_class_of_their_own(rng):
    class Own(np.ndarray):
        pass

    program, state, (x,) = bound(rng, counter_step(5))
    w = state["w"].copy()
    (expected,) = program(x)
    fixed = x.copy()
    fixed.flags.writeable = False
    for given in (fixed, x.view(Own), np.frombuffer(x.tobytes(), np.float32).reshape(x.shape)):
        state["w"][:] = w
        assert program(given)[0].tobytes() == expected.tobytes()


def test_any_number_of_batch_sizes_in_any_order(monkeypatch, rng):
    """Memory grows and sizes are forgotten; results stay."""
    monkeypatch.setattr(program_module, "_FRAMES", 3)
    x, w = f.input("x", (N, 16)), f.input("w", (16, 16))
    program, _, _ = bound(rng, graph_of({"y": f.softmax(f.tanh(x @ w) @ w)}))
    w = rng.standard_normal((16, 16)).astype(np.float32)
    x = rng.standard_normal((200, 16)).astype(np.float32)
    h = np.exp(np.tanh(x @ w) @ w)
    expected = h / h.sum(1, keepdims=True)
    for n in (1, 2, 200, 3, 1, 150, 200, 7, 1, 2):
        np.testing.assert_allclose(program(x[:n], w)[0], expected[:n], rtol=2e-4)
        assert len(program.frames) <= 3


# ---------------------------------------------------------------------------------------------------- threads

@pytest.mark.parametrize("threads", [1, 2])
def test_concurrent_calls(threads, rng):
    x = f.input("x", (N, 64))
    w = f.input("w", (64, 64))
    with config(threads=threads):
        program, _, _ = bound(rng, graph_of({"y": f.tanh(x @ w) @ w}))
    cases = []
    for n in (1, 7, 300, 64):
        arrays = [rng.standard_normal((n, 64)).astype("f4"), rng.uniform(-0.2, 0.2, (64, 64)).astype("f4")]
        cases.append((arrays, np.tanh(arrays[0] @ arrays[1]) @ arrays[1]))
    problems = []

    def work(k):
        for i in range(25):
            arrays, expected = cases[(i + k) % len(cases)]
            if not np.allclose(program(*arrays)[0], expected, rtol=1e-3, atol=1e-4):
                problems.append((k, i))

    workers = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in workers:
        t.start()
    for t in workers:
        t.join(60)
    assert not problems and not any(t.is_alive() for t in workers)


def test_the_faster_number_of_threads_is_chosen(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(program_module.time, "perf_counter", lambda: now[0])

    def taken(choice, calls, seconds, steps=1):
        """The threads of each call, where `seconds` tells how long a step of so many takes."""
        result = []
        for _ in range(calls):
            result.append(threads := choice.begin())
            now[0] += seconds[threads] * steps
            choice.end(threads, steps)
        return result

    choice = program_module.Choice(4, measured=True)
    assert taken(choice, 1, {4: 9.0}) == [4]  # the first call finds cold memory
    assert taken(choice, 7, {1: 2.0, 4: 1.0}, steps=3) == [1, 4, 1, 4, 1, 4, 1]
    assert set(taken(choice, 992, {1: 2.0, 4: 1.0})) == {4}
    assert taken(choice, 8, {1: 1.0, 4: 3.0}) == [4, 1] * 4  # others have come to use the cores
    assert set(taken(choice, 992, {1: 1.0, 4: 3.0})) == {1}


@pytest.mark.parametrize(("alone", "shared", "most", "measured"), [
    (1e30, 2e30, 1, False), (0, 1e30, 3, True), (0, 0, 3, False)])
def test_small_steps_are_not_split_and_large_ones_always(alone, shared, most, measured, monkeypatch, rng):
    monkeypatch.setattr(program_module, "ALONE", alone)
    monkeypatch.setattr(program_module, "SHARED", shared)
    with config(threads=3):
        program, _, (x,) = bound(rng, counter_step(37))
    seen = []
    run = program.team.run
    monkeypatch.setattr(program.team, "run", lambda call, threads: (seen.append(threads), run(call, threads)))
    for _ in range(4):
        program(x)
    assert seen == ([3, 1, 3, 1] if measured else [most] * 4)


def test_concurrent_updates_are_all_counted():
    x, w = f.input("x", (3,)), f.state("w", (3,))
    state = {"w": np.zeros(3, np.float32)}
    program = compile(Graph("t", (x,), (w,), (("y", w + x),), ((w, w + x),)), state)
    one = np.ones(3, np.float32)
    workers = [threading.Thread(target=lambda: [program(one) for _ in range(200)]) for _ in range(4)]
    for t in workers:
        t.start()
    for t in workers:
        t.join(60)
    assert state["w"].tolist() == [800, 800, 800]


def test_concurrent_compiles_make_one_program(rng):
    before, made = counters(), []
    graph = counter_step(61)
    workers = [threading.Thread(target=lambda: made.append(compile(graph, {"w": np.ones(61, np.float32)})))
               for _ in range(4)]
    for t in workers:
        t.start()
    for t in workers:
        t.join(60)
    assert len(made) == 4 and delta(before)["programs_compiled"] == 1


# --------------------------------------------------------------------------------------------- without kernels

@pytest.fixture
def odd_op():
    """An op that no target can run."""
    class CubeOnPaper(Op):
        """x ** 3, for which no loops can be made."""

        def infer(self, x):
            return x

        def reference(self, x):
            return x ** 3

        def define(self, index, x):
            raise LoweringError("cubes need paper")

        def vjp(self, f, g, y, x):
            return (g * 3.0 * x * x,)

    yield CubeOnPaper
    del OPS["cube_on_paper"]


def _scaled(factor):
    """An op of one name, as a notebook's cell makes it again and again."""
    class Rescaled(Elementwise):
        """factor * x."""

        def reference(self, x):
            return x * np.float32(factor)

        def scalar(self, x):
            return x * factor

        def vjp(self, f, g, y, x):
            return (g * factor,)

    return Rescaled


def test_an_op_defined_again_is_compiled_again(rng):
    array = rng.standard_normal((3, 4)).astype(np.float32)
    try:
        for factor in (2.0, 5.0):
            x = f.input("x", (N, 4))
            (y,) = compile(Graph("t", (x,), (), (("y", apply(_scaled(factor)(), x)),)), {})(array)
            np.testing.assert_allclose(y, factor * array, rtol=1e-6)
    finally:
        del OPS["rescaled"]


def test_what_cannot_be_lowered_runs_on_numpy(odd_op, rng):
    x, w = f.input("x", (N, 6)), f.state("w", (6,))
    h = f.exp(x * w)
    with origin("layer7"):
        cube = apply(odd_op(), h)
    y = f.tanh(cube) + f.sum(x, 1, keepdims=True)
    graph = Graph("t", (x,), (w,), (("y", y), ("cube", cube)), ((w, w + f.sum(cube, 0)),))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        program, state, (array,) = bound(rng, graph)
    found = [w for w in caught if issubclass(w.category, RuntimeWarning)]
    assert len(found) == 1, [str(w.message) for w in caught]
    words = str(found[0].message)
    assert "cube_on_paper" in words and "layer7" in words and "runs on NumPy" in words and "cubes need paper" in words
    for n in (1, 4):
        array = rng.standard_normal((n, 6)).astype(np.float32)
        w, before = state["w"].copy(), counters()
        y, cube = program(array)
        expected = np.exp(array * w) ** 3
        np.testing.assert_allclose(cube, expected, rtol=1e-5)
        np.testing.assert_allclose(y, np.tanh(expected) + array.sum(1, keepdims=True), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(state["w"], w + expected.sum(0), rtol=1e-4)
        assert delta(before)["numpy_fallbacks"] == 1 and delta(before)["native_calls"] == 2
    before = counters()
    y, cube = program.steps([array], 2, 2)
    np.testing.assert_allclose(cube[0], np.exp(array[:2] * (w + expected.sum(0))) ** 3, rtol=1e-3)
    assert delta(before)["numpy_fallbacks"] == 2


def test_a_gradient_through_what_cannot_be_lowered(odd_op, rng):
    w = f.state("w", (5,))
    loss = f.sum(apply(odd_op(), f.tanh(w)))
    graph = Graph("t", (), (w,), (("loss", loss),), ((w, w - 0.1 * f.gradient(loss, [w])[0]),))
    with pytest.warns(RuntimeWarning, match="cubes need paper"):
        program, state, _ = bound(rng, graph)
    old = state["w"].copy()
    program()
    t = np.tanh(old)
    np.testing.assert_allclose(state["w"], old - 0.1 * 3 * t * t * (1 - t * t), rtol=1e-4)


def test_a_users_op_is_fused_like_any_other(rng):
    class Cube(Elementwise):
        """x ** 3."""

        def scalar(self, x):
            return x * x * x

        def reference(self, x):
            return x ** 3

        def vjp(self, f, g, y, x):
            return (g * 3.0 * x * x,)

    try:
        x, w, b = f.input("x", (N, 7)), f.state("w", (7, 9)), f.state("b", (9,))
        loss = f.sum(apply(Cube(), x @ w + b))
        graph = Graph("t", (x,), (w, b), (("y", apply(Cube(), x @ w + b)),), ((b, f.gradient(loss, [b])[0]),))
        before = counters()
        program, state, (array,) = bound(rng, graph)
        old = state["b"].copy()
        (y,) = program(array)
        h = array @ state["w"] + old
        np.testing.assert_allclose(y, h ** 3, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(state["b"], (3 * h * h).sum(0), rtol=1e-4, atol=1e-5)
        assert delta(before)["native_calls"] == 1 and "numpy_fallbacks" not in delta(before)
        assert len(program.code.plan.steps) <= 3
    finally:
        del OPS["cube"]


# ------------------------------------------------------------------------------------------- the NumPy backend

@pytest.mark.parametrize(("name", "value", "missing"), [
    ("find_spec", lambda name: None, "llvmlite"), ("os", types.SimpleNamespace(name="nt"), "POSIX threads")])
def test_where_native_code_cannot_be_programs_run_on_numpy_and_say_so(name, value, missing, monkeypatch, rng):
    monkeypatch.setattr(program_module, name, value)
    before = counters()
    with pytest.warns(RuntimeWarning, match=f"needs {missing}, so models run on NumPy"):
        program, _, inputs = bound(rng, cnn())
    assert isinstance(program, NumpyProgram)
    with warnings.catch_warnings(), config(backend="numpy"):
        warnings.simplefilter("error")  # who asks for NumPy is not told
        bound(rng, cnn())
    program(*inputs)
    assert delta(before) == {}


_TRAIN = """
import {first}
import numpy as np, graphc
from graphc.runtime import counters
graphc.utils.set_random_seed(1)
model = graphc.Sequential([graphc.layers.Dense(4, activation="relu", input_shape=(3,)), graphc.layers.Dropout(0.5),
                           graphc.layers.Dense(1)])
model.compile("adam", "mse")
x = np.random.default_rng(0).standard_normal((20, 3)).astype("float32")
model.fit(x, x.sum(1), epochs=2, batch_size=8, verbose=0)
total = sum(float(np.abs(w).sum()) for w in model.get_weights())
print(total, sum(counters().values()), "llvmlite.binding" in sys.modules)
"""


def _run(first, told="", **environment):
    """Train in a process where every warning but the one told of is an error."""
    made = subprocess.run([sys.executable, "-W", "error", "-W", "once:Native code needs:RuntimeWarning", "-c",
                           _TRAIN.format(first=first)], capture_output=True, text=True, timeout=100,
                          env={**os.environ, **environment})
    assert made.returncode == 0, made.stderr
    assert made.stderr.count("Native code needs") == bool(told) and told in made.stderr, made.stderr
    total, count, loaded = made.stdout.split()
    return float(total), int(count), loaded == "True"


def test_the_switch_and_a_missing_llvmlite_train_alike():
    total, count, loaded = _run("sys", GRAPHC_BACKEND="native")
    assert count > 6 and loaded
    for first, told, backend in (("sys", "", "numpy"),
                                 ("sys; sys.modules['llvmlite'] = None", "Native code needs llvmlite", "native")):
        without, count, loaded = _run(first, told, GRAPHC_BACKEND=backend)
        assert count == 0 and not loaded and without == pytest.approx(total, rel=1e-4)
