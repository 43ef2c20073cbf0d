"""Steps of the user's own: `train_step`, `test_step` or `predict_step` of a subclass of Model, traced as one step.

https://keras.io/guides/custom_train_step_in_jax/ has Keras's form. Here the methods receive symbolic data, get
gradients by `graphc.value_and_grad`, and return a dict of results: values, of which the last batch's counts, or
metrics.
"""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import Any

import numpy as np

from graphc.data import as_array, raw_array
from graphc.functional import run
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value
from graphc.ir.tree import flat, is_nested, mapped
from graphc.metrics import Metric
from graphc.ports import kept
from graphc.steps import Feed, Step, finished, symbolic_input, symbolic_inputs
from graphc.tracing import Trace, tracing
from graphc.utils.splitting import pack_x_y_sample_weight

__all__ = ["own_data", "trace_own"]


def own_data(rows: int, y: Any, sample_weight: Any, who: str) -> tuple[list[np.ndarray], tuple[str, str]]:
    """The arrays of labels and weights as they are, and the structures in which they came."""
    arrays: list[np.ndarray] = []

    def take(thing: Any) -> Any:
        if thing is None:
            return None
        array = raw_array(thing, who)
        array = as_array(array, kept(array.dtype), who)
        if array.shape[:1] != (rows,):
            raise ShapeError(f"{who} an array of shape {list(array.shape)}, expected {rows} rows as in x.")
        arrays.append(array)
        return len(arrays) - 1

    def whole(data: Any) -> Any:  # numbers in lists are one array
        several = isinstance(data, dict) or (is_nested(data) and any(hasattr(d, "shape") for d in data))
        return repr(mapped(take, data) if several else take(data))

    return arrays, (whole(y), whole(sample_weight))


def trace_own(kind: str, model: Any, feed: Feed) -> Step:
    """The step that a model's own methods describe."""
    x = symbolic_inputs(model, feed.apart)
    with tracing(Trace(kind == "train", model.random_key)) as trace:
        if kind == "predict":
            predicted = model.predict_step(pack_x_y_sample_weight(x))
            model._predicted = mapped(lambda v: None if v is None else 0, predicted)
            outputs = [(f"prediction{i or ''}", v) for i, v in enumerate(flat(predicted))]
            return finished(kind, model, flat(x), outputs, trace)
        made = [given for given in feed.labels if given is not None]
        values = [symbolic_input((None, *shape), dtype, f"y{i or ''}") for i, (shape, dtype) in enumerate(made)]
        y, weights = (mapped(lambda i: None if i is None else values[i], ast.literal_eval(nest)) for nest in feed.nests)
        results = (model.train_step if kind == "train" else model.test_step)(pack_x_y_sample_weight(x, y, weights))
        name = "train_step" if kind == "train" else "test_step"
        if not isinstance(results, dict):
            raise TypeError(f"{type(model).__name__}.{name} gave {type(results).__name__}, expected a dict of results, "
                            "such as {'loss': loss}.")
        last: dict[str, Value] = {}
        metrics: dict[str, Metric] = {}
        for result, thing in results.items():
            if isinstance(thing, Metric):
                if thing not in trace.metrics:
                    raise ValueError(f"{type(model).__name__}.{name} gives the metric {result!r}, which it hasn't "
                                     "updated. Call update_state first.")
                metrics[result] = thing
            elif isinstance(thing, Value) and not all(isinstance(d, int) for d in thing.shape):
                raise ShapeError(f"{type(model).__name__}.{name} gives the result {result!r} as {thing.type}, a number "
                                 "for each row, expected one for the batch. Take its mean with ops.mean.")
            else:
                last[result] = thing if isinstance(thing, Value) else f.constant(float(thing), "f32")
        kept_by_metrics = [m for m in model.metrics if m.variables]
        changed = {v: trace.updates[v] for m in kept_by_metrics for v in m.variables if v in trace.updates}
        if changed:  # results of metrics with variables are those after this step
            last = dict(zip(last, flat(run(list(last.values()), dict(changed))), strict=True))
        outputs = list(last.items())
        for result, metric in metrics.items():
            sums = trace.metrics[metric]
            metric._parts = [(metric, len(sums))]
            outputs += [(result if not i else f"{result}.{i}", v) for i, v in enumerate(sums)]
    measured = [(m, len(trace.metrics[m])) for m in metrics.values()]
    step = finished(kind, model, [*flat(x), *values], outputs, trace, (), [*last, *metrics], measured)
    return replace(step, last=tuple(results), resets=tuple(kept_by_metrics))
