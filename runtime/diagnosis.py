"""Where compiled code and meaning part ways: the first rung, and on it the first value, that is not what it has to be.

Everything is checked locally: each pass against the graph before it, each rewriting of a rule against the value that
it replaces, each kernel on operands that the reference computed, the program against its own kernels run one by one.
So no error is the consequence of an earlier one, and the first that is found is the culprit.

The rungs below follow from those above, so a kernel whose native code is right has right definitions, loops and
schedules. Only of a kernel that is not right they are looked at: when it has been made small, from the top.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from graphc.ir.errors import InvalidGraph, LoweringError, ShapeError
from graphc.ir.evaluate import bind_arguments, by_definition, evaluate, evaluate_values, scan_steps
from graphc.ir.graph import Graph, Value, apply, layer_of, topological
from graphc.ir.op import Structural
from graphc.ir.ops.leaf import Input, State
from graphc.ir.ops.structure import Gradient, Kernel, Scan
from graphc.ir.printer import line_of
from graphc.passes.fuse import fuse
from graphc.passes.infer import infer
from graphc.passes.offset import offset
from graphc.passes.pipeline import GRAPH_PASSES, PIPELINE, Pass, run
from graphc.passes.rewrite import Rule, watching_rules
from graphc.passes.structure import structure
from graphc.runtime.cases import Case, random_case, shrink
from graphc.runtime.config import current
from graphc.runtime.rounding import Difference, Expectation
from graphc.runtime.rungs import (
    Arrays,
    NativeKernel,
    expanded,
    fused,
    interpret_loops,
    kernel_loops,
    run_kernels,
    run_program,
)

__all__ = ["Diagnosis", "diagnose_graph"]

_INTERPRETED = 2_000_000  # scalar operations that the interpreter is given at most
_DEFINED = 1 << 24  # elements of operands that a definition reads at most
_PROGRAMS = 100  # that are compiled to make a case smaller
_UNFIT = (LoweringError, InvalidGraph)  # with these the compiler leaves a kernel to NumPy

Failure = Difference | Exception
Test = Callable[[Case], Failure | None]
Rewriting = tuple[Rule, Value, Value]


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What was checked, and the first rung that is wrong, if one is.

    `rung` is `passes`, `definition` (which then differs from the op's reference: one of the two is wrong), `loops`
    (naive), `schedule`, `native` (the code of one kernel) or `program` (plan, arena, updates in place, threads). Of
    the names those are known that belong to the rung. `reproducer` is the text of a small case that shows it:
    save it, and run `python -m graphc replay FILE`.
    """

    rung: str | None = None
    pass_name: str | None = None
    rule: str | None = None
    kernel: str | None = None
    layer: str | None = None
    value: str | None = None
    difference: Difference | None = None
    error: Exception | None = None
    note: str = ""
    case: Case | None = None
    checked: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether all rungs agree."""
        return self.rung is None

    @property
    def finding(self) -> str:
        """What is wrong, in a few lines."""
        if self.ok:
            return "All that was checked agrees."
        names = {"in the pass": self.pass_name, "in the rule": self.rule, "of the kernel": self.kernel,
                 "in the layer": self.layer}
        where = "".join(f", {words} {name}" for words, name in names.items() if name)
        wrong = str(self.difference) if self.error is None else "\n".join(
            [f"{type(self.error).__name__}: {self.error}", *getattr(self.error, "__notes__", ())])
        return "\n".join(line for line in (f"The first rung that is wrong is {self.rung!r}{where}.",
                                           self.value and f"    {self.value}", wrong, self.note) if line)

    @property
    def reproducer(self) -> str | None:
        """The text of a small case that shows what is wrong."""
        return None if self.case is None else self.case.text([f"graphc.diagnose: {self.finding}"])

    def __str__(self) -> str:
        lines = [*self.checked, self.finding]
        if self.case is not None:
            lines += ["To see it again, save this and run python -m graphc replay FILE:", "", self.case.text()]
        return "\n".join(lines)


def diagnose_graph(graph: Graph, *batches: Arrays, cpu: str = "host") -> Diagnosis:
    """Check every rung of a traced graph on arrays of its leaves by label; for each batch of them in turn.

    Never raises for what is wrong with the compiler: errors are findings.
    """
    walk = _Walk(cpu)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of kernels that run on NumPy, which are counted
        for arrays in batches:
            case = Case(graph, bind_arguments(graph, arrays), dict(arrays))
            found = next(walk.findings(case), None)
            if found is not None:
                return replace(found, checked=walk.report())
    return Diagnosis(checked=walk.report())


class _Walk:
    """The walk down the rungs; its generators give what they find."""

    def __init__(self, cpu: str):
        self.cpu = cpu
        self.done: Counter[str] = Counter()
        self.cores = _cores(cpu)  # 0 where there is no native code
        self.compiled: dict[str, NativeKernel] = {}  # by the body's text

    def native(self, body: Graph) -> NativeKernel:
        """The native code of a kernel's body; equal ones, as those of another batch are, are compiled once."""
        text = str(body)
        if text not in self.compiled:
            self.compiled[text] = NativeKernel(kernel_loops(body, self.cpu), self.cpu)
        return self.compiled[text]

    def report(self) -> tuple[str, ...]:
        """What has been checked, a line for each rung."""
        done = self.done
        lines = [
            ("results", f"passes: {done['results']} results before and after, {done['rewritings']} rewritings"),
            ("right", f"native: {done['right']} kernels, and with them their definitions, loops and schedules"),
            ("interpreted", f"loops: {done['interpreted']} kernels, interpreted"),
            ("left", f"definition: {done['left']} kernels that have no native code here"),
            ("long", f"not interpreted, for too many operations: {done['long']} kernels"),
            ("programs", f"program: {done['programs']} steps, bit by bit against their kernels one by one")]
        return tuple(f"checked {line}".replace("checked not", "not") for name, line in lines if done[name])

    def findings(self, case: Case) -> Iterator[Diagnosis]:
        """What is wrong, rung by rung."""
        try:
            graph = expanded(case.graph)
        except Exception as error:
            yield Diagnosis("passes", "differentiate", error=error, case=case)
            return
        try:
            evaluate(graph, case.arrays)
        except Exception as error:
            yield Diagnosis("reference", error=error, case=case)
            return
        case = _counted(case)
        graph = case.graph
        for step in PIPELINE[:PIPELINE.index(fuse) + 1]:
            before = replace(case, graph=graph)
            try:
                after = step(graph)
            except Exception as error:
                yield Diagnosis("passes", step.__name__, error=error, case=_smallest(before, _pass_test(step), error))
                return
            rewritings = _rewritings(step, graph)
            yield from self.rules(step, before, rewritings)
            yield from self.results(step, before, after, all(rule.exact for rule, _, _ in rewritings))
            graph = after
        yield from self.kernels(graph, case)
        if self.cores:
            yield from self.program(graph, case)

    # ----------------------------------------------------------------------------------------------------- passes

    def rules(self, step: Pass, case: Case, rewritings: Iterable[Rewriting]) -> Iterator[Diagnosis]:
        """The rules that a pass applies, each against the values that it rewrites.

        A rule that is not exact may give other numbers where it is meant to be more precise; not random ones.
        """
        expected = Expectation(case.leaves(), case.sizes)
        for rule, before, after in rewritings:
            self.done["rewritings"] += 1
            if expected.difference(before, expected.exact(after)) is not None:
                narrow = case.of([("y", before)])
                if rule.exact or _persists(_rule_test(rule), narrow):
                    test = _pass_test(step) if _attempt(_pass_test(step), narrow) else _rule_test(rule)
                    yield from self.of_pass(step, narrow, test, rule.name)

    def results(self, step: Pass, case: Case, after: Graph, exact: bool) -> Iterator[Diagnosis]:
        """A pass, by all results of the graphs before and after it; with rules that are not exact as these are."""
        self.done["results"] += len(case.graph.roots)
        if _attempt(_pass_test(lambda _: after), case) is not None:
            test = _pass_test(step)
            if exact or _persists(test, case):
                yield from self.of_pass(step, case, test)

    def of_pass(self, step: Pass, case: Case, test: Test, rule: str | None = None) -> Iterator[Diagnosis]:
        """What is wrong with a pass, or with the reference of an op in the graphs before and after it."""
        failure = _attempt(test, case)
        assert failure is not None
        small = _smallest(case, test, failure)
        yield from self.definitions(small)
        yield from self.definitions(replace(small, graph=step(small.graph)))
        name, value = small.results()[0]
        yield Diagnosis("passes", step.__name__, rule, layer=layer_of(value.origin), case=small.complete(),
                        value=f"{name} = {line_of(small.graph, value)}", **_what(_attempt(test, small) or failure))

    # ---------------------------------------------------------------------------------------------------- kernels

    def kernels(self, graph: Graph, case: Case) -> Iterator[Diagnosis]:
        """The kernels of a fused graph, each on operands that are computed by reference."""
        known: dict[Value, Any] = dict(replace(case, graph=graph).leaves())
        evaluate_values(graph.values(), known, case.sizes)
        for v in graph.values():
            if isinstance(v.op, Scan):
                yield from self.kernels(v.op.body, Case(v.op.body, case.sizes, _last_step(v, known, case.sizes)))
            elif isinstance(v.op, Kernel):
                body = v.op.body
                arrays = {p.op.label: np.asarray(known[o]) for p, o in zip(body.inputs, v.operands, strict=True)}
                for found in self.kernel(Case(body, case.sizes, arrays)):
                    yield replace(found, kernel=body.name, layer=found.layer or layer_of(v.origin))

    def kernel(self, case: Case) -> Iterator[Diagnosis]:
        """One kernel: its native code, and the rungs above it where that is wrong or missing."""
        if not self.cores:
            self.done["left"] += 1
            yield from self.definitions(case)
            yield from self.loops(case, None)
            return
        test = _kernel_test(self.native)
        failure = _attempt(test, case)
        if isinstance(failure, _UNFIT):
            self.done["left"] += 1
            yield from self.definitions(case)
        elif failure is None:
            self.done["right"] += 1
        else:
            small = _smallest(case, test, failure)
            yield from self.definitions(small)
            yield from self.loops(small, None)
            yield from self.loops(small, self.cpu)
            note = "" if _work(small) <= _INTERPRETED else "Its loops are too long to be interpreted, and may be wrong."
            yield _of_kernel("native", small, _attempt(test, small) or failure, note)

    def definitions(self, case: Case) -> Iterator[Diagnosis]:
        """The ops of a case, each by definition and by reference on operands that are computed by reference."""
        known: dict[Value, Any] = dict(case.leaves())
        values = expanded(case.graph).values()
        evaluate_values(values, known, case.sizes)
        for v in values:
            if isinstance(v.op, Structural):
                continue
            inputs = tuple(apply(Input(f"p{k}", o.type), origin="") for k, o in enumerate(v.operands))  # type: ignore
            graph = Graph(v.op.name, inputs, (), (("y", apply(v.op, *inputs, origin=v.origin)),))
            alone = Case(graph, case.sizes, {f"p{k}": np.asarray(known[o]) for k, o in enumerate(v.operands)})
            if _reads(alone) > _DEFINED:
                continue
            failure = _attempt(_definition_test, alone)
            if failure is not None and not isinstance(failure, _UNFIT):
                small = _smallest(alone, _definition_test, failure)
                yield Diagnosis("definition", layer=layer_of(v.origin), value=line_of(graph, graph.outputs[0][1]),
                                case=small.complete(), **_what(_attempt(_definition_test, small) or failure),
                                note=f"`reference` and `define` of the op {v.op.name} disagree: one of them is wrong.")

    def loops(self, case: Case, cpu: str | None) -> Iterator[Diagnosis]:
        """A kernel's loops interpreted: the naive ones, or those scheduled for a machine."""
        if _work(case) > _INTERPRETED:
            self.done["long"] += 1
            return
        self.done["interpreted"] += 1
        test = _kernel_test(lambda body: partial(interpret_loops, kernel_loops(body, cpu)))
        failure = _attempt(test, case)
        if failure is not None and not isinstance(failure, _UNFIT):
            small = _smallest(case, test, failure)
            yield _of_kernel("schedule" if cpu else "loops", small, _attempt(test, small) or failure)

    # ---------------------------------------------------------------------------------------------------- program

    def program(self, graph: Graph, case: Case) -> Iterator[Diagnosis]:
        """The whole step against the kernels of the fused graph one by one, by one thread and by several."""
        all_threads = (1, max(2, current().threads or self.cores))
        self.done["programs"] += len(all_threads)
        failure = _attempt(self.program_test(all_threads, lambda _: graph), case)
        if failure is None:
            return
        passed = replace(case, graph=run(case.graph, GRAPH_PASSES))
        tests = {threads: self.program_test((threads,)) for threads in all_threads}
        for threads, test in tests.items():
            for start in (passed, case):
                if again := _attempt(test, start):
                    small = _smallest(start, test, again, _PROGRAMS)
                    yield _of_program(small, _attempt(test, small) or again, f"with {threads} threads the step is not")
        yield _of_program(case, failure, "the step is not every time")

    def program_test(self, all_threads: Sequence[int], fusion: Pass = fused) -> Test:
        """A step as a program, bit by bit against its kernels one by one."""
        def kernel(body: Graph, arrays: Arrays, sizes: Mapping[str, int]) -> Mapping[str, np.ndarray]:
            try:
                return self.native(body)(arrays, sizes)
            except _UNFIT:
                known = {v: arrays[v.op.label] for v in body.inputs}  # type: ignore[attr-defined]
                evaluate_values(body.values(), known, sizes)
                return {name: np.asarray(known[v]) for name, v in body.outputs}

        def test(case: Case) -> Failure | None:
            whole = case.complete()
            expected = run_kernels(fusion(whole.graph), whole.arrays, kernel)
            try:
                made = [run_program(whole.graph, whole.arrays, self.cpu, threads) for threads in all_threads]
            except Exception as error:
                return error
            pairs = [(got[name], want[name]) for found in made for got, want in zip(found, expected, strict=True)
                     for name in want]
            return next((_different(a, b) for a, b in pairs if not np.array_equal(a, b, equal_nan=True)), None)

        return test


def _cores(cpu: str) -> int:
    """The cores of a machine; 0 where there is no native code."""
    try:
        from graphc.runtime.targets.machine import Machine  # needs llvmlite
    except ImportError:
        return 0
    return Machine.named(cpu).cores


def _of_kernel(rung: str, case: Case, failure: Failure, note: str = "") -> Diagnosis:
    _, value = case.graph.outputs[0]
    where = next((v.origin for v in reversed(case.graph.values()) if v.origin), "")
    return Diagnosis(rung, layer=layer_of(where), value=line_of(case.graph, value), case=case.as_kernel(), note=note,
                     **_what(failure))


def _of_program(case: Case, failure: Failure, note: str) -> Diagnosis:
    names = ", ".join(name for name, _ in case.results())
    return Diagnosis("program", value=f"results: {names}", case=case.complete(),
                     note=f"Its kernels one by one are right; {note}.", **_what(failure))


def _what(failure: Failure) -> dict[str, Any]:
    return {"error": failure} if isinstance(failure, Exception) else {"difference": failure}


def _attempt(test: Test, case: Case) -> Failure | None:
    """How a test fails on a case; its own error where it raises."""
    try:
        return test(case)
    except Exception as error:
        return error


def _persists(test: Test, case: Case) -> bool:
    """Whether a test fails with random arrays too, whichever they are."""
    return all(_attempt(test, random_case(case.graph, case.sizes, seed)) is not None for seed in range(3))


def _smallest(case: Case, test: Test, failure: Failure, attempts: int = 200) -> Case:
    """A small case on which a test fails in the same way."""
    return shrink(case, lambda smaller: type(test(smaller)) is type(failure), attempts)


def _counted(case: Case) -> Case:
    """The case with its sizes counted as the compiler counts them, unless they are too small for native code."""
    graph = offset(case.graph)
    try:
        return replace(case, graph=graph, sizes=bind_arguments(graph, case.arrays))
    except ShapeError:
        return case


def _work(case: Case) -> int:
    """Scalar operations of a case, about."""
    return sum(structure(v).work for v in infer(case.graph, case.sizes).values() if v.operands)


def _reads(case: Case) -> int:
    """Elements of operands that the definition of a case's result reads."""
    (result,) = infer(case.graph, case.sizes).roots
    return max(structure(result).visits, default=0)


def _rewritings(step: Pass, graph: Graph) -> list[Rewriting]:
    """What each rule makes of what while a pass runs.

    Without values that depend on gradients still to be derived, and without those inside of loops, which have no arrays
    of their own: they are checked together, by the results of the pass.
    """
    seen: dict[Rewriting, None] = {}
    with watching_rules(lambda rule, before, after: seen.setdefault((rule, before, after))):
        step(graph)
    leaves = {*graph.inputs, *graph.state}
    return [(rule, before, after) for rule, before, after in seen
            if not any(isinstance(v.op, Gradient) or (isinstance(v.op, Input | State) and v not in leaves)
                       for v in topological([before, after]))]


def _last_step(scan: Value, known: Mapping[Value, Any], sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    """What the last step of a loop reads: the carries have values of their own by then."""
    op: Scan = scan.op  # type: ignore[assignment]
    read: Sequence[np.ndarray] = ()

    def step(inputs: Sequence[np.ndarray]) -> list[Any]:
        nonlocal read
        read = inputs
        inner: dict[Value, Any] = dict(zip(op.body.inputs, inputs, strict=True))
        evaluate_values(op.body.values(), inner, sizes)
        return [inner[v] for _, v in op.body.outputs]

    scan_steps(op, [known[o] for o in scan.operands], sizes, step)
    return {v.op.label: a for v, a in zip(op.body.inputs, read, strict=True)}


# ------------------------------------------------------------------------------------------------------ the tests
# Each gives the first difference of a case, or the error that came up in what is tested. What is expected may raise.


def _compared(case: Case, compute: Callable[[], Iterable[np.ndarray]]) -> Failure | None:
    """The results of a case as they have to be against those that are computed."""
    expected, roots = Expectation(case.leaves(), case.sizes), case.graph.roots
    for v in roots:
        expected.exact(v)
    try:
        differences = (expected.difference(v, np.asarray(a)) for v, a in zip(roots, compute(), strict=True))
        return next((d for d in differences if d is not None), None)
    except Exception as error:
        return error


def _exactly(case: Case) -> list[np.ndarray]:
    """The results of a case in float64."""
    expected = Expectation(case.leaves(), case.sizes)
    return [expected.exact(v) for v in case.graph.roots]


def _pass_test(step: Pass) -> Test:
    """A pass, by the results of the graphs before and after it."""
    return lambda case: _compared(replace(case, graph=expanded(case.graph)),
                                  lambda: _exactly(replace(case, graph=expanded(step(case.graph)))))


def _rule_test(rule: Rule) -> Test:
    """A rule, by the one result of a case."""
    def rewritten(case: Case) -> Case:
        (before,) = case.graph.roots
        after = rule(before)
        return case.of([("y", before if after is None else after)])

    return lambda case: _compared(case, lambda: _exactly(rewritten(case)))


def _definition_test(case: Case) -> Failure | None:
    """All results by definition."""
    def by_definitions() -> list[np.ndarray]:
        known: dict[Value, Any] = dict(case.leaves())
        evaluate_values(case.graph.values(), known, case.sizes, by_definition)
        return [known[v] for v in case.graph.roots]

    return _compared(case, by_definitions)


def _kernel_test(compiled: Callable[[Graph], Callable[[Arrays, Mapping[str, int]], Mapping[str, np.ndarray]]]) -> Test:
    """A kernel's body by what it is compiled to: a function from arrays and sizes to the outputs."""
    return lambda case: _compared(case, lambda: compiled(case.graph)(case.arrays, case.sizes).values())


def _different(found: np.ndarray, expected: np.ndarray) -> Difference:
    """The first element that is not the same."""
    wrong = ~((found == expected) | ((found != found) & (expected != expected)))
    at = tuple(int(i) for i in np.argwhere(wrong)[0])
    return Difference(at, found[at].item(), expected[at].item(), 0.0, int(np.count_nonzero(wrong)), wrong.size)
