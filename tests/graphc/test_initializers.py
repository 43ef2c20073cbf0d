"""First values of weights: their spread, seeds, and orthogonality."""

from __future__ import annotations

import math

import numpy as np
import pytest

import graphc
from graphc import initializers
from graphc.configs import describe
from graphc.serialization import deserialize

SHAPE = (3, 3, 40, 60)  # a kernel of 360 inputs and 540 outputs
INPUTS, OUTPUTS = 360, 540


@pytest.mark.parametrize(("name", "variance", "limit"), [
    ("glorot_uniform", 2 / (INPUTS + OUTPUTS), math.sqrt(6 / (INPUTS + OUTPUTS))),
    ("glorot_normal", 2 / (INPUTS + OUTPUTS), 2 * math.sqrt(2 / (INPUTS + OUTPUTS)) / 0.8796),
    ("he_uniform", 2 / INPUTS, math.sqrt(6 / INPUTS)), ("he_normal", 2 / INPUTS, 2 * math.sqrt(2 / INPUTS) / 0.8796),
    ("lecun_uniform", 1 / INPUTS, math.sqrt(3 / INPUTS)),
    ("lecun_normal", 1 / INPUTS, 2 * math.sqrt(1 / INPUTS) / 0.8796),
    ("random_uniform", 0.05**2 / 3, 0.05), ("random_normal", 0.05**2, 1.0),
    ("truncated_normal", (0.8796 * 0.05) ** 2, 0.1),
])
def test_spread(name, variance, limit):
    for seed in (1, 2):
        values = getattr(initializers, name)(seed=seed)(SHAPE)
        assert values.dtype == np.float32 and np.abs(values).max() <= limit * 1.0001
        assert values.var() == pytest.approx(variance, rel=0.03) and abs(values.mean()) < 3 * math.sqrt(variance / 2e4)
        np.testing.assert_array_equal(values, getattr(initializers, name)(seed=seed)(SHAPE))
    assert (initializers.get(name)(SHAPE) != initializers.get(name)(SHAPE)).any()


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5), (2, 3, 4)])
def test_orthogonal(shape):
    for initializer in (initializers.Orthogonal(gain=2.0, seed=4), initializers.OrthogonalInitializer(2.0)):
        matrix = initializer(shape).reshape(-1, shape[-1]) / 2
        product = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
        np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-6)


def test_fixed_values():
    np.testing.assert_array_equal(initializers.Identity(gain=2.0)((2, 3)), [[2, 0, 0], [0, 2, 0]])
    np.testing.assert_array_equal(initializers.get("identity")((2, 2)), np.eye(2))
    assert (initializers.constant(3.0)((2,)) == 3).all() and initializers.get("zeros")((2,)).sum() == 0
    config = initializers.serialize(initializers.Identity(gain=3.0))
    assert initializers.deserialize(config).gain == 3
    for wrong in (initializers.Identity(), initializers.Orthogonal()):
        with pytest.raises(ValueError, match="axes"):
            wrong((3,))


def test_the_identity_of_initializers_and_that_of_layers():
    again = deserialize(describe(graphc.layers.Dense(3, kernel_initializer="identity")), "layer")
    assert type(again.kernel_initializer) is initializers.Identity
    wrapped = deserialize(describe(graphc.layers.TimeDistributed(graphc.layers.Identity())), "layer")
    assert type(wrapped.layer) is graphc.layers.Identity
