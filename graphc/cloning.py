"""Models like others, with weights of their own. https://keras.io/api/models/model_methods/"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc.functional import calls_before, run
from graphc.functional_model import Functional, made_of_ends
from graphc.ir.tree import flat, mapped
from graphc.layers.core import InputLayer
from graphc.layers.layer import Layer
from graphc.model import Model
from graphc.sequential import Sequential

__all__ = ["clone_model"]


def clone_model(model: Model, input_tensors: Any = None, clone_function: Callable[[Layer], Layer] | None = None,
                call_function: Callable[..., Any] | None = None, recursive: bool = False) -> Model:
    """A model of the same layers, names and options, with new weights.

    `clone_function(layer)` makes the layers, by default from their configuration; inner models are cloned as layers,
    or with `recursive` by this function. `call_function(layer, *args, **kwargs)` makes the calls of a functional model,
    whose inputs may be `input_tensors`. A subclass of Model is made again from its configuration.
    """
    if not isinstance(model, Model):
        raise TypeError(f"clone_model received {type(model).__name__}, expected a model.")

    def clone(layer: Layer) -> Layer:
        if recursive and isinstance(layer, Functional | Sequential):
            return clone_model(layer, None, clone_function, call_function, recursive)
        if clone_function is not None and not isinstance(layer, InputLayer):
            return clone_function(layer)
        if isinstance(layer, Functional | Sequential):
            return clone_model(layer)
        return type(layer).from_config(layer.get_config())

    if isinstance(model, Sequential):
        return _clone_sequential(model, input_tensors, clone)
    if isinstance(model, Functional):
        return _clone_functional(model, input_tensors, clone, call_function)
    if clone_function is not None or input_tensors is not None:
        raise ValueError(f"clone_model: {model.name!r} is a subclass of Model, so its layers are what its constructor "
                         "makes: clone_function and input_tensors are for Sequential and functional models.")
    return type(model).from_config(model.get_config())


def _clone_sequential(model: Sequential, inputs: Any, clone: Callable[[Layer], Layer]) -> Sequential:
    made = [clone(layer) for layer in model.layers]
    start: list[Any] = list(flat(inputs)) if inputs is not None else []
    if not start and model.takes is not None:
        start = [InputLayer(batch_shape=model.takes.batch_shape, dtype=model.takes.dtype, name=model.takes.name)]
    cloned = Sequential([*start, *made], name=model.name)
    cloned._take_setting(model.trainable)
    return cloned


def _clone_functional(model: Functional, inputs: Any, clone: Callable[[Layer], Layer],
                      call_function: Callable[..., Any] | None) -> Functional:
    if inputs is None:
        given = [InputLayer(batch_shape=(v.layer.batch_size if v.layer else None, *p.shape), dtype=p.dtype,
                            name=p.name).placeholder()
                 for v, p in zip(model.inputs, flat(model.takes), strict=True)]
    else:
        given = list(flat(inputs))
        if len(given) != len(model.inputs):
            raise ValueError(f"clone_model received {len(given)} input_tensors, expected {len(model.inputs)}.")
    _, calls = calls_before(model.outputs, model.inputs)
    layers = {layer: clone(layer) for layer in dict.fromkeys(c.layer for c in calls)}
    for old, new in layers.items():
        if not isinstance(new, Layer):
            raise TypeError(f"clone_function gave {new!r} for the layer {old.name!r}, expected a layer.")

    def call(layer: Layer, *args: Any, **options: Any) -> Any:
        new = layers[layer]
        return new(*args, **options) if call_function is None else call_function(new, *args, **options)

    outputs = run(model.output, dict(zip(model.inputs, given, strict=True)), call=call)
    left = iter(given)
    kind = type(model) if made_of_ends(type(model)) else Functional
    cloned = kind(mapped(lambda _: next(left), model.input), outputs, name=model.name)
    cloned._take_setting(model.trainable)
    return cloned
