"""Layers of sequences: numbers that real Keras 3 computed (tests/fixtures/make_keras_sequences.py) against ours."""

from __future__ import annotations

import cases
import cases_sequences
import numpy as np
import pytest
from keras_numbers import check_training_steps, in_a_row, keras_numbers, outputs_and_gradients
from samples import each

import graphc
from graphc import layers
from graphc.ir.errors import ShapeError
from graphc.padding import pad_sequences
from graphc.runtime import counters

EXPECTED = keras_numbers("sequences")


@pytest.mark.parametrize("name", each(2, cases_sequences.layer_cases()))
def test_layer_output_and_gradients(name):
    with graphc.config(backend="numpy"):
        compare(name)


@pytest.mark.parametrize("name", each(8, cases_sequences.layer_cases()))
def test_layer_output_and_gradients_natively(name):
    before = counters()["numpy_fallbacks"]
    compare(name)
    assert counters()["numpy_fallbacks"] == before


def compare(name):
    case = cases_sequences.layer_cases()[name]
    layer, mask = case.make(layers), cases_sequences.mask_of(case)
    shape = (case.shape[0], cases_sequences.UNITS)
    arrays = [cases_sequences.layer_input(name, case.shape),
              *(cases.layer_input(f"state{i}", shape) for i in range(case.states)), *([] if mask is None else [mask])]

    def call(x, *rest):
        states = list(rest[:case.states])
        return layer(x, **({"initial_state": states} if states else {}), **({} if mask is None else {"mask": rest[-1]}))

    outputs, gradients = outputs_and_gradients(layer, arrays, call)
    np.testing.assert_allclose(in_a_row([*outputs, *gradients]), EXPECTED[f"layer.{name}"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", each(2, cases_sequences.step_cases()))
def test_training_steps(name):
    make, shape, integers = cases_sequences.step_cases()[name]
    model = graphc.Sequential([graphc.Input(shape, dtype="int32" if integers else "float32"), *make(layers)])
    check_training_steps(model, 0.1, cases_sequences.step_data(name, shape, integers), name, "sequences")


@pytest.mark.parametrize("name", cases_sequences.sequence_cases())
def test_pad_sequences(name):
    arguments, options = cases_sequences.sequence_cases()[name]
    padded = pad_sequences(*arguments, **options)
    np.testing.assert_array_equal(padded, EXPECTED[f"pad.{name}"])
    assert padded.dtype == EXPECTED[f"pad.{name}"].dtype


def test_pad_sequences_refuses():
    for wrong in (7, [1, 2, 3]):
        with pytest.raises(ValueError, match="expected a list of sequences"):
            pad_sequences(wrong)
    with pytest.raises(ValueError, match="Did you mean 'post'"):
        pad_sequences([[1]], padding="posts")
    with pytest.raises(ShapeError, match="expected one shape"):
        pad_sequences([[[1, 2]], [[3]]])
    texts = pad_sequences([["a"], ["b", "c"]], dtype=object, value="")
    assert texts.tolist() == [["", "a"], ["b", "c"]] and pad_sequences([]).shape == (0, 0)
