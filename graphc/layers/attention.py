"""Attention. https://keras.io/api/layers/attention_layers/

A. Vaswani et al., "Attention is all you need", 2017. The scores are one contraction of queries, scaled before it, and
keys; masks are conditions on positions that fuse into the softmax, and so does a causal one, which is a comparison of
two indices. A second contraction sums the values.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

from graphc import activations, initializers
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value
from graphc.ir.types import Dim
from graphc.layers.activation import masked_softmax
from graphc.layers.core import positive
from graphc.layers.einsum_dense import EinsumDense
from graphc.layers.layer import Layer
from graphc.layers.normalization import normal_axes
from graphc.layers.weights import keep_options
from graphc.tracing import random_source

__all__ = ["AdditiveAttention", "Attention", "GroupQueryAttention", "MultiHeadAttention"]


# ------------------------------------------------------------------------------------------------------------- masks

def _positions(rows: int | Dim, columns: int | Dim) -> tuple[Value, Value]:
    """The position of the query and that of the key for each pair: [1, T, S]."""
    shape = (1, rows, columns)
    return f.iota(shape, (1,)), f.iota(shape, (2,))


def _causal(rows: int | Dim, columns: int | Dim) -> Value:
    """Where a key is not later than the query."""
    query, key = _positions(rows, columns)
    return f.less_equal(key, query)


def _near(rows: int | Dim, columns: int | Dim, window: int) -> Value:
    """Where a key is less than `window` steps off."""
    query, key = _positions(rows, columns)
    return f.less(f.absolute(f.subtract(query, key)), window)


def _all_of(masks: Sequence[Value | None]) -> Value | None:
    """Where all masks hold that there are."""
    given = [m for m in masks if m is not None]
    return functools.reduce(f.logical_and, given) if given else None


def _dropped(x: Value, rate: float, seed: int | None, training: bool | None) -> Value:
    source = random_source(seed) if training and rate else None
    return x if source is None else f.dropout(x, rate, *source)


# --------------------------------------------------------------------------------------------------- several heads

class _Heads(Layer):
    """What attention with several heads shares: projections, masks, dropout of the weights."""

    supports_masking = True

    def __init__(self, dropout: float = 0.0, use_bias: bool = True, sliding_window: int | None = None,
                 flash_attention: bool | None = None, kernel_initializer: Any = "glorot_uniform",
                 bias_initializer: Any = "zeros", kernel_regularizer: Any = None, bias_regularizer: Any = None,
                 activity_regularizer: Any = None, kernel_constraint: Any = None, bias_constraint: Any = None,
                 use_gate: bool = False, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        owner = type(self).__name__
        if flash_attention:
            raise ValueError(f"{owner}(flash_attention=True): there are no such kernels for CPUs. Leave it out.")
        if not 0 <= dropout <= 1:
            raise ValueError(f"{owner}(dropout={dropout!r}): the rate is a fraction from 0 to 1.")
        self.dropout, self.use_bias, self.use_gate, self.seed = dropout, use_bias, use_gate, seed
        self.sliding_window = None if sliding_window is None else positive(owner, "sliding_window", sliding_window)
        keep_options(self, "kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        keep_options(self, "bias", bias_initializer, bias_regularizer, bias_constraint)
        self.projections_regularizer = activity_regularizer  # Keras counts it for each projection, not for the result

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"activity_regularizer": self.projections_regularizer}

    def projection(self, name: str, shape: Any, heads: tuple[int, ...], summed: int = 1, **options: Any) -> EinsumDense:
        """A built layer that turns the last `summed` axes of inputs of that shape into axes of the extents `heads`."""
        kept = "abcdefgh"[:len(shape) - summed]
        before, after = "pqrs"[:summed], "uvwxyz"[:len(heads)]
        options |= {f"{weight}_{kind}": getattr(self, f"{weight}_{kind}") for weight in ("kernel", "bias")
                    for kind in ("regularizer", "constraint")}
        # a new initializer for each, because one gives the same values at each call
        options |= {f"{weight}_initializer": _again(getattr(self, f"{weight}_initializer"))
                    for weight in ("kernel", "bias")}
        layer = EinsumDense(f"{kept}{before},{before}{after}->{kept}{after}", (*[None] * (len(kept) - 1), *heads),
                            bias_axes=after if self.use_bias else None, name=name,
                            activity_regularizer=self.projections_regularizer, **options)
        layer.supports_masking = True  # masks of the inputs are looked at here, not there
        layer.build(shape)
        return layer

    def pair_mask(self, rows: int | Dim, columns: int | Dim, query_mask: Value | None, value_mask: Value | None,
                  key_mask: Value | None, attention_mask: Value | None, use_causal_mask: bool) -> Value | None:
        """Which of so many queries see which values: [N, T, S], or [1, T, S] where all samples are alike."""
        bools = (None if m is None else f.cast(m, "bool") for m in (query_mask, value_mask, key_mask))
        of_query, *of_values = bools
        return _all_of([
            None if attention_mask is None else f.cast(attention_mask, "bool"),
            None if of_query is None else f.expand_dims(of_query, -1),
            *(None if m is None else f.expand_dims(m, -2) for m in of_values),
            _causal(rows, columns) if use_causal_mask else None,
            None if self.sliding_window is None else _near(rows, columns, self.sliding_window)])


def _again(initializer: Any) -> Any:
    """Another initializer of the same kind."""
    if not isinstance(initializer, initializers.Initializer):
        return initializer
    return type(initializer)(**initializer.get_config())


class MultiHeadAttention(_Heads):
    """For each query the mean of the values, weighted by how well their keys fit, `num_heads` times side by side.

    `call(query, value, key=None)`; masks of the inputs, `attention_mask` [N, T, S] and `use_causal_mask` say which
    queries see which values. With `return_attention_scores` the result is a pair with the weights [N, heads, T, S].
    The result has the query's last extent, or `output_shape`. `attention_axes` are those between batch and features
    that positions lie along, by default all.

    MultiHeadAttention(num_heads=2, key_dim=4)(f32[N,6,8], f32[N,6,8]) -> f32[N,6,8]
    MultiHeadAttention(num_heads=2, key_dim=4, value_dim=3, output_shape=5)(f32[N,6,8], f32[N,7,4]) -> f32[N,6,5]
    MultiHeadAttention(num_heads=2, key_dim=4, attention_axes=(2,))(f32[N,3,6,8], f32[N,3,7,8]) -> f32[N,3,6,8]
    MultiHeadAttention(num_heads=2, key_dim=4)(f32[N,6,8], f32[N,6,8], f32[N,5,8]) -> ShapeError: value and key
    """

    def __init__(self, num_heads: int, key_dim: int, value_dim: int | None = None, dropout: float = 0.0,
                 use_bias: bool = True, output_shape: Any = None, attention_axes: Any = None, **kwargs: Any):
        super().__init__(dropout, use_bias, **kwargs)
        self.num_heads = positive("MultiHeadAttention", "num_heads", num_heads)
        self.key_dim = positive("MultiHeadAttention", "key_dim", key_dim)
        self.value_dim = positive("MultiHeadAttention", "value_dim", value_dim or key_dim)
        self.result_shape = (output_shape,) if isinstance(output_shape, int) else output_shape and tuple(output_shape)
        self.attention_axes = (attention_axes,) if isinstance(attention_axes, int) else attention_axes

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"output_shape": self.result_shape}

    def build(self, query_shape: Any, value_shape: Any,  # type: ignore[override]
              key_shape: Any = None) -> None:
        key_shape = value_shape if key_shape is None else key_shape
        if tuple(value_shape[1:-1]) != tuple(key_shape[1:-1]):
            raise ShapeError("MultiHeadAttention needs a value and key of equal shapes but for the last axis; "
                             f"value and key have the shapes {value_shape} and {key_shape}.")
        heads = self.num_heads
        self.query_dense = self.projection("query", query_shape, (heads, self.key_dim))
        self.key_dense = self.projection("key", key_shape, (heads, self.key_dim))
        if self.use_gate:
            self._gate_dense = self.projection("gate", query_shape, (heads, self.value_dim), activation="sigmoid")
        self.value_dense = self.projection("value", value_shape, (heads, self.value_dim))
        result = (*query_shape[:-1], heads, self.value_dim)
        self.output_dense = self.projection("attention_output", result, self.result_shape or (query_shape[-1],), 2)

    def call(self, query: Value, value: Value, key: Value | None = None,  # type: ignore[override]
             query_mask: Value | None = None, value_mask: Value | None = None,
             key_mask: Value | None = None, attention_mask: Value | None = None, return_attention_scores: bool = False,
             training: bool | None = None, use_causal_mask: bool = False) -> Any:
        axes = normal_axes(self.attention_axes or range(1, query.ndim - 1), query.ndim)
        mask = self.pair_mask(query.shape[axes[0]], value.shape[axes[0]], query_mask, value_mask, key_mask,
                              attention_mask, use_causal_mask)
        q = f.multiply(self.query_dense(query), 1 / math.sqrt(self.key_dim))
        k, v = self.key_dense(value if key is None else key), self.value_dense(value)
        of_query, of_key, of_scores = _attention_letters(query.ndim, axes)
        scores = f.einsum(f"{of_query}z,{of_key}z->{of_scores}", q, k)
        if mask is not None:  # it says nothing of heads and of axes without positions
            places = 2 * len(axes)
            lead = mask.ndim - places
            mask = f.reshape(mask, (*mask.shape[:lead], *(1,) * (scores.ndim - mask.ndim), *mask.shape[lead:]))
        over = range(scores.ndim - len(axes), scores.ndim)
        weights = masked_softmax(scores, over[0] if len(axes) == 1 else over, mask)
        kept = _dropped(weights, self.dropout, self.seed, training)
        result = f.einsum(f"{of_scores},{of_key}z->{of_query}z", kept, v)
        if self.use_gate:
            result = f.multiply(result, self._gate_dense(query))
        result = self.output_dense(result)
        return (result, weights) if return_attention_scores else result


def _attention_letters(rank: int, axes: Sequence[int]) -> tuple[str, str, str]:
    """Names of the axes of projected queries and keys, without the last one, and of the scores.

    Axes without positions have one name in queries and keys; they and the heads come first in the scores.
    """
    query = "abcdefgh"[:rank - 1] + "h"
    key = "".join("stuvwxy"[axes.index(a)] if a in axes else letter for a, letter in enumerate(query))
    others = "".join(letter for a, letter in enumerate(query) if a not in axes)
    return query, key, others + "".join(query[a] for a in axes) + "".join(key[a] for a in axes)


class GroupedQueryAttention(_Heads):
    """Attention with several heads in which groups of query heads share the heads of keys and values.

    J. Ainslie et al., "GQA", 2023.

    GroupQueryAttention(head_dim=4, num_query_heads=4, num_key_value_heads=2)(f32[N,6,8], f32[N,7,8]) -> f32[N,6,8]
    """

    public_name = "GroupQueryAttention"  # which Keras writes in files, and names layers and weights after the other

    def __init__(self, head_dim: int, num_query_heads: int, num_key_value_heads: int, dropout: float = 0.0,
                 use_bias: bool = True, **kwargs: Any):
        super().__init__(dropout, use_bias, **kwargs)
        owner = "GroupQueryAttention"
        self.head_dim = positive(owner, "head_dim", head_dim)
        self.num_query_heads = positive(owner, "num_query_heads", num_query_heads)
        self.num_key_value_heads = positive(owner, "num_key_value_heads", num_key_value_heads)
        if num_query_heads % num_key_value_heads:
            raise ValueError(f"{owner}(num_query_heads={num_query_heads}, num_key_value_heads={num_key_value_heads}): "
                             "the query heads don't divide among the others.")

    def build(self, query_shape: Any, value_shape: Any,  # type: ignore[override]
              key_shape: Any = None) -> None:
        key_shape = value_shape if key_shape is None else key_shape
        mine, others = (self.num_query_heads, self.head_dim), (self.num_key_value_heads, self.head_dim)
        self._query_dense = self.projection("query", query_shape, mine)
        self._key_dense = self.projection("key", key_shape, others)
        if self.use_gate:
            self._gate_dense = self.projection("gate", query_shape, mine, activation="sigmoid")
        self._value_dense = self.projection("value", value_shape, others)
        result = (*query_shape[:-1], *mine)
        self._output_dense = self.projection("attention_output", result, (query_shape[-1],), 2)

    def call(self, query: Value, value: Value, key: Value | None = None,  # type: ignore[override]
             query_mask: Value | None = None, value_mask: Value | None = None,
             key_mask: Value | None = None, attention_mask: Value | None = None, return_attention_scores: bool = False,
             training: bool | None = None, use_causal_mask: bool = False) -> Any:
        mask = self.pair_mask(query.shape[1], value.shape[1], query_mask, value_mask, key_mask, attention_mask,
                              use_causal_mask)
        q = f.multiply(self._query_dense(query), 1 / math.sqrt(self.head_dim))
        k, v = self._key_dense(value if key is None else key), self._value_dense(value)
        groups, each = self.num_key_value_heads, self.num_query_heads // self.num_key_value_heads
        # the heads of queries as two axes: which head of the keys, and which of the queries that share it
        q = f.reshape(q, (*q.shape[:2], groups, each, self.head_dim))
        scores = f.einsum("nthgd,nshd->nhgts", q, k)
        if mask is not None:
            mask = f.reshape(mask, (*mask.shape[:-2], *(1,) * (5 - mask.ndim), *mask.shape[-2:]))
        weights = masked_softmax(scores, -1, mask)
        result = f.einsum("nhgts,nshd->nthgd", _dropped(weights, self.dropout, self.seed, training), v)
        result = f.reshape(result, (*result.shape[:2], self.num_query_heads, self.head_dim))
        if self.use_gate:
            result = f.multiply(result, self._gate_dense(query))
        result = self._output_dense(result)
        if not return_attention_scores:
            return result
        return result, f.reshape(weights, (weights.shape[0], self.num_query_heads, *weights.shape[3:]))




GroupQueryAttention = GroupedQueryAttention

# ------------------------------------------------------------------------------------------------------- one head

class Attention(Layer):
    """For each query the mean of the values, weighted by the softmax of its products with the keys.

    Called on [query, value] or [query, value, key]; a mask is a list of the masks of query and value. `score_mode`
    'concat' takes sums of tanh(query + key) in place of products.

    Attention()(f32[N,4,3], f32[N,5,3]) -> f32[N,4,3]
    Attention(use_scale=True, score_mode="concat")(f32[N,4,3], f32[N,5,2], f32[N,5,3]) -> f32[N,4,2]
    Attention()(f32[N,4,3]) -> ShapeError: Attention needs a list of two or three inputs
    """

    def __init__(self, use_scale: bool = False, score_mode: str = "dot", dropout: float = 0.0, seed: int | None = None,
                 **kwargs: Any):
        super().__init__(**kwargs)
        if score_mode not in ("dot", "concat"):
            raise ValueError(f"{type(self).__name__}(score_mode={score_mode!r}): expected 'dot' or 'concat'.")
        if not 0 <= dropout <= 1:
            raise ValueError(f"{type(self).__name__}(dropout={dropout!r}): the rate is a fraction from 0 to 1.")
        self.use_scale, self.score_mode, self.dropout, self.seed = use_scale, score_mode, dropout, seed

    def build(self, input_shape: Any) -> None:
        several = bool(input_shape) and all(isinstance(shape, list | tuple) for shape in input_shape)
        if not several or len(input_shape) not in (2, 3):
            raise ShapeError(f"{type(self).__name__} needs a list of two or three inputs: query, value and key.")
        self.add_weights(input_shape[0][-1])

    def add_weights(self, features: int) -> None:
        """Make the weights for queries of that many features."""
        self.scale = self.add_weight((), "ones", name="scale") if self.use_scale else None
        self.concat_score_weight = self.add_weight((), "ones", name="concat_score_weight") \
            if self.score_mode == "concat" else None

    def scores(self, query: Value, key: Value) -> Value:
        """How well each key fits each query: [N, T, S]."""
        if self.concat_score_weight is None:
            products = f.einsum("ntd,nsd->nts", query, key)
            return products if self.scale is None else f.multiply(products, self.scale)
        sums = f.add(f.expand_dims(query, -2), f.expand_dims(key, -3))
        sums = sums if self.scale is None else f.multiply(sums, self.scale)
        return f.multiply(f.sum(f.tanh(sums), -1), self.concat_score_weight)

    def call(self, inputs: Sequence[Value], mask: Any = None, training: bool = False,
             return_attention_scores: bool = False, use_causal_mask: bool = False) -> Any:
        query, value, *rest = inputs
        of_query, of_value = (mask[0], mask[1]) if mask else (None, None)
        scores = self.scores(query, rest[0] if rest else value)
        seen = _all_of([None if of_value is None else f.expand_dims(of_value, -2),
                        _causal(scores.shape[-2], scores.shape[-1]) if use_causal_mask else None])
        if seen is not None:  # less by so much that only a query that sees nothing looks at what it shouldn't
            scores = f.where(seen, scores, f.subtract(scores, 1e9))
        weights = activations.softmax(scores)
        result = f.einsum("nts,nsd->ntd", _dropped(weights, self.dropout, self.seed, training), value)
        if of_query is not None:
            result = f.where(f.expand_dims(of_query, -1), result, 0.0)
        return (result, weights) if return_attention_scores else result

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return mask[0] if mask else None


class AdditiveAttention(Attention):
    """Attention whose scores are sums of `scale` * tanh(query + key), with a learnt scale for each feature.

    D. Bahdanau, K. Cho, Y. Bengio, "Neural machine translation by jointly learning to align and translate", 2015.

    AdditiveAttention()(f32[N,4,3], f32[N,5,3]) -> f32[N,4,3]
    AdditiveAttention(use_scale=False)(f32[N,4,3], f32[N,5,2], f32[N,5,3]) -> f32[N,4,2]
    """

    def __init__(self, use_scale: bool = True, dropout: float = 0.0, **kwargs: Any):
        super().__init__(use_scale=use_scale, dropout=dropout, **kwargs)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["score_mode"]
        return config

    def add_weights(self, features: int) -> None:
        self.scale = self.add_weight((features,), "glorot_uniform", name="scale") if self.use_scale else None

    def scores(self, query: Value, key: Value) -> Value:
        each = f.tanh(f.add(f.expand_dims(query, -2), f.expand_dims(key, -3)))
        return f.sum(each if self.scale is None else f.multiply(each, self.scale), -1)
