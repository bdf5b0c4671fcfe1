"""Logs: the methods of `LogStore` as writes and reads of the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from ...records import Batch, Gap, Outcome, Run
from .. import NO_STREAMS, LogState, Retention, StoreStatistics, StreamState, Visitor
from . import queries, trimming, workloads
from .appends import Append
from .database import Part
from .rows import binary

__all__ = ["PostgresLogs"]


class PostgresLogs(Part):
    """See `LogStore` for the methods."""

    async def log(self, workload_id: str) -> LogState | None:
        return await self._database.read(partial(queries.state, workload_id=binary(workload_id)))

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
            Append(workload_id, records, expected, epoch, size, streams, outcome, finished_at)
        )

    async def fence(self, workload_id: str) -> int:
        return await self._database.write(partial(workloads.fence, workload_id=workload_id))

    async def read(self, workload_id: str, first: int, max_bytes: int) -> list[Batch | Gap]:
        return await self._database.read(
            partial(queries.read, workload_id=binary(workload_id), first=first, max_bytes=max_bytes)
        )

    async def scan(self, workload_id: str, last: int, limit: int) -> list[Run]:
        return await self._database.read(
            partial(queries.scan, workload_id=binary(workload_id), last=last, limit=limit)
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
                workload_id=binary(workload_id),
                first=first,
                last=last,
                visitor=visitor,
                newest_first=newest_first,
            )
        )

    async def find(self, workload_id: str, time: int, head: int) -> int:
        return await self._database.read(
            partial(queries.find, workload_id=binary(workload_id), time=time, head=head)
        )

    async def trim(self, retention: Retention) -> int:
        return await self._database.write(partial(trimming.trim, retention=retention))

    async def share_older(self, max_age: float) -> float:
        return await self._database.read(partial(trimming.share_older, max_age=max_age))

    def statistics(self) -> StoreStatistics:
        database = self._database
        return StoreStatistics(
            commits=database.writer.commits.statistics(),
            writes_waiting=database.group.waiting,
            oldest_wait=database.group.oldest_wait,
            writes_failed=database.group.failed,
            reads=database.readers.reads,
            bytes=database.bytes,
            batches_trimmed=database.trimmed,
        )
