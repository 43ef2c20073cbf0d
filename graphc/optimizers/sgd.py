"""Optimizers that step along the gradient or its sign. https://keras.io/api/optimizers/"""

from __future__ import annotations

from typing import Any

from graphc.ir import functions as f
from graphc.ir.graph import Value
from graphc.optimizers.optimizer import Groups, Optimizer, Slots

__all__ = ["SGD", "Lion"]


class SGD(Optimizer):
    """v = momentum * v - rate * g; w += v, or with Nesterov's momentum w += momentum * v - rate * g."""

    def __init__(self, learning_rate: Any = 0.01, momentum: float = 0.0, nesterov: bool = False, **kwargs: Any):
        super().__init__(learning_rate, **kwargs)
        if not 0 <= momentum <= 1:
            raise ValueError(f"SGD(momentum={momentum!r}): expected a number from 0 to 1.")
        self.momentum, self.nesterov = momentum, nesterov

    def slots(self) -> Groups:
        return (("momentum",),) if self.momentum else ()

    def update(self, parameter: Value, gradient: Value, slots: Slots, rate: Value) -> tuple[Value, Slots]:
        change = gradient * rate
        if not self.momentum:
            return f.subtract(parameter, change), {}
        velocity = f.subtract(f.multiply(slots["momentum"], self.momentum), change)
        step = velocity * self.momentum - change if self.nesterov else velocity
        return f.add(parameter, step), {"momentum": velocity}


class Lion(Optimizer):
    """w -= rate * sign(beta_1 * m + (1 - beta_1) * g); m = beta_2 * m + (1 - beta_2) * g.

    X. Chen et al., "Symbolic discovery of optimization algorithms", 2023.
    """

    def __init__(self, learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.99, **kwargs: Any):
        super().__init__(learning_rate, **kwargs)
        if not 0 < beta_1 <= 1:
            raise ValueError(f"Lion(beta_1={beta_1!r}): expected a number above 0, 1 at most.")
        self.beta_1, self.beta_2 = beta_1, beta_2

    def slots(self) -> Groups:
        return (("momentum",),)

    def update(self, parameter: Value, gradient: Value, slots: Slots, rate: Value) -> tuple[Value, Slots]:
        m = slots["momentum"]
        direction = f.sign(f.multiply(m, self.beta_1) + gradient * (1.0 - self.beta_1))
        return (f.subtract(parameter, direction * rate),
                {"momentum": f.multiply(m, self.beta_2) + gradient * (1.0 - self.beta_2)})
