"""A small Transformer (A. Vaswani et al., 2017) that writes like Shakespeare, one character after the other.

    python examples/transformer.py [--epochs 3] [--steps 300] [--length 64]

The text tinyshakespeare.txt is read from the folder that GRAPHC_DATA names or from ~/.keras/datasets.
"""

import argparse

import numpy as np
from tables import find

import graphc as keras
from graphc import layers, ops


class Positions(layers.Layer):
    """A learnt vector for each place is added to what stands there."""

    def build(self, input_shape):
        self.table = self.add_weight(shape=input_shape[1:], initializer="random_normal", name="table")

    def call(self, inputs):
        return ops.add(inputs, self.table)


def transformer(characters, length, width=64, heads=4, blocks=2):
    inputs = keras.Input((length,), dtype="int32")
    x = Positions()(layers.Embedding(characters, width)(inputs))
    for _ in range(blocks):
        inner = layers.LayerNormalization()(x)
        inner = layers.MultiHeadAttention(heads, width // heads)(inner, inner, use_causal_mask=True)
        x = layers.Add()([x, inner])
        inner = layers.Dense(4 * width, activation="gelu")(layers.LayerNormalization()(x))
        x = layers.Add()([x, layers.Dense(width)(inner)])
    return keras.Model(inputs, layers.Dense(characters)(layers.LayerNormalization()(x)))


def main(epochs=3, steps=300, length=64):
    keras.utils.set_random_seed(0)
    text = find("tinyshakespeare.txt").read_text()
    letters, codes = np.unique(np.array(list(text)), return_inverse=True)

    def batches():
        while True:
            at = np.random.randint(0, len(codes) - length, 32)[:, None] + np.arange(length + 1)
            yield codes[at[:, :-1]], codes[at[:, 1:]]

    model = transformer(len(letters), length)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(0.003), loss, metrics=["accuracy"])
    model.fit(batches(), epochs=epochs, steps_per_epoch=steps, verbose=2)

    written = list(codes[:length])
    for _ in range(200):
        logits = model.predict(np.array([written[-length:]]), verbose=0)[0, -1]
        written.append(keras.random.categorical(logits[None], 1)[0, 0])
    print("".join(letters[written[length:]]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name, default in (("--epochs", 3), ("--steps", 300), ("--length", 64)):
        parser.add_argument(name, type=int, default=default)
    main(**vars(parser.parse_args()))
