"""Time the contenders on models, turn by turn; used by the commands."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from contenders import CONTENDERS, Contender
from limits import Limits
from models import Model
from results import note, spread
from steps import Weights
from worker import CHECK_STEPS, Failure, Worker

import graphc

__all__ = ["compare", "initial_weights", "measure_cases", "present", "put_limits", "workers"]

PAUSE = 0.02  # seconds in which the threads of the last contender go to sleep
SLOW, SLOW_TURNS = 4, 3  # one that takes so many times as long as the fastest gets fewer turns
PREDICTIONS, LOSS = 2e-4, 2e-2  # how far apart they may be, as parts of the largest number


def present(names: Iterable[str]) -> tuple[list[Contender], dict[str, str]]:
    """The contenders that can take part, and why the others can't."""
    chosen = [CONTENDERS[name] for name in names]
    missing = {c.name: reason for c in chosen if (reason := c.missing())}
    return [c for c in chosen if c.name not in missing], missing


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
