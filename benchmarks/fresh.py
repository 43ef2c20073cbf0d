"""Measure what only a fresh process shows: the first training step, compile included, and the peak of memory.

    python benchmarks/fresh.py [--models mlp mnist_cnn] [--contenders graphc torch] [--threads 2] [--out folder]

Each contender starts twice: cold, with an empty folder for compiled code, and warm, with what the first start left
there. The second process then trains for one epoch on 60,000 images of MNIST's size, or on fewer where that would take
long.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from contenders import Contender
from models import MODELS, Model
from report import fresh_text
from results import note, write
from suite import begin, initial_weights, options_of
from worker import Failure, Worker

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
    parser = options_of(__doc__)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["mnist_cnn"])
    options = parser.parse_args()
    chosen, results = begin(options)
    results["models"] = {}
    for model in (MODELS[name] for name in options.models):
        found = results["models"].setdefault(model.name, {"title": model.title, "contenders": {}})["contenders"]
        for contender in (c for c in chosen if c.trains):
            note(model.title, contender.title)
            try:
                found[contender.name] = measure(contender, model, options.threads, options.out)
            except Failure as error:
                note(f"  {error}")
    write(options.out, "fresh", results, fresh_text(results))


if __name__ == "__main__":
    main()
