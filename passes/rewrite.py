"""Rewrite rules, and the driver that applies them.

A rule is a function from a value to a simpler value that equals it, or None where it does not apply. It
matches with Python's `match`, since ops and values are dataclasses. Its name is the left side of an equation,
its docstring the equation and the reason, followed by examples on which it must fire:

    x: f32[2,3] => negative(negative(x))

tests/passes/test_rules.py samples each example as a theorem: before and after agree on random arrays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from graphc.ir.errors import place
from graphc.ir.graph import Graph, Value, apply, origin, topological
from graphc.ir.op import Op
from graphc.ir.ops.structure import Gradient
from graphc.passes.bodies import with_body

__all__ = ["Rule", "counting_rules", "rewrite", "rule", "watching_rules"]

Change = Callable[[Value], Value | None]


@dataclass(frozen=True)
class Rule:
    """A named rewrite of values whose op is one of `roots`; `exact` where not one bit changes."""

    change: Change
    roots: tuple[type[Op], ...]
    exact: bool

    @property
    def name(self) -> str:
        return self.change.__name__

    def __call__(self, value: Value) -> Value | None:
        return self.change(value)


def rule(*roots: type[Op], exact: bool = True) -> Callable[[Change], Rule]:
    """Make a function a rule on values of the given ops and their subclasses."""
    return lambda change: Rule(change, roots, exact)


Watch = Callable[[Rule, Value, Value], None]  # a rule, the value that it rewrites, and what it makes of it
_WATCH: ContextVar[Watch | None] = ContextVar("watch", default=None)


@contextmanager
def watching_rules(watch: Watch) -> Iterator[None]:
    """Tell of every rule that is applied inside."""
    token = _WATCH.set(watch)
    try:
        yield
    finally:
        _WATCH.reset(token)


@contextmanager
def counting_rules() -> Iterator[Counter[str]]:
    """How often each rule, by its name, is applied inside."""
    fired: Counter[str] = Counter()
    with watching_rules(lambda applied, before, after: fired.update([applied.name])):
        yield fired


def rewrite(graph: Graph, rules: Sequence[Rule], merge: bool = False) -> Graph:
    """Apply the rules, operands before users, until none applies; `merge` makes equal values one."""
    rewriter = _Rewriter(rules, merge)
    wanted = {w for v in graph.values() if isinstance(v.op, Gradient) for w in v.operands[1:] if w.operands}
    for value in graph.values():
        made = rewriter.normal(value)
        if value in wanted:
            rewriter.kept.add(made)
    return graph if all(rewriter.done[v] is v for v in graph.roots) else graph.replaced(rewriter.done)


class _Rewriter:
    """Remembers the normal form of every value that it has seen."""

    def __init__(self, rules: Sequence[Rule], merge: bool):
        self.rules, self.merge = rules, merge
        self.watch = _WATCH.get()
        self.done: dict[Value, Value] = {}
        self.unique: dict[tuple[Op, tuple[Value, ...]], Value] = {}
        self.kept: set[Value] = set()  # a gradient is taken by these, so no rule may see through them
        self.table: dict[type[Op], list[Rule]] = {}

    def normal(self, root: Value) -> Value:
        """The value that no rule changes any more."""
        for value in self._unseen(root):
            operands = tuple(self.done[o] for o in value.operands)
            op = with_body(value.op, lambda body: rewrite(body, self.rules, self.merge))
            same = operands == value.operands and op is value.op
            made = value if same else apply(op, *operands, origin=value.origin)
            self.done[value] = self._reduced(made)
        return self.done[root]

    def _reduced(self, value: Value) -> Value:
        """The normal form of a value whose operands are normal."""
        if self.merge:
            value = self.unique.setdefault((value.op, value.operands), value)
        if value in self.done:
            return self.done[value]
        for candidate in self._rules(type(value.op)):
            try:
                with origin(value.origin):
                    found = candidate(value)
            except Exception as error:
                place(error, f"{value!r}, in the rule {candidate.name}")
                raise
            if found is not None and found is not value and self._allowed(value, found):
                assert found.type == value.type, f"{candidate.name} turns {value!r} into {found!r}"
                if self.watch is not None:
                    self.watch(candidate, value, found)
                self.done[value] = self.normal(found)
                return self.done[value]
        self.done[value] = value
        return value

    def _rules(self, op: type[Op]) -> list[Rule]:
        if op not in self.table:
            self.table[op] = [r for r in self.rules if issubclass(op, r.roots)]
        return self.table[op]

    def _unseen(self, root: Value) -> Iterable[Value]:
        """The values below the root without a normal form, operands first."""
        stack = [(root, False)]
        while stack:
            value, ready = stack.pop()
            if value in self.done:
                continue
            if ready:
                yield value
                continue
            stack.append((value, True))
            stack.extend((o, False) for o in reversed(value.operands))

    def _allowed(self, before: Value, after: Value) -> bool:
        """Whether `after` still depends on every value by which a gradient of `before` may be taken."""
        return not self.kept or (self.kept & set(topological([before])[:-1])) <= set(topological([after]))
