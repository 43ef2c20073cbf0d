"""What layers of sequences, images and volumes share: their axes, and options with a number for each of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value
from graphc.layers.core import positive
from graphc.layers.layer import Layer
from graphc.names import choose

__all__ = ["Spatial", "check_axes", "extents"]


def check_axes(owner: str, input_shape: Any, rank: int) -> None:
    """Refuse inputs that don't have the batch, `rank` spatial axes and the channels."""
    if len(input_shape) != rank + 2:
        spatial = {1: "the steps", 2: "height, width", 3: "depth, height, width"}[rank]
        raise ShapeError(f"{owner} needs {rank + 2} axes: the batch, {spatial}, and the channels. Data without "
                         "channels get them with numpy.expand_dims(x, -1).")


def extents(owner: str, name: str, value: Any, rank: int) -> tuple[int, ...]:
    """One positive integer for each spatial axis; a single number counts for all."""
    given = (value,) * rank if isinstance(value, int | np.integer) else tuple(value)
    if len(given) != rank:
        raise ValueError(f"{owner}({name}={value!r}): {name} must be one positive integer or {rank} of them.")
    return tuple(positive(owner, name, v) for v in given)


class Spatial(Layer):
    """A layer of [N, *spatial, channels]; with data_format='channels_first' of [N, channels, *spatial].

    Subclasses write `compute`, and `build_weights` where they have any, for the first form only. The other one is
    transposed into it and back: a transposition only renames indices, so it costs nothing where it is fused.
    """

    rank = 0
    formats: tuple[str, ...] = ("channels_last", "channels_first")

    def __init__(self, data_format: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.data_format = choose("data_format", data_format or "channels_last", {n: n for n in self.formats})

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        if len(self.formats) == 1:
            del config["data_format"]  # which Keras's constructors of these layers don't take
        return config

    @property
    def channel_axis(self) -> int:
        """Where the channels of the inputs are."""
        return 1 if self.data_format == "channels_first" else self.rank + 1

    def build(self, input_shape: Any) -> None:
        check_axes(type(self).__name__, input_shape, self.rank)
        first, *others = input_shape
        channels = others.pop(self.channel_axis - 1)
        self.build_weights((first, *others, channels))

    def build_weights(self, input_shape: Any) -> None:
        """Make the weights for inputs of this shape, whose last axis is the channels."""

    def call(self, inputs: Value) -> Value:
        return self.channels_as_given(self.compute(self.channels_last(inputs)))

    def compute(self, inputs: Value) -> Value:
        """The result for inputs whose last axis is the channels."""
        raise NotImplementedError

    def channels_last(self, x: Value) -> Value:
        """Inputs of the layer with the channels as their last axis."""
        axes = [a for a in range(x.ndim) if a != self.channel_axis]
        return f.transpose(x, (*axes, self.channel_axis))

    def channels_as_given(self, x: Value) -> Value:
        """A result whose last axis is the channels, as data_format has it."""
        if self.data_format == "channels_last" or x.ndim < 3:
            return x
        return f.transpose(x, (0, x.ndim - 1, *range(1, x.ndim - 1)))
