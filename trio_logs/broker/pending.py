"""Records that a reading has received, on their way through its selection."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TypeAlias

from ..picking import Picker
from ..records import Batch, Gap, Position, Record, Reset, Stop, Unfinished
from .group import POSITION_BYTES

__all__ = ["Found", "Pending"]

Found: TypeAlias = Record | Reset | Position | Stop | Unfinished
"""What a reading delivers."""


class Pending:
    """Holds the records of one `Subscription.receive` at most, and picks from them up to line
    `last`.

    `is_late`: a line arrived after `until`, so no later line is asked for.
    """

    def __init__(self, picker: Picker, last: int | None) -> None:
        self.picker = picker
        self.last = last
        self.is_late = False
        self._records: deque[Record] = deque()
        # Bytes of hidden lines since the last record that was delivered.
        self._hidden = 0

    def __bool__(self) -> bool:
        return bool(self._records)

    @property
    def next_line(self) -> int | None:
        """The number of the first line that was not looked at; None if no line is pending."""
        for record in self._records:
            if isinstance(record, Batch | Gap):
                return record.first
        return None

    @property
    def slow(self) -> Batch | None:
        """The first record, if its search takes too long for Trio's thread."""
        record = self._records[0] if self._records else None
        return record if isinstance(record, Batch) and not self.picker.is_quick(record) else None

    @property
    def hidden_left(self) -> int:
        """How many more bytes may be hidden before the reader gets its position."""
        return POSITION_BYTES - self._hidden

    def add(self, records: Sequence[Record]) -> None:
        """Take the records that follow."""
        self._records.extend(records)

    def drop(self) -> None:
        """Forget all records: the reading goes back to the first of them, or before it."""
        self._records.clear()
        self.is_late = False

    def pick(self) -> list[Found]:
        """The records that are asked for, up to the first that is `slow`."""
        found: list[Found] = []
        while self._records:
            record = self._records[0]
            if isinstance(record, Batch | Gap) and (self._is_over(record) or self.slow):
                break
            match record:
                case Batch():
                    found += self.settle(record.last, self.picker.pick(record), len(record.data))
                case Gap():
                    if gap := self.picker.pick_gap(record):
                        found.append(gap)
                case _:
                    found.append(record)
            self._records.popleft()
        return found

    def picked(self, picker: Picker, parts: Sequence[Batch], last: int) -> Sequence[Found]:
        """A thread has picked these parts of the batch in `slow`, and has looked at it up to line
        `last`; `picker` is the one that it used."""
        batch = self._records.popleft()
        assert isinstance(batch, Batch)
        self.picker = picker
        if last < batch.last:
            self._records.appendleft(batch.since(last + 1))
        return self.settle(last, parts, len(batch.until(last).data))

    def settle(self, line: int, found: Sequence[Batch | Gap], hidden: int) -> Sequence[Found]:
        """All lines up to `line` were looked at. `hidden` bytes came after `found`, or instead."""
        self._hidden = 0 if found else self._hidden + hidden
        if self._hidden < POSITION_BYTES:
            return found
        self._hidden = 0
        return [*found, Position(line)]

    def _is_over(self, record: Batch | Gap) -> bool:
        """Whether neither this record nor a later line is asked for, so that all lines go."""
        if self.picker.done:
            return True
        if isinstance(record, Batch) and self.picker.is_late(record):
            self.is_late = True
        elif self.last is None or record.first <= self.last:
            return False
        self._records.clear()
        return True
