"""Symbolic functions on arrays: the function is traced, and its graph is run by the NumPy references at once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, TypeVar

import numpy as np

from graphc.ir import functions as f
from graphc.ir.errors import DTypeError
from graphc.ir.evaluate import evaluate_values
from graphc.ir.graph import Value, topological
from graphc.ir.types import DType
from graphc.tracing import current_trace
from graphc.variable import Variable

__all__ = ["as_operand", "eager", "run"]

F = TypeVar("F", bound=Callable[..., Any])
_KINDS = {"b": np.bool_, "i": np.int32, "u": np.int32, "f": np.float32}


def run(values: Sequence[Value], known: Mapping[Value, np.ndarray] | None = None) -> list[np.ndarray]:
    """The arrays of values; leaves are the known ones, and variables with their present arrays."""
    order = topological(values)
    arrays: dict[Value, Any] = {v: v.array for v in order if isinstance(v, Variable)} | dict(known or {})
    evaluate_values(order, arrays, {})
    return [np.asarray(arrays[v]) for v in values]


def as_operand(data: Any) -> np.ndarray:
    """Data as an array of a dtype that graphs have; Python numbers become float32 or int32."""
    array = np.asarray(data)
    try:
        DType.of(array.dtype)
        known = isinstance(data, np.ndarray | np.generic | Variable)
    except DTypeError:
        known = False
    if not known and array.dtype.kind not in _KINDS:
        raise DTypeError(f"Expected numbers, received an array of {array.dtype}.")
    return np.ascontiguousarray(array if known else array.astype(_KINDS[array.dtype.kind])).reshape(array.shape)


def eager(*operands: str) -> Callable[[F], F]:
    """Let a function of values take arrays, too, as the parameters of these names; it gives arrays then.

    Values, and whatever comes while a step is traced, go to the function as they are. `None` stays `None`.
    """
    def decorate(function: F) -> F:
        signature = inspect.signature(function)

        @wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(*args, **kwargs).arguments
            given = {name: bound[name] for name in operands if bound.get(name) is not None}
            symbolic = any(isinstance(v, Value) and not isinstance(v, Variable) for v in given.values())
            if symbolic or current_trace() is not None:
                return function(*args, **kwargs)
            arrays = {name: as_operand(v) for name, v in given.items()}
            inputs = {name: f.input(name, a.shape, a.dtype) for name, a in arrays.items()}
            rest = {name: v for name, v in bound.items() if name not in inputs}
            extra = rest.pop(next((p.name for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD), ""), {})
            result = function(**rest, **inputs, **extra)
            several = isinstance(result, tuple | list)
            found = run(result if several else [result], {inputs[name]: a for name, a in arrays.items()})
            return tuple(found) if several else found[0][()]

        return wrapper  # type: ignore[return-value]

    return decorate
