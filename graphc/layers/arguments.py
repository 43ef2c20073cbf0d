"""The arguments of a layer's call: which are given, their shapes for `build`, the training flag, and masks.

What goes where is Keras's rule: https://keras.io/api/layers/base_layer/.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.ir.graph import Value
from graphc.ir.tree import flat, is_nested, mapped
from graphc.ir.types import Dim
from graphc.tracing import Trace

if TYPE_CHECKING:
    from graphc.layers.layer import Layer

__all__ = ["Arguments", "known_shape", "map_shapes"]


def known_shape(value: Value) -> tuple[int | None, ...]:
    """The shape as Keras writes it, with None for symbolic sizes."""
    return tuple(None if isinstance(d, Dim) else d for d in value.shape)


def is_shape(thing: Any) -> bool:
    """Whether something is one shape rather than a nest of them."""
    return isinstance(thing, list | tuple) and all(d is None or isinstance(d, int | np.integer) for d in thing)


def map_shapes(function: Callable[[Any], Any], shapes: Any) -> Any:
    """What a function makes of each shape in a nest of shapes, in which None stays None."""
    return mapped(lambda shape: None if shape is None else function(tuple(shape)), shapes, is_shape)


class Arguments:
    """The arguments of one call, bound to the parameters of the layer's `call`."""

    def __init__(self, layer: Layer, args: tuple[Any, ...], options: dict[str, Any]):
        signature = inspect.signature(layer.call)
        self.parameters = signature.parameters
        takes_any = any(p.kind is p.VAR_KEYWORD for p in self.parameters.values())
        self.training = options.get("training")
        self.mask_given = options.get("mask")
        dropped = {name for name in ("training", "mask") if name not in self.parameters
                   and not (takes_any and name == "mask" and options.get(name) is not None)}
        try:
            self.bound = signature.bind(*args, **{n: v for n, v in options.items() if n not in dropped})
        except TypeError as error:
            raise TypeError(f"The layer {layer.name!r} ({type(layer).__name__}) can't be called so: {error}. Its "
                            f"`call` is call{signature}.") from None
        if self.training is None:
            self.training = self.bound.arguments.get("training")
        self.tensors = {name: value for name, value in self.bound.arguments.items() if _holds_values(value)}

    @property
    def first(self) -> Any:
        """The first argument."""
        return next(iter(self.bound.arguments.values()), None)

    def shapes_for(self, build: Callable[..., Any]) -> dict[str, Any]:
        """What `build` gets: the shape of the first argument, or of each for which it has a parameter `..._shape`."""
        expected = [n for n, p in inspect.signature(build).parameters.items() if p.kind not in (p.VAR_POSITIONAL,
                                                                                               p.VAR_KEYWORD)]
        shapes = {name: mapped(lambda v: known_shape(v) if isinstance(v, Value) else None, value)
                  for name, value in self.tensors.items() if name != "mask"}
        if len(expected) <= 1:
            return {name: next(iter(shapes.values()), None) for name in expected}
        for name in expected:
            if name.removesuffix("_shape") not in self.parameters:
                raise ValueError(f"build({', '.join(expected)}): a `build` of several shapes names them after the "
                                 f"arguments of `call`, such as {next(iter(self.parameters))}_shape; {name!r} isn't.")
        return {name: shapes.get(name.removesuffix("_shape")) for name in expected}

    def resolve_training(self, trace: Trace) -> bool:
        """The training flag: as the call says, else as the layer around says; given to a `call` that asks for it."""
        training = trace.training if self.training is None else bool(self.training)
        if "training" in self.parameters:
            self.bound.arguments["training"] = training
        return training

    def resolve_masks(self, trace: Trace) -> Any:
        """The masks of the inputs, given to a `call` that asks for them and wasn't told."""
        def masks(value: Any) -> Any:
            return mapped(lambda v: trace.masks.get(v) if isinstance(v, Value) else None, value)

        if len(self.tensors) == 1:
            if "mask" in self.parameters and self.mask_given is None:
                found = masks(next(iter(self.tensors.values())))
                self.bound.arguments["mask"] = found if any(m is not None for m in flat(found)) else None
        else:
            for name, value in list(self.tensors.items()):
                if f"{name}_mask" in self.parameters and self.bound.arguments.get(f"{name}_mask") is None:
                    self.bound.arguments[f"{name}_mask"] = masks(value)
        given = self.bound.arguments.get("mask")
        return masks(self.first) if given is None else given


def _holds_values(thing: Any) -> bool:
    """Whether an argument is a value, or a nest of values and None."""
    if not is_nested(thing):
        return isinstance(thing, Value)
    parts = list(flat(thing))
    return any(isinstance(p, Value) for p in parts) and all(p is None or isinstance(p, Value) for p in parts)
