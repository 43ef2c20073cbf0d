"""The process of one contender: does what `Worker` (the other end, in the runner) asks through pipes.

    python worker.py <contender>

Frameworks disturb one another's threads, so each has a process of its own, which waits while the others run.
"""

from __future__ import annotations

import importlib
import os
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from contenders import CONTENDERS, Contender
from models import Model
from steps import Loaded, Run, TooMany, Weights

__all__ = ["Failure", "Worker"]

CHECK_STEPS = 5
MOST_STEPS = 10_000
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "GRAPHC_THREADS",
                    "TF_NUM_INTRAOP_THREADS")


class Failure(Exception):
    """What went wrong in the other process."""


class Worker:
    """The runner's end: `worker.sample(...)` calls `sample` in the process of the contender."""

    def __init__(self, contender: Contender, threads: int, log: Path, environment: dict[str, str] | None = None):
        self.contender, self.threads, self.log, self.environment = contender, threads, log, environment or {}
        self.start_process()

    def start_process(self) -> None:
        """Start the process, or start it again."""
        numbers = dict.fromkeys(THREAD_VARIABLES, str(self.threads)) | {"TF_NUM_INTEROP_THREADS": "1"}
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("GRAPHC_") or k == "GRAPHC_CACHE"}
        with self.log.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, __file__, self.contender.name], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=errors, env=inherited | numbers | self.contender.environment | self.environment,
                preexec_fn=lambda: pin(self.threads))  # before anything is imported

    def revive(self) -> None:
        """Start the process again if it has ended: a model that a contender dies of isn't the others' fault."""
        if self.process.poll() is not None:
            self.close()
            self.start_process()

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            try:
                send(self.process.stdin, (name, arguments))  # type: ignore[arg-type]
                ok, answer = pickle.load(self.process.stdout)  # type: ignore[arg-type]
            except (EOFError, OSError) as error:
                raise Failure(f"its process ended ({self.process.poll()})") from error
            if not ok:
                raise Failure(answer)
            return answer

        return call

    def close(self) -> None:
        """End the process."""
        with suppress(BrokenPipeError):
            self.process.stdin.close()  # type: ignore[union-attr]
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()  # type: ignore[union-attr]


def pin(threads: int) -> None:
    """Leave this process as many cores as threads, where the system can do that."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def send(stream: BinaryIO, message: Any) -> None:
    pickle.dump(message, stream)
    stream.flush()


class Service:
    """The contender's end."""

    def __init__(self, contender: Contender):
        self.contender = contender
        self.loaded: Loaded
        self.chosen: dict[tuple[str, int], tuple[Any, int]] = {}

    def start(self) -> dict[str, float]:
        """Import everything; the seconds for that."""
        begin = time.perf_counter()
        importlib.import_module(self.contender.loader.split(".")[0])
        importlib.import_module(self.contender.packages[0])
        return {"import_seconds": time.perf_counter() - begin}

    def check(self, model: Model, weights: Weights, rows: int) -> dict[str, Any]:
        """Predictions at the start, and after some steps of training, all without dropout."""
        loaded = self.contender.load(model, weights, False)
        x, y = model.data(rows)
        found = {"predictions": {way: run(1) for way, run in loaded.predict(x).items()}}
        if ways := loaded.train(x, y):
            next(iter(ways.values()))(CHECK_STEPS)
            found["trained"] = next(iter(loaded.predict(x).values()))(1)
        if not model.drops:
            self.loaded = loaded
        return found

    def load(self, model: Model, weights: Weights) -> None:
        """Make the model ready to be timed."""
        self.chosen.clear()
        if model.drops or not hasattr(self, "loaded"):
            self.loaded = self.contender.load(model, weights, True)

    def rehearse(self, model: Model, task: str, rows: int, seconds: float) -> dict[str, Any]:
        """Time every way to do a step and keep the fastest, with the number of steps for one sample."""
        x, y = model.data(rows)
        found = {}
        for way, run in (self.loaded.train(x, y) if task == "train" else self.loaded.predict(x)).items():
            first = timed(run, 1)
            n, step = steps_of_a_sample(run, seconds)
            found[way] = {"first_seconds": first, "seconds": step, "steps": n, "run": run}
        best = min(found, key=lambda way: found[way]["seconds"])
        self.chosen[task, rows] = found[best]["run"], found[best]["steps"]
        return {"way": best, "ways": {way: {k: v for k, v in numbers.items() if k != "run"}
                                      for way, numbers in found.items()}}

    def sample(self, task: str, rows: int) -> float:
        """Seconds of a step, as the mean of some in a row, after one that warms up."""
        run, n = self.chosen[task, rows]
        run(min(n, 2))
        return timed(run, n) / n

    def drop(self) -> None:
        """Forget the model."""
        self.chosen.clear()
        vars(self).pop("loaded", None)

    def first(self, model: Model, weights: Weights, rows: int) -> dict[str, float]:
        """Seconds from having the weights to the end of the first training step, and of the second."""
        begin = time.perf_counter()
        self.loaded = self.contender.load(model, weights, True)
        run = next(iter(self.loaded.train(*model.data(rows)).values()))
        run(1)
        middle = time.perf_counter()
        run(1)
        return {"first_seconds": middle - begin, "second_seconds": time.perf_counter() - middle}

    def epoch(self, model: Model, rows: int, samples: int, trained: int) -> dict[str, float]:
        """Train once over the first `trained` of so many samples; the seconds, and the peak memory of this process."""
        x, y = model.data(samples)
        before, begin = peak_memory(), time.perf_counter()
        self.loaded.epoch(x[:trained], y[:trained], rows)
        return {"seconds": time.perf_counter() - begin, "bytes_before": before, "bytes": peak_memory(),
                "samples": trained, "bytes_of_samples": x.nbytes + y.nbytes}


def steps_of_a_sample(run: Run, seconds: float) -> tuple[int, float]:
    """How many steps one call has to do to take so long that its own cost is small; and the seconds of a step.

    `fit` costs more by itself than many a step, so steps are added, up to five times `seconds`, as long as that makes
    each of them much cheaper.
    """
    n, spent = 1, timed(run, 1)
    step = spent
    while n < MOST_STEPS and spent < 5 * seconds:
        more = min(4 * n, MOST_STEPS)
        try:
            if n == 1:
                run(2)  # compiles what depends on there being several
            now = timed(run, more)
        except TooMany:
            break
        cheaper = now / more < 0.85 * step
        n, spent, step = more, now, now / more
        if spent >= seconds and not cheaper:
            return max(1, int(n * seconds / spent)), step
    return n, step


def timed(run: Run, n: int) -> float:
    begin = time.perf_counter()
    run(n)
    return time.perf_counter() - begin


def peak_memory() -> int:
    """The largest resident size of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main(name: str) -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what frameworks print must not get among the answers
    service = Service(CONTENDERS[name])
    os.chdir(tempfile.gettempdir())
    while True:
        try:
            method, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            send(answers, (True, getattr(service, method)(*arguments)))
        except Exception as error:
            send(answers, (False, f"{type(error).__name__}: {error}".strip()[:300]))


if __name__ == "__main__":
    main(sys.argv[1])
