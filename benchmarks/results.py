"""What all commands share: the machine in words, medians, and files of results."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["machine", "milliseconds", "note", "read", "spread", "table", "write"]

FLAGS = ("avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile", "asimd", "sve")


def machine() -> dict[str, Any]:
    """CPU, cores, Python, and the day."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    fields = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    flags = fields.get("flags", fields.get("Features", "")).split()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"cpu": fields.get("model name", platform.processor()), "family": fields.get("cpu family", ""),
            "model": fields.get("model", ""), "cores": cores, "flags": [f for f in FLAGS if f in flags],
            "system": f"{platform.system()} {platform.machine()}", "python": platform.python_version(),
            "date": time.strftime("%Y-%m-%d")}


def spread(samples: Sequence[float]) -> dict[str, Any]:
    """The median, the 10th and the 90th percentile, and the samples themselves."""
    p10, median, p90 = np.percentile(samples, (10, 50, 90)).tolist()
    return {"median": median, "p10": p10, "p90": p90, "samples": [float(f"{s:.4g}") for s in samples]}


def milliseconds(seconds: float) -> str:
    """Three digits of a time, in milliseconds."""
    ms = 1e3 * seconds
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.3g}" if ms >= 0.01 else f"{ms:.4f}" if ms >= 1e-4 else "0"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, in columns of equal width; numbers to the right."""
    columns = list(zip(head, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [all(c[:1].isdigit() for c in column[1:] if c) for column in columns]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(c.rjust(w) if r else c.ljust(w)
                                 for c, w, r in zip(cells, widths, right, strict=True)) + " |"

    rule = "|" + "|".join("-" * (w + 1) + (":" if r else "-") for w, r in zip(widths, right, strict=True)) + "|"
    return "\n".join([line(head), rule, *map(line, rows)])


def read(folder: Path, name: str) -> dict[str, Any] | None:
    """The results of a command, where there are any."""
    file = folder / f"{name}.json"
    return json.loads(file.read_text()) if file.exists() else None


def write(folder: Path, name: str, results: dict[str, Any], text: str) -> None:
    """Write results as JSON and as text, and print the text."""
    (folder / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / f"{name}.txt").write_text(text + "\n")
    print(text)


def note(*words: Any) -> None:
    """Tell how far a command is."""
    print(*words, file=sys.stderr, flush=True)
