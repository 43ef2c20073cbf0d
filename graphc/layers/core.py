"""Dense layers, activations and dropout. https://keras.io/api/layers/core_layers/"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc import activations, regularizers
from graphc.functional import Call, Placeholder
from graphc.ir import functions as f
from graphc.ir.errors import DTypeError, ShapeError
from graphc.ir.graph import Value
from graphc.ir.types import DType, Shape, TensorType, dim
from graphc.layers.layer import Layer
from graphc.layers.weights import add_weight, keep_options
from graphc.names import choose
from graphc.tracing import random_source

__all__ = ["Activation", "ActivityRegularization", "Dense", "Dropout", "Flatten", "Identity", "Input", "InputLayer",
           "fraction", "positive", "shape_of_noise"]


def positive(owner: str, name: str, value: Any) -> int:
    """The value as an int, or a ValueError where it is not a positive integer."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{owner}({name}={value!r}): {name} must be a positive integer.")
    return int(value)


def fraction(layer: Layer, name: str, value: Any) -> float:
    """The value, or a ValueError where it is not a number from 0 to 1."""
    if not isinstance(value, int | float | np.number) or not 0 <= value <= 1:
        raise ValueError(f"{type(layer).__name__}({name}={value!r}): {name} must be a number from 0 to 1.")
    return value  # type: ignore[return-value]


def Input(shape: Any = None, batch_size: int | None = None, dtype: Any = None, sparse: Any = None,
          batch_shape: Any = None, name: str | None = None, tensor: Any = None, optional: bool = False,
          ragged: Any = None) -> Value:
    """The symbolic input of a model. `shape` is that of one sample; None stands for an unknown size.

    Compiled programs serve every batch size, so `batch_size` matters only to layers that keep a state for each row.
    Sparse and ragged inputs, and a `tensor` to wrap, are Keras's and not supported.
    """
    for option, value in (("sparse", sparse), ("ragged", ragged), ("tensor", tensor), ("optional", optional)):
        if value:
            raise ValueError(f"Input({option}={value!r}): graphc has no {option} inputs.")
    if shape is None and batch_shape is None:
        raise ValueError("Input needs a shape: that of one sample, such as (784,), or batch_shape=(None, 784).")
    return InputLayer(shape, batch_shape, dtype, batch_size, name=name).placeholder()


class InputLayer(Layer):
    """The input of a model as a layer: `InputLayer(shape=(784,))`.

    InputLayer(shape=(3,))(f32[N,3]) -> f32[N,3]
    """

    def __init__(self, shape: Any = None, batch_shape: Any = None, dtype: Any = None, batch_size: int | None = None,
                 **kwargs: Any):
        if batch_shape is not None or shape is not None:
            sample = (shape,) if isinstance(shape, int | np.integer) else shape
            kwargs["batch_input_shape"] = batch_shape if batch_shape is not None else (batch_size, *sample)
        super().__init__(**kwargs)
        self.batch_size = batch_size if self.given_batch is None else self.given_batch
        if dtype in ("string", str):
            raise DTypeError(f"An input of dtype={dtype!r}: compiled models compute with numbers. Apply StringLookup "
                             "or TextVectorization to the data first, and give the model what they make of them.")
        self.input_dtype = str(DType.of(dtype or "float32"))
        self.built = True

    @property
    def batch_shape(self) -> tuple[int | None, ...] | None:
        """The shape with that of the batch, None where it is not known."""
        return None if self.given_shape is None else (self.batch_size, *self.given_shape)

    def placeholder(self) -> Placeholder:
        """The symbolic value that stands for the input."""
        if not self.calls:
            dims = (dim("N"), *(dim(f"D{i}") if d is None else d for i, d in enumerate(self.given_shape or (), 1)))
            value = Placeholder(self.name, TensorType(DType.of(self.input_dtype), dims), layer=self)
            self.calls.append(Call(self, (), {}, value))
        return self.calls[0].outputs

    def get_config(self) -> dict[str, Any]:
        return {"batch_shape": self.batch_shape, "dtype": DType.of(self.input_dtype).numpy.name, "name": self.name}

    def call(self, inputs: Value) -> Value:
        return inputs


class Dense(Layer):
    """activation(inputs @ kernel + bias) over the last axis.

    Dense(4)(f32[N,3]) -> f32[N,4]
    Dense(4, use_bias=False, kernel_regularizer="l2", kernel_constraint="max_norm")(f32[N,5,3]) -> f32[N,5,4]
    Dense(4, activity_regularizer="l1")(f32[N,3]) -> f32[N,4]
    Dense(4)(f32[N]) -> ShapeError: Dense needs at least two axes
    """

    supports_masking = True

    def __init__(self, units: int, activation: Any = None, use_bias: bool = True,
                 kernel_initializer: Any = "glorot_uniform", bias_initializer: Any = "zeros",
                 kernel_regularizer: Any = None, bias_regularizer: Any = None, activity_regularizer: Any = None,
                 kernel_constraint: Any = None, bias_constraint: Any = None, **kwargs: Any):
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.units = positive("Dense", "units", units)
        self.activation, self.use_bias = activations.get(activation), use_bias
        keep_options(self, "kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        keep_options(self, "bias", bias_initializer, bias_regularizer, bias_constraint)

    def build(self, input_shape: Any) -> None:
        if len(input_shape) < 2 or input_shape[-1] is None:
            raise ShapeError("Dense needs at least two axes, the batch first and the last one of known size. "
                             "Reshape a vector x to (len(x), 1).")
        self.kernel = add_weight(self, "kernel", (input_shape[-1], self.units))
        self.bias = add_weight(self, "bias", (self.units,)) if self.use_bias else None

    def call(self, inputs: Value) -> Value:
        result = f.matmul(inputs, self.kernel)
        return self.activation(result if self.bias is None else f.add(result, self.bias))


class Identity(Layer):
    """The inputs as they are.

    Identity()(f32[N,3]) -> f32[N,3]
    """

    supports_masking = True

    def call(self, inputs: Value) -> Value:
        return inputs


class ActivityRegularization(Identity):
    """The inputs as they are; (l1 * sum(|inputs|) + l2 * sum(inputs^2)) / N is added to the loss.

    ActivityRegularization(l1=0.1)(f32[N,3]) -> f32[N,3]
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **kwargs: Any):
        super().__init__(activity_regularizer=regularizers.L1L2(l1, l2), **kwargs)
        self.l1, self.l2 = l1, l2

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["activity_regularizer"]
        return config


class Flatten(Layer):
    """All axes but the batch as one; of data_format='channels_first', with the channels as the last of them.

    Flatten()(f32[N,5,5,64]) -> f32[N,1600]
    Flatten(data_format="channels_first")(f32[N,3,5,5]) -> f32[N,75]
    Flatten()(f32[N]) -> f32[N,1]
    """

    def __init__(self, data_format: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        formats = {"channels_last": "channels_last", "channels_first": "channels_first"}
        self.data_format = choose("data_format", data_format or "channels_last", formats)

    def call(self, inputs: Value) -> Value:
        if inputs.ndim == 1:
            return f.expand_dims(inputs, 1)
        if self.data_format == "channels_first":
            inputs = f.transpose(inputs, (0, *range(2, inputs.ndim), 1))
        return f.reshape(inputs, (inputs.shape[0], -1))


class Dropout(Layer):
    """In training a fraction `rate` of the elements becomes 0 and the others grow by 1 / (1 - rate).

    `noise_shape` has 1 for the axes along which all elements share their fate, and None or the extent for others.

    Dropout(0.5)(f32[N,3]) -> f32[N,3]
    Dropout(0.5, noise_shape=(None, 1, 3))(f32[N,5,3]) -> f32[N,5,3]
    """

    supports_masking = True

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.rate, self.seed = fraction(self, "rate", rate), seed
        self.noise_shape = None if noise_shape is None else tuple(noise_shape)

    def call(self, inputs: Value, training: bool = False) -> Value:
        source = random_source(self.seed) if training and self.rate else None
        if source is None:
            return inputs
        if self.noise_shape is None:
            return f.dropout(inputs, self.rate, *source)
        return f.multiply(inputs, f.dropout(f.full(shape_of_noise(self, inputs), 1.0), self.rate, *source))


def shape_of_noise(layer: Any, inputs: Value) -> Shape:
    """The shape of the random numbers for inputs: theirs, or a layer's `noise_shape`, where None stands for theirs."""
    given = layer.noise_shape
    if given is None:
        return inputs.shape
    if len(given) != inputs.ndim or any(d not in (None, 1, n) for d, n in zip(given, inputs.shape, strict=True)):
        raise ShapeError(f"noise_shape={given} doesn't broadcast to the inputs: expected 1, None or the extent for "
                         "each axis.")
    return tuple(n if d is None else d for d, n in zip(given, inputs.shape, strict=True))


class Activation(Layer):
    """An activation function as a layer.

    Activation("tanh")(f32[N,3]) -> f32[N,3]
    """

    supports_masking = True

    def __init__(self, activation: Any, **kwargs: Any):
        super().__init__(**kwargs)
        self.activation = activations.get(activation)

    def call(self, inputs: Value) -> Value:
        return self.activation(inputs)
