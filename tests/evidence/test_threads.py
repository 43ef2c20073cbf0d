"""The number of threads changes no bit of any result."""

from __future__ import annotations

import numpy as np
import pytest
from samples import each, graph_of
from whole_models import models, train

import graphc
from graphc.ir import functions as f
from graphc.ir.types import dim
from graphc.runtime import compile, program

N = dim("N")
THREADS = (1, 2, 3, 4)


@pytest.fixture(autouse=True)
def always_share(monkeypatch):
    """Let even the smallest step use all its threads."""
    monkeypatch.setattr(program, "ALONE", 0)
    monkeypatch.setattr(program, "SHARED", 0)


def equal(results):
    first, *others = results
    for other in others:
        for a, b in zip(first, other, strict=True):
            assert a.dtype == b.dtype and a.tobytes() == b.tobytes(), np.abs(a - b).max()


@pytest.mark.parametrize("name", each(3, models()))
def test_training(name):
    equal([train(name, threads=t) for t in THREADS])


def test_reductions_contractions_and_rows(rng):
    x, w, c = f.input("x", (N, 64)), f.input("w", (64, 48)), f.input("c", (N, 9, 9, 8))
    k = f.input("k", (3, 3, 8, 16))
    h = f.conv(c, k)
    graph = graph_of({
        "product": f.relu(x @ w), "sum": f.sum(x), "columns": f.sum(x, 0), "rows": f.logsumexp(x),
        "softmax": f.softmax(x @ w), "conv": h, "bias": f.sum(h, (0, 1, 2)),
        "filter": f.einsum("nhwuvc,nhwo->uvco", f.windows(c, (3, 3), (1, 1), (1, 1)), h),
        "image": f.fold(f.einsum("nhwo,uvco->nhwuvc", h, k), (9, 9), (1, 1), (1, 1)),
        "best": f.argmax(x, 1), "pool": f.max_pool(c, 3), "gradient": f.einsum("ni,nj->ij", x, x @ w)})
    for n in (1, 3, 100, 257):
        arrays = [rng.standard_normal([n if d == N else d for d in v.shape]).astype(np.float32) for v in graph.inputs]
        results = []
        for t in THREADS:
            with graphc.config(threads=t):
                results.append(compile(graph, {})(*arrays))
        equal(results)
        assert all(np.isfinite(r).all() for r in results[0])


def test_repeated_steps_are_the_same():
    """A race would show sooner or later."""
    first = train("cnn", threads=4, steps=6)
    for _ in range(5):
        equal([first, train("cnn", threads=4, steps=6)])
