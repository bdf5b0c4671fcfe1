"""What extends a log, as its topic sees it."""

from __future__ import annotations

from typing import Protocol

__all__ = ["SETTLE_SECONDS", "Extender"]

SETTLE_SECONDS = 1.0
"""Seconds that a reader waits for an append. A store that takes longer is taken to fail."""


class Extender(Protocol):
    """What publishes a topic: a source, or a feed."""

    async def settle(self) -> None:
        """Wait, for 1 s at most, until the head is that of each record which the caller has read
        from the store before."""

    async def show(self) -> None:
        """Have the unfinished lines of the topic be current; at most some seconds."""

    async def reach(self, line: int) -> bool:
        """Wait for a line that a reader was told at another node, if the store may have it. Whether
        to call it again."""

    def fall_behind(self, lines: int) -> bool:
        """The store has only `lines` lines. Whether that is the fault of a failover, so that it is
        being mended."""
