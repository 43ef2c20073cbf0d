"""Measure single graphs, most of them one kernel, against what the machine can do at best.

    python benchmarks/kernels.py [--only matmul conv] [--threads 1 2] [--turns 3] [--out folder]

The limit is the larger of two times: operations over the peak of multiply-adds, and bytes (each array read or
written once) over the speed of a copy of as many bytes. Both are measured in the same process. NumPy's and torch's
times for the same contractions stand beside. Results are written into states, whose arrays stay where they are.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from contenders import versions
from report import kernels_text
from results import machine, note, spread, write
from worker import THREAD_VARIABLES, pin

from graphc.ir import functions as f
from graphc.ir.graph import Graph, Value, topological
from graphc.ir.ops.leaf import Input, State
from graphc.passes.pipeline import GRAPH_PASSES, PIPELINE, run
from graphc.runtime import compile as compile_graph
from graphc.runtime import counters
from graphc.runtime.config import config
from graphc.runtime.limits import Limits
from graphc.runtime.targets.machine import usable_cores

PAUSE = 0.05  # seconds in which the threads of the last one go to sleep: OpenBLAS spins for 20 ms


@dataclass
class Kernel:
    """A graph by its results and updates of states, its operations, and the same by NumPy or torch.

    A peer is a function of the input arrays, in the order of their labels, that gives the call to be timed.
    """

    name: str
    results: list[Value]
    operations: int = 0
    updates: dict[Value, Value] = field(default_factory=dict)
    peers: dict[str, Callable[..., Any]] = field(default_factory=dict)

    def graph(self) -> Graph:
        """The graph with gradients expanded and only the leaves that it needs; results are written into states."""
        updates = self.updates | {f.state(f"result{i}", r.shape, r.dtype): r for i, r in enumerate(self.results)}
        leaves = {v for v in topological([*updates, *updates.values()]) if isinstance(v.op, Input | State)}
        made = run(_graph(leaves, tuple(updates.items())), GRAPH_PASSES)
        read = {v for v in topological([new for _, new in made.updates]) if isinstance(v.op, Input | State)}
        return _graph(read | {state for state, _ in made.updates}, made.updates)


def _graph(leaves: set[Value], updates: tuple[tuple[Value, Value], ...]) -> Graph:
    ordered = sorted(leaves, key=lambda v: v.op.label)
    inputs, state = (tuple(v for v in ordered if isinstance(v.op, kind)) for kind in (Input, State))
    return Graph("kernel", inputs, state, (), updates)


def moved(graph: Graph) -> int:
    """Bytes of all arrays that the graph reads, and of all that it writes."""
    new = [value for _, value in graph.updates]
    read = [v for v in topological(new) if isinstance(v.op, Input | State)]
    return sum(v.type.size * v.dtype.size for v in (*read, *new))


def random_array(v: Value, rng: np.random.Generator) -> np.ndarray:
    if v.dtype.kind != "f":
        return rng.integers(0, 1000, v.shape).astype(v.dtype.numpy)
    return np.asarray(rng.random(v.shape, np.float32) + np.float32(0.1))


# ---------------------------------------------------------------------------------------------------- contractions

def gradients(y: Value, *wrt: Value) -> list[Value]:
    """The gradients of the sum of y * g."""
    return f.gradient(f.sum(y * f.input("g", y.shape)), wrt)


def matmuls(torch: Any) -> Iterator[Kernel]:
    for n, k, m in (*((n, n, n) for n in (256, 512, 1024, 2048)), (32, 784, 128), (128, 1600, 10)):
        for spec in ("ik,kj", "ki,kj", "ik,jk", "ki,jk"):
            size = {"i": n, "j": m, "k": k}
            axes = spec.split(",")
            a, b = (f.input(label, tuple(size[x] for x in letters)) for label, letters in zip("ab", axes, strict=True))
            turn = [letters in ("ki", "jk") for letters in axes]

            def product(a, b, turn=turn):
                a, b = a.T if turn[0] else a, b.T if turn[1] else b
                return lambda: a @ b

            yield Kernel(f"matmul {n}x{k}x{m} {spec}", [f.einsum(f"{spec}->ij", a, b)], 2 * n * k * m,
                         peers=products(torch, product))
    for batch, n, k, m in ((64, 64, 64, 64), (12, 512, 64, 512)):
        a, b = f.input("a", (batch, n, k)), f.input("b", (batch, k, m))
        peers = products(torch, lambda a, b: lambda: a @ b)
        yield Kernel(f"batched matmul {batch} x {n}x{k}x{m}", [f.matmul(a, b)], 2 * batch * n * k * m, peers=peers)


def products(torch: Any, product: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    """The same product by NumPy and, where it is installed, torch."""
    peers = {"numpy": product}
    if torch:
        peers["torch"] = lambda a, b: product(torch.from_numpy(a), torch.from_numpy(b))
    return peers


CONVOLUTIONS = (  # name, rows, extent, channels, filters, size, stride, padding
    ("MNIST 28x28x1 to 32", 128, 28, 1, 32, 3, 1, "valid"),
    ("MNIST 13x13x32 to 64", 128, 13, 32, 64, 3, 1, "valid"),
    ("CIFAR 32x32x3 to 32", 64, 32, 3, 32, 3, 1, "valid"),
    ("CIFAR 15x15x32 to 64", 64, 15, 32, 64, 3, 1, "valid"),
    ("ResNet 32x32x16 to 16", 32, 32, 16, 16, 3, 1, "same"),
    ("ResNet 32x32x16 to 32, stride 2", 32, 32, 16, 32, 3, 2, "same"),
    ("ResNet 16x16x32 to 32", 32, 16, 32, 32, 3, 1, "same"),
    ("ResNet 8x8x64 to 64", 32, 8, 64, 64, 3, 1, "same"),
    ("shortcut 1x1 32x32x16 to 32, stride 2", 32, 32, 16, 32, 1, 2, "same"),
    ("pointwise 1x1 16x16x64 to 128", 32, 16, 64, 128, 1, 1, "same"),
)


def convolutions(torch: Any) -> Iterator[Kernel]:
    for name, rows, extent, channels, filters, size, stride, padding in CONVOLUTIONS:
        x, w = f.input("x", (rows, extent, extent, channels)), f.input("w", (size, size, channels, filters))
        y = f.conv(x, w, stride, padding)
        operations = 2 * rows * int(y.shape[1]) ** 2 * size * size * channels * filters
        forward, to_input, to_filter = torch_convolution(torch, stride, padding, x.shape, w.shape)
        yield Kernel(f"conv {name}", [y], operations, peers=forward)
        yield Kernel(f"conv {name}, input gradient", gradients(y, x), operations, peers=to_input)
        yield Kernel(f"conv {name}, filter gradient", gradients(y, w), operations, peers=to_filter)
    x, w = f.input("x", (32, 18, 18, 64)), f.input("w", (3, 3, 64))
    y = f.einsum("nhwuvc,uvc->nhwc", f.windows(x, (3, 3), (1, 1), (1, 1)), w)
    operations = 2 * 32 * 16 * 16 * 64 * 9
    for what, results in (("", [y]), (", input gradient", gradients(y, x)), (", filter gradient", gradients(y, w))):
        yield Kernel(f"depthwise 3x3 18x18x64{what}", results, operations)


def torch_convolution(torch: Any, stride: int, padding: str, x_shape: Any, w_shape: Any) -> list[dict[str, Any]]:
    """Forward, input gradient and filter gradient by torch, with channels last; {} where torch is not installed.

    Padding is only written down where it is the same on both sides.
    """
    if torch is None or (padding == "same" and stride > 1 and w_shape[0] > 1):
        return [{}, {}, {}]
    pads = [w_shape[0] // 2 if padding == "same" else 0] * 2

    def images(a: np.ndarray) -> Any:
        return torch.from_numpy(a).permute(0, 3, 1, 2)  # channels stay last in memory

    def filters(a: np.ndarray) -> Any:
        return torch.from_numpy(a).permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)

    def forward(w: np.ndarray, x: np.ndarray) -> Any:
        x, w = images(x), filters(w)
        return lambda: torch.conv2d(x, w, None, stride, pads).permute(0, 2, 3, 1)

    def backward(g: Any, x: Any, w: Any, wanted: list[bool]) -> Any:
        return torch.ops.aten.convolution_backward(
            g, x, w, None, [stride] * 2, pads, [1, 1], False, [0, 0], 1, [*wanted, False])

    def to_input(g: np.ndarray, w: np.ndarray) -> Any:
        g, x, w = images(g), images(np.zeros(x_shape, np.float32)), filters(w)
        return lambda: backward(g, x, w, [True, False])[0].permute(0, 2, 3, 1)

    def to_filter(g: np.ndarray, x: np.ndarray) -> Any:
        g, x, w = images(g), images(x), filters(np.zeros(w_shape, np.float32))
        return lambda: backward(g, x, w, [False, True])[1].permute(2, 3, 1, 0)

    return [{"torch": forward}, {"torch": to_input}, {"torch": to_filter}]


# ------------------------------------------------------------------------------------------- everything elementwise

def elementwise(torch: Any) -> Iterator[Kernel]:
    for n, size in ((1 << 16, "in cache"), (1 << 24, "out of cache")):
        x, g = f.input("x", (n,)), f.input("g", (n,))
        yield Kernel(f"relu {size}", [f.relu(x)])
        yield Kernel(f"x * g + 1 {size}", [x * g + 1.0])
        yield Kernel(f"exp {size}", [f.exp(x)])
        yield Kernel(f"tanh {size}", [f.tanh(x)])
        yield Kernel(f"sigmoid {size}", [f.sigmoid(x)])
        yield Kernel(f"gelu {size}", [f.gelu(x)])
        yield Kernel(f"gelu gradient {size}", gradients(f.gelu(x), x))
        yield Kernel(f"dropout {size}", [f.dropout(x, 0.5, f.state("key", (2,), "u32"), 0)])
        yield Kernel(f"sum of all {size}", [f.sum(x)])
        yield adam(f"Adam {size}", n // 4)
    yield adam("Adam 1,000,000 parameters", 1_000_000)


def adam(name: str, n: int) -> Kernel:
    """The update of n parameters, as graphc.optimizers.Adam writes it."""
    w, m, v, g = (*(f.state(s, (n,)) for s in "wmv"), f.input("g", (n,)))
    new_m, new_v = m + (g - m) * 0.1, v + (g * g - v) * 0.001
    return Kernel(name, [], updates={m: new_m, v: new_v, w: w - new_m * 1e-3 / (f.sqrt(new_v) + 1e-7)})


def rowwise(torch: Any) -> Iterator[Kernel]:
    for rows, columns in ((128, 10), (65_536, 10), (128, 1000), (8192, 1000)):
        x = f.input("x", (rows, columns))
        yield Kernel(f"softmax {rows}x{columns}", [f.softmax(x)])
        yield Kernel(f"softmax gradient {rows}x{columns}", gradients(f.softmax(x), x))
    for rows, columns in ((128, 1000), (128 * 121, 64), (128 * 676, 32)):
        x = f.input("x", (rows, columns))
        yield Kernel(f"sum over {rows} rows of {columns}", [f.sum(x, 0)])
    for rows, extent, channels in ((128, 26, 32), (128, 11, 64), (32, 32, 16)):
        x = f.input("x", (rows, extent, extent, channels))
        yield Kernel(f"max_pool {extent}x{extent}x{channels}", [f.max_pool(x, 2)])
        yield Kernel(f"max_pool gradient {extent}x{extent}x{channels}", gradients(f.max_pool(x, 2), x))
        yield Kernel(f"average_pool {extent}x{extent}x{channels}", [f.average_pool(x, 2)])


# --------------------------------------------------------------------------------------------------------- measuring

def sampler(call: Callable[[], Any], seconds: float) -> Callable[[], float]:
    """A function that gives the mean time of some calls in a row, which take about `seconds` together."""
    call()
    begin = time.perf_counter()
    call()
    n = max(1, int(seconds / max(1e-7, time.perf_counter() - begin)))

    def sample() -> float:
        time.sleep(PAUSE)
        call()
        begin = time.perf_counter()
        for _ in range(n):
            call()
        return (time.perf_counter() - begin) / n

    return sample


def measure(kernel: Kernel, turns: int, seconds: float) -> dict[str, Any]:
    """Medians of the compiled kernel and of its peers, which take turns."""
    rng, graph = np.random.default_rng(3), kernel.graph()
    state = {v.op.label: random_array(v, rng) for v in graph.state}
    program = compile_graph(graph, state)
    arrays = [random_array(v, rng) for v in graph.inputs]
    before = counters()["numpy_fallbacks"]
    calls = {"graphc": lambda: program(*arrays)}
    calls["graphc"]()
    for name, peer in kernel.peers.items():
        calls[name] = peer(*arrays)
        expected = np.asarray(calls[name]())
        np.testing.assert_allclose(state["result0"], expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    samplers = {name: sampler(call, seconds) for name, call in calls.items()}
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(turns):
        for name, sample in samplers.items():
            taken[name].append(sample())
    return {"name": kernel.name, "operations": kernel.operations, "bytes": moved(graph),
            "kernels": len(run(graph, PIPELINE).steps), "on_numpy": counters()["numpy_fallbacks"] > before,
            **spread(taken.pop("graphc")), "peers": {name: float(np.median(t)) for name, t in taken.items()}}


GROUPS = {"matmul": matmuls, "conv": convolutions, "elementwise": elementwise, "rowwise": rowwise}


def measure_all(options: argparse.Namespace, threads: int) -> dict[str, Any]:
    """All kernels on some threads, in this process."""
    torch = importlib.import_module("torch") if importlib.util.find_spec("torch") else None
    if torch:
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
    limits, found, failed = Limits.measure(threads), [], []
    with config(threads=threads):
        for group in options.only:
            for kernel in GROUPS[group](torch):
                if options.small and max(kernel.operations / 100, moved(kernel.graph())) > options.small:
                    continue
                try:
                    found.append(measure(kernel, options.turns, options.seconds))
                except Exception as error:  # one kernel that fails says so and leaves the others
                    failed.append(f"{kernel.name}: {type(error).__name__}: {error}")
                    note(failed[-1])
    limits = limits.best(Limits.measure(threads))
    for r in found:
        by_operations, by_bytes = r["operations"] / limits.operations, r["bytes"] / limits.bandwidth(r["bytes"])
        r |= {"limit": max(by_operations, by_bytes), "bound": "operations" if by_operations > by_bytes else "bytes"}
    peers = [p for p in ("numpy", "torch") if any(p in r["peers"] for r in found)]
    return {"limits": limits.json(), "peers": peers, "kernels": found, "failed": failed}


def main() -> None:
    options = arguments()
    if options.here:
        (threads,) = options.threads
        print(json.dumps(measure_all(options, threads)))
        return
    runs = []
    for threads in options.threads:  # libraries take their number of threads when they are imported
        note(f"{threads} threads")
        environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads))
        command = [sys.executable, __file__, "--here", "--threads", str(threads), "--turns", str(options.turns),
                   "--seconds", str(options.seconds), "--small", str(options.small), "--only", *options.only]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True,
                              preexec_fn=lambda threads=threads: pin(threads))
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    options.out.mkdir(parents=True, exist_ok=True)
    results = {"machine": machine(), "versions": versions({"numpy", "torch", "graphc", "llvmlite"}), "runs": runs}
    write(options.out, "kernels", results, kernels_text(results))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--threads", nargs="+", type=int, default=sorted({1, usable_cores()}))
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.02, help="about how long a sample takes")
    parser.add_argument("--small", type=int, default=0, help="only kernels of about so many bytes at most")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path("results"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
