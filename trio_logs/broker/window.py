"""The newest batches of each log, in memory, shared by all readers of that log."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..records import Batch

__all__ = ["BrokerLimits", "Window", "Windows", "footprint"]


@dataclass(frozen=True, slots=True)
class BrokerLimits:
    """Bounds in bytes: of one topic's window, and of all windows together.

    A window has room for several turns of its source: a reader that is held up for a moment goes on
    in memory. From the store, a line would cost the reader twice the CPU time, so it would stay
    behind.
    """

    window_bytes: int = 4 * 1024 * 1024
    windows_bytes: int = 64 * 1024 * 1024


def footprint(batch: Batch) -> int:
    """What a batch may take in memory, in bytes: its data, its text frames, and the objects.

    A second format comes on top if a reader asks for it: JSON frames of lines of 100 bytes take
    as much again, and those of empty lines twice as much. Text of `\\r` alone takes three times as
    much.
    """
    return 2 * len(batch.data) + 32 * batch.count + 256


class Window:
    """A contiguous run of batches that ends at the head; over its bound, the oldest go."""

    def __init__(self) -> None:
        self._batches: list[Batch] = []
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._batches)

    @property
    def first(self) -> int | None:
        """The number of its oldest line, or None if it is empty."""
        return self._batches[0].first if self._batches else None

    def append(self, batches: Sequence[Batch]) -> int:
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

    def newest_first(self) -> Iterator[Batch]:
        """All batches, the newest first."""
        return reversed(self._batches)

    def first_since(self, time: int) -> int | None:
        """The number of the first line that is not older than `time`, in microseconds since the
        Unix epoch, or that of the next line; None if lines before the window may be as new."""
        if not self._batches or self._batches[0].time >= time:
            return None
        # Times of a log never step back.
        index = bisect_left(self._batches, time, key=_time)
        if index == len(self._batches):
            return self._batches[-1].last + 1
        return self._batches[index].first

    def since(self, first: int) -> list[Batch]:
        """The batches that begin at line `first` or after it."""
        return [batch for batch in self._batches if batch.first >= first]

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


def _time(batch: Batch) -> int:
    return batch.time


class Windows:
    """The windows of all topics, which share one bound: the one that was quiet longest gives
    way."""

    def __init__(self, limits: BrokerLimits) -> None:
        self._limits = limits
        self.bytes = 0
        # Those that hold something, least recently appended to first.
        self._by_age: OrderedDict[Window, None] = OrderedDict()

    def append(self, window: Window, batches: Sequence[Batch]) -> None:
        """Add batches to a window, and keep all windows within their bounds."""
        self._by_age[window] = None
        self._by_age.move_to_end(window)
        self.bytes += window.append(batches) - window.shrink(self._limits.window_bytes)
        while self.bytes > self._limits.windows_bytes:
            coldest = next(iter(self._by_age))
            excess = self.bytes - self._limits.windows_bytes
            self.bytes -= coldest.shrink(max(coldest.bytes - excess, 0))
            if not coldest:
                del self._by_age[coldest]

    def discard(self, window: Window) -> None:
        """Its topic is gone."""
        if window in self._by_age:
            del self._by_age[window]
            self.bytes -= window.bytes
