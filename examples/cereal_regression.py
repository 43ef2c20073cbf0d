"""A single neuron: the calories of a cereal from its sugars, fiber and protein.

    python examples/cereal_regression.py [--epochs 500]

The table "80 Cereals", cereal.csv, is read from the folder that GRAPHC_DATA names or from ~/.keras/datasets.
"""

import argparse

from tables import columns

import graphc as keras


def main(epochs=500):
    keras.utils.set_random_seed(0)
    table = columns("cereal.csv", ["sugars", "fiber", "protein", "calories"])
    features, calories = table[:, :3], table[:, 3]

    model = keras.Sequential([keras.layers.Dense(units=1, input_shape=[3])])
    w, b = model.weights
    print(f"Weights before training\n{w}\nBias\n{b}")

    model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.5), loss="mae")
    history = model.fit(features, calories, epochs=epochs, verbose=0)
    first, last = history.history["loss"][0], history.history["loss"][-1]
    print(f"off by {first:.1f} calories at first, by {last:.1f} after {epochs} epochs of {len(table)} cereals")
    for name, weight in zip(("sugars", "fiber", "protein"), w.numpy()[:, 0], strict=True):
        print(f"{weight:+.2f} calories for a gram of {name}")
    print(f"{model.predict([[5, 2, 3]], verbose=0)[0, 0]:.0f} calories with 5 g of sugars, 2 of fiber, 3 of protein")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=500)
    main(**vars(parser.parse_args()))
