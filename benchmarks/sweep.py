"""Show how the cost of a step grows with the batch, the width, the depth, the size of images, and the threads.

    python benchmarks/sweep.py [--sweeps batch width] [--contenders graphc torch] [--threads 2] [--turns 3]
                               [--out folder]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from contenders import CONTENDERS, Contender, versions
from limits import Limits
from models import MODELS, SWEEPS, Model
from report import sweep_text
from results import machine, note, write
from suite import initial_weights, measure_cases, present, put_limits, workers

import graphc.runtime.targets.machine as target

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
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    chosen, missing = present(options.contenders)
    results: dict[str, Any] = {
        "machine": machine(), "versions": versions({p for c in chosen for p in c.packages}), "threads": options.threads,
        "skipped": missing, "sweeps": {}}
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


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", nargs="+", choices=[*SWEEPS, "threads"], default=[*SWEEPS, "threads"])
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=["graphc", "torch"])
    parser.add_argument("--points", type=int, help="only so many sizes of each sweep, the smallest")
    parser.add_argument("--threads", type=int, default=target.usable_cores())
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.04, help="about how long a sample takes")
    parser.add_argument("--out", type=Path, default=Path("results"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
