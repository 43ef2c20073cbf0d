"""What rounding may change: how far two sound ways of computing the same values may lie apart.

Values are computed several times from the same arrays. Once in float64: what is expected. Once by reference in their
own types. And a few times in float64 with every rounding disturbed: an op computes with operands that are some units
in the last place (ulps) off, and its result is so many ulps off again; a sum of k terms is off by sqrt(k) times as
many ulps of the sum of the terms' magnitudes. Ops that only choose, move or compare are left as they are. How far
these results spread around the expected one says how well an element is determined: in a sum that cancels or where
a maximum is nearly reached twice, not well. The rule:

    |found - expected| <= 8 * spread + 2 ulps of expected

Where all results are one infinity or NaN, it is found. Where they are not all finite and differ otherwise, as after
an overflow, NaN and infinity may be found, and a number if one of them is one. Integers and bools are found exactly,
unless the results differ among themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np

from graphc.ir.errors import LoweringError
from graphc.ir.evaluate import Interpreter, by_reference, evaluate_values
from graphc.ir.expr import Axis, axis, load, postorder
from graphc.ir.graph import Value, topological
from graphc.ir.op import Op, Operand, Structural
from graphc.ir.types import DType, TensorType, product

__all__ = ["Difference", "Expectation"]

_SAMPLES = 4  # disturbed computations
_ULPS = 2  # that operands and results are disturbed by
_SPREADS = 8
# scalar operations that give one of their operands, compare, or work on bits: floats come out of them unrounded
_EXACT = frozenset(["abs", "and", "axis", "bitcast", "cast", "const", "eq", "floor", "le", "load", "lt", "max", "min",
                    "ne", "neg", "not", "or", "select", "shl", "shr", "size", "xor"])


@dataclass(frozen=True)
class Difference:
    """The worst element of those that differ by more than rounding explains; `index` is () for a single number."""

    index: tuple[int, ...]
    found: Any
    expected: Any
    allowed: float
    elements: int  # that differ
    of: int

    @property
    def error(self) -> float:
        """How far the two numbers lie apart; infinite where one of them is not finite."""
        error = abs(float(self.found) - float(self.expected))
        return error if np.isfinite(error) else np.inf

    def __str__(self) -> str:
        place = f"at {list(self.index)}, " if self.index else ""
        return (f"{self.elements} of {self.of} elements differ; {place}{self.found:.9g} instead of "
                f"{self.expected:.9g}: off by {self.error:.3g}, rounding explains {self.allowed:.3g}")


class Expectation:
    """What values have to be, given the arrays of the leaves."""

    def __init__(self, leaves: Mapping[Value, np.ndarray], sizes: Mapping[str, int]):
        self.sizes = sizes
        wide = {v: _widened(a) for v, a in leaves.items()}
        rngs = [np.random.default_rng(seed) for seed in range(_SAMPLES)]
        self.ways: list[tuple[dict[Value, Any], Interpreter]] = [
            (dict(wide), _exactly), (dict(leaves), by_reference),
            *((dict(wide), partial(_disturbed, rng)) for rng in rngs)]

    def exact(self, value: Value) -> np.ndarray:
        """A value in float64."""
        return self._computed(value, *self.ways[0])

    def difference(self, value: Value, found: np.ndarray) -> Difference | None:
        """Where an array is not what a value has to be; None where rounding explains it."""
        expected = self.exact(value)
        assert found.shape == expected.shape, (found.shape, expected.shape)
        if _wrong(value.dtype, found, [expected])[0].any():  # else the other ways would not refuse it either
            results = [self._computed(value, *way) for way in self.ways]
            wrong, allowed = _wrong(value.dtype, found, results)
            if wrong.any():
                error = np.where(wrong, np.nan_to_num(_distance(found, expected), nan=np.inf), -1)
                at = tuple(int(i) for i in np.unravel_index(int(error.argmax()), error.shape))
                return Difference(at, found[at].item(), expected[at].item(), float(allowed[at]),
                                  int(np.count_nonzero(wrong)), wrong.size)
        return None

    def _computed(self, value: Value, known: dict[Value, Any], interpreter: Interpreter) -> np.ndarray:
        evaluate_values(topological([value]), known, self.sizes, interpreter)
        return np.asarray(known[value])


def _wrong(dtype: DType, found: np.ndarray, results: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Which elements differ from results of the dtype, the one in float64 first; and by how much they may."""
    expected = results[0]
    with np.errstate(all="ignore"):
        allowed = np.max([_distance(r, expected) for r in results], axis=0)
        if not dtype.is_float:
            return (found != expected) & (allowed == 0), allowed
        info = np.finfo(dtype.numpy)
        allowed = _SPREADS * allowed + 2 * info.eps * np.abs(expected) + info.tiny
        finite = np.array([np.isfinite(r) for r in results])
        settled = finite.all(0) | np.all([_same(r, expected) for r in results], axis=0)
        possible = ~np.isfinite(found) | finite.any(0)
        close = (_distance(found, expected) <= allowed) | _same(found, expected)
        return ~np.where(settled, close, possible), allowed


def _widened(array: Any) -> Any:
    """float32 as float64; anything else as it is."""
    return array.astype(np.float64) if array.dtype == np.float32 else array


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|a - b|; 0 where both are the same infinity, NaN where one is a NaN."""
    return np.where(a == b, 0.0, np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)))


def _same(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a == b) | (np.isnan(a) & np.isnan(b))


def _exactly(op: Op, operands: Sequence[Any], result: TensorType) -> Any:
    """One op by reference in float64 where its result is float32."""
    return _widened(np.asarray(by_reference(op, operands, result))) if result.dtype.is_float else by_reference(
        op, operands, result)


def _disturbed(rng: np.random.Generator, op: Op, operands: Sequence[Any], result: TensorType) -> Any:
    """One op with operands and a result that rounding might have given it."""
    rounds, terms = (False, 0) if isinstance(op, Structural) or not result.dtype.is_float else _nature(
        op, tuple(TensorType(DType.of(o.dtype), o.shape) for o in operands), result)
    if not rounds:
        return _exactly(op, operands, result)
    info = np.finfo(result.dtype.numpy)

    def off(x: np.ndarray, magnitude: np.ndarray, ulps: float) -> np.ndarray:
        signs = rng.integers(0, 2, x.shape, np.int8) * 2 - 1
        return x + signs * (ulps * info.eps / 2 * magnitude + info.tiny * (x != 0))

    floats = [o.dtype.kind == "f" for o in operands]
    given = [off(o, np.abs(o), _ULPS) if is_float else o for o, is_float in zip(operands, floats, strict=True)]
    made = _exactly(op, given, result)
    magnitude = np.abs(made)
    if terms:
        given = [np.abs(o) if is_float else o for o, is_float in zip(operands, floats, strict=True)]
        magnitude = np.abs(_exactly(op, given, result)) * np.sqrt(terms)
    with np.errstate(all="ignore"):
        return off(made, magnitude, _ULPS)


@lru_cache(maxsize=4096)
def _nature(op: Op, operands: tuple[TensorType, ...], result: TensorType) -> tuple[bool, int]:
    """Whether an op's definition rounds, and the number of terms if it is a sum, else 0."""
    axes = [Axis(f"i{k}", n) for k, n in enumerate(result.shape)]
    readers = [Operand(t, partial(load, k, dtype=t.dtype)) for k, t in enumerate(operands)]
    try:
        root = op.define(tuple(map(axis, axes)), *readers)
    except LoweringError:  # nothing is known of it
        return True, 0
    nodes = [e for e in postorder([root]) if e.dtype.is_float and e.op not in _EXACT]
    rounds = any(e.op != "reduce" or e.attr[0] in ("sum", "product") for e in nodes)
    sums = root.op == "reduce" and root.attr[0] == "sum"
    terms = product(a.extent for a in root.attr[1]) if sums else 0
    return rounds, int(terms)  # type: ignore[arg-type]
