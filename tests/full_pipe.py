"""A pipe that is soon full, for tests of what happens when nobody reads it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress

__all__ = ["PAGE", "PATIENCE", "Pipe", "wait_for"]

PAGE = 4096
PATIENCE = 20.0


class Pipe:
    """A pipe that holds one page."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, PAGE)

    def close(self) -> None:
        for end in (self.reader, self.writer):
            with suppress(OSError):
                os.close(end)

    def close_reader(self) -> None:
        os.close(self.reader)

    def fill(self) -> None:
        os.write(self.writer, b"x" * PAGE)

    def rest(self) -> bytes:
        """Close the writer here, and read to the end."""
        os.close(self.writer)
        with open(self.reader, "rb", closefd=False) as reader:
            return reader.read()


def wait_for(condition: Callable[[], bool]) -> None:
    """Look again and again; the condition concerns another thread or process."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
