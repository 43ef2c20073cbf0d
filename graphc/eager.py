"""Graph builders on arrays: what is written for values, computed at once.

A function of `graphc.ops` is written once, for values. Called with values it extends their graph; an array among them
becomes a constant state of that graph. Called with arrays alone it builds a graph of its own, which is evaluated by
NumPy at once. The annotations of its parameters say what is what:

    Array    a value; an array, a list of numbers or a number becomes one
    Arrays   a list or tuple of such
    Number   as Array, but Python numbers stay numbers: they have no dtype of their own, and take the other operand's
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar

import numpy as np

from graphc.ir import functions as f
from graphc.ir.comparison import Comparison
from graphc.ir.errors import DTypeError
from graphc.ir.evaluate import evaluate_values
from graphc.ir.graph import Value, topological
from graphc.ir.ops.leaf import Input
from graphc.ir.tree import flat, structured
from graphc.ir.types import Dim
from graphc.tracing import current_trace
from graphc.variable import Variable, constant

__all__ = ["Array", "Arrays", "Number", "as_array", "as_value", "eager", "is_symbolic", "now", "numbers_of",
           "op"]

Array = Any
Arrays = Any
Number = Any
Function = TypeVar("Function", bound=Callable[..., Any])
Eager = Callable[..., Any]  # takes and gives arrays where the function has values

# dtypes that graphs do not have, and the narrowest that holds their numbers
_WIDER = {"float16": "float32", "int8": "int32", "int16": "int32", "uint16": "int32", "uint64": "int64"}


def is_symbolic(*arguments: Any) -> bool:
    """Whether there is a value without numbers among the arguments; a variable has none while a step is traced."""
    return any(isinstance(x, Dim | Comparison) or (isinstance(x, Value) and (not isinstance(x, Variable) or _tracing()))
               for x in flat(arguments))


def _tracing() -> bool:
    return current_trace() is not None


def as_array(x: Any, dtype: Any = None) -> np.ndarray:
    """An array of anything that has numbers, with Keras's dtypes: int32 and float32 for Python's own numbers."""
    if isinstance(x, Variable):
        array = x.numpy()
    elif isinstance(x, Value):
        raise TypeError(f"{x!r} is symbolic: it has no numbers yet. Compute with functions of graphc.ops, or call the "
                        "model on an array.")
    else:
        array = np.asarray(x)
        if not isinstance(x, np.ndarray | np.generic) and not hasattr(x, "dtype") and dtype is None:
            array = array.astype(_default(array, x))
    array = array.astype(_WIDER.get(array.dtype.name, array.dtype), copy=False)
    if array.dtype.kind not in "biuf":
        raise DTypeError(f"Expected numbers, received an array of dtype {array.dtype}: {x!r:.80}.")
    return array if dtype is None else array.astype(f.DType.of(dtype).numpy, copy=False)


def _default(array: np.ndarray, x: Any) -> Any:
    """The dtype of Python's numbers: Keras's, unless there are arrays with dtypes among them."""
    if any(hasattr(part, "dtype") for part in flat(x)):
        return array.dtype
    if array.dtype == np.int64:
        small = not array.size or (array.min() >= -(2**31) and array.max() < 2**31)
        return np.int32 if small else np.int64
    return np.float32 if array.dtype == np.float64 else array.dtype


def numbers_of(name: str, *arrays: Any) -> list[np.ndarray]:
    """Arrays for a function that needs their numbers."""
    if is_symbolic(*arrays):
        raise TypeError(f"{name} of values without numbers is not possible: what it gives depends on them. Where that "
                        "is a matter of its size, keep all elements and choose with ops.where.")
    return [as_array(a) for a in arrays]


def as_value(x: Any, dtype: Any = None) -> Value:
    """A value of anything: an array becomes a constant of the graph, a list of values is stacked."""
    if isinstance(x, Comparison):
        x = x.value
    if isinstance(x, list | tuple) and any(isinstance(part, Value | Dim | Comparison) for part in flat(x)):
        parts = [as_value(part, dtype) for part in x]
        common = f.common_dtype(*parts)
        x = f.stack([f.cast(part, common) for part in parts], 0)
    elif isinstance(x, Dim):
        x = f.dimension(x, "i32")
    elif not isinstance(x, Value):
        x = constant(as_array(x, dtype))
    return x if dtype is None else f.cast(x, dtype)


def now(structure: Any, known: Mapping[Value, np.ndarray] = {}) -> Any:
    """The arrays of the values in a structure, where `known` has those of the inputs."""
    values = [v for v in flat(structure) if isinstance(v, Value)]
    found: dict[Value, Any] = dict(known)
    order = topological(values)
    found.update((v, v.array) for v in order if isinstance(v, Variable) and v not in found)
    for v in order:
        if isinstance(v.op, Input) and v not in found:
            raise TypeError(f"{v!r} is symbolic: it has no numbers yet.")
    evaluate_values(order, found, {})
    parts = (_own(found[v]) if isinstance(v, Value) else v for v in flat(structure))
    return structured(structure, parts)


def _own(result: Any) -> np.ndarray:
    """A result as an array of its own, not a view of a variable."""
    array = np.asarray(result)
    return array if array.flags.owndata and array.flags.writeable else array.copy()


def op(function: Function) -> Function:
    """A function of values that also takes arrays, and then gives arrays; see above for its annotations.

    Without a parameter that is an array, such as `zeros`, it gives a value while a step is traced.
    """
    parameters = inspect.signature(function).parameters
    roles = {name: p.annotation.removesuffix(" | None") for name, p in parameters.items()}
    return _taking(function, {name: role for name, role in roles.items() if role in ("Array", "Arrays", "Number")})


def _taking(function: Function, roles: Mapping[str, str]) -> Function:
    """The function with these roles of its parameters."""
    signature = inspect.signature(function)

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            plain = signature.replace(return_annotation=signature.empty, parameters=[
                p.replace(annotation=p.empty) for p in signature.parameters.values()])
            raise TypeError(f"{function.__name__}{plain}: {error}.") from None
        given = bound.arguments
        symbolic = is_symbolic(*given.values()) or (not roles and _tracing())
        wide = any(isinstance(x, Value) and x.dtype.name == "f64" for x in flat(given))
        known: dict[Value, np.ndarray] = {}

        def convert(x: Any, weak: bool) -> Any:
            if weak and isinstance(x, bool | int | float) and not isinstance(x, np.generic):
                return x
            if symbolic:
                narrow = not wide and not isinstance(x, Value) and getattr(x, "dtype", None) == np.float64
                return as_value(x, "f32" if narrow else None)
            array = as_array(x)
            value = f.input(f"x{len(known)}", array.shape, array.dtype)
            known[value] = array
            return value

        for name, role in roles.items():
            if given.get(name) is not None:
                weak, x = role == "Number", given[name]
                given[name] = [convert(part, weak) for part in x] if role == "Arrays" else convert(x, weak)
        result = function(*bound.args, **bound.kwargs)
        return result if symbolic else now(result, known)

    return call  # type: ignore[return-value]


def eager(*operands: str) -> Callable[[Callable[..., Any]], Eager]:
    """`op` for a function whose parameters of these names are arrays; a result of one number is no array."""
    def decorate(function: Callable[..., Any]) -> Eager:
        call = _taking(function, dict.fromkeys(operands, "Array"))

        @wraps(function)
        def number(*args: Any, **kwargs: Any) -> Any:
            result = call(*args, **kwargs)
            return result[()] if isinstance(result, np.ndarray) else result

        return number

    return decorate
