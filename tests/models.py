"""Graphs that several tests use."""

from __future__ import annotations

from graphc.ir import functions as f
from graphc.ir.graph import Graph, origin
from graphc.ir.types import dim

N = dim("N")


def cnn(dtype="f32") -> Graph:
    """A training step: convolution, overlapping pooling, dropout, dense, crossentropy, gradient descent."""
    x, y = f.input("x", (N, 8, 8, 2), dtype), f.input("y", (N, 3), dtype)
    w, b = f.state("conv/kernel", (3, 3, 2, 4), dtype), f.state("conv/bias", (4,), dtype)
    v = f.state("dense/kernel", (36, 3), dtype)
    key = f.state("key", (2,), "u32")
    with origin("conv"):
        h = f.relu(f.conv(x, w, padding="same") + b)
    with origin("pool"):
        h = f.max_pool(h, 3, 2)
    h = f.dropout(f.reshape(h, (N, -1)), 0.25, key, 1)
    with origin("dense"):
        p = f.softmax(f.matmul(h, v))
    with origin("loss"):
        p = p / f.sum(p, -1, keepdims=True)
        loss = f.mean(-f.sum(y * f.log(f.clip(p, 1e-7, 1 - 1e-7)), -1))
    weights = (w, b, v)
    gradients = f.gradient(loss, weights)
    with origin("sgd"):
        updates = tuple((s, s - 0.1 * g) for s, g in zip(weights, gradients, strict=True))
    return Graph("train", (x, y), (w, b, v, key), (("loss", loss),), (*updates, (key, key + 1)))
