"""What the commands share: their options, who takes part, and timing the contenders on models, turn by turn."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from contenders import CONTENDERS, Contender, versions
from models import Model
from results import machine, note, spread
from steps import Weights
from worker import CHECK_STEPS, Failure, Worker

import graphc
from graphc.runtime.limits import Limits
from graphc.runtime.targets.machine import usable_cores

__all__ = ["begin", "compare", "initial_weights", "measure_cases", "options_of", "put_limits", "workers"]

PAUSE = 0.02  # seconds in which the threads of the last contender go to sleep
SLOW, SLOW_TURNS = 4, 3  # one that takes so many times as long as the fastest gets fewer turns
PREDICTIONS, LOSS = 2e-4, 2e-2  # how far apart they may be, as parts of the largest number


def options_of(description: str | None, contenders: Iterable[str] = CONTENDERS,
               turns: int = 0) -> argparse.ArgumentParser:
    """A parser with the options that several commands have; those of timing where there are `turns` by default."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(contenders))
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--out", type=Path, default=Path("results"))
    if turns:
        parser.add_argument("--turns", type=int, default=turns)
        parser.add_argument("--seconds", type=float, default=0.04, help="about how long a sample takes")
    return parser


def begin(options: argparse.Namespace) -> tuple[list[Contender], dict[str, Any]]:
    """Those of the contenders that can take part, and the head of the results, which says why the others can't."""
    options.out.mkdir(parents=True, exist_ok=True)
    chosen = [CONTENDERS[name] for name in options.contenders]
    missing = {c.name: reason for c in chosen if (reason := c.missing())}
    for name, reason in missing.items():
        note(f"without {name}: {reason}")
    chosen = [c for c in chosen if c.name not in missing]
    packages = {"numpy", "llvmlite", *(p for c in chosen for p in c.packages)}
    return chosen, {"machine": machine(), "versions": versions(packages), "threads": options.threads,
                    "skipped": missing}


def initial_weights(model: Model) -> Weights:
    """Weights by the name of the layer, as graphc starts them; NotImplementedError where graphc lacks a layer."""
    lacking = sorted({n.kind for n in model.outline} - set(dir(graphc.layers)))
    if lacking:
        raise NotImplementedError(f"graphc has no {', '.join(lacking)} yet")
    graphc.utils.set_random_seed(1)
    return {layer.name: layer.get_weights() for layer in model.build(graphc, dropout=False).layers if layer.weights}


@contextmanager
def workers(contenders: Sequence[Contender], threads: int, folder: Path):
    """A process for each contender; what they print goes to a file."""
    started: list[Worker] = []
    try:
        for contender in contenders:
            started.append(Worker(contender, threads, folder / "contenders.log"))
        yield started
    finally:
        for worker in started:
            worker.close()


def put_limits(cases: Iterable[dict[str, Any]], limits: Limits) -> None:
    """Note beside each case the least time that the machine would allow."""
    for case in cases:
        case["limit"] = limits.seconds(case["operations"], case["bytes"])


def compare(team: Sequence[Worker], model: Model, weights: Weights, rows: int) -> dict[str, dict[str, Any]]:
    """Whether all predict the same from the same weights, and have the same loss after some steps.

    The first contender says what is right.
    """
    y = model.data(rows)[1]
    found: dict[str, dict[str, Any]] = {}
    expected: np.ndarray | None = None
    loss = float("nan")
    for worker in team:
        name = worker.contender.name
        try:
            answer = worker.check(model, weights, rows)
        except Failure as error:
            found[name] = {"refused": str(error)}
            continue
        own = answer.get("trained")
        if expected is None:
            expected, loss = next(iter(answer["predictions"].values())), _loss(model, y, own)
        scale = np.abs(expected).max()
        apart = max(float(np.abs(p - expected).max() / scale) for p in answer["predictions"].values())
        result = found[name] = {"predictions_apart": apart}
        if own is not None:
            result["loss"] = _loss(model, y, own)
            result["loss_apart"] = abs(result["loss"] - loss) / max(abs(loss), 1e-3)
        if not apart <= PREDICTIONS:
            result["refused"] = f"its predictions are off by {apart:.1g}"
        elif not result.get("loss_apart", 0) <= LOSS:
            result["refused"] = f"its loss after {CHECK_STEPS} steps is off by {result['loss_apart']:.1g}"
    return found


def _loss(model: Model, y: np.ndarray, p: np.ndarray) -> float:
    """The model's loss of predictions, in float64."""
    p = p.astype(np.float64)
    if model.loss == "mse":
        return float(np.square(p - y).mean())
    chosen = np.where(y > 0, p, 1 - p) if model.classes == 2 else np.take_along_axis(p, y[..., None], -1)
    return float(-np.log(np.maximum(chosen, 1e-7)).mean())


def measure_cases(team: Sequence[Worker], model: Model, weights: Weights, cases: Sequence[tuple[str, int]], turns: int,
                  seconds: float) -> list[dict[str, Any]]:
    """Time steps (`train` or `predict`, rows) of one model by all workers, which take turns."""
    found: list[dict[str, Any]] = [
        {"task": task, "rows": rows, "operations": model.operations(task, rows), "bytes": model.bytes(task, rows),
         "contenders": {}} for task, rows in cases]
    for worker in team:
        contender = worker.contender
        try:
            worker.load(model, weights)
        except Failure as error:
            note(f"  {contender.name}: {error}")
            continue
        for case in found:
            task, rows = case["task"], case["rows"]
            if ((task == "train" and not contender.trains)
                    or (contender.tutorial_batch_only and (task, rows) not in (
                        ("train", model.batch), ("predict", model.batch), ("predict", 1)))):
                continue
            try:
                case["contenders"][contender.name] = worker.rehearse(model, task, rows, seconds)
            except Failure as error:
                note(f"  {contender.name}, {task} {rows}: {error}")
    samples: dict[tuple[int, str], list[float]] = {}
    for turn in range(turns):
        order = [*team[turn % len(team):], *team[:turn % len(team)]]
        for i, case in enumerate(found):
            times = {n: r["ways"][r["way"]]["seconds"] for n, r in case["contenders"].items()}
            for worker in order:
                name = worker.contender.name
                if name not in times or (turn >= SLOW_TURNS and times[name] > SLOW * min(times.values())):
                    continue
                time.sleep(PAUSE)
                try:
                    samples.setdefault((i, name), []).append(worker.sample(case["task"], case["rows"]))
                except Failure as error:
                    note(f"  {name}, {case['task']} {case['rows']}: {error}")
                    del case["contenders"][name]
                    samples.pop((i, name))
    for (i, name), taken in samples.items():
        found[i]["contenders"][name] |= spread(taken)
    for worker in team:
        with suppress(Failure):
            worker.drop()
    return found
