"""A broker of its own, for programs that embed it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from ..errors import StoreError
from ..store import LogStore
from ..store.memory import MemoryStore
from .broker import PATIENCE, LogBroker
from .window import BrokerLimits

__all__ = ["open_broker"]


@asynccontextmanager
async def open_broker(
    store: LogStore | None = None,
    limits: BrokerLimits | None = None,
    *,
    patience: float = PATIENCE,
) -> AsyncIterator[LogBroker]:
    """A running broker with its store, by default one in memory.

    When its block ends, though not when it raises, what was written is made durable. Then its
    subscriptions end; logs that were not closed stay open in the store. Raises StoreError if lines
    could not be stored.
    """
    store = store or MemoryStore()
    broker = LogBroker(store, limits, patience=patience)
    async with trio.open_nursery() as store_nursery:
        await store_nursery.start(store.run)
        async with trio.open_nursery() as nursery:
            await nursery.start(broker.run)
            yield broker
            await broker.flush()
            lost = broker.statistics().lines_unsaved
            broker.detach()
            nursery.cancel_scope.cancel()
        store_nursery.cancel_scope.cancel()
    if lost:
        raise StoreError(f"the store failed: {lost} lines could not be stored, and are lost")
