"""A graph as ONNX: names, sizes, constants and scopes. What each op becomes is in graphc.onnx.rules.

Nodes are written for one value after the other, and those that nothing reads are left out at the end: a rule may look
behind its operands and write several ops as one. What is only repeated along axes stays small until an op needs every
element (`Form`), as ONNX broadcasts by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.ir.errors import GraphcError
from graphc.ir.evaluate import evaluate_values
from graphc.ir.graph import Graph, Value, topological
from graphc.ir.op import Op
from graphc.ir.ops.movement import Broadcast
from graphc.ir.types import DTYPES, Dim, DType, Quotient, Shape, TensorType
from graphc.onnx.package import UNTRAINED, element_type, package
from graphc.variable import Variable

__all__ = ["ExportError", "Form", "Rule", "Writer"]

I64 = DTYPES["i64"]


class ExportError(GraphcError, ValueError):
    """A model, or a part of it, can't be written as ONNX."""


@dataclass(frozen=True)
class Form:
    """A tensor that stands for a value: of its shape, or of one that broadcasts to it."""

    name: str
    shape: Shape


Rule = Callable[["Writer", Value], "Form | str"]


class Writer:
    """The nodes of one graph: of the model, or of the body of a loop inside it."""

    def __init__(self, rules: dict[type[Op], Rule], outer: Writer | None = None):
        self.onnx = package()
        self.rules = rules
        self.forms: dict[Value, Form] = {} if outer is None else dict(outer.forms)
        self.results: dict[Value, list[Form]] = {} if outer is None else dict(outer.results)  # of ops with several
        self.nodes: list[Any] = []
        self.root: Writer = self if outer is None else outer.root
        self._origin = ""
        if outer is None:  # what the bodies share
            self.first: list[Any] = []  # nodes before all others: constants and sizes
            self.weights: dict[str, np.ndarray] = {}
            self._notes: dict[str, str] = {}
            self._derived: dict[str, str] = {}
            self._taken: dict[str, int] = {}  # names, with the last number that was given to each
            self._turned: dict[str, tuple[str, tuple[int, ...]]] = {}
            self._known: dict[Any, str] = {}
            self._sizes: dict[str, str] = {}

    # Names and nodes ----------------------------------------------------------------------------------------

    def unique(self, name: str) -> str:
        """The name, with a number where it is taken already."""
        taken = self.root._taken
        found = name
        while found in taken:
            taken[name] += 1
            found = f"{name}_{taken[name]}"
        taken[found] = 0
        return found

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        """The result of a new node."""
        return self.several(op, inputs, 1, **attributes)[0]

    def several(self, op: str, inputs: Sequence[str], count: int, **attributes: Any) -> list[str]:
        """The results of a new node."""
        name = self.unique(f"{self._origin}/{op}" if self._origin else op)
        outputs = [name] if count == 1 else [self.unique(f"{name}.{i}") for i in range(count)]
        self.nodes.append(self.onnx.helper.make_node(op, list(inputs), outputs, name=name, **attributes))
        return outputs

    def _early(self, op: str, *inputs: str, **attributes: Any) -> str:
        """The result of a node that stands before all others, once for all that ask for it."""
        root = self.root
        key = (op, inputs, *(v if isinstance(v, int) else v.SerializeToString() for v in attributes.values()))
        if key not in root._known:
            name = root.unique(op)
            root.first.append(self.onnx.helper.make_node(op, list(inputs), [name], name=name, **attributes))
            root._known[key] = name
        return root._known[key]

    def array(self, array: Any, dtype: DType = I64) -> str:
        """An array as a constant."""
        return self._early("Constant", value=self.onnx.numpy_helper.from_array(np.asarray(array, dtype.numpy)))

    # Sizes --------------------------------------------------------------------------------------------------

    def know_sizes(self, inputs: Iterable[tuple[str, Value]]) -> None:
        """Read the symbolic sizes off the shapes of inputs."""
        for name, value in inputs:
            for axis, d in enumerate(value.shape):
                if isinstance(d, Dim) and d.name is not None and d.name not in self._sizes:
                    shape = self._early("Shape", name)
                    self._sizes[d.name] = self._early("Gather", shape, self.array([axis]), axis=0)

    def size(self, d: int | Dim) -> str:
        """A size as an array of one element."""
        if not isinstance(d, Dim):
            return self.array([d])
        total = ""
        for monomial, coefficient in d.terms:
            factors = [self._factor(f) for f in monomial]
            if coefficient != 1 or not factors:
                factors.append(self.array([coefficient]))
            term = factors[0]
            for factor in factors[1:]:
                term = self._early("Mul", term, factor)
            total = self._early("Add", total, term) if total else term
        return total

    def _factor(self, factor: str) -> str:
        if isinstance(factor, Quotient):  # Div rounds to zero: it is exact below what is left over
            numerator, divisor = self.size(factor.numerator), self.array([factor.divisor])
            rest = self._early("Mod", numerator, divisor)
            return self._early("Div", self._early("Sub", numerator, rest), divisor)
        if factor not in self.root._sizes:
            raise ExportError(f"The size {factor} is that of no input, so ONNX has no way to tell it.")
        return self.root._sizes[factor]

    def sizes(self, shape: Shape) -> str:
        """Sizes as one array."""
        if not any(isinstance(d, Dim) for d in shape):
            return self.array(np.array(shape, np.int64))
        return self._early("Concat", *map(self.size, shape), axis=0)

    def scalar(self, d: int | Dim) -> str:
        """A size as an array without axes."""
        return self._early("Squeeze", self.size(d)) if isinstance(d, Dim) else self.array(d)

    # Values -------------------------------------------------------------------------------------------------

    def thin(self, value: Value) -> Form:
        """A tensor that broadcasts to the value."""
        found = self.forms.get(value)
        if found is None:  # a constant, which is computed here and now
            if isinstance(value.op, Broadcast):
                found = self.spread(self.thin(value.operands[0]), value)
            else:
                known: dict[Value, Any] = {}
                evaluate_values(topological([value]), known, {})
                found = Form(self.array(known[value], value.dtype), value.shape)
            self.forms[value] = found
        return found

    def spread(self, form: Form, value: Value) -> Form:
        """What a broadcast value repeats, with axes of size 1 where it does."""
        axes = value.op.axes[len(value.op.axes) - len(form.shape):]  # type: ignore[attr-defined]
        first = axes[0] if axes else value.ndim
        new = tuple(form.shape[axes.index(a)] if a in axes else 1 for a in range(first, value.ndim))
        added = [a - first for a in range(first, value.ndim) if a not in axes]
        return Form(self.node("Unsqueeze", form.name, self.array(added)) if added else form.name, new)

    def full(self, value: Value) -> str:
        """A tensor with all elements of the value."""
        form = self.thin(value)
        if form.shape != value.shape:
            form = self.forms[value] = Form(self.node("Expand", form.name, self.sizes(value.shape)), value.shape)
        return form.name

    def weight(self, variable: Variable) -> Form:
        """A weight, under its path."""
        name = self.unique(variable.path)
        self.weights[name] = variable.array
        if not variable.trainable:
            self._notes[name] = UNTRAINED
        return Form(name, variable.shape)

    def cast(self, name: str, dtype: DType) -> str:
        return self.node("Cast", name, to=element_type(dtype))

    def transpose(self, name: str, axes: Sequence[int]) -> str:
        """Permuted axes: of a weight at once, of what is permuted already both in one."""
        source, before = self.root._turned.get(name, (name, tuple(range(len(axes)))))
        axes = tuple(before[a] for a in axes)
        if axes == tuple(range(len(axes))):
            return source
        if source in self.root.weights:
            return self._of_weight(source, self.root.weights[source].transpose(axes))
        made = self.node("Transpose", source, perm=axes)
        self.root._turned[made] = source, axes
        return made

    def reshape(self, name: str, old: Shape, new: Shape) -> str:
        """The same elements under another shape."""
        if old == new:
            return name
        if name in self.root.weights:
            return self._of_weight(name, self.root.weights[name].reshape(new))  # type: ignore[arg-type]
        unknown = [a for a, d in enumerate(new) if isinstance(d, Dim) and (a >= len(old) or old[a] != d)]
        if len(unknown) > 1 or 0 in new:
            return self.node("Reshape", name, self.sizes(new), allowzero=1)
        here = [-1 if a in unknown else 0 if isinstance(d, Dim) else d for a, d in enumerate(new)]
        if not unknown and here.count(0) == 1:
            here[here.index(0)] = -1
        return self.node("Reshape", name, self.array(here))

    def _of_weight(self, name: str, array: np.ndarray) -> str:
        """A weight in another layout; it takes the name of the weight where nothing else does."""
        root, key = self.root, ("weight", name, array.shape, array.strides)
        if key not in root._known:
            made = root.unique(f"{name}.{len(root._derived)}")
            root._known[key], root.weights[made] = made, np.ascontiguousarray(array)
            root._derived[made] = root._derived.get(name, name)
            if note := root._notes.get(name):
                root._notes[made] = note
        return root._known[key]

    # Graphs -------------------------------------------------------------------------------------------------

    def write(self, graph: Graph) -> None:
        """The nodes of all values of a graph whose leaves are known."""
        constants: set[Value] = set()
        for value in graph.values():
            if value in self.forms or value in self.results:
                continue
            if not hasattr(value.op, "label") and not _symbolic(value) and constants.issuperset(value.operands):
                constants.add(value)  # computed where it is read
                continue
            self._origin = value.origin
            rule = self.rules.get(type(value.op))
            if rule is None:
                raise ExportError(f"{_layer(value)}ONNX has nothing for the op {value.op.name}.")
            try:
                made = rule(self, value)
            except ExportError as error:
                error.args = (f"{_layer(value)}{error}",)
                raise
            if isinstance(value.type, TensorType):
                self.forms[value] = made if isinstance(made, Form) else Form(made, value.shape)

    def finish(self, name: str, inputs: Sequence[Any], outputs: Sequence[Any]) -> Any:
        """The graph of what the outputs need."""
        wanted, kept = {o.name for o in outputs}, []
        for node in reversed([*(self.first if self.root is self else []), *self.nodes]):
            if wanted.intersection(node.output):
                kept.append(node)
                wanted |= set(_read(node))
        kept.reverse()
        weights = [] if self.root is not self else self._initialisers(kept, wanted)
        return self.onnx.helper.make_graph(kept, name, inputs, outputs, weights)

    def _initialisers(self, nodes: Sequence[Any], wanted: set[str]) -> list[Any]:
        """The weights that nodes read; one that is read in one other layout only goes under its own name."""
        order = {n: i for i, n in enumerate(self.weights)}
        used = sorted((n for n in self.weights if n in wanted), key=lambda n: order[self._derived.get(n) or n])
        names = {n: self._derived[n] for n in reversed(used) if n in self._derived and self._derived[n] not in wanted}
        shown = {base: n for n, base in names.items()}  # the first of several layouts
        names = {n: base for base, n in shown.items()}
        _rename(nodes, names)
        result = []
        for n in used:
            tensor = self.onnx.numpy_helper.from_array(self.weights[n], names.get(n, n))
            tensor.doc_string = self._notes.get(n, "")
            result.append(tensor)
        return result

    def info(self, name: str, value: Value) -> Any:
        """A name with the type of a value."""
        dims = [str(d) if isinstance(d, Dim) else d for d in value.shape]
        return self.onnx.helper.make_tensor_value_info(name, element_type(value.dtype), dims)


def _layer(value: Value) -> str:
    return f"The layer {value.origin!r} can't be exported: " if value.origin else ""


def _symbolic(value: Value) -> bool:
    """Whether a size is known at run time only."""
    held = [value.op.size] if hasattr(value.op, "size") else []  # of a Dimension
    return any(isinstance(d, Dim) for d in (*value.shape, *held)) if isinstance(value.type, TensorType) else True


def _read(node: Any) -> Iterable[str]:
    """What a node reads, in its bodies too."""
    yield from node.input
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from _read(inner)


def _rename(nodes: Iterable[Any], names: dict[str, str]) -> None:
    for node in nodes:
        node.input[:] = [names.get(n, n) for n in node.input]
        for attribute in node.attribute:
            _rename(attribute.g.node, names)
