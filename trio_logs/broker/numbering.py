"""Writes of a workload to numbered batches, without I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..lines import Lines, LineSplitter
from ..records import Batch
from ..store import LogState, StreamState
from .writer import Written

__all__ = ["Numbering"]


class Numbering:
    """Splits each stream into lines and numbers them in the order of arrival; `next` is the number
    of the next line, and `time` the time of the last one."""

    def __init__(self, state: LogState) -> None:
        """Go on after the last line of the log, whose state is `state`."""
        self.next = state.lines + 1
        self.time = state.time
        self._splitters: dict[str, LineSplitter] = {}
        for stream, each in state.streams.items():
            splitter = LineSplitter(continues=each.unfinished, size=each.bytes)
            self._splitters[stream] = splitter

    def number(self, written: Sequence[Written]) -> list[Batch]:
        """The batches that become complete with these writes, in order."""
        batches: list[Batch] = []
        start = 0
        for stop in range(1, len(written) + 1):
            # Neighbouring writes to a stream become one run: cost depends on the number of batches.
            if stop < len(written) and written[stop].stream == written[start].stream:
                continue
            first = written[start]
            pieces = [item.data for item in written[start:stop]]
            runs = self._splitter(first.stream).feed(*pieces)
            self._append(runs, first.stream, first.time, batches)
            start = stop
        return batches

    def streams(self) -> dict[str, StreamState]:
        """The state of each stream after the batches so far."""
        return {
            stream: StreamState(splitter.size, splitter.continues)
            for stream, splitter in self._splitters.items()
        }

    def unfinished(self) -> dict[str, bytes]:
        """What each stream has after its last line, if it has anything."""
        return {stream: each.rest for stream, each in self._splitters.items() if each.rest}

    def rest(self, time: int) -> list[Batch]:
        """The unfinished lines, once no more writes come. `time` is in microseconds since the Unix
        epoch."""
        batches: list[Batch] = []
        for stream, splitter in self._splitters.items():
            self._append(splitter.close(), stream, time, batches)
        return batches

    def _splitter(self, stream: str) -> LineSplitter:
        if stream not in self._splitters:
            self._splitters[stream] = LineSplitter()
        return self._splitters[stream]

    def _append(self, runs: Iterable[Lines], stream: str, time: int, batches: list[Batch]) -> None:
        # The wall clock may step back. Times of a log never do, so that `since` cuts cleanly.
        self.time = max(self.time, time)
        for run in runs:
            batches.append(
                Batch(self.next, run.count, self.time, stream, run.data, run.partial, run.continues)
            )
            self.next += run.count
