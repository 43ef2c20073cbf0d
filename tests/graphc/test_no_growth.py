"""Nothing piles up: memory, threads, files and caches after thousands of calls, compilations and loads.

Each test counts after a first round, when caches have what they keep, and again after the others. The bounds of memory
are far above what is measured, and far below what one kept array, program or archive for each call would take.
"""

from __future__ import annotations

import gc
import os
from collections import deque
from pathlib import Path

import numpy as np
import pytest
from samples import each

pytest.importorskip("llvmlite")

import graphc
from graphc import layers
from graphc.ir import expr, graph
from graphc.runtime import forks, native
from graphc.runtime.targets import llvm

PROC = Path("/proc/self")
pytestmark = pytest.mark.skipif(not (PROC / "statm").exists(), reason="needs Linux's /proc")

X = np.random.default_rng(0).standard_normal((64, 8)).astype("float32")
Y = X[:, :3].copy()


def small_model(width=16):
    model = graphc.Sequential([graphc.Input((8,)), layers.Dense(width, activation="relu"), layers.Dense(3)])
    model.compile("sgd", "mse")
    return model


def megabytes():
    """Resident memory."""
    return int((PROC / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def counts():
    """What may be held: values, expressions and code by name, things told of forks, threads, open files."""
    gc.collect()
    return {"values": len(graph._VALUES), "programs": len(native._PROGRAMS), "kernels": len(native._KERNELS),
            "renewed": len(forks._RENEWED), "threads": len(os.listdir(PROC / "task")),
            "files": len(os.listdir(PROC / "fd"))}


def growth(first, work, rounds):
    """How counts and memory change in so many rounds of work after the first ones."""
    for i in range(first):
        work(i)
    before, memory = counts(), megabytes()
    for i in range(first, first + rounds):
        work(i)
    after = counts()
    return {name: after[name] - before[name] for name in after}, megabytes() - memory


@pytest.fixture
def few_kept(monkeypatch):
    """The process keeps the code of the last 4 programs, not of 64."""
    monkeypatch.setattr(native, "_RECENT", deque(maxlen=4))


def test_predictions():
    model = small_model()

    def work(i):
        rows = 1 + i % 64
        model.predict(X[:rows], verbose=0)
        model(X[:rows])

    changes, memory = growth(200, work, 10_000)
    assert max(changes.values()) <= 0, changes
    assert memory < 5
    programs = [made[0 if key[0] == "call" else 1] for key, made in model._programs.items()]
    assert len(programs) == 2 and all(len(program.frames) <= 64 for program in programs)


def test_steps_of_training():
    model = small_model()

    def work(i):
        model.train_on_batch(X[:1 + i % 64], Y[:1 + i % 64])
        if i % 50 == 0:
            model.fit(X, Y, epochs=2, verbose=0)
            model.evaluate(X, Y, verbose=0)

    changes, memory = growth(200, work, 2_000)
    assert max(changes.values()) <= 0, changes
    assert memory < 5


def test_arrays_of_many_lengths():
    """A layer keeps a bounded number of programs, whatever the arrays that it is called with."""
    model = graphc.Sequential([graphc.Input((None, 2)), layers.GlobalAveragePooling1D(), layers.Dense(1)])
    dense = layers.Dense(2)
    with graphc.config(backend="numpy"):
        for i in range(1, 150):
            model(np.ones((2, i, 2), "float32"))
            dense(np.ones((2, i, 2), "float32"))
    assert len(model._programs) <= 64 and len(dense._programs) <= 64


@pytest.mark.parametrize("equal", each(2, [False, True]), ids=["different", "equal"])
def test_some_compilations(equal, few_kept):
    """Programs of dead models go, but for the last few, whose code the process keeps."""
    changes, _ = growth(8, lambda i: small_model(16 if equal else 16 + i).predict(X, verbose=0), 20)
    # a kernel or two, and the values of its graph, for each program that is kept
    assert max(changes.values()) <= 5, changes


@pytest.mark.slow
@pytest.mark.parametrize("equal", [True, False], ids=["equal", "different"])
def test_compilations(equal):
    changes, memory = growth(100, lambda i: small_model(16 if equal else 16 + i).predict(X, verbose=0), 900)
    assert max(changes.values()) <= 5, changes
    assert memory < 30


@pytest.mark.slow
def test_trained_models_go(few_kept):
    def work(i):
        model = small_model()
        model.fit(X, Y, verbose=0)
        model.compile("adam", "mae", metrics=["mse"])
        model.fit(X, Y, verbose=0)

    changes, _ = growth(4, work, 6)
    assert max(changes.values()) <= 5, changes


def test_loads(tmp_path):
    model = small_model()
    model.fit(X, Y, verbose=0)
    path = tmp_path / "model.keras"
    model.save(path)
    expected = model.predict(X, verbose=0)

    def work(i):
        loaded = graphc.models.load_model(path)
        if i % 10 == 0:
            np.testing.assert_array_equal(loaded.predict(X, verbose=0), expected)

    changes, memory = growth(20, work, 100)
    assert max(changes.values()) <= 5, changes
    assert memory < 10


def test_expressions_are_forgotten():
    """They live as long as a kernel or a bounded cache holds them."""
    caches = [f for f in vars(llvm).values() if hasattr(f, "cache_info")]
    assert len(caches) > 3 and all(0 < f.cache_info().maxsize <= 4096 for f in caches)
    for i in range(3):
        small_model(300 + i).predict(X, verbose=0)
    held = len(expr._INTERNED)
    for cache in caches:
        cache.cache_clear()
    gc.collect()
    assert len(expr._INTERNED) < held
