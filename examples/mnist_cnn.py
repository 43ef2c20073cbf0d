"""A convolutional network on MNIST, as a Keras user would write it, with `keras` replaced by `graphc`.

    python examples/mnist_cnn.py [epochs]

The data (11 MB) are read from ~/.keras/datasets or from the folder that GRAPHC_DATA names, otherwise downloaded.
"""

import sys

import numpy as np

from graphc.datasets import mnist
from graphc.layers import Convolution2D, Dense, Dropout, Flatten, MaxPooling2D
from graphc.models import Sequential
from graphc.utils import set_random_seed, to_categorical


def main(epochs=10):
    set_random_seed(0)
    (x_train, y_train), (x_test, y_test) = mnist.load_data()
    x_train, x_test = (np.expand_dims(x.astype("float32") / 255, axis=3) for x in (x_train, x_test))
    y_train, y_test = to_categorical(y_train), to_categorical(y_test)

    model = Sequential()
    model.add(Convolution2D(32, kernel_size=(3, 3), activation="relu", input_shape=(28, 28, 1)))
    model.add(MaxPooling2D(pool_size=(2, 2)))
    model.add(Convolution2D(64, kernel_size=(3, 3), activation="relu"))
    model.add(MaxPooling2D(pool_size=(2, 2)))
    model.add(Flatten())
    model.add(Dropout(0.5))
    model.add(Dense(10, activation="softmax"))
    model.summary()

    model.compile("adam", loss="categorical_crossentropy", metrics=["accuracy"])
    model.fit(x_train, y_train, batch_size=128, epochs=epochs, validation_split=0.1, verbose=2)
    loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
    print(f"test loss: {loss:.4f}, test accuracy: {accuracy:.4f}")
    print("predicted:", model.predict(x_test[:20], verbose=0).argmax(-1))
    print("labels:   ", y_test[:20].argmax(-1))
    return accuracy


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
