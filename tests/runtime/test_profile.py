"""Profiles: which kernels took how long, in whichever way a program ran, and what a trace of them holds."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from itertools import pairwise

import numpy as np
import pytest
from models import cnn
from samples import sample

from graphc.ir import functions as f
from graphc.ir.errors import LoweringError
from graphc.ir.graph import Graph
from graphc.ir.types import dim
from graphc.passes.pipeline import PIPELINE, run
from graphc.runtime import compile, counters
from graphc.runtime.config import config
from graphc.runtime.profile import Recorder, profile
from graphc.runtime.schedule import schedule
from graphc.runtime.targets import clock as clock_module
from graphc.runtime.targets.clock import Clock, reading
from graphc.runtime.targets.machine import Machine
from graphc.runtime.targets.step import stamps

N = dim("N")


def arrays_of(rng, graph, n):
    return {v.op.label: sample(rng, v.type, {"N": n}) for v in graph.inputs + graph.state}


def programs(rng, graph, n, **switches):
    """The same step with and without a recorder, and its inputs."""
    arrays = arrays_of(rng, graph, n)
    states = [{v.op.label: arrays[v.op.label].copy() for v in graph.state} for _ in range(2)]
    recorder = Recorder()
    with config(**switches):
        made = compile(graph, states[0]), compile(graph, states[1], recorder)
    return made, states, [arrays[v.op.label] for v in graph.inputs], recorder


@pytest.mark.parametrize("threads", [1, 2])
def test_a_profiled_step_gives_the_same_bits_and_the_times_of_its_kernels(threads, rng):
    graph = cnn()
    (plain, timed), states, inputs, recorder = programs(rng, graph, 5, threads=threads)
    before = counters()["native_calls"]
    for a, b in zip(plain(*inputs), timed(*inputs), strict=True):
        np.testing.assert_array_equal(a, b)
    for label in states[0]:
        np.testing.assert_array_equal(states[0][label], states[1][label])
    assert counters()["native_calls"] == before + 2
    (found,) = recorder.profiles()
    assert [k.name for k in found.kernels] == [k.op.body.name for k in run(graph, PIPELINE).steps]
    assert found.sizes == {"N": 5} and found.steps == 1
    times = found.stamps[0]
    assert (np.diff(times[0]) >= 0).all()  # kernels begin and end one after the other
    for thread in times:  # and no thread begins one before all have finished the one before
        assert (thread[2::2] >= times[:, 1::2].max(0)).all()
    assert found.seconds == pytest.approx(sum(k.seconds for k in found.kernels))


def test_many_steps_in_one_call_are_timed_each(rng):
    graph = cnn()
    (plain, timed), _, inputs, recorder = programs(rng, graph, 24)
    order = rng.permutation(24)
    for a, b in zip(plain.steps(inputs, 4, 6, 0, order), timed.steps(inputs, 4, 6, 0, order), strict=True):
        np.testing.assert_array_equal(a, b)
    assert recorder.seen == 6
    last = 2 * len(recorder.kernels)
    steps = [step for ring in recorder.rings for step in ring.steps()]
    ends, begins = [int(step[0, last]) for step in steps], [int(step[0, 0]) for step in steps]
    assert ends == sorted(ends) and all(e <= b for e, b in zip(ends[:-1], begins[1:], strict=True))


def test_a_recorder_keeps_the_latest_steps_of_each_size(rng):
    graph = cnn()
    recorder = Recorder(kept=5)
    arrays = arrays_of(rng, graph, 3)
    program = compile(graph, {v.op.label: arrays[v.op.label] for v in graph.state}, recorder)
    for n in (1, 2, 3, 3, 2, 2):
        program(*(arrays[v.op.label][:n] for v in graph.inputs))
    assert recorder.seen == 6
    assert sorted((p.sizes["N"], p.steps) for p in recorder.profiles()) == [(1, 1), (2, 3), (3, 2)]
    program.steps([arrays[v.op.label] for v in graph.inputs], 1, 3)
    program.steps([arrays[v.op.label] for v in graph.inputs], 1, 3)
    one = next(p for p in recorder.profiles() if p.sizes["N"] == 1)
    assert one.steps == 5 and (np.diff(one.stamps[:, 0, 0]) > 0).all()  # in their order, though the ring is full
    recorder.clear()
    assert recorder.seen == 0 and recorder.profiles() == []


def test_a_kernel_that_numpy_runs_is_timed_too(rng, monkeypatch):
    def refuse(loops, *machine):
        if "exp" in loops.name:
            raise LoweringError("not today")
        return schedule(loops, *machine)

    monkeypatch.setattr("graphc.runtime.listing.schedule", refuse)
    x = f.input("x", (N, 53))
    y = f.sum(x, 1)
    graph = Graph("t", (x,), (), (("a", f.exp(y)), ("b", f.tanh(f.sum(f.exp(x), 0)))))
    recorder = Recorder()
    with pytest.warns(RuntimeWarning, match="not today"):
        program = compile(graph, {}, recorder)
    program(*arrays_of(rng, graph, 6).values())
    (found,) = recorder.profiles()
    assert all(k.seconds > 0 for k in found.kernels)
    assert (np.diff(found.stamps[0, 0]) >= 0).all()


def test_layers_phases_flops_and_bytes(rng):
    graph = cnn()
    found = profile(graph, arrays_of(rng, graph, 4), seconds=0.0)
    table = found.by_layer()
    assert {"conv", "dense", "loss"} <= set(table) and {"forward", "backward"} == set(table["conv"])
    conv = max((k for k in found.kernels if k.layer == "conv" and k.phase == "forward"), key=lambda k: k.flops)
    assert conv.flops >= 4 * 8 * 8 * 4 * 2 * 18 and conv.bytes >= 4 * 4 * 8 * 8 * 2
    text = str(found)
    assert text.startswith("train (N=4): ") and all(k.name in text for k in found.kernels)


def test_a_profile_leaves_the_state_alone(rng):
    graph = cnn()
    arrays = arrays_of(rng, graph, 4)
    before = {k: v.copy() for k, v in arrays.items()}
    profile(graph, arrays, seconds=0.0)
    for label, array in arrays.items():
        np.testing.assert_array_equal(array, before[label])
    with config(backend="numpy"), pytest.raises(LoweringError, match="native code"):
        profile(graph, arrays)


def test_a_trace_has_the_kernels_and_barriers_of_each_thread(rng, tmp_path):
    graph = cnn()
    with config(threads=2):
        found = profile(graph, arrays_of(rng, graph, 64), seconds=0.0)
    events = json.loads(found.save_trace(tmp_path / "t.json").read_text())["traceEvents"]
    timed = [e for e in events if e["ph"] == "X"]
    steps = [e for e in timed if e["cat"] == "step"]
    assert len(steps) == found.steps and all(e["dur"] >= 0 for e in timed)
    for thread in range(found.threads):
        own = [e for e in timed if e["tid"] == thread and e["cat"] != "step"]
        assert len(own) == 2 * len(found.kernels) * found.steps
        assert sum(e["name"] == "barrier" for e in own) == len(own) // 2
        assert all(a["ts"] + a["dur"] <= b["ts"] + 0.002 for a, b in pairwise(own))
    assert {e["args"]["name"] for e in events if e["name"] == "thread_name"} == {
        f"thread {t}" for t in range(found.threads)}
    assert any(e.get("args", {}).get("layer") == "conv" for e in timed)


@pytest.mark.parametrize("source", ["tsc", "hpet", None])
def test_ticks_are_nanoseconds_of_the_monotonic_clock(source, tmp_path, monkeypatch):
    path = tmp_path / "current_clocksource"
    if source:
        path.write_text(f"{source}\n")
    machine = Machine.host()
    text = reading(machine, path)
    assert ("readcyclecounter" in text) == (source == "tsc" and machine.triple.startswith("x86_64"))
    monkeypatch.setattr(clock_module, "reading", lambda machine: text)
    clock = Clock(machine)
    ticks, expected = [], []
    for _ in range(5):
        time.sleep(0.01)
        expected.append(time.monotonic_ns())
        ticks.append(clock.read())
    np.testing.assert_allclose(clock.nanoseconds(np.array(ticks)), expected, rtol=0, atol=5e6)


def test_rows_of_stamps_are_whole_cache_lines():
    for kernels in range(40):
        assert stamps(kernels) % 8 == 0 and 0 <= stamps(kernels) - (2 * kernels + 1) < 8


def test_the_variable_writes_table_and_trace_at_the_end(tmp_path):
    code = """if True:
        import numpy as np, graphc
        from graphc.layers import Dense
        model = graphc.Sequential([Dense(3, input_shape=(4,), name="only")])
        model.compile("sgd", "mse")
        x = np.ones((64, 4), "f")
        model.fit(x, x[:, :3], epochs=3, batch_size=16, verbose=0)
        model.predict(x, verbose=0)"""
    path = tmp_path / "trace.json"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120,
                          env={**os.environ, "GRAPHC_TRACE": str(path)}, cwd=tmp_path)
    assert "train (N=16): " in done.stderr and "predict (N=32): " in done.stderr and "only" in done.stderr
    events = json.loads(path.read_text())["traceEvents"]
    assert sum(e.get("cat") == "step" and e["name"].startswith("train") for e in events) == 12


@pytest.mark.slow
def test_each_process_has_a_trace_of_its_own(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("""if True:
        import multiprocessing, os, subprocess, sys
        import numpy as np, graphc

        def predict(rows):
            model = graphc.Sequential([graphc.layers.Dense(3, input_shape=(4,))])
            model.predict(np.ones((rows, 4), "f"), batch_size=rows, verbose=0)

        if __name__ == "__main__":
            if len(sys.argv) == 1:
                context = multiprocessing.get_context("spawn")
                early, late = (context.Process(target=predict, args=(rows,)) for rows in (11, 12))
                early.start(), early.join()  # before this process compiles anything
                predict(10)
                late.start(), late.join()
                subprocess.run([sys.executable, __file__, "again"], check=True)
            else:
                predict(13)""")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=120,
                          env={**os.environ, "GRAPHC_TRACE": "t.json", "GRAPHC_CACHE": "off"}, cwd=tmp_path)
    files = list(tmp_path.glob("t*.json"))
    assert len(files) == 4, done.stderr
    rows = sorted(int(re.search(r"N=(\d+)", path.read_text())[1]) for path in files)
    assert rows == [10, 11, 12, 13] and "N=10" in (tmp_path / "t.json").read_text()
