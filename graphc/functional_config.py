"""Functional models as Keras 3 describes them, and back: each layer with its calls.

What is computed between layers, such as `x + y`, is written as the layers are; see graphc.functions_config.

A value is written as `{"class_name": "__keras_tensor__", "config": {..., "keras_history": [layer, call, place]}}`: what
the layer of that name gave, in which of its calls, and which of several results it is.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from graphc.configs import describe
from graphc.functional import Call, is_placed
from graphc.functional_model import Functional
from graphc.functions_config import Operation, Spreading, function_of, is_index, is_operation
from graphc.ir.graph import Value
from graphc.ir.ops.leaf import Constant
from graphc.ir.ops.movement import Broadcast
from graphc.ir.tree import is_nested, mapped, parts_of
from graphc.keras_versions import modern_calls
from graphc.layers.core import InputLayer
from graphc.layers.layer import Layer, known_shape

__all__ = ["describe_functional", "functional_from"]

History = tuple[str, int, int]

def describe_functional(model: Functional) -> dict[str, Any]:
    """The configuration of a functional model; ValueError where it computes outside of layers, with operators say."""
    places: dict[Value, History] = {}
    calls: dict[Layer, list[Call]] = {layer: [] for layer in model.layers}
    for value in model.inputs:
        if value.layer is None:
            raise ValueError(f"The model {model.name!r} begins at a result of the layer {value.call.layer.name!r}, and "
                             "can't be described. Begin at an Input.")
        places[value] = (value.layer.name, 0, 0)
    for call in model.calls_inside:
        calls[call.layer].append(call)
        for i, value in enumerate(_results(call.outputs)):
            places[value] = (call.layer.name, len(calls[call.layer]) - 1, i)

    operations: list[dict[str, Any]] = []
    names = Counter(layer.name for layer in model.layers)

    def place(value: Value) -> list[Any]:
        if value not in places:
            places[value] = (operation(value), 0, 0)
        return list(places[value])

    def operation(value: Value) -> str:
        found = function_of(value)
        if found is None:
            raise ValueError(f"The model {model.name!r} computes {value!r} outside of layers, which can't be written "
                             "down: use layers such as Add or Lambda, or write its weights only, with save_weights.")
        module, cls, config, args = found
        args = mapped(lambda o: spread(o) if isinstance(value.op, Spreading) else written(o), args, whole=is_index)
        name = f"{value.op.name}_{names[value.op.name]}" if names[value.op.name] else value.op.name
        names[value.op.name] += 1
        operations.append({"module": module, "class_name": cls, "config": {"name": name, **config},
                           "registered_name": cls, "name": name, "inbound_nodes": [{"args": args, "kwargs": {}}]})
        return name

    def spread(thing: Any) -> Any:
        """An argument of what broadcasts by itself: a value with axes of size 1 in place of those that are new."""
        if not isinstance(thing, Value) or not is_placed(thing) or not isinstance(thing.op, Broadcast):
            return written(thing)
        return tensor(thing, (operation(thing), 0, 0))

    def written(thing: Any) -> Any:
        if not isinstance(thing, Value):
            return thing
        if not is_placed(thing):
            while isinstance(thing.op, Broadcast):
                (thing,) = thing.operands
            if isinstance(thing.op, Constant):
                return thing.op.value
            raise ValueError(f"The model {model.name!r} computes with an array outside of layers, which can't be "
                             "written down: use a layer, or write its weights only, with save_weights.")
        if isinstance(thing.op, Broadcast):
            raise ValueError(f"The model {model.name!r} broadcasts {thing.operands[0]!r} outside of layers, which "
                             "can't be written down: use a layer, or write its weights only, with save_weights.")
        return tensor(thing, place(thing))

    def tensor(value: Value, history: Any) -> dict[str, Any]:
        return {"class_name": "__keras_tensor__", "config": {
            "shape": list(known_shape(value)), "dtype": value.dtype.numpy.name, "keras_history": list(history)}}

    layers = [describe(layer) | {"name": layer.name, "inbound_nodes": [
        {"args": mapped(written, list(c.args)), "kwargs": mapped(written, dict(c.options))} for c in calls[layer]]}
        for layer in model.layers]
    ends = {"input_layers": mapped(place, model.input), "output_layers": mapped(place, model.output)}
    return {"name": model.name, "trainable": model.trainable, "layers": [*layers, *operations], **ends}


def functional_from(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None,
                    cls: Callable[..., Any] = Functional) -> Functional:
    """The functional model of a configuration; ValueError where that says something impossible."""
    from graphc.serialization import deserialize  # serialization builds on models

    missing = [part for part in ("layers", "input_layers", "output_layers") if part not in config]
    if missing:
        raise ValueError(f"The functional model {config.get('name', 'functional')!r} has no {missing[0]}.")
    config = modern_calls(config)
    given: dict[History, Value] = {}
    waiting: list[tuple[Any, int, Any]] = []
    for described in config["layers"]:
        if is_operation(described):
            layer: Any = Operation(described)
        else:
            layer = deserialize(described, "layer", custom_objects)
        if isinstance(layer, InputLayer):
            given[layer.name, 0, 0] = layer.placeholder()
        else:
            waiting += [(layer, i, node) for i, node in enumerate(described.get("inbound_nodes", ()))]
    while waiting:
        later = []
        for layer, i, node in waiting:
            args, options = node["args"], _said(layer, node["kwargs"])
            if all(h in given for h in _histories((args, options))):
                results = layer(*_read(args, given), **_read(options, given))
                given.update(((layer.name, i, k), value) for k, value in enumerate(_results(results)))
            else:
                later.append((layer, i, node))
        if len(later) == len(waiting):
            raise ValueError(f"The model {config.get('name')!r} calls the layer {later[0][0].name!r} on values that no "
                             "layer gives.")
        waiting = later
    inputs, outputs = (_ends(config[name], given) for name in ("input_layers", "output_layers"))
    model = cls(inputs, outputs, name=config.get("name"))
    model._take_setting(config.get("trainable", True))
    return model


def _results(nest: Any) -> Iterator[Value]:
    """What a call gave in the order that Keras counts it in: parts of a dict by their names."""
    if isinstance(nest, Mapping):
        nest = [nest[name] for name in sorted(nest)]
    if is_nested(nest):
        for part in nest:
            yield from _results(part)
    elif nest is not None:
        yield nest


def _said(layer: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """What a call was told: Keras also writes the default of `training`, which says nothing about the model's steps."""
    taken = inspect.signature(layer.call).parameters.get("training") if hasattr(layer, "call") else None
    default = None if taken is None else taken.default
    return {n: v for n, v in options.items() if v is not None and not (n == "training" and v == default)}


def _is_value(thing: Any) -> bool:
    return isinstance(thing, Mapping) and thing.get("class_name") == "__keras_tensor__"


def _history(thing: Mapping[str, Any]) -> History:
    name, call, place = thing["config"]["keras_history"]
    return str(name), int(call), int(place)


def _histories(thing: Any) -> list[History]:
    """Where all values in written arguments come from."""
    if _is_value(thing):
        return [_history(thing)]
    return [h for part in parts_of(thing) for h in _histories(part)] if is_nested(thing) else []


def _read(thing: Any, given: Mapping[History, Value]) -> Any:
    """Arguments with the values that they speak of."""
    if _is_value(thing):
        return given[_history(thing)]
    if isinstance(thing, Mapping):
        return {name: _read(part, given) for name, part in thing.items()}
    return [_read(part, given) for part in thing] if isinstance(thing, list | tuple) else thing


def _ends(thing: Any, given: Mapping[History, Value]) -> Any:
    """The inputs or outputs of a model in their structure."""
    if isinstance(thing, Mapping):
        return {name: _ends(part, given) for name, part in thing.items()}
    if len(thing) == 3 and isinstance(thing[0], str):
        return _found(tuple(thing), given)
    return type(thing)(_ends(part, given) for part in thing)


def _found(history: Any, given: Mapping[History, Value]) -> Value:
    if history not in given:
        raise ValueError(f"A functional model ends at {list(history)}, which no layer gives.")
    return given[history]
