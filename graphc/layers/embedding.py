"""Word numbers as vectors, and steps that don't count. https://keras.io/api/layers/core_layers/"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.ir import functions as f
from graphc.ir.graph import Value
from graphc.layers.core import positive
from graphc.layers.layer import Layer
from graphc.layers.weights import add_weight, keep_options
from graphc.limits import limit

__all__ = ["Embedding", "Masking"]


class Embedding(Layer):
    """A learnt vector of `output_dim` numbers for each integer below `input_dim`.

    With `mask_zero` the number 0 stands for no word, and the layers after it leave these steps out. `input_length` is
    the shape of one sample, so that the model is built at once, as in Keras 2. A number outside raises ValueError
    before a step runs, or after it where the numbers are computed in the model.

    Embedding(10, 4)(i32[N,5]) -> f32[N,5,4]
    Embedding(10, 4, mask_zero=True)(i32[N,T]) -> f32[N,T,4]
    """

    input_dtype = "i32"

    def __init__(self, input_dim: int, output_dim: int, embeddings_initializer: Any = "uniform",
                 embeddings_regularizer: Any = None, embeddings_constraint: Any = None, mask_zero: bool = False,
                 weights: Any = None, input_length: Any = None, **kwargs: Any):
        if input_length is not None:
            lengths = (input_length,) if isinstance(input_length, int | np.integer) else tuple(input_length)
            kwargs.setdefault("input_shape", lengths)
        super().__init__(**kwargs)
        self.input_dim = positive("Embedding", "input_dim", input_dim)
        self.output_dim = positive("Embedding", "output_dim", output_dim)
        keep_options(self, "embeddings", embeddings_initializer, embeddings_regularizer, embeddings_constraint)
        self.mask_zero = self.supports_masking = mask_zero
        if weights is not None:
            self.build()
            self.set_weights(weights if isinstance(weights, list) and len(weights) == 1 else [weights])

    def build(self, input_shape: Any = None) -> None:
        if not self.built:
            self.embeddings = add_weight(self, "embeddings", (self.input_dim, self.output_dim))

    def call(self, inputs: Value) -> Value:
        limit(inputs, 0, self.input_dim - 1, self)
        return f.take(self.embeddings, f.cast(inputs, "i32"))

    def compute_mask(self, inputs: Value, mask: Any = None) -> Value | None:
        return f.not_equal(inputs, 0) if self.mask_zero else None

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["weights"]
        return config | {"input_dim": self.input_dim}


class Masking(Layer):
    """Time steps whose features all are `mask_value` don't count for the layers after it, and become 0.

    Masking()(f32[N,5,3]) -> f32[N,5,3]
    Masking(-1.0)(f32[N,T,3]) -> f32[N,T,3]
    """

    supports_masking = True

    def __init__(self, mask_value: float = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.mask_value = mask_value

    def call(self, inputs: Value) -> Value:
        counts = f.expand_dims(self.compute_mask(inputs), -1)
        return f.where(counts, inputs, 0.0)

    def compute_mask(self, inputs: Value, mask: Any = None) -> Value:
        return f.greater(f.sum(f.not_equal(inputs, self.mask_value), -1), 0)
