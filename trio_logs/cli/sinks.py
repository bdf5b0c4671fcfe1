"""Standard output and standard error: a terminal, a pipe or a file, and how to write to each."""

from __future__ import annotations

import fcntl
import os
import select
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial

import trio

from ..errors import TrioLogsError

__all__ = ["OutputError", "Sink", "can_draw", "columns_of", "has_colour", "wants_colour"]

DEFAULT_COLUMNS = 80
"""The width of a terminal that does not tell it, such as a serial line."""

PIPE_BYTES = 256 * 1024
"""Bytes that a pipe holds before a write waits, if the kernel allows a choice."""


_NAMES = {1: "standard output", 2: "standard error"}


class OutputError(TrioLogsError):
    """An output can't be written, as on a full disk. The message names it, and says why."""


def wants_colour(environ: Mapping[str, str], *, is_terminal: bool) -> bool:
    """See no-color.org and force-color.org; if both are set, NO_COLOR wins, as in Python itself."""
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return is_terminal and environ.get("TERM") != "dumb"


def has_colour(descriptor: int) -> bool:
    """Whether this output has colours."""
    return wants_colour(os.environ, is_terminal=os.isatty(descriptor))


def can_draw(descriptor: int) -> bool:
    """Whether it is a terminal in which a row can be erased."""
    return os.isatty(descriptor) and os.environ.get("TERM", "dumb") != "dumb"


def columns_of(descriptor: int) -> int:
    """The width of a terminal, in cells."""
    try:
        columns = os.get_terminal_size(descriptor).columns
    except OSError:
        # The terminal has gone: the next write says so.
        columns = 0
    return columns or DEFAULT_COLUMNS


class Sink:
    """One of the two outputs. Its reader sets the pace, and may stop reading. Use `open`."""

    def __init__(self, descriptor: int, pipe: trio.lowlevel.FdStream | None) -> None:
        self.is_terminal = os.isatty(descriptor)
        self.colour = has_colour(descriptor)
        # Asks for the width of the terminal, in cells; None if nothing can be drawn there.
        self.columns = partial(columns_of, descriptor) if can_draw(descriptor) else None
        self._descriptor = descriptor
        self._pipe = pipe
        # A write to a disk takes no time that matters.
        self._is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)

    @classmethod
    @contextmanager
    def open(cls, descriptor: int) -> Iterator[Sink]:
        """A sink for an open descriptor, which stays open."""
        pipe = None
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            # O_NONBLOCK is of the open file: opened anew, the pipe still blocks for others.
            with suppress(OSError):
                path = f"/proc/self/fd/{descriptor}"
                pipe = trio.lowlevel.FdStream(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
                if sys.platform == "linux":
                    # A larger pipe needs fewer switches to the reader; any size works.
                    fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        try:
            yield cls(descriptor, pipe)
        finally:
            if pipe is not None:
                pipe.close()

    async def write(self, data: bytes) -> None:
        """Write all bytes. Raises BrokenPipeError if the reader has gone, and OutputError."""
        if self._pipe is not None:
            try:
                await self._pipe.send_all(data)
            except trio.BrokenResourceError:
                raise BrokenPipeError from None
            return
        try:
            if self._is_file:
                self._write_all(data)
            else:
                # A terminal may be halted for hours, and Ctrl-C has to work: write in a thread.
                await trio.to_thread.run_sync(self._write_all, data, abandon_on_cancel=True)
        except BrokenPipeError:
            raise
        except OSError as error:
            name = _NAMES.get(self._descriptor, f"descriptor {self._descriptor}")
            raise OutputError(f"can't write {name}: {error.strerror}") from error

    def write_at_once(self, data: bytes) -> None:
        """Write a few bytes if they do not have to wait: the command ends."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        if data and poll.poll(0):
            with suppress(OSError):
                os.write(self._descriptor, data)

    def _write_all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    async def watch(self) -> None:
        """Raise BrokenPipeError once the reader of a pipe has gone, which a quiet log would notice
        late. Otherwise never return."""
        if self._pipe is not None:
            poll = select.poll()
            poll.register(self._pipe.fileno(), 0)
            while not poll.poll(0):
                # The write end has nothing to read: only the error wakes it.
                await trio.lowlevel.wait_readable(self._pipe.fileno())
            raise BrokenPipeError
        await trio.sleep_forever()
