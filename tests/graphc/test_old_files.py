"""Files that Keras 1 and 2 wrote, with what they computed: tests/fixtures/make_old_keras_files.py has the models."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from samples import each

import graphc
from graphc import layers
from graphc.keras_versions import Version, modern, modern_arrays, modern_training
from graphc.saving import FileError, load_model

ARCHIVE = Path(__file__).parents[1] / "fixtures" / "old_keras.zip"
with zipfile.ZipFile(ARCHIVE) as _archive:
    NAMES = _archive.namelist()
MODELS = [n for n in NAMES if n.endswith((".h5", ".keras")) and ".weights" not in n]
WEIGHTS = [n for n in NAMES if ".weights." in n]
VERSIONS = sorted({n.partition("-")[0] for n in NAMES})
pytestmark = pytest.mark.usefixtures("reference_backend")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("old")
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(place)
    return place


def known(folder, name):
    """The inputs, targets and results of a file."""
    stem = name.removesuffix(".keras").removesuffix(".h5").removesuffix(".hdf5").removesuffix(".weights")
    with np.load(folder / f"{stem}.npz") as arrays:
        found = dict(arrays)
    x, y = ([found[k] for k in sorted(found) if k.startswith(letter)] for letter in "xy")
    return x if len(x) > 1 else x[0], y if len(y) > 1 else next(iter(y), None), found


def first(result):
    return np.asarray(result[0] if isinstance(result, list | tuple) else result)


@pytest.mark.parametrize("name", each(2, MODELS))
@pytest.mark.filterwarnings("error:.*starts anew", "error:.*not compiled")
def test_models_predict_and_train_on(name, folder):
    x, y, found = known(folder, name)
    model = load_model(folder / name)
    np.testing.assert_allclose(first(model.predict(x, verbose=0)), found["prediction"], rtol=1e-5, atol=1e-6)
    if y is None:
        return
    losses = [np.ravel(model.train_on_batch(x, y))[0] for _ in range(3)]
    # The schedule of Nadam's momentum was another one.
    np.testing.assert_allclose(losses, found["losses"], rtol=2e-3 if "nadam" in name else 2e-6)


@pytest.mark.parametrize("name", each(4, MODELS))
@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_they_are_written_as_files_of_today(name, ending, folder, tmp_path):
    x, _, found = known(folder, name)
    load_model(folder / name).save(tmp_path / f"again{ending}")
    again = load_model(tmp_path / f"again{ending}")
    np.testing.assert_allclose(first(again.predict(x, verbose=0)), found["prediction"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_alone(name, folder):
    x, _, found = known(folder, name)
    model = load_model(folder / f"{name.partition('.weights')[0]}.h5", compile=False)
    for weight in model.weights:
        weight.assign(np.zeros(weight.shape))
    model.load_weights(folder / name)
    np.testing.assert_allclose(first(model.predict(x, verbose=0)), found["prediction"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("version", VERSIONS)
def test_weights_by_name_and_with_mismatches(version, folder):
    """Of the layers `first`, with [4, 5] weights, and another, from files of weights alone and of a whole model."""
    whole = load_model(folder / f"{version}-adam.h5", compile=False)
    kernel, bias, *rest = whole.get_weights()
    for name in (f"{version}-adam.weights.hdf5", f"{version}-adam.h5"):
        other = graphc.Sequential([layers.Dense(3, name="new", input_shape=(4,)), layers.Dense(4, name="mine"),
                                   layers.Dense(5, name="first")])
        before = other.get_weights()
        other.load_weights(folder / name, by_name=True)
        for i, expected in enumerate([*before[:4], kernel, bias]):
            np.testing.assert_array_equal(other.get_weights()[i], expected)
        other = graphc.Sequential([layers.Dense(5, input_shape=(4,)), layers.Dense(2)])
        before = other.get_weights()
        with pytest.raises(FileError, match=r"shape \[5, 3\].*expected f32\[5,2\]"):
            other.load_weights(folder / name)
        np.testing.assert_array_equal(other.get_weights()[0], before[0])
        with pytest.warns(UserWarning, match="left as it is") as told:
            other.load_weights(folder / name, skip_mismatch=True)
        assert len(told) == 2 and "shape [5, 3]" in str(told[0].message)
        for i, expected in enumerate([kernel, bias, *before[2:]]):
            np.testing.assert_array_equal(other.get_weights()[i], expected)
        with pytest.raises(FileError, match="weights of 2 layers, expected 1"):
            graphc.Sequential([layers.Dense(5, input_shape=(4,))]).load_weights(folder / name, skip_mismatch=True)
        with pytest.raises(FileError, match=r"2 arrays for the layer 'first'.*expected 1"):
            graphc.Sequential([layers.Dense(5, use_bias=False, input_shape=(4,), name="first")]).load_weights(
                folder / name, by_name=True)
    assert len(rest) == 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_files_end_in_one_error(folder, tmp_path, rng):
    """Bytes lost, changed or repeated anywhere in files of all versions."""
    outcomes = set()
    names = [n for n in MODELS if n.endswith(("-sequences.h5", "-functional.h5", "-sgd.h5"))]
    for i in range(120):
        data = bytearray((folder / names[i % len(names)]).read_bytes())
        for _ in range(rng.integers(1, 6)):
            start = int(rng.integers(len(data)))
            data[start:start + 8] = [b"\xff" * 8, bytes(rng.integers(0, 256, 8, np.uint8)), b""][rng.integers(3)]
        (tmp_path / "m.h5").write_bytes(data)
        try:
            load_model(tmp_path / "m.h5")
        except FileError as error:
            outcomes.add(str(error)[:60])
    assert outcomes


def places(value, path=()):
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


ODD = [None, True, 0, -1, 10**9, 10**400, float("nan"), "", "relu", [], [None], [["first", 0, 0]], {},
       {"class_name": "Dense"}, {"class_name": []}, {"name": "MaxNorm"}, {"class_name": "Model", "config": []}]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("attribute", ["model_config", "training_config"])
def test_odd_values_in_configurations(attribute, folder, tmp_path, rng):
    names = [n for n in MODELS if n.endswith(("-sequences.h5", "-functional.h5", "-sgd.h5"))]
    outcomes = []
    for i in range(150):
        data = io.BytesIO((folder / names[i % len(names)]).read_bytes())
        with h5py.File(data, "r+") as file:
            if attribute not in file.attrs:
                continue
            config = json.loads(file.attrs[attribute])
            ways = [way for way in places(config) if way]
            *way, last = ways[rng.integers(len(ways))]
            part = config
            for key in way:
                part = part[key]
            part[last] = ODD[rng.integers(len(ODD))]
            file.attrs[attribute] = json.dumps(config)
        (tmp_path / "m.h5").write_bytes(data.getvalue())
        try:
            load_model(tmp_path / "m.h5")
        except FileError as error:
            outcomes.append(str(error))
    assert (len(set(outcomes)) > 20) == (attribute == "model_config")  # the rest leaves a model that predicts


def test_arrays_that_the_file_has_no_room_for(folder, tmp_path):
    for version in ("1.2.2", "2.2.4"):
        (tmp_path / "m.h5").write_bytes((folder / f"{version}-sequences.h5").read_bytes())
        with h5py.File(tmp_path / "m.h5", "r+") as file:
            group = next(g for n, g in file["model_weights"].items() if n.startswith("lstm"))
            name = group.attrs["weight_names"][0].decode()
            del group[name]
            space = h5py.h5s.create_simple((1 << 20, 1 << 16))
            h5py.h5d.create(group.id, name.encode(), h5py.h5t.IEEE_F32LE, space)  # nothing is stored of it
        with pytest.raises(FileError, match="no room"):
            load_model(tmp_path / "m.h5")


# ------------------------------------------------------------------------------------------------------------- tables

KERAS_1, KERAS_2, TENSORFLOW = Version(1, 2), Version(2, 2), Version(2, 6, True)


@pytest.mark.parametrize(("said", "expected"), [
    (("1.2.2", None, ["a_W"]), Version(1, 2, False, True)), (("1.2.2", None, ["a_W:0"]), Version(1, 2)),
    ((None, None), Version(1, 0)), (("2.2.4", "theano"), Version(2, 2, False, True)),
    (("2.3.1", "tensorflow"), Version(2, 3)), (("2.2.4-tf", "tensorflow"), Version(2, 2, True)),
    (("2.15.0", "tensorflow"), Version(2, 15, True)), (("3.15.1", "torch"), Version(3, 15)),
])
def test_versions(said, expected):
    assert Version.of(*said) == expected


@pytest.mark.parametrize(("cls", "config", "version", "expected"), [
    ("Convolution2D", {"nb_filter": 8, "nb_row": 3, "nb_col": 2, "border_mode": "same", "subsample": [1, 2],
                       "dim_ordering": "th", "init": "he_normal", "bias": False, "W_constraint": None},
     KERAS_1, ("Conv2D", {"filters": 8, "kernel_size": (3, 2), "padding": "same", "strides": [1, 2],
                          "data_format": "channels_first", "kernel_initializer": "he_normal", "use_bias": False,
                          "kernel_constraint": None})),
    ("AtrousConvolution1D", {"nb_filter": 8, "filter_length": 3, "atrous_rate": 2}, KERAS_1,
     ("Conv1D", {"filters": 8, "kernel_size": 3, "dilation_rate": 2})),
    ("LSTM", {"output_dim": 4, "inner_activation": "hard_sigmoid", "consume_less": "cpu", "input_length": None,
              "input_dim": 3, "dropout_W": 0.1}, KERAS_1,
     ("LSTM", {"units": 4, "recurrent_activation": "hard_sigmoid_of_keras_2", "dropout": 0.1})),
    ("GRU", {"units": 4}, KERAS_2, ("GRU", {"units": 4, "reset_after": False})),
    ("GRU", {"units": 4, "reset_after": True}, TENSORFLOW, ("GRU", {"units": 4, "reset_after": True})),
    ("CuDNNGRU", {"units": 4}, KERAS_2, ("GRU", {"units": 4, "reset_after": True, "recurrent_activation": "sigmoid"})),
    ("BatchNormalization", {"axis": [3], "mode": 0}, TENSORFLOW, ("BatchNormalization", {"axis": 3})),
    ("Merge", {"name": "m", "mode": "concat", "concat_axis": 1}, KERAS_1,
     ("Concatenate", {"name": "m", "trainable": True, "axis": 1})),
    ("Merge", {"name": "m", "mode": "cos", "dot_axes": 1}, KERAS_1,
     ("Dot", {"name": "m", "trainable": True, "axes": 1, "normalize": True})),
    ("Dense", {"output_dim": 3, "W_regularizer": {"name": "L1L2Regularizer", "l1": 0.0, "l2": 0.5},
               "b_constraint": {"name": "MaxNorm", "m": 2, "axis": 0}}, KERAS_1,
     ("Dense", {"units": 3, "kernel_regularizer": {"class_name": "L1L2", "config": {"l1": 0.0, "l2": 0.5}},
                "bias_constraint": {"class_name": "MaxNorm", "config": {"max_value": 2, "axis": 0}}})),
    ("VarianceScaling", {"scale": 2.0, "distribution": "normal", "dtype": "float32"}, KERAS_2,
     ("VarianceScaling", {"scale": 2.0, "distribution": "truncated_normal"})),
    ("Lambda", {"function": "double", "function_type": "function", "output_shape": None}, KERAS_2,
     ("Lambda", {"function": {"class_name": "function", "config": "double"}})),
    ("Lambda", {"function": ["4wEA", None, None], "function_type": "lambda"}, KERAS_2,
     ("Lambda", {"function": {"class_name": "__lambda__", "config": None}})),
])
def test_descriptions(cls, config, version, expected):
    found = modern({"class_name": cls, "config": config}, version)
    assert (found["class_name"], found["config"]) == expected


def test_compile_information():
    wrapped = {"class_name": "MeanMetricWrapper", "config": {"name": "accuracy", "fn": "categorical_accuracy"}}
    found = modern_training({
        "optimizer": {"class_name": "Custom>Adam", "config": {"lr": 0.1, "decay": 0.0, "epsilon": None, "clipnorm": 1}},
        "loss": "mse", "metrics": [[wrapped, "mae"]]}, KERAS_2)
    assert found["optimizer"] == {"class_name": "Adam", "config": {"learning_rate": 0.1, "global_clipnorm": 1}}
    assert found["metrics"] == ["accuracy", "mae"] and found["loss"] == "mse"


def test_names_in_several_attributes(folder, tmp_path):
    (tmp_path / "m.h5").write_bytes((folder / "tf2.15.1-adam.h5").read_bytes())
    with h5py.File(tmp_path / "m.h5", "r+") as file:
        group = file["model_weights"]
        names = group.attrs.pop("layer_names")
        for i, name in enumerate(names):
            group.attrs[f"layer_names{i}"] = np.array([name], h5py.string_dtype())
    expected = load_model(folder / "tf2.15.1-adam.h5").get_weights()
    np.testing.assert_array_equal(load_model(tmp_path / "m.h5").get_weights()[2], expected[2])


def test_weights_of_nvidias_layers(rng):
    """Their kernels of each gate are transposed, and they have two biases."""
    for cls, gates in ((layers.LSTM, 4), (layers.GRU, 3)):
        layer = cls(3)
        layer.build((None, 5, 2))
        kernels, recurrents = rng.normal(size=(gates, 2, 3)), rng.normal(size=(gates, 3, 3))
        bias = rng.normal(size=(2, gates * 3))
        stored = [np.hstack([k.T.reshape(2, 3) for k in kernels]), np.hstack([r.T for r in recurrents]),
                  bias.reshape(-1)]
        kernel, recurrent, both = modern_arrays(layer, stored, KERAS_2)
        np.testing.assert_array_equal(kernel, np.hstack(list(kernels)))
        np.testing.assert_array_equal(recurrent, np.hstack(list(recurrents)))
        np.testing.assert_array_equal(both, bias.sum(0) if gates == 4 else bias)


def test_a_json_of_keras_2():
    old = {"class_name": "Sequential", "keras_version": "2.2.4", "backend": "tensorflow", "config": [
        {"class_name": "Dense", "config": {"name": "d", "batch_input_shape": [None, 4], "units": 3,
                                           "activation": "hard_sigmoid"}}]}
    model = graphc.models.model_from_json(json.dumps(old))
    assert model.output_shape == (None, 3) and model.layers[0].name == "d"
    np.testing.assert_allclose(model.layers[0].activation(np.array([1.0, -9.0], "f4")), [0.7, 0.0], rtol=1e-6)
