"""The old `from keras import backend as K`: graphc.ops under their names of that time, and what belongs to the process.

https://keras.io/2.16/api/utils/backend_utils/ lists them. A name that isn't below is looked up in graphc.ops.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from graphc import activations, losses, ops
from graphc.config import (
    backend,
    epsilon,
    floatx,
    image_data_format,
    set_epsilon,
    set_floatx,
    set_image_data_format,
)
from graphc.ir.graph import Value
from graphc.names import nearest
from graphc.utils import clear_session, is_keras_tensor, standardize_dtype
from graphc.variable import Variable

__all__ = ["backend", "batch_flatten", "batch_get_value", "batch_set_value", "binary_crossentropy",
           "cast_to_floatx", "categorical_crossentropy", "clear_session", "constant", "count_params", "epsilon", "eval",
           "flatten", "floatx", "gather", "get_uid", "get_value", "image_data_format", "int_shape", "is_keras_tensor",
           "l2_normalize", "learning_phase", "permute_dimensions", "pow", "repeat_elements", "set_epsilon",
           "set_floatx", "set_image_data_format", "set_value", "sparse_categorical_crossentropy", "standardize_dtype",
           "switch", "variable"]

_NUMBERS: Counter[str] = Counter()


def __getattr__(name: str) -> Any:
    if not name.startswith("_"):
        if name in ops.__all__:
            return getattr(ops, name)
        if name in activations.__all__:
            return getattr(activations, name)
    close = nearest(name, [*__all__, *ops.__all__])
    hint = f" Did you mean {close!r}?" if close else ""
    raise AttributeError(f"module 'graphc.backend' has no attribute {name!r}.{hint}", name=name)


def variable(value: Any, dtype: Any = None, name: str | None = None, constraint: Any = None) -> Variable:
    """A variable with that value."""
    return Variable(np.array(value, dtype or "float32"), name or "variable", True)


def constant(value: Any, dtype: Any = None, shape: Any = None, name: str | None = None) -> np.ndarray:
    """An array with that value."""
    array = np.asarray(value, dtype or "float32")
    return array if shape is None else np.broadcast_to(array, shape).copy()


def get_value(x: Any) -> np.ndarray:
    """The values of a variable or an array."""
    return np.array(x)


def set_value(x: Variable, value: Any) -> None:
    """Give a variable, or an optimizer's learning rate, new values."""
    x.assign(value)


def batch_get_value(tensors: Iterable[Any]) -> list[np.ndarray]:
    """The values of several variables."""
    return [get_value(x) for x in tensors]


def batch_set_value(tuples: Iterable[tuple[Variable, Any]]) -> None:
    """Give several variables new values."""
    for x, value in tuples:
        set_value(x, value)


eval = get_value


def cast_to_floatx(x: Any) -> Any:
    """x in float32."""
    return ops.cast(x, floatx()) if isinstance(x, Value) else np.asarray(x, floatx())


def count_params(x: Any) -> int:
    """How many numbers x has."""
    return int(np.prod(x.shape))


def int_shape(x: Any) -> tuple[int | None, ...]:
    """The shape, with None for what isn't known."""
    return tuple(d if isinstance(d, int) else None for d in x.shape)


def get_uid(prefix: str = "") -> int:
    """1, then 2, ... for each prefix."""
    _NUMBERS[prefix] += 1
    return _NUMBERS[prefix]


def learning_phase() -> int:
    """0: whether a step trains is said by the `training` argument of `call`."""
    return 0


def pow(x: Any, a: Any) -> Any:
    """x to the power of a."""
    return ops.power(x, a)


def flatten(x: Any) -> Any:
    """All numbers along one axis."""
    return ops.reshape(x, (-1,))


def batch_flatten(x: Any) -> Any:
    """All numbers of a row along one axis."""
    return ops.reshape(x, (-1, int(np.prod(x.shape[1:]))))


def permute_dimensions(x: Any, pattern: tuple[int, ...]) -> Any:
    """x with its axes in another order."""
    return ops.transpose(x, pattern)


def gather(reference: Any, indices: Any) -> Any:
    """Entries of the first axis."""
    return ops.take(reference, indices, 0)


def repeat_elements(x: Any, rep: int, axis: int) -> Any:
    """Each entry along an axis several times."""
    return ops.repeat(x, rep, axis)


def l2_normalize(x: Any, axis: int | None = None) -> Any:
    """x divided by its Euclidean length along an axis."""
    square = ops.sum(ops.square(x), axis, keepdims=True)
    return ops.multiply(x, ops.rsqrt(ops.maximum(square, 1e-12)))


def switch(condition: Any, then_expression: Any, else_expression: Any) -> Any:
    """One of two values, or of what two functions return, by a condition."""
    then, other = (e() if callable(e) else e for e in (then_expression, else_expression))
    return ops.where(condition, then, other)


def binary_crossentropy(target: Any, output: Any, from_logits: bool = False) -> Any:
    """The loss of each output."""
    return losses.binary_crossentropy(ops.expand_dims(target, -1), ops.expand_dims(output, -1), from_logits)


def categorical_crossentropy(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> Any:
    """The loss of each row of one-hot targets."""
    return losses.categorical_crossentropy(target, output, from_logits)


def sparse_categorical_crossentropy(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> Any:
    """The loss of each row of class numbers."""
    return losses.sparse_categorical_crossentropy(target, output, from_logits)
