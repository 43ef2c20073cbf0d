"""Steps: the graphs of training, evaluation and prediction, and programs bound to the arrays of their state."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.initializers import draw_seed
from graphc.ir import functions as f
from graphc.ir.graph import Graph, Value, origin, topological
from graphc.ir.tree import flat, mapped
from graphc.ir.types import dim
from graphc.limits import Guarded, extremes, sort_out
from graphc.metrics import Metric
from graphc.objective import free_name, whole_loss
from graphc.ports import Port, labels_of
from graphc.runtime import compile as compile_graph
from graphc.runtime.forks import MAKING
from graphc.tracing import Trace, tracing
from graphc.variable import Variable

__all__ = ["Averages", "Feed", "Step", "bind", "finished", "graph_of", "new_random_key", "remembered",
           "symbolic_input", "symbolic_inputs", "trace_step"]

_MOST = 64  # programs that a layer or model keeps

def symbolic_input(shape: Sequence[int | None], dtype: Any = "f32", label: str = "x") -> Value:
    """An input of a shape whose first axis is the batch N and whose other unknown sizes are D1, D2, ..."""
    dims = (dim(f"D{i}") if d is None else int(d) for i, d in enumerate(shape[1:], 1))
    return f.input(label, (dim("N"), *dims), dtype)


def new_random_key() -> Variable:
    """A seed and a counter for the random numbers of one model."""
    return Variable(np.array([draw_seed(), 0], np.uint32), "random/key", trainable=False)


@dataclass(frozen=True, eq=False)
class Step:
    """A graph with what its outputs say: losses, each the mean of a batch, then the numbers of each metric.

    `names` are those of the results, the losses first. `metrics` are the metrics with how many outputs each has. A step
    of the user's own has results of which the last batch's counts in place of losses, and all names in its order in
    `last`.
    """

    graph: Graph
    names: tuple[str, ...] = ()
    metrics: tuple[tuple[Metric, int], ...] = ()
    last: tuple[str, ...] = ()
    resets: tuple[Metric, ...] = ()  # metrics that keep what they count in states of the step
    limits: tuple[Any, ...] = ()  # what is checked when the step runs, see graphc.limits

    @property
    def outputs(self) -> tuple[tuple[str, Value], ...]:
        """The graph's outputs without those that are only checked."""
        return self.graph.outputs[:len(self.graph.outputs) - len(extremes(self.limits))]


class Averages:
    """The losses and the metrics of one epoch so far. Sums are kept in float64.

    It begins here, or goes on from what was `saved` of it; then states of the step have what metrics keep there.
    """

    def __init__(self, step: Step, saved: Any = None):
        self._step = step
        self._means = len(step.names) - len(step.metrics)  # how many outputs are means, or results, of a batch
        self._shapes: list[Any] = [value.shape for _, value in step.outputs]
        self._totals: list[Any] = [0.0] * len(self._shapes)
        self._samples = 0
        if saved is not None:
            self._totals, self._samples = saved
            return
        for metric in (*(m for m, _ in step.metrics), *step.resets):
            metric.reset_state()

    def saved(self) -> Any:
        """What other averages can go on from."""
        return list(self._totals), self._samples

    def add(self, outputs: Sequence[np.ndarray], samples: int) -> None:
        """Count batches, one for each number or array in an output.

        The mean losses of each weigh as much as the batch has samples, the rest are sums already.
        """
        batches = 1
        for i, shape in enumerate(self._shapes):
            each = outputs[i].reshape(-1, *shape)
            batches = len(each)
            if self._step.last and i < self._means:
                self._totals[i] = each[-1]
            elif shape:
                self._totals[i] = self._totals[i] + each.sum(0, dtype=np.float64)
            else:
                weight = samples if i < self._means else 1
                for value in each.tolist():
                    self._totals[i] += value * weight
        self._samples += samples * batches

    def results(self) -> dict[str, Any]:
        """Losses first, then the metrics in the order of `compile`: numbers, or arrays where a metric gives some."""
        values, place = self._totals[:self._means], self._means
        if not self._step.last:
            values = [total / self._samples for total in values]
        for metric, count in self._step.metrics:
            metric.restore(self._totals[place:place + count], self._samples)
            values.append(metric.result())
            place += count
        found = {name: array.astype(np.float32) if array.ndim else float(array)
                 for name, array in zip(self._step.names, map(np.asarray, values), strict=True)}
        return {name: found[name] for name in self._step.last or self._step.names}


@dataclass(frozen=True)
class Feed:
    """What a step is given besides the inputs: shape and dtype of labels that aren't as a loss expects, and weights.

    `weights` are the shapes of the weights of samples, without the batch: none, one for all outputs, or one for each.
    A size of None is that of the output. Unknown sizes of several inputs are one symbol for each axis, but for the
    inputs (by their places) and axes in `apart`, whose data have another size.
    """

    labels: tuple[tuple[tuple[int | None, ...], str] | None, ...] = ()
    weights: tuple[tuple[int | None, ...], ...] = ()
    apart: tuple[tuple[int, int], ...] = ()
    nests: tuple[str, str] = ("None", "None")  # the structures of labels and weights, for steps of the user's own


def symbolic_inputs(model: Any, apart: Collection[tuple[int, int]] = ()) -> Any:
    """The symbolic inputs of a model in its structure; see `Feed.apart`."""
    labels = enumerate(labels_of("x", model.takes))

    def symbol(port: Port) -> Value:
        place, label = next(labels)
        first, *rest = symbolic_input((None, *port.shape), port.dtype, label).shape
        rest = [dim(f"{d}_{place}") if (place, axis) in apart else d for axis, d in enumerate(rest, 1)]
        return f.input(label, (first, *rest), port.dtype)

    return mapped(symbol, model.takes)


def trace_step(kind: str, model: Any, feed: Feed | None = None) -> Step:
    """The graph of one step of a built model: `train`, `evaluate` or `predict`."""
    feed = feed or Feed()
    if model.has_own_step(kind):
        from graphc.own_steps import trace_own  # which builds on steps

        return trace_own(kind, model, feed)
    x = symbolic_inputs(model, feed.apart)
    with tracing(Trace(kind == "train", model.random_key)) as trace:
        predicted = model.forward(x)
        predictions = list(flat(predicted))
        if kind == "predict":
            names = labels_of("prediction", model.gives)
            return finished(kind, model, flat(x), zip(names, predictions, strict=True), trace)
        targets = model.targets()
        given_labels = feed.labels or (None,) * len(targets)
        labels = list(map(_label, targets, predictions, labels_of("y", model.gives), given_labels))
        given, weights = _weights(feed, targets, predictions, labels_of("sample_weight", model.gives))
        objective = model.objective
        with origin("loss"):
            total, parts = objective.total(targets, labels, predictions, weights, trace)
        loss = whole_loss(total, model.losses)
        if loss is None:
            raise ValueError(f"The model {model.name!r} was compiled without a loss, and no layer adds one. Call "
                             "model.compile(optimizer, loss=...).")
        outputs, measured = [("loss", loss), *parts], []
        names = [name for name, _ in outputs]
        with origin("metrics"):
            for name, metric, *counted in objective.measured(targets, labels, predictions, weights):
                sums = metric.update(*counted)
                outputs += ((name if not i else f"{name}.{i}", v) for i, v in enumerate(sums))
                names.append(name)
                measured.append((metric, len(sums)))
            for metric, sums in trace.metrics.items():  # those that layers have updated
                name = free_name(set(names), "", metric.name, False)
                outputs += ((name if not i else f"{name}.{i}", v) for i, v in enumerate(sums))
                names.append(name)
                metric._parts = [(metric, len(sums))]
                measured.append((metric, len(sums)))
        updates: list[tuple[Value, Value]] = []
        if kind == "train":
            parameters = model.trainable_weights
            gradients = f.gradient(model.optimizer.scale_loss(loss), parameters) if parameters else []
            updates = model.optimizer.updates(parameters, gradients)
    inputs = [*flat(x), *(y for y in labels if y is not None), *given]
    return finished(kind, model, inputs, outputs, trace, updates, names, measured)


def finished(kind: str, model: Any, inputs: Iterable[Value], outputs: Iterable[tuple[str, Value]], trace: Trace,
             updates: Sequence[tuple[Value, Value]] = (), names: Sequence[str] = (),
             metrics: Sequence[tuple[Metric, int]] = ()) -> Step:
    """A step with the updates that its layers made, and the counter of random numbers raised where it took any."""
    moved = {variable for variable, _ in updates}  # by the optimizer, which goes on from what a layer assigned
    own = [*updates, *((v, new) for v, new in trace.updates.items() if v not in moved)]
    if trace.streams and kind == "train":
        with origin("random"):
            own.append((trace.key, f.add(trace.key, f.iota((2,), (0,), "u32"))))  # type: ignore[arg-type]
    slots = model.optimizer.variables if kind == "train" else []
    inputs = tuple(inputs)
    _, limits = sort_out(trace.limits, inputs)
    known = [*model.weights, model.random_key, *slots]
    graph = graph_of(kind, known, inputs, (*outputs, *extremes(limits)), tuple(own))
    return Step(graph, tuple(names), tuple(metrics), limits=tuple(limits))


def _label(target: Any, prediction: Value, label: str, given: tuple[Sequence[int | None], Any] | None) -> Value | None:
    """The symbolic labels of an output, as its loss takes them."""
    if not target.labelled:
        return None
    if target.targets == "classes":
        return f.input(label, prediction.shape[:-1], "i32")
    if target.targets == "same" or given is None:
        return f.input(label, prediction.shape, "f32")
    return f.input(label, _sized(given[0], prediction), given[1])


def _sized(sample: Sequence[int | None], prediction: Value) -> tuple[Any, ...]:
    """The shape of a batch of samples, whose unknown sizes are those of a prediction."""
    return (prediction.shape[0], *(prediction.shape[i] if d is None else d for i, d in enumerate(sample, 1)))


def _weights(feed: Feed, targets: Sequence[Any], predictions: Sequence[Value],
             labels: Sequence[str]) -> tuple[list[Value], list[Value | None]]:
    """The symbolic weights of samples that a step receives, and those of each output."""
    if len(feed.weights) < 2:
        given = [f.input("sample_weight", _sized(shape, predictions[0]), "f32") for shape in feed.weights]
        return given, [given[0] if given else None] * len(targets)
    shapes = iter(feed.weights)
    weights = [f.input(label, _sized(next(shapes), p), "f32") if t.labelled else None
               for t, p, label in zip(targets, predictions, labels, strict=True)]
    return [w for w in weights if w is not None], weights


def graph_of(kind: str, known: Sequence[Variable], inputs: tuple[Value, ...], outputs: tuple[tuple[str, Value], ...],
             updates: tuple[tuple[Value, Value], ...]) -> Graph:
    """The graph with every variable that it reaches as state: first those that are known, in their order.

    Where layers of inner models, or two optimizers, have one name, a number sets their variables apart.
    """
    reached = {v for v in topological([*(v for _, v in outputs), *(v for pair in updates for v in pair)])
               if isinstance(v, Variable)}
    state = [v for v in dict.fromkeys(known) if v in reached]
    state += sorted(reached.difference(state), key=lambda v: v.label)
    labels: dict[str, Variable] = {}
    renamed: dict[Value, Value] = {}
    for variable in state:
        if labels.setdefault(variable.label, variable) is variable:
            continue
        path = next(p for i in itertools.count(1) if (p := f"{variable.path}_{i}").replace("/", ".") not in labels)
        renamed[variable] = twin = Variable(variable.array, path, variable.trainable)
        labels[twin.label] = twin
    graph = Graph(kind, inputs, tuple(state), outputs, updates)
    return graph.rebuild(lambda value, _: renamed.get(value)) if renamed else graph


def remembered(programs: dict[Any, Any], key: Any, make: Callable[..., Any], *arguments: Any) -> Any:
    """What a layer has made for a key, or makes now; of more than `_MOST` the oldest goes."""
    found = programs.get(key)
    if found is None:
        with MAKING:
            found = programs.get(key)  # another thread may have made it meanwhile
            if found is None:
                found = make(*arguments)
                while len(programs) >= _MOST:
                    programs.pop(next(iter(programs)))
                programs[key] = found
    return found


def bind(graph: Graph, limits: Sequence[Any] = (), who: str = "") -> Any:
    """A program on the arrays of the graph's variables; with limits one that checks them, in the name of `who`."""
    arrays = {v.label: v.array for v in graph.state if isinstance(v, Variable)}
    program = compile_graph(graph, arrays)
    return Guarded(program, limits, who) if limits else program
