"""Recurrent layers, cells and wrappers beyond Keras's numbers: options, states, dropout, masks, errors."""

from __future__ import annotations

import json
import warnings

import cases
import cases_sequences
import numpy as np
import pytest
from keras_numbers import FIXTURES, in_a_row, keras_numbers

import graphc
from graphc import layers, ops
from graphc.ir.errors import ShapeError
from graphc.runtime import counters

pytestmark = pytest.mark.usefixtures("reference_backend")


@pytest.fixture
def x(rng):
    return rng.standard_normal((4, 5, 3)).astype(np.float32)


@pytest.mark.parametrize("name", cases_sequences.config_cases())
def test_config(name):
    """All that Keras's config says, ours says too, and it makes the same layer again."""
    layer = cases_sequences.config_cases()[name](layers)
    expected, got = json.loads(str(keras_numbers("sequences")[f"config.{name}"])), layer.get_config()
    for option, value in expected.items():
        if option in got:
            assert compared(got[option]) == compared(value), option
        else:
            assert value is None, f"{option}={value}"
    assert set(got) - set(expected) <= {"seed"}
    again = type(layer).from_config(got)
    assert again.get_config() == got


def compared(value):
    """A part of a config without what graphc's initializers and dtypes don't say."""
    if isinstance(value, dict):
        if value.get("class_name") == "DTypePolicy":
            return "float32"
        return {k: compared(v) for k, v in value.items()
                if k not in ("input_axes", "output_axes", "build_config", "activity_regularizer",
                             "quantization_config")}
    return [compared(v) for v in value] if isinstance(value, list) else value


def test_weights_of_cells():
    for layer, sizes in ((layers.SimpleRNN(4), (4, 4, (4,))), (layers.LSTM(4), (16, 16, (16,))),
                         (layers.GRU(4), (12, 12, (2, 12))), (layers.GRU(4, reset_after=False), (12, 12, (12,)))):
        layer.build((None, 5, 3))
        cell = f"{layer.name}/{layer.cell.name}"
        assert [w.path for w in layer.weights] == [f"{cell}/{n}" for n in ("kernel", "recurrent_kernel", "bias")]
        assert [w.shape for w in layer.weights] == [(3, sizes[0]), (4, sizes[1]), sizes[2]]
        recurrent = layer.cell.recurrent_kernel.numpy()
        np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(4), atol=1e-5)
        assert len(type(layer)(4, use_bias=False, name="plain").weights) == 0
    lstm = layers.LSTM(2, bias_initializer="ones")
    lstm.build((None, 5, 3))
    np.testing.assert_array_equal(lstm.cell.bias, [1] * 8)
    for open_gate in (True, False):
        lstm = layers.LSTM(2, unit_forget_bias=open_gate)
        lstm.build((None, 5, 3))
        np.testing.assert_array_equal(lstm.cell.bias, [0, 0, open_gate, open_gate, 0, 0, 0, 0])


@pytest.mark.parametrize("make", [layers.SimpleRNN, layers.LSTM, layers.GRU])
def test_a_cell_by_itself_is_a_step_of_its_layer(make, x):
    layer = make(4, return_sequences=True, return_state=True)
    output, *states = layer(x)
    assert output.shape == (4, 5, 4) and [s.shape for s in states] == [(4, 4)] * len(states)
    mine = [np.zeros((4, 4), np.float32) for _ in states]
    for t in range(5):
        y, mine = layer.cell(x[:, t], mine)
        np.testing.assert_allclose(y, output[:, t], rtol=1e-5, atol=1e-6)
    for got, want in zip(mine, states, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_sequences_of_any_length_share_a_program(rng):
    model = graphc.Sequential([graphc.Input((None, 3)), layers.GRU(4, return_sequences=True), layers.LSTM(2)])
    short, long = rng.standard_normal((2, 4, 3)), rng.standard_normal((3, 7, 3))
    assert model.layers[0](short).shape == (2, 4, 4) and model.output_shape == (None, 2)
    first = model.predict(short, verbose=0)
    before = counters()["programs_compiled"]
    assert model.predict(long, verbose=0).shape == (3, 2)
    assert counters()["programs_compiled"] == before
    np.testing.assert_array_equal(model.predict(short, verbose=0), first)


# ------------------------------------------------------------------------------------------------------------- states

def test_stateful_model_as_keras():
    model = graphc.Sequential([graphc.Input(batch_shape=(8, 6, 3)), layers.LSTM(4, stateful=True), layers.Dense(3)])
    model.compile(graphc.optimizers.SGD(0.1), "mse")
    model.set_weights(cases.start_weights(model.weights))
    x, y = cases_sequences.step_data("stateful", (6, 3), False)
    found = [model.predict(x, batch_size=8, verbose=0), model.train_on_batch(x[:8], y[:8]),
             model.predict(x[8:16], batch_size=8, verbose=0)]
    model.layers[0].reset_state()
    found += [model.predict(x[:8], batch_size=8, verbose=0), *model.layers[0].states]
    np.testing.assert_allclose(in_a_row(found), keras_numbers("sequences")["stateful"], rtol=1e-5, atol=1e-5)


def test_states_survive_until_they_are_reset(x):
    layer, whole = layers.GRU(4, stateful=True), layers.GRU(4)
    model = graphc.Sequential([graphc.Input(batch_shape=(4, 5, 3)), layer])
    model.compile("sgd", "mse")
    whole.build((None, 5, 3))
    whole.set_weights(layer.get_weights())
    assert len(model.get_weights()) == 3 and len(model.weights) == 3, "states are no weights"
    expected = whole(np.concatenate([x, x], 1))
    assert np.abs(model.predict(x, verbose=0) - expected).max() > 1e-3
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(layer.states[0], model.predict(x, verbose=0))
    layer.reset_states()
    np.testing.assert_array_equal(layer.states[0], 0)
    model.evaluate(x, np.zeros((4, 4)), verbose=0)
    np.testing.assert_allclose(model(x), expected, rtol=1e-5, atol=1e-6)
    layer.reset_state([np.ones((4, 4))])
    np.testing.assert_array_equal(layer.states[0], 1)
    again = graphc.models.Sequential.from_config(model.get_config())
    assert again.layers[0].states[0].shape == (4, 4) and again.input_shape == (4, 5, 3)


def test_stateful_layers_around_and_in_functional_models(x):
    inputs = graphc.Input((5, 3), batch_size=4)
    between = layers.Dense(2)(inputs)
    both = layers.Bidirectional(layers.LSTM(2, stateful=True, return_sequences=True))
    model = graphc.Model(inputs, layers.RNN([layers.LSTMCell(2), layers.GRUCell(3)], stateful=True)(both(between)))
    first = model.predict(x, verbose=0)
    assert np.abs(model.predict(x, verbose=0) - first).max() > 1e-5
    assert [s.shape for s in both.states] == [(4, 2)] * 4
    both.reset_state()
    model.layers[-1].reset_state()
    np.testing.assert_allclose(model.predict(x, verbose=0), first, rtol=1e-5)
    graphc.Sequential([model, layers.Dense(1)]).reset_states()
    np.testing.assert_allclose(model.predict(x, verbose=0), first, rtol=1e-5)
    with pytest.raises(ValueError, match="batch of 3 rows, expected 4: the stateful layer 'forward_lstm'"):
        model.predict(x[:3], verbose=0)
    first = layers.SimpleRNN(2, stateful=True, batch_input_shape=(4, None, 3))
    assert graphc.Sequential([first]).input_shape == (4, None, 3) and first.states[0].shape == (4, 2)
    directly = layers.SimpleRNN(2, stateful=True)
    assert np.abs(directly(x) - directly(x)).max() > 1e-5


def test_cells_say_what_states_begin_with(x):
    class Cell(layers.SimpleRNNCell):
        def get_initial_state(self, batch_size=None):
            return [ops.full((batch_size, self.units), 1.0)]

    cell = Cell(2)
    found = layers.RNN(cell)(x)
    np.testing.assert_allclose(layers.RNN(cell)(x, initial_state=np.ones((4, 2))), found, rtol=1e-6)
    kept = layers.RNN(cell, stateful=True)
    np.testing.assert_allclose(kept(x), found, rtol=1e-6)
    mask = np.ones((4, 5), int)
    np.testing.assert_allclose(layers.RNN(cell)(x, mask=mask), found, rtol=1e-6)
    np.testing.assert_allclose(layers.RNN(cell, return_sequences=True)(x, mask=mask * 0), 0)


def test_first_states(x):
    layer = layers.LSTM(2, return_state=True)
    h, c = np.ones((2, 4, 2), np.float32)
    given = layer(x, initial_state=[h, c])
    for got, want in zip(layer([x, h, c]), given, strict=True):
        np.testing.assert_array_equal(got, want)
    a, b = graphc.Input((5, 3)), graphc.Input((2,))
    model = graphc.Model([a, b], layers.GRU(2)(a, initial_state=b))
    assert np.abs(model.predict([x, h], verbose=0) - model.predict([x, -h], verbose=0)).max() > 1e-3
    with pytest.raises(ShapeError, match=r"f32\[N,3\] to begin with, expected f32\[N,2\]"):
        layers.GRU(2)(x, initial_state=np.ones((4, 3)))


# -------------------------------------------------------------------------------------------- masks, dropout, wrappers

def test_masks_flow_and_are_dropped_with_a_warning():
    ids = np.array([[1, 2, 0], [3, 0, 0]])
    embedding = layers.Embedding(5, 2, mask_zero=True, input_length=3)
    pooled = graphc.Sequential([embedding, layers.Dropout(0.5), layers.GlobalAveragePooling1D()])
    table = embedding.get_weights()[0]
    np.testing.assert_allclose(pooled.predict(ids, verbose=0), [table[1:3].mean(0), table[3]], rtol=1e-6)
    with pytest.warns(UserWarning, match="'flatten' .* received a mask, which it doesn't support"):
        graphc.Sequential([layers.Embedding(5, 2, mask_zero=True, input_length=3), layers.Flatten(name="flatten")])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graphc.Sequential([layers.Embedding(5, 2, mask_zero=True, input_length=3), layers.LSTM(2), layers.Dense(1)])


@pytest.mark.parametrize("option", ["dropout", "recurrent_dropout"])
def test_dropout_masks_are_drawn_once_for_a_sequence(option):
    layer = layers.SimpleRNN(1, activation="linear", return_sequences=True, **{option: 0.5})
    layer.build((None, 4, 1))
    layer.set_weights([np.ones((1, 1)), np.ones((1, 1)), np.zeros(1)])
    x = np.zeros((2000, 4, 1), np.float32)
    x[:, 0] = 1
    np.testing.assert_array_equal(layer(x), 1)
    y = layer(x, training=True)[:, :, 0]
    kept = y[:, 0] if option == "dropout" else y[:, 1]
    assert set(np.unique(kept)) == {0, 2} and 0.45 < (kept == 2).mean() < 0.55
    if option == "dropout":
        steady = layers.SimpleRNN(1, activation="linear", return_sequences=True, dropout=0.5)
        steady.build((None, 4, 1))
        steady.set_weights([np.ones((1, 1)), np.zeros((1, 1)), np.zeros(1)])
        y = steady(np.ones((2000, 4, 1)), training=True)[:, :, 0]
        np.testing.assert_array_equal(y, y[:, :1].repeat(4, 1))
    else:
        np.testing.assert_array_equal(y[:, 1:], kept[:, None] ** [1, 2, 3])


@pytest.mark.parametrize("make", [layers.LSTM, layers.GRU])
def test_dropout_of_gates_differs_and_a_seed_repeats(make):
    def draw():
        graphc.utils.set_random_seed(1)
        layer = make(4, seed=3, dropout=0.5, recurrent_dropout=0.5)
        return layer(ones, training=True), layer(ones, training=True)

    ones = np.ones((500, 3, 4), np.float32)
    first, second = draw()
    assert len(np.unique(first[:, 0].round(4))) > 100, "masks of gates"
    assert np.abs(first - second).max() > 1e-3, "each step draws anew"
    np.testing.assert_array_equal(draw()[0], first)


def test_time_distributed_and_bidirectional_of_any_layers(x):
    inner = graphc.Sequential([layers.Dense(2, input_shape=(3,)), layers.ReLU()])
    together = layers.TimeDistributed(inner)(x)
    np.testing.assert_allclose(together, np.stack([inner(x[:, t]) for t in range(5)], 1), rtol=1e-5)
    forward, backward = layers.GRU(2), layers.LSTM(2, go_backwards=True)
    both = layers.Bidirectional(forward, backward_layer=backward, name="both")
    both(x)
    assert [w.path for w in both.weights] == [
        f"both/{part}/{cell}/{w}" for part, cell in ((f"forward_{forward.name}", "gru_cell"),
                                                     (backward.name, "lstm_cell"))
        for w in ("kernel", "recurrent_kernel", "bias")]
    assert not forward.built, "its options are taken over, not its weights"
    weights = [np.ones_like(w) for w in both.get_weights()]
    other = layers.Bidirectional(layers.GRU(2), weights=weights[:3] * 2)
    other(x)
    assert all((w == 1).all() for w in other.get_weights())
    custom = layers.Bidirectional(layers.RNN(cases_sequences.minimal(layers)))
    assert custom(x).shape == (4, 4)


def test_files_keep_recurrent_models(x, tmp_path):
    model = graphc.Sequential([layers.Bidirectional(layers.LSTM(2, return_sequences=True), input_shape=(5, 3)),
                               layers.RNN([layers.GRUCell(3), layers.LSTMCell(2)]),
                               layers.RepeatVector(2), layers.TimeDistributed(layers.Dense(2))])
    model.save(tmp_path / "model.keras")
    again = graphc.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))


def test_a_file_of_keras():
    model = graphc.models.load_model(FIXTURES / "sequences.keras")
    ids, _ = cases_sequences.step_data("file", (6,), True)
    np.testing.assert_allclose(model.predict(ids, verbose=0), keras_numbers("sequences")["saved"], rtol=1e-5, atol=1e-5)


# ------------------------------------------------------------------------------------------------------------- errors

@pytest.mark.parametrize(("make", "message"), [
    (lambda: layers.LSTM(0), "LSTMCell(units=0): units must be a positive integer"),
    (lambda: layers.LSTM(3, time_major=True), "unknown argument time_major=True"),
    (lambda: layers.GRU(3, reset_afer=True), "Did you mean 'reset_after'?"),
    (lambda: layers.GRU(1, "tanh", "sigmoid", True, "ones", "ones", "ones", None), "Name the options after these"),
    (lambda: layers.SimpleRNN(3, activation="tan"), "Did you mean 'tanh'?"),
    (lambda: layers.RNN(layers.Dense(3)), "it has no `state_size`"),
    (lambda: layers.Bidirectional(layers.LSTM(3), merge_mode="cat"), "Did you mean 'concat'?"),
    (lambda: layers.Bidirectional(layers.LSTM(3), backward_layer=layers.LSTM(3)), "one that goes backwards"),
    (lambda: layers.Bidirectional(layers.LSTM(3), backward_layer=layers.LSTM(3, go_backwards=True, return_state=True)),
     "return_state is False forwards and True backwards"),
    (lambda: layers.TimeDistributed(3), "wraps a layer, received 3"),
    (lambda: layers.Embedding(0, 3), "input_dim must be a positive integer"),
    (lambda: layers.LSTM(3, stateful=True)(graphc.Input((5, 3))), "needs a batch of a fixed size"),
    (lambda: layers.LSTM(3)(graphc.Input((5,))), "numpy.expand_dims(x, -1), word numbers get them from an Embedding"),
    (lambda: layers.LSTM(3, unroll=True)(graphc.Input((None, 3))), "needs a known number of time steps"),
    (lambda: layers.LSTM(3).reset_state(), "only a layer with stateful=True"),
])
def test_errors(make, message):
    with pytest.raises((ValueError, TypeError, AttributeError)) as caught:
        make()
    assert message in str(caught.value)


@pytest.mark.parametrize("kind", ["SimpleRNN", "GRU"])
def test_a_length_that_may_be_none(rng, kind):
    """What is left of a sequence of unknown length may be nothing: its states are those to begin with."""
    layer = getattr(layers, kind)(3)
    sequence = graphc.Input((None, 4))
    model = graphc.Model(sequence, layer(layers.Lambda(lambda x: x[:, 1:])(sequence)))
    x = rng.standard_normal((2, 6, 4)).astype("float32")
    np.testing.assert_allclose(model.predict(x, verbose=0), layer(x[:, 1:]), rtol=1e-5, atol=1e-6)
    assert not model.predict(x[:, :1], verbose=0).any()
