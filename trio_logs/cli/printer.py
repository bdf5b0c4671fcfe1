"""Print the records of a log on standard output and standard error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, cast

from ..client import End, Gap, Line, LogRecord, Reset, Unfinished
from .controls import Neutralizer, is_harmless
from .objects import encode
from .outcomes import tell_end
from .outputs import Outputs
from .sinks import Sink

if TYPE_CHECKING:
    from .patterns import Pattern

__all__ = ["Look", "Printer"]

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
    """How to show lines. `raw` keeps control sequences; `json` prints objects instead; `merge`
    prints all streams on standard output. Where there are colours, what matches `pattern` has
    one."""

    timestamps: bool = False
    raw: bool = False
    json: bool = False
    pattern: Pattern | None = None
    merge: bool = False


class Printer:
    """Prints one log, with `prefix` before each line. `colour` is the SGR number of the prefix's
    colour, 31 to 36."""

    def __init__(
        self, outputs: Outputs, look: Look, workload_id: str, prefix: str = "", colour: int = 0
    ) -> None:
        self._outputs = outputs
        self._look = look
        self._workload_id = workload_id
        # What the reader knows the log by.
        self._name = prefix.removesuffix("| ").rstrip() or workload_id
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

    async def finish(self, end: End | None = None) -> None:
        """End the lines that are partial. With the end of the log, also say how its workload ended,
        unless it succeeded; among objects, `end` says that."""
        for channel in self._channels.values():
            await self._outputs.end(channel)
        if end is not None and not self._look.json and (told := tell_end(self._name, end)):
            await self._outputs.notice(told)

    async def _print_lines(self, stream: str, lines: Sequence[Line]) -> None:
        await self._outputs.print(self._channel(stream), lines)

    def _channel(self, stream: str) -> _Channel:
        if stream not in self._channels:
            outputs = self._outputs
            is_out = stream == "stdout" or self._look.merge
            sink = outputs.stdout if is_out else outputs.stderr
            self._channels[stream] = self._make(sink)
        return self._channels[stream]

    async def _print_one(self, record: LogRecord) -> None:
        match record:
            case Line():
                await self._print_lines(record.stream, [record])
            case Unfinished(stream, text):
                await self._outputs.show(self._channel(stream), text)
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

        text = matching_state(text, pattern)
        shown = self._neutralizer.line(text, partial=line.partial)
        return highlight(shown, pattern) if self.sink.colour else shown

    def draft(self, text: str) -> str:
        """A line that has not ended. It has no time yet, and leaves no colours to the next line."""
        return self._prefix + copy(self._neutralizer).line(text)

    def _head(self, line: Line) -> str:
        if not self._look.timestamps:
            return self._prefix
        if line.time != self._time:
            # Lines that arrived together share one time.
            self._time = line.time
            stamp = line.time.astimezone(UTC).isoformat(timespec="microseconds")
            self._stamp = stamp.replace("+00:00", "Z ")
        return self._prefix + self._stamp
