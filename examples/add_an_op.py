"""Recipe: an op. One class of four short methods in a file of your own; every rung takes it from there.

reference (NumPy), definition (one element, over index grids), loops (interpreted) and native code must agree. Fusion
and code generation read the definition and never the name, so the op joins the kernel of the layer that uses it.
"""

import numpy as np

from graphc.ir.evaluate import by_definition, by_reference, evaluate
from graphc.ir.expr import scalar
from graphc.ir.graph import apply
from graphc.ir.op import Elementwise
from graphc.layers import Dense
from graphc.models import Sequential
from graphc.optimizers import Adam
from graphc.passes.pipeline import PIPELINE, run
from graphc.runtime import counters
from graphc.runtime.lower import lower
from graphc.runtime.targets.interpreter import interpret
from graphc.utils import set_random_seed


class Bell(Elementwise):
    """exp(-x * x).

    bell(f32[2,3]) -> f32[2,3]
    bell(i32[4]) -> DTypeError: bell needs floating-point operands
    """

    floating = True  # `Elementwise` derives `infer` and `define`; an op with structure writes them itself

    def reference(self, x):
        return np.exp(-x * x)

    def scalar(self, x):
        return scalar("exp", -(x * x))

    def vjp(self, f, g, y, x):
        return (g * y * x * -2.0,)


def main():
    set_random_seed(0)
    model = Sequential([Dense(4, activation=lambda x: apply(Bell(), x), input_shape=(3,))])
    x = np.random.default_rng(0).standard_normal((64, 3)).astype("float32")
    graph = model.graph("predict")
    arrays = {"x": x} | {v.label: v.array for v in graph.state}

    results = {rung.__name__: evaluate(graph, arrays, rung)[0]["prediction"] for rung in (by_reference, by_definition)}
    (kernel,) = run(graph, PIPELINE).steps  # the product, the bias and the op are one kernel
    loops = lower(kernel.op.body, kernel.op.body.name)
    print(loops)
    results["loops"] = np.zeros((64, 4), "float32")
    interpret(loops, [*(arrays[o.op.label] for o in kernel.operands), results["loops"]], {"N": 64})
    before = counters()
    results["native"] = model.predict_on_batch(x)
    made = {name: n - before[name] for name, n in counters().items()}
    print("native:", made)
    assert made["kernels_compiled"] <= 1 and made["numpy_fallbacks"] == 0  # 0 with GRAPHC_BACKEND=numpy
    for rung, y in results.items():
        np.testing.assert_allclose(y, results["by_reference"], rtol=2e-5, atol=1e-7, err_msg=rung)

    model.compile(Adam(0.02), loss="mse")  # the gradient: learn another network of the same form
    y = np.exp(-(x @ [[0.5, 1, 0, 0], [-0.3, 0, 1, 0], [0.2, 0, 0, 1]]) ** 2)
    losses = model.fit(x, y, epochs=50, verbose=0).history["loss"]
    print(f"trained with it: loss {losses[0]:.3f} -> {losses[-1]:.4f}")
    assert losses[-1] < losses[0] / 4


if __name__ == "__main__":
    main()
