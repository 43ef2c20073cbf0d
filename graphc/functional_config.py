"""Functional models as Keras 3 describes them, and back: each layer with its calls.

Arithmetic between layers, such as `x + y`, is written as the layers are, as an operation of `keras.ops`.

A value is written as `{"class_name": "__keras_tensor__", "config": {..., "keras_history": [layer, call, place]}}`: what
the layer of that name gave, in which of its calls, and which of several results it is.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from graphc import ops
from graphc.configs import describe
from graphc.functional import Call, is_placed
from graphc.functional_model import Functional
from graphc.ir.graph import Value
from graphc.ir.ops.leaf import Constant
from graphc.ir.ops.movement import Broadcast
from graphc.ir.tree import flat, is_nested, mapped, parts_of
from graphc.keras_versions import modern_calls
from graphc.layers.core import InputLayer
from graphc.layers.layer import Layer, known_shape

__all__ = ["OPERATIONS", "describe_functional", "functional_from"]

History = tuple[str, int, int]
_MODULE = "keras.src.ops.numpy"  # the module of Keras's classes for arithmetic
# Functions of graphc.ops that are read: those that Keras's classes are named after, whose options make nothing large.
_READ = (
    "abs", "absolute", "add", "all", "amax", "amin", "any", "arccos", "arccosh", "arcsin", "arcsinh", "arctan",
    "arctan2", "arctanh", "argmax", "argmin", "argsort", "average", "broadcast_to", "cast", "cbrt", "ceil",
    "celu", "clip", "concatenate", "cos", "cosh", "cumprod", "cumsum", "deg2rad", "divide_no_nan", "dot",
    "einsum", "elu", "equal", "erf", "exp", "exp2", "expand_dims", "expm1", "flip", "floor", "floor_divide",
    "gelu", "get_item", "greater", "greater_equal", "hard_sigmoid", "hard_silu", "hypot", "isfinite", "isinf",
    "isnan", "leaky_relu", "less", "less_equal", "log", "log10", "log1p", "log2", "log_sigmoid", "log_softmax",
    "logaddexp", "logical_and", "logical_not", "logical_or", "logical_xor", "logsumexp", "matmul", "max",
    "maximum", "mean", "median", "min", "minimum", "mod", "moveaxis", "multiply", "nan_to_num", "negative",
    "norm", "normalize", "not_equal", "one_hot", "outer", "power", "prod", "rad2deg", "ravel", "reciprocal",
    "relu", "relu6", "reshape", "roll", "round", "rsqrt", "selu", "sigmoid", "sign", "silu", "sin", "sinh",
    "softmax", "softplus", "softsign", "sort", "sqrt", "square", "squeeze", "stack", "std", "subtract", "sum",
    "swapaxes", "take", "take_along_axis", "tan", "tanh", "tensordot", "transpose", "trunc", "var", "where",
)
_CLASSES = {"add": "Add", "subtract": "Subtract", "multiply": "Multiply", "divide": "TrueDivide", "power": "Power",
            "maximum": "Maximum", "minimum": "Minimum", "negative": "Negative", "absolute": "Absolute", "exp": "Exp",
            "log": "Log", "sqrt": "Sqrt", "square": "Square", "tanh": "Tanh", "where": "Where"}
OPERATIONS = ({"".join(map(str.capitalize, name.split("_"))): name for name in _READ}
              | {"TrueDivide": "divide"} | {cls: name for name, cls in _CLASSES.items()})


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
        cls = _CLASSES.get(value.op.name)
        if cls is None:
            raise ValueError(f"The model {model.name!r} computes {value!r} outside of layers, which can't be written "
                             "down: use layers such as Add or Lambda, or write its weights only, with save_weights.")
        args = [written(o) for o in value.operands]
        name = f"{value.op.name}_{names[value.op.name]}" if names[value.op.name] else value.op.name
        names[value.op.name] += 1
        operations.append({"module": _MODULE, "class_name": cls, "config": {"name": name}, "registered_name": cls,
                           "name": name, "inbound_nodes": [{"args": args, "kwargs": {}}]})
        return name

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
        return {"class_name": "__keras_tensor__", "config": {
            "shape": list(known_shape(thing)), "dtype": thing.dtype.numpy.name, "keras_history": place(thing)}}

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
        if _is_operation(described):
            layer: Any = _Operation(described)
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
    return cls(inputs, outputs, name=config.get("name"), trainable=config.get("trainable", True))


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


def _is_operation(described: Mapping[str, Any]) -> bool:
    """Whether this is a function. In `.h5` files Keras leaves out the module; layers have more options than a name."""
    return str(described.get("module")).startswith("keras.src.ops.") or (
        described.get("module") is None and described.get("class_name") in OPERATIONS
        and set(described.get("config") or {}) <= {"name"})


class _Operation:
    """A function of graphc.ops that a configuration describes as a layer."""

    def __init__(self, described: Mapping[str, Any]):
        cls, options = described.get("class_name"), dict(described.get("config") or {})
        if cls not in OPERATIONS:
            raise ValueError(f"graphc doesn't read the operation {cls!r} between layers, expected one of "
                             f"{', '.join(sorted(OPERATIONS))}.")
        self.name = str(options.pop("name", described.get("name")))
        self.first = [options.pop("subscripts")] if "subscripts" in options else []  # of einsum, before the operands
        self.function, self.options = getattr(ops, OPERATIONS[cls]), options

    def __call__(self, *args: Any, **options: Any) -> Any:
        args, options = mapped(_index, (args, options), _is_index)
        if not any(map(is_placed, flat((args, options)))):
            raise ValueError(f"The operation {self.name!r} is called without a value of the model.")
        return self.function(*self.first, *args, **self.options, **options)


def _is_index(thing: Any) -> bool:
    """Whether this says which part of an array is meant: a description of a slice or an ellipsis, or a list of such."""
    parts = thing if isinstance(thing, list) else [thing]
    return any(isinstance(p, Mapping) and p.get("class_name") in ("__slice__", "__ellipsis__") for p in parts)


def _index(thing: Any) -> Any:
    """What such a description says."""
    if not _is_index(thing):
        return thing
    if isinstance(thing, list):
        return tuple(map(_index, thing))
    return ... if thing["class_name"] == "__ellipsis__" else slice(*(thing["config"][n] for n in (
        "start", "stop", "step")))


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
