"""Scheduled loops of many kernels: interpreted = native = reference, at odd sizes, for several machines."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from kernels import MACHINES, TARGETS, lowered, region, run_interpreted, run_native
from samples import each, sample

from graphc.ir import functions as f
from graphc.ir.evaluate import evaluate
from graphc.ir.ops.rowwise import Softmax
from graphc.ir.types import dim
from graphc.runtime.loops import For, Store, Update, walk

N, T = dim("N"), dim("T")
ROWS = (1, 2, 5, 17, 64)


def x(*shape, dtype="f32", label="x"):
    return f.input(label, shape, dtype)


def w(*shape, dtype="f32"):
    return f.input("w", shape, dtype)


def conv(h, c, k, o, *, width=None, **options):
    return lambda: (f.conv(x(N, h, width or h, c), w(k, k, c, o), **options),)


def filter_gradient(h, c, k, o, strides=1, dilation=1):
    n = (h - (k - 1) * dilation - 1) // strides + 1
    taps = f.windows(x(N, h, h, c), (k, k), (strides,) * 2, (dilation,) * 2)
    return (f.einsum("nhwuvc,nhwo->uvco", taps, f.input("g", (N, n, n, o))),)


def image_gradient(h, c, k, o, strides=1, dilation=1):
    n = (h - (k - 1) * dilation - 1) // strides + 1
    taps = f.einsum("nhwo,uvco->nhwuvc", f.input("g", (N, n, n, o)), w(k, k, c, o))
    return (f.fold(taps, (h, h), (strides,) * 2, (dilation,) * 2),)


def adam():
    m, v, g, p = (f.input(name, (40,)) for name in "mvgp")
    t = f.cast(f.input("t", (), "i64"), "f32") + 1.0
    m, v = m + (g - m) * 0.1, f.square(v) + (g * g - f.square(v)) * 0.001
    rate = 0.01 * f.sqrt(1.0 - f.power(0.999, t)) / (1.0 - f.power(0.9, t))
    return m, v, p - rate * m / (f.sqrt(v) + 1e-3)


def crossentropy(classes):
    z, y = x(N, classes), f.input("y", (N, classes))
    top = f.expand_dims(f.logsumexp(z), -1)
    return f.sum(y * (top - z), -1), f.exp(z - top) - y


def labels(classes):
    z, y = x(N, classes), f.one_hot(f.input("y", (N,), "i32"), classes)
    return f.sum(y * (f.logsumexp(z, -1, True) - z), -1), f.softmax(z) - y


def dropout():
    key = f.input("key", (2,), "u32")
    return f.dropout(x(N, 13), 0.3, key, 5), f.random_bits(key, (N, 13), 5)


def argmax_pool():
    taps = f.windows(x(N, 6, 6, 5), (2, 2), (2, 2), (1, 1))
    return f.max_pool(x(N, 6, 6, 5), 2), f.argmax_over(taps, (3, 4), "i32")


KERNELS = {
    # products of matrices
    "a@b": lambda: (x(N, 7) @ w(7, 37),),
    "a@b, whole vectors": lambda: (x(N, 16) @ w(16, 64),),
    "a@b, 10 columns": lambda: (x(N, 50) @ w(50, 10),),
    "a@b, 1 column": lambda: (x(N, 37) @ w(37, 1),),
    "a@b, 1 deep": lambda: (x(N, 1) @ w(1, 20),),
    "a@b.T": lambda: (f.einsum("ik,jk->ij", x(N, 23), w(19, 23)),),
    "a.T@b, batch reduced": lambda: (f.einsum("ni,nj->ij", x(N, 13), f.input("g", (N, 21))),),
    "a.T@b, 1 column": lambda: (f.einsum("ni,nj->ij", x(N, 40), f.input("g", (N, 1))),),
    "a.T@b": lambda: (f.einsum("ki,kj->ij", x(9, N), w(9, 18)),),
    "a.T@b.T": lambda: (f.einsum("ki,jk->ij", x(9, N), w(18, 9)),),
    "known sizes": lambda: (x(11, 13) @ w(13, 35),),
    "row @ matrix": lambda: (x(33) @ w(33, 17),),
    "matrix @ column": lambda: (x(N, 33) @ w(33),),
    "dot": lambda: (f.einsum("i,i->", x(N), f.input("v", (N,))),),
    "outer": lambda: (f.einsum("i,j->ij", x(N), w(21)),),
    "batched": lambda: (f.einsum("bik,bkj->bij", x(N, 4, 9), f.input("v", (N, 9, 17))),),
    "batched, transposed": lambda: (f.einsum("bid,bjd->bij", x(N, 4, 8), f.input("v", (N, 6, 8))),),
    "batched, unknown rows": lambda: (f.einsum("btk,bkj->btj", x(N, T, 9), f.input("v", (N, 9, 17))),),
    "rows shared by columns": lambda: (f.einsum("nvk,kv->nv", x(N, 24, 9), w(9, 24)),),
    "flat rows@b": lambda: (f.reshape(x(N, 12, 8), (-1, 8)) @ w(8, 20),),
    "batched, known": lambda: (f.einsum("bki,bkj->bij", x(3, 5, 4), f.input("v", (3, 5, 18))),),
    "weights over steps": lambda: (f.sum(f.einsum("tng,tnf->tfg", f.input("g", (40, N, 150)), x(40, N, 130)), 0),),
    "dense": lambda: (f.relu(x(N, 30) @ w(30, 24) + f.input("b", (24,))),),
    "dense tanh 1": lambda: (f.tanh(x(N, 30) @ w(30, 1) + f.input("b", (1,))),),
    "scaled operands": lambda: ((x(N, 30) * 0.5) @ f.exp(w(30, 24) * 0.1),),
    "f64": lambda: (x(N, 7, dtype="f64") @ w(7, 19, dtype="f64"),),
    "i32": lambda: (x(N, 7, dtype="i32") @ w(7, 19, dtype="i32"),),
    "i64": lambda: (x(N, 7, dtype="i64") @ w(7, 19, dtype="i64"),),
    # convolutions
    "conv": conv(7, 3, 3, 19),
    "conv bias relu": lambda: (f.relu(f.conv(x(N, 6, 7, 2), w(3, 3, 2, 32)) + f.input("b", (32,))),),
    "conv 1 channel": conv(9, 1, 3, 32),
    "conv 1 filter": conv(6, 4, 3, 1),
    "conv 1x1": conv(5, 6, 1, 20),
    "conv 1x1 strided": conv(5, 6, 1, 20, strides=2),
    "conv same": conv(7, 3, 3, 17, padding="same"),
    "conv same even": conv(6, 2, 4, 16, padding="same"),
    "conv strided": conv(9, 2, 3, 18, strides=2),
    "conv same strided": conv(8, 2, 3, 18, strides=2, padding="same"),
    "conv same strided 3": conv(10, 2, 4, 8, strides=3, padding="same"),
    "conv dilated": conv(9, 2, 3, 9, dilation_rate=2),
    "conv same dilated": conv(7, 2, 3, 9, dilation_rate=2, padding="same"),
    "conv line": lambda: (f.conv(x(N, 12, 3), w(5, 3, 17)),),
    "conv volume": lambda: (f.conv(x(N, 4, 4, 4, 2), w(2, 2, 2, 2, 9)),),
    "conv of unknown width": lambda: (f.conv(x(N, T, 3), w(5, 3, 17), padding="same"),),
    "filter gradient": lambda: filter_gradient(7, 3, 3, 18),
    "filter gradient 1 channel": lambda: filter_gradient(8, 1, 3, 32),
    "filter gradient 1x1": lambda: filter_gradient(5, 4, 1, 16),
    "filter gradient strided": lambda: filter_gradient(9, 2, 3, 10, strides=2),
    "filter gradient dilated": lambda: filter_gradient(9, 2, 3, 10, dilation=2),
    "filter gradient same": lambda: (f.einsum("nhwuvc,nhwo->uvco", f.windows(f.pad(
        x(N, 6, 6, 2), ((0, 0), (1, 1), (1, 1), (0, 0))), (3, 3), (1, 1), (1, 1)), f.input("g", (N, 6, 6, 16))),),
    "image gradient": lambda: image_gradient(5, 3, 3, 6),
    "image gradient wide": lambda: image_gradient(5, 20, 3, 2),
    "image gradient 1x1": lambda: image_gradient(4, 16, 1, 3),
    "image gradient strided": lambda: image_gradient(7, 8, 3, 2, strides=2),
    "image gradient strided 3": lambda: image_gradient(10, 8, 4, 1, strides=3),
    "image gradient dilated": lambda: image_gradient(7, 8, 3, 2, dilation=2),
    # rows
    "softmax": lambda: (f.softmax(x(N, 10)),),
    "softmax 37": lambda: (f.softmax(x(N, 37)),),
    "softmax of an inner axis": lambda: (f.softmax(x(N, 5, 18), 1),),
    "softmax of the batch": lambda: (f.softmax(x(N, 18), 0),),
    "softmax of 3 axes": lambda: (f.softmax(x(N, 3, 4, 18), 1),),
    "softmax 150": lambda: (f.softmax(x(N, 150)),),
    "log softmax": lambda: (f.log_softmax(x(N, 21)),),
    "crossentropy": lambda: crossentropy(10),
    "crossentropy 40": lambda: crossentropy(40),
    "crossentropy of labels": lambda: labels(10),
    "crossentropy of 150 labels": lambda: labels(150),
    "logsumexp of padded rows": lambda: (f.logsumexp(f.pad(x(N, 5, 3), ((0, 0), (1, 2), (0, 0)), 1.0)),),
    "layer norm": lambda: ((x(N, 33) - f.mean(x(N, 33), -1, True)) * f.rsqrt(
        f.mean(f.square(x(N, 33) - f.mean(x(N, 33), -1, True)), -1, True) + 1e-3),),
    "softmax f64": lambda: (f.softmax(x(N, 21, dtype="f64")),),
    # windows
    "max pool": lambda: (f.max_pool(x(N, 6, 6, 5), 2),),
    "max pool 32": lambda: (f.max_pool(x(N, 4, 4, 32), 2),),
    "max pool overlapping": lambda: (f.max_pool(x(N, 7, 7, 3), 3, 2),),
    "max pool same": lambda: (f.max_pool(x(N, 7, 5, 3), 3, 2, "same"),),
    "max pool of one": lambda: (f.max_pool(x(N, 3, 3, 3), 1),),
    "max pool and where": argmax_pool,
    "average pool": lambda: (f.average_pool(x(N, 6, 6, 5), 2),),
    "average pool same": lambda: (f.average_pool(x(N, 7, 5, 3), 3, 2, "same"),),
    "average pool same 32": lambda: (f.average_pool(x(N, 6, 5, 32), 3, 1, "same"),),
    "max pool gradient": lambda: (f.fold(f.windows(x(N, 7, 7, 18), (3, 3), (2, 2), (1, 1)), (7, 7), (2, 2), (1, 1)),),
    "global average": lambda: (f.mean(x(N, 6, 6, 17), (1, 2)),),
    # elementwise, moved and broadcast reads
    "chain": lambda: (f.tanh(x(N, 13) * 0.5) + f.exp(-f.square(x(N, 13))), f.sigmoid(x(N, 13))),
    "chain of 2": lambda: (f.exp(x(N, 2)),),
    "chain of 4": lambda: (x(N, 4) * x(N, 4) + 1.0,),
    "chain of 8": lambda: (f.maximum(x(N, 8), w(8)),),
    "chain of 1": lambda: (f.exp(x(N, 1)),),
    "chain of 3 axes": lambda: (f.exp(x(N, 3, 2)), x(N, 3, 2) * 2.0),
    "chain of 6": lambda: (f.exp(x(N, 6)),),
    "chain of N": lambda: (f.exp(x(N)),),
    "chain of unknown rows": lambda: (f.exp(x(N, T)),),
    "chain of unknown inner rows": lambda: (f.exp(x(N, T, 8)),),
    "chain of one number": lambda: (f.exp(x() * 2.0),),
    "transposed": lambda: (f.transpose(x(N, 21)) * 2.0,),
    "transposed known": lambda: (f.transpose(x(9, 21)),),
    "transposed whole blocks": lambda: (f.transpose(x(32, 48)) * 0.5 + f.input("v", (48, 32)),),
    "transposed odd blocks": lambda: (f.transpose(x(N, 37, 21), (0, 2, 1)),),
    "transposed odd blocks + straight": lambda: (f.transpose(x(37, 21)) + f.input("v", (21, 37)),),
    "transposed and more": lambda: (f.transpose(x(37, 21)), f.transpose(x(37, 21)) + 1.0),
    "transposed + planes": lambda: (f.transpose(x(20, 37, 21), (0, 2, 1)) + f.input("v", (20, 1, 1)),),
    "transposed, joined": lambda: (f.transpose(f.concatenate([x(3, N), f.input("v", (5, N))], 0)),),
    "transposed, joined known": lambda: (f.transpose(f.concatenate([x(3, 21), f.input("v", (5, 21))], 0)),),
    "transposed i64": lambda: (f.transpose(x(17, 21, dtype="i64")),),
    "transposed bools": lambda: (f.transpose(x(17, 21, dtype="bool")),),
    "permuted": lambda: (f.transpose(x(N, 3, 4, 5), (0, 3, 1, 2)) + 1.0,),
    "column + row": lambda: (x(N, 1) + w(1, 19),),
    "transposed + straight": lambda: (f.transpose(x(7, N)) + f.input("v", (N, 7)),),
    "reversed": lambda: (f.flip(x(N, 19), 1), f.flip(x(N, 19), 0)),
    "sliced": lambda: (f.slice(x(N, 19), (0, 3), (N, 9)) * 2.0,),
    "padded": lambda: (f.pad(x(N, 19), ((0, 0), (2, 3)), -1.5),),
    "padded batch": lambda: (f.pad(x(N, 3), ((2, 1), (0, 0))),),
    "joined": lambda: (f.concatenate([x(N, 5), f.input("v", (N, 13))]),),
    "joined of 4": lambda: (f.concatenate([x(N, 5), f.input("v", (N, 33)), x(N, 5), f.input("u", (N, 1))]),),
    "padded image": lambda: (f.pad(x(N, 5, 6, 3), ((0, 0), (1, 2), (2, 1), (0, 0))) * 2.0,),
    "joined batch": lambda: (f.concatenate([x(N, 5), f.input("v", (N, 5))], 0),),
    "reshaped": lambda: (f.exp(f.reshape(x(N, 3, 7), (N, 21))), ),
    "reshaped across rows": lambda: (f.reshape(x(N, 6), (-1, 2)) * 2.0,),
    "compared": lambda: (f.less(x(N, 19), 0.25), f.logical_and(x(N, 19) > 0.0, x(N, 19) < 1.0)),
    "bools": lambda: (f.logical_not(x(N, 19, dtype="bool")), f.logical_or(x(N, 19, dtype="bool"), f.equal(
        x(N, 19, dtype="bool"), x(N, 19, dtype="bool")))),
    "u8 to f32": lambda: (f.cast(x(N, 19, dtype="u8"), "f32") / 255.0,),
    "u8": lambda: (x(N, 37, dtype="u8") * x(N, 37, dtype="u8") + x(N, 37, dtype="u8"),),
    "u8 absolute": lambda: (f.absolute(x(N, 37, dtype="u8") + 250),),
    "i32 chain": lambda: (f.maximum(f.absolute(x(N, 19, dtype="i32") * 3 - 4), 2), -x(N, 19, dtype="i32")),
    "i64 chain": lambda: (f.minimum(f.sign(x(N, 19, dtype="i64")) + x(N, 19, dtype="i64"), 2),),
    "f64 chain": lambda: (f.tanh(x(N, 19, dtype="f64")) + f.log1p(f.square(x(N, 19, dtype="f64"))) + f.erf(
        x(N, 19, dtype="f64")),),
    "casts": lambda: tuple(f.cast(x(N, 19), d) for d in ("i32", "i64", "f64", "bool")),
    "casts back": lambda: tuple(f.cast(x(N, 19, dtype="i64"), d) for d in ("i32", "u32", "u8", "f32", "f64", "bool")),
    "one hot": lambda: (f.one_hot(x(N, dtype="i32"), 11),),
    "iota": lambda: (x(N, 19) + f.iota((N, 19), (0, 1), "f32"),),
    "dropout": dropout,
    "uniform": lambda: (f.uniform(f.input("key", (2,), "u32"), (N, 7), 0) + x(N, 7),),
    "adam": adam,
    # reductions
    "total": lambda: (f.sum(x(N)),),
    "total of flat rows": lambda: (f.sum(f.square(f.reshape(x(N, 1071), (-1,)))),),
    "total of flat images": lambda: (f.sum(f.square(f.reshape(x(N, T, 4, 15), (-1,)))),),
    "total of one channel": lambda: (f.sum(f.square(f.slice(x(N, 1024, 2), (0, 0, 1), (N, 1024, 1)))),),
    "rows in whole chunks": lambda: (f.sum(f.reshape(x(N, 48, 3, 9, dtype="i32"), (48 * N, 3, 9)), (0, 2)),),
    "total of rows": lambda: (f.mean(x(N, 19)),),
    "bias gradient": lambda: (f.sum(x(N, 5, 5, 18), (0, 1, 2)),),
    "row maximum": lambda: (f.max(x(N, 21), 1), f.argmax(x(N, 21), 1)),
    "count of hits": lambda: (f.sum(f.cast(f.equal(f.argmax(x(N, 10), 1), f.input("y", (N,), "i32")), "f32")),),
    "sum of bools": lambda: (f.sum(x(N, 19) > 0.0, 1),),
    "sum of i64": lambda: (f.sum(x(N, 19, dtype="i64"), 0), f.sum(x(N, 19, dtype="i64"), 0) * 2),
    "maximum of i32": lambda: (f.max(x(N, 19, dtype="i32"), 1), f.min(x(N, 19, dtype="i32"), 1)),
    "maximum of u8": lambda: (f.max(x(N, 19, dtype="u8"), 1),),
    "argmax of i64": lambda: (f.argmax(x(N, 19, dtype="i64"), 1),),
    "weighted rows": lambda: (f.sum(x(N, 150) * (f.expand_dims(f.input("v", (N,)), 1) - x(N, 150)), 1),),
    "long rows": lambda: (f.sum(x(N, 333), 1), f.max(x(N, 333), 1)),
    "squares of a row": lambda: (f.sqrt(f.sum(f.square(x(N, 45)), 1)),),
}


def arrays_of(graph, n, rng):
    sizes = {"N": n, "T": 7}
    return {v.op.label: sample(rng, v.type, sizes) for v in graph.inputs}


def agree(found, expected, what, terms=None):
    """Equal up to rounding; that of a sum is relative to its `terms`, since it may cancel."""
    for name, y in expected.items():
        assert found[name].dtype == y.dtype and found[name].shape == y.shape, what
        if y.dtype.kind != "f":
            np.testing.assert_array_equal(found[name], y, err_msg=what)
            continue
        tolerance = 1e-5 if y.dtype.itemsize == 4 else 1e-12
        large = y if terms is None else terms[name]
        scale = max(1.0, float(np.abs(large[np.isfinite(large)]).max(initial=0)))
        np.testing.assert_allclose(found[name], y, rtol=tolerance, atol=tolerance * scale, err_msg=what)


def check(graph, machine, rng, rows=ROWS, interpreted=2, linear=False):
    """Scheduled loops, native at all sizes and interpreted at one if any, against the reference."""
    loops = lowered(graph, machine)
    known = "N" not in graph.symbols()
    for n in (interpreted or 1,) if known else dict.fromkeys((interpreted, *rows)) if interpreted else rows:
        arrays = arrays_of(graph, n, rng)
        expected, _ = evaluate(graph, arrays)
        terms = evaluate(graph, {k: np.abs(a) for k, a in arrays.items()})[0] if linear else None
        what = f"{n} rows, for {machine}:\n{loops}"
        if n == interpreted:
            agree(run_interpreted(graph, loops, arrays), expected, "interpreted, " + what, terms)
        agree(run_native(graph, loops, machine, arrays), expected, "native, " + what, terms)


@pytest.mark.parametrize("machine", TARGETS)
@pytest.mark.parametrize("name", each(2, KERNELS))
def test_kernel(name, machine, rng):
    check(region(*KERNELS[name]()), machine, rng, interpreted=2 if machine == "host" else 0)


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES[:2])
@pytest.mark.parametrize("first", range(1, 41, 8))
def test_every_extent_of_rows_and_columns(first, machine, rng):
    """Products of 1 .. 40 columns, elementwise chains, and sums both ways."""
    for n in range(first, first + 8, 1 if machine == "host" else 3):
        for outputs in ((x(N, 3) @ w(3, n),), (f.exp(x(N, n)),), (f.sum(x(N, n), 1),), (f.sum(x(N, n), 0),)):
            check(region(*outputs), machine, rng, rows=(1, 5), interpreted=1 if n % 5 else 3)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1, 51, 10))
def test_every_length_of_a_row(first, rng):
    for n in range(first, first + 10):
        z = x(N, n)
        check(region(f.apply(Softmax(1), z), f.logsumexp(z)), "host", rng, rows=(5,), interpreted=1)
        check(region(*crossentropy(n)), "host", rng, rows=(1, 5), interpreted=1)


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES)
def test_every_depth_and_row_count(machine, rng):
    for k in (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 40):
        check(region(x(k, 5) @ w(5, 33)), machine, rng)
        check(region(f.einsum("ni,nj->ij", x(N, k), f.input("g", (N, 11)))), machine, rng, rows=(1, 19), interpreted=1)


@pytest.mark.parametrize("axes", [a for n in range(1, 4) for a in itertools.combinations(range(3), n)], ids=str)
def test_reductions_over_every_subset_of_axes(axes, rng):
    for machine in MACHINES:
        check(region(f.sum(x(N, 5, 18), axes)), machine, rng, interpreted=1, linear=True)
    check(region(f.max(x(N, 5, 18), axes)), "host", rng)
    check(region(f.argmax_over(x(N, 5, 18), axes, "i32")), "host", rng, rows=(1, 5), interpreted=1)
    check(region(f.sum(x(4, 5, 3), axes)), "host", rng, linear=True)


@pytest.mark.parametrize("machine", TARGETS)
def test_special_numbers_in_reductions(machine, rng):
    z = x(N, 37)
    graph = region(f.max(z, 1), f.argmax(z, 1), f.sum(z, 1))
    loops = lowered(graph, machine)
    array = rng.standard_normal((6, 37)).astype(np.float32)
    array[0, 20], array[1, 36], array[2, 0], array[3, 5], array[3, 6] = np.nan, np.inf, -np.inf, np.inf, -np.inf
    array[4] = -np.inf
    expected, _ = evaluate(graph, {"x": array})
    agree(run_native(graph, loops, machine, {"x": array}), expected, str(loops))


def test_long_sums_are_exact_enough(rng):
    graph = region(f.sum(x(N)))
    loops = lowered(graph, "host")
    array = rng.random(1 << 20, np.float32)
    found = run_native(graph, loops, "host", {"x": array})["y0"]
    assert abs(found / (array.astype(float).sum()) - 1) < 1e-5


def test_a_reduction_along_an_inner_axis_is_computed_once():
    """Its loop stands outside the loop over the axis that it reduces."""
    def depth(body, name, above=()):
        for s in body:
            if isinstance(s, For):
                if s.axis.name == name:
                    return [a.name for a in above]
                found = depth(s.body, name, (*above, s.axis))
                if found is not None:
                    return found
        return None

    loops = lowered(region(f.softmax(x(N, 5, 18), 1)))
    assert depth(loops.body, "r0_0") == depth(loops.body, "i1") == ["i0", "i2"]


def test_what_is_transposed_is_what_lies_across():
    """Not an operand that is the same along the vectors, though it is contiguous along an outer loop."""
    loops = lowered(region(*KERNELS["transposed + planes"]()), "host")
    assert {s.buffer.name for s in walk(loops.body) if isinstance(s, Store) and s.buffer.space == "local"} >= {"x0t"}
    assert not any(s.buffer.name.startswith("v") for s in walk(loops.body) if isinstance(s, Store))


@pytest.mark.slow
def test_what_is_parallel_writes_no_shared_register():
    for make in KERNELS.values():
        for machine in MACHINES:
            for s in lowered(region(*make()), machine).body:
                if isinstance(s, For) and s.kind == "parallel":
                    stored = {t.buffer for t in walk(s.body) if isinstance(t, Store)}
                    for t in walk(s.body):
                        if isinstance(t, Update) and t.buffer.space == "local":
                            assert t.buffer in stored, t


def test_equal_structure_gives_equal_loops():
    """Nothing below the ops knows names: a matrix product by another spelling is scheduled alike."""
    a = lowered(region(f.einsum("ik,kj->ij", x(N, 8), w(8, 32))), "host")
    b = lowered(region(f.einsum("pq,qr->pr", x(N, 8), w(8, 32))), "host")
    assert str(a) == str(b)
