"""The store in memory: workload records beside the logs."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import replace
from heapq import merge
from itertools import dropwhile, islice

import trio

from ...errors import ConflictError
from ...records import Change, Outcome, Status, Workload, believed_now, kept_seconds
from .. import ChangePage, LogState, Retention, WorkloadPage, WorkloadQuery
from ..changes import KEPT_DELETIONS, page_of
from ..query import PAGE_BYTES
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
        self._listener: Callable[[Change], object] | None = None
        self._position = self._forgotten = 0
        # The last change of each record, and the newest deletions; both oldest first.
        self._changed: OrderedDict[str, int] = OrderedDict()
        self._deletions: OrderedDict[str, int] = OrderedDict()

    async def create(
        self, workload: Workload, *, key: str | None = None, fingerprint: bytes = b""
    ) -> None:
        await trio.lowlevel.checkpoint()
        if key is not None and key in self._keys:
            # Another node that shares the store was faster.
            raise ConflictError(f"the Idempotency-Key {key!r} has made a workload already")
        self._create(workload.id)
        if key is not None:
            self._keys[key] = (workload.id, fingerprint)
        self._change(workload.id, workload)

    async def find_key(self, key: str) -> tuple[str, bytes] | None:
        await trio.lowlevel.checkpoint()
        return self._keys.get(key)

    async def start(self, workload_id: str, started_at: int, node: str | None = None) -> None:
        await trio.lowlevel.checkpoint()
        workload = self._workloads.get(workload_id)
        if workload is not None:
            running = replace(workload, status=Status.RUNNING, started_at=started_at, node=node)
            self._change(workload_id, running)

    async def remember(self, workload_id: str, handle: str) -> None:
        await trio.lowlevel.checkpoint()
        self._handles[workload_id] = handle

    async def workload(self, workload_id: str) -> Workload | None:
        await trio.lowlevel.checkpoint()
        return self._workloads.get(workload_id)

    async def workloads(self, query: WorkloadQuery) -> WorkloadPage:
        await trio.lowlevel.checkpoint()
        found = (
            workload
            for workload_id, workload in sorted(self._workloads.items(), reverse=True)
            if (query.before is None or workload_id < query.before)
            and (not query.statuses or workload.status in query.statuses)
            and query.selects(workload)
        )
        return WorkloadPage.of(islice(found, query.limit), query.max_bytes)

    async def count(self, query: WorkloadQuery) -> dict[Status, int]:
        await trio.lowlevel.checkpoint()
        found = (each.status for each in self._workloads.values() if query.selects(each))
        return dict.fromkeys(Status, 0) | Counter(found)

    async def expired(self, retention: Retention, limit: int) -> list[str]:
        await trio.lowlevel.checkpoint()
        ended = sorted(
            (each for each in self._workloads.values() if each.finished_at is not None),
            key=lambda each: each.finished_at or 0,
        )
        count = 0
        if retention.max_records is not None:
            count = max(len(self._workloads) - retention.max_records, 0)
        found = [each.id for each in ended if self._is_old(each, retention)]
        found += [each.id for each in ended[:count] if each.id not in found]
        return found[:limit]

    def _is_old(self, workload: Workload, retention: Retention) -> bool:
        if retention.max_record_age is None or workload.finished_at is None:
            return False
        age = max(retention.max_record_age, self._kept_seconds(workload.id))
        return workload.finished_at < believed_now() - int(age * 1_000_000)

    def _kept_seconds(self, workload_id: str) -> float:
        workload = self._workloads.get(workload_id)
        return 0 if workload is None else kept_seconds(workload.spec.labels) or 0

    async def unfinished(self, after: str = "") -> list[tuple[Workload, str | None]]:
        await trio.lowlevel.checkpoint()
        found = (
            workload
            for workload_id, workload in sorted(self._workloads.items())
            if workload_id > after and not workload.status.final
        )
        page = WorkloadPage.of(found, PAGE_BYTES)
        return [(workload, self._handles.get(workload.id)) for workload in page]

    async def delete(self, workload_id: str) -> None:
        await trio.lowlevel.checkpoint()
        self._handles.pop(workload_id, None)
        self._keys = {k: v for k, v in self._keys.items() if v[0] != workload_id}
        self._discard(workload_id)
        if workload_id in self._workloads:
            self._change(workload_id, None)

    def listen(self, listener: Callable[[Change], object]) -> None:
        self._listener = listener

    async def position(self) -> int:
        await trio.lowlevel.checkpoint()
        return self._position

    async def changes(self, after: int, max_bytes: int) -> ChangePage:
        await trio.lowlevel.checkpoint()
        later = [
            dropwhile(lambda change: change.position <= after, map(self._last, positions.items()))
            for positions in (self._changed, self._deletions)
        ]
        found = merge(*later, key=lambda change: change.position)
        return page_of(found, after, max_bytes, newest=self._position, forgotten=self._forgotten)

    def _last(self, item: tuple[str, int]) -> Change:
        workload_id, position = item
        return Change(position, workload_id, self._workloads.get(workload_id))

    def _change(self, workload_id: str, workload: Workload | None) -> None:
        """Change or remove a record, in the step in which readers find the change."""
        self._position += 1
        self._changed.pop(workload_id, None)
        if workload is None:
            del self._workloads[workload_id]
            self._deletions[workload_id] = self._position
            if len(self._deletions) > KEPT_DELETIONS:
                _, self._forgotten = self._deletions.popitem(last=False)
        else:
            self._workloads[workload_id] = workload
            self._changed[workload_id] = self._position
        if self._listener is not None:
            self._listener(Change(self._position, workload_id, workload))

    def _extended(self, workload_id: str, state: LogState) -> None:
        workload = self._workloads.get(workload_id)
        if workload is not None:
            self._workloads[workload_id] = replace(workload, lines=state.lines, bytes=state.bytes)

    def _ended(self, workload_id: str, outcome: Outcome, finished_at: int) -> None:
        self._handles.pop(workload_id, None)
        workload = self._workloads.get(workload_id)
        if workload is not None:
            ended = replace(
                workload,
                status=outcome.status,
                exit_code=outcome.exit_code,
                signal=outcome.signal,
                error=outcome.error,
                reason=outcome.reason,
                finished_at=finished_at,
            )
            self._change(workload_id, ended)
