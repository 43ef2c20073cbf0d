"""Transposed convolutions, which enlarge. https://keras.io/api/layers/convolution_layers/convolution2d_transpose/"""

from __future__ import annotations

from typing import Any

from graphc import ops
from graphc.ir.graph import Value
from graphc.layers.convolution import WindowedWeights
from graphc.layers.core import positive
from graphc.layers.weights import add_weight, keep_options

__all__ = ["Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose", "Convolution1DTranspose", "Convolution2DTranspose",
           "Convolution3DTranspose"]


class _ConvTranspose(WindowedWeights):
    """The adjoint of a convolution: every element adds its multiple of the kernel to a larger result."""

    def __init__(self, filters: int, kernel_size: Any, strides: Any = 1, padding: str = "valid",
                 output_padding: Any = None, data_format: str | None = None, dilation_rate: Any = 1,
                 activation: Any = None, use_bias: bool = True, kernel_initializer: Any = "glorot_uniform",
                 bias_initializer: Any = "zeros", kernel_regularizer: Any = None, kernel_constraint: Any = None,
                 **kwargs: Any):
        super().__init__(kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias,
                         bias_initializer, **kwargs)
        owner = type(self).__name__
        self.filters = positive(owner, "filters", filters)
        keep_options(self, "kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        one = isinstance(output_padding, int) or output_padding is None
        given = (output_padding,) * self.rank if one else tuple(output_padding)
        if len(given) != self.rank or any(p is not None and not 0 <= p < s
                                          for p, s in zip(given, self.strides, strict=True)):
            raise ValueError(f"{owner}(output_padding={output_padding!r}): expected an integer or {self.rank} of them "
                             f"from 0 on, smaller than strides={self.strides}.")
        self.output_padding = None if output_padding is None else given

    def add_kernels(self, channels: int) -> None:
        self.kernel = add_weight(self, "kernel", (*self.kernel_size, self.filters, channels))

    def channels(self, channels: int) -> int:
        return self.filters

    def convolve(self, inputs: Value) -> Value:
        return ops.conv_transpose(inputs, self.kernel, self.strides, self.padding, self.output_padding,
                                  dilation_rate=self.dilation_rate)


class Conv1DTranspose(_ConvTranspose):
    """The adjoint of a convolution of sequences.

    Conv1DTranspose(8, 3, strides=2)(f32[N,4,3]) -> f32[N,9,8]
    Conv1DTranspose(8, 3, strides=2, padding="same")(f32[N,4,3]) -> f32[N,8,8]
    """

    rank = 1


class Conv2DTranspose(_ConvTranspose):
    """The adjoint of a convolution: every pixel adds its multiple of the kernel to a larger image.

    Windows may be cut off ('same': n * strides pixels) or not ('valid'); `output_padding` sets the size exactly.

    Conv2DTranspose(8, 3)(f32[N,4,5,3]) -> f32[N,6,7,8]
    Conv2DTranspose(8, 3, strides=2, padding="same")(f32[N,4,5,3]) -> f32[N,8,10,8]
    Conv2DTranspose(8, 3, strides=2, padding="same", output_padding=0)(f32[N,4,5,3]) -> f32[N,7,9,8]
    Conv2DTranspose(8, 3, strides=2, padding="same")(f32[N,D1,5,3]) -> f32[N,2*D1,10,8]
    """

    rank = 2


class Conv3DTranspose(_ConvTranspose):
    """The adjoint of a convolution of volumes.

    Conv3DTranspose(2, 3, strides=2, padding="same")(f32[N,2,4,5,3]) -> f32[N,4,8,10,2]
    """

    rank = 3


Convolution1DTranspose, Convolution2DTranspose, Convolution3DTranspose = (Conv1DTranspose, Conv2DTranspose,
                                                                          Conv3DTranspose)
