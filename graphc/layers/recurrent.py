"""Recurrent layers: a cell, taken along the time axis. https://keras.io/api/layers/recurrent_layers/

The loop is one `scan`, whatever the options: they change what goes into a step, what is carried from step to step, and
what is kept of it. Where a mask says that a step doesn't count, the states stay and the output before is repeated.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np

from graphc.configs import constructor_parameters
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.evaluate import evaluate
from graphc.ir.graph import Graph, Value, current_origin, topological
from graphc.ir.tree import flat, structured
from graphc.ir.types import at_least_zero
from graphc.layers.cells import (
    Cell,
    GRUCell,
    LSTMCell,
    SimpleRNNCell,
    StackedRNNCells,
    build_part,
    check_cell,
    first_states,
    revived,
    stepper,
)
from graphc.layers.layer import Layer
from graphc.limits import limit_batch
from graphc.names import snake_case
from graphc.tracing import current_trace
from graphc.variable import Variable, assign_all

__all__ = ["GRU", "LSTM", "RNN", "SimpleRNN"]


class RNN(Layer):
    """A cell, or a list of them on top of each other, along the time axis of [N, T, ...].

    The output is the last one, or with `return_sequences` all of them; with `return_state` the last states follow it.
    `go_backwards` takes the steps from the last to the first, and gives the outputs in that order. A `stateful` layer
    begins where the batch before it ended, in prediction too, until `reset_state`; it needs a fixed batch size, and
    shuffle=False in `fit`. Its states are neither weights nor saved. `unroll` changes nothing: every loop is compiled.
    Masked steps keep the states and repeat the output, or with `zero_output_for_mask` give zeros. `initial_state` in a
    call is a value or array for each state; `[x, *states]` as the inputs does the same.

    A cell of one's own is a layer with `state_size`, and `call(inputs, states)` that returns an output and new states.

    RNN(GRUCell(4))(f32[N,5,3]) -> f32[N,4]
    RNN([LSTMCell(4), SimpleRNNCell(2)], return_sequences=True)(f32[N,5,3]) -> f32[N,5,2]
    """

    supports_masking = True

    def __init__(self, cell: Any, return_sequences: bool = False, return_state: bool = False,
                 go_backwards: bool = False, stateful: bool = False, unroll: bool = False,
                 zero_output_for_mask: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.cell = StackedRNNCells(cell) if isinstance(cell, list | tuple) else cell
        check_cell(self.cell)
        self.return_sequences, self.return_state = return_sequences, return_state
        self.go_backwards, self.stateful, self.unroll = go_backwards, stateful, unroll
        self.zero_output_for_mask = zero_output_for_mask
        self.states: list[Variable] | None = None  # of a stateful layer that is built

    @property
    def state_size(self) -> list[Any]:
        """The features of each state; of stacked cells, of each cell's states."""
        size = self.cell.state_size
        return [size] if isinstance(size, int | np.integer) else list(size)

    def build(self, input_shape: Any) -> None:
        shape = tuple(input_shape[0] if isinstance(input_shape[0], list | tuple) else input_shape)
        if len(shape) < 3:
            raise ShapeError(f"{type(self).__name__} needs at least three axes: the batch, the time, and the features "
                             "of a step.")
        build_part(self.cell, (shape[0], *shape[2:]))
        if self.stateful:
            trace = current_trace()
            batch = shape[0] if shape[0] is not None or trace is None else trace.batch
            if batch is None:
                raise ShapeError(f"{type(self).__name__}(stateful=True) needs a batch of a fixed size: give "
                                 "Input(batch_shape=...), or batch_input_shape to the first layer.")
            path = f"{current_origin() or self.name}/rnn_state"
            self.states = [Variable(array, f"{path}_{i}", trainable=False)
                           for i, array in enumerate(_numbers(flat(first_states(self.cell, batch))))]

    def reset_state(self, states: Any = None) -> None:
        """Give a stateful layer new states: zeros, or arrays for each of its states."""
        if not self.stateful:
            raise AttributeError(f"{self.name!r}.reset_state: only a layer with stateful=True keeps states.")
        own = self.states or []
        new = [np.zeros_like(v.array) for v in own] if states is None else list(flat(states))
        if len(new) != len(own):
            raise ShapeError(f"{self.name!r}.reset_state received {len(new)} states, expected {len(own)}.")
        assign_all(zip(own, new, strict=True))

    reset_states = reset_state

    def get_initial_state(self, batch_size: Any) -> Any:
        """The states before the first step of a batch."""
        states = first_states(self.cell, batch_size)
        return states if isinstance(states, list | tuple) else [states]

    def call(self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:
        if isinstance(sequences, list | tuple):
            sequences, *initial_state = sequences
            mask = mask[0] if isinstance(mask, list | tuple) else mask
        mask = None if mask is None else f.cast(mask, "bool")
        if self.unroll and not isinstance(sequences.shape[1], int):
            raise ShapeError(f"{type(self).__name__}(unroll=True) needs a known number of time steps.")
        start = self._start(sequences, initial_state)
        output, states = self._loop(sequences, start, mask, training)
        for variable, value in zip(self.states or (), flat(states), strict=False):
            variable.assign(_rows(value, variable.shape[0]))
        return [output, *states] if self.return_state else output

    def _start(self, x: Value, given: Any) -> Any:
        """The states to begin with, in the cell's structure."""
        states = self.get_initial_state(x.shape[0])
        expected = list(flat(states))
        if self.states:
            limit_batch(len(self.states[0]), self)
            given = [_rows(state, x.shape[0]) for state in self.states] if given is None else given
        if given is None:
            return states
        found = list(flat(given))
        if [v.type for v in found] != [v.type for v in expected]:
            raise ShapeError(f"the states {', '.join(str(v.type) for v in found)} to begin with, expected "
                             f"{', '.join(str(v.type) for v in expected)}.")
        return structured(states, found)

    def _loop(self, x: Value, start: Any, mask: Value | None, training: bool) -> tuple[Value, Any]:
        """The output and the last states."""
        step = stepper(self.cell, _at(x, 0), start, training)
        output, after = step(_at(x, 0), start)  # for its type, and whether it is a state; nothing computes it
        place = next((i for i, state in enumerate(flat(after)) if state is output), None)
        repeats = mask is not None and not self.zero_output_for_mask
        carries = repeats if self.return_sequences else place is None

        def once(carry: tuple[Value, ...], now: tuple[Value, ...]) -> tuple[tuple[Value, ...], tuple[Value, ...]]:
            before = carry[1:] if carries else carry
            output, after = step(now[0], structured(start, before))
            new = list(flat(after))
            if mask is not None:
                new = [_where(now[1], n, b) for n, b in zip(new, before, strict=True)]
                output = _where(now[1], output, carry[0] if carries and repeats else f.zeros_like(output))
            return (*((output,) if carries else ()), *new), (output,) if self.return_sequences else ()

        first = (*((f.zeros_like(output),) if carries else ()), *flat(start))
        xs = tuple(_time_first(v) for v in (x, mask) if v is not None)
        last, outputs = f.scan(once, first, xs, reverse=self.go_backwards)
        states = last[1:] if carries else last
        if self.return_sequences:
            result = _time_first(outputs[0])
            result = f.flip(result, 1) if self.go_backwards else result
        elif carries:
            result = last[0]
        else:
            result = states[place]
            if mask is not None:  # a row without any valid step has the first state there, and gives zeros
                counts = f.greater(f.sum(mask, 1), 0) if repeats else _at(mask, 0 if self.go_backwards else -1)
                result = _where(counts, result, f.zeros_like(result))
        return result, structured(start, states)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        mask = mask[0] if isinstance(mask, list | tuple) else mask
        kept = mask if self.return_sequences else None
        return [kept, *(None for _ in self.state_size)] if self.return_state else kept

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> RNN:
        return cls(**{name: revived(value) if name == "cell" else value for name, value in config.items()})


def _time_first(x: Value) -> Value:
    """x with its first two axes exchanged."""
    return f.transpose(x, (1, 0, *range(2, x.ndim)))


def _numbers(values: Iterable[Value]) -> list[np.ndarray]:
    """The arrays of values that depend on no input."""
    outputs = tuple((str(i), value) for i, value in enumerate(values))
    state = tuple(v for v in topological([v for _, v in outputs]) if isinstance(v, Variable))
    found, _ = evaluate(Graph("states", (), state, outputs), {v.label: v.array for v in state})
    return [np.array(array) for array in found.values()]  # equal values are one array there


def _rows(x: Value, count: Any) -> Value:
    """x, which has `count` rows whenever a step runs, as a value that is known to."""
    return x if x.shape[0] == count else f.take(x, f.iota((count,), (0,)))


def _at(x: Value, time: int) -> Value:
    """One time step of [N, T, ...]: the first, or the last for -1. Where there may be none, zeros stand for it."""
    if not at_least_zero(x.shape[1] - 1):
        before, after = (1, 0) if time < 0 else (0, 1)
        x = f.pad(x, [(0, 0), (before, after), *((0, 0),) * (x.ndim - 2)])
    start = (0, x.shape[1] - 1 if time < 0 else time, *(0,) * (x.ndim - 2))
    return f.reshape(f.slice(x, start, (x.shape[0], 1, *x.shape[2:])), (x.shape[0], *x.shape[2:]))


def _where(valid: Value, new: Value, old: Value) -> Value:
    """`new` in the rows that are valid, `old` in the others."""
    return f.where(f.reshape(valid, (*valid.shape, *(1,) * (new.ndim - 1))), new, old)


class _OneCell(RNN):
    """The layer of a cell of its own: it takes the cell's options too, and has them as attributes."""

    cell_class: ClassVar[type[Cell]]

    def __init_subclass__(cls, cell: type[Cell] | None = None, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        if cell is None:  # of a user, with a constructor of its own
            return
        cls.cell_class = cell
        given = constructor_parameters(cell) | constructor_parameters(RNN)
        del given["cell"]
        options = [p for p in given.values() if p.kind is p.POSITIONAL_OR_KEYWORD and p.name in _positional(cell)]
        options += [p.replace(kind=p.KEYWORD_ONLY) for p in given.values() if p not in options]
        cls.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]

    def __init__(self, *options: Any, **kwargs: Any):
        names = _positional(self.cell_class)
        if len(options) > len(names):
            raise TypeError(f"{type(self).__name__} takes {', '.join(names)} without their names, received "
                            f"{len(options)} values. Name the options after these.")
        kwargs = dict(zip(names, options, strict=False)) | kwargs
        kwargs.pop("use_cudnn", None)  # of Keras's; here there is one way to compute
        common = constructor_parameters(Layer)
        own = {name: kwargs.pop(name) for name in constructor_parameters(self.cell_class)
               if name in kwargs and name not in common}
        name = snake_case(self.cell_class.__name__)
        cell = self.cell_class(**own, trainable=kwargs.get("trainable", True), name=name)
        super().__init__(cell, **kwargs)

    def __getattr__(self, name: str) -> Any:
        cell = vars(self).get("cell")
        if cell is None or name not in constructor_parameters(type(cell)):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(cell, name)

    def build(self, input_shape: Any) -> None:
        shape = input_shape[0] if isinstance(input_shape[0], list | tuple) else input_shape
        if len(shape) != 3 or shape[-1] is None:
            raise ShapeError(f"{type(self).__name__} needs three axes: the batch, the time, and a known number of "
                             "features. A recurrent layer before it gives them with return_sequences=True; a series of "
                             "single numbers gets features with numpy.expand_dims(x, -1), word numbers get them from "
                             "an Embedding.")
        super().build(input_shape)


def _positional(cell: type[Cell]) -> Sequence[str]:
    """The options of a cell that may come without their names."""
    return [p.name for p in constructor_parameters(cell).values() if p.kind is p.POSITIONAL_OR_KEYWORD]


class SimpleRNN(_OneCell, cell=SimpleRNNCell):
    """A dense layer of the inputs and its own output before: the options of SimpleRNNCell and of RNN.

    SimpleRNN(4)(f32[N,5,3]) -> f32[N,4]
    SimpleRNN(4, return_sequences=True, go_backwards=True, unroll=True)(f32[N,5,3]) -> f32[N,5,4]
    SimpleRNN(4)(f32[N,5]) -> ShapeError: SimpleRNN needs three axes
    """


class LSTM(_OneCell, cell=LSTMCell):
    """Long short-term memory: the options of LSTMCell and of RNN.

    LSTM(4)(f32[N,5,3]) -> f32[N,4]
    LSTM(4, return_sequences=True)(f32[N,T,3]) -> f32[N,T,4]
    LSTM(4, use_bias=False, dropout=0.1, recurrent_dropout=0.2)(f32[N,5,3]) -> f32[N,4]
    """


class GRU(_OneCell, cell=GRUCell):
    """Gated recurrent units: the options of GRUCell and of RNN.

    GRU(4)(f32[N,5,3]) -> f32[N,4]
    GRU(4, reset_after=False, return_sequences=True)(f32[N,T,3]) -> f32[N,T,4]
    """
