"""The output of a command: one pipe or terminal, read into the log."""

from __future__ import annotations

import errno
import fcntl
import math
import os
import signal
import sys
import termios
from contextlib import closing, suppress

import trio

from . import Log
from .process_group import ProcessGroup

__all__ = ["OutputReader"]

READ_BYTES = 120 * 1024
"""The bytes of one read, which are one write to the log. Lines of up to 4 KiB still make two
batches of 64 KiB of it, together with the start of a line from the previous read."""

PIPE_BYTES = 256 * 1024
"""The bytes that a pipe holds before the command blocks, if the kernel allows this size."""


class OutputReader:
    """Reads one pipe or terminal into the log. Every byte that it reads is written."""

    def __init__(self, fd: int, stream: str, other_end: int | None = None) -> None:
        """It owns both descriptors. `other_end` is that of a terminal: while it is open, the output
        has no end, even if no process has the terminal open now."""
        self._stream = stream
        self._other_end = other_end
        self._pipe = trio.lowlevel.FdStream(fd)
        self._deadline = math.inf
        self._receiving = trio.CancelScope()
        if sys.platform == "linux":
            # A larger pipe saves context switches. Without it the default size works, too.
            with suppress(OSError):
                fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def close(self) -> None:
        self.release()
        self._pipe.close()

    def release(self) -> None:
        """The command has exited: the output ends once no process has it open."""
        if self._other_end is not None:
            os.close(self._other_end)
            self._other_end = None

    def expire(self, deadline: float) -> None:
        """Set the time, of Trio's clock, until which `run` waits for the end of the file."""
        self._deadline = self._receiving.deadline = deadline

    def resize(self, columns: int, rows: int) -> int | None:
        """Change the size of the terminal. The kernel tells its foreground process group: return
        the id of that group, or None if the size was this already."""
        terminal = self._pipe.fileno()
        if termios.tcgetwinsize(terminal) == (rows, columns):
            return None
        termios.tcsetwinsize(terminal, (rows, columns))
        return os.tcgetpgrp(terminal)

    async def run(self, log: Log, group: ProcessGroup) -> None:
        """Read until the end of file or, past the deadline, until the pipe is empty."""
        with closing(log):
            while True:
                with trio.CancelScope(deadline=self._deadline) as self._receiving:
                    data = await self._receive()
                if self._receiving.cancelled_caught:
                    break
                if not data:
                    return
                await log.write(data, self._stream)
                # After a full read there is probably more: read it without a wait.
                while len(data) == READ_BYTES and trio.current_time() < self._deadline:
                    if data := self._receive_ready():
                        await log.write(data, self._stream)
            await group.send(signal.SIGKILL)
            # Bounded: a process that left the session may write on for ever.
            left = PIPE_BYTES
            while left > 0 and (data := self._receive_ready()):
                left -= len(data)
                await log.write(data, self._stream)

    async def _receive(self) -> bytes:
        try:
            return bytes(await self._pipe.receive_some(READ_BYTES))
        except trio.BrokenResourceError as error:
            # A terminal whose other end is closed reports EIO; a pipe reports the end of the file.
            if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EIO:
                return b""
            raise

    def _receive_ready(self) -> bytes:
        try:
            return os.read(self._pipe.fileno(), READ_BYTES)
        except OSError:
            return b""
