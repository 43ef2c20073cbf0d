"""The interpreter of loops: one element at a time, every access checked. It is the meaning of the loop IR.

The loops become Python code. Values are NumPy scalars of the exact dtypes, so that they are rounded as NumPy rounds;
indices are plain integers.

    for j in 9 {                           for i1 in range(9):
      y[j] = (x[(j + 1)] * 0.5)    ->        v1 = i1 + 1
    }                                        if not (0 <= v1 < 10): outside('x', (10,), (v1,))
                                             v2 = m1[v1,]
                                             v3 = v2 * c1
                                             if not (0 <= i1 < 9): outside('y', (9,), (i1,))
                                             m2[i1,] = v3
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.ir.expr import INFIX, REDUCTIONS, SCALARS, Axis, Expr, postorder
from graphc.ir.types import DTYPES, evaluate_dim
from graphc.runtime.loops import Buffer, For, Loops, Prefetch, Statement, Store, Update, expressions

__all__ = ["interpret"]

_INDEX = {"axis", "size", "const", "add", "sub", "mul", "floordiv", "mod", "min", "max", "lt", "le", "eq", "ne", "and",
          "or"}
_NESTED = 16  # loops in one function: CPython allows 20


def interpret(loops: Loops, arrays: Sequence[np.ndarray], sizes: Mapping[str, int]) -> None:
    """Run a kernel on its params, writing the output arrays in place."""
    def outside(buffer: str, shape: tuple[int, ...], index: tuple[Any, ...]) -> None:
        raise IndexError(f"{loops.name}: {buffer}{[*map(int, index)]} is outside its shape {[*shape]}")

    code = _Code(dict(zip(loops.params, arrays, strict=True)), sizes)
    code.block("def run():", loops.body, 0)
    names = code.names | {"outside": outside}
    exec(compile("\n".join(code.lines), f"<the kernel {loops.name}>", "exec"), names)
    with np.errstate(all="ignore"):
        names["run"]()


class _Code:
    """Lines of Python code, and what the names in it mean."""

    def __init__(self, memory: dict[Buffer, np.ndarray], sizes: Mapping[str, int]):
        self.sizes = sizes
        self.lines: list[str] = []
        self.names: dict[str, Any] = {d.name: d.numpy.type for d in DTYPES.values()}
        self.names |= {f"np_{op}": scalar.numpy for op, scalar in SCALARS.items()}
        self.arrays = {buffer: self.name("m", array) for buffer, array in memory.items()}
        self.axes: dict[Axis, str] = {}

    def name(self, kind: str, value: Any) -> str:
        """A new name for a value."""
        name = f"{kind}{len(self.names)}"
        self.names[name] = value
        return name

    def put(self, depth: int, line: str) -> None:
        self.lines.append(" " * depth + line)

    def block(self, head: str, body: Sequence[Statement], depth: int) -> None:
        """A line, and in it statements."""
        self.put(depth, head)
        self.put(depth + 1, "pass")
        for s in body:
            self.statement(s, depth + 1)

    def statement(self, s: Statement, depth: int) -> None:
        done = {} if isinstance(s, Prefetch) else self.values(expressions(s), depth)
        if isinstance(s, For):
            self.axes[s.axis], extent = f"i{depth}", done[s.extent]
            if depth % _NESTED:
                self.block(f"for i{depth} in range({extent}):", s.body, depth)
            else:
                self.put(depth, "def inner(extent):")
                self.block(f"for i{depth} in range(extent):", s.body, depth + 1)
                self.put(depth, f"inner({extent})")
        elif isinstance(s, Store | Update):
            place, value = self.place(s.buffer, [done[i] for i in s.index], depth), done[s.value]
            new = _apply(REDUCTIONS[s.op][0], [place, value], "np_") if isinstance(s, Update) else value
            self.put(depth, f"{place} = {new}")

    def values(self, roots: Sequence[Expr], depth: int) -> dict[Expr, str]:
        """Compute expressions, each operation once; what their values are called."""
        done: dict[Expr, str] = {}
        plain: set[Expr] = set()  # integers and truth values of Python
        for e in postorder(roots):
            if _is_index(e) and plain.issuperset(e.args):
                plain.add(e)
            done[e] = self.value(e, [done[a] for a in e.args], plain, depth)
            if e.args:
                name = f"v{len(done)}"
                self.put(depth, f"{name} = {done[e]}")
                done[e] = name
        return done

    def value(self, e: Expr, args: Sequence[str], plain: set[Expr], depth: int) -> str:
        """The code of one node, its operands being computed."""
        if e.op == "axis":
            return self.axes[e.attr]
        if e.op == "size":
            return str(evaluate_dim(e.attr, self.sizes))
        if e.op == "const":
            return str(e.attr) if e in plain else self.name("c", e.dtype.numpy.type(e.attr))
        if e.op == "load":
            return self.place(e.attr, args, depth)
        if e in plain:
            return _apply(e.op, args)
        exact = [f"{a.dtype}({arg})" if a in plain else arg for a, arg in zip(e.args, args, strict=True)]
        if e.op == "select":
            return f"{exact[1]} if {args[0]} else {exact[2]}"
        if e.op in ("cast", "bitcast"):
            return f"{exact[0]}.{'astype' if e.op == 'cast' else 'view'}({e.dtype})"
        return _apply(e.op, exact, "np_")

    def place(self, buffer: Buffer, index: Sequence[str], depth: int) -> str:
        """An element of a buffer, after a check that it is one; memory other than params begins as poison."""
        if buffer not in self.arrays:
            shape = tuple(evaluate_dim(d, self.sizes) for d in buffer.shape)
            poison = np.nan if buffer.dtype.is_float else 77
            self.arrays[buffer] = self.name("m", np.full(shape, poison, buffer.dtype.numpy))
        array, where = self.arrays[buffer], "".join(f"{i}," for i in index)
        shape = self.names[array].shape
        inside = " and ".join(f"0 <= {i} < {n}" for i, n in zip(index, shape, strict=True))
        if inside:
            self.put(depth, f"if not ({inside}): outside({str(buffer)!r}, {shape}, ({where}))")
        return f"{array}[{where or ()}]"


def _is_index(e: Expr) -> bool:
    """Whether Python's integers and truth values give what NumPy's would, if the operands are such."""
    divides = e.op in ("floordiv", "mod") and (e.args[1].op != "const" or e.args[1].attr == 0)
    return e.op in _INDEX and e.dtype.name in ("i64", "bool") and not divides


def _apply(op: str, args: Sequence[str], prefix: str = "") -> str:
    """A scalar operation as Python code."""
    return f"{args[0]} {INFIX[op]} {args[1]}" if op in INFIX else f"{prefix}{op}({', '.join(args)})"
