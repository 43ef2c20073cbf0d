"""A Keras script: a linear unit of three inputs, and a network of three hidden layers, for tables."""

import numpy as np
from tensorflow import keras
from tensorflow.keras import layers

model = keras.Sequential([layers.Dense(units=1, input_shape=[3])])
w, b = model.weights
print("Weights\n{}\n\nBias\n{}".format(w, b))  # noqa: UP032
assert w.shape == (3, 1) and w.numpy().any() and b.numpy() == [0]
for text in (f"{w}", repr(w)):
    assert "(3, 1)" in text and str(abs(w.numpy()[0, 0]))[:5] in text

rng = np.random.default_rng(0)
table = rng.uniform(0, 15, (77, 3))  # sugars, fiber, protein
calories = 90 + table @ [2.5, -3, 4]
model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.5), loss="mae")
history = model.fit(table, calories, epochs=60, verbose=0)
assert history.history["loss"][-1] < 0.5 * history.history["loss"][0]

model = keras.Sequential([
    layers.Dense(512, activation='relu', input_shape=[8]),
    layers.Dense(512, activation='relu'),
    layers.Dense(512, activation='relu'),
    layers.Dense(1),
])
assert [tuple(v.shape) for v in model.weights] == [(8, 512), (512,), (512, 512), (512,), (512, 512), (512,), (512, 1),
                                                   (1,)]
model.compile("adam", "mse")
assert model.predict(rng.random((5, 8)), verbose=0).shape == (5, 1)
