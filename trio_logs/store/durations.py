"""A histogram of durations, in seconds."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

__all__ = ["BOUNDS", "DurationStatistics", "Durations"]

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""The upper bounds of the buckets, in seconds, each included. One more bucket has no bound. They
range from a commit into the page cache to a disk that blocks every writer."""


@dataclass(frozen=True, slots=True)
class DurationStatistics:
    """Counts by bucket since the start, and the sum of all durations in seconds.

    `counts` has one item for each bound of `BOUNDS`, and a last one for longer durations.
    """

    counts: tuple[int, ...]
    seconds: float

    @property
    def count(self) -> int:
        """The number of durations."""
        return sum(self.counts)


class Durations:
    """Counts durations by bucket. One thread may add while others read."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._seconds = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration, in seconds."""
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self._seconds += seconds

    def statistics(self) -> DurationStatistics:
        """A snapshot."""
        return DurationStatistics(tuple(self._counts), self._seconds)
