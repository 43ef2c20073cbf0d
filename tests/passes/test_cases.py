"""Text cases: tests/passes/cases/<pass>.txt holds titles, graphs and what the pass makes of them.

    == title
    graph before
    =>
    graph after, or a plan

`pytest --update` writes what the pass makes now.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from graphc.ir.graph import Graph
from graphc.ir.parser import parse
from graphc.ir.verify import verify
from graphc.passes.pipeline import PIPELINE

FOLDER = Path(__file__).parent / "cases"
PASSES = {p.__name__: p for p in PIPELINE}


def read(path):
    """The (title, before, after) of a file."""
    for part in path.read_text().split("== ")[1:]:
        title, _, graphs = part.partition("\n")
        before, _, after = graphs.partition("\n=>\n")
        yield title.strip(), before.strip(), after.strip()


CASES = [(path.stem, *case) for path in sorted(FOLDER.glob("*.txt")) for case in read(path)]


def test_every_pass_has_cases():
    assert {name for name, *_ in CASES} == set(PASSES)


@pytest.mark.parametrize(("name", "title", "before", "after"), CASES, ids=[f"{n}: {t}" for n, t, *_ in CASES])
def test_case(name, title, before, after, update):
    graph = parse(before)
    verify(graph)
    made = PASSES[name](graph)
    if isinstance(made, Graph):
        verify(made, differentiated=name == "differentiate")
    if update:
        _write(FOLDER / f"{name}.txt", title, str(graph), str(made))
    else:
        assert str(made) == after, f"{title}: if this is better, run pytest --update"


def _write(path, title, before, after):
    cases = [(t, before, after) if t == title else (t, b, a) for t, b, a in read(path)]
    path.write_text("\n\n".join(f"== {t}\n{b}\n=>\n{a}" for t, b, a in cases) + "\n")
