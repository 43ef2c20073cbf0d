"""Fashion-MNIST: 70,000 images of clothes, 28x28, in 10 classes. https://keras.io/api/datasets/fashion_mnist/"""

from __future__ import annotations

import gzip

import numpy as np

from graphc.datasets.files import Pair, find, reading

__all__ = ["load_data"]

_SUBDIR = "datasets/fashion-mnist"
_LARGEST = 1 << 26  # bytes of an unpacked file; the images are 47 million


def load_data() -> tuple[Pair, Pair]:
    """(x_train, y_train), (x_test, y_test): images uint8 (n,28,28) with values 0 to 255, labels uint8 (n,).

    Read from the four files of ~/.keras/datasets/fashion-mnist or of GRAPHC_DATA, otherwise downloaded. A file that
    holds something else raises ValueError; no file and no network raise FileNotFoundError.
    """
    return _part("train"), _part("t10k")


def _part(name: str) -> Pair:
    labels = _read(f"{name}-labels-idx1-ubyte.gz", 8)
    return _read(f"{name}-images-idx3-ubyte.gz", 16).reshape(len(labels), 28, 28), labels


def _read(name: str, header: int) -> np.ndarray:
    path = find(name, name, None, _SUBDIR)
    with reading(path, "Fashion-MNIST's numbers"), gzip.open(path) as file:
        content = np.frombuffer(file.read(_LARGEST), np.uint8)
        rows = int.from_bytes(content[4:8].tobytes())
        return content[header:].reshape(rows, -1).squeeze()
