"""What `==` and `!=` of values give: to ops the elements that are equal, to Python whether they are the same value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc.ir.graph import Value
from graphc.ir.types import DType, Shape

__all__ = ["Comparison"]


class Comparison:
    """`x == y` or `x != y`: ops and operators take it for a bool value, made by `function` when one asks for it.

    Lists and tuples of values are compared and searched by `==` too. They ask for its truth: whether the two are one
    and the same; where it `differs`, whether they are two. A value and a number have none.
    """

    __slots__ = ("differs", "function", "x", "y")
    __array_priority__ = 100

    def __init__(self, function: Callable[[Any, Any], Value], x: Any, y: Any, differs: bool):
        self.function, self.x, self.y, self.differs = function, x, y, differs

    @property
    def value(self) -> Value:
        """The comparison of the elements."""
        return self.function(self.x, self.y)

    @property
    def shape(self) -> Shape:
        return self.value.shape

    @property
    def dtype(self) -> DType:
        return self.value.dtype

    @property
    def ndim(self) -> int:
        return self.value.ndim

    def __bool__(self) -> bool:
        if isinstance(self.x, Value) and isinstance(self.y, Value):
            return (self.x is not self.y) is self.differs
        raise TypeError(f"{self!r} is symbolic: it has no numbers yet, so it is neither true nor false. Choose between "
                        "values with ops.where.")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self.value.__array__()

    def __repr__(self) -> str:
        return f"<{self.function.__name__} of {self.x!r} and {self.y!r}>"
