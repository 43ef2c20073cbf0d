"""mypy finds nothing wrong in the package, nor in a program that uses it as Keras is used."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy", reason="needs mypy: pip install -e .[lint]")
ROOT = Path(__file__).parents[1]
PROGRAM = """# mypy: check-untyped-defs
import numpy as np
import graphc as keras
from graphc import backend as K, layers, ops
from graphc.activations import elu, relu
from graphc.callbacks import EarlyStopping
from graphc.constraints import max_norm
from graphc.datasets import imdb, mnist
from graphc.initializers import glorot_uniform
from graphc.losses import MSE, MeanSquaredError, mse
from graphc.metrics import AUC, categorical_accuracy, mean_squared_error
from graphc.optimizers import Adam
from graphc.optimizers.schedules import ExponentialDecay
from graphc.preprocessing.sequence import pad_sequences
from graphc.regularizers import L2, l2
from graphc.utils import to_categorical

x = np.ones((4, 3))
relu(x), elu(x, alpha=0.1), ops.mean(ops.square(x)), ops.nn.gelu(x), ops.image.resize(x, (3, 3)), K.mean(x)
MeanSquaredError()(x, x), mse(x, x), to_categorical([0, 1])


class Scale(layers.Layer):
    def __init__(self, units: int = 3, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        self.w = self.add_weight((self.units,), "ones", regularizer=l2(0.1), constraint=max_norm(3))

    def call(self, inputs):
        return ops.multiply(inputs, self.w)


class Twice(keras.Model):
    def __init__(self):
        super().__init__()
        self.first = layers.Dense(3, kernel_initializer=glorot_uniform(seed=1))

    def call(self, inputs, training=False):
        return self.first(self.first(inputs))


inputs = keras.Input((3,))
model = keras.Model(inputs, Scale()(layers.Dense(3, activation="relu")(inputs)))
model.compile("adam", loss="mse", metrics=["mae"])
history = model.fit(x, x, epochs=2, callbacks=[EarlyStopping(patience=1)])
print(history.history["loss"][0], model.predict(x).shape)
model = keras.Sequential([layers.Embedding(3, 4), layers.LSTM(5)])
model.add(layers.Dropout(0.5))
model.compile(Adam(ExponentialDecay(0.1, 10, 0.9)), loss=mse, metrics=[AUC(), "accuracy"])
model.save("model.keras")
Twice().evaluate(x, x, verbose=0)
"""


@pytest.mark.slow
def test_mypy(tmp_path):
    shutil.copytree(ROOT / "graphc", tmp_path / "graphc")
    for folder in ("ir", "passes", "runtime"):  # where an installation has them
        shutil.copytree(ROOT / folder, tmp_path / "graphc" / folder)
    (tmp_path / "program.py").write_text(PROGRAM)
    found = subprocess.run(
        [sys.executable, "-m", "mypy", "--ignore-missing-imports", "-p", "graphc", "-m", "program"],
        cwd=tmp_path, env={**os.environ, "MYPYPATH": str(tmp_path)}, capture_output=True, text=True)
    assert not found.returncode, found.stdout + found.stderr
