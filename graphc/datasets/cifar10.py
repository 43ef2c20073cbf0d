"""CIFAR-10: 60,000 photographs of 32x32 in 10 classes. https://keras.io/api/datasets/cifar10/"""

from __future__ import annotations

import numpy as np

from graphc.datasets.cifar import download, load, place
from graphc.datasets.files import Pair, instead, load_npz

__all__ = ["load_data"]

_FOLDER, _ARCHIVE = "cifar-10-batches-py", "cifar-10-python.tar.gz"
_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"


def load_data() -> tuple[Pair, Pair]:
    """(x_train, y_train), (x_test, y_test): images uint8 (n,32,32,3), labels uint8 (n,1).

    Read from ~/.keras/datasets or from the folder that GRAPHC_DATA names, where cifar10_subset.npz will do too;
    otherwise downloaded (163 MB). Files that hold something else raise ValueError; no file and no network raise
    FileNotFoundError.
    """
    where = place(_FOLDER, _ARCHIVE)
    if where is None and (subset := instead("cifar10_subset.npz", "CIFAR-10")):
        x_train, y_train, x_test, y_test = load_npz(subset, ("x_train", "y_train", "x_test", "y_test"))
        return (x_train, y_train), (x_test, y_test)
    where = where or download(_FOLDER, _ARCHIVE, _SHA256)
    x_train, y_train = load(where, _FOLDER, [f"data_batch_{i}" for i in range(1, 6)], "labels")
    x_test, y_test = load(where, _FOLDER, ["test_batch"], "labels")
    return (x_train, y_train.astype(np.uint8)), (x_test, y_test.astype(np.uint8))
