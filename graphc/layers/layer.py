"""The base of all layers.

A layer is its constructor's arguments, `build(input_shape)`, which makes the weights, and `call(inputs)`, which
receives and returns symbolic values (`graphc.ir.graph.Value`) and is written with `graphc.ops`. Called with arrays,
a layer runs at once and returns an array.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from graphc import activations, initializers, regularizers
from graphc.configs import config_of, constructor_options, describe, describe_function
from graphc.functional import Call, record
from graphc.ir.errors import DTypeError, ShapeError
from graphc.ir.graph import Value, current_origin, origin
from graphc.ir.types import Dim, DType
from graphc.names import refuse_unknown, snake_case, unique_name
from graphc.tracing import Trace, current_trace, tracing
from graphc.variable import Variable

__all__ = ["Layer", "first_values", "is_symbolic", "known_shape"]

_PACKAGE = str(Path(__file__).resolve().parents[1])
FirstValues = Callable[[tuple[int, ...], Any], np.ndarray]
_FIRST_VALUES: ContextVar[FirstValues | None] = ContextVar("first_values", default=None)


@contextmanager
def first_values(make: FirstValues) -> Iterator[None]:
    """Weights made inside start from `make(shape, dtype)` in place of their initializers."""
    token = _FIRST_VALUES.set(make)
    try:
        yield
    finally:
        _FIRST_VALUES.reset(token)


def known_shape(value: Value) -> tuple[int | None, ...]:
    """The shape as Keras writes it, with None for symbolic sizes."""
    return tuple(None if isinstance(d, Dim) else d for d in value.shape)


class Layer:
    """A part of a model with weights of its own.

    Subclass it, make weights in `build` with `add_weight`, and return `call`'s value from `graphc.ops`. A `call`
    with a parameter `training` receives True in a training step and False elsewhere. `call` runs once for each
    program, with symbolic values: what depends on an array's numbers has to be said with ops (`ops.where`).
    """

    keras_module = "keras.layers"
    data_format = "channels_last"  # of those that have this option, the only one there is
    input_dtype = "f32"  # what arrays given to the layer are converted to
    scopeless = False  # whether the name is left out of the paths of the weights inside
    changed: ClassVar[object] = object()  # a new one whenever training may change other weights than before

    def __init__(self, *, name: str | None = None, trainable: bool = True, dtype: Any = None,
                 activity_regularizer: Any = None, input_shape: Any = None, input_dim: int | None = None,
                 batch_input_shape: Any = None, **unknown: Any):
        options = [p for p in inspect.signature(type(self).__init__).parameters if p not in ("self", "kwargs")]
        common = ["name", "trainable", "dtype", "activity_regularizer", "input_shape", "input_dim", "batch_input_shape"]
        refuse_unknown(type(self).__name__, unknown, options + common)
        if dtype is not None and DType.of(dtype).name != "f32":
            raise DTypeError(f"{type(self).__name__}(dtype={dtype!r}): layers compute in float32.")
        self.name = name or unique_name(snake_case(type(self).__name__))
        self.built = False
        self.made_at = _users_line()
        self.given_shape = _given_shape(input_shape, input_dim, batch_input_shape)
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self._trainable = bool(trainable)
        self._own: list[Variable] = []
        self._programs: dict[Any, Any] = {}
        self.calls: list[Call] = []  # on symbolic values, outside of any step

    # What a subclass writes ---------------------------------------------------------------------------------

    def build(self, input_shape: Any) -> None:
        """Make the weights for inputs of this shape, whose unknown sizes are None. Runs once."""

    def call(self, inputs: Any) -> Any:
        """The layer's result as a symbolic value."""
        raise NotImplementedError(f"{type(self).__name__} has no `call`: define call(self, inputs) with graphc.ops.")

    def add_weight(self, shape: Any = None, initializer: Any = None, dtype: Any = "float32", trainable: bool = True,
                   name: str | None = None, regularizer: Any = None, constraint: Any = None) -> Variable:
        """Make a weight and return it; floats start from glorot_uniform, integers from zeros."""
        dims = (int(shape),) if isinstance(shape, int | np.integer) else tuple(int(d) for d in shape or ())
        given = DType.of(dtype or "float32")
        default = "glorot_uniform" if given.is_float else "zeros"
        make = _FIRST_VALUES.get() or initializers.get(initializer or default)
        array = np.asarray(make(dims, given.numpy), given.numpy)
        if array.shape != dims:
            raise ShapeError(f"The initializer of a weight of {self.name!r} gave the shape {list(array.shape)}, "
                             f"expected {list(dims)}.")
        taken = {v.name for v in self._own}
        base = name or "weight"
        final = next(n for n in (base, *(f"{base}_{i}" for i in range(1, len(taken) + 2))) if n not in taken)
        variable = Variable(array, f"{current_origin() or self.name}/{final}", trainable)
        self._own.append(variable)
        Layer.changed = object()
        return variable

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, read from the attributes of the same names."""
        common = set(constructor_options(Layer))
        own = {name: _plain(value) for name, value in config_of(self).items() if name not in common}
        if self.activity_regularizer is not None:
            own["activity_regularizer"] = _plain(self.activity_regularizer)
        return {"name": self.name, "trainable": self.trainable, "dtype": "float32"} | own

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Layer:
        """A layer from what `get_config` returned."""
        return cls(**config)

    # Weights ------------------------------------------------------------------------------------------------

    def sublayers(self) -> list[Layer]:
        """Layers held in attributes, also in lists, tuples and dicts, in the order of assignment."""
        return list(dict.fromkeys(_layers_in(list(vars(self).values()))))

    @property
    def trainable(self) -> bool:
        """Whether training changes the weights; setting it also sets it for the layers inside."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)
        Layer.changed = object()
        for layer in self.sublayers():
            layer.trainable = value

    @property
    def weights(self) -> list[Variable]:
        """Own weights, then those of the layers inside."""
        return list(dict.fromkeys([*self._own, *(w for s in self.sublayers() for w in s.weights)]))

    @property
    def trainable_weights(self) -> list[Variable]:
        """The weights that training changes."""
        if not self._trainable:
            return []
        return list(dict.fromkeys([*(w for w in self._own if w.trainable),
                                   *(w for s in self.sublayers() for w in s.trainable_weights)]))

    @property
    def non_trainable_weights(self) -> list[Variable]:
        """The weights that training leaves alone."""
        return [w for w in self.weights if w not in set(self.trainable_weights)]

    variables = weights
    trainable_variables, non_trainable_variables = trainable_weights, non_trainable_weights

    def count_params(self) -> int:
        """The number of scalars in the weights."""
        if not self.built:
            raise ValueError(f"{self.name!r} has no weights yet. Give the model an input shape, call `build`, or run "
                             "it once.")
        return sum(w.size for w in self.weights)

    def get_weights(self) -> list[np.ndarray]:
        """Copies of the weights' arrays."""
        return [w.numpy() for w in self.weights]

    def set_weights(self, weights: Any) -> None:
        """Copy arrays into the weights, in the order of `weights`; nothing changes where one does not fit."""
        own, arrays = self.weights, [np.asarray(a) for a in weights]
        if len(arrays) != len(own):
            hint = "" if self.built else " The layer is not built yet: give it an input shape first."
            raise ValueError(f"{self.name!r}.set_weights received {len(arrays)} arrays, expected {len(own)}.{hint}")
        for weight, array in zip(own, arrays, strict=True):
            if array.shape != weight.shape:
                raise ShapeError(f"{self.name!r}.set_weights received the shape {list(array.shape)} for {weight.path}, "
                                 f"expected {weight.type}.")
        for weight, array in zip(own, arrays, strict=True):
            weight.assign(array)

    # Calls --------------------------------------------------------------------------------------------------

    def __call__(self, inputs: Any, training: bool | None = None, **options: Any) -> Any:
        if not is_symbolic(inputs):
            from graphc.steps import run_now  # steps builds on layers

            return run_now(self, inputs, bool(training))
        if current_trace() is None:
            return record(self, inputs, options if training is None else {"training": training, **options})
        path = current_origin()
        with origin(f"{path}/{self.name}" if path else self.name):
            return self.forward(inputs, training, **options)

    def forward(self, inputs: Any, training: bool | None = None, **options: Any) -> Any:
        """Build where needed and call, adding this layer's name and the user's line to errors."""
        trace = current_trace()
        if trace is None:
            with tracing(Trace(training=bool(training))):
                return self.forward(inputs, training, **options)
        try:
            self.ensure_built(inputs)
            if "training" in inspect.signature(self.call).parameters:
                options["training"] = trace.training if training is None else training
            return self.call(inputs, **options)
        except (ShapeError, DTypeError) as error:
            if getattr(error, "layer", None) is not None:
                raise
            named = type(error)(f"The layer {self.name!r} ({type(self).__name__}, made at {self.made_at}) received "
                                f"{_types(inputs)}: {error}")
            named.layer = self.name  # type: ignore[union-attr]
            raise named from error

    def ensure_built(self, inputs: Any) -> None:
        """Run `build` once; a build that fails leaves no weights behind."""
        if self.built:
            return
        try:
            self.build([known_shape(v) for v in inputs] if isinstance(inputs, list | tuple) else known_shape(inputs))
        except Exception:
            self._own.clear()
            raise
        self.built = True

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """The shape that `call` gives for inputs of a shape with None for unknown sizes."""
        from graphc.steps import symbolic_input

        with tracing(Trace()):  # so that it isn't taken for a call in a functional model
            return known_shape(self(symbolic_input(tuple(input_shape))))

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_programs": {}}  # programs are compiled again where they are needed

    @property
    def input(self) -> Any:
        """The symbolic input of the layer's only call."""
        return self._only_call().inputs

    @property
    def output(self) -> Any:
        """The symbolic output of the layer's only call: `Model(model.input, model.get_layer("a").output)`."""
        return self._only_call().outputs

    def _only_call(self) -> Call:
        if len(self.calls) != 1:
            raise ValueError(f"The layer {self.name!r} was called on {len(self.calls)} symbolic inputs, so it has no "
                             "one input and output. Call it once on an Input.")
        return self.calls[0]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"


def is_symbolic(inputs: Any) -> bool:
    """Whether a layer received values to build with, rather than arrays to run on."""
    if isinstance(inputs, list | tuple):
        return bool(inputs) and all(map(is_symbolic, inputs))
    return isinstance(inputs, Value) and not (isinstance(inputs, Variable) and current_trace() is None)


def _types(inputs: Any) -> str:
    return " and ".join(str(v.type) for v in (inputs if isinstance(inputs, list | tuple) else [inputs]))


def _layers_in(things: Any) -> Iterator[Layer]:
    for thing in things:
        if isinstance(thing, Layer):
            yield thing
        elif isinstance(thing, list | tuple):
            yield from _layers_in(thing)
        elif isinstance(thing, dict):
            yield from _layers_in(thing.values())


def _given_shape(input_shape: Any, input_dim: Any, batch_input_shape: Any) -> tuple[int | None, ...] | None:
    """The shape that a constructor was given for one sample, however it was written."""
    if batch_input_shape is not None:
        shape = tuple(batch_input_shape)[1:]
    elif input_shape is not None:
        shape = (input_shape,) if isinstance(input_shape, int | np.integer) else tuple(input_shape)
    elif input_dim is not None:
        shape = (input_dim,)
    else:
        return None
    for extent in shape:
        if extent is not None and (not isinstance(extent, int | np.integer) or extent < 1):
            raise ShapeError(f"input_shape={shape!r}: {extent!r} is not a positive integer or None. Give the shape of "
                             "one sample, without the batch, such as (28, 28, 1).")
    return tuple(None if d is None else int(d) for d in shape)


def _plain(value: Any) -> Any:
    """A configuration value made of plain Python values."""
    if hasattr(value, "get_config"):
        return describe(value)
    if not callable(value):
        return value
    name = activations.serialize(value)
    return name if getattr(activations, name, None) is value else describe_function(value)


def _users_line() -> str:
    """The file and line outside of this package that is making a layer."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


