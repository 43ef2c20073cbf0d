"""The user's own classes and functions by the names that files know them by.

https://keras.io/api/models/model_saving_apis/serialization_utils/
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

__all__ = ["CustomObjectScope", "custom_object_scope", "get_custom_objects", "get_registered_name",
           "get_registered_object", "known_objects", "register_keras_serializable", "with_objects"]

T = TypeVar("T")
_OBJECTS: dict[str, Any] = {}
_NAMES: dict[Any, str] = {}
_GIVEN: ContextVar[Mapping[str, Any]] = ContextVar("custom_objects", default={})  # noqa: B039, never changed


def get_custom_objects() -> dict[str, Any]:
    """The registered classes and functions by name; what is put into the dict is found when a file is loaded."""
    return _OBJECTS


def register_keras_serializable(package: str = "Custom", name: str | None = None) -> Callable[[T], T]:
    """Let files that name a class or function be loaded without `custom_objects`; a decorator.

    Files know it as `package>name`. A class needs `get_config`.
    """

    def register(thing: T) -> T:
        if isinstance(thing, type) and not hasattr(thing, "get_config"):
            raise ValueError(f"register_keras_serializable: the class {thing.__name__} has no `get_config`, which says "
                             "what its constructor needs.")
        registered = f"{package}>{name or thing.__name__}"  # type: ignore[attr-defined]
        _OBJECTS[registered] = thing
        _NAMES[thing] = registered
        return thing

    return register


def get_registered_name(thing: Any) -> str:
    """The name that a class or function is registered under, or its own."""
    return _NAMES.get(getattr(thing, "users_class", thing), thing.__name__)


def get_registered_object(name: str, custom_objects: Mapping[str, Any] | None = None,
                          module_objects: Mapping[str, Any] | None = None) -> Any:
    """The class or function of that name in the registry or in one of the dicts, or None."""
    for known in (known_objects(), custom_objects or {}, module_objects or {}):
        if name in known:
            return known[name]
    return None


@contextmanager
def with_objects(custom_objects: Mapping[str, Any] | None) -> Iterator[None]:
    """Inside, in this thread, what the caller gave for a file is known too: to the methods of the user's classes."""
    token = _GIVEN.set({**_GIVEN.get(), **(custom_objects or {})})
    try:
        yield
    finally:
        _GIVEN.reset(token)


def known_objects() -> dict[str, Any]:
    """The registered classes and functions by name, and those that the caller gave."""
    return _OBJECTS | dict(_GIVEN.get())


@contextmanager
def custom_object_scope(custom_objects: Mapping[str, Any]) -> Iterator[None]:
    """Classes and functions that are found by these names inside: `with custom_object_scope({"Scale": Scale}): ...`."""
    before = dict(_OBJECTS)
    _OBJECTS.update(custom_objects)
    try:
        yield
    finally:
        _OBJECTS.clear()
        _OBJECTS.update(before)


CustomObjectScope = custom_object_scope
