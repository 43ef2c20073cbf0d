"""Index expressions: the value of one element, as a function of loop axes.

    expr := const | axis | size<dim> | load<buffer>[expr, ...] | scalar(expr, ...) | select(expr, expr, expr)
          | cast<dtype>(expr) | bitcast<dtype>(expr) | reduce<op, axes>(expr)

Expressions are frozen and interned: equal expressions are the same object, so shared work is found by
identity. Integer (i64) expressions are kept as a canonical sum of products, so that index arithmetic such as
`(j // 320) * 320 + j % 320` folds back to `j` when it is built. The table SCALARS is the whole vocabulary of
scalar operations: what a target has to know.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any
from weakref import KeyedRef

import numpy as np

from graphc.ir import traverse
from graphc.ir.errors import DTypeError
from graphc.ir.types import DTYPES, Dim, DType, at_least_zero

__all__ = ["INFIX", "REDUCTIONS", "SCALARS", "Axis", "Expr", "axis", "bitcast", "bounds", "cast", "const",
           "from_linear", "linear", "load", "make", "position", "postorder", "rebuild_reduce", "reduce", "replace",
           "rewrite", "scalar", "select", "size", "sort_key", "substitute", "text"]

F32, I64, BOOL = DTYPES["f32"], DTYPES["i64"], DTYPES["bool"]


@dataclass(frozen=True)
class Scalar:
    """One scalar operation: operand count, meaning in NumPy, and result (`same` dtype as operands or `bool`)."""

    arity: int
    numpy: Callable[..., Any]
    result: str = "same"


def _erf(x: Any) -> Any:
    return np.vectorize(math.erf, otypes=[np.asarray(x).dtype])(x)


def _shift(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, n: function(x, n).astype(np.asarray(x).dtype)


SCALARS: dict[str, Scalar] = {
    "add": Scalar(2, np.add), "sub": Scalar(2, np.subtract), "mul": Scalar(2, np.multiply),
    "div": Scalar(2, np.divide), "floordiv": Scalar(2, np.floor_divide), "mod": Scalar(2, np.mod),
    "min": Scalar(2, np.minimum), "max": Scalar(2, np.maximum), "pow": Scalar(2, np.power),
    "neg": Scalar(1, np.negative), "abs": Scalar(1, np.abs), "floor": Scalar(1, np.floor),
    "sqrt": Scalar(1, np.sqrt), "exp": Scalar(1, np.exp), "log": Scalar(1, np.log), "tanh": Scalar(1, np.tanh),
    "sin": Scalar(1, np.sin), "cos": Scalar(1, np.cos), "erf": Scalar(1, _erf), "log1p": Scalar(1, np.log1p),
    "atan": Scalar(1, np.arctan),
    "fma": Scalar(3, lambda x, y, z: x * y + z),
    "and": Scalar(2, np.bitwise_and), "or": Scalar(2, np.bitwise_or), "xor": Scalar(2, np.bitwise_xor),
    "not": Scalar(1, np.bitwise_not), "shl": Scalar(2, _shift(np.left_shift)), "shr": Scalar(2, _shift(np.right_shift)),
    "lt": Scalar(2, np.less, "bool"), "le": Scalar(2, np.less_equal, "bool"),
    "eq": Scalar(2, np.equal, "bool"), "ne": Scalar(2, np.not_equal, "bool"),
}

# op -> (the scalar that combines two values, the identity for a dtype)
REDUCTIONS: dict[str, tuple[str, Callable[[DType], Any]]] = {
    "sum": ("add", lambda d: 0),
    "product": ("mul", lambda d: 1),
    "max": ("max", lambda d: -math.inf if d.is_float else False if d.kind == "b" else int(np.iinfo(d.numpy).min)),
    "min": ("min", lambda d: math.inf if d.is_float else True if d.kind == "b" else int(np.iinfo(d.numpy).max)),
}


@dataclass(frozen=True)
class Axis:
    """A loop axis: a name and an extent; its values are 0 .. extent-1. Loops may have computed extents."""

    name: str
    extent: int | Dim | Expr

    def __str__(self) -> str:
        return self.name


class Expr:
    """One interned node. `attr` is the value, Axis, Dim or buffer of a leaf, or `(op, axes)` of a reduce."""

    __slots__ = ("__weakref__", "_key", "_text", "args", "attr", "axes", "dtype", "height", "op")
    op: str
    args: tuple[Expr, ...]
    dtype: DType
    attr: Any
    axes: frozenset[Axis]  # free axes
    height: int  # nested reduces below and here
    _text: str
    _key: str

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("an Expr is immutable")

    def __add__(self, other: Operand) -> Expr:
        return scalar("add", self, other)

    def __radd__(self, other: Operand) -> Expr:
        return scalar("add", other, self)

    def __sub__(self, other: Operand) -> Expr:
        return scalar("sub", self, other)

    def __rsub__(self, other: Operand) -> Expr:
        return scalar("sub", other, self)

    def __mul__(self, other: Operand) -> Expr:
        return scalar("mul", self, other)

    def __rmul__(self, other: Operand) -> Expr:
        return scalar("mul", other, self)

    def __truediv__(self, other: Operand) -> Expr:
        return scalar("div", self, other)

    def __rtruediv__(self, other: Operand) -> Expr:
        return scalar("div", other, self)

    def __floordiv__(self, other: Operand) -> Expr:
        return scalar("floordiv", self, other)

    def __mod__(self, other: Operand) -> Expr:
        return scalar("mod", self, other)

    def __neg__(self) -> Expr:
        return scalar("neg", self)

    def __abs__(self) -> Expr:
        return scalar("abs", self)

    def __lt__(self, other: Operand) -> Expr:
        return scalar("lt", self, other)

    def __le__(self, other: Operand) -> Expr:
        return scalar("le", self, other)

    def __gt__(self, other: Operand) -> Expr:
        return scalar("lt", other, self)

    def __ge__(self, other: Operand) -> Expr:
        return scalar("le", other, self)

    def __and__(self, other: Operand) -> Expr:
        return scalar("and", self, other)

    def __or__(self, other: Operand) -> Expr:
        return scalar("or", self, other)

    def __xor__(self, other: Operand) -> Expr:
        return scalar("xor", self, other)

    def __lshift__(self, other: Operand) -> Expr:
        return scalar("shl", self, other)

    def __rshift__(self, other: Operand) -> Expr:
        return scalar("shr", self, other)

    def __invert__(self) -> Expr:
        return scalar("not", self)

    def __str__(self) -> str:
        if not self._text:
            object.__setattr__(self, "_text", text(self))
        return self._text

    __repr__ = __str__


Operand = Expr | int | float | bool
INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "floordiv": "//", "mod": "%", "lt": "<", "le": "<=",
         "eq": "==", "ne": "!=", "and": "&", "or": "|", "xor": "^", "shl": "<<", "shr": ">>"}


def text(e: Expr, names: Mapping[Expr, str] | None = None) -> str:
    """An expression as text, operands being written by the names that some have.

    Names of sizes are capitals; a size of another name is written `size(name)`, as a loop might have that name, and
    so is a quotient.
    """
    args = [names[a] if names and a in names else text(a, names) if names else str(a) for a in e.args]
    if e.op == "const":
        return f"{e.attr}" if e.dtype in (I64, F32, BOOL) else f"{e.dtype}({e.attr})"
    if e.op == "load":
        return f"{e.attr}[{', '.join(args)}]"
    if e.op == "axis":
        return f"{e.attr}"
    if e.op == "size":
        dimension = str(e.attr)
        return dimension if dimension.isupper() and "(" not in dimension else f"size({dimension})"
    if e.op == "reduce":
        return f"{e.attr[0]}({', '.join(f'{a.name}<{a.extent}' for a in e.attr[1])}: {args[0]})"
    if e.op in INFIX:
        return f"({args[0]} {INFIX[e.op]} {args[1]})"
    name = {"cast": str(e.dtype), "bitcast": f"bits_{e.dtype}"}.get(e.op, e.op)
    return f"{name}({', '.join(args)})"


LONG = 256  # characters


def sort_key(e: Expr) -> str:
    """What expressions are sorted by: their text, or a digest of it where it is long.

    Parts that are used several times make a text that is exponentially longer than the expression.
    """
    if not e._key:
        for part in postorder([e]):
            if not part._key:
                words = text(part, {a: a._key for a in part.args})
                found = words if len(words) <= LONG else f"~{hashlib.sha1(words.encode()).hexdigest()}"
                object.__setattr__(part, "_key", found)
    return e._key


_INTERNED: dict[Any, KeyedRef] = {}  # weak references: an expression lives as long as someone holds it
_FRESH = itertools.count()
_ARGS = attrgetter("args")
_SLOTS = tuple(Expr.__dict__[name].__set__ for name in ("op", "args", "dtype", "attr", "axes", "height", "_text",
                                                              "_key"))
_NO_AXES: frozenset[Axis] = frozenset()


def _forget(reference: KeyedRef) -> None:
    if _INTERNED.get(reference.key) is reference:
        _INTERNED.pop(reference.key, None)


def make(op: str, args: tuple[Expr, ...], dtype: DType, attr: Any = None) -> Expr:
    """The node with these parts, as it stands; the constructors below check operands and simplify."""
    key = (op, args, dtype, repr(attr) if type(attr) is float else attr)
    reference = _INTERNED.get(key)
    found = reference() if reference is not None else None
    if found is not None:
        return found
    axes, height = _NO_AXES, 0
    if op == "axis":
        axes = frozenset([attr])
    elif args:
        axes = args[0].axes if len(args) == 1 else _NO_AXES.union(*[a.axes for a in args])
        height = max([a.height for a in args])
        if op == "reduce":
            axes, height = axes - set(attr[1]), height + 1
    node = object.__new__(Expr)
    for put, value in zip(_SLOTS, (op, args, dtype, attr, axes, height, "", ""), strict=True):
        put(node, value)
    mine = KeyedRef(node, _forget, key)
    while (held := _INTERNED.setdefault(key, mine)) is not mine:  # another thread may have been first
        found = held()
        if found is not None:
            return found
        _forget(held)
    return node


# ---------------------------------------------------------------------------------------------- constructors

def const(value: Any, dtype: DType = I64) -> Expr:
    """A constant of the dtype, rounded to it."""
    if dtype is I64 and type(value) is int:
        return make("const", (), I64, value)
    with np.errstate(all="ignore"):
        return make("const", (), dtype, dtype.numpy.type(value).item())


def axis(a: Axis) -> Expr:
    """The value of a loop axis; 0 where its extent is 1."""
    return const(0) if a.extent == 1 else make("axis", (), I64, a)


def size(d: int | Dim) -> Expr:
    """The value of a dimension."""
    return make("size", (), I64, d) if isinstance(d, Dim) else const(d)


def load(buffer: Any, indices: Sequence[Expr], dtype: DType) -> Expr:
    """One element of a buffer; the buffer is any hashable that prints as its name."""
    return make("load", tuple(indices), dtype, buffer)


def cast(x: Expr, dtype: DType) -> Expr:
    """Convert to a dtype; float to integer truncates."""
    if x.dtype == dtype:
        return x
    if x.op != "const" or (x.dtype.is_float and not dtype.is_float):
        return make("cast", (x,), dtype)
    with np.errstate(all="ignore"):
        return const(x.dtype.numpy.type(x.attr).astype(dtype.numpy), dtype)


def bitcast(x: Expr, dtype: DType) -> Expr:
    """The same bits read as another dtype of the same size."""
    assert x.dtype.size == dtype.size, (x.dtype, dtype)
    return x if x.dtype == dtype else make("bitcast", (x,), dtype)


def select(condition: Expr, yes: Operand, no: Operand) -> Expr:
    """`yes` where the condition holds, `no` elsewhere; both are evaluated."""
    yes, no = _agree("select", (yes, no))
    if condition.op == "const":
        return yes if condition.attr else no
    return yes if yes is no else make("select", (condition, yes, no), yes.dtype)


def reduce(op: str, extents: Sequence[int | Dim], body: Callable[..., Expr]) -> Expr:
    """Reduce `body(axis, ...)` over fresh axes of the given extents.

    Axes are renamed by nesting height, so that equal reductions are equal expressions.
    """
    fresh = [Axis(f"?{next(_FRESH)}", e) for e in extents]
    return rebuild_reduce(op, fresh, body(*map(axis, fresh)))


def rebuild_reduce(op: str, axes: Iterable[Axis], body: Expr) -> Expr:
    """A reduce over given axes, renamed by the nesting height of its body; axes of extent 1 vanish."""
    axes = tuple(a for a in axes if a.extent != 1)
    if not axes:
        return body
    named = tuple(Axis(f"r{body.height}_{i}", a.extent) for i, a in enumerate(axes))
    if named != axes:
        body = substitute(body, dict(zip(axes, map(axis, named), strict=True)))
    return make("reduce", (body,), body.dtype, (op, named))


def scalar(op: str, *operands: Operand) -> Expr:
    """Apply a scalar operation of SCALARS; Python numbers take the other operand's dtype."""
    args = _agree(op, operands)
    dtype = BOOL if SCALARS[op].result == "bool" else args[0].dtype
    if args[0].dtype == I64 and op in _INTEGER:
        simpler = _INTEGER[op](*args)
        if simpler is not None:
            return simpler
    if all(a.op == "const" for a in args):
        with np.errstate(all="ignore"):
            return const(SCALARS[op].numpy(*(a.dtype.numpy.type(a.attr) for a in args)), dtype)
    if op in ("mul", "div") and args[1].op == "const" and args[1].attr == 1:
        return args[0]
    if op == "mul" and args[0].op == "const" and args[0].attr == 1:
        return args[1]
    if dtype == BOOL and op in ("and", "or"):
        for a, b in (args, args[::-1]):
            if a.op == "const":
                return b if a.attr == (op == "and") else a
    return make(op, args, dtype)


def _agree(op: str, operands: Sequence[Operand]) -> tuple[Expr, ...]:
    dtype = next((a.dtype for a in operands if isinstance(a, Expr)), None)
    if dtype is None or any(isinstance(a, Expr) and a.dtype != dtype for a in operands):
        raise DTypeError(f"The scalar operation {op} needs operands of one dtype, received {operands}.")
    return tuple([a if isinstance(a, Expr) else const(a, dtype) for a in operands])


# ------------------------------------------------------------------------------------------ integer algebra

Linear = tuple[dict[Expr, int | Dim], int | Dim]


def linear(e: Expr) -> Linear:
    """An i64 expression as `sum(coefficient * atom) + constant`."""
    if e.op in ("const", "size"):
        return {}, e.attr
    if e.op == "neg":
        return _scale(linear(e.args[0]), -1)
    if e.op in ("add", "sub"):
        (a, c), (b, d) = linear(e.args[0]), linear(e.args[1])
        sign = 1 if e.op == "add" else -1
        terms = dict(a)
        for atom, k in b.items():
            terms[atom] = terms.get(atom, 0) + sign * k
        return {atom: k for atom, k in terms.items() if k != 0}, c + sign * d
    if e.op == "mul":
        for x, y in (e.args, e.args[::-1]):
            if y.op in ("const", "size"):
                return _scale(linear(x), y.attr)
    return {e: 1}, 0


def _scale(form: Linear, k: int | Dim) -> Linear:
    terms, constant = form
    return {a: c * k for a, c in terms.items() if c * k != 0}, constant * k


def from_linear(form: Linear) -> Expr:
    """The canonical expression of a linear form: atoms in the order of their text, the constant last."""
    terms, constant = _recombine(form)
    result: Expr | None = None
    for atom in sorted(terms, key=sort_key):
        k = terms[atom]
        term = atom if k == 1 else make("mul", (atom, size(k)), I64)
        result = term if result is None else make("add", (result, term), I64)
    if result is None:
        return size(constant)
    return result if constant == 0 else make("add", (result, size(constant)), I64)


def _recombine(form: Linear) -> Linear:
    """Fold `c*b*(y // b) + c*(y % b)` to `c*y`."""
    terms, constant = form
    for atom in [a for a in terms if a.op == "mod"]:
        y, b = atom.args
        c = terms[atom]
        quotient, extra = linear(scalar("floordiv", y, b))
        if len(quotient) == 1 and extra == 0 and terms.get(next(iter(quotient)), 0) == c * b.attr:
            kept = {a: k for a, k in terms.items() if a is not atom and a not in quotient}
            more, offset = _scale(linear(y), c)
            for a, k in more.items():
                kept[a] = kept.get(a, 0) + k
            return _recombine(({a: k for a, k in kept.items() if k != 0}, constant + offset))
    return terms, constant


def _add(a: Expr, b: Expr) -> Expr:
    return from_linear(linear(make("add", (a, b), I64)))


def _sub(a: Expr, b: Expr) -> Expr:
    return from_linear(linear(make("sub", (a, b), I64)))


def _mul(a: Expr, b: Expr) -> Expr | None:
    if "const" in (a.op, b.op) or "size" in (a.op, b.op):
        return from_linear(linear(make("mul", (a, b), I64)))
    return None


def _split(a: Expr, b: Expr) -> tuple[Linear, Expr, bool] | None:
    """Write `a` as `quotient * b + rest`; the last result says whether 0 <= rest < b is proved."""
    if b.op not in ("const", "size") or b.attr == 0:
        return None
    by = b.attr
    terms, constant = linear(a)

    def quotient(k: int | Dim) -> int | Dim | None:
        if isinstance(k, Dim):
            return k.divide(by)
        return k // by if isinstance(by, int) and by > 0 and k % by == 0 else 0 if k == 0 else None

    whole: dict[Expr, int | Dim] = {}
    rest: dict[Expr, int | Dim] = {}
    c_whole: int | Dim
    c_rest: int | Dim
    for atom, k in terms.items():
        q = quotient(k)
        if q is None:
            rest[atom] = k
        else:
            whole[atom] = q
    if isinstance(by, int) and by > 0 and isinstance(constant, int):
        c_whole, c_rest = constant // by, constant % by
    else:
        q = quotient(constant)
        c_whole, c_rest = (q, 0) if q is not None else (0, constant)
    remainder = from_linear((rest, c_rest))
    low, high = bounds(remainder)
    inside = low is not None and high is not None and at_least_zero(low) and at_least_zero(by - 1 - high)
    return (whole, c_whole), remainder, inside


def _floordiv(a: Expr, b: Expr) -> Expr | None:
    if b.op == "const" and b.attr == 1:
        return a
    if a.op == "floordiv" and a.args[1].op == b.op == "const":
        return scalar("floordiv", a.args[0], const(a.args[1].attr * b.attr))
    parts = _split(a, b)
    if parts is None:
        return None
    whole, rest, inside = parts
    if inside:
        return from_linear(whole)
    if whole == ({}, 0):
        return None
    return scalar("add", from_linear(whole), scalar("floordiv", rest, b))


def _mod(a: Expr, b: Expr) -> Expr | None:
    if b.op == "const" and b.attr == 1:
        return const(0)
    parts = _split(a, b)
    if parts is None:
        return None
    _, rest, inside = parts
    if inside:
        return rest
    return None if rest is a else scalar("mod", rest, b)


def _compare(op: str, a: Expr, b: Expr) -> Expr | None:
    low, high = bounds(scalar("sub", b, a))
    strict = 1 if op == "lt" else 0
    if low is not None and at_least_zero(low - strict):
        return const(True, BOOL)
    if high is not None and at_least_zero(-1 * high - 1 + strict):
        return const(False, BOOL)
    return None


def _extreme(op: str, a: Expr, b: Expr) -> Expr | None:
    for small, large in ((a, b), (b, a)):
        known = _compare("le", small, large)
        if known is not None and known.attr:
            return small if op == "min" else large
    return None


def _equal(a: Expr, b: Expr) -> Expr | None:
    if a is b:
        return const(True, BOOL)
    low, high = bounds(scalar("sub", b, a))
    apart = (low is not None and at_least_zero(low - 1)) or (high is not None and at_least_zero(-1 * high - 1))
    return const(False, BOOL) if apart else None


_INTEGER: dict[str, Callable[..., Expr | None]] = {
    "add": _add, "sub": _sub, "mul": _mul, "floordiv": _floordiv, "mod": _mod,
    "neg": lambda a: from_linear(_scale(linear(a), -1)),
    "lt": lambda a, b: _compare("lt", a, b), "le": lambda a, b: _compare("le", a, b), "eq": _equal,
    "min": lambda a, b: _extreme("min", a, b), "max": lambda a, b: _extreme("max", a, b),
}

def position(index: Sequence[Expr], shape: Sequence[int | Dim]) -> Expr:
    """The place of an element in a row-major array of the shape, counted in elements."""
    place = const(0)
    for i, extent in zip(index, shape, strict=True):
        place = place * size(extent) + i
    return place


Bound = int | Dim | None


def bounds(e: Expr) -> tuple[Bound, Bound]:
    """Provable inclusive bounds of an i64 expression; None where there is none."""
    return _extremum(e, False), _extremum(e, True)


def _extremum(e: Expr, upper: bool) -> Bound:
    """The largest (or smallest) value: every atom of the linear form at the end that its coefficient asks for."""
    terms, total = linear(e)
    for atom, k in terms.items():
        if atom.op == "axis" and isinstance(atom.attr.extent, Expr):
            # an extent such as N - 16*(N//16) must cancel against the other terms before they are bounded
            last = atom.attr.extent - 1 if at_least_zero(k) == upper else const(0)
            return _extremum(substitute(e, {atom.attr: last}), upper)
        if atom.op == "floordiv" and atom.args[0].op == "axis" and isinstance(atom.args[0].attr.extent, Expr) and (
                atom.args[1].op == "const" and atom.args[1].attr > 0):
            last = scalar("floordiv", atom.args[0].attr.extent - 1, atom.args[1])
            rest = from_linear(({a: c for a, c in terms.items() if a is not atom}, total))
            return _extremum(rest + (last if at_least_zero(k) == upper else const(0)) * size(k), upper)
    quotients = [a for a, k in terms.items() if _divides(a, k if upper else -1 * k)]
    if quotients:
        # k * (x // c) <= k/c * x for k > 0, >= for k < 0; a quotient of a remainder goes first, so that it
        # cancels against what it remains of
        atom = max(quotients, key=lambda a: len(sort_key(a)))
        k = terms.pop(atom)
        (x, c), rest = atom.args, from_linear((terms, total))
        shared = _extremum(rest + x * (k // c.attr), upper)  # type: ignore[operator]
        alone = _atom_bounds(atom)[at_least_zero(k) == upper]
        apart = None if alone is None else _extremum(rest + size(alone * k), upper)
        return _pick(shared, apart, least=upper, both=False)
    choice = next((a for a in terms if a.op in ("min", "max")), None)
    if choice is not None and (at_least_zero(terms[choice]) or at_least_zero(-1 * terms[choice])):
        # x + min(a, b) is the lesser of x + a and x + b: what both sides share cancels before it is bounded. A side
        # that varies with no axis goes last: it is the limit that was put there to keep an index within an extent
        k = terms.pop(choice)
        rest = from_linear((terms, total))
        one, other = (_extremum(rest + a * size(k), upper) for a in sorted(choice.args, key=lambda a: not a.axes))
        least = (choice.op == "min") == at_least_zero(k)
        return _pick(one, other, least=least, both=least != upper)
    for atom, k in terms.items():
        if not at_least_zero(k) and not at_least_zero(-1 * k):
            return None
        end = _atom_bounds(atom)[at_least_zero(k) == upper]
        if end is None:
            return None
        total = total + k * end
    return total


def _divides(atom: Expr, k: int | Dim) -> bool:
    """Whether an atom is x // c and c divides its positive coefficient."""
    if atom.op != "floordiv" or atom.args[1].op != "const" or not isinstance(k, int):
        return False
    return 0 < atom.args[1].attr <= k and k % atom.args[1].attr == 0


def _atom_bounds(e: Expr) -> tuple[Bound, Bound]:
    if e.op == "axis":
        return 0, e.attr.extent - 1
    if e.op == "mod" and e.args[1].op in ("const", "size") and at_least_zero(e.args[1].attr - 1):
        return 0, e.args[1].attr - 1
    if e.op == "floordiv" and e.args[1].op == "const" and e.args[1].attr > 0:
        return _quotient_bounds(bounds(e.args[0]), e.args[1].attr)
    if e.op == "select":
        (a, b), (c, d) = bounds(e.args[1]), bounds(e.args[2])
        return _pick(a, c, least=True, both=True), _pick(b, d, least=False, both=True)
    if e.op == "cast" and e.args[0].dtype.kind in "bu" and e.args[0].dtype.size == 1:
        return 0, 1 if e.args[0].dtype == BOOL else 255
    return None, None


def _quotient_bounds(ends: tuple[Bound, Bound], c: int) -> tuple[Bound, Bound]:
    """Bounds of x // c; a symbolic end that c does not divide is bounded by 0 below and by itself above."""
    def quotient(end: Bound, otherwise: Bound) -> Bound:
        if end is None or isinstance(end, int):
            return None if end is None else end // c
        constant = dict(end.terms).get((), 0)
        symbolic = end - constant
        whole = symbolic.divide(c) if isinstance(symbolic, Dim) else symbolic // c
        if whole is not None:
            return whole + constant // c
        return otherwise if at_least_zero(end) else None

    low, high = ends
    return quotient(low, 0), quotient(high, high)


def _pick(a: Bound, b: Bound, least: bool, both: bool) -> Bound:
    """The least (or greatest) of two ends; where `both` are needed, None unless that is proved.

    Otherwise each is a bound by itself, and of two that can't be compared, such as 3 and N, it is the second.
    """
    if a is None or b is None:
        return None if both else (b if a is None else a)
    beyond = b - a if least else a - b
    if at_least_zero(beyond):
        return a
    if at_least_zero(-1 * beyond):
        return b
    return None if both else b


# ----------------------------------------------------------------------------------------------- traversal

def postorder(roots: Iterable[Expr]) -> list[Expr]:
    """Every node below the roots once, operands before users."""
    return traverse.postorder(roots, _ARGS)


def rewrite(root: Expr, change: Callable[[Expr], Expr | None]) -> Expr:
    """Rebuild bottom-up, through the simplifying constructors; `change` may replace any rebuilt node."""
    done: dict[Expr, Expr] = {}
    for node in postorder([root]):
        args = tuple(done[a] for a in node.args)
        new = node if args == node.args else _rebuild(node, args)
        done[node] = change(new) or new
    return done[root]


def replace(root: Expr, values: Mapping[Expr, Expr]) -> Expr:
    """Replace whole subexpressions, the outermost match first."""
    done: dict[Expr, Expr] = {}

    def visit(node: Expr) -> Expr:
        if node not in done:
            found = values.get(node)
            if found is None:
                args = tuple(map(visit, node.args))
                found = node if args == node.args else _rebuild(node, args)
            done[node] = found
        return done[node]

    return visit(root)


def _rebuild(node: Expr, args: tuple[Expr, ...]) -> Expr:
    if node.op in SCALARS:
        return scalar(node.op, *args)
    if node.op == "select":
        return select(*args)
    if node.op in ("cast", "bitcast"):
        return (cast if node.op == "cast" else bitcast)(args[0], node.dtype)
    if node.op == "reduce":
        return rebuild_reduce(node.attr[0], node.attr[1], args[0])
    return make(node.op, args, node.dtype, node.attr)


def substitute(root: Expr, values: Mapping[Axis, Expr]) -> Expr:
    """Replace free axes by expressions."""
    if not root.axes & values.keys():
        return root
    return rewrite(root, lambda e: values.get(e.attr) if e.op == "axis" else None)
