"""Branches and loops. https://keras.io/api/ops/core/

Where what decides has numbers, they are Python's; otherwise both branches are computed, and a loop is the op `scan`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.eager import as_array, as_value, is_symbolic
from graphc.ir import functions
from graphc.ir.graph import Value
from graphc.ir.tree import flat, structured
from graphc.ops.movement import stack
from graphc.tracing import current_trace

__all__ = ["cond", "fori_loop", "map", "scan", "switch", "vectorized_map", "while_loop"]

UNROLLED = 8  # so many steps of a loop over values are written out; more are a scan


def _choose(condition: Any, first: Any, second: Any) -> Any:
    """The first of two structures where the condition holds, else the second."""
    pairs = zip(flat(first), flat(second), strict=True)
    scalar = functions.cast(as_value(condition), "bool")
    return structured(first, [functions.where(scalar, as_value(a), as_value(b)) for a, b in pairs])


def cond(pred: Any, true_fn: Callable[[], Any], false_fn: Callable[[], Any]) -> Any:
    """What one of two functions gives. Both are called where the condition has no number yet."""
    if is_symbolic(pred):
        return _choose(pred, true_fn(), false_fn())
    return true_fn() if bool(as_array(pred)) else false_fn()


def switch(index: Any, branches: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    """What one of the functions gives for the operands; the first or last one where the index lies outside."""
    if not is_symbolic(index):
        return branches[int(np.clip(as_array(index), 0, len(branches) - 1))](*operands)
    result = branches[-1](*operands)
    for i in reversed(range(len(branches) - 1)):
        result = _choose(functions.less_equal(as_value(index), i), branches[i](*operands), result)
    return result


def while_loop(cond: Callable[..., Any], body: Callable[..., Any], loop_vars: Any,
               maximum_iterations: int | None = None) -> Any:
    """The loop variables after `body` was applied as long as `cond` of them holds.

    Where the condition has no number yet, `maximum_iterations` steps are made, the ones after the end without effect.
    """
    several = isinstance(loop_vars, list | tuple)
    variables = tuple(loop_vars) if several else (loop_vars,)

    def after(state: tuple[Any, ...]) -> tuple[Any, ...]:
        result = body(*state)
        return tuple(result) if isinstance(result, list | tuple) else (result,)

    steps = 0
    while maximum_iterations is None or steps < maximum_iterations:
        goes_on = cond(*variables)
        if is_symbolic(goes_on):
            variables = _bounded(cond, after, variables, None if maximum_iterations is None else
                                 maximum_iterations - steps)
            break
        if not bool(as_array(goes_on)):
            break
        variables, steps = after(variables), steps + 1
    return type(loop_vars)(variables) if several else variables[0]


def _bounded(condition: Callable[..., Any], body: Callable[..., Any], variables: tuple[Any, ...],
             steps: int | None) -> tuple[Any, ...]:
    if steps is None:
        raise ValueError("while_loop: the condition has no number while the graph is made, so the number of steps is "
                         "not known. Give maximum_iterations, or use ops.fori_loop or ops.scan.")

    def step(state: Any, _: Any) -> tuple[Any, Any]:
        return _choose(functions.cast(as_value(condition(*state)), "bool"), body(state), state), ()

    return functions.scan(step, _values(variables), None, steps)[0]


def _values(structure: Any) -> Any:
    return structured(structure, [as_value(x) for x in flat(structure)])


def fori_loop(lower: Any, upper: Any, body_fun: Callable[[Any, Any], Any], init_val: Any) -> Any:
    """val = body_fun(i, val) for i from lower to upper - 1."""
    if is_symbolic(lower, upper) and isinstance(lower, Value) | isinstance(upper, Value):
        raise ValueError("fori_loop needs bounds that are known while the graph is made. Use ops.while_loop with "
                         "maximum_iterations.")
    first, steps = lower, upper - lower
    if isinstance(steps, int | np.integer | np.ndarray) and (int(steps) <= UNROLLED or not (
            is_symbolic(init_val) or current_trace() is not None)):
        value = init_val
        for i in range(int(first), int(first) + int(steps)):
            value = body_fun(i, value)
        return value
    counts = functions.add(functions.iota((steps,), (0,), "i32"), first)
    return functions.scan(lambda value, i: (body_fun(i, value), ()), _values(init_val), counts)[0]


def scan(f: Callable[[Any, Any], tuple[Any, Any]], init: Any, xs: Any = None, length: int | None = None,
         reverse: bool = False, unroll: Any = 1) -> tuple[Any, Any]:
    """(carry, y) = f(carry, x) for every slice x of xs along axis 0: the last carry, and the ys stacked.

    The arguments may be structures of arrays; `reverse` begins at the last slice, y stays in the order of xs. `unroll`
    is Keras's, and has no effect on the result.
    """
    if is_symbolic(init, xs) or current_trace() is not None:
        return functions.scan(lambda carry, x: f(carry, x), _values(init), _values(xs), length, reverse)
    slices = [as_array(x) for x in flat(xs)]
    if length is None and not slices:
        raise ValueError("scan needs xs or a length.")
    count = slices[0].shape[0] if slices else int(length)  # type: ignore[arg-type]
    if any(x.shape[0] != count for x in slices) or length not in (None, count):
        raise ValueError(f"scan: xs of {[x.shape[0] for x in slices]} slices, and length={length}.")
    carry, ys = init, []
    for i in (reversed(range(count)) if reverse else range(count)):
        carry, y = f(carry, structured(xs, [x[i] for x in slices]))
        ys.append(y)
    return carry, _stacked(ys[::-1] if reverse else ys)


def _stacked(results: Sequence[Any]) -> Any:
    """The parts of equal structures, each stacked."""
    if not results:
        return None
    parts = zip(*(list(flat(r)) for r in results), strict=True)
    return structured(results[0], [stack(list(p)) for p in parts])


def map(f: Callable[[Any], Any], xs: Any) -> Any:
    """What the function gives for every slice of xs along axis 0, stacked."""
    return scan(lambda carry, x: (carry, f(x)), (), xs)[1]


def vectorized_map(function: Callable[[Any], Any], elements: Any) -> Any:
    """What the function gives for every slice of the elements along axis 0, stacked."""
    return map(function, elements)
