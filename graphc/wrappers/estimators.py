"""Estimators of scikit-learn around a model. https://keras.io/api/utils/sklearn_wrappers/"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from graphc.models import Model, clone_model
from graphc.utils.labels import to_categorical
from graphc.utils.session import set_random_seed

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, TransformerMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import type_of_target
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise ImportError(f"graphc.wrappers need scikit-learn 1.6 or newer ({error}): pip install scikit-learn.") from None

__all__ = ["SKLearnClassifier", "SKLearnRegressor", "SKLearnTransformer"]


class _Estimator(BaseEstimator):
    """What the three have in common.

    `model` is a compiled model, of which each `fit` trains a fresh clone, or a function that makes one:
    `model(X=X, y=y, **model_kwargs)`, called with the labels as they are trained on. `fit_kwargs` are arguments of
    every `model.fit`. With `warm_start` a second `fit` goes on with the model of the first. `random_state` makes `fit`
    repeatable.

    After `fit`: `model_`, the trained model, and `history_`, its History.
    """

    def __init__(self, model: Any = None, warm_start: bool = False, model_kwargs: dict[str, Any] | None = None,
                 fit_kwargs: dict[str, Any] | None = None, random_state: Any = None):
        self.model = model
        self.warm_start = warm_start
        self.model_kwargs = model_kwargs
        self.fit_kwargs = fit_kwargs
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, **kwargs: Any) -> Any:
        """Train on rows X (n,...) and labels y; keyword arguments are those of `model.fit`."""
        X, y = self._checked(X, y)
        targets = self._encode(y)
        options = {**(self.fit_kwargs or {}), **kwargs}
        with _seeded(self.random_state):
            model = self._model(X, targets)
            self.history_ = model.fit(X, targets, **options)
        self.model_ = model
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.non_deterministic = self.random_state is None
        tags.input_tags.three_d_array = True
        tags.target_tags.required = True
        return tags

    def _checked(self, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        """X and y as arrays, or the errors that scikit-learn has for them."""
        return validate_data(self, X, y, allow_nd=True, multi_output=True, y_numeric=True)

    def _model(self, X: np.ndarray, y: np.ndarray) -> Model:
        """The model to train."""
        if self.warm_start and hasattr(self, "model_"):
            return self.model_
        if isinstance(self.model, Model):
            model = _compiled(self.model)
            return model if self.warm_start else _fresh(model)
        if not callable(self.model):
            raise TypeError(f"{type(self).__name__}(model={self.model!r}): expected a compiled model, or a function "
                            "that takes X and y and returns one.")
        return _compiled(self.model(X=X, y=y, **(self.model_kwargs or {})))

    def _encode(self, y: np.ndarray) -> np.ndarray:
        """Labels as the model is trained on them."""
        self._flat = y.ndim == 1
        return y.reshape(-1, 1) if y.ndim == 1 else y

    def _outputs(self, X: Any) -> np.ndarray:
        """What the trained model gives."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, allow_nd=True)
        return self.model_.predict(X, verbose=(self.fit_kwargs or {}).get("verbose", "auto"))


class SKLearnClassifier(ClassifierMixin, _Estimator):
    """A classifier. The model is trained on one-hot rows and gives one output for each class, such as a softmax.

    `model` is a compiled model, of which each `fit` trains a fresh clone, or a function
    `model(X, y, **model_kwargs)` that makes one; `fit_kwargs` are arguments of every `model.fit`, `random_state` makes
    `fit` repeatable. After `fit`: `classes_`, `model_` and `history_`.
    """

    def predict(self, X: Any) -> np.ndarray:
        """The class of each row (n,)."""
        outputs = self._outputs(X)
        return self.classes_[outputs.argmax(-1)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class (n,classes); ValueError where the model's outputs are none."""
        outputs = self._outputs(X)
        if (outputs < 0).any() or not np.allclose(outputs.sum(-1), 1, atol=1e-3):
            raise ValueError("predict_proba: the model's outputs are no probabilities. End it with a softmax.")
        return outputs

    def decision_function(self, X: Any) -> np.ndarray:
        """The model's outputs (n,classes); of two classes, the second output less the first (n,)."""
        outputs = self._outputs(X)
        return outputs[:, 1] - outputs[:, 0] if len(self.classes_) == 2 else outputs

    def _checked(self, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        return validate_data(self, X, y, allow_nd=True)

    def _encode(self, y: np.ndarray) -> np.ndarray:
        kind = type_of_target(y, input_name="y", raise_unknown=True)
        if kind not in ("binary", "multiclass"):
            raise ValueError(f"Unknown label type: {kind}. SKLearnClassifier takes one class for each row: "
                             "binary and multiclass targets are supported.")
        self.classes_, numbers = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError("Classifier can't train when only one class is present.")
        return to_categorical(numbers, len(self.classes_))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True  # in the few steps that the checks train for
        return tags


class SKLearnRegressor(RegressorMixin, _Estimator):
    """A regressor, of one number for each row or several.

    `model` is a compiled model, of which each `fit` trains a fresh clone, or a function
    `model(X, y, **model_kwargs)` that makes one; `fit_kwargs` are arguments of every `model.fit`, `random_state` makes
    `fit` repeatable. After `fit`: `model_` and `history_`.
    """

    def predict(self, X: Any) -> np.ndarray:
        """The number or numbers of each row, shaped as y was, in float64 as scikit-learn has them."""
        outputs = self._outputs(X).astype(np.float64)
        return outputs.reshape(-1) if self._flat and outputs.shape[1:] == (1,) else outputs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True  # in the few steps that the checks train for
        tags.target_tags.multi_output = True
        return tags


class SKLearnTransformer(TransformerMixin, _Estimator):
    """A step of a pipeline that passes on what the model gives for its rows, an embedding for example.

    `model` is a compiled model, of which each `fit` trains a fresh clone, or a function
    `model(X, y, **model_kwargs)` that makes one; `fit_kwargs` are arguments of every `model.fit`, `random_state` makes
    `fit` repeatable. After `fit`: `model_` and `history_`.
    """

    def transform(self, X: Any) -> np.ndarray:
        """The model's outputs."""
        return self._outputs(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags


def _compiled(model: Model) -> Model:
    """The model, or RuntimeError where it can't be trained."""
    if model.optimizer is None or model.loss is None:
        raise RuntimeError(f"The model {model.name!r} is not compiled. Call model.compile(optimizer, loss) first.")
    return model


def _fresh(model: Model) -> Model:
    """A clone with new weights, compiled as the model is."""
    made, chosen = clone_model(model), copy.deepcopy(model.objective)
    made.compile(copy.deepcopy(model.optimizer), chosen.loss, chosen.loss_weights, chosen.metrics,
                 chosen.weighted_metrics)
    return made


@contextmanager
def _seeded(random_state: Any) -> Iterator[None]:
    """Weights, shuffling and dropout inside depend on the state only; NumPy's own goes on as if nothing had been."""
    if random_state is None:
        yield
        return
    before = np.random.get_state()
    set_random_seed(check_random_state(random_state).randint(2**31 - 1))
    try:
        yield
    finally:
        np.random.set_state(before)
