"""Write results into docs/performance.md, and draw them.

    python benchmarks/report.py [folder of results]

The part of the page between its two marks is made of what the commands have left in the folder.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

from contenders import CONTENDERS
from models import MODELS
from results import milliseconds, read, table

__all__ = ["fresh_text", "kernels_text", "suite_text", "sweep_text"]

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
MARKS = re.compile(r"(<!-- results -->\n).*?(<!-- end of results -->)", re.S)
NOT_PEERS = ("graphc", "numpy")


# ----------------------------------------------------------------------------------------------- run.py

def machine_text(results: dict[str, Any]) -> str:
    """One paragraph: the machine, its limits, the versions."""
    m, limits = results["machine"], results["limits"]
    copies = {int(k): v for k, v in limits["copy_gbytes"].items()}
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    return paragraph(
        f"{m['cpu']} (family {m['family']}, model {m['model']}; {', '.join(m['flags'])}), {limits['threads']} "
        f"of {m['cores']} cores, {m['system']}, Python {m['python']}, {m['date']}. Measured in the same run: "
        f"{limits['gflops']:.0f} GFLOP/s of fused multiply-adds; copying {copies[1 << 18]:.0f} GB/s where source "
        f"and copy have 256 KiB together, {copies[1 << 24]:.0f} for 16 MiB, {copies[1 << 28]:.0f} for 256 MiB. "
        f"{versions}.")


def paragraph(text: str) -> str:
    return textwrap.fill(text, 118, break_on_hyphens=False, break_long_words=False)


def fastest_peer(case: dict[str, Any]) -> str | None:
    """The name of the fastest contender besides graphc."""
    peers = {n: r["median"] for n, r in case["contenders"].items() if n not in NOT_PEERS and "median" in r}
    return min(peers, key=peers.__getitem__) if peers else None


def case_rows(results: dict[str, Any], task: str) -> list[list[str]]:
    rows = []
    for model in results["models"].values():
        for case in sorted((c for c in model["cases"] if c["task"] == task),
                           key=lambda c: (c["rows"] != model["batch"], c["rows"])):
            own, peer = case["contenders"].get("graphc", {}), fastest_peer(case)
            if "median" not in own:
                continue
            theirs = case["contenders"][peer] if peer else None
            slow = case["contenders"].get("numpy", {}).get("median")
            rows.append([
                model["title"], str(case["rows"]), spread_text(own), f"{case['limit'] / own['median']:.0%}",
                f"{milliseconds(slow)}" if slow else "", CONTENDERS[peer].title if peer else "",
                spread_text(theirs) if theirs else "", f"{theirs['median'] / own['median']:.2f}" if theirs else ""])
    return rows


def spread_text(r: dict[str, Any]) -> str:
    return f"{milliseconds(r['median'])} ({milliseconds(r['p10'])} to {milliseconds(r['p90'])})"


def suite_text(results: dict[str, Any]) -> str:
    """The tables of `run.py`."""
    head = ["model", "rows", "graphc, ms", "of the limit", "on NumPy", "fastest peer", "its ms", "ratio"]
    parts = [machine_text(results)]
    for task, title in (("train", "A training step"), ("predict", "A prediction")):
        parts += [f"## {title}", table(head, case_rows(results, task))]
    return "\n\n".join([*parts, "## Every contender", everyone(results), "## Checks", checks_text(results)])


def everyone(results: dict[str, Any]) -> str:
    """Median milliseconds of all contenders."""
    names = [n for n in CONTENDERS if any(n in c["contenders"] for m in results["models"].values() for c in m["cases"])]
    rows = []
    for model in results["models"].values():
        for case in model["cases"]:
            medians = (case["contenders"].get(n, {}).get("median") for n in names)
            rows.append([model["title"], case["task"], str(case["rows"]), milliseconds(case["limit"]),
                         *(milliseconds(m) if m else "" for m in medians)])
    return table(["model", "step", "rows", "limit", *names], rows)


def checks_text(results: dict[str, Any]) -> str:
    """How far apart the contenders' numbers are, and who was left out."""
    checks = [c for m in results["models"].values() for c in m["checks"].values() if "refused" not in c]
    lines = []
    if checks:
        predictions, losses = (max(c.get(key, 0) for c in checks) for key in ("predictions_apart", "loss_apart"))
        lines.append(paragraph(
            f"From the same weights, predictions differ from graphc's by at most {predictions:.1g} of the "
            f"largest one, and losses after 5 steps by at most {losses:.1g} of the loss."))
    lines += [f"{m['title']}: without {CONTENDERS[n].title} ({c['refused']})."
              for m in results["models"].values() for n, c in m["checks"].items() if "refused" in c]
    skipped = results["skipped"]
    lines += [f"Without {CONTENDERS[n].title}: {reason}." for n, reason in skipped["contenders"].items()]
    lines += [f"Without {name}: {reason}." for name, reason in skipped["models"].items()]
    return "\n\n".join(lines)


# ------------------------------------------------------------------------------------- fresh.py, sweep.py, kernels.py

def fresh_text(results: dict[str, Any]) -> str:
    """The tables of `fresh.py`."""
    parts = []
    for model in results["models"].values():
        rows = []
        for name, r in model["contenders"].items():
            cached = bool(CONTENDERS[name].cache)
            epoch = r["epoch"]
            rows.append([
                CONTENDERS[name].title, f"{r['warm']['import_seconds']:.1f}", f"{r['cold']['first_seconds']:.2f}",
                f"{r['warm']['first_seconds']:.2f}" if cached else "", f"{epoch['seconds']:.1f}", str(epoch["samples"]),
                f"{epoch['bytes'] / 2**20:.0f}", f"{(epoch['bytes'] - epoch['bytes_of_samples']) / 2**20:.0f}"])
        parts.append(table([model["title"], "import, s", "first step, s", "with its cache, s", "epoch, s", "samples",
                            "peak, MiB", "without samples"], rows))
    return "\n\n".join(parts)


def sweep_text(results: dict[str, Any]) -> str:
    """The tables of `sweep.py`: milliseconds, and graphc's part of the limit."""
    parts = []
    for name, cases in results["sweeps"].items():
        names = [n for n in CONTENDERS if any(n in c["contenders"] for c in cases)]
        rows = []
        for case in sorted(cases, key=lambda c: (c["task"] != "train", c["model"] if name == "threads" else "")):
            medians = {n: r.get("median") for n, r in case["contenders"].items()}
            own = medians.get("graphc")
            what = [MODELS[case["model"]].title] if name == "threads" else []
            rows.append([*what, case["task"], str(case["size"]), *(
                milliseconds(medians[n]) if medians.get(n) else "" for n in names),
                f"{case['limit'] / own:.0%}" if own else ""])
        head = [*(["model"] if name == "threads" else []), "step", name, *(f"{n}, ms" for n in names), "of the limit"]
        parts.append(table(head, rows))
    return "\n\n".join(parts)


def kernels_text(results: dict[str, Any]) -> str:
    """The tables of `kernels.py`: one for each number of threads."""
    parts = []
    for run in results["runs"]:
        head = ["kernel", "microseconds", "GFLOP/s", "GB/s", "bound by", "of the limit", *run["peers"]]
        rows = []
        for r in run["kernels"]:
            seconds = r["median"]
            rows.append([
                r["name"] + (f" ({r['kernels']} kernels)" if r["kernels"] > 1 else ""), f"{1e6 * seconds:.1f}",
                f"{r['operations'] / seconds / 1e9:.0f}" if r["operations"] else "",
                f"{r['bytes'] / seconds / 1e9:.1f}", "on NumPy" if r["on_numpy"] else r["bound"],
                f"{r['limit'] / seconds:.0%}",
                *(f"{r['peers'][p] / seconds:.2f}" if p in r["peers"] else "" for p in run["peers"])])
        limits = run["limits"]
        parts.append(f"{limits['threads']} threads; {limits['gflops']:.0f} GFLOP/s of fused multiply-adds. Peers as "
                     "multiples of graphc's time.\n\n" + table(head, rows))
    return "\n\n".join(parts)


# ---------------------------------------------------------------------------------------------------------- the page

def page_text(folder: Path) -> str:
    """Everything that the folder has, with pictures where matplotlib is installed."""
    suite, fresh, sweep, kernels = (read(folder, name) for name in ("run", "fresh", "sweep", "kernels"))
    parts = []
    if suite:
        parts += picture("draw_ratios", suite, "performance.svg",
                         "Times of all contenders as multiples of graphc's")
        parts.append(suite_text(suite))
    if fresh:
        parts += ["## A fresh process", fresh_text(fresh)]
    if sweep:
        parts.append("## How cost grows")
        parts += picture("draw_growth", sweep, "growth.svg", "Milliseconds of a training step against sizes")
        parts.append(sweep_text(sweep))
    if kernels:
        parts += ["## Single kernels", kernels_text(kernels)]
    return "\n\n".join(parts)


def picture(function: str, results: dict[str, Any], file: str, text: str) -> list[str]:
    """A picture by a function of plot.py, drawn beside the page; none without matplotlib."""
    if importlib.util.find_spec("matplotlib") is None:
        return []
    getattr(importlib.import_module("plot"), function)(results, PAGE.with_name(file))
    return [f"![{text}]({file})"]


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "results")
    text = page_text(folder)
    if not text:
        raise SystemExit(f"{folder} has no results: run benchmarks/run.py first")
    page = PAGE.read_text()
    PAGE.write_text(MARKS.sub(lambda m: f"{m[1]}{text}\n{m[2]}", page))


if __name__ == "__main__":
    main()
