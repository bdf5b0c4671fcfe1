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

    A window has room for several turns of its source, so a reader that is delayed for a moment goes
    on in memory. A line from the store costs twice the CPU time, so a reader that needs the store
    would stay behind.
    """

    window_bytes: int = 4 * 1024 * 1024
    windows_bytes: int = 64 * 1024 * 1024


def footprint(batch: Batch) -> int:
    """How many bytes of memory a batch may take: its data, its text frames, and the objects.

    A second format comes on top if a reader asks for it. JSON frames of lines of 100 bytes take as
    much again, and those of empty lines twice as much. Text of `\\r` alone takes three times as
    much.
    """
    return 2 * len(batch.data) + 32 * batch.count + 256


class Window:
    """A contiguous run of batches that ends at the head. Over its bound, the oldest batches go."""

    def __init__(self) -> None:
        self._batches: list[Batch] = []
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._batches)

    @property
    def first(self) -> int | None:
        """The number of the oldest line, or None if the window is empty."""
        return self._batches[0].first if self._batches else None

    def append(self, batches: Sequence[Batch]) -> int:
        """Add the batches that follow; return their footprint in bytes."""
        self._batches += batches
        added = sum(map(footprint, batches))
        self.bytes += added
        return added

    def shrink(self, max_bytes: int) -> int:
        """Forget the oldest batches until the rest takes no more than `max_bytes`; return how many
        bytes that freed."""
        before = self.bytes
        count = 0
        for batch in self._batches:
            if self.bytes <= max_bytes:
                break
            self.bytes -= footprint(batch)
            count += 1
        del self._batches[:count]
        return before - self.bytes

    def clear(self) -> None:
        """Forget all batches."""
        self._batches = []
        self.bytes = 0

    def newest_first(self) -> Iterator[Batch]:
        """All batches, the newest first."""
        return reversed(self._batches)

    def first_since(self, time: int) -> int | None:
        """The number of the first line that is not older than `time`, in microseconds since the
        Unix epoch; that of the next line if all are older. None if a line before the window may be
        the first one."""
        if not self._batches or self._batches[0].time >= time:
            return None
        # Times of a log never step back.
        index = bisect_left(self._batches, time, key=_time)
        if index == len(self._batches):
            return self._batches[-1].last + 1
        return self._batches[index].first

    def since(self, first: int) -> list[Batch]:
        """What the window has from line `first` on."""
        found = [batch for batch in self._batches if batch.last >= first]
        if found and found[0].first < first:
            # A replica may have lost a part of the lines that were appended together.
            found[0] = found[0].since(first)
        return found

    def read(self, first: int, max_bytes: int) -> list[Batch]:
        """The batches from that with line `first` on, until their weight is `max_bytes`.

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
    """The windows of all topics, which share one bound. Over it, the window that was quiet longest
    shrinks first."""

    def __init__(self, limits: BrokerLimits) -> None:
        self._limits = limits
        self.bytes = 0
        # The windows that are not empty; the window that was quiet longest is first.
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
        """Take a window out of the count: its topic is gone."""
        if window in self._by_age:
            del self._by_age[window]
            self.bytes -= window.bytes
