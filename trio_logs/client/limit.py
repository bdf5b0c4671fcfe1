"""How many lines a follower may still ask for, over all its answers; without I/O."""

from __future__ import annotations

from collections.abc import Sequence

from ..records import Gap, Reset, Stop
from .records import Line, LogRecord

__all__ = ["Limit"]


class Limit:
    """Counts whole lines up to `limit`. `filters`: the answers may hide any number. `hides`: they
    may hide numbers within the lines asked for, as `filters` or a stream do.

    The parts of an over-long line count as one. A request that resumes within such a line has no
    limit, since its server can't tell which lines count already; this class ends its answer. After
    a hidden number, a part that may continue its line counts as another line, so that the caller
    never gets more lines than it asks for.

    `newest` is the number of the last line that counts. `full`: all lines have come. `left_out` is
    the first number that the limit leaves out, if the rest of a line that counts is behind it.
    """

    def __init__(self, limit: int, *, filters: bool, hides: bool) -> None:
        self.newest = 0
        self.left_out: int | None = None
        self._limit = limit
        self._filters = filters
        self._hides = hides
        self._begun = 0
        # The last line that came, also if it does not count.
        self._seen = 0
        # Streams whose last line goes on in the next part.
        self._going_on: set[str] = set()
        # The server counts the lines of this answer.
        self._served = True
        self._started_again = False

    @property
    def full(self) -> bool:
        return self._begun >= self._limit and not self._going_on

    def resume(self) -> int | None:
        """The limit of the next request, if it has one."""
        self._served = not self._going_on
        self._started_again = False
        return self._limit - self._begun if self._served else None

    def count(self, records: Sequence[LogRecord]) -> Sequence[LogRecord]:
        """Take the next records; return those that the caller asked for."""
        return [record for record in records if self._take(record)]

    @property
    def ends_here(self) -> bool:
        """Whether the rest of this answer has no use."""
        return not self._served and self.full

    def is_early(self, stop: Stop) -> bool:
        """Whether lines are still to come after this record: the log started again within the
        answer to a request for the last few lines."""
        return self._started_again and stop.reason == "limit" and not self.full

    def _take(self, record: LogRecord) -> bool:
        if self.ends_here:
            return False
        match record:
            case Line():
                return self._take_line(record)
            case Gap():
                self._going_on.clear()
            case Reset():
                # The log starts again.
                self._started_again = True
                self._begun = 0
                self.left_out = None
                self._going_on.clear()
            case Stop():
                # A filter hides the rest of a line that goes on.
                self._going_on.clear()
        return True

    def _take_line(self, line: Line) -> bool:
        if self._filters and line.seq != self._seen + 1:
            self._going_on.clear()
        self._seen = line.seq
        is_begun = self._begun >= self._limit
        if line.stream not in self._going_on:
            if not self._served and is_begun:
                self.left_out = self.left_out or line.seq
                return False
            self._begun += 1
        if is_begun and not self._hides and line.seq > self.newest + 1:
            self.left_out = self.left_out or self.newest + 1
        self.newest = line.seq
        self._going_on.discard(line.stream)
        if line.partial:
            self._going_on.add(line.stream)
        return True
