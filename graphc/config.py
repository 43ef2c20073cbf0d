"""`graphc.config(...)` changes switches; `graphc.config.floatx()` and the like are Keras's.

https://keras.io/api/utils/config_utils/

What Keras lets one set and graphc doesn't is accepted at its only value, and refused otherwise.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

from graphc.runtime.config import Config
from graphc.runtime.config import config as _switches

__all__ = ["backend", "disable_traceback_filtering", "dtype_policy", "enable_traceback_filtering", "epsilon", "floatx",
           "image_data_format", "is_traceback_filtering_enabled", "set_dtype_policy", "set_epsilon", "set_floatx",
           "set_image_data_format"]

_EPSILON = 1e-7


class _Callable(ModuleType):
    """The module, and the function of the same name."""

    def __call__(self, **changes: object) -> AbstractContextManager[Config]:
        """Change switches for the programs compiled inside: `with graphc.config(backend="numpy"): ...`."""
        return _switches(**changes)


sys.modules[__name__].__class__ = _Callable


def backend() -> str:
    """What computes: `graphc`."""
    return "graphc"


def floatx() -> str:
    """The dtype of weights and results."""
    return "float32"


def set_floatx(value: str) -> None:
    """Accepts float32, the only dtype of weights."""
    _only("set_floatx", value, "float32", "graphc computes in float32")


def epsilon() -> float:
    """The small number that losses keep probabilities away from 0 and 1 by."""
    return _EPSILON


def set_epsilon(value: float) -> None:
    """Accepts 1e-7, the only value."""
    _only("set_epsilon", value, _EPSILON, "losses have it built in")


def image_data_format() -> str:
    """Where images have their channels."""
    return "channels_last"


def set_image_data_format(data_format: str) -> None:
    """Accepts channels_last, the only format."""
    _only("set_image_data_format", data_format, "channels_last",
          "move the channels to the end with numpy.moveaxis(images, 1, -1)")


def dtype_policy() -> str:
    """The dtype of weights and of computations."""
    return "float32"


def set_dtype_policy(policy: Any) -> None:
    """Accepts float32, the only policy."""
    _only("set_dtype_policy", getattr(policy, "name", policy), "float32", "graphc computes in float32")


def enable_traceback_filtering() -> None:
    """Accepted for Keras's sake: graphc leaves tracebacks as they are."""


def disable_traceback_filtering() -> None:
    """Accepted for Keras's sake: graphc leaves tracebacks as they are."""


def is_traceback_filtering_enabled() -> bool:
    """False: tracebacks are whole."""
    return False


def _only(function: str, received: Any, expected: Any, why: str) -> None:
    if received != expected:
        raise ValueError(f"{function}({received!r}): graphc has only {expected!r}; {why}.")
