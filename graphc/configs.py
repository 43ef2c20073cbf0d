"""Objects as the dicts that Keras describes them by: `{"module", "class_name", "config", "registered_name"}`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from graphc.names import choose
from graphc.registry import get_registered_name

__all__ = ["config_of", "constructor_options", "constructor_parameters", "describe", "describe_function", "identified",
           "is_own", "rule_for", "serialize_keras_object"]

_PLAIN = (str, int, float, bool, type(None))


def constructor_parameters(cls: type) -> dict[str, inspect.Parameter]:
    """A constructor's arguments; where it takes `**kwargs`, also those of the base classes.

    A class whose constructor passes its arguments on to another object has a `__signature__` that says what they are.
    """
    found: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__:
        given = vars(base).get("__signature__")
        if given is None and "__init__" not in vars(base):
            continue
        parameters = list((given or inspect.signature(base.__init__)).parameters.values())  # type: ignore[misc]
        named = [p for p in parameters if p.name != "self" and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        for p in named:
            found.setdefault(p.name, p)
        if given is not None or not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return found


def constructor_options(cls: type) -> list[str]:
    """The names of a constructor's arguments."""
    return list(constructor_parameters(cls))


def config_of(thing: Any, cls: type | None = None) -> dict[str, Any]:
    """The arguments of a constructor, by default its own, read from the attributes of the same names."""
    return {name: getattr(thing, name) for name in constructor_options(cls or type(thing)) if hasattr(thing, name)}


def is_own(cls: type) -> bool:
    """Whether a class is graphc's, and not a user's."""
    return cls.__module__.startswith("graphc.")


def describe(thing: Any) -> dict[str, Any]:
    """A layer, initializer, optimizer, loss or metric by its class and `get_config`.

    Classes of graphc's own are named as Keras's; a user's class is registered under its name, and is found again
    through `custom_objects`. What a user's layer was built from is said, too; graphc's own are built by their calls.
    """
    cls = type(thing)
    own = is_own(cls)
    name = getattr(cls, "public_name", cls.__name__) if own else cls.__name__
    described = {"module": thing.keras_module if own else cls.__module__, "class_name": name,
                 "config": thing.get_config(), "registered_name": None if own else get_registered_name(cls)}
    built = thing.get_build_config() if not own and hasattr(thing, "get_build_config") else None
    return described if built is None else described | {"build_config": serialize_keras_object(built)}


def describe_function(function: Any) -> dict[str, Any]:
    """A user's function by its name, under which `custom_objects` has to give it again."""
    name = getattr(function, "__name__", "")
    if not name.isidentifier():
        raise ValueError(f"{function!r} has no name to write down. Define it with `def`.")
    return {"module": "builtins", "class_name": "function", "config": name,
            "registered_name": get_registered_name(function)}


def serialize_keras_object(obj: Any) -> Any:
    """A layer, model, loss, ... or function as a dict of plain values; plain values and lists stay as they are."""
    if isinstance(obj, _PLAIN):
        return obj
    if isinstance(obj, np.generic):
        return obj.item()
    if isinstance(obj, list | tuple):
        return [serialize_keras_object(part) for part in obj]
    if isinstance(obj, dict):
        return {name: serialize_keras_object(part) for name, part in obj.items()}
    return describe(obj) if hasattr(obj, "get_config") else describe_function(obj)


def identified(kind: str, identifier: Any, classes: Mapping[str, Any], base: type) -> Any:
    """The object of a class for its name, itself or a description; anything else, such as an object, as it is.

    `classes` has the classes by all their names; `base` is theirs. Unknown names raise ValueError.
    """
    if isinstance(identifier, str):
        return choose(kind, identifier, classes)()
    if isinstance(identifier, dict) and "class_name" in identifier:
        return choose(kind, str(identifier["class_name"]), classes)(**(identifier.get("config") or {}))
    return identifier() if isinstance(identifier, type) and issubclass(identifier, base) else identifier


def rule_for(kind: str, identifier: Any, classes: Mapping[str, type], base: type) -> Any:
    """The rule for a weight that is identified so: an object, a function, or None."""
    found = identified(kind, identifier, classes, base)
    if found is None or callable(found):
        return found
    raise ValueError(f"A {kind} is a name, a {base.__name__}, a function of a weight, or None; received "
                     f"{identifier!r}.")
