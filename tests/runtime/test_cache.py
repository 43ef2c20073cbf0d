"""The compile cache: what a second process finds, and what it must not trust."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from graphc.runtime import cache
from graphc.runtime.cache import Cache, digest, open_cache

TRAIN = """
import json
import sys

import numpy as np

import graphc
from graphc.layers import Dense, Dropout
from graphc.runtime import counters

graphc.utils.set_random_seed(3)
model = graphc.Sequential([Dense(9, activation="relu", input_shape=(5,)), Dropout(0.2), Dense(int(sys.argv[1]))])
model.compile("adam", loss="mse")
x = np.linspace(-1, 1, 60, dtype="float32").reshape(12, 5)
losses = [float(model.train_on_batch(x, x[:, :int(sys.argv[1])])) for _ in range(3)]
print(json.dumps({**counters(), "losses": losses, "weights": [w.numpy().tolist() for w in model.weights]}))
"""


def train(folder, outputs=2, **environment):
    """Counters and results of a process that trains a small model."""
    done = subprocess.run([sys.executable, "-c", TRAIN, str(outputs)], capture_output=True, text=True, check=True,
                          env={**os.environ, "GRAPHC_CACHE": str(folder), **environment})
    return json.loads(done.stdout)


def results(made):
    return made["losses"], made["weights"]


@pytest.fixture(autouse=True)
def native():
    if os.environ.get("GRAPHC_BACKEND") == "numpy":
        pytest.skip("nothing is compiled with GRAPHC_BACKEND=numpy")


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A folder that one process has filled, and what it found."""
    made = tmp_path_factory.mktemp("filled") / "cache"
    return made, train(made)


@pytest.fixture
def folder(filled, tmp_path):
    """A copy of that folder, for a test to change."""
    made, found = filled
    return shutil.copytree(made, tmp_path / "cache"), found


def test_a_second_process_compiles_nothing(folder):
    path, first = folder
    assert first["kernels_compiled"] > 0 and first["cache_hits"] == 0
    second = train(path)
    assert second["kernels_compiled"] == 0
    assert second["cache_hits"] == first["kernels_compiled"] + 1  # and the step
    assert second["native_calls"] == first["native_calls"]
    assert results(second) == results(first)
    assert path.stat().st_mode & 0o777 == 0o700


@pytest.mark.slow
def test_another_model_finds_the_kernels_that_it_shares(folder):
    path, first = folder
    other = train(path, outputs=3)
    assert 0 < other["kernels_compiled"] < first["kernels_compiled"]
    assert other["cache_hits"] == first["kernels_compiled"] - other["kernels_compiled"]


@pytest.mark.parametrize("damage", [
    pytest.param(lambda data: data[:len(data) // 2], id="truncated", marks=pytest.mark.slow),
    pytest.param(lambda data: b"", id="empty", marks=pytest.mark.slow),
    pytest.param(lambda data: data + b"x", id="longer", marks=pytest.mark.slow),
    pytest.param(lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:], id="one bit")])
def test_damaged_files_are_compiled_again(folder, damage):
    path, first = folder
    whole = {p: p.read_bytes() for p in path.iterdir()}
    for p, data in whole.items():
        p.write_bytes(damage(data))
    second = train(path)
    assert second["kernels_compiled"] == first["kernels_compiled"] and second["cache_hits"] == 0
    assert results(second) == results(first)
    assert train(path)["kernels_compiled"] == 0


@pytest.mark.slow
def test_a_file_under_another_name_is_no_entry(folder):
    path, first = folder
    files = sorted(path.iterdir())
    contents = [p.read_bytes() for p in files]
    for p, data in zip(files, contents[1:] + contents[:1], strict=True):
        p.write_bytes(data)
    assert train(path)["kernels_compiled"] == first["kernels_compiled"]


@pytest.mark.slow
def test_a_lost_kernel_is_compiled_again_and_no_other(folder):
    path, first = folder
    kernels = [p for p in path.iterdir() if b"einsum" in p.read_bytes()[:64]]
    kernels[0].unlink()
    second = train(path)
    assert second["kernels_compiled"] == 1 and second["cache_hits"] == first["kernels_compiled"] - 1
    assert train(path)["kernels_compiled"] == 0


@pytest.mark.slow
def test_two_processes_at_once(tmp_path):
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(lambda _: train(tmp_path / "cache"), range(2))
    assert results(one) == results(two)
    third = train(tmp_path / "cache")
    assert third["kernels_compiled"] == 0 and results(third) == results(one)
    assert not [p for p in (tmp_path / "cache").iterdir() if p.name.startswith(".")]


@pytest.mark.slow
def test_code_is_not_shared_between_cpus(folder):
    path, _ = folder
    other = "x86-64-v2"
    if os.uname().machine != "x86_64" or os.environ.get("GRAPHC_CPU") == other:
        pytest.skip("needs a CPU with another level")
    assert train(path, GRAPHC_CPU=other)["cache_hits"] == 0


@pytest.mark.slow
def test_the_switch_turns_it_off(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for _ in range(2):
        made = train("off")
        assert made["kernels_compiled"] > 0 and made["cache_hits"] == 0
    assert list(tmp_path.iterdir()) == []
    assert train("", XDG_CACHE_HOME=str(tmp_path))["kernels_compiled"] > 0
    assert [p.name for p in tmp_path.iterdir()] == ["graphc"]


def test_a_folder_that_others_can_write_to_is_not_used(tmp_path):
    tmp_path.chmod(0o777)
    with pytest.warns(RuntimeWarning, match="only its user can write"):
        assert open_cache(str(tmp_path)) is None


def test_a_folder_that_is_no_folder_is_not_used(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(RuntimeWarning, match="compile cache"):
        assert open_cache(str(tmp_path / "file")) is None
    assert Cache(tmp_path / "file").put("key", b"value") is False


def test_the_default_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "here"))
    opened = open_cache("")
    assert opened is not None and opened.folder == tmp_path / "here" / "graphc"
    assert not opened.folder.exists()  # before there is something to keep


def test_a_changed_compiler_is_another_compiler(tmp_path, monkeypatch):
    (tmp_path / "passes.py").write_text("x = 1")

    class Layer:
        __path__ = (str(tmp_path),)

    monkeypatch.setattr(cache, "import_module", lambda name: Layer)
    seen = []
    for source in ("x = 1", "x = 2"):
        (tmp_path / "passes.py").write_text(source)
        seen.append(cache.sources.__wrapped__())
    assert seen[0] != seen[1] and None not in seen
    (tmp_path / "passes.py").unlink()
    assert cache.sources.__wrapped__() is None  # and without source there is no cache


def test_keys_tell_parts_apart():
    assert len({digest("a", "bc"), digest("ab", "c"), digest("abc"), digest("abc", "")}) == 4


def test_the_entries_used_longest_ago_go_first(tmp_path):
    store = Cache(tmp_path, limit=10_000)
    for k in range(12):
        assert store.put(f"key{k}", bytes(900))
        os.utime(tmp_path / f"key{k}", (1000 + k, 1000 + k))
    assert store.get("key0") == bytes(900)  # now the one used last
    left = tmp_path / ".left"
    left.write_text("by a process that was ended")
    os.utime(left, (1000, 1000))
    store.trim()
    kept = {p.name for p in tmp_path.iterdir()}
    assert kept == {"key0", *(f"key{k}" for k in range(6, 12))}
    store.trim()
    assert {p.name for p in tmp_path.iterdir()} == kept


def test_values_are_kept_as_they_are(tmp_path):
    store = Cache(tmp_path / "new")
    assert store.get("key") is None
    for value in (b"", b"\n\0\xff", os.urandom(1000)):
        assert store.put("key", value) and store.get("key") == value
    assert store.get("another") is None
    assert time.time() - (tmp_path / "new" / "key").stat().st_mtime < 60


@pytest.mark.slow
def test_perf_finds_the_names(tmp_path):
    code = TRAIN + """
import os
lines = [line.split() for line in open(f"/tmp/perf-{os.getpid()}.map")]
os.unlink(f"/tmp/perf-{os.getpid()}.map")
print(json.dumps(lines))
"""
    for _ in range(2):  # compiled, and from the cache
        done = subprocess.run([sys.executable, "-c", code, "2"], capture_output=True, text=True, check=True,
                              env={**os.environ, "GRAPHC_CACHE": str(tmp_path / "cache"), "GRAPHC_PERF": "1"})
        made, lines = map(json.loads, done.stdout.splitlines())
        places = sorted((int(start, 16), int(size, 16), name) for start, size, name in lines)
        assert len(places) == made["kernels_compiled"] + made["cache_hits"] + (made["cache_hits"] == 0)
        assert all(size > 0 for _, size, _ in places)
        assert all(a + size <= b for (a, size, _), (b, _, _) in pairwise(places))
        names = [name.split(".")[0] for _, _, name in places]
        assert "train_0" in names and any(name.startswith("einsum") for name in names)
