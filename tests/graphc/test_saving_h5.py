"""Whole models in `.h5` files: Keras's are read with all in them, graphc's come back, hostile ones are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from keras_numbers import keras_numbers

import graphc
from graphc import layers
from graphc.saving import FileError

FILES = Path(__file__).parents[1] / "fixtures" / "files"
pytestmark = pytest.mark.usefixtures("reference_backend")


@pytest.mark.parametrize("name", ["dense", "functional"])
def test_a_file_of_keras(name, tmp_path):
    known = keras_numbers("h5")
    read = graphc.models.load_model(FILES / f"{name}.h5")
    for model in (read, _again(read, tmp_path)):
        np.testing.assert_allclose(model.predict(known["x"], verbose=0), known[f"{name}.predictions"], atol=1e-6)
        np.testing.assert_allclose(model.evaluate(known["x"], known["y"], verbose=0), known[f"{name}.evaluation"],
                                   atol=1e-5)
        assert int(model.optimizer.iterations) == known[f"{name}.iterations"]
    model.fit(known["x"], known["y"], shuffle=False, verbose=0)  # goes on where Keras's stopped
    np.testing.assert_allclose(model.predict(known["x"], verbose=0), known[f"{name}.trained"], atol=1e-5)


def _again(model, folder):
    model.save(folder / "again.h5")
    return graphc.models.load_model(folder / "again.h5")


def test_what_is_written(tmp_path):
    model = graphc.Sequential([layers.Dense(3, input_shape=(4,)), layers.Dropout(0.5), layers.Dense(1)])
    model.save(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5") as file:
        assert json.loads(file.attrs["model_config"])["class_name"] == "Sequential"
        assert "training_config" not in file.attrs
        assert list(file["model_weights"].attrs["layer_names"]) == [b"dense", b"dense_1"]  # old Keras wants bytes
        (kernel, _) = file["model_weights/dense"].attrs["weight_names"]
        assert file["model_weights/dense"][kernel].shape == (4, 3)
    loaded = graphc.models.load_model(tmp_path / "m.h5")
    assert loaded.optimizer is None
    with pytest.raises(FileError, match="overwrite=True"):
        graphc.models.save_model(model, tmp_path / "m.h5", overwrite=False)
    with pytest.raises(FileError, match="no weights yet"):
        graphc.Sequential([layers.Dense(1)]).save(tmp_path / "n.h5")
    assert not (tmp_path / "n.h5").exists()


def _drop(file, path):
    del file[path]


def _config(file, change):
    config = json.loads(file.attrs["model_config"])
    change(config)
    file.attrs["model_config"] = json.dumps(config)


KERNEL = "model_weights/dense/sequential/dense/kernel"
HOSTILE = {
    "no configuration": (lambda f: f.attrs.pop("model_config"), "model.load_weights"),
    "no object": (lambda f: f.attrs.__setitem__("model_config", "[]"), "expected an object"),
    "no JSON": (lambda f: f.attrs.__setitem__("model_config", "{"), "can't be read"),
    "a class that isn't there": (lambda f: _config(f, lambda c: c.update(class_name="Spiral")), "Spiral"),
    "a layer that runs code": (
        lambda f: _config(f, lambda c: c["config"]["layers"][1].update(class_name="Lambda")), "Lambda"),
    "a layer too large": (
        lambda f: _config(f, lambda c: c["config"]["layers"][1]["config"].update(units=10**12)), "asks for a weight"),
    "no weights": (lambda f: _drop(f, "model_weights"), "no group 'model_weights'"),
    "a weight missing": (lambda f: _drop(f, KERNEL), "missing"),
    "a layer missing": (lambda f: _drop(f, "model_weights/dense"), "no group 'dense'"),
    "a link": (lambda f: (_drop(f, KERNEL), f.__setitem__(KERNEL, h5py.ExternalLink("/etc/passwd", "/x"))), "link"),
    "a soft link": (lambda f: (_drop(f, KERNEL), f.__setitem__(KERNEL, h5py.SoftLink("/optimizer_weights"))), "link"),
    "a link of a group": (lambda f: (_drop(f, "model_weights/dense"), f["model_weights"].__setitem__(
        "dense", h5py.ExternalLink("other.h5", "/"))), "link"),
    "another shape": (lambda f: (_drop(f, KERNEL), f.__setitem__(KERNEL, np.ones((4, 4), "f4"))), r"\[4, 4\]"),
    "words": (lambda f: (_drop(f, KERNEL), f.__setitem__(KERNEL, np.full((4, 3), b"a"))), "type"),
    "fewer names": (lambda f: f["model_weights/dense"].attrs.__setitem__("weight_names", ["sequential/dense/bias"]),
                    "1 arrays"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_refused(case, tmp_path):
    spoil, message = HOSTILE[case]
    shutil.copy(FILES / "dense.h5", tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "r+") as file:
        spoil(file)
    with pytest.raises(FileError, match=message):
        graphc.models.load_model(tmp_path / "m.h5")


def test_damaged_bytes(tmp_path, rng):
    whole = (FILES / "dense.h5").read_bytes()
    for content in (b"", b"no HDF5", whole[:len(whole) // 2]):
        (tmp_path / "m.h5").write_bytes(content)
        with pytest.raises(FileError):
            graphc.models.load_model(tmp_path / "m.h5")
    with pytest.raises(FileNotFoundError):
        graphc.models.load_model(tmp_path / "nowhere.h5")


def test_an_optimizer_that_is_unknown_leaves_the_model_uncompiled(tmp_path):
    shutil.copy(FILES / "dense.h5", tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "r+") as file:
        chosen = json.loads(file.attrs["training_config"])
        chosen["optimizer_config"]["class_name"] = "Downhill"
        file.attrs["training_config"] = json.dumps(chosen)
    with pytest.warns(UserWarning, match="Downhill"):
        model = graphc.models.load_model(tmp_path / "m.h5")
    assert model.optimizer is None and model.predict(np.zeros((2, 4)), verbose=0).shape == (2, 2)
