"""The store: its methods as writes and reads of the database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import trio

from ...records import Batch, Change, Gap, Outcome, Run, Status, Workload
from .. import (
    NO_STREAMS,
    ChangePage,
    LogState,
    Retention,
    StoreStatistics,
    StreamState,
    Visitor,
    WorkloadPage,
    WorkloadQuery,
)
from ..session_methods import SessionMethods
from . import changes, damaged_records, kept, queries, sessions, workloads
from .database import Database
from .file import File
from .logs import Logs
from .readers import MAX_READERS
from .reserve import Reserve
from .sweeping import Sweeping

__all__ = ["SQLiteStore"]


class SQLiteStore(SessionMethods):
    """See `Store` for the methods. `path` is the database file; its folder must exist.

    `synchronous` is SQLite's setting: "NORMAL" survives `kill -9`, "FULL" also a power loss. `vfs`
    names one of SQLite's virtual file systems, https://sqlite.org/vfs.html; None is the default.
    Beyond `max_bytes` of lines, the store removes lines by itself, as `trim` does: no writer waits
    for the next call of that. With `has_reserve`, a file of up to 16 MiB beside the database holds
    room, so that deletions work on a full disk.
    """

    statements: ClassVar = sessions
    _database: Database

    def __init__(
        self,
        path: Path,
        *,
        synchronous: Literal["NORMAL", "FULL"] = "NORMAL",
        vfs: str | None = None,
        max_bytes: int | None = None,
        has_reserve: bool = False,
    ) -> None:
        self._logs = Logs(max_bytes)
        file = File(path, synchronous, vfs)
        reserve = Reserve(file if has_reserve else None)
        self._database = Database(file, self._logs, reserve)
        self._sweeping = Sweeping(self._database, self._logs)
        self._listener: Callable[[Change], object] | None = None
        # They may look at every record: the other queries keep half of the threads.
        self._lists = trio.Semaphore(MAX_READERS // 2)

    @property
    def is_open(self) -> bool:
        """Whether the database has a connection that writes: not after errors, until the next
        write. Any thread may ask."""
        return self._database.writer.is_open

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with self._database.open(), trio.open_nursery() as nursery:
            nursery.start_soon(self._database.run)
            nursery.start_soon(self._sweeping.run)
            task_status.started()

    # Workload records.

    async def create(
        self, workload: Workload, *, key: str | None = None, fingerprint: bytes = b""
    ) -> None:
        await self._database.write(
            partial(workloads.create, workload=workload, key=key, fingerprint=fingerprint),
            committed=self._tell,
        )

    async def find_key(self, key: str) -> tuple[str, bytes] | None:
        return await self._database.read(partial(workloads.find_key, key=key))

    async def start(self, workload_id: str, started_at: int, node: str | None = None) -> None:
        await self._database.write(
            partial(workloads.start, workload_id=workload_id, started_at=started_at, node=node),
            committed=self._tell,
        )

    async def remember(self, workload_id: str, handle: str) -> None:
        await self._database.write(
            partial(workloads.remember, workload_id=workload_id, handle=handle)
        )

    async def workload(self, workload_id: str) -> Workload | None:
        return await self._database.read(partial(workloads.one, workload_id=workload_id))

    async def workloads(self, query: WorkloadQuery) -> WorkloadPage:
        async with self._lists:
            return await self._database.read(partial(damaged_records.page, query=query))

    async def count(self, query: WorkloadQuery) -> dict[Status, int]:
        async with self._lists:
            return await self._database.read(partial(damaged_records.count, query=query))

    async def expired(self, retention: Retention, limit: int) -> list[str]:
        return await self._database.read(
            partial(damaged_records.expired, retention=retention, limit=limit)
        )

    async def unfinished(self, after: str = "") -> list[tuple[Workload, str | None]]:
        return await self._database.read(partial(damaged_records.unfinished, after=after))

    async def delete(self, workload_id: str) -> None:
        def committed(change: Change | None) -> None:
            self._sweeping.begin()
            self._tell(change)

        await self._database.write(
            partial(workloads.hide, workload_id=workload_id), committed=committed, frees=True
        )

    # Changes of workload records. They are told in callbacks: a caller may be cancelled during its
    # commit.

    def listen(self, listener: Callable[[Change], object]) -> None:
        self._listener = listener

    def _tell(self, change: Change | None) -> None:
        if change is not None and self._listener is not None:
            self._listener(change)

    async def position(self) -> int:
        return await self._database.read(changes.newest)

    async def changes(self, after: int, max_bytes: int) -> ChangePage:
        return await self._database.read(
            partial(damaged_records.since, after=after, max_bytes=max_bytes)
        )

    # Logs.

    async def log(self, workload_id: str) -> LogState | None:
        return await self._database.read(partial(queries.state, workload_id=workload_id))

    async def append(
        self,
        workload_id: str,
        records: Sequence[Batch | Gap],
        *,
        expected: int,
        epoch: int,
        size: int,
        streams: Mapping[str, StreamState] = NO_STREAMS,
        outcome: Outcome | None = None,
        finished_at: int = 0,
    ) -> None:
        await self._database.write(
            partial(
                self._logs.append,
                workload_id=workload_id,
                records=records,
                expected=expected,
                epoch=epoch,
                size=size,
                streams=streams,
                outcome=outcome,
                finished_at=finished_at,
            ),
            committed=self._tell,
        )

    async def fence(self, workload_id: str) -> int:
        return await self._database.write(partial(self._logs.fence, workload_id=workload_id))

    async def read(self, workload_id: str, first: int, max_bytes: int) -> list[Batch | Gap]:
        return await self._database.read(
            partial(queries.read, workload_id=workload_id, first=first, max_bytes=max_bytes)
        )

    async def scan(self, workload_id: str, last: int, limit: int) -> list[Run]:
        return await self._database.read(
            partial(queries.scan, workload_id=workload_id, last=last, limit=limit)
        )

    async def visit(
        self,
        workload_id: str,
        first: int,
        last: int,
        visitor: Visitor,
        *,
        newest_first: bool = False,
    ) -> None:
        await self._database.read(
            partial(
                queries.visit,
                workload_id=workload_id,
                first=first,
                last=last,
                visitor=visitor,
                newest_first=newest_first,
            )
        )

    async def find(self, workload_id: str, time: int, head: int) -> int:
        return await self._database.read(
            partial(queries.find, workload_id=workload_id, time=time, head=head)
        )

    async def trim(self, retention: Retention) -> int:
        return await self._database.write(partial(self._logs.trim, retention=retention), frees=True)

    async def share_older(self, max_age: float) -> float:
        return await self._database.read(partial(kept.share_older, max_age=max_age))

    def statistics(self) -> StoreStatistics:
        database = self._database
        return StoreStatistics(
            commits=database.writer.commits.statistics(),
            writes_waiting=database.group.waiting,
            oldest_wait=database.group.oldest_wait,
            writes_failed=database.group.failed,
            reads=database.readers.reads,
            bytes=self._logs.totals.bytes,
            batches_trimmed=self._logs.totals.trimmed,
        )
