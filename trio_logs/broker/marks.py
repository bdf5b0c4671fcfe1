"""Numbers of lines, of which a few are shown."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["MAX_MARKS", "Marks"]

MAX_MARKS = 200
"""How many numbers are shown at most."""

_KEPT = 64 * MAX_MARKS


class Marks:
    """Counts ascending numbers, and keeps enough of them to choose some that are evenly spread.

    Bound: about 12,800 numbers, and those of the call of `add`.
    """

    def __init__(self) -> None:
        self.count = 0
        # Of all numbers, those whose index is a multiple of the stride, and the last one.
        self._kept: list[int] = []
        self._stride = 1
        self._last = 0

    def add(self, numbers: Sequence[int]) -> None:
        """Take numbers after those so far."""
        if not numbers:
            return
        self._kept += numbers[-self.count % self._stride :: self._stride]
        self.count += len(numbers)
        self._last = numbers[-1]
        while len(self._kept) > _KEPT:
            self._kept = self._kept[::2]
            self._stride *= 2

    def spread(self) -> list[int]:
        """All numbers, or 200 of them if there are more: the first, the last, and between them at
        about equal distances in their order."""
        if self.count <= MAX_MARKS:
            return list(self._kept)
        steps = MAX_MARKS - 1
        indices = (step * (self.count - 1) // steps for step in range(steps))
        return [*(self._kept[index // self._stride] for index in indices), self._last]
