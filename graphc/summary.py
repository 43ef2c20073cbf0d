"""The table that `model.summary()` prints, laid out as Keras 3 does it with the package rich."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

__all__ = ["plain", "summary_lines"]

POSITIONS = (0.45, 0.80, 1.0)  # where the columns end, in line lengths
LINE_LENGTH = 88
CONNECTED_POSITIONS, CONNECTED_LENGTH = (0.3, 0.56, 0.74, 1.0), 108  # of a table that says what a layer reads
ASCII = str.maketrans("━┏┳┓┡╇┩│┃├┼┤─└┴┘…", "=++++++||+++-+++.")


def summary_lines(model: Any, line_length: int | None = None, positions: Sequence[float] | None = None,
                  expand_nested: bool = False, show_trainable: bool = False,
                  layer_range: Sequence[str] | None = None) -> list[str]:
    """The lines: layer (class), output shape, number of parameters, in models that are no chain what it reads; totals.

    `line_length` is the width, by default 88 or what the terminal has; `positions` are the columns' ends as parts of
    it. `layer_range` has regular expressions for the names of the first and the last layer. Wrong arguments raise
    ValueError.
    """
    connections = model.connections()
    rows = _rows(_within(model.described_layers(), layer_range), connections or {}, expand_nested)
    head, alignments = ["Layer (type)", "Output Shape", "Param #"], "<<>"
    ends, usual = _ends(positions, POSITIONS), LINE_LENGTH
    if connections is not None:
        head, alignments = [*head, "Connected to"], alignments + "<"
        ends, usual = _ends(positions, CONNECTED_POSITIONS), CONNECTED_LENGTH
    length = line_length or min(usual + 12 * show_trainable, shutil.get_terminal_size().columns - 4)
    if show_trainable:
        head, alignments, ends = [*head, "Trainable"], alignments + "^", [*(0.9 * end for end in ends), 1.0]
    widths = _widths(ends, length)
    cells = [row[:3] + row[3:4] * (connections is not None) + row[4:] * show_trainable for row in rows]
    return [f'Model: "{model.name}"', *_table(head, cells, widths, alignments), *_totals(model)]


def plain(text: str) -> str:
    """The text with ASCII in place of the characters of tables."""
    return text.translate(ASCII)


def _within(layers: list[tuple[Any, Any]], layer_range: Sequence[str] | None) -> list[tuple[Any, Any]]:
    """The layers from the first that matches one of the expressions to the last that matches the other."""
    if layer_range is None:
        return layers
    if isinstance(layer_range, str) or len(layer_range) != 2 or not all(isinstance(n, str) for n in layer_range):
        raise ValueError(f"summary(layer_range={layer_range!r}): expected the names of two layers, the first and the "
                         "last to show.")
    first, last = ([i for i, (layer, _) in enumerate(layers) if re.match(name, layer.name)] for name in layer_range)
    if not first or not last:
        names = ", ".join(layer.name for layer, _ in layers)
        raise ValueError(f"summary(layer_range={layer_range!r}): no layer is called "
                         f"{layer_range[bool(first)]!r}. Layers: {names}.")
    if min(first) > max(last):
        first, last = last, first
    return layers[min(first):max(last) + 1]


def _rows(layers: list[tuple[Any, Any]], connections: Mapping[Any, Sequence[str]], expand_nested: bool,
          level: int = 0) -> list[list[str]]:
    """Name and class, shape, parameters, what is read, and whether they are trained, of each layer."""
    rows = []
    for layer, shape in layers:
        indent = "   " * level + "└ " if level else ""
        count = sum(w.size for w in layer.weights)
        rows.append([f"{indent}{layer.name} ({type(layer).__name__})",
                     _shape(shape),
                     f"{count:,}" if layer.built else "0 (unbuilt)",
                     ", ".join(connections.get(layer, ())) or "-",
                     "-" if not layer.weights else "Y" if layer.trainable else "N"])
        if expand_nested and hasattr(layer, "described_layers"):
            rows += _rows(layer.described_layers(), layer.connections() or {}, expand_nested, level + 1)
    return rows


def _shape(shapes: Any) -> str:
    """A shape, or a nest of shapes, as text."""
    if shapes is None:
        return "?"
    if isinstance(shapes, dict):
        return f"{{{', '.join(f'{name}: {_shape(part)}' for name, part in shapes.items())}}}"
    if any(isinstance(part, list | tuple | dict) for part in shapes):
        return f"[{', '.join(map(_shape, shapes))}]"
    return f"({', '.join(map(str, shapes))})"


def _totals(model: Any) -> list[str]:
    """The numbers of parameters; once training has begun also of what the optimizer remembers, apart from the total."""
    parts = {"Trainable": model.trainable_weights, "Non-trainable": model.non_trainable_weights}
    total = [w for weights in parts.values() for w in weights]
    if model.optimizer is not None and model.optimizer._slots:
        parts["Optimizer"] = model.optimizer.variables
    return [f" {title} params: {sum(w.size for w in weights):,} ({_bytes(sum(w.array.nbytes for w in weights))})"
            for title, weights in {"Total": total, **parts}.items()]


def _bytes(count: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1024:
            return f"{count:.2f} {unit}"
        count /= 1024
    return f"{count:.2f} TB"


# ------------------------------------------------------------------------------------------------------ the table

def _ends(positions: Sequence[float] | None, usual: Sequence[float]) -> list[float]:
    ends = list(positions or usual)
    if len(ends) != len(usual) or ends != sorted(ends) or ends[0] <= 0:
        raise ValueError(f"summary(positions={positions!r}): expected {len(usual)} increasing numbers, the ends of "
                         f"the columns as parts of the line's length, such as {list(usual)}.")
    return [end / ends[-1] for end in ends] if ends[-1] > 1 else ends


def _widths(ends: Sequence[float], length: int) -> list[int]:
    """The widths of the columns' texts; with frames and blanks they fill the line."""
    columns = [int(end * length) - int(start * length) for start, end in zip([0.0, *ends], ends, strict=False)]
    if min(columns) < 4:
        raise ValueError(f"summary(line_length={length}): that is too narrow for a table of {len(columns)} columns. "
                         "Give a line_length of 40 or more.")
    excess, widths = sum(columns) + 3 * len(columns) + 1 - length, []
    for k, column in enumerate(columns):
        share = round(excess / (len(columns) - k))
        excess -= share
        widths.append(max(column - share, 1))
    return widths


def _table(head: list[str], rows: list[list[str]], widths: list[int], alignments: str) -> list[str]:
    def rule(left: str, line: str, cross: str, right: str) -> str:
        return left + cross.join(line * (width + 2) for width in widths) + right

    def row(columns: list[list[str]], bar: str) -> Iterable[str]:
        for line in zip_longest(*columns, fillvalue=""):
            parts = (f" {text:{align}{width}} " for text, align, width in zip(line, alignments, widths, strict=True))
            yield f"{bar}{bar.join(parts)}{bar}"

    top = [_wrapped(cell, width) for cell, width in zip(head, widths, strict=True)]
    most = max(map(len, top))
    lines = [rule("┏", "━", "┳", "┓"), *row([[""] * (most - len(c)) + c for c in top], "┃"), rule("┡", "━", "╇", "┩")]
    for i, cells in enumerate(rows):
        lines += [rule("├", "─", "┼", "┤")] * bool(i)
        lines += row([_wrapped(cell, width) for cell, width in zip(cells, widths, strict=True)], "│")
    return [*lines, rule("└", "─", "┴", "┘")]


def _wrapped(text: str, width: int) -> list[str]:
    """The text broken between words; a word that is too long loses its end."""
    lines = [""]
    for word in re.findall(r"\s*\S+\s*", text):
        if lines[-1] and len(lines[-1]) + len(word.rstrip()) > width:
            lines.append("")
        lines[-1] += word
    stripped = [line.rstrip() for line in lines]
    return [line if len(line) <= width else line[:width - 1] + "…" for line in stripped]
