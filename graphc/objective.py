"""What `compile` chose: a loss, its weight and metrics for each output, and the names of the results.

https://keras.io/api/models/model_training_apis/#compile-method. What is given for several outputs is a list in their
order, or a dict by their names. A loss given alone holds for every output; metrics never do.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphc import losses, metrics
from graphc.ir import functions as f
from graphc.ir.graph import Value, origin
from graphc.ir.tree import flat, is_nested, mapped
from graphc.metrics import Metric
from graphc.ports import Port, ports
from graphc.tracing import Trace

__all__ = ["Objective", "Target", "free_name"]

Measured = tuple[str, Metric, Any, Value, Value | None]


@dataclass(frozen=True)
class Target:
    """One output with what it is measured by."""

    port: Port
    loss: losses.Loss | None
    weight: float | None
    metrics: tuple[Metric, ...]
    weighted: tuple[Metric, ...]
    rank: int = 0  # of its loss among the results

    @property
    def labelled(self) -> bool:
        """Whether there have to be labels for the output."""
        return self.loss is not None or bool(self.metrics or self.weighted)

    @property
    def targets(self) -> str:
        """What the labels look like, see `losses.Loss.targets`."""
        return "any" if self.loss is None else self.loss.targets


class Objective:
    """Losses and metrics as the caller gave them, every name looked up; unknown ones raise ValueError."""

    def __init__(self, loss: Any = None, loss_weights: Any = None, metrics: Any = None, weighted_metrics: Any = None):
        self.loss = None if loss is None else mapped(lambda part: None if part is None else losses.get(part), loss)
        self.loss_weights = loss_weights
        self.metrics, self.weighted_metrics = _looked_up(metrics), _looked_up(weighted_metrics)
        for weight in flat(loss_weights):
            if weight is not None and (isinstance(weight, bool) or not hasattr(weight, "__float__")):
                raise ValueError(f"compile(loss_weights={loss_weights!r}): {weight!r} is not a number.")
        for metric in self.all_metrics:
            if metric.name == "loss":
                raise ValueError("compile received the metric 'loss', the loss's name: give it a different name.")

    @property
    def all_metrics(self) -> list[Metric]:
        """Every metric, then those that are weighted."""
        return [m for given in (self.metrics, self.weighted_metrics) for m in flat(given) if m is not None]

    def targets(self, outputs: Any) -> list[Target]:
        """For each output what it is measured by, or ValueError where that doesn't fit the outputs."""
        own = ports(outputs)
        several = len(own) > 1
        if several and self.loss is not None and not is_nested(self.loss):
            chosen: list[Any] = [self.loss] * len(own)
        else:
            chosen = _spread("loss", self.loss, own)
        weights = _spread("loss_weights", self.loss_weights, own)
        plain, weighted = (_metrics_of(name, given, own) for name, given in (
            ("metrics", self.metrics), ("weighted_metrics", self.weighted_metrics)))
        names = [p.name for p in own]
        if isinstance(outputs, Mapping):
            names = list(self.loss) if isinstance(self.loss, Mapping) else sorted(names)
        ranks = [names.index(p.name) if p.name in names else len(names) for p in own]
        return [Target(*parts) for parts in zip(own, chosen, weights, plain, weighted, ranks, strict=True)]

    def total(self, targets: Sequence[Target], labels: Sequence[Any], predictions: Sequence[Value],
              weights: Sequence[Value | None], trace: Trace) -> tuple[Value | None, list[tuple[str, Value]]]:
        """The sum of the outputs' losses by their weights, and by name each of them; of one output there is no other.

        `labels` and `weights` have a place for every output.
        """
        parts = []
        for target, y, p, w in zip(targets, labels, predictions, weights, strict=True):
            if target.loss is not None:
                mask = trace.masks.get(p)
                value = target.loss(y, p, w) if mask is None else target.loss(y, p, w, mask=mask)
                parts.append((target, value))
        scaled = [value if t.weight is None else value * float(t.weight) for t, value in parts]
        total = functools.reduce(f.add, scaled) if scaled else None
        parts.sort(key=lambda part: part[0].rank)
        return total, [(f"{t.port.name}_loss", value) for t, value in parts] if len(parts) > 1 else []

    def measured(self, targets: Sequence[Target], labels: Sequence[Any], predictions: Sequence[Value],
                weights: Sequence[Value | None]) -> list[Measured]:
        """The metrics with the names of their results, and the labels, predictions and weights that each counts.

        Those of several outputs are in the order of their names, as the list is that Keras's `evaluate` gives.
        """
        taken: set[str] = set()
        several = len(targets) > 1
        found: list[Measured] = []
        for kind in ("metrics", "weighted"):
            for target, y, p, w in zip(targets, labels, predictions, weights, strict=True):
                for given in getattr(target, kind):
                    metric = metrics.resolve(given, y, p)
                    name = free_name(taken, target.port.name if several else "", metric.name, kind == "weighted")
                    found.append((name, metric, y, p, w if kind == "weighted" else None))
        return sorted(found, key=lambda one: one[0]) if several else found


def add_up(losses_: Sequence[Value]) -> Value | None:
    """The sum of losses, each of which is summed itself."""
    total = None
    for value in losses_:
        value = f.sum(value) if value.ndim else value
        total = value if total is None else f.add(total, value)
    return total


def whole_loss(total: Value | None, extra: Sequence[Value]) -> Value | None:
    """The loss of the outputs together with what layers and regularizers add."""
    with origin("loss"):
        added = add_up(extra)
        return total if added is None else added if total is None else f.add(total, added)


def _looked_up(given: Any) -> Any:
    """Metrics in the structure in which they were given, one alone in a list."""
    if given is None:
        return None
    nested = given if is_nested(given) else [given]
    return mapped(lambda m: None if m is None else metrics.get(m), nested)


def _spread(argument: str, given: Any, own: Sequence[Port]) -> list[Any]:
    """What was given for each output, None where there is nothing."""
    names = [p.name for p in own]
    if given is None or (is_nested(given) and not given):
        return [None] * len(own)
    if not is_nested(given):
        if len(own) == 1:
            return [given]
        raise ValueError(f"compile({argument}={given!r}): the model has the outputs {', '.join(map(repr, names))}: "
                         "give a list with one for each, or a dict by their names.")
    if isinstance(given, Mapping):
        unknown = [name for name in given if name not in names]
        if unknown:
            raise ValueError(f"compile({argument}=...) has the key {unknown[0]!r}, expected names of outputs: "
                             f"{', '.join(map(repr, names))}.")
        return [given.get(name) for name in names]
    if len(given) != len(own):
        raise ValueError(f"compile({argument}=...) has {len(given)} entries, expected {len(own)}, one for each of the "
                         f"outputs {', '.join(map(repr, names))}. Give a list, or a dict by the outputs' names.")
    return list(given)


def _metrics_of(argument: str, given: Any, own: Sequence[Port]) -> list[tuple[Metric, ...]]:
    """The metrics of each output; of the only one all that there are."""
    if len(own) == 1:
        return [tuple(m for m in flat(given) if m is not None)] if given is not None else [()]
    return [tuple(m for m in flat(part) if m is not None) for part in _spread(argument, given, own)]


def free_name(taken: set[str], output: str, metric: str, weighted: bool) -> str:
    """A name that no other result has, as Keras makes it."""
    prefix = f"{output}_" if output else ""
    candidates = [f"{prefix}{metric}"]
    if weighted:
        candidates.append(f"{prefix}weighted_{metric}")
    name = next((c for c in candidates if c not in taken), "")
    count = 0
    while not name:
        count += 1
        name = "" if f"{candidates[-1]}_{count}" in taken else f"{candidates[-1]}_{count}"
    taken.add(name)
    return name

