"""The rungs of truth, what rounding explains, and cases: graphs with arrays, as text."""

from __future__ import annotations

import numpy as np
import pytest
from kernels import lowered
from models import cnn
from samples import graph_of, sample

from graphc.ir import functions as f
from graphc.ir.errors import ParseError
from graphc.ir.evaluate import bind_arguments
from graphc.ir.expr import Axis, axis, const
from graphc.ir.types import DTYPES, dim
from graphc.passes.pipeline import PIPELINE, run
from graphc.runtime.cases import Case, random_case, read_case, shrink
from graphc.runtime.config import config
from graphc.runtime.loops import For, Loops, Store
from graphc.runtime.rounding import Expectation
from graphc.runtime.rungs import RUNGS, NativeKernel, StrayWrite, fused, run_rung

N = dim("N")
F32 = DTYPES["f32"]


def arrays_of(rng, graph, n):
    arrays = {v.op.label: sample(rng, v.type, {"N": n}) for v in graph.inputs + graph.state}
    for v in graph.state:
        if v.dtype.is_float:
            arrays[v.op.label] *= np.float32(0.2)  # so that no softmax is saturated
    return arrays


def case_of(rng, outputs, n=3, **arrays):
    graph = graph_of(outputs)
    return Case(graph, {"N": n} if graph.symbols() else {}, arrays_of(rng, graph, n) | arrays)


# ------------------------------------------------------------------------------------------------------------ rungs


@pytest.mark.parametrize("passes", range(len(PIPELINE)))
def test_rungs_agree_on_the_graph_of_every_pass(passes, rng):
    graph = run(cnn(), PIPELINE[:passes])
    arrays = arrays_of(rng, graph, 1)
    before = {label: a.copy() for label, a in arrays.items()}
    expected = run_rung(graph, arrays, "reference")
    for rung in RUNGS[1:] if passes in (0, len(PIPELINE) - 1) else ("definition", "native"):
        for found, wanted in zip(run_rung(graph, arrays, rung), expected, strict=True):
            assert found.keys() == wanted.keys()
            for name, a in found.items():
                assert a.dtype == wanted[name].dtype
                np.testing.assert_allclose(a, wanted[name], rtol=1e-4, atol=1e-5, err_msg=f"{name} by {rung}")
    for label, a in arrays.items():
        np.testing.assert_array_equal(a, before[label], err_msg=f"{label} was changed")


@pytest.mark.parametrize("threads", [1, 3])
def test_a_program_gives_the_bits_of_its_kernels_one_by_one(threads, rng):
    graph = cnn()
    arrays = arrays_of(rng, graph, 5)
    with config(threads=threads):
        for a, b in zip(run_rung(graph, arrays, "native"), run_rung(fused(graph), arrays, "native"), strict=True):
            for name in b:
                np.testing.assert_array_equal(a[name], b[name])


def test_a_rung_that_there_is_not(rng):
    with pytest.raises(ValueError, match=r"'compiled'.*'reference', 'definition', 'loops', 'native'"):
        run_rung(cnn(), {}, "compiled")


@pytest.mark.parametrize(("buffer", "where", "words"), [(1, 4, "outside out0 of the shape"), (1, -1, "outside out0"),
                                                        (0, 2, "wrote to its operand x")])
def test_native_code_that_writes_where_it_must_not(buffer, where, words):
    graph = graph_of({"y0": f.input("x", (4,)) * 2.0})
    loops = lowered(graph)
    a = Axis("i0", 1)
    stray = For(a, (Store(loops.params[buffer], (axis(a) + where,), const(1.0, F32)),))
    wrong = Loops("k", loops.params, 1, (*loops.body, stray))
    arrays = {"x": np.zeros(4, np.float32)}
    NativeKernel(loops)(arrays, {})
    with pytest.raises(StrayWrite, match=words):
        NativeKernel(wrong)(arrays, {})


# --------------------------------------------------------------------------------------------------------- rounding

X, Y = f.input("x", (N, 40)), f.input("y", (N, 40))


def difference(value, arrays, found):
    graph = graph_of({"y": value})
    leaves = {v: arrays[v.op.label] for v in graph.inputs}
    return Expectation(leaves, bind_arguments(graph, arrays)).difference(value, np.asarray(found))


@pytest.mark.parametrize("value", [f.sum(X, 1), f.softmax(X), f.logsumexp(X, 1), f.tanh(X) * Y, X - f.mean(X, 1, True),
                                   f.einsum("na,nb->ab", X, Y), f.max(X, 1), f.log1p(f.exp(-X)), f.argmax(X, 1)])
def test_what_rounding_explains_and_what_it_does_not(value, rng):
    arrays = arrays_of(rng, graph_of({"y": value}), 3)
    for rung in RUNGS:
        found = run_rung(graph_of({"y": value}), arrays, rung)[0]["y"]
        assert difference(value, arrays, found) is None
    wrong = found.copy()
    wrong[1] += 0.001 if value.dtype.is_float else 1
    assert difference(value, arrays, wrong).index[0] == 1
    if value.dtype.is_float:
        wrong[2] = np.nan
        assert difference(value, arrays, wrong).index[0] == 2  # what is not a number is the worst


def test_where_elements_are_not_determined(rng):
    x = np.array([[1e30] * 20 + [-1e30] * 20], np.float32)
    y = np.float32([[1e30]]) * np.ones_like(x)
    big = f.sum(X * Y, 1)  # infinity minus infinity, or 0: the order decides
    assert difference(big, {"x": x, "y": y}, np.float32([np.nan])) is None
    assert difference(big, {"x": x, "y": y}, np.float32([np.inf])) is None
    small = f.sum(X, 1)  # cancels to 0, but for roundings of 1e30
    assert difference(small, {"x": x}, np.float32([1e23])) is None
    assert difference(small, {"x": x}, np.float32([1e28])) is not None
    nearly = x.copy()
    nearly[0, 7] = np.nextafter(np.float32(1e30), np.float32(2e30))
    shifted = f.argmax(X + f.tanh(Y), 1)  # the sum's rounding decides
    assert difference(shifted, {"x": nearly, "y": 0 * y}, np.int32([0])) is None
    assert difference(f.argmax(X, 1), {"x": nearly}, np.int32([0])) is not None
    assert difference(f.log(X), {"x": -np.abs(x)}, np.full_like(x, -np.inf)) is not None  # they all say NaN


# ------------------------------------------------------------------------------------------------------------ cases


def test_a_case_is_read_back_from_its_text(rng):
    x, i, b = f.input("x", (N, 2)), f.state("i", (N,), "i32"), f.input("b", (2,), "bool")
    outputs = {"y": f.where(b, x, f.cast(f.expand_dims(i, 1), "f32")), "z": f.exp(x)}
    case = case_of(rng, outputs, x=np.float32([[np.nan, 0.1], [-np.inf, -0.0], [1e-42, 3]]))
    again = read_case(case.text(["two lines\nof words", "and one"]))
    assert str(again.graph) == str(case.graph) and again.sizes == {"N": 3} and again.seed is None
    for label, a in case.arrays.items():
        assert a.dtype == again.arrays[label].dtype
        np.testing.assert_array_equal(a, again.arrays[label])
        assert a.tobytes() == again.arrays[label].tobytes() or np.isnan(a).any()
    random = random_case(case.graph, {"N": 4}, seed=9)
    again = read_case(random.text())
    assert again.seed == 9 and all((a == again.arrays[label]).all() for label, a in random.arrays.items())
    plain = read_case(str(case.graph))
    assert plain.sizes == {"N": 2} and plain.arrays["x"].shape == (2, 2)
    for wrong in ("# array x: 1 2 3", "# array x: a b c d", "# seed: one"):
        with pytest.raises(ParseError, match="no sizes, seed or arrays that fit"):
            read_case(f"{wrong}\n{case.graph}")


def test_a_case_shrinks_to_what_fails(rng):
    x, w, b = f.input("x", (N, 4)), f.state("w", (4, 6)), f.state("b", (6,))
    h = f.tanh(x @ w + b)
    case = case_of(rng, {"a": f.sum(h, 0), "b": f.exp(-h) * 2.0, "c": x}, n=7)

    def fails(c):
        (y,) = [v for v in c.graph.values() if v.op.name == "exp"]  # raises where there is none, or several
        return len(c.graph.roots) and c.sizes["N"] > 2 and y is not None

    small = shrink(case, fails)
    assert [v.op.name for v in small.graph.values()] == ["input", "exp"]
    assert small.sizes == {"N": 3} and small.seed == 0
    assert str(read_case(small.text()).graph) == str(small.graph)


def test_a_case_keeps_its_arrays_where_random_ones_do_not_fail(rng):
    x, y = f.input("x", (N, 4)), f.input("y", (N, 4))
    case = case_of(rng, {"a": (x * y) + 1.0}, n=4, y=np.full((4, 4), 5, np.float32))
    small = shrink(case, lambda c: any((a == 5).all() for a in c.arrays.values()))
    assert small.seed is None and small.sizes == {"N": 1}
    assert "# array y: 5.0 5.0 5.0 5.0\n" in small.text()


def test_a_kernel_whose_operands_do_not_tell_its_sizes(rng):
    x = f.input("x", (2 * N,))
    case = Case(graph_of({"y": x + 1.0}), {"N": 3}, {"x": np.arange(6, dtype=np.float32)}).as_kernel()
    again = read_case(case.text())
    for rung in RUNGS:
        found, _ = run_rung(again.graph, again.arrays, rung)
        np.testing.assert_array_equal(found["y"], np.arange(1, 7))
