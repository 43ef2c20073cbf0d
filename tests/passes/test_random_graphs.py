"""Random graphs: simplified, differentiated and read back, they compute the same."""

from __future__ import annotations

import numpy as np
import pytest
from samples import sample

from graphc.ir import functions as f
from graphc.ir.evaluate import by_definition, evaluate
from graphc.ir.graph import Graph, origin
from graphc.ir.parser import parse
from graphc.ir.types import dim
from graphc.ir.verify import verify
from graphc.passes import pipeline
from graphc.passes.differentiate import differentiate
from graphc.passes.simplify import simplify

N = dim("N")
SIZES = {"N": 3}
UNARY = (f.tanh, f.sigmoid, f.negative, f.absolute, f.relu, f.softplus, f.sin, f.square, f.stop_gradient)
BINARY = (f.add, f.subtract, f.multiply, f.maximum, f.minimum)
NUMBERS = (0.0, 1.0, -1.0, 0.5, 2.0)


def random_graph(rng, steps) -> Graph:
    """A graph over a few shapes with the gradient of a loss; many of its values can be simplified."""
    x, w, b = f.input("x", (N, 4), "f64"), f.state("w", (4, 4), "f64"), f.state("b", (4,), "f64")
    pool = [x, w, b, x + b]
    for _ in range(steps):
        with origin(f"layer{rng.integers(3)}"):
            pool.append(_step(rng, pool))
    loss = f.constant(0.0, "f64")
    for value in pool[-4:]:
        loss = loss + f.mean(value * 0.1)
    gradients = f.gradient(loss, [w, b])
    outputs = (("loss", loss), ("last", pool[-1]), ("x", f.gradient(loss, [x])[0]))
    return Graph("random", (x,), (w, b), outputs, ((w, w - gradients[0]), (b, b - gradients[1])))


def _step(rng, pool):
    x = pool[rng.integers(len(pool))]
    if x.ndim > 3:
        return f.mean(x)
    kind = rng.integers(9)
    if kind == 0:
        return UNARY[rng.integers(len(UNARY))](x)
    if kind == 1:
        return BINARY[rng.integers(len(BINARY))](x, NUMBERS[rng.integers(len(NUMBERS))])
    if kind == 2:
        same = [y for y in pool if y.shape == x.shape or y.ndim == 0]
        return BINARY[rng.integers(len(BINARY))](x, same[rng.integers(len(same))])
    if kind == 3 and x.ndim:
        return f.broadcast_to(f.expand_dims(x, 0), (2, *x.shape)) if x.ndim < 3 else f.sum(x, 0)
    if kind == 4 and x.ndim:
        return f.sum(x, int(rng.integers(x.ndim)), bool(rng.integers(2))) * 0.5
    if kind == 5 and x.ndim:
        return f.transpose(x, rng.permutation(x.ndim).tolist())
    if kind == 6 and x.ndim:
        return f.reshape(x, (-1,)) if rng.integers(2) else f.expand_dims(x, int(rng.integers(x.ndim + 1)))
    if kind == 7 and x.ndim and isinstance(x.shape[-1], int):
        y = f.softmax(x) if rng.integers(2) else f.log_softmax(x)
        return f.slice(y, (0,) * y.ndim, (*y.shape[:-1], max(1, x.shape[-1] - 1)))
    if kind == 8 and x.ndim >= 2 and x.shape[-1] == 4:
        return f.tanh(x @ f.transpose(pool[1]))
    return f.where(f.less(x, 0.25), x, f.zeros_like(x) if rng.integers(2) else x * 1.0)


@pytest.mark.parametrize("steps", [5, 15, 30])
def test_random_graphs(steps, rng):
    for _ in range(6):
        graph = random_graph(rng, steps)
        arrays = {v.op.label: sample(rng, v.type, SIZES) for v in graph.inputs + graph.state}
        expected = evaluate(differentiate(graph), arrays)
        for made in (simplify(differentiate(graph)), pipeline.run(graph, check=True),
                     differentiate(simplify(graph))):
            verify(made, differentiated=True)
            assert str(parse(str(made))) == str(made)
            _agree(evaluate(made, arrays), expected, graph)
        _agree(evaluate(made, arrays, by_definition), expected, graph)
        made = simplify(made)
        assert str(simplify(made)) == str(made)


def _agree(found, expected, graph):
    for a, b in zip(found, expected, strict=True):
        for name in b:
            np.testing.assert_allclose(a[name], b[name], rtol=1e-8, atol=1e-10, err_msg=f"{name} of {graph}")
