"""What a layer may ask while a step is being traced: the training flag, masks, random streams, updates of state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from graphc.ir.graph import Value, apply
from graphc.ir.traverse import postorder

__all__ = ["Trace", "current_trace", "in_place_of", "random_source", "tracing", "untraced"]


@dataclass(eq=False)
class Trace:
    """One step under construction."""

    training: bool = False  # what the layer that is being called was told
    key: Value | None = None  # the model's random.key: u32[2]
    updates: dict[Value, Value] = field(default_factory=dict)  # the next values of states
    losses: list[Value] = field(default_factory=list)  # what `add_loss` was given
    masks: dict[Value, Value] = field(default_factory=dict)  # which steps of a value count: bool
    shapes: dict[Any, Any] = field(default_factory=dict)  # what each layer gave last, as `known_shape` writes it
    metrics: dict[Any, tuple[Value, ...]] = field(default_factory=dict)  # what metrics have to add up
    streams: int = 0
    limits: list[Any] = field(default_factory=list)  # graphc.limits has them: what data have to keep to
    batch: int | None = None  # the rows of a batch, where the inputs say how many there are

    def stream(self) -> int:
        """A number that sets this use of the random key apart from the others of the step."""
        self.streams += 1
        return self.streams - 1

    def assign(self, state: Value, value: Value) -> None:
        """Give a state a new value; a second one in a step goes on from the first."""
        if state in self.updates:
            (value,) = in_place_of({state: self.updates[state]}, [value])
        self.updates[state] = value

    def update(self, pairs: Iterable[tuple[Value, Value]], made: Iterable[Value]) -> None:
        """Give states new values, which go on from all that was updated before; but what is `made`, as gradients."""
        pairs = list(pairs)
        known = self.moved | {value: value for value in made}
        new = in_place_of(known, [value for _, value in pairs])
        self.updates.update((state, value) for (state, _), value in zip(pairs, new, strict=True))

    @property
    def moved(self) -> dict[Value, Value]:
        """The updates so far, without those of random keys: what was drawn stays."""
        return {state: value for state, value in self.updates.items() if state.dtype.name != "u32"}

    @contextmanager
    def told(self, training: bool) -> Iterator[None]:
        """Layers that are called inside and aren't told themselves are told this."""
        before, self.training = self.training, training
        try:
            yield
        finally:
            self.training = before


def in_place_of(known: Mapping[Value, Value], values: Sequence[Value]) -> list[Value]:
    """Values in which some stand for others."""
    found = dict(known)
    for value in postorder(values, lambda v: () if v in known else v.operands):
        if value not in found:
            operands = [found[o] for o in value.operands]
            same = all(a is b for a, b in zip(operands, value.operands, strict=True))
            found[value] = value if same else apply(value.op, *operands, origin=value.origin)
    return [found[value] for value in values]


def random_source(seed: int | None) -> tuple[Value, int] | None:
    """The key and the stream for one use of random numbers in the step under construction, if it has any.

    A seed takes the place of the position of the use as the stream.
    """
    trace = current_trace()
    if trace is None or trace.key is None:
        return None
    stream = trace.stream()
    return trace.key, stream if seed is None else 4096 + seed % 4096


_TRACE: ContextVar[Trace | None] = ContextVar("trace", default=None)


def current_trace() -> Trace | None:
    """The step under construction, if there is one."""
    return _TRACE.get()


@contextmanager
def tracing(trace: Trace) -> Iterator[Trace]:
    """Layers called inside belong to this step."""
    token = _TRACE.set(trace)
    try:
        yield trace
    finally:
        _TRACE.reset(token)


@contextmanager
def untraced() -> Iterator[None]:
    """What is called inside belongs to no step, and gives arrays for arrays."""
    token = _TRACE.set(None)
    try:
        yield
    finally:
        _TRACE.reset(token)
