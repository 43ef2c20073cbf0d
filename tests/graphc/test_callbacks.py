"""Callbacks on models that train: files that others read, training that goes on, batches that run together."""

from __future__ import annotations

import io
import random
import re
import sys

import numpy as np
import pytest
from regression import Pages, X, Y

import graphc
from graphc import callbacks, data, layers
from graphc.callbacks.events import EventFile, masked_crc, png
from graphc.runtime import counters

pytestmark = pytest.mark.usefixtures("reference_backend")


def regression(**options):
    model = graphc.Sequential([layers.Dense(1, input_shape=(3,), name="out")])
    model.compile(**({"optimizer": "adam", "loss": "mse", "metrics": ["mae"]} | options))
    return model


# ------------------------------------------------------------------------------------------------ backup


def dropper():
    graphc.utils.clear_session()
    graphc.utils.set_random_seed(3)
    model = graphc.Sequential([layers.Dense(8, activation="relu", input_shape=(3,)), layers.Dropout(0.3),
                               layers.Dense(1)])
    model.compile("adam", "mse")
    return model


class PowerCut(Exception):
    pass


@pytest.mark.parametrize("save_freq", ["epoch", 3])
@pytest.mark.parametrize("source", [(X, Y), (Pages(),)], ids=["arrays", "pages"])
@pytest.mark.parametrize("double", [False, True])
def test_training_goes_on_after_an_interruption(tmp_path, save_freq, source, double):
    def fit(model, cut=None, **options):
        seen = []

        def listen(batch, logs):
            seen.append(batch)
            if len(seen) == cut:
                raise PowerCut

        backup = callbacks.BackupAndRestore(tmp_path / "backup", save_freq, double_checkpoint=double)
        ear = callbacks.LambdaCallback(on_train_batch_end=listen)
        model.fit(*source, batch_size=8, epochs=4, verbose=0, callbacks=[backup, ear])
        return seen

    whole = dropper()
    fit(whole)
    first = dropper()
    with pytest.raises(PowerCut):
        fit(first, cut=17)  # in the middle of the third epoch
    graphc.utils.set_random_seed(999)
    second = dropper()
    random.seed(5)
    np.random.seed(5)
    seen = fit(second)
    assert seen[0] == (0 if save_freq == "epoch" else 1) and len(seen) == (14 if save_freq == "epoch" else 13)
    for a, b in zip(second.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert int(second.optimizer.iterations) == 28
    assert not (tmp_path / "backup").exists()


def test_a_backup_of_another_model_is_refused(tmp_path):
    backup = callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)
    dropper().fit(X, Y, verbose=0, callbacks=[backup])
    with pytest.raises(ValueError, match="not of this model"):
        regression().fit(X, Y, verbose=0, callbacks=[backup])
    (tmp_path / "training.npz").write_bytes(b"PK half a file")
    with pytest.raises((ValueError, OSError)):
        dropper().fit(X, Y, verbose=0, callbacks=[backup])


def test_a_damaged_backup_gives_way_to_the_one_before(tmp_path):
    backup = callbacks.BackupAndRestore(tmp_path, double_checkpoint=True, delete_checkpoint=False)
    dropper().fit(X, Y, epochs=3, verbose=0, callbacks=[backup])
    (tmp_path / "training.npz").write_bytes(b"PK half a file")
    assert dropper().fit(X, Y, epochs=4, verbose=0, callbacks=[backup]).epoch == [0, 1, 2, 3]


# ------------------------------------------------------------------------------------------------ TensorBoard


def read(folder):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), {"scalars": 0, "histograms": 0, "images": 0})
    events.Reload()
    return events


def curve(events, tag):
    return [(e.step, pytest.approx(e.value, rel=1e-6)) for e in events.Scalars(tag)]


def test_tensorboard_reads_epochs(tmp_path):
    model = regression()
    board = callbacks.TensorBoard(tmp_path, histogram_freq=2, write_images=True, write_steps_per_second=True)
    history = model.fit(X, Y, epochs=3, validation_split=0.2, verbose=0, callbacks=[board]).history
    train, validation = read(tmp_path / "train"), read(tmp_path / "validation")
    assert set(train.Tags()["scalars"]) == {"epoch_loss", "epoch_mae", "epoch_learning_rate", "epoch_steps_per_second"}
    for name in ("loss", "mae"):
        assert curve(train, f"epoch_{name}") == list(enumerate(history[name]))
        assert curve(validation, f"epoch_{name}") == list(enumerate(history[f"val_{name}"]))
    assert curve(validation, "evaluation_loss_vs_iterations") == list(zip((2, 4, 6), history["val_loss"], strict=True))
    (name,) = [t for t in train.Tags()["histograms"] if "kernel" in t]
    last = train.Histograms(name)[-1]
    assert last.step == 2 and last.histogram_value.num == 3 and sum(last.histogram_value.bucket) == 3
    assert last.histogram_value.max == pytest.approx(model.get_weights()[0].max())
    assert train.Images(name.replace("histogram", "image"))[0].width == 3
    nodes = {n.name: n for n in train.Graph().node}
    assert any(name.startswith("out/") for name in nodes) and all(i in nodes for n in nodes.values() for i in n.input)


def test_tensorboard_reads_batches(tmp_path):
    model, heard = regression(), []
    board = callbacks.TensorBoard(tmp_path, update_freq=2, write_graph=False)
    ear = callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: heard.append(logs["loss"]))
    model.fit(X, Y, batch_size=10, epochs=2, verbose=0, callbacks=[board, ear])
    assert curve(read(tmp_path / "train"), "batch_loss") == [(i, heard[i - 1]) for i in (2, 4, 6, 8, 10)]
    assert not (tmp_path / "validation").exists()


@pytest.mark.parametrize("options", [{"update_freq": "step"}, {"update_freq": 0}, {"profile_batch": 2},
                                     {"embeddings_freq": 1}])
def test_what_tensorboard_refuses(options):
    with pytest.raises(ValueError, match="expected"):
        callbacks.TensorBoard(**options)


def test_event_files(tmp_path):
    # RFC 3720 B.4, masked as TFRecord does
    for words, crc in ((bytes(32), 0x8A9136AA), (bytes(range(32)), 0x46DD794E)):
        assert masked_crc(words) == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    file = EventFile(tmp_path)
    file.scalar("nan", float("nan"), 1)
    file.scalar("at", -2.5, -1)
    file.histogram("empty", np.array([np.nan]), 0)
    file.histogram("wide", np.array([1.0, 2.0, np.inf]), 2**40)
    file.close()
    events = read(tmp_path)
    assert np.isnan(events.Scalars("nan")[0].value) and events.Scalars("at")[0].step == -1
    assert events.Tags()["histograms"] == ["wide"] and events.Histograms("wide")[0].step == 2**40


def test_png():
    pyplot = pytest.importorskip("matplotlib.image")
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    np.testing.assert_allclose(pyplot.imread(io.BytesIO(png(pixels))) * 255, pixels, atol=0.01)


# ------------------------------------------------------------------------------------------------ others


def test_checkpoints_are_models(tmp_path):
    model = regression()
    best = callbacks.ModelCheckpoint(tmp_path / "deep" / "best.keras", save_best_only=True, verbose=1)
    weights = callbacks.ModelCheckpoint(tmp_path / "{epoch:02d}-{val_loss:.2f}.weights.h5", save_weights_only=True)
    history = model.fit(X, Y, epochs=3, validation_split=0.2, verbose=0, callbacks=[best, weights]).history
    loaded = graphc.models.load_model(tmp_path / "deep" / "best.keras")
    assert loaded.evaluate(X[40:], Y[40:], verbose=0)[0] == pytest.approx(min(history["val_loss"]))
    assert int(loaded.optimizer.iterations) == 6
    files = sorted(p.name for p in tmp_path.glob("*.h5"))
    assert files == [f"{i + 1:02d}-{v:.2f}.weights.h5" for i, v in enumerate(history["val_loss"])]
    other = regression()
    other.load_weights(tmp_path / files[-1])
    np.testing.assert_array_equal(other.get_weights()[0], model.get_weights()[0])


@pytest.mark.parametrize(("arguments", "message"), [
    (("m.txt",), "ends in .keras"), (("m.keras", "loss", 0, False, True), r"ends in .weights.h5"),
    (("m.keras", "loss", 0, False, False, "auto", 0), "save_freq=0"), (("m.keras", "loss", 0, False, False, "lowest"),
                                                                        "Unknown mode 'lowest'")])
def test_what_checkpoints_refuse(arguments, message):
    with pytest.raises(ValueError, match=message):
        callbacks.ModelCheckpoint(*arguments)


def test_a_checkpoint_names_unknown_logs(tmp_path):
    check = callbacks.ModelCheckpoint(tmp_path / "{val_los:.2f}.keras")
    with pytest.raises(KeyError, match=r"val_los.*epoch, loss, mae"):
        regression().fit(X, Y, verbose=0, callbacks=[check])


def test_auto_mode_knows_the_metric():
    def rises(monitor, metrics):
        stop = callbacks.EarlyStopping(monitor)
        stop.set_model(regression(metrics=metrics))
        return stop.improves(2.0, 1.0)

    def score(y_true, y_pred):
        return y_pred[..., 0]

    assert not rises("val_loss", []) and not rises("mae", ["mae"]) and not rises("out_loss", [])
    for metric, name in (("accuracy", "val_accuracy"), ("accuracy", "out_accuracy"), (
            graphc.metrics.Precision(name="hits"), "hits")):
        assert rises(name, [metric])
    with pytest.raises(ValueError, match="mode='max' or mode='min'"):
        rises("score", [score])


def test_a_missing_monitor_is_a_warning():
    for callback in (callbacks.EarlyStopping("val_loss"), callbacks.ReduceLROnPlateau("val_los")):
        with pytest.warns(UserWarning, match=r"val_los.*'loss', 'mae'"):
            regression().fit(X, Y, verbose=0, callbacks=[callback])


def test_names_of_keras_2():
    stop = callbacks.EarlyStopping("val_acc", patience=1)
    stop.set_model(regression())
    stop.on_train_begin()
    for epoch in range(3):
        stop.on_epoch_end(epoch, {"val_accuracy": 0.5 - epoch})
    assert stop.best == 0.5 and stop.model.stop_training
    assert callbacks.ReduceLROnPlateau(epsilon=0.5).min_delta == 0.5


def test_early_stopping_restores_though_it_does_not_stop():
    model, seen = regression(optimizer=graphc.optimizers.SGD(0.4)), []
    ear = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append((logs["loss"], model.get_weights())))
    stop = callbacks.EarlyStopping("loss", patience=50, restore_best_weights=True, mode="max")
    model.fit(X, Y, epochs=3, verbose=0, callbacks=[ear, stop])
    assert stop.stopped_epoch == 0 and stop.best_epoch == 0
    np.testing.assert_array_equal(model.get_weights()[0], seen[0][1][0])


def test_terminate_on_nan(capsys):
    y = Y.copy()
    y[20] = np.nan
    model = regression()
    history = model.fit(X, y, batch_size=10, epochs=3, shuffle=False, verbose=0, callbacks=[callbacks.TerminateOnNaN()])
    assert history.epoch == [0] and int(model.optimizer.iterations) == 3
    assert "Batch 2: the loss is nan" in capsys.readouterr().out
    with pytest.raises(RuntimeError, match="Batch 2"):
        regression().fit(X, y, batch_size=10, shuffle=False, verbose=0, callbacks=callbacks.TerminateOnNaN(True))


@graphc.config(backend="native")
def test_callbacks_that_wait_for_epochs_leave_batches_together(tmp_path, monkeypatch):
    def calls(*listeners):
        monkeypatch.setattr(data, "TOGETHER", 1e9)
        model = regression(metrics=[])
        before = counters()["native_calls"]
        model.fit(X, Y, batch_size=8, epochs=2, verbose=0, callbacks=list(listeners))
        return counters()["native_calls"] - before

    few = calls()
    assert few == 5
    assert calls(callbacks.ModelCheckpoint(tmp_path / "m.keras"), callbacks.BackupAndRestore(tmp_path / "b"),
                 callbacks.TensorBoard(tmp_path / "t"), callbacks.CSVLogger(tmp_path / "c.csv")) == few
    assert calls(callbacks.ModelCheckpoint(tmp_path / "m.keras", save_freq=100)) == 14

    class Own(callbacks.ModelCheckpoint):
        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)

    assert calls(Own(tmp_path / "m.keras")) == 14


def test_a_callback_list_of_ones_own():
    heard = []
    ear = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: heard.append(logs),
                                   on_train_batch_end=lambda batch, logs: heard.append(batch))
    model = regression()
    several = callbacks.CallbackList([[ear], callbacks.LearningRateScheduler(lambda epoch: 0.5)], add_history=True,
                                     add_progbar=True, model=model, epochs=1, steps=2, verbose=0)
    several.on_train_begin()
    several.on_epoch_begin(0)
    several.on_train_batch_end(0, logs={"loss": 1.0})
    several.on_train_batch_end(1, {"loss": 1.0})
    several.on_epoch_end(0, {"loss": 2.0})
    several.on_train_end()
    assert heard == [0, 1, {"loss": 2.0, "learning_rate": 0.5}]
    assert model.history is several.history and model.history.history == {"loss": [2.0], "learning_rate": [0.5]}
    heard.clear()
    assert model.fit(X, Y, verbose=0, callbacks=callbacks.CallbackList([ear])) is model.history
    assert heard[:2] == [0, 1]
    with pytest.raises(TypeError, match=r"not a graphc.callbacks.Callback"):
        model.fit(X, Y, callbacks=[print])


def test_lambda_callback_refuses_misspelt_moments():
    with pytest.raises(ValueError, match="Did you mean 'on_epoch_end'"):
        callbacks.LambdaCallback(on_epoc_end=print)


def test_a_scheduler_gives_numbers():
    for schedule in (lambda epoch: "fast", lambda epoch, rate: None):
        with pytest.raises(ValueError, match="expected a number"):
            regression().fit(X, Y, verbose=0, callbacks=[callbacks.LearningRateScheduler(schedule)])
    with pytest.raises(ValueError, match="factor below 1"):
        callbacks.ReduceLROnPlateau(factor=1.0)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progbar(monkeypatch, capsys):
    def draw(out, **options):
        monkeypatch.setattr(sys, "stdout", out)
        bar = graphc.utils.Progbar(3, interval=-1, **options)
        for i in range(3):
            bar.update(i + 1, [("loss", 3.0 * i), ("rate", i)])
        return out.getvalue()

    text = draw(Terminal())
    assert text.count("\r") == 4 and "2/3 [" in text and "loss: 1.5000" in text and text.endswith("\n")
    assert "rate: 2.0000" in draw(Terminal(), stateful_metrics=["rate"])
    lines = draw(io.StringIO(), verbose=2).splitlines()
    assert len(lines) == 1 and re.match(r"3/3 - 0s - .*/step - loss: 6.0000", lines[0])
    assert draw(io.StringIO(), verbose=0) == ""
    bar = graphc.utils.Progbar(None, unit_name="page")
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    bar.add(2)
    bar.add(2, [("loss", 1.0)])
    bar.update(5, finalize=True)
    with pytest.raises(ValueError, match="give one of them"):
        graphc.utils.Progbar(3, stateful_metrics=[], stateless_metrics=[])


def test_a_progress_line_of_a_callback_takes_the_place_of_the_own(capsys):
    model = regression()
    model.fit(X, Y, epochs=2, callbacks=[callbacks.ProgbarLogger()], validation_data=(X, Y))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and lines[0] == "Epoch 1/2" and "val_mae" in lines[3]
    model.evaluate(X, Y, callbacks=[callbacks.ProgbarLogger()])
    model.predict(X, callbacks=[callbacks.ProgbarLogger()])
    assert len(capsys.readouterr().out.splitlines()) == 2


# ------------------------------------------------------------------------------------------------ structures


def two():
    a, b = graphc.Input((3,), name="a"), graphc.Input((2,), name="b")
    merged = layers.Concatenate()([a, b])
    model = graphc.Model({"a": a, "b": b}, {"p": layers.Dense(1, name="p")(merged), "q": layers.Dense(2, name="q")(b)})
    model.compile("sgd", {"p": "mse", "q": "mse"})
    return model


def test_generators_of_structures():
    x = {"a": X, "b": X[:, :2]}
    y = {"p": Y, "q": X[:, 1:]}

    def batches():
        for at in (slice(i, i + 8) for i in range(0, 50, 8)):
            yield {k: v[at] for k, v in x.items()}, {k: v[at] for k, v in y.items()}

    model, other = two(), two()
    other.set_weights(model.get_weights())
    got = model.fit(batches(), verbose=0).history
    assert got == other.fit(x, y, batch_size=8, shuffle=False, verbose=0).history and len(got) == 3
    outputs = model.predict(batches(), verbose=0)
    for name, array in model.predict(x, verbose=0).items():
        np.testing.assert_array_equal(outputs[name], array)
    heard = []
    model.predict(x, verbose=0, callbacks=[callbacks.LambdaCallback(
        on_predict_batch_end=lambda batch, logs: heard.append(logs["outputs"]["q"].shape))])
    assert heard == [(32, 2), (18, 2)]
    empty = model.predict({k: v[:0] for k, v in x.items()}, verbose=0)
    assert empty["p"].shape == (0, 1) and empty["q"].shape == (0, 2)
