"""Whole models that several tests of evidence train."""

from __future__ import annotations

import numpy as np

import graphc
from graphc import layers

ROWS = 24


def images(channels=1, classes=4):
    x = np.random.default_rng(5).random((ROWS, 10, 10, channels), np.float32)
    return x, np.eye(classes, dtype=np.float32)[np.arange(ROWS) % classes]


def numbers(features=12):
    x = np.random.default_rng(6).standard_normal((ROWS, features)).astype(np.float32)
    return x, x[:, 0] * x[:, 1] + x.sum(1)


def _cnn(dropout=0.0):
    return [layers.Conv2D(8, 3, activation="relu", input_shape=(10, 10, 1)), layers.MaxPooling2D(),
            layers.Conv2D(16, 3, activation="relu"), layers.MaxPooling2D(), layers.Flatten(),
            *([layers.Dropout(dropout)] if dropout else []), layers.Dense(4, activation="softmax")]


def models():
    """name -> (layers, optimizer, loss, x, y)."""
    x, y = numbers()
    return {
        "cnn": (_cnn, "adam", "categorical_crossentropy", *images()),
        "cnn with dropout": (lambda: _cnn(0.5), "adam", "categorical_crossentropy", *images()),
        "convolutions, same and strided": (lambda: [
            layers.Conv2D(6, 3, strides=2, padding="same", activation="tanh", input_shape=(10, 10, 2)),
            layers.Conv2D(5, (2, 3), padding="same", activation="elu"), layers.Conv2D(4, 3, strides=2),
            layers.Flatten(), layers.Dense(4, activation="softmax")],
            "sgd", "categorical_crossentropy", *images(2)),
        "average pooling": (lambda: [
            layers.Conv2D(6, 3, dilation_rate=2, activation="relu", input_shape=(10, 10, 2)),
            layers.AveragePooling2D(3, strides=2, padding="same"), layers.Flatten(),
            layers.Dense(4, activation="softmax")],
            "rmsprop", "categorical_crossentropy", *images(2)),
        "mlp": (lambda: [layers.Dense(33, activation="relu", input_shape=(12,)), layers.Dense(8, activation="tanh"),
                         layers.Dense(1)], "adam", "mse", x, y),
        "deep mlp": (lambda: [
            layers.Input((12,)), *(layers.Dense(24, activation=a) for a in ("gelu", "silu", "softplus", "selu")),
            layers.Dense(2)], "sgd", "mae", x, np.stack([y, -y], 1)),
        "binary": (lambda: [layers.Dense(8, activation="relu", input_shape=(12,)), layers.Dropout(0.25),
                            layers.Dense(1, activation="sigmoid")], "adam", "binary_crossentropy", x, y > 0),
        "sparse": (lambda: [layers.Dense(16, activation="relu", input_shape=(12,)),
                            layers.Dense(5, activation="softmax")],
                   "adamw", "sparse_categorical_crossentropy", x, np.arange(ROWS) % 5),
    }


def train(name, steps=3, batch=16, predict=True, **switches):
    """Losses, weights and predictions after some steps from the same seed; batches of two sizes."""
    graphc.utils.clear_session()
    graphc.utils.set_random_seed(3)
    make, optimizer, loss, x, y = models()[name]
    with graphc.config(**switches):
        model = graphc.Sequential(make())
        metrics = ["mae"] if loss in ("mse", "mae") else ["accuracy"]
        model.compile(optimizer, loss=loss, metrics=metrics)
        results = []
        for step in range(steps):
            rows = slice(0, batch) if step % 2 == 0 else slice(batch, ROWS)
            results.append(np.asarray(model.train_on_batch(x[rows], y[rows])))
        results += model.get_weights()
        if predict:
            results += [model.predict(x, batch_size=10, verbose=0), np.asarray(model.evaluate(x, y, verbose=0))]
    return results
