"""Functional models: layers called on symbolic values, and the model that makes these calls again.

https://keras.io/guides/functional_api/. Outside of a step, a layer that is called gives placeholders: values of its
results' types that remember the call. Arithmetic and functions on placeholders make ordinary values. A model of inputs
and outputs is the graph between them; when a step is traced, its calls are made again on the step's values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from graphc.ir.graph import Value, apply, current_origin, topological
from graphc.ir.ops.leaf import Input as InputOp
from graphc.ir.traverse import postorder
from graphc.ir.tree import flat, mapped, structured
from graphc.ir.types import Dim, TensorType
from graphc.tracing import Trace, tracing
from graphc.variable import Variable

if TYPE_CHECKING:
    from graphc.layers.layer import Layer

__all__ = ["Call", "Placeholder", "batch_before", "calls_before", "is_placed", "record", "run", "sources"]


@dataclass(eq=False)
class Call:
    """A layer's call: its arguments, which hold symbolic values, also in lists, tuples and dicts, and what it gave."""

    layer: Layer
    args: tuple[Any, ...]
    options: Mapping[str, Any]
    outputs: Any = field(default=None, repr=False)

    @property
    def inputs(self) -> Any:
        """The first argument, which for most layers is the only one with values."""
        return self.args[0] if self.args else next(iter(self.options.values()), self.outputs)

    @property
    def values(self) -> list[Value]:
        """All symbolic values in the arguments."""
        return [v for v in flat((self.args, self.options)) if isinstance(v, Value)]

    def again(self, known: Mapping[Value, Value], call: Callable[..., Any]) -> Any:
        """Make the call where some values stand for others, by `call(layer, *args, **options)`."""
        args, options = mapped(lambda v: known.get(v, v) if isinstance(v, Value) else v, (self.args, self.options))
        return call(self.layer, *args, **options)


class Placeholder(Value):
    """A value that stands for an input of a model, or for a result of a call. Each is a value of its own."""

    __slots__ = ("call", "layer")
    call: Call | None
    layer: Layer | None  # of an input

    def __init__(self, label: str, type_: TensorType, call: Call | None = None, layer: Layer | None = None):
        super().__init__(InputOp(label, type_), (), type_)
        self.__setstate__((call, layer))

    @property
    def name(self) -> str:
        return self.op.label  # type: ignore[attr-defined]

    def __reduce__(self) -> Any:
        # the call and the layer know this value, so they come as state
        return Placeholder, (self.name, self.type), (self.call, self.layer)

    def __setstate__(self, state: tuple[Call | None, Layer | None]) -> None:
        for name, thing in zip(("call", "layer"), state, strict=True):
            object.__setattr__(self, name, thing)  # values are frozen


_PLACED: WeakKeyDictionary[Value, bool] = WeakKeyDictionary()


def is_placed(thing: Any) -> bool:
    """Whether something is a value of a functional model: a placeholder, or computed from one."""
    if not isinstance(thing, Value):
        return False
    if thing in _PLACED:
        return _PLACED[thing]
    for value in topological([thing]):
        if value not in _PLACED:
            _PLACED[value] = isinstance(value, Placeholder) or any(_PLACED[o] for o in value.operands)
    return _PLACED[thing]


def record(layer: Layer, args: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
    """Call a layer outside of any step: it is built, and gives placeholders that remember the call."""
    call = Call(layer, args, dict(options))
    batch = None if layer.built else batch_before(call.values)
    with tracing(Trace(training=bool(options.get("training")), batch=batch)):
        results = layer(*args, **options)
    made = [Placeholder(f"{layer.name}.output{i or ''}", v.type, call) if isinstance(v, Value) else v  # type: ignore[arg-type]
            for i, v in enumerate(flat(results))]
    call.outputs = structured(results, made)
    layer.calls.append(call)
    return call.outputs


def _sizes(placed: Value, value: Value) -> dict[str, Any]:
    """What the named sizes of one value are in another that takes its place."""
    if not isinstance(placed.type, TensorType):
        return {}
    return {str(old): new for old, new in zip(placed.shape, value.shape, strict=True)
            if isinstance(old, Dim) and old.name}


def _resized(value: Value, sizes: dict[str, Any], known: Mapping[Value, Value], given: Mapping[Value, Value]) -> Value:
    """A value in a graph of other sizes. What doesn't depend on inputs, as numbers in arithmetic, is made for each."""
    if value in given or isinstance(value, Variable):
        return given.get(value, value)
    operands = (known[o] if is_placed(o) else _resized(o, sizes, known, given) for o in value.operands)
    return apply(value.op.bound(sizes), *operands, origin=current_origin())


def _before(value: Value) -> Sequence[Value]:
    """What a value is computed from: the values of a call, or an op's operands."""
    if isinstance(value, Placeholder):
        return () if value.call is None else value.call.values
    return value.operands


def calls_before(outputs: Iterable[Value], inputs: Sequence[Value]) -> tuple[list[Placeholder], list[Call]]:
    """The inputs, and the calls in an order in which they can be made, that outputs depend on, not beyond `inputs`."""
    given = set(inputs)
    order = postorder(list(outputs), lambda v: () if v in given else _before(v))
    found = [v for v in order if isinstance(v, Placeholder)]
    starts = [v for v in found if v.call is None or v in given]
    return starts, list(dict.fromkeys(v.call for v in found if v.call is not None and v not in given))


def batch_before(values: Sequence[Value]) -> int | None:
    """The number of samples that an input, from which values are computed, is fixed to."""
    starts, _ = calls_before(values, ())
    sizes = (getattr(v.layer, "batch_size", None) for v in starts)
    return next((size for size in sizes if size is not None), None)


def sources(call: Call) -> list[tuple[Call, Placeholder]]:
    """The calls whose results another one reads, directly or through arithmetic, with these results."""
    order = postorder(call.values, lambda v: () if isinstance(v, Placeholder) else v.operands)
    return [(v.call, v) for v in order if isinstance(v, Placeholder) and v.call is not None]


def run(outputs: Any, known: dict[Value, Value], training: bool | None = None,
        call: Callable[..., Any] | None = None) -> Any:
    """The values of outputs where some values, such as inputs, stand for others: all calls are made again.

    `training` holds for the calls that didn't say themselves. `call(layer, *args, **options)` makes them.
    """
    def plain(layer: Layer, *args: Any, **options: Any) -> Any:
        return layer(*args, **{"training": training, **options})

    sizes: dict[Value, dict[str, Any]] = {}  # what the symbolic sizes of values are now
    everywhere: dict[str, Any] = {}
    given = dict(known)
    for placed, value in known.items():
        sizes[placed] = _sizes(placed, value)
        everywhere = sizes[placed] | everywhere
    for value in postorder([v for v in flat(outputs) if isinstance(v, Value)],
                           lambda v: () if v in known else _before(v)):
        if value in known:
            continue
        made = value.call if isinstance(value, Placeholder) else None
        if made is not None:
            results = made.again(known, call or plain)
            known.update((placed, v) for placed, v in zip(flat(made.outputs), flat(results), strict=True)
                         if isinstance(placed, Value))
        else:
            here = dict(everywhere)
            for operand in value.operands:
                if is_placed(operand):
                    here |= sizes.setdefault(operand, _sizes(operand, known[operand]))
            known[value] = _resized(value, here, known, given)
    return mapped(lambda v: known[v] if isinstance(v, Value) else v, outputs)
