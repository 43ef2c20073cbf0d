"""Scans: what a function of one step means, its text, and its gradient."""

from __future__ import annotations

import numpy as np
import pytest
from samples import check_gradients, graph_of

from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.evaluate import by_definition, evaluate
from graphc.ir.parser import parse
from graphc.ir.types import dim
from graphc.ir.verify import verify
from graphc.passes.infer import infer

T, N = dim("T"), dim("N")


def recurrence(reverse=False, dtype="f32"):
    """An LSTM of 3 features and 4 units with a mask: its inputs' arrays, last states and outputs."""
    x, first, mask = f.input("x", (T, N, 3), dtype), f.input("first", (N, 4), dtype), f.input("mask", (T, N), "bool")
    w, u, b = f.input("w", (3, 16), dtype), f.input("u", (4, 16), dtype), f.input("b", (16,), dtype)

    def step(states, inputs):
        (h, c), (xt, there) = states, inputs
        z = f.einsum("nf,fg->ng", xt, w) + f.einsum("nh,hg->ng", h, u) + b
        i, forget, new, o = (f.slice(z, (0, 4 * k), (N, 4)) for k in range(4))
        after = f.sigmoid(forget) * c + f.sigmoid(i) * f.tanh(new)
        there = f.broadcast(there, h.shape, (0,))
        h, c = f.where(there, f.sigmoid(o) * f.tanh(after), h), f.where(there, after, c)
        return (h, c), h

    return f.scan(step, (first, f.full((N, 4), 0.5, dtype)), (x, mask), reverse=reverse)


def arrays(rng, steps=5, rows=2, dtype=np.float32):
    shapes = {"x": (steps, rows, 3), "first": (rows, 4), "w": (3, 16), "u": (4, 16), "b": (16,)}
    made = {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}
    return made | {"mask": rng.random((steps, rows)) > 0.3}


def by_hand(a, reverse):
    """The outputs of the recurrence, and its last states."""
    h, c, outputs = a["first"], np.full_like(a["first"], 0.5), []

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    for t in range(len(a["x"]))[::-1 if reverse else 1]:
        i, forget, new, o = np.split(a["x"][t] @ a["w"] + h @ a["u"] + a["b"], 4, 1)
        after = sigmoid(forget) * c + sigmoid(i) * np.tanh(new)
        there = a["mask"][t][:, None]
        h, c = np.where(there, sigmoid(o) * np.tanh(after), h), np.where(there, after, c)
        outputs.append(h)
    return np.array(outputs[::-1] if reverse else outputs), h, c


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("interpreter", ["reference", "definition"])
def test_meaning(rng, reverse, interpreter):
    (h, c), ys = recurrence(reverse)
    graph, given = graph_of({"ys": ys, "h": h, "c": c}), arrays(rng)
    verify(graph)
    found, _ = evaluate(graph, given, *([by_definition] if interpreter == "definition" else []))
    for got, want in zip(found.values(), by_hand(given, reverse), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_text_is_read_back():
    (h, c), ys = recurrence()
    graph = graph_of({"ys": ys, "h": h, "c": c})
    again = parse(str(graph))
    verify(again)
    assert str(again) == str(graph)
    assert "scan<shifts=(0, 0), carries=2, length=T, reverse=False, kept=(True, True)>(%x, %mask, %first" in str(graph)
    assert str(infer(parse(str(graph)), {"T": 5, "N": 2})).count("f32[6,2,4]") == 4


@pytest.mark.parametrize("reverse", [False, True])
def test_gradient(rng, reverse):
    (h, c), ys = recurrence(reverse, "f64")
    weights = f.input("weights", ys.shape, "f64")
    loss = f.sum(ys * weights) + f.sum(f.square(c)) + f.sum(h)
    check_gradients(loss, arrays(rng, dtype=np.float64) | {"weights": rng.standard_normal((5, 2, 4))})


def test_gradient_of_a_loop_in_a_loop(rng):
    x = f.input("x", (3, 2), "f64")

    def outer(total, row):
        def inner(power, _):
            return power * row, power

        last, powers = f.scan(inner, total, None, length=2)
        return last, f.sum(powers)

    last, sums = f.scan(outer, f.full((2,), 1.0, "f64"), x)
    check_gradients(f.sum(last) + f.sum(f.square(sums)), {"x": rng.standard_normal((3, 2))})


def test_what_a_step_reads_besides_its_arguments_is_constant(rng):
    x, w = f.input("x", (4, 3)), f.input("w", (3,))
    doubled = w + w
    total, _ = f.scan(lambda carry, xt: (carry + xt * doubled, None), f.full((3,), 0.0), x)
    given = {"x": rng.standard_normal((4, 3)).astype(np.float32), "w": rng.standard_normal(3).astype(np.float32)}
    (found,) = evaluate(graph_of({"total": total}), given)[0].values()
    np.testing.assert_allclose(found, (given["x"] * 2 * given["w"]).sum(0), rtol=1e-5)


def test_errors():
    x = f.input("x", (4, 3))
    with pytest.raises(ShapeError, match=r"began with the carry \[f32\[3\]\], and a step gives \[f32\[\]\]"):
        f.scan(lambda carry, xt: (f.sum(carry), None), f.full((3,), 0.0), x)
    with pytest.raises(ShapeError, match="needs xs with an axis of steps, or a length"):
        f.scan(lambda carry, _: (carry, None), f.full((3,), 0.0))
    with pytest.raises(ShapeError, match="scan of 4 steps received f32\\[5\\]"):
        f.scan(lambda carry, _: (carry, None), f.full((3,), 0.0), (x, f.input("y", (5,))))
