"""Run the Python blocks of a page of text; a block ```text right after one holds what it prints.

    python pages.py page.md            run the blocks, compare
    python pages.py page.md --update   run the blocks, write what they print into the page
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from pathlib import Path

_BLOCK = re.compile(r"```python\n(?P<code>.*?)```\n(?:\n```text\n(?P<output>.*?)```\n)?", re.S)


def run_page(page: Path, update: bool = False) -> None:
    """Run the blocks in one namespace; raise AssertionError where one prints something else."""
    text, names = page.read_text(), {"__name__": "page"}

    def run(match: re.Match) -> str:
        printed = io.StringIO()
        line = text.count("\n", 0, match.start()) + 1
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * line + match["code"], str(page), "exec"), names)
        found, expected = printed.getvalue(), match["output"]
        if update:
            return f"```python\n{match['code']}```\n" + (f"\n```text\n{found}```\n" if found else "")
        assert found == (expected or ""), f"{page}:{line} prints\n{found}\ninstead of\n{expected}"
        return match[0]

    new = _BLOCK.sub(run, text)
    if new != text:
        page.write_text(new)


if __name__ == "__main__":
    run_page(Path(sys.argv[1]), "--update" in sys.argv[2:])
