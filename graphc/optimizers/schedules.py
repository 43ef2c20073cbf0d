"""Learning rates as functions of the number of steps done. https://keras.io/api/optimizers/learning_rate_schedules/"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from graphc.configs import config_of, describe
from graphc.eager import eager
from graphc.ir import functions as f
from graphc.ir.graph import Value
from graphc.names import choose

__all__ = ["CosineDecay", "CosineDecayRestarts", "ExponentialDecay", "InverseTimeDecay", "LearningRateSchedule",
           "PiecewiseConstantDecay", "PolynomialDecay", "deserialize", "serialize"]


class LearningRateSchedule:
    """Base: `__call__(step)` gives the rate, by `graphc.ops` or plain arithmetic; it becomes a part of the program."""

    keras_module = "keras.optimizers.schedules"

    def __call__(self, step: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no `__call__`: define __call__(self, step).")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return config_of(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LearningRateSchedule:
        """The schedule with these arguments."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


def _steps(owner: object, **named: float) -> float:
    ((name, value),) = named.items()
    if not value > 0:
        raise ValueError(f"{type(owner).__name__}({name}={value!r}): expected a positive number.")
    return value


class _Decay(LearningRateSchedule):
    """A decay by the part of decay_steps that is done, in whole parts with a staircase."""

    def __init__(self, initial_learning_rate: float, decay_steps: float, decay_rate: float, staircase: bool = False,
                 name: str | None = None):
        self.initial_learning_rate, self.decay_rate, self.staircase = initial_learning_rate, decay_rate, staircase
        self.decay_steps, self.name = _steps(self, decay_steps=decay_steps), name or type(self).__name__

    def part(self, step: Value) -> Value:
        """How often decay_steps has passed."""
        part = f.divide(f.cast(step, "f32"), float(self.decay_steps))
        return f.floor(part) if self.staircase else part


class ExponentialDecay(_Decay):
    """initial_learning_rate * decay_rate**(step / decay_steps)."""

    @eager("step")
    def __call__(self, step: Value) -> Value:
        return f.multiply(self.initial_learning_rate, f.power(self.decay_rate, self.part(step)))


class InverseTimeDecay(_Decay):
    """initial_learning_rate / (1 + decay_rate * step / decay_steps)."""

    @eager("step")
    def __call__(self, step: Value) -> Value:
        return f.divide(self.initial_learning_rate, f.add(1.0, f.multiply(self.decay_rate, self.part(step))))


class PiecewiseConstantDecay(LearningRateSchedule):
    """values[0] up to and with the step boundaries[0], then values[1], and so on."""

    def __init__(self, boundaries: Sequence[float], values: Sequence[float], name: str = "PiecewiseConstant"):
        if len(boundaries) != len(values) - 1 or not boundaries:
            raise ValueError(f"PiecewiseConstantDecay received {len(boundaries)} boundaries and {len(values)} values, "
                             "expected one value more than boundaries.")
        self.boundaries, self.values, self.name = list(boundaries), list(values), name

    @eager("step")
    def __call__(self, step: Value) -> Value:
        step, rate = f.cast(step, "f32"), f.constant(self.values[-1])
        for boundary, value in zip(self.boundaries[::-1], self.values[-2::-1], strict=True):
            rate = f.where(f.less_equal(step, float(boundary)), float(value), rate)
        return rate


class PolynomialDecay(LearningRateSchedule):
    """From initial_learning_rate to end_learning_rate by (1 - step / decay_steps)**power; again and again in a cycle.

    Every cycle is as many times longer than the first as there have been cycles.
    """

    def __init__(self, initial_learning_rate: float, decay_steps: float, end_learning_rate: float = 0.0001,
                 power: float = 1.0, cycle: bool = False, name: str = "PolynomialDecay"):
        self.initial_learning_rate, self.end_learning_rate = initial_learning_rate, end_learning_rate
        self.decay_steps, self.power = _steps(self, decay_steps=decay_steps), power
        self.cycle, self.name = cycle, name

    @eager("step")
    def __call__(self, step: Value) -> Value:
        step, steps = f.cast(step, "f32"), f.constant(float(self.decay_steps))
        if self.cycle:
            cycles = f.negative(f.floor(f.negative(f.divide(step, steps))))
            steps = f.multiply(steps, f.maximum(cycles, 1.0))
        left = f.subtract(1.0, f.divide(f.minimum(step, steps), steps))
        span = self.initial_learning_rate - self.end_learning_rate
        return f.add(f.multiply(span, f.power(left, float(self.power))), self.end_learning_rate)


class CosineDecay(LearningRateSchedule):
    """Half a cosine wave from initial_learning_rate, or from warmup_target, to the fraction alpha of it.

    With a warmup_target the rate rises in a line to it in the first warmup_steps. I. Loshchilov, F. Hutter, "SGDR:
    stochastic gradient descent with warm restarts", 2016.
    """

    def __init__(self, initial_learning_rate: float, decay_steps: float, alpha: float = 0.0, name: str = "CosineDecay",
                 warmup_target: float | None = None, warmup_steps: float = 0):
        self.initial_learning_rate, self.alpha, self.name = initial_learning_rate, alpha, name
        self.decay_steps = _steps(self, decay_steps=decay_steps)
        self.warmup_target, self.warmup_steps = warmup_target, warmup_steps

    @eager("step")
    def __call__(self, step: Value) -> Value:
        step, target = f.cast(step, "f32"), self.warmup_target
        warm = 0.0 if target is None else float(self.warmup_steps)
        top = self.initial_learning_rate if target is None else target
        done = f.divide(f.minimum(f.subtract(step, warm), float(self.decay_steps)), float(self.decay_steps))
        falling = f.multiply(top, _wave(done, self.alpha))
        if not warm:
            return falling
        slope = (top - self.initial_learning_rate) / warm
        return f.where(f.less(step, warm), f.add(f.multiply(step, slope), self.initial_learning_rate), falling)


def _wave(done: Value, alpha: float, height: Value | float = 1.0) -> Value:
    wave = f.multiply(f.multiply(0.5, height), f.add(1.0, f.cos(f.multiply(math.pi, done))))
    return f.add(f.multiply(1.0 - alpha, wave), alpha)


class CosineDecayRestarts(LearningRateSchedule):
    """CosineDecay that starts anew, each time t_mul as long and m_mul as high.

    I. Loshchilov, F. Hutter, "SGDR: stochastic gradient descent with warm restarts", 2016.
    """

    def __init__(self, initial_learning_rate: float, first_decay_steps: float, t_mul: float = 2.0, m_mul: float = 1.0,
                 alpha: float = 0.0, name: str = "SGDRDecay"):
        self.initial_learning_rate, self.alpha, self.name = initial_learning_rate, alpha, name
        self.first_decay_steps = _steps(self, first_decay_steps=first_decay_steps)
        self.t_mul, self.m_mul = t_mul, m_mul

    @eager("step")
    def __call__(self, step: Value) -> Value:
        done, t = f.divide(f.cast(step, "f32"), float(self.first_decay_steps)), float(self.t_mul)
        if t == 1.0:
            restarts = f.floor(done)
            done = f.subtract(done, restarts)
        else:  # the restarts before are a geometric series
            restarts = f.floor(f.divide(f.log(f.subtract(1.0, f.multiply(done, 1.0 - t))), math.log(t)))
            length = f.power(t, restarts)
            done = f.divide(f.subtract(done, f.divide(f.subtract(1.0, length), 1.0 - t)), length)
        return f.multiply(self.initial_learning_rate, _wave(done, self.alpha, f.power(float(self.m_mul), restarts)))


_CLASSES: dict[str, Any] = {c.__name__: c for c in (
    CosineDecay, CosineDecayRestarts, ExponentialDecay, InverseTimeDecay, PiecewiseConstantDecay, PolynomialDecay)}
serialize = describe


def deserialize(config: dict[str, Any]) -> LearningRateSchedule:
    """The schedule of a class name and arguments."""
    return choose("schedule", str(config.get("class_name")), _CLASSES)(**config.get("config", {}))
