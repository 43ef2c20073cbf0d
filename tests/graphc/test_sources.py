"""Data of any source give what arrays in memory give, and nothing is left running."""

from __future__ import annotations

import signal
import threading
import time
import traceback
import tracemalloc
import warnings

import numpy as np
import pytest

import graphc
from graphc import layers
from graphc.ir.errors import ShapeError
from graphc.sources import rows
from graphc.sources.background import background

X = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
Y = X @ np.array([1.0, -2.0, 0.5], np.float32) + 3
pytestmark = pytest.mark.usefixtures("reference_backend")


@pytest.fixture(autouse=True)
def no_threads():
    yield
    assert not [t for t in threading.enumerate() if t.name.startswith("graphc-data")]


def regression():
    model = graphc.Sequential([layers.Dense(1, input_shape=(3,))])
    model.set_weights([np.full((3, 1), 0.5), np.zeros(1)])
    model.compile("sgd", "mse")
    return model


def trained(x, y=None, seed=4, **options):
    """History, evaluation, prediction and weights with the rows in an order that the seed gives."""
    model = regression()
    np.random.seed(seed)
    history = model.fit(x, y, verbose=0, **({"batch_size": 8, "epochs": 2} | options)).history
    return [history["loss"], model.evaluate(x, y, batch_size=8, verbose=0), model.predict(x, verbose=0),
            *model.get_weights()]


def same(got, expected):
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of two batches of 8 rows of 16 bytes."""
    monkeypatch.setattr(rows, "PART", 256)


@pytest.mark.parametrize("shuffle", [True, False, "batch"])
@pytest.mark.parametrize("split", [0.0, 0.3])
def test_h5py(tmp_path, small_parts, shuffle, split):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "data.h5", "w") as file:
        x, y = file.create_dataset("x", data=X), file.create_dataset("y", data=Y)
        options = {"shuffle": shuffle, "validation_split": split}
        same(trained(x, y, **options), trained(X, Y, **options))
        same(trained(x, Y, **options), trained(X, Y, **options))
        with pytest.raises(ShapeError, match="50, 49 rows"):
            trained(x, Y[:49])


def test_h5py_is_never_read_as_a_whole(tmp_path):
    h5py = pytest.importorskip("h5py")
    number = 40_000
    with h5py.File(tmp_path / "data.h5", "w") as file:
        x = file.create_dataset("x", (number, 500), "u1", chunks=(100, 500))
        y = file.create_dataset("y", (number, 1), "f4")
        model = graphc.Sequential([layers.Dense(1, input_shape=(500,))])
        model.compile("sgd", "mse")
        model.fit(x[:64], y[:64], verbose=0)
        tracemalloc.start()
        try:
            model.fit(x, y, batch_size=200, shuffle="batch", verbose=0)
            model.predict(x, batch_size=200, verbose=0)
            assert tracemalloc.get_traced_memory()[1] < number * 500 * 0.8
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
def test_memory_mapped(tmp_path, small_parts, dtype):
    x, y = (X * 100).astype(dtype), Y.astype(dtype)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    mapped = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "xy"]
    same(trained(*mapped), trained(x, y))
    same(trained(mapped[0], y), trained(x, y))


@pytest.mark.parametrize("kind", ["csr_matrix", "csc_array", "coo_matrix"])
def test_scipy_sparse(kind, small_parts):
    sparse = pytest.importorskip("scipy.sparse")
    x = np.where(X > 0, X, 0)
    same(trained(getattr(sparse, kind)(x), Y), trained(x, Y))


def test_pandas(small_parts):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abc")).assign(d=np.arange(50))
    same(trained(frame[["a", "b", "c"]], pandas.Series(Y, index=range(100, 150))), trained(X, Y))
    same(trained(frame[["a", "b", "c"]], pandas.DataFrame({"y": Y})), trained(X, Y))


@pytest.mark.parametrize("form", [np.asfortranarray, lambda a: a.astype(">f4"), lambda a: a.astype(np.float64),
                                  lambda a: np.repeat(a, 2, 1)[:, ::2], lambda a: a[::-1][::-1], np.ndarray.tolist])
def test_arrays_of_any_make(form, small_parts):
    x = form(X)
    before = np.array(x)
    same(trained(x, Y), trained(X, Y))
    np.testing.assert_array_equal(np.array(x), before)


class Pages(graphc.utils.PyDataset):
    """Batches of 8 rows; the number of the process or thread that fetched one is in `by`."""

    def __init__(self, fail_at=None, **kwargs):
        super().__init__(**kwargs)
        self.fail_at = fail_at

    def __len__(self):
        return 7

    def __getitem__(self, i):
        if i == self.fail_at:
            raise ZeroDivisionError("this page can't be read")
        return X[i * 8:i * 8 + 8], Y[i * 8:i * 8 + 8]


class Loader:
    """An iterable with a length, as loaders of other frameworks are."""

    def __len__(self):
        return 7

    def __iter__(self):
        return iter([Pages()[i] for i in range(7)])


@pytest.mark.parametrize("source", [
    Pages, Loader, lambda: Pages(workers=3), lambda: Pages(workers=2, max_queue_size=1),
    pytest.param(lambda: Pages(workers=2, use_multiprocessing=True), id="processes"),
    lambda: map(list, [Pages()[i % 7] for i in range(100)])])
def test_batches_of_any_source(source):
    def run(source, *y, **options):
        model = regression()
        losses = model.fit(source, *y, epochs=2, shuffle=False, verbose=0, **options).history["loss"]
        return losses, *model.get_weights()

    options = {"steps_per_epoch": 7} if isinstance(source(), map) else {}
    same(run(source(), **options), run(X, Y, batch_size=8))
    model = regression()
    if not options:
        assert model.evaluate(source(), verbose=0) == model.evaluate(X, Y, batch_size=8, verbose=0)
        np.testing.assert_array_equal(model.predict(source(), verbose=0), model.predict(X, verbose=0))
        validated = model.fit(X, Y, validation_data=source(), epochs=2, verbose=0).history["val_loss"]
        assert len(validated) == 2


def test_pages_are_shuffled_and_seeded():
    def losses(seed, **options):
        graphc.utils.set_random_seed(seed)
        model = regression()
        return model.fit(Pages(**options), epochs=2, verbose=0).history["loss"]

    assert losses(1) == losses(1) == losses(1, workers=2) != losses(2)


def test_predict_takes_the_inputs_of_batches():
    model = regression()
    expected = model.predict(X[:16], verbose=0)
    for batch in (lambda x: x, lambda x: (x,), lambda x: (x, None), lambda x: (x, x, x)):
        got = model.predict((batch(X[i:i + 8]) for i in (0, 8)), verbose=0)
        np.testing.assert_array_equal(got, expected)
    with pytest.raises(ValueError, match="tuple of 4 items, expected x, "):
        model.predict(iter([(X, X, X, X)]), verbose=0)


def test_predictions_of_different_shapes_make_no_array():
    model = graphc.Sequential([graphc.Input((None, 1)), layers.Conv1D(1, 1)])
    with pytest.raises(ShapeError, match=r"predict_on_batch for each"):
        model.predict((np.ones((2, n, 1), np.float32) for n in (3, 4)), verbose=0)


def test_tensors_of_other_frameworks():
    class Tensor:
        shape = (8, 3)

        def __init__(self, array):
            self.array = array

        def detach(self):
            return self

        cpu = detach

        def numpy(self):
            return self.array

    batches = [(Tensor(X[:8]), Tensor(Y[:8]))]
    assert regression().evaluate(iter(batches), verbose=0) == regression().evaluate(X[:8], Y[:8], verbose=0)
    assert regression().train_on_batch(*batches[0]) == regression().train_on_batch(X[:8], Y[:8])


def test_torch_loader():
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    same(trained(torch.utils.data.DataLoader(data, 8), shuffle=False), trained(X, Y, shuffle=False))


@pytest.mark.parametrize("workers", [1, 3])
def test_errors_come_out_with_their_own_traceback(workers):
    model = regression()
    with pytest.raises(ZeroDivisionError, match="can't be read") as caught:
        model.fit(Pages(3, workers=workers), shuffle=False, verbose=0)
    assert "in __getitem__" in "".join(traceback.format_tb(caught.value.__traceback__))
    assert np.isfinite(model.fit(Pages(workers=workers), verbose=0).history["loss"][0])


def test_wrong_batches():
    model = regression()
    with pytest.raises(ValueError, match="received no batch"):
        model.fit(iter([]), verbose=0)
    with pytest.raises(ValueError, match="received y beside batches from Pages"):
        model.fit(Pages(), Y, verbose=0)
    with pytest.raises(ValueError, match="can't be split"):
        model.fit(Pages(), validation_split=0.2, verbose=0)
    with pytest.raises(ShapeError, match=r"f32\[8,2\], expected \[N,3\]"):
        model.fit(((X[:8, :3 - i], Y[:8]) for i in range(2)), verbose=0)
    with pytest.raises(ValueError, match=r"steps_per_epoch=0"):
        model.fit(X, Y, steps_per_epoch=0)
    with pytest.raises(ValueError, match=r"validation_freq='2'"):
        model.fit(X, Y, validation_data=(X, Y), validation_freq="2")


def test_a_generator_gives_what_is_used_and_no_more():
    taken = []

    def batches():
        for i in range(100):
            taken.append(i)
            yield X[:8], Y[:8]

    source = batches()
    model = regression()
    model.fit(source, steps_per_epoch=3, epochs=2, verbose=0)
    assert taken == list(range(6))
    model.evaluate(source, steps=2, verbose=0)
    model.predict(source, steps=1, verbose=0)
    assert len(taken) == 9


def test_a_generator_that_ends_ends_training_with_a_warning():
    model = regression()
    with pytest.warns(UserWarning, match="ran out of data: training ends after epoch 1 of 3"):
        history = model.fit((Pages()[i] for i in range(4)), epochs=3, verbose=0)
    assert history.epoch == [0] and history.params["steps"] is None
    with pytest.warns(UserWarning, match="ran out of data: training ends before epoch 3 of 4"):
        history = model.fit((Pages()[i] for i in range(4)), epochs=4, steps_per_epoch=2, verbose=0)
    assert history.epoch == [0, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit((Pages()[i] for i in range(4)), verbose=0)
        held_out = (Pages()[i] for i in range(4))
        history = model.fit(X, Y, epochs=3, validation_data=held_out, validation_steps=2, verbose=0).history
    assert len(history["val_loss"]) == 2


def test_the_next_batch_is_made_while_this_one_runs():
    made, seen = [], []

    def batches():
        for i in range(4):
            yield X[:8], Y[:8]
            made.append(i)

    def wait(batch, logs):
        deadline = time.monotonic() + 5
        while len(made) <= min(batch + 1, 3) and time.monotonic() < deadline:
            time.sleep(0.001)
        seen.append(len(made) > min(batch + 1, 3))

    regression().fit(batches(), verbose=0, callbacks=[graphc.callbacks.LambdaCallback(on_train_batch_begin=wait)])
    assert seen == [True] * 4


def test_background_ends_with_its_reader():
    items = background(iter(range(10**9)), ahead=2)
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    items.close()
    assert list(background(range(5))) == [0, 1, 2, 3, 4]


def test_ctrl_c_leaves_a_model_and_a_history():
    model = regression()

    def interrupt(batch, logs):
        if batch == 2 and len(model.history.epoch) == 1:
            signal.raise_signal(signal.SIGINT)

    ear = graphc.callbacks.LambdaCallback(on_train_batch_end=interrupt)
    for source in ((X, Y), (Pages(workers=2),)):
        with pytest.raises(KeyboardInterrupt):
            model.fit(*source, epochs=5, batch_size=8, verbose=0, callbacks=[ear])
        assert model.history.epoch == [0] and len(model.history.history["loss"]) == 1
    assert np.isfinite(model.evaluate(X, Y, verbose=0))


def test_ctrl_c_while_a_batch_is_awaited():
    def batches():
        yield X[:8], Y[:8]
        signal.raise_signal(signal.SIGINT)  # python hands it to the main thread, which waits
        time.sleep(0.3)
        yield X[:8], Y[:8]

    with pytest.raises(KeyboardInterrupt):
        regression().fit(batches(), verbose=0)


def test_stopping_in_the_middle_of_an_endless_source():
    def batches():
        while True:
            yield X[:8], Y[:8]

    class Stop(graphc.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 4

    model = regression()
    seen = []
    ear = graphc.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch))
    model.fit(batches(), epochs=3, verbose=0, callbacks=[Stop(), ear])
    assert seen == [0] and int(model.optimizer.iterations) == 5


def test_progress_of_unknown_length(capsys):
    regression().fit(Pages()[i] for i in range(4))
    assert capsys.readouterr().out.splitlines()[1].startswith("4/4 [=")


def test_an_iterable_of_unknown_length_goes_on_and_begins_again():
    class Endless:
        def __init__(self, number):
            self.number, self.passes = number, 0

        def __iter__(self):
            self.passes += 1
            return (Pages()[i] for i in range(self.number))

    source, seen = Endless(4), []
    ear = graphc.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: seen.append(0),
                                          on_train_batch_end=lambda batch, logs: seen.__setitem__(-1, batch + 1))
    model = regression()
    model.fit(source, epochs=5, steps_per_epoch=2, verbose=0, callbacks=[ear])
    assert seen == [2] * 5 and source.passes == 3
    seen.clear()
    with pytest.warns(UserWarning, match="an epoch had 1 batches instead of 3"):
        model.fit(Endless(4), epochs=3, steps_per_epoch=3, verbose=0, callbacks=[ear])
    assert seen == [3, 1, 3]
    seen.clear()
    model.fit(Endless(3), epochs=2, verbose=0, callbacks=[ear], validation_data=Endless(2), validation_steps=1)
    assert seen == [3, 3] and len(model.history.history["val_loss"]) == 2
