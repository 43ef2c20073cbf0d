"""The switches: each an environment variable, and a keyword of `graphc.config(...)`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields, replace
from functools import cache

__all__ = ["Config", "config", "current"]


@dataclass(frozen=True)
class Config:
    """How programs are compiled and run.

    backend (GRAPHC_BACKEND): `native`, or `numpy` to run every op by its NumPy reference.
    threads (GRAPHC_THREADS): threads of a step; the cores that this process may use by default.
    cpu (GRAPHC_CPU): the CPU to make code for: `host`, `x86-64-v3` (AVX2), `x86-64-v2` (SSE4), ...
    check (GRAPHC_CHECK): verify the graph after every pass, every plan, and the text of every kernel.
    cache (GRAPHC_CACHE): the folder of the compile cache, or `off`; one in the user's cache folder by default.
    perf (GRAPHC_PERF): name the compiled functions in /tmp/perf-PID.map, where Linux's perf looks for them.
    dump (GRAPHC_DUMP): a folder for files with all that the compiler makes of each program.
    trace (GRAPHC_TRACE): time every kernel; write a table and this file for Perfetto when the process ends. The
        variable may be 1, for graphc-trace.json.
    check_numerics (GRAPHC_CHECK_NUMERICS): stop at a step that gives NaN or infinity, and say where it came up first.
    """

    backend: str = "native"
    threads: int | None = None
    cpu: str = "host"
    check: bool = False
    cache: str = ""
    perf: bool = False
    dump: str = ""
    trace: str = ""
    check_numerics: bool = False

    def __post_init__(self) -> None:
        if self.backend not in ("native", "numpy"):
            raise ValueError(f"backend (GRAPHC_BACKEND) must be 'native' or 'numpy', received {self.backend!r}.")
        threads = self.threads
        if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
            raise ValueError(f"threads (GRAPHC_THREADS) must be a whole number of at least 1, received {threads!r}.")


@cache
def _from_environment() -> Config:
    get = os.environ.get
    threads = get("GRAPHC_THREADS")
    if threads is not None and not threads.isdigit():
        raise ValueError(f"GRAPHC_THREADS must be a whole number, received {threads!r}.")
    def on(name: str) -> bool:
        return (get(name) or "0") != "0"

    trace = get("GRAPHC_TRACE") or "0"
    return Config(get("GRAPHC_BACKEND") or "native", int(threads) if threads else None, get("GRAPHC_CPU") or "host",
                  on("GRAPHC_CHECK"), get("GRAPHC_CACHE") or "", on("GRAPHC_PERF"), get("GRAPHC_DUMP") or "",
                  {"0": "", "1": "graphc-trace.json"}.get(trace, trace), on("GRAPHC_CHECK_NUMERICS"))


_CURRENT: ContextVar[Config | None] = ContextVar("config", default=None)


def current() -> Config:
    """The switches in force in this thread: of the `config` around, or of the environment."""
    return _CURRENT.get() or _from_environment()


@contextmanager
def config(**changes: object) -> Iterator[Config]:
    """Change switches for the programs compiled inside: `with graphc.config(backend="numpy"): ...`.

    They hold for this thread, and not for threads that are started inside.
    """
    known = {f.name for f in fields(Config)}
    unknown = changes.keys() - known
    if unknown:
        raise ValueError(f"Unknown switch {sorted(unknown)[0]!r}. Expected one of {', '.join(sorted(known))}.")
    new = replace(current(), **changes)  # type: ignore[arg-type]
    token = _CURRENT.set(new)
    try:
        yield new
    finally:
        _CURRENT.reset(token)
