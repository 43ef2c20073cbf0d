"""What all optimizers share: slots, learning rate, clipping, weight decay, averages. https://keras.io/api/optimizers/"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from graphc.configs import config_of, constructor_options, describe
from graphc.eager import as_array, now
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value, origin
from graphc.names import refuse_unknown, snake_case
from graphc.optimizers import schedules
from graphc.optimizers.schedules import LearningRateSchedule
from graphc.tracing import current_trace
from graphc.variable import Variable, assign_all

__all__ = ["Optimizer"]

Slots = Mapping[str, Value]
Groups = tuple[tuple[str, ...], ...]
Pairs = list[tuple[Value, Value]]


class Optimizer:
    """Base: `slots()` names the arrays that each parameter needs, `update` gives the next values of all.

    The learning rate and the count of steps are states of the training program, so a new rate needs no
    compilation: `model.optimizer.learning_rate = 0.01`. A schedule is a part of the program, a function of the count.

    Gradients are clipped by `clipnorm` (each to that norm), `global_clipnorm` (all together) or `clipvalue`; then
    `weight_decay * rate * w` is taken from each weight; then comes the update. `use_ema` keeps averages of the
    weights, which replace them every `ema_overwrite_frequency` steps and at the end of `fit`. With
    `gradient_accumulation_steps` only every so many steps there is an update, by the mean of their gradients.
    """

    keras_module = "keras.optimizers"

    def __init__(self, learning_rate: Any = 0.001, weight_decay: float | None = None, clipnorm: float | None = None,
                 clipvalue: float | None = None, global_clipnorm: float | None = None, use_ema: bool = False,
                 ema_momentum: float = 0.99, ema_overwrite_frequency: int | None = None,
                 loss_scale_factor: float | None = None, gradient_accumulation_steps: int | None = None,
                 name: str | None = None, lr: float | None = None, decay: float | None = None, **unknown: Any):
        owner = type(self).__name__
        refuse_unknown(owner, unknown, constructor_options(type(self)))
        clips = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
        if sum(c is not None for c in clips.values()) > 1:
            given = " and ".join(f"{n}={c}" for n, c in clips.items() if c is not None)
            raise ValueError(f"{owner} received {given}: give one of them.")
        if not 0 <= ema_momentum <= 1:
            raise ValueError(f"{owner}(ema_momentum={ema_momentum!r}): expected a number from 0 to 1.")
        for option, value, least in (("ema_overwrite_frequency", ema_overwrite_frequency, 1),
                                     ("gradient_accumulation_steps", gradient_accumulation_steps, 2)):
            if value is not None and (not isinstance(value, int) or value < least):
                raise ValueError(f"{owner}({option}={value!r}): expected an integer of at least {least}, or None.")
        self.name = name or snake_case(owner)
        self.weight_decay, self.clipnorm, self.clipvalue, self.global_clipnorm = (
            weight_decay, clipnorm, clipvalue, global_clipnorm)
        self.use_ema, self.ema_momentum, self.ema_overwrite_frequency = use_ema, ema_momentum, ema_overwrite_frequency
        self.loss_scale_factor, self.gradient_accumulation_steps = loss_scale_factor, gradient_accumulation_steps
        self.decay = decay  # of Keras 2: the rate is divided by 1 + decay * steps
        self._not_decayed: tuple[list[Variable], list[re.Pattern[str]]] = [], []
        self._learning_rate: Any = self._rate_of(learning_rate if lr is None else lr)
        self.reset()

    def reset(self) -> None:
        """Forget the steps done so far; the learning rate stays."""
        self._iterations = Variable(np.zeros((), np.int64), "optimizer/iterations", trainable=False)
        self._slots: dict[Variable, dict[str, Variable]] = {}
        self._own = {name: Variable(np.asarray(value, np.float32), f"optimizer/{name}", trainable=False)
                     for name, value in self.scalars().items()}

    # ------------------------------------------------------------------------------------- what an optimizer defines

    def slots(self) -> Groups:
        """The names of the arrays that each parameter needs; in a file those of one group stand side by side."""
        return ()

    def start(self, slot: str) -> float:
        """What a slot is full of before the first step."""
        return 0.0

    def scalars(self) -> Mapping[str, float]:
        """The names and first values of numbers that the optimizer keeps beside the slots."""
        return {}

    def scalar_updates(self) -> Pairs:
        """The scalars with their next values."""
        return []

    def scalars_after(self, steps: int) -> list[tuple[Variable, float]]:
        """The scalars with their values after so many steps, for files that don't have them."""
        return []

    def update(self, parameter: Value, gradient: Value, slots: Slots, rate: Value) -> tuple[Value, Slots]:
        """The next value of the parameter, and of its slots."""
        raise NotImplementedError(f"{type(self).__name__} has no `update`: define update(self, parameter, gradient, "
                                  "slots, rate).")

    # ---------------------------------------------------------------------------------------------- rate and counts

    @property
    def learning_rate(self) -> Any:
        """The learning rate: a variable that takes numbers, or the present number of a schedule."""
        return self._learning_rate if isinstance(self._learning_rate, Variable) else float(now(self.rate()))

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        if isinstance(value, LearningRateSchedule) or (callable(value) and not isinstance(value, Variable)):
            if value is not self._learning_rate and self._slots:
                raise ValueError(f"{type(self).__name__} has begun training: a schedule is a part of the program. Give "
                                 "it to the constructor, or assign numbers.")
            self._learning_rate = value
        elif not isinstance(self._learning_rate, Variable):
            raise TypeError(f"The learning rate of this {type(self).__name__} is given by {self._learning_rate!r}, so "
                            "it can't be set to a number. Give the constructor a number.")
        else:
            self._learning_rate.assign(self._rate_of(value).array)

    lr = learning_rate

    def _rate_of(self, value: Any) -> Any:
        if isinstance(value, dict) and "class_name" in value:
            return schedules.deserialize(value)
        if callable(value) and not isinstance(value, Variable):
            return value
        owner = type(self).__name__
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise TypeError(f"{owner}(learning_rate={value!r}): the learning rate is a number, a schedule or a "
                            "function.") from None
        if not number >= 0:
            raise ValueError(f"{owner}(learning_rate={value!r}): the learning rate can't be negative.")
        return Variable(np.asarray(number, np.float32), "optimizer/learning_rate", trainable=False)

    def rate(self) -> Value:
        """The learning rate of this step."""
        rate, count = self._learning_rate, f.cast(self._iterations, "f32")
        if isinstance(rate, LearningRateSchedule):
            rate = rate(count)
        elif not isinstance(rate, Variable):
            rate = rate()
        rate = f.cast(rate, "f32")
        return f.divide(rate, f.add(1.0, f.multiply(count, self.decay))) if self.decay else rate

    @property
    def iterations(self) -> Any:
        """The number of steps done; of updates, where gradients are accumulated."""
        each = self.gradient_accumulation_steps
        return int(self._iterations) // each if each else self._iterations

    def _count(self) -> Value:
        """The number of updates done before this step, float64."""
        count = f.cast(self._iterations, "f64")
        each = self.gradient_accumulation_steps
        return f.floor(f.divide(count, float(each))) if each else count

    def step(self) -> Value:
        """The number of this update, counted from 1."""
        if not self.gradient_accumulation_steps:
            return f.cast(f.add(self._iterations, 1), "f32")
        return f.cast(f.add(self._count(), 1.0), "f32")

    # ------------------------------------------------------------------------------------------------------- state

    @property
    def variables(self) -> list[Variable]:
        """Step count, learning rate where it is a number, then the slots of the parameters met so far."""
        return self._ordered(list(self._slots))

    def build(self, variables: Sequence[Variable]) -> None:
        """Make the slots of these parameters."""
        for variable in variables:
            self._slots_of(variable)

    def state(self, parameters: Sequence[Variable]) -> list[Variable]:
        """What a file holds, in Keras's order: step count, learning rate, then the slots of the parameters.

        One slot of all parameters follows the other, but for those of one group, which are kept together.
        """
        self.build(parameters)
        return self._ordered(parameters)

    def slot(self, parameter: Variable, name: str) -> Variable:
        """One of the arrays that are kept for a parameter."""
        return self._slots_of(parameter)[name]

    def _ordered(self, parameters: Sequence[Variable]) -> list[Variable]:
        rate = [self._learning_rate] if isinstance(self._learning_rate, Variable) else []
        slots = [self._slots[p][name] for group in self._groups() for p in parameters for name in group]
        return [self._iterations, *rate, *slots, *(self._own.values() if parameters else ())]

    def _groups(self) -> Groups:
        average = (("average",),) if self.use_ema else ()
        return average + ((("gradient_accumulator",),) if self.gradient_accumulation_steps else ()) + self.slots()

    def _slots_of(self, parameter: Variable) -> dict[str, Variable]:
        if parameter not in self._slots:
            array, path = parameter.array, f"optimizer/{parameter.path}"
            names = [name for group in self._groups() for name in group]
            self._slots[parameter] = {n: Variable(np.full_like(array, self.start(n)), f"{path}/{n}", False)
                                      for n in names}
        return self._slots[parameter]

    # ------------------------------------------------------------------------------------------------------ updates

    def updates(self, parameters: Sequence[Variable], gradients: Sequence[Value]) -> Pairs:
        """Every state of one training step with its next value."""
        with origin("optimizer"):
            self.build(parameters)
            each, scale = self.gradient_accumulation_steps, self.loss_scale_factor
            gradients = [f.divide(g, scale) for g in gradients] if scale else list(gradients)
            pairs: Pairs = [(self._iterations, f.add(self._iterations, 1))]
            due = None
            if each:
                due = self._every(self._iterations, each)
                sums = [f.add(g, self._slots[p]["gradient_accumulator"])
                        for p, g in zip(parameters, gradients, strict=True)]
                pairs += ((self._slots[p]["gradient_accumulator"], f.where(due, f.zeros_like(s), s))
                          for p, s in zip(parameters, sums, strict=True))
                gradients = [f.divide(s, float(each)) for s in sums]
            rate = self.rate()
            changes = self.scalar_updates()
            for parameter, gradient in zip(parameters, self._clipped(gradients), strict=True):
                slots = self._slots[parameter]
                new, next_slots = self.update(self._decayed(parameter, rate), gradient, slots, rate)
                changes += [(parameter, new), *((slots[name], value) for name, value in next_slots.items())]
            if due is not None:
                changes = [(state, f.where(due, new, state)) for state, new in changes]
            return pairs + self._averaged(changes, set(parameters))

    def scale_loss(self, loss: Value) -> Value:
        """The loss whose gradients `updates` takes: times `loss_scale_factor`."""
        return f.multiply(loss, self.loss_scale_factor) if self.loss_scale_factor else loss

    def _every(self, count: Value, steps: int) -> Value:
        """Whether `steps` divides count + 1."""
        after = f.add(f.cast(count, "f64"), 1.0)
        return f.equal(f.multiply(f.floor(f.divide(after, float(steps))), float(steps)), after)

    def _averaged(self, changes: Pairs, parameters: set[Variable]) -> Pairs:
        """The changes with averages and constraints, which see the weights after the update."""
        result: Pairs = []
        for state, value in changes:
            if isinstance(state, Variable) and state in parameters:
                if self.use_ema:
                    average = self._slots[state]["average"]
                    first = f.equal(self._count(), 0.0)
                    momentum = f.where(first, 0.0, float(self.ema_momentum))
                    mean = f.add(f.multiply(momentum, average), f.multiply(f.subtract(1.0, momentum), value))
                    result.append((average, mean))
                    if self.ema_overwrite_frequency:
                        value = f.where(self._every(self._count(), self.ema_overwrite_frequency), mean, value)
                constraint = state.constraint
                if constraint is not None:
                    value = constraint(value)
            result.append((state, value))
        return result

    def _clipped(self, gradients: Sequence[Value]) -> Sequence[Value]:
        if self.clipvalue:
            return [f.clip(g, -self.clipvalue, self.clipvalue) for g in gradients]
        if self.clipnorm:
            norms = [f.sqrt(f.sum(f.square(g))) for g in gradients]
            return [g * (self.clipnorm / f.maximum(n, self.clipnorm)) for g, n in zip(gradients, norms, strict=True)]
        if self.global_clipnorm and gradients:
            first, *others = (f.sum(f.square(g)) for g in gradients)
            for square in others:
                first = f.add(first, square)
            norm = f.sqrt(first)
            factor = self.global_clipnorm * f.minimum(1.0 / norm, 1.0 / self.global_clipnorm)
            return [g * factor for g in gradients]
        return gradients

    def _decayed(self, parameter: Variable, rate: Value) -> Value:
        if not self.weight_decay or self._excluded(parameter):
            return parameter
        return f.subtract(parameter, f.multiply(parameter, f.multiply(rate, self.weight_decay)))

    def exclude_from_weight_decay(self, var_list: Iterable[Variable] | None = None,
                                  var_names: Iterable[str] | None = None) -> None:
        """Leave variables, and those whose names hold one of the patterns, out of the weight decay."""
        if self._slots:
            raise ValueError(f"{type(self).__name__}.exclude_from_weight_decay comes before the first step.")
        self._not_decayed = list(var_list or ()), [re.compile(name) for name in var_names or ()]

    def _excluded(self, variable: Variable) -> bool:
        some, patterns = self._not_decayed
        return any(variable is s for s in some) or any(p.search(variable.name) for p in patterns)

    # ------------------------------------------------------------------------------------------ use without a model

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Variable] | None = None) -> None:
        """One step with these gradients: at once for arrays; while a step is traced, as a part of it."""
        variables = list(self._slots if trainable_variables is None else trainable_variables)
        if trainable_variables is None and not variables:
            raise ValueError(f"{type(self).__name__}.apply received no variables. Pass them, or call build first.")
        grads = list(grads)
        if len(grads) != len(variables):
            raise ValueError(f"{type(self).__name__}.apply received {len(grads)} gradients for {len(variables)} "
                             "variables.")
        missing = [v.path for v, g in zip(variables, grads, strict=True) if g is None]
        if len(missing) == len(variables):
            raise ValueError(f"{type(self).__name__}.apply received no gradient for any variable.")
        if missing:
            warnings.warn(f"There is no gradient for {', '.join(missing)}: they stay as they are.", stacklevel=2)
        known = [(v, g) for v, g in zip(variables, grads, strict=True) if g is not None]
        variables, grads = [v for v, _ in known], [g for _, g in known]
        trace = current_trace()
        if trace is not None:
            trace.update(self.updates(variables, grads), grads)
            return
        arrays = [as_array(g, v.array.dtype) for v, g in known]
        for v, a in zip(variables, arrays, strict=True):
            if a.shape != v.array.shape:
                raise ShapeError(f"{type(self).__name__}.apply received a gradient of shape {list(a.shape)} for "
                                 f"{v.path}, expected {v.type}.")
        inputs = [f.input(f"g{i}", v.shape, v.dtype) for i, v in enumerate(variables)]
        pairs = self.updates(variables, inputs)
        results = now([new for _, new in pairs], dict(zip(inputs, arrays, strict=True)))
        assign_all((state, new) for (state, _), new in zip(pairs, results, strict=True))  # type: ignore[misc]

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Variable]]) -> Any:
        """One step with pairs of a gradient and its variable; gives the number of steps."""
        grads, variables = zip(*grads_and_vars, strict=True)
        self.apply(grads, variables)
        return self._iterations

    def finalize_variable_values(self, var_list: Iterable[Variable]) -> None:
        """Replace the weights by their averages where `use_ema` keeps them."""
        assign_all((v, self._slots[v]["average"].array) for v in (var_list if self.use_ema else ()) if v in self._slots)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, with the present learning rate."""
        config = {name: value for name, value in config_of(self).items() if name not in ("lr", "decay")}
        rate = self._learning_rate
        if isinstance(rate, Variable):
            rate = float(rate)
        elif isinstance(rate, LearningRateSchedule):
            rate = describe(rate)
        return config | ({"decay": self.decay} if self.decay else {}) | {"learning_rate": rate}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Optimizer:
        """The optimizer with these arguments."""
        return cls(**config)

    def __repr__(self) -> str:
        rate = self._learning_rate
        return f"<{type(self).__name__} learning_rate={rate.array if isinstance(rate, Variable) else rate!s}>"
