"""The base of all models: a layer that can be trained. https://keras.io/api/models/model/"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from graphc.data import raw_array
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value
from graphc.ir.tree import flat, is_nested, mapped, structured
from graphc.ir.types import dim
from graphc.layers.arguments import Arguments, map_shapes
from graphc.layers.layer import Layer, is_symbolic, known_shape
from graphc.ports import Port, batch_of, kept, ports
from graphc.steps import new_random_key, symbolic_inputs
from graphc.summary import plain, summary_lines
from graphc.tracing import Trace, current_trace, tracing
from graphc.training import Trainer

__all__ = ["Model", "port_of"]

Shape = tuple[int | None, ...]


class Model(Trainer, Layer):
    """A layer that can be trained. Subclass it, hold layers in attributes, and write `call(self, inputs)`.

    `call` may also have the parameters `training` and `mask`. Inputs and outputs are values, or lists, tuples and dicts
    of them. `Model(inputs, outputs)` is a functional model, and so is a subclass that passes them on.
    """

    keras_module = "keras"
    scopeless = True
    absent: ClassVar[Mapping[str, str]] = {
        "evaluate_generator": "evaluate takes generators", "fit_generator": "fit takes generators",
        "predict_classes": "predict(x).argmax(-1) gives them",
        "predict_generator": "predict takes generators", "predict_proba": "predict gives probabilities",
        "quantize": "graphc computes in float32",
    }
    _opening = False

    def __init__(self, *ends: Any, **kwargs: Any):
        if ends or kwargs.keys() & {"inputs", "outputs"}:
            from graphc.functional_model import Functional  # which builds on models

            self.__class__ = _functional(type(self))  # type: ignore[arg-type]
            Functional.__init__(self, *ends, **kwargs)  # type: ignore[arg-type]
            return
        super().__init__(**kwargs)
        self.random_key = new_random_key()

    def call(self, inputs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no `call`: define call(self, inputs), or use Sequential.")

    # Building -----------------------------------------------------------------------------------------------

    def build(self, input_shape: Any = None) -> None:
        """Make all weights for inputs of this shape, the batch first: `model.build((None, 784))`.

        Of several inputs a list or dict of shapes.
        """
        if input_shape is None:
            raise ValueError(f"The model {self.name!r}: build needs an input shape, such as (None, 784).")
        names = iter(f"input_{i}" for i in range(1, 1000))

        def port(shape: Shape) -> Port:
            if not shape:
                raise ShapeError(f"The model {self.name!r}: build received the shape (), expected the batch first, as "
                                 "(None, 784).")
            return Port(next(names), shape[1:], self.input_dtype or "f32", shape[0])

        self._open(_named(map_shapes(port, input_shape)))

    def _open(self, takes: Any) -> None:
        """Make all weights, and find out what the model gives, for inputs of these ports."""
        before, self.takes, self._opening = self.takes, takes, True
        try:
            inputs = symbolic_inputs(self)
            around = current_trace()
            with tracing(Trace(batch=around.batch if around else batch_of(takes))):
                result = self.forward(inputs)
            self.gives = self._outputs_of(result)
            self.built = True
        except BaseException:
            self.takes = before
            raise
        finally:
            self._opening = False

    def _outputs_of(self, result: Any) -> Any:
        """The ports of results; of a dict they are named by its keys."""
        values, sizes = list(flat(result)), {dim("N"), *(p.batch for p in flat(self.takes))}
        for value in values:
            if not isinstance(value, Value) or not value.ndim or value.shape[0] not in sizes:
                raise ShapeError(f"The model {self.name!r} gives {getattr(value, 'type', value)!r}, expected one row "
                                 "for each of the N rows of its input.")
        names = iter([f"output_{i}" for i in range(1, len(values) + 1)])
        return _named(mapped(lambda v: port_of(v, next(names)), result))

    def ensure_built(self, call: Arguments) -> None:
        if self._opening or (self.built and self.takes is not None):
            return
        if not self.built and self._builds_itself():
            super().ensure_built(call)
        if self.takes is None and set(call.tensors) <= {next(iter(call.bound.arguments)), "mask"}:
            self._open(_named(mapped(lambda v: port_of(v, "x"), call.first)))
        self.built = True

    def _builds_itself(self) -> bool:
        """Whether the class has a `build` of the user's."""
        return type(self).build is not Model.build and not isinstance(self, _known_kinds())

    def _settle(self, x: Any, who: str) -> None:
        """Build for data, which say what the model takes."""
        def port(name: str, data: Any) -> Port:
            array = raw_array(data, who)
            if not array.ndim:
                raise ShapeError(f"{who} a single number, expected an array whose first axis counts the samples.")
            shape = array.shape[1:] or (1,)
            return Port(name, shape, self.input_dtype or kept(array.dtype))

        if isinstance(x, dict):
            takes: Any = {name: port(name, part) for name, part in x.items()}
        elif isinstance(x, list | tuple) and x and all(hasattr(part, "shape") and len(part.shape) for part in x):
            takes = type(x)([port(f"input_{i}", part) for i, part in enumerate(x, 1)])
            takes = takes[0] if len(takes) == 1 else takes
        else:
            takes = port("input_1", x)
        if not self.built and self._builds_itself():
            self.build(mapped(lambda p: p.batch_shape, takes))
        if self.takes is None:
            self._open(takes)

    def __call__(self, *args: Any, **options: Any) -> Any:
        """The outputs for arrays as arrays, without dropout and the like unless `training` is True."""
        if self.takes is not None and args and current_trace() is None and not any(map(is_symbolic, flat(args[0]))):
            given = self._inputs("call", args[0])
            args = (given[0] if isinstance(self.takes, Port) else structured(self.takes, given), *args[1:])
        return super().__call__(*args, **options)

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """A model from what `get_config` returned; `custom_objects` are the user's own classes by name."""
        if "input_layers" not in config:
            return super().from_config(config)
        from graphc.functional_config import functional_from  # which builds on models

        return functional_from(config, custom_objects, cls)

    # What it is ---------------------------------------------------------------------------------------------

    @property
    def layers(self) -> list[Layer]:
        """The layers inside."""
        return self.sublayers()

    @property
    def input_shape(self) -> Any:
        """The shape of the input with None for the batch, where it is known; of several in their structure."""
        return None if self.takes is None else mapped(lambda p: p.batch_shape, self.takes)

    @property
    def output_shape(self) -> Any:
        """The shape of the output with None for the batch, where it is known; of several in their structure."""
        return None if self.gives is None else mapped(lambda p: p.batch_shape, self.gives)

    @property
    def input_names(self) -> list[str]:
        """The names by which data for inputs are given in a dict."""
        return [] if self.takes is None else [p.name for p in ports(self.takes)]

    @property
    def output_names(self) -> list[str]:
        """The names by which `compile` and labels may speak of outputs."""
        return [] if self.gives is None else [p.name for p in ports(self.gives)]

    def _output_layer(self, index: int) -> str:
        """The layer that gives an output, for messages."""
        if is_nested(self.gives):
            return ports(self.gives)[index].name
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

    def described_layers(self) -> list[tuple[Layer, Any]]:
        """Each layer with its output shape, or a nest of shapes, where that is known."""
        shapes: dict[Layer, Any] = {}
        if self.takes is not None:
            with tracing(Trace(True, self.random_key)) as trace:
                self.forward(symbolic_inputs(self))
            shapes = trace.shapes
        return [(layer, shapes.get(layer)) for layer in self.layers]

    def reset_states(self) -> None:
        """Give all stateful layers inside states of zeros, as models of Keras 2 do."""
        for layer in self.sublayers():
            reset = getattr(layer, "reset_states", None)
            if reset is not None and (isinstance(layer, Model) or getattr(layer, "stateful", False)):
                reset()

    def connections(self) -> dict[Layer, list[str]] | None:
        """What each layer reads, as `layer[call][result]`, where the layers are no mere chain."""
        return None

    def summary(self, line_length: int | None = None, positions: Sequence[float] | None = None,
                print_fn: Callable[[str], Any] | None = None, expand_nested: bool = False,
                show_trainable: bool = False, layer_range: Sequence[str] | None = None) -> None:
        """Print the layers, their output shapes and their numbers of parameters; `print_fn` receives the whole text.

        Of a functional model that isn't a mere chain, also what each layer is connected to. The table is `line_length`
        wide, by default 88 (108 with connections) or as wide as the terminal; its columns end at `positions`, parts of
        that. `expand_nested` shows the layers of inner models, `show_trainable` which layers are trained,
        `layer_range` a part: regular expressions for the names of the first and the last layer.
        """
        text = "\n".join(summary_lines(self, line_length, positions, expand_nested, show_trainable, layer_range))
        try:
            (print_fn or print)(text)
        except UnicodeEncodeError:  # a terminal or file without the characters of tables
            (print_fn or print)(plain(text))

    # Files --------------------------------------------------------------------------------------------------

    def get_build_config(self) -> dict[str, Any] | None:
        """What `build_from_config` makes the weights of: by default the shape of the inputs, where that is known."""
        return super().get_build_config() if self.takes is None else {"input_shape": self.input_shape}

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Make all weights as `get_build_config` says."""
        shape = config.get("input_shape")
        if self._builds_itself() and (shape is not None or "shapes_dict" in config):
            super().build_from_config(config)
        if self.takes is None and shape is not None:
            Model.build(self, shape)

    def get_compile_config(self) -> dict[str, Any]:
        """What `compile` was told, for `compile_from_config`; empty before.

        A subclass whose `compile` has arguments of its own returns them here, by any names; objects may be among them.
        """
        from graphc.descriptions import compile_config  # descriptions build on models

        return {} if self.optimizer is None else compile_config(self)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as `get_compile_config` says, where objects are described: `deserialize_keras_object` makes them.

        https://keras.io/guides/customizing_saving_and_serialization/
        """
        from graphc.descriptions import compile_from

        if type(self).compile is not Model.compile:
            raise ValueError(f"The class {type(self).__name__} has a `compile` of its own, whose arguments nothing is "
                             "known of: define get_compile_config and compile_from_config in it, too.")
        compile_from(self, config)

    def save(self, filepath: Any, overwrite: bool = True, **options: Any) -> None:
        """Write architecture, weights and training state to a `.keras` file, which Keras 3 reads too."""
        from graphc.saving import save_model  # saving builds on models

        save_model(self, filepath, overwrite, **options)

    def export(self, filepath: Any, format: str = "onnx", verbose: bool | None = None, input_signature: Any = None,
               opset_version: int | None = None) -> None:
        """Write what predictions compute as ONNX, for other runtimes; `graphc.onnx.load` reads it, too.

        It is written in opset 18, or in `opset_version` up to 22. `input_signature`, the shapes of all inputs, gives
        numbers to sizes that are unknown otherwise. A layer that ONNX has nothing for raises ExportError.
        """
        from graphc.onnx.exporter import export  # which builds on models

        if format != "onnx":
            raise ValueError(f"export received format={format!r}: graphc writes 'onnx'. Models are saved with `save`.")
        export(self, filepath, input_signature, opset_version)
        if verbose or verbose is None:
            print(f"Saved artifact at '{filepath}'.")

    def to_json(self, **kwargs: Any) -> str:
        """The architecture as a text for `model_from_json`; keyword arguments are those of `json.dumps`."""
        from graphc.descriptions import model_to_json  # which builds on models

        return model_to_json(self, **kwargs)

    def save_weights(self, filepath: Any, overwrite: bool = True, max_shard_size: float | None = None,
                     **options: Any) -> None:
        """Write the weights, and the optimizer's state, to a `.weights.h5` file.

        With `max_shard_size` to files of so many GB each, and a `.weights.json` file. See `graphc.saving.save_weights`.
        """
        from graphc.saving import save_weights

        save_weights(self, filepath, overwrite, max_shard_size, **options)

    def load_weights(self, filepath: Any, skip_mismatch: bool = False, **options: Any) -> None:
        """Read the weights, and the optimizer's state, from a file; all of them fit, or none changes.

        With `skip_mismatch` what doesn't fit is skipped. `by_name=True` finds the layers of Keras 1's and 2's `.h5`
        files by their names. See `graphc.saving.load_weights`.
        """
        from graphc.saving import load_weights

        load_weights(self, filepath, skip_mismatch, **options)


def port_of(value: Value, name: str, batch: int | None = None) -> Port:
    """The port that a symbolic value stands for."""
    size, *sample = known_shape(value)
    return Port(name, tuple(sample), str(value.dtype), batch or size)


def _named(nest: Any) -> Any:
    """Ports with the keys of a dict as their names."""
    if isinstance(nest, dict):
        return {key: replace(p, name=key) if isinstance(p, Port) else p for key, p in nest.items()}
    return nest


@functools.cache
def _known_kinds() -> tuple[type, ...]:
    from graphc.functional_model import Functional
    from graphc.sequential import Sequential

    return Functional, Sequential


@functools.cache
def _functional(cls: type) -> type:
    """Model or a user's subclass of it as a functional model: `MyModel(inputs, outputs)` keeps its methods."""
    from graphc.functional_model import Functional

    if cls is Model:
        return Functional

    def reduce(self: Any) -> Any:
        return _bare, (cls,), self.__getstate__()

    own = {"__module__": cls.__module__, "__reduce__": reduce, "users_class": cls}
    return type(cls.__name__, (cls, Functional), own)


def _bare(cls: type) -> Any:
    """A functional model of a user's class without anything in it, for copies."""
    return object.__new__(_functional(cls))
