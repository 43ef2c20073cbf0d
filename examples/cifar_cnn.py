"""Photographs of ten kinds by a convolutional network, with images that are flipped and moved while it trains.

    python examples/cifar_cnn.py [--epochs 10] [--rows N]

CIFAR-10 is read from ~/.keras/datasets or from the folder that GRAPHC_DATA names, which may have a part of it,
cifar10_subset.npz; otherwise it is downloaded (163 MB).
"""

import argparse

import graphc as keras
from graphc import layers


def main(epochs=10, rows=None):
    keras.utils.set_random_seed(0)
    (x_train, y_train), (x_test, y_test) = keras.datasets.cifar10.load_data()
    x_train, y_train, x_test, y_test = (part[:rows] for part in (x_train, y_train, x_test, y_test))
    print(f"{len(x_train)} images to learn from, {len(x_test)} to test on")

    model = keras.Sequential([
        layers.Input((32, 32, 3)),
        layers.Rescaling(1 / 255),
        layers.RandomFlip("horizontal"),
        layers.RandomTranslation(0.1, 0.1),
        layers.Conv2D(32, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dense(10, activation="softmax"),
    ])
    model.summary()
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x_train, y_train, epochs=epochs, batch_size=64, validation_data=(x_test, y_test), verbose=2)
    loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
    print(f"test loss: {loss:.4f}, test accuracy: {accuracy:.4f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rows", type=int, help="use only so many images of each part")
    main(**vars(parser.parse_args()))
