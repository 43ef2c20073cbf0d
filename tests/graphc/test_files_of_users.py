"""Files of what users write themselves: classes that are registered, layers in attributes, functions between layers.

Where Keras has what in a file was read off files of Keras 3.15.1; tests/graphc/test_exchange.py compares with Keras.
"""

from __future__ import annotations

import io
import json
import zipfile

import h5py
import numpy as np
import pytest

import graphc
from graphc import layers, ops
from graphc.saving import FileError, load_model

X = np.random.default_rng(0).standard_normal((16, 3)).astype(np.float32)
Y = X[:, :2] * 2
pytestmark = pytest.mark.usefixtures("reference_backend")
registered = graphc.saving.register_keras_serializable("files_of_users")


def steps(model, x=X, y=Y, count=3):
    return [float(np.ravel(model.train_on_batch(x, y))[0]) for _ in range(count)]


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def arrays(path):
    """The names of all arrays in the weights of a `.keras` file, without the optimizer's."""
    found = []
    with h5py.File(io.BytesIO(members(path)["model.weights.h5"])) as file:
        file.visititems(lambda name, part: found.append(name) if isinstance(part, h5py.Dataset) else None)
    return sorted(name for name in found if not name.startswith(("optimizer", "graphc")))


@registered
class Attributes(graphc.Model):
    """Layers in attributes before and after `layers` by name, and in lists within lists; a scalar that is trained."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.out = layers.Dense(2, use_bias=False)
        self.deep = [layers.Dense(3, use_bias=False), (layers.Dense(3, use_bias=False), [layers.LayerNormalization()])]
        self._norm = layers.BatchNormalization()

    def build(self, input_shape):
        self.scale = self.add_weight(shape=(), initializer="ones")
        super().build(input_shape)

    def call(self, x):
        first, (second, (third,)) = self.deep
        return self.out(self._norm(third(second(first(x))))) * self.scale


def test_layers_in_attributes_lie_where_keras_has_them(tmp_path):
    model = Attributes()
    model.compile("adam", "mse")
    steps(model)
    model.save(tmp_path / "m.keras")
    assert arrays(tmp_path / "m.keras") == sorted([
        "deep/dense/vars/0", "deep/container/dense/vars/0", *(
            f"deep/container/container/layer_normalization/vars/{i}" for i in range(2)),
        "layers/dense/vars/0", *(f"layers/batch_normalization/vars/{i}" for i in range(4)), "vars/0"])
    again = load_model(tmp_path / "m.keras")
    assert steps(again) == steps(model)


def test_layers_in_attributes_of_files_that_have_no_layers(tmp_path):
    """As graphc wrote them before, and old releases of Keras."""
    model = Attributes()
    model.build((None, 3))
    model.save_weights(tmp_path / "m.weights.h5")
    with h5py.File(tmp_path / "m.weights.h5", "r+") as file:
        file.move("layers/dense", "out")
        file.move("layers/batch_normalization", "_norm")
        del file["layers"]
    again = Attributes()
    again.build((None, 3))
    again.load_weights(tmp_path / "m.weights.h5")
    for one, other in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@registered
class Beside(graphc.Model):
    """A functional model that makes its own ends, and has a layer beside the graph."""

    def __init__(self, units=2, **kwargs):
        inputs = graphc.Input((3,))
        super().__init__(inputs, layers.Dense(units)(inputs), **kwargs)
        self.units, self.aside = units, layers.Dense(1)
        self.aside.build((None, 3))


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_registered_models(ending, tmp_path):
    """By their names alone, in both kinds of files; a layer beside the graph is under the attribute's name."""
    model = Beside(name="mine")
    model.compile("sgd", "mse")
    steps(model)
    path = tmp_path / f"m{ending}"
    model.save(path)
    assert graphc.saving.get_registered_name(type(model)) == "files_of_users>Beside"
    if ending == ".keras":
        assert arrays(path) == [f"{place}/vars/{i}" for place in ("aside", "layers/dense") for i in range(2)]
    for again in (load_model(path), load_model(path, {"Beside": Beside})):
        assert isinstance(again, Beside) and again.name == "mine"
        np.testing.assert_array_equal(again.aside.kernel.array, model.aside.kernel.array)
        np.testing.assert_array_equal(again.predict(X, verbose=0), model.predict(X, verbose=0))


class Mixed(layers.Layer):
    """A layer whose trained and other weights are made by turns."""

    def build(self, input_shape):
        self.seen = self.add_weight(shape=(1,), trainable=False, name="seen")
        self.gain = self.add_weight(shape=(1,), name="gain")

    def call(self, x):
        return x * self.gain + self.seen


def test_own_weights_come_trainable_ones_first():
    """As in Keras, so that `get_weights` of one is `set_weights` of the other."""
    model = graphc.Sequential([graphc.Input((3,)), Mixed(), layers.Dense(1, name="d")])
    assert [w.name for w in model.weights] == ["gain", "seen", "kernel", "bias"]


def a_third(shape, dtype=None):
    return ops.ones(shape) / 3.0


def test_an_initializer_written_with_ops():
    model = graphc.Sequential([graphc.Input((3,)), layers.Dense(2, kernel_initializer=a_third)])
    np.testing.assert_allclose(model.get_weights()[0], np.full((3, 2), 1 / 3), rtol=1e-6)


@pytest.mark.parametrize("optimizer", ["adam", "adagrad", "ftrl", "rmsprop"])
def test_a_scalar_weight_is_trained(optimizer):
    inputs = graphc.Input((3, 4))
    model = graphc.Model(inputs, layers.Attention(use_scale=True)([inputs, inputs]))
    model.compile(optimizer, "mse")
    x = np.random.default_rng(1).standard_normal((4, 3, 4)).astype(np.float32)
    losses = steps(model, x, x * 0)
    assert losses[-1] < losses[0]


@registered
class Vault(layers.Layer):
    """A layer with variables in a file of its own way."""

    def build(self, input_shape):
        self.gain = self.add_weight(shape=(input_shape[-1],), initializer="ones")

    def call(self, x):
        return x * self.gain

    def save_own_variables(self, store):
        super().save_own_variables(store)
        store["half"] = np.asarray(self.gain) / 2

    def load_own_variables(self, store):
        self.gain.assign(store["half"] * 4)


@pytest.mark.parametrize("ending", [".keras", ".weights.h5"])
def test_variables_in_a_way_of_the_users(ending, tmp_path):
    def made():
        return graphc.Sequential([graphc.Input((3,)), Vault()])

    model = made()
    path = tmp_path / f"m{ending}"
    if ending == ".keras":
        model.save(path)
        again = load_model(path)
    else:
        model.save_weights(path)
        again = made()
        again.load_weights(path)
    np.testing.assert_array_equal(again.get_weights()[0], [2, 2, 2])


# ------------------------------------------------------------------------------------------------ what Keras describes

def tensor(name):
    return {"class_name": "__keras_tensor__", "config": {"shape": [None], "dtype": "float32",
                                                         "keras_history": [name, 0, 0]}}


def called(cls, name, args, module="numpy", **config):
    return {"module": f"keras.src.ops.{module}", "class_name": cls, "config": {"name": name, **config},
            "registered_name": cls, "name": name, "inbound_nodes": [{"args": args, "kwargs": {}}]}


def described(*operations):
    """A functional model of an input x of shape (N, 4, 3) and operations, the last of which it gives."""
    first = {"module": "keras.layers", "class_name": "InputLayer", "registered_name": None, "name": "x",
             "config": {"batch_shape": [None, 4, 3], "name": "x"}, "inbound_nodes": []}
    config = {"name": "m", "trainable": True, "layers": [first, *operations], "input_layers": [["x", 0, 0]],
              "output_layers": [[operations[-1]["name"], 0, 0]]}
    return json.dumps({"module": "keras.src.models.functional", "class_name": "Functional", "config": config,
                       "registered_name": "Functional"})


def slices(*ends):
    return [{"class_name": "__slice__", "config": {"start": a, "stop": b, "step": None}} for a, b in ends]


FUNCTIONS = {
    "get_item": (called("GetItem", "g", [tensor("x"), slices((None, None), (1, 3))]), lambda x: x[:, 1:3]),
    "ellipsis": (called("GetItem", "g", [tensor("x"), [{"class_name": "__ellipsis__", "config": {}}, 0]]),
                 lambda x: x[..., 0]),
    "mean": (called("Mean", "m", [tensor("x")], axis=1, keepdims=True), lambda x: x.mean(1, keepdims=True)),
    "concatenate": (called("Concatenate", "c", [[tensor("x"), tensor("x")]], axis=-1),
                    lambda x: np.concatenate([x, x], -1)),
    "reshape": (called("Reshape", "r", [tensor("x")], newshape=[-1, 12]), lambda x: x.reshape(-1, 12)),
    "einsum": (called("Einsum", "e", [tensor("x"), tensor("x")], subscripts="nab,ncb->nac"),
               lambda x: x @ x.transpose(0, 2, 1)),
    "relu": (called("Relu", "r", [tensor("x")], "nn"), lambda x: np.maximum(x, 0)),
    "not_equal": (called("NotEqual", "n", [tensor("x"), 0]), lambda x: x != 0),
    "clip": (called("Clip", "c", [tensor("x")], x_min=-1, x_max=0.5), lambda x: x.clip(-1, 0.5)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_between_layers_are_read(name):
    operation, function = FUNCTIONS[name]
    model = graphc.models.model_from_json(described(operation))
    x = np.random.default_rng(2).integers(-2, 3, (5, 4, 3)).astype(np.float32)
    np.testing.assert_allclose(model.predict(x, verbose=0), function(x), rtol=1e-5, atol=1e-6)


COMPUTED = {
    "slices": lambda x: x[:, 1:, ::-1][:, -1],
    "new_axes": lambda x: x[:, None] * 2 - x[:, 0][:, None, None],
    "statistics": lambda x: (x - ops.mean(x, 1, keepdims=True)) / (ops.std(x, axis=(1, 2), keepdims=True) + 1),
    "logic": lambda x: ops.where(ops.logical_and(x > 0, x != 1), x, -1.0),
    "movement": lambda x: ops.concatenate([ops.transpose(x, (0, 2, 1)), ops.reshape(x, (-1, 3, 4))], axis=1),
    "products": lambda x: ops.einsum("nab,ncb->nac", x, x) @ x,
    "activations": lambda x: ops.gelu(ops.softmax(x)) + ops.relu(x) * ops.sigmoid(x) + ops.softplus(ops.clip(x, -1, 1)),
    "reductions": lambda x: ops.stack([ops.max(x, 1), ops.sum(x, 1), ops.min(x, 1)], axis=-1),
    "casts": lambda x: ops.cast(ops.cast(x, "int32") + 1, "float32"),
}


@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.parametrize("name", COMPUTED)
def test_functions_between_layers_come_back(name, ending, tmp_path):
    inputs = graphc.Input((4, 3))
    model = graphc.Model(inputs, COMPUTED[name](inputs))
    model.save(tmp_path / f"m{ending}")
    again = load_model(tmp_path / f"m{ending}")
    again.save(tmp_path / f"again{ending}")
    x = np.random.default_rng(2).integers(-2, 3, (5, 4, 3)).astype(np.float32)
    for other in (again, load_model(tmp_path / f"again{ending}")):
        np.testing.assert_allclose(other.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("function", [lambda x: ops.cumsum(x, 1), lambda x: ops.tile(x, (1, 2, 1)),
                                      lambda x: x + np.eye(4, 3, dtype="float32")])
def test_functions_that_are_not_written(function, tmp_path):
    inputs = graphc.Input((4, 3))
    with pytest.raises(ValueError, match=r"outside of layers, which can't be written down"):
        graphc.Model(inputs, function(inputs)).save(tmp_path / "m.keras")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("operation", "message"), [
    (called("Diff", "d", [tensor("x")], n=10**7), "doesn't read the operation 'Diff'"),
    (called("Arange", "a", [10**12]), "doesn't read the operation 'Arange'"),
    (called("Exp", "e", [1.0]), "'e' is called without a value of the model"),
])
def test_functions_that_are_not_read(operation, message):
    with pytest.raises(ValueError, match=message):
        graphc.models.model_from_json(described(operation))


# --------------------------------------------------------------------------------------------------------- vocabularies

def looking_up(**options):
    inputs = graphc.Input((4,), dtype="int64")
    lookup = layers.IntegerLookup(num_oov_indices=2, output_mode="multi_hot", **options)
    return graphc.Model(inputs, layers.Dense(2)(lookup(inputs)))


NUMBERS = np.random.default_rng(3).integers(0, 11, (8, 4))


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_integer_lookup(ending, tmp_path):
    model = looking_up(vocabulary=[3, 5, 9])
    model.save(tmp_path / f"m{ending}")
    again = load_model(tmp_path / f"m{ending}")
    np.testing.assert_array_equal(again.predict(NUMBERS, verbose=0), model.predict(NUMBERS, verbose=0))


def test_a_vocabulary_beside_the_weights(tmp_path):
    """Where Keras has that of a layer which was adapted."""
    model = looking_up(vocabulary=[3, 5, 9])
    path = tmp_path / "m.keras"
    model.save(path)
    parts = members(path)
    config = json.loads(parts["config.json"])
    config["config"]["layers"][1]["config"] |= {"vocabulary": None, "oov_method": "floormod", "salt": None}
    parts["config.json"] = json.dumps(config).encode()
    parts["assets/layers/integer_lookup/vocabulary.txt"] = b"-1\n-1\n3\n5\n9"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    again = load_model(path)
    np.testing.assert_array_equal(again.predict(NUMBERS, verbose=0), model.predict(NUMBERS, verbose=0))


def test_a_list_of_one_input_in_a_dict_of_inputs(tmp_path):
    a, b, x, y = (graphc.Input((n,)) for n in (2, 3, 2, 3))
    inner = graphc.Model({"p": a, "q": [b]}, layers.Concatenate()([a, layers.Dense(2)(b)]))
    model = graphc.Model([x, y], inner({"p": x, "q": [y]}))
    data = [X[:, :2], X]
    model.save(tmp_path / "m.h5")
    again = load_model(tmp_path / "m.h5")
    np.testing.assert_array_equal(again.predict(data, verbose=0), model.predict(data, verbose=0))


def test_arguments_of_save(tmp_path):
    """Those of Keras 2 and 3, where they say what the name of the file says."""
    model = graphc.Sequential([graphc.Input((3,)), layers.Dense(2)])
    model.save(tmp_path / "m.h5", save_format="h5")
    model.save(tmp_path / "m.keras", True, zipped=True, save_format="keras")
    assert load_model(tmp_path / "m.h5").count_params() == load_model(tmp_path / "m.keras").count_params() == 8
    for options, message in (({"save_format": "tf"}, "save_format='tf'"), ({"save_format": "h5"}, "save_format='h5'"),
                             ({"zipped": False}, "no folders")):
        with pytest.raises(ValueError, match=message):
            model.save(tmp_path / "m.keras", **options)
    with pytest.raises(ValueError, match="expected a model"):
        graphc.saving.save_model(layers.Dense(2), tmp_path / "m.keras")
    with pytest.raises(FileError, match=r"ends in \.keras"):
        model.save(tmp_path / "m")


@registered
class OwnBuild(graphc.Model):
    """A model that builds its layers itself."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.head = layers.Dense(2)

    def build(self, input_shape):
        self.head.build(input_shape)

    def call(self, x):
        return self.head(x)


def test_a_model_that_was_built_and_never_called(tmp_path):
    model = OwnBuild()
    model.build((None, 3))
    model.save(tmp_path / "m.keras")
    again = load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(again.predict(X, verbose=0), model.predict(X, verbose=0))


def test_a_vocabulary_that_keras_did_not_write_is_missed(tmp_path):
    """Of a lookup that was adapted, a whole-model .h5 file of Keras's has the number of tokens only."""
    model = graphc.Sequential([graphc.Input((2,), dtype="int64"), layers.IntegerLookup(vocabulary_size=4)])
    model.save(tmp_path / "m.h5")
    with pytest.warns(UserWarning, match="has no vocabulary, since Keras's .h5 files"):
        load_model(tmp_path / "m.h5")
