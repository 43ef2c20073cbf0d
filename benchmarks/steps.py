"""What all contenders share: the interface of a loaded model, Adam's settings, and layouts of images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from models import Node

__all__ = ["EPSILON", "RATE", "Loaded", "Run", "TooMany", "Weights", "channels_first", "flattened", "rows_by_channel",
           "same_padding"]

Weights = Mapping[str, list[np.ndarray]]  # by the name of the layer, as Keras has them
Run = Callable[[int], Any]  # does n steps; gives what the last one returned
RATE, EPSILON = 1e-3, 1e-7  # of Adam, everywhere


class Loaded(Protocol):
    """A model with weights, ready for steps on given samples and labels.

    A step can be taken in several ways (`train_on_batch` or `fit`, one memory format or another), of which the fastest
    counts.
    """

    def train(self, x: np.ndarray, y: np.ndarray) -> dict[str, Run]:
        """The ways to train."""

    def predict(self, x: np.ndarray) -> dict[str, Run]:
        """The ways to predict; the first one has the weights that the first way to train leaves."""

    def epoch(self, x: np.ndarray, y: np.ndarray, rows: int) -> None:
        """Train once over all samples in a random order, in batches of so many rows."""


class TooMany(Exception):
    """So many steps in one call take more memory than a benchmark ought to."""


def flattened(node: Node) -> tuple[int, ...] | None:
    """The shape of the image that a node holds flattened, seen through dropout."""
    while node.kind == "Dropout":
        (node,) = node.sources
    return node.sources[0].shape if node.kind == "Flatten" else None


def rows_by_channel(kernel: np.ndarray, image: tuple[int, ...] | None) -> np.ndarray:
    """The kernel of a dense layer, for images that are flattened with their channels first."""
    return kernel if image is None else kernel.reshape(*image, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)


def same_padding(extent: int, size: int, stride: int) -> tuple[int, int]:
    """What Keras puts before and after an axis for padding 'same'."""
    total = max((-(-extent // stride) - 1) * stride + size - extent, 0)
    return total // 2, total - total // 2


def channels_first(x: np.ndarray) -> np.ndarray:
    """Images as torch and ONNX take them; anything else as it is."""
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if x.ndim == 4 else x
