"""Plans: order, one arena, updates in place; and that a wrong plan is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from models import cnn
from test_random_graphs import random_graph

from graphc.ir import functions as f
from graphc.ir.errors import InvalidGraph
from graphc.ir.graph import Graph, topological
from graphc.ir.ops.leaf import Input, State
from graphc.ir.ops.structure import Item
from graphc.ir.types import DTYPES, Dim, TensorType, dim, evaluate_dim
from graphc.passes import pipeline
from graphc.passes.fuse import fuse
from graphc.passes.plan import ALIGNMENT, Place, Plan, extent_in_bytes, plan, source, verify_plan

N, T = dim("N"), dim("T")


def planned(outputs, updates=()):
    leaves = [v for v in topological([*outputs, *(v for pair in updates for v in pair)])
              if isinstance(v.op, Input | State)]
    graph = Graph("t", tuple(v for v in leaves if isinstance(v.op, Input)),
                  tuple(v for v in leaves if isinstance(v.op, State)),
                  tuple((f"y{k}", v) for k, v in enumerate(outputs)), tuple(updates))
    return plan(fuse(graph))


def chain(count=6):
    """Products one after the other: `count` kernels, each result dead after the next."""
    h = f.input("x", (N, 16))
    for i in range(count):
        h = f.relu(h @ f.input(f"w{i}", (16, 16)))
    return planned([h])


def training():
    return pipeline.run(cnn(), pipeline.PIPELINE)


def arena(made):
    return {v: p for v, p in made.places.items() if p.space == "arena"}


def changed(made: Plan, places=None, steps=None) -> Plan:
    return replace(made, steps=steps or made.steps, places={**made.places, **(places or {})})


# ----------------------------------------------------------------------------------------------------- the proof

def test_p1_a_kernel_must_run_after_what_it_reads():
    for made in (chain(3), training()):
        verify_plan(made)
        # buffers that live all the time, so that nothing but the order is wrong
        apart = {v: replace(p, offset=i << 20, first=0, last=len(made.steps))
                 for i, (v, p) in enumerate(arena(made).items())}
        verify_plan(changed(made, apart))
        with pytest.raises(InvalidGraph, match=r"^P[14]"):
            verify_plan(changed(made, apart, made.steps[::-1]))
    made = chain(3)
    a, b, c = made.steps
    with pytest.raises(InvalidGraph, match=r"^P[13]"):
        verify_plan(changed(made, steps=(a, c, b)))
    with pytest.raises(InvalidGraph, match=r"^P1"):
        verify_plan(changed(made, {v: replace(p, offset=i << 20, first=0, last=3) for i, (v, p) in
                                   enumerate(arena(made).items())}, (a, c, b)))


def test_p2_live_buffers_must_not_overlap():
    for made in (chain(), training()):
        found = 0
        for v, p in arena(made).items():
            for w, q in arena(made).items():
                if v is not w and p.region == q.region and p.first <= q.last and q.first <= p.last:
                    for offset in (q.offset, q.offset + q.size - 1, q.offset - p.size + 1):
                        with pytest.raises(InvalidGraph, match=r"^P2"):
                            verify_plan(changed(made, {v: replace(p, offset=offset)}))
                    found += 1
        assert found


def test_p2_lets_neighbours_and_the_dead_be():
    made = chain()
    (v, p), (w, q), *_ = sorted(arena(made).items(), key=lambda item: item[1].first)
    assert p.last == q.first
    with pytest.raises(InvalidGraph, match=r"^P2"):
        verify_plan(changed(made, {v: replace(p, offset=0), w: replace(q, offset=p.size - 1)}))
    verify_plan(changed(made, {v: replace(p, offset=1 << 20), w: replace(q, offset=(1 << 20) + p.size)}))


def test_p3_a_buffer_must_live_until_its_last_reader():
    for made in (chain(), training()):
        for v, p in arena(made).items():
            if p.last > p.first and p.last < len(made.steps):
                with pytest.raises(InvalidGraph, match=r"^P3"):
                    verify_plan(changed(made, {v: replace(p, last=p.last - 1)}))


def test_p3_a_buffer_must_live_from_the_step_that_writes_it():
    made = chain()
    v, p = next((v, p) for v, p in arena(made).items() if p.first > 0 and p.last > p.first)
    with pytest.raises(InvalidGraph, match=r"^P3"):
        verify_plan(changed(made, {v: replace(p, first=p.last + 1, last=p.last + 1)}))


def test_p4_a_state_is_overwritten_after_its_last_reader():
    x, w = f.input("x", (N, 16)), f.state("w", (16, 16))
    made = planned([x @ w], [(w, w * 0.5)])
    assert len(made.steps) == 2 and not made.copies
    update = next(v for v, p in made.places.items() if p.space == "state" and isinstance(v.op, Item))
    assert made.steps[-1] is update.operands[0]
    with pytest.raises(InvalidGraph, match=r"^P4"):
        verify_plan(changed(made, steps=made.steps[::-1]))


# ------------------------------------------------------------------------------------------------------ in place

def in_place(made):
    return {made.graph.state[p.index].op.label for v, p in made.places.items()
            if p.space == "state" and isinstance(v.op, Item)}


def test_updates_are_written_in_place():
    x, w, m = f.input("x", (16, 16)), f.state("w", (16, 16)), f.state("m", (16, 16))
    new = m * 0.9 + x
    made = planned([], [(m, new), (w, w - 0.1 * new)])
    assert in_place(made) == {"m", "w"} and not made.copies and not arena(made)


def test_training_writes_every_weight_in_place():
    made = training()
    labels = {s.op.label for s in made.graph.state}
    assert in_place(made) >= labels - {"key"}, str(made)


def test_a_state_that_moves_is_copied():
    w = f.state("w", (16, 16))
    assert in_place(planned([], [(w, f.transpose(w))])) == set()
    assert in_place(planned([], [(w, f.flip(w, 0) + w)])) == set()
    assert in_place(planned([], [(w, w @ w)])) == set()


def test_a_state_still_asked_for_is_copied():
    w, x = f.state("w", (64,)), f.input("x", (64,))
    assert in_place(planned([w], [(w, w + x)])) == set()
    assert in_place(planned([f.reshape(w, (8, 8))], [(w, w + x)])) == set()
    v = f.state("v", (64,))
    assert in_place(planned([], [(w, w + x), (v, w)])) == set()


def test_a_state_read_by_another_kernel_after_the_update_comes_first():
    """The reader of the old weights is ordered before the kernel that writes the new ones."""
    w, x = f.state("w", (16, 16)), f.input("x", (N, 16))
    made = planned([(x @ f.input("v", (16, 16))) @ w], [(w, w * 0.5)])
    when = {k: i for i, k in enumerate(made.steps)}
    writer = next(v.operands[0] for v, p in made.places.items() if p.space == "state" and isinstance(v.op, Item))
    readers = [k for k in made.steps if any(source(o) is w for o in k.operands) and k is not writer]
    assert readers and all(when[r] < when[writer] for r in readers)


def test_an_update_that_another_reader_depends_on_is_copied():
    """Who reads the old state must run after the update's kernel: both can't be, so the update is copied."""
    w, x = f.state("w", (16, 16)), f.input("x", (16, 16))
    new = w + x
    made = planned([(new @ x) @ w], [(w, new)])
    assert in_place(made) == set() or len(made.steps) == 2
    verify_plan(made)
    assert any(place.space == "state" for _, place in made.copies)


# ------------------------------------------------------------------------------------------------------ the arena

def test_the_arena_is_smaller_than_the_sum_of_its_buffers():
    for made in (chain(), training()):
        total = {}
        for p in arena(made).values():
            total[p.region] = total.get(p.region, 0) + p.size
        regions = made.regions()
        assert regions.keys() == total.keys()
        assert all(regions[r] <= total[r] for r in regions)
        assert sum(regions.values()) < sum(total.values())


def test_a_chain_needs_two_buffers():
    made = chain(8)
    assert made.regions() == {("N",): 2 * 16 * 4}


def test_places_are_aligned_and_inside_the_arena():
    made = training()
    for v, p in arena(made).items():
        assert p.offset % ALIGNMENT == 0 and p.size % ALIGNMENT == 0
        assert (p.region, p.size) == extent_in_bytes(v.type)
        assert p.offset + p.size <= made.regions()[p.region]


@pytest.mark.parametrize(("shape", "region", "size"), [
    ((10,), (), 64), ((16,), (), 64), ((17,), (), 128), ((), (), 64), ((N,), ("N",), 64), ((N, 16), ("N",), 64),
    ((N, 17), ("N",), 128), ((N, T), ("N", "T"), 64), ((N + 3, 16), ("N",), 256), ((N, T + 1), ("N", "T"), 64),
    ((N - 1, 16), ("N",), 64), ((N + T, 16), ("N", "T"), 128),
    ((T // 3, 48), ("T",), 64), ((N + T // 2, 32), ("N", "T"), 192),
])
def test_extent_in_bytes_is_an_upper_bound(shape, region, size):
    t = TensorType(DTYPES["f32"], shape)
    assert extent_in_bytes(t) == (region, size)
    for n in (1, 2, 7):
        for k in (1, 5):
            scale = 1
            for name in region:
                scale *= {"N": n, "T": k}[name]
            need = 4 * int(np.prod([evaluate_dim(d, {"N": n, "T": k}) for d in shape]))
            assert need <= size * scale


@pytest.mark.parametrize("seed", range(20))
def test_bytes_of_random_sizes_are_bounded(seed):
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    known = [N, T]
    for _ in range(30):
        a, b = (known[i] for i in rng.integers(len(known), size=2))
        made = [a + int(rng.integers(-9, 9)), a * int(rng.integers(-3, 4)) + b, a // int(rng.integers(2, 7)),
                b - (-1 * a) // 3, a - (a // 3) * 2][rng.integers(5)]
        if isinstance(made, Dim) and len(str(made)) < 60:
            known.append(made)
            t = TensorType(DTYPES["f32"], (made, 7))
            region, size = extent_in_bytes(t)
            for n, k in ((1, 1), (1, 40), (3, 2), (9, 31), (50, 1)):
                sizes = {"N": n, "T": k}
                need = 28 * evaluate_dim(made, sizes)
                assert need <= size * np.prod([sizes[name] for name in region], dtype=int), (made, sizes)


@pytest.mark.parametrize("seed", range(30))
def test_random_graphs_have_plans(seed):
    print(f"seed {seed}")
    made = pipeline.run(random_graph(np.random.default_rng(seed), 4 + seed), pipeline.PIPELINE, check=True)
    verify_plan(made)
    homes = {v for v, _ in made.copies} | set(made.places)
    for name, v in made.graph.outputs:
        assert v in homes or source(v) in homes, name
    for s, v in made.graph.updates:
        assert v is s or source(v) in made.places


def test_a_plan_prints():
    text = str(training())
    assert text.startswith("plan train {") and "arena[" in text and "live" in text and text.count("\n") > 10
    x = f.input("x", (3,))
    text = str(planned([x]))
    assert "copy f32[3] from input[0] to output[0]" in text
    assert str(Place("state", 2)) == "state[2]"
