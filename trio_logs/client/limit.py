"""How many lines a follower may still ask for, over all its answers; without I/O."""

from __future__ import annotations

from collections.abc import Sequence

from ..records import Gap, Reset, Stop
from .records import Line, LogRecord

__all__ = ["Limit"]


class Limit:
    """Counts whole lines up to `limit`. `filters`: the answers may hide any number.

    The parts of an over-long line count as one. After a number that did not come, the next part on
    a stream may continue its line or begin another one; it then counts as another one, so that the
    caller never gets more lines than it asks for.
    """

    def __init__(self, limit: int, *, filters: bool) -> None:
        self._limit = limit
        self._filters = filters
        self._begun = 0
        # Streams whose last line goes on in the next part.
        self._going_on: set[str] = set()
        self._newest = 0

    @property
    def left(self) -> int:
        """The limit of the next request. The rest of a line that has begun counts in it as one."""
        return self._limit - self._begun + len(self._going_on)

    def count(self, records: Sequence[LogRecord]) -> Sequence[LogRecord]:
        """Take the next records; return what the caller gets of them."""
        for record in records:
            match record:
                case Line():
                    self._count(record)
                case Gap():
                    self._going_on.clear()
                case Reset():
                    # The log starts again.
                    self._begun = 0
                    self._going_on.clear()
        if isinstance(records[-1], Stop) and self.left <= 0:
            return [*records[:-1], Stop("limit", records[-1].next)]
        return records

    def is_early(self, stop: Stop) -> bool:
        """Whether lines are still to come after this record: the log started again within an answer
        to a request for the last few lines."""
        return stop.reason == "limit" and self.left > 0

    def _count(self, line: Line) -> None:
        if self._filters and line.seq != self._newest + 1:
            self._going_on.clear()
        self._newest = line.seq
        if line.stream not in self._going_on:
            self._begun += 1
        self._going_on.discard(line.stream)
        if line.partial:
            self._going_on.add(line.stream)
