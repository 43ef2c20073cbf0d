"""Models: a layer that can be trained, and the stack of layers. https://keras.io/api/models/"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from graphc.configs import describe
from graphc.data import align_inputs
from graphc.functional import Placeholder, calls_before, flat, run
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value, current_origin, topological
from graphc.ir.ops.leaf import Input
from graphc.layers.core import InputLayer
from graphc.layers.layer import Layer, is_symbolic, known_shape
from graphc.steps import new_random_key, symbolic_input
from graphc.summary import plain, summary_lines
from graphc.tracing import Trace, tracing
from graphc.training import Trainer

if TYPE_CHECKING:
    from graphc.saving import load_model, save_model

__all__ = ["Model", "Sequential", "load_model", "save_model"]

Shape = tuple[int | None, ...]


def __getattr__(name: str) -> Any:
    if name in ("load_model", "save_model"):
        from graphc import saving  # saving builds on models

        return getattr(saving, name)
    raise AttributeError(f"module 'graphc.models' has no attribute {name!r}")


class Model(Trainer, Layer):
    """A layer that can be trained. Subclass it, hold layers in attributes, and write `call(self, inputs)`."""

    keras_module = "keras"

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """`Model(inputs, outputs)` is a functional model."""
        functional = cls is Model and (args or kwargs.keys() & {"inputs", "outputs"})
        return super().__new__(Functional if functional else cls)

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.random_key = new_random_key()
        self.sample_shape: Shape = ()  # of one input, without the batch; known when built
        self.output_shape: Shape = ()

    def call(self, inputs: Value) -> Value:
        raise NotImplementedError(f"{type(self).__name__} has no `call`: define call(self, inputs), or use Sequential.")

    def build(self, input_shape: Any = None) -> None:
        """Make all weights for inputs of this shape, the batch first: `model.build((None, 784))`."""
        if input_shape is None:
            raise ValueError(f"The model {self.name!r}: build needs an input shape, such as (None, 784).")
        shape = tuple(input_shape)
        if not shape:
            raise ShapeError(f"The model {self.name!r}: build received the shape (), expected the batch first, as "
                             "(None, 784).")
        with tracing(Trace()):
            result = self._trace(symbolic_input(shape, self.input_dtype))
        if not isinstance(result, Value) or not result.ndim or result.shape[0] != symbolic_input(shape).shape[0]:
            raise ShapeError(f"The model {self.name!r} gives {getattr(result, 'type', result)!r}, expected one row for "
                             "each of the N rows of its input.")
        self.sample_shape, self.output_shape, self.built = shape[1:], known_shape(result), True

    def _trace(self, inputs: Value) -> Value:
        return self.call(inputs)

    def __call__(self, inputs: Any, training: bool | None = None, **options: Any) -> Any:
        """The outputs for arrays as an array, without dropout and the like unless `training` is True."""
        if self.built and not is_symbolic(inputs):
            who = f"{self.name!r} received"
            inputs = align_inputs(inputs, self.sample_shape, who)
        return super().__call__(inputs, training, **options)

    def ensure_built(self, inputs: Any) -> None:
        if not self.built:
            self.build(known_shape(inputs))

    @property
    def scopeless(self) -> bool:  # type: ignore[override]
        """A model that isn't inside another one leaves its name out of its weights' paths."""
        return not current_origin()

    @property
    def layers(self) -> list[Layer]:
        """The layers inside."""
        return self.sublayers()

    @property
    def input_shape(self) -> Shape | None:
        """The shape of the input with None for the batch, where it is known."""
        return (None, *self.sample_shape) if self.built else None

    @property
    def output_name(self) -> str:
        """The layer that gives the output, for messages."""
        return self.layers[-1].name if self.layers else self.name

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """The layer of that name or index."""
        if index is not None:
            if not -len(self.layers) <= index < len(self.layers):
                raise ValueError(f"get_layer(index={index}): the model has {len(self.layers)} layers.")
            return self.layers[index]
        for layer in self.layers:
            if layer.name == name:
                return layer
        names = ", ".join(layer.name for layer in self.layers)
        raise ValueError(f"get_layer({name!r}): no such layer. Layers: {names}.")

    def described_layers(self) -> list[tuple[Layer, Shape | None]]:
        """Each layer with its output shape where it is known."""
        shapes = {layer.name: layer.output_shape for layer in self.layers if isinstance(layer, Model) and layer.built}
        if self.built:
            with tracing(Trace(True, self.random_key)):
                result = self._trace(symbolic_input((None, *self.sample_shape), self.input_dtype))
            reads = [(o, v.origin) for v in topological([result]) for o in v.operands] + [(result, "")]
            for value, reader in reads:
                layer, *_ = value.origin.split("/")
                if layer != reader.split("/")[0]:
                    shapes[layer] = known_shape(value)
        return [(layer, shapes.get(layer.name)) for layer in self.layers]

    def summary(self, line_length: int | None = None, positions: Sequence[float] | None = None,
                print_fn: Callable[[str], Any] | None = None, expand_nested: bool = False,
                show_trainable: bool = False, layer_range: Sequence[str] | None = None) -> None:
        """Print the layers, their output shapes and their numbers of parameters; `print_fn` receives the whole text.

        The table is `line_length` wide, by default 88 or as wide as the terminal; its columns end at `positions`,
        parts of that. `expand_nested` shows the layers of inner models, `show_trainable` which layers are trained,
        `layer_range` a part: regular expressions for the names of the first and the last layer.
        """
        text = "\n".join(summary_lines(self, line_length, positions, expand_nested, show_trainable, layer_range))
        try:
            (print_fn or print)(text)
        except UnicodeEncodeError:  # a terminal or file without the characters of tables
            (print_fn or print)(plain(text))

    def save(self, filepath: Any, overwrite: bool = True) -> None:
        """Write architecture, weights and training state to a `.keras` file, which Keras 3 reads too."""
        from graphc.saving import save_model  # saving builds on models

        save_model(self, filepath, overwrite)

    def save_weights(self, filepath: Any, overwrite: bool = True) -> None:
        """Write the weights, and the optimizer's state, to a `.weights.h5` file."""
        from graphc.saving import save_weights

        save_weights(self, filepath, overwrite)

    def load_weights(self, filepath: Any) -> None:
        """Read the weights, and the optimizer's state, from a `.weights.h5` file; all of them fit, or none changes."""
        from graphc.saving import load_weights

        load_weights(self, filepath)


class Functional(Model):
    """The layers between a symbolic input and a symbolic output: `Model(inputs, outputs)`.

    The calls that lead from the one to the other are made again in each step. A layer that is called several times
    has one set of weights.
    """

    def __init__(self, inputs: Any, outputs: Any, name: str | None = None, trainable: bool = True):
        super().__init__(name=name)
        self.inputs, self.outputs = list(flat(inputs)), list(flat(outputs))
        for what, values in (("inputs", self.inputs), ("outputs", self.outputs)):
            for value in values:
                if not isinstance(value, Value) or (what == "inputs" and not isinstance(value, Placeholder)):
                    raise TypeError(f"Model({what}): expected what Input or a layer gave, received {value!r}.")
            if len(values) != 1:
                raise ValueError(f"Model({what}): expected one, received {len(values)}.")
        found, self.calls_inside = calls_before(self.outputs, self.inputs)
        missing = [v.name for v in found if v not in self.inputs]
        if missing:
            raise ValueError(f"The outputs of the model {self.name!r} depend on the input {missing[0]!r}: give it in "
                             "`inputs`.")
        (start,) = self.inputs
        self._layers = list(dict.fromkeys(c.layer for c in self.calls_inside))
        names = [layer.name for layer in self._layers]
        for taken in names:
            if names.count(taken) > 1:
                raise ValueError(f"The model {self.name!r} has two layers named {taken!r}: give them other names.")
        self.input_dtype = str(start.dtype)
        self.build(known_shape(start))
        if not trainable:
            self.trainable = False

    def build(self, input_shape: Any = None) -> None:
        if input_shape is not None:
            super().build(input_shape)

    def call(self, inputs: Value, training: bool | None = None) -> Value:
        (output,) = run(self.outputs, {self.inputs[0]: inputs}, training)
        return output

    def sublayers(self) -> list[Layer]:
        return list(self._layers)

    @property
    def output_name(self) -> str:
        (output,) = self.outputs
        call = output.call if isinstance(output, Placeholder) else None
        return call.layer.name if call is not None else self.name

    def get_config(self) -> dict[str, Any]:
        raise NotImplementedError(f"The model {self.name!r} is functional, and only Sequential models can be described "
                                  "so far: write its weights with save_weights.")

    def described_layers(self) -> list[tuple[Layer, Shape | None]]:
        shapes = {c.layer: known_shape(next(flat(c.outputs))) for c in self.calls_inside}
        return list(shapes.items())


class Sequential(Model):
    """A stack of layers.

    The first layer's `input_shape`, an `Input`, `build`, or the first data say what the model takes; until then
    it has no weights.
    """

    def __init__(self, layers: Sequence[Any] | None = None, trainable: bool = True, name: str | None = None):
        super().__init__(name=name)
        self._layers: list[Layer] = []
        self._shapes: list[Shape] = []
        for layer in layers or ():
            self.add(layer)
        if not trainable:
            self.trainable = False

    def add(self, layer: Any) -> None:
        """Put a layer, a model or an `Input` at the end; an error leaves the model as it was."""
        if isinstance(layer, Value) and isinstance(layer.op, Input):
            self._start(known_shape(layer)[1:], str(layer.dtype))
            return
        if not isinstance(layer, Layer):
            hint = f" Write {layer.__name__}(...) with parentheses." if isinstance(layer, type) else ""
            raise TypeError(f"The model {self.name!r} can only hold layers, received {layer!r}.{hint}")
        if isinstance(layer, InputLayer):
            self._start(layer.given_shape or (), layer.input_dtype)
            return
        if any(layer.name == known.name for known in self._layers):
            raise ValueError(f"The model {self.name!r} has a layer {layer.name!r} already: give this one another name.")
        shape = layer.given_shape
        if shape is None and isinstance(layer, Model) and layer.built:
            shape = layer.sample_shape
        if not self._layers and not self.built and shape is not None:
            self._start(shape, layer.input_dtype)
        elif not self._layers and not self.built:
            self.input_dtype = layer.input_dtype
        self._layers.append(layer)
        try:
            if self.built:
                self.build((None, *self.sample_shape))
        except Exception:
            self._layers.pop()
            raise
        self._forget()

    def _start(self, sample: Shape, dtype: str) -> None:
        if self._layers:
            raise ValueError(f"The model {self.name!r} has layers already: an input comes first.")
        self.input_dtype = dtype
        self.sample_shape, self.output_shape, self.built = sample, (None, *sample), True

    def pop(self) -> Layer:
        """Take the last layer off and return it."""
        if not self._layers:
            raise TypeError(f"The model {self.name!r} has no layers to pop.")
        layer = self._layers.pop()
        self._forget()
        if self.built:
            self.build((None, *self.sample_shape))
        return layer

    def build(self, input_shape: Any = None) -> None:
        if input_shape is None and self.built:
            return
        super().build(input_shape)

    def _trace(self, inputs: Value) -> Value:
        shapes = []
        for layer in self._layers:
            inputs = layer(inputs)
            shapes.append(known_shape(inputs))
        self._shapes = shapes
        return inputs

    def call(self, inputs: Value, training: bool | None = None) -> Value:
        for layer in self._layers:
            inputs = layer(inputs, training=training)
        return inputs

    @property
    def layers(self) -> list[Layer]:
        return list(self._layers)

    def described_layers(self) -> list[tuple[Layer, Shape | None]]:
        return list(zip(self._layers, self._shapes if self.built else [None] * len(self._layers), strict=True))

    def get_config(self) -> dict[str, Any]:
        """The configuration of every layer, in Keras's form: the first one is the input where it is known."""
        start = InputLayer(batch_shape=self.input_shape, dtype=self.input_dtype, name="input_layer")
        stack = [start, *self._layers] if self.built else self._layers
        return {"name": self.name, "trainable": self.trainable, "layers": [describe(layer) for layer in stack]}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Sequential:
        """A model from what `get_config` returned; `custom_objects` are the user's own classes by name."""
        from graphc.serialization import deserialize  # serialization builds on models

        model = cls(name=config.get("name"), trainable=config.get("trainable", True))
        for described in config["layers"]:
            model.add(deserialize(described, "layer", custom_objects))
        shape = config.get("build_input_shape")
        if shape and not model.built:
            model.build(shape)
        return model

    def __len__(self) -> int:
        return len(self._layers)

    def __bool__(self) -> bool:
        return True
