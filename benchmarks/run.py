"""Time graphc and every installed peer on the models of the tutorials.

    python benchmarks/run.py [--models mlp mnist_cnn] [--contenders graphc torch] [--batches table 1 8 512]
                             [--threads 2] [--turns 7] [--out folder]

Each contender runs in a process of its own, with the same threads, cores, weights and data; they take turns.
"""

from __future__ import annotations

from models import MODELS, Model
from report import suite_text
from results import note, write
from suite import begin, compare, initial_weights, measure_cases, options_of, put_limits, workers

from graphc.runtime.limits import Limits


def main() -> None:
    parser = options_of(__doc__, turns=7)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--batches", nargs="+", default=["table", "1", "8", "512"])
    options = parser.parse_args()
    chosen, results = begin(options)
    results |= {"turns": options.turns, "skipped": {"contenders": results["skipped"], "models": {}}, "models": {}}
    with workers(chosen, options.threads, options.out) as team:
        limits = Limits.measure(options.threads)
        for model in (MODELS[name] for name in options.models):
            try:
                weights = initial_weights(model)
            except NotImplementedError as error:
                results["skipped"]["models"][model.name] = str(error)
                note(f"skipped {model.title}: {error}")
                continue
            note(model.title)
            for worker in team:
                worker.revive()
            checks = compare(team, model, weights, model.batch)
            for name, check in checks.items():
                if "refused" in check:
                    note(f"  {name}: {check['refused']}")
            able = [w for w in team if "refused" not in checks[w.contender.name]]
            cases = [(task, rows) for task in ("train", "predict") for rows in batches(model, options.batches)]
            results["models"][model.name] = {
                "title": model.title, "batch": model.batch, "parameters": model.parameters, "checks": checks,
                "cases": measure_cases(able, model, weights, cases, options.turns, options.seconds)}
            limits = limits.best(Limits.measure(options.threads))
    results["limits"] = limits.json()
    for found in results["models"].values():
        put_limits(found["cases"], limits)
    write(options.out, "run", results, suite_text(results))


def batches(model: Model, wanted: list[str]) -> list[int]:
    """Numbers of rows, the tutorial's in the place of `table`."""
    return sorted({model.batch if b == "table" else int(b) for b in wanted})


if __name__ == "__main__":
    main()
