"""A layer of one's own, as one writes it for Keras: weights in `build`, mathematics in `call`, options in `get_config`.

    python examples/custom_layer.py [--epochs 20]

The 1,797 digits come with graphc. The model is saved, and loaded with the layer in it.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

import graphc as keras
from graphc import layers, ops


@keras.utils.register_keras_serializable("examples")
class Gate(layers.Layer):
    """A dense layer whose units a second dense layer opens and shuts: GLU (Y. Dauphin et al., 2017)."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        shape = (input_shape[-1], self.units)
        self.values = self.add_weight(shape=shape, initializer="he_normal", name="values")
        self.gates = self.add_weight(shape=shape, initializer="glorot_uniform", name="gates", regularizer="l2")

    def call(self, inputs):
        return ops.matmul(inputs, self.values) * ops.sigmoid(ops.matmul(inputs, self.gates))

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def main(epochs=20):
    keras.utils.set_random_seed(0)
    (x, y), (x_test, y_test) = keras.datasets.digits.load_data()
    x, x_test = (part.reshape(-1, 64) / 16 for part in (x, x_test))
    model = keras.Sequential([layers.Input((64,)), Gate(32), Gate(32), layers.Dense(10, activation="softmax")])
    model.summary()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, epochs=epochs, verbose=2)
    print("test accuracy:", round(model.evaluate(x_test, y_test, verbose=0)[1], 4))
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "gates.keras")
        again = keras.models.load_model(Path(folder) / "gates.keras")
    assert np.allclose(again.predict(x_test, verbose=0), model.predict(x_test, verbose=0), atol=1e-6)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=20)
    main(**vars(parser.parse_args()))
