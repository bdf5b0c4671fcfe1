"""Standard output of a command that copies its input there, and the notices beside it."""

from __future__ import annotations

import os
import sys

import trio
from rich.cells import cell_len

from ..rests import MAX_REST_BYTES, rest_text
from .controls import one_line
from .row import ERASE
from .sinks import can_draw, columns_of

__all__ = ["Tee"]

STDOUT, STDERR = 1, 2


class Tee:
    """Copies bytes to standard output as they are, and prints notices on standard error.

    If both are one terminal, a notice would fall into a prompt or a progress bar. So it takes the
    place of that row, which is then written again below.
    """

    def __init__(self) -> None:
        self._turn = trio.Lock()
        self._shares_row = can_draw(STDOUT) and os.path.sameopenfile(STDOUT, STDERR)
        # What was copied since the last newline. Bound: 4 KiB.
        self._row = b""

    async def copy(self, data: bytes) -> None:
        """Write bytes. Raises BrokenPipeError."""
        async with self._turn:
            if self._shares_row:
                row = data.rpartition(b"\n")[2] if b"\n" in data else self._row + data
                self._row = row[-MAX_REST_BYTES:]
            await trio.to_thread.run_sync(_write_all, STDOUT, data, abandon_on_cancel=True)

    async def say(self, what: str) -> None:
        """Print a sentence, which may quote the server."""
        notice = f"trio-logs: {one_line(what)}\n"
        if not self._shares_row:
            # It does not wait for the reader of standard output.
            print(notice, end="", file=sys.stderr, flush=True)
            return
        async with self._turn:
            data = self._beside_row(notice.encode())
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
        data = data[os.write(descriptor, data) :]
