"""Cases: a graph and the arrays to run it on, as text that can be kept and run again; and smaller cases of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from graphc.ir.errors import ParseError
from graphc.ir.evaluate import evaluate_values
from graphc.ir.graph import Graph, Value, apply, topological
from graphc.ir.ops.leaf import Input
from graphc.ir.ops.structure import Gradient, Item, Kernel
from graphc.ir.parser import parse
from graphc.ir.types import DTYPES, Dim, TensorType, dim, evaluate_dim
from graphc.passes.offset import least_sizes

__all__ = ["Case", "random_case", "read_case", "shrink", "small_sizes"]

_SEEDS = 4  # that are tried for random arrays
_SMALL = 512  # numbers that are written into the text of a case


@dataclass(frozen=True, eq=False)
class Case:
    """A graph, the values of its symbolic sizes, and the arrays of its leaves by label: those of a seed, if there is
    one (`random_case`)."""

    graph: Graph
    sizes: Mapping[str, int]
    arrays: Mapping[str, np.ndarray]
    seed: int | None = None

    def leaves(self) -> dict[Value, np.ndarray]:
        """The arrays by the leaves that they belong to."""
        return {v: self.arrays[v.op.label] for v in self.graph.inputs + self.graph.state}  # type: ignore[attr-defined]

    def results(self) -> list[tuple[str, Value]]:
        """Outputs and updates by their names."""
        return [*self.graph.outputs, *((f"update {s.op.label}", v) for s, v in self.graph.updates)]  # type: ignore

    def of(self, outputs: Iterable[tuple[str, Value]], updates: Iterable[tuple[Value, Value]] = ()) -> Case:
        """The case of some results, with the leaves that they reach."""
        outputs, updates = tuple(outputs), tuple(updates)
        reached = set(topological([v for _, v in outputs] + [v for pair in updates for v in pair]))
        g = self.graph
        graph = Graph(g.name, tuple(v for v in g.inputs if v in reached), tuple(v for v in g.state if v in reached),
                      outputs, updates)
        return replace(self, graph=graph, arrays={v.op.label: self.arrays[v.op.label]  # type: ignore[attr-defined]
                                                  for v in graph.inputs + graph.state})

    def resized(self, name: str, size: int) -> Case:
        """The case with less of a symbolic size: the first elements of each array."""
        sizes = {**self.sizes, name: size}
        if self.seed is not None:
            return random_case(self.graph, sizes, self.seed)
        arrays = {v.op.label: a[tuple(slice(evaluate_dim(d, sizes)) for d in v.shape)]  # type: ignore[attr-defined]
                  for v, a in self.leaves().items()}
        return replace(self, sizes=sizes, arrays=arrays)

    def cut(self, value: Value, array: np.ndarray) -> Case:
        """The case with an input in the place of a value."""
        labels = {v.op.label for v in self.graph.inputs + self.graph.state}  # type: ignore[attr-defined]
        label = next(f"p{k}" for k in range(len(labels) + 1) if f"p{k}" not in labels)
        made = apply(Input(label, value.type), origin="")  # type: ignore[arg-type]
        g = self.graph.rebuild(lambda v, _: made if v is value else None)
        wider = replace(self, graph=replace(g, inputs=(*g.inputs, made), _order=[]), seed=None,
                        arrays={**self.arrays, label: array})
        return wider.of(wider.graph.outputs, wider.graph.updates)

    def as_kernel(self) -> Case:
        """The case of a fused graph whose one kernel this one's graph is."""
        body = self.graph
        made = apply(Kernel(body), *body.inputs, origin="")
        items = tuple((name, apply(Item(k), made, origin=v.origin)) for k, (name, v) in enumerate(body.outputs))
        return replace(self, graph=Graph(body.name, body.inputs, (), items)).complete()

    def complete(self) -> Case:
        """The case with an input more for each symbolic size that no array tells."""
        known: set[str] = set()
        missing: dict[str, None] = {}
        for v in self.graph.inputs + self.graph.state:
            for d in v.shape:
                names = d.names - known if isinstance(d, Dim) else set()
                missing |= dict.fromkeys(sorted(names) if isinstance(d, Dim) and d.name is None else ())
                known |= names
        extra = {f"size_{n}": n for n in missing}
        inputs = tuple(apply(Input(label, TensorType(DTYPES["bool"], (dim(n),))), origin="")
                       for label, n in extra.items())
        arrays = {label: np.zeros(self.sizes[n], bool) for label, n in extra.items()}
        return replace(self, graph=replace(self.graph, inputs=(*inputs, *self.graph.inputs), _order=[]),
                       arrays={**arrays, **self.arrays})

    def text(self, comments: Sequence[str] = ()) -> str:
        """The case as text: comments, what `read_case` needs to know of the arrays, and the graph."""
        lines = [f"# {line}" for text in comments for line in text.splitlines()]
        if self.sizes:
            lines.append("# sizes: " + ", ".join(f"{n}={size}" for n, size in self.sizes.items()))
        if self.seed is not None:
            lines.append(f"# seed: {self.seed}")
        elif sum(a.size for a in self.arrays.values()) <= _SMALL:
            lines += [f"# array {label}: {' '.join(map(str, np.ravel(a)))}" for label, a in self.arrays.items()]
        else:
            lines.append("# arrays: too large to be written here; random ones do not show it")
        return "\n".join([*lines, str(self.graph)])


def random_case(graph: Graph, sizes: Mapping[str, int], seed: int) -> Case:
    """A case with random arrays: normal floats, integers from 0 to 3, bools.

    The floats of state are divided by the square root of what an output of a layer adds up, as weights usually are.
    """
    rng = np.random.default_rng(seed)
    arrays = {}
    for v in graph.inputs + graph.state:
        shape = tuple(evaluate_dim(d, sizes) for d in v.shape)
        most = 2 if v.dtype.kind == "b" else 4
        drawn = rng.standard_normal(shape) if v.dtype.is_float else rng.integers(0, most, shape)
        drawn = drawn / np.sqrt(np.prod(shape[:-1])) if v in graph.state and v.dtype.is_float else drawn
        arrays[v.op.label] = np.asarray(drawn).astype(v.dtype.numpy)  # type: ignore[attr-defined]
    return Case(graph, sizes, arrays, seed)


def small_sizes(graph: Graph) -> dict[str, int]:
    """2 for each symbolic size, or the least that fill all arrays."""
    return dict.fromkeys(graph.symbols(), 2) | least_sizes(graph)


def read_case(text: str) -> Case:
    """The case that a text describes; random arrays of seed 0 where it names neither a seed nor arrays.

    Sizes that it doesn't name are small ones.
    """
    graph = parse(text)
    said = re.findall(r"^# (sizes|seed|array [^:]*): (.*)$", text, re.M)
    words = dict(said)
    try:
        given = {n: int(size) for n, size in re.findall(r"(\w+)=(\d+)", words.get("sizes", ""))}
        case = random_case(graph, small_sizes(graph) | given, int(words.get("seed", 0)))
        arrays = dict(case.arrays)
        for what, numbers in said:
            label = what.removeprefix("array ")
            if label in arrays:
                was = arrays[label]
                cast = {"b": lambda n: n == "True", "f": float}.get(was.dtype.kind, int)
                arrays[label] = np.array([cast(n) for n in numbers.split()], was.dtype).reshape(was.shape)
    except ValueError as error:
        raise ParseError(f"The comments name no sizes, seed or arrays that fit the graph: {error}.") from error
    return replace(case, arrays=arrays, seed=case.seed if "seed" in words else None)


# ------------------------------------------------------------------------------------------------- smaller cases


def shrink(case: Case, fails: Callable[[Case], bool], attempts: int = 200) -> Case:
    """The smallest case that still fails, among those that are tried: at most so many, and the case itself.

    Random arrays, fewer rows, one result instead of several, a value further up as the result, inputs in the place of
    values. A candidate on which `fails` raises is none.
    """
    return _Shrinking(fails, attempts).smallest(case)


class _Shrinking:
    def __init__(self, fails: Callable[[Case], bool], attempts: int):
        self.fails, self.left = fails, attempts

    def smallest(self, case: Case) -> Case:
        case = self.first(case, _seeded)
        case = self.first(case, _fewer)
        if len(case.graph.roots) > 1:
            case = self.fewer_results(self.first(case, _single))
        if len(case.graph.roots) == 1:
            case = self.first(case, _earlier)
        case = self.cut(case)
        case = self.first(case, _seeded) if case.seed is None else case
        return self.first(case, _fewer)

    def tried(self, case: Case) -> bool:
        """Whether a candidate fails."""
        self.left -= 1
        try:
            return self.left >= 0 and self.fails(case)
        except Exception:  # it is none
            return False

    def first(self, case: Case, candidates: Callable[[Case], Iterator[Case]]) -> Case:
        """The first candidate that fails, or the case itself."""
        return next((c for c in candidates(case) if self.tried(c)), case)

    def fewer_results(self, case: Case) -> Case:
        """The case without each result that it fails without."""
        for gone in (*case.graph.outputs, *case.graph.updates):
            candidate = case.of([o for o in case.graph.outputs if o is not gone],
                                [u for u in case.graph.updates if u is not gone])
            if len(case.graph.roots) > 1 and self.tried(candidate):
                case = candidate
        return case

    def cut(self, case: Case) -> Case:
        """The case with inputs, which hold what is there by reference, for values; for those near the results first."""
        known, inside = dict(case.leaves()), _inside(case)
        evaluate_values(topological(inside), known, case.sizes)
        for v in reversed(inside):  # what a cut changes has been looked at before
            if v in set(case.graph.values()):
                candidate = case.cut(v, np.asarray(known[v]))
                case = candidate if self.tried(candidate) else case
        return case


def _seeded(case: Case) -> Iterator[Case]:
    """Random arrays."""
    return (random_case(case.graph, case.sizes, seed) for seed in range(_SEEDS))


def _fewer(case: Case) -> Iterator[Case]:
    """Smaller sizes, one after the other."""
    return (case.resized(name, size) for name in case.sizes for size in range(1, case.sizes[name]))


def _single(case: Case) -> Iterator[Case]:
    """One result."""
    yield from (case.of([output]) for output in case.graph.outputs)
    yield from (case.of([], [update]) for update in case.graph.updates)


def _earlier(case: Case) -> Iterator[Case]:
    """A value on the way to the result as the result."""
    return (case.of([("y", v)]) for v in _inside(case))


def _inside(case: Case) -> list[Value]:
    """The values that have an array, computed from leaves on the way to a result."""
    moving: set[Value] = set(case.leaves())  # depends on a leaf
    derived: set[Value] = set()  # from a gradient that is not yet derived
    for v in case.graph.values():
        if any(o in moving for o in v.operands):
            moving.add(v)
        if isinstance(v.op, Gradient) or any(o in derived for o in v.operands):
            derived.add(v)
    return [v for v in case.graph.values() if v.operands and v in moving and v not in derived
            and v not in case.graph.roots and isinstance(v.type, TensorType)]
