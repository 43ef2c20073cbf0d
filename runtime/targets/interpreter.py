"""The interpreter of loops: one element at a time, every access checked. It is the meaning of the loop IR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from graphc.ir.expr import REDUCTIONS, SCALARS, Axis, Expr, postorder
from graphc.ir.types import evaluate_dim
from graphc.runtime.loops import Barrier, Buffer, For, Loops, Statement, Update

__all__ = ["interpret"]


@lru_cache(maxsize=4096)
def _order(root: Expr) -> tuple[Expr, ...]:
    return tuple(postorder([root]))


def interpret(loops: Loops, arrays: Sequence[np.ndarray], sizes: Mapping[str, int]) -> None:
    """Run a kernel on its params, writing the output arrays in place."""
    memory: dict[Buffer, np.ndarray] = dict(zip(loops.params, arrays, strict=True))

    def allocate(buffer: Buffer) -> np.ndarray:
        shape = tuple(evaluate_dim(d, sizes) for d in buffer.shape)
        poison = np.nan if buffer.dtype.is_float else 77
        return np.full(shape, poison, buffer.dtype.numpy)

    for buffer in loops.scratch:
        memory[buffer] = allocate(buffer)

    def value(root: Expr, at: dict[Axis, int]) -> Any:
        done: dict[Expr, Any] = {}
        for e in _order(root):
            done[e] = one(e, [done[a] for a in e.args], at)
        return done[root]

    def one(e: Expr, args: list[Any], at: dict[Axis, int]) -> Any:
        if e.op == "axis":
            return at[e.attr]
        if e.op == "const":
            return e.dtype.numpy.type(e.attr)
        if e.op == "size":
            return evaluate_dim(e.attr, sizes)
        if e.op == "load":
            return memory[e.attr][checked(e.attr, args)]
        if e.op == "select":
            return args[1] if args[0] else args[2]
        if e.op == "cast":
            return np.asarray(args[0]).astype(e.dtype.numpy)[()]
        if e.op == "bitcast":
            return np.asarray(args[0], e.args[0].dtype.numpy).view(e.dtype.numpy)[()]
        typed = [a.dtype.numpy.type(v) for a, v in zip(e.args, args, strict=True)]
        return SCALARS[e.op].numpy(*typed)

    def checked(buffer: Buffer, index: Sequence[Any]) -> tuple[int, ...]:
        where, shape = tuple(map(int, index)), memory[buffer].shape
        if any(not 0 <= i < n for i, n in zip(where, shape, strict=True)):
            raise IndexError(f"{loops.name}: {buffer}{list(where)} is outside its shape {list(shape)}")
        return where

    def run(body: Sequence[Statement], at: dict[Axis, int]) -> None:
        for s in body:
            if isinstance(s, For):
                for i in range(int(value(s.extent, at))):
                    run(s.body, at | {s.axis: i})
            elif not isinstance(s, Barrier):
                if s.buffer not in memory:
                    memory[s.buffer] = allocate(s.buffer)
                where, new = checked(s.buffer, [value(i, at) for i in s.index]), value(s.value, at)
                if isinstance(s, Update):
                    new = SCALARS[REDUCTIONS[s.op][0]].numpy(memory[s.buffer][where], new)
                memory[s.buffer][where] = new

    with np.errstate(all="ignore"):
        run(loops.body, {})
