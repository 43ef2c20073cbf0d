"""Stages: what each pass makes of a graph, and the folders where it is written down."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphc.ir.graph import Graph
from graphc.passes.pipeline import Pass, run
from graphc.passes.plan import Plan
from graphc.passes.rewrite import counting_rules
from graphc.runtime.interrupts import notice

__all__ = ["Dump", "Stage", "run_passes"]


@dataclass(frozen=True)
class Stage:
    """What one pass made, in how many seconds, and how often it applied each of its rules.

    The first stage, `traced`, is the graph that the passes are given. The result of `plan` is a Plan.
    """

    name: str
    result: Any
    seconds: float = 0.0
    rules: Mapping[str, int] | None = None


class Dump:
    """A new folder with a file for everything that is made of one program: FOLDER/000-train, FOLDER/001-predict, ..."""

    def __init__(self, folder: str, name: str):
        above = Path(folder).expanduser()
        try:
            above.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(f"The folder for dumps (GRAPHC_DUMP) can't be made: {error}.") from error
        number = 1 + max((int(p.name[:3]) for p in above.glob("[0-9][0-9][0-9]-*")), default=-1)
        while True:
            self.folder = above / f"{number:03}-{name}"
            try:
                self.folder.mkdir()
                break
            except FileExistsError:  # another process
                number += 1

    def write(self, name: str, text: str) -> Path:
        """Write a file below the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text if text.endswith("\n") else text + "\n")
        return path


def run_passes(graph: Graph, passes: Sequence[Pass], check: bool, dump: Dump | None = None) -> list[Stage]:
    """Run passes over a graph; what each of them made.

    With a dump every stage that differs from the one before is written to it. An error carries the command that runs
    the failing pass again, over a file that is written for it.
    """
    stages: list[Stage] = []
    counted: Counter[str] = Counter()
    began = time.perf_counter()

    def record(name: str, result: Any) -> None:
        notice()
        nonlocal began, counted
        seconds, rules = time.perf_counter() - began, dict(fired - counted)
        counted = fired.copy()
        if dump is not None and (not stages or str(result) != str(stages[-1].result)):
            dump.write(f"{len(stages):02}-{name}.{'plan' if isinstance(result, Plan) else 'graph'}", str(result))
        stages.append(Stage(name, result, seconds, rules))
        began = time.perf_counter()

    with counting_rules() as fired:
        record("traced", graph)
        try:
            run(graph, passes, record, check)
        except Exception as error:
            with suppress(OSError):  # nothing can be written, which is not the error to tell of
                path = _kept(stages[-1].result, dump)
                error.add_note(f"To repeat it: python -m graphc passes {passes[len(stages) - 1].__name__} {path}")
            raise
    return stages


def _kept(graph: Graph, dump: Dump | None) -> Path:
    """A file with the graph's text."""
    folder = dump.folder if dump is not None else Path(tempfile.mkdtemp(prefix="graphc-"))
    path = folder / f"{graph.name}-failed.graph"
    path.write_text(f"{graph}\n")
    return path
