"""Models as estimators of scikit-learn: its own checks, cross validation, searches, pipelines, pickles and clones."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
from samples import each

import graphc
from graphc.layers import Dense

sklearn = pytest.importorskip("sklearn", minversion="1.6", reason="the wrappers need scikit-learn")
from sklearn.base import clone  # noqa: E402
from sklearn.datasets import load_diabetes, load_iris  # noqa: E402
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.utils.estimator_checks import check_estimator  # noqa: E402

from graphc.wrappers import SKLearnClassifier, SKLearnRegressor, SKLearnTransformer  # noqa: E402
from graphc.wrappers.scikit_learn import KerasClassifier, KerasRegressor  # noqa: E402

pytestmark = pytest.mark.usefixtures("reference_backend")


def network(X, y, loss, activation=None, units=(10,)):
    inputs = x = graphc.Input((X.shape[1],))
    for n in units:
        x = Dense(n, activation="relu")(x)
    model = graphc.Model(inputs, Dense(y.shape[1] if y.ndim > 1 else 1, activation=activation)(x))
    model.compile("adam", loss)
    return model


CLASSIFIER = {"loss": "categorical_crossentropy", "activation": "softmax", "units": (20,)}
ESTIMATORS = {
    "classifier": SKLearnClassifier(network, model_kwargs=CLASSIFIER, fit_kwargs={"epochs": 3, "verbose": 0}),
    "regressor": SKLearnRegressor(network, model_kwargs={"loss": "mse"}, fit_kwargs={"verbose": 0}),
    "transformer": SKLearnTransformer(network, model_kwargs={"loss": "mse"}, fit_kwargs={"verbose": 0}),
}
# Without random_state, scikit-learn leaves out what needs two equal fits. Keras's wrappers fail eight checks.
FAILING = {"classifier": {"check_classifiers_one_label_sample_weights":
                          "rows of weight 0 still take part in a batch, so weights change what little training does"}}


@pytest.mark.parametrize("random_state", [pytest.param(None, marks=pytest.mark.slow), 0])
@pytest.mark.parametrize("kind", each(3, ESTIMATORS))
def test_checks_of_scikit_learn(kind, random_state):
    estimator = clone(ESTIMATORS[kind]).set_params(random_state=random_state)
    expected = FAILING.get(kind, {}) if random_state is None else {}
    results = check_estimator(estimator, on_fail=None, on_skip=None, expected_failed_checks=expected)
    failed = {r["check_name"]: str(r["exception"]) for r in results if r["status"] == "failed"}
    assert not failed
    assert sum(r["status"] == "passed" for r in results) > 35


@pytest.fixture(scope="module")
def iris():
    x, y = load_iris(return_X_y=True)
    return x, np.array(["setosa", "versicolor", "virginica"])[y]


def classifier(**options):
    kwargs = {"epochs": 30, "verbose": 0, "batch_size": 16}
    return SKLearnClassifier(network, model_kwargs=CLASSIFIER, fit_kwargs=kwargs, random_state=0, **options)


def test_cross_validation_of_a_pipeline(iris):
    scores = cross_val_score(make_pipeline(StandardScaler(), classifier()), *iris,
                             cv=KFold(5, shuffle=True, random_state=0))
    assert scores.shape == (5,) and scores.mean() > 0.75


def test_predictions(iris):
    x, y = iris
    fitted = classifier().fit(x, y, epochs=20)
    assert set(fitted.predict(x)) <= set(y) and fitted.classes_.tolist() == sorted(set(y))
    assert len(fitted.history_.history["loss"]) == 20 and fitted.fit_kwargs["epochs"] == 30
    probability = fitted.predict_proba(x)
    np.testing.assert_array_equal(fitted.classes_[probability.argmax(1)], fitted.predict(x))
    two = classifier().fit(x[:100], y[:100])
    decided = two.decision_function(x[:100])
    assert decided.shape == (100,)
    np.testing.assert_array_equal(two.classes_[(decided > 0).astype(int)], two.predict(x[:100]))
    assert cross_val_score(classifier(), x[:100], y[:100], cv=2, scoring="roc_auc").mean() > 0.9
    logits = SKLearnClassifier(network, model_kwargs=CLASSIFIER | {"activation": None}, fit_kwargs={"verbose": 0})
    with pytest.raises(ValueError, match="End it with a softmax"):
        logits.fit(x, y).predict_proba(x)


def test_grid_search(iris):
    search = GridSearchCV(classifier(), {"model_kwargs": [CLASSIFIER, CLASSIFIER | {"units": (4, 4)}]}, cv=2)
    search.fit(*iris)
    assert search.best_score_ > 0.5 and search.best_params_["model_kwargs"]["units"] in ((20,), (4, 4))


def test_random_state_makes_fits_equal(iris):
    x, y = iris
    np.random.seed(3)
    expected = np.random.RandomState(3).rand()
    first, second = (classifier().fit(x, y, epochs=1).predict_proba(x) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert np.random.rand() == expected, "NumPy's generator goes on as if nothing had been"


def test_a_compiled_model_is_trained_as_a_fresh_clone():
    x, y = load_diabetes(return_X_y=True)
    model = network(x, y, "mse")
    before = model.get_weights()
    estimator = SKLearnRegressor(model, fit_kwargs={"epochs": 2, "verbose": 0})
    estimator.fit(x, y)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert estimator.model_ is not model and estimator.model_.optimizer is not model.optimizer
    assert estimator.predict(x).shape == y.shape
    warm = SKLearnRegressor(model, warm_start=True, fit_kwargs={"epochs": 1, "verbose": 0}).fit(x, y)
    assert warm.model_ is model and warm.fit(x, y).model_ is model
    assert int(model.optimizer.iterations) == 2 * -(-len(x) // 32)


def test_several_outputs():
    x, y = load_diabetes(return_X_y=True)
    both = np.stack([y, -y], 1)
    fitted = SKLearnRegressor(network, model_kwargs={"loss": "mse"}, fit_kwargs={"verbose": 0}).fit(x, both)
    assert fitted.predict(x).shape == both.shape


def test_images_keep_their_axes():
    def convolutional(X, y):
        layers = graphc.layers
        model = graphc.Sequential([layers.Conv2D(4, 3, input_shape=X.shape[1:]), layers.Flatten(),
                                   layers.Dense(y.shape[1], activation="softmax")])
        model.compile("adam", "categorical_crossentropy")
        return model

    x = np.random.default_rng(0).random((20, 6, 6, 1))
    fitted = SKLearnClassifier(convolutional, fit_kwargs={"verbose": 0}).fit(x, np.arange(20) % 3)
    assert fitted.predict(x).shape == (20,)


def test_wrong_models():
    x, y = load_diabetes(return_X_y=True)
    uncompiled = graphc.Sequential([Dense(1, input_shape=(10,))])
    with pytest.raises(RuntimeError, match="not compiled"):
        SKLearnRegressor(uncompiled).fit(x, y)
    with pytest.raises(TypeError, match="takes X and y"):
        SKLearnRegressor(3).fit(x, y)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))], ids=["deepcopy", "pickle"])
def test_copies_of_fitted_estimators(again, iris):
    x, y = iris
    fitted = classifier().fit(x, y)
    np.testing.assert_array_equal(again(fitted).predict_proba(x), fitted.predict_proba(x))
    model = network(x, x, "mse")
    model.fit(x, x, verbose=0)
    other = again(model)
    np.testing.assert_array_equal(other.predict(x, verbose=0), model.predict(x, verbose=0))
    other.fit(x, x, verbose=0)  # goes on by itself
    assert int(other.optimizer.iterations) == 2 * int(model.optimizer.iterations)
    assert not hasattr(clone(fitted), "model_") and clone(fitted).fit_kwargs == fitted.fit_kwargs


def old(units=8, loss="categorical_crossentropy", outputs=3):
    activation = "sigmoid" if outputs == 1 and loss != "mse" else None if loss == "mse" else "softmax"
    model = graphc.Sequential([Dense(units, activation="relu", input_shape=(4,)),
                               Dense(outputs, activation=activation)])
    model.compile("adam", loss)
    return model


@pytest.mark.parametrize("loss", ["categorical_crossentropy", "sparse_categorical_crossentropy"])
def test_old_classifier(loss, iris):
    x, y = iris
    estimator = KerasClassifier(build_fn=old, units=20, loss=loss, epochs=40, batch_size=16, verbose=0)
    assert estimator.get_params()["units"] == 20
    assert cross_val_score(estimator, x, y, cv=KFold(3, shuffle=True, random_state=0)).mean() > 0.5
    history = estimator.fit(x, y, epochs=2)
    assert len(history.history["loss"]) == 2 and set(estimator.predict(x)) <= set(y)
    assert estimator.predict_proba(x).shape == (150, 3)
    two = KerasClassifier(old, loss="binary_crossentropy", outputs=1, verbose=0)
    two.fit(x[:100], y[:100])
    assert two.predict_proba(x).shape == (150, 2) and set(two.predict(x)) <= set(y[:100])


def test_old_regressor_and_search():
    x, y = load_iris(return_X_y=True)
    estimator = KerasRegressor(build_fn=old, loss="mse", outputs=1, verbose=0)
    search = GridSearchCV(estimator, {"units": [2, 8], "epochs": [1, 5]}, cv=2).fit(x, y)
    assert search.best_params_.keys() == {"units", "epochs"} and search.best_score_ <= 0
    assert estimator.set_params(units=3).sk_params["units"] == 3
    with pytest.raises(TypeError, match="Did you mean 'units'"):
        KerasRegressor(build_fn=old, unit=3)
    with pytest.raises(ValueError, match="needs build_fn"):
        KerasRegressor(units=3)


def test_without_scikit_learn():
    code = ("import sys; sys.modules['sklearn'] = None\nimport graphc\n"
            "try:\n    graphc.wrappers.SKLearnClassifier\nexcept ImportError as error:\n    print(error)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install scikit-learn" in done.stdout
