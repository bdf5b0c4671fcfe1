"""A store in memory: for tests, and for embedding where history need not outlive the process."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import trio

from ..records import Batch, End, Outcome, Status, Workload, now
from . import LogState, Retention, Selection, StoreStatistics, WorkloadQuery
from .durations import Durations

__all__ = ["MemoryStore"]


@dataclass(slots=True)
class _Log:
    batches: list[Batch] = field(default_factory=list)
    state: LogState = field(default_factory=LogState)
    finished_at: int = 0


class MemoryStore:
    """Keeps everything in lists. See `LogStore` for the methods."""

    def __init__(self) -> None:
        self._logs: dict[str, _Log] = {}
        self._workloads: dict[str, Workload] = {}
        self._handles: dict[str, str] = {}
        self._keys: dict[str, tuple[str, bytes]] = {}
        self._commits = Durations()
        self._reads = 0
        self._bytes = 0
        self._trimmed = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await trio.sleep_forever()

    async def create(
        self, workload: Workload, *, key: str | None = None, fingerprint: bytes = b""
    ) -> None:
        await trio.lowlevel.checkpoint()
        self._workloads[workload.id] = workload
        self._logs[workload.id] = _Log()
        if key is not None:
            self._keys[key] = (workload.id, fingerprint)

    async def find_key(self, key: str) -> tuple[str, bytes] | None:
        await trio.lowlevel.checkpoint()
        return self._keys.get(key)

    async def start(self, workload_id: str, started_at: int) -> None:
        await trio.lowlevel.checkpoint()
        workload = self._workloads.get(workload_id)
        if workload is not None:
            self._workloads[workload_id] = replace(
                workload, status=Status.RUNNING, started_at=started_at
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
            and (query.status is None or workload.status is query.status)
            and query.labels.items() <= workload.spec.labels.items()
        )
        return [workload for workload, _ in zip(found, range(query.limit), strict=False)]

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
        log = self._logs.pop(workload_id, None)
        if log is not None:
            self._bytes -= sum(len(batch.data) for batch in log.batches)

    async def log(self, workload_id: str) -> LogState | None:
        await trio.lowlevel.checkpoint()
        log = self._logs.get(workload_id)
        if log is None:
            return None
        if log.state.end is not None or not log.batches:
            return log.state
        last = log.batches[-1]
        return replace(log.state, time=last.time, unfinished=last.stream if last.partial else None)

    async def append(
        self,
        workload_id: str,
        batches: Sequence[Batch],
        *,
        outcome: Outcome | None = None,
        finished_at: int = 0,
    ) -> None:
        await trio.lowlevel.checkpoint()
        log = self._logs.setdefault(workload_id, _Log())
        # Without their wire forms, which only as many as there is room for are to keep.
        log.batches += [replace(batch, rendered={}) for batch in batches]
        size = sum(len(batch.data) for batch in batches)
        lines = batches[-1].last if batches else log.state.lines
        log.state = LogState(lines, log.state.bytes + size)
        if outcome is not None:
            log.state = replace(log.state, end=End(outcome, lines, log.state.bytes))
            log.finished_at = finished_at
        workload = self._workloads.get(workload_id)
        if workload is not None:
            workload = replace(workload, lines=lines, bytes=log.state.bytes)
            if outcome is not None:
                workload = replace(
                    workload,
                    status=outcome.status,
                    exit_code=outcome.exit_code,
                    signal=outcome.signal,
                    error=outcome.error,
                    finished_at=finished_at,
                )
            self._workloads[workload_id] = workload
        self._bytes += size
        self._commits.add(0.0)

    async def read(self, workload_id: str, first: int, max_bytes: int) -> list[Batch]:
        await trio.lowlevel.checkpoint()
        self._reads += 1
        log = self._logs.get(workload_id)
        found: list[Batch] = []
        if log is None:
            return found
        start = max(bisect_right(log.batches, first, key=lambda batch: batch.first) - 1, 0)
        for i in range(start, len(log.batches)):
            batch = log.batches[i]
            if batch.last < first:
                continue
            found.append(replace(batch, rendered={}))
            max_bytes -= batch.weight
            if max_bytes <= 0:
                break
        return found

    async def seek(self, workload_id: str, selection: Selection, head: int) -> int:
        await trio.lowlevel.checkpoint()
        batches = self._logs.get(workload_id, _Log()).batches
        known = [batch for batch in batches if batch.first <= head]

        def first(time: int) -> int:
            """The number of the first line that is not older, or 1 if none is known to be older."""
            older = bisect_left(known, time, key=lambda batch: batch.time)
            return known[older - 1].last + 1 if older else 1

        start = 1 if selection.since is None else first(selection.since)
        if selection.tail is None:
            return start
        last = head if selection.until is None else first(selection.until + 1) - 1
        if selection.stream is None:
            # Numbers have no holes, whatever retention has removed.
            return max(start, last + 1 - selection.tail)
        position, wanted = head + 1, selection.tail
        for batch in reversed(known):
            if wanted == 0 or batch.first < start:
                break
            if batch.first <= last and batch.stream == selection.stream:
                taken = min(wanted, batch.count)
                wanted -= taken
                position = batch.last - taken + 1
        is_whole = bool(batches) and batches[0].first <= start
        return position if is_whole or not wanted else start

    async def trim(self, retention: Retention) -> int:
        await trio.lowlevel.checkpoint()
        removed = 0
        if retention.max_age is not None:
            oldest = now() - int(retention.max_age * 1_000_000)
            for log in self._logs.values():
                while log.batches and log.batches[0].time < oldest:
                    removed += self._remove_oldest(log)
        if retention.max_bytes is not None:
            held = [log for log in self._logs.values() if log.batches]
            finished = [log for log in held if log.state.end is not None]
            for log in sorted(finished, key=lambda log: log.finished_at):
                while log.batches and self._bytes > retention.max_bytes:
                    removed += self._remove_oldest(log)
            while self._bytes > retention.max_bytes:
                # What is left is of logs that go on.
                oldest_log = min(
                    (log for log in held if log.batches), key=lambda log: log.batches[0].time
                )
                removed += self._remove_oldest(oldest_log)
        self._trimmed += removed
        return removed

    def _remove_oldest(self, log: _Log) -> int:
        self._bytes -= len(log.batches.pop(0).data)
        return 1

    def statistics(self) -> StoreStatistics:
        return StoreStatistics(
            self._commits.statistics(), 0, self._reads, self._bytes, self._trimmed
        )
