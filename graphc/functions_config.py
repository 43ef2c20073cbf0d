"""What functional models compute between layers, as Keras's classes of functions, and back.

Keras describes `ops.mean(x, axis=1)` as it does a layer of a class Mean. graphc writes the ops of its graphs by those
classes that mean the same, and reads functions of graphc.ops that are named as the classes are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphc import ops
from graphc.functional import is_placed
from graphc.ir.graph import Value
from graphc.ir.ops.contract import Einsum
from graphc.ir.ops.elementwise import Cast, Elementwise, Where
from graphc.ir.ops.movement import Broadcast, Concatenate, Reshape, Reverse, Slice, Transpose
from graphc.ir.ops.reduction import Max, Sum
from graphc.ir.ops.rowwise import Softmax
from graphc.ir.tree import flat, mapped
from graphc.ir.types import Dim

__all__ = ["OPERATIONS", "Operation", "Spreading", "function_of", "is_index", "is_operation"]

# Functions of graphc.ops that are read: those that Keras's classes are named after, whose options make nothing large.
_READ = (
    "abs", "absolute", "add", "all", "amax", "amin", "any", "arccos", "arccosh", "arcsin", "arcsinh", "arctan",
    "arctan2", "arctanh", "argmax", "argmin", "argsort", "average", "broadcast_to", "cast", "cbrt", "ceil",
    "celu", "clip", "concatenate", "cos", "cosh", "cumprod", "cumsum", "deg2rad", "divide_no_nan", "dot",
    "einsum", "elu", "equal", "erf", "exp", "exp2", "expand_dims", "expm1", "flip", "floor", "floor_divide",
    "gelu", "get_item", "greater", "greater_equal", "hard_sigmoid", "hard_silu", "hypot", "isfinite", "isinf",
    "isnan", "leaky_relu", "less", "less_equal", "log", "log10", "log1p", "log2", "log_sigmoid", "log_softmax",
    "logaddexp", "logical_and", "logical_not", "logical_or", "logical_xor", "logsumexp", "matmul", "max",
    "maximum", "mean", "median", "min", "minimum", "mod", "moveaxis", "multiply", "nan_to_num", "negative",
    "norm", "normalize", "not_equal", "one_hot", "outer", "power", "prod", "rad2deg", "ravel", "reciprocal",
    "relu", "relu6", "reshape", "roll", "round", "rsqrt", "selu", "sigmoid", "sign", "silu", "sin", "sinh",
    "softmax", "softplus", "softsign", "sort", "sqrt", "square", "squeeze", "stack", "std", "subtract", "sum",
    "swapaxes", "take", "take_along_axis", "tan", "tanh", "tensordot", "transpose", "trunc", "var", "where",
)
_CLASSES = {"".join(map(str.capitalize, name.split("_"))): name for name in _READ}
OPERATIONS = _CLASSES | {"TrueDivide": "divide"}
_MODULES = {"Relu": "nn", "Sigmoid": "nn", "Softplus": "nn", "Softmax": "nn", "Cast": "core", "Erf": "math"}
_SAME = {name: cls for cls, name in _CLASSES.items()} | {"divide": "TrueDivide"}  # of ops that do what is named so

Spreading = Elementwise | Where  # what gives its operands the same shape in Keras


# ------------------------------------------------------------------------------------------------------------ writing

def function_of(value: Value) -> tuple[str, str, dict[str, Any], list[Any]] | None:
    """Module and class of the function that gives a value, its options and arguments; None where Keras has none."""
    found = _class_of(value)
    return found and (f"keras.src.ops.{_MODULES.get(found[0], 'numpy')}", *found)


def _class_of(value: Value) -> tuple[str, dict[str, Any], list[Any]] | None:
    op, operands = value.op, list(value.operands)
    if isinstance(op, Spreading):
        return (_SAME[op.name], {}, operands) if op.name in _SAME and _covered(value) else None
    if isinstance(op, Broadcast):
        key = [_slice(None, None) if axis in op.axes else None for axis in range(value.ndim)]
        return "GetItem", {}, [*operands, key]
    if isinstance(op, Reshape):
        sizes = [-1 if isinstance(size, Dim) else size for size in op.shape]
        return ("Reshape", {"newshape": sizes}, operands) if sizes.count(-1) < 2 else None
    if isinstance(op, Slice):
        ends = [_ends(start, size, whole) for start, size, whole in zip(
            op.start, op.shape, operands[0].shape, strict=True)]
        return None if None in ends else ("GetItem", {}, [*operands, [_slice(*e) for e in ends if e is not None]])
    if isinstance(op, Concatenate):
        return "Concatenate", {"axis": op.axis}, [operands]
    match op:
        case Transpose():
            return "Transpose", {"axes": list(op.axes)}, operands
        case Reverse():
            return "Flip", {"axis": list(op.axes)}, operands
        case Sum() | Max():
            return type(op).__name__, {"axis": list(op.axes), "keepdims": False}, operands
        case Softmax():
            return "Softmax", {"axis": op.axis}, operands
        case Cast():
            return "Cast", {"dtype": op.dtype.numpy.name}, operands
        case Einsum():
            return "Einsum", {"subscripts": op.spec}, operands
    return None


def _covered(value: Value) -> bool:
    """Whether the operands, without what was broadcast, have the shape together."""
    axes = [o.op.axes if isinstance(o.op, Broadcast) else range(o.ndim) for o in value.operands]
    return {axis for some in axes for axis in some} == set(range(value.ndim))


def _ends(start: Any, size: Any, whole: Any) -> tuple[int | None, int | None] | None:
    """Where a slice of an axis begins and ends, None for where the axis does; None where that has no number."""
    if not isinstance(start, int):
        return None
    end = None if size + start == whole else size + start
    return (start or None, end) if isinstance(end, int | None) else None


def _slice(start: int | None, stop: int | None) -> dict[str, Any]:
    return {"class_name": "__slice__", "config": {"start": start, "stop": stop, "step": None}}


# ------------------------------------------------------------------------------------------------------------ reading

def is_operation(described: Mapping[str, Any]) -> bool:
    """Whether this is a function. In `.h5` files Keras leaves out the module; layers have more options than a name."""
    return str(described.get("module")).startswith("keras.src.ops.") or (
        described.get("module") is None and described.get("class_name") in OPERATIONS
        and set(described.get("config") or {}) <= {"name"})


class Operation:
    """A function of graphc.ops that a configuration describes as a layer."""

    def __init__(self, described: Mapping[str, Any]):
        cls, options = described.get("class_name"), dict(described.get("config") or {})
        if cls not in OPERATIONS:
            raise ValueError(f"graphc doesn't read the operation {cls!r} between layers, expected one of "
                             f"{', '.join(sorted(OPERATIONS))}.")
        self.name = str(options.pop("name", described.get("name")))
        self.first = [options.pop("subscripts")] if "subscripts" in options else []  # of einsum, before the operands
        self.function, self.options = getattr(ops, OPERATIONS[cls]), options

    def __call__(self, *args: Any, **options: Any) -> Any:
        args, options = mapped(_index, (args, options), is_index)
        if not any(map(is_placed, flat((args, options)))):
            raise ValueError(f"The operation {self.name!r} is called without a value of the model.")
        return self.function(*self.first, *args, **self.options, **options)


def is_index(thing: Any) -> bool:
    """Whether this says which part of an array is meant: a description of a slice or an ellipsis, or a list of such."""
    parts = thing if isinstance(thing, list) else [thing]
    return any(isinstance(p, Mapping) and p.get("class_name") in ("__slice__", "__ellipsis__") for p in parts)


def _index(thing: Any) -> Any:
    """What such a description says."""
    if not is_index(thing):
        return thing
    if isinstance(thing, list):
        return tuple(map(_index, thing))
    return ... if thing["class_name"] == "__ellipsis__" else slice(*(thing["config"][n] for n in (
        "start", "stop", "step")))
