"""Recipe: a schedule. A composition of loop transformations (runtime/transform.py), printed before and after.

A template of the package is a module in runtime/schedule/ with `apply(loops, machine)`, which composes the same
functions. None of them may change what the loops compute: the bounds proof and the interpreter check it.
"""

from dataclasses import replace

import numpy as np

from graphc.ir import functions as f
from graphc.ir.graph import Graph
from graphc.ir.types import dim
from graphc.passes.pipeline import PIPELINE, run
from graphc.runtime.loops import verify_loops
from graphc.runtime.lower import lower
from graphc.runtime.targets.interpreter import interpret
from graphc.runtime.transform import chain_of, mark, sink, split


def naive_loops():
    """relu(x @ w) as a kernel's naive loops."""
    x, w = f.input("x", (dim("N"), 6)), f.input("w", (6, 16))
    (kernel,) = run(Graph("step", (x, w), (), (("y", f.relu(f.matmul(x, w))),)), PIPELINE).steps
    return lower(kernel.op.body, kernel.op.body.name)


def tiled(loops, rows=2, lanes=8):
    """A register tile of `rows` by `lanes`: rows unrolled, lanes a vector, blocks of rows shared among threads."""
    i, j = (loop.axis for loop in chain_of(loops.body)[0])
    body, _, inner, _ = split(loops.body, j, lanes)  # 16 columns are two blocks of `lanes`, with no rest
    body = mark(sink(body, inner), inner, "vector")
    body, blocks, inner, rest = split(body, i, rows)
    body = mark(sink(body, inner), inner, "unroll")  # N % rows are left, for the `rest` loop
    return replace(loops, body=mark(mark(body, blocks, "parallel"), rest, "parallel"))


def main():
    before = naive_loops()
    after = tiled(before)
    print(before, after, sep="\n\n")
    verify_loops(after)  # every access in bounds, for every N of at least 1

    rng = np.random.default_rng(0)
    for n in (1, 2, 5):
        x, w = rng.standard_normal((n, 6)).astype("float32"), rng.standard_normal((6, 16)).astype("float32")
        expected, found = np.zeros((n, 16), "float32"), np.zeros((n, 16), "float32")
        interpret(before, [x, w, expected], {"N": n})
        interpret(after, [x, w, found], {"N": n})
        np.testing.assert_array_equal(found, expected)


if __name__ == "__main__":
    main()
