"""From the caller's data to arrays that programs take, and from arrays to batches. Errors come before any work."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.ir.errors import DTypeError, ShapeError
from graphc.ir.types import DType
from graphc.ports import Port, by_port, ports

__all__ = ["Batches", "Pace", "align_inputs", "align_labels", "align_weights", "as_array", "describe", "is_ready",
           "ready"]

TOGETHER = 0.05  # seconds of steps between two looks at the clock, the keyboard and the progress line

Shape = Sequence[int | None]


def describe(array: np.ndarray) -> str:
    """An array's dtype and shape as `f32[100,784]`."""
    try:
        name = str(DType.of(array.dtype))
    except DTypeError:
        name = str(array.dtype)
    return f"{name}[{','.join(map(str, array.shape))}]"


def _pattern(shape: Shape) -> str:
    return f"[{','.join(['N', *('?' if d is None else str(d) for d in shape)])}]"


def raw_array(data: Any, who: str) -> np.ndarray:
    """The data as an array of numbers of whatever dtype."""
    if data is None:
        raise ValueError(f"{who} None, expected an array.")
    if isinstance(data, np.ma.MaskedArray) and np.ma.is_masked(data):
        raise DTypeError(f"{who} {describe(data)} with masked elements, expected numbers. Give them values with "
                         "x.filled(value).")
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise ShapeError(f"{who} rows of different lengths: {str(error).rstrip('.')}. Pad or cut them to one length, "
                         "as graphc.utils.pad_sequences does.") from None
    if array.dtype == object:
        try:  # columns of mixed number types, as a pandas DataFrame gives them
            array = array.astype(np.float64)
        except (TypeError, ValueError):
            text = repr(data)
            found = describe(array) if array.ndim else text if len(text) <= 80 and "\n" not in text else (
                f"a {type(data).__name__}")
            raise DTypeError(f"{who} {found}, expected numbers. Encode text and missing values as numbers, "
                             "and give all rows one length.") from None
    if array.dtype.kind not in "biuf":
        raise DTypeError(f"{who} {describe(array)}, expected real numbers. Encode text, times and the like as "
                         "numbers first.")
    return array


def as_array(data: Any, dtype: Any, who: str) -> np.ndarray:
    """The data as an array of the dtype that a program takes; the data itself where it is one already."""
    return ready(raw_array(data, who), DType.of(dtype).numpy)


def _fits(shape: Sequence[int], expected: Shape) -> bool:
    return len(shape) == len(expected) and all(e in (None, s) for s, e in zip(shape, expected, strict=True))


def align_inputs(data: Any, nest: Any, who: str) -> tuple[np.ndarray, ...]:
    """The arrays of all inputs of a model whose ports are `nest`, of whatever dtype.

    `who` begins the messages, as in "fit of 'sequential' received as x". A missing or an additional last axis of
    extent 1 is put right: (N, 28, 28) serves a model of (28, 28, 1).
    """
    if isinstance(nest, Port):
        if type(data) is np.ndarray:
            return (_align_input(data, nest.shape, who),)
        if isinstance(data, list | tuple) and not (len(data) == 1 and hasattr(data[0], "ndim")
                                                   and data[0].ndim > len(nest.shape)):
            return (_align_input(data, nest.shape, who),)  # numbers in lists
        if isinstance(data, dict) and nest.name not in data:
            raise ValueError(f"{who} a dict of {', '.join(map(repr, data)) or 'nothing'}, expected an array, or a dict "
                             f"of the input {nest.name!r}.")
    given, own = by_port(data, nest, who, "input"), ports(nest)
    named = [who] if len(own) == 1 else [f"{who} for the input {p.name!r}" for p in own]
    return tuple(_align_input(part, p.shape, name) for part, p, name in zip(given, own, named, strict=True))


def _align_input(data: Any, expected: Shape, who: str) -> np.ndarray:
    if type(data) is np.ndarray and data.shape[1:] == expected and data.ndim and data.dtype.kind in "biuf":
        return data
    array = raw_array(data, who)
    if not array.ndim:
        raise ShapeError(f"{who} a single number, expected an array whose first axis counts the samples.")
    if not _fits(array.shape[1:], expected):
        if expected and expected[-1] == 1 and _fits(array.shape[1:], expected[:-1]):
            array = array[..., None]
        elif array.ndim > 1 and array.shape[-1] == 1 and _fits(array.shape[1:-1], expected):
            array = array[..., 0]
        else:
            hint = _input_hint(array, expected)
            raise ShapeError(f"{who} {describe(array)}, expected {_pattern(expected)}, where N is the number of "
                             f"samples.{hint}")
    return array


def _input_hint(array: np.ndarray, expected: Shape) -> str:
    sizes = [d for d in expected if d is not None]
    if _fits(array.shape, expected):
        return " This is one sample: add the batch axis with x[None]."
    if len(sizes) == len(expected) and array.ndim > 1 and np.prod(array.shape[1:]) == np.prod(sizes):
        return f" Reshape it with x.reshape(-1, {', '.join(map(str, sizes))})."
    return ""


def align_labels(data: Any, nest: Any, targets: Sequence[Any], who: str,
                 layer_of: Callable[[int], str]) -> tuple[np.ndarray, ...]:
    """The labels of all outputs that take any, as their losses compare them with the outputs.

    `nest` are the ports of the outputs, `targets` what each is measured by, `layer_of` names the layer of one. Labels
    of outputs without a loss and without metrics may be left out, and are not looked at.
    """
    wanted = [i for i, t in enumerate(targets) if t.labelled]
    if not wanted:
        return ()
    if len(targets) == 1:
        one = targets[0].port
        if type(data) is np.ndarray:
            pass
        elif isinstance(data, dict):
            data = by_port(data, one, who, "output")[0]
        elif isinstance(data, list | tuple) and len(data) == 1 and hasattr(data[0], "shape") and len(data[0].shape):
            (data,) = data  # Keras takes a list of one array for a model with one output
        return (_align_targets(data, one.shape, targets[0], who, layer_of(0)),)
    partly = isinstance(data, list | tuple) and len(data) == len(wanted) < len(targets)
    given = dict(zip(wanted, data, strict=True)) if partly else dict(
        enumerate(by_port(data, nest, who, "output", True)))
    missing = [targets[i].port.name for i in wanted if given[i] is None]
    if missing:
        raise ValueError(f"{who} no labels for the output {missing[0]!r}, which has a loss or metrics.")
    return tuple(_align_targets(given[i], targets[i].port.shape, targets[i],
                                f"{who} for the output {targets[i].port.name!r}", layer_of(i)) for i in wanted)


def _align_targets(data: Any, output: Shape, target: Any, who: str, layer: str) -> np.ndarray:
    """The labels in the shape and dtype that the loss compares with outputs of shape (None, *output).

    (N,) serves an output (N, 1), and the reverse. Class numbers are checked to be below the number of outputs.
    """
    array = raw_array(data, who)
    loss = target.loss
    if loss is not None and loss.takes_classes(array.shape, output):
        return _classes(array, output, loss, who, layer)
    if _fits(array.shape[1:], output):
        return as_array(array, "f32", who)
    if output and output[-1] == 1 and array.ndim and _fits(array.shape[1:], output[:-1]):
        return as_array(array[..., None], "f32", who)
    if array.ndim > 1 and array.shape[-1] == 1 and _fits(array.shape[1:-1], output):
        return as_array(array[..., 0], "f32", who)
    if target.targets == "any" and array.ndim:
        return as_array(array, "i32" if array.dtype.kind in "iu" else "f32", who)
    hint = ""
    if output and output[-1] not in (None, 1) and array.ndim == len(output) + (array.shape[-1:] == (1,)):
        hint = (f" For class numbers use loss='sparse_categorical_crossentropy', or graphc.utils.to_categorical(y, "
                f"{output[-1]}).")
    raise ShapeError(f"{who} {describe(array)}, expected {_pattern(output)}: {loss.name} compares the labels with the "
                     f"outputs of the layer {layer!r} element by element.{hint}")


def _classes(array: np.ndarray, output: Shape, loss: Any, who: str, layer: str) -> np.ndarray:
    expected, count = output[:-1], output[-1]
    if array.ndim == len(output) + 1 and array.shape[-1] == 1 and _fits(array.shape[1:-1], expected):
        array = array[..., 0]
    if not _fits(array.shape[1:], expected) or not array.ndim:
        hint = ""
        if _fits(array.shape[1:], output):
            hint = " One-hot rows go with loss='categorical_crossentropy', or use y.argmax(-1)."
        raise ShapeError(f"{who} {describe(array)}, expected class numbers {_pattern(expected)} for {loss.name}.{hint}")
    ignored = getattr(loss, "ignore_class", None)
    known = array if ignored is None else array[array != ignored]
    if known.size and count is not None:
        kind = known.dtype.kind
        # as a number without sign a negative one is large: one look at the labels instead of two
        seen = known.view(f"u{known.dtype.itemsize}") if kind == "i" and known.dtype.isnative else known
        if (seen is known and not known.min() >= 0) or not seen.max() < count:
            low, high = known.min(), known.max()
            wrong = low if not low >= 0 else high
            raise ValueError(f"{who} the class {wrong}, expected 0 to {count - 1}: the layer {layer!r} has {count} "
                             "outputs. Number the classes from 0, or give the layer one output for each class.")
        if kind == "f" and (array != np.floor(array)).any():
            raise ValueError(f"{who} {array[array != np.floor(array)].flat[0]} as a class, expected whole numbers.")
    return as_array(array, "i32", who)


def align_weights(sample_weight: Any, class_weight: Any, labels: Sequence[np.ndarray], own: Sequence[Port], rows: int,
                  who: str) -> tuple[np.ndarray, ...]:
    """Weights for each row, or for each step of each row, from either argument of `fit`: none, one for all, or several.

    `labels` are those of the outputs `own`. Weights in a list or dict belong to the outputs; one that has none gets
    ones. `class_weight` maps class numbers to weights, 1 for those it leaves out; one-hot labels count as their
    classes.
    """
    if sample_weight is not None and class_weight is not None:
        raise ValueError(f"{who} both sample_weight and class_weight: give one of them.")
    if class_weight is not None:
        if len(own) != 1:
            raise ValueError(f"{who} class_weight for a model with {len(own)} outputs that take labels, expected one. "
                             "Use sample_weight.")
        return (_weights_of_classes(class_weight, labels[0], who),)
    if sample_weight is None or not own:
        return ()
    who = who.replace(" received", "'s sample_weight received")
    if len(own) == 1 and isinstance(sample_weight, dict):
        sample_weight = by_port(sample_weight, own[0], who, "output", True)[0]
        if sample_weight is None:
            return ()
    several = len(own) > 1 and isinstance(sample_weight, dict | list | tuple) and (
        isinstance(sample_weight, dict) or (len(sample_weight) == len(own) and len(own) != rows))
    if not several:
        return (_weights(sample_weight, labels[0], rows, who),)
    given = by_port(sample_weight, list(own), who, "output", True)
    return tuple(np.ones(rows, np.float32) if w is None else _weights(w, y, rows, f"{who} for the output {p.name!r}")
                 for w, y, p in zip(given, labels, own, strict=True))


def _weights(data: Any, labels: np.ndarray, rows: int, who: str) -> np.ndarray:
    weights = as_array(data, "f32", who)
    weights = weights[..., 0] if weights.ndim > 1 and weights.shape[-1] == 1 else weights
    if weights.shape[:1] != (rows,) or weights.shape != labels.shape[:weights.ndim]:
        raise ShapeError(f"{who} {describe(weights)}, expected one weight for each of the {rows} rows, or for each "
                         f"step of them: the labels are {describe(labels)}.")
    return weights


def _weights_of_classes(class_weight: Any, labels: np.ndarray, who: str) -> np.ndarray:
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    one_hot = labels.ndim > 1 and labels.dtype.kind == "f"
    classes = labels.argmax(-1) if one_hot else labels.astype(np.int64)
    found, places = np.unique(classes, return_inverse=True)
    if found.size and found[0] < 0:
        raise ValueError(f"{who} class_weight for the class {found[0]}, expected classes from 0.")
    known = _class_table(class_weight, who)
    return np.array([known.get(int(c), 1) for c in found], np.float32)[places.reshape(classes.shape)]


def _class_table(class_weight: Any, who: str) -> dict[int, float]:
    """The weights that a caller gives to classes, by their numbers."""
    try:
        table = {int(number): float(weight) for number, weight in dict(class_weight).items()}
        if all(number in table for number in class_weight):  # 1.5 and "1" are no numbers of classes
            return table
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"{who} class_weight={class_weight!r:.80}, expected a dict of class numbers and their weights, as "
                     "{0: 1.0, 1: 2.5}.")


def is_ready(array: np.ndarray, dtype: np.dtype) -> bool:
    """Whether a program takes the array as it is."""
    flags = array.flags
    return array.dtype == dtype and flags.c_contiguous and flags.aligned


def ready(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The array as a program takes it; itself where it is that already."""
    return array if is_ready(array, dtype) else np.array(array, dtype, order="C")


class Pace:
    """How many steps take about TOGETHER seconds, as the last ones went."""

    def __init__(self) -> None:
        self.at_once = 1

    def count(self, steps: int, seconds: float) -> None:
        """So many steps took so long."""
        self.at_once = max(1, int(TOGETHER * steps / seconds))


class Batches:
    """Rows of several arrays, in batches, of which the first `done` are done.

    A program reads the rows from where they lie, also in another `order`, so they are not copied.
    """

    def __init__(self, arrays: Sequence[np.ndarray], batch_size: int, order: np.ndarray | None = None,
                 pace: Pace | None = None):
        self.arrays, self.batch_size, self.order = tuple(arrays), batch_size, order
        self.rows = len(arrays[0] if order is None else order)
        self.done = 0
        self._pace = pace or Pace()

    def __len__(self) -> int:
        return -(-self.rows // self.batch_size)

    def run(self, program: Any, single: bool = False) -> tuple[int, tuple[np.ndarray, ...]]:
        """Run the program on the next batches.

        Returns the rows of each batch, and the outputs of all, stacked along a new first axis. With `single` one batch
        is run, otherwise as many of equal size as take about TOGETHER seconds.
        """
        began = time.perf_counter()
        first = self.done * self.batch_size
        rows = min(self.batch_size, self.rows - first)
        times = 1 if single else min(self._pace.at_once, (self.rows - first) // rows)
        arrays, dtypes, order = self.arrays, program.dtypes, self.order
        if times > 1 and all(map(is_ready, arrays, dtypes)):
            outputs = program.steps(arrays, rows, times, first, order)
        else:
            times = 1
            at: Any = slice(first, first + rows)
            at = at if order is None else order[at]
            outputs = tuple([o[None] for o in program(*[ready(a[at], d)
                                                        for a, d in zip(arrays, dtypes, strict=True)])])
        self.done += times
        self._pace.count(times, time.perf_counter() - began)
        return rows, outputs
