"""Standard output and standard error: what they are, and how they are written to."""

from __future__ import annotations

import fcntl
import os
import select
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import trio

__all__ = ["Sink", "wants_colour"]

PIPE_BYTES = 256 * 1024
"""What a pipe holds before we wait, where the kernel lets us choose."""


def wants_colour(environ: Mapping[str, str], *, is_terminal: bool) -> bool:
    """See no-color.org and force-color.org; if both are set, NO_COLOR wins, as in Python itself."""
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return is_terminal and environ.get("TERM") != "dumb"


class Sink:
    """One of the two. Whoever reads it sets the pace, and may stop reading for good. Use `open`."""

    def __init__(self, descriptor: int, pipe: trio.lowlevel.FdStream | None) -> None:
        self.is_terminal = os.isatty(descriptor)
        self.colour = wants_colour(os.environ, is_terminal=self.is_terminal)
        self._descriptor = descriptor
        self._pipe = pipe
        # A disk sets no pace that would matter.
        self._is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)

    @classmethod
    @contextmanager
    def open(cls, descriptor: int) -> Iterator[Sink]:
        """For what is open there; it stays open."""
        pipe = None
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            # Opened once more, it can be set not to block without being so for those who share it.
            with suppress(OSError):
                path = f"/proc/self/fd/{descriptor}"
                pipe = trio.lowlevel.FdStream(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
                if sys.platform == "linux":
                    # Fewer switches between us and the reader; the default size works too.
                    fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        try:
            yield cls(descriptor, pipe)
        finally:
            if pipe is not None:
                pipe.close()

    async def write(self, data: bytes) -> None:
        """Write all of it. Raises BrokenPipeError if nobody reads any more."""
        if self._pipe is not None:
            try:
                await self._pipe.send_all(data)
            except trio.BrokenResourceError:
                raise BrokenPipeError from None
        elif self._is_file:
            self._write_all(data)
        else:
            # In a thread: a terminal may be halted for hours, and Ctrl-C has to work meanwhile.
            await trio.to_thread.run_sync(self._write_all, data, abandon_on_cancel=True)

    def _write_all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    async def watch(self) -> None:
        """Raise BrokenPipeError once the reader of a pipe has gone, which a quiet log would not
        find out by writing. Otherwise it never returns."""
        if self._pipe is not None:
            poll = select.poll()
            poll.register(self._pipe.fileno(), 0)
            while not poll.poll(0):
                # The end that is written to has nothing to read: it wakes for the error alone.
                await trio.lowlevel.wait_readable(self._pipe.fileno())
            raise BrokenPipeError
        await trio.sleep_forever()
