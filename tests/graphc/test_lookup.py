"""Vocabularies, texts and bins; the numbers are those of Keras's documentation and sources."""

from __future__ import annotations

import numpy as np
import pytest

import graphc
from graphc import layers
from graphc.ir.errors import DTypeError


def test_string_lookup():
    layer = layers.StringLookup(vocabulary=["a", "b", "c"])
    assert layer.get_vocabulary() == ["[UNK]", "a", "b", "c"] and layer.vocabulary_size() == 4
    np.testing.assert_array_equal(layer([["a", "z"], ["c", "b"]]), [[1, 0], [3, 2]])
    back = layers.StringLookup(vocabulary=layer.get_vocabulary(), invert=True)
    assert back(np.array([[1, 0], [3, 9]])).tolist() == [["a", "[UNK]"], ["c", "[UNK]"]]
    masked = layers.StringLookup(vocabulary=["a", "b"], mask_token="")
    assert masked.get_vocabulary() == ["", "[UNK]", "a", "b"]
    assert masked.get_vocabulary(include_special_tokens=False) == ["a", "b"]
    np.testing.assert_array_equal(masked(["", "b", "z", b"a"]), [0, 3, 1, 2])
    with pytest.raises(ValueError, match="received 'z', which its vocabulary doesn't have"):
        layers.StringLookup(vocabulary=["a"], num_oov_indices=0)(["z"])


def test_modes_of_lookup():
    tokens = [["a", "c", "c"], ["z", "", "a"]]
    for mode, expected in (("multi_hot", [[0, 1, 0, 1], [1, 1, 0, 0]]), ("count", [[0, 1, 0, 2], [1, 1, 0, 0]])):
        layer = layers.StringLookup(vocabulary=["a", "b", "c"], mask_token="", output_mode=mode)
        np.testing.assert_array_equal(layer(tokens), expected)
    hot = layers.StringLookup(vocabulary=["a", "b"], output_mode="one_hot", max_tokens=5, pad_to_max_tokens=True)
    np.testing.assert_array_equal(hot([["b"], ["q"]]), [[0, 0, 1, 0, 0], [1, 0, 0, 0, 0]])
    weighted = layers.StringLookup(vocabulary=["a", "b"], idf_weights=[0.5, 1.5], output_mode="tf_idf")
    np.testing.assert_allclose(weighted([["a", "a", "q"]]), [[1.0, 1.0, 0.0]])


def test_adapted_vocabulary():
    data = np.array([["b", "a", "b"], ["c", "b", "a"]])
    layer = layers.StringLookup()
    layer.adapt(data)
    assert layer.get_vocabulary() == ["[UNK]", "b", "a", "c"]
    layer.adapt(["x", "y"])  # of equal counts the later one comes first
    assert layer.get_vocabulary() == ["[UNK]", "y", "x"]
    small = layers.StringLookup(max_tokens=3)
    small.adapt(iter([data[:1], data[1:]]))
    assert small.get_vocabulary() == ["[UNK]", "b", "a"]
    weighted = layers.StringLookup(output_mode="tf_idf")
    weighted.adapt(data)
    expected = np.log(1 + 2 / (1 + np.array([2, 2, 1])))
    np.testing.assert_allclose(weighted([["b", "c"]]), [[0, expected[0], 0, expected[2]]], rtol=1e-6)
    with pytest.raises(ValueError, match="was given a vocabulary"):
        layers.StringLookup(vocabulary=["a"]).adapt(["a"])


@pytest.mark.parametrize("options", [{}, {"mask_token": 0}, {"num_oov_indices": 3}, {"output_mode": "count"},
                                     {"output_mode": "multi_hot", "mask_token": 0},
                                     {"output_mode": "tf_idf", "idf_weights": [0.5, 1.0, 2.0]},
                                     {"output_mode": "one_hot", "max_tokens": 9, "pad_to_max_tokens": True}])
def test_integer_lookup_in_a_model_and_before_it(options):
    layer = layers.IntegerLookup(vocabulary=[12, -4, 70], **options)
    x = np.array([[12, 0, 70], [5, -4, 12], [-7, 8, -4]])
    inputs = graphc.Input((3,), dtype="int32")
    model = graphc.Model(inputs, layer(inputs))
    np.testing.assert_allclose(model.predict(x, verbose=0), layer(x), rtol=1e-6)
    if not options:
        np.testing.assert_array_equal(layer(x), [[1, 0, 3], [0, 2, 1], [0, 0, 2]])


def test_integer_lookup_back():
    layer = layers.IntegerLookup(vocabulary=[12, -4, 70], invert=True)
    inputs = graphc.Input((2,), dtype="int32")
    x = np.array([[1, 3], [0, 9]])
    for found in (layer(x), graphc.Model(inputs, layer(inputs)).predict(x, verbose=0)):
        np.testing.assert_array_equal(found, [[12, 70], [-1, -1]])
    counted = layers.IntegerLookup()
    counted.adapt([[5, 7, 7], [9, 7, 5]])
    assert counted.get_vocabulary() == [-1, 7, 5, 9]


def test_text_vectorization():
    texts = ["The cat, the DOG!", "a cat"]
    layer = layers.TextVectorization()
    layer.adapt(texts)
    assert layer.get_vocabulary() == ["", "[UNK]", "the", "cat", "dog", "a"]
    np.testing.assert_array_equal(layer(texts), [[2, 3, 2, 4], [5, 3, 0, 0]])
    np.testing.assert_array_equal(layer([["the bird"]]), [[2, 1]])
    np.testing.assert_array_equal(layer("the bird"), [2, 1])
    short = layers.TextVectorization(vocabulary=["a", "cat"], output_sequence_length=3)
    np.testing.assert_array_equal(short(np.array(texts)), [[1, 3, 1], [2, 3, 0]])
    pairs = layers.TextVectorization(ngrams=2, split="whitespace", standardize=None)
    pairs.adapt(["a b a"])
    assert pairs.get_vocabulary() == ["", "[UNK]", "a", "b a", "b", "a b"]
    counts = layers.TextVectorization(max_tokens=4, output_mode="count")
    counts.adapt(texts)
    assert counts.get_vocabulary() == ["[UNK]", "the", "cat", "dog"]
    np.testing.assert_array_equal(counts(texts), [[0, 2, 1, 1], [1, 0, 1, 0]])
    own = layers.TextVectorization(standardize=np.char.upper, split=lambda text: text.split("-"), vocabulary=["A"])
    np.testing.assert_array_equal(own(["a-b"]), [[2, 1]])
    letters = layers.TextVectorization(split="character", vocabulary=["a", "b"])
    np.testing.assert_array_equal(letters(["ab!a"]), [[2, 3, 2]])


@pytest.mark.parametrize("make", [
    lambda: layers.StringLookup(output_mode="tf_idf"), lambda: layers.TextVectorization(ngrams=2),
    lambda: layers.TextVectorization(output_mode="tf_idf")])
def test_an_adapted_layer_survives_its_config(make):
    layer, texts = make(), ["a b a", "c a"]
    layer.adapt(texts)
    again = type(layer).from_config(layer.get_config())
    assert again.get_vocabulary() == layer.get_vocabulary()
    np.testing.assert_allclose(again(texts), layer(texts))
    with pytest.raises(ValueError, match="a file that isn't part of it"):
        type(layer).from_config(layer.get_config() | {"vocabulary": "/etc/passwd"})


def test_vocabulary_in_a_file(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("a\nb\n")
    assert layers.StringLookup(vocabulary=str(path)).get_vocabulary() == ["[UNK]", "a", "b"]


def test_words_in_a_model():
    for layer in (layers.StringLookup(vocabulary=["a"]), layers.TextVectorization(vocabulary=["a"])):
        with pytest.raises(DTypeError, match="Apply it to the data before"):
            layer(graphc.Input((3,)))
    with pytest.raises(DTypeError, match="Apply StringLookup or TextVectorization"):
        graphc.Input((1,), dtype="string")


@pytest.mark.parametrize(("make", "message"), [
    (lambda: layers.StringLookup(vocabulary=["a", "a"]), "has \\['a'\\] more than once"),
    (lambda: layers.StringLookup(vocabulary=[]), "is empty"),
    (lambda: layers.StringLookup(vocabulary=["b", ""], mask_token=""), "has the mask token ''"),
    (lambda: layers.StringLookup(vocabulary=["a", "b"], max_tokens=2), "more than max_tokens=2"),
    (lambda: layers.StringLookup(vocabulary=["a"], output_mode="tf_idf"), "needs idf_weights"),
    (lambda: layers.StringLookup(num_oov_indices=2), "expected 0 or 1"),
    (lambda: layers.StringLookup(output_mode="count", invert=True), "one by one"),
    (lambda: layers.TextVectorization(standardize="lowr"), "Did you mean 'lower'"),
    (lambda: layers.TextVectorization(output_mode="count", output_sequence_length=3), "have a length"),
])
def test_wrong_vocabularies(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_discretization():
    layer = layers.Discretization(bin_boundaries=[0.0, 1.0, 2.0])
    x = np.array([[-1.5, 1.0, 3.4, 0.5], [0.0, 3.0, 1.3, 0.0]], np.float32)
    np.testing.assert_array_equal(layer(x), [[0, 2, 3, 1], [1, 3, 2, 1]])
    found = layers.Discretization(num_bins=4, epsilon=0.01)
    found.adapt(np.array([[-1.5, 1.0, 3.4, 0.5], [0.0, 3.0, 1.3, 0.0]]))
    np.testing.assert_array_equal(found(x), [[0, 2, 3, 2], [1, 3, 3, 1]])
    many = np.random.default_rng(0).standard_normal(5000).astype(np.float32)
    quarters = layers.Discretization(num_bins=4)
    quarters.adapt([many[:2000], many[2000:]])
    np.testing.assert_allclose(quarters.bin_boundaries, np.quantile(many, [0.25, 0.5, 0.75]), atol=0.05)
    again = layers.Discretization.from_config(quarters.get_config())
    assert again.bin_boundaries == quarters.bin_boundaries and again.num_bins == 4
    inputs = graphc.Input((4,))
    hot = layers.Discretization(bin_boundaries=[0.0, 1.0], output_mode="multi_hot")
    np.testing.assert_array_equal(graphc.Model(inputs, hot(inputs)).predict(x, verbose=0), [[1, 1, 1], [0, 1, 1]])
