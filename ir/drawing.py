"""Pictures as lists of shapes, and the shapes as SVG. Lengths are points, y grows downwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from math import hypot

from graphc.ir.layout import Point

__all__ = ["Arrow", "Box", "Label", "Picture", "to_svg", "width_of"]

FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
GLYPH = 0.62  # the width of each character of these fonts, in sizes, rounded up to whole pixels
HEAD = 6.0  # the length of an arrow's head


@dataclass(frozen=True)
class Box:
    """A rectangle by its upper left corner; `hint` is shown where a mouse points at it."""

    x: float
    y: float
    width: float
    height: float
    fill: str = "none"
    stroke: str = "none"
    radius: float = 0.0
    dashed: bool = False
    hint: str = ""

    def moved(self, dx: float, dy: float) -> Box:
        return replace(self, x=self.x + dx, y=self.y + dy)


@dataclass(frozen=True)
class Label:
    """A line of text around (`middle`) or right of (`start`) a point on its base line."""

    x: float
    y: float
    text: str
    size: float
    colour: str = "#1f2328"
    bold: bool = False
    anchor: str = "start"

    def moved(self, dx: float, dy: float) -> Label:
        return replace(self, x=self.x + dx, y=self.y + dy)


@dataclass(frozen=True)
class Arrow:
    """A chain of cubic curves: a start, then two controls and an end for each; the head points at the last end."""

    points: tuple[Point, ...]
    colour: str = "#8c959f"
    width: float = 1.1

    def moved(self, dx: float, dy: float) -> Arrow:
        return replace(self, points=tuple((x + dx, y + dy) for x, y in self.points))

    @property
    def head(self) -> tuple[Point, Point, Point]:
        """The corners of the head, the tip first."""
        (cx, cy), (x, y) = self.points[-2:]
        length = hypot(x - cx, y - cy) or 1.0
        dx, dy = (x - cx) / length * HEAD, (y - cy) / length * HEAD
        return (x, y), (x - dx - dy / 2, y - dy + dx / 2), (x - dx + dy / 2, y - dy - dx / 2)


@dataclass(frozen=True)
class Picture:
    """Shapes, later ones above earlier ones, on a white page."""

    width: float
    height: float
    shapes: Sequence[Box | Label | Arrow]
    title: str


def width_of(text: str, size: float) -> float:
    """The width of a text."""
    return GLYPH * size * len(text)


def to_svg(picture: Picture) -> str:
    """One standalone SVG document."""
    w, h = _number(picture.width), _number(picture.height)
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" viewBox="0 0 {w} {h}" '
             f'font-family="{FONT}">', f"<title>{escape(picture.title)}</title>",
             f'<rect width="{w}" height="{h}" fill="#ffffff"/>', *map(_element, picture.shapes), "</svg>"]
    return "\n".join(lines) + "\n"


def _element(shape: Box | Label | Arrow) -> str:
    if isinstance(shape, Box):
        hint = f"<title>{escape(shape.hint)}</title>" if shape.hint else ""
        dashes = ' stroke-dasharray="4 3"' if shape.dashed else ""
        return (f'<rect x="{_number(shape.x)}" y="{_number(shape.y)}" width="{_number(shape.width)}" '
                f'height="{_number(shape.height)}" rx="{_number(shape.radius)}" fill="{shape.fill}" '
                f'stroke="{shape.stroke}"{dashes}>{hint}</rect>')
    if isinstance(shape, Label):
        bold = ' font-weight="bold"' if shape.bold else ""
        return (f'<text x="{_number(shape.x)}" y="{_number(shape.y)}" font-size="{_number(shape.size)}"{bold} '
                f'fill="{shape.colour}" text-anchor="{shape.anchor}" pointer-events="none" '
                f'xml:space="preserve">{escape(shape.text, quote=False)}</text>')
    start, *rest = (f"{_number(x)} {_number(y)}" for x, y in shape.points)
    tip, *corners = (f"{_number(x)} {_number(y)}" for x, y in shape.head)
    return (f'<path d="M{start}C{" ".join(rest)}" fill="none" stroke="{shape.colour}" '
            f'stroke-width="{_number(shape.width)}"/><path d="M{tip}L{" ".join(corners)}Z" fill="{shape.colour}"/>')


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
