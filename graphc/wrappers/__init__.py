"""Models as estimators of scikit-learn. https://keras.io/api/utils/sklearn_wrappers/

`scikit_learn` has the wrappers of older releases. scikit-learn is imported when one of them is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphc.lazy import lazy

if TYPE_CHECKING:
    from graphc.wrappers import scikit_learn
    from graphc.wrappers.estimators import SKLearnClassifier, SKLearnRegressor, SKLearnTransformer

__all__ = ["SKLearnClassifier", "SKLearnRegressor", "SKLearnTransformer", "scikit_learn"]

__getattr__, __dir__ = lazy(__name__, ["scikit_learn"], {
    name: "graphc.wrappers.estimators" for name in ("SKLearnClassifier", "SKLearnRegressor", "SKLearnTransformer")})
