"""The NumPy-like functions against NumPy: broadcasting, promotion, matrix products, windows, errors."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from samples import graph_of, run, sample

from graphc.ir import functions as f
from graphc.ir.errors import DTypeError, ShapeError
from graphc.ir.evaluate import by_definition, evaluate
from graphc.ir.types import DTYPES, dim

N = dim("N")
F = {d: f.input(d, (2, 3), d) for d in DTYPES}


def inputs(rng, *shapes, dtype="f64"):
    """Inputs a, b, ... of the shapes, and arrays for them."""
    values = [f.input(name, shape, dtype) for name, shape in zip("abcd", shapes, strict=False)]
    return values, {v.op.label: sample(rng, v.type) for v in values}


def check(value, arrays, expected, rtol=1e-6):
    """Both interpreters give the expected array."""
    expected = np.asarray(expected)
    for interpret in ({}, {"interpreter": by_definition}):
        found = evaluate(graph_of({"y": value}), arrays, **interpret)[0]["y"]
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-7)


@pytest.mark.parametrize(("a", "b"), [((2, 3), (3,)), ((2, 1), (1, 3)), ((), (2, 3)), ((4, 1, 3), (2, 1)),
                                      ((1,), (1, 1)), ((2, 3), (2, 3))])
def test_broadcasting(a, b, rng):
    (x, y), arrays = inputs(rng, a, b)
    check(x + y, arrays, arrays["a"] + arrays["b"])
    check(f.where(x < y, x, y), arrays, np.minimum(arrays["a"], arrays["b"]))
    check(f.maximum(y, x), arrays, np.maximum(arrays["a"], arrays["b"]))


def test_broadcasting_of_symbolic_sizes():
    x = f.input("x", (N, 3))
    assert (x + f.input("b", (3,))).shape == (N, 3)
    assert (x + f.input("c", (1, 1))).shape == (N, 3)
    with pytest.raises(ShapeError, match=r"\[N,3\] and \[4,3\] do not broadcast together: N is not 4"):
        x + f.input("d", (4, 3))


def test_operators_and_numbers(rng):
    (x,), arrays = inputs(rng, (2, 3))
    a = arrays["a"]
    check(1 - x, arrays, 1 - a)
    check(2 / x, arrays, 2 / a)
    check(-x * 3 + 1, arrays, -a * 3 + 1)
    check((x * x) ** 1.5, arrays, (a * a) ** 1.5)
    check(np.float32(0.5) + x, arrays, 0.5 + a)
    check(f.clip(x, -0.5, 0.5), arrays, np.clip(a, -0.5, 0.5))
    check(x > 0, arrays, a > 0)


ORDER = ["bool", "u8", "u32", "i32", "i64", "f32", "f64"]


@pytest.mark.parametrize(("a", "b"), list(itertools.combinations_with_replacement(ORDER, 2)))
def test_promotion_takes_the_wider(a, b):
    assert f.add(F[a], F[b]).dtype.name == f.add(F[b], F[a]).dtype.name == b
    assert f.divide(F[a], F[b]).dtype.name == (b if b[0] == "f" else "f32")


@pytest.mark.parametrize("d", ORDER)
def test_promotion_with_numbers(d):
    assert (F[d] + 1).dtype.name == ("i32" if d == "bool" else d)
    assert (F[d] + 0.5).dtype.name == (d if d[0] == "f" else "f32")
    assert (F[d] + True).dtype.name == d
    assert f.exp(F[d]).dtype.name == (d if d[0] == "f" else "f32")
    assert f.mean(F[d]).dtype.name == (d if d[0] == "f" else "f32")
    assert f.sum(F[d]).dtype.name == ("i32" if d == "bool" else d)


def test_an_array_is_a_constant_only_where_something_makes_one_of_it(monkeypatch):
    x, array = f.input("x", (3,)), np.array([1.0, 2.0, 3.0])
    monkeypatch.setattr(f, "_LIFT", [])
    with pytest.raises(DTypeError, match="make it an input, a weight or a number"):
        f.add(x, array)
    f.lift_arrays_with(lambda a: f.state("lifted", a.shape, a.dtype))
    for y in (f.add(x, array), array + x):
        assert str(y.type) == "f32[3]" and {"x", "lifted"} == {v.op.label for v in y.operands}


@pytest.mark.parametrize(("a", "b"), [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((2, 3), (3, 4)),
                                      ((5, 2, 3), (3, 4)), ((5, 2, 3), (5, 3, 4)), ((6, 5, 2, 3), (5, 3, 4)),
                                      ((5, 1, 2, 3), (4, 3, 2)), ((3,), (5, 3, 4)), ((5, 2, 3), (3,))])
def test_matmul(a, b, rng):
    (x, y), arrays = inputs(rng, a, b)
    check(x @ y, arrays, arrays["a"] @ arrays["b"])


def test_matmul_errors():
    with pytest.raises(ShapeError, match=r"last axis of f32\[2,3\] does not match the rows of f32\[2,3\]"):
        F["f32"] @ F["f32"]
    with pytest.raises(ShapeError, match="at least one axis"):
        f.matmul(f.constant(1.0), F["f32"])


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2), (1,)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_reductions(axis, keepdims, rng):
    (x,), arrays = inputs(rng, (2, 3, 4))
    for name in ("sum", "max", "min", "mean"):
        expected = getattr(np, name)(arrays["a"], axis, keepdims=keepdims)
        check(getattr(f, name)(x, axis, keepdims), arrays, expected)


def test_argmax_and_one_hot(rng):
    (x,), arrays = inputs(rng, (4, 5))
    check(f.argmax(x, -1), arrays, arrays["a"].argmax(-1))
    check(f.argmax(x), arrays, arrays["a"].argmax())
    check(f.one_hot(f.argmax(x, 1), 5), arrays, np.eye(5)[arrays["a"].argmax(1)])


def test_softmax_and_friends(rng):
    (x,), arrays = inputs(rng, (4, 5))
    a = arrays["a"]
    p = np.exp(a) / np.exp(a).sum(1, keepdims=True)
    check(f.softmax(x), arrays, p)
    check(f.softmax(x, 0), arrays, np.exp(a) / np.exp(a).sum(0))
    check(f.log_softmax(x), arrays, np.log(p))
    check(f.logsumexp(x, -1, True), arrays, np.log(np.exp(a).sum(1, keepdims=True)))
    large = {"a": a * 1000}
    assert np.isfinite(run(f.log_softmax(x), large)).all() and np.isfinite(run(f.softmax(x), large)).all()


def test_activations(rng):
    (x,), arrays = inputs(rng, (4, 5))
    a = arrays["a"]
    erf = np.vectorize(math.erf)
    for value, expected in (
            (f.relu6(x * 5), np.clip(a * 5, 0, 6)), (f.leaky_relu(x), np.where(a > 0, a, 0.2 * a)),
            (f.elu(x), np.where(a > 0, a, np.expm1(a))), (f.silu(x), a / (1 + np.exp(-a))),
            (f.gelu(x, False), a * 0.5 * (1 + erf(a / math.sqrt(2)))), (f.softsign(x), a / (1 + abs(a))),
            (f.selu(x), 1.0507009873554805 * np.where(a > 0, a, 1.6732632423543772 * np.expm1(a))),
            (f.gelu(x), 0.5 * a * (1 + np.tanh(math.sqrt(2 / math.pi) * (a + 0.044715 * a**3)))),
            (f.rsqrt(x * x), 1 / abs(a)), (f.square(x), a * a), (f.softplus(x), np.log1p(np.exp(a)))):
        check(value, arrays, expected)


def test_movement(rng):
    (x,), arrays = inputs(rng, (2, 3, 4))
    a = arrays["a"]
    check(f.reshape(x, (4, -1)), arrays, a.reshape(4, -1))
    check(f.transpose(x), arrays, a.T)
    check(f.transpose(x, (0, 2, 1)), arrays, a.swapaxes(1, 2))
    check(f.flip(x, (0, -1)), arrays, np.flip(a, (0, -1)))
    check(f.slice(x, (0, 1, 2), (2, 2, 1)), arrays, a[:, 1:3, 2:3])
    widths = [(0, 0), (1, 2), (0, 1)]
    check(f.pad(x, widths, 7.0), arrays, np.pad(a, widths, constant_values=7.0))
    check(f.concatenate([x, x * 2, x], 1), arrays, np.concatenate([a, a * 2, a], 1))
    check(f.expand_dims(x, -1), arrays, a[..., None])
    check(f.squeeze(f.expand_dims(x, 1)), arrays, a)
    check(f.broadcast_to(x, (5, 2, 3, 4)), arrays, np.broadcast_to(a, (5, 2, 3, 4)))


def test_reshape_of_symbolic_sizes():
    x = f.input("x", (N, 4, 3))
    assert f.reshape(x, (N, -1)).shape == (N, 12)
    assert f.reshape(x, (-1, 3)).shape == (4 * N, 3)
    assert f.reshape(x, (-1,)).shape == (12 * N,)
    with pytest.raises(ShapeError, match="do not divide"):
        f.reshape(x, (-1, 5))


def test_functions_that_change_nothing_make_nothing():
    x = f.input("x", (2, 3))
    assert f.reshape(x, (2, 3)) is f.transpose(x, (0, 1)) is f.cast(x, "f32") is x
    assert f.broadcast_to(x, (2, 3)) is f.pad(x, [(0, 0), (0, 0)]) is f.slice(x, (0, 0), (2, 3)) is x
    assert f.dropout(x, 0.0, f.state("key", (2,), "u32"), 0) is x


# ------------------------------------------------------------------------------------ convolution and pooling

def _pad_same(a, size, strides, dilation, value):
    widths = [(0, 0)]
    for n, k, s, d in zip(a.shape[1:-1], size, strides, dilation, strict=True):
        total = max((math.ceil(n / s) - 1) * s + (k - 1) * d + 1 - n, 0)
        widths.append((total // 2, total - total // 2))
    return np.pad(a, [*widths, (0, 0)], constant_values=value)


def _windows(a, size, strides, dilation):
    """The windows of [N, *spatial, C], written as loops: (position, window [N, *size, C])."""
    counts = [(n - (k - 1) * d - 1) // s + 1 for n, k, s, d in
              zip(a.shape[1:-1], size, strides, dilation, strict=True)]
    for position in np.ndindex(*counts):
        where = tuple(slice(p * s, p * s + (k - 1) * d + 1, d) for p, s, k, d in
                      zip(position, strides, size, dilation, strict=True))
        yield counts, position, a[(slice(None), *where)]


def naive(a, size, strides, dilation, padding, value, each):
    """Apply `each` to every window."""
    a = _pad_same(a, size, strides, dilation, value) if padding == "same" else a
    result = None
    for counts, position, window in _windows(a, size, strides, dilation):
        part = each(window)
        if result is None:
            result = np.zeros((a.shape[0], *counts, part.shape[-1]))
        result[(slice(None), *position)] = part
    return result


@pytest.mark.parametrize(("shape", "kernel", "strides", "dilation"), [
    ((2, 7, 6, 3), (3, 2, 3, 4), (1, 1), (1, 1)), ((1, 8, 9, 2), (3, 3, 2, 1), (2, 3), (1, 1)),
    ((1, 9, 8, 1), (2, 3, 1, 2), (1, 1), (2, 3)), ((2, 9, 3), (4, 3, 2), (2,), (1,)),
    ((1, 4, 5, 4, 2), (2, 3, 2, 2, 3), (1, 2, 1), (1, 1, 1))])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_conv(shape, kernel, strides, dilation, padding, rng):
    (x, w), arrays = inputs(rng, shape, kernel)
    rank = len(strides)
    expected = naive(arrays["a"], kernel[:rank], strides, dilation, padding, 0,
                     lambda window: np.tensordot(window, arrays["b"], rank + 1))
    check(f.conv(x, w, strides, padding, dilation), arrays, expected)


@pytest.mark.parametrize(("shape", "size", "strides"), [
    ((2, 6, 7, 3), (2, 2), None), ((1, 7, 7, 2), (3, 3), (2, 2)), ((2, 9, 2), (3,), (1,)),
    ((1, 5, 5, 1), (2, 3), (3, 1))])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_pooling(shape, size, strides, padding, rng):
    (x,), arrays = inputs(rng, shape)
    axes, ones, step = tuple(range(1, len(size) + 1)), (1,) * len(size), strides or size
    for pool, reduce, value in ((f.max_pool, np.max, -np.inf), (f.average_pool, np.nanmean, np.nan)):
        expected = naive(arrays["a"], size, step, ones, padding, value, lambda w, r=reduce: r(w, axis=axes))
        check(pool(x, size, strides, padding), arrays, expected)


@pytest.mark.parametrize("dtype", ["u8", "i32", "i64", "bool"])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_pooling_of_integers(dtype, padding, rng):
    (x,), arrays = inputs(rng, (2, 7, 5, 3), dtype=dtype)
    arrays["a"] = (arrays["a"] * 50).astype(x.dtype.numpy)  # the sum of a window is more than a u8 holds
    step, axes = ((3, 2), (2, 2), (1, 1)), (1, 2)
    for pool, reduce, value in ((f.max_pool, np.max, -np.inf), (f.average_pool, np.nanmean, np.nan)):
        expected = naive(arrays["a"].astype(float), *step, padding, value, lambda w, r=reduce: r(w, axis=axes))
        check(pool(x, *step[:2], padding), arrays, expected)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_fold_adds_what_windows_read(k, rng):
    for stride, dilation in itertools.product(range(1, 7), repeat=2):
        x = f.input("x", (1, (k - 1) * dilation + 2 * stride + 2, 1))
        taps = f.windows(x, (k,), (stride,), (dilation,))
        found = f.fold(taps, x.shape[1:-1], (stride,), (dilation,))
        arrays = {"x": np.ones(x.shape, np.float32)}
        reads = np.zeros(x.shape)
        for _, (h,), _ in _windows(arrays["x"], (k,), (stride,), (dilation,)):
            reads[:, h * stride + np.arange(k) * dilation] += 1
        check(found, arrays, reads)


def test_conv_of_symbolic_extents():
    x = f.input("x", (N, 28, dim("W"), 1))
    assert f.conv(x, f.input("w", (3, 1, 1, 8))).shape == (N, 26, dim("W"), 8)
    assert f.conv(x, f.input("v", (3, 3, 1, 8)), padding="same").shape == (N, 28, dim("W"), 8)
    assert str(f.conv(x, f.input("v", (3, 3, 1, 8)), 2).type) == "f32[N,13,((W+1)//2)-1,8]"
    assert str(f.conv(x, f.input("v", (3, 3, 1, 8)), 2, "same").type) == "f32[N,14,((W+1)//2),8]"
    assert str(f.max_pool(x, (1, 1), 2).type) == "f32[N,14,((W+1)//2),1]"
    with pytest.raises(ShapeError, match="stride 3 beyond a window of 2 needs known extents"):
        f.conv(x, f.input("v", (2, 2, 1, 8)), 3, "same")


@pytest.mark.parametrize(("call", "words"), [
    (lambda x: f.conv(x, f.input("w", (3, 3, 2, 8))), "needs an input .* 2 channels"),
    (lambda x: f.conv(x, f.input("w", (3, 3, 1, 8)), padding="full"), "padding must be 'valid' or 'same'"),
    (lambda x: f.conv(x, f.input("w", (3, 3, 1, 8)), (1, 2, 3)), "strides must be a positive integer or 2"),
    (lambda x: f.max_pool(x, 0), "pool_size must be a positive integer"),
    (lambda x: f.max_pool(x, 9), "a window of size 9"),
    (lambda x: f.sum(x, 4), "The axis 4 is out of range"),
    (lambda x: f.broadcast_to(x, (1, 1, 1, 1)), "does not broadcast to the shape"),
    (lambda x: f.broadcast_to(x, (2, 2)), "do not broadcast together"),
    (lambda x: f.reshape(x, (7,)), "can't turn"),
])
def test_errors(call, words):
    with pytest.raises(ShapeError, match=words):
        call(f.input("x", (1, 8, 8, 1)))


# ----------------------------------------------------------------------------------------------------- random

def test_random_bits_are_threefry():
    """The first known answers of the Random123 library for threefry2x32 with 20 rounds."""
    key = f.input("key", (2,), "u32")
    bits = run(f.random_bits(key, (2,), 0), {"key": np.zeros(2, np.uint32)})
    assert hex(bits[0]) == "0x6b200159"


def test_uniform_and_dropout(rng):
    key, x = f.input("key", (2,), "u32"), f.input("x", (200, 50))
    arrays = {"key": rng.integers(0, 2**32, 2, dtype=np.uint32), "x": np.ones((200, 50), np.float32)}
    u = run(f.uniform(key, (200, 50), 1), arrays | {})
    assert u.dtype == np.float32 and u.min() >= 0 and u.max() < 1
    assert abs(u.mean() - 0.5) < 0.02 and abs(u.var() - 1 / 12) < 0.005
    y = run(f.dropout(x, 0.25, key, 2), arrays)
    assert set(np.unique(y)) <= {0.0, np.float32(1 / 0.75)}
    assert abs((y == 0).mean() - 0.25) < 0.03
    other = run(f.dropout(x, 0.25, key, 3), arrays)
    assert (y != other).any()
    assert run(f.dropout(x, 1.0, key, 2), {"x": arrays["x"]}).sum() == 0
