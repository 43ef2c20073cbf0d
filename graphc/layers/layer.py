"""The base of all layers.

A layer is its constructor's arguments, `build(input_shape)`, which makes the weights, and `call(inputs)`, which
receives and returns symbolic values (`graphc.ir.graph.Value`) and is written with `graphc.ops`. Called with arrays,
a layer runs at once and returns an array.
"""

from __future__ import annotations

import functools
import inspect
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakSet

import numpy as np

from graphc import activations, constraints, initializers, regularizers
from graphc.configs import config_of, constructor_options, describe, describe_function, is_own
from graphc.eager import as_value
from graphc.functional import Call, record
from graphc.ir import functions as f
from graphc.ir.errors import DTypeError, ShapeError
from graphc.ir.graph import Value, current_origin, origin
from graphc.ir.tree import flat, mapped, parts_of
from graphc.ir.types import DType
from graphc.layers.arguments import Arguments, known_shape, map_shapes
from graphc.layers.renamed import taking_name_first, taking_old_names
from graphc.names import refuse_unknown, snake_case, unique_name
from graphc.tracing import Trace, current_trace, tracing, untraced
from graphc.variable import Variable, assign_all

__all__ = ["Layer", "first_values", "is_symbolic", "known_shape"]

_PACKAGE = str(Path(__file__).resolve().parents[1])
FirstValues = Callable[[tuple[int, ...], Any], np.ndarray]
_FIRST_VALUES: ContextVar[FirstValues | None] = ContextVar("first_values", default=None)
_INSIDE: ContextVar[Layer | None] = ContextVar("layer", default=None)  # whose scope is the present one
_OUTSIDE: Any = object()  # in its place where a layer becomes a part of a functional model
_ALWAYS = frozenset({"name", "built", "calls", "given_shape", "_programs", "_trainable"})  # what every layer has
_WARNED: WeakSet[Layer] = WeakSet()  # layers that have said that they drop masks


@contextmanager
def first_values(make: FirstValues) -> Iterator[None]:
    """Weights made inside start from `make(shape, dtype)` in place of their initializers."""
    token = _FIRST_VALUES.set(make)
    try:
        yield
    finally:
        _FIRST_VALUES.reset(token)


class Layer:
    """A part of a model with weights of its own.

    Subclass it, make weights in `build` with `add_weight`, and return `call`'s value from `graphc.ops`. A `call`
    with a parameter `training` receives True in a training step and False elsewhere. `call` runs once for each
    program, with symbolic values: what depends on an array's numbers has to be said with ops (`ops.where`).

    A subclass with `save_assets(dir_path)` may write files into that folder, which become part of a `.keras` file; its
    `load_assets(dir_path)` finds them in another folder.
    """

    keras_module = "keras.layers"
    dtype = compute_dtype = variable_dtype = "float32"  # there is nothing else
    data_format = "channels_last"  # of those that have this option, the only one there is
    input_dtype: str | None = None  # what arrays given to the layer become; without, floats f32, integers themselves
    limited = False  # whether its calls set limits to what the data may hold
    scopeless = False  # whether the name is left out of the paths of the weights inside where nothing is around it
    input_spec: Any = None  # an InputSpec, which inputs are checked by
    activity_regularizer: Any = None  # what the layer's outputs add to the loss: a function of values
    _supports_masking: bool | None = None
    _chosen = False  # whether `trainable` was set, by more than the constructor
    _built_from: Mapping[str, Any] | None = None  # the arguments of `build`
    _last_losses: Any = ()
    absent: ClassVar[Mapping[str, str]] = {}  # what Keras's have, and what to do instead
    changed: ClassVar[object] = object()  # a new one whenever training may change other weights than before

    def __init__(self, *, name: str | None = None, trainable: bool = True, dtype: Any = None,
                 activity_regularizer: Any = None, input_shape: Any = None, input_dim: int | None = None,
                 batch_input_shape: Any = None, autocast: bool = True, **unknown: Any):
        refuse_unknown(type(self).__name__, unknown, constructor_options(type(self)))
        if dtype is not None and DType.of(dtype).name != "f32":
            raise DTypeError(f"{type(self).__name__}(dtype={dtype!r}): layers compute in float32.")
        if not isinstance(name, str | None):
            raise TypeError(f"{type(self).__name__}(name={name!r}): expected a text, such as {str(name)!r}.")
        self.name = name or unique_name(snake_case(type(self).__name__))
        self.built = False
        self.made_at = _users_line()
        self.given_shape = _given_shape(input_shape, input_dim, batch_input_shape)
        self.given_batch = None if batch_input_shape is None else batch_input_shape[0]
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self._trainable = bool(trainable)
        self._own: list[Variable] = []
        self._programs: dict[Any, Any] = {}
        self.calls: list[Call] = []  # on symbolic values, outside of any step

    def __init_subclass__(cls, **kwargs: Any):
        """A `build` makes weights in the layer's scope, whoever calls it, and then the layer is built.

        The constructor also takes Keras's old names of its options.
        """
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = taking_old_names(cls.__init__)  # type: ignore[method-assign]
        build = vars(cls).get("build")
        if build is None:
            return

        signature = inspect.signature(build)

        @functools.wraps(build)
        def scoped(self: Layer, *args: Any, **shapes: Any) -> None:
            with self._scope():
                build(self, *args, **shapes)
            _, *given = signature.bind(self, *args, **shapes).arguments.items()
            self._built_from, self.built = dict(given), True

        cls.build = scoped  # type: ignore[method-assign]

    # What a subclass writes ---------------------------------------------------------------------------------

    def build(self, input_shape: Any) -> None:
        """Make the weights for inputs of this shape, whose unknown sizes are None. Runs once."""

    def call(self, inputs: Any) -> Any:
        """The layer's result as a symbolic value."""
        raise NotImplementedError(f"{type(self).__name__} has no `call`: define call(self, inputs) with graphc.ops.")

    @taking_name_first
    def add_weight(self, shape: Any = None, initializer: Any = None, dtype: Any = "float32", trainable: bool = True,
                   autocast: bool = True, regularizer: Any = None, constraint: Any = None, aggregation: str = "none",
                   overwrite_with_gradient: bool = False, name: str | None = None) -> Variable:
        """Make a weight and return it; floats start from glorot_uniform, integers from zeros.

        A `regularizer` adds to the loss, a `constraint` is what each update ends with. `autocast`, `aggregation` and
        `overwrite_with_gradient` are Keras's, for what graphc doesn't do.
        """
        given_dims = (shape,) if isinstance(shape, int | np.integer) else tuple(shape or ())
        if not all(isinstance(d, int | np.integer) and d >= 0 for d in given_dims):
            raise ShapeError(f"{self.name!r}.add_weight(shape={given_dims}): expected known sizes, as input_shape[-1] "
                             "is the number of features. The batch, and lengths that may vary, are None.")
        dims = tuple(map(int, given_dims))
        given = DType.of(dtype or "float32")
        default = "glorot_uniform" if given.is_float else "zeros"
        make = _FIRST_VALUES.get() or initializers.get(initializer or default)
        with untraced():
            array = np.asarray(make(dims, given.numpy), given.numpy)
        if array.shape != dims:
            raise ShapeError(f"The initializer of a weight of {self.name!r} gave the shape {list(array.shape)}, "
                             f"expected {list(dims)}.")
        taken = {v.name for v in self._own}
        base = name or "weight"
        final = next(n for n in (base, *(f"{base}_{i}" for i in range(1, len(taken) + 2))) if n not in taken)
        variable = Variable(array, f"{current_origin() or self.name}/{final}", trainable,
                            regularizers.get(regularizer), constraints.get(constraint))
        self._own.append(variable)
        Layer.changed = object()
        return variable

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, read from the attributes of the same names.

        A subclass with a `get_config` of its own adds those of its constructor, as in Keras.
        """
        common, cls = set(constructor_options(Layer)), type(self)
        if not is_own(next(base for base in cls.__mro__ if "get_config" in vars(base))):
            cls = next(filter(is_own, cls.__mro__))
        own = {name: _plain(value) for name, value in config_of(self, cls).items() if name not in common}
        if self.activity_regularizer is not None:
            own["activity_regularizer"] = _plain(self.activity_regularizer)
        return {"name": self.name, "trainable": self.trainable, "dtype": "float32"} | own

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Layer:
        """A layer from what `get_config` returned."""
        return cls(**config)

    # In files: what a subclass may write, too -----------------------------------------------------------------

    def get_build_config(self) -> dict[str, Any] | None:
        """What `build_from_config` makes the weights of: the shapes that `build` received; None before.

        It is in files next to what `get_config` returns: plain values.
        """
        given = self._built_from
        if given is None:
            return None
        return {"input_shape": next(iter(given.values()))} if len(given) == 1 else {"shapes_dict": dict(given)}

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Make the weights as `get_build_config` says, before the layer is called.

        https://keras.io/guides/customizing_saving_and_serialization/
        """
        if "input_shape" in config:
            self.build(map_shapes(tuple, config["input_shape"]))
        elif "shapes_dict" in config:
            self.build(**{name: map_shapes(tuple, shape) for name, shape in config["shapes_dict"].items()})

    def save_own_variables(self, store: Any) -> None:
        """Put the layer's state into a dict, by names that `load_own_variables` finds it by.

        By default these are its own weights by their numbers, trainable ones first; what the layers inside have is
        theirs. A subclass may put other arrays there, or numbers.
        """
        store.update((str(i), v) for i, v in enumerate(self._own_weights))

    def load_own_variables(self, store: Any) -> None:
        """Give the weights what `save_own_variables` put into a dict, of arrays by now.

        The model's other weights may not have theirs yet.
        """
        own = self._own_weights
        if len(store) != len(own):
            raise ValueError(f"{self.name!r} has {len(own)} weights of its own, and {len(store)} arrays were saved. "
                             "Where `build` doesn't make them all, define build_from_config.")
        for i, variable in enumerate(own):
            variable.assign(store[str(i)])

    # Weights ------------------------------------------------------------------------------------------------

    def sublayers(self) -> list[Layer]:
        """Layers held in attributes, also in lists, tuples and dicts, in the order of assignment."""
        return list(dict.fromkeys(_layers_in(list(vars(self).values()))))

    def _all_layers(self) -> Iterator[Layer]:
        """The layers inside, those inside of them, and so on."""
        for layer in self.sublayers():
            yield layer
            yield from layer._all_layers()

    @property
    def trainable(self) -> bool:
        """Whether training changes the weights; setting it also sets it for the layers inside.

        A layer that it is set for afterwards goes by that, as in Keras 3, also within another one that is not trained.
        """
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable, self._chosen = bool(value), True
        Layer.changed = object()
        for layer in self.sublayers():
            layer.trainable = value

    @property
    def weights(self) -> list[Variable]:
        """Own weights, trainable ones first, then those of the layers inside."""
        return list(dict.fromkeys([*self._own_weights, *(w for s in self.sublayers() for w in s.weights)]))

    @property
    def _own_weights(self) -> list[Variable]:
        """Those that no layer inside has, trainable ones first."""
        return sorted(self._own, key=lambda w: not w.trainable)

    @property
    def trainable_weights(self) -> list[Variable]:
        """The weights that training changes."""
        return list(dict.fromkeys(self._in_training(False))) if self._trainable else []

    def _in_training(self, frozen: bool) -> Iterator[Variable]:
        """Those within a layer that is frozen, or not: what was set for a layer itself goes first."""
        live = self._trainable and (self._chosen or not frozen)
        yield from (w for w in self._own if live and w.trainable)
        for layer in self.sublayers():
            yield from layer._in_training(not live)

    def _take_setting(self, trainable: bool) -> None:
        """Be as a file says, in which each of the layers inside has a setting of its own."""
        if not trainable:
            self._trainable = False
            for layer in self.sublayers():
                layer._chosen = True

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
        assign_all(zip(own, arrays, strict=True))

    # Calls --------------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **options: Any) -> Any:
        """The results for symbolic values, or for arrays as arrays; the arguments are those of `call`.

        `training` and `mask` may be given to every layer; it is told what it has a parameter for.
        """
        if current_trace() is None:
            if not any(map(is_symbolic, flat((args, options)))):
                from graphc.immediate import run_now  # which builds on layers

                return run_now(self, args, options)
            token = _INSIDE.set(_OUTSIDE)
            try:
                return record(self, args, options)
            finally:
                _INSIDE.reset(token)
        with self._scope():
            return self.forward(*args, **options)

    def forward(self, *args: Any, **options: Any) -> Any:
        """Build where needed and call, adding this layer's name and the user's line to errors."""
        trace = current_trace()
        if trace is None:
            with tracing(Trace(training=bool(options.get("training")))):
                return self.forward(*args, **options)
        args, options = mapped(_constant, (args, options))
        token = _INSIDE.set(self)
        try:
            call = Arguments(self, args, options)
            self._check_inputs(call.first)
            self.ensure_built(call)
            with trace.told(call.resolve_training(trace)):
                masks = call.resolve_masks(trace)
                outputs = self.call(*call.bound.args, **call.bound.kwargs)
        except (ShapeError, DTypeError) as error:
            if getattr(error, "layer", None) is not None:
                raise
            named = type(error)(f"The layer {self.name!r} ({type(self).__name__}, made at {self.made_at}) received "
                                f"{_types((args, options))}: {error}")
            named.layer = self.name  # type: ignore[union-attr]
            raise named from error
        finally:
            _INSIDE.reset(token)
        if not any(isinstance(v, Value | np.ndarray) for v in flat(outputs)):
            raise TypeError(f"The layer {self.name!r} ({type(self).__name__}, made at {self.made_at}) gave {outputs!r} "
                            "from its call, expected what functions of graphc.ops make of its inputs. Does call end "
                            "with `return`?")
        self._regularize(outputs)
        trace.shapes[self] = mapped(lambda v: known_shape(v) if isinstance(v, Value) else None, outputs)
        self._pass_masks(trace, call.first, outputs, masks)
        return outputs

    @contextmanager
    def _scope(self) -> Iterator[None]:
        """Values and weights made inside belong to this layer."""
        around, path = _INSIDE.get(), current_origin()
        token = _INSIDE.set(self)
        try:
            if around is self or (around is None and self.scopeless):
                yield
            else:
                with origin(f"{path}/{self.name}" if path else self.name):
                    yield
        finally:
            _INSIDE.reset(token)

    def ensure_built(self, call: Arguments) -> None:
        """Run `build` once; a build that fails leaves no weights behind."""
        if self.built:
            return
        try:
            self.build(**call.shapes_for(self.build))
        except Exception:
            self._own.clear()
            raise
        self.built = True

    def _check_inputs(self, inputs: Any) -> None:
        """Compare the first argument with the layer's `input_spec`, where it has one."""
        if self.input_spec is not None:
            for spec, value in zip(flat(self.input_spec), flat(inputs), strict=False):
                spec.check(value)

    # Losses and masks -----------------------------------------------------------------------------------------

    def add_loss(self, loss: Any) -> None:
        """Add a value, or several, to the loss of the model; of one with axes the sum. For a layer's `call`."""
        trace = current_trace()
        if trace is None:
            raise ValueError(f"{self.name!r}.add_loss received {loss!r} outside of a layer's call. Call it in `call`, "
                             "of a layer or of a subclass of Model.")
        for value in flat(loss):
            trace.losses.append(value if isinstance(value, Value) else f.constant(float(value), "f32"))

    @property
    def losses(self) -> list[Any]:
        """What `add_loss` was given and the regularizers of the weights that are trained.

        Symbolic in a step, for the whole of it; elsewhere numbers, of what the layer's last call with arrays added.
        """
        trace = current_trace()
        regularized = [w for w in self.trainable_weights if w.regularizer is not None]
        if trace is not None:
            return [*trace.losses, *(w.regularizer(w) for w in regularized)]  # type: ignore[misc]
        from graphc.immediate import penalty

        return [*self._last_losses, *map(penalty, regularized)]

    def _regularize(self, outputs: Any) -> None:
        """Add the activity regularizer's loss, which is a mean over the batch."""
        if self.activity_regularizer is None:
            return
        for value in flat(outputs):
            loss = self.activity_regularizer(value)
            self.add_loss(f.divide(loss, f.dimension(value.shape[0])) if value.ndim else loss)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Which steps of the outputs count, from those of the inputs: the same ones."""
        return mask

    @property
    def supports_masking(self) -> bool:
        """Whether masks of the inputs pass to the outputs, through `compute_mask`.

        Set it where they pass as they are; a class with a `compute_mask` of its own needn't.
        """
        own = type(self).compute_mask is not Layer.compute_mask
        return own if self._supports_masking is None else self._supports_masking

    @supports_masking.setter
    def supports_masking(self, value: bool) -> None:
        self._supports_masking = bool(value)

    def _pass_masks(self, trace: Trace, inputs: Any, outputs: Any, masks: Any) -> None:
        """Record the masks of the outputs; a layer that doesn't support masking drops them with a warning."""
        given = parts_of(outputs)
        if all(v in trace.masks for v in flat(outputs)):
            return
        if self.supports_masking:
            for value, mask in zip(given, parts_of(self.compute_mask(inputs, masks)), strict=False):
                if mask is not None and value not in trace.masks:
                    trace.masks[value] = mask
        elif any(m is not None for m in flat(masks)) and self not in _WARNED:
            _WARNED.add(self)
            warnings.warn(f"The layer {self.name!r} ({type(self).__name__}) received a mask, which it doesn't support: "
                          "the layers after it won't see the mask.", stacklevel=2)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape that `call` gives for inputs of a shape with None for unknown sizes, or nests of shapes."""
        from graphc.steps import symbolic_input

        inputs = map_shapes(lambda shape: symbolic_input(shape, self.input_dtype or "f32"), input_shape)
        with tracing(Trace()):  # so that it isn't taken for a call in a functional model
            return mapped(known_shape, self(inputs))

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_programs": {}, "_last_losses": ()}  # programs are compiled again where they are needed

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

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Variable | list | tuple):
            own = vars(self).get("_own", [])
            for part in parts_of(value):
                if isinstance(part, Variable) and part.loose and part not in own:
                    own.append(part)
                    Layer.changed = object()
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        if "_own" not in vars(self) and name in _ALWAYS:
            raise RuntimeError(f"{type(self).__name__} has no {name!r}: its __init__ has to call super().__init__() "
                               "first.")
        hint = f". {self.absent[name]}" if name in self.absent else ""
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{hint}", name=name, obj=self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"


def is_symbolic(thing: Any) -> bool:
    """Whether a layer received a value to build with, rather than an array to run on."""
    if isinstance(thing, list | tuple):
        return bool(thing) and all(map(is_symbolic, thing))
    return isinstance(thing, Value) and not (isinstance(thing, Variable) and current_trace() is None)


def _constant(thing: Any) -> Any:
    """An array among a layer's arguments as a value of the graph."""
    if not isinstance(thing, np.ndarray):
        return thing
    return as_value(thing, "f32" if thing.dtype == np.float64 else None)


def _types(arguments: Any) -> str:
    return " and ".join(str(v.type) for v in flat(arguments) if isinstance(v, Value))


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


