"""The functions of graphc.ops beside Keras's: values and dtypes, of arrays and within a graph, and gradients."""

from __future__ import annotations

import numpy as np
import pytest
from cases_ops import CASES
from keras_numbers import keras_numbers
from samples import check_gradients, each, graph_of

from graphc import ops
from graphc.eager import now
from graphc.ir import functions as f
from graphc.ir.graph import Value
from graphc.ir.tree import flat

KNOWN = keras_numbers("ops")
EXPECTED: dict[int, list[np.ndarray]] = {}
for key in sorted(KNOWN, key=lambda k: tuple(map(int, k.split(".")))):
    EXPECTED.setdefault(int(key.split(".")[0]), []).append(KNOWN[key])


def function(name):
    result = ops
    for part in name.split("."):
        result = getattr(result, part)
    return result


def described(i):
    name, args, kwargs = CASES[i]
    shapes = [f"{a.dtype}{list(a.shape)}" if isinstance(a, np.ndarray) else str(a)[:20] for a in args]
    return f"{i}-{name}-{'-'.join(shapes)}-{kwargs}"


def parts(result):
    return [np.asarray(part) for part in flat(result)]


# where Keras on torch departs from Keras on its other backends, or from its own documentation
FAULTS = {
    ("sign", "nan"): lambda args, kwargs: np.isnan(args[0]).any() if args[0].dtype.kind == "f" else False,
    ("count_nonzero", "a transposed result"): lambda args, kwargs: "axis" in kwargs,
    ("pad", "one number for all axes, and repeated edges"): lambda args, kwargs: (
        args[1] == 1 or kwargs.get("mode") == "symmetric"),
    ("take", "from the end of a flattened array"): lambda args, kwargs: "axis" not in kwargs,
    ("top_k", "positions in int64"): lambda args, kwargs: True,
    ("sparsemax", "sums of sums, so that rows do not add up to 1"): lambda args, kwargs: True,
    ("image.resize", "another cubic than TensorFlow's and JAX's, but with antialias"): lambda args, kwargs: (
        kwargs.get("interpolation") == "bicubic" and "antialias" not in kwargs),
    ("image.affine_transform", "the denominator left out"): lambda args, kwargs: np.any(args[1][:, 6:]),
}


def is_fault(i):
    name, args, kwargs = CASES[i]
    return any(wrong(args, kwargs) for (n, _), wrong in FAULTS.items() if n == name)


@pytest.mark.parametrize("i", [i for i in EXPECTED if not is_fault(i)], ids=described)
def test_arrays(i):
    name, args, kwargs = CASES[i]
    found = parts(function(name)(*args, **kwargs))
    expected = EXPECTED[i]
    assert [a.shape for a in found] == [a.shape for a in expected]
    for a, b in zip(found, expected, strict=True):
        if name not in ("shape", "size", "ndim"):
            assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-5)


def symbolic(i, wide=False):
    """The call with inputs in the place of its arrays: its result, and the arrays by label."""
    name, args, kwargs = CASES[i]
    arrays = {}

    def symbol(x):
        if isinstance(x, list | tuple) and any(isinstance(part, np.ndarray) for part in x):
            return type(x)(map(symbol, x))
        if not isinstance(x, np.ndarray):
            return x
        label = f"x{len(arrays)}"
        arrays[label] = x.astype(np.float64) if wide and x.dtype == np.float32 else x
        return f.input(label, x.shape, arrays[label].dtype)

    args = tuple(map(symbol, args))
    kwargs = {k: symbol(v) for k, v in kwargs.items()}
    return function(name)(*args, **kwargs), arrays


# their sizes depend on numbers, or they have no gradient
OF_ARRAYS = {"cholesky", "pinv", "slogdet", "logdet", "matrix_rank", "solve_triangular", "lu_factor", "unique",
             "histogram", "segment_max", "bincount", "gcd", "lcm", "i0", "nextafter"}


def of_arrays(i):
    name, args, kwargs = CASES[i]
    return name in OF_ARRAYS or (name == "norm" and kwargs.get("ord") == 2) or not any(
        isinstance(a, np.ndarray) for a in flat(list(args)))


WITHIN = [i for i in range(len(CASES)) if not of_arrays(i)]


@pytest.mark.parametrize("i", each(3, WITHIN), ids=described)
def test_within_a_graph(i):
    name, args, kwargs = CASES[i]
    result, arrays = symbolic(i)
    known = {v: arrays[v.op.label] for p in flat(result) if isinstance(p, Value) for v in graph_of({"y": p}).inputs}
    expected = parts(function(name)(*args, **kwargs))
    for a, b, value in zip(parts(now(result, known)), expected, flat(result), strict=True):
        np.testing.assert_array_equal(a, b)
        assert not isinstance(value, Value) or (value.shape == b.shape and value.dtype.numpy == b.dtype)


def differentiable(i):
    """Whether finite differences say something: there are floats, in and out, and not too many of them."""
    name, args, _ = CASES[i]
    floats = [a for a in flat(list(args)) if isinstance(a, np.ndarray) and a.dtype == np.float32]
    return (floats and all(np.isfinite(a).all() for a in floats) and sum(a.size for a in floats) <= 60
            and name not in ("stop_gradient", "round", "divide_no_nan", "image.map_coordinates"))  # or at a corner


@pytest.mark.parametrize("i", each(3, [i for i in WITHIN if differentiable(i)]), ids=described)
def test_gradients(i, rng):
    result, arrays = symbolic(i, wide=True)
    values = [v for v in flat(result) if isinstance(v, Value) and v.dtype.name == "f64"]
    if not values:
        pytest.skip("no float comes out")
    total = None
    for k, v in enumerate(values):
        weights = rng.standard_normal(v.shape)
        arrays[f"w{k}"] = weights
        part = f.sum(v * f.input(f"w{k}", v.shape, "f64"))
        total = part if total is None else total + part
    graph = graph_of({"y": total})
    arrays = {v.op.label: arrays[v.op.label] for v in graph.inputs} | {v.op.label: v.array for v in graph.state}
    wrt = [v for v in graph.inputs if v.dtype.name == "f64"]
    check_gradients(total, arrays, wrt, rtol=1e-4, atol=1e-5)
