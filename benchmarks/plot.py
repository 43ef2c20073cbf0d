"""Pictures of results: who is how fast on which model, and how cost grows. Needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from contenders import CONTENDERS
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator
from results import milliseconds

__all__ = ["draw_growth", "draw_ratios"]

# Okabe and Ito's colours, which stay apart for colour-blind readers; each contender has a shape as well
LOOKS = {
    "graphc": ("#000000", "o"), "numpy": ("#999999", "X"), "keras-tensorflow": ("#E69F00", "s"),
    "keras-jax": ("#56B4E9", "D"), "keras-torch": ("#CC79A7", "v"), "torch": ("#D55E00", "^"),
    "torch.compile": ("#F0A58A", "<"), "onnxruntime": ("#009E73", "P"), "openvino": ("#0072B2", "*"),
}
TICKS = (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64)
plt.rcParams.update({"font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "graphc", "axes.spines.top": False,
                     "axes.spines.right": False})


def draw_ratios(results: dict[str, Any], file: Path) -> None:
    """For each model the times of all contenders as multiples of graphc's, and the fastest peer by name."""
    models = list(results["models"].values())[::-1]
    panels = (("Training step, the tutorial's batch", "train", True),
              ("Prediction, the tutorial's batch", "predict", True), ("Prediction of one row", "predict", False))
    figure, axes = plt.subplots(1, 3, figsize=(11, 1.6 + 0.62 * len(models)), sharey=True)
    for axis, (title, task, tutorial) in zip(axes, panels, strict=True):
        for y, model in enumerate(models):
            rows = model["batch"] if tutorial else 1
            case = next((c for c in model["cases"] if (c["task"], c["rows"]) == (task, rows)), None)
            if case and "median" in case["contenders"].get("graphc", {}):
                _draw_case(axis, y, case)
        axis.axvline(1, color="black", linewidth=1.2, zorder=1)
        axis.set_title(title, fontsize=10, loc="left", pad=8)
        axis.set_xscale("log")
        axis.set_xlim(0.1, 90)
        axis.xaxis.set_major_locator(FixedLocator(TICKS))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axis.grid(axis="x", color="#dddddd", linewidth=0.6, zorder=0)
        axis.tick_params(axis="y", length=0)
        axis.set_xlabel("time / graphc's time  (right of 1: graphc is faster)")
    axes[0].set_yticks(range(len(models)), [m["title"] for m in models])
    axes[0].set_ylim(-0.6, len(models) - 0.4)
    used = {n for m in models for c in m["cases"] for n in c["contenders"]}
    marks = [plt.Line2D([], [], color=LOOKS[n][0], marker=LOOKS[n][1], linestyle="", markersize=6,
                        label=CONTENDERS[n].title) for n in CONTENDERS if n in used and n != "graphc"]
    marks.append(plt.Line2D([], [], color="#444444", marker="|", linestyle="", markersize=9, label="limit"))
    figure.legend(handles=marks, loc="lower center", ncols=5, frameon=False)
    figure.tight_layout(rect=(0, 0.5 / figure.get_figheight(), 1, 1))
    _save(figure, file)


def _draw_case(axis: Any, y: float, case: dict[str, Any]) -> None:
    """One row: a bar from graphc to the fastest peer, a mark for each contender, the limit."""
    own = case["contenders"]["graphc"]["median"]
    ratios = {n: r["median"] / own for n, r in case["contenders"].items() if "median" in r and n != "graphc"}
    peers = {n: r for n, r in ratios.items() if n != "numpy"}
    axis.plot([min(max(case["limit"] / own, 0.105), 1)], [y], color="#444444", marker="|", markersize=11, zorder=3)
    if peers:
        best = min(peers, key=peers.__getitem__)
        axis.barh(y, peers[best] - 1, left=1, height=0.52, color="#d8d8d8", zorder=0.5)
        text = f"{CONTENDERS[best].title} {peers[best]:.2f}x; graphc {milliseconds(own)} ms"
        axis.text(0.11, y + 0.31, text, fontsize=7.5, va="bottom", zorder=4,
                  bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6})
    for name, ratio in ratios.items():
        color, shape = LOOKS[name]
        axis.plot([min(ratio, 85)], [y], color=color, marker=shape, linestyle="", zorder=3,
                  markersize=9 if shape == "*" else 6, markeredgecolor="white", markeredgewidth=0.5)


def draw_growth(results: dict[str, Any], file: Path) -> None:
    """Time of a training step against each size that was varied, with the limit, in doubly logarithmic axes."""
    sweeps = {name: cases for name, cases in results["sweeps"].items() if cases and name != "threads"}
    figure, axes = plt.subplots(1, len(sweeps), figsize=(3 * len(sweeps), 3.3), squeeze=False)
    for axis, (name, cases) in zip(axes[0], sweeps.items(), strict=True):
        chosen = [c for c in cases if c["task"] == "train"]
        sizes = [c["size"] for c in chosen]
        axis.plot(sizes, [1e3 * c["limit"] for c in chosen], color="#999999", linestyle="--", linewidth=1)
        axis.annotate("limit", (sizes[-1], 1e3 * chosen[-1]["limit"]), textcoords="offset points", xytext=(4, -3),
                      color="#777777", fontsize=8)
        for contender in (n for n in CONTENDERS if any(n in c["contenders"] for c in chosen)):
            color, shape = LOOKS[contender]
            points = [(c["size"], 1e3 * c["contenders"][contender]["median"]) for c in chosen
                      if "median" in c["contenders"].get(contender, {})]
            axis.plot(*zip(*points, strict=True), color=color, marker=shape, markersize=5, linewidth=1.4,
                      label=CONTENDERS[contender].title)
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.xaxis.set_major_locator(FixedLocator(sizes))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.tick_params(axis="x", labelrotation=45, labelsize=8)
        axis.set_title({"batch": "rows in a batch, MLP 784-128-10", "width": "width, two hidden layers",
                        "depth": "layers of 256", "image": "image size, CNN"}[name], fontsize=9)
        axis.grid(color="#e5e5e5", linewidth=0.6)
    axes[0][0].set_ylabel("ms for a training step")
    axes[0][0].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    _save(figure, file)


def _save(figure: Any, file: Path) -> None:
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None, dpi=110)
    plt.close(figure)
