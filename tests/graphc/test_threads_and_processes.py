"""Models in many threads at once, in forked and spawned processes, and at rest."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from samples import each

import graphc
from graphc import layers

TASKS = Path("/proc/self/task")


def small_model(width=16, name=None):
    model = graphc.Sequential([graphc.Input((8,)), layers.Dense(width, activation="relu"), layers.Dense(3)], name=name)
    model.compile("sgd", "mse")
    return model


def at_once(number, work):
    """What `work(i)` gives for each i, run in threads that start together; an error in one of them is raised."""
    start = threading.Barrier(number)

    def run(i):
        start.wait(30)
        return work(i)

    with ThreadPoolExecutor(number) as pool:
        return [future.result(120) for future in [pool.submit(run, i) for i in range(number)]]


@pytest.fixture
def data(rng):
    return rng.standard_normal((64, 8)).astype("float32"), rng.standard_normal((64, 3)).astype("float32")


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_one_model_predicts_in_many_threads(data, backend):
    x, _ = data
    with graphc.config(backend=backend, threads=2):
        model = small_model()
        expected = {rows: model.predict(x[:rows], verbose=0) for rows in (1, 7, 33, 64)}

    def work(i):
        for k in range(50):
            rows = (1, 7, 33, 64)[(i + k) % 4]
            given = x[:rows]
            found = (model.predict(given, verbose=0), model(given), model.predict_on_batch(given))[k % 3]
            np.testing.assert_array_equal(found, expected[rows])

    with graphc.config(backend=backend):
        model(x)
    at_once(6, work)


def test_models_side_by_side(data):
    x, _ = data
    models = [small_model(16 + i) for i in range(4)]
    expected = [model.predict(x, verbose=0) for model in models]

    def work(i):
        for _ in range(50):
            np.testing.assert_array_equal(models[i % 4].predict(x, verbose=0), expected[i % 4])

    at_once(8, work)


def test_one_model_is_trained_while_another_predicts(data):
    x, y = data
    alone, beside, other = small_model(name="a"), small_model(name="b"), small_model()
    beside.set_weights(alone.get_weights())
    expected = other.predict(x, verbose=0)
    alone.fit(x, y, 8, epochs=20, shuffle=False, verbose=0)

    def work(i):
        if i == 0:
            beside.fit(x, y, 8, epochs=20, shuffle=False, verbose=0)
        else:
            for _ in range(100):
                np.testing.assert_array_equal(other.predict(x, verbose=0), expected)

    at_once(3, work)
    for a, b in zip(alone.get_weights(), beside.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("first", each(2, ["predict", "call", "fit", "train_on_batch"]))
def test_the_first_calls_of_a_model_without_weights_come_at_once(data, first):
    x, y = data
    model = graphc.Sequential([layers.Dense(16, activation="relu"), layers.BatchNormalization(), layers.Dense(3)])
    model.compile("sgd", "mse")
    calls = {"predict": lambda: model.predict(x, verbose=0), "call": lambda: model(x),
             "train_on_batch": lambda: model.train_on_batch(x, y), "fit": lambda: model.fit(x, y, verbose=0)}
    found = at_once(6, lambda _: calls[first]())
    assert [w.shape for w in model.get_weights()] == [(8, 16), (16,), (16,), (16,), (16,), (16,), (16, 3), (3,)]
    if first in ("predict", "call"):
        for array in found:
            np.testing.assert_array_equal(array, found[0])
    assert np.isfinite(model.predict(x, verbose=0)).all()


def test_models_are_compiled_at_once(data):
    x, y = data

    def work(i):
        model = small_model(20 + i)
        before = model.evaluate(x, y, verbose=0)
        model.fit(x, y, epochs=3, verbose=0)
        model.compile("adam", "mae")
        model.fit(x, y, verbose=0)
        return before, model.predict(x, verbose=0)

    for loss, predicted in at_once(5, work):
        assert np.isfinite(loss) and np.isfinite(predicted).all()


def test_switches_hold_for_one_thread():
    inside, leave = threading.Event(), threading.Event()

    def other():
        with graphc.config(backend="numpy"):
            inside.set()
            leave.wait(30)

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait(30)
    with graphc.config(threads=3) as ours:
        leave.set()
        thread.join()
        assert ours.backend == "native" and graphc.runtime.config.current() is ours
    assert graphc.runtime.config.current().backend == "native"


HEAD = """
import multiprocessing, os, sys, threading, time, warnings
import numpy as np
import graphc
from graphc import layers

warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads is what is tested


def make(width=16):
    graphc.utils.set_random_seed(1)
    model = graphc.Sequential([graphc.Input((64,)), layers.Dense(width, "relu", name="a"), layers.Dense(3, name="b")])
    model.compile("sgd", "mse")
    return model


X = np.random.default_rng(0).standard_normal((256, 64)).astype("float32")
Y = X[:, :3].copy()


def use(model):
    predicted = model.predict(X, verbose=0)
    loss = model.fit(X, Y, epochs=2, shuffle=False, verbose=0).history["loss"]
    return predicted, loss


def all_right(found, expected):
    return np.array_equal(found[0], expected[0]) and found[1] == expected[1]


def end_of(child):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        process, status = os.waitpid(child, os.WNOHANG)
        if process:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return "hangs"
"""


def run_script(tmp_path, body, **environment):
    """Run a script in a process of its own; what it printed."""
    script = tmp_path / "script.py"
    script.write_text(HEAD + body)
    environment = os.environ | {"GRAPHC_CACHE": "off", "GRAPHC_THREADS": "2"} | environment
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=180, cwd=tmp_path,
                          env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split()


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


@needs_fork
@pytest.mark.parametrize("ending", each(2, ["sys.exit(code)", "os._exit(code)"]))
def test_a_forked_child_uses_the_model(tmp_path, ending):
    """It has other threads than its parent, and leaves the parent's trace alone."""
    found = run_script(tmp_path, f"""
model = make()
start = model.get_weights()
expected = use(model)
child = os.fork()
if not child:
    model.set_weights(start)
    code = 0 if all_right(use(model), expected) and all_right(use(make()), expected) else 1
    {ending}
print(end_of(child), os.path.exists("trace.json"))
model.set_weights(start)
print(all_right(use(model), expected))
""", GRAPHC_TRACE="trace.json")
    assert found[:3] == ["0", "False", "True"]
    assert (tmp_path / "trace.json").exists()


@needs_fork
@pytest.mark.slow
def test_forks_while_other_threads_predict_and_compile(tmp_path):
    found = run_script(tmp_path, """
model, other = make(), make(24)
expected, wanted = model.predict(X, verbose=0), other.predict(X, verbose=0)
done = threading.Event()


def predict():
    while not done.is_set():
        model.predict(X, verbose=0)
        time.sleep(0.0005)


def compile():
    k = 0
    while not done.is_set():
        k += 1
        make(100 + k).predict(X[:5], verbose=0)
        time.sleep(0.01)


threads = [threading.Thread(target=predict), threading.Thread(target=predict), threading.Thread(target=compile)]
for thread in threads:
    thread.start()
codes = []
for i in range(8):
    child = os.fork()
    if not child:
        right = np.array_equal(model.predict(X, verbose=0), expected)
        right &= np.array_equal(other.predict(X, verbose=0), wanted)
        right &= np.isfinite(make(30 + i).fit(X, Y, verbose=0).history["loss"]).all()
        os._exit(0 if right else 1)
    codes.append(end_of(child))
done.set()
for thread in threads:
    thread.join()
print(*codes)
""")
    assert found == ["0"] * 8


@pytest.mark.parametrize("method", each(3, ["fork", "spawn", "forkserver"]))
def test_pools_of_processes(tmp_path, method):
    if method == "fork" and not hasattr(os, "fork"):
        pytest.skip("no fork on this system")
    found = run_script(tmp_path, f"""
def work(task):
    model, i = task
    model.set_weights([w * 0 + i for w in model.get_weights()])
    return float(model.predict(X, verbose=0).sum()), model.fit(X, Y, shuffle=False, verbose=0).history["loss"]


if __name__ == "__main__":
    model = make()
    model.predict(X, verbose=0)
    with multiprocessing.get_context("{method}").Pool(4) as pool:
        found = pool.map(work, [(model, i / 100) for i in range(8)], chunksize=1)
        pool.close()
        pool.join()
    print(found == [work((model, i / 100)) for i in range(8)])
""")
    assert found == ["True"]


@needs_fork
@pytest.mark.slow
def test_a_forked_worker_feeds_the_training(tmp_path):
    """As loaders do that fetch batches in processes, some of which use a model themselves."""
    found = run_script(tmp_path, """
def batches(queue):
    features = make()
    for i in range(0, 256, 32):
        queue.put((X[i:i + 32], features.predict(X[i:i + 32], verbose=0)))
    queue.put(None)


model = make(20)
model.predict(X, verbose=0)
context = multiprocessing.get_context("fork")
queue = context.Queue()
worker = context.Process(target=batches, args=(queue,))
worker.start()
loss = model.fit(iter(queue.get, None), verbose=0).history["loss"]
worker.join(60)
print(worker.exitcode, len(loss), np.isfinite(loss).all())
""")
    assert found == ["0", "1", "True"]


def jiffies():
    """The CPU time of all threads, in hundredths of a second."""
    total = 0
    for task in TASKS.iterdir():
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total


@pytest.mark.skipif(not TASKS.is_dir(), reason="needs Linux's /proc")
def test_threads_sleep_when_there_is_nothing_to_do(data):
    x, y = data
    with graphc.config(threads=3):
        model = small_model(256)
        model.fit(np.tile(x, (40, 1)), np.tile(y, (40, 1)), epochs=2, verbose=0)
        model.predict(np.tile(x, (200, 1)), verbose=0)
    time.sleep(0.1)
    before = jiffies()
    time.sleep(1)
    assert jiffies() - before <= 10


def third_party(code):
    """The packages that a program has loaded in the end, besides Python's own, what Python starts with, and graphc."""
    code = (f"import sys\nstart = set(sys.modules)\n{code}\nprint(*{{name.partition('.')[0] for name, module in "
            "sys.modules.items() if name not in start and getattr(module, '__file__', None)} "
            "- set(sys.stdlib_module_names))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name for name in done.stdout.split() if not name.startswith(("graphc", "__", "_cython"))}


def test_packages_are_loaded_on_first_use():
    assert third_party("import graphc") == set()
    built = third_party("import graphc\nfrom graphc import callbacks, datasets, layers, losses, models, optimizers\n"
                        "graphc.Sequential([graphc.Input((3,)), layers.Dense(2)])")
    assert built <= {"numpy", "networkx"}
    on_numpy = third_party("import graphc\nwith graphc.config(backend='numpy'):\n"
                           "    model = graphc.Sequential([graphc.Input((3,)), graphc.layers.Dense(2)])\n"
                           "    model.compile('sgd', 'mse')\n    model.fit([[1, 2, 3]], [[1, 2]], verbose=0)")
    assert on_numpy <= {"numpy", "networkx"}


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True])
def test_a_number_of_threads_that_is_none(threads):
    wanted = r"threads \(GRAPHC_THREADS\) must be a whole number of at least 1, received"
    with pytest.raises(ValueError, match=wanted), graphc.config(threads=threads):
        pass


@pytest.mark.parametrize(("variable", "argument", "threads"), [("2", {}, 2), ("2", {"threads": 3}, 3)])
def test_the_number_of_threads(tmp_path, variable, argument, threads):
    """The argument goes before the environment, and the environment before what the process may use."""
    pytest.importorskip("llvmlite")
    found = run_script(tmp_path, f"""
with graphc.config(**{argument!r}):
    model = make()
    model.predict(X, verbose=0)
print(*{{program.threads for _, program in model._programs.values()}})
""", GRAPHC_THREADS=variable)
    assert found == [str(threads)]


def test_a_machine_of_many_cores_has_as_many_threads_as_a_team(monkeypatch):
    pytest.importorskip("llvmlite")
    from dataclasses import replace

    from graphc.runtime.targets.machine import Machine
    from graphc.runtime.targets.team import MAX_THREADS

    machine = replace(Machine.host(), cores=1000)
    monkeypatch.setattr(Machine, "named", staticmethod(lambda name: machine))
    model = small_model()
    x = np.ones((2, 8), "float32")
    assert model.predict(x, verbose=0).shape == (2, 3)
    ((_, program),) = model._programs.values()
    assert program.threads == MAX_THREADS
