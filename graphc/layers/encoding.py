"""Numbers of categories as 0s and 1s. https://keras.io/api/layers/preprocessing_layers/categorical/"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value
from graphc.layers.core import positive
from graphc.layers.layer import Layer
from graphc.names import choose

__all__ = ["MODES", "CategoryEncoding", "Discretization", "encode", "encoded"]

MODES = {"int": "int", "one_hot": "one_hot", "multi_hot": "multi_hot", "count": "count"}


def encoded(numbers: Value, mode: str, depth: int) -> Value:
    """Numbers from 0 to depth - 1 in one of MODES; those out of range count nowhere.

    'one_hot' has an axis more, in place of a last one of extent 1; the others count over the last axis.
    """
    if mode == "int":
        return numbers
    if mode == "one_hot" and numbers.ndim > 1 and numbers.shape[-1] == 1:
        numbers = f.squeeze(numbers, -1)
    each = f.one_hot(numbers, depth)
    if mode == "one_hot":
        return each
    return f.sum(each, -2) if mode == "count" else f.max(each, -2)


def encode(numbers: np.ndarray, mode: str, depth: int) -> np.ndarray:
    """What `encoded` means, for an array."""
    if mode == "int":
        return numbers
    if mode == "one_hot" and numbers.ndim > 1 and numbers.shape[-1] == 1:
        numbers = numbers[..., 0]
    each = (np.atleast_1d(numbers)[..., None] == np.arange(depth)).astype(np.float32)
    if mode == "one_hot":
        return each
    return each.sum(-2) if mode == "count" else each.max(-2, initial=0)


class CategoryEncoding(Layer):
    """Numbers of categories as 0s and 1s: 'one_hot' for each, 'multi_hot' or 'count' for all of a sample.

    CategoryEncoding(4)(i32[N,7]) -> f32[N,4]
    CategoryEncoding(4, output_mode="one_hot")(i32[N,1]) -> f32[N,4]
    CategoryEncoding(4, output_mode="one_hot")(i32[N,7]) -> f32[N,7,4]
    CategoryEncoding(4, output_mode="count")(i32[N]) -> ShapeError: CategoryEncoding needs 2 axes
    """

    input_dtype = "i32"

    def __init__(self, num_tokens: int | None = None, output_mode: str = "multi_hot", **kwargs: Any):
        super().__init__(**kwargs)
        self.num_tokens = positive("CategoryEncoding", "num_tokens", num_tokens)
        modes = {m: m for m in MODES if m != "int"} | {"binary": "multi_hot"}
        self.output_mode = choose("output_mode", output_mode, modes)

    def build(self, input_shape: Any) -> None:
        if self.output_mode != "one_hot" and len(input_shape) != 2:
            raise ShapeError(f"CategoryEncoding needs 2 axes for output_mode={self.output_mode!r}: the batch and the "
                             "categories of a sample.")

    def call(self, inputs: Value) -> Value:
        return encoded(inputs, self.output_mode, self.num_tokens)


class Discretization(Layer):
    """Numbers as the number of the interval that they lie in, between `bin_boundaries`.

    `adapt(data)` finds boundaries for `num_bins` intervals with as many numbers in each. Other modes than 'int' are
    CategoryEncoding's.

    Discretization(bin_boundaries=[0.0, 1.0])(f32[N,4]) -> i32[N,4]
    Discretization(bin_boundaries=[0.0, 1.0], output_mode="one_hot")(f32[N,4]) -> f32[N,4,3]
    Discretization(bin_boundaries=[0.0, 1.0], output_mode="count")(f32[N,4]) -> f32[N,3]
    """

    def __init__(self, bin_boundaries: Any = None, num_bins: int | None = None, epsilon: float = 0.01,
                 output_mode: str = "int", **kwargs: Any):
        super().__init__(**kwargs)
        if (bin_boundaries is None) == (num_bins is None):
            raise ValueError(f"Discretization(bin_boundaries={bin_boundaries!r}, num_bins={num_bins!r}): give one of "
                             "the two.")
        self.bin_boundaries = None if bin_boundaries is None else [float(b) for b in bin_boundaries]
        self.num_bins = None if num_bins is None else positive("Discretization", "num_bins", num_bins)
        self.epsilon, self.output_mode = epsilon, choose("output_mode", output_mode, MODES)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["trainable"]  # which Keras's constructor doesn't take
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Discretization:
        """A layer from what `get_config` returned; one that was adapted has both boundaries and a number of bins."""
        boundaries = config.get("bin_boundaries")
        if boundaries is None or config.get("num_bins") is None:
            return cls(**config)
        layer = cls(**{**config, "bin_boundaries": None})
        layer.bin_boundaries = [float(b) for b in boundaries]
        return layer

    def adapt(self, data: Any, steps: int | None = None) -> None:
        """Find boundaries for an array, or for batches, of which a summary is kept with an error of `epsilon`."""
        if self.num_bins is None:
            raise ValueError(f"{self.name!r} was given its boundaries: adapt would have no effect.")
        whole = isinstance(data, np.ndarray) or not isinstance(data, Iterable)
        summary = np.zeros((2, 0))
        for i, batch in enumerate([data] if whole else data):
            if steps is not None and i >= steps:
                break
            both = np.concatenate([_summary(np.asarray(batch, np.float32), self.epsilon), summary], 1)
            summary = _compressed(both[:, np.argsort(both[0], kind="stable")], self.epsilon)
        self.bin_boundaries = _compressed(summary, 1 / self.num_bins)[0, :-1].astype(np.float32).tolist()
        self._programs.clear()

    def call(self, inputs: Value) -> Value:
        if self.bin_boundaries is None:
            raise ValueError(f"{self.name!r} has no boundaries yet: call adapt, or give bin_boundaries.")
        numbers: Value = f.full(inputs.shape, 0, "i32")
        for boundary in self.bin_boundaries:
            numbers = f.add(numbers, f.cast(f.greater_equal(inputs, boundary), "i32"))
        return encoded(numbers, self.output_mode, len(self.bin_boundaries) + 1)


def _summary(values: np.ndarray, epsilon: float) -> np.ndarray:
    """Some of the values in order, and for how many each stands."""
    ordered = np.sort(values, None)
    step = max(ordered.size * epsilon, 1)
    some = ordered[int(step - 1)::int(step)]
    return np.stack([some, np.full(some.size, step, np.float32)])


def _compressed(summary: np.ndarray, epsilon: float) -> np.ndarray:
    """A summary of as many values as the error allows, at equal parts of the whole."""
    if summary.shape[1] * epsilon < 1:
        return summary
    parts = epsilon + np.arange(0.0, 1.0, epsilon)
    counts = summary[1].cumsum()
    share = counts / counts[-1]
    values, reached = np.interp(parts, share, summary[0]), np.interp(parts, share, counts)
    return np.stack([values, np.diff(reached, prepend=0.0)]).astype(np.float32)
