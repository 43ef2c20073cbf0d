"""Whole models agree on every rung, by the rule that says what rounding explains."""

from __future__ import annotations

import numpy as np
import pytest
from whole_models import models

import graphc

_FAST = ("sparse",)


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in _FAST else pytest.mark.slow) for n in models()])
def test_sound_models(name):
    make, optimizer, loss, x, y = models()[name]
    model = graphc.Sequential(make())
    model.compile(optimizer, loss=loss, metrics=["accuracy"])
    for scale in (1, 30):  # as it starts, and with outputs far out
        found = graphc.diagnose(model, x, y)
        assert found.ok, (scale, str(found))
        model.set_weights([w * np.float32(scale) for w in model.get_weights()])
        model.train_on_batch(x, y)
    assert graphc.diagnose(model, x).ok
