"""How strong a recipe makes concrete: three hidden layers of 512 units over features that are put to one scale.

    python examples/concrete_regression.py [--epochs 50]

The table concrete.csv (I-C. Yeh) is read from the folder that GRAPHC_DATA names or from ~/.keras/datasets.
"""

import argparse

import numpy as np
from tables import columns

import graphc as keras
from graphc import layers

FEATURES = ["cement", "slag", "ash", "water", "superplastic", "coarseagg", "fineagg", "age"]


def main(epochs=50):
    keras.utils.set_random_seed(0)
    table = np.random.default_rng(0).permutation(columns("concrete.csv", [*FEATURES, "strength"]))
    split = int(0.8 * len(table))
    (x_train, y_train), (x_test, y_test) = ((part[:, :8], part[:, 8]) for part in (table[:split], table[split:]))

    scale = layers.Normalization(input_shape=[8])
    scale.adapt(x_train)
    model = keras.Sequential([
        scale,
        layers.Dense(512, activation="relu"),
        layers.Dense(512, activation="relu"),
        layers.Dense(512, activation="relu"),
        layers.Dense(1),
    ])
    model.summary()
    model.compile(optimizer="adam", loss="mse", metrics=["mae"])
    model.fit(x_train, y_train, epochs=epochs, validation_data=(x_test, y_test), verbose=2)
    squared, absolute = model.evaluate(x_test, y_test, verbose=0)
    print(f"off by {absolute:.2f} MPa on recipes it has not seen; {1 - squared / y_test.var():.0%} of the variance")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=50)
    main(**vars(parser.parse_args()))
