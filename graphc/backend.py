"""The old `from keras import backend as K`: graphc.ops under their names of that time, and what belongs to the process.

https://keras.io/2.16/api/utils/backend_utils/ lists them. A name that isn't below is looked up in graphc.ops.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graphc import activations, ops, random
from graphc.config import (
    backend,
    epsilon,
    floatx,
    image_data_format,
    set_epsilon,
    set_floatx,
    set_image_data_format,
)
from graphc.eager import as_array
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.types import DType
from graphc.names import nearest
from graphc.utils import clear_session, is_keras_tensor, standardize_dtype
from graphc.variable import Variable, assign_all

__all__ = ["argmax", "argmin", "backend", "batch_dot", "batch_flatten", "batch_get_value", "batch_set_value",
           "bias_add", "cast_to_floatx", "clear_session", "concatenate", "constant", "count_params", "epsilon", "eval",
           "expand_dims", "flatten", "floatx", "gather", "get_uid", "get_value", "image_data_format", "int_shape",
           "is_float_dtype", "is_int_dtype", "is_keras_tensor", "l2_normalize", "learning_phase",
           "permute_dimensions", "pow", "random_bernoulli", "random_normal", "random_uniform", "repeat",
           "repeat_elements", "result_type", "reverse", "set_epsilon", "set_floatx", "set_image_data_format",
           "set_value", "spatial_2d_padding", "standardize_dtype", "switch", "truncated_normal", "update",
           "update_add", "update_sub", "variable"]

_NUMBERS: Counter[str] = Counter()
_OPS: list[str] = vars(ops)["__all__"]  # checkers don't see it


def __getattr__(name: str) -> Any:
    if not name.startswith("_"):
        if name in _OPS:
            return getattr(ops, name)
        if name in activations.__all__:
            return getattr(activations, name)
    close = nearest(name, [*__all__, *_OPS])
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
    return as_array(x).copy()


def set_value(x: Variable, value: Any) -> None:
    """Give a variable, or an optimizer's learning rate, new values."""
    x.assign(value)


def batch_get_value(tensors: Iterable[Any]) -> list[np.ndarray]:
    """The values of several variables."""
    return [get_value(x) for x in tensors]


def batch_set_value(tuples: Iterable[tuple[Variable, Any]]) -> None:
    """Give several variables new values: all of them, or none where one does not fit."""
    assign_all(tuples)


eval = get_value


def cast_to_floatx(x: Any) -> Any:
    """x in the dtype of results."""
    return ops.cast(x, floatx())


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


def repeat(x: Any, n: int) -> Any:
    """Each row n times, as steps of a sequence."""
    return ops.repeat(ops.expand_dims(x, 1), n, 1)


def argmax(x: Any, axis: int = -1) -> Any:
    """The position of the maximum along an axis."""
    return ops.argmax(x, axis)


def argmin(x: Any, axis: int = -1) -> Any:
    """The position of the minimum along an axis."""
    return ops.argmin(x, axis)


def concatenate(tensors: Sequence[Any], axis: int = -1) -> Any:
    """Arrays joined along an axis."""
    return ops.concatenate(tensors, axis)


def expand_dims(x: Any, axis: int = -1) -> Any:
    """x with a new axis of extent 1."""
    return ops.expand_dims(x, axis)


def l2_normalize(x: Any, axis: int | None = None) -> Any:
    """x divided by its Euclidean length along an axis."""
    square = ops.sum(ops.square(x), axis, keepdims=True)
    return ops.multiply(x, ops.rsqrt(ops.maximum(square, 1e-12)))


def batch_dot(x: Any, y: Any, axes: Any = None) -> Any:
    """For each row the products summed over an axis of x and one of y, by default as matrices are multiplied."""
    rank_x, rank_y = ops.ndim(x), ops.ndim(y)
    first, second = (axes, axes) if isinstance(axes, int) else axes or (rank_x - 1, max(rank_y - 2, 1))
    first, second = first % rank_x, second % rank_y
    if not first or not second:
        raise ShapeError(f"batch_dot can't sum over the axis of the rows, received axes={axes}.")
    a, b = list("nabcdefgh"[:rank_x]), ["n", *"opqrstuvw"[:rank_y - 1]]
    b[second] = a[first]
    kept = [c for c in a + b[1:] if c != a[first]]
    result = ops.einsum(f"{''.join(a)},{''.join(b)}->{''.join(kept)}", x, y)
    return ops.expand_dims(result, -1) if len(kept) == 1 else result


def bias_add(x: Any, bias: Any, data_format: str | None = None) -> Any:
    """x with a number added to each channel."""
    if data_format == "channels_first":
        bias = ops.reshape(bias, (-1, *(1,) * (ops.ndim(x) - 2)))
    return ops.add(x, bias)


def spatial_2d_padding(x: Any, padding: Any = ((1, 1), (1, 1)), data_format: str | None = None) -> Any:
    """Images with zeros around them."""
    first = data_format == "channels_first"
    return ops.pad(x, [(0, 0), (0, 0), *padding] if first else [(0, 0), *padding, (0, 0)])


def switch(condition: Any, then_expression: Any, else_expression: Any) -> Any:
    """One of two values, or of what two functions return, by a condition for all elements or for each."""
    then, other = (e() if callable(e) else e for e in (then_expression, else_expression))
    while 0 < ops.ndim(condition) < ops.ndim(then):
        condition = ops.expand_dims(condition, -1)
    return ops.where(condition, then, other)


def update(x: Variable, new_x: Any) -> Variable:
    """Give a variable new values."""
    return x.assign(new_x)


def update_add(x: Variable, increment: Any) -> Variable:
    """Add to a variable."""
    return x.assign(ops.add(x, increment))


def update_sub(x: Variable, decrement: Any) -> Variable:
    """Subtract from a variable."""
    return x.assign(ops.subtract(x, decrement))


reverse, random_normal, random_uniform, truncated_normal = (ops.flip, random.normal, random.uniform,
                                                            random.truncated_normal)


def random_bernoulli(shape: Any, p: float = 0.0, dtype: Any = None, seed: Any = None) -> Any:
    """1 with the probability p, else 0."""
    return ops.cast(ops.less(random.uniform(shape, seed=seed), p), dtype or floatx())


def is_float_dtype(dtype: Any) -> bool:
    """Whether it is one of floating-point numbers."""
    return DType.of(standardize_dtype(dtype)).is_float


def is_int_dtype(dtype: Any) -> bool:
    """Whether it is one of whole numbers."""
    return DType.of(standardize_dtype(dtype)).kind in "iu"


def result_type(*dtypes: Any) -> str:
    """The dtype that operands of these dtypes are promoted to; `int` and `float` stand for Python's numbers."""
    numbers: dict[Any, Any] = {int: 0, float: 0.0, bool: False}
    operands = [numbers[d] if isinstance(d, type) and d in numbers else f.constant(0, standardize_dtype(d))
                for d in dtypes]
    return str(f.common_dtype(*operands).numpy) if dtypes else floatx()
