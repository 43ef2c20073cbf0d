"""Show how the cost of a step grows with the batch, the width, the depth, the size of images, and the threads.

    python benchmarks/sweep.py [--sweeps batch width] [--contenders graphc torch] [--threads 2] [--turns 3]
                               [--out folder]
"""

from __future__ import annotations

import argparse
from typing import Any

from contenders import Contender
from models import MODELS, SWEEPS, Model
from report import sweep_text
from results import note, write
from suite import begin, initial_weights, measure_cases, options_of, put_limits, workers

from graphc.runtime.limits import Limits

OF_THREADS = ("mlp", "housing", "mnist_cnn")


def sweep(chosen: list[Contender], points: dict[int, Model], options: argparse.Namespace,
          threads: int) -> list[dict[str, Any]]:
    """The cases of all points, each with the number that was varied."""
    limits = Limits.measure(threads)
    found = []
    with workers(chosen, threads, options.out) as team:
        for size, model in points.items():
            note(f"  {size}")
            cases = [("train", model.batch), ("predict", model.batch)]
            found += [{"size": size, "model": model.name} | case for case in measure_cases(
                team, model, initial_weights(model), cases, options.turns, options.seconds)]
    put_limits(found, limits.best(Limits.measure(threads)))
    return found


def main() -> None:
    parser = options_of(__doc__, ("graphc", "torch"), turns=3)
    parser.add_argument("--sweeps", nargs="+", choices=[*SWEEPS, "threads"], default=[*SWEEPS, "threads"])
    parser.add_argument("--points", type=int, help="only so many sizes of each sweep, the smallest")
    options = parser.parse_args()
    chosen, results = begin(options)
    results["sweeps"] = {}
    for name in options.sweeps:
        note(name)
        if name == "threads":
            points = dict(enumerate(MODELS[m] for m in OF_THREADS[:options.points]))
            results["sweeps"][name] = [
                case | {"size": threads} for threads in sorted({1, options.threads})
                for case in sweep(chosen, points, options, threads)]
        else:
            points = dict(list(SWEEPS[name].items())[:options.points])
            results["sweeps"][name] = sweep(chosen, points, options, options.threads)
    write(options.out, "sweep", results, sweep_text(results))


if __name__ == "__main__":
    main()
