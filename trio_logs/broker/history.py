"""Reads of the store, shared by readers at the same place."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import trio

from ..errors import StoreError
from ..records import Batch, Gap
from ..store import LogStore

__all__ = ["READ_BYTES", "History", "HistoryStatistics", "contiguous"]

READ_BYTES = 64 * 1024
"""About how many bytes on the wire a reader gets at once, so that a reader which catches up takes
turns with others."""

READ_AHEAD = 4
"""How many pieces one read of the store brings. If each piece cost a round trip to a thread, a
reader that fell behind a log which grows at full speed would never catch up."""

MAX_RECENT = 64
"""Pieces of about 64 KiB in memory, over all logs; the least recently used go first."""


@dataclass(frozen=True, slots=True)
class HistoryStatistics:
    """Counts since the start: reads of the store for readers behind their window, the batches that
    these reads brought, and how often a piece of an earlier read served instead."""

    reads: int
    batches_read: int
    reuses: int


@dataclass(frozen=True, slots=True)
class _Piece:
    """The records that the store had at a place when the head of the log was `head`."""

    records: list[Batch | Gap]
    head: int

    def answers(self, head: int) -> bool:
        """Whether the piece is still right for this head: an empty piece may have lines by now."""
        return bool(self.records) or self.head == head


class History:
    """Reads pieces of logs. Many readers may fall behind a window together, or open a finished log
    at once. Each piece is read once for all of them, and its batches are framed once."""

    def __init__(self, store: LogStore) -> None:
        self._store = store
        # Bound: MAX_RECENT.
        self._recent: OrderedDict[tuple[str, int], _Piece] = OrderedDict()
        # Bound: one for each reader that waits.
        self._under_way: dict[tuple[str, int], trio.Event] = {}
        # Counts deletions: the result of a read that began before a deletion is not kept.
        self._forgotten = 0
        # Whether the last read of the store failed.
        self.failing = False
        self._reads = 0
        self._batches_read = 0
        self._reuses = 0

    async def read(
        self, workload_id: str, first: int, max_bytes: int, head: int
    ) -> list[Batch | Gap]:
        """A piece of the log, as from `LogStore.read`. It may come from an earlier read: then it
        may lack records appended since, and hold records that retention has removed since. `head`
        is the last line that the store is known to have. Raises StoreError."""
        place = (workload_id, first)
        while place in self._under_way:
            await self._under_way[place].wait()
        known = self._recent.get(place)
        if known is not None and known.answers(head):
            self._reuses += 1
            self._recent.move_to_end(place)
            await trio.lowlevel.checkpoint()
            return known.records
        forgotten = self._forgotten
        done = self._under_way[place] = trio.Event()
        try:
            # A reader of many logs takes less: pieces read ahead would not stay until their turns.
            ahead = READ_AHEAD if max_bytes >= READ_BYTES else 1
            records = await self._store.read(workload_id, first, ahead * max_bytes)
            self.failing = False
        except StoreError:
            self.failing = True
            raise
        finally:
            # After a cancellation or an error, too: then one of the waiting readers reads.
            del self._under_way[place]
            done.set()
        self._reads += 1
        self._batches_read += len(records)
        pieces = [_Piece(piece, head) for piece in _pieces(records, max_bytes)]
        if not pieces:
            pieces = [_Piece([], head)]
        if self._forgotten == forgotten:
            pieces = self._remember(workload_id, first, pieces)
        return pieces[0].records

    def _remember(self, workload_id: str, first: int, pieces: list[_Piece]) -> list[_Piece]:
        kept = []
        for piece in pieces:
            place = (workload_id, first)
            known = self._recent.get(place)
            if known is None or not known.answers(piece.head):
                # A known piece stays: its batches are probably framed already.
                known = self._recent[place] = piece
            self._recent.move_to_end(place)
            kept.append(known)
            if len(self._recent) > MAX_RECENT:
                self._recent.popitem(last=False)
            if piece.records:
                # A reader goes on here, even if retention has left a hole.
                first = piece.records[-1].last + 1
        return kept

    def drop(self, workload_id: str, first: int, found: list[Batch | Gap]) -> None:
        """Have the next read at this place ask the store, if a read would find just this list: it
        may be of before a failover was mended."""
        known = self._recent.get((workload_id, first))
        if known is not None and known.records is found:
            del self._recent[workload_id, first]

    def forget(self, workload_id: str | None = None) -> None:
        """Drop the pieces of a log, which was deleted; or those of all logs, after an outage in
        which the database may have failed over to a replica that lacked some."""
        self._forgotten += 1
        if workload_id is None:
            self._recent.clear()
        for place in [place for place in self._recent if place[0] == workload_id]:
            del self._recent[place]

    def statistics(self) -> HistoryStatistics:
        """Counters since the start."""
        return HistoryStatistics(self._reads, self._batches_read, self._reuses)


def _pieces(records: list[Batch | Gap], max_bytes: int) -> Iterator[list[Batch | Gap]]:
    """The records, as if each piece had been read on its own."""
    start, left = 0, max_bytes
    for stop, record in enumerate(records, 1):
        left -= record.weight
        if left <= 0 or stop == len(records):
            yield records[start:stop]
            start, left = stop, max_bytes


def contiguous(found: Sequence[Batch | Gap], line: int) -> list[Batch | Gap]:
    """The records from `line` on, up to the first hole; the first record begins at that line or
    holds it."""
    records: list[Batch | Gap] = []
    for record in found:
        if record.first > line:
            # A hole between two stored records: the next read reports it.
            break
        if isinstance(record, Gap):
            records.append(Gap(line, record.last, record.reason))
        else:
            records.append(record.since(line))
        line = record.last + 1
    return records
