"""Numbers that everything shares, and old Keras's functions `K.mean`, `K.square`, ... over `graphc.ops`.

https://keras.io/api/utils/config_utils/. `floatx`, `epsilon` and the image format are read where they are needed: a
change holds for what is made after it.
"""

from __future__ import annotations

from typing import Any

from graphc.ir import functions as f
from graphc.ir.types import DType
from graphc.names import choose

__all__ = ["backend", "epsilon", "floatx", "image_data_format", "is_float_dtype", "is_int_dtype", "result_type",
           "set_epsilon", "set_floatx", "set_image_data_format", "standardize_dtype"]

_SETTINGS: dict[str, Any] = {"floatx": "float32", "epsilon": 1e-7, "image_data_format": "channels_last"}


def backend() -> str:
    """The name of what computes: 'graphc'."""
    return "graphc"


def floatx() -> str:
    """The dtype of numbers where none is given: 'float32'."""
    return _SETTINGS["floatx"]


def set_floatx(value: str) -> None:
    """Make another dtype the default: 'float32' or 'float64'."""
    _SETTINGS["floatx"] = choose("floatx", value, {n: n for n in ("float32", "float64")})


def epsilon() -> float:
    """The small number that keeps divisors and arguments of logarithms from 0: 1e-7."""
    return _SETTINGS["epsilon"]


def set_epsilon(value: float) -> None:
    """Choose another small number."""
    if not 0 < float(value) < 1:
        raise ValueError(f"set_epsilon({value!r}): expected a number between 0 and 1.")
    _SETTINGS["epsilon"] = float(value)


def image_data_format() -> str:
    """Where channels are in images whose format is not given: 'channels_last'."""
    return _SETTINGS["image_data_format"]


def set_image_data_format(data_format: str) -> None:
    """Choose 'channels_last' or 'channels_first'."""
    names = ("channels_last", "channels_first")
    _SETTINGS["image_data_format"] = choose("data_format", data_format, {n: n for n in names})


def standardize_dtype(dtype: Any) -> str:
    """The name of a dtype as NumPy has it; None is `floatx`."""
    if dtype is None:
        return floatx()
    named = {int: "int32", float: floatx(), bool: "bool"}.get(dtype) if isinstance(dtype, type) else None
    return named or str(DType.of(dtype).numpy)


def is_float_dtype(dtype: Any) -> bool:
    """Whether it is one of floating-point numbers."""
    return DType.of(standardize_dtype(dtype)).is_float


def is_int_dtype(dtype: Any) -> bool:
    """Whether it is one of whole numbers."""
    return DType.of(standardize_dtype(dtype)).kind in "iu"


def result_type(*dtypes: Any) -> str:
    """The dtype that operands of these dtypes are promoted to; `int` and `float` stand for Python's numbers."""
    numbers = {int: 0, float: 0.0, bool: False}
    weak = [numbers[d] for d in dtypes if isinstance(d, type) and d in numbers]
    strong = [f.constant(0, standardize_dtype(d)) for d in dtypes if not (isinstance(d, type) and d in numbers)]
    return str(f.common_dtype(*strong, *weak).numpy) if dtypes else floatx()


def __getattr__(name: str) -> Any:
    """An old function of `K`: one with its own meaning, or that of `graphc.ops` with its name."""
    from graphc import old_backend, ops  # which ask this module for its numbers

    if name.startswith("__"):
        raise AttributeError(name)
    for module in (old_backend, ops):
        if name in module.__all__:
            return getattr(module, name)
    known = {n: n for n in (*__all__, *old_backend.__all__, *ops.__all__)}
    try:
        choose("function of graphc.backend", name, known)
    except Exception as error:
        raise AttributeError(str(error)) from None
    raise AttributeError(name)
