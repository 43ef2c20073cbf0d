"""The models that are measured: builders in Keras's style, their data, and what they cost at least.

A builder takes a module that looks like Keras (Keras, graphc, or the `Outline` here, which only notes the layers down).
Layers with weights have names, so that one set of weights can be loaded into every contender.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from types import SimpleNamespace
from typing import Any

import numpy as np

__all__ = ["MODELS", "SWEEPS", "Model", "Node"]


@dataclass(frozen=True)
class Model:
    """A network, the batch size of its tutorial, its loss, and the kind of its data.

    `build(keras, dropout)` gives the network in the style of Keras; `dropout` False replaces every rate by 0.
    `inputs` is the shape of one sample, `words` the number of words where samples are made of words. `classes` is the
    number of classes, 0 for a regression, 2 for one probability.
    """

    name: str
    title: str
    batch: int
    build: Callable[..., Any]
    inputs: tuple[int, ...]
    loss: str
    classes: int = 0
    words: int = 0
    labels: tuple[int, ...] = ()  # the shape of one label
    drops: bool = False  # whether there is dropout in it

    def data(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Random samples and labels, the same in every process."""
        rng = np.random.default_rng(7)
        shape = (rows, *self.inputs)
        x = rng.integers(0, self.words, shape, np.int32) if self.words else rng.random(shape, np.float32)
        if not self.classes:
            return x, x.reshape(rows, -1)[:, :1] * 2 - 1
        y = rng.integers(0, self.classes, (rows, *self.labels))
        return x, y.astype(np.float32)[:, None] if self.classes == 2 else y.astype(np.int32)

    @cached_property
    def outline(self) -> tuple[Node, ...]:
        """The layers in the order of their calls."""
        output = self.build(OUTLINE, dropout=True)
        found: dict[int, Node] = {}

        def visit(node: Node) -> None:
            for source in node.sources:
                visit(source)
            found.setdefault(id(node), node)

        visit(output)
        return tuple(found.values())

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k != "outline"}

    @property
    def parameters(self) -> int:
        return sum(node.parameters for node in self.outline)

    def operations(self, task: str, rows: int) -> int:
        """Floating-point operations of all contractions of a step, 2 for a multiply-add; the rest counts as none."""
        if task == "predict":
            return rows * sum(node.operations for node in self.outline)
        return rows * sum(node.operations * (3 if node.has_input_gradient else 2) for node in self.outline)

    def bytes(self, task: str, rows: int) -> int:
        """Bytes that a step moves at least: samples and weights read; in training also Adam's two averages, and all
        three written."""
        return 4 * (rows * math.prod(self.inputs) + self.parameters * (6 if task == "train" else 1))


# ------------------------------------------------------------------------------------------------------ outlines

@dataclass(eq=False)
class Node:
    """One layer of an outline: its class, its options, the layers it reads, and the shape of one of its samples."""

    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    sources: tuple[Node, ...] = ()
    shape: tuple[int, ...] = ()
    operations: int = 0  # of the contractions, for one sample
    parameters: int = 0

    @property
    def name(self) -> str:
        return self.options.get("name", "")

    @property
    def has_input_gradient(self) -> bool:
        """Whether something before this layer is trained."""
        return any(s.parameters or s.has_input_gradient for s in self.sources)

    def __call__(self, *args: Any) -> Node:
        """Apply the layer: a copy of the node with sources, shape and cost."""
        sources = tuple(args[0]) if isinstance(args[0], list) else args
        node = Node(self.kind, self.options, tuple(dict.fromkeys(sources)))
        node.shape, node.operations, node.parameters = _measure(self.kind, self.options, sources[0].shape)
        return node


def _measure(kind: str, options: dict[str, Any], x: tuple[int, ...]) -> tuple[tuple[int, ...], int, int]:
    """The shape of a layer's result, the operations of its contractions, and its number of parameters."""
    match kind:
        case "Dense":
            kernel, shape = x[-1] * options["units"], (*x[:-1], options["units"])
            return shape, 2 * kernel * math.prod(x[:-1]), kernel + options["units"]
        case "Conv2D":
            filters, size, step = options["filters"], options["kernel_size"], options.get("strides", 1)
            lost = 0 if options.get("padding") == "same" else size - 1
            shape = (*(-(-(n - lost) // step) for n in x[:2]), filters)
            kernel = size * size * x[-1] * filters
            return shape, 2 * kernel * shape[0] * shape[1], kernel + filters * options.get("use_bias", True)
        case "MaxPooling2D":
            return (x[0] // 2, x[1] // 2, x[2]), 0, 0
        case "Flatten":
            return (math.prod(x),), 0, 0
        case "GlobalAveragePooling2D":
            return x[-1:], 0, 0
        case "Embedding":
            return (*x, options["output_dim"]), 0, options["input_dim"] * options["output_dim"]
        case "LSTM":
            units = options["units"]
            kernels = (x[-1] + units) * 4 * units
            return (units,), 2 * kernels * x[0], kernels + 4 * units
        case "MultiHeadAttention":
            inner = options["num_heads"] * options["key_dim"]
            return x, x[0] * (8 * inner * x[-1] + 4 * x[0] * inner), 4 * inner * x[-1] + 3 * inner + x[-1]
        case "BatchNormalization" | "LayerNormalization":
            return x, 0, 2 * x[-1]
        case "Activation" | "Add" | "Dropout":
            return x, 0, 0
    raise ValueError(f"an outline knows no layer {kind!r}")


_FIRST = {"Dense": ("units",), "Conv2D": ("filters", "kernel_size"), "Dropout": ("rate",), "LSTM": ("units",),
          "Activation": ("activation",), "Embedding": ("input_dim", "output_dim")}


class _Layers:
    """Layer classes that make nodes."""

    def __getattr__(self, kind: str) -> Callable[..., Node]:
        def make(*args: Any, **options: Any) -> Node:
            return Node(kind, dict(zip(_FIRST.get(kind, ()), args, strict=False)) | options)

        return make


def _sequential(parts: list[Node]) -> Node:
    value = parts[0]
    for layer in parts[1:]:
        value = layer(value)
    return value


OUTLINE = SimpleNamespace(
    layers=_Layers(), Sequential=_sequential, Model=lambda inputs, outputs: outputs,
    Input=lambda shape, dtype="float32": Node("Input", shape=tuple(shape)))


# ------------------------------------------------------------------------------------------------------ builders

def dense_network(keras: Any, dropout: bool, sizes: tuple[int, ...], activation: str | None) -> Any:
    """Dense layers of these sizes, the first being the inputs; relu between them."""
    layers = keras.layers
    hidden = [layers.Dense(n, activation="relu", name=f"dense_{i}") for i, n in enumerate(sizes[1:-1])]
    return keras.Sequential([keras.Input((sizes[0],)), *hidden,
                             layers.Dense(sizes[-1], activation=activation, name="output")])


def image_network(keras: Any, dropout: bool, shape: tuple[int, ...], rate: float) -> Any:
    """Two convolutions with pooling, then one dense layer: the tutorials' networks for images."""
    layers = keras.layers
    return keras.Sequential([
        keras.Input(shape), layers.Conv2D(32, 3, activation="relu", name="conv_0"), layers.MaxPooling2D(),
        layers.Conv2D(64, 3, activation="relu", name="conv_1"), layers.MaxPooling2D(), layers.Flatten(),
        *([layers.Dropout(rate if dropout else 0.0)] if rate else []),
        layers.Dense(10, activation="softmax", name="output")])


def recurrent_network(keras: Any, dropout: bool, words: int, length: int, width: int) -> Any:
    """Words -> vectors -> LSTM -> one probability."""
    layers = keras.layers
    return keras.Sequential([
        keras.Input((length,), dtype="int32"), layers.Embedding(words, width, name="embedding"),
        layers.LSTM(width, name="lstm"), layers.Dense(1, activation="sigmoid", name="output")])


def residual_network(keras: Any, dropout: bool, blocks: int = 3) -> Any:
    """ResNet-20 for CIFAR, with 1x1 convolutions on the shortcuts. K. He et al., 2015."""
    layers, inputs = keras.layers, keras.Input((32, 32, 3))

    def convolve(x: Any, filters: int, size: int, strides: int, name: str) -> Any:
        x = layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False, name=name)(x)
        return layers.BatchNormalization(name=f"{name}_norm")(x)

    x = layers.Activation("relu")(convolve(inputs, 16, 3, 1, "stem"))
    for stage, filters in enumerate((16, 32, 64)):
        for block in range(blocks):
            name, strides = f"stage_{stage}_{block}", 2 if stage and not block else 1
            y = layers.Activation("relu")(convolve(x, filters, 3, strides, f"{name}_a"))
            y = convolve(y, filters, 3, 1, f"{name}_b")
            shortcut = convolve(x, filters, 1, strides, f"{name}_shortcut") if strides > 1 else x
            x = layers.Activation("relu")(layers.Add()([y, shortcut]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10, activation="softmax", name="output")(x))


def attention_network(keras: Any, dropout: bool, words: int, length: int, width: int, heads: int, blocks: int) -> Any:
    """Transformer encoder blocks over the characters of a text, a prediction at every place."""
    layers, inputs = keras.layers, keras.Input((length,), dtype="int32")
    x = layers.Embedding(words, width, name="embedding")(inputs)
    for i in range(blocks):
        y = layers.LayerNormalization(name=f"norm_{i}_a")(x)
        y = layers.MultiHeadAttention(num_heads=heads, key_dim=width // heads, name=f"attention_{i}")(y, y)
        x = layers.Add()([x, y])
        y = layers.LayerNormalization(name=f"norm_{i}_b")(x)
        y = layers.Dense(4 * width, activation="relu", name=f"widen_{i}")(y)
        x = layers.Add()([x, layers.Dense(width, name=f"narrow_{i}")(y)])
    x = layers.LayerNormalization(name="norm")(x)
    return keras.Model(inputs, layers.Dense(words, activation="softmax", name="output")(x))


# -------------------------------------------------------------------------------------------------------- models

_CLASSES = "sparse_categorical_crossentropy"


def dense(name: str, title: str, batch: int, sizes: tuple[int, ...]) -> Model:
    """A network of dense layers: of classes where it ends in more than one unit, else a regression."""
    classes = sizes[-1] if sizes[-1] > 1 else 0
    build = partial(dense_network, sizes=sizes, activation="softmax" if classes else None)
    return Model(name, title, batch, build, sizes[:1], _CLASSES if classes else "mse", classes)


def images(name: str, title: str, batch: int, shape: tuple[int, ...], rate: float = 0.0) -> Model:
    """A convolutional network for images of ten classes."""
    return Model(name, title, batch, partial(image_network, shape=shape, rate=rate), shape, _CLASSES, 10,
                 drops=rate > 0)


MODELS = {m.name: m for m in (
    dense("linear", "linear 3-1", 32, (3, 1)),
    dense("mlp", "MLP 784-128-10", 32, (784, 128, 10)),
    dense("housing", "8-512-512-512-1", 32, (8, 512, 512, 512, 1)),
    images("mnist_cnn", "MNIST CNN", 128, (28, 28, 1), 0.5),
    images("cifar_cnn", "CIFAR CNN", 64, (32, 32, 3)),
    Model("imdb_lstm", "IMDB LSTM, T=100", 64, partial(recurrent_network, words=10_000, length=100, width=128), (100,),
          "binary_crossentropy", 2, words=10_000),
    Model("resnet20", "ResNet-20, 32x32", 32, residual_network, (32, 32, 3), _CLASSES, 10),
    Model("transformer", "Transformer 2 x 256 x 4, T=64", 16,
          partial(attention_network, words=65, length=64, width=256, heads=4, blocks=2), (64,), _CLASSES, 65, words=65,
          labels=(64,)),
)}

# one model for each point of a sweep; the sweep over threads repeats one model
SWEEPS: dict[str, dict[int, Model]] = {
    "batch": {n: dense("batch", "MLP 784-128-10", n, (784, 128, 10)) for n in (1, 4, 16, 64, 256, 1024, 4096)},
    "width": {n: dense(f"width_{n}", f"{n}-{n}-{n}-10", 64, (n, n, n, 10)) for n in (32, 64, 128, 256, 512, 1024)},
    "depth": {n: dense(f"depth_{n}", f"{n} layers of 256", 64, (256,) * n + (10,)) for n in (1, 2, 4, 8, 16, 32)},
    "image": {n: images(f"image_{n}", f"CNN on {n}x{n}", 32, (n, n, 3)) for n in (12, 16, 32, 64, 128)},
}
