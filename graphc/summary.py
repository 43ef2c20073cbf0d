"""The table that `model.summary()` prints."""

from __future__ import annotations

from typing import Any

__all__ = ["summary_lines"]


def summary_lines(model: Any, line_length: int | None = None) -> list[str]:
    """The lines: layer (class), output shape, number of parameters, then the totals."""
    rows = [("Layer (type)", "Output Shape", "Param #")]
    for layer, shape in model.described_layers():
        built = layer.built and shape is not None
        rows.append((f"{layer.name} ({type(layer).__name__})", _shape(shape) if shape is not None else "?",
                     f"{sum(w.size for w in layer.weights):,}" if built else "0 (unbuilt)"))
    widths = [max(least, *(len(row[i]) + 2 for row in rows)) for i, least in enumerate((29, 26, 10))]
    if line_length:
        widths[0] += max(line_length - sum(widths), 0)
    width = sum(widths)
    lines = [f'Model: "{model.name}"', "_" * width]
    for i, row in enumerate(rows):
        lines.append((" " + "".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True))).rstrip())
        if not i:
            lines.append("=" * width)
    total, trainable = (sum(w.size for w in ws) for ws in (model.weights, model.trainable_weights))
    lines.append("=" * width)
    for title, count in (("Total", total), ("Trainable", trainable), ("Non-trainable", total - trainable)):
        lines.append(f"{title} params: {count:,} ({_bytes(4 * count)})")
    return [*lines, "_" * width]


def _shape(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"


def _bytes(count: float) -> str:
    for unit in ("B", "KB", "MB"):
        if count < 1024:
            return f"{count:.2f} {unit}"
        count /= 1024
    return f"{count:.2f} GB"
