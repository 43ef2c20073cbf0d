"""Take up what a dump has written: run it on the rungs that it can be run on, and compare what they give."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from graphc.ir import functions as f
from graphc.ir.errors import ParseError
from graphc.ir.graph import Graph
from graphc.runtime.cases import Case, random_case, read_case, small_sizes
from graphc.runtime.loops import Loops, verify_loops
from graphc.runtime.parser import parse_loops
from graphc.runtime.rounding import Expectation
from graphc.runtime.rungs import RUNGS, NativeKernel, expanded, interpret_loops, run_rung

__all__ = ["Outcome", "replay"]

CLOSE = 1e-4  # loops interpreted and compiled may differ by this part of the largest result: multiply-adds round once


@dataclass(frozen=True)
class Outcome:
    """What one rung gave: how many results, whether they were compared, and what is wrong with some of them."""

    rung: str
    results: int
    wrong: tuple[str, ...] = ()
    compared: bool = True

    def __str__(self) -> str:
        good = self.results - len(self.wrong)
        said = f"{good} result{'s' * (good != 1)}{' agree' * self.compared}" if good > 0 else ""
        return "\n    ".join([f"{self.rung:12}{said}".rstrip(), *self.wrong])


def replay(text: str, rungs: Sequence[str] = (), sizes: Mapping[str, int] | None = None, seed: int | None = None,
           arrays: Mapping[str, np.ndarray] | None = None, cpu: str = "host") -> Iterator[Outcome]:
    """Run the text of a graph, of loops, or of a kernel's LLVM IR, on the rungs that are named, or on all.

    A graph is compared with its reference, in float64. Loops are interpreted (`loops`) and compiled (`native`), and the
    one compared with the other; LLVM IR is compiled. Arrays are random, of a seed, but for those that are given by
    label; where neither is given, the comments of a case (graphc.runtime.cases) say which.
    """
    unknown = [r for r in rungs if r not in RUNGS]
    if unknown:
        raise ValueError(f"There is no rung {unknown[0]!r}. Expected some of {','.join(RUNGS)}.")
    kind = re.match(r"(?:\s|#[^\n]*\n)*(graph|kernel|plan|; kernel)\b", text)
    if kind is None or kind[1] == "plan":
        hint = " A plan is made of the fused graph: take that." if kind else ""
        raise ParseError(f"This is neither a graph, nor loops, nor a kernel's LLVM IR from a dump.{hint}")
    if kind[1] == "graph":
        case = _given(read_case(text), sizes, seed, arrays)
        return (_of_graph(case, rung, cpu) for rung in rungs or RUNGS)
    if kind[1] == "kernel":
        return _of_loops(parse_loops(text), None, rungs or RUNGS[2:], sizes, seed, arrays, cpu)
    head = text.partition("\n")[0].removeprefix("; ")
    function = re.search(r"^define void @([\w.]+)\(", text, re.M)
    if function is None:
        raise ParseError("This LLVM IR defines no kernel: expected a line `define void @name(`.")
    named = text.replace(f"@{function[1]}(", "@kernel(")
    return _of_loops(parse_loops(head + "}"), named, rungs or RUNGS[3:], sizes, seed, arrays, cpu)


def _given(case: Case, sizes: Mapping[str, int] | None, seed: int | None,
           arrays: Mapping[str, np.ndarray] | None) -> Case:
    """A case with what was asked for in the place of what its text says."""
    wrong = {*(sizes or {})} - {*case.sizes}
    if wrong:
        raise ValueError(f"There is no size {min(wrong)!r}. Expected some of {', '.join(case.sizes) or 'none'}.")
    if sizes or seed is not None:
        case = random_case(case.graph, {**case.sizes, **(sizes or {})}, seed or 0)
    for label, array in (arrays or {}).items():
        if label not in case.arrays or case.arrays[label].dtype != array.dtype:
            known = ", ".join(f"{n} ({a.dtype})" for n, a in case.arrays.items())
            raise ValueError(f"The array {label!r} ({array.dtype}) fits no leaf. Expected {known}.")
    return replace(case, arrays={**case.arrays, **(arrays or {})})


def _of_graph(case: Case, rung: str, cpu: str) -> Outcome:
    whole = replace(case, graph=expanded(case.graph))
    expected = Expectation(whole.leaves(), case.sizes)
    try:
        outputs, updates = run_rung(case.graph, case.arrays, rung, cpu)
    except Exception as error:
        return Outcome(rung, 0, (_failed(error),))
    found = [*outputs.values(), *updates.values()]
    pairs = [(name, expected.difference(v, a)) for (name, v), a in zip(whole.results(), found, strict=True)]
    return Outcome(rung, len(pairs), tuple(f"{name}: {d}" for name, d in pairs if d is not None))


def _of_loops(loops: Loops, text: str | None, rungs: Sequence[str], sizes: Mapping[str, int] | None, seed: int | None,
              arrays: Mapping[str, np.ndarray] | None, cpu: str) -> Iterator[Outcome]:
    if text is None:
        verify_loops(loops)
    inputs = tuple(f.input(p.name, p.shape, p.dtype) for p in loops.params[:-loops.outputs])
    graph = Graph(loops.name, inputs, (), ())
    case = _given(random_case(graph, small_sizes(graph), 0), sizes, seed, arrays)
    first: dict[str, np.ndarray] | None = None
    for rung in rungs:
        try:
            if rung == "loops" and text is None:
                made = interpret_loops(loops, case.arrays, case.sizes)
            elif rung == "native":
                made = NativeKernel(loops, cpu, text)(case.arrays, case.sizes)
            else:
                raise ValueError(f"{'Loops' if text is None else 'LLVM IR'} can't be run by {rung}")
        except Exception as error:
            yield Outcome(rung, 0, (_failed(error),))
            continue
        first = first or made
        wrong = tuple(f"{n}: {d}" for n in made if (d := _apart(made[n], first[n])))
        yield Outcome(rung, len(made), wrong, compared=first is not made)


def _apart(found: np.ndarray, expected: np.ndarray) -> str:
    """How two results of the same loops differ; '' where rounding explains it."""
    if found.dtype.kind != "f":
        wrong = np.count_nonzero(found != expected)
        return f"{wrong} of {found.size} elements differ" if wrong else ""
    with np.errstate(all="ignore"):
        far = np.abs(found - expected) > CLOSE * np.nan_to_num(np.abs(expected), posinf=0.0).max(initial=0.0)
    wrong = np.count_nonzero((far | (np.isnan(found) != np.isnan(expected))) & (found != expected))
    return f"{wrong} of {found.size} elements differ" if wrong else ""


def _failed(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
