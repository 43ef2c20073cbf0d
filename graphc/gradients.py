"""Gradients for training loops of the user's own: `graphc.value_and_grad`.

The function is called once with symbolic values; what it computes and its gradients become a program, as the steps of
`fit` do. Inside a step that is being traced (`Model.train_step`) they become a part of that step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.data import as_array
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value
from graphc.ir.tree import flat, mapped, structured
from graphc.ports import kept
from graphc.steps import bind, graph_of, new_random_key, remembered, symbolic_input
from graphc.tracing import Trace, current_trace, in_place_of, tracing
from graphc.variable import Variable

__all__ = ["value_and_grad"]


def value_and_grad(function: Callable[..., Any], variables: Sequence[Variable] | Variable | None = None,
                   has_aux: bool = False) -> Callable[..., tuple[Any, Any]]:
    """A function that gives what `function` gives, one number, and its gradients by the variables.

    `function` is written with layers, losses and `graphc.ops`. Gradients have the structure of `variables`; without
    any they are those by the first argument. With `has_aux` it gives a pair, the number and anything else, such as
    predictions, which is passed on. On arrays it is compiled once for each kind of arguments, so what it reads besides
    its arguments and variables is read then. Statistics that layers keep in training change as in `fit`.

        step = graphc.value_and_grad(lambda x, y: loss(y, model(x, training=True)), model.trainable_weights)
        value, gradients = step(x, y)
        optimizer.apply(gradients, model.trainable_weights)
    """
    programs: dict[Any, Any] = {}
    key = new_random_key()

    def traced(trace: Trace, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, Any]:
        before = trace.moved  # by earlier updates in the same step, which the function is to see
        for state in before:
            del trace.updates[state]
        result = function(*args, **options)
        if before:
            states, parts = list(trace.moved), [v for v in flat(result) if isinstance(v, Value)]
            new = in_place_of(before, [*(trace.updates[s] for s in states), *parts])
            trace.updates |= before | dict(zip(states, new, strict=False))
            left = iter(new[len(states):])
            result = mapped(lambda v: next(left) if isinstance(v, Value) else v, result)
        loss = result[0] if has_aux else result
        if not isinstance(loss, Value) or loss.ndim:
            kind = loss.type if isinstance(loss, Value) else type(loss).__name__
            hint = " With has_aux=True it gives a pair." if isinstance(loss, tuple) else ""
            raise ShapeError(f"value_and_grad: the function gave {kind}, expected one number, f32[].{hint} Reduce it "
                             "with graphc.ops.mean or sum.")
        wrt = [before.get(v, v) for v in flat(args[0] if variables is None else variables)]
        gradients = f.gradient(loss, wrt) if wrt else []
        return result, structured(args[0] if variables is None else variables, gradients)

    def call(*args: Any, **options: Any) -> tuple[Any, Any]:
        around = current_trace()
        if around is not None:
            return traced(around, args, options)
        arrays = [as_array(a, kept(np.asarray(a).dtype), "value_and_grad received")
                  for a in flat((args, options)) if _is_array(a)]
        found = repr(mapped(lambda a: None if _is_array(a) else a, (args, options)))
        kind = (found, *((a.shape[1:], a.ndim, a.dtype.str) for a in arrays))

        def make() -> tuple[Any, Any]:
            inputs = [symbolic_input(a.shape, a.dtype, f"x{i}") if a.ndim else f.input(f"x{i}", (), a.dtype)
                      for i, a in enumerate(arrays)]
            left = iter(inputs)
            with tracing(Trace(True, key)) as trace:
                results = traced(trace, *mapped(lambda a: next(left) if _is_array(a) else a, (args, options)))
            updates = [*trace.updates.items()]
            if trace.streams:
                updates.append((key, f.add(key, f.iota((2,), (0,), "u32"))))
            outputs = tuple((f"r{i}", v) for i, v in enumerate(v for v in flat(results) if isinstance(v, Value)))
            known = [key, *(v for v in flat(variables) if isinstance(v, Variable))]
            return bind(graph_of("value_and_grad", known, tuple(inputs), outputs, tuple(updates))), results

        program, results = remembered(programs, kind, make)
        made = iter([np.array(a) for a in program(*arrays)])
        return mapped(lambda v: next(made) if isinstance(v, Value) else v, results)

    return call


def _is_array(thing: Any) -> bool:
    return hasattr(thing, "__array__") and not isinstance(thing, np.generic | type)


