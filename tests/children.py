"""Forked processes that tests stop at any moment: each begins with what the test has made already."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
import traceback
from contextlib import contextmanager, suppress

import pytest

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
PATIENCE = 60  # seconds after which a process counts as one that hangs


class Child:
    """A process that runs `body(tell)`; `tell()` is heard by `hear`."""

    def __init__(self, body):
        context = multiprocessing.get_context("fork")
        self._ear, mouth = context.Pipe(duplex=False)
        self._process = context.Process(target=_run, args=(body, mouth))
        self._process.start()
        mouth.close()

    def hear(self):
        """Wait for the next word; whether there is one, and not the end of it and of all processes that it forked."""
        assert self._ear.poll(PATIENCE), "nothing was heard"
        try:
            return self._ear.recv_bytes() == b"."
        except EOFError:
            print("the process ended:", self._process.join(1) or self._process.exitcode)
            return False

    def send(self, kind, delay=0.0):
        """Send a signal after so many seconds, SIGINT to its own children as well, as a terminal does."""
        time.sleep(delay)
        (os.killpg if kind == signal.SIGINT else os.kill)(self._process.pid, kind)

    def end(self, patience=PATIENCE):
        """The exit status, once it is over."""
        self._process.join(patience)
        hangs = self._process.is_alive()
        if hangs:
            self._process.kill()
            self._process.join()
        self._ear.close()
        assert not hangs, "the process hangs"
        return self._process.exitcode


def _run(body, mouth):
    os.setpgrp()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        body(lambda: mouth.send_bytes(b"."))
    except BaseException:
        traceback.print_exc(file=sys.stderr)
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


@contextmanager
def child(body):
    """A child, killed in the end if it still runs."""
    made = Child(body)
    try:
        yield made
    finally:
        with suppress(ProcessLookupError):
            os.killpg(made._process.pid, signal.SIGKILL)
        made._process.join()
