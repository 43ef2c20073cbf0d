"""Models in ONNX, for the runtimes that predict from such files. https://onnx.ai/onnx/operators/"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from models import Model, Node
from onnx import TensorProto, helper, numpy_helper
from steps import Run, Weights, channels_first, flattened, rows_by_channel, same_padding

__all__ = ["load_onnxruntime", "load_openvino", "onnx_file"]

THREADS = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))


def load_onnxruntime(model: Model, weights: Weights, dropout: bool) -> OnnxLoaded:
    return OnnxLoaded(model, weights, onnxruntime_session)


def load_openvino(model: Model, weights: Weights, dropout: bool) -> OnnxLoaded:
    return OnnxLoaded(model, weights, openvino_session)


@dataclass
class OnnxLoaded:
    """A network in ONNX; each batch size has a session of its own."""

    model: Model
    weights: Weights
    session: Callable[[bytes, np.ndarray], dict[str, Run]]

    def train(self, x: np.ndarray, y: np.ndarray) -> dict[str, Run]:
        return {}

    def epoch(self, x: np.ndarray, y: np.ndarray, rows: int) -> None:
        raise NotImplementedError("these runtimes only predict")

    def predict(self, x: np.ndarray) -> dict[str, Run]:
        return self.session(onnx_file(self.model, self.weights, len(x)), channels_first(x))


def onnxruntime_session(file: bytes, x: np.ndarray) -> dict[str, Run]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = THREADS, 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    output = np.empty(session.get_outputs()[0].shape, np.float32)
    binding = session.io_binding()
    binding.bind_cpu_input("x", x)
    binding.bind_output("prediction", "cpu", 0, np.float32, output.shape, output.ctypes.data)
    return {"run": _repeat(lambda: session.run(None, {"x": x}), lambda results: results[0]),
            "run_with_iobinding": _repeat(lambda: session.run_with_iobinding(binding), lambda _: output)}


def openvino_session(file: bytes, x: np.ndarray) -> dict[str, Run]:
    import openvino

    core = openvino.Core()
    compiled = core.compile_model(core.read_model(file), "CPU", {
        "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1", "INFERENCE_NUM_THREADS": str(THREADS),
        "INFERENCE_PRECISION_HINT": "f32"})
    request = compiled.create_infer_request()
    request.set_input_tensor(openvino.Tensor(x, shared_memory=True))
    return {"infer": _repeat(request.infer, lambda _: np.array(request.get_output_tensor().data))}


def _repeat(call: Callable[[], Any], result: Callable[[Any], np.ndarray]) -> Run:
    """Call n times; the array in what the last call gave."""
    def run(n: int) -> np.ndarray:
        for _ in range(n):
            last = call()
        return result(last)

    return run


def onnx_file(model: Model, weights: Weights, rows: int) -> bytes:
    """The network for a number of rows, channels first."""
    writer = _Writer()
    values: dict[Node, str] = {}
    for node in model.outline:
        values[node] = writer.layer(node, [values[s] for s in node.sources], weights.get(node.name, []))
    writer.node("Identity", [values[model.outline[-1]]], output="prediction")
    shape = model.inputs if len(model.inputs) < 3 else (model.inputs[2], *model.inputs[:2])
    x = helper.make_tensor_value_info("x", TensorProto.INT32 if model.words else TensorProto.FLOAT, [rows, *shape])
    y = helper.make_tensor_value_info("prediction", TensorProto.FLOAT, [rows, *model.outline[-1].shape])
    graph = helper.make_graph(writer.nodes, model.name, [x], [y], writer.constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10).SerializeToString()


class _Writer:
    """Collects ONNX nodes and their constants, each under a new name."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, array: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, op: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        output = output or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def layer(self, node: Node, x: list[str], w: list[np.ndarray]) -> str:
        """The name of the layer's result."""
        if node.kind == "Input":
            return "x"
        value = self.linear(node, x, w)
        match node.options.get("activation"):
            case "softmax":
                return self.node("Softmax", [value], axis=-1)
            case str(name):
                return self.node(name.capitalize(), [value])
        return value

    def linear(self, node: Node, x: list[str], w: list[np.ndarray]) -> str:
        """The layer without its activation."""
        options, source = node.options, node.sources[0]
        match node.kind:
            case "Dropout" | "Activation":
                return x[0]
            case "Dense":
                kernel = rows_by_channel(w[0], flattened(source))
                return self.dense(x[0], kernel, w[1], flat=len(source.shape) == 1)
            case "Conv2D":
                size, stride, pads = options["kernel_size"], options.get("strides", 1), (0, 0)
                if options.get("padding") == "same":
                    pads = same_padding(source.shape[0], size, stride)
                constants = [self.constant(w[0].transpose(3, 2, 0, 1)), *map(self.constant, w[1:])]
                return self.node("Conv", [*x, *constants], kernel_shape=[size] * 2, strides=[stride] * 2,
                                 pads=[pads[0]] * 2 + [pads[1]] * 2)
            case "BatchNormalization":
                return self.node("BatchNormalization", [*x, *map(self.constant, w)], epsilon=1e-3)
            case "Embedding":
                return self.node("Gather", [self.constant(w[0]), *x])
            case "LayerNormalization":
                return self.node("LayerNormalization", [*x, *map(self.constant, w)], epsilon=1e-3)
            case "MultiHeadAttention":
                return self.attention(x[0], w, source.shape[0])
            case "LSTM":
                return self.lstm(x, w, options["units"])
            case "MaxPooling2D":
                return self.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
            case "GlobalAveragePooling2D":
                return self.node("ReduceMean", x, axes=[2, 3], keepdims=0)
        return self.node(node.kind, x)  # Add, Flatten

    def dense(self, x: str, kernel: np.ndarray, bias: np.ndarray, flat: bool = False) -> str:
        """x @ kernel + bias."""
        if flat:
            return self.node("Gemm", [x, self.constant(kernel), self.constant(bias)])
        return self.node("Add", [self.node("MatMul", [x, self.constant(kernel)]), self.constant(bias)])

    def attention(self, x: str, w: list[np.ndarray], length: int) -> str:
        """Self-attention; Keras has kernels [width, heads, size], and [heads, size, width] at the end."""
        width, heads, size = w[0].shape
        apart, together = (self.constant(np.array(s)) for s in ([-1, length, heads, size], [-1, length, heads * size]))

        def project(k: int, scale: np.float32 | int, order: list[int]) -> str:
            y = self.dense(x, w[k].reshape(width, -1) * scale, w[k + 1].reshape(-1) * scale)
            return self.node("Transpose", [self.node("Reshape", [y, apart])], perm=order)

        scores = self.node("MatMul", [project(0, np.float32(size ** -0.5), [0, 2, 1, 3]), project(2, 1, [0, 2, 3, 1])])
        mixed = self.node("MatMul", [self.node("Softmax", [scores], axis=-1), project(4, 1, [0, 2, 1, 3])])
        rows = self.node("Reshape", [self.node("Transpose", [mixed], perm=[0, 2, 1, 3]), together])
        return self.dense(rows, w[6].reshape(-1, width), w[7])

    def lstm(self, x: list[str], w: list[np.ndarray], units: int) -> str:
        """Keras's gates i, f, c, o become ONNX's i, o, f, c; ONNX has time first, and a second bias."""
        kernel, recurrent, bias = (a.T.reshape(4, units, -1)[[0, 3, 1, 2]].reshape(1, 4 * units, -1) for a in w)
        both = np.concatenate([bias[..., 0], np.zeros_like(bias[..., 0])], 1)
        turned = self.node("Transpose", x, perm=[1, 0, 2])
        last = f"last{len(self.nodes)}"
        self.nodes.append(helper.make_node("LSTM", [turned, *map(self.constant, (kernel, recurrent, both))], ["", last],
                                           hidden_size=units))
        return self.node("Squeeze", [last, self.constant(np.array([0]))])
