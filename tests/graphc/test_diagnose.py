"""graphc.diagnose: sound models agree on every rung, and a fault planted in any rung is found, named and made small."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace

import numpy as np
import pytest
from samples import each

import graphc
from graphc import layers
from graphc.ir.errors import InvalidGraph, ShapeError
from graphc.ir.expr import const, scalar
from graphc.ir.graph import apply
from graphc.ir.ops.elementwise import Multiply, Tanh
from graphc.ir.parser import parse
from graphc.passes.rules import algebra, stability
from graphc.runtime import native, rounding
from graphc.runtime.cases import read_case
from graphc.runtime.rungs import RUNGS, run_rung
from graphc.runtime.targets import llvm

lower, plan, schedule, structure = (importlib.import_module(f"graphc.{name}") for name in (
    "runtime.lower", "passes.plan", "runtime.schedule", "passes.structure"))


@pytest.fixture(autouse=True)
def forgotten():
    """Nothing that was compiled or found out with a fault in it is left for others, nor the reverse."""
    def forget():
        for known in (native._KERNELS, native._PROGRAMS, native._RECENT):
            known.clear()
        structure._structure.cache_clear()
        rounding._nature.cache_clear()

    forget()
    yield
    forget()


@pytest.fixture
def data(rng):
    return rng.standard_normal((6, 5)).astype(np.float32), np.arange(6) % 3


def model(**options):
    made = graphc.Sequential([layers.Dense(8, activation="tanh", input_shape=(5,)), layers.Dropout(0.25),
                              layers.Dense(6, activation="relu"), layers.Dense(3, activation="softmax")])
    made.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"], **options)
    return made


# ---------------------------------------------------------------------------------------------------- sound models


def test_a_sound_model_agrees_and_stays_as_it_is(data):
    x, y = data
    sound = model()
    sound.train_on_batch(x, y)
    before = [w.copy() for w in sound.get_weights()], np.array(sound.random_key), len(sound._programs)
    found = graphc.diagnose(sound, x, y)
    assert found.ok and found.rung is None and found.reproducer is None, found
    text = str(found)
    for words in ("checked passes: ", "checked native: ", "checked program: 4 steps", "All that was checked agrees."):
        assert words in text
    for a, b in zip(sound.get_weights(), before[0], strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(sound.random_key, before[1])
    assert len(sound._programs) == before[2]


@pytest.mark.parametrize("options", each(2, [{}, {"kind": "evaluate"}, {"kind": "predict"},
                                             {"sample_weight": np.ones(6)}]), ids=str)
def test_every_kind_of_step(options, data):
    assert graphc.diagnose(model(), *data, **options).ok


def test_labels_are_not_needed_to_predict_nor_is_compile(data):
    plain = graphc.Sequential([layers.Dense(4, activation="gelu")])  # built by the data
    found = graphc.diagnose(plain, data[0][:1].tolist())
    assert found.ok and "program: 2 steps" in str(found)


@pytest.mark.slow
def test_weights_far_out_are_no_fault(data):
    """Probabilities of 0 and 1, overflow, NaN: where rounding decides or a loss is more precise than its text."""
    x, y = data
    for scale in (0.0, 100.0, 1e20):
        far = model()
        far.set_weights([w * np.float32(scale) for w in far.get_weights()])
        x[3] = np.nan
        found = graphc.diagnose(far, x, y)
        assert found.ok, (scale, str(found))


def test_wrong_data_raise(data):
    x, y = data
    with pytest.raises(ShapeError, match="diagnose of 'sequential' received as x f32\\[6,4\\]"):
        graphc.diagnose(model(), x[:, :4])
    with pytest.raises(ValueError, match="class 7"):
        graphc.diagnose(model(), x, y + 5)
    with pytest.raises(ValueError, match="no rows"):
        graphc.diagnose(model(), x[:0])
    with pytest.raises(ValueError, match="expected 'train', 'evaluate' or 'predict'"):
        graphc.diagnose(model(), x, y, kind="fit")


def test_without_a_native_backend_definitions_and_loops_are_checked(data, monkeypatch):
    monkeypatch.setattr("graphc.runtime.diagnosis._cores", lambda cpu: 0)
    found = graphc.diagnose(model(), *data)
    assert found.ok and "checked loops: " in str(found) and "checked native" not in str(found)
    twist(Tanh, "scalar", lambda old: lambda self, x: old(self, x) * const(2.0, x.dtype))(monkeypatch)
    structure._structure.cache_clear()
    assert graphc.diagnose(model(), *data).rung == "definition"


# --------------------------------------------------------------------------------------------------- planted faults


def twist(owner, name, change):
    """A fault: something is replaced by what `change` makes of it."""
    return lambda monkeypatch: monkeypatch.setattr(owner, name, change(getattr(owner, name)))


def raising(error):
    def fail(*_):
        raise error

    return lambda _: fail


def _half(value):
    """x * n = x / 2, which is wrong."""
    x, y = value.operands
    return apply(algebra.Divide(), x, x + x) if algebra.number(y) else None


def _negated(value):
    made = stability.log_of_softmax(value)
    return None if made is None else apply(algebra.Negative(), made)


HALF = replace(algebra.multiply_by_1, change=_half)
NEGATED = replace(stability.log_of_softmax, change=_negated)


@dataclass(frozen=True)
class Fault:
    """Where a fault is planted, what has to be found, and from which rung on the reproducer shows it."""

    plant: object
    rung: str
    shown: str
    value: str = ""
    pass_name: str | None = None
    rule: str | None = None
    error: type | None = None


FAULTS = {
    "reference": Fault(twist(Tanh, "reference", lambda old: lambda self, x: old(self, x) * x.dtype.type(1.01)),
                       "definition", "definition", "tanh"),
    "definition": Fault(twist(Tanh, "scalar", lambda old: lambda self, x: old(self, x) * const(1.01, x.dtype)),
                        "definition", "definition", "tanh"),
    "definition out of bounds": Fault(
        twist(Tanh, "define", lambda old: lambda self, i, x: scalar("tanh", x[(i[0] + 1, *i[1:])])),
        "definition", "definition", "tanh", error=IndexError),
    "rule": Fault(twist(algebra, "RULES", lambda old: (HALF, *old)), "passes", "loops", "multiply",
                  "simplify", "_half"),
    "rule that keeps precision": Fault(twist(stability, "RULES", lambda old: (NEGATED, *old)), "passes", "loops", "log",
                                       "stabilize", "_negated"),
    "rule that raises": Fault(twist(algebra, "RULES", lambda old: (
        replace(HALF, roots=(Multiply,), change=raising(KeyError("no such thing"))(None)), *old)),
        "passes", "loops", pass_name="simplify", error=KeyError),
    "lower": Fault(twist(lower, "define_outputs", lambda old: lambda body, buffers: [
        (v, e + const(1, e.dtype) if v.op.name == "relu" else e) for v, e in old(body, buffers)]),
        "loops", "loops", "relu"),
    "schedule": Fault(twist(schedule, "expand", lambda old: lambda e: e.args[0] if e.op == "tanh" else old(e)),
                      "schedule", "native", "tanh"),
    "schedule that raises": Fault(twist(schedule, "spill", lambda old: raising(AssertionError("a tile of -1"))(old)),
                                  "schedule", "native", error=AssertionError),
    "emit": Fault(twist(llvm._Emitter, "module", lambda old: lambda self, name: old(self, name).replace(
        "fadd", "fsub")), "native", "native"),
    "plan": Fault(twist(plan, "_overlap", lambda old: lambda p, q: False), "program", "native", "results"),
    "layout": Fault(twist(native._Layout, "location", lambda old: lambda self, place: old(
        self, replace(place, offset=0))), "program", "native", "results"),
    "plan that raises": Fault(twist(plan, "_allocate", raising(InvalidGraph("P2: two buffers overlap"))),
                              "program", "native", "results", error=InvalidGraph),
}


SLOW = ("layout", "plan", "plan that raises")  # programs take a while to make small


def differs(case, rung):
    """Whether a rung differs from the reference, by whatever."""
    wanted = run_rung(case.graph, case.arrays, "reference")
    try:
        found = run_rung(case.graph, case.arrays, rung)
    except Exception:
        return True
    return any(not np.allclose(f[name], w[name], 1e-3, 1e-4, equal_nan=True)
               for f, w in zip(found, wanted, strict=True) for name in w)


@pytest.mark.filterwarnings("ignore:The kernel .* runs on NumPy")
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in FAULTS])
def test_a_planted_fault_is_found(name, data, monkeypatch):
    fault = FAULTS[name]
    odd = model()
    fault.plant(monkeypatch)
    found = graphc.diagnose(odd, *data)
    assert not found.ok and found.rung == fault.rung, found
    assert fault.value in (found.value or ""), found
    assert (found.pass_name, found.rule) == (fault.pass_name, fault.rule), found
    if fault.error:
        assert isinstance(found.error, fault.error) and str(found.error) in str(found)
    else:
        assert found.difference.error > found.difference.allowed and str(found.difference) in str(found)
    if fault.rung in ("loops", "schedule", "native"):
        assert found.kernel and found.layer
    case = read_case(found.reproducer)
    assert str(parse(found.reproducer)) == str(case.graph)
    if fault.rung != "program":
        assert case.seed is not None and len(case.graph.values()) < 12, "it was not made small"
    for rung in RUNGS[1:] if fault.error is not IndexError else RUNGS[1:2]:
        assert differs(case, rung) == (RUNGS.index(rung) >= RUNGS.index(fault.shown)), (rung, found.reproducer)


def test_both_meanings_of_an_op_are_named_where_they_disagree(data, monkeypatch):
    FAULTS["definition"].plant(monkeypatch)
    found = graphc.diagnose(model(), *data)
    assert "`reference` and `define` of the op tanh disagree" in str(found)
    assert "tanh" in found.kernel and found.layer == "dense"


def test_after_a_fault_all_is_well(data):
    with pytest.MonkeyPatch.context() as monkeypatch:
        FAULTS["emit"].plant(monkeypatch)
        assert not graphc.diagnose(model(), *data).ok
    for known in (native._KERNELS, native._PROGRAMS, native._RECENT):
        known.clear()  # the program with the fault in it
    assert graphc.diagnose(model(), *data).ok
