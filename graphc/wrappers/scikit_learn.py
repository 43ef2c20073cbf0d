"""The wrappers of older releases: `KerasClassifier(build_fn, epochs=10, units=32)`. New programs use SKLearnClassifier.

https://faroit.com/keras-docs/2.0.8/scikit-learn-api/
"""

from __future__ import annotations

import copy
import inspect
from typing import Any

import numpy as np

from graphc.models import Model
from graphc.names import refuse_unknown
from graphc.utils.labels import to_categorical

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
except ImportError as error:
    raise ImportError(f"graphc.wrappers need scikit-learn 1.6 or newer ({error}): pip install scikit-learn.") from None

__all__ = ["KerasClassifier", "KerasRegressor"]


class _Wrapper(BaseEstimator):
    """An estimator of a function that makes a compiled model.

    Keyword arguments are those of `build_fn`, and of the model's `fit`, `predict` and `evaluate`; all of them can be
    searched over. Without `build_fn` a subclass makes the model in `__call__`.
    """

    def __init__(self, build_fn: Any = None, **sk_params: Any):
        self.build_fn, self.sk_params = build_fn, sk_params
        self._refuse_unknown(sk_params)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """All arguments."""
        return {**copy.deepcopy(self.sk_params), "build_fn": self.build_fn}

    def set_params(self, **params: Any) -> Any:
        """Change arguments."""
        given = dict(params)
        self.build_fn = given.pop("build_fn", self.build_fn)
        self._refuse_unknown(given)
        self.sk_params.update(given)
        return self

    def fit(self, x: Any, y: Any, **kwargs: Any) -> Any:
        """Make a model and train it; returns its History."""
        self.model = self._function()(**self._arguments(self._function()))
        self.history = self.model.fit(x, self._encode(y), **{**self._arguments(Model.fit), **kwargs})
        return self.history

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model")

    def _function(self) -> Any:
        """What makes the model."""
        if self.build_fn is not None:
            return self.build_fn
        if "__call__" not in dir(type(self)):
            raise ValueError(f"{type(self).__name__} needs build_fn, a function that returns a compiled model.")
        return self.__call__  # type: ignore[attr-defined]

    def _arguments(self, function: Any) -> dict[str, Any]:
        """Those of the arguments that the function takes."""
        taken = inspect.signature(function).parameters
        everything = any(p.kind is p.VAR_KEYWORD for p in taken.values())
        others = {name for f in (Model.fit, Model.predict, Model.evaluate) for name in inspect.signature(f).parameters}
        return {name: value for name, value in self.sk_params.items()
                if name in taken or (everything and name not in others)}

    def _refuse_unknown(self, params: dict[str, Any]) -> None:
        """Raise TypeError for an argument that no function takes."""
        signatures = [inspect.signature(f) for f in (Model.fit, Model.predict, Model.evaluate, self._function())]
        known = [name for s in signatures for name in s.parameters if name != "self"]
        if not any(p.kind is p.VAR_KEYWORD for p in signatures[-1].parameters.values()):
            refuse_unknown(type(self).__name__, {k: v for k, v in params.items() if k not in known}, known)

    def _encode(self, y: Any) -> np.ndarray:
        return np.asarray(y)

    def _outputs(self, x: Any, **kwargs: Any) -> np.ndarray:
        return self.model.predict(x, **{**self._arguments(Model.predict), **kwargs})


class KerasClassifier(ClassifierMixin, _Wrapper):
    """A classifier: a model of one sigmoid, or of an output for each class. See SKLearnClassifier for the new form."""

    def predict(self, x: Any, **kwargs: Any) -> np.ndarray:
        """The class of each row (n,)."""
        outputs = self._outputs(x, **kwargs)
        numbers = outputs.argmax(-1) if outputs.shape[-1] > 1 else (outputs[:, 0] > 0.5).astype(int)
        return self.classes_[numbers]

    def predict_proba(self, x: Any, **kwargs: Any) -> np.ndarray:
        """The probability of each class (n,classes)."""
        outputs = self._outputs(x, **kwargs)
        return outputs if outputs.shape[-1] > 1 else np.hstack([1 - outputs, outputs])

    def _encode(self, y: Any) -> np.ndarray:
        labels = np.asarray(y)
        if labels.ndim == 2 and labels.shape[1] > 1:
            self.classes_ = np.arange(labels.shape[1])
            return labels
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        numbers = numbers.reshape(-1)
        if getattr(self.model.loss, "name", self.model.loss) == "categorical_crossentropy":
            return to_categorical(numbers, len(self.classes_))
        return numbers


class KerasRegressor(RegressorMixin, _Wrapper):
    """A regressor. `score` is the loss with its sign changed, so that more is better."""

    def predict(self, x: Any, **kwargs: Any) -> np.ndarray:
        """The number of each row (n,)."""
        outputs = self._outputs(x, **kwargs)
        return outputs[:, 0] if outputs.shape[1:] == (1,) else outputs

    def score(self, x: Any, y: Any, **kwargs: Any) -> float:
        """The loss with its sign changed."""
        loss = self.model.evaluate(x, y, **{**self._arguments(Model.evaluate), **kwargs})
        return -float(loss[0] if isinstance(loss, list) else loss)
