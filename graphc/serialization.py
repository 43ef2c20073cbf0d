"""From the dicts that Keras describes objects by (graphc.configs) back to objects.

Descriptions come from files that anyone may have written, so they are data only: a class name is looked up in graphc's
own classes and in those that the caller passes, and nothing is imported. What Keras's class can do and graphc's can't
is accepted at Keras's default, and refused otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from graphc import activations, constraints, initializers, layers, losses, metrics, optimizers, regularizers
from graphc.configs import constructor_options
from graphc.ir.graph import current_origin, origin
from graphc.models import Functional, Model, Sequential
from graphc.names import nearest
from graphc.registry import known_objects, with_objects

__all__ = ["KINDS", "deserialize"]


def _classes(module: ModuleType, base: type) -> dict[str, type]:
    public = {name: getattr(module, name) for name in module.__all__}
    return {n: c for n, c in public.items() if isinstance(c, type) and issubclass(c, base) and c is not base}


_MODELS: dict[str, type] = {"Functional": Functional, "Sequential": Sequential}
_LAYERS = _classes(layers, layers.Layer) | _MODELS
_LAYERS["GroupedQueryAttention"] = layers.GroupQueryAttention  # as Keras has it in `.h5` files
_LOSSES = _classes(losses, losses.Loss)
_METRICS = _LOSSES | _classes(metrics, metrics.Metric)  # a loss can be a metric too
_INITIALIZERS = _classes(initializers, initializers.Initializer)
for _name in ("MeanMetricWrapper", "Mean", "Sum"):  # these are no metrics of labels and predictions by themselves
    del _METRICS[_name]
KINDS: dict[str, dict[str, type]] = {
    "model": _MODELS,
    "layer": _LAYERS,
    "initializer, layer or schedule": (
        _INITIALIZERS | _LAYERS | _classes(regularizers, regularizers.Regularizer)
        | _classes(constraints, constraints.Constraint)
        | _classes(optimizers.schedules, optimizers.schedules.LearningRateSchedule)),
    "optimizer": _classes(optimizers, optimizers.Optimizer),
    "loss": _LOSSES,
    "metric": _METRICS,
}

# The options of Keras's classes that graphc's don't have, with the only value that is accepted: the default.
_DEFAULTS: dict[str, Any] = {
    "dtype": "float32", "data_format": "channels_last",
    # layers
    "renorm": False, "renorm_clipping": None, "renorm_momentum": 0.99, "synchronized": False, "rms_scaling": False,
    "quantization_config": None, "lora_rank": None, "lora_alpha": None,
    "sparse": False, "ragged": False, "optional": False, "oov_method": "floormod", "salt": None, "encoding": "utf-8",
    # initializers
    "input_axes": None, "output_axes": None,
}


def deserialize(described: Any, kind: str, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The object of a description; of a function or a mere name, what `custom_objects` has for it, or the name.

    `kind` is a key of KINDS. Raises ValueError for a class or an option that graphc doesn't have; constructors may
    raise theirs.
    """
    custom = known_objects() | dict(custom_objects or {})
    if isinstance(described, str):
        return custom.get(described, described)
    name, config = _parts(described, kind)
    if name == "__lambda__":
        raise ValueError("It has the bytecode of a lambda, which is never run. Define the function with `def`, save "
                         "the model again, and pass the function by its name: custom_objects={'name': function}.")
    if name == "function" and isinstance(config, str):
        registered = described.get("registered_name")
        return _function(registered if isinstance(registered, str) and registered in custom else config, custom)
    if not isinstance(config, dict) or not isinstance(config.get("name"), str | None):
        raise ValueError(f"The {kind} {name!r} has the config {_short(config)}, expected an object, and a text as its "
                         "name.")
    registered = described.get("registered_name")
    users = custom.get(registered if isinstance(registered, str) else name) or custom.get(name)
    if users is not None and not isinstance(users, type):
        raise ValueError(f"The {kind} {name!r} is {users!r} in custom_objects, expected a class: a file calls no "
                         "functions.")
    nested = kind == "initializer, layer or schedule"  # there is an Identity of layers, and one of initializers
    first = _INITIALIZERS if nested and described.get("module") == "keras.initializers" else {}
    cls = users or first.get(name) or KINDS[kind].get(name)
    if cls is None:
        close = nearest(name, list(KINDS[kind]))
        hint = f" Did you mean {close!r}?" if close else ""
        raise ValueError(f"graphc has no {kind} class {name!r}.{hint} Pass a class of your own by its name: "
                         f"custom_objects={{{name!r}: {name}}}.")
    label = f"the {kind} {config.get('name') or name!r} ({name})"
    outer = inner = current_origin()  # a layer's name is in the paths of the weights inside, as in a call
    if issubclass(cls, layers.Layer) and kind != "model":
        inner = "/".join(filter(None, (outer, config.get("name"))))
    with with_objects(custom_objects), origin(inner if issubclass(cls, Model) else outer):
        if issubclass(cls, Model) and (issubclass(cls, Functional | Sequential) or "input_layers" in config):
            return _built(cls.from_config(config, custom_objects), described, label)
        options = _given(cls, config) if users else _known(cls, config, label)
        try:
            with origin(inner):
                values = {option: _value(value, custom) for option, value in options.items()}
            made = cls.from_config(values) if hasattr(cls, "from_config") else cls(**values)
            return _built(made, described, label) if users else made  # graphc's own are built by their calls
        except Exception as error:
            error.add_note(f"in {label}")
            raise


def _built(made: Any, described: Mapping[str, Any], label: str) -> Any:
    """A layer or model with the weights that its description says it had."""
    config = described.get("build_config")
    if config and isinstance(made, layers.Layer) and not made.built:
        if not isinstance(config, dict):
            raise ValueError(f"The build_config of {label} is {_short(config)}, expected an object.")
        made.build_from_config(config)
        made.built = True
    return made


def _function(name: str, custom: Mapping[str, Any]) -> Any:
    """A function of the user's, or the name of one of graphc's."""
    if name not in custom and not any(name in module.__all__ for module in (activations, losses, metrics)):
        raise ValueError(f"graphc has no function {name!r}. Pass one of your own by its name: "
                         f"custom_objects={{{name!r}: {name}}}.")
    return custom.get(name, name)


def _parts(described: Any, kind: str) -> tuple[str, Any]:
    if not isinstance(described, dict) or not isinstance(described.get("class_name"), str):
        raise ValueError(f"{_short(described)} describes no {kind}, expected an object with class_name and config.")
    return described["class_name"], described.get("config")


def _short(value: Any) -> str:
    """A value for a message: of a description its class, of a long one the beginning."""
    if isinstance(value, dict) and isinstance(value.get("class_name"), str):
        return value["class_name"]
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _value(value: Any, custom: Mapping[str, Any]) -> Any:
    """An option's value: objects inside are dtypes, functions, initializers, layers or schedules."""
    if isinstance(value, list):
        return [_value(part, custom) for part in value]
    if not isinstance(value, dict) or "class_name" not in value:
        return value
    if value["class_name"] in ("__tensor__", "__numpy__") and isinstance(value.get("config"), dict):
        return value["config"].get("value")  # the numbers of an array
    return _dtype(value) or deserialize(value, "initializer, layer or schedule", custom)


def _dtype(value: Any) -> Any:
    """The name of a dtype policy."""
    config = value.get("config") if isinstance(value, dict) and value.get("class_name") == "DTypePolicy" else None
    return config.get("name") if isinstance(config, dict) else None


def _given(cls: type, options: dict[str, Any]) -> dict[str, Any]:
    """The options of a user's class, without those at their defaults that only Keras's class under it has."""
    names = {*constructor_options(cls), *constructor_options(layers.Layer)}
    return {option: value for option, value in options.items()
            if option in names or option not in _DEFAULTS or value != _DEFAULTS[option]}


def _known(cls: type, options: dict[str, Any], label: str) -> dict[str, Any]:
    """The options of graphc's class; those of Keras's have to stand at their defaults."""
    names = constructor_options(cls)
    for option, value in options.items():
        if option not in names and (option not in _DEFAULTS or (_dtype(value) or value) != _DEFAULTS[option]):
            only = f"only {option}={_DEFAULTS[option]!r}" if option in _DEFAULTS else "no such option"
            raise ValueError(f"{label[0].upper()}{label[1:]} has {option}={_short(value)}; graphc's has {only}.")
    return {option: value for option, value in options.items() if option in names}
