"""Reads of the store, shared by the readers who are at the same place."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import trio

from ..records import Batch
from ..store import LogStore

__all__ = ["History", "HistoryStatistics"]

MAX_RECENT = 64
"""Reads that are remembered, over all logs, of about 64 KiB each; the least recently used go."""


@dataclass(frozen=True, slots=True)
class HistoryStatistics:
    """Since the start: reads of the store for readers behind their window, the batches that these
    brought back, and how often another reader's read was used again instead."""

    reads: int
    batches_read: int
    reuses: int


class History:
    """Many readers of one log who fall behind its window do so together, and so do those who open a
    finished log at once. Each place is read, and its batches are framed, once for all of them."""

    def __init__(self, store: LogStore) -> None:
        self._store = store
        self._recent: OrderedDict[tuple[str, int], list[Batch]] = OrderedDict()
        # At most one for each reader that waits.
        self._under_way: dict[tuple[str, int], trio.Event] = {}
        self._reads = 0
        self._batches_read = 0
        self._reuses = 0

    async def read(self, workload_id: str, first: int, max_bytes: int) -> list[Batch]:
        """As `LogStore.read`; what was read a moment ago may lack what was appended since, and may
        still hold what retention has removed since."""
        place = (workload_id, first)
        while place in self._under_way:
            await self._under_way[place].wait()
        found = self._recent.get(place)
        if found is not None:
            self._reuses += 1
            self._recent.move_to_end(place)
            await trio.lowlevel.checkpoint()
            return found
        done = self._under_way[place] = trio.Event()
        try:
            found = await self._store.read(workload_id, first, max_bytes)
        finally:
            # Cancelled or not: one of those who wait goes on, and reads itself if need be.
            del self._under_way[place]
            done.set()
        self._reads += 1
        self._batches_read += len(found)
        if found:
            self._recent[place] = found
            if len(self._recent) > MAX_RECENT:
                self._recent.popitem(last=False)
        return found

    def statistics(self) -> HistoryStatistics:
        """Counters since the start."""
        return HistoryStatistics(self._reads, self._batches_read, self._reuses)
