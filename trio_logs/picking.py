"""Cuts the batches of a log to the lines that a selection asks for, without I/O."""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass, field

from .records import Batch, Gap
from .selection import LineRun, Selection, Start

__all__ = ["Limit", "Picker"]


@dataclass(slots=True)
class Limit:
    """Cuts off after the first `left` whole lines.

    The last of these lines may be an over-long one, whose parts have lines of other streams between
    them. Its other parts still pass; all other lines do not. `next` is the first number that did
    not pass; as long as none was kept back, it follows the last one that passed.
    """

    left: int
    next: int
    _is_cut: bool = False
    # The streams whose over-long line was counted and goes on.
    _open: frozenset[str] = field(default=frozenset())

    @property
    def done(self) -> bool:
        """Whether no later line can pass."""
        return not self.left and not self._open

    def take(self, run: LineRun, parts: list[Batch]) -> list[Batch]:
        """The parts of a run that pass. Give it every run, also those with no part."""
        is_counted = run.continues and run.stream in self._open
        kept = []
        for part in parts:
            # The first line continues one that was counted.
            free = 1 if is_counted and part.first == run.first else 0
            room = self.left + free
            if part.count > room:
                if not self._is_cut:
                    self.next = part.first + room
                    self._is_cut = True
                if not room:
                    break
                part = part.until(part.first + room - 1)
            self.left -= part.count - free
            kept.append(part)
            if not self._is_cut:
                self.next = part.last + 1
        if run.partial and (kept or is_counted):
            self._open |= {run.stream}
        else:
            self._open -= {run.stream}
        return kept


class Picker:
    """Picks the lines of a log that `selection` asks for, from `start` to line `last`.

    Show it the batches of the log in order. It does not look at times: `is_late` does.
    """

    def __init__(self, selection: Selection, start: Start, last: int | None) -> None:
        self._selection = selection
        self._start = start
        self._last = last
        self._limit = None
        if selection.limit is not None:
            self._limit = Limit(selection.limit, start.first)

    def copy(self) -> Picker:
        """A picker in the same state, for a search that may be cancelled."""
        copied = copy(self)
        copied._limit = copy(self._limit)
        return copied

    @property
    def done(self) -> bool:
        """Whether the limit is reached."""
        return self._limit is not None and self._limit.done

    @property
    def next(self) -> int | None:
        """Once the limit is reached, the line from which another reading goes on."""
        return self._limit.next if self._limit is not None and self._limit.done else None

    def is_late(self, run: LineRun) -> bool:
        """Whether the run arrived after `until`. Times of a log never step back, so all later runs
        did, too."""
        until = self._selection.until
        return until is not None and run.time > until

    def is_quick(self, batch: Batch) -> bool:
        """Whether `pick` of this batch is quick enough for Trio's thread."""
        found = self._selection.filter
        return found is None or found.is_quick(len(batch.data))

    def wants(self, run: LineRun) -> bool:
        """Whether the run may have lines that are asked for. If not, `skip` it."""
        return self._selection.admits(run)

    def skip(self, run: LineRun) -> None:
        """Pass over a run without its data."""
        if self._limit is not None:
            self._limit.take(run, [])

    def pick(self, batch: Batch) -> list[Batch]:
        """The parts of the batch that are asked for, in order."""
        return self.pick_until(batch, math.inf)[0]

    def pick_until(self, batch: Batch, deadline: float) -> tuple[list[Batch], int]:
        """As `pick`, and the number of the last line looked at. It is the last one of the batch, or
        the one at which `time.perf_counter` passed the deadline."""
        parts, last = self._pick(batch, deadline)
        return parts if self._limit is None else self._limit.take(batch, parts), last

    def pick_gap(self, gap: Gap) -> Gap | None:
        """The part of a gap within the range asked for."""
        last = gap.last if self._last is None else min(gap.last, self._last)
        first = max(gap.first, self._start.first)
        return Gap(first, last, gap.reason) if first <= last else None

    def _pick(self, batch: Batch, deadline: float) -> tuple[list[Batch], int]:
        if not self._selection.admits(batch):
            return [], batch.last
        cut: Batch | None = batch
        if batch.first < self._start.line:
            cut = self._start.cut(batch)
        if cut is not None and self._last is not None and cut.last > self._last:
            cut = cut.until(self._last) if cut.first <= self._last else None
        if cut is None:
            return [], batch.last
        if self._selection.filter is None:
            return [cut], batch.last
        numbers, last = self._selection.filter.numbers_until(cut, deadline)
        return cut.parts(numbers), batch.last if last == cut.last else last
