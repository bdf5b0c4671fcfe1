"""The outputs of a command that copies bytes there as they are, and the notices beside them."""

from __future__ import annotations

import os
import select
from contextlib import suppress

import trio
from rich.cells import cell_len

from ..rests import MAX_REST_BYTES, rest_text
from .controls import one_line
from .row import ERASE
from .sinks import can_draw, columns_of

__all__ = ["STDERR", "STDOUT", "Tee"]

STDOUT, STDERR = 1, 2

_NAMES = {STDOUT: "standard output", STDERR: "standard error"}


class Tee:
    """Copies bytes to standard output and standard error, and prints notices on the latter.

    If an output fails, the copying there ends, and everything else goes on, as with tee(1).
    `failed`: an output has failed in another way than that its reader has gone.

    If both are one terminal, a notice would fall into a prompt or a progress bar. So it takes the
    place of that row, which is then written again below.
    """

    def __init__(self) -> None:
        self.failed = False
        self._turn = trio.Lock()
        self._shares_row = can_draw(STDOUT) and os.path.sameopenfile(STDOUT, STDERR)
        # What was copied since the last newline. Bound: 4 KiB.
        self._row = b""
        self._ended: set[int] = set()

    async def copy(self, data: bytes, descriptor: int = STDOUT) -> None:
        """Write bytes, if the output has not failed."""
        if descriptor in self._ended:
            return
        try:
            async with self._turn:
                if self._shares_row:
                    row = data.rpartition(b"\n")[2] if b"\n" in data else self._row + data
                    self._row = row[-MAX_REST_BYTES:]
                await trio.to_thread.run_sync(_write_all, descriptor, data, abandon_on_cancel=True)
        except BrokenPipeError:
            self._ended.add(descriptor)
        except OSError as error:
            self._ended.add(descriptor)
            self.failed = True
            await self.say(f"can't write {_NAMES[descriptor]}: {error.strerror}; the log goes on")

    async def say(self, what: str) -> None:
        """Print a sentence, which may quote the server, if standard error takes it."""
        notice = f"trio-logs: {one_line(what)}\n".encode()
        with suppress(OSError):
            if not self._shares_row:
                # It does not wait for the reader of standard output.
                os.write(STDERR, notice)
                return
            async with self._turn:
                data = self._beside_row(notice)
                await trio.to_thread.run_sync(_write_all, STDERR, data, abandon_on_cancel=True)

    def _beside_row(self, notice: bytes) -> bytes:
        if not self._row:
            return notice
        text = rest_text(self._row)
        if cell_len(one_line(text)) >= columns_of(STDOUT):
            # It takes more than one row.
            return b"\n" + notice
        # A bar may return the cursor at the end of each state.
        rest = b"\r" if self._row.endswith(b"\r") else b""
        return ERASE + notice + text.encode() + rest


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            # Another process that shares the output has made it non-blocking.
            select.select([], [descriptor], [])
