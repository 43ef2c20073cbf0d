"""Values and graphs. A value is the operation that computes it; names exist only in the text.

A `Graph` is one step of a program: inputs, state, named outputs, and updates that give a state its next value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakValueDictionary

import networkx as nx

from graphc.ir.errors import place
from graphc.ir.op import Op
from graphc.ir.printer import line_of, print_graph
from graphc.ir.traverse import postorder
from graphc.ir.types import DType, Shape, TensorType, TupleType

__all__ = ["Graph", "Value", "apply", "current_origin", "layer_of", "origin", "phase_of", "substitute",
           "topological"]

_OPERANDS = attrgetter("operands")
_ORIGIN: ContextVar[str] = ContextVar("origin", default="")
_VALUES: WeakValueDictionary[Any, Value] = WeakValueDictionary()


@contextmanager
def origin(name: str) -> Iterator[None]:
    """Values made inside carry `name` (a layer's path) as their origin."""
    token = _ORIGIN.set(name)
    try:
        yield
    finally:
        _ORIGIN.reset(token)


def current_origin() -> str:
    """The origin that a value made now would carry."""
    return _ORIGIN.get()


def layer_of(origin: str) -> str:
    """The layer that an origin stands for: `dense` for `dense`, `grad(dense)` and `grad(grad(dense))`."""
    while origin.startswith("grad(") and origin.endswith(")"):
        origin = origin[5:-1]
    return origin


def phase_of(origin: str) -> str:
    """The part of a training step that an origin stands for: `forward`, `backward` or `update`."""
    return "backward" if origin.startswith("grad(") else "update" if origin == "optimizer" else "forward"


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True, repr=False)
class Value:
    """An op applied to operands: frozen, interned, typed at birth. Make one with `apply`.

    `==` is for ops the comparison of elements, and true where two are the same value: graphc.ir.comparison.
    """

    __array_priority__: ClassVar[int] = 100  # array + value is ours to compute

    op: Op
    operands: tuple[Value, ...]
    type: TensorType | TupleType
    origin: str = ""

    @property
    def shape(self) -> Shape:
        assert isinstance(self.type, TensorType)
        return self.type.shape

    @property
    def dtype(self) -> DType:
        assert isinstance(self.type, TensorType)
        return self.type.dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    if TYPE_CHECKING:  # graphc.ir.functions gives values their operators
        def __add__(self, other: Any) -> Value: ...
        def __radd__(self, other: Any) -> Value: ...
        def __sub__(self, other: Any) -> Value: ...
        def __rsub__(self, other: Any) -> Value: ...
        def __mul__(self, other: Any) -> Value: ...
        def __rmul__(self, other: Any) -> Value: ...
        def __truediv__(self, other: Any) -> Value: ...
        def __rtruediv__(self, other: Any) -> Value: ...
        def __floordiv__(self, other: Any) -> Value: ...
        def __rfloordiv__(self, other: Any) -> Value: ...
        def __mod__(self, other: Any) -> Value: ...
        def __rmod__(self, other: Any) -> Value: ...
        def __pow__(self, other: Any) -> Value: ...
        def __rpow__(self, other: Any) -> Value: ...
        def __matmul__(self, other: Any) -> Value: ...
        def __rmatmul__(self, other: Any) -> Value: ...
        def __and__(self, other: Any) -> Value: ...
        def __or__(self, other: Any) -> Value: ...
        def __xor__(self, other: Any) -> Value: ...
        def __neg__(self) -> Value: ...
        def __abs__(self) -> Value: ...
        def __invert__(self) -> Value: ...
        def __getitem__(self, key: Any) -> Value: ...
        def __iter__(self) -> Iterator[Value]: ...
        def __eq__(self, other: Any) -> Any: ...
        def __ne__(self, other: Any) -> Any: ...
        def __lt__(self, other: Any) -> Value: ...
        def __le__(self, other: Any) -> Value: ...
        def __gt__(self, other: Any) -> Value: ...
        def __ge__(self, other: Any) -> Value: ...

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"<{self.op}: {self.type}{' in ' + self.origin if self.origin else ''}>"

    def __bool__(self) -> bool:
        raise TypeError(f"{self!r} is symbolic: it has no numbers yet, so it is neither true nor false. Choose between "
                        "values with ops.where.")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        raise TypeError(f"{self!r} is symbolic: it has no numbers yet, so NumPy can't compute with it. Use the "
                        "functions of graphc.ops.")

    def __float__(self) -> float:
        raise TypeError(f"{self!r} is symbolic: it has no numbers yet. Compute with the functions of graphc.ops, and "
                        "ask for numbers where arrays go in.")

    __int__ = __float__

    def __reduce__(self) -> Any:
        return _applied, (self.op, self.operands, self.origin)


def _applied(op: Op, operands: tuple[Value, ...], origin: str) -> Value:
    return apply(op, *operands, origin=origin)


def apply(op: Op, *operands: Value, origin: str | None = None) -> Value:
    """The value of an op on operands; the same object for the same arguments."""
    where = _ORIGIN.get() if origin is None else origin
    key = (op, operands, where)
    found = _VALUES.get(key)
    if found is None:
        found = Value(op, operands, op.infer(*(o.type for o in operands)), where)  # type: ignore[arg-type]
        _VALUES[key] = found
    return found


def topological(roots: Iterable[Value]) -> list[Value]:
    """Every value below the roots once, operands before users, in a stable order."""
    return postorder(roots, _OPERANDS)


def substitute(roots: Iterable[Value], known: Mapping[Value, Value]) -> list[Value]:
    """The roots where some values stand for others: what depends on those is applied again."""
    wanted, new = list(roots), dict(known)
    for v in postorder(wanted, lambda v: () if v in known else v.operands):
        if v not in new:
            operands = tuple(new[o] for o in v.operands)
            new[v] = v if operands == v.operands else apply(v.op, *operands, origin=v.origin)
    return [new[v] for v in wanted]


@dataclass(frozen=True, eq=False)
class Graph:
    """One step: `inputs` and `state` are leaves, `outputs` are named, `updates` maps a state to its next value."""

    name: str
    inputs: tuple[Value, ...]
    state: tuple[Value, ...]
    outputs: tuple[tuple[str, Value], ...]
    updates: tuple[tuple[Value, Value], ...] = ()
    _order: list[Value] = field(default_factory=list, repr=False)

    @property
    def parts(self) -> tuple[Any, ...]:
        """All that it consists of: graphs with equal parts are the same, as values are interned."""
        return self.name, self.inputs, self.state, self.outputs, self.updates

    @property
    def roots(self) -> tuple[Value, ...]:
        """The values that the step must compute."""
        return (*(v for _, v in self.outputs), *(v for _, v in self.updates))

    def values(self) -> list[Value]:
        """Every value, operands first: inputs, state, then the rest."""
        if not self._order:
            self._order.extend(topological((*self.inputs, *self.state, *self.roots)))
        return self._order

    def users(self) -> dict[Value, list[Value]]:
        """For each value, the values that read it."""
        result: dict[Value, list[Value]] = {v: [] for v in self.values()}
        for value in self.values():
            for operand in dict.fromkeys(value.operands):
                result[operand].append(value)
        return result

    def constants(self) -> set[Value]:
        """The values that depend on no input and no state."""
        found: set[Value] = set()
        leaves = {*self.inputs, *self.state}
        for value in self.values():
            if value not in leaves and all(o in found for o in value.operands):
                found.add(value)
        return found

    def rebuild(self, change: Callable[[Value, tuple[Value, ...]], Value | None] = lambda v, o: None,
                name: str | None = None) -> Graph:
        """A new graph; `change(value, new_operands)` may give another value for each, operands first."""
        new: dict[Value, Value] = {}
        for value in self.values():
            operands = tuple(new[o] for o in value.operands)
            try:
                made = change(value, operands)
                if made is None:
                    made = value if operands == value.operands else apply(value.op, *operands, origin=value.origin)
            except Exception as error:
                place(error, line_of(self, value))
                raise
            new[value] = made
        return self.replaced(new, name)

    def replaced(self, new: Mapping[Value, Value], name: str | None = None) -> Graph:
        """The graph of the mapped leaves, outputs and updates."""
        def get(v: Value) -> Value:
            return new.get(v, v)

        return Graph(name or self.name, tuple(map(get, self.inputs)), tuple(map(get, self.state)),
                     tuple((n, get(v)) for n, v in self.outputs), tuple((get(s), get(v)) for s, v in self.updates))

    def symbols(self) -> list[str]:
        """The names of all symbolic sizes, sorted."""
        return sorted({s for v in self.inputs + self.state if isinstance(v.type, TensorType) for s in v.type.symbols()})

    def to_networkx(self) -> nx.DiGraph:
        """The data flow as a networkx graph: nodes are values, edges run from operand to user."""
        result = nx.DiGraph(name=self.name)
        for value in self.values():
            result.add_node(value, label=str(value.op), type=str(value.type), origin=value.origin)
            result.add_edges_from((o, value) for o in value.operands)
        return result

    def to_dot(self) -> str:
        """The graph as Graphviz text, with a cluster for each layer."""
        return _views().dot(self)

    def to_svg(self) -> str:
        """A picture of the graph as one standalone SVG, boxes in the colours of their layers."""
        return _views().svg(self)

    def select(self, layer: str) -> Graph:
        """The part of the graph that a layer and those below it compute; see `graphc.ir.views.select`."""
        return _views().select(self, layer)

    def diff(self, other: Graph) -> str:
        """What changed from this graph to another, as the lines of text that only one has; '' where nothing did."""
        return _views().diff(self, other)

    def __str__(self) -> str:
        return print_graph(self)


def _views() -> Any:
    from graphc.ir import views  # which builds on graphs

    return views
