"""Weights in several files, and an index of them that may have been written by anyone."""

from __future__ import annotations

import json
import os

import cases_hooks
import h5py
import numpy as np
import pytest

import graphc
from graphc import layers
from graphc.saving import FileError

X = np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32)
SMALL = 100 / 2**30  # bytes of a file, in GB
pytestmark = pytest.mark.usefixtures("reference_backend")


def small():
    model = graphc.Sequential([layers.Dense(8, input_shape=(3,)), layers.Dense(1)])
    model.compile("adam", "mse")
    return model


@pytest.fixture
def path(tmp_path):
    """The index of a model that was trained."""
    model = small()
    model.train_on_batch(X, X[:, :1])
    model.save_weights(tmp_path / "m.weights.json", max_shard_size=SMALL)
    model.save_weights(tmp_path / "whole.weights.h5")
    return tmp_path / "m.weights.json"


def test_several_files_are_as_one(path):
    index = json.loads(path.read_text())
    files = sorted(p.name for p in path.parent.glob("m_*"))
    assert files[:2] == ["m_00000.weights.h5", "m_00001.weights.h5"] and len(files) > 5
    assert index["weight_map"]["/layers/dense/vars"] == files[:2]  # its kernel has 96 bytes
    one, other = small(), small()
    one.load_weights(path)
    other.load_weights(path.with_name("whole.weights.h5"))
    losses = [[m.train_on_batch(X, X[:, :1]) for _ in range(3)] for m in (one, other)]
    assert losses[0] == losses[1] and int(one.optimizer.iterations) == 4
    with pytest.raises(FileError, match="is there already"):
        one.save_weights(path.with_suffix(".h5"), overwrite=False, max_shard_size=1)
    one.save_weights(path.with_suffix(".h5"), max_shard_size=1)  # the index is a .json file, as in Keras
    assert set(json.loads(path.read_text())["weight_map"].values()) == {"m_00000.weights.h5"}
    with pytest.raises(ValueError, match=r"layers/dense/vars/0 has 96 bytes, more than the 90 of a file"):
        one.save_weights(path, max_shard_size=90 / 2**30)
    with pytest.raises(FileError, match=r"expected a name that ends in \.weights\.json"):
        one.save_weights(path.with_name("m.txt"), max_shard_size=1)


def test_layers_with_hooks(tmp_path):
    found, (a, b) = cases_hooks.classes(graphc), cases_hooks.data()
    model = cases_hooks.functional(graphc, found)
    model.save_weights(tmp_path / "m.weights.json", max_shard_size=SMALL)
    again = cases_hooks.functional(graphc, found)
    again.set_weights([0 * w for w in again.get_weights()])
    again.load_weights(tmp_path / "m.weights.json")
    np.testing.assert_allclose(again.predict([a, b], verbose=0), model.predict([a, b], verbose=0), rtol=1e-6)


def mapped(name):
    return lambda index: index["weight_map"].update({"/layers/dense/vars": name})


INDICES = {
    "a path": (mapped("../m_00000.weights.h5"), "expected a .weights.h5 file beside it"),
    "an absolute path": (mapped("/etc/passwd"), "expected a .weights.h5 file beside it"),
    "another file": (mapped("secret.h5"), "expected a .weights.h5 file beside it"),
    "no name": (mapped(7), "expected a .weights.h5 file beside it"),
    "a file that isn't there": (mapped("m_99999.weights.h5"), "m_99999"),
    "a file twice": (mapped(["m_00000.weights.h5"] * 2), "name already exists"),
    "a place that isn't there": (lambda index: index["weight_map"].update({"/a": "m_00000.weights.h5"}), "no group"),
    "no index": (lambda index: index.clear(), "no weight_map"),
}


@pytest.mark.parametrize("case", INDICES)
def test_hostile_indices_are_refused(case, path):
    change, message = INDICES[case]
    index, model = json.loads(path.read_text()), small()
    (path.parent / "secret.h5").write_bytes((path.parent / "m_00000.weights.h5").read_bytes())
    change(index)
    path.write_text(json.dumps(index))
    before = model.get_weights()
    with pytest.raises(FileError, match=message):
        model.load_weights(path)
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))


def test_arrays_that_stand_for_many(tmp_path):
    """One array under many names is more than its file has bytes for."""
    model = graphc.Sequential([layers.Dense(1000, input_shape=(3,))])
    model.save_weights(tmp_path / "m.weights.json", max_shard_size=1)
    name = tmp_path / "m_00000.weights.h5"
    with h5py.File(name, "r+") as file:
        for i in range(20):
            file[f"layers/dense/vars/x{i}"] = file["layers/dense/vars/0"]
    assert os.path.getsize(name) < 20 * 12_000
    with pytest.raises(FileError, match="for which it has no room"):
        model.load_weights(tmp_path / "m.weights.json")


@pytest.mark.parametrize("size", [0, -1, "1"])
def test_a_size_that_is_none(size, tmp_path):
    model = graphc.Sequential([layers.Dense(2, input_shape=(3,))])
    with pytest.raises(ValueError, match="expected a number of GB above 0"):
        model.save_weights(tmp_path / "m.weights.h5", max_shard_size=size)
    assert not list(tmp_path.iterdir())
