"""A weight or slot: a state of the graphs that use it, together with the array that it lives in."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Callable, Iterable
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from graphc.ir import functions as f
from graphc.ir.comparison import Comparison
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value, current_origin
from graphc.ir.ops.leaf import State
from graphc.ir.types import DType, TensorType
from graphc.names import unique_name
from graphc.runtime.interrupts import uninterrupted
from graphc.tracing import current_trace

__all__ = ["Variable", "assign_all", "constant"]

Rule = Callable[[Value], Value]


class Variable(Value):
    """A named array of a model. In a layer's `call` it is the symbolic state; elsewhere it acts as its array.

    Programs update `array` in place, so it is never replaced: `assign` copies into it. A `regularizer` gives what the
    values add to the loss, a `constraint` the values that an optimizer's are replaced by.

    One of a user's own has no path: `Variable(0.0, trainable=False, name="seen")`, of an array, numbers, or an
    initializer with `shape`. It belongs to the layer that holds it in an attribute. Without `dtype` fractions are
    float32. https://keras.io/api/ops/core/
    """

    __slots__ = ("_trainable", "array", "constraint", "loose", "name", "path", "regularizer")
    array: np.ndarray
    name: str
    path: str
    loose: bool
    regularizer: Rule | None
    constraint: Rule | None

    def __init__(self, array: Any, path: Any = None, trainable: bool = True, regularizer: Rule | None = None,
                 constraint: Rule | None = None, *, shape: Any = None, dtype: Any = None, name: str | None = None,
                 autocast: bool = True, aggregation: Any = "none", synchronization: Any = "auto"):
        loose = not isinstance(path, str)
        if loose:
            shape = path if shape is None else shape  # which Keras has in second place
            array = _first_values(array, shape, dtype)
            path = "/".join(filter(None, (current_origin(), name or unique_name("variable"))))
        tensor = TensorType(DType.of(array.dtype), array.shape)
        super().__init__(State(path.replace("/", "."), tensor), (), tensor)
        own = array if array.flags.owndata and array.flags.c_contiguous and array.flags.writeable else array.copy("C")
        name = path.rsplit("/", 1)[-1]
        for field, value in (("array", own), ("path", path), ("name", name), ("_trainable", trainable),
                             ("loose", loose), ("regularizer", regularizer), ("constraint", constraint)):
            object.__setattr__(self, field, value)  # values are frozen

    @property
    def label(self) -> str:
        """The name of the state in a graph."""
        return self.op.label  # type: ignore[attr-defined]

    @property
    def trainable(self) -> bool:
        """Whether training changes it."""
        return self._trainable  # type: ignore[attr-defined]

    @property
    def size(self) -> int:
        return self.array.size

    @property
    def value(self) -> Any:
        """The variable as a symbolic value in a layer's `call`, its present array elsewhere."""
        return self.numpy() if current_trace() is None else self

    def numpy(self) -> np.ndarray:
        """A copy of the present values."""
        return self.array.copy()

    def assign(self, value: Any) -> Variable:
        """Give the variable new values; in a layer's `call`, its value after this training step."""
        trace = current_trace()
        if isinstance(value, Value) and (trace is not None or not isinstance(value, Variable)):
            if trace is None:
                raise ValueError(f"{self.path}.assign received the symbolic {value.type} outside of a layer's call. "
                                 "Pass an array.")
            if value.shape != self.shape:
                raise ShapeError(f"{self.path}.assign received {value.type}, expected {self.type}.")
            trace.assign(self, f.cast(value, self.dtype))
            return self
        self.array[...] = self._fitting(value)
        return self

    def _fitting(self, value: Any) -> np.ndarray:
        """An array that can be copied into this variable's."""
        new = np.asarray(value)
        if new.shape != self.array.shape:
            raise ShapeError(f"{self.path}.assign received an array of shape {list(new.shape)}, expected {self.type}.")
        try:
            return new.astype(self.array.dtype, copy=False)
        except (TypeError, ValueError) as error:
            raise TypeError(f"{self.path}.assign received an array of dtype {new.dtype} that is not one of numbers: "
                            f"{error}. Expected {self.type}.") from error

    def assign_add(self, value: Any) -> Variable:
        """Add to the values; in a layer's `call`, to what they are after this training step."""
        return self.assign(self.value + value)

    def assign_sub(self, value: Any) -> Variable:
        """Subtract from the values; in a layer's `call`, from what they are after this training step."""
        return self.assign(self.value - value)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        # A copy, because the array changes with every training step.
        return self.array if copy is False else self.array.astype(dtype or self.array.dtype)

    def __reduce__(self) -> Any:
        return Variable, (self.array, self.path, self.trainable, self.regularizer, self.constraint)

    def __deepcopy__(self, memo: dict) -> Variable:
        return Variable(self.array.copy(), self.path, self.trainable, self.regularizer, self.constraint)

    def __getitem__(self, index: Any) -> Any:
        return self.numpy()[index] if current_trace() is None else Value.__getitem__(self, index)

    def __len__(self) -> int:
        return len(self.array)

    def __float__(self) -> float:
        return float(self.array)

    def __int__(self) -> int:
        return int(self.array)

    def __bool__(self) -> bool:
        return True if self.array.ndim else bool(self.array)

    def __eq__(self, other: Any) -> Any:
        if current_trace() is not None or isinstance(other, Value):
            return Value.__eq__(self, other)
        return NotImplemented if other is None else self.array == other

    def __ne__(self, other: Any) -> Any:
        equal = self == other
        return Value.__ne__(self, other) if isinstance(equal, Comparison) else np.logical_not(equal)

    __hash__ = Value.__hash__

    def __repr__(self) -> str:
        return f"<Variable path={self.path}, shape={self.array.shape}, dtype={self.array.dtype}, value={self.array}>"


def _first_values(given: Any, shape: Any, dtype: Any) -> np.ndarray:
    """What a variable of a user's own starts from: numbers, or what an initializer makes of the shape."""
    if isinstance(given, str) or callable(given):
        from graphc import initializers  # which makes variables itself

        if shape is None:
            raise ValueError(f"Variable({given!r}): an initializer needs a shape. Pass shape=(...).")
        given = initializers.get(given)(tuple(shape), np.dtype(DType.of(dtype or "float32").numpy))
    array = np.array(given)
    if dtype is None and array.dtype == np.float64:
        dtype = "float32"
    elif dtype is None and array.dtype == np.int64 and not hasattr(given, "dtype"):
        dtype = "int32"
    return array if dtype is None else array.astype(DType.of(dtype).numpy)


def _operator(name: str) -> Any:
    """Arithmetic of a variable: symbolic while a step is traced, on the array elsewhere."""
    plain = name.strip("_").removeprefix("r") if name[:3] == "__r" else name.strip("_")
    compute, symbolic = getattr(operator, name.replace("__r", "__", 1)), getattr(Value, name)

    def method(self: Variable, other: Any = None) -> Any:
        if current_trace() is not None or (isinstance(other, Value) and not isinstance(other, Variable)):
            return symbolic(self) if plain in _UNARY else symbolic(self, other)
        if plain in _UNARY:
            return compute(self.array)
        pair = (other, self.array) if name[:3] == "__r" else (self.array, other)
        return compute(*(np.asarray(p) if isinstance(p, Variable) else p for p in pair))

    method.__name__ = name
    return method


_UNARY = ("neg", "abs", "invert")

for _name in ("__add__", "__sub__", "__mul__", "__truediv__", "__floordiv__", "__mod__", "__pow__", "__radd__",
              "__rsub__", "__rmul__", "__rtruediv__", "__rfloordiv__", "__rmod__", "__rpow__", "__neg__", "__abs__",
              "__invert__", "__matmul__", "__rmatmul__", "__and__", "__or__", "__xor__", "__lt__", "__le__", "__gt__",
              "__ge__"):
    setattr(Variable, _name, _operator(_name))


def assign_all(pairs: Iterable[tuple[Variable, Any]]) -> None:
    """Give variables new values: all of them, or none where one doesn't fit. An interrupt comes before or after."""
    fitting = [(variable, variable._fitting(value)) for variable, value in pairs]
    with uninterrupted():
        for variable, array in fitting:
            variable.array[...] = array


_CONSTANTS: WeakValueDictionary[Any, Variable] = WeakValueDictionary()


def constant(array: np.ndarray) -> Value:
    """An array as a constant of a graph: a number where its elements are equal, else a state that never changes.

    It is named by what it holds, so that equal arrays are one state, and the text of a graph stays the same.
    """
    first = array.ravel()[:1]
    if array.size and array.tobytes() == first.tobytes() * array.size:
        number = f.constant(first[0], array.dtype)
        return f.broadcast(number, array.shape, ())
    digest = hashlib.sha256(f"{array.dtype}{array.shape}".encode() + array.tobytes()).hexdigest()[:8]
    key = (digest, array.dtype, array.shape)
    found = _CONSTANTS.get(key)
    if found is None:
        found = _CONSTANTS[key] = Variable(array.copy(), f"constant_{digest}", trainable=False)
    return found


f.lift_arrays_with(constant)
