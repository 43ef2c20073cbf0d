"""The commands of `python -m graphc`. Each is a function of its arguments that prints, and returns the exit status."""

from __future__ import annotations

import argparse
import importlib
import runpy
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np

import graphc
from graphc.ir.errors import GraphcError
from graphc.ir.graph import Graph
from graphc.ir.parser import parse

__all__ = ["bench", "cache", "digits", "explain", "info", "inspect", "passes", "replay", "run", "summary"]


def digits(options: argparse.Namespace) -> int:
    """Train a small convolutional network on 8x8 handwritten digits and print its test accuracy."""
    layers = graphc.layers
    graphc.utils.set_random_seed(options.seed)
    (x_train, y_train), (x_test, y_test) = graphc.datasets.digits.load_data()
    x_train, x_test = (np.expand_dims(x, -1).astype("float32") / 16 for x in (x_train, x_test))
    model = graphc.Sequential([
        layers.Conv2D(16, 3, padding="same", activation="relu", input_shape=(8, 8, 1)),
        layers.MaxPooling2D(),
        layers.Conv2D(32, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dropout(0.2),
        layers.Dense(10, activation="softmax"),
    ])
    model.compile(graphc.optimizers.Adam(0.005), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.summary()
    model.fit(x_train, y_train, batch_size=options.batch_size, epochs=options.epochs, verbose=options.verbose)
    _, accuracy = model.evaluate(x_test, y_test, verbose=0)
    print(f"test accuracy: {accuracy:.4f}")
    return 0


def run(options: argparse.Namespace) -> int:
    """Run a Keras script unchanged: its keras, tensorflow and tensorflow.keras are graphc."""
    script = Path(options.script)
    if not script.is_file():
        raise FileNotFoundError(f"There is no file {options.script!r}.")
    for name in ("keras", "tf_keras", "tensorflow"):
        graphc.install_as(name)
    print(f"graphc run: in this process keras and tensorflow.keras are graphc {graphc.__version__}", file=sys.stderr)
    sys.argv = [options.script, *options.arguments]
    sys.path.insert(0, str(script.resolve().parent))
    try:
        runpy.run_path(options.script, run_name="__main__")
    except Exception as error:
        frames = error.__traceback__
        while frames and frames.tb_frame.f_code.co_filename != options.script:
            frames = frames.tb_next  # those of graphc and runpy, above the script's
        traceback.print_exception(type(error), error, frames or error.__traceback__)
        return 1
    return 0


# --------------------------------------------------------------------------------------------------------- models

def summary(options: argparse.Namespace) -> int:
    """Print a model's layers, their output shapes and parameters."""
    find_model(options.model).summary()
    return 0


def inspect(options: argparse.Namespace) -> int:
    """Print what is in a .keras or .h5 file, with hashes, and what of it graphc refuses; nothing of it is built."""
    from graphc.inspection import inspect as lines

    wrong = False
    for line, refused in lines(Path(options.file)):
        wrong |= refused
        print(line)
    return int(wrong)


def explain(options: argparse.Namespace) -> int:
    """Write a page that shows what the compiler makes of a model, and print where its time goes."""
    model = find_model(options.model)
    print(graphc.explain(model, path=options.out, batch_size=options.batch_size))
    return 0


def bench(options: argparse.Namespace) -> int:
    """Time a model's steps on random data, for one row and for a batch."""
    from graphc.report import example

    model = find_model(options.model)
    print(f"{'step':10}{'rows':>8}{'median':>12}{'rows a second':>16}")
    for rows in sorted({1, options.batch_size}):
        x, y, kinds = example(model, rows)
        for kind in kinds:
            seconds = _median(model.step_arrays("bench", kind, rows, x, y), options.seconds)
            print(f"{kind:10}{rows:8}{seconds * 1e3:9.4f} ms{rows / seconds:16,.0f}")
    return 0


def _median(step: tuple[Graph, dict[str, np.ndarray]], seconds: float) -> float:
    """The median time of one call of a step's program."""
    graph, known = step
    program = graphc.runtime.compile(graph, known)
    inputs = [known[v.op.label] for v in graph.inputs]  # type: ignore[attr-defined]
    for _ in range(10):  # also tries out the number of threads
        program(*inputs)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        began = time.perf_counter()
        program(*inputs)
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def find_model(where: str) -> Any:
    """The model in `FILE.keras`, or that `FILE.py`, `FILE.py:NAME` or `MODULE:NAME` names.

    What a name stands for is a model, or a function that returns one; without a name it is `model`, or the only model
    in the file.
    """
    if where.endswith(".keras"):
        return graphc.saving.load_model(where)
    path, _, name = where.partition(":") if where.endswith(".py") or ".py:" in where else where.rpartition(":")
    if path.endswith(".py"):
        if not Path(path).is_file():
            raise FileNotFoundError(f"There is no file {path!r}.")
        sys.path.insert(0, str(Path(path).resolve().parent))
        names = runpy.run_path(path, run_name="graphc.model")
    elif path:
        sys.path.insert(0, "")
        names = vars(importlib.import_module(path))
    else:
        raise ValueError(f"{where!r} names no model. Expected FILE.py, FILE.py:NAME or MODULE:NAME, or FILE.keras.")
    models = {n: m for n, m in names.items() if isinstance(m, graphc.Model)}
    if not name and "model" not in names and len(models) == 1:
        (name,) = models
    found = names.get(name or "model")
    if callable(found) and not isinstance(found, graphc.Model | type):
        found = found()
    if not isinstance(found, graphc.Model):
        has = f"It has {', '.join(sorted(models))}." if models else "It has no model."
        raise ValueError(f"{path!r} has no model named {name or 'model'!r}. {has}")
    return found


# --------------------------------------------------------------------------------------------------------- dumps

def passes(options: argparse.Namespace) -> int:
    """Run passes over a graph in a file, and print what they make of it."""
    from graphc.passes.pipeline import PIPELINE, run

    known = {p.__name__: p for p in PIPELINE}
    names = [n.strip() for n in options.passes.split(",")]
    for name in names:
        if name not in known:
            raise ValueError(f"There is no pass {name!r}. Expected some of {','.join(known)}.")
    _use(options)
    graph = parse(Path(options.file).read_text())
    made = run(graph, [known[n] for n in names], check=True)
    text = graph.diff(made) if options.diff else str(made)
    if options.out:
        Path(options.out).write_text(f"{text}\n")
    else:
        print(text)
    return 0


def replay(options: argparse.Namespace) -> int:
    """Run what a dump's file holds, rung by rung, and compare the results."""
    from graphc.runtime.config import current
    from graphc.runtime.replay import replay as outcomes

    _use(options)
    sizes = dict(_size(text) for text in options.size)
    arrays = dict(np.load(options.arrays)) if options.arrays else None
    rungs = [r.strip() for r in options.by.split(",")] if options.by else []
    wrong = False
    for outcome in outcomes(Path(options.file).read_text(), rungs, sizes, options.seed, arrays, current().cpu):
        wrong |= bool(outcome.wrong)
        print(outcome)
    return int(wrong)


def _size(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not number.isdigit() or not int(number):
        raise ValueError(f"--size {text}: expected a name and a number of at least 1, such as N=32.")
    return name, int(number)


def _use(options: argparse.Namespace) -> None:
    """Import what defines ops of the user's own."""
    for module in options.use:
        runpy.run_path(module) if module.endswith(".py") else importlib.import_module(module)


# ------------------------------------------------------------------------------------------------------ the machine

def cache(options: argparse.Namespace) -> int:
    """List, measure or clear the compile cache."""
    from graphc.runtime.cache import open_cache
    from graphc.runtime.config import current
    from graphc.runtime.native import name_of

    store = open_cache(current().cache)
    if store is None:
        raise GraphcError("The compile cache is off (GRAPHC_CACHE).")
    entries = store.entries()
    if options.action == "list":
        for e in entries:
            used = time.strftime("%Y-%m-%d %H:%M", time.localtime(e.used))
            print(f"{used}  {e.size:>10,}  {name_of(store.get(e.key) or b'')}")
    elif options.action == "clear":
        for e in entries:
            store.remove(e)
    done = "removed from" if options.action == "clear" else "in"
    print(f"{len(entries)} entries, {sum(e.size for e in entries):,} bytes {done} {store.folder}")
    return 0


def info(options: argparse.Namespace) -> int:
    """Print the version, the machine that code is made for, threads, the cache's folder, and LLVM."""
    from graphc.runtime.cache import open_cache
    from graphc.runtime.config import current
    from graphc.runtime.targets.jit import VERSION
    from graphc.runtime.targets.machine import Machine

    machine, store = Machine.named(current().cpu), open_cache(current().cache)
    features = [f[1:] for f in machine.features.split(",") if f.startswith("+")]
    rows = {
        "graphc": graphc.__version__,
        "python": f"{sys.version.split()[0]}, NumPy {np.__version__}",
        "compiler": VERSION,
        "backend": current().backend,
        "cpu": f"{machine.cpu} ({machine.triple})",
        "vectors": f"{machine.vector_bits} bits, {machine.registers} registers",
        "features": " ".join(sorted(features)) or "those of the CPU",
        "threads": f"{current().threads or machine.cores} of {machine.cores} cores",
        "cache": f"{store.folder}" if store else "off",
    }
    for name, value in rows.items():
        print(f"{name:10}{value}")
    return 0
