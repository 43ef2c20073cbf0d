"""Keras scripts run unchanged by `graphc run`, and with their import lines changed; what graphc lacks says so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import cases_data as cases
import pytest

import graphc
from graphc.__main__ import main

TESTS = Path(__file__).parents[1]
TUTORIALS = sorted((TESTS / "tutorials").glob("*.py"))

@pytest.fixture(scope="session")
def keras_home(tmp_path_factory):
    """Keras's cache folder with a few rows of each data set."""
    import numpy as np

    home = tmp_path_factory.mktemp("keras")
    cases.write(home, 16)
    rng = np.random.default_rng(1)
    np.savez(home / "datasets" / "mnist.npz", **{
        f"{kind}_{part}": array for part, rows in (("train", 150), ("test", 30))
        for kind, array in (("x", rng.integers(0, 256, (rows, 28, 28), np.uint8)),
                            ("y", np.arange(rows, dtype=np.uint8) % 10))})
    return home


def run(*arguments, home, folder, backend="native"):
    environment = os.environ | {"KERAS_HOME": str(home), "GRAPHC_CACHE": "off", "GRAPHC_BACKEND": backend}
    environment.pop("GRAPHC_DATA", None)
    return subprocess.run([sys.executable, "-W", "error::UserWarning", *map(str, arguments)], cwd=folder,
                          env=environment, text=True, capture_output=True, stdin=subprocess.DEVNULL)


ENDINGS = {"building": (".keras", ".h5")}
RUNS = [pytest.param(script, ending, id=script.stem + ending) for script in TUTORIALS
        for ending in ENDINGS.get(script.stem, ("",))]


@pytest.mark.parametrize(("script", "ending"), [r for r in RUNS if r.id != "building.h5"])
def test_tutorial_unchanged(script, ending, keras_home, tmp_path):
    done = run("-m", "graphc", "run", script, ending, home=keras_home, folder=tmp_path, backend="numpy")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    said, *rest = done.stderr.splitlines()
    assert said == f"graphc run: in this process keras and tensorflow.keras are graphc {graphc.__version__}"
    assert not rest, "nothing else on stderr"


def changed(source):
    """A script with its import lines changed."""
    for before, after in ((r"from tensorflow import keras\b", "import graphc as keras"),
                          (r"import tensorflow as tf.*\n", ""), (r"from tensorflow\.keras\b", "from graphc"),
                          (r"^from keras\b", "from graphc")):
        source = re.sub(before, after, source, flags=re.M)
    assert "tensorflow" not in source and "from keras" not in source
    return source


@pytest.mark.slow
@pytest.mark.parametrize(("script", "ending"), RUNS)
def test_tutorial_with_its_imports_changed(script, ending, keras_home, tmp_path):
    (tmp_path / "script.py").write_text(changed(script.read_text()))
    done = run("script.py", ending, home=keras_home, folder=tmp_path)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


IMPORTS = """
import keras
import keras.layers
import keras.backend as K
import tensorflow as tf
import tensorflow.keras.layers as L
from keras import Input, Model, Sequential, backend, layers, ops
from keras.callbacks import EarlyStopping
from keras.datasets import boston_housing, cifar10, imdb
from keras.engine.topology import Layer
from keras.layers.convolutional import Conv2D
from keras.layers.core import Dense, Dropout
from keras.layers import *
from keras.models import load_model, save_model
from keras.optimizers.legacy import SGD
from keras.preprocessing.image import ImageDataGenerator
from keras.preprocessing.sequence import pad_sequences
from keras.preprocessing.text import Tokenizer
from keras.utils.np_utils import to_categorical
from tensorflow import keras as second
from tensorflow.keras import backend as K2, layers as layers2
from tensorflow.keras.layers.experimental.preprocessing import Rescaling
from tensorflow.keras.optimizers import Adam
from tensorflow.keras.preprocessing.image import img_to_array
from tensorflow.keras.utils import set_random_seed
import graphc

assert Dense is graphc.layers.Dense is L.Dense is layers.Dense is tf.keras.layers.Dense is layers2.Dense
assert second.Sequential is Sequential is graphc.Sequential and Layer is graphc.layers.Layer
assert keras.layers.core.Dense is Dense and keras.utils.np_utils.to_categorical is to_categorical
assert K.epsilon() == 1e-7 and K.image_data_format() == "channels_last" and K.backend() == "graphc"
assert keras.__version__.split(".")[0] == "3" and tf.__version__.split(".")[0] == "2" and keras.version()
assert tf.config.list_physical_devices("GPU") == [] and tf.constant([1.0, 2.0]).dtype == tf.float32
assert tf.convert_to_tensor([1, 2]).dtype == tf.int32 and tf.zeros((2, 3)).shape == (2, 3)
tf.random.set_seed(3)
first = tf.random.normal((3,))
tf.random.set_seed(3)
assert (tf.random.normal((3,)) == first).all()
assert "Dense" in dir(keras.layers) and keras.config.floatx() == "float32" and "graphc.layers" in repr(keras.layers)
"""

LACKING = [
    ("from keras.layers import Dens", "ImportError", "has no keras.layers.Dens. Did you mean 'Dense'?"),
    ("import keras; keras.layers.Dens", "AttributeError", "has no keras.layers.Dens. Did you mean 'Dense'?"),
    ("import keras.src.layers", "ImportError", "has no keras.src. That is the inside of keras"),
    ("from keras.src import layers", "ImportError", "inside of keras"),
    ("from tensorflow.python.keras import layers", "ImportError", "inside of tensorflow"),
    ("from keras.applications import VGG16", "ImportError", "has no keras.applications. Build the network"),
    ("from tensorflow.keras import mixed_precision", "ImportError", "graphc computes in float32"),
    ("import tensorflow as tf; tf.data.Dataset", "AttributeError", "tensorflow.data"),
    ("import tensorflow as tf; tf.keras.nothing", "AttributeError", "has no tensorflow.keras.nothing"),
    ("from keras.datasets import mnst", "ImportError", "Did you mean 'mnist'?"),
]


def test_every_form_of_import(tmp_path):
    lines = [IMPORTS, "def fails(code):\n    try:\n        exec(code, {})\n    except Exception as error:\n"
             "        return f'{type(error).__name__}: {error}'\n    return 'no error'\n"]
    lines += [f"print(fails({code!r}))" for code, *_ in LACKING]
    (tmp_path / "script.py").write_text("\n".join(lines))
    done = run("-m", "graphc", "run", "script.py", home=tmp_path, folder=tmp_path)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    said = done.stdout.splitlines()
    assert len(said) == len(LACKING)
    for line, (code, kind, message) in zip(said, LACKING, strict=True):
        assert line.startswith(f"{kind}: graphc, which stands for ") and message in line, (code, line)


FUNCTIONS = """
import numpy as np
import tensorflow as tf

assert float(tf.reduce_mean(tf.constant([1.0, 3.0]))) == 2 and tf.reduce_sum(np.ones((2, 3)), axis=1).shape == (2,)
assert tf.cast([1.5, 2.5], tf.int32).tolist() == [1, 2] and tf.nn.relu(np.array([-1.0, 1.0])).tolist() == [0, 1]
assert tf.concat([np.ones((2, 1)), np.zeros((2, 1))], axis=-1).shape == (2, 2) and tf.math.log(1.0) == 0
assert float(tf.random.uniform((3,), seed=1).max()) < 1 and tf.reshape(np.arange(6), (2, 3)).shape == (2, 3)

@tf.function
def huber(y_true, y_pred):
    error = tf.abs(y_true - y_pred)
    return tf.reduce_mean(tf.where(error < 1.0, 0.5 * tf.square(error), error - 0.5), axis=-1)

class Norm(tf.keras.layers.Layer):
    def call(self, inputs):
        return inputs / tf.sqrt(tf.reduce_sum(tf.square(inputs), axis=-1, keepdims=True))

model = tf.keras.Sequential([tf.keras.layers.Dense(4, input_shape=(3,)), Norm(), tf.keras.layers.Dense(1)])
model.compile(tf.keras.optimizers.Adam(), loss=huber, metrics=[tf.keras.metrics.MeanAbsoluteError()])
x = tf.random.normal((16, 3))
assert model.fit(x, tf.zeros((16, 1)), verbose=0).history["loss"][0] > 0
tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)
tf.get_logger().setLevel("ERROR")
for gpu in tf.config.experimental.list_physical_devices("GPU"):
    tf.config.experimental.set_memory_growth(gpu, True)
windows = tf.keras.utils.timeseries_dataset_from_array(x, np.zeros(16), 4, batch_size=4).prefetch(tf.data.AUTOTUNE)
with tf.device("/CPU:0"), tf.name_scope("part"):
    assert len(windows) == 4
try:
    tf.GradientTape
except AttributeError as error:
    print(error)
"""


@pytest.mark.slow
def test_functions_of_tensorflow(tmp_path):
    (tmp_path / "script.py").write_text(FUNCTIONS)
    done = run("-m", "graphc", "run", "script.py", home=tmp_path, folder=tmp_path)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "graphc.value_and_grad" in done.stdout


@pytest.mark.slow
def test_old_scikit_learn_wrappers(tmp_path):
    pytest.importorskip("sklearn", reason="the wrappers need scikit-learn")
    (tmp_path / "script.py").write_text("from keras.wrappers.scikit_learn import KerasClassifier, KerasRegressor\n"
                                        "from tensorflow.keras.wrappers.scikit_learn import KerasClassifier as other\n"
                                        "assert other is KerasClassifier")
    done = run("-m", "graphc", "run", "script.py", home=tmp_path, folder=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_script_gets_its_arguments_and_its_errors(tmp_path):
    (tmp_path / "beside.py").write_text("value = 3")
    (tmp_path / "script.py").write_text("import sys, beside\nprint(sys.argv, __name__, beside.value)\n"
                                        "def f():\n    raise KeyError('mine')\nf()\n")
    done = run("-m", "graphc", "run", "script.py", "--epochs", "3", home=tmp_path, folder=tmp_path)
    assert done.returncode == 1 and done.stdout == "['script.py', '--epochs', '3'] __main__ 3\n"
    said = done.stderr.splitlines()[1:]
    assert said[0].startswith("Traceback") and 'File "script.py", line 5' in said[1] and said[-1] == "KeyError: 'mine'"
    (tmp_path / "leaves.py").write_text("import sys\nsys.exit(7)")
    assert run("-m", "graphc", "run", "leaves.py", home=tmp_path, folder=tmp_path).returncode == 7


def test_errors_of_the_command(capsys):
    assert main(["run", "nowhere.py"]) == 2
    assert "There is no file 'nowhere.py'" in capsys.readouterr().err
    with pytest.raises(ValueError, match="expected 'keras'"):
        graphc.install_as("torch")


def test_a_real_package_that_is_imported_already_stays():
    code = ("import sys, types\nsys.modules['keras'] = types.ModuleType('keras')\nimport graphc\n"
            "try:\n    graphc.install_as('keras')\nexcept RuntimeError as error:\n    print(error)\n"
            "graphc.install_as('tensorflow.keras')\nfrom tensorflow.keras.layers import Dense\nprint(Dense.__module__)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert "imported already" in first and second.startswith("graphc.layers")


def test_everything_is_reached_from_the_root():
    """`import graphc as keras` is enough: no submodule has to be imported first."""
    code = ("import graphc as keras\n"
            "for name in ('layers.Dense', 'models.Sequential', 'datasets.imdb.load_data', 'callbacks.EarlyStopping',\n"
            "             'utils.to_categorical', 'preprocessing.text.Tokenizer', 'preprocessing.image.load_img',\n"
            "             'preprocessing.image_dataset_from_directory', 'random.normal', 'config.floatx', 'Variable',\n"
            "             'backend.epsilon', 'regularizers.L2', 'constraints.MaxNorm', 'initializers.Zeros', 'Loss',\n"
            "             'Metric', 'Optimizer', 'Initializer', 'Regularizer', 'KerasTensor', 'version', 'Input'):\n"
            "    found = keras\n"
            "    for part in name.split('.'):\n"
            "        found = getattr(found, part)\n"
            "with keras.config(backend='numpy'):\n    pass\n"
            "x = keras.Input((3,))\n"
            "assert isinstance(x, keras.KerasTensor) and keras.utils.is_keras_tensor(x)\n"
            "import sys; assert 'llvmlite' not in sys.modules and 'sklearn' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_keras_sets_and_graphc_has_one_value_of():
    config = graphc.config
    config.set_floatx("float32")
    config.set_epsilon(1e-7)
    config.set_image_data_format("channels_last")
    config.set_dtype_policy("float32")
    for call, value in ((config.set_floatx, "float16"), (config.set_image_data_format, "channels_first"),
                        (config.set_epsilon, 1e-3), (config.set_dtype_policy, "mixed_float16")):
        with pytest.raises(ValueError, match="graphc has only"):
            call(value)
    with pytest.raises(AttributeError, match="float32"):
        graphc.mixed_precision  # noqa: B018
