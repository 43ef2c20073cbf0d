"""The command line: what each command prints, and that errors are one line with the exit status 2."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import graphc
from graphc.__main__ import main
from graphc.layers import Dense
from graphc.runtime.config import config

MODEL = """
import graphc
from graphc.layers import Dense

model = graphc.Sequential([Dense(8, activation="relu", input_shape=(5,), name="hidden"), Dense(3, name="last")])
model.compile("adam", "mse")


def untrained():
    return graphc.Sequential([Dense(2, input_shape=(4,), name="alone")])
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "some_model.py"
    path.write_text(MODEL)
    return str(path)


def error_of(capsys, *arguments):
    """The one line that a failing command prints."""
    try:
        status = main(list(arguments))
    except SystemExit as stop:
        status = stop.code
    found = capsys.readouterr().err
    assert status == 2 and found.count("\n") == 1, found
    return found


COMMANDS = ("run", "summary", "inspect", "explain", "bench", "passes", "replay", "cache", "info", "digits")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"usage: graphc {command}" in capsys.readouterr().out


def test_help_lists_the_commands(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert all(f"    {c} " in text for c in COMMANDS)


@pytest.mark.parametrize(("arguments", "words"), [
    ([], "required: command"),
    (["sumary"], "invalid choice: 'sumary'"),
    (["summary", "nowhere.py"], "There is no file 'nowhere.py'"),
    (["summary", "nothing"], "Expected FILE.py, FILE.py:NAME or MODULE:NAME"),
    (["summary", "graphc.no_such:model"], "No module named"),
    (["inspect", "nowhere.keras"], "No such file"),
    (["explain", "graphc.layers:Dense"], "no model named 'Dense'"),
    (["passes", "simplfy", "x.graph"], "There is no pass 'simplfy'. Expected some of offset,infer,"),
    (["passes", "simplify", "nowhere.graph"], "No such file"),
    (["bench", "x.py", "--batch-size", "0"], "0 is not at least 1"),
    (["cache", "sweep"], "invalid choice: 'sweep'"),
    (["replay", "nowhere.graph"], "No such file"),
])
def test_errors_are_one_line(arguments, words, capsys):
    assert words in error_of(capsys, *arguments)


def test_summary(script, capsys):
    assert main(["summary", script]) == 0
    assert "hidden (Dense)" in capsys.readouterr().out
    assert main(["summary", f"{script}:untrained"]) == 0
    assert "alone (Dense)" in capsys.readouterr().out
    assert "no model named 'other'. It has model." in error_of(capsys, "summary", f"{script}:other")


def test_bench(script, capsys):
    assert main(["bench", script, "--batch-size", "4", "--seconds", "0.01"]) == 0
    rows = [line.split()[:2] for line in capsys.readouterr().out.splitlines()[1:]]
    assert rows == [[kind, n] for n in ("1", "4") for kind in ("train", "evaluate", "predict")]


@pytest.mark.slow
def test_explain_writes_a_page(script, capsys, tmp_path):
    page = tmp_path / "page.html"
    assert main(["explain", script, "--out", str(page), "--batch-size", "2"]) == 0
    assert "train (N=2)" in capsys.readouterr().out
    assert "<html" in page.read_text()


def test_info(capsys):
    with config(cpu="x86-64-v2", threads=3, cache="off"):
        assert main(["info"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["graphc"] == graphc.__version__ and "LLVM" in lines["compiler"] and lines["cache"] == "off"
    assert lines["cpu"].startswith("x86-64-v2") and lines["threads"].startswith("3 of")


def test_cache(tmp_path, capsys):
    with config(cache=str(tmp_path / "cache")):
        model = graphc.Sequential([Dense(19, input_shape=(23,))])
        model.predict(np.ones((2, 23), np.float32), verbose=0)
        assert main(["cache", "list"]) == 0
        listed = capsys.readouterr().out
        assert "einsum" in listed and "predict_0." in listed
        assert main(["cache", "size"]) == 0
        assert capsys.readouterr().out == listed.splitlines()[-1] + "\n"
        assert main(["cache", "clear"]) == 0
        assert "removed from" in capsys.readouterr().out
        assert not list((tmp_path / "cache").iterdir())
    with config(cache="off"):
        assert "off" in error_of(capsys, "cache", "list")


def test_python_m_graphc():
    done = subprocess.run([sys.executable, "-m", "graphc", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"graphc {graphc.__version__}\n"
