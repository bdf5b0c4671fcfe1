"""Workload records: the methods of `WorkloadStore` as writes and reads of the database."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import structlog
import trio

from ...errors import StoreError
from ...records import Change, Status, Workload
from .. import ChangePage, Retention, WorkloadPage, WorkloadQuery
from . import changes, trimming, workloads
from .database import Database, Part

__all__ = ["PostgresRecords"]

SWEEP_RETRY = 0.1, 60.0
"""Seconds from a failed removal to the next try: the first delay, and the bound of doubling."""

SWEEP_SECONDS = 60.0
"""Seconds between two looks for logs that another node has deleted, and not removed."""

_log = structlog.get_logger("trio_logs.store")


class PostgresRecords(Part):
    """See `WorkloadStore` for the methods."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._deleted = trio.Event()

    async def _keep_swept(self) -> None:
        """Remove deleted logs, in pieces: a long log would hold up the commits of all others."""
        delay, longest = SWEEP_RETRY
        while True:
            # Reset it before the look: a deletion may follow it.
            self._deleted = trio.Event()
            try:
                if await self._database.read(trimming.has_deleted):
                    while await self._database.write(trimming.sweep):
                        delay = SWEEP_RETRY[0]
            except StoreError as error:
                _log.warning("deleted logs not removed yet", error=str(error), retry_in=delay)
                await trio.sleep(delay)
                delay = min(2 * delay, longest)
                continue
            with trio.move_on_after(SWEEP_SECONDS):
                await self._deleted.wait()

    async def create(
        self, workload: Workload, *, key: str | None = None, fingerprint: bytes = b""
    ) -> None:
        await self._database.write(
            partial(workloads.create, workload=workload, key=key, fingerprint=fingerprint)
        )

    async def find_key(self, key: str) -> tuple[str, bytes] | None:
        return await self._database.read(partial(workloads.find_key, key=key))

    async def start(self, workload_id: str, started_at: int, node: str | None = None) -> None:
        await self._database.write(
            partial(workloads.start, workload_id=workload_id, started_at=started_at, node=node)
        )

    async def remember(self, workload_id: str, handle: str) -> None:
        await self._database.write(
            partial(workloads.remember, workload_id=workload_id, handle=handle)
        )

    async def workload(self, workload_id: str) -> Workload | None:
        return await self._database.read(partial(workloads.one, workload_id=workload_id))

    async def workloads(self, query: WorkloadQuery) -> WorkloadPage:
        return await self._database.read(partial(workloads.page, query=query))

    async def count(self, query: WorkloadQuery) -> dict[Status, int]:
        return await self._database.read(partial(workloads.count, query=query))

    async def expired(self, retention: Retention, limit: int) -> list[str]:
        return await self._database.read(
            partial(trimming.expired, retention=retention, limit=limit)
        )

    async def unfinished(self, after: str = "") -> list[tuple[Workload, str | None]]:
        return await self._database.read(partial(workloads.unfinished, after=after))

    async def delete(self, workload_id: str) -> None:
        await self._database.write(
            partial(workloads.delete, workload_id=workload_id),
            committed=lambda _: self._deleted.set(),
        )

    def listen(self, listener: Callable[[Change], object]) -> None:
        self._database.news.listener = listener

    async def position(self) -> int:
        return await self._database.read(changes.newest)

    async def changes(self, after: int, max_bytes: int) -> ChangePage:
        return await self._database.read(partial(changes.since, after=after, max_bytes=max_bytes))
