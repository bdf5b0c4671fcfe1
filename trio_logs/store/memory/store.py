"""The store in memory: workload records beside the logs."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice

import trio

from ...records import Outcome, Status, Workload
from .. import LogState, WorkloadQuery
from .logs import MemoryLogs
from .sessions import MemorySessions

__all__ = ["MemoryStore"]


class MemoryStore(MemorySessions, MemoryLogs):
    """Keeps everything in memory. See `Store` for the methods."""

    def __init__(self) -> None:
        super().__init__()
        self._workloads: dict[str, Workload] = {}
        self._handles: dict[str, str] = {}
        self._keys: dict[str, tuple[str, bytes]] = {}

    async def create(
        self, workload: Workload, *, key: str | None = None, fingerprint: bytes = b""
    ) -> None:
        await trio.lowlevel.checkpoint()
        self._workloads[workload.id] = workload
        self._create(workload.id)
        if key is not None:
            self._keys[key] = (workload.id, fingerprint)

    async def find_key(self, key: str) -> tuple[str, bytes] | None:
        await trio.lowlevel.checkpoint()
        return self._keys.get(key)

    async def start(self, workload_id: str, started_at: int, node: str | None = None) -> None:
        await trio.lowlevel.checkpoint()
        workload = self._workloads.get(workload_id)
        if workload is not None:
            self._workloads[workload_id] = replace(
                workload, status=Status.RUNNING, started_at=started_at, node=node
            )

    async def remember(self, workload_id: str, handle: str) -> None:
        await trio.lowlevel.checkpoint()
        self._handles[workload_id] = handle

    async def workload(self, workload_id: str) -> Workload | None:
        await trio.lowlevel.checkpoint()
        return self._workloads.get(workload_id)

    async def workloads(self, query: WorkloadQuery) -> list[Workload]:
        await trio.lowlevel.checkpoint()
        found = (
            workload
            for workload_id, workload in sorted(self._workloads.items(), reverse=True)
            if (query.before is None or workload_id < query.before)
            and (not query.statuses or workload.status in query.statuses)
            and query.selects(workload)
        )
        return list(islice(found, query.limit))

    async def count(self, query: WorkloadQuery) -> dict[Status, int]:
        await trio.lowlevel.checkpoint()
        found = (each.status for each in self._workloads.values() if query.selects(each))
        return dict.fromkeys(Status, 0) | Counter(found)

    async def unfinished(self) -> list[tuple[Workload, str | None]]:
        await trio.lowlevel.checkpoint()
        return [
            (workload, self._handles.get(workload_id))
            for workload_id, workload in sorted(self._workloads.items())
            if not workload.status.final
        ]

    async def delete(self, workload_id: str) -> None:
        await trio.lowlevel.checkpoint()
        self._workloads.pop(workload_id, None)
        self._handles.pop(workload_id, None)
        self._keys = {k: v for k, v in self._keys.items() if v[0] != workload_id}
        self._discard(workload_id)

    def _extended(self, workload_id: str, state: LogState) -> None:
        workload = self._workloads.get(workload_id)
        if workload is not None:
            self._workloads[workload_id] = replace(workload, lines=state.lines, bytes=state.bytes)

    def _ended(self, workload_id: str, outcome: Outcome, finished_at: int) -> None:
        self._handles.pop(workload_id, None)
        workload = self._workloads.get(workload_id)
        if workload is not None:
            self._workloads[workload_id] = replace(
                workload,
                status=outcome.status,
                exit_code=outcome.exit_code,
                signal=outcome.signal,
                error=outcome.error,
                reason=outcome.reason,
                finished_at=finished_at,
            )
