"""Optimizers as graph builders: parameter, gradient and slots in, their next values out.

https://keras.io/api/optimizers/
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.configs import config_of
from graphc.ir import functions as f
from graphc.ir.graph import Value, origin
from graphc.names import choose, refuse_unknown, snake_case
from graphc.variable import Variable

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "RMSprop", "get"]

Updates = tuple[Value, ...]


class Optimizer:
    """Base: `slot_names()` says which arrays each parameter needs, `update` gives the next values.

    The learning rate and the count of steps are states of the training program, so a new rate needs no
    compilation: `model.optimizer.learning_rate = 0.01`.
    """

    keras_module = "keras.optimizers"
    slots_together = 1  # how many of a parameter's first slots stand side by side in a file

    def __init__(self, learning_rate: float = 0.001, name: str | None = None, clipnorm: float | None = None,
                 clipvalue: float | None = None, lr: float | None = None, **unknown: Any):
        known = ["learning_rate", "momentum", "nesterov", "beta_1", "beta_2", "epsilon", "rho", "clipnorm", "clipvalue"]
        refuse_unknown(type(self).__name__, unknown, known)
        if clipnorm is not None and clipvalue is not None:
            raise ValueError(f"{type(self).__name__} received both clipnorm={clipnorm} and clipvalue={clipvalue}: "
                             "give one of them.")
        self.name = name or snake_case(type(self).__name__)
        self.clipnorm, self.clipvalue = clipnorm, clipvalue
        rate = _rate(type(self).__name__, learning_rate if lr is None else lr)
        self._learning_rate = Variable(np.asarray(rate, np.float32), "optimizer/learning_rate", trainable=False)
        self.reset()

    def reset(self) -> None:
        """Forget the steps done so far; the learning rate stays."""
        self._iterations = Variable(np.zeros((), np.int64), "optimizer/iterations", trainable=False)
        self._slots: dict[Variable, list[Variable]] = {}

    @property
    def learning_rate(self) -> Variable:
        """The learning rate; assign a number to change it between steps."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self._learning_rate.assign(_rate(type(self).__name__, value))

    lr = learning_rate

    @property
    def iterations(self) -> Variable:
        """The number of steps done."""
        return self._iterations

    @property
    def variables(self) -> list[Variable]:
        """Step count, learning rate, then the slots of each parameter."""
        return [self._iterations, self._learning_rate, *(s for slots in self._slots.values() for s in slots)]

    def state(self, parameters: Sequence[Variable]) -> list[Variable]:
        """What a file holds, in Keras's order: step count, learning rate, then the slots of the parameters.

        One slot of all parameters follows the other, but for Adam's first two, which are kept together.
        """
        slots = [self._slots_of(p) for p in parameters]
        first, count = self.slots_together, len(self.slot_names())
        groups = [slice(first), *(slice(i, i + 1) for i in range(first, count))]
        return [self._iterations, self._learning_rate, *(v for group in groups for s in slots for v in s[group])]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, with the present learning rate."""
        config = {name: value for name, value in config_of(self).items() if name != "lr"}
        return config | {"learning_rate": float(self._learning_rate)}

    def slot_names(self) -> Sequence[str]:
        """The names of the arrays that each parameter needs; they start as zeros."""
        return ()

    def update(self, parameter: Value, gradient: Value, slots: Sequence[Value]) -> Updates:
        """The next values of the parameter and of its slots."""
        raise NotImplementedError(f"{type(self).__name__} has no `update`: define update(self, parameter, gradient, "
                                  "slots).")

    def step(self) -> Value:
        """The number of this step, counted from 1."""
        return f.cast(f.add(self._iterations, 1), "f32")

    def updates(self, parameters: Sequence[Variable], gradients: Sequence[Value]) -> list[tuple[Value, Value]]:
        """Every state of one training step with its next value."""
        with origin("optimizer"):
            pairs: list[tuple[Value, Value]] = [(self._iterations, f.add(self._iterations, 1))]
            for parameter, gradient in zip(parameters, gradients, strict=True):
                slots = self._slots_of(parameter)
                pairs += zip((parameter, *slots), self.update(parameter, self._clipped(gradient), slots), strict=True)
        return pairs

    def _slots_of(self, parameter: Variable) -> list[Variable]:
        if parameter not in self._slots:
            zeros, path = np.zeros_like(parameter.array), f"optimizer/{parameter.path}"
            self._slots[parameter] = [Variable(zeros.copy(), f"{path}/{name}", False) for name in self.slot_names()]
        return self._slots[parameter]

    def _clipped(self, gradient: Value) -> Value:
        if self.clipvalue is not None:
            return f.clip(gradient, -self.clipvalue, self.clipvalue)
        if self.clipnorm is not None:
            norm = f.sqrt(f.sum(f.square(gradient)))
            return gradient * (self.clipnorm / f.maximum(norm, self.clipnorm))
        return gradient

    def __repr__(self) -> str:
        return f"<{type(self).__name__} learning_rate={float(self._learning_rate):g}>"


def _rate(owner: str, value: Any) -> float:
    try:
        rate = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{owner}(learning_rate={value!r}): the learning rate is a number.") from None
    if not rate >= 0:
        raise ValueError(f"{owner}(learning_rate={value!r}): the learning rate can't be negative.")
    return rate


class SGD(Optimizer):
    """v = momentum * v - rate * g; w += v, or with Nesterov's momentum w += momentum * v - rate * g."""

    def __init__(self, learning_rate: float = 0.01, momentum: float = 0.0, nesterov: bool = False, **kwargs: Any):
        super().__init__(learning_rate, **kwargs)
        if not 0 <= momentum <= 1:
            raise ValueError(f"SGD(momentum={momentum!r}): expected a number from 0 to 1.")
        self.momentum, self.nesterov = momentum, nesterov

    def slot_names(self) -> Sequence[str]:
        return ("momentum",) if self.momentum else ()

    def update(self, parameter: Value, gradient: Value, slots: Sequence[Value]) -> Updates:
        change = gradient * self._learning_rate
        if not self.momentum:
            return (f.subtract(parameter, change),)
        velocity = f.subtract(f.multiply(slots[0], self.momentum), change)
        step = velocity * self.momentum - change if self.nesterov else velocity
        return f.add(parameter, step), velocity


class Adam(Optimizer):
    """w -= alpha * m / (sqrt(v) + epsilon), alpha = rate * sqrt(1 - beta_2**t) / (1 - beta_1**t).

    D. Kingma, J. Ba, "Adam: a method for stochastic optimization", 2014, in the form with epsilon hat.
    """

    slots_together = 2

    def __init__(self, learning_rate: float = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7,
                 amsgrad: bool = False, **kwargs: Any):
        super().__init__(learning_rate, **kwargs)
        self.beta_1, self.beta_2, self.epsilon, self.amsgrad = beta_1, beta_2, epsilon, amsgrad

    def slot_names(self) -> Sequence[str]:
        return ("momentum", "velocity", "velocity_hat") if self.amsgrad else ("momentum", "velocity")

    def update(self, parameter: Value, gradient: Value, slots: Sequence[Value]) -> Updates:
        step = self.step()
        alpha = (f.multiply(self._learning_rate, f.sqrt(1.0 - f.power(self.beta_2, step)))
                 / (1.0 - f.power(self.beta_1, step)))
        m = f.add(slots[0], (gradient - slots[0]) * (1 - self.beta_1))
        v = f.add(slots[1], (f.square(gradient) - slots[1]) * (1 - self.beta_2))
        largest = f.maximum(slots[2], v) if self.amsgrad else v
        new = f.subtract(parameter, m * alpha / (f.sqrt(largest) + self.epsilon))
        return (new, m, v, largest) if self.amsgrad else (new, m, v)


class AdamW(Adam):
    """Adam after w -= weight_decay * rate * w. I. Loshchilov, F. Hutter, "Decoupled weight decay", 2017."""

    def __init__(self, learning_rate: float = 0.001, weight_decay: float = 0.004, beta_1: float = 0.9,
                 beta_2: float = 0.999, epsilon: float = 1e-7, amsgrad: bool = False, **kwargs: Any):
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, **kwargs)
        self.weight_decay = weight_decay

    def update(self, parameter: Value, gradient: Value, slots: Sequence[Value]) -> Updates:
        decayed = f.subtract(parameter, f.multiply(parameter, f.multiply(self._learning_rate, self.weight_decay)))
        return super().update(decayed, gradient, slots)


class RMSprop(Optimizer):
    """v = rho * v + (1 - rho) * g**2; w -= rate * g / sqrt(v + epsilon), through a momentum where it is given."""

    def __init__(self, learning_rate: float = 0.001, rho: float = 0.9, momentum: float = 0.0, epsilon: float = 1e-7,
                 centered: bool = False, **kwargs: Any):
        super().__init__(learning_rate, **kwargs)
        self.rho, self.momentum, self.epsilon, self.centered = rho, momentum, epsilon, centered

    def slot_names(self) -> Sequence[str]:
        return ("velocity", *(["momentum"] if self.momentum else []), *(["average_gradient"] if self.centered else []))

    def update(self, parameter: Value, gradient: Value, slots: Sequence[Value]) -> Updates:
        old = dict(zip(self.slot_names(), slots, strict=True))
        new = {"velocity": f.multiply(old["velocity"], self.rho) + f.square(gradient) * (1 - self.rho)}
        spread = new["velocity"]
        if self.centered:
            new["average_gradient"] = f.multiply(old["average_gradient"], self.rho) + gradient * (1 - self.rho)
            spread = spread - f.square(new["average_gradient"])
        change = gradient * self._learning_rate / f.sqrt(spread + self.epsilon)
        if self.momentum:
            change = new["momentum"] = f.multiply(old["momentum"], self.momentum) + change
        return f.subtract(parameter, change), *(new[name] for name in self.slot_names())


_BY_NAME: dict[str, type[Optimizer]] = {"adam": Adam, "adamw": AdamW, "rmsprop": RMSprop, "sgd": SGD}


def get(identifier: Any) -> Optimizer:
    """The optimizer for a name in any case, an Optimizer or a class."""
    if isinstance(identifier, Optimizer):
        return identifier
    if isinstance(identifier, str):
        return choose("optimizer", identifier, _BY_NAME)()
    if isinstance(identifier, type) and issubclass(identifier, Optimizer):
        return identifier()
    raise TypeError(f"An optimizer is a name or an Optimizer, received {identifier!r}.")
