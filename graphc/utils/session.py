"""Seeds, names and dtypes of the process. https://keras.io/api/utils/"""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from graphc.names import reset_names

__all__ = ["clear_session", "is_keras_tensor", "set_random_seed", "standardize_dtype"]


def set_random_seed(seed: int) -> None:
    """Fix the first weights, the shuffling and the dropout of what is made from now on.

    Seeds Python's and NumPy's global generators; graphc draws all of its seeds from NumPy's.
    """
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise ValueError(f"set_random_seed needs an integer from 0 to 2**32 - 1, received {seed!r}.")
    random.seed(int(seed))
    np.random.seed(int(seed))


def clear_session(free_memory: bool = True) -> None:
    """Let automatic names start again without a number.

    There is nothing to free: what was made for a model goes with the model.
    """
    reset_names()


def is_keras_tensor(x: Any) -> bool:
    """Whether x is symbolic: what `Input` or a layer called on such a value gives."""
    from graphc.ir.graph import Value
    from graphc.variable import Variable

    return isinstance(x, Value) and not isinstance(x, Variable)


def standardize_dtype(dtype: Any) -> str:
    """The name of a dtype: of a NumPy one, a Python type, a name, or None for float32."""
    if dtype is None:
        return "float32"
    if dtype in (int, float, str):
        return {int: "int32", float: "float32", str: "string"}[dtype]
    try:
        return np.dtype(getattr(dtype, "name", dtype)).name
    except TypeError:
        raise ValueError(f"standardize_dtype({dtype!r}): expected a dtype such as 'float32'.") from None
