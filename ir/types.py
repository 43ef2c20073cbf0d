"""Element types, symbolic dimensions and tensor types.

Grammar of a type as printed and parsed:

    type  := dtype '[' [dim (',' dim)*] ']'          f32[N,28,28,1]   i64[]
    dtype := bool | u8 | i32 | u32 | i64 | f32 | f64
    dim   := polynomial with integer coefficients     10   N   2*N   N*T+1
    of    := name | '((' dim ')//' number ')'         T   ((T-7)//3)
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Any

import numpy as np

from graphc.ir.errors import DTypeError, ParseError, ShapeError

__all__ = ["DIM", "DTYPES", "DType", "Dim", "Quotient", "Shape", "TensorType", "TupleType", "at_least_zero", "bind_dim",
           "bind_shape", "dim", "evaluate_dim", "least_value", "parse_dim", "parse_type", "product", "quotient",
           "size_of"]


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

class Quotient(str):
    """A factor of a size that is another size divided by a number, rounded down: `((T-7)//3)`.

    Its text is its name: it sorts, equals and hashes as that.
    """

    numerator: Dim
    divisor: int

    def __new__(cls, numerator: Dim, divisor: int) -> Quotient:
        made = super().__new__(cls, f"(({numerator})//{divisor})")
        made.numerator, made.divisor = numerator, divisor
        return made

    def __reduce__(self) -> Any:
        return Quotient, (self.numerator, self.divisor)


Monomial = tuple[str, ...]  # ('N', 'T') is N*T; () is the constant term; a factor may be a Quotient


class Dim:
    """A symbolic dimension: a polynomial over named sizes, each at least 1, and quotients. Constants are plain ints."""

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

    def __floordiv__(self, divisor: int) -> int | Dim:
        """Divided by a positive number and rounded down."""
        return quotient(self, divisor)

    @property
    def name(self) -> str | None:
        """The name where this is a named size and nothing more."""
        ((monomial, coefficient), *more) = self.terms
        alone = not more and coefficient == len(monomial) == 1 and not isinstance(monomial[0], Quotient)
        return monomial[0] if alone else None

    @property
    def names(self) -> set[str]:
        """The named sizes that it depends on."""
        return {n for m, _ in self.terms for f in m for n in (f.numerator.names if isinstance(f, Quotient) else (f,))}

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


def quotient(d: int | Dim, divisor: int) -> int | Dim:
    """A dimension divided by a positive number and rounded down; what divides evenly stands outside."""
    if not isinstance(d, Dim):
        return d // divisor
    whole = _dim({m: c // divisor for m, c in d.terms if c % divisor == 0 or not m})
    rest = _dim({m: c % divisor if not m else c for m, c in d.terms if c % divisor or not m})
    if not isinstance(rest, Dim):
        return whole + rest // divisor
    ((monomial, coefficient), *more) = reversed(rest.terms)  # the constant is the first of the terms
    inner = monomial[0]
    if isinstance(inner, Quotient) and len(monomial) == coefficient == 1 and all(not m for m, _ in more):
        return whole + quotient(inner.numerator + sum(c for _, c in more) * inner.divisor, inner.divisor * divisor)
    if at_least_zero(rest) and at_least_zero(divisor - 1 - rest):
        return whole
    return whole + Dim({(Quotient(rest, divisor),): 1})


def at_least_zero(d: int | Dim) -> bool:
    """Whether a dimension is provably >= 0, each named size being at least 1."""
    least = least_value(d)
    return least is not None and least >= 0


def least_value(d: int | Dim) -> int | None:
    """A number that a dimension is provably never below, each named size being at least 1; None where none is known."""
    return _least_value(d) if isinstance(d, Dim) else d


@lru_cache(maxsize=4096)
def _least_value(d: Dim) -> int | None:
    factors = {f for m, _ in d.terms for f in m if isinstance(f, Quotient)}
    if not factors:
        shifted: int | Dim = 0
        for monomial, coefficient in d.terms:
            shifted = shifted + coefficient * product(dim(name) + 1 for name in monomial)
        terms = dict(_terms(shifted))
        constant = terms.pop((), 0)
        return constant if all(c >= 0 for c in terms.values()) else None
    # p - s + 1 <= s * (p // s) <= p: the quotient goes, and what it was made of cancels; one of a quotient goes first
    q = max(factors, key=len)
    p, s = q.numerator, q.divisor
    with_q = _dim({tuple(_without(m, q)): c for m, c in d.terms if q in m})
    rest = _dim({m: c for m, c in d.terms if q not in m})
    found: list[int | None] = []
    if at_least_zero(with_q):
        found.append(_divided(least_value(with_q * (p - s + 1) + rest * s), s))
        least = least_value(p)
        found.append(None if least is None else least_value(with_q * (least // s) + rest))
    elif at_least_zero(-1 * with_q):
        found.append(_divided(least_value(with_q * p + rest * s), s))
    return max((k for k in found if k is not None), default=None)


def _without(monomial: Monomial, factor: str) -> Monomial:
    at = monomial.index(factor)
    return monomial[:at] + monomial[at + 1:]


def _divided(least: int | None, divisor: int) -> int | None:
    """The least integer that isn't below a quotient."""
    return None if least is None else -(-least // divisor)


def size_of(factor: str, sizes: Mapping[str, int]) -> int:
    """The value of a named size, or of a quotient of such."""
    if isinstance(factor, Quotient):
        return evaluate_dim(factor.numerator, sizes) // factor.divisor
    return sizes[factor]


def evaluate_dim(d: int | Dim, sizes: Mapping[str, int]) -> int:
    """The value of a dimension where the named sizes are known."""
    if not isinstance(d, Dim):
        return d
    total = 0
    for monomial, coefficient in d.terms:
        for factor in monomial:
            coefficient *= size_of(factor, sizes)
        total += coefficient
    return total


def bind_dim(d: int | Dim, sizes: Mapping[str, int | Dim]) -> int | Dim:
    """A dimension with sizes put in for the named ones; those without stay symbolic."""
    if not isinstance(d, Dim):
        return d

    def bound(factor: str) -> int | Dim:
        if isinstance(factor, Quotient):
            return quotient(bind_dim(factor.numerator, sizes), factor.divisor)
        return sizes.get(factor, dim(factor))

    total: int | Dim = 0
    for monomial, coefficient in d.terms:
        total = total + product(map(bound, monomial)) * coefficient
    return total


_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: quotient}


def parse_dim(text: str) -> int | Dim:
    """Read one dimension as `str` prints it."""
    def read(node: ast.expr) -> int | Dim:
        match node:
            case ast.Constant(value=int(number)):
                return number
            case ast.Name(id=name):
                return dim(name)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -1 * read(operand)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return _OPERATORS[type(op)](read(left), read(right))
        raise ParseError(f"Not a size: {text!r}. Expected for example 10, N, 2*N+1 or ((N-7)//3).")

    try:
        return read(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, TypeError, ZeroDivisionError, RecursionError, ValueError) as error:
        raise ParseError(f"Not a size: {text!r}. Expected for example 10, N, 2*N+1 or ((N-7)//3).") from error


_QUOTIENT = reduce(lambda inner, _: rf"\(\((?:[^()]|{inner})*\)//\d+\)", range(4), r"\B")
DIM = rf"-?(?:\w+|{_QUOTIENT})(?:[*+-](?:\w+|{_QUOTIENT}))*"  # what `str` prints of a dimension, as a pattern


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
        return {n for d in self.shape if isinstance(d, Dim) for n in d.names}

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
            for name in (names := expected.names - sizes.keys()):
                more = expected - dim(name)
                if isinstance(more, Dim):
                    fail(f" where the sizes of {sorted(names)} are not known yet")
                else:
                    sizes[name] = got - more  # T+6 tells T too
                    if sizes[name] < 1:
                        fail(f" with {name} of at least 1")
        if evaluate_dim(expected, sizes) != got:
            fail(f" where {', '.join(f'{k}={v}' for k, v in sizes.items())}" if sizes else "")
