"""Reads of the store, shared by the readers who are at the same place."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

import trio

from ..records import Batch
from ..store import LogStore

__all__ = ["History", "HistoryStatistics"]

READ_AHEAD = 4
"""How many pieces one read of the store brings. A reader that fell behind its window while its log
grows as fast as it can would never catch up if each piece took a way to a thread and back."""

MAX_RECENT = 64
"""Pieces that are remembered, over all logs, of about 64 KiB each; the least recently used go."""


@dataclass(frozen=True, slots=True)
class HistoryStatistics:
    """Since the start: reads of the store for readers behind their window, the batches that these
    brought back, and how often a piece of an earlier read was used instead."""

    reads: int
    batches_read: int
    reuses: int


class History:
    """Many readers of one log who fall behind its window do so together, and so do those who open a
    finished log at once. Each piece is read, and its batches are framed, once for all of them."""

    def __init__(self, store: LogStore) -> None:
        self._store = store
        self._recent: OrderedDict[tuple[str, int], list[Batch]] = OrderedDict()
        # At most one for each reader that waits.
        self._under_way: dict[tuple[str, int], trio.Event] = {}
        # How many logs were deleted: what was read of one before is not to be remembered.
        self._forgotten = 0
        self._reads = 0
        self._batches_read = 0
        self._reuses = 0

    async def read(self, workload_id: str, first: int, max_bytes: int) -> list[Batch]:
        """A piece of the log, as `LogStore.read`; what was read a moment ago may lack what was
        appended since, and may still hold what retention has removed since."""
        place = (workload_id, first)
        while place in self._under_way:
            await self._under_way[place].wait()
        found = self._recent.get(place)
        if found is not None:
            self._reuses += 1
            self._recent.move_to_end(place)
            await trio.lowlevel.checkpoint()
            return found
        forgotten = self._forgotten
        done = self._under_way[place] = trio.Event()
        try:
            batches = await self._store.read(workload_id, first, READ_AHEAD * max_bytes)
        finally:
            # Cancelled or not: one of those who wait goes on, and reads itself if need be.
            del self._under_way[place]
            done.set()
        self._reads += 1
        self._batches_read += len(batches)
        if self._forgotten != forgotten:
            return next(_pieces(batches, max_bytes), [])
        found = []
        for piece in _pieces(batches, max_bytes):
            kept = self._remember((workload_id, first), piece)
            found = found or kept
            # Where a reader goes on, also if retention left a hole there.
            first = piece[-1].last + 1
        return found

    def _remember(self, place: tuple[str, int], piece: list[Batch]) -> list[Batch]:
        # One that is there already has been framed, most likely.
        kept = self._recent.setdefault(place, piece)
        self._recent.move_to_end(place)
        if len(self._recent) > MAX_RECENT:
            self._recent.popitem(last=False)
        return kept

    def forget(self, workload_id: str) -> None:
        """Its log was deleted."""
        self._forgotten += 1
        for place in [place for place in self._recent if place[0] == workload_id]:
            del self._recent[place]

    def statistics(self) -> HistoryStatistics:
        """Counters since the start."""
        return HistoryStatistics(self._reads, self._batches_read, self._reuses)


def _pieces(batches: list[Batch], max_bytes: int) -> Iterator[list[Batch]]:
    """The batches, as if each piece had been read on its own."""
    start, left = 0, max_bytes
    for stop, batch in enumerate(batches, 1):
        left -= batch.weight
        if left <= 0 or stop == len(batches):
            yield batches[start:stop]
            start, left = stop, max_bytes
