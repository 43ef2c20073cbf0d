"""Pictures of models: a card for each layer, as Keras draws them. https://keras.io/api/utils/model_plotting_utils/"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from graphc.functional import sources
from graphc.ir.drawing import Arrow, Box, Label, Picture, to_svg, width_of
from graphc.ir.graph import Value
from graphc.ir.layout import layout
from graphc.ir.tree import flat
from graphc.layers.layer import Layer, known_shape
from graphc.models import Functional, Model, Sequential
from graphc.steps import symbolic_inputs
from graphc.tracing import Trace, tracing

__all__ = ["model_to_dot", "plot_model"]

DIRECTIONS = ("TB", "BT", "LR", "RL")
BLACK, WHITE, GREEN, RED = "#000000", "#ffffff", "#228b22", "#b22222"
SIZE, HEAD_SIZE = 11.0, 12.5
ROW = 26.0
PAD = 10.0
MARGIN = 12.0


def plot_model(model: Any, to_file: Any = "model.png", show_shapes: bool = False, show_dtype: bool = False,
               show_layer_names: bool = False, rankdir: str = "TB", expand_nested: bool = False, dpi: int = 200,
               show_layer_activations: bool = False, show_trainable: bool = False) -> Any:
    """Draw a model into a file: `.png` and `.pdf` with matplotlib, `.svg` and Graphviz's `.dot` without.

    Layers run from top to bottom, or as `rankdir` says: TB, BT, LR or RL. `expand_nested` shows the layers of inner
    models, `dpi` is the resolution of a `.png`. In a notebook the picture is returned, so that it is shown. Raises
    ValueError for another kind of file or direction, and where shapes of a model without input shape are asked for.
    """
    path = Path(to_file if Path(to_file).suffix else f"{to_file}.png")
    if path.suffix not in (".png", ".pdf", ".svg", ".dot"):
        raise ValueError(f"plot_model(to_file={str(to_file)!r}): cannot write {path.suffix!r} files, expected .png, "
                         ".pdf, .svg or .dot.")
    shown = _Shown(show_shapes, show_dtype, show_layer_names, show_layer_activations, show_trainable)
    if path.suffix == ".dot":
        path.write_text(model_to_dot(model, show_shapes, show_dtype, show_layer_names, rankdir, expand_nested, dpi,
                                     False, show_layer_activations, show_trainable))
        return None
    picture = _picture(_drawing("plot_model", model, rankdir, expand_nested, shown), rankdir)
    if path.suffix == ".svg":
        path.write_text(to_svg(picture), encoding="utf-8")
    else:
        _paint(picture, path, dpi)
    return _for_notebook(path)


def model_to_dot(model: Any, show_shapes: bool = False, show_dtype: bool = False, show_layer_names: bool = True,
                 rankdir: str = "TB", expand_nested: bool = False, dpi: int = 200, subgraph: bool = False,
                 show_layer_activations: bool = False, show_trainable: bool = False, splines: str = "ortho") -> str:
    """The text that Graphviz draws a model from; `subgraph` gives a cluster to put into another graph.

    The other arguments are those of `plot_model`; `splines` says how Graphviz draws edges.
    """
    shown = _Shown(show_shapes, show_dtype, show_layer_names, show_layer_activations, show_trainable)
    drawing = _drawing("model_to_dot", model, rankdir, expand_nested, shown)
    names = {card.key: f"n{i}" for i, card in enumerate(drawing.cards())}
    edges = [f"  {names[a]} -> {names[b]} [penwidth=2];" for a, b in drawing.edges]
    if subgraph:
        return "\n".join([*_cluster(drawing, names, ""), *edges])
    head = [f"digraph {_quoted(model.name)} {{",
            f'  graph [rankdir={rankdir}, concentrate=true, dpi={dpi}, splines={splines}];',
            '  node [shape=none, margin=0, fontname="Helvetica"];']
    return "\n".join([*head, *_inside(drawing, names, "  "), *edges, "}"]) + "\n"


# ----------------------------------------------------------------------------------------- layers, cards and edges

@dataclass(frozen=True)
class _Call:
    """A layer as a model uses it, with what it receives and gives; None where that is not known."""

    layer: Layer
    inputs: Any  # a value, or several
    output: Any
    inner: tuple[_Call, ...] = ()


def _calls(model: Any, inputs: Value | None) -> tuple[list[_Call], list[tuple[int, int]]]:
    """The layers of a model and, as pairs of their places, which one reads which; a model without is one itself."""
    if isinstance(model, Functional):
        made = [_Call(c.layer, c.inputs, c.outputs, tuple(_inner(c.layer, c.inputs))) for c in model.calls_inside]
        places = {c: i for i, c in enumerate(model.calls_inside)}
        return made, [(places[s], i) for c, i in places.items() for s, _ in sources(c) if s in places]
    if not isinstance(model, Sequential):
        return [_Call(model, inputs, None if inputs is None else model(inputs))], []
    calls = []
    for layer in model.layers:
        output = None if inputs is None else layer(inputs)
        calls.append(_Call(layer, inputs, output, tuple(_inner(layer, inputs))))
        inputs = output
    return calls, [(i, i + 1) for i in range(len(calls) - 1)]


def _inner(layer: Layer, inputs: Any) -> list[_Call]:
    """The calls inside a layer that is a stack of others."""
    return _calls(layer, inputs)[0] if isinstance(layer, Sequential) else []


@dataclass(frozen=True)
class _Shown:
    """What a card says besides the class of its layer."""

    shapes: bool
    dtype: bool
    names: bool
    activations: bool
    trainable: bool


@dataclass(frozen=True)
class _Cell:
    """Text and, in bold, what it is about."""

    text: str
    bold: str = ""
    fill: str = WHITE
    colour: str = BLACK


@dataclass(frozen=True)
class _Card:
    """Rows of cells, the first one the heading."""

    key: tuple[int, ...]
    rows: tuple[tuple[_Cell, ...], ...]


@dataclass
class _Drawing:
    """The cards of a model and, in frames, those of the models inside."""

    title: str
    items: list[_Card | _Drawing] = field(default_factory=list)
    edges: list[tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)

    def cards(self) -> Iterator[_Card]:
        for item in self.items:
            yield from item.cards() if isinstance(item, _Drawing) else (item,)


def _drawing(what: str, model: Any, rankdir: str, expand_nested: bool, shown: _Shown) -> _Drawing:
    """The cards of a model and the edges between them, after checks of the arguments."""
    if not isinstance(model, Model):
        raise TypeError(f"{what} received {type(model).__name__}, expected a model.")
    if rankdir not in DIRECTIONS:
        raise ValueError(f"{what}(rankdir={rankdir!r}): expected one of {', '.join(DIRECTIONS)}.")
    if not model.built and (shown.shapes or shown.dtype):
        raise ValueError(f"{what}: the model {model.name!r} has no input shape yet, so its shapes are not known. Give "
                         "one to its first layer, call `build`, or leave out show_shapes and show_dtype.")
    inputs = symbolic_inputs(model) if model.takes is not None else None
    with tracing(Trace()):
        calls, edges = _calls(model, inputs)
    return _expanded(model.name, calls, edges, expand_nested, shown, ())


def _expanded(title: str, calls: Sequence[_Call], edges: list[tuple[int, int]], expand_nested: bool, shown: _Shown,
              path: tuple[int, ...]) -> _Drawing:
    drawing = _Drawing(title)
    ends: list[tuple[tuple[int, ...], tuple[int, ...]]] = []  # the cards that an edge to or from each call touches
    for i, call in enumerate(calls):
        key = (*path, i)
        if expand_nested and call.inner:
            chain = [(k, k + 1) for k in range(len(call.inner) - 1)]
            inner = _expanded(call.layer.name, call.inner, chain, True, shown, key)
            drawing.items.append(inner)
            drawing.edges += inner.edges
            cards = [card.key for card in inner.cards()]
            ends.append((cards[0], cards[-1]))
        else:
            drawing.items.append(_Card(key, tuple(_rows(call, shown))))
            ends.append((key, key))
    drawing.edges += [(ends[a][1], ends[b][0]) for a, b in edges]
    return drawing


def _rows(call: _Call, shown: _Shown) -> Iterator[tuple[_Cell, ...]]:
    layer, kind = call.layer, type(call.layer).__name__
    named = _Cell(f" ({kind})", layer.name, BLACK, WHITE) if shown.names else _Cell("", kind, BLACK, WHITE)
    yield (named,)
    activation = getattr(layer, "activation", None)
    if shown.activations and activation is not None:
        yield (_Cell("Activation: ", getattr(activation, "__name__", str(activation))),)
    cells = []
    if shown.shapes:
        cells += [_Cell("Input shape: ", _known(call.inputs, lambda v: str(known_shape(v)))),
                  _Cell("Output shape: ", _known(call.output, lambda v: str(known_shape(v))))]
    if shown.dtype:
        cells.append(_Cell("Output dtype: ", _known(call.output, lambda v: str(v.dtype.numpy))))
    if shown.trainable and layer.weights:
        cells.append(_Cell("", "Trainable", GREEN, WHITE) if layer.trainable else
                     _Cell("", "Non-trainable", RED, WHITE))
    if cells:
        yield tuple(cells)


def _known(values: Any, text: Callable[[Value], str]) -> str:
    if values is None:
        return "?"
    texts = [text(v) for v in flat(values)]
    return texts[0] if isinstance(values, Value) else f"[{', '.join(texts)}]"


# -------------------------------------------------------------------------------------------------------- Graphviz

def _inside(drawing: _Drawing, names: dict[tuple[int, ...], str], indent: str) -> Iterator[str]:
    for item in drawing.items:
        if isinstance(item, _Drawing):
            yield from _cluster(item, names, indent)
        else:
            yield f"{indent}{names[item.key]} [label=<{_table(item)}>];"


def _cluster(drawing: _Drawing, names: dict[tuple[int, ...], str], indent: str) -> Iterator[str]:
    yield f"{indent}subgraph {_quoted(f'cluster_{drawing.title}')} {{"
    yield f"{indent}  label={_quoted(drawing.title)}; labeljust=l; style=dashed;"
    yield from _inside(drawing, names, indent + "  ")
    yield f"{indent}}}"


def _table(card: _Card) -> str:
    columns = max(map(len, card.rows))
    rows = "".join(f"<tr>{''.join(_html(cell, columns if len(row) == 1 else 1) for cell in row)}</tr>"
                   for row in card.rows)
    return f'<table border="0" cellborder="1" cellspacing="0" cellpadding="10">{rows}</table>'


def _html(cell: _Cell, columns: int) -> str:
    text, bold = escape(cell.text), f"<b>{escape(cell.bold)}</b>"
    both = f"{bold}{text}" if cell.text.startswith(" ") else f"{text}{bold}"
    return f'<td colspan="{columns}" bgcolor="{cell.fill}"><font color="{cell.colour}">{both}</font></td>'


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


# -------------------------------------------------------------------------------------------------------- pictures

def _picture(drawing: _Drawing, rankdir: str) -> Picture:
    sizes = {card.key: _size(card) for card in drawing.cards()}
    placed = layout(sizes, drawing.edges, rankdir)
    corners = {key: (x - sizes[key][0] / 2, y - sizes[key][1] / 2) for key, (x, y) in placed.centres.items()}
    shapes: list[Box | Label | Arrow] = []
    for item in drawing.items:
        if isinstance(item, _Drawing):
            shapes += _frame(item, corners, sizes)[0]
    shapes += (Arrow(tuple(path), BLACK, 1.6) for path in placed.paths.values())
    for card in drawing.cards():
        shapes += _drawn(card, *corners[card.key], sizes[card.key][0])
    boxes = [s for s in shapes if isinstance(s, Box)]
    left, top = (min((getattr(b, a) for b in boxes), default=0.0) - MARGIN for a in "xy")
    width = max((b.x + b.width for b in boxes), default=0.0) + MARGIN - left
    height = max((b.y + b.height for b in boxes), default=0.0) + MARGIN - top
    return Picture(width, height, [s.moved(-left, -top) for s in shapes], drawing.title)


def _width(cell: _Cell, size: float) -> float:
    return width_of(cell.text + cell.bold, size) + 2 * PAD


def _size(card: _Card) -> tuple[float, float]:
    widths = [sum(_width(cell, SIZE if i else HEAD_SIZE) for cell in row) for i, row in enumerate(card.rows)]
    return max(widths), ROW * len(card.rows)


def _drawn(card: _Card, x: float, y: float, width: float) -> Iterator[Box | Label]:
    for i, row in enumerate(card.rows):
        size = SIZE if i else HEAD_SIZE
        needed = [_width(cell, size) for cell in row]
        left, spare = x, (width - sum(needed)) / len(row)
        for cell, least in zip(row, needed, strict=True):
            yield Box(left, y + i * ROW, least + spare, ROW, cell.fill, BLACK)
            yield from _lettered(cell, left + (least + spare) / 2, y + (i + 0.5) * ROW + size * 0.36, size)
            left += least + spare


def _lettered(cell: _Cell, middle: float, base: float, size: float) -> Iterator[Label]:
    """The cell's text and its bold part around a point; what starts with a blank comes second."""
    parts = [(cell.text, False), (cell.bold, True)]
    (first, first_bold), (second, second_bold) = parts[::-1] if cell.text.startswith(" ") else parts
    if not first:
        yield Label(middle, base, second, size, cell.colour, second_bold, "middle")
        return
    split = middle + (width_of(first, size) - width_of(second, size)) / 2
    blank = size / 4
    yield Label(split - blank, base, first.strip(), size, cell.colour, first_bold, "end")
    yield Label(split + blank, base, second.strip(), size, cell.colour, second_bold)


def _frame(drawing: _Drawing, corners: dict, sizes: dict) -> tuple[list[Box | Label], tuple[float, ...]]:
    """Frames around the cards of an inner model and those inside it, and the sides of the outermost."""
    shapes: list[Box | Label] = []
    sides = []
    for item in drawing.items:
        if isinstance(item, _Drawing):
            inner, around = _frame(item, corners, sizes)
            shapes += inner
        else:
            (x, y), (width, height) = corners[item.key], sizes[item.key]
            around = x, y, x + width, y + height
        sides.append(around)
    left, top = (min(s[k] for s in sides) for k in (0, 1))
    right, bottom = (max(s[k] for s in sides) for k in (2, 3))
    left, top, right, bottom = left - 8, top - 18, right + 8, bottom + 6
    width = max(right - left, width_of(drawing.title, SIZE) + 12)
    shapes.append(Box(left, top, width, bottom - top, stroke=BLACK, dashed=True))
    shapes.append(Label(left + 6, top + 12, drawing.title, SIZE))
    return shapes, (left, top, right, bottom)


def _paint(picture: Picture, path: Path, dpi: int) -> None:
    """Draw a picture with matplotlib; one of its units is a point."""
    try:
        from matplotlib.figure import Figure  # type: ignore[import-not-found]
        from matplotlib.patches import FancyBboxPatch, PathPatch, Polygon  # type: ignore[import-not-found]
        from matplotlib.path import Path as Curve  # type: ignore[import-not-found]
    except ImportError as error:
        raise ImportError(f"plot_model needs matplotlib to write {path.suffix} files: run `pip install graphc[plot]`, "
                          "or write an .svg or .dot file.") from error
    figure = Figure(figsize=(picture.width / 72, picture.height / 72), facecolor=WHITE)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, picture.width), ylim=(picture.height, 0))
    axes.axis("off")
    for order, shape in enumerate(picture.shapes):
        if isinstance(shape, Box):
            axes.add_patch(FancyBboxPatch((shape.x, shape.y), shape.width, shape.height, facecolor=shape.fill,
                                          edgecolor=shape.stroke, linestyle="--" if shape.dashed else "-", linewidth=1,
                                          boxstyle=f"round,pad=0,rounding_size={shape.radius}", zorder=order))
        elif isinstance(shape, Arrow):
            codes = [Curve.MOVETO, *[Curve.CURVE4] * (len(shape.points) - 1)]
            axes.add_patch(PathPatch(Curve(shape.points, codes), facecolor="none", edgecolor=shape.colour,
                                     linewidth=shape.width, zorder=order))
            axes.add_patch(Polygon(shape.head, color=shape.colour, linewidth=0, zorder=order))
        else:
            axes.text(shape.x, shape.y, shape.text, fontsize=shape.size, color=shape.colour, family="monospace",
                      weight="bold" if shape.bold else "normal", zorder=order, va="baseline",
                      ha={"start": "left", "middle": "center", "end": "right"}[shape.anchor])
    figure.savefig(path, dpi=dpi)


def _for_notebook(path: Path) -> Any:
    """The file as something that a notebook shows; None elsewhere."""
    if "IPython" not in sys.modules or path.suffix == ".pdf":
        return None
    from IPython import display  # type: ignore[import-not-found]

    return display.SVG(filename=str(path)) if path.suffix == ".svg" else display.Image(filename=str(path))
