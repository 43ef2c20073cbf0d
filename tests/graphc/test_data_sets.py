"""Data sets from Keras's files, the helpers that make data ready, and what becomes of wrong and hostile files."""

from __future__ import annotations

import io
import json
import pickle
import sys
import warnings
from pathlib import Path

import cases_data as cases
import numpy as np
import pytest
from keras_numbers import keras_numbers

import graphc
from graphc import datasets, preprocessing
from graphc.datasets.files import unpickle

SETS = ["boston_housing", "california_housing", "cifar10", "cifar100", "fashion_mnist", "imdb", "mnist", "reuters"]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Keras's cache folder with small data sets, and no network."""
    def refuse(*arguments, **options):
        raise OSError("no network")

    cases.write(tmp_path / "keras", 8)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.delenv("GRAPHC_DATA", raising=False)
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    return tmp_path / "keras" / "datasets"


def same(found, expected, name):
    assert found.shape == expected.shape, name
    if expected.dtype.kind == "U":
        assert json.loads(str(found)) == json.loads(str(expected)), name
    else:
        assert found.dtype == expected.dtype, name
        np.testing.assert_allclose(found, expected, 1e-5, 1e-4, err_msg=name)


@pytest.mark.parametrize("name", cases.LOADS)
def test_load_data_gives_what_keras_gives(name, cache):
    module, options = cases.LOADS[name]
    expected = keras_numbers("data")
    for part, array in cases.loaded(getattr(datasets, module), name, options):
        same(array, expected[part], part)


def test_cifar10(cache):
    (x, y), (x_test, y_test) = datasets.cifar10.load_data()
    assert x.shape == (40, 32, 32, 3) and y.shape == (40, 1) and x_test.shape == (8, 32, 32, 3)
    assert x.dtype == y.dtype == y_test.dtype == np.uint8
    assert y[:3, 0].tolist() == [0, 1, 2]
    content = (cache / "cifar-10-batches-py-target_archive")
    content.rename(cache / "cifar-10-python.tar.gz")  # the name that the authors give it
    np.testing.assert_array_equal(datasets.cifar10.load_data()[0][0], x)


@pytest.mark.parametrize("mode", ["plain", "data", "absolute"])
def test_places_of_files(mode, cache, tmp_path, monkeypatch):
    path = cache / "imdb.npz"
    if mode == "data":
        monkeypatch.setenv("GRAPHC_DATA", str(tmp_path))
    if mode != "plain":
        path = path.rename(tmp_path / "imdb.npz")
    arguments = [str(path)] if mode == "absolute" else []
    assert len(datasets.imdb.load_data(*arguments)[0][0]) == 12


def test_words_and_topics(cache):
    assert datasets.imdb.get_word_index() == {"the": 1, "and": 2}
    assert datasets.reuters.get_word_index()["mdbl"] == 10996
    assert len(datasets.reuters.get_label_names()) == 46 and datasets.reuters.get_label_names()[3] == "earn"


@pytest.mark.parametrize("name", SETS)
def test_without_file_and_network(name, tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("GRAPHC_DATA", raising=False)
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(FileNotFoundError, match="GRAPHC_DATA") as raised:
        getattr(datasets, name).load_data()
    assert str(tmp_path / "datasets") in str(raised.value)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()], "no half file stays behind"


class Bomb:
    def __reduce__(self):
        return print, ("this code must not run",)


def objects(*content):
    array = np.empty(len(content), object)
    array[:] = content
    return array


def test_nothing_in_a_file_is_run(cache, capsys):
    good = objects([1, 2])
    for path, arrays, load in ((cache / "imdb.npz", ("x_train", "y_train", "x_test", "y_test"), datasets.imdb),
                               (cache / "reuters.npz", ("x", "y"), datasets.reuters)):
        np.savez(path, **{name: objects(Bomb()) if name.startswith("x") else good for name in arrays})
        with pytest.raises(ValueError, match=r"builtins\.print, and only arrays are read"):
            load.load_data()
    for described in (Bomb(), {"a": [Bomb()]}):
        with pytest.raises(pickle.UnpicklingError, match="only arrays"):
            unpickle(io.BytesIO(pickle.dumps(described)))
    assert unpickle(io.BytesIO(pickle.dumps({"a": [1, (2.5, "b")], "c": np.arange(3)})))["a"] == [1, (2.5, "b")]
    assert "must not run" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"not an archive"])
def test_damaged_files(content, cache):
    for path in cache.rglob("*"):
        if path.is_file():
            path.write_bytes(content)
    for name in SETS:
        with pytest.raises(ValueError, match="damaged"):
            getattr(datasets, name).load_data()


def test_wrong_arguments(cache):
    with pytest.raises(ValueError, match="test_split=2"):
        datasets.boston_housing.load_data(test_split=2)
    with pytest.raises(ValueError, match="'small' or 'large'"):
        datasets.california_housing.load_data("huge")
    with pytest.raises(ValueError, match="'fine' or 'coarse'"):
        datasets.cifar100.load_data("rough")
    with pytest.raises(ValueError, match="larger maxlen"):
        datasets.imdb.load_data(maxlen=2)
    with pytest.raises(TypeError, match="Did you mean 'num_words'"):
        datasets.imdb.load_data(num_word=3)


@pytest.mark.slow
def test_stand_ins(data_dir, tmp_path, monkeypatch):
    """What GRAPHC_DATA has in other files than Keras's is read with a warning."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    for name in ("imdb_subset.npz", "cifar10_subset.npz", "california_housing.csv"):
        if not (data_dir / name).is_file():
            pytest.skip(f"GRAPHC_DATA has no {name}")
    with pytest.warns(UserWarning, match="imdb_subset.npz is read instead"):
        (x, y), (x_test, _) = datasets.imdb.load_data(num_words=10000)
    assert len(x) == len(y) == 10000 and len(x_test) == 5000 and max(map(max, x)) == 9999 and x[0][0] == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (x, y), _ = datasets.california_housing.load_data("small")
        assert x.shape == (480, 8) and np.isfinite(x).all() and x.dtype == y.dtype == np.float32
        assert datasets.cifar10.load_data()[0][1].shape == (10000, 1)


def test_preprocessing_gives_what_keras_gives():
    expected = keras_numbers("data")
    pytest.importorskip("PIL", reason="the fixture's resizing goes through utils.images")
    found = dict(cases.prepared(preprocessing.sequence, preprocessing.text, preprocessing.image, graphc.utils))
    assert len(found) > 50
    for name, array in found.items():
        same(np.asarray(array), expected[name], name)


def test_get_file(tmp_path, monkeypatch):
    fetched = []

    def answer(address, timeout):
        fetched.append(address)
        return io.BytesIO(b"content")

    monkeypatch.setattr("urllib.request.urlopen", answer)
    sha = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"
    def get(**options):
        return graphc.utils.get_file(origin="http://somewhere/a.bin", cache_dir=tmp_path, **options)

    path = get(file_hash=sha)
    assert Path(path) == tmp_path / "datasets" / "a.bin" and Path(path).read_bytes() == b"content"
    assert get(file_hash=sha) == path and get(md5_hash="9a0364b9e99bb480dd25e1f0284c8555") == path
    assert len(fetched) == 1
    get(force_download=True)
    Path(path).write_bytes(b"changed")
    assert Path(get(file_hash=sha)).read_bytes() == b"content" and len(fetched) == 3
    assert Path(get(fname="b", cache_subdir="models")) == tmp_path / "models" / "b"
    with pytest.raises(ValueError, match="MD5"):
        get(fname="c", md5_hash="0" * 32)
    with pytest.raises(ValueError, match="the name of a file"):
        get(fname="../up")
    with pytest.raises(ValueError, match="no archive"):
        get(fname="d", extract=True)


def test_get_file_unpacks_inside_its_folder_only(tmp_path, monkeypatch):
    import tarfile
    import zipfile

    packed = {"good.tar.gz": io.BytesIO(), "evil.tar.gz": io.BytesIO(), "zipped.zip": io.BytesIO()}
    for name, inside in (("good.tar.gz", "a/b.txt"), ("evil.tar.gz", "../../evil.txt")):
        with tarfile.open(fileobj=packed[name], mode="w:gz") as archive:
            member = tarfile.TarInfo(inside)
            member.size = 2
            archive.addfile(member, io.BytesIO(b"hi"))
    with zipfile.ZipFile(packed["zipped.zip"], "w") as archive:
        archive.writestr("c.txt", "hi")
    monkeypatch.setattr("urllib.request.urlopen", lambda address, timeout: io.BytesIO(
        packed[address.rpartition("/")[2]].getvalue()))

    def get(name):
        return Path(graphc.utils.get_file(name, f"http://x/{name}", extract=True, cache_dir=tmp_path / "deep" / "home"))

    assert get("good.tar.gz").name == "good_extracted" and (get("good.tar.gz") / "a/b.txt").read_text() == "hi"
    assert (get("zipped.zip") / "c.txt").read_text() == "hi"
    with pytest.raises(tarfile.TarError):
        get("evil.tar.gz")
    assert not list(tmp_path.rglob("evil.txt"))


def test_split_and_pack():
    x, y = np.arange(10), np.arange(10) * 2
    (a, b), (c, d) = graphc.utils.split_dataset((x, y), left_size=0.7)
    assert a.tolist() == list(range(7)) and b[-1] == 12 and c.tolist() == [7, 8, 9] and d[0] == 14
    left, right = graphc.utils.split_dataset(x, right_size=4, shuffle=True, seed=1)
    assert sorted([*left, *right]) == list(range(10)) and len(right) == 4
    for wrong in ({}, {"left_size": 11}, {"left_size": 0.7, "right_size": 0.6}, {"left_size": 1.5}):
        with pytest.raises(ValueError, match="split_dataset"):
            graphc.utils.split_dataset(x, **wrong)
    assert graphc.utils.unpack_x_y_sample_weight((1, 2)) == (1, 2, None)
    assert graphc.utils.unpack_x_y_sample_weight(x)[0] is x
    assert graphc.utils.pack_x_y_sample_weight(1, 2, 3) == (1, 2, 3)
    assert graphc.utils.pack_x_y_sample_weight((1, 2)) == ((1, 2),)


def test_timeseries_dataset():
    series = np.arange(20.0)
    batches = list(graphc.utils.timeseries_dataset_from_array(series, series * 10, 4, 2, 3, 3, start_index=1))
    assert [len(y) for _, y in batches] == [3, 2]
    np.testing.assert_array_equal(batches[0][0], [[1, 4, 7, 10], [3, 6, 9, 12], [5, 8, 11, 14]])
    np.testing.assert_array_equal(batches[1][1], [70, 90])
    alone = graphc.utils.timeseries_dataset_from_array(series, None, 5, shuffle=True, seed=2, batch_size=None)
    assert len(alone) == 16 and next(iter(alone)).shape == (5,)
    assert next(iter(alone)).tolist() != next(iter(alone)).tolist(), "a new order in each epoch"
    with pytest.raises(ValueError, match="sampling_rate=0"):
        graphc.utils.timeseries_dataset_from_array(series, None, 4, sampling_rate=0)


@pytest.fixture
def folders(tmp_path):
    """Images and texts of two classes, as files."""
    pytest.importorskip("PIL", reason="reading images needs Pillow")
    for i, name in enumerate(("cats", "dogs")):
        (tmp_path / "images" / name).mkdir(parents=True)
        (tmp_path / "texts" / name).mkdir(parents=True)
        for j in range(5):
            image = np.full((8, 6, 3), 50 * i + j, np.uint8)
            graphc.utils.save_img(tmp_path / "images" / name / f"{j}.png", image, scale=False)
            (tmp_path / "texts" / name / f"{j}.txt").write_text(f"{name} {j}")
    return tmp_path


def test_images_from_folders(folders):
    read = graphc.utils.image_dataset_from_directory
    data = read(folders / "images", image_size=(4, 4), batch_size=4, shuffle=False)
    assert data.class_names == ["cats", "dogs"] and len(data) == 3 and data.file_paths[0].endswith("0.png")
    x, y = data[1]
    assert x.shape == (4, 4, 4, 3) and x.dtype == np.float32 and y.dtype == np.int32
    np.testing.assert_array_equal(x[:, 0, 0, 0], [4, 50, 51, 52])
    np.testing.assert_array_equal(y, [0, 1, 1, 1])
    train, held_out = read(folders / "images", image_size=4, validation_split=0.3, subset="both", seed=1,
                           label_mode="categorical", color_mode="grayscale", crop_to_aspect_ratio=True)
    assert len(train.file_paths) == 7 and not set(train.file_paths) & set(held_out.file_paths)
    assert train[0][0].shape == (7, 4, 4, 1) and held_out[0][1].shape == (3, 2)
    scaled = data.map(lambda x, y: (x / 255, y)).cache().prefetch(1)
    np.testing.assert_allclose(scaled[1][0], x / 255, rtol=1e-6)
    assert len(data.take(1)) == 1 and len(data.skip(1)) == 2
    assert read(folders / "images", label_mode="binary", batch_size=2, image_size=(2, 2))[0][1].shape == (2, 1)
    padded = read(folders / "images", labels=None, image_size=(8, 8), pad_to_aspect_ratio=True, shuffle=False)
    assert padded[0][0, 0, 0, 0] == 0 and padded[0][6, 0, 4, 0] == 51
    with pytest.raises(ValueError, match="needs a seed"):
        read(folders / "images", validation_split=0.3, subset="training")
    with pytest.raises(ValueError, match=r"the folders in .* are cats, dogs"):
        read(folders / "images", class_names=["birds"])


def test_texts_from_folders(folders):
    data = graphc.utils.text_dataset_from_directory(folders / "texts", shuffle=False, max_length=6)
    x, y = data[0]
    assert x[0] == "cats 0" and x.shape == (10,) and y.sum() == 5


def test_directory_iterator(folders):
    generator = preprocessing.image.ImageDataGenerator(rescale=1 / 255, validation_split=0.2)
    flow = generator.flow_from_directory(folders / "images", (4, 4), batch_size=4, shuffle=False, subset="training")
    assert flow.class_indices == {"cats": 0, "dogs": 1} and flow.samples == 8 and len(flow) == 2
    x, y = next(flow)
    assert x.shape == (4, 4, 4, 3) and y.tolist() == [[1, 0]] * 4
    np.testing.assert_allclose(x[:, 0, 0, 0], np.arange(1, 5) / 255, rtol=1e-6)
    sparse = generator.flow_from_directory(folders / "images", class_mode="sparse", save_to_dir=folders)
    assert sparse[0][1].dtype == np.float32 and len(list(folders.glob("_*.png"))) == 10
    with pytest.raises(ValueError, match="class_mode='other'"):
        generator.flow_from_directory(folders / "images", class_mode="other")


def test_shifts_move_rows_and_columns():
    """A height shift moves rows, a turn keeps the middle of an oblong image, unlike Keras's (a fault there)."""
    image = np.arange(30.0).reshape(5, 6, 1)
    axes = {"row_axis": 0, "col_axis": 1, "channel_axis": 2}
    turned = preprocessing.image.apply_affine_transform(image, theta=180, **axes)
    np.testing.assert_allclose(turned, image[::-1, ::-1], atol=1e-9)
    generator = preprocessing.image.ImageDataGenerator(height_shift_range=[2])
    moves = generator.get_random_transform(image.shape)
    assert abs(moves["ty"]) == 2 and moves["tx"] == 0
    wrapped = preprocessing.image.apply_affine_transform(image, tx=1, fill_mode="wrap", **axes)
    np.testing.assert_allclose(wrapped, np.roll(image, -1, 1))


def test_images_need_pillow_only_where_used():
    import subprocess

    code = ("import sys; sys.modules['PIL'] = None\n"
            "import graphc\nimport graphc.preprocessing.image\n"
            "try:\n    graphc.utils.load_img('x.png')\nexcept ImportError as error:\n    print(error)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install pillow" in done.stdout
