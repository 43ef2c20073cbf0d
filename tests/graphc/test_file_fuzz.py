"""Real files with random damage, from bytes to meaning: loading ends in success or in FileError, and touches nothing.

Each batch of cases runs in a process of its own, with little memory beyond what it has, in which opening another file,
importing, running code, reaching the network and the like are faults. A fault tells the seed of its case.
"""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import struct
import sys
import traceback
import warnings
import zipfile
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest
from children import child, forks

import graphc
from graphc.inspection import inspect
from graphc.saving import FileError, load_model
from graphc.serialization import KINDS

FIXTURES = Path(__file__).parents[1] / "fixtures"
FILES = {p.name: p for p in sorted([*FIXTURES.glob("files/*.keras"), *FIXTURES.glob("files/*.h5"),
                                    *FIXTURES.glob("*.keras")])}
MEMORY, SECONDS = 1 << 29, 30  # of a case
CLASSES = sorted({name for classes in KINDS.values() for name in classes} | {
    "Lambda", "TFSMLayer", "TorchModuleWrapper", "__lambda__", "function", "__keras_tensor__", "__numpy__", "Model"})
NAMED = ("class_name", "keras_history", "inbound_nodes", "units", "name", "config")
ODD = [None, True, 0, -1, 3, 10**9, 2**63, 10**400, -1e308, 0.5, float("nan"), "", "relu", "/etc/passwd", "\ud800", [],
       [None], [None, 2**40], [0], [[[]]], {}, {"class_name": "Dense"}, {"class_name": []}, {"config": {}},
       {"class_name": "function", "config": "get"}, {"class_name": "__numpy__", "config": {"value": [1]}},
       {"class_name": "Sequential", "config": {"layers": []}}, {"class_name": "DTypePolicy", "config": 5}]
FORBIDDEN = ("socket.", "subprocess.", "marshal.", "pickle.", "ctypes.dlopen", "os.", "shutil.", "tempfile.", "exec",
             "import", "open", "urllib.", "webbrowser.")
pytestmark = [forks, pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")]


# ------------------------------------------------------------------------------------------------------- damage

def pick(rng, things):
    return things[int(rng.integers(len(things)))]


def in_bytes(rng, data):
    """Some bytes changed, lost or repeated, or the rest cut off."""
    result = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        start, length = int(rng.integers(len(result) + 1)), int(rng.integers(1, 9))
        result[start:start + length] = [
            bytes(rng.integers(0, 256, length, np.uint8)), b"\xff" * length, b"", bytes(length),
            bytes(result[:length]) * 2,
            struct.pack("<q", int(pick(rng, [-1, 1 << 20, 1 << 31, 1 << 40, 1 << 62]))),
        ][rng.integers(6)]
    return bytes(result[:rng.integers(len(result) + 1)] if rng.random() < 0.1 else result)


def places(value, path=()):
    """The way to every part of a JSON value but the whole."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, key)
        yield from places(inner, (*path, key))


def at(value, way):
    for key in way:
        value = value[key]
    return value


def in_json(rng, text):
    """Values replaced, deleted, repeated elsewhere, of other types, of other classes, or very deep."""
    text = text if isinstance(text, str) else text.decode()
    value = json.loads(text)
    for _ in range(rng.integers(1, 4)):
        ways = list(places(value))
        if not ways:
            break
        named = [w for w in ways if w[-1] in NAMED]
        *way, last = pick(rng, named if named and rng.random() < 0.5 else ways)
        there, change = at(value, way), rng.integers(7)
        if change == 0:
            there[last] = pick(rng, ODD)
        elif change == 1:
            del there[last]
        elif change == 2:
            there[last] = json.loads(json.dumps(at(value, pick(rng, ways))))
        elif change == 3:
            there[last] = pick(rng, CLASSES)
        elif change == 4 and isinstance(there, list):
            there.insert(int(rng.integers(len(there) + 1)), json.loads(json.dumps(there[last])))
        elif change == 5 and isinstance(there[last], int | float):
            there[last] = pick(rng, [there[last] * 1000, -there[last], str(there[last]), [there[last]], 2**31])
        elif change == 6:
            for _ in range(int(rng.integers(1, 300))):
                there[last] = [there[last]] if rng.random() < 0.5 else {"class_name": "Sequential", "config": {
                    "layers": [there[last]]}}
            break
    try:
        return json.dumps(value)
    except (ValueError, RecursionError):
        return text


def in_hdf5(rng, data):
    """Things deleted, replaced by links, by arrays of other shapes and types, by groups; attributes changed."""
    buffer = io.BytesIO(data)
    with h5py.File(buffer, "r+") as file:
        for _ in range(rng.integers(1, 4)):
            names: list[str] = []
            file.visit(names.append)
            if not names:
                break
            name, other = pick(rng, names), pick(rng, names)
            change = int(rng.integers(10))
            if change < 8:
                where = file if rng.random() < 0.1 else file[name]
                if len(where.attrs) and rng.random() < 0.3:
                    _change_attribute(rng, where.attrs, names)
                    continue
            if name not in file:
                continue
            shape = file[name].shape if isinstance(file[name], h5py.Dataset) else (3, 4)
            del file[name]
            try:
                if change == 1:
                    file[name] = h5py.SoftLink(f"/{other}")
                elif change == 2:
                    file[name] = h5py.ExternalLink(pick(rng, ["/etc/passwd", "other.h5", ""]), "/a")
                elif change == 3 and other in file:
                    file[name] = file[other]  # one thing under two names, or a group within itself
                elif change == 4:
                    file.create_dataset(name, pick(rng, [shape, (), (0,), (1 << 40,), (2, 3)]),
                                        pick(rng, ["f8", "f2", "i4", "u1", "S4", "bool", "c8", h5py.string_dtype(),
                                                   h5py.ref_dtype, "V8", ">f4", h5py.vlen_dtype("f4")]))
                elif change == 5:
                    file.create_dataset(name, shape, "f4", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])
                elif change == 6:
                    file.create_virtual_dataset(name, h5py.VirtualLayout(shape, "f4"))
                elif change == 7:
                    file.create_dataset(name, shape, "f4", chunks=True, compression="gzip")
                elif change == 8:
                    file.create_group(name)
            except (ValueError, OSError, RuntimeError, KeyError, TypeError):
                continue  # what HDF5 itself doesn't do
    return buffer.getvalue()


def _change_attribute(rng, attributes, names):
    name = pick(rng, sorted(attributes))
    value = attributes[name]
    if isinstance(value, str) and value.startswith("{") and rng.random() < 0.8:
        attributes[name] = in_json(rng, value).encode("utf-8", "replace").decode()
    else:
        attributes[name] = pick(rng, ["", "/", "..", 5, np.arange(3), [pick(rng, names)], np.zeros(0), b"\xff",
                                      [n.rpartition("/")[2] for n in names[:5]], h5py.Empty("f4"), np.float32("nan")])


def in_archive(rng, data):
    """Members lost, doubled, renamed, of other archives, packed otherwise, and headers that say other things."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = [(name, archive.read(name)) for name in archive.namelist()]
    change, i = int(rng.integers(9)), int(rng.integers(len(parts)))
    name, content = parts[i]
    if change == 0:
        del parts[i]
    elif change == 1:
        parts.append((name, pick(rng, [content, b"", b"{}", content[::-1]])))
    elif change == 2:
        parts[i] = pick(rng, ["../config.json", "/config.json", "CONFIG.JSON", "config.json\0", "x"]), content
    elif change == 3:
        with zipfile.ZipFile(pick(rng, [p for p in FILES.values() if p.suffix == ".keras"])) as archive:
            parts[i] = name, archive.read(name)
    elif change == 4:
        parts[i] = name, content[:int(rng.integers(len(content) + 1))]
    elif change == 5:
        parts.insert(0, (pick(rng, ["../x", "/etc/x", "assets/vocabulary.txt", "a" * 60000]), content))
    elif change == 6:
        parts[i] = name, bytes(1 << int(rng.integers(10, 27)))
    buffer = io.BytesIO()
    kind = pick(rng, [0, 0, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(buffer, "w", kind) as archive:
            for name, content in parts:
                archive.writestr(name, content)
    result = bytearray(buffer.getvalue())
    if change >= 7:  # a field of a header: flags, method, sums and sizes lie in its first 30 bytes
        mark = pick(rng, [b"PK\1\2", b"PK\3\4", b"PK\5\6"])
        starts = [k for k in range(len(result) - 30) if result[k:k + 4] == mark]
        if starts:
            place = pick(rng, starts) + int(rng.integers(4, 28))
            result[place:place + 4] = pick(rng, [b"\xff" * 4, bytes(4), b"\1\0\0\0", b"\0\0\0\x7f"])
    return bytes(result)


def rebuilt(data, change, member):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = [(name, archive.read(name)) for name in archive.namelist()]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in parts:
            archive.writestr(name, change(content) if name == member else content)
    return buffer.getvalue()


def damaged(rng, name, data):
    """The name of a file and its bytes with damage of one kind."""
    if not name.endswith(".keras"):
        if rng.random() < 0.4:
            return name, in_bytes(rng, data)
        if rng.random() < 0.2:  # the arrays of a whole model are not those of a weights file
            return "m.weights.h5", in_hdf5(rng, data)
        return name, in_hdf5(rng, data)
    kind, weights, config = rng.integers(8), "model.weights.h5", "config.json"
    if kind == 0:
        return name, in_bytes(rng, data)
    if kind == 1:
        return name, in_archive(rng, data)
    if kind < 5:
        return name, rebuilt(data, lambda content: in_json(rng, content).encode("utf-8", "replace"), config)
    if kind == 5:
        return name, rebuilt(data, lambda content: in_bytes(rng, content), pick(rng, [weights, config]))
    if kind == 6:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return "m.weights.h5", (in_hdf5 if rng.random() < 0.7 else in_bytes)(rng, archive.read(weights))
    return name, rebuilt(data, lambda content: in_hdf5(rng, content), weights)


# ------------------------------------------------------------------------------------------------------- the cases

class TooLong(BaseException):
    pass


def use(path, models, kept):
    """Load what may be there, and look at it."""
    found = None
    if path.name.endswith(".weights.h5"):
        model = models[kept]
        before = model.get_weights()
        try:
            model.load_weights(path)
        except FileError:
            assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
            raise
        finally:
            model.set_weights(before)
    else:
        found = load_model(path)
    return found


def run_cases(first, number, folder, tell):
    """Run the cases of these seeds; print what goes wrong, and end with the status 1 if something did."""
    contents = {name: path.read_bytes() for name, path in FILES.items()}
    models = {name: load_model(path) for name, path in FILES.items()}
    watched, faults, refused = [False], [], 0
    allowed = [""]

    def watch(event, arguments):
        if watched[0] and event.startswith(FORBIDDEN):
            if event == "open" and str(arguments[0]) == allowed[0]:
                return
            if event == "import" and str(arguments[0]).startswith("graphc"):
                return
            watched[0] = False
            faults.append(f"{event} {arguments!r:.200}\n{''.join(traceback.format_stack(limit=12))}")

    def late(*_):
        raise TooLong

    for path in [*FILES.values()]:  # whatever is imported when it is first needed
        list(inspect(path))
    use(FILES["dense.h5"], models, "dense.h5")
    for wrong in (b"", b"PK\3\4"):
        (folder / "a.keras").write_bytes(wrong)
        with suppress(FileError):
            load_model(folder / "a.keras")
    sys.addaudithook(watch)
    signal.signal(signal.SIGALRM, late)
    sizes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (sizes + MEMORY, -1))
    failed = 0
    for seed in range(first, first + number):
        rng = np.random.default_rng(seed)
        source = pick(rng, sorted(FILES))
        name, data = damaged(rng, source, contents[source])
        path = folder / name
        path.write_bytes(data)
        allowed[0] = str(path)
        print(f"case {seed}", file=sys.stderr, flush=True)  # the last one, should the process end
        signal.alarm(SECONDS)
        watched[0] = True
        try:
            use(path, models, source)
        except FileError as error:
            refused += 1
            if str(path) not in str(error) or "MemoryError" in str(error) or "cannot allocate" in str(error).lower():
                faults.append(f"FileError: {error}"[:500])
        except BaseException:
            faults.append(traceback.format_exc())
        try:
            list(inspect(path))
        except BaseException:
            faults.append(f"inspect: {traceback.format_exc()}")
        watched[0] = False
        signal.alarm(0)
        if faults:
            failed += 1
            (folder / f"{seed}-{name}").write_bytes(data)
            print(f"FAULT in case {seed}, from {source} as {name}:", *faults, sep="\n", file=sys.stderr, flush=True)
            faults.clear()
        graphc.utils.clear_session()
    print(f"{number} cases, {refused} refused, {failed} faults", file=sys.stderr, flush=True)
    if failed or not number // 3 < refused < number:
        raise SystemExit(1)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system has no /proc")
@pytest.mark.parametrize(("batch", "number"), [
    (0, 100), *(pytest.param(i, 1000, marks=pytest.mark.slow) for i in range(1, 8))])
def test_damaged_files_end_in_success_or_one_error(batch, number, tmp_path, reference_backend, request):
    given = request.config.getoption("--seed")
    first = batch * 10_000 if given is None else int.from_bytes(os.urandom(3), "little") if given == "random" else int(
        given)
    with child(lambda tell: run_cases(first, number, tmp_path, tell)) as runner:
        assert runner.end(60 + number / 10) == 0
