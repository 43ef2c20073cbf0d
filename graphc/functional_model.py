"""Functional models: `Model(inputs, outputs)`. https://keras.io/guides/functional_api/"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from graphc.configs import constructor_options
from graphc.functional import Call, Placeholder, batch_before, calls_before, run
from graphc.ir import functions as f
from graphc.ir.graph import Value
from graphc.ir.traverse import postorder
from graphc.ir.tree import flat, mapped, parts_of, structured
from graphc.layers.layer import Layer, known_shape
from graphc.model import Model, port_of
from graphc.ports import by_port, ports
from graphc.tracing import current_trace

__all__ = ["Functional", "made_of_ends"]


class Functional(Model):
    """The layers between symbolic inputs and symbolic outputs, each a value or a list, tuple or dict of them.

    The calls that lead from the one to the other are made again in each step. A layer that is called several times
    has one set of weights. Data for several inputs are given in their structure, or by their names; what `predict`
    returns has the structure of the outputs.
    """

    keras_module = "keras.src.models.functional"

    def __init__(self, inputs: Any, outputs: Any, name: str | None = None, trainable: bool = True, **kwargs: Any):
        super().__init__(name=name, **kwargs)
        inputs, outputs = _alone(inputs), _alone(outputs)
        self.inputs, self.outputs = list(flat(inputs)), list(flat(outputs))
        for what, values in (("inputs", self.inputs), ("outputs", self.outputs)):
            for value in values:
                if not isinstance(value, Value) or (what == "inputs" and not isinstance(value, Placeholder)):
                    raise TypeError(f"Model({what}): expected what Input or a layer gave, received {value!r}.")
            if not values:
                raise ValueError(f"Model({what}): expected at least one, received {values}.")
        if len(set(self.inputs)) < len(self.inputs):
            raise ValueError(f"The model {self.name!r} has the same input twice.")
        found, self.calls_inside = calls_before(self.outputs, self.inputs)
        given = set(self.inputs)
        missing = [v.name for v in found if v not in given]
        if missing:
            raise ValueError(f"The outputs of the model {self.name!r} depend on the input {missing[0]!r}: give it in "
                             "`inputs`.")
        self._layers = _in_order(self.inputs, list(_by_key(outputs)))
        names = Counter(layer.name for layer in self._layers)
        taken = next((name for name, count in names.items() if count > 1), None)
        if taken is not None:
            raise ValueError(f"The model {self.name!r} has two layers named {taken!r}: give them other names.")
        self._inputs_given, self._outputs_given = inputs, outputs
        self.takes = mapped(lambda v: port_of(v, v.name, batch_before([v])), inputs)
        gives = self._outputs_of(outputs)
        if not isinstance(outputs, dict):
            named = zip(flat(gives), map(_maker, self.outputs), strict=True)
            gives = structured(gives, (replace(p, name=maker or p.name) for p, maker in named))
        self.gives = gives
        self.built = True
        if not trainable:
            self.trainable = False

    def build(self, input_shape: Any = None) -> None:
        """Nothing is left to build."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Make the calls between the inputs and the outputs again."""
        given = by_port(inputs, self.takes, f"{self.name!r} received", "input")
        values = [f.cast(v, p.dtype) for v, p in zip(given, ports(self.takes), strict=True)]
        trace = current_trace()
        if mask is not None and trace is not None:
            trace.masks.update((v, m) for v, m in zip(values, parts_of(mask), strict=True) if m is not None)
        elif trace is not None:
            trace.masks.update((v, trace.masks[g]) for v, g in zip(values, given, strict=True) if g in trace.masks)
        return run(self._outputs_given, dict(zip(self.inputs, values, strict=True)), training)

    def sublayers(self) -> list[Layer]:
        inside = super().sublayers() if type(self) is not Functional else []  # of a user's subclass
        return list(dict.fromkeys([*self._layers, *inside]))

    @property
    def layers(self) -> list[Layer]:
        """The inputs and layers inside, those that others depend on first."""
        return self.sublayers()

    @property
    def input(self) -> Any:
        """The symbolic inputs in the structure in which the model received them."""
        return self._inputs_given

    @property
    def output(self) -> Any:
        """The symbolic outputs in the structure in which the model received them."""
        return self._outputs_given

    def _output_layer(self, index: int) -> str:
        return _maker(self.outputs[index]) or self.output_names[index]

    def described_layers(self) -> list[tuple[Layer, Any]]:
        shapes: dict[Layer, Any] = {v.layer: known_shape(v) for v in self.inputs if v.layer is not None}
        shapes |= {c.layer: mapped(known_shape, c.outputs) for c in self.calls_inside}
        return [(layer, shapes.get(layer)) for layer in self.layers]

    def connections(self) -> dict[Layer, list[str]] | None:
        calls, ends = self.calls_inside, [self.inputs[0], *(c.outputs for c in self.calls_inside)]
        if len(self.inputs) == 1 and len({c.layer for c in calls}) == len(calls) and all(
                len(c.values) == 1 and c.values[0] is end for c, end in zip(calls, ends, strict=False)):
            return None
        reads: dict[Layer, list[str]] = {}
        for call in calls:
            for value in call.values:
                reads.setdefault(call.layer, []).extend(map(_place, _placeholders(value)))
        return reads

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """A model from what `get_config` returned; `custom_objects` are the user's own classes by name."""
        from graphc.functional_config import functional_from  # which builds on models

        return functional_from(config, custom_objects, cls)

    def get_config(self) -> dict[str, Any]:
        """The layers with the calls that connect them, in Keras's form.

        For a subclass with a constructor of other arguments, these.
        """
        if not made_of_ends(type(self)):
            return {name: v for name, v in super().get_config().items() if name not in ("inputs", "outputs")}
        from graphc.functional_config import describe_functional  # which builds on models

        return describe_functional(self)


def made_of_ends(cls: type) -> bool:
    """Whether the constructor takes inputs and outputs, and not what a subclass makes them of."""
    return constructor_options(cls)[:2] == ["inputs", "outputs"]


def _alone(nest: Any) -> Any:
    """The value itself for a list of one."""
    return nest[0] if isinstance(nest, list | tuple) and len(nest) == 1 and isinstance(nest[0], Value) else nest


def _by_key(nest: Any) -> Iterator[Value]:
    """The values in a nest in Keras's order, which takes the keys of dicts by the alphabet."""
    if isinstance(nest, dict):
        nest = [nest[key] for key in sorted(nest)]
    if not isinstance(nest, list | tuple):
        yield nest
        return
    for part in nest:
        yield from _by_key(part)


def _placeholders(value: Value) -> list[Placeholder]:
    """The results of calls, and inputs, that a value is, or is computed from."""
    order = postorder([value], lambda v: () if isinstance(v, Placeholder) else v.operands)
    return [v for v in order if isinstance(v, Placeholder)]


def _place(value: Placeholder) -> str:
    """Where a value comes from, as `layer[call][result]`."""
    if value.call is None:
        return f"{value.name}[0][0]"
    call = value.call
    return f"{call.layer.name}[{call.layer.calls.index(call)}][{list(flat(call.outputs)).index(value)}]"


def _maker(value: Any) -> str | None:
    """The layer that a value comes from."""
    if not isinstance(value, Placeholder):
        return None
    return value.call.layer.name if value.call is not None else value.name


def _in_order(inputs: list[Any], outputs: list[Value]) -> list[Layer]:
    """The layers as Keras orders them: by how far they are from the outputs, then as a walk from there meets them."""
    given = set(inputs)
    depths: dict[Value, int] = {}
    met: dict[Value, int] = {}

    def reads(value: Value) -> list[Value]:
        if value in given:
            return []
        return value.call.values if isinstance(value, Placeholder) and value.call else list(value.operands)

    def walk(value: Value) -> None:  # which layers are met first
        stack = [value]
        while stack:
            at = stack.pop()
            if at in met:
                continue
            met[at] = len(met)
            stack += reversed(reads(at))

    for output in outputs:
        walk(output)
    nodes: dict[Any, int] = {}
    layer_depths: dict[Layer, int] = {}
    first: dict[Layer, int] = {}
    for value in reversed(postorder(outputs, reads)):
        call: Call | None = value.call if isinstance(value, Placeholder) and value not in given else None
        depth = max(nodes.get(call, 0) if call is not None else 0, depths.get(value, 0))
        layer = call.layer if call is not None else getattr(value, "layer", None)
        if layer is not None:
            depth = max(depth, layer_depths.get(layer, 0))
            layer_depths[layer] = depth
            first[layer] = min(first.get(layer, met[value]), met[value])
        if call is not None:
            nodes[call] = depth
        for operand in reads(value):
            depths[operand] = max(depths.get(operand, 0), depth + 1)
    for value in inputs:
        if value.layer is not None and value.layer not in layer_depths:  # one that no output depends on
            layer_depths[value.layer], first[value.layer] = 0, -1
    return sorted(layer_depths, key=lambda layer: (-layer_depths[layer], first[layer]))
