"""Layers that give their inputs a mean and a spread. https://keras.io/api/layers/normalization_layers/"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc import initializers
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value
from graphc.layers.layer import Layer
from graphc.layers.weights import add_weight, keep_options
from graphc.variable import Variable

__all__ = ["BatchNormalization", "GroupNormalization", "LayerNormalization", "RMSNormalization", "UnitNormalization",
           "normal_axes", "unit"]


def normal_axes(axis: int | Sequence[int], rank: int) -> tuple[int, ...]:
    """Axes of a value of that rank as increasing nonnegative numbers."""
    given = (axis,) if isinstance(axis, int) else tuple(axis)
    if any(not -rank <= a < rank for a in given):
        raise ShapeError(f"axis={axis!r} is out of range for an input of {rank} axes.")
    return tuple(sorted(a % rank for a in given))


def unit(x: Value, axes: Sequence[int], epsilon: float) -> Value:
    """x divided by its Euclidean length along the axes, or by `epsilon` where that is larger."""
    squares = f.sum(f.square(x), axes)
    return f.multiply(x, f.broadcast(f.rsqrt(f.maximum(squares, epsilon**2)), x.shape, _others(axes, x.ndim)))


def _others(axes: Sequence[int], rank: int) -> tuple[int, ...]:
    return tuple(a for a in range(rank) if a not in axes)


def _moments(x: Value, kept: Sequence[int], mask: Value | None = None) -> tuple[Value, Value]:
    """The mean and the variance, divided by n, at each position along the kept axes, where a mask holds."""
    axes = _others(kept, x.ndim)
    mean = _mean(x, axes, mask)
    # A mean makes the sum of squares around it least, so the variance has no gradient through it.
    around = f.broadcast(f.stop_gradient(mean), x.shape, kept)
    return mean, _mean(f.square(f.subtract(x, around)), axes, mask)


def _mean(x: Value, axes: Sequence[int], mask: Value | None) -> Value:
    if mask is None:
        return f.mean(x, axes)
    held = f.broadcast(mask, x.shape, range(mask.ndim))
    return f.divide(f.sum(f.where(held, x, 0.0), axes), f.add(f.sum(f.cast(held, x.dtype), axes), 1e-7))


def _scaled(x: Value, mean: Value, factor: Value, kept: Sequence[int]) -> Value:
    """(x - mean) * factor, both along the kept axes."""
    return f.multiply(f.subtract(x, f.broadcast(mean, x.shape, kept)), f.broadcast(factor, x.shape, kept))


class _Normalization(Layer):
    """What layers with a learnt factor `gamma` and a learnt summand `beta` share."""

    supports_masking = True

    def __init__(self, axis: Any = -1, epsilon: float = 1e-3, center: bool = True, scale: bool = True,
                 beta_initializer: Any = "zeros", gamma_initializer: Any = "ones", beta_regularizer: Any = None,
                 gamma_regularizer: Any = None, beta_constraint: Any = None, gamma_constraint: Any = None,
                 **kwargs: Any):
        super().__init__(**kwargs)
        self.axis = axis if isinstance(axis, int) else [int(a) for a in axis]
        self.epsilon, self.center, self.scale = float(epsilon), center, scale
        keep_options(self, "beta", beta_initializer, beta_regularizer, beta_constraint)
        keep_options(self, "gamma", gamma_initializer, gamma_regularizer, gamma_constraint)

    def build(self, input_shape: Any) -> None:
        shape = self.kept(input_shape)
        self.gamma = add_weight(self, "gamma", shape) if self.scale else None
        self.beta = add_weight(self, "beta", shape) if self.center else None

    def kept(self, input_shape: Any) -> tuple[int, ...]:
        """The extents of `axis`, one for each of which there is a factor."""
        shape = tuple(input_shape[a] for a in normal_axes(self.axis, len(input_shape)))
        if None in shape:
            raise ShapeError(f"{type(self).__name__} needs known extents along axis={self.axis!r}.")
        return shape

    def normalized(self, x: Value, kept: Sequence[int]) -> Value:
        """x with mean 0 and variance 1 over all but the kept axes."""
        mean, variance = _moments(x, kept)
        return _scaled(x, mean, f.rsqrt(f.add(variance, self.epsilon)), kept)

    def affine(self, x: Value) -> Value:
        """x * gamma + beta."""
        axes = normal_axes(self.axis, x.ndim)
        if self.gamma is not None:
            x = f.multiply(x, f.broadcast(self.gamma, x.shape, axes))
        return x if self.beta is None else f.add(x, f.broadcast(self.beta, x.shape, axes))


class BatchNormalization(_Normalization):
    """Mean 0 and variance 1 for each channel: over the batch in training, by moving averages of them elsewhere.

    With `trainable=False` the layer always takes the moving averages, and doesn't change them.
    S. Ioffe, C. Szegedy, "Batch normalization", 2015.

    BatchNormalization()(f32[N,8,8,3]) -> f32[N,8,8,3]
    BatchNormalization(axis=1, momentum=0.9, scale=False)(f32[N,3,5]) -> f32[N,3,5]
    BatchNormalization(axis=4)(f32[N,3]) -> ShapeError: axis=4 is out of range
    """

    def __init__(self, axis: int = -1, momentum: float = 0.99, epsilon: float = 1e-3, center: bool = True,
                 scale: bool = True, beta_initializer: Any = "zeros", gamma_initializer: Any = "ones",
                 moving_mean_initializer: Any = "zeros", moving_variance_initializer: Any = "ones", **kwargs: Any):
        super().__init__(int(axis), epsilon, center, scale, beta_initializer, gamma_initializer, **kwargs)
        self.momentum = float(momentum)
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        shape = self.kept(input_shape)
        self.moving_mean = self.add_weight(shape, self.moving_mean_initializer, trainable=False, name="moving_mean")
        self.moving_variance = self.add_weight(shape, self.moving_variance_initializer, trainable=False,
                                               name="moving_variance")

    def call(self, inputs: Value, training: bool | None = None, mask: Value | None = None) -> Value:
        if mask is not None and mask.ndim != inputs.ndim - 1:
            raise ShapeError(f"BatchNormalization needs a mask of {inputs.ndim - 1} axes, all but the last one, "
                             f"received {mask.type}.")
        axes = normal_axes(self.axis, inputs.ndim)
        if not (training and self.trainable):
            factor = self._factor(self.moving_variance)
            return self._shifted(_scaled(inputs, self.moving_mean, factor, axes), self.beta)
        mean, variance = _moments(inputs, axes, mask)
        self._move(self.moving_mean, mean)
        self._move(self.moving_variance, variance)
        # One factor and one summand for each channel: the gradients of gamma and the variance come from the factor's,
        # those of beta and the mean from the summand's, so that two sums over the batch serve all four. The summand's
        # first part is 0 and has the mean's gradient.
        factor, center = self._factor(variance), f.stop_gradient(mean)
        part = f.multiply(f.subtract(center, mean), factor)
        shift = part if self.beta is None else f.add(part, self.beta)
        return self._shifted(_scaled(inputs, center, factor, axes), shift)

    def _factor(self, variance: Value) -> Value:
        factor = f.rsqrt(f.add(variance, self.epsilon))
        return factor if self.gamma is None else f.multiply(factor, self.gamma)

    def _shifted(self, x: Value, shift: Value | None) -> Value:
        return x if shift is None else f.add(x, f.broadcast(shift, x.shape, normal_axes(self.axis, x.ndim)))

    def _move(self, average: Variable, batch: Value) -> None:
        average.assign(f.add(f.multiply(average, self.momentum), f.multiply(batch, 1 - self.momentum)))


class LayerNormalization(_Normalization):
    """Mean 0 and variance 1 for each sample along `axis`, an axis or a list of them.

    J. Ba, J. Kiros, G. Hinton, "Layer normalization", 2016.

    LayerNormalization()(f32[N,10,16]) -> f32[N,10,16]
    LayerNormalization(axis=[1, 2], center=False)(f32[N,10,16]) -> f32[N,10,16]
    LayerNormalization(axis=0)(f32[N,3]) -> ShapeError: LayerNormalization needs known extents
    """

    def call(self, inputs: Value) -> Value:
        kept = _others(normal_axes(self.axis, inputs.ndim), inputs.ndim)
        return self.affine(self.normalized(inputs, kept))


class GroupNormalization(_Normalization):
    """Mean 0 and variance 1 for each sample and each of `groups` parts of an axis; -1 makes each channel a group.

    Y. Wu, K. He, "Group normalization", 2018.

    GroupNormalization(4)(f32[N,5,5,8]) -> f32[N,5,5,8]
    GroupNormalization(-1, axis=1)(f32[N,3,7]) -> f32[N,3,7]
    GroupNormalization(3)(f32[N,8]) -> ShapeError: 8 channels don't divide into 3 groups
    """

    def __init__(self, groups: int = 32, axis: int = -1, epsilon: float = 1e-3, center: bool = True,
                 scale: bool = True, beta_initializer: Any = "zeros", gamma_initializer: Any = "ones", **kwargs: Any):
        super().__init__(int(axis), epsilon, center, scale, beta_initializer, gamma_initializer, **kwargs)
        if not isinstance(groups, int) or (groups < 1 and groups != -1):
            raise ValueError(f"GroupNormalization(groups={groups!r}): groups must be a positive integer, or -1 for as "
                             "many as channels.")
        self.groups = groups

    def kept(self, input_shape: Any) -> tuple[int, ...]:
        (channels,) = super().kept(input_shape)
        groups = channels if self.groups == -1 else self.groups
        if channels % groups:
            raise ShapeError(f"{channels} channels don't divide into {groups} groups.")
        return (channels,)

    def call(self, inputs: Value) -> Value:
        (axis,) = normal_axes(self.axis, inputs.ndim)
        (channels,) = self.kept(inputs.shape)
        groups = channels if self.groups == -1 else self.groups
        # the channels' axis becomes two: which group, and which channel of it
        split = f.reshape(inputs, (*inputs.shape[:axis], groups, channels // groups, *inputs.shape[axis + 1:]))
        return self.affine(f.reshape(self.normalized(split, (0, axis)), inputs.shape))


class RMSNormalization(Layer):
    """x divided by the root of its mean square along `axis`, times a learnt factor.

    B. Zhang, R. Sennrich, "Root mean square layer normalization", 2019.

    RMSNormalization()(f32[N,10,16]) -> f32[N,10,16]
    RMSNormalization(axis=[1, 2])(f32[N,10,16]) -> f32[N,10,16]
    """

    def __init__(self, axis: Any = -1, epsilon: float = 1e-6, **kwargs: Any):
        super().__init__(**kwargs)
        self.axis = axis if isinstance(axis, int) else [int(a) for a in axis]
        self.epsilon = epsilon

    def build(self, input_shape: Any) -> None:
        shape = tuple(input_shape[a] for a in normal_axes(self.axis, len(input_shape)))
        self.scale = self.add_weight(shape, "ones", name="scale")

    def call(self, inputs: Value) -> Value:
        axes = normal_axes(self.axis, inputs.ndim)
        length = f.rsqrt(f.add(f.mean(f.square(inputs), axes), self.epsilon))
        result = f.multiply(inputs, f.broadcast(length, inputs.shape, _others(axes, inputs.ndim)))
        return f.multiply(result, f.broadcast(self.scale, inputs.shape, axes))


class UnitNormalization(Layer):
    """x divided by its Euclidean length along `axis`.

    UnitNormalization()(f32[N,3]) -> f32[N,3]
    UnitNormalization(axis=[1, 2])(f32[N,4,3]) -> f32[N,4,3]
    """

    supports_masking = True

    def __init__(self, axis: Any = -1, **kwargs: Any):
        super().__init__(**kwargs)
        self.axis = axis if isinstance(axis, int) else [int(a) for a in axis]

    def call(self, inputs: Value) -> Value:
        return unit(inputs, normal_axes(self.axis, inputs.ndim), 1e-12)
