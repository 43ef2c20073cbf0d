"""The explorer: one HTML file that shows what the compiler made of a model. It loads nothing from anywhere."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

__all__ = ["render"]

# in the order in which they are read; together they are one script
SCRIPTS = ("dom", "data", "layout", "pane", "code", "overview", "graph", "passes", "memory", "kernels", "roofline",
           "search", "app")


def render(data: Mapping[str, Any]) -> str:
    """The text of the page for what was collected of a model, which has to be what JSON can hold.

    The data lie in the page as JSON, compressed by gzip and written in base64. The page runs no script but its own,
    whatever a name in the data says.
    """
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    content = base64.b64encode(gzip.compress(text.encode(), compresslevel=6, mtime=0)).decode()
    script = "\n".join(_part(f"{name}.js") for name in SCRIPTS)
    parts = {"title": html.escape(str(data["title"])), "digest": _digest(script), "style": _part("page.css"),
             "data": content, "script": script}
    return re.sub(r"\[\[(\w+)\]\]", lambda mark: parts[mark[1]], _part("page.html"))


@cache
def _part(name: str) -> str:
    return (files(__name__) / "page" / name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    """What names a script in a content security policy."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
