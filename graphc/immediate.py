"""Layers, models and functions called with arrays: each call is a small program, kept for others like it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.data import as_array, raw_array
from graphc.ir import functions as f
from graphc.ir.graph import Value, origin
from graphc.ir.tree import flat, mapped
from graphc.limits import extremes, sort_out
from graphc.ports import kept
from graphc.steps import bind, graph_of, new_random_key, remembered, symbolic_input
from graphc.tracing import Trace, tracing
from graphc.variable import Variable

if TYPE_CHECKING:
    from graphc.layers.layer import Layer

__all__ = ["penalty", "run_now"]


def run_now(layer: Layer, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """What a layer or model makes of arrays, outside of any model's programs."""
    who = f"{layer.name!r} received as input"
    if args and not _is_array(args[0]):  # numbers in lists are one array, arrays in lists or dicts are several
        several = isinstance(args[0], dict) or (isinstance(args[0], list | tuple) and any(map(_is_array, args[0])))
        args = args if several or args[0] is None else (raw_array(args[0], who), *args[1:])
    arrays: list[np.ndarray] = []
    raw: list[np.ndarray] = []  # as they were given
    constants: list[Any] = []

    def take(thing: Any) -> int | None:
        constants.append(None if _is_array(thing) else thing)
        if _is_array(thing):
            raw.append(np.asarray(thing))
            arrays.append(as_array(thing, _dtype(layer, thing), who))
        return len(arrays) - 1 if _is_array(thing) else None

    places = mapped(take, (args, options))
    if not arrays:
        raise ValueError(f"{layer.name!r} received {args!r}, expected arrays.")
    if not arrays[0].ndim:
        raise ValueError(f"{layer.name!r} received a single number, expected an array whose first axis is the batch.")
    key = ("call", repr(places), repr(constants), *((a.shape[1:] if a.ndim else (), a.ndim, a.dtype.str)
                                                    for a in arrays))

    def make() -> tuple[Any, ...]:
        values = [symbolic_input(a.shape, a.dtype, f"x{i}") if a.ndim else f.input(f"x{i}", (), a.dtype)
                  for i, a in enumerate(arrays)]
        left = iter(constants)

        def given(place: int | None) -> Any:
            other = next(left)
            return other if place is None else values[place]

        inputs, settings = mapped(given, places)
        random = vars(layer).get("random_key") or new_random_key()
        with tracing(Trace(bool(options.get("training")), random, batch=len(arrays[0]))) as trace, layer._scope():
            result = layer.forward(*inputs, **settings)
        outputs = [v for v in flat(result) if isinstance(v, Value)]
        in_data, limits = sort_out(trace.limits, values)
        return _program(layer, values, outputs, trace, random, limits), result, outputs, in_data

    program, result, outputs, in_data = remembered(layer._programs, key, make)
    for limit in in_data:
        limit.check(raw[limit.index], who)
    if not len(arrays[0]):
        found: Sequence[Any] = [np.empty([d if isinstance(d, int) else 0 for d in v.shape], v.dtype.numpy)
                                for v in outputs]
    else:
        found = [np.array(a) for a in program(*arrays)]
        layer._last_losses = found[len(outputs):]
    left_over = iter(found)
    return mapped(lambda v: next(left_over) if isinstance(v, Value) else v, result)


def _program(layer: Layer, inputs: Sequence[Value], outputs: Sequence[Value], trace: Trace, random: Variable,
             limits: Sequence[Any]) -> Any:
    """The program of a call: its results and the losses that were added, and the states that it changes."""
    updates = list(trace.updates.items())
    if trace.streams:
        updates.append((random, f.add(random, f.iota((2,), (0,), "u32"))))
    losses = [f.sum(v) for v in trace.losses]
    named = [(f"result{i or ''}", v) for i, v in enumerate(outputs)] + [(f"loss{i or ''}", v)
                                                                      for i, v in enumerate(losses)]
    graph = graph_of("call", [*layer.weights, random], tuple(inputs), (*named, *extremes(limits)), tuple(updates))
    return bind(graph, limits, f"A call of {layer.name!r}")


def _is_array(thing: Any) -> bool:
    return isinstance(thing, np.ndarray | Variable) or (hasattr(thing, "__array__") and not np.isscalar(thing)
                                                        and not isinstance(thing, type))


def _dtype(layer: Layer, array: Any) -> Any:
    """What an array becomes: what the layer says; without that floats are f32, and integers stay integers."""
    if layer.input_dtype is not None:
        return layer.input_dtype
    return kept(np.asarray(array).dtype)




def penalty(weight: Variable) -> float:
    """What a weight's regularizer adds to the loss at present."""
    with tracing(Trace()), origin("regularizer"):
        loss = weight.regularizer(weight)  # type: ignore[misc]
    return float(bind(graph_of("penalty", [weight], (), (("loss", loss),), ()))()[0])
