"""`python -m graphc`: look at models and graphs, and run small things, from a shell."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import graphc
from graphc import commands

__all__ = ["main"]


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (--help shows how)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; the exit status: 0, 1 where what was compared differs, 2 for an error."""
    options = _parser().parse_args(argv)
    try:
        return options.run(options)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        sys.stderr.close()
        return 0
    except Exception as error:
        text = [*str(error).splitlines(), *getattr(error, "__notes__", ())]
        known = isinstance(error, graphc.ir.errors.GraphcError | ValueError | OSError | ImportError)
        kind = "" if known else f"{type(error).__name__}: "
        line = " ".join(part.strip() for part in text if part.strip(" ^"))
        print(f"graphc {options.command}: error: {kind}{line}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = _Parser("graphc", description="graphc: Keras-style models as native CPU code.")
    parser.add_argument("--version", action="version", version=f"graphc {graphc.__version__}")
    added = parser.add_subparsers(title="commands", metavar="command", dest="command", required=True)

    def command(run: Any) -> argparse.ArgumentParser:
        made = added.add_parser(run.__name__, help=run.__doc__, description=run.__doc__)
        made.set_defaults(run=run)
        return made

    def of_model(made: argparse.ArgumentParser) -> None:
        made.add_argument("model", help="FILE.keras; or FILE.py, FILE.py:NAME or MODULE:NAME: a model or a function "
                          "that makes one")

    def of_file(made: argparse.ArgumentParser, what: str) -> None:
        made.add_argument("file", help=what)
        made.add_argument("--use", action="append", default=[], metavar="MODULE",
                          help="a module or FILE.py to import first, which defines ops of its own")

    made = command(commands.run)
    made.add_argument("script", help="a Python file")
    made.add_argument("arguments", nargs=argparse.REMAINDER, help="what the script finds in sys.argv")
    of_model(command(commands.summary))
    made = command(commands.inspect)
    made.add_argument("file", help="a .keras or .h5 file, from wherever it may come")
    made = command(commands.explain)
    of_model(made)
    made.add_argument("--out", help="the page to write (default: the model's name with .html)")
    made.add_argument("--batch-size", type=_positive, default=32, help="rows of a step (default: 32)")
    made = command(commands.bench)
    of_model(made)
    made.add_argument("--batch-size", type=_positive, default=32, help="rows of a batch (default: 32)")
    made.add_argument("--seconds", type=float, default=0.5, help="how long each step is repeated (default: 0.5)")
    made = command(commands.passes)
    made.add_argument("passes", help="names with commas between them, such as simplify,fuse")
    of_file(made, "a graph's text, as a dump has it")
    made.add_argument("--diff", action="store_true", help="print what changed instead of the result")
    made.add_argument("--out", help="a file for what would be printed")
    made = command(commands.replay)
    of_file(made, "a graph, loops or LLVM IR, as a dump has them")
    made.add_argument("--by", help="rungs, with commas between them (default: all that apply)")
    made.add_argument("--size", action="append", default=[], metavar="N=32", help="the value of a symbolic size")
    made.add_argument("--seed", type=int, help="of the random arrays (default: what the file says, or 0)")
    made.add_argument("--arrays", help="an .npz file with arrays by label, instead of random ones")
    made = command(commands.cache)
    made.add_argument("action", choices=("list", "size", "clear"), help="what to do with its entries")
    command(commands.info)
    made = command(commands.digits)
    made.add_argument("--epochs", type=_positive, default=10, help="passes over the training rows (default: 10)")
    made.add_argument("--batch-size", type=_positive, default=32, help="rows in a step (default: 32)")
    made.add_argument("--seed", type=int, default=0, help="fixes weights, order and dropout (default: 0)")
    made.add_argument("--verbose", type=int, choices=(0, 1, 2), default=1, help="how much fit prints (default: 1)")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
