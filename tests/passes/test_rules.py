"""Each rewrite rule fires on the examples in its docstring and in a text case; before and after are equal there."""

from __future__ import annotations

import re

import numpy as np
import pytest
from samples import graph_of, run, sample
from test_cases import CASES, PASSES

from graphc.ir import functions as f
from graphc.ir.graph import Graph, apply
from graphc.ir.op import OPS
from graphc.ir.ops.movement import Broadcast
from graphc.ir.parser import parse
from graphc.ir.types import DType, dim, parse_type
from graphc.passes.rewrite import Rule, counting_rules, rewrite
from graphc.passes.rules import algebra, movement, stability

MODULES = (algebra, movement, stability)
RULES = [r for module in MODULES for r in vars(module).values() if isinstance(r, Rule)]
EXAMPLES = [(r, line.strip()) for r in RULES for line in r.change.__doc__.splitlines() if "=>" in line]
WORDS = {"apply": apply, "DType": DType} | {o.__name__: o for o in OPS.values()} | vars(f)


def build(example):
    """The value of an example `x: type, y: type => expression`."""
    leaves, _, expression = example.partition("=>")
    types = re.findall(r"(\w+): (\w+\[[^\]]*\])", leaves)
    inputs = {name: f.input(name, parse_type(t).shape, parse_type(t).dtype) for name, t in types}
    return eval(expression, WORDS | inputs)


def test_every_rule_is_listed():
    listed = (*algebra.RULES, *algebra.AFTER_GRADIENTS, *movement.RULES, *stability.RULES)
    assert sorted(r.name for r in RULES) == sorted(r.name for r in listed)


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
def test_every_rule_has_an_example(rule):
    assert any(r is rule for r, _ in EXAMPLES), f"{rule.name} needs a line `x: f32[2] => ...` as example"


@pytest.mark.parametrize(("rule", "example"), EXAMPLES, ids=[f"{r.name}: {e}" for r, e in EXAMPLES])
def test_theorem(rule, example, rng):
    before = build(example)
    assert isinstance(before.op, rule.roots)
    after = rule(before)
    assert after is not None, f"{rule.name} does not fire on {graph_of({'y': before})}"
    assert after.type == before.type
    for _ in range(5):
        arrays = {v.op.label: sample(rng, v.type) for v in graph_of({"y": before}).inputs}
        if rule.exact:
            for x in arrays.values():
                _sprinkle(rng, x)
        compare(run(before, arrays), run(after, arrays | {}), rule.exact)


@pytest.mark.parametrize(("rule", "example"), EXAMPLES, ids=[f"{r.name}: {e}" for r, e in EXAMPLES])
def test_the_driver_applies_it_to_the_end(rule, example):
    with counting_rules() as fired:
        after = rewrite(graph_of({"y": build(example)}), (rule,))
    assert fired[rule.name] >= 1
    with counting_rules() as fired:
        assert str(rewrite(after, (rule,))) == str(after)
    assert not fired


def test_every_rule_is_applied_in_a_text_case():
    """Within its whole pass, where another rule might always come first."""
    with counting_rules() as fired:
        for name, _, before, _ in CASES:
            if name in ("simplify", "stabilize"):
                PASSES[name](parse(before))
    unused = [r.name for r in RULES if not fired[r.name]]
    assert not unused, f"add cases to tests/passes/cases in which these rules apply: {', '.join(unused)}"


def _sprinkle(rng, x):
    """Put numbers in for which careless algebra fails."""
    if x.dtype.kind == "f":
        x[rng.random(x.shape) < 0.3] = rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0])


def compare(before, after, exact):
    if not exact:
        np.testing.assert_allclose(after, before, rtol=2e-5, atol=1e-5)
        return
    np.testing.assert_array_equal(after, before)
    if before.dtype.kind == "f":
        signs = ~np.isnan(before)
        np.testing.assert_array_equal(np.signbit(after)[signs], np.signbit(before)[signs])


N = dim("N")
X, C = f.input("x", (N, 3)), f.input("c", (N, 3), "bool")


@pytest.mark.parametrize(("rule", "value"), [
    (algebra.add_0, X + 0.0),  # -0.0 + 0.0 is 0.0
    (algebra.add_0, 0.0 + X),
    (algebra.multiply_by_1, X * 0.0),  # nan * 0.0 is nan
    (algebra.multiply_by_1, X * -1.0),
    (algebra.divide_by_1, 1.0 / X),
    (algebra.subtract_0, 0.0 - X),
    (algebra.op_of_constants, f.dimension(N)),
    (algebra.cast_of_cast, f.cast(f.cast(f.input("i", (N,), "i64"), "f64"), "i64")),  # f64 has 53 bits
    (algebra.cast_of_cast, f.cast(f.cast(X, "i32"), "f32")),
    (algebra.where_of_constant, f.where(C, 1.0, X)),
    (algebra.sum_of_broadcast, f.sum(f.broadcast_to(f.input("y", (3,)), (0, 3)), 0)),  # 0 * inf is nan
    (movement.op_of_broadcasts, f.broadcast_to(f.input("a", (3,)), (3, 3)) + apply(
        Broadcast((3, 3), (0,)), f.input("a", (3,)))),
    (movement.transpose_of_broadcast, f.transpose(f.broadcast_to(f.input("y", (2, 3)), (1, 2, 3)))),
    (movement.reshape_of_broadcast, f.reshape(f.broadcast_to(f.input("y", (3,)), (2, 3)), (6,))),
    (movement.einsum_of_broadcast, f.einsum("ij,jk->ik", X, f.broadcast_to(f.input("y", (4,)), (3, 4)))),
    (stability.log_of_softmax, f.log(f.clip(f.softmax(X), 0.01, 1.0))),  # a limit that is meant
    (stability.log_of_softmax, f.log(f.maximum(f.softmax(X), X))),
    (stability.softmax_over_its_sum, f.softmax(X) / f.sum(f.softmax(X, 0), -1, keepdims=True)),
    (stability.log_of_1_minus_sigmoid, f.log(2.0 - f.sigmoid(X))),
], ids=lambda p: p.name if isinstance(p, Rule) else None)
def test_a_rule_keeps_out(rule, value):
    assert rule(value) is None


def test_no_rule_sees_through_what_a_gradient_is_taken_by():
    p = f.softmax(X)
    loss = f.sum(f.log(p))
    wrt_p, wrt_x = f.gradient(loss, [p])[0], f.gradient(loss, [X])[0]
    kept = rewrite(Graph("t", (X,), (), (("g", wrt_p),)), stability.RULES)
    assert "log(" in str(kept)
    rewritten = rewrite(Graph("t", (X,), (), (("g", wrt_x),)), stability.RULES)
    assert "log(" not in str(rewritten) and "logsumexp" in str(rewritten)
