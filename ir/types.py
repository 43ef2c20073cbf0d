"""Element types, symbolic dimensions and tensor types.

Grammar of a type as printed and parsed:

    type  := dtype '[' [dim (',' dim)*] ']'          f32[N,28,28,1]   i64[]
    dtype := bool | u8 | i32 | u32 | i64 | f32 | f64
    dim   := polynomial with integer coefficients     10   N   2*N   N*T+1
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from graphc.ir.errors import DTypeError, ParseError, ShapeError

__all__ = ["DTYPES", "DType", "Dim", "Shape", "TensorType", "TupleType", "at_least_zero", "bind_dim",
           "bind_shape", "dim", "evaluate_dim", "parse_dim", "parse_type", "product"]


@dataclass(frozen=True)
class DType:
    """An element type: its short name, its kind (`b`, `i`, `u`, `f`) and its size in bytes."""

    name: str
    kind: str
    size: int

    def __eq__(self, other: object) -> bool:
        """A dtype also equals its names, `f32` and `float32`."""
        if isinstance(other, DType):
            return self.name == other.name
        if isinstance(other, str):
            return other in (self.name, str(self.numpy))
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.name)

    def __reduce__(self) -> Any:
        return DType.of, (self.name,)

    @property
    def numpy(self) -> np.dtype:
        """The NumPy dtype with the same bits."""
        return np.dtype({"b": "bool"}.get(self.kind) or f"{self.kind}{self.size}")

    @property
    def is_float(self) -> bool:
        return self.kind == "f"

    def __str__(self) -> str:
        return self.name

    __repr__ = __str__

    @staticmethod
    def of(spec: object) -> DType:
        """The DType named by `f32`, `float32`, a NumPy dtype or a DType."""
        if isinstance(spec, DType):
            return spec
        if isinstance(spec, str) and spec in DTYPES:
            return DTYPES[spec]
        try:
            found = _BY_NUMPY.get(np.dtype(spec))  # type: ignore[call-overload]
        except TypeError:
            found = None
        if found is None:
            names = ", ".join(str(d.numpy) for d in DTYPES.values())
            raise DTypeError(f"Unknown dtype {spec!r}. Supported: {names}.")
        return found


DTYPES = {d.name: d for d in (DType("bool", "b", 1), DType("u8", "u", 1), DType("i32", "i", 4), DType("u32", "u", 4),
                              DType("i64", "i", 8), DType("f32", "f", 4), DType("f64", "f", 8))}
_BY_NUMPY = {d.numpy: d for d in DTYPES.values()}

Monomial = tuple[str, ...]  # ('N', 'T') is N*T; () is the constant term


class Dim:
    """A symbolic dimension: a polynomial over named sizes, each at least 1. Constants are plain ints."""

    __slots__ = ("_hash", "terms")
    terms: tuple[tuple[Monomial, int], ...]
    _hash: int

    def __init__(self, terms: Mapping[Monomial, int]):
        object.__setattr__(self, "terms", tuple(sorted((m, c) for m, c in terms.items() if c)))
        object.__setattr__(self, "_hash", hash(self.terms))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Dim is immutable")

    def __reduce__(self) -> Any:
        return Dim, (dict(self.terms),)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dim) and self.terms == other.terms

    def __add__(self, other: int | Dim) -> int | Dim:
        terms = dict(self.terms)
        for monomial, coefficient in _terms(other):
            terms[monomial] = terms.get(monomial, 0) + coefficient
        return _dim(terms)

    def __mul__(self, other: int | Dim) -> int | Dim:
        terms: dict[Monomial, int] = {}
        for m1, c1 in self.terms:
            for m2, c2 in _terms(other):
                key = tuple(sorted(m1 + m2))
                terms[key] = terms.get(key, 0) + c1 * c2
        return _dim(terms)

    def __neg__(self) -> int | Dim:
        return self * -1

    def __sub__(self, other: int | Dim) -> int | Dim:
        return self + -1 * other

    def __rsub__(self, other: int | Dim) -> int | Dim:
        return -1 * self + other

    __radd__, __rmul__ = __add__, __mul__

    def divide(self, other: int | Dim) -> int | Dim | None:
        """The exact quotient by a single-term dim, or None."""
        (divisor, scale), *more = _terms(other) or (((), 0),)
        if more or not scale:
            return None
        terms: dict[Monomial, int] = {}
        for monomial, coefficient in self.terms:
            rest = list(monomial)
            for name in divisor:
                if name not in rest:
                    return None
                rest.remove(name)
            if coefficient % scale:
                return None
            terms[tuple(rest)] = coefficient // scale
        return _dim(terms)

    def __str__(self) -> str:
        def term(monomial: Monomial, coefficient: int) -> str:
            factors = ([] if coefficient == 1 and monomial else [str(coefficient)]) + list(monomial)
            return "*".join(factors)

        ordered = sorted(self.terms, key=lambda t: (-len(t[0]), t[0]))
        return "+".join(term(m, c) for m, c in ordered).replace("+-", "-")

    __repr__ = __str__


Shape = tuple[int | Dim, ...]


def _terms(value: int | Dim) -> tuple[tuple[Monomial, int], ...]:
    return value.terms if isinstance(value, Dim) else ((((), int(value)),) if value else ())


def _dim(terms: dict[Monomial, int]) -> int | Dim:
    terms = {m: c for m, c in terms.items() if c}
    if not terms:
        return 0
    return terms[()] if list(terms) == [()] else Dim(terms)


def dim(name: str) -> Dim:
    """A symbolic size of at least 1, such as `dim("N")`."""
    return Dim({(name,): 1})


def product(dims: Iterable[int | Dim]) -> int | Dim:
    """The product of dimensions; 1 for none."""
    result: int | Dim = 1
    for d in dims:
        result = result * d
    return result


def at_least_zero(d: int | Dim) -> bool:
    """Whether a dimension is provably >= 0, each named size being at least 1."""
    return _at_least_zero(d) if isinstance(d, Dim) else d >= 0


@lru_cache(maxsize=4096)
def _at_least_zero(d: Dim) -> bool:
    shifted: int | Dim = 0
    for monomial, coefficient in d.terms:
        shifted = shifted + coefficient * product(dim(name) + 1 for name in monomial)
    return all(c >= 0 for _, c in _terms(shifted))


def evaluate_dim(d: int | Dim, sizes: Mapping[str, int]) -> int:
    """The value of a dimension where the named sizes are known."""
    if not isinstance(d, Dim):
        return d
    total = 0
    for monomial, coefficient in d.terms:
        for name in monomial:
            coefficient *= sizes[name]
        total += coefficient
    return total


def bind_dim(d: int | Dim, sizes: Mapping[str, int]) -> int | Dim:
    """A dimension with the known sizes put in; the others stay symbolic."""
    if not isinstance(d, Dim):
        return d
    total: int | Dim = 0
    for monomial, coefficient in d.terms:
        total = total + product(sizes.get(name, dim(name)) for name in monomial) * coefficient
    return total


def parse_dim(text: str) -> int | Dim:
    """Read one dimension as `str` prints it."""
    total: int | Dim = 0
    for sign, body in re.findall(r"([+-]?)([^+-]+)", text.replace(" ", "")):
        factors = [int(f) if f.isdigit() else dim(f) for f in body.split("*")]
        total = total + product(factors) * (-1 if sign == "-" else 1)
    return total


@dataclass(frozen=True)
class TensorType:
    """An element type and a shape: `f32[N,28,28,1]`."""

    dtype: DType
    shape: Shape

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int | Dim:
        """The number of elements."""
        return product(self.shape)

    def symbols(self) -> set[str]:
        """The names of the symbolic sizes in the shape."""
        return {n for d in self.shape if isinstance(d, Dim) for m, _ in d.terms for n in m}

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"

    __repr__ = __str__


@dataclass(frozen=True)
class TupleType:
    """The type of a value with several results; `item<i>` selects one."""

    items: tuple[TensorType, ...]

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.items))})"

    __repr__ = __str__


_TYPE = re.compile(r"\s*(\w+)\[([^\]]*)\]\s*")


def parse_type(text: str) -> TensorType:
    """Read a tensor type as `str` prints it."""
    match = _TYPE.fullmatch(text)
    if not match or match[1] not in DTYPES:
        raise ParseError(f"Not a tensor type: {text!r}. Expected for example f32[N,28,28,1].")
    return TensorType(DTYPES[match[1]], tuple(parse_dim(d) for d in match[2].split(",") if d.strip()))


def bind_shape(shape: Shape, actual: tuple[int, ...], sizes: dict[str, int], what: str) -> None:
    """Match an array's shape against a type's, filling `sizes`; raise ShapeError where they differ."""
    def fail(reason: str) -> None:
        expected = f"[{','.join(map(str, shape))}]"
        raise ShapeError(f"{what}: received an array of shape {tuple(actual)}, expected {expected}{reason}.")

    if len(shape) != len(actual):
        fail(f" ({len(shape)} dimensions)")
    for expected, got in zip(shape, actual, strict=True):
        if isinstance(expected, Dim):
            names = {n for m, _ in expected.terms for n in m} - sizes.keys()
            if names and expected != dim(next(iter(names))):
                fail(f" where the sizes of {sorted(names)} are not known yet")
            for name in names:
                if got < 1:
                    fail(f" with {name} of at least 1")
                sizes[name] = got
        if evaluate_dim(expected, sizes) != got:
            fail(f" where {', '.join(f'{k}={v}' for k, v in sizes.items())}" if sizes else "")
