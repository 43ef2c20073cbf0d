"""Models over axes of unknown length: one program for all, equal to NumPy and to the model of the length that comes."""

from __future__ import annotations

import numpy as np
import pytest

import graphc
from graphc import layers as L
from graphc.__main__ import main
from graphc.ir.errors import ShapeError
from graphc.runtime import counters, reset_counters

STACKS = {
    "valid": ((None, 4), lambda: [L.Conv1D(8, 3, activation="relu"), L.GlobalMaxPooling1D()], (3, 4, 7, 30)),
    "strides": ((None, 4), lambda: [L.Conv1D(8, 7, strides=3, activation="relu"), L.Conv1D(8, 7, strides=3),
                                    L.GlobalMaxPooling1D()], (25, 26, 27, 28, 60)),  # keras.io: text classification
    "pooling": ((None, 4), lambda: [L.MaxPooling1D(2), L.Conv1D(8, 3), L.AveragePooling1D(3), L.LSTM(5)],
                (10, 11, 13, 16, 40)),
    "same": ((None, 4), lambda: [L.Conv1D(8, 3, strides=2, padding="same"), L.MaxPooling1D(2, padding="same"),
                                 L.GlobalAveragePooling1D()], (1, 2, 3, 4, 5, 8, 33)),
    "dilation": ((None, 4), lambda: [L.Conv1D(8, 3, dilation_rate=4), L.Conv1D(8, 2, padding="causal"),
                                     L.GlobalAveragePooling1D()], (9, 10, 31)),
    "depthwise": ((None, 4), lambda: [L.SeparableConv1D(6, 3, strides=2), L.GlobalMaxPooling1D()], (3, 4, 5, 20)),
    "transposed": ((None, 4), lambda: [L.Conv1D(8, 3, strides=2), L.Conv1DTranspose(6, 4, strides=3, padding="same"),
                                       L.Conv1DTranspose(5, 3, strides=2), L.GlobalMaxPooling1D()], (3, 4, 5, 20)),
    "images": ((None, None, 3), lambda: [
        L.Conv2D(8, 3, activation="relu"), L.MaxPooling2D(2), L.Conv2D(8, 3, strides=2, padding="same"),
        L.BatchNormalization(), L.GlobalAveragePooling2D()], (4, 5, 8, 15)),
}


def trained(shape, layers, arrays):
    """What a model predicts and how it trains on each of some arrays, beginning anew."""
    graphc.utils.set_random_seed(1)
    model = graphc.Sequential([graphc.Input(shape), *layers(), L.Dense(2)])
    model.compile("sgd", "mse")
    start, found = model.get_weights(), []
    for x in arrays:
        model.set_weights(start)
        found += [model.predict(x, verbose=0), model.train_on_batch(x, np.ones((len(x), 2))), *model.get_weights()]
    return found


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", STACKS)
def test_one_program_is_those_of_all_lengths(name):
    shape, layers, lengths = STACKS[name]
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((3, *(n if d is None else d for d in shape))).astype(np.float32) for n in lengths]
    reset_counters()
    found = trained(shape, layers, arrays)
    assert counters()["programs_compiled"] <= 2 and counters()["numpy_fallbacks"] == 0
    with graphc.config(backend="numpy"):
        expected = trained(shape, layers, arrays)
        known = trained(arrays[-1].shape[1:], layers, arrays[-1:])
    for one, other in zip(found + found[-len(known):], expected + known, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("error")
def test_two_axes_of_one_array_and_two_arrays_have_lengths_of_their_own():
    rng = np.random.default_rng(0)
    image = rng.standard_normal((2, 5, 14, 3)).astype(np.float32)
    a, b = graphc.Input((None, 8)), graphc.Input((None, 8))
    joined = L.Conv1D(8, 3, padding="same")(L.Concatenate(axis=1)([a, b]))
    model = graphc.Model([a, b], L.GlobalAveragePooling1D()(L.Conv1D(8, 3)(joined)))
    x, y = (rng.standard_normal((4, n, 8)).astype(np.float32) for n in (700, 2))
    with graphc.config(backend="numpy"):
        expected = [model.predict(pair, verbose=0) for pair in ([x, y], [y, x])]
    for pair, one in zip(([x, y], [y, x]), expected, strict=True):  # each longer than the other once
        np.testing.assert_allclose(model.predict(pair, verbose=0), one, rtol=1e-4, atol=1e-5)
    pooled = graphc.Sequential([graphc.Input((None, None, 3)), L.MaxPooling2D((2, 3)), L.AveragePooling2D(2)])
    assert pooled.output_shape == (None, None, None, 3)
    assert pooled.predict(image, verbose=0).shape == (2, 1, 2, 3)


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_lengths_that_no_window_fits_into_are_refused(backend):
    shape, layers, _ = STACKS["strides"]
    model = graphc.Sequential([graphc.Input(shape), *layers()])
    model.compile("sgd", "mse")
    with graphc.config(backend=backend):
        for n, words in ((2, "^conv1d: a window of size 7"), (24, "^conv1d_1: a window of size 7 .* into 6 positions")):
            before = model.get_weights()
            with pytest.raises(ShapeError, match=words):
                model.predict(np.zeros((2, n, 4)), verbose=0)
            with pytest.raises(ShapeError, match=words):
                model.train_on_batch(np.zeros((2, n, 4)), np.zeros((2, 8)))
            assert all(map(np.array_equal, before, model.get_weights()))
        assert model.predict(np.zeros((2, 25, 4)), verbose=0).shape == (2, 8)


def test_what_is_shown_has_the_lengths_of_the_arrays(tmp_path):
    shape, layers, _ = STACKS["strides"]
    model = graphc.Sequential([graphc.Input(shape), *layers()])
    x = np.ones((2, 40, 4), np.float32)
    assert model.profile(x, seconds=0.01).sizes == {"N": 2, "D1": 40}
    found = graphc.diagnose(model, x)
    assert found.ok and not any("no native code" in line for line in found.checked)
    path = tmp_path / "predict.graph"
    path.write_text(str(model.graph("predict")))
    assert main(["replay", str(path)]) == 0
    graphc.explain(model, x, path=tmp_path / "page.html", measure=False)


@pytest.mark.filterwarnings("error")
def test_what_may_be_empty_is():
    x = graphc.Input((None, 3))
    model = graphc.Model(x, [x[:, 1:], graphc.ops.pad(x[:, 1:], ((0, 0), (1, 0), (0, 0)))])
    for n in (1, 2, 5):
        data = np.arange(6.0 * n, dtype=np.float32).reshape(2, n, 3)
        reset_counters()
        cut, padded = model.predict(data, verbose=0)
        assert counters()["numpy_fallbacks"] == (n == 1)  # where an array is empty
        np.testing.assert_array_equal(cut, data[:, 1:])
        np.testing.assert_array_equal(padded[:, 1:], data[:, 1:])
        assert not padded[:, 0].any()
