"""Labels, seeds, initializers, data sets, the command line and the import."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest

import graphc
from graphc import initializers
from graphc.__main__ import main
from graphc.datasets import digits, mnist


def test_to_categorical():
    result = graphc.utils.to_categorical([0, 2, 1])
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, [[1, 0, 0], [0, 0, 1], [0, 1, 0]])
    assert graphc.utils.to_categorical(np.zeros((5, 1), np.uint8), num_classes=10).shape == (5, 10)
    assert graphc.utils.to_categorical(np.zeros((5, 2), int), 3).shape == (5, 2, 3)
    for wrong in ([3], [-1], [0.5], ["a"]):
        with pytest.raises(ValueError, match="to_categorical"):
            graphc.utils.to_categorical(wrong, num_classes=3)


def test_seed_fixes_weights():
    def kernel():
        layer = graphc.layers.Dense(4)
        layer(np.zeros((1, 3)))
        return layer.get_weights()[0]

    graphc.utils.set_random_seed(9)
    first, second = kernel(), kernel()
    graphc.utils.set_random_seed(9)
    np.testing.assert_array_equal(kernel(), first)
    assert not np.array_equal(first, second)
    with pytest.raises(ValueError, match="integer"):
        graphc.utils.set_random_seed("nine")


@pytest.mark.parametrize(("name", "shape", "spread", "limit"), [
    ("glorot_uniform", (200, 300), np.sqrt(2 / 500), np.sqrt(6 / 500)),
    ("glorot_normal", (200, 300), np.sqrt(2 / 500), 2 * np.sqrt(2 / 500) / 0.8796),
    ("he_uniform", (200, 300), np.sqrt(2 / 200), np.sqrt(6 / 200)),
    ("he_normal", (3, 3, 50, 100), np.sqrt(2 / 450), 2 * np.sqrt(2 / 450) / 0.8796),
    ("lecun_uniform", (3, 3, 50, 100), np.sqrt(1 / 450), np.sqrt(3 / 450)),
    ("lecun_normal", (200, 300), np.sqrt(1 / 200), 2 * np.sqrt(1 / 200) / 0.8796),
    ("random_normal", (200, 300), 0.05, 1.0),
    ("random_uniform", (200, 300), 0.1 / np.sqrt(12), 0.05),
    ("truncated_normal", (200, 300), 0.05 * 0.8796, 0.1),
])
def test_initializer_spread(name, shape, spread, limit):
    x = initializers.get(name)(shape)
    assert x.dtype == np.float32 and x.shape == shape
    assert x.std() == pytest.approx(spread, rel=0.03) and abs(x).max() <= limit * 1.001 and abs(x.mean()) < spread / 20


def test_initializers_of_one_number_and_own_seed():
    assert (initializers.Constant(3)((2,)) == 3).all() and (initializers.get("ones")((2,)) == 1).all()
    seeded = initializers.HeNormal(seed=4)
    np.testing.assert_array_equal(seeded((3, 3)), seeded((3, 3)))
    again = initializers.get(initializers.serialize(seeded))
    np.testing.assert_array_equal(again((3, 3)), seeded((3, 3)))
    assert isinstance(initializers.glorot_uniform(seed=1), initializers.GlorotUniform)


def test_digits():
    (x, y), (x_test, y_test) = digits.load_data()
    assert (x.shape, x.dtype, x_test.shape) == ((1437, 8, 8), np.uint8, (360, 8, 8))
    assert x.min() == 0 and x.max() == 16 and y.dtype == np.uint8 and set(y_test) == set(range(10))


def test_mnist_from_a_file(tmp_path, monkeypatch):
    arrays = {"x_train": np.zeros((6, 28, 28), np.uint8), "y_train": np.arange(6, dtype=np.uint8),
              "x_test": np.zeros((2, 28, 28), np.uint8), "y_test": np.arange(2, dtype=np.uint8)}
    np.savez(tmp_path / "mnist.npz", **arrays)
    (x, y), (x_test, _) = mnist.load_data(str(tmp_path / "mnist.npz"))
    assert x.shape == (6, 28, 28) and list(y) == list(range(6)) and len(x_test) == 2
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GRAPHC_DATA", str(tmp_path))
    assert mnist.load_data()[0][0].shape == (6, 28, 28)
    np.savez(tmp_path / "mnist.npz", x_train=arrays["x_train"])
    with pytest.raises(ValueError, match="does not hold the arrays"):
        mnist.load_data()
    (tmp_path / "mnist.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(ValueError, match="damaged"):
        mnist.load_data()


def test_mnist_download_is_checked(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("GRAPHC_DATA", raising=False)
    monkeypatch.setattr("urllib.request.urlopen", lambda *a, **k: io.BytesIO(b"something else"))
    with pytest.raises(ValueError, match="SHA-256"):
        mnist.load_data()
    assert [p.name for p in (tmp_path / ".keras" / "datasets").iterdir()] == []


def test_mnist_without_file_and_network(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("GRAPHC_DATA", raising=False)
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(FileNotFoundError, match=r"GRAPHC_DATA.*731c5ac6"):
        mnist.load_data()
    assert [p.name for p in (tmp_path / ".keras" / "datasets").iterdir()] == [], "no half file stays behind"


def test_names_are_reachable_from_the_package():
    code = ("import sys, graphc\n"
            "assert not {'llvmlite', 'networkx'} & sys.modules.keys()\n"
            "print(*(getattr(graphc, name) is not None for name in graphc.__all__))\n"
            "print(sorted(graphc.runtime.counters()), 'llvmlite' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found, counted = done.stdout.splitlines()
    assert set(found.split()) == {"True"}
    assert counted == "['cache_hits', 'kernels_compiled', 'native_calls', 'numpy_fallbacks', 'programs_compiled'] False"


def test_command_line(capsys):
    assert main(["digits", "--epochs", "1", "--batch-size", "64", "--verbose", "2"]) == 0
    out = capsys.readouterr().out
    assert "Epoch 1/1" in out and float(out.rsplit("test accuracy: ", 1)[1]) > 0.2
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0 and "digits" in capsys.readouterr().out


def test_import_is_light_and_reaches_everything():
    code = ("import sys, graphc as keras; "
            "assert not {'llvmlite', 'networkx', 'graphc.ir'} & sys.modules.keys(), 'import graphc must be light'; "
            "keras.layers.Dense, keras.Sequential, keras.models.Sequential, keras.utils.to_categorical; "
            "keras.datasets.mnist.load_data, keras.optimizers.Adam, keras.losses.MeanSquaredError; "
            "keras.metrics.BinaryAccuracy, keras.callbacks.EarlyStopping, keras.initializers.Zeros; "
            "keras.activations.relu, keras.ops.matmul, keras.Input; "
            "from graphc.layers import Convolution2D; from graphc.models import Sequential")
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_names_of_the_package():
    with pytest.raises(AttributeError, match="nothing"):
        graphc.nothing  # noqa: B018
    with pytest.raises(AttributeError, match="Did you mean 'cifar10'"):
        graphc.datasets.cifar11  # noqa: B018
    assert {"layers", "Sequential", "config"} <= set(dir(graphc))
