"""Products summed over axes. https://keras.io/api/ops/numpy/"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.eager import Array, Arrays, op
from graphc.ir import functions as f
from graphc.ir.errors import ParseError, ShapeError
from graphc.ir.graph import Value
from graphc.ops.movement import diagonal

__all__ = ["correlate", "cross", "dot", "einsum", "inner", "kron", "matmul", "outer", "tensordot", "vdot"]

_ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _whole(*operands: Value) -> list[Value]:
    """Operands in their common dtype, bools as whole numbers."""
    dtype = f.common_dtype(*operands)
    return [f.cast(x, "i32" if dtype.kind == "b" else dtype) for x in operands]


@op
def matmul(x1: Array, x2: Array) -> Array:
    """The matrix product over the last two axes, leading axes broadcast; a vector is a matrix of one row or column."""
    return f.matmul(*_whole(x1, x2))


@op
def einsum(subscripts: str, *operands: Arrays, **kwargs: Any) -> Array:
    """Products of the operands summed over letters, as `numpy.einsum` reads them: 'ab,bc->ac', '...ij->...ji'.

    Without '->', the result has the letters that occur once, in alphabetical order.
    """
    return _einsum(subscripts, _whole(*operands))


def _einsum(subscripts: str, operands: Sequence[Value]) -> Value:
    terms, result = _terms(subscripts, operands)
    pending = [_alone(term, x, [*terms[:i], *terms[i + 1:], result])
               for i, (term, x) in enumerate(zip(terms, operands, strict=True))]
    while len(pending) > 1:
        (a, x), (b, y), *rest = pending
        needed = set(result).union(*(term for term, _ in rest))
        a, x, b, y = *_fitting(a, x, b, y), *_fitting(b, y, a, x)
        kept = [c for c in dict.fromkeys(a + b) if c in needed]
        # axes that both have come first, as batched products want them
        kept.sort(key=lambda c, a=a, b=b: (not (c in a and c in b), c not in a))  # type: ignore[misc]
        out = result if not rest and set(kept) == set(result) else "".join(kept)
        pending = [(out, f.einsum(f"{a},{b}->{out}", x, y)), *rest]
    (term, x), = pending
    return f.transpose(x, [term.index(c) for c in result])


def _terms(subscripts: str, operands: Sequence[Value]) -> tuple[list[str], str]:
    """The letters of each operand and of the result; "..." stands for letters of its own."""
    given, arrow, result = subscripts.replace(" ", "").partition("->")
    terms = given.split(",")
    if len(terms) != len(operands):
        raise ShapeError(f"einsum {subscripts!r} has {len(terms)} terms, received {len(operands)} operands.")
    free = [c for c in _ALPHABET if c not in subscripts]
    elided = [x.ndim - len(t.replace("...", "")) for t, x in zip(terms, operands, strict=True) if "..." in t]
    dots = "".join(free[:max(0, *elided)]) if elided else ""
    full = []
    for t, x in zip(terms, operands, strict=True):
        more = x.ndim - len(t.replace("...", ""))
        if (more != 0 and "..." not in t) or more < 0:
            raise ShapeError(f"einsum {subscripts!r}: the term {t!r} does not fit {x.type}.")
        full.append(t.replace("...", dots[len(dots) - more:]))
    if not arrow:
        once = sorted(c for c in set("".join(terms)) - set(".") if "".join(terms).count(c) == 1)
        result = "..." * bool(dots) + "".join(once)
    result = result.replace("...", dots)
    wrong = [c for c in result if not any(c in t for t in full)] or [c for c in result if result.count(c) > 1]
    if wrong or any(not c.isalpha() for t in [*full, result] for c in t):
        raise ParseError(f"Not an einsum specification: {subscripts!r}. Expected for example 'ij,jk->ik'.")
    return full, result


def _alone(term: str, x: Value, others: Sequence[str]) -> tuple[str, Value]:
    """An operand without letters that occur twice (its diagonal) or nowhere else (its sum)."""
    for c in dict.fromkeys(term):
        while term.count(c) > 1:
            first = term.index(c)
            second = term.index(c, first + 1)
            x = diagonal(x, 0, first, second)
            term = "".join(t for i, t in enumerate(term) if i not in (first, second)) + c
    gone = [i for i, c in enumerate(term) if not any(c in t for t in others)]
    x = f.sum(x, gone) if gone else x
    return "".join(c for i, c in enumerate(term) if i not in gone), x


def _fitting(a: str, x: Value, b: str, y: Value) -> tuple[str, Value]:
    """An operand without the axes of extent 1 that the other one has longer: they broadcast."""
    gone = [i for i, c in enumerate(a) if c in b and x.shape[i] == 1 and y.shape[b.index(c)] != 1]
    return "".join(c for i, c in enumerate(a) if i not in gone), f.squeeze(x, gone) if gone else x


@op
def dot(x1: Array, x2: Array) -> Array:
    """Products summed over the last axis of x1 and the last but one of x2 (its only one, of a vector)."""
    x1, x2 = _whole(x1, x2)
    if not x1.ndim or not x2.ndim:
        return x1 * x2
    return _tensordot(x1, x2, (x1.ndim - 1,), (max(x2.ndim - 2, 0),))


@op
def tensordot(x1: Array, x2: Array, axes: Any = 2) -> Array:
    """Products summed over axes: so many last ones of x1 and first ones of x2, or those that two lists name."""
    x1, x2 = _whole(x1, x2)
    if isinstance(axes, int | np.integer):
        return _tensordot(x1, x2, range(x1.ndim - axes, x1.ndim), range(axes))
    return _tensordot(x1, x2, *(f.axes_of(x, a) for x, a in zip((x1, x2), axes, strict=True)))


def _tensordot(x1: Value, x2: Value, first: Sequence[int], second: Sequence[int]) -> Value:
    a, rest = list(_ALPHABET[:x1.ndim]), iter(_ALPHABET[x1.ndim:])
    b = [next(rest) for _ in range(x2.ndim)]
    for i, j in zip(first, second, strict=True):
        if x1.shape[i] != x2.shape[j]:
            raise ShapeError(f"The axis {i} of {x1.type} does not match the axis {j} of {x2.type}.")
        b[j] = a[i]
    result = [c for i, c in enumerate(a) if i not in first] + [c for j, c in enumerate(b) if j not in second]
    return f.einsum(f"{''.join(a)},{''.join(b)}->{''.join(result)}", x1, x2)


@op
def inner(x1: Array, x2: Array) -> Array:
    """Products summed over the last axes of both."""
    x1, x2 = _whole(x1, x2)
    return _tensordot(x1, x2, (x1.ndim - 1,), (x2.ndim - 1,)) if x1.ndim and x2.ndim else x1 * x2


@op
def outer(x1: Array, x2: Array) -> Array:
    """The product of each element of x1 with each of x2, as a matrix."""
    return f.expand_dims(f.reshape(x1, (-1,)), 1) * f.reshape(x2, (-1,))


@op
def vdot(x1: Array, x2: Array) -> Array:
    """The products of the elements in order, summed."""
    return f.sum(f.multiply(*_whole(f.reshape(x1, (-1,)), f.reshape(x2, (-1,)))))


@op
def kron(x1: Array, x2: Array) -> Array:
    """x2 as a whole in the place of each element of x1, multiplied by it."""
    rank = max(x1.ndim, x2.ndim)
    a, b = ((1,) * (rank - x.ndim) + x.shape for x in (x1, x2))
    first = f.reshape(x1, tuple(m for n in a for m in (n, 1)))
    second = f.reshape(x2, tuple(m for n in b for m in (1, n)))
    return f.reshape(first * second, tuple(n * m for n, m in zip(a, b, strict=True)))


@op
def cross(x1: Array, x2: Array, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Array:
    """The vector product along axes of extent 3 (of 2: the third component is 0)."""
    axisa, axisb, axisc = (axis, axis, axis) if axis is not None else (axisa, axisb, axisc)
    a, b = f.moveaxis(x1, axisa, -1), f.moveaxis(x2, axisb, -1)
    if a.shape[-1] not in (2, 3) or b.shape[-1] not in (2, 3):
        raise ShapeError(f"cross needs vectors of 2 or 3 components, received {x1.type} and {x2.type}.")
    flat = a.shape[-1] == b.shape[-1] == 2

    def parts(v: Value) -> list[Any]:
        found = [f.getitem(v, (Ellipsis, i)) for i in range(v.shape[-1])]  # type: ignore[arg-type]
        return found if len(found) == 3 else [*found, f.zeros_like(found[0])]

    (a0, a1, a2), (b0, b1, b2) = parts(a), parts(b)
    last = a0 * b1 - a1 * b0
    if flat:
        return last
    return f.moveaxis(f.stack([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, last], last.ndim), -1, axisc)


@op
def correlate(x1: Array, x2: Array, mode: str = "valid") -> Array:
    """The sums of products of a vector with another one at each position: 'valid', 'same' or 'full'."""
    x1, x2 = _whole(f.to_float(x1), f.to_float(x2))
    n, k = x1.shape[0], x2.shape[0]
    if not isinstance(n, int) or not isinstance(k, int) or x1.ndim != 1 or x2.ndim != 1:
        raise ShapeError(f"correlate needs two vectors of known size, received {x1.type} and {x2.type}.")
    if mode not in ("valid", "same", "full"):
        raise ValueError(f"correlate(mode={mode!r}): expected 'valid', 'same' or 'full'.")
    swapped = n < k
    x1, x2, n, k = (x2, x1, k, n) if swapped else (x1, x2, n, k)
    before = {"valid": 0, "same": k // 2, "full": k - 1}[mode]
    after = {"valid": 0, "same": k - 1 - k // 2, "full": k - 1}[mode]
    if swapped and mode == "same":
        before, after = after, before
    padded = f.pad(x1, [(before, after)])
    places = f.expand_dims(f.iota((n + before + after - k + 1,), (0,), "i32"), 1) + f.iota((k,), (0,), "i32")
    result = f.matmul(f.take(padded, places, 0), x2)
    return f.flip(result) if swapped else result


