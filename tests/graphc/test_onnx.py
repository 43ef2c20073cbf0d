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
from graphc.ports import ports

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
    x = case.x if isinstance(case.x, dict) else dict(zip(case.model.input_names, flat(case.x), strict=True))
    arrays = [x[p.name].astype(np.int32 if p.dtype == "i32" else np.float32) for p in ports(case.model.takes)]
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


@pytest.mark.parametrize("name", TORCH)
def test_files_of_pytorch(name, tmp_path):
    """tests/fixtures/make_onnx_files.py wrote them; they are trained on, and written again."""
    path, rng = FILES / f"torch_{name}.onnx", np.random.default_rng(3)
    shape = {"pictures": (7, 2, 8, 8), "recurrent": (7, 5, 4), "block": (7, 9)}[name]
    x = rng.integers(0, 11, shape) if name == "block" else rng.standard_normal(shape).astype(np.float32)
    model = graphc.onnx.load(path)
    for rows in (x[:1], x):
        expected = in_runtime(path.read_bytes(), [rows])[0]
        np.testing.assert_allclose(model.predict(rows, verbose=0), expected, rtol=1e-5, atol=1e-5)
    check(model, [x], tmp_path, batches=(7,))
    model.compile("adam", loss="mse")
    losses = model.fit(x, np.zeros_like(expected), epochs=3, verbose=0).history["loss"]
    assert losses[2] < losses[0] and model.trainable_weights
    statistics = {w.path for w in model.non_trainable_weights}
    assert statistics == ({"1.running_mean", "1.running_var"} if name == "pictures" else set())


def test_a_file_of_keras():
    """It is written for one row, and padding is computed in it; here it serves any number of rows."""
    path, x = FILES / "keras_pictures.onnx", np.random.default_rng(4).standard_normal((7, 8, 8, 2)).astype(np.float32)
    expected = np.concatenate([in_runtime(path.read_bytes(), [x[i:i + 1]])[0] for i in range(7)])
    np.testing.assert_allclose(graphc.onnx.load(path).predict(x, verbose=0), expected, rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------------------------------------------- what is written

def small():
    return graphc.Sequential([
        graphc.Input((6, 6, 2), name="image"), layers.Conv2D(3, 3, activation="relu", name="conv"),
        layers.BatchNormalization(name="norm"), layers.MaxPooling2D(), layers.Flatten(),
        layers.Dense(4, activation="softmax", name="kind")])


def test_names_and_versions():
    model = small()
    proto = as_onnx(model)
    graph = proto.graph
    assert (proto.producer_name, proto.producer_version) == ("graphc", graphc.__version__)
    assert [(o.domain, o.version) for o in proto.opset_import] == [("", 18)]
    assert [i.name for i in graph.input] == ["image"] and [o.name for o in graph.output] == model.output_names
    assert [t.name for t in graph.initializer] == [w.path for w in model.weights]
    assert [n.op_type for n in graph.node].count("Conv") == 1 and "MaxPool" in {n.op_type for n in graph.node}
    kernel = next(t for t in graph.initializer if t.name == "conv/kernel")
    array = model.get_layer("conv").weights[0].numpy()
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(kernel), array.transpose(3, 2, 0, 1))


@pytest.mark.parametrize("opset", range(18, 23))
def test_opsets(opset, tmp_path):
    model, x = small(), np.random.default_rng(1).random((3, 6, 6, 2), np.float32)
    path = tmp_path / "m.onnx"
    model.export(path, verbose=False, opset_version=opset)
    assert onnx.load(path).opset_import[0].version == opset
    np.testing.assert_allclose(in_runtime(path.read_bytes(), [x])[0], model.predict(x, verbose=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(graphc.onnx.load(path).predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6)


def test_a_signature_fixes_sizes(tmp_path, capsys):
    model = graphc.Sequential([graphc.Input((None, 4)), layers.Conv1D(3, 3), layers.GlobalMaxPooling1D()])
    for signature in ([(1, 9, 4)], [graphc.layers.InputSpec(shape=(1, 9, 4))]):
        model.export(tmp_path / "m.onnx", input_signature=signature)
        graph = onnx.load(tmp_path / "m.onnx").graph
        assert [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim] == [1, 9, 4]
        assert "Shape" not in {n.op_type for n in graph.node}
        assert capsys.readouterr().out == f"Saved artifact at '{tmp_path / 'm.onnx'}'.\n"
    with pytest.raises(ExportError, match="input_signature"):
        model.export(tmp_path / "m.onnx", input_signature=[(1, 9)])
    with pytest.raises(ExportError, match="was made for 4"):
        model.export(tmp_path / "m.onnx", input_signature=[(1, 9, 5)])


def test_weights_keep_their_names_and_what_trains_them(tmp_path):
    model = small()
    model.export(tmp_path / "m.onnx", verbose=False)
    back = graphc.onnx.load(tmp_path / "m.onnx")
    assert {w.path for w in back.non_trainable_weights} == {"norm/moving_mean", "norm/moving_variance"}
    assert {w.path for w in back.trainable_weights} == {w.path for w in model.trainable_weights}
    back.save_weights(tmp_path / "m.weights.h5")
    again = graphc.onnx.load(tmp_path / "m.onnx")
    again.set_weights([np.zeros_like(w) for w in again.get_weights()])
    again.load_weights(tmp_path / "m.weights.h5")
    for got, want in zip(again.get_weights(), back.get_weights(), strict=True):
        np.testing.assert_array_equal(got, want)
    with pytest.raises(ValueError, match="write it with export"):
        back.save(tmp_path / "m.keras")


def test_what_can_not_be_written(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")
    stateful = graphc.Sequential([graphc.Input((4, 3), batch_size=2), layers.LSTM(2, stateful=True)])
    inverse = graphc.Sequential([graphc.Input((3, 3)), layers.Lambda(graphc.ops.inv, name="turn")])
    x = graphc.Input((3,))
    noisy = graphc.Model(x, layers.Dropout(0.5, name="noise")(x, training=True))
    for model, words in ((stateful, "changes its state"), (inverse, "The layer 'turn' can't be exported.*inverse"),
                         (noisy, "random numbers"), (graphc.Sequential([layers.Dense(2)]), "no input shape")):
        with pytest.raises(ExportError, match=words):
            model.export(path)
    with pytest.raises(ExportError, match="opset_version=17: expected one of 18 to 22"):
        small().export(path, opset_version=17)
    with pytest.raises(ValueError, match="'tf_saved_model'"):
        small().export(path, format="tf_saved_model")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_without_the_package(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install graphc\[onnx\]"):
        small().export(tmp_path / "m.onnx")
    with pytest.raises(ImportError, match=r"pip install graphc\[onnx\]"):
        graphc.onnx.load(FILES / "torch_block.onnx")


# ------------------------------------------------------------------------------------------------- files of anyone's

def made(nodes, initialisers=(), outputs=("y",), shape=("N", 4), opset=18):
    """A file of these nodes, from `x`."""
    def info(name, dims):
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, dims)

    graph = onnx.helper.make_graph(nodes, "g", [info("x", shape)], [info(n, None) for n in outputs], initialisers)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)


def node(op, inputs, outputs, **attributes):
    return onnx.helper.make_node(op, inputs, outputs, name=f"the_{op}_{outputs[0]}", **attributes)


def tensor(name, array):
    return onnx.numpy_helper.from_array(np.asarray(array), name)


def external():
    weight = tensor("w", np.zeros(4, np.float32))
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../../etc/passwd")
    return weight


def large():
    weight = tensor("w", np.zeros(4, np.float32))
    weight.dims[:] = [1 << 40, 1 << 20]
    return weight


def functions():
    proto = made([node("Relu", ["x"], ["y"])])
    proto.functions.add(name="f", domain="own")
    return proto


ADD = [onnx.helper.make_node("Add", ["x", "w"], ["y"])]
REFUSED = {
    "an op of no one's": (lambda: made([node("Frobnicate", ["x"], ["y"])]), r"Frobnicate \(opset 18, node 'the_Frob"),
    "an op of another domain": (lambda: made([node("Relu", ["x"], ["y"], domain="com.microsoft")]), r"microsoft\.Re"),
    "a circle": (lambda: made([node("Relu", ["z"], ["y"]), node("Relu", ["y"], ["z"])]), "nothing before it gives"),
    "a name given twice": (lambda: made([node("Relu", ["x"], ["y"]), node("Neg", ["x"], ["y"])]), "'y' is given twice"),
    "no such output": (lambda: made([node("Relu", ["x"], ["z"])]), "nothing gives the output 'y'"),
    "another file": (lambda: made(ADD, [external()]), "lies in another file"),
    "another file inside": (lambda: made([node("Constant", [], ["w"], value=external()), *ADD]), "lies in another"),
    "a tensor larger than the file": (lambda: made(ADD, [large()]), "has 16 bytes, expected 4,611,686,018,427,387,904"),
    "texts": (lambda: made(ADD, [onnx.helper.make_tensor("w", onnx.TensorProto.STRING, [1], [b"a"])]), "type STRING"),
    "functions": (functions, "defines functions"),
    "an opset to come": (lambda: made([node("Relu", ["x"], ["y"])], opset=99), "opset 99, expected 7 to"),
    "sizes that don't fit": (lambda: made(ADD, [tensor("w", np.zeros(3, np.float32))]), r"Add \(opset 18.*broadcast"),
    "too few inputs": (lambda: made([node("Add", ["x"], ["y"])]), r"Add \(opset 18.*it has 1 inputs, expected 2 to 2"),
    "a missing attribute": (lambda: made([node("Concat", ["x", "x"], ["y"])]), r"Concat \(.*the attribute 'axis'"),
    "an endless range": (lambda: made([
        node("Range", ["a", "b", "c"], ["r"]), node("Cast", ["r"], ["s"], to=1), node("Add", ["x", "s"], ["y"])],
        [tensor("a", 0), tensor("b", 1 << 60), tensor("c", 1)]), "larger than memory"),
    "a size without bounds": (lambda: made([
        node("Shape", ["x"], ["s0"]), *(node("Mul", [f"s{i}", f"s{i}"], [f"s{i + 1}"]) for i in range(64)),
        node("Expand", ["x", "s64"], ["y"])]), "beyond all bounds"),
    "rows that are no rows": (lambda: made([node("ReduceSum", ["x"], ["y"], keepdims=0)]), "one row for each"),
    "no input": (lambda: made([node("Identity", ["x"], ["y"])], [tensor("x", np.zeros(4, np.float32))]), "0 inputs"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, tmp_path):
    make, words = REFUSED[name]
    path = tmp_path / "m.onnx"
    path.write_bytes(make().SerializeToString())
    with pytest.raises(FileError, match=words) as error:
        graphc.onnx.load(path)
    assert str(error.value).startswith(f"{path} can't be read: ")


def test_older_opsets(tmp_path):
    """Axes and bounds as attributes, and a softmax over all axes from one on."""
    nodes = [node("Unsqueeze", ["x"], ["a"], axes=[1]), node("Clip", ["a"], ["b"], min=-0.5, max=0.5),
             node("Pad", ["b"], ["c"], pads=[0, 0, 1, 0, 1, 0]), node("Softmax", ["c"], ["d"], axis=1),
             node("Slice", ["d"], ["e"], starts=[1], ends=[1000], axes=[2]), node("ReduceSum", ["e"], ["y"], axes=[1])]
    data = made(nodes, opset=9).SerializeToString()
    path, x = tmp_path / "m.onnx", np.random.default_rng(2).standard_normal((3, 4)).astype(np.float32)
    path.write_bytes(data)
    found = graphc.onnx.load(path).predict(x, verbose=0)
    np.testing.assert_allclose(found, in_runtime(data, [x])[0], rtol=1e-5, atol=1e-6)


ROW, IMAGE = ("N", 4), ("N", 4, 5, 6)
NUMBERS = np.random.default_rng(7)


def w(*shape):
    return NUMBERS.uniform(-1, 1, shape).astype(np.float32)


def one(op, *more, shape=ROW, opset=18, results=1, **attributes):
    """A file of one op on `x` and other arrays."""
    names = [f"w{i}" if a is not None else "" for i, a in enumerate(more)]
    outputs = ["y", *(f"y{i}" for i in range(1, results))]
    return made([node(op, ["x", *names], outputs, **attributes)],
                [tensor(n, a) for n, a in zip(names, more, strict=True) if n], outputs, shape, opset)


def indices(op, array, **attributes):
    """A file of an op that takes arrays of whole numbers."""
    return one(op, np.asarray(array, np.int64), **attributes)


def whole(op, *more, to=7, back=1, **attributes):
    """A file of an op on whole numbers made from `x`."""
    names = [f"w{i}" for i in range(len(more))]
    nodes = [node("Mul", ["x", "ten"], ["a"]), node("Cast", ["a"], ["b"], to=to),
             node(op, ["b", *names], ["c"], **attributes), node("Cast", ["c"], ["y"], to=back)]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(to)
    return made(nodes, [tensor("ten", np.float32(10)),
                        *(tensor(n, np.asarray(a, dtype)) for n, a in zip(names, more, strict=True))])


SINGLE = {
    **{op: lambda op=op: one(op) for op in ("Abs", "Neg", "Sign", "Floor", "Ceil", "Round", "Exp", "Sin", "Cos", "Atan",
                                            "Reciprocal", "Softsign", "HardSwish", "Mish", "Relu", "Tanh", "Sigmoid",
                                            "Softplus", "Erf", "Identity", "Softmax", "LogSoftmax", "Dropout")},
    **{op: lambda op=op: one(op, alpha=0.3) for op in ("LeakyRelu", "Elu", "Celu", "ThresholdedRelu", "HardSigmoid")},
    **{op: lambda op=op: one(op, w(4)) for op in ("Add", "Sub", "Mul", "Div", "PRelu", "Max", "Min", "Sum")},
    **{op: lambda op=op: indices(op, [1], keepdims=1) for op in (
        "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare",
        "ReduceLogSumExp")},
    "several at once": lambda: indices("ReduceLogSumExp", [1, 3], shape=IMAGE, keepdims=0),
    "Selu": lambda: one("Selu", alpha=1.5, gamma=1.1),
    "Gelu": lambda: one("Gelu", opset=20), "Gelu tanh": lambda: one("Gelu", opset=20, approximate="tanh"),
    "Clip": lambda: one("Clip", np.float32(-0.5), np.float32(0.5)),
    "Clip above": lambda: one("Clip", None, np.float32(0.5)),
    "ArgMax": lambda: made([node("ArgMax", ["x"], ["a"], axis=-1), node("Cast", ["a"], ["y"], to=1)]),
    "ArgMin": lambda: made([node("ArgMin", ["x"], ["a"], axis=1, keepdims=0), node("Cast", ["a"], ["y"], to=1)]),
    "TopK": lambda: made([node("TopK", ["x", "k"], ["y", "i"], axis=1), node("Cast", ["i"], ["z"], to=1)],
                         [tensor("k", [2])], ("y", "z")),
    "TopK smallest": lambda: made([node("TopK", ["x", "k"], ["y", "i"], axis=-1, largest=0)], [tensor("k", [3])]),
    "Gemm": lambda: one("Gemm", w(3, 4), w(3), transB=1, alpha=0.5, beta=2.0),
    "MatMul": lambda: one("MatMul", w(6, 2), shape=IMAGE),
    "Einsum": lambda: one("Einsum", w(6, 2), shape=IMAGE, equation="nchw,wk->nkch"),
    "Flatten": lambda: one("Flatten", shape=IMAGE), "Flatten from 2": lambda: one("Flatten", shape=("N", 1, 6), axis=2),
    "Transpose": lambda: one("Transpose", shape=IMAGE, perm=[0, 3, 1, 2]),
    "Tile": lambda: indices("Tile", [1, 3]), "Expand": lambda: indices("Expand", [1, 4]),
    "Unsqueeze": lambda: indices("Unsqueeze", [1, -1]), "Squeeze": lambda: indices("Squeeze", [1], shape=("N", 1, 6)),
    "Split": lambda: indices("Split", [1, 3], axis=1, results=2),
    "Split evenly": lambda: one("Split", axis=1, num_outputs=3, results=3, shape=IMAGE),
    "Gather": lambda: indices("Gather", [[0, -1], [2, 1]], axis=1), "Gather one": lambda: indices("Gather", -2, axis=1),
    "GatherElements": lambda: made([
        node("ArgMax", ["x"], ["a"], axis=1), node("GatherElements", ["x", "a"], ["y"], axis=1)]),
    "Slice": lambda: one("Slice", np.array([-1]), np.array([-9]), np.array([2]), np.array([-2]), shape=IMAGE),
    "Concat": lambda: made([node("Concat", ["x", "x"], ["y"], axis=1)]),
    "Pad": lambda: one("Pad", np.array([1, 2]), np.float32(3), np.array([1])),
    "Where": lambda: made([node("Less", ["x", "z"], ["a"]), node("Not", ["a"], ["b"]), node("Xor", ["a", "b"], ["c"]),
                           node("And", ["c", "b"], ["d"]), node("Or", ["d", "b"], ["e"]),
                           node("Where", ["e", "x", "z"], ["y"])], [tensor("z", np.float32(0.25))]),
    "comparisons": lambda: made([
        node("GreaterOrEqual", ["x", "z"], ["a"]), node("LessOrEqual", ["x", "z"], ["b"]),
        node("Equal", ["a", "b"], ["c"]), node("Greater", ["x", "z"], ["d"]), node("Or", ["c", "d"], ["e"]),
        node("Cast", ["e"], ["y"], to=1)], [tensor("z", np.float32(0.25))]),
    "Mod": lambda: whole("Mod", [3, -3, 5, 2]), "division of whole numbers": lambda: whole("Div", [3, -3, 5, -2]),
    "BitwiseAnd": lambda: whole("BitwiseAnd", [3, 6, 5, 2]), "BitwiseOr": lambda: whole("BitwiseOr", [3, 6, 5, 2]),
    "BitwiseXor": lambda: whole("BitwiseXor", [3, 6, 5, 2]), "Range": lambda: made([
        node("Shape", ["x"], ["s"], start=1), node("Squeeze", ["s"], ["n"]), node("Range", ["a", "n", "b"], ["r"]),
        node("Cast", ["r"], ["f"], to=1), node("Add", ["x", "f"], ["y"])], [tensor("a", 0), tensor("b", 1)]),
    "sizes": lambda: made([
        node("Shape", ["x"], ["s"]), node("ConstantOfShape", ["s"], ["o"], value=tensor("v", np.ones(1, np.float32))),
        node("Size", ["x"], ["n"]), node("Cast", ["n"], ["m"], to=1), node("Mul", ["o", "m"], ["p"]),
        node("Add", ["x", "p"], ["y"])]),
    "Det": lambda: one("Det", shape=("N", 3, 3)),
    "Pow": lambda: made([node("Abs", ["x"], ["a"]), node("Pow", ["a", "e"], ["b"]), node("Sqrt", ["b"], ["c"]),
                         node("Log", ["c"], ["y"])], [tensor("e", np.float32(2.5))]),
    "BitShift": lambda: made([
        node("Abs", ["x"], ["a"]), node("Mul", ["a", "t"], ["b"]), node("CastLike", ["b", "s"], ["c"]),
        node("BitShift", ["c", "s"], ["d"], direction="LEFT"), node("CastLike", ["d", "x"], ["y"])],
        [tensor("t", np.float32(100)), tensor("s", np.array([1, 2, 0, 3], np.uint32))]),
    "Conv": lambda: one("Conv", w(6, 2, 3, 2), w(6), shape=IMAGE, group=2, pads=[1, 0, 2, 1], strides=[2, 1]),
    "Conv same": lambda: one("Conv", w(3, 4, 3, 2), shape=IMAGE, auto_pad="SAME_UPPER", strides=[2, 1]),
    "Conv same lower": lambda: one("Conv", w(3, 4, 2, 2), shape=IMAGE, auto_pad="SAME_LOWER"),
    "Conv dilated": lambda: one("Conv", w(3, 4, 2, 3), shape=IMAGE, dilations=[2, 2]),
    "ConvTranspose": lambda: one("ConvTranspose", w(4, 3, 3, 2), w(6), shape=IMAGE, group=2, strides=[2, 3],
                                 pads=[1, 0, 1, 1], output_padding=[1, 2]),
    "MaxPool": lambda: one("MaxPool", shape=IMAGE, kernel_shape=[2, 3], strides=[2, 2], pads=[0, 1, 1, 1], ceil_mode=1),
    "AveragePool": lambda: one("AveragePool", shape=IMAGE, kernel_shape=[2, 3], strides=[2, 2], pads=[1, 1, 0, 1]),
    "AveragePool padding": lambda: one("AveragePool", shape=IMAGE, kernel_shape=[2, 2], pads=[1, 1, 0, 0],
                                       count_include_pad=1),
    "GlobalAveragePool": lambda: one("GlobalAveragePool", shape=IMAGE),
    "GlobalMaxPool": lambda: one("GlobalMaxPool", shape=IMAGE),
    "BatchNormalization": lambda: one("BatchNormalization", w(4), w(4), w(4), np.abs(w(4)), shape=IMAGE, epsilon=0.1),
    "LayerNormalization": lambda: one("LayerNormalization", w(5, 6), w(5, 6), shape=IMAGE, axis=2),
    "InstanceNormalization": lambda: one("InstanceNormalization", w(4), w(4), shape=IMAGE),
    "GroupNormalization": lambda: one("GroupNormalization", w(4), w(4), shape=IMAGE, opset=21, num_groups=2),
}


def recurrent(op, gates, **attributes):
    """A file of a recurrent op over 5 steps, with the rows first outside of it."""
    ways = 2 if attributes.get("direction") == "bidirectional" else 1
    arrays = [w(ways, gates * 3, 4), w(ways, gates * 3, 3), w(ways, gates * 6)]
    nodes = [node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
             node(op, ["t", "w0", "w1", "w2"], ["o", "h"], hidden_size=3, **attributes),
             node("Transpose", ["o"], ["p"], perm=[2, 0, 1, 3]), node("Transpose", ["h"], ["q"], perm=[1, 0, 2]),
             node("Unsqueeze", ["q", "one"], ["r"]), node("Add", ["p", "r"], ["y"])]
    return made(nodes, [*(tensor(f"w{i}", a) for i, a in enumerate(arrays)), tensor("one", [1])], shape=("N", 5, 4))


for _way in ("forward", "reverse", "bidirectional"):
    SINGLE |= {
        f"LSTM {_way}": lambda d=_way: recurrent("LSTM", 4, direction=d),
        f"RNN {_way}": lambda d=_way: recurrent("RNN", 1, direction=d, activations=["Relu"] * (1 + d.startswith("b"))),
        f"GRU {_way}": lambda d=_way: recurrent("GRU", 3, direction=d, linear_before_reset=int(d == "reverse"))}


@pytest.mark.parametrize("name", SINGLE)
def test_operator(name, tmp_path, rng):
    """What ONNX Runtime computes is computed here, for files that graphc wouldn't write."""
    proto = SINGLE[name]()
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    dims = [d.dim_value or 7 for d in proto.graph.input[0].type.tensor_type.shape.dim]
    x = rng.uniform(-1, 1, dims).astype(np.float32)
    with graphc.config(backend="numpy"):
        found = list(flat(graphc.onnx.load(path).predict(x, verbose=0)))
    for got, want in zip(found, in_runtime(proto, [x]), strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


SEEDS = [0, *(pytest.param(s, marks=pytest.mark.slow) for s in range(1, 12))]


def intact(name):
    return as_onnx(small()).SerializeToString() if name == "own" else (FILES / f"{name}.onnx").read_bytes()


def read_or_refused(path, seed):
    """Whether a file is read; what isn't a FileError fails."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graphc.onnx.load(path)
        return True
    except GraphcError as error:
        assert isinstance(error, FileError), f"seed {seed}: {error!r}"
        return False


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", [*(f"torch_{n}" for n in TORCH), "keras_pictures", "own"])
def test_damaged_files(name, seed, tmp_path):
    """Whatever is changed in a file, it is read or refused."""
    data = intact(name)
    rng, path, read = np.random.default_rng([seed, len(data)]), tmp_path / "m.onnx", 0
    for _ in range(60):
        damaged = bytearray(data)
        for _ in range(rng.integers(1, 5)):
            if len(damaged) < 2:
                break
            at = int(rng.integers(len(damaged)))
            kind = rng.integers(4)
            if kind == 0:
                damaged[at] = int(rng.integers(256))
            elif kind == 1:
                damaged[at] ^= 1 << int(rng.integers(8))
            elif kind == 2:
                del damaged[at:at + int(rng.integers(1, 9))]
            else:
                del damaged[max(at, 1):]
        path.write_bytes(damaged)
        read += read_or_refused(path, seed)
    assert read < 60, f"seed {seed}: every damaged file was read"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", [*(f"torch_{n}" for n in TORCH), "keras_pictures", "own"])
def test_files_with_other_contents(name, seed, tmp_path):
    """Well-formed files in which ops, names, attributes, sizes and numbers are others."""
    data, path, read = intact(name), tmp_path / "m.onnx", 0
    rng = np.random.default_rng([seed, len(data), 1])
    ops = sorted({n.op_type for make in SINGLE.values() for n in make().graph.node})
    odd = [0, 1, -1, 2, 3, 7, 1000, -(1 << 62), (1 << 62), 1 << 33]
    for _ in range(60):
        proto = onnx.ModelProto.FromString(data)
        graph = proto.graph
        names = [*(i.name for i in graph.input), *(t.name for t in graph.initializer),
                 *(o for n in graph.node for o in n.output)]
        for _ in range(rng.integers(1, 4)):
            n, kind = graph.node[rng.integers(len(graph.node))], rng.integers(6)
            if kind == 0:
                n.op_type = str(rng.choice(ops))
            elif kind == 1 and n.input:
                n.input[rng.integers(len(n.input))] = str(rng.choice([*names, ""]))
            elif kind == 2 and n.attribute:
                a = n.attribute[rng.integers(len(n.attribute))]
                a.i, a.ints[:] = int(rng.choice(odd)), [int(rng.choice(odd)) for _ in a.ints]
                if a.t.data_type == onnx.TensorProto.INT64:
                    array = onnx.numpy_helper.to_array(a.t)
                    a.t.CopyFrom(tensor(a.t.name, rng.choice(np.array(odd), array.shape)))
            elif kind == 3:
                t = graph.initializer[rng.integers(len(graph.initializer))]
                array = onnx.numpy_helper.to_array(t)
                t.CopyFrom(tensor(t.name, array.reshape(-1) if rng.integers(2) else array.T))
            elif kind == 4:
                dims = graph.input[0].type.tensor_type.shape.dim
                dims[rng.integers(len(dims))].dim_value = int(rng.choice(odd))
            else:
                del n.input[rng.integers(len(n.input) + 1):], n.attribute[rng.integers(len(n.attribute) + 1):]
        path.write_bytes(proto.SerializeToString())
        read += read_or_refused(path, seed)
    assert read < 60, f"seed {seed}: every file was read"
