"""The stack of layers. https://keras.io/guides/sequential_model/"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from graphc.configs import describe
from graphc.functional import batch_before
from graphc.ir.graph import Value
from graphc.ir.ops.leaf import Input
from graphc.ir.tree import mapped
from graphc.layers.core import InputLayer
from graphc.layers.layer import Layer, known_shape
from graphc.model import Model
from graphc.ports import Port

__all__ = ["Sequential"]

Shape = tuple[int | None, ...]


class Sequential(Model):
    """A stack of layers.

    The first layer's `input_shape`, an `Input`, `build`, or the first data say what the model takes; until then
    it has no weights.
    """

    input_dtype = "f32"

    def __init__(self, layers: Sequence[Any] | None = None, trainable: bool = True, name: str | None = None):
        super().__init__(name=name)
        self._layers: list[Layer] = []
        self._shapes: list[Any] = []
        for layer in layers or ():
            self.add(layer)
        if not trainable:
            self.trainable = False

    def add(self, layer: Any) -> None:
        """Put a layer, a model or an `Input` at the end; an error leaves the model as it was."""
        if isinstance(layer, Value) and isinstance(layer.op, Input):
            self._start(known_shape(layer)[1:], str(layer.dtype), layer.op.label, batch_before([layer]))
            return
        if not isinstance(layer, Layer):
            hint = f" Write {layer.__name__}(...) with parentheses." if isinstance(layer, type) else ""
            raise TypeError(f"The model {self.name!r} can only hold layers, received {layer!r}.{hint}")
        if isinstance(layer, InputLayer):
            self._start(layer.given_shape or (), str(layer.input_dtype), layer.name, layer.batch_size)
            return
        if any(layer.name == known.name for known in self._layers):
            raise ValueError(f"The model {self.name!r} has a layer {layer.name!r} already: give this one another name.")
        shape, dtype = layer.given_shape, layer.input_dtype or "f32"
        if shape is None and isinstance(layer, Model) and isinstance(layer.takes, Port):
            shape, dtype = layer.takes.shape, layer.takes.dtype
        if not self._layers and not self.built and shape is not None:
            self._start(shape, dtype, batch=layer.given_batch)
        elif not self._layers and not self.built:
            self.input_dtype = dtype
        self._layers.append(layer)
        try:
            if self.built:
                self._open(self.takes)
        except Exception:
            self._layers.pop()
            raise
        self._forget()

    def _start(self, sample: Shape, dtype: str, name: str = "input_layer", batch: int | None = None) -> None:
        if self._layers:
            raise ValueError(f"The model {self.name!r} has layers already: an input comes first.")
        self.input_dtype = dtype
        self.takes = Port(name, sample, dtype, batch)
        self.gives, self.built = replace(self.takes, name=self.name), True

    def pop(self, rebuild: bool = True) -> Layer:
        """Take the last layer off and return it."""
        if not self._layers:
            raise TypeError(f"The model {self.name!r} has no layers to pop.")
        layer = self._layers.pop()
        self._forget()
        if self.built:
            self._open(self.takes)
        return layer

    def build(self, input_shape: Any = None) -> None:
        """Make all weights for inputs of this shape, the batch first: `model.build((None, 784))`."""
        if input_shape is not None or not self.built:
            super().build(input_shape)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Call the layers one after the other."""
        shapes = []
        for layer in self._layers:
            inputs = layer(inputs, training=training)
            shapes.append(mapped(known_shape, inputs))
        self._shapes = shapes
        return inputs

    def _outputs_of(self, result: Any) -> Any:
        gives = super()._outputs_of(result)
        return replace(gives, name=self._output_layer(0)) if isinstance(gives, Port) else gives

    @property
    def layers(self) -> list[Layer]:
        return list(self._layers)

    @property
    def inputs(self) -> list[Any]:
        """The symbolic input, in a list."""
        return [self.input]

    @property
    def outputs(self) -> list[Any]:
        """The symbolic output, in a list."""
        return [self.output]

    @property
    def input(self) -> Any:
        """The symbolic input: with `output`, or the output of a layer inside, a functional model is made of it."""
        return self._chain()[0]

    @property
    def output(self) -> Any:
        """The symbolic output."""
        return self._chain()[1]

    def _chain(self) -> tuple[Any, Any]:
        """A symbolic input, and what the layers make of it; made when it is first asked for."""
        if not isinstance(self.takes, Port):
            raise ValueError(f"The model {self.name!r} has no input shape yet. Give one to its first layer, call "
                             "`build`, or run it once.")
        layers, chain = tuple(self._layers), vars(self).get("_symbolic")
        if chain is None or chain[0] != layers:
            start = InputLayer(batch_shape=self.takes.batch_shape, dtype=self.takes.dtype, name=self.takes.name)
            first = result = start.placeholder()
            for layer in layers:
                result = layer(result)
            chain = self._symbolic = (layers, first, result)
        return chain[1], chain[2]

    def described_layers(self) -> list[tuple[Layer, Any]]:
        known = self._shapes if self.built and len(self._shapes) == len(self._layers) else [None] * len(self._layers)
        return list(zip(self._layers, known, strict=True))

    def get_config(self) -> dict[str, Any]:
        """The configuration of every layer, in Keras's form: the first one is the input where it is known."""
        start = [InputLayer(batch_shape=self.input_shape, dtype=self.input_dtype, name="input_layer")] if (
            self.built) else []
        return {"name": self.name, "trainable": self.trainable,
                "layers": [describe(layer) for layer in [*start, *self._layers]]}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Sequential:
        """A model from what `get_config` returned; `custom_objects` are the user's own classes by name."""
        from graphc.serialization import deserialize  # serialization builds on models

        model = cls(name=config.get("name"))
        for described in config["layers"]:
            model.add(deserialize(described, "layer", custom_objects))
        model._take_setting(config.get("trainable", True))
        shape = config.get("build_input_shape")
        if shape and not model.built:
            model.build(shape)
        return model

    def __len__(self) -> int:
        return len(self._layers)

    def __bool__(self) -> bool:
        return True
