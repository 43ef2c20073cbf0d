"""Models in Keras, and in graphc, which has the same names."""

from __future__ import annotations

from typing import Any

import numpy as np
from models import Model
from steps import EPSILON, RATE, Run, TooMany, Weights

__all__ = ["load_graphc", "load_keras"]

TILE_BYTES = 1 << 26  # of the samples that one call of `fit` gets


def load_graphc(model: Model, weights: Weights, dropout: bool) -> KerasLoaded:
    import graphc

    return KerasLoaded(graphc, model, weights, dropout)


def load_keras(model: Model, weights: Weights, dropout: bool) -> KerasLoaded:
    import keras

    return KerasLoaded(keras, model, weights, dropout)


class KerasLoaded:
    """A compiled model of a module in Keras's style."""

    def __init__(self, keras: Any, model: Model, weights: Weights, dropout: bool):
        self.network = model.build(keras, dropout=dropout)
        for layer in self.network.layers:
            if layer.name in weights:
                layer.set_weights(weights[layer.name])
        self.network.compile(keras.optimizers.Adam(learning_rate=RATE, epsilon=EPSILON), loss=model.loss)

    def train(self, x: np.ndarray, y: np.ndarray) -> dict[str, Run]:
        network, tiles = self.network, _Tiles(x, y)

        def train_on_batch(n: int) -> Any:
            for _ in range(n):
                result = network.train_on_batch(x, y)
            return result

        def fit(n: int) -> Any:
            return network.fit(*tiles(n), batch_size=len(x), epochs=1, shuffle=False, verbose=0)

        return {"train_on_batch": train_on_batch, "fit": fit}

    def predict(self, x: np.ndarray) -> dict[str, Run]:
        network, tiles = self.network, _Tiles(x)

        def predict_on_batch(n: int) -> np.ndarray:
            for _ in range(n):
                result = network.predict_on_batch(x)
            return np.asarray(result)

        def predict(n: int) -> np.ndarray:
            return network.predict(*tiles(n), batch_size=len(x), verbose=0)[-len(x):]

        return {"predict_on_batch": predict_on_batch, "predict": predict}

    def epoch(self, x: np.ndarray, y: np.ndarray, rows: int) -> None:
        self.network.fit(x, y, batch_size=rows, epochs=1, verbose=0)


class _Tiles:
    """The same batch n times in a row, kept for the next call with this n."""

    def __init__(self, *arrays: np.ndarray):
        self.arrays, self.n = arrays, 0
        self.tiles: tuple[np.ndarray, ...] = ()

    def __call__(self, n: int) -> tuple[np.ndarray, ...]:
        if n > 1 and n * sum(a.nbytes for a in self.arrays) > TILE_BYTES:
            raise TooMany
        if n != self.n:
            self.tiles, self.n = tuple(np.concatenate([a] * n) for a in self.arrays), n
        return self.tiles
