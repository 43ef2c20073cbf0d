"""Optimizers that scale each element's step by its past gradients. https://keras.io/api/optimizers/"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphc.ir import functions as f
from graphc.ir.graph import Value
from graphc.optimizers.optimizer import Groups, Optimizer, Pairs, Slots
from graphc.variable import Variable

__all__ = ["Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "Ftrl", "Lamb", "Nadam", "RMSprop"]


def _mean(old: Value, new: Value, rate: float) -> Value:
    """old moved by a fraction towards new."""
    return f.add(old, f.subtract(new, old) * rate)


class _Moments(Optimizer):
    """Averages m of the gradient and v of its square."""

    def __init__(self, learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7,
                 **kwargs: Any):
        super().__init__(learning_rate, **kwargs)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def slots(self) -> Groups:
        return (("momentum", "velocity"),)

    def moments(self, gradient: Value, slots: Slots) -> dict[str, Value]:
        """The next averages."""
        return {"momentum": _mean(slots["momentum"], gradient, 1 - self.beta_1),
                "velocity": _mean(slots["velocity"], f.square(gradient), 1 - self.beta_2)}


class Adam(_Moments):
    """w -= alpha * m / (sqrt(v) + epsilon), alpha = rate * sqrt(1 - beta_2**t) / (1 - beta_1**t).

    D. Kingma, J. Ba, "Adam: a method for stochastic optimization", 2014, in the form with epsilon hat.
    """

    def __init__(self, learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7,
                 amsgrad: bool = False, **kwargs: Any):
        super().__init__(learning_rate, beta_1, beta_2, epsilon, **kwargs)
        self.amsgrad = amsgrad

    def slots(self) -> Groups:
        return (*super().slots(), ("velocity_hat",)) if self.amsgrad else super().slots()

    def update(self, parameter: Value, gradient: Value, slots: Slots, rate: Value) -> tuple[Value, Slots]:
        step = self.step()
        alpha = f.multiply(rate, f.sqrt(1.0 - f.power(self.beta_2, step))) / (1.0 - f.power(self.beta_1, step))
        new = self.moments(gradient, slots)
        if self.amsgrad:
            new["velocity_hat"] = f.maximum(slots["velocity_hat"], new["velocity"])
        spread = f.sqrt(new["velocity_hat" if self.amsgrad else "velocity"])
        return f.subtract(parameter, new["momentum"] * alpha / (spread + self.epsilon)), new


class AdamW(Adam):
    """Adam after w -= weight_decay * rate * w. I. Loshchilov, F. Hutter, "Decoupled weight decay", 2017."""

    def __init__(self, learning_rate: Any = 0.001, weight_decay: float = 0.004, beta_1: float = 0.9,
                 beta_2: float = 0.999, epsilon: float = 1e-7, amsgrad: bool = False, **kwargs: Any):
        if weight_decay is None:
            raise ValueError("AdamW(weight_decay=None): expected a number; without a decay it is Adam.")
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay=weight_decay, **kwargs)


class Adamax(_Moments):
    """w -= rate * m / ((1 - beta_1**t) * (u + epsilon)), u = max(beta_2 * u, |g|). Section 7 of the paper of Adam."""

    def slots(self) -> Groups:
        return (("momentum", "norm"),)

    def update(self, parameter: Value, gradient: Value, slots: Slots, rate: Value) -> tuple[Value, Slots]:
        m = _mean(slots["momentum"], gradient, 1 - self.beta_1)
        u = f.maximum(f.multiply(slots["norm"], self.beta_2), f.absolute(gradient))
        factor = f.divide(rate, 1.0 - f.power(self.beta_1, self.step()))
        return f.subtract(parameter, m * factor / (u + self.epsilon)), {"momentum": m, "norm": u}


class Nadam(_Moments):
    """Adam with Nesterov's momentum, on a schedule of momenta u(t) = beta_1 * (1 - 0.96**t / 2).

    T. Dozat, "Incorporating Nesterov momentum into Adam", 2016.
    """

    def scalars(self) -> Mapping[str, float]:
        return {"u_product": 1.0}

    def _momentum_at(self, step: Value) -> Value:
        return f.multiply(self.beta_1, 1.0 - 0.5 * f.power(0.96, step))

    def scalar_updates(self) -> Pairs:
        product = self._own["u_product"]
        return [(product, f.multiply(product, self._momentum_at(self.step())))]

    def scalars_after(self, steps: int) -> list[tuple[Variable, float]]:
        passed = np.arange(1, min(steps, 10_000) + 1)  # after which the product is zero
        momenta = self.beta_1 * (1 - 0.5 * 0.96 ** passed)
        return [(self._own["u_product"], float(momenta.prod()))]

    def update(self, parameter: Value, gradient: Value, slots: Slots, rate: Value) -> tuple[Value, Slots]:
        step, new, ((_, product),) = self.step(), self.moments(gradient, slots), self.scalar_updates()
        now, following = self._momentum_at(step), self._momentum_at(f.add(step, 1.0))
        ahead = new["momentum"] * (following / (1.0 - product * following))
        mean = ahead + gradient * ((1.0 - now) / (1.0 - product))
        spread = f.sqrt(new["velocity"] * (1.0 / (1.0 - f.power(self.beta_2, step))))
        return f.subtract(parameter, mean * rate / (spread + self.epsilon)), new


class Lamb(_Moments):
    """Adam's direction, scaled by the norm of the weights over its own norm.

    Y. You et al., "Large batch optimization for deep learning: training BERT in 76 minutes", 2019.
    """

    def update(self, parameter: Value, gradient: Value, slots: Slots, rate: Value) -> tuple[Value, Slots]:
        step, new = self.step(), self.moments(gradient, slots)
        m = new["momentum"] * (1.0 / (1.0 - f.power(self.beta_1, step)))
        v = new["velocity"] * (1.0 / (1.0 - f.power(self.beta_2, step)))
        direction = m / (f.sqrt(v) + self.epsilon)
        size, length = (f.sqrt(f.sum(f.square(x))) for x in (parameter, direction))
        known = f.logical_and(f.greater(size, 0.0), f.greater(length, 0.0))
        ratio = f.where(known, f.divide(size, f.where(known, length, 1.0)), 1.0)
        return f.subtract(parameter, direction * f.multiply(ratio, rate)), new


class RMSprop(Optimizer):
    """v = rho * v + (1 - rho) * g**2; w -= rate * g / sqrt(v + epsilon), through a momentum where it is given."""

    def __init__(self, learning_rate: Any = 0.001, rho: float = 0.9, momentum: float = 0.0, epsilon: float = 1e-7,
                 centered: bool = False, **kwargs: Any):
        super().__init__(learning_rate, **kwargs)
        self.rho, self.momentum, self.epsilon, self.centered = rho, momentum, epsilon, centered

    def slots(self) -> Groups:
        return (("velocity",), *([("momentum",)] if self.momentum else []),
                *([("average_gradient",)] if self.centered else []))

    def update(self, parameter: Value, gradient: Value, slots: Slots, rate: Value) -> tuple[Value, Slots]:
        new = {"velocity": f.multiply(slots["velocity"], self.rho) + f.square(gradient) * (1 - self.rho)}
        spread = new["velocity"]
        if self.centered:
            new["average_gradient"] = f.multiply(slots["average_gradient"], self.rho) + gradient * (1 - self.rho)
            spread = spread - f.square(new["average_gradient"])
        change = gradient * rate / f.sqrt(spread + self.epsilon)
        if self.momentum:
            change = new["momentum"] = f.multiply(slots["momentum"], self.momentum) + change
        return f.subtract(parameter, change), new


class Adagrad(Optimizer):
    """v += g**2; w -= rate * g / sqrt(v + epsilon).

    J. Duchi et al., "Adaptive subgradient methods for online learning and stochastic optimization", 2011.
    """

    def __init__(self, learning_rate: Any = 0.001, initial_accumulator_value: float = 0.1, epsilon: float = 1e-7,
                 **kwargs: Any):
        super().__init__(learning_rate, **kwargs)
        self.initial_accumulator_value, self.epsilon = initial_accumulator_value, epsilon

    def slots(self) -> Groups:
        return (("accumulator",),)

    def start(self, slot: str) -> float:
        return self.initial_accumulator_value

    def update(self, parameter: Value, gradient: Value, slots: Slots, rate: Value) -> tuple[Value, Slots]:
        v = f.add(slots["accumulator"], f.square(gradient))
        return f.subtract(parameter, gradient * rate / f.sqrt(v + self.epsilon)), {"accumulator": v}


class Adadelta(Optimizer):
    """w -= rate * g * rms(d) / rms(v), rms(x) = sqrt(x + epsilon), with averages v of g**2 and d of the squared steps.

    M. Zeiler, "ADADELTA: an adaptive learning rate method", 2012.
    """

    def __init__(self, learning_rate: Any = 0.001, rho: float = 0.95, epsilon: float = 1e-7, **kwargs: Any):
        super().__init__(learning_rate, **kwargs)
        self.rho, self.epsilon = rho, epsilon

    def slots(self) -> Groups:
        return (("accumulated_grad", "accumulated_delta_var"),)

    def update(self, parameter: Value, gradient: Value, slots: Slots, rate: Value) -> tuple[Value, Slots]:
        deltas = slots["accumulated_delta_var"]
        v = f.multiply(slots["accumulated_grad"], self.rho) + f.square(gradient) * (1 - self.rho)
        delta = f.sqrt(f.add(deltas, self.epsilon)) * gradient / f.sqrt(v + self.epsilon)
        new = {"accumulated_grad": v,
               "accumulated_delta_var": f.multiply(deltas, self.rho) + f.square(delta) * (1 - self.rho)}
        return f.subtract(parameter, delta * rate), new


class Ftrl(Optimizer):
    """Follow the regularised leader: weights that a sum of gradients doesn't move beyond l1 are 0.

    H. McMahan et al., "Ad click prediction: a view from the trenches", 2013.
    """

    def __init__(self, learning_rate: Any = 0.001, learning_rate_power: float = -0.5,
                 initial_accumulator_value: float = 0.1, l1_regularization_strength: float = 0.0,
                 l2_regularization_strength: float = 0.0, l2_shrinkage_regularization_strength: float = 0.0,
                 beta: float = 0.0, **kwargs: Any):
        super().__init__(learning_rate, **kwargs)
        if learning_rate_power > 0:
            raise ValueError(f"Ftrl(learning_rate_power={learning_rate_power!r}): expected 0 or a negative number.")
        self.learning_rate_power, self.initial_accumulator_value = learning_rate_power, initial_accumulator_value
        self.l1_regularization_strength = l1_regularization_strength
        self.l2_regularization_strength = l2_regularization_strength
        self.l2_shrinkage_regularization_strength, self.beta = l2_shrinkage_regularization_strength, beta
        for name in ("initial_accumulator_value", "l1_regularization_strength", "l2_regularization_strength",
                     "l2_shrinkage_regularization_strength"):
            if getattr(self, name) < 0:
                raise ValueError(f"Ftrl({name}={getattr(self, name)!r}): expected 0 or a positive number.")

    def slots(self) -> Groups:
        return (("accumulator", "linear"),)

    def start(self, slot: str) -> float:
        return self.initial_accumulator_value if slot == "accumulator" else 0.0

    def update(self, parameter: Value, gradient: Value, slots: Slots, rate: Value) -> tuple[Value, Slots]:
        l1, power = self.l1_regularization_strength, -self.learning_rate_power
        l2 = f.add(self.l2_regularization_strength, f.divide(self.beta / 2, rate))
        used = gradient + f.multiply(parameter, 2 * self.l2_shrinkage_regularization_strength)
        total = f.add(slots["accumulator"], f.square(gradient))
        raised, before = f.power(total, power), f.power(slots["accumulator"], power)
        linear = f.add(slots["linear"], used - (raised - before) / rate * parameter)
        new = (f.clip(linear, -l1, l1) - linear) / (raised / rate + f.multiply(2.0, l2))
        return new, {"accumulator": total, "linear": linear}
