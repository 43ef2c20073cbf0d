"""Models written as ONNX run in ONNX Runtime as here, and come back the same; files are taken for what anyone wrote."""

from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path

import cases
import cases_models
import cases_sequences
import cases_spatial_and_attention as cases_more
import numpy as np
import pytest
from samples import each, graph_of, run, sample

import graphc
from graphc import layers
from graphc.ir import functions as f
from graphc.ir.errors import GraphcError
from graphc.ir.graph import apply
from graphc.ir.op import OPS
from graphc.ir.ops import leaf
from graphc.ir.parser import parse_call
from graphc.ir.tree import flat
from graphc.model_files import FileError

onnx = pytest.importorskip("onnx", reason="ONNX files need the package onnx: pip install graphc[onnx]")
runtime = pytest.importorskip("onnxruntime", reason="files are run in ONNX Runtime: pip install onnxruntime")

from graphc.onnx.exporter import as_onnx, graph_as_onnx  # noqa: E402
from graphc.onnx.writer import ExportError  # noqa: E402

FILES = Path(__file__).parents[1] / "fixtures" / "files"
EXAMPLES = Path(__file__).parents[2] / "examples"
TORCH = ("pictures", "recurrent", "block")


def in_runtime(data, arrays):
    """What ONNX Runtime computes from arrays in the order of the inputs, or by their names."""
    data = data if isinstance(data, bytes) else data.SerializeToString()
    session = runtime.InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    return session.run(None, arrays if isinstance(arrays, dict) else dict(zip(names, arrays, strict=True)))


def check(model, arrays, tmp_path, batches=(1, 7), tolerance=1e-5):
    """ONNX Runtime and the model read back predict what the model does, for batches made of the arrays' rows."""
    path = tmp_path / "m.onnx"
    model.export(path, verbose=False)
    back = graphc.onnx.load(path)
    assert (back.input_names, back.output_names) == (model.input_names, model.output_names)
    data = path.read_bytes()
    for rows in batches:
        given = [np.concatenate([a] * rows)[:rows] for a in arrays]
        x = given if len(given) > 1 else given[0]
        expected = list(flat(model.predict(x, verbose=0)))
        for found in (in_runtime(data, given), list(flat(back.predict(x, verbose=0)))):
            for got, want in zip(found, expected, strict=True):
                np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)
    return back


def model_of(call, arrays):
    """The functional model of a layer, with weights that are no zeros."""
    inputs = [graphc.Input(a.shape[1:], dtype=str(a.dtype)) for a in arrays]
    model = graphc.Model(inputs, list(flat(call(*inputs))))
    rng = np.random.default_rng(len(arrays))
    for w in model.weights:
        if w.dtype.is_float:
            w.assign(w.array + 0.1 * rng.random(w.shape, np.float32))
    return model


# ---------------------------------------------------------------------------------------------------- every layer

@pytest.mark.parametrize("name", each(4, cases.layer_cases()))
def test_layer(name, tmp_path):
    make, shape = cases.layer_cases()[name]
    x = cases.layer_input(name, shape)
    arrays = x if isinstance(x, list) else [x]
    compare(lambda *v: make(layers)(list(v) if isinstance(x, list) else v[0]), arrays, tmp_path)


@pytest.mark.parametrize("name", each(6, cases_sequences.layer_cases()))
def test_layer_of_sequences(name, tmp_path):
    if name == "stacked_zeros_masked":
        pytest.skip("a functional model has no masks for states in lists")
    case, rows = cases_sequences.layer_cases()[name], (cases_sequences.UNITS,)
    arrays = [cases_sequences.layer_input(name, case.shape),
              *(cases.layer_input(f"state{i}", case.shape[:1] + rows) for i in range(case.states)),
              *([cases_sequences.mask_of(case)] if case.masked else [])]

    def call(x, *rest):
        states = {"initial_state": list(rest[:case.states])} if case.states else {}
        return case.make(layers)(x, **states, **({"mask": rest[-1]} if case.masked else {}))

    compare(call, arrays, tmp_path)


@pytest.mark.parametrize("name", each(4, cases_more.layer_cases()))
def test_layer_of_images_and_attention(name, tmp_path):
    case = cases_more.layer_cases()[name]
    masks = {argument: m if isinstance(m, list) else [m] for argument, m in case.masks.items()}

    def call(*values):
        inputs, rest = values[:len(case.shapes)], iter(values[len(case.shapes):])
        given = {argument: [next(rest) for _ in m] for argument, m in masks.items()}
        options = {argument: m if isinstance(case.masks[argument], list) else m[0] for argument, m in given.items()}
        return case.make(layers)(*([list(inputs)] if case.together else inputs), **case.options, **options)

    arrays = [cases.layer_input(f"{name}{i}", s) for i, s in enumerate(case.shapes)]
    compare(call, [*arrays, *(np.asarray(m) for ms in masks.values() for m in ms)], tmp_path)


def compare(call, arrays, tmp_path):
    with graphc.config(backend="numpy"):
        check(model_of(call, arrays), arrays, tmp_path)


EXAMPLE = re.compile(r"^\s*(\w+(?:<.*>)?\(.*\)) -> (?!\w+Error)", re.M)
CALLS = [call for op in OPS.values() for call in EXAMPLE.findall(op.__doc__ or "")
         if not issubclass(op, leaf.Leaf) and op.name not in ("item", "gradient")]
WITHOUT = ("inverse", "solve", "random_bits")  # ops that ONNX has nothing for


@pytest.mark.parametrize("call", CALLS)
def test_every_op(call, rng):
    op, types, _ = parse_call(call)
    inputs = [f.input(f"x{i}", t.shape, t.dtype) for i, t in enumerate(types)]
    value = apply(op, *inputs)
    graph, arrays = graph_of({"y": value}), {v.op.label: sample(rng, v.type) for v in inputs}
    names = [v.op.label for v in graph.inputs]
    if op.name in WITHOUT:
        with pytest.raises(ExportError, match=r"ONNX"):
            graph_as_onnx(graph, names, ["y"], [])
        return
    (found,) = in_runtime(graph_as_onnx(graph, names, ["y"], []), arrays)
    expected = run(value, arrays)
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


# ------------------------------------------------------------------------------------------------------------ models

def sequential(name):
    return graphc.Sequential(cases.training_cases()[name][0](layers)), cases.training_cases()[name][-2]


@pytest.mark.parametrize("name", ["mlp", "cnn_tutorial", "sparse"])
def test_trained_model(name, tmp_path):
    _, optimizer, loss, metrics, x, y = cases.training_cases()[name]
    model, _ = sequential(name)
    model.compile(optimizer(graphc.optimizers), loss=loss, metrics=metrics)
    model.fit(x[:64], y[:64], epochs=1, verbose=0)
    check(model, [x[:7]], tmp_path)


def test_reviews_by_an_lstm(tmp_path):
    model = graphc.Sequential([graphc.Input((20,), dtype="int32"), layers.Embedding(200, 16), layers.LSTM(12),
                               layers.Dense(1, activation="sigmoid")])
    back = check(model, [np.arange(60).reshape(3, 20).astype(np.int32)], tmp_path)
    assert sorted(w.shape for w in back.weights) == sorted(w.shape for w in model.weights)


def test_residual_network(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    resnet = example("resnet")
    inputs = graphc.Input((12, 12, 3))
    x = resnet.convolution(inputs, 8)
    for filters, strides in ((8, 1), (16, 2), (16, 1)):
        x = resnet.block(x, filters, strides)
    model = graphc.Model(inputs, layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling2D()(x)))
    check(model, [np.random.default_rng(1).random((7, 12, 12, 3), np.float32)], tmp_path)
    ops = [n.op_type for n in as_onnx(model).graph.node]
    assert ops.count("Conv") == sum(w.ndim == 4 for w in model.weights)


def test_transformer(tmp_path):
    model = example("transformer").transformer(30, 16, width=16, heads=2, blocks=2)
    check(model, [np.random.default_rng(2).integers(0, 30, (7, 16)).astype(np.int32)], tmp_path)


def example(name):
    """An example as a module, which imports its neighbours."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        return __import__(name)
    finally:
        sys.path.remove(str(EXAMPLES))


@pytest.mark.parametrize("name", ["two_ends", "lists", "shared", "shared_norm", "nested", "masked", "subclass"])
def test_structures(name, tmp_path):
    case = cases_models.CASES[name](graphc)
    if case.model.takes is None:
        case.model.predict(case.x, verbose=0)
    arrays = [np.asarray(a) for a in ([case.x[n] for n in case.model.input_names] if isinstance(case.x, dict)
                                      else list(flat(case.x)))]
    path = tmp_path / "m.onnx"
    case.model.export(path, verbose=False)
    back = graphc.onnx.load(path)
    expected = list(flat(case.model.predict(case.x, verbose=0)))
    assert back.input_names == case.model.input_names and back.output_names == case.model.output_names
    read = back.predict(arrays if len(arrays) > 1 else arrays[0], verbose=0)
    for found in (in_runtime(path.read_bytes(), arrays), list(flat(read))):
        for got, want in zip(found, expected, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", [
    lambda: [layers.Conv1D(3, 3, strides=2), layers.GlobalAveragePooling1D()],
    lambda: [layers.Conv1D(4, 4, padding="same"), layers.MaxPooling1D(2), layers.Bidirectional(layers.GRU(2))],
    lambda: [layers.Conv1DTranspose(3, 4, strides=3, padding="same"), layers.LayerNormalization()],
    lambda: [layers.Masking(0.0), layers.LSTM(3, return_sequences=True), layers.Dense(2)],
    lambda: [layers.AveragePooling1D(3, strides=2), layers.ZeroPadding1D(2)],
])
def test_unknown_lengths(make, tmp_path):
    """One file serves every length, which the tensors' shapes name."""
    model = graphc.Sequential([graphc.Input((None, 4)), *make()])
    proto = as_onnx(model)
    assert [d.dim_param or d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim] == ["N", "D1", 4]
    model.export(tmp_path / "m.onnx", verbose=False)
    back = graphc.onnx.load(tmp_path / "m.onnx")
    for rows, length in ((1, 9), (7, 14)):
        x = np.random.default_rng(length).standard_normal((rows, length, 4)).astype(np.float32)
        x[0, :2] = 0
        expected = model.predict(x, verbose=0)
        for found in (in_runtime(proto, [x])[0], back.predict(x, verbose=0)):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
