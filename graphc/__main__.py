"""`python -m graphc`: small things to run from a shell."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np

import graphc

__all__ = ["main"]


def digits(arguments: argparse.Namespace) -> int:
    """Train a small convolutional network on 8x8 handwritten digits and print its test accuracy."""
    layers = graphc.layers
    graphc.utils.set_random_seed(arguments.seed)
    (x_train, y_train), (x_test, y_test) = graphc.datasets.digits.load_data()
    x_train, x_test = (np.expand_dims(x, -1).astype("float32") / 16 for x in (x_train, x_test))
    model = graphc.Sequential([
        layers.Conv2D(16, 3, padding="same", activation="relu", input_shape=(8, 8, 1)),
        layers.MaxPooling2D(),
        layers.Conv2D(32, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dropout(0.2),
        layers.Dense(10, activation="softmax"),
    ])
    model.compile(graphc.optimizers.Adam(0.005), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.summary()
    model.fit(x_train, y_train, batch_size=arguments.batch_size, epochs=arguments.epochs, verbose=arguments.verbose)
    _, accuracy = model.evaluate(x_test, y_test, verbose=0)
    print(f"test accuracy: {accuracy:.4f}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; the exit status."""
    parser = argparse.ArgumentParser("python -m graphc", description="graphc: Keras-style models as native CPU code.")
    parser.add_argument("--version", action="version", version=f"graphc {graphc.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="command", required=True)
    command = commands.add_parser("digits", help=digits.__doc__, description=digits.__doc__)
    command.add_argument("--epochs", type=int, default=10, help="passes over the training rows (default: 10)")
    command.add_argument("--batch-size", type=int, default=32, help="rows in a step (default: 32)")
    command.add_argument("--seed", type=int, default=0, help="fixes weights, order and dropout (default: 0)")
    command.add_argument("--verbose", type=int, choices=(0, 1, 2), default=1, help="how much fit prints (default: 1)")
    command.set_defaults(run=digits)
    arguments = parser.parse_args(argv)
    return arguments.run(arguments)


if __name__ == "__main__":
    sys.exit(main())
