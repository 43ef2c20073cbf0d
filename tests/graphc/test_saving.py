"""`.keras` files: read from real Keras, written like Keras's, and refused where they are damaged or hostile.

The files in tests/fixtures/files were written by Keras (tests/fixtures/make_keras_files.py).
"""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import cases
import h5py
import numpy as np
import pytest
from damage import FIRST, members, replaced, rewrite

import graphc
from graphc import layers
from graphc.__main__ import main
from graphc.ir.errors import GraphcError
from graphc.saving import FileError, load_model

FILES = Path(__file__).parents[1] / "fixtures" / "files"
NAMES = sorted(p.stem for p in FILES.glob("*.keras"))
X = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
Y = X.sum(1)
pytestmark = pytest.mark.usefixtures("reference_backend")


@pytest.fixture(scope="module")
def expected():
    """What Keras computed: a function from the name of a file and of a result to an array, or None."""
    with np.load(FILES / "expected.npz") as arrays:
        found = dict(arrays)
    return lambda name, result: found.get(f"{name}.{result}")


def small(optimizer="adam"):
    model = graphc.Sequential([layers.Dense(4, activation="relu", input_shape=(3,)), layers.Dense(1, name="last")])
    model.compile(optimizer, "mse", ["mae"])
    return model


@pytest.fixture
def path(tmp_path):
    """A file with a small model that was trained for three steps."""
    model = small()
    for _ in range(3):
        model.train_on_batch(X, Y)
    model.save(tmp_path / "small.keras")
    return tmp_path / "small.keras"


# ------------------------------------------------------------------------------------------------- Keras and back

def losses_of_steps(model, x, y, steps=3):
    return [model.train_on_batch(x, y, return_dict=True)["loss"] for _ in range(steps)]


@pytest.mark.parametrize("name", NAMES)
def test_reads_what_keras_wrote(name, expected):
    model = load_model(FILES / f"{name}.keras")
    x, y = expected(name, "x"), expected(name, "y")
    np.testing.assert_allclose(model.predict(x, verbose=0), expected(name, "prediction"), rtol=1e-5, atol=1e-5)
    assert (model.optimizer is None) == (y is None)
    if y is not None:
        assert int(model.optimizer.iterations) == 5
        np.testing.assert_allclose(losses_of_steps(model, x, y), expected(name, "losses"), rtol=1e-5, atol=1e-5)


def tree(weights):
    """Paths of an HDF5 file with names of groups, and shapes and kinds of arrays."""
    found = {}
    with h5py.File(io.BytesIO(weights)) as file:
        file.visititems(lambda name, thing: found.update({
            name: (thing.shape, thing.dtype.kind) if isinstance(thing, h5py.Dataset) else dict(thing.attrs)}))
    return found


def plain_dtypes(value):
    """The configuration with dtype policies as names, as Keras takes them too."""
    if isinstance(value, dict):
        if value.get("class_name") == "DTypePolicy":
            return value["config"]["name"]
        return {key: plain_dtypes(inner) for key, inner in value.items()}
    return [plain_dtypes(inner) for inner in value] if isinstance(value, list) else value


def differences(written, original, where=""):
    """The places where `written` says something that `original` doesn't."""
    if isinstance(written, dict) and isinstance(original, dict):
        return [d for k, v in written.items() for d in differences(v, original.get(k, "nothing"), f"{where}/{k}")]
    if isinstance(written, list) and isinstance(original, list) and len(written) == len(original):
        return [d for i, v in enumerate(written) for d in differences(v, original[i], f"{where}/{i}")]
    return [] if written == original else [f"{where}: {written!r} instead of {original!r}"]


@pytest.mark.parametrize("name", NAMES)
def test_writes_what_keras_wrote(name, tmp_path):
    original = members(FILES / f"{name}.keras")
    load_model(FILES / f"{name}.keras").save(tmp_path / "again.keras")
    written = members(tmp_path / "again.keras")
    assert list(written) == list(original) == ["metadata.json", "config.json", "model.weights.h5"]
    groups = {name: said for name, said in tree(written["model.weights.h5"]).items() if "graphc.random" not in name}
    assert groups == tree(original["model.weights.h5"])
    mine, keras = (plain_dtypes(json.loads(parts["config.json"])) for parts in (written, original))
    for part in (mine, keras):
        optimizer = part.pop("compile_config", {}).get("optimizer", {})
        part["optimizer"] = optimizer.get("config")  # what else is in it has several forms
    # Keras numbers the names of inputs.
    assert [d for d in differences(mine, keras) if "/name: 'input_layer' instead" not in d] == []


def test_layer_round_trip(layer_case, tmp_path):
    make, shape = cases.layer_cases()[layer_case]
    if not isinstance(shape[0], int):
        pytest.skip("takes several inputs, as no layer of a Sequential model does")
    model = graphc.Sequential([graphc.Input(shape[1:]), make(layers)])
    model.save(tmp_path / "model.keras")
    again = load_model(tmp_path / "model.keras")
    x = cases.layer_input(layer_case, shape)
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
    assert again.get_config() == model.get_config() and again.optimizer is None


@pytest.mark.parametrize("optimizer", [
    "sgd", graphc.optimizers.SGD(0.05, momentum=0.8), graphc.optimizers.Adam(0.01, amsgrad=True, clipvalue=0.5),
    graphc.optimizers.AdamW(0.01, weight_decay=0.1), graphc.optimizers.RMSprop(0.01, momentum=0.3, centered=True)],
    ids=lambda o: o if isinstance(o, str) else o.name)
def test_training_goes_on(optimizer, tmp_path):
    model = small(optimizer)
    losses_of_steps(model, X, Y)
    model.optimizer.learning_rate = 0.02
    model.save(tmp_path / "model.keras")
    again = load_model(tmp_path / "model.keras")
    assert again.optimizer.get_config() == model.optimizer.get_config()
    assert [m.name for m in again.metrics] == ["mae"]
    assert losses_of_steps(again, X, Y) == losses_of_steps(model, X, Y)


def test_frozen_and_unbuilt(tmp_path):
    model = graphc.Sequential([layers.Dense(2, trainable=False), layers.Dense(1)], name="later")
    model.compile("rmsprop", "mse")
    model.save(tmp_path / "model.keras")
    again = load_model(tmp_path / "model.keras")
    assert again.name == "later" and not again.built and [layer.trainable for layer in again.layers] == [False, True]
    again.build((None, 3))
    losses_of_steps(again, X, Y)
    again.save(tmp_path / "model.keras")
    assert losses_of_steps(load_model(tmp_path / "model.keras"), X, Y) == losses_of_steps(again, X, Y)


def test_nested_models_keep_the_paths_of_weights(tmp_path):
    parts = [graphc.Sequential([layers.Dense(3, name="same")], name=name) for name in ("one", "two")]
    model = graphc.Sequential([graphc.Input((3,)), graphc.Sequential(parts, name="both"), layers.Dense(1, name="same")])
    model.compile("adam", "mse")
    model.save(tmp_path / "model.keras")
    again = load_model(tmp_path / "model.keras")
    assert [w.path for w in again.weights] == [w.path for w in model.weights]
    assert [w.path for w in again.weights][::2] == ["both/one/same/kernel", "both/two/same/kernel", "same/kernel"]
    assert losses_of_steps(again, X, Y) == losses_of_steps(model, X, Y)


def test_input_of_integers_and_unknown_length(tmp_path):
    for start in (graphc.Input((None, 3)), graphc.Input((3,), dtype="int32")):
        model = graphc.Sequential([start, layers.Flatten() if start.ndim == 2 else layers.Dense(2)])
        model.save(tmp_path / "model.keras")
        again = load_model(tmp_path / "model.keras")
        assert (again.input_shape, again.input_dtype) == (model.input_shape, model.input_dtype)


@pytest.mark.parametrize("metric", ["accuracy", "bce", "binary_crossentropy", graphc.metrics.Precision(0.3, name="p"),
                                    graphc.metrics.BinaryAccuracy(threshold=0.2), graphc.losses.mean_absolute_error])
def test_losses_and_metrics(metric, tmp_path):
    model = graphc.Sequential([layers.Dense(1, activation="sigmoid", input_shape=(3,))])
    loss = graphc.losses.BinaryCrossentropy(label_smoothing=0.2, reduction="sum")
    model.compile("sgd", loss, [metric])
    model.save(tmp_path / "model.keras")
    again = load_model(tmp_path / "model.keras")
    y = (Y > 0).astype("float32")
    assert again.loss.get_config() == loss.get_config()
    assert again.evaluate(X, y, verbose=0, return_dict=True) == model.evaluate(X, y, verbose=0, return_dict=True)


def double(x):
    return x * 2.0


class Scale(layers.Layer):
    """Weights of its own, the one that isn't trained first, and layers in attributes and a list."""

    def __init__(self, start=2.0, **kwargs):
        super().__init__(**kwargs)
        self.start, self._inner = start, layers.Dense(3, name="inner")
        self.blocks = [layers.Dense(3, name="first"), layers.Dense(3, name="second")]

    def build(self, input_shape):
        self.shift = self.add_weight((3,), "zeros", trainable=False, name="shift")
        self.gain = self.add_weight((3,), graphc.initializers.Constant(self.start), name="gain")

    def call(self, inputs):
        inputs = self._inner(inputs * self.gain + self.shift)
        for block in self.blocks:
            inputs = block(inputs)
        return inputs


def test_classes_and_functions_of_the_users(tmp_path):
    model = graphc.Sequential([layers.Dense(3, activation=double, input_shape=(3,)), Scale(3.0, name="mine")])
    model.layers[1].shift.assign([1.0, 2.0, 3.0])
    file = tmp_path / "model.keras"
    model.save(file)
    groups = tree(members(file)["model.weights.h5"])
    assert {f"layers/scale/{p}/vars/0" for p in ("_inner", "blocks/dense", "blocks/dense_1")} <= set(groups)
    with h5py.File(io.BytesIO(members(file)["model.weights.h5"])) as weights:  # trainable ones first
        np.testing.assert_array_equal(weights["layers/scale/vars/0"], [3.0, 3.0, 3.0])
        np.testing.assert_array_equal(weights["layers/scale/vars/1"], [1.0, 2.0, 3.0])
    again = load_model(file, {"Scale": Scale, "double": double})
    np.testing.assert_array_equal(again.predict(X, verbose=0), model.predict(X, verbose=0))
    assert again.layers[1].start == 3.0
    with pytest.raises(FileError, match=r"no function 'double'.*custom_objects=.*the layer 'dense'"):
        load_model(file)
    with pytest.raises(FileError, match=r"no layer class 'Scale'.*custom_objects="):
        load_model(file, {"double": double})


class Residual(graphc.Model):
    def __init__(self, blocks=2, **kwargs):
        super().__init__(**kwargs)
        self.blocks = blocks
        self.stack = [layers.Dense(3, activation="relu") for _ in range(blocks)]
        self.head = layers.Dense(1)

    def call(self, inputs):
        for block in self.stack:
            inputs = inputs + block(inputs)
        return self.head(inputs)


def test_models_of_the_users(tmp_path):
    model = Residual(3)
    model.compile("adam", "mse")
    losses_of_steps(model, X, Y)
    model.save(tmp_path / "model.keras")
    again = load_model(tmp_path / "model.keras", {"Residual": Residual})
    assert losses_of_steps(again, X, Y) == losses_of_steps(model, X, Y)
    with pytest.raises(FileError, match="expected a class: a file calls no functions"):
        load_model(tmp_path / "model.keras", {"Residual": lambda **options: Scale()})


class OfEnds(graphc.Model):
    """A functional model with a method of its own."""

    def twice(self, x):
        return 2 * self.predict(x, verbose=0)


class OfUnits(graphc.Model):
    """A functional model that makes its own inputs and outputs."""

    def __init__(self, units=3, **kwargs):
        inputs = graphc.Input((3,))
        super().__init__(inputs=inputs, outputs=layers.Dense(1)(layers.Dense(units)(inputs)), **kwargs)
        self.units = units


def test_functional_models_of_the_users(tmp_path):
    inputs = graphc.Input((3,))
    described = {"name", "trainable", "layers", "input_layers", "output_layers"}
    for model, options in ((OfEnds(inputs, layers.Dense(1)(inputs)), described),
                           (OfUnits(5), {"name", "trainable", "dtype", "units"})):
        assert isinstance(model, graphc.models.Functional)
        assert set(model.get_config()) == options  # as Keras has it
        model.compile("adam", "mse")
        losses_of_steps(model, X, Y)
        model.save(tmp_path / "model.keras")
        again = load_model(tmp_path / "model.keras", {"OfEnds": OfEnds, "OfUnits": OfUnits})
        assert losses_of_steps(again, X, Y) == losses_of_steps(model, X, Y)
        for other in (again, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert isinstance(other, type(model))
    assert isinstance(graphc.models.clone_model(OfEnds(inputs, inputs)), OfEnds)


def test_a_nameless_function_cannot_be_written(tmp_path):
    model = graphc.Sequential([layers.Dense(1, activation=lambda x: x, input_shape=(3,))])
    with pytest.raises(ValueError, match="no name to write down"):
        model.save(tmp_path / "model.keras")
    model = small()
    model.compile("sgd", lambda y_true, y_pred: graphc.losses.mean_squared_error(y_true, y_pred))
    with pytest.warns(UserWarning, match="compile information is left out"):
        model.save(tmp_path / "model.keras")
    assert load_model(tmp_path / "model.keras").optimizer is None


def test_weights_file(tmp_path, path):
    model, other = load_model(path), small()
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    assert losses_of_steps(other, X, Y) == losses_of_steps(model, X, Y)
    wrong = graphc.Sequential([layers.Dense(4, input_shape=(3,)), layers.Dense(2)])
    before = wrong.get_weights()
    with pytest.raises(FileError, match=r"layers/dense_1/vars/0, .*\[4, 1\].*f32\[4,2\]"):
        wrong.load_weights(tmp_path / "model.weights.h5")
    for old, new in zip(before, wrong.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_weights_that_do_not_fit(tmp_path, path):
    model, file = load_model(path), tmp_path / "model.weights.h5"
    model.save_weights(file)
    other = graphc.Sequential([layers.Dense(4, input_shape=(3,)), layers.Dense(2)])
    before = other.get_weights()
    with pytest.warns(UserWarning, match=r"layer 'dense_\d+' is left as it is: .*\[4, 1\]"):
        other.load_weights(file, skip_mismatch=True)
    for new, expected in zip(other.get_weights(), [*model.get_weights()[:2], *before[2:]], strict=True):
        np.testing.assert_array_equal(new, expected)
    with pytest.raises(FileError, match="Leave out by_name"):
        model.load_weights(file, by_name=True)
    with pytest.raises(FileError, match="no weights yet"):
        graphc.Sequential([layers.Dense(4)]).load_weights(file)
    with pytest.raises(FileError, match="no weights yet"):
        graphc.Sequential([layers.Dense(4)]).save_weights(file)


def test_weights_of_some_layers(tmp_path, path):
    model, file, other = load_model(path), tmp_path / "model.weights.h5", small()
    graphc.saving.save_weights(model, file, objects_to_skip=[model.layers[0]])
    before = other.get_weights()
    with pytest.raises(FileError, match="0 arrays at 'layers/dense'"):
        other.load_weights(file)
    other.load_weights(file, objects_to_skip=[other.layers[0]])
    np.testing.assert_array_equal(other.get_weights()[0], before[0])
    np.testing.assert_array_equal(other.get_weights()[2], model.get_weights()[2])


def test_files_are_told_apart_by_what_they_hold(tmp_path, path):
    """Weights are taken from whole models too, and TensorFlow wrote HDF5 files of the name .keras."""
    model = load_model(path)
    model.save(tmp_path / "whole.h5")
    (tmp_path / "whole.h5").rename(tmp_path / "hdf5.keras")
    assert losses_of_steps(load_model(tmp_path / "hdf5.keras"), X, Y) == losses_of_steps(load_model(path), X, Y)
    for name in ("small.keras", "hdf5.keras"):
        other = small()
        other.load_weights(tmp_path / name)
        np.testing.assert_array_equal(other.get_weights()[0], model.get_weights()[0])


def test_without_the_optimizer(tmp_path, path):
    load_model(path).save(tmp_path / "model.h5", include_optimizer=False)
    assert load_model(tmp_path / "model.h5", safe_mode=False).optimizer is None


@graphc.saving.register_keras_serializable("tests", "Doubled")
class Doubled(layers.Layer):
    """A registered layer; the activation beside it is registered too."""

    def call(self, inputs):
        return inputs * 2


def test_registered_classes_and_functions(tmp_path, monkeypatch):
    for table in ("_OBJECTS", "_NAMES"):
        monkeypatch.setattr(graphc.registry, table, dict(getattr(graphc.registry, table)))
    graphc.saving.register_keras_serializable()(double)
    model = graphc.Sequential([graphc.Input((3,)), layers.Dense(2, activation=double), Doubled()])
    model.save(tmp_path / "model.keras")
    described = json.loads(model.to_json())["config"]["layers"]
    assert described[2]["registered_name"] == "tests>Doubled"
    assert described[1]["config"]["activation"]["registered_name"] == "Custom>double"
    for again in (load_model(tmp_path / "model.keras"), graphc.models.model_from_json(model.to_json()),
                  graphc.models.clone_model(model), graphc.Sequential.from_config(model.get_config())):
        assert type(again.layers[1]) is Doubled
        again.set_weights(model.get_weights())
        np.testing.assert_array_equal(again.predict(X, verbose=0), model.predict(X, verbose=0))


def test_names_of_functions(path):
    assert graphc.models.load_model is graphc.saving.load_model is load_model
    assert graphc.models.save_model is graphc.saving.save_model
    assert issubclass(FileError, GraphcError) and issubclass(FileError, ValueError)


@pytest.mark.parametrize("command", ["summary", "explain", "bench"])
def test_command_line(command, path, tmp_path, capsys):
    options = {"explain": ["--out", str(tmp_path / "page.html")], "bench": ["--seconds", "0.001"]}.get(command, [])
    with graphc.config(backend="native"):  # profiles need it
        assert main([command, str(path), *options]) == 0
    shown = capsys.readouterr().out
    assert {"summary": "last (Dense)", "explain": "dense", "bench": "predict"}[command] in shown


# ------------------------------------------------------------------------------------------------------- writing

def test_two_saves_are_equal(path, tmp_path):
    model = load_model(path)
    model.save(tmp_path / "again.keras")
    assert (tmp_path / "again.keras").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_an_error_leaves_the_old_file(fails, path, monkeypatch):
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, fails, fail)
    with pytest.raises(FileError, match=r"small\.keras can't be written: disk full\. What was there is as it was"):
        small().save(path)
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]


def test_overwriting_and_links(path, tmp_path):
    with pytest.raises(FileError, match="is there already"):
        small().save(path, overwrite=False)
    (tmp_path / "link.keras").symlink_to(path)
    before = path.read_bytes()
    small("sgd").save(tmp_path / "link.keras")
    assert (tmp_path / "link.keras").is_symlink() and path.read_bytes() != before


@pytest.mark.parametrize("name", ["model.json", "model"])
def test_other_endings(name, tmp_path):
    for attempt in (small().save, load_model):
        with pytest.raises(FileError, match=r"ends in \.keras"):
            attempt(tmp_path / name)
    with pytest.raises(FileError, match=r"ends in \.weights\.h5"):
        small().save_weights(tmp_path / "model.h5")
    with pytest.raises(FileError, match=r"ends in \.keras or \.h5 or \.hdf5"):
        small().load_weights(tmp_path / "model.npz")


# ------------------------------------------------------------------------------------------------ compile information

@pytest.mark.parametrize(("key", "value", "message"), [
    ("optimizer", {"class_name": "Muon", "config": {}}, "no optimizer class 'Muon'"),
    ("optimizer", {"class_name": "Adam", "config": {"learning_rate": {"class_name": "CosineDecay", "config": {}}}},
     "CosineDecay"),
    ("optimizer", {"class_name": "Adam", "config": {"horizon": 3}}, "horizon=3; graphc's has no such option"),
    ("loss", "hubber", "hubber"), ("loss", {"a": "mse"}, "has the key 'a'"), ("metrics", ["mse", 5], "metric"),
    ("loss_weights", [1.0, 2.0], "loss_weights"),
])
def test_unknown_compile_information(key, value, message, path):
    rewrite(path, lambda config: config["compile_config"].update({key: value}))
    with pytest.warns(UserWarning, match=f"not compiled.*{message}"):
        model = load_model(path)
    assert model.optimizer is None and model.predict(X, verbose=0).shape == (20, 1)


def test_without_compiling(path):
    model = load_model(path, compile=False)
    assert model.optimizer is None and model.loss is None


def test_state_of_another_optimizer(path):
    def forget(file):
        del file["optimizer/vars/9"]

    rewrite(path, weights=forget)
    with pytest.warns(UserWarning, match="starts anew: its state has 9 arrays, expected 10"):
        assert int(load_model(path).optimizer.iterations) == 0


# ------------------------------------------------------------------------------------------------------ bad files

def change_layer(**changes):
    return lambda config: config["config"]["layers"][1]["config"].update(changes)


def change_class(**changes):
    return lambda config: config["config"]["layers"][1].update(changes)


@pytest.mark.parametrize(("config", "message"), [
    (change_layer(lora_rank=4), r"layer 'dense' \(Dense\) has lora_rank=4; graphc's has only lora_rank=None"),
    (change_layer(rank=3), r"layer 'dense' \(Dense\) has rank=3; graphc's has no such option"),
    (change_layer(units=0), r"units must be a positive integer.*layer 'dense'"),
    (change_layer(activation="rleu"), "Did you mean 'relu'"),
    (change_layer(kernel_initializer={"class_name": "Spiral", "config": {}}),
     r"no initializer, layer or schedule class 'Spiral'.*\(in the layer 'dense' \(Dense\)\)"),
    (change_layer(dtype={"class_name": "DTypePolicy", "config": {"name": "mixed_float16"}}), "mixed_float16"),
    (change_layer(name=["dense"]), "expected an object, and a text as its name"),
    (change_layer(units=10**12), r"asks for a weight of shape \[3, 1000000000000\], more than its"),
    (change_layer(units=5), r"\[3, 4\] and type float32, expected f32\[3,5\]"),
    (change_layer(use_bias=False), r"2 arrays at 'layers/dense' for the layer 'dense' \(Dense\), expected 1"),
    (change_class(class_name="__lambda__"), "bytecode of a lambda, which is never run"),
    (change_class(module="os", class_name="system"), "no layer class 'system'"),
    (change_class(module="os", class_name="function", config="system"), "no function 'system'"),
    (change_class(class_name=7), "describes no layer"),
    (lambda config: config.update(class_name="Functional"), "has no input_layers"),
    (lambda config: config.update(class_name="Dense"), "no model class 'Dense'"),
    (lambda config: config["config"].pop("layers"), "layers"),
])
def test_bad_configuration(config, message, path):
    rewrite(path, config)
    with pytest.raises(FileError, match=message) as caught:
        load_model(path)
    assert str(path) in str(caught.value)


LAYOUT = h5py.VirtualLayout((3, 4), "f4")


@pytest.mark.parametrize(("weights", "message"), [
    (replaced("layers/dense", lambda f, n: f.__setitem__(n, h5py.ExternalLink("other.h5", "/a"))), "is a link"),
    (replaced("layers/dense/vars", lambda f, n: f.__setitem__(n, h5py.SoftLink("/layers/last"))), "is a link"),
    (replaced(FIRST, lambda f, n: f.__setitem__(n, h5py.SoftLink("/layers/dense/vars/1"))), "is a link"),
    (replaced(FIRST, lambda f, n: f.create_dataset(n, (3, 4), "f4", external=[("secret", 0, 48)])), "in other files"),
    (replaced(FIRST, lambda f, n: f.create_virtual_dataset(n, LAYOUT)), "in other files"),
    (replaced(FIRST, lambda f, n: f.create_dataset(n, (3, 4), "f4", compression="gzip")), "in pieces"),
    (replaced(FIRST, lambda f, n: f.create_dataset(n, (1 << 40, 4), "f4", chunks=(1, 4))), "in pieces"),
    (replaced(FIRST, lambda f, n: f.create_dataset(n, (3, 4), "i4")), "type int32"),
    (replaced(FIRST, lambda f, n: f.create_dataset(n, (3, 4), h5py.string_dtype())), "type object"),
    (replaced(FIRST, lambda f, n: f.create_group(n)), "is missing"),
    (replaced("layers/dense/vars", lambda f, n: f.create_dataset(n, (3,), "f4")), "as an array, expected a group"),
    (replaced("layers", lambda f, n: None), "0 arrays at 'layers/dense' for the layer 'dense'"),
    (replaced("optimizer/vars/3", lambda f, n: f.create_dataset(n, (5, 4), "f4")), r"optimizer/dense/kernel/velocity"),
])
def test_bad_weights(weights, message, path):
    rewrite(path, weights=weights)
    with pytest.raises(FileError, match=message) as caught:
        load_model(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(("data", "message"), [
    (b"", "BadZipFile"), (b"PK\3\4", "BadZipFile"), (b"\x89HDF\r\n\x1a\n" * 9, "doesn't begin as HDF5 files"),
])
def test_not_an_archive(data, message, tmp_path):
    (tmp_path / "a.keras").write_bytes(data)
    with pytest.raises(FileError, match=message):
        load_model(tmp_path / "a.keras")
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "b.keras")


@pytest.mark.parametrize(("parts", "message"), [
    ([("model.weights.h5", b"")], "0 members 'config.json'"),
    ([("config.json", b"{}")], "0 members 'model.weights.h5'"),
    ([("config.json", b"{}"), ("config.json", b"{}"), ("model.weights.h5", b"")], "2 members 'config.json'"),
    ([("config.json", b"{]"), ("model.weights.h5", b"")], "Expecting"),
    ([("config.json", b"[]"), ("model.weights.h5", b"")], "expected an object"),
    ([("config.json", b"[" * 200_000), ("model.weights.h5", b"")], "Recursion"),
    ([("config.json", b" " * (1 << 25) + b"{}"), ("model.weights.h5", b"")], "would take 33,554,434 bytes"),
])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_bad_archives(parts, message, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        for name, data in parts:
            archive.writestr(name, data)
    with pytest.raises(FileError, match=message):
        load_model(tmp_path / "a.keras")


def test_compressed_members(path):
    before = load_model(path).predict(X, verbose=0)
    rewrite(path, compression=zipfile.ZIP_DEFLATED)
    np.testing.assert_array_equal(load_model(path).predict(X, verbose=0), before)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", bytes(1 << 20))
    with pytest.raises(FileError, match="would take 1,048,576 bytes"):
        load_model(path)


def test_members_that_nobody_needs(path):
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../outside.py", "raise SystemExit")
    before = set(path.parent.parent.iterdir())
    assert load_model(path).built and set(path.parent.parent.iterdir()) == before


def test_loading_draws_no_weights(path, monkeypatch):
    def drawn(*_):
        raise AssertionError("an initializer was called")

    monkeypatch.setattr(graphc.initializers.GlorotUniform, "__call__", drawn)
    assert load_model(path).count_params() == 21


def outcome(path):
    """How loading ends: None, or the message of the only error that there may be."""
    try:
        load_model(path)
    except FileError as error:
        assert str(path) in str(error)
        return str(error)
    return None


def mutated(data, rng):
    """The bytes with some changed, lost or repeated."""
    result = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        start, length = int(rng.integers(len(result))), int(rng.integers(1, 9))
        result[start:start + length] = [
            bytes(rng.integers(0, 256, length, np.uint8)), b"\xff" * length, b"", bytes(result[:length]) * 2,
        ][rng.integers(4)]
    return bytes(result[:rng.integers(len(result))] if rng.random() < 0.1 else result)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_bytes(rng, tmp_path):
    data, path = (FILES / "sgd.keras").read_bytes(), tmp_path / "damaged.keras"
    ends = []
    for _ in range(200):
        path.write_bytes(mutated(data, rng))
        ends.append(outcome(path))
    assert sum(end is not None for end in ends) > 100


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("member", ["config.json", "model.weights.h5"])
def test_damaged_members(member, rng, tmp_path):
    """Damage that the archive's checksums don't show, because they were made after it."""
    parts, path = members(FILES / "sgd.keras"), tmp_path / "damaged.keras"
    ends = []
    for _ in range(150):
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in parts.items():
                archive.writestr(name, mutated(data, rng) if name == member else data)
        ends.append(outcome(path))
    assert len({end for end in ends if end is not None}) > 10


def places(value, path=()):
    """The way to every part of a JSON value."""
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


ODD = [None, True, 0, -1, 10**9, 2**63, 10**400, 1e308, float("nan"), "", "relu", "\ud800", [], [None], [None, 2**40],
       {}, {"class_name": "Dense"}, {"class_name": []}, {"class_name": "function", "config": "get"},
       {"class_name": "Sequential", "config": {"layers": []}}, {"class_name": "DTypePolicy", "config": 5}]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_odd_values(rng, tmp_path):
    """Well-formed configurations with a value in the wrong place."""
    original, path = (FILES / "images.keras").read_bytes(), tmp_path / "odd.keras"
    path.write_bytes(original)
    ways = [way for way in places(json.loads(members(path)["config.json"])) if way]
    ends = []
    for _ in range(150):
        *way, last = ways[rng.integers(len(ways))]
        odd = ODD[rng.integers(len(ODD))]

        def change(config, way=way, last=last, odd=odd):
            for key in way:
                config = config[key]
            config[last] = odd

        path.write_bytes(original)
        rewrite(path, change)
        ends.append(outcome(path))
    assert len({end for end in ends if end is not None}) > 20
