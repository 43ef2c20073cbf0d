"""Functions of old Keras's `backend` (`K`) that `keras.ops` names or defines otherwise.

https://www.tensorflow.org/api_docs/python/tf/keras/backend. The others are those of `graphc.ops` with their names.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc import ops, random
from graphc.backend import floatx
from graphc.eager import as_array
from graphc.ir.errors import ShapeError
from graphc.variable import Variable

__all__ = [
    "all", "any", "argmax", "argmin", "batch_dot", "batch_flatten", "bias_add", "cast_to_floatx", "concatenate",
    "constant", "count_params", "eval", "expand_dims", "flatten", "get_value", "int_shape", "is_keras_tensor",
    "l2_normalize", "ones", "permute_dimensions", "placeholder", "pow", "random_bernoulli", "random_normal",
    "random_uniform", "repeat", "repeat_elements", "reverse", "set_value", "spatial_2d_padding", "switch", "tile",
    "truncated_normal", "update", "update_add", "update_sub", "variable", "zeros",
]

all, any, flatten, get_value, eval = ops.all, ops.any, ops.ravel, as_array, as_array
pow, permute_dimensions, reverse, int_shape = ops.power, ops.transpose, ops.flip, ops.shape
random_normal, random_uniform, truncated_normal = random.normal, random.uniform, random.truncated_normal
ones, zeros, tile = ops.ones, ops.zeros, ops.tile


def argmax(x: Any, axis: int = -1) -> Any:
    """The position of the maximum along an axis."""
    return ops.argmax(x, axis)


def argmin(x: Any, axis: int = -1) -> Any:
    """The position of the minimum along an axis."""
    return ops.argmin(x, axis)


def concatenate(tensors: Sequence[Any], axis: int = -1) -> Any:
    """The arrays joined along an axis."""
    return ops.concatenate(tensors, axis)


def expand_dims(x: Any, axis: int = -1) -> Any:
    """x with a new axis of extent 1."""
    return ops.expand_dims(x, axis)


def l2_normalize(x: Any, axis: Any = None) -> Any:
    """x divided by its Euclidean norm."""
    axis = tuple(range(ops.ndim(x))) if axis is None else axis
    return ops.normalize(x, axis, 2, math.sqrt(1e-12))


def batch_flatten(x: Any) -> Any:
    """x with all axes but the first as one."""
    return ops.reshape(x, (ops.shape(x)[0], -1))


def batch_dot(x: Any, y: Any, axes: Any = None) -> Any:
    """For each sample the products summed over an axis of x and one of y, by default as matrices are multiplied."""
    rank_x, rank_y = ops.ndim(x), ops.ndim(y)
    first, second = (axes, axes) if isinstance(axes, int) else axes or (rank_x - 1, max(rank_y - 2, 1))
    first, second = first % rank_x, second % rank_y
    if not first or not second:
        raise ShapeError(f"batch_dot can't sum over the axis of the samples, received axes={axes}.")
    a = list("nabcdefgh"[:rank_x])
    b = ["n", *"opqrstuvw"[:rank_y - 1]]
    b[second] = a[first]
    kept = [c for c in a + b[1:] if c != a[first]]
    result = ops.einsum(f"{''.join(a)},{''.join(b)}->{''.join(kept)}", x, y)
    return ops.expand_dims(result, -1) if len(kept) == 1 else result


def bias_add(x: Any, bias: Any, data_format: str | None = None) -> Any:
    """x with a number added to each channel."""
    if data_format == "channels_first":
        bias = ops.reshape(bias, (-1, *(1,) * (ops.ndim(x) - 2)))
    return ops.add(x, bias)


def repeat(x: Any, n: int) -> Any:
    """Each sample n times, as steps of a sequence."""
    return ops.repeat(ops.expand_dims(x, 1), n, axis=1)


def repeat_elements(x: Any, rep: int, axis: int) -> Any:
    """Each slice along an axis so many times in a row."""
    return ops.repeat(x, rep, axis)


def spatial_2d_padding(x: Any, padding: Any = ((1, 1), (1, 1)), data_format: str | None = None) -> Any:
    """Images with zeros around them."""
    first = data_format == "channels_first"
    return ops.pad(x, [(0, 0), (0, 0), *padding] if first else [(0, 0), *padding, (0, 0)])


def switch(condition: Any, then_expression: Any, else_expression: Any) -> Any:
    """One of two values or of what two functions give, by a condition for all elements or for each."""
    then, other = (e() if callable(e) else e for e in (then_expression, else_expression))
    while ops.ndim(condition) and ops.ndim(condition) < ops.ndim(then):
        condition = ops.expand_dims(condition, -1)
    return ops.where(condition, then, other)


def constant(value: Any, dtype: Any = None, shape: Any = None, name: str | None = None) -> np.ndarray:
    """Numbers as an array."""
    array = as_array(value, dtype or floatx())
    return array if shape is None else np.broadcast_to(array, shape).copy()


def cast_to_floatx(x: Any) -> Any:
    """x in the dtype `floatx()`."""
    return ops.cast(x, floatx())


def variable(value: Any, dtype: Any = None, name: str | None = None, constraint: Any = None) -> Variable:
    """An array that lives between steps."""
    result = Variable(as_array(value, dtype or floatx()).copy(), name or "variable")
    result.constraint = constraint
    return result


def placeholder(*args: Any, **kwargs: Any) -> Any:
    """Refused: an input is `graphc.Input`."""
    raise NotImplementedError("placeholder: make an input with graphc.Input(shape).")


def set_value(x: Variable, value: Any) -> None:
    """Give a variable new values."""
    x.assign(as_array(value))


def update(x: Variable, new_x: Any) -> Variable:
    """Give a variable new values."""
    return x.assign(new_x)


def update_add(x: Variable, increment: Any) -> Variable:
    """Add to a variable."""
    return x.assign(ops.add(x, increment))


def update_sub(x: Variable, decrement: Any) -> Variable:
    """Subtract from a variable."""
    return x.assign(ops.subtract(x, decrement))


def count_params(x: Any) -> Any:
    """How many elements there are."""
    return ops.size(x)


def is_keras_tensor(x: Any) -> bool:
    """Whether x is a value without numbers."""
    return ops.is_tensor(x) and not isinstance(x, np.ndarray | Variable)


def random_bernoulli(shape: Any, p: float = 0.0, dtype: Any = None, seed: Any = None) -> Any:
    """1 with the probability p, else 0."""
    return ops.cast(ops.less(random.uniform(shape, seed=seed), p), dtype or floatx())
