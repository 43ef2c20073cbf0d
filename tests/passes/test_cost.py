"""What kernels cost, against counts by hand; and which layer and which part of a step they belong to."""

from __future__ import annotations

import pytest
from samples import graph_of

import graphc
from graphc.ir import functions as f
from graphc.ir.errors import LoweringError, ShapeError
from graphc.ir.expr import scalar
from graphc.ir.graph import Graph, apply, layer_of, origin, phase_of
from graphc.ir.op import OPS, Elementwise, Op
from graphc.ir.ops.structure import Kernel
from graphc.ir.types import dim
from graphc.passes.cost import Cost, cost, lead
from graphc.passes.fuse import fuse
from graphc.passes.pipeline import GRAPH_PASSES, run
from graphc.passes.structure import structure

N, ROWS = dim("N"), 12


def x(*shape, dtype="f32", label="x"):
    return f.input(label, shape, dtype)


def kernels(graph):
    return [v for v in graph.values() if isinstance(v.op, Kernel)]


def only(*outputs):
    """The kernel that these values are."""
    (kernel,) = kernels(fuse(graph_of({f"y{k}": v for k, v in enumerate(outputs)})))
    return kernel


def total(*outputs):
    return cost(only(*outputs), {"N": ROWS})


# ------------------------------------------------------------------------------------------------- counts by hand

def test_dense():
    y = f.relu(x(N, 20) @ x(20, 30, label="w") + x(30, label="b"))
    assert total(y) == Cost(2 * ROWS * 20 * 30 + 2 * ROWS * 30, 4 * (ROWS * 20 + 20 * 30 + 30 + ROWS * 30))


@pytest.mark.parametrize(("strides", "positions"), [(1, 7 * 7), (2, 4 * 4)])
def test_a_convolution_counts_its_taps(strides, positions):
    y = f.conv(x(N, 9, 9, 5), x(3, 3, 5, 16, label="w"), strides)
    moved = 4 * (ROWS * 9 * 9 * 5 + 3 * 3 * 5 * 16 + ROWS * positions * 16)
    assert total(y) == Cost(ROWS * positions * 16 * 2 * 3 * 3 * 5, moved)


@pytest.mark.parametrize(("strides", "positions"), [(1, 8 * 8), (2, 4 * 4)])
def test_padding_is_moved_and_not_computed(strides, positions):
    """Its conditions are no operations; taps that lie in it are."""
    y = f.conv(x(N, 8, 8, 5), x(3, 3, 5, 16, label="w"), strides, "same")
    padded, convolved = (cost(k, {"N": ROWS}) for k in kernels(fuse(graph_of({"y": y}))))
    assert padded.flops == 0 and padded.bytes > 4 * ROWS * 8 * 8 * 5
    assert convolved.flops == ROWS * positions * 16 * 2 * 3 * 3 * 5


def test_softmax():
    # the definition has two subtractions and two exponentials: within the sum, and for the result
    assert total(f.softmax(x(N, 10))) == Cost(7 * ROWS * 10, 2 * 4 * ROWS * 10)


def test_logsumexp_has_one_maximum():
    assert total(f.logsumexp(x(N, 10))) == Cost(ROWS * (4 * 10 + 2), 4 * (ROWS * 10 + ROWS))


def test_adam():
    network = graphc.Sequential([graphc.layers.Dense(16, input_shape=(10,), use_bias=False, name="dense")])
    network.compile("adam", loss="mse")
    update = next(k for k in kernels(fuse(run(network.graph("train"), GRAPH_PASSES)))
                  if any(layer_of(v.origin) == "dense" for v in k.op.body.values()) and len(k.op.body.outputs) == 3)
    # m: 3 operations, v: 4, the weight: 5; the step's rate takes 7, once
    gradient = 2 * ROWS * 10 * 16
    assert cost(update, {"N": ROWS}).flops == gradient + 12 * 160 + 7
    # what the gradient reads, and weight, m and v twice; the step count is an i64
    assert cost(update, {"N": ROWS}).bytes == 4 * (ROWS * (10 + 16) + 6 * 160 + 1) + 8


@pytest.mark.parametrize(("value", "flops"), [
    (f.where(f.less(x(N), 0.5), x(N), 1.0), 0),
    (f.cast(x(N), "i32"), 0),
    (f.cast(x(N, dtype="i32") * 3 + 1, "f32"), 0),
    (f.logical_and(f.equal(x(N), 0.0), x(N, dtype="bool", label="c")), 0),
    (f.random_bits(f.input("key", (2,), "u32"), (N,), 1), 0),
    (f.pad(x(N), ((1, 2),), 0.5), 0),
    (f.dropout(x(N), 0.5, f.input("key", (2,), "u32"), 1), ROWS),
    (f.exp(x(N)) + f.maximum(x(N), 2.0), 3 * ROWS),
    (f.tanh(x(N, dtype="f64")), ROWS),
    (f.sigmoid(x(N)), 4 * ROWS),
    (f.sum(x(N, 3), 1), 3 * ROWS),
    (f.sum(x(N, 3, dtype="i32"), 1), 0),
    (f.mean(x(N)), ROWS + 1),
], ids=str)
def test_what_counts_as_a_floating_point_operation(value, flops):
    assert total(value).flops == flops


def test_a_multiply_add_counts_as_two():
    class MultiplyAdd(Elementwise):
        """x * y + z."""

        def reference(self, x, y, z):
            return x * y + z

        def scalar(self, x, y, z):
            return scalar("fma", x, y, z)

        def vjp(self, f, g, out, x, y, z):
            return g * y, g * x, g

    try:
        y = apply(MultiplyAdd(), x(N), x(N, label="y"), x(N, label="z"))
        assert total(y) == Cost(2 * ROWS, 4 * 4 * ROWS)
        assert structure(y).work == 32
    finally:
        del OPS["multiply_add"]


# --------------------------------------------------------------------------------------------------------- traffic

def test_every_operand_is_read_once_and_every_result_written_once():
    a = x(N, 10)
    y, z = f.exp(a) * a + f.tanh(a), f.less(a, 0.0)
    assert total(y, z).bytes == ROWS * 10 * (4 + 4 + 1)


def test_what_is_not_read_does_not_count():
    a = x(N, 10, 10, 4)
    assert total(f.exp(f.slice(a, (0, 2, 0, 0), (N, 5, 10, 4)))) == Cost(ROWS * 200, 2 * 4 * ROWS * 200)
    corners = f.conv(a, x(1, 1, 4, 8, label="w"), 2)  # every second position of every second line
    assert total(corners).bytes == 4 * (ROWS * 25 * 4 + 4 * 8 + ROWS * 25 * 8)
    assert total(f.max_pool(a, 3, 3)).bytes == 4 * (ROWS * 81 * 4 + ROWS * 9 * 4)


def test_what_is_computed_before_a_part_is_taken_counts_for_the_part():
    part = f.slice(f.exp(x(N, 10)), (0, 0), (N, 3))
    assert total(part) == Cost(ROWS * 3, 2 * 4 * ROWS * 3)


def test_a_row_is_read_whole_for_a_part_of_what_it_sums_to():
    inside = f.input("p0", (N, 10))
    body = Graph("k", (inside,), (), (("r0", f.slice(f.softmax(inside), (0, 0), (N, 1))),))
    assert cost(apply(Kernel(body), x(N, 10)), {"N": ROWS}) == Cost(7 * ROWS * 10, 4 * (ROWS * 10 + ROWS))


def test_an_op_that_stays_on_numpy_reads_and_writes_everything():
    class Sorted(Op):
        """The elements in increasing order."""

        def infer(self, x):
            return x

        def reference(self, x):
            return x.sort()

        def define(self, index, x):
            raise LoweringError("sorting is no expression")

        def vjp(self, f, g, y, x):
            return (None,)

    try:
        assert total(apply(Sorted(), x(N, 10))) == Cost(0, 2 * 4 * ROWS * 10)
    finally:
        del OPS["sorted"]


def test_sizes_without_a_number_are_refused():
    kernel = only(f.exp(x(N, dim("T"))))
    with pytest.raises(ShapeError, match=r"kernel exp has symbolic sizes without a number: T; received {'N': 2}"):
        cost(kernel, {"N": 2})
    assert cost(kernel, {"N": 2, "T": 3}) == Cost(6, 48)


# ----------------------------------------------------------------------------------------------- what belongs where

def test_the_lead_names_the_layer_of_a_kernel():
    with origin("dense"):
        h = x(N, 20) @ x(20, 30, label="w")
    with origin("activation"):
        y = f.relu(h)
    kernel = only(y)
    assert kernel.origin == "activation+dense" and lead(kernel).origin == "dense"
    assert lead(kernel).op.name == "einsum"


def test_the_first_of_equals_leads():
    with origin("first"):
        h = f.exp(x(N))
    with origin("second"):
        assert lead(only(f.tanh(h))).origin == "first"


def test_without_floating_point_operations_the_most_work_leads():
    with origin("moved"):
        h = f.transpose(x(N, 3))
        assert lead(only(h)).origin == "moved"
    with origin("chosen"):
        assert lead(only(f.where(f.less(h, 0.0), 1.0, h))).origin == "chosen"
    with origin("optimizer"):
        assert lead(only(f.input("steps", (), "i64") + 1)).origin == "optimizer"


@pytest.mark.parametrize(("where", "phase", "layer"), [
    ("dense", "forward", "dense"), ("encoder/dense", "forward", "encoder/dense"), ("loss", "forward", "loss"),
    ("", "forward", ""), ("grad(dense)", "backward", "dense"), ("grad(encoder/dense)", "backward", "encoder/dense"),
    ("grad(grad(dense))", "backward", "dense"), ("grad(loss)", "backward", "loss"),
    ("optimizer", "update", "optimizer"), ("gradient", "forward", "gradient")])
def test_phase_and_layer_of_an_origin(where, phase, layer):
    assert (phase_of(where), layer_of(where)) == (phase, layer)


def test_a_training_step_has_all_phases():
    network = graphc.Sequential([graphc.layers.Dense(16, "relu", input_shape=(10,), name="dense")])
    network.compile("adam", loss="mse")
    made = fuse(run(network.graph("train"), GRAPH_PASSES))
    assert {phase_of(lead(k).origin) for k in kernels(made)} == {"forward", "backward", "update"}
    assert {layer_of(lead(k).origin) for k in kernels(made)} == {"dense", "loss", "optimizer"}
