"""Two networks on the same digits, each trained until it gets no better, and a plot of both losses.

    python examples/compare_models.py [--epochs 100] [--plot losses.png]

The 1,797 digits come with graphc. The plot needs matplotlib: pip install matplotlib.
"""

import argparse

import graphc as keras
from graphc import layers


def network(units, name):
    model = keras.Sequential([layers.Dense(n, activation="relu") for n in units], name=name)
    model.add(layers.Dense(10, activation="softmax"))
    model.compile(keras.optimizers.SGD(learning_rate=0.1, momentum=0.9), "sparse_categorical_crossentropy",
                  metrics=["accuracy"])
    return model


def main(epochs=100, plot=None):
    keras.utils.set_random_seed(0)
    (x, y), (x_test, y_test) = keras.datasets.digits.load_data()
    x, x_test = (part.reshape(-1, 64) / 16 for part in (x, x_test))
    histories = {}
    for model in (network([4], "small"), network([100, 100], "large")):
        stop = keras.callbacks.EarlyStopping(patience=3, restore_best_weights=True)
        history = model.fit(x, y, epochs=epochs, validation_split=0.2, callbacks=[stop], verbose=0)
        histories[model.name] = history.history["val_loss"]
        loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
        print(f"{model.name}: {model.count_params()} parameters, stopped after {len(history.epoch)} epochs, "
              f"test loss {loss:.3f}, test accuracy {accuracy:.3f}")
    if plot:
        from matplotlib import pyplot as plt

        for name, losses in histories.items():
            plt.plot(range(1, len(losses) + 1), losses, label=name)
        plt.xlabel("epoch")
        plt.ylabel("validation loss")
        plt.legend()
        plt.savefig(plot)
        print(f"both losses are drawn in {plot}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--plot", help="an image file to draw the losses in")
    main(**vars(parser.parse_args()))
