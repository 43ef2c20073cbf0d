"""Where the time of a program goes: kernel by kernel, from stamps that its native code takes (targets/step.py)."""

from __future__ import annotations

import atexit
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.ir.errors import LoweringError
from graphc.ir.graph import Graph, Value, layer_of, phase_of
from graphc.ir.ops.structure import Kernel, Scan
from graphc.ir.types import evaluate_dim
from graphc.passes.cost import cost, lead
from graphc.passes.offset import counted
from graphc.runtime.targets.step import stamps

if TYPE_CHECKING:
    from graphc.runtime.targets.clock import Clock

__all__ = ["KernelTime", "Profile", "Recorder", "Ring", "profile", "scaled", "traced"]

KEPT, MEMORY = 1000, 1 << 25  # the latest steps, and bytes, whose stamps are kept
WARM, LEAST = 10, 5  # steps before those that count, which also try out the number of threads; and the least that count


class Ring:
    """The stamps of the latest steps with the same sizes, where native code writes them: i64[steps, threads, words].

    They are ticks of the clock (targets/clock.py).
    """

    def __init__(self, sizes: Mapping[str, int], threads: int, words: int, kept: int):
        self.sizes = dict(sizes)
        self.stamps = np.zeros((max(LEAST, min(kept, MEMORY // (8 * threads * words))), threads, words), np.int64)
        self.threads = [0] * len(self.stamps)  # that took part in each step
        self.stride = self.stamps[0].nbytes
        self.here = self.stamps.ctypes.data  # the address for the stamps of the next step
        self.at = self.seen = 0

    @property
    def left(self) -> int:
        """The number of steps whose stamps lie one after the other from here on."""
        return len(self.stamps) - self.at

    def done(self, threads: int, steps: int = 1) -> None:
        """Count steps that have been run by so many threads."""
        if steps == 1:
            self.threads[self.at] = threads
        else:
            self.threads[self.at:self.at + steps] = [threads] * steps
        self.at += steps
        self.here += steps * self.stride
        self.seen += steps
        if self.at == len(self.threads):
            self.at, self.here = 0, self.stamps.ctypes.data

    def steps(self) -> Iterator[np.ndarray]:
        """The stamps of each step that is kept, in their order: i64[threads, words]."""
        kept = min(self.seen, len(self.stamps))
        for k in range(self.at - kept, self.at):
            step = self.stamps[k, :self.threads[k]]
            if len(step) == 1:  # a thread that is alone is done with a part when it begins the next
                step[:, 1:-1:2] = step[:, 2::2]
            yield step


class Recorder:
    """Keeps the stamps of a program's latest steps, some for each set of sizes."""

    def __init__(self, kept: int = KEPT):
        self.kept = kept
        self.rings: list[Ring] = []
        self.name = ""
        self.kernels: tuple[Value, ...] = ()
        self.clock: Clock | None = None
        self.least: Mapping[str, int] = {}

    def begin(self, name: str, kernels: Sequence[Value], clock: Clock, least: Mapping[str, int]) -> None:
        """Take the times of these kernels, in ticks of the clock, which count sizes from the least."""
        self.name, self.kernels, self.clock, self.least = name, tuple(kernels), clock, least

    def ring(self, sizes: Mapping[str, int], threads: int) -> Ring:
        """A place for the stamps of steps with these sizes, by at most so many threads."""
        for known in self.rings:
            if known.sizes == sizes and known.stamps.shape[1] == threads:
                return known
        self.rings.append(Ring(sizes, threads, stamps(len(self.kernels)), self.kept))
        return self.rings[-1]

    @property
    def seen(self) -> int:
        """The number of steps that were run."""
        return sum(r.seen for r in self.rings)

    def clear(self) -> None:
        """Forget the steps so far."""
        for r in self.rings:
            r.seen = 0

    def profiles(self) -> list[Profile]:
        """What the steps took, those with the same sizes and number of threads together."""
        groups: dict[tuple, list[np.ndarray]] = {}
        for r in self.rings:
            for times in r.steps():
                groups.setdefault((tuple(r.sizes.items()), len(times)), []).append(times)
        end = 2 * len(self.kernels) + 1
        return [Profile(self.name, self.kernels, dict(sizes), self.clock.nanoseconds(np.stack(times)[:, :, :end]),
                        self.least)
                for (sizes, _), times in groups.items() if self.clock is not None]


@dataclass(frozen=True)
class KernelTime:
    """One kernel or loop: what it computes, and the median over the steps of what it took.

    Of a kernel in a loop, whose name is indented, it is what the loop's last step took times the number of steps; the
    loop's own time includes it. `layer` and `phase` (forward, backward, update) are those of the value with most of
    its work, `origins` names all layers with values in it. `seconds` run until the next kernel begins; `waiting` is
    the fraction of it that a thread waits for the last one, on average. `flops` are floating-point operations, `bytes`
    what must be moved.
    """

    index: int
    name: str
    layer: str
    phase: str
    origins: str
    flops: int
    bytes: int
    seconds: float
    waiting: float
    depth: int = 0  # the number of loops around


class Profile:
    """The times of one program at one set of sizes. `str()` is a table; `save_trace` writes a file for Perfetto.

    `stamps`: i64[steps, threads, 2 * kernels + 1], nanoseconds (targets/step.py). The kernels' own sizes are counted
    from the `least` (passes/offset.py).
    """

    def __init__(self, name: str, kernels: Sequence[Value], sizes: Mapping[str, int], stamps: np.ndarray,
                 least: Mapping[str, int]):
        self.name, self.sizes, self.stamps = name, dict(sizes), stamps
        self.counted = counted(sizes, least)
        self.kernels = [self._kernel(i, *entry) for i, entry in enumerate(_nested(kernels, self.counted))]

    @property
    def steps(self) -> int:
        return self.stamps.shape[0]

    @property
    def threads(self) -> int:
        return self.stamps.shape[1]

    @property
    def seconds(self) -> float:
        """The median step, from its first kernel's beginning to its last one's end."""
        return float(np.median(self.stamps[:, 0, -1] - self.stamps[:, 0, 0])) * 1e-9

    def _kernel(self, i: int, kernel: Value, inside: int, times: int, depth: int) -> KernelTime:
        begin, after = (self.stamps[:, :, 2 * k] for k in (i, i + 1 + inside))
        end = after if inside else self.stamps[:, :, 2 * i + 1]
        waiting = (end.max(1, keepdims=True) - end).mean(1) / np.maximum(after.max(1) - begin.min(1), 1)
        heavy, needed = lead(kernel), cost(kernel, self.counted)
        name = kernel.op.body.name  # type: ignore[attr-defined]
        return KernelTime(i, name, layer_of(heavy.origin), phase_of(heavy.origin), kernel.origin, times * needed.flops,
                          times * needed.bytes, times * float(np.median(after[:, 0] - begin[:, 0])) * 1e-9,
                          0.0 if inside else float(np.median(waiting)), depth)

    def by_layer(self) -> dict[str, dict[str, float]]:
        """Seconds of each layer's kernels: forward, backward and update."""
        result: dict[str, dict[str, float]] = {}
        for k in self.kernels:
            if k.depth:
                continue
            phases = result.setdefault(k.layer or "-", {})
            phases[k.phase] = phases.get(k.phase, 0.0) + k.seconds
        return result

    def __str__(self) -> str:
        sizes = ", ".join(f"{n}={v}" for n, v in self.sizes.items())
        total = sum(k.seconds for k in self.kernels if not k.depth) or 1.0
        head = (f"{self.name} ({sizes}): {scaled(self.seconds, 's')} a step on {self.threads} "
                f"thread{'s' * (self.threads > 1)}, median of {self.steps}")
        rows = [("kernel", "layer", "phase", "time", "part", "GFLOP/s", "GB/s", "waiting")]
        for k in self.kernels:
            seconds = max(k.seconds, 1e-9)
            rows.append((f"{'  ' * k.depth}{k.index} {k.name}", k.layer or "-", k.phase, scaled(k.seconds, "s"),
                         f"{k.seconds / total:.1%}",
                         f"{k.flops / seconds * 1e-9:.1f}", f"{k.bytes / seconds * 1e-9:.1f}",
                         f"{k.waiting:.0%}"))
        phases = ("forward", "backward", "update")
        groups: list[tuple[str, ...]] = [("layer", *phases, "part")]
        for name, parts in self.by_layer().items():
            groups.append((name, *(scaled(parts[p], "s") if p in parts else "" for p in phases),
                           f"{sum(parts.values()) / total:.1%}"))
        return "\n".join([head, "", *_table(groups, 1), "", *_table(rows, 3)])

    def events(self, process: int) -> Iterator[dict[str, Any]]:
        """The events of a trace: for each thread every kernel and the wait at the barrier behind it."""
        for step in self.stamps:
            start, end = int(step[0, 0]), int(step[0, -1])
            sizes = ", ".join(f"{n}={v}" for n, v in self.sizes.items())
            yield _event(f"{self.name} ({sizes})", "step", process, 0, start, end)
            for thread, row in enumerate(step.tolist()):
                for i, k in enumerate(self.kernels):
                    began, done, after = row[2 * i:2 * i + 3]
                    if _is_loop(self.kernels, i):
                        follows = next(n for n in range(i + 1, len(row) // 2 + 1)
                                       if n == len(self.kernels) or self.kernels[n].depth <= k.depth)
                        done = after = row[2 * follows]
                    yield _event(k.name, k.phase, process, thread, began, done, {
                        "layer": k.layer, "layers": k.origins, "kernel": i, "flops": k.flops, "bytes": k.bytes})
                    yield _event("barrier", "wait", process, thread, done, after)

    def save_trace(self, path: Any) -> Path:
        """Write the steps as a trace that https://ui.perfetto.dev and chrome://tracing open."""
        return _save([self], Path(path))


def _is_loop(kernels: Sequence[KernelTime], i: int) -> bool:
    return i + 1 < len(kernels) and kernels[i + 1].depth > kernels[i].depth


def _nested(entries: Sequence[Value], sizes: Mapping[str, int], times: int = 1,
            depth: int = 0) -> Iterator[tuple[Value, int, int, int]]:
    """Kernels and scans, each with the number of next entries inside of it, its number of runs, and of loops around."""
    i = 0
    while i < len(entries):
        op = entries[i].op
        inside = _entries_in(op) if isinstance(op, Scan) else 0
        yield entries[i], inside, times, depth
        if isinstance(op, Scan):
            yield from _nested(entries[i + 1:i + 1 + inside], sizes, times * evaluate_dim(op.length, sizes), depth + 1)
        i += 1 + inside


def _entries_in(scan: Scan) -> int:
    """The number of kernels and scans in a scan's body."""
    steps = [v.op for v in scan.body.values() if isinstance(v.op, Kernel | Scan)]
    return sum(1 + (_entries_in(op) if isinstance(op, Scan) else 0) for op in steps)


def _event(name: str, category: str, process: int, thread: int, begin: int, end: int,
           arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
    event: dict[str, Any] = {"name": name, "cat": category, "ph": "X", "pid": process, "tid": thread,
                             "ts": begin / 1000, "dur": (end - begin) / 1000}
    return event | {"args": dict(arguments)} if arguments else event


def _save(profiles: Sequence[Profile], path: Path) -> Path:
    process = os.getpid()
    threads = max((p.threads for p in profiles), default=0)
    named = [("process_name", 0, "graphc"), *(("thread_name", t, f"thread {t}") for t in range(threads))]
    events: list[dict[str, Any]] = [{"name": kind, "ph": "M", "pid": process, "tid": thread, "args": {"name": name}}
                                    for kind, thread, name in named]
    for p in profiles:
        events.extend(p.events(process))
    path.write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ns"}))
    return path


def _table(rows: Sequence[Sequence[str]], names: int) -> Iterator[str]:
    """Aligned columns, the first ones to the left and the others to the right, a line below the head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for number, row in enumerate(rows):
        yield "  ".join(cell.ljust(w) if i < names else cell.rjust(w)
                        for i, (cell, w) in enumerate(zip(row, widths, strict=True))).rstrip()
        if not number:
            yield "  ".join("-" * w for w in widths)


def scaled(number: float, unit: str) -> str:
    """A number with three digits and the prefix that fits: 0.00071 s as 710 us."""
    number = float(f"{number:.3g}")  # 999.9 is 1 k
    power = 0 if not number else min(3, max(-3, math.floor(math.log10(abs(number)) / 3)))
    return f"{number / 1000.0**power:.3g} {('n', 'u', 'm', '', 'k', 'M', 'G')[power + 3]}{unit}"


def profile(graph: Graph, arrays: Mapping[str, np.ndarray], seconds: float = 0.5) -> Profile:
    """The times of a step, repeated for about so many seconds; arrays by label, which stay as they are.

    The program is compiled as the switches in force say (`graphc.config`).
    """
    from graphc.runtime.program import NativeProgram, compile  # programs have recorders

    recorder = Recorder()
    program = compile(graph, {v.op.label: arrays[v.op.label].copy() for v in graph.state}, recorder)  # type: ignore
    if not isinstance(program, NativeProgram):
        raise LoweringError("A profile needs native code: it is off (GRAPHC_BACKEND, GRAPHC_CHECK_NUMERICS), or this "
                            "system lacks what it needs.")
    inputs = [arrays[v.op.label] for v in graph.inputs]  # type: ignore[attr-defined]
    for _ in range(WARM):
        program(*inputs)
    recorder.clear()
    end = time.perf_counter() + seconds
    while recorder.seen < LEAST or (time.perf_counter() < end and recorder.seen < KEPT):
        program(*inputs)
    return max(recorder.profiles(), key=lambda p: p.steps)


_TRACED: dict[Path, list[Recorder]] = {}
_FIRST = "GRAPHC_TRACE_PROCESS"  # the environment's variable for the number of the process that was traced first


def traced(path: str) -> Recorder:
    """A recorder whose times are written when the process ends: a table to stderr, and the trace to a file.

    A process that another one started which is traced too has its number in the file's name: trace-1234.json.
    """
    if not _TRACED:
        atexit.register(_write_traces, os.getpid())
    process = str(os.getpid())
    first = os.environ.setdefault(_FIRST, process)  # what processes that are started from here on find there
    file = Path(path) if first == process and parent_process() is None else Path(path).with_stem(
        f"{Path(path).stem}-{process}")
    recorder = Recorder()
    _TRACED.setdefault(file, []).append(recorder)
    return recorder


def _write_traces(process: int) -> None:
    if os.getpid() != process:  # a fork, whose parent writes
        return
    for path, recorders in _TRACED.items():
        profiles = [p for r in recorders for p in r.profiles()]
        for p in profiles:
            print(f"\n{p}", file=sys.stderr)
        kept, seen = sum(p.steps for p in profiles), sum(r.seen for r in recorders)
        try:
            print(f"\nThe trace of {kept} of {seen} steps: {_save(profiles, path)}", file=sys.stderr)
        except OSError as error:
            print(f"\nThe trace can't be written: {error}", file=sys.stderr)
