"""Every example in an op's docstring, on every rung, with its gradient."""

from __future__ import annotations

import re
from dataclasses import fields, replace

import kernels
import numpy as np
import pytest
from samples import check_gradients, graph_of, run, sample, weighted_sum

from graphc.ir import errors
from graphc.ir import functions as f
from graphc.ir.evaluate import by_definition, by_reference, evaluate
from graphc.ir.graph import apply
from graphc.ir.op import OPS, Op, Structural
from graphc.ir.parser import parse_call
from graphc.ir.types import DTYPES, DType, TensorType
from graphc.passes.differentiate import gradients

# A rung runs a graph on arrays by label and gives the outputs by name; the first one is the truth.
RUNGS = {
    "reference": lambda graph, arrays: evaluate(graph, arrays, by_reference)[0],
    "definition": lambda graph, arrays: evaluate(graph, arrays, by_definition)[0],
    "loops": kernels.rung("loops"),
    "scheduled": kernels.rung("loops", "host"),
    "native": kernels.rung("native", "host"),
    **{f"native-{name}": kernels.rung("native", level) for name, level in kernels.LEVELS.items()
       if level in kernels.MACHINES},
}

_EXAMPLE = re.compile(r"^\s*(\w+(?:<.*>)?\(.*\)) -> (.+)$", re.M)
EXAMPLES = [(name, call, expected) for name, op in OPS.items() for call, expected in
            _EXAMPLE.findall(op.__doc__ or "")]
VALID = [(call, expected) for _, call, expected in EXAMPLES if "Error" not in expected]
INVALID = [(call, expected) for _, call, expected in EXAMPLES if "Error" in expected]
COMPUTED = [call for call, _ in VALID if not issubclass(OPS[re.match(r"\w+", call)[0]], Structural)]

F32, F64 = DTYPES["f32"], DTYPES["f64"]


@pytest.mark.parametrize("name", sorted(set(OPS) - {"kernel", "scan", "with_gradient"}))
def test_every_op_has_examples_for_itself(name):
    examples = [call for owner, call, _ in EXAMPLES if owner == name]
    assert examples, f"the docstring of {name} needs an example"
    assert all(re.match(rf"{name}[<(]", call) for call in examples)


@pytest.mark.parametrize(("call", "expected"), VALID)
def test_type(call, expected):
    op, types, _ = parse_call(call)
    assert str(op.infer(*types)) == expected


@pytest.mark.parametrize(("call", "expected"), INVALID)
def test_error(call, expected):
    kind, _, words = expected.partition(": ")
    op, types, _ = parse_call(call)
    with pytest.raises(getattr(errors, kind), match=re.escape(words)):
        op.infer(*types)


def _instance(rng, op, types, positive=False):
    """The op on inputs, and arrays for them."""
    inputs = [f.input(f"x{i}", t.shape, t.dtype) for i, t in enumerate(types)]
    arrays = {v.op.label: sample(rng, v.type, positive=positive) for v in inputs}
    return apply(op, *inputs), arrays


@pytest.mark.parametrize("rung", [name for name in RUNGS if name != "reference"])
@pytest.mark.parametrize("call", COMPUTED)
def test_rung(call, rung, rng):
    op, types, _ = parse_call(call)
    value, arrays = _instance(rng, op, types)
    graph = graph_of({"y": value})
    expected = RUNGS["reference"](graph, arrays)["y"]
    try:
        found = RUNGS[rung](graph, arrays)["y"]
    except errors.LoweringError as error:
        pytest.skip(f"no definition: {error}")
    assert expected.dtype == found.dtype == value.dtype.numpy
    assert expected.shape == found.shape == value.shape
    exact = value.dtype.kind != "f"
    np.testing.assert_allclose(found, expected, rtol=0 if exact else 1e-5, atol=0 if exact else 1e-6)


def _wide(attribute):
    """An attribute with f64 for f32: finite differences need the precision."""
    if isinstance(attribute, TensorType):
        return TensorType(_wide(attribute.dtype), attribute.shape)
    return F64 if isinstance(attribute, DType) and attribute == F32 else attribute


@pytest.mark.parametrize("call", [c for c in COMPUTED if not c.startswith("stop_gradient")])
def test_gradient(call, rng):
    op, types, _ = parse_call(call)
    op = replace(op, **{a.name: _wide(getattr(op, a.name)) for a in fields(op)})
    value, arrays = _instance(rng, op, [_wide(t) for t in types], positive=True)
    if value.dtype.is_float and any(t.dtype.is_float for t in types):
        check_gradients(weighted_sum(rng, value, arrays), arrays)


@pytest.mark.parametrize("name", ["absolute", "relu", "tanh", "sigmoid", "softplus", "erf", "multiply"])
def test_gradient_of_either_sign(name, rng):
    op, count = OPS[name](), 2 if name == "multiply" else 1
    value, arrays = _instance(rng, op, [TensorType(F64, (2, 3))] * count)
    check_gradients(weighted_sum(rng, value, arrays), arrays)


@pytest.mark.parametrize("name", ["maximum", "minimum", "relu", "sign", "log", "sqrt", "exp", "sigmoid",
                                  "softplus", "tanh", "less", "equal", "power", "divide"])
def test_special_numbers(name):
    numbers = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 100.0, -100.0], np.float32)
    pairs = np.meshgrid(numbers, numbers)
    op = OPS[name]()
    count = len(pairs) if name in ("maximum", "minimum", "less", "equal", "power", "divide") else 1
    inputs = [f.input(f"x{i}", (9, 9)) for i in range(count)]
    graph = graph_of({"y": apply(op, *inputs)})
    arrays = {f"x{i}": pairs[i] for i in range(count)}
    expected = RUNGS["reference"](graph, arrays)["y"]
    for rung in RUNGS:
        found = RUNGS[rung](graph, arrays)["y"]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-37, err_msg=rung)  # but for denormals


def test_no_gradient_through_stop_gradient():
    x = f.input("x", (2,))
    derived = gradients(f.sum(f.stop_gradient(x) * x), [x])[0]
    assert run(derived, {"x": np.array([3, 4], np.float32)}).tolist() == [3, 4]


@pytest.mark.parametrize("call", COMPUTED)
def test_each_slice(call, rng):
    """An op for every slice of a new first axis, where it says how: of all operands, and of the first one only."""
    op, types, _ = parse_call(call)
    if not types or type(op).each is Op.each:
        pytest.skip("stays in loops")
    for along in {(True,) * len(types), (True,) + (False,) * (len(types) - 1)}:
        shapes = [(3, *t.shape) if has else t.shape for t, has in zip(types, along, strict=True)]
        inputs = [f.input(f"x{i}", s, t.dtype) for i, (s, t) in enumerate(zip(shapes, types, strict=True))]
        arrays = {v.op.label: sample(rng, v.type) for v in inputs}
        together = run(op.each(f, 3, inputs, along), arrays)
        assert len(together) == 3
        for k in range(3):
            one = [a[k] if has else a for a, has in zip(arrays.values(), along, strict=True)]
            np.testing.assert_allclose(together[k], by_reference(op, one, None), rtol=1e-5, atol=1e-6)
