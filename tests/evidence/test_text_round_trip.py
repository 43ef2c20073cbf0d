"""A training graph written as text, read back and compiled trains to the same bits."""

from __future__ import annotations

import numpy as np
import pytest
from samples import each
from whole_models import ROWS, models

import graphc
from graphc.ir.parser import parse
from graphc.runtime import compile
from graphc.steps import trace_step


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("name", each(3, models()))
def test_training(name, backend):
    graphc.utils.clear_session()
    graphc.utils.set_random_seed(3)
    make, optimizer, loss, x, y = models()[name]
    model = graphc.Sequential(make())
    model.compile(optimizer, loss=loss)
    graph = trace_step("train", model).graph
    text = str(graph)
    read = parse(text)
    assert str(read) == text and read is not graph
    assert [v.type for v in read.state] == [v.type for v in graph.state]
    types = {v.op.label: v for v in read.inputs}
    labels = np.ascontiguousarray(y, types["y"].dtype.numpy).reshape(-1, *types["y"].shape[1:])
    programs, states = [], []
    for g in (graph, read):
        state = {v.op.label: np.array(w.array) for v, w in zip(g.state, graph.state, strict=True)}
        with graphc.config(backend=backend):
            programs.append(compile(g, state))
        states.append(state)
    start = {k: v.copy() for k, v in states[0].items()}
    for step in range(4):
        rows = slice(0, 16) if step % 2 == 0 else slice(16, ROWS)
        arrays = [np.ascontiguousarray(x[rows]), labels[rows]]
        (a, *_), (b, *_) = (p(*arrays) for p in programs)
        assert a.tobytes() == b.tobytes() and np.isfinite(a)
    for label, array in states[0].items():
        assert array.tobytes() == states[1][label].tobytes(), label
    assert any(not np.array_equal(start[label], array) for label, array in states[0].items())
