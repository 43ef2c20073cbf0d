"""Data sets to try things with: Keras's, downloaded once, and `digits`, shipped with graphc.

https://keras.io/api/datasets/
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphc.lazy import lazy

if TYPE_CHECKING:
    from graphc.datasets import (
        boston_housing,
        california_housing,
        cifar10,
        cifar100,
        digits,
        fashion_mnist,
        imdb,
        mnist,
        reuters,
    )

__all__ = ["boston_housing", "california_housing", "cifar10", "cifar100", "digits", "fashion_mnist", "imdb", "mnist",
           "reuters"]

__getattr__, __dir__ = lazy(__name__, __all__, hint=f"Data sets: {', '.join(__all__)}")
