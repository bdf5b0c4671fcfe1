"""The newest batches of a log, in memory, shared by all its readers."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from ..records import Batch

__all__ = ["Window", "footprint"]


def footprint(batch: Batch) -> int:
    """What a batch may take in memory, in bytes: its data, its text frames, and the objects.

    A second format, where someone asks for it, comes on top: JSON frames of lines of 100 bytes are
    as much again, those of empty lines twice. Text that is all `\\r` takes three times as much.
    """
    return 2 * len(batch.data) + 32 * batch.count + 256


class Window:
    """A contiguous run of batches that ends at the head; the oldest go when it is over its
    bound."""

    def __init__(self) -> None:
        self._batches: list[Batch] = []
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._batches)

    def append(self, batches: list[Batch]) -> int:
        """Add the batches that follow; return what they weigh."""
        self._batches += batches
        added = sum(map(footprint, batches))
        self.bytes += added
        return added

    def shrink(self, max_bytes: int) -> int:
        """Forget the oldest batches until the rest weighs no more than `max_bytes`; return what the
        forgotten ones weighed."""
        before = self.bytes
        count = 0
        for batch in self._batches:
            if self.bytes <= max_bytes:
                break
            self.bytes -= footprint(batch)
            count += 1
        del self._batches[:count]
        return before - self.bytes

    def up_to(self, last: int) -> Iterator[Batch]:
        """The batches that end with line `last` or before it, newest first."""
        return (batch for batch in reversed(self._batches) if batch.last <= last)

    def read(self, first: int, max_bytes: int) -> list[Batch]:
        """The batches from the one that holds line `first`, until they weigh `max_bytes`.

        Empty if that line is not in the window.
        """
        if not self._batches or first > self._batches[-1].last:
            return []
        index = bisect_right(self._batches, first, key=_first) - 1
        if index < 0:
            return []
        found = []
        for i in range(index, len(self._batches)):
            batch = self._batches[i]
            found.append(batch)
            max_bytes -= batch.weight
            if max_bytes <= 0:
                break
        return found


def _first(batch: Batch) -> int:
    return batch.first
