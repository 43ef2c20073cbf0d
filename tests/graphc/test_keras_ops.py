"""What graphc.ops does beside giving Keras's numbers: unknown sizes, arrays in graphs, loops, errors, native code."""

from __future__ import annotations

import numpy as np
import pytest
from samples import graph_of, run

import graphc
from graphc import backend as K
from graphc import ops, random
from graphc.eager import now
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.evaluate import evaluate
from graphc.ir.types import dim
from graphc.runtime import compile as compile_graph
from graphc.tracing import Trace, tracing
from graphc.variable import Variable

N = dim("N")
x = f.input("x", (N, 4))
ROWS = np.arange(12, dtype=np.float32).reshape(3, 4) - 5

# functions of x, which hold for any number of rows, and the same in NumPy
UNKNOWN = {
    "mean": (lambda v: ops.mean(v, axis=0), lambda a: a.mean(0)),
    "flat": (lambda v: ops.reshape(v, (-1,)), lambda a: a.ravel()),
    "zeros": (lambda v: ops.zeros((ops.shape(v)[0], 2)), lambda a: np.zeros((len(a), 2), np.float32)),
    "arange": (lambda v: ops.arange(ops.shape(v)[0]), lambda a: np.arange(len(a), dtype=np.int32)),
    "in a list": (lambda v: ops.convert_to_tensor([v[0, 0], ops.shape(v)[0], 2]) if isinstance(v, f.Value) else (
        np.float32([v[0, 0], 3, 2])), lambda a: np.float32([a[0, 0], 3, 2])),
    "size": (lambda v: ops.sum(v) / ops.size(v), lambda a: a.mean()),
    "cumsum": (lambda v: ops.cumsum(v, axis=0), lambda a: a.cumsum(0)),
    "cumprod": (lambda v: ops.cumprod(v, axis=0), lambda a: a.cumprod(0)),
    "tail": (lambda v: v[1:], lambda a: a[1:]),
    "without last": (lambda v: v[:-1, ::2], lambda a: a[:-1, ::2]),
    "last": (lambda v: v[-1], lambda a: a[-1]),
    "reversed": (lambda v: v[::-1, None, ..., ::-1], lambda a: a[::-1, None, ..., ::-1]),
    "by array": (lambda v: v[:, np.array([2, 0])], lambda a: a[:, [2, 0]]),
    "roll": (lambda v: ops.roll(v, 1, axis=0), lambda a: np.roll(a, 1, 0)),
    "sort": (lambda v: ops.sort(-v, axis=0), lambda a: np.sort(-a, 0)),
    "repeat": (lambda v: ops.repeat(v, 2, axis=0), lambda a: a.repeat(2, 0)),
    "outer": (lambda v: ops.tril(v @ ops.transpose(v)), lambda a: np.tril(a @ a.T)),
    "map": (lambda v: ops.map(lambda row: ops.sum(row * row), v), lambda a: (a * a).sum(1)),
    "scan": (lambda v: ops.scan(lambda c, r: (c + r, c * 2), ops.zeros((4,)), v)[1],
             lambda a: (a.cumsum(0) - a) * 2),
    "scatter": (lambda v: ops.segment_sum(v, ops.cast(v[:, 0] > 0, "int32"), num_segments=2),
                lambda a: np.stack([a[a[:, 0] <= 0].sum(0), a[a[:, 0] > 0].sum(0)])),
    "loop": (lambda v: ops.fori_loop(0, 20, lambda i, c: c + i, v), lambda a: a + 190),
    "while": (lambda v: ops.while_loop(lambda c: ops.sum(c) < 50, lambda c: c + 1, v, maximum_iterations=30),
              lambda a: a + 4),
    "cond": (lambda v: ops.cond(ops.sum(v) > 0, lambda: v, lambda: -v), lambda a: a if a.sum() > 0 else -a),
    "switch": (lambda v: ops.switch(ops.argmax(v[0]), [lambda b: b, lambda b: b + 1, lambda b: -b], v),
               lambda a: -a),
    "moving slice": (lambda v: ops.slice(v, (0, ops.argmin(v[0])), (ops.shape(v)[0], 2)), lambda a: a[:, :2]),
    "moving update": (lambda v: ops.slice_update(v, (0, ops.argmax(v[0])), ops.ones_like(v[:, :1])),
                      lambda a: np.concatenate([a[:, :3], np.ones((len(a), 1), np.float32)], 1)),
    "remainder": (lambda v: v % 3 + v // 3 + 7 % (abs(v) + 1), lambda a: a % 3 + a // 3 + 7 % (abs(a) + 1)),
    "logic": (lambda v: (v > 0) & (v < 3) | ~(v > -2), lambda a: (a > 0) & (a < 3) | ~(a > -2)),
    "powers": (lambda v: 2 ** v + v ** 2, lambda a: 2 ** a + a ** 2),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_sizes(name):
    symbolic, numpy = UNKNOWN[name]
    value, expected = symbolic(x), numpy(ROWS)
    found = _run(value)
    assert found.dtype == expected.dtype and found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(symbolic(ROWS) if name != "by array" else found, expected, rtol=1e-5, atol=1e-6)


def _run(value, rows=ROWS):
    graph = graph_of({"y": value, "x": x})
    return evaluate(graph, {"x": rows} | {v.op.label: v.array for v in graph.state})[0]["y"]


@pytest.mark.parametrize("name", ["cumsum", "without last", "sort", "scatter", "remainder", "by array",
                                  "moving update"])
def test_native(name):
    graph = graph_of({"y": UNKNOWN[name][0](x)})
    program = compile_graph(graph, {v.op.label: v.array for v in graph.state})
    np.testing.assert_allclose(program(ROWS)[0], UNKNOWN[name][1](ROWS), rtol=1e-5, atol=1e-6)


def test_arrays_in_a_graph_are_constants():
    a = np.array([1.0, 2.0, 3.0, 4.0])
    first, second = x * a, np.array([1.0, 2.0, 3.0, 4.0]) * x
    assert first.dtype == x.dtype == second.dtype  # float64 is what NumPy makes of Python's numbers
    (state,) = graph_of({"y": first, "z": second}).state
    assert isinstance(state, Variable) and not state.trainable
    assert not graph_of({"y": x + np.ones(4)}).state  # equal numbers need no array
    np.testing.assert_allclose(_run(ops.add(x, [1, 2, 3, 4])), ROWS + np.array([1, 2, 3, 4]))


def test_a_layer_with_a_constant_trains_natively():
    class Scaled(graphc.Layer):
        def call(self, inputs):
            return ops.multiply(inputs, np.array([1, 2, 3, 4], "float32"))

    model = graphc.Sequential([Scaled(), graphc.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(ROWS, ROWS[:, :1], verbose=0)
    kernel, bias = model.get_weights()
    np.testing.assert_allclose(model.predict(ROWS, verbose=0), ROWS * [1, 2, 3, 4] @ kernel + bias, rtol=1e-4)


def test_variables_are_arrays_outside_and_values_inside_of_a_step():
    v = Variable(np.ones((2, 3), np.float32), "v")
    assert ops.sum(v) == 6 and isinstance(ops.reshape(v, -1), np.ndarray)
    ops.reshape(v, (3, 2))[:] = 7
    assert v.numpy().max() == 1  # results share no memory with it
    with tracing(Trace()):
        assert ops.sum(v).type == f.sum(v).type and v[0].shape == (3,)
        assert ops.zeros((2,)).shape == (2,) and not isinstance(ops.zeros((2,)), np.ndarray)


def test_numbers_take_the_other_dtype_and_have_keras_dtypes_alone():
    assert ops.dtype(ops.add(1, 2)) == "int32" and ops.dtype(ops.add(1, 2.0)) == "float32"
    assert ops.dtype(ops.add(np.uint8([1]), 2)) == "uint8" and ops.dtype(ops.mean([1, 2])) == "float32"
    assert ops.dtype([1, 2]) == "int32" and ops.dtype([1.0]) == "float32" and ops.dtype(np.float64(1)) == "float64"
    assert K.result_type("int32", float) == "float32" and K.result_type("uint8", int) == "uint8"


@pytest.mark.parametrize(("call", "words"), [
    (lambda: ops.add(x), "add(x1, x2): missing a required argument: 'x2'"),
    (lambda: ops.mean(x, axis=5), "axis 5 is out of range"),
    (lambda: ops.unique(x), "what it gives depends on them"),
    (lambda: ops.svd(x), "is computed of arrays only"),
    (lambda: ops.while_loop(lambda v: ops.sum(v) < 1, lambda v: v, x), "Give maximum_iterations"),
    (lambda: x[:3], "axis of unknown size N"),
    (lambda: x[x > 0], "Choose by a condition with ops.where"),
    (lambda: list(x), "can't be iterated over"),
    (lambda: bool(x > 0), "neither true nor false"),
    (lambda: np.asarray(x), "NumPy can't compute with it"),
    (lambda: ops.convert_to_numpy(x), "it has no numbers yet"),
    (lambda: ops.einsum("ij,jk", x), "has 2 terms, received 1 operands"),
    (lambda: ops.conv(np.ones((1, 4, 3)), np.ones((2, 2, 4))), "conv needs an input [N, 1 spatial axes"),
    (lambda: ops.image.resize(np.ones((1, 4, 4, 3)), (2, 2), interpolation="bilinaer"), "Did you mean 'bilinear'?"),
    (lambda: ops.add(["a"], 1), "Expected numbers"),
    (lambda: K.meen(x), "Did you mean 'mean'?"),
])
def test_errors(call, words):
    with pytest.raises((TypeError, ValueError, AttributeError), match=_escaped(words)):
        call()


def _escaped(words):
    import re

    return re.escape(words)


def test_equality_of_values():
    """Lists ask whether values are the same; ops, which elements are equal."""
    y = ops.square(x)
    assert x == x and x != y and x in [y, x] and x not in (y, None) and (x == None) is False  # noqa: E711
    assert ops.cast(x == y, "float32") is ops.cast(ops.equal(x, y), "float32")
    assert ops.where(x != 0, x, y) is ops.where(ops.not_equal(x, 0), x, y)
    assert (x == 1) & (y > 0) is ops.equal(x, 1) & (y > 0) and ~(x == np.float32(1)) is ~ops.equal(x, 1)
    for ask in (lambda: 1 if x == 1 else 0, lambda: 1 if (x == y) * 1.0 else 0, lambda: float(x), lambda: int(x)):
        with pytest.raises(TypeError, match="symbolic"):
            ask()


def test_equality_of_variables():
    """Numbers outside of a step, elements inside."""
    variable = Variable(np.float32([1, 2]), "v")
    assert (variable == 1).tolist() == [True, False] and (variable != [1, 3]).tolist() == [False, True]
    assert variable in [variable] and variable != None  # noqa: E711
    assert graphc.optimizers.SGD(0.5).learning_rate == 0.5
    x = f.input("x", (2,))
    assert now(ops.sum(ops.cast(variable == x, "float32")), {x: np.float32([1, 1])}) == 1
    with tracing(Trace()), pytest.raises(TypeError, match="neither true nor false"):
        bool(variable == 1)


# ------------------------------------------------------------------------------------------------ random numbers

def test_a_seed_repeats_and_a_generator_moves_on():
    assert np.array_equal(random.normal((3,), seed=1), random.normal((3,), seed=1))
    generator = random.SeedGenerator(1)
    first = random.uniform((3,), seed=generator)
    assert not np.array_equal(first, random.uniform((3,), seed=generator))
    assert np.array_equal(first, random.uniform((3,), seed=random.SeedGenerator(1)))
    graphc.utils.set_random_seed(3)
    again = random.uniform((3,))
    graphc.utils.set_random_seed(3)
    assert np.array_equal(again, random.uniform((3,)))


def test_distributions():
    n = 20_000
    unit, normal, cut = (g((n,), seed=5) for g in (random.uniform, random.normal, random.truncated_normal))
    assert unit.min() >= 0 and unit.max() < 1 and abs(unit.mean() - 0.5) < 0.01
    assert abs(normal.mean()) < 0.03 and abs(normal.std() - 1) < 0.03
    assert np.abs(cut).max() <= 2 and abs(cut.std() - 0.8796) < 0.02
    whole = random.randint((n,), -2, 3, seed=5)
    assert whole.dtype == np.int32 and set(whole.tolist()) == {-2, -1, 0, 1, 2}
    drawn = random.categorical(np.log([[0.7, 0.2, 0.1]]), n, seed=5)
    np.testing.assert_allclose(np.bincount(drawn[0]) / n, [0.7, 0.2, 0.1], atol=0.02)
    kept = random.dropout(np.ones(n, np.float32), 0.25, seed=5)
    assert set(kept.tolist()) == {0.0, np.float32(4 / 3)} and abs(kept.mean() - 1) < 0.02
    mixed = random.shuffle(np.arange(50), seed=5)
    assert sorted(mixed) == list(range(50)) and list(mixed) != list(range(50))


def test_a_generator_moves_on_with_every_step():
    class Noise(graphc.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.generator = random.SeedGenerator(4)

        def call(self, inputs):
            return inputs + random.normal(ops.shape(inputs), seed=self.generator)

    trace = Trace()
    with tracing(trace):
        Noise().call(x)
    ((state, after),) = trace.updates.items()
    assert run(after, {state.op.label: state.array}).tolist() == [4, 1]


# ------------------------------------------------------------------------------------------------------ backend

def test_old_functions():
    assert K.argmax(ROWS).tolist() == [3, 3, 3] and K.concatenate([ROWS, ROWS]).shape == (3, 8)
    assert K.batch_dot(np.ones((2, 3)), np.ones((2, 3)), axes=1).tolist() == [[3], [3]]
    np.testing.assert_allclose(K.l2_normalize(ROWS, 1), ROWS / np.sqrt((ROWS ** 2).sum(1, keepdims=True)), rtol=1e-6)
    v = K.variable([1.0, 2.0])
    K.update_add(v, [1.0, 1.0])
    assert K.get_value(v).tolist() == [2, 3] and K.mean(K.square(v)) == 6.5
    assert K.switch(True, 1.0, 2.0) == 1 and K.epsilon() == 1e-7 and K.image_data_format() == "channels_last"


def test_rearrange():
    a = np.arange(24).reshape(2, 12)
    assert np.array_equal(ops.rearrange(a, "b (h w) -> w b h", h=3), a.reshape(2, 3, 4).transpose(2, 0, 1))
    assert ops.rearrange(x, "n (h w) -> h (n w)", h=2).shape == (2, 2 * N)
    with pytest.raises(ShapeError, match="names 1 axes"):
        ops.rearrange(a, "b -> b")


def test_custom_gradient():
    scale = np.array([1.0, 2.0, 3.0, 4.0], np.float32)

    @ops.custom_gradient
    def twice(v):
        return v * 2, lambda upstream: ops.clip(upstream, -1, 1) * scale

    assert np.array_equal(twice(ROWS), ROWS * 2)

    class Clipped(graphc.Layer):
        def build(self, input_shape):
            self.w = self.add_weight(shape=(4,), initializer="ones", name="w")

        def call(self, inputs):
            return twice(inputs * self.w)

    for backend in ("numpy", "native"):
        model = graphc.Sequential([Clipped()])
        model.compile(graphc.optimizers.SGD(1.0), lambda y, p: ops.sum(ops.cast(y, p.dtype) * p, axis=-1) * 30)
        with graphc.config(backend=backend):
            model.fit(np.ones((3, 4), "float32"), np.ones((3, 4), "float32"), verbose=0, batch_size=3)
        np.testing.assert_allclose(model.get_weights()[0], 1 - 3 * scale, rtol=1e-6)
