"""The newest changes of workload records, in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice

from ..records import Change

__all__ = ["ChangeWindow"]

MAX_CHANGES = 1_000
MAX_BYTES = 1024 * 1024
"""The bounds of the window: of its length, and of the weight of its changes. One change may be
heavier than that."""


class ChangeWindow:
    """A run of changes without a hole, shared by all readers. A reader whose position is before the
    run has to read the store."""

    def __init__(self) -> None:
        # Bound: MAX_CHANGES, and MAX_BYTES.
        self._changes: deque[Change] = deque()
        self._bytes = 0

    def append(self, change: Change) -> None:
        """Add the newest change. After a hole in the positions, the window begins anew."""
        if self._changes and change.position != self._changes[-1].position + 1:
            self.clear()
        self._changes.append(change)
        self._bytes += change.weight
        while len(self._changes) > MAX_CHANGES or (
            self._bytes > MAX_BYTES and len(self._changes) > 1
        ):
            self._bytes -= self._changes.popleft().weight

    def clear(self) -> None:
        """Forget all changes."""
        self._changes.clear()
        self._bytes = 0

    def holds(self, position: int) -> bool:
        """Whether the window has this change."""
        changes = self._changes
        return bool(changes) and changes[0].position <= position <= changes[-1].position

    def after(self, position: int, max_bytes: int) -> Sequence[Change]:
        """The changes after a position, until their weight is `max_bytes`; none if the window lacks
        the next one."""
        if not self.holds(position + 1):
            return ()
        found: list[Change] = []
        for change in islice(self._changes, position + 1 - self._changes[0].position, None):
            found.append(change)
            max_bytes -= change.weight
            if max_bytes <= 0:
                break
        return found
