"""A lock for each Idempotency-Key that is in use at the moment."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

__all__ = ["KeyLocks"]


class KeyLocks:
    """Submissions with different keys do not wait for each other, so the store commits them
    together.

    Bound: one lock for each key that a task holds or waits for; `len` counts them.
    """

    def __init__(self) -> None:
        self._locks: dict[str, trio.Lock] = {}

    def __len__(self) -> int:
        return len(self._locks)

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[None]:
        """Hold the lock of that key within the block."""
        lock = self._locks.setdefault(key, trio.Lock())
        try:
            async with lock:
                yield
        finally:
            # A release hands the lock to the next waiter in the same step, so an unlocked lock has
            # no waiters. If this task was cancelled, the key may have another lock by now.
            if not lock.locked() and self._locks.get(key) is lock:
                del self._locks[key]
