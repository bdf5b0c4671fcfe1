"""The store: what is written and read, and in which thread."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import trio

from ...records import Batch, Outcome, Workload
from .. import LogState, Retention, Selection, StoreStatistics, WorkloadQuery
from . import logs, workloads
from .database import Database
from .logs import Logs

__all__ = ["SQLiteStore"]


class SQLiteStore:
    """See `LogStore` for the methods. `path` is the database file; its folder must exist.

    `synchronous` is SQLite's setting: "NORMAL" survives `kill -9`, "FULL" also a power loss.
    """

    def __init__(self, path: Path, *, synchronous: Literal["NORMAL", "FULL"] = "NORMAL") -> None:
        self._logs = Logs()
        self._database = Database(path, synchronous, opened=self._logs.load)
        # What was deleted when the one before ended.
        self._database.repeat(self._logs.sweep)
        self._trimmed = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await self._database.run(task_status=task_status)

    # Workload records.

    async def create(
        self, workload: Workload, *, key: str | None = None, fingerprint: bytes = b""
    ) -> None:
        await self._database.write(
            partial(workloads.create, workload=workload, key=key, fingerprint=fingerprint)
        )

    async def find_key(self, key: str) -> tuple[str, bytes] | None:
        return await self._database.read(partial(workloads.find_key, key=key))

    async def start(self, workload_id: str, started_at: int) -> None:
        await self._database.write(
            partial(workloads.start, workload_id=workload_id, started_at=started_at)
        )

    async def remember(self, workload_id: str, handle: str) -> None:
        await self._database.write(
            partial(workloads.remember, workload_id=workload_id, handle=handle)
        )

    async def workload(self, workload_id: str) -> Workload | None:
        return await self._database.read(partial(workloads.one, workload_id=workload_id))

    async def workloads(self, query: WorkloadQuery) -> list[Workload]:
        return await self._database.read(partial(workloads.page, query=query))

    async def unfinished(self) -> list[tuple[Workload, str | None]]:
        return await self._database.read(workloads.unfinished)

    async def delete(self, workload_id: str) -> None:
        await self._database.write(partial(workloads.hide, workload_id=workload_id))
        # In pieces: a long log would hold up the commits of all others.
        self._database.repeat(self._logs.sweep)

    # Logs.

    async def log(self, workload_id: str) -> LogState | None:
        return await self._database.read(partial(logs.state, workload_id=workload_id))

    async def append(
        self,
        workload_id: str,
        batches: Sequence[Batch],
        *,
        outcome: Outcome | None = None,
        finished_at: int = 0,
    ) -> None:
        await self._database.write(
            partial(
                self._logs.append,
                workload_id=workload_id,
                batches=batches,
                outcome=outcome,
                finished_at=finished_at,
            )
        )

    async def read(self, workload_id: str, first: int, max_bytes: int) -> list[Batch]:
        return await self._database.read(
            partial(logs.read, workload_id=workload_id, first=first, max_bytes=max_bytes)
        )

    async def seek(self, workload_id: str, selection: Selection, head: int) -> int:
        return await self._database.read(
            partial(logs.seek, workload_id=workload_id, selection=selection, head=head)
        )

    async def trim(self, retention: Retention) -> int:
        removed = await self._database.write(partial(self._logs.trim, retention=retention))
        self._trimmed += removed
        return removed

    def statistics(self) -> StoreStatistics:
        database = self._database
        return StoreStatistics(
            database.commits.statistics(),
            database.writes_waiting,
            database.reads,
            self._logs.bytes,
            self._trimmed,
        )
