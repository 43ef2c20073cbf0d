"""The MNIST handwritten digits: 70,000 images of 28x28. https://keras.io/api/datasets/mnist/"""

from __future__ import annotations

from graphc.datasets.files import Pair, find, load_npz

__all__ = ["load_data"]

_SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"


def load_data(path: str = "mnist.npz") -> tuple[Pair, Pair]:
    """(x_train, y_train), (x_test, y_test): images uint8 (n,28,28) with values 0 to 255, labels uint8 (n,).

    The file is looked for as an absolute `path`, in ~/.keras/datasets, and in the folder that GRAPHC_DATA names;
    if it is in none of them it is downloaded to ~/.keras/datasets. A download whose SHA-256 is wrong and a file that
    does not hold the four arrays raise ValueError; no file and no network raise FileNotFoundError.
    """
    file = find(path, "mnist.npz", _SHA256)
    x_train, y_train, x_test, y_test = load_npz(file, ("x_train", "y_train", "x_test", "y_test"))
    return (x_train, y_train), (x_test, y_test)
