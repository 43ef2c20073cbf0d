"""Layers around layers of sequences. https://keras.io/api/layers/recurrent_layers/"""

from __future__ import annotations

import inspect
from typing import Any

from graphc.configs import describe
from graphc.ir import functions as f
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Value
from graphc.layers.cells import build_part, revived
from graphc.layers.layer import Layer
from graphc.names import choose

__all__ = ["Bidirectional", "TimeDistributed", "Wrapper"]


class Wrapper(Layer):
    """A layer around another one."""

    def __init__(self, layer: Layer, **kwargs: Any):
        super().__init__(**kwargs)
        self.layer = _layer(self, layer)

    def build(self, input_shape: Any) -> None:
        build_part(self.layer, input_shape)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Layer:
        return cls(**_with_layers(config))


def _with_layers(config: dict[str, Any]) -> dict[str, Any]:
    return {name: revived(value) if name.endswith("layer") else value for name, value in config.items()}


def _layer(owner: Layer, given: Any) -> Any:
    if not isinstance(given, Layer):
        raise TypeError(f"{type(owner).__name__} wraps a layer, received {given!r}.")
    return given


class TimeDistributed(Wrapper):
    """A layer on each time step of [N, T, ...]: all steps at once, as rows of one batch.

    A layer that takes means over the batch, such as BatchNormalization, takes them over all time steps.

    TimeDistributed(Dense(4))(f32[N,5,3]) -> f32[N,5,4]
    TimeDistributed(Conv2D(2, 3))(f32[N,T,8,8,1]) -> f32[N,T,6,6,2]
    TimeDistributed(Dense(4))(f32[N,5]) -> ShapeError: TimeDistributed needs at least three axes
    """

    supports_masking = True

    def build(self, input_shape: Any) -> None:
        if len(input_shape) < 3:
            raise ShapeError("TimeDistributed needs at least three axes, the batch, the time and what a step has.")
        super().build((None, *input_shape[2:]))

    def call(self, inputs: Value, mask: Value | None = None, training: bool = False) -> Value:
        batch, steps = inputs.shape[:2]
        if mask is not None and mask.shape[:2] != inputs.shape[:2]:
            raise ShapeError(f"the mask {mask.type}, expected one whose first two axes are the batch and the time.")
        known = inspect.signature(self.layer.call).parameters
        options = {"mask": _rows(mask)} if mask is not None and "mask" in known else {}
        result = self.layer(_rows(inputs), training=training, **options)
        return f.reshape(result, (batch, steps, *result.shape[1:]))


def _rows(x: Value) -> Value:
    """[N, T, ...] as [N * T, ...]."""
    return f.reshape(x, (x.shape[0] * x.shape[1], *x.shape[2:]))


_MERGES = {
    "concat": lambda y, back: f.concatenate([y, back]),
    "sum": f.add,
    "mul": f.multiply,
    "ave": lambda y, back: f.divide(f.add(y, back), 2.0),
}


class Bidirectional(Layer):
    """A recurrent layer forwards, and one like it backwards, whose outputs come in the order of time.

    `merge_mode` joins their outputs: 'concat', 'sum', 'mul', 'ave', or None for a list of both. With return_state the
    states follow, the forward layer's first; `initial_state` has them in the same order.

    M. Schuster, K. Paliwal, "Bidirectional recurrent neural networks", 1997.

    Bidirectional(LSTM(4))(f32[N,5,3]) -> f32[N,8]
    Bidirectional(GRU(4, return_sequences=True), merge_mode="ave")(f32[N,T,3]) -> f32[N,T,4]
    Bidirectional(SimpleRNN(4), backward_layer=GRU(4, go_backwards=True))(f32[N,5,3]) -> f32[N,8]
    """

    supports_masking = True

    def __init__(self, layer: Layer, merge_mode: str | None = "concat", weights: Any = None,
                 backward_layer: Layer | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        if merge_mode is not None:
            choose("merge_mode", merge_mode, _MERGES)
        self.merge_mode = merge_mode
        self.forward_layer: Any = like(_layer(self, layer), name=f"forward_{layer.name.removeprefix('forward_')}")
        name = f"backward_{layer.name.removeprefix('backward_')}"
        self.backward_layer: Any = like(layer, name=name, go_backwards=True) if backward_layer is None else _layer(
            self, backward_layer)
        self._check()
        for part in (self.forward_layer, self.backward_layer):
            if hasattr(part, "zero_output_for_mask"):
                part.zero_output_for_mask = part.return_sequences
        self.return_sequences = self.forward_layer.return_sequences
        self.return_state, self.stateful = self.forward_layer.return_state, self.forward_layer.stateful
        self._first_weights = weights

    def _check(self) -> None:
        both = self.forward_layer, self.backward_layer
        if both[0].go_backwards == both[1].go_backwards:
            raise ValueError(f"Bidirectional: both layers have go_backwards={both[0].go_backwards}, expected one that "
                             "goes forwards and one that goes backwards.")
        for option in ("stateful", "return_sequences", "return_state"):
            values = [getattr(part, option) for part in both]
            if values[0] != values[1]:
                raise ValueError(f"Bidirectional: {option} is {values[0]} forwards and {values[1]} backwards, expected "
                                 "the same.")

    def build(self, input_shape: Any) -> None:
        for part in (self.forward_layer, self.backward_layer):
            build_part(part, input_shape)
        if self._first_weights is not None:
            self.set_weights(self._first_weights)

    @property
    def states(self) -> Any:
        """The states of both layers, forward first, where they are kept."""
        both = [part.states for part in (self.forward_layer, self.backward_layer)]
        return None if None in both else [*both[0], *both[1]]

    def reset_state(self) -> None:
        """Give stateful layers states of zeros."""
        self.forward_layer.reset_state()
        self.backward_layer.reset_state()

    reset_states = reset_state

    def call(self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:
        if isinstance(sequences, list | tuple):
            sequences, *initial_state = sequences
            mask = mask[0] if isinstance(mask, list | tuple) else mask
        half = len(initial_state or ()) // 2
        halves = (initial_state[:half], initial_state[half:]) if initial_state else (None, None)
        ends = [part(sequences, initial_state=first, mask=mask, training=training)
                for part, first in zip((self.forward_layer, self.backward_layer), halves, strict=True)]
        states = [s for end in ends for s in end[1:]] if self.return_state else []
        y, back = (end[0] for end in ends) if self.return_state else ends
        if self.return_sequences:
            back = f.flip(back, 1)
        output = [y, back] if self.merge_mode is None else [_MERGES[self.merge_mode](y, back)]
        return [*output, *states] if len(output) + len(states) > 1 else output[0]

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        mask = mask[0] if isinstance(mask, list | tuple) else mask
        outputs = [mask if self.return_sequences else None] * (2 if self.merge_mode is None else 1)
        states = 2 * len(self.forward_layer.state_size) if self.return_state else 0
        return [*outputs, *[None] * states] if len(outputs) + states > 1 else outputs[0]

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["weights"]
        return config | {"layer": describe(self.forward_layer), "backward_layer": describe(self.backward_layer)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Layer:
        return cls(**_with_layers(config))


def like(layer: Layer, **changes: Any) -> Any:
    """A layer of the same options without its weights, but for some changes; layers inside are new too."""
    config = layer.get_config() | changes
    for name in config:
        value = getattr(layer, name, None)
        if isinstance(value, Layer):
            config[name] = like(value)
        elif isinstance(value, list) and value and all(isinstance(v, Layer) for v in value):
            config[name] = [like(v) for v in value]
    return type(layer).from_config(config)
