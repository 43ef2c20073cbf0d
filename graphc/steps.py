"""Steps: the graphs of training, evaluation and prediction, and programs bound to the arrays of their state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.data import as_array
from graphc.initializers import draw_seed
from graphc.ir import functions as f
from graphc.ir.graph import Graph, Value, origin, topological
from graphc.ir.types import dim
from graphc.metrics import Metric, resolve
from graphc.runtime import compile as compile_graph
from graphc.tracing import Trace, tracing
from graphc.variable import Variable

if TYPE_CHECKING:
    from graphc.layers.layer import Layer

__all__ = ["Averages", "Step", "bind", "new_random_key", "run_now", "symbolic_input", "trace_step"]


def symbolic_input(shape: Sequence[int | None], dtype: Any = "f32", label: str = "x") -> Value:
    """An input of a shape whose first axis is the batch N and whose other unknown sizes are D1, D2, ..."""
    dims = (dim(f"D{i}") if d is None else int(d) for i, d in enumerate(shape[1:], 1))
    return f.input(label, (dim("N"), *dims), dtype)


def new_random_key() -> Variable:
    """A seed and a counter for the random numbers of one model."""
    return Variable(np.array([draw_seed(), 0], np.uint32), "random/key", trainable=False)


@dataclass(frozen=True, eq=False)
class Step:
    """A graph, and the metrics whose numbers follow the loss in its outputs, with how many each has."""

    graph: Graph
    metrics: tuple[tuple[Metric, int], ...] = ()


class Averages:
    """The loss and the metrics of one epoch so far, which begins here. Sums are kept in float64."""

    def __init__(self, step: Step):
        self._metrics = step.metrics
        self._shapes: list[Any] = [value.shape for _, value in step.graph.outputs]
        self._totals: list[Any] = [0.0] * len(self._shapes)
        self._samples = 0
        for metric, _ in self._metrics:
            metric.reset_state()

    def add(self, outputs: Sequence[np.ndarray], samples: int) -> None:
        """Count batches, one for each number or array in an output.

        The mean loss of each weighs as much as the batch has samples, the rest are sums already.
        """
        totals, losses = self._totals, outputs[0].ravel().tolist()
        for loss in losses:
            totals[0] += loss * samples
        for i in range(1, len(totals)):
            if self._shapes[i]:
                each = outputs[i].reshape(len(losses), *self._shapes[i])
                totals[i] = totals[i] + each.sum(0, dtype=np.float64)
            else:
                for value in outputs[i].ravel().tolist():
                    totals[i] += value
        self._samples += samples * len(losses)

    def results(self) -> dict[str, Any]:
        """Loss first, then the metrics in the order of `compile`: numbers, or arrays of the metrics that give some."""
        result: dict[str, Any] = {"loss": self._totals[0] / self._samples}
        place = 1
        for metric, count in self._metrics:
            metric.restore(self._totals[place:place + count], self._samples)
            value = np.asarray(metric.result())
            result[metric.name] = value.astype(np.float32) if value.ndim else float(value)
            place += count
        return result


def trace_step(kind: str, model: Any, targets: tuple[Sequence[int | None], Any] | None = None,
               weighted: bool = False) -> Step:
    """The graph of one step of a built model: `train`, `evaluate` or `predict`.

    `targets` is the shape and dtype of the labels, where the loss doesn't say what they are. A weighted step has
    one more input, the weight of each sample.
    """
    training = kind == "train"
    x = symbolic_input((None, *model.sample_shape), model.input_dtype)
    with tracing(Trace(training, model.random_key)) as trace:
        prediction = model.forward(x)
        if kind == "predict":
            return Step(_graph(kind, model, (x,), (("prediction", prediction),), ()))
        y = _target(model.loss, prediction, targets)
        inputs = (x, y, symbolic_input((None,), "f32", "sample_weight")) if weighted else (x, y)
        with origin("loss"):
            loss = model.loss(y, prediction, *inputs[2:])
        outputs, metrics = [("loss", loss)], []
        with origin("metrics"):
            for metric in (resolve(m, y, prediction) for m in model.metrics):
                sums = metric.update(y, prediction)
                outputs += ((metric.name if not i else f"{metric.name}.{i}", v) for i, v in enumerate(sums))
                metrics.append((metric, len(sums)))
        updates: list[tuple[Value, Value]] = [*trace.updates.items()]  # metrics have some in an evaluation, too
        if training:
            parameters = model.trainable_weights
            gradients = f.gradient(loss, parameters) if parameters else []
            updates = [*model.optimizer.updates(parameters, gradients), *updates]
            if trace.streams:
                with origin("random"):
                    updates.append((trace.key, f.add(trace.key, f.iota((2,), (0,), "u32"))))  # type: ignore[arg-type]
    return Step(_graph(kind, model, inputs, tuple(outputs), tuple(updates)), tuple(metrics))


def _target(loss: Any, prediction: Value, given: tuple[Sequence[int | None], Any] | None) -> Value:
    if loss.targets == "classes":
        return f.input("y", prediction.shape[:-1], "i32")
    if loss.targets == "same" or given is None:
        return f.input("y", prediction.shape, "f32")
    return symbolic_input(given[0], given[1], "y")


def _graph(kind: str, model: Any, inputs: tuple[Value, ...], outputs: tuple[tuple[str, Value], ...],
           updates: tuple[tuple[Value, Value], ...]) -> Graph:
    """The graph with every variable that it reaches as state: weights first, as the model orders them."""
    reached = {v for v in topological([*(v for _, v in outputs), *(v for pair in updates for v in pair)])
               if isinstance(v, Variable)}
    known = [*model.weights, model.random_key, *(model.optimizer.variables if updates else [])]
    state = [v for v in known if v in reached]
    state += sorted(reached.difference(state), key=lambda v: v.label)
    labels: dict[str, Variable] = {}
    for variable in state:
        if labels.setdefault(variable.label, variable) is not variable:
            raise ValueError(f"Two weights of the model have the path {variable.path!r}. Give their layers different "
                             "names.")
    return Graph(kind, inputs, tuple(state), outputs, updates)


def bind(graph: Graph) -> Any:
    """A program on the arrays of the graph's variables."""
    arrays = {v.label: v.array for v in graph.state if isinstance(v, Variable)}
    return compile_graph(graph, arrays)


def run_now(layer: Layer, inputs: Any, training: bool) -> Any:
    """What a layer or model makes of arrays, outside of any model's programs."""
    arrays = [as_array(a, layer.input_dtype, f"{layer.name!r} received as input")
              for a in (inputs if isinstance(inputs, list | tuple) and _are_arrays(inputs) else [inputs])]
    if any(not a.ndim for a in arrays):
        raise ValueError(f"{layer.name!r} received a single number, expected an array whose first axis is the batch.")
    key = ("call", training, *((a.shape[1:], a.dtype.str) for a in arrays))
    if key not in layer._programs:
        values = [symbolic_input(a.shape, a.dtype, f"x{i}") for i, a in enumerate(arrays)]
        random = vars(layer).get("random_key") or new_random_key()
        with tracing(Trace(training, random)) as trace:
            result = layer.forward(values[0]) if layer.scopeless else _scoped(layer, values)
        updates = [*trace.updates.items()] if training else []
        if trace.streams:
            updates.append((random, f.add(random, f.iota((2,), (0,), "u32"))))
        graph = _graph("call", _Alone(layer, random), tuple(values), (("result", result),), tuple(updates))
        layer._programs[key] = (bind(graph), result)
    program, result = layer._programs[key]
    if not len(arrays[0]):
        return np.empty([d if isinstance(d, int) else 0 for d in result.shape], result.dtype.numpy)
    (output,) = program(*arrays)
    return np.array(output)


def _scoped(layer: Layer, values: list[Value]) -> Value:
    with origin(layer.name):
        return layer.forward(values if len(values) > 1 else values[0])


def _are_arrays(inputs: Iterable[Any]) -> bool:
    return all(isinstance(a, np.ndarray | Variable) for a in inputs) and bool(inputs)


class _Alone:
    """A layer in the place of a model."""

    def __init__(self, layer: Layer, random_key: Variable):
        self.weights, self.random_key = layer.weights, random_key
        self.optimizer = self
        self.variables: list[Variable] = []
