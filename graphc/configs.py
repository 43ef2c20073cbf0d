"""Objects as the dicts that Keras describes them by: `{"module", "class_name", "config", "registered_name"}`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from graphc.names import choose
from graphc.registry import get_registered_name

__all__ = ["config_of", "constructor_options", "describe", "describe_function", "identified"]


def constructor_options(cls: type) -> list[str]:
    """The names of a constructor's arguments; where it takes `**kwargs`, also of those of the base classes."""
    names: list[str] = []
    for base in cls.__mro__:
        if "__init__" in vars(base):
            _, *parameters = inspect.signature(base.__init__).parameters.values()  # type: ignore[misc]
            names += [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
            if not any(p.kind is p.VAR_KEYWORD for p in parameters):
                break
    return list(dict.fromkeys(names))


def config_of(thing: Any) -> dict[str, Any]:
    """The constructor's arguments, read from the attributes of the same names."""
    return {name: getattr(thing, name) for name in constructor_options(type(thing)) if hasattr(thing, name)}


def describe(thing: Any) -> dict[str, Any]:
    """A layer, initializer, optimizer, loss or metric by its class and `get_config`.

    Classes of graphc's own are named as Keras's; a user's class is registered under its name, and is found again
    through `custom_objects`.
    """
    cls = type(thing)
    own = cls.__module__.startswith("graphc.")
    return {"module": thing.keras_module if own else cls.__module__, "class_name": cls.__name__,
            "config": thing.get_config(), "registered_name": None if own else get_registered_name(cls)}


def describe_function(function: Any) -> dict[str, Any]:
    """A user's function by its name, under which `custom_objects` has to give it again."""
    name = getattr(function, "__name__", "")
    if not name.isidentifier():
        raise ValueError(f"{function!r} has no name to write down. Define it with `def`.")
    return {"module": "builtins", "class_name": "function", "config": name,
            "registered_name": get_registered_name(function)}


def identified(kind: str, identifier: Any, classes: Mapping[str, type], base: type) -> Any:
    """The object for a name, a class, a description or a function; None for None.

    `classes` has every class under its own name and `names.snake_case` of it; `base` is theirs.
    """
    if isinstance(identifier, dict) and isinstance(identifier.get("class_name"), str):
        cls = choose(kind, identifier["class_name"], classes)
        return cls(**(identifier.get("config") or {}))
    if isinstance(identifier, str):
        return choose(kind, identifier, classes)()
    if isinstance(identifier, type) and issubclass(identifier, base):
        return identifier()
    if identifier is None or callable(identifier):
        return identifier
    raise ValueError(f"A {kind} is a name, a {base.__name__}, a function of a weight, or None; received "
                     f"{identifier!r}.")
