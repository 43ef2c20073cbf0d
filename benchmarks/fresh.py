"""Measure what only a fresh process shows: the first training step, compile included, and the peak of memory.

    python benchmarks/fresh.py [--models mlp mnist_cnn] [--contenders graphc torch] [--threads 2] [--out folder]

Each contender starts twice: cold, with an empty folder for compiled code, and warm, with what the first start left
there. The second process then trains for one epoch on 60,000 images of MNIST's size, or on fewer where that would take
long.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from contenders import CONTENDERS, Contender, versions
from models import MODELS, Model
from report import fresh_text
from results import machine, note, write
from suite import initial_weights, present
from worker import Failure, Worker

import graphc.runtime.targets.machine as target

SAMPLES, LONG = 60_000, 15.0  # of an epoch; seconds


def measure(contender: Contender, model: Model, threads: int, out: Path) -> dict[str, Any]:
    """The numbers of a cold and a warm start, and of an epoch."""
    weights, found = initial_weights(model), {}
    with tempfile.TemporaryDirectory() as cache:
        environment = {contender.cache: cache} if contender.cache else {}
        for start in ("cold", "warm"):
            worker = Worker(contender, threads, out / "contenders.log", environment)
            try:
                found[start] = worker.start() | worker.first(model, weights, model.batch)
                if start == "warm":
                    step = found[start]["second_seconds"]
                    trained = min(SAMPLES, model.batch * max(1, int(LONG / step)))
                    found["epoch"] = worker.epoch(model, model.batch, SAMPLES, trained)
            finally:
                worker.close()
    return found


def main() -> None:
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    chosen, missing = present(options.contenders)
    results: dict[str, Any] = {
        "machine": machine(), "versions": versions({p for c in chosen for p in c.packages}),
        "threads": options.threads, "skipped": missing, "models": {}}
    for model in (MODELS[name] for name in options.models):
        found = results["models"].setdefault(model.name, {"title": model.title, "contenders": {}})["contenders"]
        for contender in (c for c in chosen if c.trains):
            note(model.title, contender.title)
            try:
                found[contender.name] = measure(contender, model, options.threads, options.out)
            except Failure as error:
                note(f"  {error}")
    write(options.out, "fresh", results, fresh_text(results))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["mnist_cnn"])
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--threads", type=int, default=target.usable_cores())
    parser.add_argument("--out", type=Path, default=Path("results"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
