"""How good a network is on data it has not seen, by cross validation, and which width is best, by a search.

    python examples/k_fold.py [--epochs 20] [--folds 5]

The 1,797 digits come with graphc. Needs scikit-learn: pip install scikit-learn.
"""

import argparse

from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

import graphc as keras
from graphc import layers
from graphc.wrappers import SKLearnClassifier


def network(X, y, units=32):
    """A compiled model for rows X and one-hot labels y."""
    model = keras.Sequential([
        layers.Dense(units, activation="relu", input_shape=X.shape[1:]),
        layers.Dense(y.shape[1], activation="softmax"),
    ])
    model.compile("adam", "categorical_crossentropy")
    return model


def main(epochs=20, folds=5):
    (x, y), _ = keras.datasets.digits.load_data()
    x = x.reshape(len(x), -1)
    estimator = SKLearnClassifier(network, fit_kwargs={"epochs": epochs, "verbose": 0}, random_state=0)
    pipeline = make_pipeline(MinMaxScaler(), estimator)
    scores = cross_val_score(pipeline, x, y, cv=folds)
    print(f"accuracy over {folds} folds: {scores.mean():.3f} +- {scores.std():.3f}", scores.round(3))

    widths = {"sklearnclassifier__model_kwargs": [{"units": units} for units in (4, 16, 64)]}
    search = GridSearchCV(pipeline, widths, cv=2).fit(x, y)
    (best,) = search.best_params_.values()
    print(f"best of 4, 16 and 64 units: {best['units']}, accuracy {search.best_score_:.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--folds", type=int, default=5)
    main(**vars(parser.parse_args()))
