"""What each ONNX op means in graphc's functions: one table, `OPERATORS`.

An operator receives the node and a thing for each input: a value, or an array where that is known before anything
runs, such as a shape. Sizes in such arrays may be symbolic: what is computed from shapes stays exact.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from graphc.ir import functions as f
from graphc.ir.errors import GraphcError, ShapeError
from graphc.ir.graph import Value, apply
from graphc.ir.ops.elementwise import Modulo
from graphc.ir.ops.reduction import Max
from graphc.ir.scan import scan
from graphc.ir.types import Dim, DType, product
from graphc.onnx.package import dtype_of, package

__all__ = ["OPERATORS", "Dialect", "Node", "OperatorError", "Thing", "to_value"]

Thing = Any  # a Value, or an array of numbers or sizes
Operator = Callable[..., Any]
OPERATORS: dict[str, Operator] = {}
_SMALL = 4096  # elements of an array that is computed beforehand
_FAR = 1 << 40  # beyond every axis: an end of Slice that means the end
_LARGEST = 1 << 62  # of numbers in sizes
_TERMS = 64  # of a size, and factors of one


class OperatorError(GraphcError, ValueError):
    """A node of a file that graphc can't compute."""


@dataclass(frozen=True)
class Dialect:
    """What a whole file says: its opset, and the number of rows, where it names one."""

    opset: int
    rows: int | None


@dataclass(frozen=True)
class Node:
    """A node with what its operator may ask for."""

    proto: Any
    dialect: Dialect
    values: dict[str, Thing]  # known where it stands
    run: Callable[[Sequence[Any], dict[str, Thing], Dialect], None]

    @property
    def opset(self) -> int:
        return self.dialect.opset

    def __call__(self, name: str, default: Any = None) -> Any:
        """An attribute, texts as such."""
        found = next((a for a in self.proto.attribute if a.name == name), None)
        if found is None:
            return default
        value = package().helper.get_attribute_value(found)
        if isinstance(value, bytes):
            return value.decode()
        return [v.decode() if isinstance(v, bytes) else v for v in value] if isinstance(value, list) else value

    def refuse(self, **usual: Any) -> None:
        """Refuse attributes with other values than these."""
        for name, value in usual.items():
            if (got := self(name, value)) != value:
                raise ValueError(f"{name}={got!r} is not supported, expected {value!r}")


def op(*names: str) -> Callable[[Operator], Operator]:
    """Register an operator."""
    def register(function: Operator) -> Operator:
        OPERATORS.update(dict.fromkeys(names, function))
        return function
    return register


# ------------------------------------------------------------------------------------------------------------ things

def to_value(x: Thing) -> Value:
    """A thing as a value of the graph."""
    if isinstance(x, Value):
        return x
    if x.dtype != object:
        return f.lifted(x)
    each = [f.dimension(d, "i64") for d in x.ravel().tolist()]
    return f.reshape(f.stack(each), x.shape) if x.ndim else each[0]


def _small(things: Sequence[Thing]) -> bool:
    return all(t is None or (isinstance(t, np.ndarray) and t.size <= _SMALL and t.dtype.kind in "iubO")
               for t in things)


def _shape_array(sizes: Sequence[int | Dim]) -> np.ndarray:
    """Sizes as an array; of whole numbers where none is symbolic."""
    if any(isinstance(d, Dim) for d in sizes):
        array = np.empty(len(sizes), object)
        array[:] = sizes
        return array
    return np.array(sizes, np.int64)


def _tidy(x: Any) -> np.ndarray:
    """A computed array; of whole numbers again where nothing in it is symbolic."""
    array = np.asarray(x)
    if array.dtype != object:
        return array
    each = array.ravel().tolist()
    for d in each:
        terms = d.terms if isinstance(d, Dim) else [((), d)]
        if len(terms) > _TERMS or any(len(m) > _TERMS or abs(c) > _LARGEST for m, c in terms):
            raise OverflowError("a size grows beyond all bounds")
    return array if any(isinstance(d, Dim) for d in each) else array.astype(np.int64)


def _known(x: Thing, what: str) -> list[Any]:
    """The numbers or sizes of a thing that has to be known before anything runs."""
    if not isinstance(x, np.ndarray):
        raise ValueError(f"{what} depends on the data; graphc needs it when the file is loaded")
    return x.ravel().tolist()


def _axes(node: Node, given: Thing, rank: int, default: Sequence[int] | None = None) -> list[int] | None:
    """Axes, which were an attribute in older opsets."""
    axes = node("axes") if given is None else _known(given, "axes")
    return list(default) if axes is None and default is not None else _within(axes, rank)


def _within(axes: Any, rank: int) -> Any:
    """Axes counted from the first one."""
    if axes is None:
        return None
    for a in [axes] if isinstance(axes, int) else axes:
        if not -rank <= a < rank:
            raise ShapeError(f"axis {a} of {rank} axes")
    return axes % rank if isinstance(axes, int) else sorted(a % rank for a in axes)


# ------------------------------------------------------------------------------------------------------- elementwise

def _elementwise(function: Callable[..., Any], beforehand: Callable[..., Any] | None = None) -> Operator:
    def compute(node: Node, *things: Thing) -> Thing:
        if beforehand is not None and _small(things):
            try:
                return _tidy(beforehand(*things))
            except TypeError:
                pass  # a comparison or the like of symbolic sizes
        return function(*map(to_value, things))
    return compute


def _divide(x: Value, y: Value) -> Value:
    if x.dtype.is_float:
        return f.divide(x, y)
    if x.dtype.kind == "u":
        return f.floor_divide(x, y)
    return f.multiply(f.floor_divide(f.absolute(x), f.absolute(y)), f.multiply(f.sign(x), f.sign(y)))


def _divide_sizes(x: np.ndarray, y: np.ndarray) -> Any:
    """Of sizes, none of which is negative."""
    def one(a: Any, b: Any) -> Any:
        if isinstance(b, Dim):
            raise TypeError
        return a // b if isinstance(a, Dim) else int(math.copysign(abs(a) // abs(b), a * b))
    return np.frompyfunc(one, 2, 1)(x, y)


def _of_sizes(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """Of numbers, and of sizes of which it is known."""
    def compute(x: np.ndarray, y: np.ndarray) -> Any:
        if x.dtype == object or y.dtype == object:
            raise TypeError
        return function(x, y)
    return compute


def _equal_sizes(x: np.ndarray, y: np.ndarray) -> Any:
    return np.frompyfunc(lambda a, b: bool(a == b), 2, 1)(x, y).astype(bool)


for _name, _function, _beforehand in (
        ("Add", f.add, operator.add), ("Sub", f.subtract, operator.sub), ("Mul", f.multiply, operator.mul),
        ("Div", _divide, _divide_sizes), ("Equal", f.equal, _equal_sizes), ("Less", f.less, _of_sizes(np.less)),
        ("LessOrEqual", f.less_equal, _of_sizes(np.less_equal)), ("Greater", f.greater, _of_sizes(np.greater)),
        ("GreaterOrEqual", f.greater_equal, _of_sizes(np.greater_equal)),
        ("And", f.logical_and, _of_sizes(np.logical_and)), ("Or", f.logical_or, _of_sizes(np.logical_or)),
        ("Xor", f.not_equal, None), ("Not", f.logical_not, np.logical_not), ("Identity", lambda x: x, lambda x: x),
        ("Pow", f.power, None), ("Neg", f.negative, operator.neg), ("Abs", f.absolute, None), ("Sign", f.sign, None),
        ("Floor", f.floor, None), ("Ceil", f.ceil, None), ("Round", f.round, None), ("Exp", f.exp, None),
        ("Log", f.log, None), ("Sqrt", f.sqrt, None), ("Reciprocal", lambda x: f.divide(1.0, x), None),
        ("Sin", f.sin, None), ("Cos", f.cos, None), ("Atan", f.arctan, None), ("Erf", f.erf, None),
        ("Tanh", f.tanh, None), ("Sigmoid", f.sigmoid, None), ("Relu", f.relu, None), ("Softplus", f.softplus, None),
        ("Softsign", f.softsign, None), ("HardSwish", lambda x: x * f.clip(x / 6.0 + 0.5, 0.0, 1.0), None),
        ("Mish", lambda x: x * f.tanh(f.softplus(x)), None),
        ("PRelu", lambda x, slope: f.where(f.less(x, 0.0), f.multiply(x, slope), x), None)):
    OPERATORS[_name] = _elementwise(_function, _beforehand)


def _of_all(function: Callable[..., Any], beforehand: Callable[..., Any]) -> Operator:
    """An operator on any number of things, by one on two."""
    two = _elementwise(function, beforehand)
    return lambda node, *things: reduce(lambda x, y: two(node, x, y), things)


for _name, _function, _beforehand in (("Max", f.maximum, _of_sizes(np.maximum)),
                                      ("Min", f.minimum, _of_sizes(np.minimum)), ("Sum", f.add, operator.add)):
    OPERATORS[_name] = _of_all(_function, _beforehand)

for _name, _kind in (("BitwiseAnd", "and"), ("BitwiseOr", "or"), ("BitwiseXor", "xor")):
    OPERATORS[_name] = _elementwise(lambda x, y, kind=_kind: f.bitwise(kind, x, y))


@op("Where")
def _where(node: Node, condition: Thing, x: Thing, y: Thing) -> Thing:
    if _small([condition, x, y]) and condition.dtype == bool:
        return _tidy(np.where(condition, x.astype(object), y.astype(object)))
    return f.where(to_value(condition), to_value(x), to_value(y))


@op("Mod")
def _mod(node: Node, x: Thing, y: Thing) -> Thing:
    node.refuse(fmod=0)
    if _small([x, y]) and y.dtype != object:
        return _tidy(np.frompyfunc(lambda a, b: a - a // b * b, 2, 1)(x, y))
    x, y = to_value(x), to_value(y)
    shape = f.broadcast_shapes(x.shape, y.shape)
    return apply(Modulo(), f.broadcast_to(x, shape), f.broadcast_to(y, shape))


@op("BitShift")
def _bit_shift(node: Node, x: Thing, y: Thing) -> Value:
    return f.bitwise("shl" if node("direction") == "LEFT" else "shr", to_value(x), to_value(y))


@op("Cast", "CastLike")
def _cast(node: Node, x: Thing, like: Thing = None) -> Thing:
    dtype = dtype_of(node("to")) if like is None else DType.of(to_value(like).dtype)
    if dtype is None:
        raise ValueError(f"to={node('to')} is a type that graphc doesn't have")
    if isinstance(x, np.ndarray) and (x.dtype != object or dtype.kind == "i"):
        return x if x.dtype == object else x.astype(dtype.numpy)
    return f.cast(to_value(x), dtype)


@op("Clip")
def _clip(node: Node, x: Thing, low: Thing = None, high: Thing = None) -> Value:
    x = to_value(x)
    low, high = (node(name) if bound is None else bound for name, bound in (("min", low), ("max", high)))
    for bound, keep in ((low, f.maximum), (high, f.minimum)):
        if bound is not None:
            x = keep(x, bound if isinstance(bound, float) else to_value(bound))
    return x


def _with(function: Callable[..., Value], *defaults: tuple[str, Any]) -> Operator:
    """An operator on one value with attributes."""
    return lambda node, x: function(to_value(x), *(node(name, default) for name, default in defaults))


def _selu(x: Value, alpha: float, gamma: float) -> Value:
    return f.multiply(f.elu(x, alpha), gamma)


def _gelu(x: Value, approximate: str) -> Value:
    return f.gelu(x, approximate == "tanh")


OPERATORS.update({
    "LeakyRelu": _with(f.leaky_relu, ("alpha", 0.01)), "Elu": _with(f.elu, ("alpha", 1.0)),
    "Selu": _with(_selu, ("alpha", 1.67326319217681884765625), ("gamma", 1.05070102214813232421875)),
    "Gelu": _with(_gelu, ("approximate", "none")),
    "Celu": _with(lambda x, a: f.maximum(x, 0.0) + f.minimum(f.elu(x / a, 1.0) * a, 0.0), ("alpha", 1.0)),
    "HardSigmoid": _with(lambda x, a, b: f.clip(x * a + b, 0.0, 1.0), ("alpha", 0.2), ("beta", 0.5)),
    "ThresholdedRelu": _with(lambda x, a: f.where(f.greater(x, a), x, f.zeros_like(x)), ("alpha", 1.0)),
})


@op("Dropout")
def _dropout(node: Node, x: Thing, *rest: Thing) -> Thing:
    return x


def _by_row(function: Callable[[Value, int], Value]) -> Operator:
    def compute(node: Node, x: Thing) -> Value:
        x = to_value(x)
        axis = _within(node("axis", -1 if node.opset >= 13 else 1), x.ndim)
        if node.opset >= 13 or axis == x.ndim - 1:
            return function(x, axis)
        rows = f.reshape(x, (product(x.shape[:axis]), product(x.shape[axis:])))  # all axes from there on as one
        return f.reshape(function(rows, 1), x.shape)
    return compute


OPERATORS["Softmax"], OPERATORS["LogSoftmax"] = _by_row(f.softmax), _by_row(f.log_softmax)


# ---------------------------------------------------------------------------------------------------------- movement

@op("Constant")
def _constant(node: Node) -> np.ndarray:
    given = {a.name for a in node.proto.attribute}
    if given == {"value"}:
        return np.array(package().numpy_helper.to_array(node("value")))
    for name, dtype in (("value_float", np.float32), ("value_floats", np.float32), ("value_int", np.int64),
                        ("value_ints", np.int64)):
        if given == {name}:
            return np.asarray(node(name), dtype)
    raise ValueError(f"a constant of {', '.join(given)} is not supported")


@op("Shape")
def _shape(node: Node, x: Thing) -> np.ndarray:
    return _shape_array(x.shape[node("start", 0):node("end")])


@op("Size")
def _size(node: Node, x: Thing) -> np.ndarray:
    return _shape_array([product(x.shape)]).reshape(())


@op("Reshape")
def _reshape(node: Node, x: Thing, shape: Thing) -> Thing:
    given = _known(shape, "the shape")
    if not node("allowzero", 0):
        given = [x.shape[i] if isinstance(d, int) and d == 0 else d for i, d in enumerate(given)]
    if given and x.ndim and given[0] == node.dialect.rows and isinstance(x.shape[0], Dim):
        given[0] = x.shape[0]  # of a file for so many rows
    return x.reshape(given) if isinstance(x, np.ndarray) else f.reshape(x, given)


@op("Flatten")
def _flatten(node: Node, x: Thing) -> Value:
    x = to_value(x)
    axis = node("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return f.reshape(x, (product(x.shape[:axis]), product(x.shape[axis:])))


@op("Transpose")
def _transpose(node: Node, x: Thing) -> Thing:
    return np.transpose(x, node("perm")) if _small([x]) else f.transpose(to_value(x), node("perm"))


@op("Unsqueeze")
def _unsqueeze(node: Node, x: Thing, axes: Thing = None) -> Thing:
    given = node("axes") if axes is None else _known(axes, "axes")
    places = _within(given, np.ndim(x) + len(given) if isinstance(x, np.ndarray) else x.ndim + len(given))
    shape = list(x.shape)
    for a in places:
        shape.insert(a, 1)
    return x.reshape(shape) if isinstance(x, np.ndarray) else f.reshape(x, shape)


@op("Squeeze")
def _squeeze(node: Node, x: Thing, axes: Thing = None) -> Thing:
    places = _axes(node, axes, x.ndim, [a for a, d in enumerate(x.shape) if d == 1])
    shape = [d for a, d in enumerate(x.shape) if a not in places]  # type: ignore[operator]
    return x.reshape(shape) if isinstance(x, np.ndarray) else f.reshape(x, shape)


@op("Concat")
def _concat(node: Node, *things: Thing) -> Thing:
    if _small(things):
        return _tidy(np.concatenate([t.astype(object) if t.dtype != bool else t for t in things], node("axis")))
    return f.concatenate([to_value(t) for t in things], node("axis"))


@op("Split")
def _split(node: Node, x: Thing, sizes: Thing = None) -> tuple[Value, ...]:
    x = to_value(x)
    axis = _within(node("axis", 0), x.ndim)
    count, whole = len(node.proto.output), x.shape[axis]
    parts = node("split") if sizes is None else _known(sizes, "the sizes")
    if parts is None:
        if isinstance(whole, Dim):
            raise ShapeError(f"{x.type} is split along an axis of unknown size")
        part = -(-whole // count)
        parts = [max(min(part, whole - i * part), 0) for i in range(count)]
    results, start = [], 0
    for part in parts:
        begin = tuple(start if a == axis else 0 for a in range(x.ndim))
        results.append(f.slice(x, begin, (*x.shape[:axis], part, *x.shape[axis + 1:])))
        start = start + part
    return tuple(results)


@op("Slice")
def _slice(node: Node, x: Thing, starts: Thing = None, ends: Thing = None, axes: Thing = None,
           steps: Thing = None) -> Thing:
    begin = node("starts") if starts is None else _known(starts, "the start")
    end = node("ends") if ends is None else _known(ends, "the end")
    where = node("axes") if axes is None else _known(axes, "axes")
    where = list(range(len(begin))) if where is None else [_within(a, x.ndim) for a in where]
    step = [1] * len(begin) if steps is None else _known(steps, "the step")
    key = [slice(None)] * x.ndim
    for a, b, e, s in zip(where, begin, end, step, strict=True):
        key[a] = _slice_of(b, e, s, x.shape[a])
    return x[tuple(key)] if isinstance(x, np.ndarray) else f.getitem(x, tuple(key))


def _slice_of(begin: Any, end: Any, step: int, extent: int | Dim) -> slice:
    """A slice as Python has it: bounds beyond the axis are its ends, the whole axis has none."""
    if isinstance(end, int) and abs(end) >= _FAR:
        end = None
    if step < 0 and isinstance(end, int) and isinstance(extent, int) and end < -extent:
        end = None
    if step < 0 and isinstance(begin, int) and (begin == -1 or begin >= _FAR):
        begin = None
    if step > 0 and (begin == 0 and isinstance(begin, int)):
        begin = None
    if step > 0 and isinstance(end, Dim) and end == extent:
        end = None
    return slice(begin, end, step)


@op("Gather")
def _gather(node: Node, x: Thing, indices: Thing) -> Thing:
    axis = _within(node("axis", 0), x.ndim)
    if isinstance(indices, np.ndarray) and indices.dtype != object:
        if _small([x, indices]):
            return _tidy(np.take(x, indices, axis))
        x, extent = to_value(x), x.shape[axis]
        if not indices.ndim:
            return f.getitem(x, (*(slice(None),) * axis, int(indices)))
        if isinstance(extent, int):
            if indices.size and not (indices.min() >= -extent and indices.max() < extent):
                raise ShapeError(f"an index outside of axis {axis} of {x.type}")
            return f.take(x, f.lifted(indices % extent), axis)
    x, at = to_value(x), to_value(indices)
    if at.dtype.kind == "i":
        at = f.where(f.less(at, 0), f.add(at, f.dimension(x.shape[axis], at.dtype)), at)
    return f.take(x, at, axis)


@op("GatherElements")
def _gather_elements(node: Node, x: Thing, indices: Thing) -> Value:
    x = to_value(x)
    return f.take_along(x, to_value(indices), _within(node("axis", 0), x.ndim))


@op("ScatterND")
def _scatter(node: Node, x: Thing, indices: Thing, updates: Thing) -> Value:
    x, at = to_value(x), to_value(indices)
    if node("reduction", "none") != "add" or at.shape[-1] != 1:
        raise ValueError("only reduction='add' along the first axis is supported")
    added = f.scatter_add(to_value(updates), f.reshape(at, at.shape[:-1]), x.shape[0], 0)
    return f.add(x, added)


@op("Pad")
def _pad(node: Node, x: Thing, pads: Thing = None, value: Thing = None, axes: Thing = None) -> Value:
    node.refuse(mode="constant")
    x = to_value(x)
    widths = node("pads") if pads is None else _known(pads, "the padding")
    where = range(x.ndim) if axes is None else [_within(a, x.ndim) for a in _known(axes, "axes")]
    number = node("value", 0.0) if value is None else (_known(value, "the value of the padding") or [0])[0]
    if len(widths) != 2 * len(where):
        raise ShapeError(f"{len(widths)} widths for {len(where)} axes")
    both: list[tuple[Any, Any]] = [(0, 0)] * x.ndim
    for i, a in enumerate(where):
        both[a] = widths[i], widths[len(where) + i]
    return f.pad(x, both, number)


@op("Expand")
def _expand(node: Node, x: Thing, shape: Thing) -> Thing:
    sizes = f.broadcast_shapes(x.shape, tuple(_known(shape, "the shape")))
    known = [d for d in sizes if isinstance(d, int)]
    if _small([x]) and len(known) == len(sizes) and math.prod(known) <= _SMALL:
        return np.broadcast_to(x, known)
    return f.broadcast_to(to_value(x), sizes)


@op("Tile")
def _tile(node: Node, x: Thing, repeats: Thing) -> Value:
    x = to_value(x)
    times = _known(repeats, "the number of repeats")
    if len(times) != x.ndim:
        raise ShapeError(f"{len(times)} numbers of repeats for {x.type}")
    pairs = tuple(d for pair in zip(times, x.shape, strict=True) for d in pair)
    spread = f.broadcast(x, pairs, range(1, 2 * x.ndim, 2)) if x.ndim else x
    return f.reshape(spread, tuple(t * d for t, d in zip(times, x.shape, strict=True)))


@op("ConstantOfShape")
def _constant_of_shape(node: Node, shape: Thing) -> Thing:
    given = node("value")
    number = np.zeros(1, np.float32) if given is None else np.array(package().numpy_helper.to_array(given)).ravel()
    sizes = tuple(_known(shape, "the shape"))
    known = [d for d in sizes if isinstance(d, int)]
    if len(known) == len(sizes) and math.prod(known) <= _SMALL:
        return np.full(known, number[0], number.dtype)
    return f.full(sizes, number[0].item(), number.dtype)


@op("Range")
def _range(node: Node, start: Thing, limit: Thing, delta: Thing) -> Thing:
    (first,), (last,), (step,) = (_known(t, "the range") for t in (start, limit, delta))
    if isinstance(step, Dim) or not step or (step < 0 and any(isinstance(d, Dim) for d in (first, last))):
        raise ValueError("a step of 0 or of unknown size is not supported")
    if isinstance(first, float):
        if not 0 <= (last - first) / step < _SMALL:
            raise ValueError(f"{(last - first) / step} fractions in a row are not supported")
        return np.arange(first, last, step, dtype=np.float32)
    count = (last - first + step - 1) // step if step > 0 else (first - last - step - 1) // -step
    if not isinstance(count, Dim) and not isinstance(first, Dim) and count <= _SMALL:
        return np.arange(max(count, 0), dtype=np.int64) * step + first
    places = f.iota((count,), (0,), "i64")
    return f.add(f.multiply(places, step), f.dimension(first, "i64"))


# -------------------------------------------------------------------------------------------------------- reductions

def _reduction(function: Callable[..., Value], beforehand: Callable[..., Any] | None = None) -> Operator:
    def compute(node: Node, x: Thing, axes: Thing = None) -> Thing:
        if beforehand is not None and _small([x]):
            given = _axes(node, axes, x.ndim, range(x.ndim))
            return _tidy(beforehand(x, axis=tuple(given or ()), keepdims=bool(node("keepdims", 1))))
        x = to_value(x)
        given = _axes(node, axes, x.ndim)
        if not given:
            if node("noop_with_empty_axes", 0):
                return x
            given = list(range(x.ndim))
        return function(x, given, bool(node("keepdims", 1)))
    return compute


def _min(x: Value, axis: Any, keepdims: bool) -> Value:
    return f.min(x, axis, keepdims)


def _norm(x: Value, axis: Any, keepdims: bool) -> Value:
    return f.sqrt(f.sum(x * x, axis, keepdims))


def _logsumexp(x: Value, axis: Any, keepdims: bool) -> Value:
    if len(axis) == 1:
        return f.logsumexp(x, axis[0], keepdims)
    top = f.max(x, axis, True)
    total = f.log(f.sum(f.exp(x - top), axis, True)) + top
    return total if keepdims else f.squeeze(total, axis)


OPERATORS.update({
    "ReduceSum": _reduction(f.sum, np.sum), "ReduceMean": _reduction(f.mean), "ReduceMax": _reduction(f.max),
    "ReduceMin": _reduction(_min), "ReduceProd": _reduction(f.prod, np.prod), "ReduceL2": _reduction(_norm),
    "ReduceL1": _reduction(lambda x, axis, keepdims: f.sum(f.absolute(x), axis, keepdims)),
    "ReduceSumSquare": _reduction(lambda x, axis, keepdims: f.sum(x * x, axis, keepdims)),
    "ReduceLogSumExp": _reduction(_logsumexp),
})


@op("ArgMax", "ArgMin")
def _argmax(node: Node, x: Thing) -> Value:
    node.refuse(select_last_index=0)
    x = to_value(x)
    axis = _within(node("axis", 0), x.ndim)
    found = f.cast((f.argmax if node.proto.op_type == "ArgMax" else f.argmin)(x, axis), "i64")
    return f.expand_dims(found, axis) if node("keepdims", 1) else found


@op("TopK")
def _top(node: Node, x: Thing, k: Thing) -> tuple[Value, Value]:
    x = to_value(x)
    axis, (count,) = _within(node("axis", -1), x.ndim), _known(k, "the number of elements")
    order = f.argsort(f.opposite(x) if node("largest", 1) else x, axis)
    shape = (*x.shape[:axis], count, *x.shape[axis + 1:])
    order = f.slice(order, (0,) * x.ndim, shape)
    return f.take_along(x, order, axis), f.cast(order, "i64")


@op("Det")
def _det(node: Node, x: Thing) -> Value:
    return f.determinant(to_value(x))


# ------------------------------------------------------------------------------------------------------ contractions

@op("MatMul")
def _matmul(node: Node, x: Thing, y: Thing) -> Value:
    return f.matmul(to_value(x), to_value(y))


@op("Gemm")
def _gemm(node: Node, x: Thing, y: Thing, c: Thing = None) -> Value:
    x, y = (f.transpose(to_value(t)) if node(name, 0) else to_value(t) for t, name in ((x, "transA"), (y, "transB")))
    made = f.matmul(x, y)
    alpha, beta = node("alpha", 1.0), node("beta", 1.0)
    made = made if alpha == 1 else f.multiply(made, alpha)
    if c is None:
        return made
    return f.add(made, to_value(c) if beta == 1 else f.multiply(to_value(c), beta))


@op("Einsum")
def _einsum(node: Node, *things: Thing) -> Value:
    equation = node("equation").replace(" ", "")
    if len(things) != 2 or "." in equation or "->" not in equation:
        raise ValueError(f"the equation {equation!r} is not supported, expected two operands, no dots and a result")
    return f.einsum(equation, *map(to_value, things))


def _channels_last(x: Value) -> Value:
    return f.transpose(x, (0, *range(2, x.ndim), 1))


def _channels_first(x: Value) -> Value:
    return f.transpose(x, (0, x.ndim - 1, *range(1, x.ndim - 1)))


def _window(node: Node, x: Value, size: Sequence[int], value: float) -> tuple[Value, list[int], list[int]]:
    """What windows read, with channels last and the padding added; the strides and dilations."""
    rank = x.ndim - 2
    strides, dilations = node("strides") or [1] * rank, node("dilations") or [1] * rank
    pads, auto = node("pads") or [0] * (2 * rank), node("auto_pad", "NOTSET")
    if len(size) != rank or len(strides) != rank or len(dilations) != rank or len(pads) != 2 * rank or (
            min([*size, *strides, *dilations], default=1) < 1 or min(pads, default=0) < 0):
        raise ShapeError(f"windows of size {list(size)}, strides {strides}, dilations {dilations} and pads {pads} over "
                         f"{x.type}")
    x = _channels_last(x)
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        x = f.pad_windows(x, size, strides, dilations, "same", value) if auto == "SAME_UPPER" else f.flip(
            f.pad_windows(f.flip(x, range(1, 1 + rank)), size, strides, dilations, "same", value), range(1, 1 + rank))
        return x, strides, dilations
    if auto == "VALID":
        pads = [0] * (2 * rank)
    more = [0] * rank
    if node("ceil_mode", 0):
        for i, n in enumerate(x.shape[1:-1]):
            if isinstance(n, Dim):
                raise ShapeError(f"ceil_mode needs known sizes, received {x.type}")
            left = n + pads[i] + pads[rank + i] - (size[i] - 1) * dilations[i] - 1
            more[i] = -left % strides[i]
            if left + more[i] >= n + pads[i]:  # a window that begins in the padding
                more[i] = 0
    widths = [(0, 0), *((pads[i], pads[rank + i] + more[i]) for i in range(rank)), (0, 0)]
    return f.pad(x, widths, value) if any(map(any, widths)) else x, strides, dilations


@op("Conv")
def _conv(node: Node, x: Thing, w: Thing, b: Thing = None) -> Value:
    x, w = to_value(x), to_value(w)
    rank = x.ndim - 2
    if node("group", 1) * w.shape[1] != x.shape[1]:
        raise ShapeError(f"{node('group', 1)} groups of {w.shape[1]} channels of {x.type}")
    read, strides, dilations = _window(node, x, w.shape[2:], 0.0)
    made = f.conv(read, f.transpose(w, (*range(2, 2 + rank), 1, 0)), strides, "valid", dilations)
    return _channels_first(made if b is None else f.add(made, to_value(b)))


@op("ConvTranspose")
def _conv_transpose(node: Node, x: Thing, w: Thing, b: Thing = None) -> Value:
    node.refuse(auto_pad="NOTSET", output_shape=None)
    x, w = to_value(x), to_value(w)
    rank, groups = x.ndim - 2, node("group", 1)
    strides, dilations = node("strides") or [1] * rank, node("dilations") or [1] * rank
    pads, extra = node("pads") or [0] * (2 * rank), node("output_padding") or [0] * rank
    channels, filters, *size = w.shape
    if channels != x.shape[1] or channels % groups or min(*strides, *dilations, groups) < 1 or min(*pads, *extra) < 0:
        raise ShapeError(f"{groups} groups of a kernel {w.type} for {x.type}")
    read = _channels_last(x)
    read = f.reshape(read, (*read.shape[:-1], groups, channels // groups))
    w = f.reshape(w, (groups, channels // groups, *w.shape[1:]))
    place, tap = "hwd"[:rank], "uvt"[:rank]
    if groups == 1:
        read, w = f.reshape(read, (*read.shape[:-2], channels)), f.reshape(w, w.shape[1:])
        made = f.einsum(f"n{place}c,co{tap}->n{place}{tap}o", read, w)
    else:
        made = f.einsum(f"n{place}gc,gco{tap}->n{place}{tap}go", read, w)
        made = f.reshape(made, (*made.shape[:-2], groups * filters))
    extent = tuple((n - 1) * s + (k - 1) * d + 1
                   for n, s, k, d in zip(read.shape[1:], strides, size, dilations, strict=False))
    made = f.fold(made, extent, strides, dilations)
    if any(extra):
        made = f.pad(made, [(0, 0), *((0, n) for n in extra), (0, 0)])
    whole = made.shape[1:-1]
    shape = tuple(n - pads[i] - pads[rank + i] for i, n in enumerate(whole))
    made = f.slice(made, (0, *pads[:rank], 0), (made.shape[0], *shape, made.shape[-1]))
    return _channels_first(made if b is None else f.add(made, to_value(b)))


@op("MaxPool")
def _max_pool(node: Node, x: Thing) -> Value:
    x, size = to_value(x), node("kernel_shape")
    read, strides, dilations = _window(node, x, size, -math.inf)
    rank = len(size)
    taken = apply(Max(tuple(range(1 + rank, 1 + 2 * rank)), True), f.windows(read, size, strides, dilations))
    return _channels_first(taken)


@op("AveragePool")
def _average_pool(node: Node, x: Thing) -> Value:
    x, size = to_value(x), node("kernel_shape")
    axes = tuple(range(1 + len(size), 1 + 2 * len(size)))
    read, strides, dilations = _window(node, x, size, 0.0)
    taps = f.windows(read, size, strides, dilations)
    if node("count_include_pad", 0) and not node("ceil_mode", 0):
        return _channels_first(f.mean(taps, axes))
    counted, _, _ = _window(node, f.ones_like(x), size, 0.0)
    counts = f.sum(f.windows(counted, size, strides, dilations), axes)
    if node("count_include_pad", 0):
        raise ValueError("count_include_pad with ceil_mode is not supported")
    return _channels_first(f.divide(f.sum(taps, axes), counts))


@op("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(node: Node, x: Thing) -> Value:
    x = to_value(x)
    take = f.mean if node.proto.op_type == "GlobalAveragePool" else f.max
    return take(x, tuple(range(2, x.ndim)), True)


# ----------------------------------------------------------------------------------------------------- normalisation

def _along(x: Value, weight: Thing, axis: int) -> Value:
    """A weight for each position along an axis, so that it broadcasts."""
    return f.reshape(to_value(weight), (-1, *(1,) * (x.ndim - axis - 1)))


def _centred(x: Value, axes: Sequence[int], epsilon: float) -> Value:
    rest = x - f.mean(x, axes, True)
    return rest / f.sqrt(f.mean(rest * rest, axes, True) + epsilon)


@op("BatchNormalization")
def _batch_normalization(node: Node, x: Thing, scale: Thing, b: Thing, mean: Thing, variance: Thing) -> Value:
    node.refuse(training_mode=0)
    x = to_value(x)
    factor = to_value(scale) / f.sqrt(to_value(variance) + node("epsilon", 1e-5))
    return (x - _along(x, mean, 1)) * _along(x, factor, 1) + _along(x, b, 1)


@op("LayerNormalization")
def _layer_normalization(node: Node, x: Thing, scale: Thing, b: Thing = None) -> Value:
    x = to_value(x)
    axes = range(_within(node("axis", -1), x.ndim), x.ndim)
    made = _centred(x, axes, node("epsilon", 1e-5)) * to_value(scale)
    return made if b is None else made + to_value(b)


@op("InstanceNormalization")
def _instance_normalization(node: Node, x: Thing, scale: Thing, b: Thing) -> Value:
    x = to_value(x)
    made = _centred(x, range(2, x.ndim), node("epsilon", 1e-5))
    return made * _along(x, scale, 1) + _along(x, b, 1)


@op("GroupNormalization")
def _group_normalization(node: Node, x: Thing, scale: Thing, b: Thing) -> Value:
    x = to_value(x)
    groups = node("num_groups")
    parts = f.reshape(x, (x.shape[0], groups, x.shape[1] // groups, *x.shape[2:]))
    made = _centred(parts, range(2, parts.ndim), node("epsilon", 1e-5))
    if node.opset < 21:  # a weight for each group
        at = (1, groups, *(1,) * (parts.ndim - 2))
        return f.reshape(made * f.reshape(to_value(scale), at) + f.reshape(to_value(b), at), x.shape)
    return f.reshape(made, x.shape) * _along(x, scale, 1) + _along(x, b, 1)


# ------------------------------------------------------------------------------------------------------------- loops

@op("Scan")
def _scan(node: Node, *things: Thing) -> tuple[Value, ...]:
    body, count = node("body"), node("num_scan_inputs")
    states = [to_value(t) for t in things[:len(things) - count]]
    read = [to_value(t) for t in things[len(things) - count:]]
    results = len(body.output) - len(states)
    backwards = node("scan_input_directions") or [0] * count
    turned = node("scan_output_directions") or [0] * results
    if len(body.input) != len(things) or results < 0:
        raise ValueError(f"a body of {len(body.input)} inputs and {len(body.output)} outputs for {len(things)} inputs")
    axes = _all_axes(node("scan_input_axes"), read)
    read = [f.moveaxis(x, a, 0) for x, a in zip(read, axes, strict=True)]
    reverse = all(backwards)
    read = [f.flip(x, 0) if back and not reverse else x for x, back in zip(read, backwards, strict=True)]

    def step(carry: list[Value], slices: list[Value]) -> tuple[list[Value], list[Value]]:
        values = dict(node.values)
        values.update({t.name: np.array(package().numpy_helper.to_array(t)) for t in body.initializer})
        values.update(zip((i.name for i in body.input), (*carry, *slices), strict=True))
        node.run(body.node, values, node.dialect)
        made = [to_value(values[o.name]) for o in body.output]
        return made[:len(carry)], made[len(carry):]

    last, given = scan(step, states, read, reverse=reverse)
    given = [f.flip(y, 0) if bool(back) != reverse else y for y, back in zip(given, turned, strict=True)]
    given = [f.moveaxis(y, 0, a)
             for y, a in zip(given, _all_axes(node("scan_output_axes"), given), strict=True)]
    return (*last, *given)


def _all_axes(axes: Any, arrays: Sequence[Value]) -> list[int]:
    return [_within(a, x.ndim) for a, x in zip(axes or [0] * len(arrays), arrays, strict=True)]


_ACTIVATIONS = {"sigmoid": f.sigmoid, "tanh": f.tanh, "relu": f.relu, "softsign": f.softsign, "softplus": f.softplus}


def _recurrent(node: Node, x: Thing, w: Thing, r: Thing, b: Thing, lengths: Thing, first: Sequence[Thing],
               defaults: Sequence[str], cell: Callable[..., tuple[Value, ...]]) -> tuple[Value, ...]:
    """One or two directions over the steps of [steps, batch, features]: all outputs, and the last of each state."""
    node.refuse(layout=0, clip=None, activation_alpha=None, activation_beta=None)
    if lengths is not None:
        raise ValueError("lengths of sequences are not supported")
    x, w, r = map(to_value, (x, w, r))
    direction, units = node("direction", "forward"), r.shape[2]
    ways = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[direction]
    names = [n.lower() for n in node("activations") or list(defaults) * len(ways)]
    if unknown := set(names) - set(_ACTIVATIONS):
        raise ValueError(f"the activation {unknown.pop()!r} is not supported")
    states = [None if t is None else to_value(t) for t in first]
    given, last = [], []
    for i, reverse in enumerate(ways):
        kernel, recurrent = f.getitem(w, i), f.getitem(r, i)
        bias = f.full((2 * kernel.shape[0],), 0.0) if b is None else f.getitem(to_value(b), i)
        functions = [_ACTIVATIONS[n] for n in names[i * len(defaults):(i + 1) * len(defaults)]]
        begin = [f.full((x.shape[1], units), 0.0) if s is None else f.getitem(s, i) for s in states]
        projected = f.matmul(x, f.transpose(kernel)) + bias[:kernel.shape[0]]

        def step(carry: list[Value], read: Value, recurrent: Value = recurrent, bias: Value = bias,
                 functions: Any = functions) -> tuple[list[Value], Value]:
            after = cell(node, read, carry, f.transpose(recurrent), bias[recurrent.shape[0]:], functions)
            return list(after), after[0]

        ended, outputs = scan(step, begin, projected, reverse=reverse)
        given.append(outputs)
        last.append(ended)
    return (f.stack(given, 1), *(f.stack([ends[k] for ends in last]) for k in range(len(states))))


def _gates(x: Value, count: int) -> list[Value]:
    units = x.shape[-1] // count  # type: ignore[operator]
    return [x[..., i * units:(i + 1) * units] for i in range(count)]


def _lstm_cell(node: Node, x: Value, carry: list[Value], r: Value, b: Value, functions: Any) -> tuple[Value, ...]:
    h, c = carry
    inner, change, outer = functions
    i, o, forget, new = _gates(x + f.matmul(h, r) + b, 4)
    c = inner(forget) * c + inner(i) * change(new)
    return inner(o) * outer(c), c


def _gru_cell(node: Node, x: Value, carry: list[Value], r: Value, b: Value, functions: Any) -> tuple[Value, ...]:
    (h,), (inner, change), units = carry, functions, carry[0].shape[1]
    xz, xr, xh = _gates(x, 3)
    hz, hr = _gates(f.matmul(h, r[:, :2 * units]) + b[:2 * units], 2)
    update, reset = inner(xz + hz), inner(xr + hr)
    if node("linear_before_reset", 0):
        new = change(xh + reset * (f.matmul(h, r[:, 2 * units:]) + b[2 * units:]))
    else:
        new = change(xh + f.matmul(reset * h, r[:, 2 * units:]) + b[2 * units:])
    return ((1.0 - update) * new + update * h,)


def _rnn_cell(node: Node, x: Value, carry: list[Value], r: Value, b: Value, functions: Any) -> tuple[Value, ...]:
    return (functions[0](x + f.matmul(carry[0], r) + b),)


@op("LSTM")
def _lstm(node: Node, x: Thing, w: Thing, r: Thing, b: Thing = None, lengths: Thing = None, h: Thing = None,
          c: Thing = None, peephole: Thing = None) -> tuple[Value, ...]:
    node.refuse(input_forget=0)
    if peephole is not None:
        raise ValueError("peepholes are not supported")
    return _recurrent(node, x, w, r, b, lengths, (h, c), ("Sigmoid", "Tanh", "Tanh"), _lstm_cell)


@op("GRU")
def _gru(node: Node, x: Thing, w: Thing, r: Thing, b: Thing = None, lengths: Thing = None,
         h: Thing = None) -> tuple[Value, ...]:
    return _recurrent(node, x, w, r, b, lengths, (h,), ("Sigmoid", "Tanh"), _gru_cell)


@op("RNN")
def _rnn(node: Node, x: Thing, w: Thing, r: Thing, b: Thing = None, lengths: Thing = None,
         h: Thing = None) -> tuple[Value, ...]:
    return _recurrent(node, x, w, r, b, lengths, (h,), ("Tanh",), _rnn_cell)
