"""506 house prices in Boston with 13 features. https://keras.io/api/datasets/boston_housing/

One feature assumes that people's origin sets prices, so it is a data set to discuss, not to learn from:
`california_housing` takes its place.
"""

from __future__ import annotations

from graphc.datasets.files import Pair, check_split, find, load_npz, split

__all__ = ["load_data"]

_SHA256 = "f553886a1f8d56431e820c5b82552d9d95cfcb96d1e678153f8839538947dff5"


def load_data(path: str = "boston_housing.npz", test_split: float = 0.2, seed: int = 113) -> tuple[Pair, Pair]:
    """(x_train, y_train), (x_test, y_test): features float64 (n,13), prices in $1000 float64 (n,).

    Read from `path`, an absolute one or a name in ~/.keras/datasets, or from the folder that GRAPHC_DATA names,
    otherwise downloaded. A file that holds something else raises ValueError; no file and no network raise
    FileNotFoundError.
    """
    check_split(test_split)
    x, y = load_npz(find(path, "boston_housing.npz", _SHA256), ("x", "y"))
    return split(x, y, test_split, seed)
