"""A linear regression's data, and in pages."""

from __future__ import annotations

import numpy as np

import graphc

X = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
Y = X @ np.array([1.0, -2.0, 0.5], np.float32) + 3


class Pages(graphc.utils.PyDataset):
    def __len__(self):
        return 7

    def __getitem__(self, i):
        return X[i * 8:i * 8 + 8], Y[i * 8:i * 8 + 8]
