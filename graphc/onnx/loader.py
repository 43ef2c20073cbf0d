"""Models from ONNX files. What each op means is in graphc.onnx.operators.

A file is taken for what anyone may have written: nothing in it runs, no other file is read, and tensors, names and the
order of nodes are checked before a model is made of them. Whatever is wrong is one FileError.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graphc.ir.errors import GraphcError, ShapeError
from graphc.ir.graph import origin
from graphc.ir.tree import flat
from graphc.ir.types import dim
from graphc.model_files import reading
from graphc.models import Model
from graphc.onnx.operators import OPERATORS, Dialect, Node, OperatorError, Thing, to_value
from graphc.onnx.package import UNTRAINED, dtype_of, package
from graphc.ports import Port
from graphc.variable import Variable

__all__ = ["OnnxModel", "load"]

_OLDEST, _NEWEST = 7, 26  # opsets
_LARGEST = 1 << 36  # elements of a result for one row
_WRONG = (GraphcError, ValueError, TypeError, KeyError, IndexError, ZeroDivisionError, OverflowError, AttributeError,
          RuntimeError)  # that operators raise over what a file asks for
_STATISTICS = {"BatchNormalization": (3, 4)}  # inputs that training leaves alone
_STORED = {"raw_data": 0, "float_data": 4, "int32_data": 4, "int64_data": 8, "double_data": 8, "uint64_data": 8}


def load(filepath: Any, name: str | None = None) -> OnnxModel:
    """The model in an ONNX file: it predicts, and can be compiled and trained on.

    Its inputs and outputs have the names of the file's; the first axis of each is the batch. Initialisers of floats
    with at least one axis become weights. An op that graphc has nothing for raises FileError, as does a damaged file.
    """
    package()
    path = Path(os.fspath(filepath))
    with open(path, "rb") as file, reading(path):
        return OnnxModel(_checked(file.read()), name)


class OnnxModel(Model):
    """A model that computes what an ONNX graph says. It is written with `export`, and its weights with
    `save_weights`; a `.keras` file has no place for it."""

    def __init__(self, proto: Any, name: str | None = None):
        super().__init__(name=name or re.sub(r"[^A-Za-z0-9_.]", "_", proto.graph.name) or "onnx")
        graph = proto.graph
        self._nodes = tuple(graph.node)
        self._known: dict[str, Thing] = {}
        statistics = {n.input[i] for n in graph.node for i in _STATISTICS.get(n.op_type, ()) if i < len(n.input)}
        for tensor in graph.initializer:
            array = _array(tensor)
            if array.dtype.kind == "f" and array.ndim:
                trainable = tensor.doc_string != UNTRAINED and tensor.name not in statistics
                variable = Variable(array, self._path(tensor.name), trainable)
                self._own.append(variable)
                self._known[tensor.name] = variable
            else:
                self._known[tensor.name] = array
        given = [i for i in graph.input if i.name not in self._known]
        takes = [_port(i) for i in given]
        if not takes or not graph.output:
            raise ValueError(f"the graph has {len(takes)} inputs and {len(graph.output)} outputs.")
        rows = given[0].type.tensor_type.shape.dim[0]
        self._dialect = Dialect(_opset(proto), rows.dim_value if rows.HasField("dim_value") else None)
        self._reads = [p.name for p in takes]
        self._writes = [o.name for o in graph.output]
        self._open(takes[0] if len(takes) == 1 else takes)

    def _path(self, name: str) -> str:
        """A weight's name as a path of its own."""
        base = re.sub(r"[^A-Za-z0-9_./]", "_", name).strip("/") or "weight"
        taken = {w.path.replace("/", ".") for w in self._own}
        return next(p for i in range(len(taken) + 1)
                    if (p := f"{base}_{i}" if i else base).replace("/", ".") not in taken)

    def call(self, inputs: Any) -> Any:
        values = dict(self._known)
        values.update(zip(self._reads, flat(inputs), strict=True))
        run(self._nodes, values, self._dialect)
        results = [to_value(values[name]) for name in self._writes]
        return results[0] if len(results) == 1 else results

    def _outputs_of(self, result: Any) -> Any:
        values = list(flat(result))
        for name, value in zip(self._writes, values, strict=True):
            if not value.ndim or value.shape[0] != dim("N"):
                raise ShapeError(f"the output {name!r} is {value.type}, expected one row for each of the N rows of the "
                                 "inputs.")
        made = [Port(name, tuple(d if isinstance(d, int) else None for d in value.shape[1:]), str(value.dtype))
                for name, value in zip(self._writes, values, strict=True)]
        return made[0] if len(made) == 1 else made

    def get_config(self) -> dict[str, Any]:
        raise ValueError(f"The model {self.name!r} comes from an ONNX file and has no configuration: write it with "
                         "export, or its weights with save_weights.")


def run(nodes: Sequence[Any], values: dict[str, Thing], dialect: Dialect) -> None:
    """Compute the results of all nodes, adding them to the values by their names."""
    for proto in nodes:
        name = f"{proto.domain}.{proto.op_type}" if proto.domain else proto.op_type
        where = f"{name} (opset {dialect.opset}{f', node {proto.name!r}' if proto.name else ''})"
        operator = OPERATORS.get(proto.op_type) if proto.domain in ("", "ai.onnx") else None
        if operator is None:
            raise OperatorError(f"graphc has nothing for the ONNX op {where}.")
        inputs = [values[name] if name else None for name in proto.input]
        try:
            _check_node(proto, dialect.opset)
            with origin(proto.name.replace("(", "_") or proto.op_type):
                made = operator(Node(proto, dialect, values, run), *inputs)
            made = made if isinstance(made, tuple) else (made,)
            _check_results(proto, made)
        except OperatorError:
            raise
        except _WRONG as error:
            raise OperatorError(f"{where}: {error}") from error
        values.update(zip(proto.output, made, strict=False))


def _check_node(proto: Any, opset: int) -> None:
    """A node has the inputs and attributes that its op can't do without."""
    schema = package().defs.get_schema(proto.op_type, opset)
    if not schema.min_input <= len(proto.input) <= schema.max_input:
        raise ValueError(f"it has {len(proto.input)} inputs, expected {schema.min_input} to {schema.max_input}")
    given = {a.name for a in proto.attribute}
    if missing := [a.name for a in schema.attributes.values() if a.required and a.name not in given]:
        raise ValueError(f"it lacks the attribute {missing[0]!r}")


def _check_results(proto: Any, made: Sequence[Thing]) -> None:
    """A node has no more results than its operator gives, none of them larger than memory."""
    if any(proto.output[len(made):]):
        raise ValueError(f"graphc doesn't compute its result {proto.output[-1]!r}")
    for result in made:
        known = math.prod(max(d, 1) for d in result.shape if isinstance(d, int))
        if known > _LARGEST:
            raise ValueError(f"a result of the shape {list(result.shape)} is larger than memory")


# ------------------------------------------------------------------------------------------------------------ checks

def _checked(data: bytes) -> Any:
    """The ModelProto in a file, once nothing in it is out of order."""
    onnx = package()
    proto = onnx.ModelProto.FromString(data)
    if not proto.HasField("graph"):
        raise ValueError("it holds no graph.")
    if proto.functions:
        raise ValueError(f"it defines functions ({proto.functions[0].name!r}), and graphc reads plain graphs.")
    if not _OLDEST <= _opset(proto) <= _NEWEST:
        raise ValueError(f"it is written in opset {_opset(proto)}, expected {_OLDEST} to {_NEWEST}.")
    _check_graph(proto.graph, set())
    return proto


def _opset(proto: Any) -> int:
    return next((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), 0)


def _check_graph(graph: Any, outer: set[str]) -> None:
    """Every name is defined once, before it is read; every tensor lies in the file."""
    if graph.sparse_initializer:
        raise ValueError("it has sparse tensors, which graphc doesn't read.")
    known = set(outer)
    initialisers = {t.name for t in graph.initializer}
    own = [t.name for t in graph.initializer] + [i.name for i in graph.input if i.name not in initialisers]
    _define(own, known)
    for tensor in graph.initializer:
        _check_tensor(tensor)
    for node in graph.node:
        missing = next((name for name in node.input if name and name not in known), None)
        if missing is not None:
            raise ValueError(f"{node.op_type} {node.name!r} reads {missing!r}, which nothing before it gives.")
        for attribute in node.attribute:
            for tensor in (attribute.t, *attribute.tensors):
                _check_tensor(tensor)
            for inner in (attribute.g, *attribute.graphs):
                _check_graph(inner, known)
        _define([name for name in node.output if name], known)
    for output in graph.output:
        if output.name not in known:
            raise ValueError(f"nothing gives the output {output.name!r}.")


def _define(names: Sequence[str], known: set[str]) -> None:
    for name in names:
        if name in known or not name:
            raise ValueError(f"the name {name!r} is given twice." if name else "a tensor has no name.")
        known.add(name)


def _check_tensor(tensor: Any) -> None:
    """A tensor holds as many numbers as its shape says, and no other file does."""
    if tensor.data_location or tensor.external_data:
        raise ValueError(f"the tensor {tensor.name!r} lies in another file, and only the file itself is read. Save the "
                         "model with its tensors inside.")
    if not tensor.data_type:  # of an attribute that has none
        return
    dtype = dtype_of(tensor.data_type)
    if dtype is None:
        kind = package().TensorProto.DataType.Name(tensor.data_type)
        raise ValueError(f"the tensor {tensor.name!r} is of type {kind}, which graphc doesn't have.")
    count, stored = math.prod(tensor.dims), len(tensor.raw_data)
    if any(d < 0 for d in tensor.dims) or tensor.HasField("segment"):
        raise ValueError(f"the tensor {tensor.name!r} has the shape {list(tensor.dims)}.")
    if not stored:
        stored = dtype.size * sum(len(getattr(tensor, field)) for field in _STORED if field != "raw_data")
    if stored != count * dtype.size:
        raise ValueError(f"the tensor {tensor.name!r} of shape {list(tensor.dims)} has {stored:,} bytes, expected "
                         f"{count * dtype.size:,}.")


def _array(tensor: Any) -> np.ndarray:
    return np.array(package().numpy_helper.to_array(tensor))


def _port(info: Any) -> Port:
    """An input by its type; an axis of a fixed size is that, the first one the batch, whatever the file says."""
    kind = info.type.tensor_type
    dtype = dtype_of(kind.elem_type)
    if not info.type.HasField("tensor_type") or dtype is None or not kind.HasField("shape"):
        raise ValueError(f"the input {info.name!r} is no tensor of a type and a number of axes that graphc knows.")
    sizes = [d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim]
    if not sizes or any(s is not None and s < 1 for s in sizes):
        raise ValueError(f"the input {info.name!r} has the shape {sizes}, expected the batch and sizes of at least 1.")
    return Port(info.name, tuple(sizes[1:]), dtype.name)
