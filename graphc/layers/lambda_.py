"""Functions as layers, and what a layer expects of its inputs. https://keras.io/api/layers/core_layers/lambda/"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from graphc import activations
from graphc.configs import describe_function
from graphc.ir.errors import DTypeError, ShapeError
from graphc.ir.graph import Value
from graphc.ir.types import DType
from graphc.layers.arguments import known_shape
from graphc.layers.layer import Layer

__all__ = ["InputSpec", "Lambda"]


class Lambda(Layer):
    """A function of values as a layer, with `arguments` as its keywords, and `mask` and `training` where it has them.

    A file has the function's name only, never its code: it loads where `custom_objects` gives the function.

    Lambda("tanh")(f32[N,3]) -> f32[N,3]
    Lambda("leaky_relu", arguments={"negative_slope": 0.1})(f32[N,3]) -> f32[N,3]
    """

    def __init__(self, function: Any, output_shape: Any = None, mask: Any = None,
                 arguments: Mapping[str, Any] | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.function: Callable[..., Any] = activations.get(function)
        self.result_shape, self.mask = output_shape, mask
        self.arguments = dict(arguments or {})
        self.supports_masking = mask is not None

    def get_config(self) -> dict[str, Any]:
        shape = self.result_shape
        return super().get_config() | {"output_shape": describe_function(shape) if callable(shape) else shape}

    def call(self, inputs: Any, mask: Any = None, training: bool = False) -> Any:
        takes = inspect.signature(self.function).parameters
        told = {name: value for name, value in (("mask", mask), ("training", training)) if name in takes}
        return self.function(inputs, **{**told, **self.arguments})

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return self.mask(inputs, mask) if callable(self.mask) else self.mask


class InputSpec:
    """The number of axes, the extents and the dtype that a layer needs its inputs to have: `self.input_spec`.

    >>> InputSpec(ndim=3, axes={-1: 4})
    InputSpec(ndim=3, axes={-1: 4})
    """

    def __init__(self, dtype: Any = None, shape: Any = None, ndim: int | None = None, max_ndim: int | None = None,
                 min_ndim: int | None = None, axes: Mapping[int, int | None] | None = None,
                 allow_last_axis_squeeze: bool = False, name: str | None = None, optional: bool = False):
        self.dtype = None if dtype is None else DType.of(dtype)
        self.shape = None if shape is None else tuple(shape)
        self.ndim = ndim if self.shape is None else len(self.shape)
        self.max_ndim, self.min_ndim, self.name, self.optional = max_ndim, min_ndim, name, optional
        self.axes = {int(axis): extent for axis, extent in (axes or {}).items()}
        self.allow_last_axis_squeeze = allow_last_axis_squeeze

    def check(self, value: Value) -> None:
        """Refuse a value that isn't what is specified."""
        shape = known_shape(value)
        if self.shape is not None and self.allow_last_axis_squeeze:
            if self.shape[-1] == 1 and len(shape) == len(self.shape) - 1:
                shape = (*shape, 1)
            elif shape and shape[-1] == 1 and len(shape) == len(self.shape) + 1:
                shape = shape[:-1]
        rank = len(shape)
        for wrong, needed in ((self.ndim is not None and rank != self.ndim, self.ndim),
                              (self.max_ndim is not None and rank > self.max_ndim, f"at most {self.max_ndim}"),
                              (self.min_ndim is not None and rank < self.min_ndim, f"at least {self.min_ndim}")):
            if wrong:
                raise ShapeError(f"the layer needs {needed} axes.")
        if self.dtype is not None and value.dtype != self.dtype:
            raise DTypeError(f"the layer needs the dtype {self.dtype}.")
        wanted = self.axes if self.shape is None else dict(enumerate(self.shape)) | self.axes
        for axis, extent in wanted.items():
            if extent is not None and (not -rank <= axis < rank or shape[axis] not in (None, extent)):
                raise ShapeError(f"the layer needs the extent {extent} along axis {axis}.")

    def __repr__(self) -> str:
        given = {name: value for name, value in vars(self).items() if value not in (None, False, {})}
        return f"InputSpec({', '.join(f'{name}={value!r}' for name, value in given.items())})"
