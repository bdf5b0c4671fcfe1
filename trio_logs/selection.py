"""Which lines of a log are asked for, without I/O.

`tail` counts whole lines: the parts of an over-long line count as one. Parts of an over-long line
on one stream may have lines of another stream between them, so the last N lines need not be one
range of numbers. A `Start` therefore has one line number for all streams, and an earlier one for
each stream on which the oldest of these lines began before it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from .filtering import Filter
from .records import Batch

__all__ = ["LineRun", "Selection", "Start", "Tail"]


class LineRun(Protocol):
    """What a selection looks at: a `Batch`, or a `Run`, which is a batch without its data."""

    @property
    def first(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def last(self) -> int: ...
    @property
    def time(self) -> int: ...
    @property
    def stream(self) -> str: ...
    @property
    def partial(self) -> bool: ...
    @property
    def continues(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Selection:
    """Which lines of a log are asked for: lines `first` to `last`, of those the ones from `since`
    to `until`, of those the ones of `stream`, then of `filter`, of those the last `tail`, and of
    those the first `limit`.

    Numbers and times are included. Times are microseconds since the Unix epoch. `tail` and `limit`
    count whole lines.
    """

    tail: int | None = None
    since: int | None = None
    until: int | None = None
    stream: str | None = None
    first: int = 1
    last: int | None = None
    filter: Filter | None = None
    limit: int | None = None

    @property
    def hides_lines(self) -> bool:
        """Whether lines after the start may be hidden."""
        return (
            self.stream is not None
            or self.since is not None
            or self.until is not None
            or self.filter is not None
        )

    @property
    def is_bounded(self) -> bool:
        """Whether the lines asked for may end before the log does."""
        return self.last is not None or self.until is not None or self.limit is not None

    def at_head(self, now: int) -> Selection:
        """The part that hides new lines, at this time. It is equal for readers that came at
        different times with the same filter."""
        since = self.since if self.since is not None and self.since > now else None
        return Selection(since=since, stream=self.stream, filter=self.filter)

    def admits(self, run: LineRun) -> bool:
        """Whether the lines of this run are asked for, by their time and stream."""
        return (
            (self.stream is None or run.stream == self.stream)
            and (self.since is None or run.time >= self.since)
            and (self.until is None or run.time <= self.until)
        )

    def choose(self, texts: Mapping[str, str]) -> Mapping[str, str]:
        """Those of the lines that have not ended, by stream, that are asked for. Such a line has no
        number and no time yet."""
        if self.stream is None and self.filter is None:
            return texts
        return {
            stream: text
            for stream, text in texts.items()
            if (self.stream is None or stream == self.stream)
            and (self.filter is None or self.filter.matches(text))
        }

    def chooses_quickly(self, texts: Mapping[str, str]) -> bool:
        """Whether `choose` is quick enough for Trio's thread."""
        size = sum(len(text.encode()) for text in texts.values())
        return self.filter is None or self.filter.is_quick(size)


@dataclass(frozen=True, slots=True)
class Start:
    """Where the lines asked for begin: at line `line`, and on the streams in `earlier`, whose
    first line asked for is an over-long one that began before that, at the number given there."""

    line: int
    earlier: Mapping[str, int] = field(default_factory=dict)

    @property
    def first(self) -> int:
        """The smallest line number asked for."""
        return min((self.line, *self.earlier.values()))

    def cut(self, batch: Batch) -> Batch | None:
        """The part of the batch from here on, or None if all of it is before."""
        line = self.earlier.get(batch.stream, self.line)
        if batch.last < line:
            return None
        return batch.since(max(line, batch.first))


class Tail:
    """Finds the last `count` whole lines that a selection admits.

    Feed it runs, newest first, until `feed` returns True or no run is left; then ask for `start`.
    """

    def __init__(self, selection: Selection, first: int, last: int) -> None:
        """Look among lines `first` to `last` only; the selection's `tail` must not be None."""
        assert selection.tail is not None
        self._selection = selection
        self._first = first
        self._last = last
        self._wanted = selection.tail
        self._line = last + 1
        # Streams whose oldest counted line began in an earlier run, with its first known part.
        self._unbegun: dict[str, int] = {}
        self._begun: dict[str, int] = {}
        self._oldest = last + 1

    @property
    def next(self) -> int:
        """The number of the newest line that was not fed yet."""
        return self._oldest - 1

    @property
    def done(self) -> bool:
        """Whether the runs fed so far decide where to start."""
        return (not self._wanted and not self._unbegun) or self._oldest <= self._first

    def feed(self, runs: Iterable[LineRun]) -> bool:
        """Take the runs before those fed already, newest first; return `done`. For a selection
        without a filter."""
        for run in runs:
            if self.done:
                break
            self.take(run, range(run.first, run.last + 1))
        return self.done

    def take(self, run: LineRun, numbers: Sequence[int]) -> bool:
        """Take one run, of which the filter admits the lines with these numbers, ascending; return
        `done`."""
        if run.first > self._last:
            return self.done
        self._oldest = run.first
        if self._selection.admits(run):
            if run.first < self._first or run.last > self._last:
                low = bisect_left(numbers, self._first)
                numbers = numbers[low : bisect_right(numbers, self._last)]
            self._count(run, numbers)
        return self.done

    def _count(self, run: LineRun, numbers: Sequence[int]) -> None:
        stream = run.stream
        if stream in self._unbegun and not run.partial:
            # The part before is missing, and this run is of other lines.
            self._begun[stream] = self._unbegun.pop(stream)
        if stream in self._unbegun:
            # The line before a continued one is its part, whole.
            if numbers:
                self._unbegun[stream] = numbers[0]
            if not run.continues or run.first < self._first:
                self._begun[stream] = self._unbegun.pop(stream)
        elif self._wanted and numbers:
            taken = numbers[-self._wanted :]
            self._wanted -= len(taken)
            self._line = taken[0]
            if self._line == run.first and run.continues:
                self._unbegun[stream] = self._line

    def start(self) -> Start:
        """Where the lines asked for begin.

        If no run is left before those that were fed, the earlier lines are missing. If the tail
        reaches back to them, they count as asked for, so that the reader gets a gap.
        """
        earlier = {**self._begun, **self._unbegun}
        line = self._line
        if self._wanted and self._oldest > self._first:
            # If nothing is hidden, each missing number counts as a line.
            missing = self._oldest - self._first
            if self._selection.stream is None and self._selection.filter is None:
                missing = min(missing, self._wanted)
            line = self._oldest - missing
        return Start(line, {stream: first for stream, first in earlier.items() if first < line})
