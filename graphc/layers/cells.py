"""Cells: one time step of a recurrent layer. https://keras.io/api/layers/recurrent_layers/

A cell is called with the inputs of one step and the states after the step before, and gives its output and the new
states. `stepper` is that step with its dropout masks drawn already: a layer draws them once and takes many steps.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc import activations
from graphc.configs import describe
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value
from graphc.ir.tree import flat, mapped
from graphc.layers.core import positive
from graphc.layers.layer import Layer
from graphc.layers.weights import add_weight, keep_options
from graphc.tracing import random_source
from graphc.variable import constant

__all__ = ["Cell", "GRUCell", "LSTMCell", "SimpleRNNCell", "StackedRNNCells", "build_part", "check_cell",
           "first_states", "revived", "stepper"]

Step = Callable[[Value, Any], tuple[Value, Any]]  # (inputs, states) -> (output, new states)


def build_part(part: Any, shape: Any) -> None:
    """Build a layer inside another one for inputs of a shape, where it isn't built yet."""
    if isinstance(part, Layer) and not part.built:
        part.build(shape)
        part.built = True


def output_size(cell: Any) -> int:
    """The features that a cell gives: its `output_size`, or else the size of its first state."""
    size = getattr(cell, "output_size", None)
    sizes = [cell.state_size] if isinstance(cell.state_size, int | np.integer) else list(cell.state_size)
    return int(sizes[0] if size is None else size)


def first_states(cell: Any, batch: Any) -> Any:
    """The states before the first step: what the cell's `get_initial_state` gives, or zeros."""
    make = getattr(cell, "get_initial_state", None)
    if make is not None:  # for a batch of a known size ops may have given arrays
        return mapped(lambda s: constant(s) if isinstance(s, np.ndarray) else s, make(batch_size=batch))
    single = isinstance(cell.state_size, int | np.integer)
    return [f.full((batch, int(n)), 0.0) for n in ([cell.state_size] if single else cell.state_size)]


def stepper(cell: Any, inputs: Value, states: Any, training: bool) -> Step:
    """The step of any cell, for inputs and states of these types."""
    if hasattr(cell, "stepper"):
        return cell.stepper(inputs, states, training)
    options = {"training": training} if "training" in inspect.signature(cell.call).parameters else {}
    return lambda x, s: cell.call(x, s, **options)


def check_cell(cell: Any) -> None:
    """Whether this is a cell at all."""
    for what in ("call", "state_size"):
        if not hasattr(cell, what):
            raise ValueError(f"{cell!r} is no cell: it has no `{what}`. A cell has state_size, one size or a list of "
                             "them, and call(inputs, states), which returns an output and the new states.")


class Cell(Layer):
    """What the cells here share: their options, and weights that have the columns of all gates side by side."""

    gates = 1
    bias_initializer: Any
    bias_regularizer: Any
    bias_constraint: Any

    def __init__(self, units: int, activation: Any = "tanh", use_bias: bool = True,
                 kernel_initializer: Any = "glorot_uniform", recurrent_initializer: Any = "orthogonal",
                 bias_initializer: Any = "zeros", *, kernel_regularizer: Any = None, recurrent_regularizer: Any = None,
                 bias_regularizer: Any = None, kernel_constraint: Any = None, recurrent_constraint: Any = None,
                 bias_constraint: Any = None, dropout: float = 0.0, recurrent_dropout: float = 0.0,
                 seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.units = positive(type(self).__name__, "units", units)
        self.activation, self.use_bias = activations.get(activation), use_bias
        keep_options(self, "kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        keep_options(self, "recurrent", recurrent_initializer, recurrent_regularizer, recurrent_constraint)
        keep_options(self, "bias", bias_initializer, bias_regularizer, bias_constraint)
        self.dropout, self.recurrent_dropout = min(1.0, max(0.0, dropout)), min(1.0, max(0.0, recurrent_dropout))
        self.seed = seed

    @property
    def state_size(self) -> Any:
        """The features of each state."""
        return self.units

    @property
    def output_size(self) -> int:
        """The features of the output."""
        return self.units

    @property
    def bias_shape(self) -> tuple[int, ...]:
        return (self.gates * self.units,)

    def build(self, input_shape: Any) -> None:
        shape = input_shape[0] if isinstance(input_shape, list) else input_shape
        if len(shape) != 2 or shape[-1] is None:
            raise ShapeError(f"{type(self).__name__} needs inputs of two axes, the batch and a known number of "
                             "features.")
        self.kernel = add_weight(self, "kernel", (shape[-1], self.gates * self.units))
        self.recurrent_kernel = add_weight(self, "recurrent", (self.units, self.gates * self.units), "recurrent_kernel")
        self.bias = self.add_weight(self.bias_shape, self.first_bias, name="bias", regularizer=self.bias_regularizer,
                                    constraint=self.bias_constraint) if self.use_bias else None

    def first_bias(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """The bias at the start."""
        return self.bias_initializer(shape, dtype)

    def call(self, inputs: Value, states: Any, training: bool = False) -> Any:  # type: ignore[override]
        return self.stepper(inputs, states, training)(inputs, states)

    def get_initial_state(self, batch_size: Any = None) -> list[Value]:
        """Zeros for a batch."""
        sizes = self.state_size if isinstance(self.state_size, list) else [self.state_size]
        return [f.full((batch_size, n), 0.0) for n in sizes]

    def stepper(self, inputs: Value, states: Any, training: bool) -> Step:
        """The step as a function of inputs and states, with dropout masks of its own."""
        each = self.gates if self.recurrent_dropout and self.gates > 1 else 1  # Keras then draws for every gate
        dropped = self._masks(inputs, self.dropout, training, range(each))
        kept = self._masks(next(flat(states)), self.recurrent_dropout, training, range(each, 2 * each))

        def step(x: Value, states: Any) -> tuple[Value, Any]:
            output, *new = self.step(x, list(flat(states)), dropped, kept)
            return output, new if isinstance(states, list | tuple) else new[0]

        return step

    def step(self, x: Value, states: list[Value], dropped: list[Value], kept: list[Value]) -> tuple[Value, ...]:
        """The output and the new states, with dropout masks for inputs and states: none, one, or one for each gate."""
        raise NotImplementedError

    def _masks(self, like: Value, rate: float, training: bool, draws: range) -> list[Value]:
        if not training or not 0 < rate < 1:
            return []
        sources = [random_source(None if self.seed is None else self.seed + draw) for draw in draws]
        return [f.dropout(f.ones_like(like), rate, *source) for source in sources if source is not None]

    def columns(self, weight: Value, first: int, count: int = 1) -> Value:
        """The columns of some gates of a kernel, a bias or their product."""
        start = (*(0,) * (weight.ndim - 1), first * self.units)
        return f.slice(weight, start, (*weight.shape[:-1], count * self.units))

    def project(self, x: Value, kernel: Value, masks: Sequence[Value], first: int = 0, count: int = 0) -> Value:
        """x @ kernel for the columns of some gates, all by default, with x under the mask of each gate."""
        count = count or self.gates
        if len(masks) > 1:
            return f.concatenate([self.project(x, kernel, [masks[g]], g, 1) for g in range(first, first + count)])
        x = f.multiply(x, masks[0]) if masks else x
        return f.matmul(x, self.columns(kernel, first, count))


class SimpleRNNCell(Cell):
    """One step of SimpleRNN: `activation(x @ kernel + h @ recurrent_kernel + bias)`."""

    def step(self, x: Value, states: list[Value], dropped: list[Value], kept: list[Value]) -> tuple[Value, ...]:
        z = self.project(x, self.kernel, dropped)
        z = z if self.bias is None else f.add(z, self.bias)
        h = self.activation(f.add(z, self.project(states[0], self.recurrent_kernel, kept)))
        return h, h


class LSTMCell(Cell):
    """One step of LSTM; the gates i, f, c, o lie side by side in the kernels.

    S. Hochreiter, J. Schmidhuber, "Long short-term memory", 1997. `unit_forget_bias` starts the bias of f at 1.
    """

    gates = 4

    def __init__(self, units: int, activation: Any = "tanh", recurrent_activation: Any = "sigmoid",
                 use_bias: bool = True, *, unit_forget_bias: bool = True, implementation: int = 2, **kwargs: Any):
        super().__init__(units, activation, use_bias, **kwargs)
        self.recurrent_activation, self.unit_forget_bias = activations.get(recurrent_activation), unit_forget_bias

    @property
    def state_size(self) -> list[int]:
        return [self.units, self.units]

    def first_bias(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        if not self.unit_forget_bias:
            return super().first_bias(shape, dtype)
        units, start = (self.units,), self.bias_initializer
        return np.concatenate([start(units, dtype), np.ones(units, dtype), start((2 * self.units,), dtype)])

    def step(self, x: Value, states: list[Value], dropped: list[Value], kept: list[Value]) -> tuple[Value, ...]:
        h, c = states
        z = self.project(x, self.kernel, dropped)
        z = f.add(z if self.bias is None else f.add(z, self.bias), self.project(h, self.recurrent_kernel, kept))
        gate, squash = self.recurrent_activation, self.activation
        i, forget, candidate, o = (self.columns(z, g) for g in range(4))
        c = f.add(f.multiply(gate(forget), c), f.multiply(gate(i), squash(candidate)))
        h = f.multiply(gate(o), squash(c))
        return h, h, c


class GRUCell(Cell):
    """One step of GRU; the gates z, r, h lie side by side in the kernels.

    K. Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014. With `reset_after` the reset gate
    applies to `h @ recurrent_kernel`, and the bias has a row for inputs and one for states; without it, to h.
    """

    gates = 3

    def __init__(self, units: int, activation: Any = "tanh", recurrent_activation: Any = "sigmoid",
                 use_bias: bool = True, *, reset_after: bool = True, implementation: int = 2, **kwargs: Any):
        super().__init__(units, activation, use_bias, **kwargs)
        self.recurrent_activation, self.reset_after = activations.get(recurrent_activation), reset_after

    @property
    def bias_shape(self) -> tuple[int, ...]:
        return (2, 3 * self.units) if self.reset_after else (3 * self.units,)

    def step(self, x: Value, states: list[Value], dropped: list[Value], kept: list[Value]) -> tuple[Value, ...]:
        (h,) = states
        joint = 3 if self.reset_after else 2  # gates whose part of h @ recurrent_kernel doesn't wait for another one
        of_x = self.project(x, self.kernel, dropped)
        of_h = self.project(h, self.recurrent_kernel, kept, 0, joint)
        if self.bias is not None and self.reset_after:
            both = (f.reshape(f.slice(self.bias, (row, 0), (1, 3 * self.units)), (3 * self.units,)) for row in (0, 1))
            of_x, of_h = (f.add(part, bias) for part, bias in zip((of_x, of_h), both, strict=True))
        elif self.bias is not None:
            of_x = f.add(of_x, self.bias)
        z, r = (self.recurrent_activation(f.add(self.columns(of_x, g), self.columns(of_h, g))) for g in (0, 1))
        if self.reset_after:
            reset = f.multiply(r, self.columns(of_h, 2))
        else:
            masked = f.multiply(h, kept[2]) if len(kept) > 1 else h
            reset = self.project(f.multiply(r, masked), self.recurrent_kernel, (), 2, 1)
        candidate = self.activation(f.add(self.columns(of_x, 2), reset))
        h = f.add(f.multiply(z, h), f.multiply(f.subtract(1.0, z), candidate))
        return h, h


class StackedRNNCells(Layer):
    """Cells on top of each other as one cell: each one's output is the next one's input."""

    def __init__(self, cells: Sequence[Any], **kwargs: Any):
        super().__init__(**kwargs)
        for cell in cells:
            check_cell(cell)
        self.cells = list(cells)

    @property
    def state_size(self) -> list[Any]:
        """The features of each cell's states."""
        return [cell.state_size for cell in self.cells]

    @property
    def output_size(self) -> int:
        """The features of the last cell's output."""
        return output_size(self.cells[-1])

    def build(self, input_shape: Any) -> None:
        for cell in self.cells:
            build_part(cell, input_shape)
            input_shape = (input_shape[0], output_size(cell))

    def get_initial_state(self, batch_size: Any = None) -> list[Any]:
        """The states of all cells for a batch."""
        return [first_states(cell, batch_size) for cell in self.cells]

    def call(self, inputs: Value, states: Any, training: bool = False) -> Any:  # type: ignore[override]
        return self.stepper(inputs, states, training)(inputs, states)

    def stepper(self, inputs: Value, states: Any, training: bool) -> Step:
        """The step as a function of inputs and states, with the cells' dropout masks drawn."""
        steps = []
        for cell, state in zip(self.cells, states, strict=True):
            steps.append(stepper(cell, inputs, state, training))
            inputs, _ = steps[-1](inputs, state)

        def step(x: Value, states: Any) -> tuple[Value, Any]:
            new = []
            for one, state in zip(steps, states, strict=True):
                x, after = one(x, state)
                new.append(after)
            return x, new

        return step

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"cells": [describe(cell) for cell in self.cells]}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> StackedRNNCells:
        return cls(**{**config, "cells": [revived(cell) for cell in config["cells"]]})


def revived(described: Any) -> Any:
    """The layer of a description; a layer itself stays."""
    from graphc.serialization import deserialize  # serialization builds on layers

    return deserialize(described, "layer") if isinstance(described, dict) else described
