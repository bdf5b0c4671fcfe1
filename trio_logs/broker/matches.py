"""The matches of a filter in one log: counts and positions, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import trio

from ..errors import WorkloadNotFoundError
from ..records import Batch, Gap, Run
from ..selection import Selection
from ..store import LogStore
from .marks import Marks
from .searches import SLICE_SECONDS, Place

__all__ = ["MatchVisitor", "Matches", "Tile"]

TILE_BYTES = 4 * 1024 * 1024
"""About how much of a log one tile is about."""

TILE_SECONDS = 1.0
"""A tile that takes longer ends earlier, since it is also a sign of progress."""

HIDDEN_LINE_BYTES = 100
"""What a line counts that is not read, since its stream or time is not asked for."""

MAX_FOUND = 50_000
"""Matches after which a slice ends: they are in memory until it has ended."""


@dataclass(frozen=True, slots=True)
class Tile:
    """Lines `first` to `last` have `count` matches; `at` are the numbers of all of them, or of 200
    that are evenly spread."""

    first: int
    last: int
    count: int
    at: Sequence[int]


class MatchVisitor:
    """Looks for the lines up to `last` that a selection admits and its filter matches, for one
    slice of time, or until it has found `enough` or looked at `size` bytes.

    Afterwards, `next` is the first line that was not looked at, and `is_exhausted` tells that there
    was no record to look at any more. `found` has the numbers of the matches.
    """

    def __init__(
        self, selection: Selection, first: int, last: int, *, enough: int = MAX_FOUND, size: int
    ) -> None:
        self._selection = selection
        self._last = last
        self._enough = enough
        self._size = size
        self._deadline = 0.0
        self.next = first
        self.size = 0
        self.found: list[int] = []
        self.is_exhausted = True

    def visit(self, run: Run | Gap, load: Callable[[], Batch | Gap]) -> bool:
        if not self._deadline:
            # The slice begins in its thread, not when the thread was asked for.
            self._deadline = perf_counter() + SLICE_SECONDS
        last = min(run.last, self._last)
        if last >= self.next:
            self._look(run, load, last)
        goes_on = (
            self.next <= self._last
            and self.size < self._size
            and len(self.found) < self._enough
            and perf_counter() < self._deadline
        )
        self.is_exhausted = goes_on
        return goes_on

    def _look(self, run: Run | Gap, load: Callable[[], Batch | Gap], last: int) -> None:
        if isinstance(run, Gap) or not self._selection.admits(run):
            if isinstance(run, Run):
                self.size += HIDDEN_LINE_BYTES * (last + 1 - max(run.first, self.next))
            self.next = last + 1
            return
        record = load()
        if isinstance(record, Batch):
            batch = record.since(max(record.first, self.next)).until(last)
            assert self._selection.filter is not None
            numbers, last = self._selection.filter.numbers_until(batch, self._deadline)
            self.found += numbers
            self.size += len(batch.data)
        self.next = last + 1


class Matches:
    """Tiles the lines that a selection asks for, up to line `head`, without a hole.

    The selection must have a filter. Bound: the matches of one slice.
    """

    def __init__(
        self, store: LogStore, place: Place, workload_id: str, selection: Selection, head: int
    ) -> None:
        self._store = store
        self._place = place
        self._workload_id = workload_id
        self._selection = selection
        self._next = selection.first
        self._last = head if selection.last is None else min(selection.last, head)
        self.count = 0

    async def next(self) -> Tile | None:
        """The next tile, or None after the last one.

        Raises StoreError, and WorkloadNotFoundError if the log was deleted. A call that is
        cancelled loses nothing but time.
        """
        if self._next > self._last:
            await trio.lowlevel.checkpoint()
            return None
        first, size, marks = self._next, 0, Marks()
        next_line = first
        end_at = trio.current_time() + TILE_SECONDS
        while next_line <= self._last and size < TILE_BYTES and trio.current_time() < end_at:
            visitor = MatchVisitor(self._selection, next_line, self._last, size=TILE_BYTES - size)
            await self._place.slice(self._workload_id, next_line, self._last, visitor)
            marks.add(visitor.found)
            size += visitor.size
            next_line = visitor.next
            if visitor.is_exhausted:
                if await self._store.log(self._workload_id) is None:
                    raise WorkloadNotFoundError(f"the workload {self._workload_id!r} was deleted")
                # The last lines are missing: retention has removed them.
                next_line = self._last + 1
        self._next = next_line
        self.count += marks.count
        return Tile(first, next_line - 1, marks.count, marks.spread())
