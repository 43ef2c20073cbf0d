"""Handwritten digits by a network of two dense layers, as the first example of many tutorials.

    python examples/digits_mlp.py [--epochs 10] [--rows N]

MNIST (11 MB) is read from ~/.keras/datasets or from the folder that GRAPHC_DATA names, otherwise downloaded.
"""

import argparse

import graphc as keras


def main(epochs=10, rows=None):
    keras.utils.set_random_seed(0)
    (x_train, y_train), (x_test, y_test) = keras.datasets.mnist.load_data()
    x_train, y_train, x_test, y_test = (part[:rows] for part in (x_train, y_train, x_test, y_test))
    x_train, x_test = (x.reshape(-1, 784).astype("float32") / 255.0 for x in (x_train, x_test))
    y_train, y_test = (keras.utils.to_categorical(y, num_classes=10) for y in (y_train, y_test))

    model = keras.Sequential([
        keras.layers.Dense(128, activation="relu", input_shape=(784,)),
        keras.layers.Dense(10, activation="softmax"),
    ])
    model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    model.fit(x_train, y_train, epochs=epochs, batch_size=32, verbose=2)
    loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
    print(f"test loss: {loss:.4f}, test accuracy: {accuracy:.4f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rows", type=int, help="use only so many images of each part")
    main(**vars(parser.parse_args()))
