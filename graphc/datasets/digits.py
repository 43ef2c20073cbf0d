"""The handwritten digits of UCI's Optical Recognition data set: 1,797 images of 8x8. See digits.md."""

from __future__ import annotations

from pathlib import Path

import numpy as np

__all__ = ["load_data"]

Pair = tuple[np.ndarray, np.ndarray]
_TEST_ROWS = 360


def load_data() -> tuple[Pair, Pair]:
    """(x_train, y_train), (x_test, y_test): images uint8 (n,8,8) with values 0 to 16, labels uint8 (n,).

    The last 360 of the 1,797 rows are the test set.
    """
    with np.load(Path(__file__).with_name("digits.npz")) as arrays:
        x, y = arrays["x"], arrays["y"]
    return (x[:-_TEST_ROWS], y[:-_TEST_ROWS]), (x[-_TEST_ROWS:], y[-_TEST_ROWS:])
