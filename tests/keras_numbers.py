"""Numbers that real Keras computed (tests/fixtures/make_keras_*.py wrote them down), and ours to compare with them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cases
import numpy as np
from cases import in_a_row

import graphc
from graphc.ir import functions as f
from graphc.ir.graph import Graph, topological
from graphc.ir.tree import flat
from graphc.runtime import counters
from graphc.steps import bind, new_random_key, symbolic_input
from graphc.tracing import Trace, tracing
from graphc.variable import Variable

__all__ = ["FIXTURES", "check_training_steps", "in_a_row", "keras_numbers", "outputs_and_gradients"]

FIXTURES = Path(__file__).parent / "fixtures"


@cache
def keras_numbers(name):
    """The arrays of a fixture."""
    with np.load(FIXTURES / f"{name}.npz") as arrays:
        return dict(arrays)


def outputs_and_gradients(layer, arrays, call, cotangent="cotangent{}"):
    """What a call of a layer with values for the arrays gives in training, then the gradients of floats and weights.

    They are those of the sum of all outputs multiplied by cotangents, in one graph.
    """
    values = [symbolic_input(a.shape, a.dtype, f"x{i}") for i, a in enumerate(arrays)]
    with tracing(Trace(True, new_random_key())):
        outputs = list(flat(call(*values)))
    for weight, array in zip(layer.weights, cases.start_weights(layer.weights), strict=True):
        weight.assign(array)
    shapes = [tuple(d if isinstance(d, int) else len(arrays[0]) for d in v.shape) for v in outputs]
    cotangents = [cases.layer_input(cotangent.format(i), shape) for i, shape in enumerate(shapes)]
    factors = [f.input(f"g{i}", v.shape) for i, v in enumerate(outputs)]
    loss = sum((f.sum(o * g) for o, g in zip(outputs, factors, strict=True)), start=f.constant(0.0))
    gradients = f.gradient(loss, [*(v for v in values if v.dtype.is_float), *layer.trainable_weights])
    found = [*outputs, *gradients]
    state = tuple(v for v in topological(found) if isinstance(v, Variable))
    graph = Graph("both", (*values, *factors), state, tuple((f"r{i}", v) for i, v in enumerate(found)))
    results = [np.array(a) for a in bind(graph)(*arrays, *cotangents)]
    return results[:len(outputs)], results[len(outputs):]


def check_training_steps(model, rate, data, name, fixture):
    """Three steps on batches of 8 rows, natively: losses, all weights after them, and predictions."""
    expected, before = keras_numbers(fixture), counters()["numpy_fallbacks"]
    for what, array in cases.three_steps(model, graphc.optimizers.SGD(rate), *data).items():
        np.testing.assert_allclose(array, expected[f"{name}.{what}"], rtol=1e-5, atol=1e-5 * (what != "losses"))
    if f"{name}.evaluated" in expected:
        np.testing.assert_allclose(model.evaluate(*data, verbose=0), expected[f"{name}.evaluated"], rtol=1e-5)
    assert counters()["numpy_fallbacks"] == before
