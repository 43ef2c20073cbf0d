"""Positions for drawing a directed graph without cycles in ranks, edges running one way.

Longest paths give the ranks, a long edge gets a bend in each rank that it passes, sweeps order each rank by the
barycentre of its neighbours, and coordinates are least squares: every node close to its neighbours, none too close to
the next one.
"""

from __future__ import annotations

from bisect import bisect, insort
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, TypeVar

import networkx as nx

__all__ = ["Layout", "Point", "layout"]

Node = TypeVar("Node", bound=Hashable)
Point = tuple[float, float]

NODE_GAP = 18.0  # between boxes of one rank
BEND_GAP = 10.0  # between an edge that passes and its neighbours
PORT_GAP = 12.0  # between edges that end at one box
RANK_GAP = 34.0
SWEEPS = 8
STRAIGHT = 16.0  # the weight of the straightest edges
BENDS, BENDS_PER_NODE = 1000, 2  # what is left for the longest edges: the work stays linear in the number of nodes
SMALL = 12  # nodes that lie above another one and move with it


@dataclass(frozen=True)
class Layout(Generic[Node]):
    """Where to draw: the size of the picture, the middle of each box, and each edge as a chain of cubic curves."""

    width: float
    height: float
    centres: dict[Node, Point]
    paths: dict[tuple[Node, Node], list[Point]]
    """A start, then two controls and an end for each curve. Of edges that run together the longest is whole, the
    others start where they leave it."""


def layout(sizes: Mapping[Node, tuple[float, float]], edges: Iterable[tuple[Node, Node]],
           direction: str = "TB") -> Layout[Node]:
    """Place boxes of the given widths and heights; `direction` is where edges run: TB, BT, LR or RL.

    Edges from a box to itself and those that would close a cycle aren't allowed.
    """
    across = direction in ("LR", "RL")
    boxes = [size[::-1] if across else size for size in sizes.values()]
    number = {node: i for i, node in enumerate(sizes)}
    ends = dict.fromkeys(edges)
    found = _Ranked(boxes, [(number[a], number[b]) for a, b in ends])
    width, height = found.extent

    def turned(p: Point) -> Point:
        x, y = p
        if direction in ("BT", "RL"):
            y = height - y
        return (y, x) if across else (x, y)

    centres = {node: turned((found.x[i], found.y(i))) for node, i in number.items()}
    paths = found.paths()
    return Layout(*((height, width) if across else (width, height)), centres,
                  {e: [turned(p) for p in paths[number[e[0]], number[e[1]]]] for e in ends})


class _Ranked:
    """Boxes numbered from 0 and, behind them, bends: boxes without height."""

    def __init__(self, boxes: Sequence[tuple[float, float]], edges: list[tuple[int, int]]):
        self.boxes, self.edges, self.count = list(boxes), edges, len(boxes)
        self.rank, self.pull = _ranks(self.count, edges)
        self.chains = self.bend()
        self.above: list[list[int]] = [[] for _ in self.boxes]
        self.below: list[list[int]] = [[] for _ in self.boxes]
        for a, b in dict.fromkeys(pair for chain in self.chains.values() for pair in pairwise(chain)):
            if self.rank[b] == self.rank[a] + 1:
                self.below[a].append(b)
                self.above[b].append(a)
        self.rows = self.order()
        self.x = self.columns()
        self.tops, self.heights = self.lines()

    def bend(self) -> dict[tuple[int, int], list[int]]:
        """Each edge as a chain of boxes and bends; edges from one box share their bends."""
        spans: dict[int, int] = {}
        for a, b in self.edges:
            spans[a] = max(spans.get(a, 0), self.rank[b] - self.rank[a] - 1)
        left = BENDS + BENDS_PER_NODE * self.count
        bends: dict[int, list[int]] = {}
        for a, span in sorted(spans.items(), key=lambda item: item[1]):
            left -= span
            if left < 0:
                break
            bends[a] = list(range(len(self.boxes), len(self.boxes) + span))
            self.boxes += [(0.0, 0.0)] * span
            self.rank += range(self.rank[a] + 1, self.rank[a] + 1 + span)
        return {(a, b): [a, *bends.get(a, [])[:self.rank[b] - self.rank[a] - 1], b] for a, b in self.edges}

    # ------------------------------------------------------------------------------------------------- order

    def order(self) -> list[list[int]]:
        """The boxes of each rank from left to right, with few crossings."""
        rows: list[list[int]] = [[] for _ in range(max(self.rank, default=-1) + 1)]
        flow = nx.Graph()
        flow.add_nodes_from(range(len(self.boxes)))
        flow.add_edges_from((a, b) for a, targets in enumerate(self.below) for b in targets)
        for v in nx.dfs_preorder_nodes(flow):
            rows[self.rank[v]].append(v)
        best, fewest = rows, self.crossings(rows)
        for sweep in range(SWEEPS):
            rows = self.swept(rows, downwards=sweep % 2 == 0)
            crossings = self.crossings(rows)
            if crossings < fewest:
                best, fewest = rows, crossings
        return best

    def swept(self, rows: list[list[int]], downwards: bool) -> list[list[int]]:
        """The rows with each ordered by the mean place of its neighbours in the row before."""
        neighbours = self.above if downwards else self.below
        place = {v: float(i) for row in rows for i, v in enumerate(row)}
        result = list(rows)
        for r in range(len(rows)) if downwards else reversed(range(len(rows))):
            mean = {v: sum(place[n] for n in neighbours[v]) / len(neighbours[v]) if neighbours[v] else place[v]
                    for v in rows[r]}
            result[r] = sorted(rows[r], key=mean.__getitem__)
            place.update((v, float(i)) for i, v in enumerate(result[r]))
        return result

    def crossings(self, rows: list[list[int]]) -> int:
        """How many pairs of edges between neighbouring ranks cross."""
        place = {v: i for row in rows for i, v in enumerate(row)}
        total = 0
        for row in rows:
            passed: list[int] = []
            for v in row:
                ends = [place[b] for b in self.below[v]]
                total += sum(len(passed) - bisect(passed, end) for end in ends)
                for end in ends:
                    insort(passed, end)
        return total

    # ------------------------------------------------------------------------------------------- coordinates

    def columns(self) -> list[float]:
        """The middle of each box from left to right."""
        x = [0.0] * len(self.boxes)
        offsets = [self.offsets(row) for row in self.rows]
        for row, places in zip(self.rows, offsets, strict=True):
            for v, place in zip(row, places, strict=True):
                x[v] = place
        up = [[(a, self.weight(a, v)) for a in others] for v, others in enumerate(self.above)]
        down = [[(b, self.weight(v, b)) for b in others] for v, others in enumerate(self.below)]
        both = [a + b for a, b in zip(up, down, strict=True)]
        for sweep in range(SWEEPS):
            downwards = sweep % 2 == 0
            pulls = both if sweep >= SWEEPS - 2 else up if downwards else down
            for row, places in list(zip(self.rows, offsets, strict=True))[::1 if downwards else -1]:
                wanted, weights = [], []
                for v in row:
                    moment, weight = 0.0, 0.0
                    for n, pull in pulls[v]:
                        moment += pull * x[n]
                        weight += pull
                    wanted.append(moment / weight if weight else x[v])
                    weights.append(weight or 0.1)
                for v, place in zip(row, _apart(wanted, weights, places), strict=True):
                    x[v] = place
        left = min((x[v] - self.boxes[v][0] / 2 for v in range(len(x))), default=0.0)
        return [place - left for place in x]

    def weight(self, a: int, b: int) -> float:
        """How straight an edge between neighbouring ranks should be."""
        if a >= self.count or b >= self.count:
            return STRAIGHT if a >= self.count <= b else STRAIGHT / 4
        return self.pull[a, b]

    def offsets(self, row: list[int]) -> list[float]:
        """The middles of a row's boxes where they stand as close as they may."""
        result, end = [], 0.0
        for v in row:
            gap = NODE_GAP if v < self.count else BEND_GAP
            result.append(end + gap / 2 + self.boxes[v][0] / 2)
            end += gap + self.boxes[v][0]
        return result

    def lines(self) -> tuple[list[float], list[float]]:
        """The top and the height of each rank; more room where edges go far to the side."""
        heights = [max((self.boxes[v][1] for v in row), default=0.0) for row in self.rows]
        tops, y = [], 0.0
        for row, height in zip(self.rows, heights, strict=True):
            tops.append(y)
            aside = max((abs(self.x[a] - self.x[b]) for a in row for b in self.below[a]), default=0.0)
            y += height + RANK_GAP + min(aside / 16, RANK_GAP)
        return tops, heights

    def y(self, v: int) -> float:
        return self.tops[self.rank[v]] + self.heights[self.rank[v]] / 2

    @property
    def extent(self) -> Point:
        width = max((self.x[v] + self.boxes[v][0] / 2 for v in range(len(self.x))), default=0.0)
        return width, self.tops[-1] + self.heights[-1] if self.rows else 0.0

    def paths(self) -> dict[tuple[int, int], list[Point]]:
        """Each edge from the lower side of a box to the upper side of another, past the boxes between.

        Edges that share bends are drawn once up to where they part.
        """
        arriving: dict[int, list[list[int]]] = {}
        longest: dict[int, list[int]] = {}
        for chain in self.chains.values():
            arriving.setdefault(chain[-1], []).append(chain)
            longest[chain[0]] = max(longest.get(chain[0], []), chain, key=len)
        result = {}
        for end, chains in arriving.items():
            chains.sort(key=lambda chain: self.x[chain[-2]])
            gap = min(PORT_GAP, 0.7 * self.boxes[end][0] / len(chains))
            for k, chain in enumerate(chains):
                port = self.x[end] + (k - (len(chains) - 1) / 2) * gap
                result[chain[0], end] = self.path(chain if chain is longest[chain[0]] else chain[-2:], port)
        return result

    def path(self, chain: list[int], port: float) -> list[Point]:
        start, end = chain[0], chain[-1]
        bottom = self.heights[self.rank[start]] if start >= self.count else self.boxes[start][1]
        corners = [(self.x[start], self.tops[self.rank[start]] + (self.heights[self.rank[start]] + bottom) / 2)]
        for v in chain[1:-1]:
            top = self.tops[self.rank[v]]
            corners += (self.x[v], top), (self.x[v], top + self.heights[self.rank[v]])
        corners.append((port, self.y(end) - self.boxes[end][1] / 2))
        path = corners[:1]
        for (x0, y0), (x1, y1) in pairwise(corners):
            path += (x0, (y0 + y1) / 2), (x1, (y0 + y1) / 2), (x1, y1)
        return path


def _ranks(count: int, edges: list[tuple[int, int]]) -> tuple[list[int], dict[tuple[int, int], float]]:
    """The rank of each node, and how straight each edge should be: those of long paths more than side branches.

    A node's rank is the longest way to it from the top. Where little lies above it, it moves to its first reader.
    """
    flow = nx.DiGraph()
    flow.add_nodes_from(range(count))
    flow.add_edges_from(edges)
    order = [v for generation in nx.topological_generations(flow) for v in generation]
    depth, height, above = [0] * count, [0] * count, [frozenset[int]()] * count
    for v in order:
        depth[v] = max((depth[a] + 1 for a in flow.predecessors(v)), default=0)
        cone = frozenset().union({v}, *(above[a] for a in flow.predecessors(v)))
        above[v] = cone if len(cone) <= SMALL else frozenset(range(SMALL + 1))
    rank = list(depth)
    for v in reversed(order):
        height[v] = max((height[b] + 1 for b in flow.successors(v)), default=0)
        if (flow.in_degree(v) <= 1 or len(above[v]) <= SMALL) and flow.out_degree(v):
            rank[v] = min(rank[b] for b in flow.successors(v)) - 1
    longest = max(depth, default=0)

    def pull(a: int, b: int) -> float:
        return 1 + STRAIGHT * ((depth[a] + height[b] + 1) / longest) ** 4 if depth[a] else 1  # what begins here moves

    return rank, {(a, b): pull(a, b) for a, b in edges}


def _apart(wanted: Sequence[float], weights: Sequence[float], offsets: Sequence[float]) -> list[float]:
    """The places closest to the wanted ones, in weighted squares, that are as far apart as the offsets at least."""
    pools: list[tuple[float, float, int]] = []  # mean, weight and number of boxes that stand as close as they may
    for place, weight, offset in zip(wanted, weights, offsets, strict=True):
        mean, size = place - offset, 1
        while pools and pools[-1][0] > mean:
            before, more, number = pools.pop()
            mean = (before * more + mean * weight) / (more + weight)
            weight, size = weight + more, size + number
        pools.append((mean, weight, size))
    shifts = [mean for mean, _, size in pools for _ in range(size)]
    return [shift + offset for shift, offset in zip(shifts, offsets, strict=True)]
