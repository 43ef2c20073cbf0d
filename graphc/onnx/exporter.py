"""Models as ONNX files: the graph of predictions, written op by op. https://keras.io/api/models/model_saving_apis/export/"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import graphc
from graphc.ir.graph import Graph, Value
from graphc.ir.tree import is_nested, parts_of
from graphc.ir.types import Dim
from graphc.model_files import replacing
from graphc.onnx.package import OPSETS, package
from graphc.onnx.rules import RULES
from graphc.onnx.writer import ExportError, Form, Writer
from graphc.passes.infer import infer
from graphc.passes.pipeline import run
from graphc.ports import ports
from graphc.steps import trace_step

__all__ = ["export"]

_IR_VERSIONS = {18: 8, 19: 9, 20: 9, 21: 10, 22: 10}  # the first file format that has an opset
_LARGEST = (1 << 31) - 1  # bytes, of any protocol buffer


def export(model: Any, filepath: Any, input_signature: Any = None, opset_version: int | None = None) -> None:
    """Write the predictions of a model as ONNX. The file is replaced as a whole: an error leaves the old one."""
    data = as_onnx(model, input_signature, opset_version).SerializeToString()
    path = Path(os.fspath(filepath))
    if len(data) > _LARGEST:
        raise ExportError(f"{path}: the model takes {len(data):,} bytes, and an ONNX file can have {_LARGEST:,}.")
    with replacing(path) as file:
        file.write(data)


def as_onnx(model: Any, input_signature: Any = None, opset_version: int | None = None) -> Any:
    """The ModelProto of a model's predictions."""
    package()
    opset = OPSETS[0] if opset_version is None else opset_version
    if opset not in OPSETS:
        raise ExportError(f"opset_version={opset_version!r}: expected one of {OPSETS[0]} to {OPSETS[-1]}.")
    if model.takes is None:
        raise ExportError(f"The model {model.name!r} has no input shape yet. Give one to its first layer, call "
                          "`build`, or run it once.")
    step = trace_step("predict", model)
    if step.graph.updates:
        changed = ", ".join(s.op.label for s, _ in step.graph.updates)  # type: ignore[attr-defined]
        raise ExportError(f"The model {model.name!r} changes its state in predictions ({changed}), and ONNX has none.")
    traced = Graph(model.name, step.graph.inputs, step.graph.state, step.outputs)
    graph = infer(traced, _known_sizes(model, traced.inputs, input_signature))
    names = model.output_names if len(model.output_names) == len(graph.outputs) else [n for n, _ in graph.outputs]
    return graph_as_onnx(graph, [p.name for p in ports(model.takes)], names, step.graph.state, opset)


def graph_as_onnx(graph: Graph, inputs: Sequence[str], outputs: Sequence[str], state: Sequence[Any],
                  opset: int = OPSETS[0]) -> Any:
    """The ModelProto of a graph; `state` are the variables of its states, the names are those of inputs and outputs."""
    onnx, graph, writer = package(), run(graph), Writer(RULES)
    given = [(writer.unique(name), value) for name, value in zip(inputs, graph.inputs, strict=True)]
    results = [(writer.unique(name), value) for name, (_, value) in zip(outputs, graph.outputs, strict=True)]
    writer.know_sizes(given)
    writer.forms.update((value, Form(name, value.shape)) for name, value in given)
    for variable, value in zip(state, graph.state, strict=True):
        writer.forms[value] = writer.weight(variable)
    writer.write(graph)
    for name, value in results:
        writer.nodes.append(onnx.helper.make_node("Identity", [writer.full(value)], [name], name=writer.unique("out")))
    body = writer.finish(graph.name, [writer.info(*i) for i in given], [writer.info(*o) for o in results])
    made = onnx.helper.make_model(body, producer_name="graphc", producer_version=graphc.__version__,
                                  opset_imports=[onnx.helper.make_opsetid("", opset)],
                                  ir_version=_IR_VERSIONS[opset])
    if made.ByteSize() <= _LARGEST:
        onnx.checker.check_model(made)
    return made


def _known_sizes(model: Any, inputs: Sequence[Value], signature: Any) -> Mapping[str, int | Dim]:
    """The sizes that a fixed batch and `input_signature` (shapes, or what has one) give to symbolic ones."""
    given = [port.batch_shape for port in ports(model.takes)]
    if signature is not None:
        parts = list(_shapes(signature))
        if len(parts) != len(inputs) or any(len(part) != v.ndim for part, v in zip(parts, inputs, strict=True)):
            raise ExportError(f"export received input_signature={signature!r}, expected the shapes of "
                              f"{len(inputs)} inputs, such as {', '.join(map(str, given))}.")
        given = [tuple(s if p is None else p for s, p in zip(shape, part, strict=True))
                 for shape, part in zip(given, parts, strict=True)]
    known: dict[str, int | Dim] = {}
    for shape, value in zip(given, inputs, strict=True):
        for size, d in zip(shape, value.shape, strict=True):
            if isinstance(size, int) and isinstance(d, Dim) and d.name is not None:
                known[d.name] = size
            elif size is not None and not isinstance(d, Dim) and size != d:
                raise ExportError(f"export received input_signature={signature!r}, but the model {model.name!r} was "
                                  f"made for {d} where that says {size}.")
    return known


def _shapes(signature: Any) -> Iterator[tuple[int | None, ...]]:
    """The shapes in a signature: those that things have, and tuples of sizes."""
    if not is_nested(signature):
        yield tuple(getattr(signature, "shape", ()))
    elif isinstance(signature, tuple) and all(p is None or isinstance(p, int) for p in signature):
        yield signature
    else:
        for part in parts_of(signature):
            yield from _shapes(part)
