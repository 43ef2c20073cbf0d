"""Two interpreters of graphs in NumPy: by `reference`, and by `define` over grids of indices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from graphc.ir.errors import GraphcError
from graphc.ir.expr import REDUCTIONS, SCALARS, Axis, Expr, axis, load
from graphc.ir.graph import Graph, Value
from graphc.ir.op import Op, Operand
from graphc.ir.ops.structure import Item, Kernel, Scan
from graphc.ir.types import TensorType, bind_shape, evaluate_dim

__all__ = ["by_definition", "by_reference", "evaluate", "evaluate_values", "scan_steps"]

Interpreter = Callable[[Op, Sequence[Any], TensorType], Any]


def by_reference(op: Op, operands: Sequence[Any], result: TensorType) -> Any:
    """One op by its NumPy meaning."""
    with np.errstate(all="ignore"):
        return op.reference(*operands)


def by_definition(op: Op, operands: Sequence[Any], result: TensorType) -> Any:
    """One op by evaluating its definition at every output index at once."""
    if isinstance(op, Item):
        return operands[0][op.index]
    axes = [Axis(f"i{k}", n) for k, n in enumerate(result.shape)]
    readers = []
    for k, array in enumerate(operands):
        t = TensorType(result.dtype.of(array.dtype), array.shape)
        readers.append(Operand(t, partial(load, k, dtype=t.dtype)))
    element = op.define(tuple(map(axis, axes)), *readers)
    shape: Any = result.shape
    return np.broadcast_to(evaluate_expr(element, axes, operands), shape).astype(result.dtype.numpy)


def evaluate_expr(root: Expr, axes: Sequence[Axis], buffers: Any) -> np.ndarray:
    """The values of an expression over the grid of its free axes; loads index `buffers` and are bounds-checked."""
    rank = len(axes) + root.height * 8
    places = {a: i for i, a in enumerate(axes)}
    grid = {a: _grid(a, i, rank) for a, i in places.items()}

    def inside(expr: Expr, depth: int, grid: dict[Axis, np.ndarray]) -> np.ndarray:
        done: dict[Expr, np.ndarray] = {}
        stack = [expr]
        while stack:
            e = stack[-1]
            if e.op == "reduce":
                combine, identity = REDUCTIONS[e.attr[0]]
                used = range(depth, depth + len(e.attr[1]))
                inner = grid | {a: _grid(a, i, rank) for a, i in zip(e.attr[1], used, strict=True)}
                body = inside(e.args[0], depth + len(e.attr[1]), inner)
                shape = list(np.broadcast_shapes(body.shape, *(inner[a].shape for a in e.attr[1])))
                body = np.broadcast_to(body, shape)
                ufunc: Any = SCALARS[combine].numpy
                options = {} if combine in ("max", "min") else {"dtype": body.dtype}
                done[e] = ufunc.reduce(body, axis=tuple(used), keepdims=True, initial=identity(e.dtype), **options)
                stack.pop()
                continue
            missing = [a for a in e.args if a not in done]
            if missing:
                stack.extend(missing)
                continue
            done[e] = _one(e, [done[a] for a in e.args], grid, buffers)
            stack.pop()
        return done[expr]

    with np.errstate(all="ignore"):
        result = inside(root, len(axes), grid)
    return result.reshape(result.shape[:len(axes)]) if result.ndim else result


def _grid(a: Axis, place: int, rank: int) -> np.ndarray:
    assert isinstance(a.extent, int), f"the axis {a} has no known extent"
    shape = [1] * rank
    shape[place] = a.extent
    return np.arange(a.extent).reshape(shape)


def _one(e: Expr, args: list[np.ndarray], grid: Mapping[Axis, np.ndarray], buffers: Any) -> np.ndarray:
    if e.op in ("const", "size"):
        return np.asarray(e.attr, e.dtype.numpy)
    if e.op == "axis":
        return grid[e.attr]
    if e.op == "load":
        array = buffers[e.attr]
        for i, n in zip(args, array.shape, strict=True):
            if i.size and (i.min() < 0 or i.max() >= n):
                raise IndexError(f"{e} reads outside the shape {array.shape}")
        return array[tuple(args)] if args else np.asarray(array)
    if e.op == "select":
        return np.where(*args)
    if e.op == "cast":
        return args[0].astype(e.dtype.numpy)
    if e.op == "bitcast":
        return args[0].view(e.dtype.numpy)
    return np.asarray(SCALARS[e.op].numpy(*args))


def bind_arguments(graph: Graph, arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Check arrays against the leaves' types by label; the values of the symbolic sizes."""
    sizes: dict[str, int] = {}
    for value in graph.inputs + graph.state:
        label = value.op.label  # type: ignore[attr-defined]
        bind_shape(value.shape, arrays[label].shape, sizes, f"{graph.name} {label}")
    return sizes


def evaluate_values(values: Sequence[Value], known: dict[Value, Any], sizes: Mapping[str, int],
                    interpreter: Interpreter = by_reference) -> None:
    """Compute values in the given order, adding each to `known`."""
    for value in values:
        if value in known:
            continue
        operands = [known[o] for o in value.operands]
        if isinstance(value.op, Kernel):
            body = value.op.body
            inner = dict(zip(body.inputs, operands, strict=True))
            evaluate_values(body.values(), inner, sizes, interpreter)
            known[value] = tuple(inner[v] for _, v in body.outputs)
        elif isinstance(value.op, Scan):
            body = value.op.body

            def step(inputs: Sequence[np.ndarray], body: Graph = body) -> list[Any]:
                inner: dict[Value, Any] = dict(zip(body.inputs, inputs, strict=True))
                evaluate_values(body.values(), inner, sizes, interpreter)
                return [inner[v] for _, v in body.outputs]

            known[value] = scan_steps(value.op, operands, sizes, step)
        elif isinstance(value.type, TensorType):
            shape = tuple(evaluate_dim(d, sizes) for d in value.shape)
            try:
                known[value] = interpreter(value.op.bound(sizes), operands, TensorType(value.dtype, shape))
            except GraphcError as error:
                error.args = (f"{value.origin or value.op.name}: {error}",)
                raise
        else:
            raise NotImplementedError(f"{value.op} gives {value.type} and must be expanded before evaluation")


def scan_steps(op: Scan, operands: Sequence[Any], sizes: Mapping[str, int],
               step: Callable[[Sequence[np.ndarray]], Sequence[Any]]) -> tuple[np.ndarray, ...]:
    """The results of a scan, where `step` gives the outputs of its body for the arrays of its inputs."""
    scanned, first, constants = op.parts(operands)
    carried = [np.asarray(a) for a in first]
    types = [v.type for _, v in op.body.outputs]
    results: list[list[np.ndarray]] = [[a] for a in carried] + [[] for _ in types[op.carries:]]
    length = evaluate_dim(op.length, sizes)
    order = range(length)[::-1] if op.reverse else range(length)
    for t in order:
        slices = (x[t + shift] for x, shift in zip(scanned, op.shifts, strict=True))
        outputs = [np.asarray(a) for a in step([np.asarray(a) for a in (*slices, *carried, *constants)])]
        carried = outputs[:op.carries]
        for k, array in enumerate(outputs):
            results[k].append(array)
    stacks = [np.stack(arrays[::-1] if op.reverse else arrays) if arrays else
              np.empty((0, *(evaluate_dim(d, sizes) for d in t.shape)), t.dtype.numpy)
              for t, arrays in zip(types, results, strict=True)]
    return tuple(carried[k] if k < op.carries and not op.kept[k] else stack for k, stack in enumerate(stacks))


def evaluate(graph: Graph, arrays: Mapping[str, np.ndarray],
             interpreter: Interpreter = by_reference) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Run one step: the outputs by name, and the updated state by label."""
    sizes = bind_arguments(graph, arrays)
    known = {v: arrays[v.op.label] for v in graph.inputs + graph.state}  # type: ignore[attr-defined]
    evaluate_values(graph.values(), known, sizes, interpreter)
    outputs = {name: np.asarray(known[v]) for name, v in graph.outputs}
    return outputs, {s.op.label: np.asarray(known[v]) for s, v in graph.updates}  # type: ignore[attr-defined]
