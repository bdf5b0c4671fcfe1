"""Print the records of a log on standard output and standard error."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, cast

import trio

from ..client import Gap, Line, LogRecord, Reset
from .controls import Neutralizer, is_harmless, one_line
from .objects import encode
from .sinks import Sink

if TYPE_CHECKING:
    from .patterns import Pattern

__all__ = ["Look", "Outputs", "Printer"]

_KIND, _TIMED_KIND = attrgetter("stream", "partial"), attrgetter("stream", "partial", "time")


GAPS = {
    "retention": "the service has trimmed its history",
    "store": "the store of the service had failed",
    "damaged": "the store of the service is damaged",
    "deleted": "the workload was deleted",
}
"""Why lines are missing, by the reason of the gap. Other reasons are shown unchanged."""

RESETS = {
    "beyond_head": "the service has lost lines that were read before",
    "not_ended": "the log has not ended yet",
}
"""Why a log starts again, by the reason of the reset, if the service gives no detail."""


@dataclass(frozen=True, slots=True)
class Look:
    """How to show lines. `raw` keeps control sequences; `json` prints objects instead. Where there
    are colours, what matches `pattern` has one."""

    timestamps: bool = False
    raw: bool = False
    json: bool = False
    pattern: Pattern | None = None


class Outputs:
    """Both outputs, shared by all logs. One log writes at a time, from the start of a line: if
    another log's line has come in part, that line is ended first."""

    def __init__(self, stdout: Sink, stderr: Sink, *, are_one: bool) -> None:
        self.stdout = stdout
        self.stderr = stderr
        self._turn = trio.Lock()
        # On a terminal, both outputs share one place.
        self._places = {stdout: 1, stderr: 1 if are_one else 2}
        # The channel whose line is not yet ended, by place.
        self._unended: dict[int, _Channel] = {}

    @classmethod
    @contextmanager
    def open(cls, stdout: int = 1, stderr: int = 2, *, color: str = "auto") -> Iterator[Outputs]:
        """The outputs of this process. `color` is `always`, `never`, or `auto`: where the output
        wants it."""
        with Sink.open(stdout) as out, Sink.open(stderr) as err:
            if color != "auto":
                out.colour = err.colour = color == "always"
            yield cls(out, err, are_one=os.path.sameopenfile(stdout, stderr))

    async def write(self, sink: Sink, data: bytes) -> None:
        """Write whole lines."""
        async with self._turn:
            if self._unended.pop(self._places[sink], None):
                data = b"\n" + data
            await sink.write(data)

    async def print(self, channel: _Channel, lines: Sequence[Line]) -> None:
        """Write lines of a log. The last one may be partial."""
        async with self._turn:
            place = self._places[channel.sink]
            unended = self._unended.pop(place, None)
            data = channel.render(lines, goes_on=unended is channel)
            if unended not in (None, channel):
                data = b"\n" + data
            if lines[-1].partial:
                self._unended[place] = channel
            await channel.sink.write(data)

    async def end(self, channel: _Channel) -> None:
        """The channel has ended: end its line if it is partial."""
        async with self._turn:
            if self._unended.get(self._places[channel.sink]) is channel:
                del self._unended[self._places[channel.sink]]
                await channel.sink.write(b"\n")

    async def notice(self, text: str) -> None:
        """Print a sentence about a log on standard error."""
        # It may quote the server.
        await self.write(self.stderr, f"trio-logs: {one_line(text)}\n".encode())

    async def tell_away(self, what: str) -> None:
        """Print that the server is away, in the client's words."""
        await self.notice(f"{what}; trying again")


class Printer:
    """Prints one log, with `prefix` before each line. `colour` is the SGR number of the prefix's
    colour, 31 to 36."""

    def __init__(
        self, outputs: Outputs, look: Look, workload_id: str, prefix: str = "", colour: int = 0
    ) -> None:
        self._outputs = outputs
        self._look = look
        self._workload_id = workload_id
        self._channels: dict[str, _Channel] = {}
        self._make: Callable[[Sink], _Channel] = lambda sink: _Channel(sink, look, prefix, colour)

    async def print(self, records: Sequence[LogRecord]) -> None:
        """Print records. Raises BrokenPipeError if the reader of the output has gone."""
        if self._look.json:
            data = encode(self._workload_id, records)
            await self._outputs.write(self._outputs.stdout, data)
            return
        if {*map(type, records)} != {Line}:
            # Control records are rare and come in small batches.
            for record in records:
                await self._print_one(record)
            return
        lines = cast(Sequence[Line], records)
        times = self._look.timestamps
        streams = {line.stream for line in lines}
        if len(streams) == 1 and not times and True not in [line.partial for line in lines]:
            # The common case needs no group object for each line.
            await self._print_lines(streams.pop(), lines)
            return
        for _, group in groupby(lines, _TIMED_KIND if times else _KIND):
            run = list(group)
            await self._print_lines(run[0].stream, run)

    async def finish(self) -> None:
        """End the lines that are partial."""
        for channel in self._channels.values():
            await self._outputs.end(channel)

    async def _print_lines(self, stream: str, lines: Sequence[Line]) -> None:
        channel = self._channels.get(stream)
        if channel is None:
            outputs = self._outputs
            sink = outputs.stdout if stream == "stdout" else outputs.stderr
            channel = self._channels[stream] = self._make(sink)
        await self._outputs.print(channel, lines)

    async def _print_one(self, record: LogRecord) -> None:
        match record:
            case Line():
                await self._print_lines(record.stream, [record])
            case Gap():
                await self._outputs.notice(_missing(record))
            case Reset(reason, detail):
                why = detail or RESETS.get(reason, reason)
                await self._outputs.notice(f"the log starts again: {why}")


def _missing(gap: Gap) -> str:
    lines = f"lines {gap.first} to {gap.last} are"
    if gap.first == gap.last:
        lines = f"line {gap.first} is"
    return f"{lines} missing: {GAPS.get(gap.reason, gap.reason)}"


class _Channel:
    """One stream of a log on its way to a sink."""

    def __init__(self, sink: Sink, look: Look, prefix: str, colour: int) -> None:
        self.sink = sink
        self._look = look
        self._time: datetime | None = None
        self._stamp = ""
        self._neutralizer = Neutralizer(colour=sink.colour)
        self._prefix = f"\x1b[{colour}m{prefix}\x1b[0m" if prefix and sink.colour else prefix

    def render(self, lines: Sequence[Line], *, goes_on: bool) -> bytes:
        """The bytes of lines that are all partial or all whole, and that share a time if times are
        shown. With `goes_on`, the first line continues the last one."""
        has_hits = self._look.pattern is not None and self.sink.colour
        is_plain = self._neutralizer.idle and not has_hits
        if not (lines[0].partial or goes_on) and is_plain:
            data = "\n".join([line.text for line in lines]).encode()
            if self._look.raw or is_harmless(data):
                if head := self._head(lines[0]).encode():
                    data = head + data.replace(b"\n", b"\n" + head)
                return data + b"\n"
        texts: list[str] = []
        for line in lines:
            if not goes_on:
                texts.append(self._head(line))
            texts.append(line.text if self._look.raw else self._shown(line))
            if not line.partial:
                texts.append("\n")
            goes_on = line.partial
        return "".join(texts).encode()

    def _shown(self, line: Line) -> str:
        text, pattern = line.text, self._look.pattern
        if pattern is None:
            return self._neutralizer.line(text, partial=line.partial)
        # Only a search has to load RE2.
        from .highlight import highlight, matching_state

        if "\r" in text:
            text = matching_state(text, pattern)
        shown = self._neutralizer.line(text, partial=line.partial)
        return highlight(shown, pattern) if self.sink.colour else shown

    def _head(self, line: Line) -> str:
        if not self._look.timestamps:
            return self._prefix
        if line.time != self._time:
            # Lines that arrived together share one time.
            self._time = line.time
            stamp = line.time.astimezone(UTC).isoformat(timespec="microseconds")
            self._stamp = stamp.replace("+00:00", "Z ")
        return self._prefix + self._stamp
