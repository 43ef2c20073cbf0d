"""Recipe: a layer. One class: options in `__init__`, weights in `build`, mathematics in `call`.

`call` runs once for each program, on symbolic values; gradients, fusion and native code follow from the ops it uses.
"""

import numpy as np

import graphc
from graphc import ops
from graphc.layers import Dense, Layer
from graphc.runtime import counters


class Scale(Layer):
    """Multiply every feature by a factor that is learnt."""

    def __init__(self, start=1.0, **kwargs):
        super().__init__(**kwargs)
        self.start = start

    def build(self, input_shape):
        self.factor = self.add_weight((input_shape[-1],), graphc.initializers.Constant(self.start), name="factor")

    def call(self, inputs):
        return ops.multiply(inputs, self.factor)


def main():
    graphc.utils.set_random_seed(0)
    x = np.random.default_rng(0).standard_normal((256, 3)).astype("float32")
    y = x * [1.0, -2.0, 0.5]  # what the layer has to find

    model = graphc.Sequential([Scale(start=0.1, input_shape=(3,))])
    model.compile(graphc.optimizers.SGD(0.3), loss="mse")
    before = counters()
    model.fit(x, y, batch_size=32, epochs=20, verbose=0)
    calls = counters()["native_calls"] - before["native_calls"]
    print(model.graph("predict"))
    print("learnt factors:", model.layers[0].factor.numpy().round(3), "in", calls, "native calls")
    assert np.allclose(model.layers[0].factor.numpy(), [1.0, -2.0, 0.5], atol=1e-3)
    steps = 20 * 8
    assert model.optimizer.iterations.numpy() == steps
    assert calls <= steps  # many steps in each; none with GRAPHC_BACKEND=numpy

    # It works with others, names itself in errors, and tells its options for a copy.
    model = graphc.Sequential([Dense(4, activation="relu", input_shape=(3,)), Scale(), Dense(1)])
    assert model.predict(x, verbose=0).shape == (256, 1)
    assert Scale.from_config(Scale(2.0, name="twice").get_config()).start == 2.0


if __name__ == "__main__":
    main()
