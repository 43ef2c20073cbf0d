"""`summary` prints what Keras 3.15 does; `plot_model` draws what Keras draws."""

from __future__ import annotations

import io
import re
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

import graphc
from graphc import layers
from graphc.utils import model_to_dot, plot_model


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")


def tutorial():
    return graphc.Sequential([
        layers.Conv2D(32, (3, 3), activation="relu", input_shape=(28, 28, 1)), layers.MaxPooling2D((2, 2)),
        layers.Conv2D(64, (3, 3), activation="relu"), layers.MaxPooling2D((2, 2)), layers.Flatten(),
        layers.Dropout(0.5), layers.Dense(10, activation="softmax")])


def small(*more, **options):
    return graphc.Sequential([layers.Dense(4, activation="relu", input_shape=(3,)), *more, layers.Dense(1)], **options)


def summary(model, **options):
    texts = []
    model.summary(print_fn=texts.append, **options)
    (text,) = texts
    return text


def rows_of(text):
    return [re.split(r"\s*│\s*", line)[1:-1] for line in text.splitlines() if "│" in line]


class Own(graphc.Model):
    def __init__(self, inner):
        super().__init__(name="own")
        self.first, self.drop, self.inner, self.last = layers.Dense(5), layers.Dropout(0.5), inner, layers.Dense(2)

    def call(self, inputs):
        return self.last(self.inner(self.drop(self.first(inputs))))


# ----------------------------------------------------------------------------------------------------- summary

def test_the_text_of_keras():
    """What keras 3.15 prints for the same model, colours apart."""
    assert summary(tutorial()) == """\
Model: "sequential"
┏━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━┓
┃ Layer (type)                         ┃ Output Shape                ┃         Param # ┃
┡━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━┩
│ conv2d (Conv2D)                      │ (None, 26, 26, 32)          │             320 │
├──────────────────────────────────────┼─────────────────────────────┼─────────────────┤
│ max_pooling2d (MaxPooling2D)         │ (None, 13, 13, 32)          │               0 │
├──────────────────────────────────────┼─────────────────────────────┼─────────────────┤
│ conv2d_1 (Conv2D)                    │ (None, 11, 11, 64)          │          18,496 │
├──────────────────────────────────────┼─────────────────────────────┼─────────────────┤
│ max_pooling2d_1 (MaxPooling2D)       │ (None, 5, 5, 64)            │               0 │
├──────────────────────────────────────┼─────────────────────────────┼─────────────────┤
│ flatten (Flatten)                    │ (None, 1600)                │               0 │
├──────────────────────────────────────┼─────────────────────────────┼─────────────────┤
│ dropout (Dropout)                    │ (None, 1600)                │               0 │
├──────────────────────────────────────┼─────────────────────────────┼─────────────────┤
│ dense (Dense)                        │ (None, 10)                  │          16,010 │
└──────────────────────────────────────┴─────────────────────────────┴─────────────────┘
 Total params: 34,826 (136.04 KB)
 Trainable params: 34,826 (136.04 KB)
 Non-trainable params: 0 (0.00 B)"""


def test_narrow_tables_wrap_as_those_of_keras():
    model = graphc.Sequential([layers.Conv2D(32, (3, 3), input_shape=(28, 28, 1)), layers.MaxPooling2D((2, 2))])
    assert summary(model, line_length=41, show_trainable=True).splitlines()[1:11] == """\
┏━━━━━━━━━━━━━━━┳━━━━━━━━━━━━┳━━━━━┳━━━━┓
┃               ┃ Output     ┃ Pa… ┃    ┃
┃ Layer (type)  ┃ Shape      ┃   # ┃ T… ┃
┡━━━━━━━━━━━━━━━╇━━━━━━━━━━━━╇━━━━━╇━━━━┩
│ conv2d        │ (None, 26, │ 320 │ Y  │
│ (Conv2D)      │ 26, 32)    │     │    │
├───────────────┼────────────┼─────┼────┤
│ max_pooling2d │ (None, 13, │   0 │ -  │
│ (MaxPooling2… │ 13, 32)    │     │    │
└───────────────┴────────────┴─────┴────┘""".splitlines()


def test_width_follows_the_terminal_and_line_length(monkeypatch):
    for columns, width in ((120, 88), (80, 76)):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert {len(line) for line in summary(small()).splitlines()[1:-3]} == {width}
    for width in (40, 61, 100, 140):
        for show in (False, True):
            lines = summary(small(), line_length=width, show_trainable=show).splitlines()[1:-3]
            assert {len(line) for line in lines} == {width}
    ends = [i for i, c in enumerate(summary(small(), line_length=100, positions=[0.2, 0.5, 1]).splitlines()[1])
            if c in "┏┳┓"]
    assert ends == [0, 20, 49, 99]
    model = small()
    assert summary(model, positions=[20, 50, 100]) == summary(model, positions=[0.2, 0.5, 1.0])


def test_what_the_optimizer_remembers_is_no_part_of_the_total(rng):
    model = small()
    model.compile("adam", "mse")
    assert "Optimizer" not in summary(model)
    model.fit(rng.standard_normal((8, 3)), rng.standard_normal(8), verbose=0)
    model.layers[0].trainable = False
    assert summary(model).splitlines()[-4:] == [
        " Total params: 21 (84.00 B)", " Trainable params: 5 (20.00 B)", " Non-trainable params: 16 (64.00 B)",
        " Optimizer params: 44 (180.00 B)"]


def test_show_trainable():
    model = small(layers.Dropout(0.5))
    model.layers[0].trainable = False
    rows = rows_of(summary(model, show_trainable=True))
    assert rows == [["dense (Dense)", "(None, 4)", "16", "N"], ["dropout (Dropout)", "(None, 4)", "0", "-"],
                    ["dense_1 (Dense)", "(None, 1)", "5", "Y"]]


def test_nested_models_and_models_of_ones_own(rng):
    inner = graphc.Sequential([layers.Dense(3), layers.Dense(4)], name="inner")
    model = Own(inner)
    assert summary(model).count("0 (unbuilt)") == 4 and summary(model).count(" ? ") == 4
    model(rng.standard_normal((2, 3)))
    rows = rows_of(summary(model, expand_nested=True))
    assert rows == [
        ["dense_2 (Dense)", "(None, 5)", "20"], ["dropout (Dropout)", "(None, 5)", "0"],
        ["inner (Sequential)", "(None, 4)", "34"], ["└ dense (Dense)", "(None, 3)", "18"],
        ["└ dense_1 (Dense)", "(None, 4)", "16"], ["dense_3 (Dense)", "(None, 2)", "10"]]
    assert "└" not in summary(model).split("└──")[0]


def test_layer_range():
    names = re.findall(r"│ (\w+) \(", summary(tutorial(), layer_range=["conv2d_1", "flat"]))
    assert names == ["conv2d_1", "max_pooling2d_1", "flatten"]
    assert re.findall(r"│ (\w+) \(", summary(tutorial(), layer_range=("drop", "flat"))) == ["flatten_1", "dropout_1"]


@pytest.mark.parametrize(("options", "message"), [
    ({"layer_range": ["dense"]}, "two layers"), ({"layer_range": "ab"}, "two layers"),
    ({"layer_range": ["dense", "x"]}, "no layer is called 'x'. Layers: dense, dense_1"),
    ({"line_length": 12}, "line_length=12.*too narrow"), ({"positions": [0.5, 1.0]}, "expected 3 increasing"),
    ({"positions": [0.5, 0.2, 1.0]}, "expected 3 increasing"),
])
def test_wrong_arguments_of_summary(options, message):
    with pytest.raises(ValueError, match=message):
        small().summary(**options)


def test_a_terminal_without_the_characters_of_tables(monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    small().summary()
    out.flush()
    text = out.buffer.getvalue().decode()
    assert "| dense (Dense)" in text and " Total params: 21 (84.00 B)" in text and "+===" in text


# ------------------------------------------------------------------------------------------------------- plots

EVERYTHING = {"show_shapes": True, "show_dtype": True, "show_layer_names": True, "show_layer_activations": True,
              "show_trainable": True}


def texts_of(path):
    root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
    return [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]


def test_plot_as_svg(tmp_path):
    assert plot_model(tutorial(), tmp_path / "plain.svg") is None
    assert texts_of(tmp_path / "plain.svg") == [type(layer).__name__ for layer in tutorial().layers]
    model = small(name="small")
    model.layers[0].trainable = False
    plot_model(model, str(tmp_path / "full.svg"), **EVERYTHING)
    names = [layer.name for layer in model.layers]
    assert texts_of(tmp_path / "full.svg") == [
        names[0], "(Dense)", "Activation:", "relu", "Input shape:", "(None, 3)", "Output shape:", "(None, 4)",
        "Output dtype:", "float32", "Non-trainable",
        names[1], "(Dense)", "Activation:", "linear", "Input shape:", "(None, 4)", "Output shape:", "(None, 1)",
        "Output dtype:", "float32", "Trainable"]


@pytest.mark.parametrize("rankdir", ["TB", "BT", "LR", "RL"])
def test_direction_of_plots(tmp_path, rankdir):
    plot_model(small(), tmp_path / "m.svg", rankdir=rankdir, show_layer_names=True)
    root = ElementTree.fromstring((tmp_path / "m.svg").read_text())
    at = {t.text: (float(t.get("x")), float(t.get("y"))) for t in root.iter("{http://www.w3.org/2000/svg}text")}
    step = np.subtract(at["dense_1"], at["dense"])
    assert step @ {"TB": (0, 1), "BT": (0, -1), "LR": (1, 0), "RL": (-1, 0)}[rankdir] > 20


def test_plot_of_nested_models(tmp_path):
    inner = graphc.Sequential([layers.Dense(3), layers.Dense(4)], name="inner")
    model = small(inner)
    plot_model(model, tmp_path / "closed.svg")
    assert texts_of(tmp_path / "closed.svg") == ["Dense", "Sequential", "Dense"]
    plot_model(model, tmp_path / "open.svg", expand_nested=True)
    assert texts_of(tmp_path / "open.svg") == ["inner", "Dense", "Dense", "Dense", "Dense"]
    assert (tmp_path / "open.svg").read_text().count("stroke-dasharray") == 1
    text = model_to_dot(model, expand_nested=True)
    assert re.findall(r"(n\d) -> (n\d)", text) == [("n1", "n2"), ("n0", "n1"), ("n2", "n3")]
    assert 'subgraph "cluster_inner" {' in text and text.count("{") == text.count("}")


def test_model_to_dot(tmp_path):
    model = small()
    text = model_to_dot(model, show_shapes=True, rankdir="LR", dpi=96, splines="curved")
    assert text.startswith('digraph "sequential" {\n  graph [rankdir=LR, concentrate=true, dpi=96, splines=curved];')
    assert "<b>dense</b> (Dense)" in text and "Output shape: <b>(None, 4)</b>" in text and "n0 -> n1" in text
    plot_model(model, tmp_path / "m.dot", show_layer_names=True, show_shapes=True, rankdir="LR", dpi=96)
    assert (tmp_path / "m.dot").read_text() == text.replace("curved", "ortho")
    assert model_to_dot(model, subgraph=True).startswith('subgraph "cluster_sequential" {')


def test_a_model_of_ones_own_is_one_card(tmp_path, rng):
    model = Own(graphc.Sequential([layers.Dense(4)]))
    plot_model(model, tmp_path / "unbuilt.svg")
    model(rng.standard_normal((2, 3)))
    plot_model(model, tmp_path / "built.svg", show_shapes=True)
    assert texts_of(tmp_path / "unbuilt.svg") == ["Own"]
    assert texts_of(tmp_path / "built.svg") == ["Own", "Input shape:", "(None, 3)", "Output shape:", "(None, 2)"]


def test_wrong_arguments_of_plots(tmp_path):
    with pytest.raises(ValueError, match=r"rankdir='XY'.*TB, BT, LR, RL"):
        plot_model(small(), tmp_path / "m.svg", rankdir="XY")
    with pytest.raises(ValueError, match=r"cannot write '\.gif' files, expected \.png, \.pdf, \.svg or \.dot"):
        plot_model(small(), tmp_path / "m.gif")
    with pytest.raises(ValueError, match="no input shape yet"):
        plot_model(graphc.Sequential([layers.Dense(2)]), tmp_path / "m.svg", show_shapes=True)
    with pytest.raises(TypeError, match="expected a model"):
        plot_model(layers.Dense(2), tmp_path / "m.svg")
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install graphc\[plot\]"):
        plot_model(small(), tmp_path / "m.png")
    with pytest.raises(ImportError, match=r"write \.pdf files"):
        plot_model(small(), tmp_path / "m.pdf")


def test_plot_as_png_and_pdf(tmp_path):
    image = pytest.importorskip("matplotlib.image", reason="needs the extra `plot`")
    for dpi in (72, 144):
        plot_model(tutorial(), tmp_path / f"{dpi}.png", dpi=dpi, **EVERYTHING)
    low, high = (image.imread(tmp_path / f"{dpi}.png") for dpi in (72, 144))
    assert abs(high.shape[0] / low.shape[0] - 2) < 0.02 and low.shape[0] > 400
    assert (high[..., :3].sum(-1) < 0.1).mean() > 0.1, "headings are black"
    plot_model(small(), str(tmp_path / "named"))
    assert (tmp_path / "named.png").exists()
    plot_model(small(), tmp_path / "m.pdf")
    assert (tmp_path / "m.pdf").read_bytes().startswith(b"%PDF")
