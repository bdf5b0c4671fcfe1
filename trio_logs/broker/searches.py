"""Searches of stored logs: they take turns, so that they leave the CPU to live lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import trio

from ..errors import BusyError
from ..store import LogStore, Visitor

__all__ = ["SLICE_SECONDS", "Searches"]

T = TypeVar("T")

MAX_SEARCHES = 8
"""Searches of clients that look for matches at once; more are refused."""

MAX_SLICES = 2
"""Slices that run at once, each in a thread. The other searches take turns, first come first
served."""

SLICE_SECONDS = 0.008
"""The time after which the visitor of a slice stops."""


class Searches:
    """Visits of stored logs, each a slice of a search."""

    def __init__(self, store: LogStore) -> None:
        self._store = store
        self._turns = trio.CapacityLimiter(MAX_SLICES)
        self._admitted = 0

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Count a search within the block. Raises BusyError if there are too many."""
        if self._admitted >= MAX_SEARCHES:
            raise BusyError(f"{MAX_SEARCHES} searches are under way: try again later")
        self._admitted += 1
        try:
            yield
        finally:
            self._admitted -= 1

    async def call(self, function: Callable[[], T]) -> T:
        """Wait for a turn, then call a function of at most some milliseconds in a thread."""
        async with self._turns:
            return await trio.to_thread.run_sync(function, abandon_on_cancel=True)

    async def slice(
        self,
        workload_id: str,
        first: int,
        last: int,
        visitor: Visitor,
        *,
        newest_first: bool = False,
    ) -> None:
        """Wait for a turn, then visit the log as `LogStore.visit` does. Raises StoreError."""
        async with self._turns:
            await self._store.visit(workload_id, first, last, visitor, newest_first=newest_first)
