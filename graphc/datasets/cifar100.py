"""CIFAR-100: 60,000 photographs of 32x32 in 100 classes. https://keras.io/api/datasets/cifar100/"""

from __future__ import annotations

from graphc.datasets.cifar import download, load, place
from graphc.datasets.files import Pair

__all__ = ["load_data"]

_FOLDER, _ARCHIVE = "cifar-100-python", "cifar-100-python.tar.gz"
_SHA256 = "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"


def load_data(label_mode: str = "fine") -> tuple[Pair, Pair]:
    """(x_train, y_train), (x_test, y_test): images uint8 (n,32,32,3), labels int64 (n,1).

    `label_mode` is 'fine' for 100 classes or 'coarse' for 20. Read from ~/.keras/datasets or from the folder that
    GRAPHC_DATA names, otherwise downloaded (161 MB). Files that hold something else raise ValueError; no file and no
    network raise FileNotFoundError.
    """
    if label_mode not in ("fine", "coarse"):
        raise ValueError(f"load_data(label_mode={label_mode!r}): expected 'fine' or 'coarse'.")
    where = place(_FOLDER, _ARCHIVE) or download(_FOLDER, _ARCHIVE, _SHA256)
    train, test = (load(where, _FOLDER, [part], f"{label_mode}_labels") for part in ("train", "test"))
    return train, test
