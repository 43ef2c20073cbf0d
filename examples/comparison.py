"""Compare training speed on the digits: graphc's native code, graphc on NumPy, and Keras and torch where installed.

    python examples/comparison.py [steps]

All train the same convolutional network with the same settings, in turns. For numbers to rely on see benchmarks/.
"""

import statistics
import sys
import time

import numpy as np

import graphc

BATCH = 64


def keras_style(keras, x, y):
    """A training step written for Keras; graphc takes it as it is."""
    layers = keras.layers
    model = keras.Sequential([
        keras.Input((8, 8, 1)), layers.Conv2D(32, 3, activation="relu"), layers.MaxPooling2D(), layers.Flatten(),
        layers.Dense(64, activation="relu"), layers.Dense(10, activation="softmax")])
    model.compile("adam", loss="sparse_categorical_crossentropy")
    return lambda: float(model.train_on_batch(x, y))


def torch_style(torch, x, y):
    """The same in torch, whose images have their channels first."""
    nn = torch.nn
    x, y = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(y).long()
    model = nn.Sequential(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(288, 64), nn.ReLU(),
                          nn.Linear(64, 10))
    adam = torch.optim.Adam(model.parameters())

    def step():
        adam.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        adam.step()
        return loss.item()

    return step


def contenders(x, y):
    """Names and training steps of all that are installed."""
    yield "graphc", keras_style(graphc, x, y)
    with graphc.config(backend="numpy"):
        step = keras_style(graphc, x, y)
        step()  # a program keeps the backend of its first call
    yield "graphc on NumPy", step
    for name, style in (("keras", keras_style), ("torch", torch_style)):
        try:
            yield name, style(__import__(name), x, y)
        except ImportError as error:
            print(f"without {name}: {error}")


def main(steps=100):
    graphc.utils.set_random_seed(0)
    (x, y), _ = graphc.datasets.digits.load_data()
    x, y = x[:BATCH, ..., None].astype("float32") / 16, y[:BATCH].astype("int32")
    times, losses = {}, {}
    turns = dict(contenders(x, y))
    for step in turns.values():
        step()  # compiles
    for _ in range(steps):
        for name, step in turns.items():
            start = time.perf_counter()
            losses[name] = step()
            times.setdefault(name, []).append(1e3 * (time.perf_counter() - start))
    own = statistics.median(times["graphc"])
    for name in turns:
        ms = statistics.median(times[name])
        print(f"{name:16}{ms:8.3f} ms for {BATCH} images, {ms / own:6.2f} times graphc; loss {losses[name]:.3f}")
    assert np.isfinite(list(losses.values())).all()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
