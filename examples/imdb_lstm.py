"""Is a film review positive? An LSTM over its last 100 words, as a Keras user would write it.

    python examples/imdb_lstm.py [--epochs 3] [--rows N]

The reviews are read from ~/.keras/datasets or from the folder that GRAPHC_DATA names, which may have a part of them,
imdb_subset.npz; otherwise they are downloaded (17 MB). With --rows only so many of them are used.
"""

import argparse

from graphc.datasets import imdb
from graphc.layers import LSTM, Dense, Embedding
from graphc.models import Sequential
from graphc.utils import pad_sequences, set_random_seed

WORDS, LENGTH = 10000, 100


def main(epochs=3, rows=None):
    set_random_seed(0)
    (x_train, y_train), (x_test, y_test) = imdb.load_data(num_words=WORDS)
    x_train, y_train, x_test, y_test = (part[:rows] for part in (x_train, y_train, x_test, y_test))
    print(f"{len(x_train)} reviews to learn from, {len(x_test)} to test on; the first one has {len(x_train[0])} words")
    x_train, x_test = (pad_sequences(x, maxlen=LENGTH) for x in (x_train, x_test))

    model = Sequential()
    model.add(Embedding(WORDS, 128, input_length=LENGTH))
    model.add(LSTM(128))
    model.add(Dense(1, activation="sigmoid"))
    model.summary()

    model.compile(loss="binary_crossentropy", optimizer="adam", metrics=["accuracy"])
    model.fit(x_train, y_train, batch_size=64, epochs=epochs, validation_data=(x_test, y_test), verbose=2)
    loss, accuracy = model.evaluate(x_test, y_test, batch_size=64, verbose=0)
    print(f"test loss: {loss:.4f}, test accuracy: {accuracy:.4f}")
    return accuracy


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rows", type=int, help="use only so many reviews of each part")
    arguments = parser.parse_args()
    main(arguments.epochs, arguments.rows)
