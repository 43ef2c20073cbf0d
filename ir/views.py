"""Graphs to look at: as Graphviz text, as a picture, the part of one layer, the difference of two stages."""

from __future__ import annotations

import colorsys
import difflib
import textwrap
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields

from graphc.ir.drawing import Arrow, Box, Label, Picture, to_svg, width_of
from graphc.ir.graph import Graph, Value, apply, layer_of
from graphc.ir.layout import layout
from graphc.ir.op import show
from graphc.ir.ops.leaf import Constant, Dimension, Input, State
from graphc.ir.ops.movement import Broadcast
from graphc.ir.ops.structure import Gradient, Item, Kernel, Scan
from graphc.ir.printer import name_values, print_value
from graphc.ir.types import TensorType, TupleType

__all__ = ["diff", "dot", "layers", "picture", "select", "svg"]


# ------------------------------------------------------------------------------------------------------ layers

def layers(graph: Graph) -> list[str]:
    """The layers that values of a graph come from, in the order of the graph; gradients belong to their layer."""
    return list(dict.fromkeys(layer_of(o) for v in graph.values() for o in _origins(v)))


def _origins(value: Value) -> list[str]:
    """Where a value, or what a kernel holds, comes from."""
    return value.origin.split("+") if value.origin else []


def _lies_in(origin: str, layer: str) -> bool:
    """Whether values of an origin belong to a layer or to one below it; `grad(layer)` leaves the forward pass out."""
    if layer != layer_of(layer) and origin == layer_of(origin):
        return False
    return f"{layer_of(origin)}/".startswith(f"{layer_of(layer)}/")


# ------------------------------------------------------------------------------------- what a picture shows

@dataclass(frozen=True)
class Node:
    """A value, a kernel, an input, a state or a result, as it is drawn."""

    kind: str  # value, kernel, input, state or result
    name: str
    title: str
    lines: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    hint: str = ""


class _Scene:
    """The nodes of a graph and the edges between them.

    Items are left out: what reads them reads the kernel. So are numbers and their broadcasts: they stand in the
    title of what reads them.
    """

    def __init__(self, graph: Graph):
        self.names = name_values(graph)
        self.numbers: dict[Value, str] = {}
        self.nodes: dict[Hashable, Node] = {}
        self.edges: dict[tuple[Hashable, Hashable], None] = {}
        known = set(layers(graph))
        returned = set(graph.roots)
        for value in graph.values():
            number = None if value in returned else _number(value, self.numbers)
            if number is not None:
                self.numbers[value] = number
            elif not isinstance(value.op, Item):
                self.nodes[value] = self.node(value, known)
                self.edges |= dict.fromkeys((_shown(o), value) for o in value.operands if o not in self.numbers)
        results: dict[Value, list[str]] = {}
        for name, value in [*graph.outputs, *((self.names[s][1:], v) for s, v in graph.updates)]:
            results.setdefault(_shown(value), []).append(name)
        for value, (first, *others) in results.items():
            self.nodes["result", value] = Node("result", "", first, tuple(others))
            self.edges[value, ("result", value)] = None

    def node(self, value: Value, known: set[str]) -> Node:
        name, hint = self.names[value], print_value(value, self.names).splitlines()[0]
        types = value.type.items if isinstance(value.type, TupleType) else (value.type,)
        shown = [*map(str, types[:3]), *([f"and {len(types) - 3} more"] if len(types) > 3 else [])]
        if isinstance(value.op, Input | State):
            kind = "input" if isinstance(value.op, Input) else "state"
            return Node(kind, "", name[1:], tuple(shown), tuple(_owner(value.op.label, known)), f"{name}: {value.type}")
        if isinstance(value.op, Kernel | Scan):
            body = value.op.body
            counts = Counter(v.op.name for v in body.values() if not isinstance(v.op, _PLUMBING))
            inside = ", ".join(op if n == 1 else f"{n}\N{NO-BREAK SPACE}{op}" for op, n in counts.items())
            lines = textwrap.wrap(inside, 34, max_lines=4, placeholder=" ...")
            return Node("kernel", name, body.name if len(body.name) <= 34 else f"{body.name[:31]}...",
                        (*lines, *shown), tuple(_origins(value)), hint)
        title = value.op.name
        if any(o in self.numbers for o in value.operands):
            title += f"({', '.join(self.numbers.get(o, '·') for o in value.operands)})"
        said = [f.name for f in fields(value.op) if f.name not in ("shape", "dtype")]  # type: ignore[arg-type]
        attributes = ", ".join(f"{name}={show(getattr(value.op, name))}" for name in said)
        lines = [textwrap.shorten(attributes, 34, placeholder="...")] if attributes else []
        return Node("value", name, title, (*lines, *shown), tuple(_origins(value)), hint)


_PLUMBING = (Input, Constant, Dimension, Broadcast)


def _number(value: Value, numbers: dict[Value, str]) -> str | None:
    """The text of a number or of its broadcast."""
    if isinstance(value.op, Constant):
        return f"{value.op.value:.6g}"
    if isinstance(value.op, Dimension):
        return str(value.op.size)
    return numbers.get(value.operands[0]) if isinstance(value.op, Broadcast) else None


def _shown(value: Value) -> Value:
    return value.operands[0] if isinstance(value.op, Item) else value


def _owner(label: str, known: set[str]) -> list[str]:
    """The layer that a state belongs to: its weights are called `layer.name`, an optimizer's slots after those."""
    parts = label.split(".")
    paths = ("/".join(parts[:n]) for n in range(len(parts) - 1, 0, -1))
    return [next((path for path in paths if path in known), "")]


# -------------------------------------------------------------------------------------------------- Graphviz

_SHAPES = {"value": "box", "kernel": "box", "input": "ellipse", "state": "ellipse", "result": "note"}


def dot(graph: Graph) -> str:
    """The graph as Graphviz text: values as nodes, a cluster for each layer."""
    scene, colours = _Scene(graph), _Colours(graph)
    keys = {key: f"n{i}" for i, key in enumerate(scene.nodes)}
    root = _Cluster("")
    for key, node in scene.nodes.items():
        of_layer = node.kind in ("value", "kernel") and len(node.origins) == 1
        root.at(_path(node.origins[0]) if of_layer else ()).nodes.append(_dot_node(keys[key], node, colours))
    edges = [f"  {keys[a]} -> {keys[b]};" for a, b in scene.edges]
    head = ['  node [fontname="monospace", fontsize=10, style=filled, fillcolor=white];',
            '  graph [fontname="monospace", fontsize=11, style=rounded, color=gray];']
    return "\n".join([f"digraph {_quoted(graph.name)} {{", *head, *root.text("  "), *edges, "}"]) + "\n"


@dataclass
class _Cluster:
    """The values of a layer and, inside, the clusters of the layers below it."""

    path: str
    nodes: list[str] = field(default_factory=list)
    inside: dict[str, _Cluster] = field(default_factory=dict)

    def at(self, path: Sequence[str]) -> _Cluster:
        found = self
        for part in path:
            found = found.inside.setdefault(part, _Cluster(part))
        return found

    def text(self, indent: str) -> Iterator[str]:
        yield from (indent + node for node in self.nodes)
        for path, cluster in self.inside.items():
            yield f"{indent}subgraph {_quoted(f'cluster_{path}')} {{"
            yield f"{indent}  label={_quoted(path)};"
            yield from cluster.text(indent + "  ")
            yield f"{indent}}}"


def _path(origin: str) -> tuple[str, ...]:
    """The origins of the layers around a value, the outermost first: `grad(a/b)` lies in `grad(a)`."""
    layer = layer_of(origin)
    parts = layer.split("/")
    return tuple(origin.replace(layer, "/".join(parts[:n])) for n in range(1, len(parts) + 1))


def _dot_node(key: str, node: Node, colours: _Colours) -> str:
    title = f"{node.name} {node.title}".strip()
    shared = (" + ".join(node.origins),) if len(node.origins) > 1 else ()
    label = _quoted("\n".join([title, *node.lines, *shared]))
    fill = colours.fill(node.origins[0]) if node.origins else "white"
    return f"{key} [label={label}, shape={_SHAPES[node.kind]}, fillcolor={_quoted(fill)}];"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


# ---------------------------------------------------------------------------------------------------- pictures

SIZE, SMALL = 11.0, 9.5  # of titles and of the lines below them
LINE = 13.0
PAD = 7.0
MARGIN = 16.0
LEGEND_LINE = 20.0
DARK, GREY = "#1f2328", "#656d76"


class _Colours:
    """One hue for each layer; what differentiation made of it is of a deeper tone."""

    def __init__(self, graph: Graph):
        self.order = {name: i for i, name in enumerate(layers(graph))}

    def _tone(self, origin: str, light: float, strong: float) -> str:
        if layer_of(origin) not in self.order:
            return "#ffffff" if light > 0.7 else "#8c959f"
        hue = (0.58 + 0.381966 * self.order[layer_of(origin)]) % 1
        return "#" + "".join(f"{round(255 * c):02x}" for c in colorsys.hls_to_rgb(hue, light, strong))

    def fill(self, origin: str) -> str:
        return self._tone(origin, 0.92 if origin == layer_of(origin) else 0.81, 0.75)

    def stroke(self, origin: str) -> str:
        return self._tone(origin, 0.45, 0.5)


def svg(graph: Graph) -> str:
    """The graph as one standalone SVG."""
    return to_svg(picture(graph))


def picture(graph: Graph) -> Picture:
    """The graph as shapes: boxes in the colours of their layers, operands above their readers, a legend on top."""
    scene, colours = _Scene(graph), _Colours(graph)
    sizes = {key: _size(node) for key, node in scene.nodes.items()}
    placed = layout(sizes, scene.edges)
    width = max(placed.width + 2 * MARGIN, 480.0)
    shapes: list[Box | Label | Arrow] = list(_legend(graph, scene, colours, width))
    top = max((s.y for s in shapes if isinstance(s, Label)), default=0.0) + MARGIN
    left = (width - placed.width) / 2
    for path in placed.paths.values():
        shapes.append(Arrow(tuple(path)).moved(left, top))
    for key, node in scene.nodes.items():
        x, y = placed.centres[key]
        shapes += _drawn(node, left + x - sizes[key][0] / 2, top + y - sizes[key][1] / 2, sizes[key], colours)
    return Picture(width, top + placed.height + MARGIN, shapes, f"graph {graph.name}")


def _size(node: Node) -> tuple[float, float]:
    title = width_of(f"{node.title} {node.name}" if node.name else node.title, SIZE)
    return (2 * PAD + max([title, *(width_of(line, SMALL) for line in node.lines)]),
            LINE * (1 + len(node.lines)) + PAD)


def _drawn(node: Node, x: float, y: float, size: tuple[float, float], colours: _Colours) -> Iterator[Box | Label]:
    width, height = size
    middle, base = x + width / 2, y + LINE + 1
    if node.kind == "result":
        yield Box(x, y, width, height, DARK, DARK, 9.0)
        for k, line in enumerate((node.title, *node.lines)):
            yield Label(middle, base + k * LINE, line, SMALL, "#ffffff", anchor="middle")
        return
    yield from _background(node, x, y, width, height, colours)
    if node.name:
        split = middle + (width_of(node.title, SIZE) - width_of(node.name, SIZE)) / 2
        yield Label(split, base, node.title, SIZE, DARK, bold=True, anchor="end")
        yield Label(split + 5, base, node.name, SIZE, GREY)
    else:
        yield Label(middle, base, node.title, SIZE, DARK, node.kind == "input", "middle")
    for k, line in enumerate(node.lines, 1):
        yield Label(middle, base + k * LINE - 1, line, SMALL, GREY, anchor="middle")
    yield Box(x, y, width, height, "transparent", hint=node.hint)  # above the text, so that a mouse finds it


def _background(node: Node, x: float, y: float, width: float, height: float, colours: _Colours) -> Iterator[Box]:
    """One colour, or a stripe for each layer of a kernel."""
    if len(node.origins) > 1:
        stripe = width / len(node.origins)
        yield from (Box(x + k * stripe, y, stripe, height, colours.fill(o)) for k, o in enumerate(node.origins))
        yield Box(x, y, width, height, stroke=GREY)
    else:
        origin = node.origins[0] if node.origins else ""
        yield Box(x, y, width, height, colours.fill(origin), colours.stroke(origin),
                  9.0 if node.kind in ("input", "state") else 3.0)


def _legend(graph: Graph, scene: _Scene, colours: _Colours, width: float) -> Iterator[Box | Label]:
    """The graph's name and what its colours mean."""
    held = Counter(node.kind for node in scene.nodes.values())
    counts = ", ".join(f"{n} {kind}{'s' if n > 1 else ''}" for kind, n in held.items())
    y = MARGIN + SIZE
    yield Label(MARGIN, y, graph.name, SIZE + 2, DARK, bold=True)
    yield Label(MARGIN + width_of(f"{graph.name}  ", SIZE + 2), y, counts, SMALL, GREY)
    y += LEGEND_LINE
    made = {o for node in scene.nodes.values() for o in node.origins}
    x = MARGIN
    for name in layers(graph):
        shown = [o for o in (name, f"grad({name})") if o in made]
        text = f"{name} and its gradient" if len(shown) > 1 else shown[0] if shown else name
        step = 14.0 * len(shown) + 4 + width_of(text, SMALL) + 16
        if x + step > width and x > MARGIN:
            x, y = MARGIN, y + LEGEND_LINE
        for k, origin in enumerate(shown):
            yield Box(x + 14 * k, y - 9, 11, 11, colours.fill(origin), colours.stroke(origin), 2.0)
        yield Label(x + 14 * len(shown) + 4, y, text, SMALL, GREY)
        x += step


# ---------------------------------------------------------------------------------------------- one layer's part

def select(graph: Graph, layer: str) -> Graph:
    """The part of a graph that computes the values of a layer, of the layers below it, and of their gradients.

    `grad(layer)` selects the gradients only. What comes from elsewhere is an input called after its origin and op,
    what is used elsewhere or returned is an output; states and their updates stay what they are. Of a fused graph:
    the kernels that hold values of the layer. Raises ValueError where no value has that origin.
    """
    chosen: dict[Value, None] = {}
    for value in graph.values():
        inside = _shown(value) in chosen if isinstance(value.op, Item) else any(
            _lies_in(o, layer) for o in _origins(value))
        if inside:
            chosen[value] = None
    if not chosen:
        raise ValueError(f"select({layer!r}): the graph {graph.name} has no values of this layer. "
                         f"Layers: {', '.join(layers(graph)) or 'none'}.")
    return _part(graph, chosen)


def _part(graph: Graph, chosen: dict[Value, None]) -> Graph:
    """The graph that computes the chosen values from those that they read."""
    labels = _Labels(v.op.label for v in graph.values() if isinstance(v.op, Input | State))
    free = graph.constants()
    new: dict[Value, Value] = {}
    inputs: list[Value] = []
    state: list[Value] = []

    def read(value: Value) -> Value:
        if value not in new:
            if value in free:
                new[value] = apply(value.op, *map(read, value.operands), origin=value.origin)
            elif isinstance(value.op, State):
                new[value] = value
                state.append(value)
            else:
                assert isinstance(value.type, TensorType), "items are chosen together with their tuple"
                leaf = value if isinstance(value.op, Input) else apply(Input(labels.of(value), value.type), origin="")
                new[value] = leaf
                inputs.append(leaf)
        return new[value]

    for value in chosen:
        new[value] = apply(value.op, *map(read, value.operands), origin=value.origin)
    users, returned = graph.users(), dict(reversed([(v, n) for n, v in graph.outputs]))
    updates = tuple((read(s), new[v]) for s, v in graph.updates if v in chosen)
    updated = {v for _, v in graph.updates}
    outputs = [(returned.get(v) or labels.of(v), new[v]) for v in chosen
               if v in returned or (v not in updated and not users[v])
               or (v not in free and any(u not in chosen for u in users[v]))]
    return Graph(graph.name, tuple(inputs), tuple(sorted(state, key=graph.state.index)), tuple(outputs), updates)


class _Labels:
    """Names for values after their origins and ops, each given once."""

    def __init__(self, taken: Iterable[str]):
        self.taken = set(taken)

    def of(self, value: Value) -> str:
        source = _shown(value)
        op = source.op.body.name if isinstance(source.op, Kernel | Scan) else source.op.name
        layer = layer_of(value.origin).replace("/", ".")
        parts = ["grad"] * (isinstance(source.op, Gradient) or value.origin != layer_of(value.origin)) + [layer, op]
        base = ".".join(filter(None, parts))
        label, n = base, 0
        while label in self.taken:
            n += 1
            label = f"{base}_{n}"
        self.taken.add(label)
        return label


# --------------------------------------------------------------------------------------------------- differences

@dataclass(frozen=True, eq=False)
class _Line:
    """One line of a graph's text, what it says apart from numbers, and a number for what it computes."""

    text: str
    words: str
    computed: int
    operands: tuple[_Line, ...] = ()

    @property
    def around(self) -> Hashable:
        """What the line and those of its operands say."""
        return self.words, *(o.words for o in self.operands)


def diff(before: Graph, after: Graph, context: int = 2) -> str:
    """The lines that only one of the graphs has, `-` and `+`, and a few around them; '' where there are none.

    Each line has the numbers of its own graph, but they make no difference: lines are the same where they apply the
    same op to the same values, wherever they stand.
    """
    numbers: dict[Hashable, int] = {}
    old, new = _lines(before, numbers), _lines(after, numbers)
    kept = {line.computed for line in old} & {line.computed for line in new}
    pairs = list(_aligned(old, new, (lambda line: line.computed, lambda line: line.around, lambda line: line.words)))
    partner = {a: b for a, b in pairs if a and b}
    steps: list[tuple[str, str]] = []
    for a, b in pairs:
        if a and b and all(x.computed == y.computed or partner.get(x) is y
                           for x, y in zip(a.operands, b.operands, strict=True)):
            steps.append((" ", b.text))
            continue
        if a and a.computed not in kept:
            steps.append(("-", a.text))
        if b:
            steps.append((" " if b.computed in kept else "+", b.text))
    return _hunks(steps, context)


def _lines(graph: Graph, numbers: dict[Hashable, int]) -> list[_Line]:
    """The lines of a graph; equal computations have equal numbers."""
    names = name_values(graph)
    nameless: dict[Value, str] = defaultdict(lambda: "%")
    of: dict[Value, _Line] = {}

    def line(text: str, words: str, *operands: _Line) -> _Line:
        key = (words, *(o.computed for o in operands))
        return _Line(text, words, numbers.setdefault(key, len(numbers)), operands)

    for value in graph.values():
        if isinstance(value.op, Input | State):
            text = f"{value.op.name} {names[value]}: {value.type}"
            of[value] = line(text, text)
        else:
            of[value] = line(print_value(value, names), print_value(value, nameless), *(of[o] for o in value.operands))
    results = [line(f"return {name}={names[v]}", f"return {name}", of[v]) for name, v in graph.outputs]
    results += [line(f"update {names[s]}={names[v]}", f"update {names[s]}", of[v]) for s, v in graph.updates]
    head = f"graph {graph.name}"
    return [line(head, head), *of.values(), *results]


def _aligned(old: list[_Line], new: list[_Line],
             keys: Sequence[Callable[[_Line], Hashable]]) -> Iterator[tuple[_Line | None, _Line | None]]:
    """Lines with equal keys side by side, the others alone; what one key leaves over is compared by the next."""
    if not keys:
        yield from ((line, None) for line in old)
        yield from ((None, line) for line in new)
        return
    first, *others = keys
    matcher = difflib.SequenceMatcher(None, list(map(first, old)), list(map(first, new)), autojunk=False)
    for tag, i, j, k, m in matcher.get_opcodes():
        if tag == "equal":
            yield from zip(old[i:j], new[k:m], strict=True)
        else:
            yield from _aligned(old[i:j], new[k:m], others)


def _hunks(steps: list[tuple[str, str]], context: int) -> str:
    """The changed lines with those around them; dots stand for the rest."""
    near = {i + d for i, (sign, _) in enumerate(steps) if sign != " " for d in range(-context, context + 1)}
    lines: list[str] = []
    for i, (sign, text) in enumerate(steps):
        if i in near:
            if lines and i - 1 not in near:
                lines.append("...")
            shown = text.splitlines()[:1 if sign == " " else None]
            lines += (f"{sign} {line}" for line in shown)
    return "\n".join(lines)
