"""House prices in 20,640 districts of California with 8 features. https://keras.io/api/datasets/california_housing/"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from graphc.datasets.files import Pair, check_split, find, found, instead, load_npz, reading, split

__all__ = ["load_data"]

_SHA256 = "1a2e3a52e0398de6463aebe6f4a8da34fb21fbb6b934cf88c3425e766f2a1a6f"
_SMALL = 600


def load_data(version: str = "large", path: str = "california_housing.npz", test_split: float = 0.2,
              seed: int = 113) -> tuple[Pair, Pair]:
    """(x_train, y_train), (x_test, y_test): features float32 (n,8), prices in dollars float32 (n,).

    The features are income, age, rooms and bedrooms of a household, population, people in a household, latitude and
    longitude. The 'small' version has 600 districts. Read from `path`, an absolute one or a name in ~/.keras/datasets,
    or from the folder that GRAPHC_DATA names, where california_housing.csv will do too; otherwise downloaded. A file
    that holds something else raises ValueError; no file and no network raise FileNotFoundError.
    """
    check_split(test_split)
    if version not in ("small", "large"):
        raise ValueError(f"load_data(version={version!r}): expected 'small' or 'large'.")
    if found(path) is None and (table := instead("california_housing.csv", "California housing")):
        x, y = _from_table(table)
    else:
        x, y = load_npz(find(path, "california_housing.npz", _SHA256), ("x", "y"))
    rows = _SMALL if version == "small" else len(x)
    return split(x[:rows], y[:rows], test_split, seed)


def _from_table(path: Path) -> Pair:
    """Features and prices from the census's sums; where bedrooms are missing, as many as the median household has."""
    with reading(path, "a table of districts"), path.open(newline="") as file:
        rows = list(csv.DictReader(file))

        def column(name: str) -> np.ndarray:
            return np.array([float(row[name] or "nan") for row in rows])

        households = column("households")
        bedrooms = column("total_bedrooms") / households
        bedrooms[np.isnan(bedrooms)] = np.nanmedian(bedrooms)
        x = np.stack([column("median_income"), column("housing_median_age"), column("total_rooms") / households,
                      bedrooms, column("population"), column("population") / households, column("latitude"),
                      column("longitude")], 1)
        return x.astype(np.float32), column("median_house_value").astype(np.float32)
