"""What all metrics share: numbers that add up over an epoch, and Keras's protocol on top of them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc import initializers
from graphc.configs import config_of
from graphc.eager import eager
from graphc.ir import functions as f
from graphc.ir.graph import Value
from graphc.losses.loss import check_dtype
from graphc.names import snake_case, unique_name
from graphc.tracing import Trace, current_trace, tracing
from graphc.variable import Variable

__all__ = ["Metric"]

Sums = tuple[Value, ...]


class Metric:
    """Base of all metrics.

    graphc's own define `sums(y_true, y_pred, sample_weight)`, the numbers of one batch that add up over an epoch, and
    `compute(totals, samples)`, the metric from their totals, which are float64. A metric of the user's can do that, or
    be written as Keras's: variables of `add_variable`, which `update_state` assigns to and `result` reads. In a step
    these variables are states of the program; `reset_state` comes before each epoch.
    """

    keras_module = "keras.metrics"

    def __init__(self, dtype: Any = None, name: str | None = None):
        self.name = name or snake_case(type(self).__name__)
        self.dtype = check_dtype(type(self).__name__, dtype)
        self._totals: Sequence[Any] = ()
        self._samples = 0
        self._variables: list[Variable] = []
        self._scope = unique_name(f"metrics/{self.name}")
        self._parts: list[tuple[Metric, int]] = []  # whose sums `update` has given, and how many

    def sums(self, y_true: Value, y_pred: Value, sample_weight: Value | None = None) -> Sums:
        """Numbers of one batch, of any shapes, that add up over an epoch."""
        raise NotImplementedError(f"{type(self).__name__} has no `sums`: define sums(self, y_true, y_pred, "
                                  "sample_weight=None) and compute(self, totals, samples), or as in Keras update_state "
                                  "and result.")

    def compute(self, totals: Sequence[Any], samples: int) -> Any:
        """The metric from the totals of `sums` and the number of samples."""
        raise NotImplementedError(f"{type(self).__name__} has no `compute`: define compute(self, totals, samples).")

    # ----------------------------------------------------------------------------------------------- inside of a step

    def update(self, y_true: Value, y_pred: Value, sample_weight: Value | None = None) -> Sums:
        """What this metric, and those that it is made of, add up in the step that is being traced."""
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        with tracing(current_trace() or Trace()) as trace:
            outer, trace.metrics = trace.metrics, {}
            self.update_state(y_true, y_pred, **weights)
            found, trace.metrics = trace.metrics, outer
        self._parts = [(metric, len(sums)) for metric, sums in found.items()]
        return tuple(value for sums in found.values() for value in sums)

    def restore(self, totals: Sequence[Any], samples: int) -> None:
        """Take the totals of what `update` gave."""
        place = 0
        for metric, count in self._parts:
            metric._totals, metric._samples = totals[place:place + count], samples
            place += count

    # --------------------------------------------------------------------------------------------- Keras's protocol

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Count a batch: arrays at once; values as a part of the step that is being traced."""
        trace = current_trace()
        if trace is not None:
            sums = self.sums(*args, **kwargs)
            before = trace.metrics.get(self)
            trace.metrics[self] = sums if before is None else tuple(map(f.add, before, sums))
            return
        found = eager(*inspect.signature(self.sums).parameters)(self.sums)(*args, **kwargs)
        numbers = [np.asarray(s, np.float64) for s in found]
        self._totals = [t + n for t, n in zip(self._totals, numbers, strict=True)] if len(self._totals) else numbers
        first = np.asarray([*args, *kwargs.values()][0])
        self._samples += len(first) if first.ndim else 1

    def result(self) -> Any:
        """The metric so far; while a step is traced the metric itself, which stands for its value after the step."""
        if current_trace() is not None:
            return self
        return self.compute(self._totals, self._samples) if len(self._totals) else 0.0

    def reset_state(self) -> None:
        """Begin anew."""
        self._totals, self._samples = (), 0
        for variable in self._variables:
            variable.assign(np.zeros_like(variable.array))
        for metric in self._inner():
            metric.reset_state()

    reset_states = reset_state

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.update_state(*args, **kwargs)
        return self.result()

    def add_variable(self, shape: Sequence[int] = (), initializer: Any = "zeros", dtype: Any = None,
                     aggregation: Any = None, name: str | None = None) -> Variable:
        """A variable of the metric, for `update_state` to assign to."""
        array = initializers.get(initializer or "zeros")(tuple(shape), np.dtype(dtype or self.dtype))
        label = name or f"variable_{len(self._variables)}"
        self._variables.append(Variable(np.asarray(array), f"{self._scope}/{label}", trainable=False))
        return self._variables[-1]

    def add_weight(self, shape: Sequence[int] = (), initializer: Any = "zeros", dtype: Any = None,
                   name: str | None = None) -> Variable:
        """`add_variable` by its older name; old code gives the name first."""
        if isinstance(shape, str):
            shape, name = (), shape
        return self.add_variable(shape, initializer, dtype, name=name)

    @property
    def variables(self) -> list[Variable]:
        """The variables, and those of the metrics that this one is made of."""
        return [*self._variables, *(v for metric in self._inner() for v in metric.variables)]

    def _inner(self) -> list[Metric]:
        return [value for value in vars(self).values() if isinstance(value, Metric)]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return config_of(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Metric:
        """The metric with these arguments."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"
