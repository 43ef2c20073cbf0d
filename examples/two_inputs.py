"""A functional model of two inputs and two outputs: what is in the concrete, and how old it is.

    python examples/two_inputs.py [--epochs 60]

The table concrete.csv (I-C. Yeh) is read from the folder that GRAPHC_DATA names or from ~/.keras/datasets.
"""

import argparse

import numpy as np
from tables import columns

import graphc as keras
from graphc import layers

MIXTURE = ["cement", "slag", "ash", "water", "superplastic", "coarseagg", "fineagg"]


def main(epochs=60):
    keras.utils.set_random_seed(0)
    table = np.random.default_rng(0).permutation(columns("concrete.csv", [*MIXTURE, "age", "strength"]))
    x = {"mixture": table[:, :7] / table[:, :7].max(0), "age": np.log(table[:, 7:8])}
    y = {"strength": table[:, 8:], "strong": table[:, 8:] > 40}

    mixture, age = keras.Input((7,), name="mixture"), keras.Input((1,), name="age")
    recipe = layers.Dense(64, activation="relu")(mixture)
    both = layers.Concatenate()([recipe, layers.Dense(8, activation="relu")(age)])
    hidden = layers.Dense(64, activation="relu")(both)
    model = keras.Model([mixture, age], {
        "strength": layers.Dense(1, name="strength")(hidden),
        "strong": layers.Dense(1, activation="sigmoid", name="strong")(hidden),
    })
    model.summary()
    model.compile("adam", loss={"strength": "mse", "strong": "binary_crossentropy"},
                  loss_weights={"strength": 0.01, "strong": 1.0}, metrics={"strength": ["mae"], "strong": ["accuracy"]})
    model.fit(x, y, epochs=epochs, validation_split=0.2, verbose=2)
    for name, value in model.evaluate(x, y, verbose=0, return_dict=True).items():
        print(f"{name}: {value:.3f}")
    predicted = model.predict({name: part[:3] for name, part in x.items()}, verbose=0)
    print("strength:", predicted["strength"][:, 0].round(1), "measured:", y["strength"][:3, 0])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=60)
    main(**vars(parser.parse_args()))
