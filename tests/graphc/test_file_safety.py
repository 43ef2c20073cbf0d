"""Files that are replaced whole, whatever the disk says, and what no file may do, whoever wrote it.

What hostile files are refused for one by one is in test_saving and test_saving_h5, too; test_file_fuzz damages files at
random, test_interruptions kills processes that write them.
"""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import stat
import tempfile
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from children import child, forks
from damage import FIRST, replaced

import graphc
from graphc import callbacks, layers
from graphc.__main__ import main
from graphc.saving import FileError, load_model

FILES = Path(__file__).parents[1] / "fixtures" / "files"
X = np.zeros((4, 3), np.float32)
pytestmark = [pytest.mark.usefixtures("reference_backend"),
              pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")]
posix = pytest.mark.skipif(os.name != "posix", reason="modes and devices of POSIX systems")


def small(units=2):
    return graphc.Sequential([layers.Dense(units, input_shape=(3,), name="dense")], name="small")


def save(model, path):
    (model.save_weights if path.name.endswith(".weights.h5") else model.save)(path)


NAMES = ["m.keras", "m.h5", "m.weights.h5"]


# ----------------------------------------------------------------------------------------------- a disk's refusals

@forks
@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk_leaves_the_old_file(name, tmp_path):
    """A process that may write no more than 1,000 bytes to a file stands for a full disk."""
    path = tmp_path / name
    save(small(), path)
    before = path.read_bytes()

    def body(tell):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        with pytest.raises(FileError, match=rf"{name} can't be written: File too large\. What was there is as it was"):
            save(small(5), path)

    with child(body) as writer:
        assert writer.end() == 0
    assert path.read_bytes() == before and os.listdir(tmp_path) == [name]


@forks
def test_a_full_disk_leaves_the_last_backup(tmp_path):
    def fit(epochs):
        model = small(1)
        model.compile("sgd", "mse")
        return model.fit(X, X[:, :1], epochs=epochs, verbose=0, callbacks=[
            callbacks.BackupAndRestore(tmp_path / "b", delete_checkpoint=False)])

    fit(1)
    before = (tmp_path / "b" / "training.npz").read_bytes()

    def body(tell):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        with pytest.raises(FileError, match=r"training\.npz can't be written"):
            fit(2)

    with child(body) as writer:
        assert writer.end() == 0
    assert (tmp_path / "b" / "training.npz").read_bytes() == before and fit(2).epoch == [0, 1]


@pytest.fixture
def open_folder():
    """A folder that other users can look into, as those of pytest can't be."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        if os.geteuid() == 0 and not all(p.stat().st_mode & 1 for p in Path(folder).parents):
            pytest.skip("the folder for temporary files is closed to other users")
        yield Path(folder)


@posix
@pytest.mark.parametrize("name", NAMES)
def test_a_folder_that_nobody_may_write_to(name, open_folder):
    path, closed = open_folder / "closed" / name, open_folder / name
    path.parent.mkdir()
    save(small(), closed)
    closed.chmod(0o444)
    save(small(), path)
    before = path.read_bytes()
    path.chmod(0o666)
    path.parent.chmod(0o555)

    def body(tell):
        if os.geteuid() == 0:  # who may write anywhere
            os.setgid(65534)
            os.setuid(65534)
        with pytest.raises(FileError, match=rf"{name} can't be written: Permission denied"):
            save(small(5), path)
        with pytest.raises(FileError, match=rf"{name} can't be written: the file may not be changed"):
            save(small(5), closed)

    with child(body) as writer:
        assert writer.end() == 0
    path.parent.chmod(0o700)
    assert path.read_bytes() == before


@posix
def test_modes_and_links_stay(tmp_path):
    path, link, nowhere = tmp_path / "m.keras", tmp_path / "link.keras", tmp_path / "new.keras"
    small().save(path)
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    path.chmod(0o640)
    link.symlink_to(path)
    small(3).save(link)
    assert link.is_symlink() and load_model(path).output_shape == (None, 3)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    link.unlink()
    link.symlink_to(nowhere)
    small().save(link)
    assert link.is_symlink() and load_model(nowhere).built
    link.unlink()
    link.symlink_to(link)
    with pytest.raises(FileError, match=r"link\.keras can't be written"):
        small().save(link)


@posix
def test_what_is_no_file_is_not_replaced(tmp_path):
    (tmp_path / "folder.keras").mkdir()
    os.mkfifo(tmp_path / "pipe.keras")
    for name, what in (("folder", "a folder"), ("pipe", "no ordinary file")):
        with pytest.raises(FileError, match=rf"{name}\.keras can't be written: it is {what}"):
            small().save(tmp_path / f"{name}.keras")
    (tmp_path / "null.keras").symlink_to("/dev/null")
    with pytest.raises(FileError, match="no ordinary file"):
        small().save(tmp_path / "null.keras")
    with pytest.raises(FileError, match="No such file or directory"):
        small().save(tmp_path / "nowhere" / "m.keras")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@forks
def test_saves_of_one_file_at_once(tmp_path):
    """One save doesn't take what another one writes for left over."""
    path = tmp_path / "m.keras"
    models = [small(2), small(3)]

    def body(tell):
        for i in range(20):
            models[i % 2].save(path)

    with child(body) as first, child(body) as second:
        assert first.end() == second.end() == 0
    assert load_model(path).built and os.listdir(tmp_path) == ["m.keras"]


def test_what_a_kill_left_is_removed_by_the_next_save(tmp_path):
    for left in (".m.keras.0123abcd.new", ".m.keras.ffffffff.new"):
        (tmp_path / left).write_bytes(b"half")
    others = {".other.keras.0123abcd.new", ".m.keras.new", "m.keras.0123abcd.new"}
    for name in others:
        (tmp_path / name).write_bytes(b"mine")
    small().save(tmp_path / "m.keras")
    assert set(os.listdir(tmp_path)) == others | {"m.keras"}


# ----------------------------------------------------------------------------------------------- files of others

def rewritten(path, config=None, weights=None, source="adam.keras"):
    """A file of Keras's with the configuration or the weights changed in place."""
    with zipfile.ZipFile(FILES / source) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    if config is not None:
        value = json.loads(parts["config.json"])
        parts["config.json"] = json.dumps(config(value) or value).encode()
    if weights is not None:
        data = io.BytesIO(parts["model.weights.h5"])
        with h5py.File(data, "r+") as file:
            weights(file)
        parts["model.weights.h5"] = data.getvalue()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


def layer(class_name, config, **more):
    """Put a layer in the place of the first."""
    def change(value):
        value["config"]["layers"][1].update({"class_name": class_name, "config": {"name": "evil", **config}, **more})
    return change


BYTECODE = {"class_name": "__lambda__", "config": {"code": "4wEAAAAAAAAAAAAAAAAAAAA=", "defaults": None}}
HOSTILE = {
    # CVE-2024-3660 and keras#23048
    "bytecode in a Lambda": (layer("Lambda", {"function": BYTECODE}), "bytecode of a lambda, which is never run"),
    "bytecode as Keras 2 wrote it": (layer("Lambda", {"function": ["4wEAAAAA", None, None],
                                                      "function_type": "lambda"}), "evil"),
    "bytecode as an activation": (layer("Dense", {"units": 6, "activation": BYTECODE}), "bytecode of a lambda"),
    "bytecode as an initializer": (layer("Dense", {"units": 6, "kernel_initializer": BYTECODE}), "bytecode"),
    # CVE-2025-1550, CVE-2025-8747, CVE-2025-9906
    "a function of a module": (layer("Lambda", {"function": {
        "module": "os", "class_name": "function", "config": "system", "registered_name": "system"}}),
        "no function 'system'"),
    "a helper that downloads": (layer("Lambda", {"function": {
        "module": "keras.utils", "class_name": "function", "config": "get_file", "registered_name": "get_file"},
        "arguments": {"origin": "http://example.com"}}), "no function 'get_file'"),
    "a switch of safety": (layer("Lambda", {"function": {
        "module": "keras.config", "class_name": "function", "config": "enable_unsafe_deserialization",
        "registered_name": None}}), "no function 'enable_unsafe_deserialization'"),
    "a class of a module": (layer("Popen", {"args": "true"}, module="subprocess"), "no layer class 'Popen'"),
    "an attribute's path": (layer("layers.Dense.__init__.__globals__", {}), "no layer class"),
    # CVE-2025-49655, CVE-2026-1462
    "TorchModuleWrapper": (layer("TorchModuleWrapper", {"module": "gASV"}), "no layer class 'TorchModuleWrapper'"),
    "TFSMLayer": (layer("TFSMLayer", {"filepath": "/etc"}), "no layer class 'TFSMLayer'"),
    "JaxLayer": (layer("JaxLayer", {"call_fn": BYTECODE}), "no layer class 'JaxLayer'"),
    "FlaxLayer": (layer("FlaxLayer", {"module": BYTECODE}), "no layer class 'FlaxLayer'"),
    # CVE-2025-12058
    "a vocabulary's path": (layer("StringLookup", {"vocabulary": "/etc/passwd"}), "vocabulary '/etc/passwd'"),
    "a vocabulary's address": (layer("TextVectorization", {"vocabulary": "http://example.com/a"}), "vocabulary 'http"),
    "a vocabulary inside another layer": (layer("TimeDistributed", {"layer": {
        "class_name": "IntegerLookup", "config": {"vocabulary": "/etc/passwd"}}}), "vocabulary '/etc/passwd'"),
    # sizes
    "units without end": (layer("Dense", {"units": 10**12}), "asks for a weight"),
    "units beyond integers": (layer("Dense", {"units": 10**400}), "asks for a weight"),
    "a table without end": (layer("Embedding", {"input_dim": 2**40, "output_dim": 2**20}), "asks for a weight"),
    "negative units": (layer("Dense", {"units": -5}), "positive integer"),
    "a stack that is deep": (lambda value: nested(value, 250), "RecursionError"),
    "a type that isn't there": (layer("Dense", {"units": 6, "dtype": "object"}), "dtype"),
}


def nested(value, depth):
    inner = value["config"]["layers"]
    for i in range(depth):
        inner = [{"class_name": "Sequential", "config": {"name": f"s{i}", "layers": inner}}]
    value["config"]["layers"] = inner


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_configuration_is_refused(case, tmp_path):
    change, message = HOSTILE[case]
    with pytest.raises(FileError, match=message) as caught:
        load_model(rewritten(tmp_path / "m.keras", change))
    assert "m.keras" in str(caught.value)


def graph_of(value, changes):
    """A functional model whose layers' inputs are written down."""
    def tensor(name):
        return {"class_name": "__keras_tensor__", "config": {"shape": [None, 4], "dtype": "float32",
                                                              "keras_history": [name, 0, 0]}}

    def dense(name, source, **more):
        return {"class_name": "Dense", "name": name, "config": {"name": name, "units": 4},
                "inbound_nodes": [{"args": [tensor(source)], "kwargs": {}}], **more}

    layers_of = [{"class_name": "InputLayer", "name": "in", "config": {"name": "in", "batch_shape": [None, 4]},
                  "inbound_nodes": []}, dense("a", "in"), dense("b", "a")]
    config = {"name": "m", "layers": layers_of, "input_layers": ["in", 0, 0], "output_layers": ["b", 0, 0]}
    changes(config, dense, tensor)
    return {"class_name": "Functional", "config": config}


GRAPHS = {
    "a circle": (lambda c, dense, t: c["layers"].__setitem__(1, dense("a", "b")), "on values that no layer gives"),
    "a layer of itself": (lambda c, dense, t: c["layers"].__setitem__(1, dense("a", "a")), "that no layer gives"),
    "a layer that isn't there": (lambda c, dense, t: c["layers"].__setitem__(2, dense("b", "z")), "no layer gives"),
    "an end that isn't there": (lambda c, dense, t: c.update(output_layers=["z", 0, 0]), "ends at"),
    "a call that isn't there": (lambda c, dense, t: c.update(output_layers=["b", 7, 0]), "ends at"),
    "a place below zero": (lambda c, dense, t: c.update(output_layers=["b", 0, -1]), "ends at"),
    "no arguments": (lambda c, dense, t: c["layers"][1].update(inbound_nodes=[{}]), "args"),
    "one layer twice": (lambda c, dense, t: c["layers"].append(dense("a", "b")), "a"),
    "a function as an operation": (lambda c, dense, t: c["layers"].append({
        "module": "keras.src.ops.numpy", "class_name": "Fromfile", "name": "x", "config": {"name": "x"},
        "inbound_nodes": [{"args": [t("a")], "kwargs": {"file": "/etc/passwd"}}]}), "the operation 'Fromfile'"),
}


@pytest.mark.parametrize("case", GRAPHS)
def test_a_hostile_graph_is_refused(case, tmp_path):
    changes, message = GRAPHS[case]
    with pytest.raises(FileError, match=message):
        load_model(rewritten(tmp_path / "m.keras", lambda value: graph_of(value, changes)))


def test_shared_objects_are_made_anew(tmp_path):
    """A `shared_object_id` refers to nothing: objects are what their own descriptions say."""
    def share(value):
        for described in value["config"]["layers"]:
            described["shared_object_id"] = 1
        for described in value["config"]["layers"][1:]:
            described["config"]["kernel_initializer"] = {"class_name": "Zeros", "config": {}, "shared_object_id": 1}

    path = rewritten(tmp_path / "m.keras", share)
    model, whole = load_model(path), load_model(FILES / "adam.keras")
    assert [w.shape for w in model.weights] == [w.shape for w in whole.weights]
    assert len({id(w) for w in model.weights}) == len(whole.weights)


def test_a_file_calls_no_functions_of_the_user(tmp_path):
    def called(**options):
        raise AssertionError("it was called")

    path = rewritten(tmp_path / "m.keras", layer("mine", {"command": "x"}))
    with pytest.raises(FileError, match="a file calls no functions"):
        load_model(path, {"mine": called})


# ----------------------------------------------------------------------------------------------- arrays and archives



def cyclic(file):
    file["layers/dense/vars/again"] = file["layers"]


ARRAYS = {
    # CVE-2026-1669
    "a file beside it, chained": (replaced(FIRST, lambda f, n: f.create_dataset(n, (4, 6), "f4", external=[
        ("/etc/passwd", 0, 40), ("/etc/hosts", 0, h5py.h5f.UNLIMITED)])), "in other files"),
    "a view of another file": (replaced(FIRST, lambda f, n: f.create_virtual_dataset(n, view())), "in other files"),
    "a link on the way": (replaced("layers", lambda f, n: f.__setitem__(n, h5py.SoftLink("/optimizer"))), "is a link"),
    "a link to a path": (replaced("layers/dense", lambda f, n: f.__setitem__(n, h5py.ExternalLink(
        "/etc/passwd", "/"))), "is a link"),
    # CVE-2026-0897
    "a shape without end": (replaced(FIRST, lambda f, n: f.create_dataset(n, (1 << 50,), "f4")), "expected f32"),
    "a shape without end, packed": (replaced(FIRST, lambda f, n: f.create_dataset(
        n, (1 << 20, 1 << 20), "f4", chunks=(1, 1024), compression="gzip", fillvalue=1)), "in pieces"),
    "references": (replaced(FIRST, lambda f, n: f.create_dataset(n, (4, 6), h5py.ref_dtype)), "type object"),
    "texts": (replaced(FIRST, lambda f, n: f.create_dataset(n, (4, 6), h5py.string_dtype())), "type object"),
    "rows of any length": (replaced(FIRST, lambda f, n: f.create_dataset(n, (4, 6), h5py.vlen_dtype("f4"))), "object"),
    "records": (replaced(FIRST, lambda f, n: f.create_dataset(n, (4, 6), [("a", "f4")])), "type"),
    "complex numbers": (replaced(FIRST, lambda f, n: f.create_dataset(n, (4, 6), "c8")), "type complex64"),
    "nothing": (replaced(FIRST, lambda f, n: f.create_dataset(n, data=h5py.Empty("f4"))), r"shape \[\]"),
    "a circle of groups": (cyclic, "3 arrays at 'layers/dense'"),
}


def view():
    layout = h5py.VirtualLayout((4, 6), "f4", maxshape=(None, 6))
    source = h5py.VirtualSource("/etc/passwd", "a", (4, 6), "f4", maxshape=(None, 6))
    layout[0:h5py.h5s.UNLIMITED] = source[0:h5py.h5s.UNLIMITED]
    return layout


@pytest.mark.parametrize("case", ARRAYS)
def test_hostile_arrays_are_refused(case, tmp_path, capsys):
    change, message = ARRAYS[case]
    path = rewritten(tmp_path / "m.keras", weights=change)
    with pytest.raises(FileError, match=message):
        load_model(path)
    model = load_model(FILES / "adam.keras")
    before = model.get_weights()
    with zipfile.ZipFile(path) as archive:
        (tmp_path / "m.weights.h5").write_bytes(archive.read("model.weights.h5"))
    with pytest.raises(FileError, match=message):
        model.load_weights(tmp_path / "m.weights.h5")
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(("number", "size"), [(0, 0), (0, 1 << 20), (0, 2**64 - 16), (1, 2**64 - 32)])
def test_a_heap_over_which_hdf5_would_not_end_is_refused(number, size, tmp_path, capsys):
    data = bytearray((FILES / "dense.h5").read_bytes())
    first = data.index(b"GCOL") + 16
    data[first:first + 2], data[first + 8:first + 16] = number.to_bytes(2, "little"), size.to_bytes(8, "little")
    path = tmp_path / "m.h5"
    path.write_bytes(data)
    words = f"its heap at byte {first - 16} has an object of {size} bytes"
    with pytest.raises(FileError, match=words):
        load_model(path)
    assert main(["inspect", str(path)]) != 0
    assert words in "".join(capsys.readouterr())


def packed(path, *members, kind=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def header(path, mark, at, value):
    """Change a field of the headers of an archive's members."""
    data = bytearray(path.read_bytes())
    start = data.find(mark)
    while start >= 0:
        data[start + at:start + at + len(value)] = value
        start = data.find(mark, start + 1)
    path.write_bytes(data)


def test_archives_that_unpack_to_more_than_they_say(tmp_path):
    """The size of a member is a lie: no more than it is unpacked. Decompressors that can't stop there are not used."""
    config = json.dumps(json.loads(zipfile.ZipFile(FILES / "adam.keras").read("config.json"))).encode()
    path = packed(tmp_path / "m.keras", ("config.json", config), ("model.weights.h5", bytes(1 << 28)),
                  kind=zipfile.ZIP_DEFLATED)
    with pytest.raises(FileError, match="would take 268,435,456 bytes, of which"):
        load_model(path)
    header(path, b"PK\1\2", 24, (10_000).to_bytes(4, "little"))

    def body(tell):
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 26), -1))
        with pytest.raises(FileError, match="Bad CRC-32"):
            load_model(path)

    if Path("/proc/self/statm").exists():
        with child(body) as reader:
            assert reader.end() == 0
    for kind in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        packed(path, ("config.json", config), ("model.weights.h5", b""), kind=kind)
        with pytest.raises(FileError, match="encrypted, or compressed in a way that isn't read"):
            load_model(path)


def test_encrypted_members_are_refused(tmp_path):
    path = packed(tmp_path / "m.keras", ("config.json", b"{}"), ("model.weights.h5", b""))
    header(path, b"PK\1\2", 8, b"\1\0")
    with pytest.raises(FileError, match="is encrypted"):
        load_model(path)


@pytest.mark.parametrize("name", ["../config.json", "/config.json", "a/../config.json", "CONFIG.JSON", "./config.json"])
def test_members_of_other_names_are_not_read(name, tmp_path):
    path = packed(tmp_path / "m.keras", (name, b"{}"), ("model.weights.h5", b""))
    with pytest.raises(FileError, match=r"0 members 'config\.json'"):
        load_model(path)
    assert os.listdir(tmp_path) == ["m.keras"]


# ----------------------------------------------------------------------------------------------- inspect

def test_inspect_prints_what_is_there(tmp_path, capsys):
    assert main(["inspect", str(FILES / "adam.keras")]) == 0
    text = capsys.readouterr().out
    for part in ("SHA-256", "keras_version: 3.15.1", "config/layers/1: Dense 'dense_9'",
                 "compile_config/optimizer: Adam", "/layers/dense/vars/0: float32[4, 6]"):
        assert part in text
    assert "refused" not in text
    assert main(["inspect", str(FILES / "functional.h5")]) == 0
    assert "/model_weights/" in capsys.readouterr().out
    small().save_weights(tmp_path / "m.weights.h5")
    assert main(["inspect", str(tmp_path / "m.weights.h5")]) == 0
    assert "/layers/dense/vars/1: float32[2]" in capsys.readouterr().out


@pytest.mark.parametrize(("config", "weights", "message"), [
    (layer("Lambda", {"function": BYTECODE}), None, "config/function: __lambda__ refused: bytecode"),
    (layer("Mine", {}), None, "Mine 'evil' refused without custom_objects={'Mine': ...}"),
    (None, ARRAYS["a file beside it, chained"][0], "/layers/dense/vars/0: refused: lies in other files"),
    (None, ARRAYS["a link to a path"][0], "/layers/dense: refused: /layers/dense is a link"),
    (None, ARRAYS["a shape without end"][0], "would take 4,503,599,627,370,496 bytes"),
    (None, ARRAYS["texts"][0], "has the type object, expected numbers"),
    (None, cyclic, "lies within itself"),
])
def test_inspect_tells_what_is_refused(config, weights, message, tmp_path, capsys, monkeypatch):
    def built(*arguments, **options):
        raise AssertionError("something was built")

    monkeypatch.setattr(graphc.layers.Layer, "__init__", built)
    assert main(["inspect", str(rewritten(tmp_path / "m.keras", config, weights))]) == 1
    assert message in capsys.readouterr().out


def test_inspect_of_what_is_no_such_file(tmp_path, capsys):
    for content in (b"", b"PK\3\4", b"\x89HDF\r\n\x1a\n" + bytes(100), b"hello"):
        (tmp_path / "m.keras").write_bytes(content)
        assert main(["inspect", str(tmp_path / "m.keras")]) == 1
        assert "refused" in capsys.readouterr().out
    packed(tmp_path / "m.keras", ("../evil", b"x"), ("config.json", b"[" * 100_000))
    assert main(["inspect", str(tmp_path / "m.keras")]) == 1
    text = capsys.readouterr().out
    assert "'../evil': 1 bytes, never read" in text and "RecursionError" in text and "0 members" in text
