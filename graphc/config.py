"""`graphc.config(...)` changes switches; `graphc.config.floatx()` and the like are Keras's. https://keras.io/api/utils/config_utils/
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

from graphc.backend import (
    backend,
    epsilon,
    floatx,
    image_data_format,
    set_epsilon,
    set_floatx,
    set_image_data_format,
)
from graphc.runtime.config import Config
from graphc.runtime.config import config as _switches

__all__ = ["backend", "disable_traceback_filtering", "dtype_policy", "enable_traceback_filtering", "epsilon", "floatx",
           "image_data_format", "is_traceback_filtering_enabled", "set_dtype_policy", "set_epsilon", "set_floatx",
           "set_image_data_format"]


class _Callable(ModuleType):
    """The module, and the function of the same name."""

    def __call__(self, **changes: object) -> AbstractContextManager[Config]:
        """Change switches for the programs compiled inside: `with graphc.config(backend="numpy"): ...`."""
        return _switches(**changes)


sys.modules[__name__].__class__ = _Callable


def dtype_policy() -> str:
    """The dtype of weights and of computations."""
    return "float32"


def set_dtype_policy(policy: Any) -> None:
    """Accepts float32, the only policy."""
    if getattr(policy, "name", policy) != "float32":
        raise ValueError(f"set_dtype_policy({policy!r}): graphc has only 'float32'.")


def enable_traceback_filtering() -> None:
    """Accepted for Keras's sake: graphc leaves tracebacks as they are."""


def disable_traceback_filtering() -> None:
    """Accepted for Keras's sake: graphc leaves tracebacks as they are."""


def is_traceback_filtering_enabled() -> bool:
    """False: tracebacks are whole."""
    return False
