"""Standard output and standard error, shared by all logs that a command prints."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import trio

from ..client import Line
from .controls import one_line
from .row import Channel, Row
from .sinks import Sink

__all__ = ["Outputs", "SinkChannel", "trying_again"]


def trying_again(what: str) -> str:
    """The notice of a failure that may pass, which may be a sentence."""
    return f"{what.removesuffix('.')}; trying again"


class SinkChannel(Channel, Protocol):
    """A channel to one of the outputs."""

    @property
    def sink(self) -> Sink: ...


class Outputs:
    """Both outputs. One log writes at a time, from the start of a line: if another log's line has
    come in part, that line is ended first."""

    def __init__(self, stdout: Sink, stderr: Sink, *, are_one: bool) -> None:
        self.stdout = stdout
        self.stderr = stderr
        self._turn = trio.Lock()
        # On a terminal, both outputs share one row.
        row = Row(stdout.columns)
        self._rows = {stdout: row, stderr: row if are_one else Row(stderr.columns)}

    @classmethod
    @contextmanager
    def open(cls, stdout: int = 1, stderr: int = 2, *, color: str = "auto") -> Iterator[Outputs]:
        """The outputs of this process. `color` is `always`, `never`, or `auto`: where the output
        wants it."""
        with Sink.open(stdout) as out, Sink.open(stderr) as err:
            if color != "auto":
                out.colour = err.colour = color == "always"
            outputs = cls(out, err, are_one=os.path.sameopenfile(stdout, stderr))
            try:
                yield outputs
            finally:
                for sink, row in {row: (sink, row) for sink, row in outputs._rows.items()}.values():
                    sink.write_at_once(row.leave())

    @property
    def draws(self) -> bool:
        """Whether lines that have not ended can be drawn on one of the outputs at least."""
        return self.stdout.columns is not None or self.stderr.columns is not None

    async def write(self, sink: Sink, data: bytes) -> None:
        """Write whole lines."""
        async with self._turn:
            await sink.write(self._rows[sink].write(data))

    async def print(self, channel: SinkChannel, lines: Sequence[Line]) -> None:
        """Write lines of a log. The last one may be partial."""
        async with self._turn:
            await channel.sink.write(self._rows[channel.sink].print(channel, lines))

    async def show(self, channel: SinkChannel, text: str) -> None:
        """Draw a line that has not ended, if the output is a terminal. Empty text clears it."""
        async with self._turn:
            if data := self._rows[channel.sink].show(channel, text):
                await channel.sink.write(data)

    async def end(self, channel: SinkChannel) -> None:
        """The channel has ended: end its line if it is partial."""
        async with self._turn:
            if data := self._rows[channel.sink].end(channel):
                await channel.sink.write(data)

    async def notice(self, text: str) -> None:
        """Print a sentence about a log on standard error."""
        # It may quote the server.
        await self.write(self.stderr, f"trio-logs: {one_line(text)}\n".encode())

    async def tell_away(self, what: str) -> None:
        """Print that the server is away, in the client's words."""
        await self.notice(trying_again(what))
