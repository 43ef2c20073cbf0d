"""Functional models: layers called on symbolic values, and the model that makes these calls again.

https://keras.io/guides/functional_api/. Outside of a step, a layer that is called gives placeholders: values of its
results' types that remember the call. Arithmetic and functions on placeholders make ordinary values. A model of inputs
and outputs is the graph between them; when a step is traced, its calls are made again on the step's values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from graphc.ir.graph import Value, apply, current_origin
from graphc.ir.ops.leaf import Input as InputOp
from graphc.ir.traverse import postorder
from graphc.ir.types import TensorType
from graphc.tracing import Trace, tracing

if TYPE_CHECKING:
    from graphc.layers.layer import Layer

__all__ = ["Call", "Placeholder", "calls_before", "flat", "record", "run", "sources", "structured"]


@dataclass(eq=False)
class Call:
    """A layer's call on symbolic values; `inputs` and `outputs` are values, or lists, tuples and dicts of them."""

    layer: Layer
    inputs: Any
    options: Mapping[str, Any]
    outputs: Any = field(default=None, repr=False)

    def again(self, inputs: Any, training: bool | None = None) -> Any:
        """Make the call on other values of the same structure; `training` holds where the call itself didn't say."""
        return self.layer(inputs, **{"training": training, **self.options})


class Placeholder(Value):
    """A value that stands for an input of a model, or for a result of a call. Each is a value of its own."""

    __slots__ = ("call",)
    call: Call | None

    def __init__(self, label: str, type_: TensorType, call: Call | None = None):
        super().__init__(InputOp(label, type_), (), type_)
        object.__setattr__(self, "call", call)  # values are frozen

    @property
    def name(self) -> str:
        return self.op.label  # type: ignore[attr-defined]

    def __reduce__(self) -> Any:
        return Placeholder, (self.name, self.type), self.call  # the call knows this value, so it comes as state

    def __setstate__(self, call: Call | None) -> None:
        object.__setattr__(self, "call", call)


def flat(structure: Any) -> Iterator[Value]:
    """The values in lists, tuples and dicts, in their order."""
    if isinstance(structure, Mapping):
        structure = structure.values()
    elif not isinstance(structure, list | tuple):
        yield structure
        return
    for part in structure:
        yield from flat(part)


def structured(like: Any, values: Iterable[Any]) -> Any:
    """Values in the structure of another one."""
    values = iter(values)

    def build(part: Any) -> Any:
        if isinstance(part, Mapping):
            return {name: build(p) for name, p in part.items()}
        if isinstance(part, list | tuple):
            return [build(p) for p in part]
        return next(values)

    return build(like)


def record(layer: Layer, inputs: Any, options: Mapping[str, Any]) -> Any:
    """Call a layer outside of any step: it is built, and gives placeholders that remember the call."""
    call = Call(layer, inputs, dict(options))
    with tracing(Trace(training=bool(options.get("training")))):
        results = call.again(inputs)
    made = [Placeholder(f"{layer.name}.output{i or ''}", v.type, call) for i, v in enumerate(flat(results))]  # type: ignore
    call.outputs = structured(results, made)
    layer.calls.append(call)
    return call.outputs


def _before(value: Value) -> Sequence[Value]:
    """What a value is computed from: the inputs of a call, or an op's operands."""
    if isinstance(value, Placeholder):
        return () if value.call is None else list(flat(value.call.inputs))
    return value.operands


def calls_before(outputs: Any, inputs: Sequence[Value]) -> tuple[list[Placeholder], list[Call]]:
    """The inputs, and the calls in an order in which they can be made, that outputs depend on, not beyond `inputs`."""
    order = postorder(list(flat(outputs)), lambda v: () if v in inputs else _before(v))
    found = [v for v in order if isinstance(v, Placeholder)]
    starts = [v for v in found if v.call is None or v in inputs]
    return starts, list(dict.fromkeys(v.call for v in found if v.call is not None and v not in inputs))


def sources(call: Call) -> list[Call]:
    """The calls whose results another one reads, directly or through arithmetic."""
    order = postorder(list(flat(call.inputs)), lambda v: () if isinstance(v, Placeholder) else v.operands)
    return list(dict.fromkeys(v.call for v in order if isinstance(v, Placeholder) and v.call is not None))


def run(outputs: Any, known: dict[Value, Value], training: bool | None = None) -> Any:
    """The values of outputs where some values, such as inputs, stand for others: all calls are made again."""
    for value in postorder(list(flat(outputs)), lambda v: () if v in known else _before(v)):
        if value in known:
            continue
        call = value.call if isinstance(value, Placeholder) else None
        if call is not None:
            results = call.again(structured(call.inputs, (known[v] for v in flat(call.inputs))), training)
            known.update(zip(flat(call.outputs), flat(results), strict=True))
        else:
            operands = [known[o] for o in value.operands]
            known[value] = apply(value.op, *operands, origin=current_origin()) if operands else value
    return structured(outputs, (known[v] for v in flat(outputs)))
