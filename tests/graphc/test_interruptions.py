"""Processes that are killed or interrupted at random moments: files stay whole, and training goes on as if nothing was.

Each test has a number of moments, more of them in a slow one.
"""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import signal
import threading
import time
from itertools import count

import numpy as np
import pytest
from children import child, forks
from regression import Pages, X, Y
from samples import each

import graphc
from graphc import callbacks, layers

pytestmark = [forks, pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")]


def few_and_many(few, many):
    return pytest.mark.parametrize("number", [few, pytest.param(many, marks=pytest.mark.slow)])


# ------------------------------------------------------------------------------------------------- files


def regression(start=0.0):
    model = graphc.Sequential([layers.Dense(4, input_shape=(3,), activation="tanh", name="inner"),
                               layers.Dense(1, name="out")], name="regression")
    model.compile("adam", "mse")
    model.set_weights([np.full(w.shape, start, np.float32) for w in model.weights])
    model.optimizer.build(model.trainable_weights)
    return model


def loaded(path):
    """The weights in a file of any kind."""
    if path.name.endswith(".weights.h5"):
        model = regression(9.0)
        model.load_weights(path)
    else:
        model = graphc.models.load_model(path)
    return model.get_weights()


@few_and_many(12, 60)
@pytest.mark.parametrize("name", each(3, ["m.keras", "m.h5", "m.weights.h5"]))
def test_a_kill_leaves_the_old_file_or_the_new_one(name, number, rng, tmp_path, reference_backend):
    path = tmp_path / name
    models = [regression(0.0), regression(1.0)]
    whole = []
    for model in models:
        (model.save_weights if name.endswith(".weights.h5") else model.save)(path)
        whole.append(path.read_bytes())

    def body(tell):
        for i in count():
            if i == 1:
                tell()
            (models[i % 2].save_weights if name.endswith(".weights.h5") else models[i % 2].save)(path)

    found = []
    for _ in range(number):
        with child(body) as saver:
            assert saver.hear()
            saver.send(signal.SIGKILL, rng.uniform(0, 0.02))
            assert saver.end() == -signal.SIGKILL
        found.append(whole.index(path.read_bytes()))
        assert all((w == found[-1]).all() for w in loaded(path))
        assert len(os.listdir(tmp_path)) <= 2  # at most one is left over
    models[0].save_weights(path) if name.endswith(".weights.h5") else models[0].save(path)
    assert os.listdir(tmp_path) == [name]


@few_and_many(8, 30)
def test_a_kill_leaves_whole_checkpoints(number, rng, tmp_path, reference_backend):
    path, lines = tmp_path / "best.keras", tmp_path / "log.csv"
    model = regression(0.5)

    def body(tell):
        ear = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: epoch and tell())
        model.fit(X, Y, epochs=10**6, verbose=0, callbacks=[
            callbacks.ModelCheckpoint(path, save_best_only=True, monitor="loss"),
            callbacks.ModelCheckpoint(tmp_path / "each.weights.h5", save_weights_only=True, save_freq=1),
            callbacks.CSVLogger(lines, append=True), ear])

    for _ in range(number):
        with child(body) as trainer:
            assert trainer.hear()
            trainer.send(signal.SIGKILL, rng.uniform(0, 0.05))
            assert trainer.end() == -signal.SIGKILL
        assert int(graphc.models.load_model(path).optimizer.iterations) >= 2
        loaded(tmp_path / "each.weights.h5")
        with open(lines, newline="") as file:
            rows = list(csv.reader(file))
        assert rows[0] == ["epoch", "loss", "val_loss"] and {len(row) for row in rows} == {3}


@pytest.mark.parametrize("separator", [",", ";"])
def test_a_log_that_ends_within_a_line_goes_on_in_the_next(separator, tmp_path, reference_backend):
    lines = tmp_path / "log.csv"
    lines.write_text(separator.join(["epoch", "loss", "val_loss"]) + "\n0" + separator + "0.2")
    regression().fit(X, Y, verbose=0, callbacks=[callbacks.CSVLogger(lines, separator, append=True)])
    rows = lines.read_text().splitlines()
    assert len(rows) == 3 and rows[1] == f"0{separator}0.2" and rows[2].count(separator) == 2


# ------------------------------------------------------------------------------------------------- training


def dropper():
    graphc.utils.clear_session()
    graphc.utils.set_random_seed(3)
    model = graphc.Sequential([layers.Dense(8, activation="relu", input_shape=(3,)), layers.Dropout(0.3),
                               layers.BatchNormalization(), layers.Dense(1)])
    model.compile(graphc.optimizers.Adam(0.05), "mse", metrics=["mae", graphc.metrics.R2Score(name="r2")])
    return model


class OwnStep(graphc.Model):
    """Metrics that keep what they count in the states of the step."""

    def __init__(self):
        super().__init__()
        self.dense, self.seen = layers.Dense(1), graphc.metrics.Mean(name="seen")

    def call(self, x):
        return self.dense(x)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        self.seen.update_state(y_pred)
        return {"seen": self.seen.result()}


def own():
    graphc.utils.clear_session()
    graphc.utils.set_random_seed(4)
    model = OwnStep()
    model.build((None, 3))
    model.compile("sgd", "mse")
    return model


def others():
    """Callbacks that remember something; this one's schedule multiplies the rate that there is."""
    return [callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=0.5),
            callbacks.EarlyStopping("val_mae", patience=3, restore_best_weights=True),
            callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.9)]


CASES = {
    "epochs": (dropper, (X, Y), {"save_freq": "epoch"}, {"validation_data": (X[:9], Y[:9])}, others),
    "batches": (dropper, (X, Y), {"save_freq": 3}, {"validation_data": (X[:9], Y[:9])}, others),
    "each batch": (dropper, (X, Y), {"save_freq": 1, "double_checkpoint": True}, {}, list),
    "pages": (dropper, (Pages(),), {"save_freq": 2}, {}, list),
    "passes over several epochs": (dropper, (X, Y), {"save_freq": 2}, {"steps_per_epoch": 3}, list),
    "own steps": (own, (X, Y), {"save_freq": 2}, {}, list),
}


@few_and_many(1, 4)
@pytest.mark.parametrize("case", each(3, CASES))
@pytest.mark.filterwarnings("ignore:The input ran out")
def test_a_training_that_is_killed_ends_as_one_that_is_not(case, number, rng, tmp_path, reference_backend):
    make, source, options, fitting, listeners = CASES[case]
    result = tmp_path / "result.npz"

    def train(heard, cut):
        model = make()
        ear = callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: heard())
        history = model.fit(*source, batch_size=8, epochs=6, verbose=0, **fitting, callbacks=[
            *cut, *listeners(), ear]).history
        random_numbers = np.random.random(3)
        np.savez(tmp_path / "part.npz", *model.get_weights(), *(v.array for v in model.optimizer.variables),
                 model.random_key.array, random_numbers, np.array(json.dumps(history)))
        os.replace(tmp_path / "part.npz", result)

    np.random.seed(7)
    train(lambda: None, [])
    with np.load(result) as file:
        expected = dict(file)
    folder, kills = tmp_path / "backup", 0
    for _ in range(number):
        result.unlink()
        while not result.exists():
            def body(tell):
                np.random.seed(8 if folder.exists() else 7)
                train(tell, [callbacks.BackupAndRestore(folder, **options)])

            batches = int(rng.integers(1, 20 if options["save_freq"] == "epoch" else 8))
            with child(body) as trainer:
                if all(trainer.hear() for _ in range(batches)):
                    trainer.send(signal.SIGKILL, rng.uniform(0, 0.004))
                    kills += 1
                assert trainer.end() in (0, -signal.SIGKILL)
        with np.load(result) as file:
            found = dict(file)
        assert list(found) == list(expected)
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array, err_msg=f"{name} after {kills} kills")
        assert not folder.exists()
    assert kills >= number


def test_a_backup_after_the_last_batch_of_an_epoch(tmp_path, reference_backend):
    """Killed while the epoch ends: the epoch is ended, not run or left out."""
    class PowerCut(Exception):
        pass

    def cut(epoch, logs):
        raise PowerCut

    whole = dropper().fit(X, Y, batch_size=8, epochs=3, verbose=0).history
    with pytest.raises(PowerCut):
        dropper().fit(X, Y, batch_size=8, epochs=3, verbose=0, callbacks=[
            callbacks.BackupAndRestore(tmp_path / "b", save_freq=7), callbacks.LambdaCallback(on_epoch_end=cut)])
    again = dropper().fit(X, Y, batch_size=8, epochs=3, verbose=0, callbacks=[
        callbacks.BackupAndRestore(tmp_path / "b", save_freq=7)])
    assert again.history == whole and again.epoch == [0, 1, 2]


def test_a_training_that_had_stopped_stays_so(tmp_path, reference_backend):
    class PowerCut(Exception):
        pass

    def end(logs):
        raise PowerCut

    def fit(*more):
        return dropper().fit(X, Y, epochs=9, verbose=0, callbacks=[
            callbacks.BackupAndRestore(tmp_path / "b"), callbacks.EarlyStopping("loss", patience=1, min_delta=100),
            *more])

    with pytest.raises(PowerCut):
        fit(callbacks.LambdaCallback(on_train_end=end))
    assert fit().epoch == [0, 1]


def test_a_damaged_backup_is_an_error(tmp_path, reference_backend):
    for double in (False, True):
        backup = callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False, double_checkpoint=double)
        dropper().fit(X, Y, verbose=0, callbacks=[backup])
        data = (tmp_path / "training.npz").read_bytes()
        for damaged in (b"", b"PK\3\4", data[:len(data) // 2]):
            (tmp_path / "training.npz").write_bytes(damaged)
            (tmp_path / "training.before.npz").unlink(missing_ok=True)
            with pytest.raises(graphc.saving.FileError, match=r"training\.npz can't be read"):
                dropper().fit(X, Y, verbose=0, callbacks=[backup])
        (tmp_path / "training.npz").unlink()


# ------------------------------------------------------------------------------------------------- Ctrl-C


class Counting(layers.Layer):
    """Many weights that all lose 1 in each step of SGD with a rate of 1."""

    def build(self, shape):
        self.parts = [self.add_weight((50, 3), "zeros", name=f"part_{i}") for i in range(8)]

    def call(self, x):
        return sum((p[None] for p in self.parts), x[:, None] * 0.0)


def counting():
    model = graphc.Sequential([graphc.Input((3,)), Counting()])
    model.compile(graphc.optimizers.SGD(1.0), lambda y_true, y_pred: graphc.ops.sum(y_pred, axis=(1, 2)))
    return model


ONES = np.ones((64, 3), np.float32), np.ones((64, 50, 3), np.float32)


class Slow(graphc.utils.PyDataset):
    def __len__(self):
        return 1000

    def __getitem__(self, i):
        time.sleep(0.001)
        return ONES[0][:8], ONES[1][:8]


def batches():
    while True:
        time.sleep(0.0005)
        yield ONES[0][:8], ONES[1][:8]


def nothing_left():
    """No thread that fetches data, and no worker process; those that end are given time."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        threads = [t.name for t in threading.enumerate() if t.name.startswith("graphc-data")]
        if not threads and not multiprocessing.active_children():
            return
        time.sleep(0.01)
    raise AssertionError(f"{threads} and {multiprocessing.active_children()} are left")


def interrupted(work, check, number, rng, longest):
    """Have `work` interrupted so many times at random moments, and check what is left after each."""
    def body(tell):
        for _ in range(number):
            try:
                tell()
                work(tell)
            except KeyboardInterrupt:
                pass
            else:
                raise AssertionError("it was not interrupted")
            check()
        tell()

    with child(body) as worker:
        for _ in range(number):
            assert worker.hear()
            worker.send(signal.SIGINT, rng.uniform(0, longest))
        assert worker.hear()
        assert worker.end() == 0


@few_and_many(12, 40)
@pytest.mark.parametrize("backend", each(2, ["native", "numpy"]))
@pytest.mark.parametrize("source", each(2, ["arrays", "generator", "threads", "processes"]))
def test_an_interrupt_leaves_the_weights_of_whole_steps(source, backend, number, rng):
    data = {"arrays": ONES, "generator": (batches(),), "threads": (Slow(workers=2),),
            "processes": (Slow(workers=2, use_multiprocessing=True),)}[source]
    number = number if source != "processes" else 1 + number // 4
    steps = {"generator": 10}.get(source)
    with graphc.config(backend=backend):
        model = counting()
        last = model.fit(*ONES, batch_size=8, verbose=0)
        done = 8

        def fit(tell):
            given = (batches(),) if source == "generator" else data
            model.fit(*given, batch_size=8 if source == "arrays" else None, epochs=10**6, steps_per_epoch=steps,
                      verbose=0)

        def check():
            nonlocal done, last
            iterations = int(model.optimizer.iterations)
            for weight in model.get_weights():
                np.testing.assert_array_equal(weight, -float(iterations))
            history, each = model.history, {"arrays": 8, "generator": 10}.get(source, 1000)
            epochs = 0 if history is last else len(history.epoch)  # perhaps it had not begun
            assert history.epoch == list(range(len(history.epoch)))
            assert len(history.history.get("loss", [])) == len(history.epoch)
            assert 0 <= iterations - done - epochs * each <= each
            nothing_left()
            last = model.fit(*ONES, batch_size=8, verbose=0)
            assert last.epoch == [0]
            done = iterations + 8
            assert int(model.optimizer.iterations) == done

        interrupted(fit, check, number, rng, 0.1)


def test_workers_end_with_a_parent_that_is_killed(reference_backend):
    def body(tell):
        ear = callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: tell())
        counting().fit(Slow(workers=2, use_multiprocessing=True), epochs=10**6, verbose=0, callbacks=[ear])

    with child(body) as parent:
        assert parent.hear()
        parent.send(signal.SIGKILL)
        while parent.hear():  # until no process can tell any more
            pass
        assert parent.end() == -signal.SIGKILL


@few_and_many(3, 20)
def test_an_interrupt_while_code_is_made(number, rng):
    sizes = iter(range(20, 10**6))

    def fit(tell):
        nonlocal model
        model = graphc.Sequential([layers.Dense(next(sizes), activation="gelu", input_shape=(3,)),
                                   layers.Dense(2, activation="softmax"), layers.Dense(1)])
        model.compile("adam", "mse")
        model.fit(X, Y, epochs=10**6, verbose=0)

    def check():
        if model.optimizer is None:
            model.compile("adam", "mse")
        assert np.isfinite(model.fit(X, Y, epochs=2, verbose=0).history["loss"]).all()

    model = regression()  # the one that an interrupt at the very beginning leaves
    with graphc.config(backend="native"):
        model.fit(X, Y, verbose=0)
        interrupted(fit, check, number, rng, 0.3)


@few_and_many(8, 30)
@pytest.mark.parametrize("method", ["evaluate", "predict"])
def test_an_interrupt_of_other_methods(method, number, rng):
    with graphc.config(backend="native"):
        model = counting()
        x, y = (np.concatenate([a] * 20) for a in ONES)
        expected = model.predict(x, verbose=0)

        def work(tell):
            while True:
                model.evaluate(x, y, batch_size=8, verbose=0) if method == "evaluate" else model.predict(
                    batches(), steps=10**6, verbose=0)

        def check():
            nothing_left()
            np.testing.assert_array_equal(model.predict(x, verbose=0), expected)

        interrupted(work, check, number, rng, 0.05)


def test_an_interrupt_waits_for_the_end_of_what_it_must_not_cut():
    from graphc.runtime.interrupts import uninterrupted

    done = []
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            done.append(1)
        done.append(2)
    assert done == [1] and signal.getsignal(signal.SIGINT) is before
    heard = []
    thread = threading.Thread(target=lambda: heard.append(uninterrupted().__enter__()))
    thread.start()
    thread.join()
    assert heard == [None] and signal.getsignal(signal.SIGINT) is before


def test_so_many_steps_at_once_that_an_interrupt_waits_for_little():
    from graphc.data import TOGETHER, Pace

    pace = Pace()
    for seconds, most in ((0.001, 50), (1.0, 1), (1e-6, 50_000)):
        pace.count(1, seconds)
        assert pace.at_once == pytest.approx(most, rel=0.02) and TOGETHER <= 0.1


def wide():
    """A model of many weights that are all equal, with a change of which it is easily seen whether it is whole."""
    model = graphc.Sequential([graphc.Input((3,)), *(layers.Dense(3, use_bias=False) for _ in range(100))])
    model.compile("sgd", "mse")
    return model


def filled(model, number):
    return [np.full(w.shape, number, np.float32) for w in model.weights]


class Scripted(callbacks.EarlyStopping):
    """The weights of epoch 0 are 1, and the best; those of epoch 1 are 2, and training ends by putting 1 back."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.set_weights(filled(self.model, epoch + 1))
        super().on_epoch_end(epoch, {"loss": float(epoch)})


@few_and_many(10, 60)
@pytest.mark.parametrize("what", ["set_weights", "EarlyStopping", "load_weights", "save"])
def test_an_interrupt_leaves_all_weights_old_or_all_new(what, number, rng, tmp_path, reference_backend):
    model = wide()
    files = []
    for i in range(2):
        model.set_weights(filled(model, i + 1))
        files.append(tmp_path / f"{i}.weights.h5")
        model.save_weights(files[-1])
    both = filled(model, 1), filled(model, 2)
    ear = Scripted("loss", patience=1, restore_best_weights=True)

    def work(tell):
        for i in count():
            if what == "set_weights":
                model.set_weights(both[i % 2])
            elif what == "load_weights":
                model.load_weights(files[i % 2])
            elif what == "save":
                model.save(tmp_path / ("m.h5", "m.keras")[i % 2])
            else:
                model.set_weights(both[1])
                ear.set_model(model)
                ear.on_train_begin()
                for epoch in range(2):
                    ear.on_epoch_end(epoch)
                ear.on_train_end()

    def check():
        assert len({float(v) for w in model.get_weights() for v in w.ravel()}) == 1
        assert ear.best_weights is None or np.all(ear.best_weights[0] == 1 + ear.best_epoch)

    interrupted(work, check, number, rng, 0.02)


def test_weights_that_are_not_numbers_change_nothing(reference_backend):
    model = regression(1.0)
    with pytest.raises(TypeError, match=r"out/bias\.assign received an array of dtype <U3 that is not one of numbers"):
        model.set_weights([*(np.zeros(w.shape) for w in model.weights[:-1]), np.array(["abc"])])
    assert all((w == 1).all() for w in model.get_weights())
