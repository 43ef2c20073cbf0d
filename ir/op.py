"""What an op is: one frozen dataclass with four short methods, in this order.

    infer      operand types -> result type; raises ShapeError or DTypeError
    reference  operand arrays -> result array, in NumPy
    define     output index, operands -> the value of that one element, as an index expression
    vjp        functions, gradient of the result, result, operands -> gradient of each operand (None: no gradient)

Attributes are the dataclass's fields. The examples in the docstring are the op's tests:

    name<field=value>(type, ...) -> type
    name<field=value>(type, ...) -> ShapeError: words of the message
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from typing import Any, ClassVar, dataclass_transform

import numpy as np

from graphc.ir.errors import DTypeError, ShapeError
from graphc.ir.expr import Expr
from graphc.ir.types import Dim, DType, Shape, TensorType, TupleType, bind_dim

__all__ = ["OPS", "Elementwise", "Op", "Operand", "Structural", "show", "spread"]

OPS: dict[str, type[Op]] = {}
_METHODS = ("infer", "reference", "define", "vjp")


@dataclass(frozen=True)
class Operand:
    """What `define` sees of an operand: its type, and its elements by index."""

    type: TensorType
    read: Callable[[tuple[Expr, ...]], Expr]

    @property
    def shape(self) -> Shape:
        return self.type.shape

    @property
    def dtype(self) -> DType:
        return self.type.dtype

    def __getitem__(self, index: Expr | Sequence[Expr]) -> Expr:
        index = (index,) if isinstance(index, Expr) else tuple(index)
        assert len(index) == len(self.shape), (index, self.type)
        return self.read(index)


@dataclass_transform(frozen_default=True)
class Op:
    """Base of every op; a subclass is made a frozen dataclass and registered under its name in snake case."""

    name: ClassVar[str]

    def __init_subclass__(cls, abstract: bool = False) -> None:
        if abstract:
            return
        missing = [m for m in _METHODS if getattr(cls, m) is getattr(Op, m)]
        if missing:
            raise TypeError(f"The op {cls.__name__} lacks {', '.join(missing)}: an op defines {', '.join(_METHODS)}.")
        dataclass(frozen=True, eq=False)(cls)
        cls.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()
        known = OPS.get(cls.name)
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise TypeError(f"An op named {cls.name!r} exists already, in {known.__module__}: choose another name.")
        OPS[cls.name] = cls

    def infer(self, *operands: TensorType) -> TensorType | TupleType:
        """The result's type, or a ShapeError or DTypeError that says what was expected."""
        raise NotImplementedError

    def reference(self, *operands: np.ndarray) -> Any:
        """The result in NumPy; symbolic sizes in the fields are bound to numbers."""
        raise NotImplementedError

    def define(self, index: tuple[Expr, ...], *operands: Operand) -> Expr:
        """The value of the output element at `index`."""
        raise NotImplementedError

    def vjp(self, f: Any, g: Any, y: Any, *operands: Any) -> tuple[Any, ...]:
        """The gradient of each operand, built with the functions `f`; None where it has none."""
        raise NotImplementedError

    def each(self, f: Any, length: Any, operands: Sequence[Any], along: Sequence[bool]) -> Any:
        """The op for every slice of a new first axis of `length`, which operands have where `along` says so.

        The result has that axis too. None of an op that doesn't know how: loops keep it inside.
        """
        return None

    @cached_property
    def _key(self) -> tuple[Any, ...]:
        # == takes -0.0 for 0.0, True for 1 and a nan for no nan: the text tells them apart. The class, not its name:
        # a class defined again, as in a notebook, is another op
        attributes = (getattr(self, f.name) for f in fields(self))  # type: ignore[arg-type]
        return (type(self), *(show(a) if isinstance(a, (bool, float)) else getattr(a, "parts", a) for a in attributes))

    @cached_property
    def _hash(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Op) and self._key == other._key)

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> Any:
        return type(self), tuple(getattr(self, f.name) for f in fields(self))  # type: ignore[arg-type]

    def bound(self, sizes: Mapping[str, int | Dim]) -> Op:
        """This op with the given symbolic sizes in its fields replaced by numbers or other sizes."""
        return _bound(self, frozenset(sizes.items()))

    def __str__(self) -> str:
        shown = (f.name for f in fields(self) if f.name != "body")  # type: ignore[arg-type]
        attributes = ", ".join(f"{name}={show(getattr(self, name))}" for name in shown)
        return f"{self.name}<{attributes}>" if attributes else self.name


@lru_cache(maxsize=4096)
def _bound(op: Op, sizes: frozenset[tuple[str, int | Dim]]) -> Op:
    known = dict(sizes)

    def number(value: Any) -> Any:
        if isinstance(value, Dim):
            return bind_dim(value, known)
        if isinstance(value, tuple):
            return tuple(map(number, value))
        if isinstance(value, TensorType):
            return TensorType(value.dtype, number(value.shape))
        return value

    return type(op)(**{f.name: number(getattr(op, f.name)) for f in fields(op)})  # type: ignore[arg-type]


def show(value: Any) -> str:
    """An attribute as text: Python literals, dtypes, types and dims by their own names."""
    if isinstance(value, tuple):
        return f"({', '.join(map(show, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, float):
        return float.__repr__(value)  # a np.float64 prints as a float too
    if isinstance(value, (bool, int, str)):
        return repr(value)
    return str(value)


class Elementwise(Op, abstract=True):
    """An op on operands of one type, element by element; `scalar` is its definition."""

    floating: ClassVar[bool] = False  # whether operands must be floating point
    result: ClassVar[DType | None] = None  # dtype of the result where it isn't the operands'

    def infer(self, *operands: TensorType) -> TensorType:
        if len(operands) != self.scalar.__code__.co_argcount - 1:
            raise ShapeError(f"{self.name} received {len(operands)} operands: {' and '.join(map(str, operands))}.")
        first = operands[0]
        if any(o.shape != first.shape for o in operands):
            raise ShapeError(f"{self.name} needs operands of one shape, received {' and '.join(map(str, operands))}.")
        if any(o.dtype != first.dtype for o in operands):
            raise DTypeError(f"{self.name} needs operands of one dtype, received {' and '.join(map(str, operands))}.")
        if self.floating and not first.dtype.is_float:
            raise DTypeError(f"{self.name} needs floating-point operands, received {first}; cast it first.")
        return TensorType(self.result or first.dtype, first.shape)

    def scalar(self, *operands: Expr) -> Expr:
        """The value of one element from the operands' elements."""
        raise NotImplementedError

    def define(self, index: tuple[Expr, ...], *operands: Operand) -> Expr:
        return self.scalar(*(o[index] for o in operands))

    def each(self, f: Any, length: Any, operands: Sequence[Any], along: Sequence[bool]) -> Any:
        return f.apply(self, *spread(f, length, operands, along))


def spread(f: Any, length: Any, operands: Sequence[Any], along: Sequence[bool]) -> list[Any]:
    """The operands with a new first axis; those that are the same along it are repeated."""
    return [o if has else f.broadcast(o, (length, *o.shape), tuple(range(1, o.ndim + 1)))
            for o, has in zip(operands, along, strict=True)]


class Structural(Op, abstract=True):
    """An op that holds a graph together; passes expand or place it, so it has no definition of its own."""

    def define(self, index: tuple[Expr, ...], *operands: Operand) -> Expr:
        raise NotImplementedError(f"{self.name} has no definition of one element")

    def vjp(self, f: Any, g: Any, y: Any, *operands: Any) -> tuple[Any, ...]:
        raise NotImplementedError(f"{self.name} has no gradient rule; differentiate before it is made")
