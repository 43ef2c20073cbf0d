"""Recipe: a rewrite rule. A function from a value to a simpler one that equals it, or None where it does not apply.

Its docstring is the equation and its reason, then examples on which it must fire. A rule of the package stands in
passes/rules/, and tests/passes/test_rules.py samples its examples; here that is done by hand.
"""

import numpy as np

from graphc.ir import functions as f
from graphc.ir.evaluate import evaluate
from graphc.ir.graph import Graph, Value
from graphc.ir.ops.elementwise import Exp, Relu
from graphc.ir.types import dim
from graphc.passes.pipeline import GRAPH_PASSES, run
from graphc.passes.rewrite import rewrite, rule


@rule(Relu)
def relu_of_exp(value):
    """relu(exp(x)) = exp(x): an exponential is never below 0, and relu keeps a NaN.

    x: f32[2,3] => relu(exp(x))
    """
    match value.operands[0]:
        case Value(Exp()) as exponential:
            return exponential
    return None


def shorten(graph):
    """A pass is a function from graph to graph."""
    return rewrite(graph, (relu_of_exp,))


def main():
    x = f.input("x", (dim("N"), 3))
    before = Graph("step", (x,), (), (("y", f.relu(f.exp(x)) + f.relu(x)),))
    after = run(before, (*GRAPH_PASSES, shorten), check=True)  # `check` verifies the graph after each pass
    print("before:", before, "after:", after, sep="\n")
    assert "relu(%0)" in str(before) and str(after).count("relu(") == 1  # the relu of x itself stays

    numbers = np.array([[np.nan, np.inf, -np.inf], [0.0, -0.0, 88.0], [-104.0, 1.0, -1.0]], np.float32)
    expected, found = (evaluate(g, {"x": numbers})[0]["y"] for g in (before, after))
    np.testing.assert_array_equal(found, expected)  # a rule is exact unless it says exact=False


if __name__ == "__main__":
    main()
