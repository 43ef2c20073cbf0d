"""What classes of the user's say themselves of what is in files: builds, compile arguments, arrays and files.

The files in tests/fixtures/hooks were written by Keras (tests/fixtures/make_keras_hooks.py); test_exchange has the way
back.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import cases_hooks
import h5py
import numpy as np
import pytest
from damage import rewrite

import graphc
from graphc import layers
from graphc.__main__ import main
from graphc.saving import FileError, load_model

FILES = Path(__file__).parents[1] / "fixtures" / "hooks"
FOUND = cases_hooks.classes(graphc)
A, B = cases_hooks.data()
pytestmark = pytest.mark.usefixtures("reference_backend")


@pytest.fixture
def path(tmp_path):
    """A file of the functional model."""
    cases_hooks.functional(graphc, FOUND).save(tmp_path / "m.keras")
    return tmp_path / "m.keras"


def layer_named(value, name):
    return next(part for part in value["config"]["layers"] if part["config"]["name"] == name)


# ----------------------------------------------------------------------------------------------- both ways

@pytest.mark.parametrize("name", ["hooks", "own", "held"])
def test_files_of_keras(name):
    expected = np.load(FILES / "expected.npz")
    model = load_model(FILES / f"{name}.keras")
    np.testing.assert_allclose(model.predict([A, B] if name == "hooks" else A, verbose=0), expected[name], rtol=1e-5)
    if name == "hooks":
        assert model.get_layer("worded").words == ["a", "ß", "c d"]
        assert (model.get_layer("stateful").size, model.get_layer("packed").saved) == (4, 1)
    if name == "own":
        assert model.weight == 0.5 and isinstance(model.loss_fn, graphc.losses.Huber)
        assert model.optimizer is model.my_optimizer and int(model.optimizer.iterations) == 3
        losses = [model.train_on_batch(A, B[:, :2])[0] for _ in range(3)]
        np.testing.assert_allclose(losses, expected["losses"], rtol=1e-5)


def test_what_is_written_is_read(path, tmp_path):
    model, again = cases_hooks.functional(graphc, FOUND), load_model(path)
    np.testing.assert_allclose(again.predict([A, B], verbose=0), model.predict([A, B], verbose=0), rtol=1e-6)
    assert again.get_layer("worded").words == ["a", "ß", "c d"] and again.get_layer("packed").saved == 1
    assert [w.path for w in again.weights] == [w.path for w in model.weights]
    model.save_weights(tmp_path / "m.weights.h5")
    again.set_weights([0 * w for w in again.get_weights()])
    for file in ("m.weights.h5", "m.keras"):
        again.load_weights(tmp_path / file)
        np.testing.assert_allclose(again.predict([A, B], verbose=0), model.predict([A, B], verbose=0), rtol=1e-6)
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist()[3:] == ["assets/layers/worded/more/number.bin", "assets/layers/worded/words.txt"]
        described = json.loads(archive.read("config.json"))
    shapes = {"query_shape": [None, 3], "value_shape": [None, 4]}
    assert layer_named(described, "projected")["build_config"] == {"shapes_dict": shapes}
    assert layer_named(described, "packed")["build_config"] == {"input_shape": [None, 4]}
    assert layer_named(described, "stateful")["build_config"] == {"size": 4}
    assert "build_config" not in layer_named(described, "last")


def test_whole_models_in_h5_have_the_weights_alone(tmp_path):
    """As Keras does it, with what a layer was built from beside its options."""
    model = cases_hooks.functional(graphc, FOUND)
    model.save(tmp_path / "m.h5")
    again = load_model(tmp_path / "m.h5")
    np.testing.assert_array_equal(again.predict([A, B], verbose=0), model.predict([A, B], verbose=0))
    assert again.get_layer("worded").words is None and again.get_layer("packed").saved == 0


def test_compile_arguments_of_the_users(tmp_path):
    model = cases_hooks.own(graphc, FOUND)
    model.train_on_batch(A, B[:, :2])
    model.save(tmp_path / "m.keras")
    again = load_model(tmp_path / "m.keras")
    losses = [[m.train_on_batch(A, B[:, :2])[0] for _ in range(3)] for m in (again, model)]
    np.testing.assert_allclose(*losses, rtol=1e-6)
    assert load_model(tmp_path / "m.keras", compile=False).optimizer is None
    rewrite(tmp_path / "m.keras", lambda value: value["compile_config"].pop("weight"))
    with pytest.warns(UserWarning, match="not compiled, because .* KeyError: 'weight'"):
        assert load_model(tmp_path / "m.keras").predict(A, verbose=0).shape == (6, 2)


def test_objects_of_the_caller_are_known_to_the_hooks(tmp_path):
    class Off(graphc.losses.Loss):
        def call(self, y_true, y_pred):
            return graphc.ops.abs(y_true - y_pred)

    model = cases_hooks.own(graphc, FOUND)
    model.compile(graphc.optimizers.SGD(0.1), Off(), ["mae"], 1)
    model.save(tmp_path / "m.keras")
    again = load_model(tmp_path / "m.keras", {"Off": Off})
    assert isinstance(again.loss_fn, Off) and "Off" not in graphc.saving.get_custom_objects()
    with pytest.warns(UserWarning, match="graphc has no layer class 'Off'"):
        load_model(tmp_path / "m.keras")


class Odd(graphc.Model):
    """Has other arguments, and nothing that says so to files."""

    def __init__(self, **options):
        super().__init__(**options)
        self.dense = layers.Dense(1)

    def call(self, inputs):
        return self.dense(inputs)

    def compile(self, generator, discriminator):
        super().compile(generator, "mse")


def test_a_compile_without_its_hooks(tmp_path):
    model = Odd()
    model.compile("sgd", "sgd")
    model.fit(A, B[:, 0], verbose=0)
    model.save(tmp_path / "m.keras")
    with pytest.warns(UserWarning, match="Odd has a `compile` of its own.*define get_compile_config and compile_from"):
        assert load_model(tmp_path / "m.keras", {"Odd": Odd}).optimizer is None


def test_the_hooks_by_hand():
    model = graphc.Sequential([layers.Dense(2, input_shape=(3,))])
    assert model.get_compile_config() == {} and model.get_build_config() == {"input_shape": (None, 3)}
    model.compile(graphc.optimizers.Adam(0.25), "mse", metrics=["mae"])
    other = graphc.models.clone_model(model)
    other.compile_from_config(model.get_compile_config())
    assert float(other.optimizer.learning_rate) == 0.25 and isinstance(other.loss, graphc.losses.MeanSquaredError)
    layer, store = layers.BatchNormalization(), {}
    assert layer.get_build_config() is None
    layer.build_from_config({"input_shape": [None, 3]})
    assert layer.get_build_config() == {"input_shape": (None, 3)}
    layer.gamma.assign([1, 2, 3])
    layer.save_own_variables(store)
    assert list(store) == ["0", "1", "2", "3"]
    again = layers.BatchNormalization()
    with pytest.raises(ValueError, match=r"has 0 weights of its own, and 4 arrays were saved.*build_from_config"):
        again.load_own_variables(store)
    again.build_from_config(layer.get_build_config())
    again.load_own_variables({name: np.asarray(value) for name, value in store.items()})
    np.testing.assert_array_equal(again.gamma.numpy(), [1, 2, 3])


class Guided(layers.Dense):
    """As Keras's guide has it: its base's configuration is that of the base's options."""

    def __init__(self, units, factor, **options):
        super().__init__(units, **options)
        self.factor = factor

    def call(self, inputs):
        return self.factor * super().call(inputs)

    def get_config(self):
        return dict(factor=self.factor, **super().get_config())


class Plain(layers.Layer):
    """The same without options in the base."""

    def __init__(self, factor, **options):
        super().__init__(**options)
        self.factor = factor

    def call(self, inputs):
        return self.factor * inputs

    def get_config(self):
        return dict(factor=self.factor, **super().get_config())


def test_configurations_of_the_users_add_to_those_of_the_base(tmp_path):
    model = graphc.Sequential([Guided(2, 3.0, use_bias=False, input_shape=(3,), name="guided"), Plain(2.0)])
    assert set(model.layers[1].get_config()) == {"factor", "name", "trainable", "dtype"}
    model.save(tmp_path / "m.keras")
    rewrite(tmp_path / "m.keras", lambda value: layer_named(value, "guided")["config"].update(
        quantization_config=None, lora_rank=None))  # which Keras's Dense has, too
    again = load_model(tmp_path / "m.keras", {"Guided": Guided, "Plain": Plain})
    np.testing.assert_array_equal(again.predict(A, verbose=0), model.predict(A, verbose=0))
    rewrite(tmp_path / "m.keras", lambda value: layer_named(value, "guided")["config"].update(lora_rank=4))
    with pytest.raises(FileError, match="unknown argument lora_rank=4"):
        load_model(tmp_path / "m.keras", {"Guided": Guided, "Plain": Plain})


class Around(layers.Layer):
    """A layer around another one."""

    def __init__(self, layer, **options):
        super().__init__(**options)
        self.layer = layer

    def call(self, inputs):
        return self.layer(inputs)


def test_layers_around_others_are_in_the_paths_of_weights(tmp_path):
    inputs = graphc.Input((4, 3))
    hidden = layers.TimeDistributed(Around(layers.Dense(5, name="a"), name="b"), name="c")(inputs)
    model = graphc.Model(inputs, Around(graphc.Sequential([layers.Dense(2, name="d")], name="e"), name="f")(hidden))
    model.save(tmp_path / "m.keras")
    again = load_model(tmp_path / "m.keras", {"Around": Around})
    assert [w.path for w in again.weights] == [w.path for w in model.weights] == [
        "c/b/a/kernel", "c/b/a/bias", "f/e/d/kernel", "f/e/d/bias"]


@pytest.mark.parametrize("mode", ["int", "multi_hot"])
def test_a_vocabulary_in_a_file_of_its_own(mode, tmp_path):
    """Keras writes one that came by `adapt` so."""
    inputs, x = graphc.Input((2,), dtype="int32"), np.array([[7, 3], [9, 4]])
    lookup = layers.IntegerLookup(vocabulary=[3, 9, 7], output_mode=mode, name="lookup")
    model = graphc.Model(inputs, layers.Dense(2)(lookup(inputs)))
    model.save(tmp_path / "m.keras")
    again = load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
    rewrite(tmp_path / "m.keras", lambda value: layer_named(value, "lookup")["config"].update(vocabulary=None),
            add=[("assets/layers/integer_lookup/vocabulary.txt", b"-1\n3\n9\n7")])
    again = load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
    assert again.get_layer("lookup").get_vocabulary() == [-1, 3, 9, 7]


# ----------------------------------------------------------------------------------------------- what goes wrong

def dataset(name, *shape, **options):
    def change(file):
        group = file["layers/packed/vars"]
        del group[name]
        group.create_dataset(name, *shape, **options)
    return change


def linked(file):
    del file["layers/packed/vars/log"]
    file["layers/packed/vars/log"] = h5py.ExternalLink("/etc/passwd", "/a")


def missing(file):
    del file["layers/packed/vars/log"]
    file["layers/packed/vars/more"] = file["layers/packed/vars/saved"]


ARRAYS = {
    "without end": (dataset("log", (1 << 50,), "f4"), "expected numbers that have room in"),
    "packed": (dataset("log", (1 << 20, 1 << 20), "f4", chunks=(1, 1024), compression="gzip"), "in pieces"),
    "in another file": (dataset("log", (4,), "f4", external=[("/etc/passwd", 0, 16)]), "in other files"),
    "texts": (dataset("log", data=["a"]), "type object, expected numbers"),
    "a link": (linked, "is a link"),
    "missing": (missing, "load_own_variables of the layer 'packed'"),
    "another shape": (dataset("log", data=np.zeros(5)), r"'packed' \(Packed\).*shape \[5\]"),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_hostile_arrays_are_refused(case, path, tmp_path):
    change, message = ARRAYS[case]
    model = load_model(path)
    before = model.get_weights()
    rewrite(path, weights=lambda file: [change(file), file["layers/dense/vars/0"].__setitem__(..., 7)])
    with zipfile.ZipFile(path) as archive:
        (tmp_path / "m.weights.h5").write_bytes(archive.read("model.weights.h5"))
    with pytest.raises(FileError, match=message):
        load_model(path)
    with pytest.raises(FileError, match=message):
        model.load_weights(tmp_path / "m.weights.h5")
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    with pytest.warns(UserWarning, match=r"the layer 'packed' is left as it is"):
        model.load_weights(tmp_path / "m.weights.h5", skip_mismatch=True)
    assert (model.get_layer("last").get_weights()[0] == 7).all()
    np.testing.assert_array_equal(model.get_layer("packed").factor.numpy(), before[1])


NAMES = {
    "assets/../../evil": "is none of a file in assets/",
    "assets/layers/worded/../../../evil": "is none of a file",
    "assets/layers/worded//etc/evil": "is none of a file",
    "assets/layers/worded/..\\evil": "is none of a file",
    "assets/layers/worded/C:evil": "is none of a file",
    "assets/layers/worded/words.txt": "is in there twice",
    "assets/layers/worded/words.txt/a": "in the files of the layer 'worded'",
    "assets/layers/dense/a.txt": "the file 'assets/layers/dense/a.txt', which no layer of the model reads",
    "assets/a.txt": "which no layer of the model reads",
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_hostile_files_of_layers_are_refused(name, path, tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "folder"))
    rewrite(path, add=[(name, b"evil")])
    with pytest.raises(FileError, match=NAMES[name].replace("\\", "\\\\")):
        load_model(path)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["folder", "m.keras"]
    if "no layer" not in NAMES[name] and name.endswith("evil"):
        assert main(["inspect", str(path)]) == 1


def test_files_of_layers_that_unpack_to_too_much(path):
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("assets/layers/worded/big", bytes(1 << 26))
    with pytest.raises(FileError, match="big would take 67,108,864 bytes, of which"):
        load_model(path)


def test_files_of_layers_that_share_their_bytes(path):
    """Many members that lie over one another: each is small, together they are more than the file."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("assets/layers/worded/a", bytes(1 << 16))
        first = archive.infolist()[-1]
        for i in range(40):
            other = zipfile.ZipInfo(f"assets/layers/worded/{i}")
            other.header_offset, other.file_size, other.compress_size, other.CRC = (
                first.header_offset, first.file_size, first.compress_size, first.CRC)
            archive.filelist.append(other)
            archive.NameToInfo[other.filename] = other
    with pytest.raises(FileError, match=r"shares its bytes|differ|[Oo]verlap"):
        load_model(path)


@pytest.mark.parametrize(("name", "config", "message"), [
    ("stateful", 7, "The build_config of .*'stateful'.* is 7, expected an object"),
    ("stateful", {"size": 10**9}, "asks for a weight of shape"),
    ("packed", {"input_shape": [None, 10**12]}, "asks for a weight of shape"),
    ("packed", {"input_shape": 3}, "TypeError"),
    ("projected", {"shapes_dict": {"self": [3]}}, "TypeError"),
    ("projected", {"shapes_dict": {"query_shape": [None, 3], "value_shape": [None, 5]}}, "'projected'"),
])
def test_hostile_builds_are_refused(name, config, message, path):
    rewrite(path, lambda value: layer_named(value, name).update(build_config=config))
    with pytest.raises(FileError, match=message):
        load_model(path)


def test_builds_of_known_layers_are_left_to_their_calls(path):
    rewrite(path, lambda value: layer_named(value, "last").update(build_config={"input_shape": [None, 10**12]}))
    assert load_model(path).built


def test_what_a_layer_saves_are_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(FOUND.Packed, "save_own_variables", lambda self, store: store.update(words=["a"]))
    with pytest.raises(ValueError, match=r"save_own_variables of the layer 'packed' gave .*'words', expected numbers"):
        cases_hooks.functional(graphc, FOUND).save(tmp_path / "m.keras")
    assert not list(tmp_path.iterdir())


def test_a_hook_that_fails_is_named(path, monkeypatch):
    def fails(self, folder):
        raise RuntimeError("no such word")

    monkeypatch.setattr(FOUND.Worded, "load_assets", fails)
    with pytest.raises(FileError, match=r"no such word \(in the files of the layer .worded. \(Worded\)\)"):
        load_model(path)


def test_inspect_tells_of_the_files_of_layers(path, capsys):
    assert main(["inspect", str(path)]) == 1  # the classes are the user's
    text = capsys.readouterr().out
    assert "'assets/layers/worded/words.txt': 8 bytes for a layer, SHA-256" in text and "never read" not in text
