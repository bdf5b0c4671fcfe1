"""Logs in memory."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import trio

from ...errors import WorkloadNotFoundError
from ...records import Batch, End, Gap, Outcome, Run, believed_now
from .. import NO_STREAMS, LogState, Retention, StoreStatistics, StreamState, Visitor
from ..appending import addition
from ..durations import Durations
from .copies import run_of, show, size_of, without_forms

__all__ = ["MemoryLogs"]

VISIT_RECORDS = 100
"""Records that one call of a thread shows to a visitor: copying a whole log would take long."""


@dataclass(slots=True)
class _Log:
    records: list[Batch | Gap] = field(default_factory=list)
    state: LogState = field(default_factory=LogState)
    finished_at: int = 0


class MemoryLogs:
    """Keeps logs in lists. See `LogStore` for the methods."""

    def __init__(self) -> None:
        self._logs: dict[str, _Log] = {}
        self._commits = Durations()
        self._reads = 0
        self._bytes = 0
        self._trimmed = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await trio.sleep_forever()

    async def log(self, workload_id: str) -> LogState | None:
        await trio.lowlevel.checkpoint()
        log = self._logs.get(workload_id)
        if log is None:
            return None
        if log.state.end is not None or not log.records:
            return log.state
        return replace(log.state, time=log.records[-1].time)

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
        await trio.lowlevel.checkpoint()
        log = self._logs.get(workload_id, _Log())
        added = addition(
            log.state,
            records,
            expected=expected,
            epoch=epoch,
            size=size,
            streams=streams,
            outcome=outcome,
            is_kept=self._is_kept(workload_id),
        )
        self._logs[workload_id] = log
        log.records += map(without_forms, added.records)
        self._bytes += sum(size_of(record) for record in added.records)
        known = log.state.streams if added.streams is None else added.streams
        log.state = replace(log.state, lines=added.lines, bytes=added.bytes, streams=known)
        self._extended(workload_id, log.state)
        if added.ends and outcome is not None:
            log.state = replace(log.state, end=End(outcome, added.lines, added.bytes))
            log.finished_at = finished_at
            self._ended(workload_id, outcome, finished_at)
        self._commits.add(0.0)

    def _is_kept(self, workload_id: str) -> bool:
        """Whether a log that lacks lines was not deleted: only a shared store can tell."""
        return False

    def _extended(self, workload_id: str, state: LogState) -> None:
        """A log has more lines, in the step in which readers find them."""

    def _ended(self, workload_id: str, outcome: Outcome, finished_at: int) -> None:
        """A log has ended, in the step in which readers find the end."""

    def _kept_seconds(self, workload_id: str) -> float:
        """The age up to which a label keeps a log, in seconds."""
        return 0

    def _create(self, workload_id: str) -> None:
        """Begin an empty log."""
        self._logs[workload_id] = _Log()

    def _discard(self, workload_id: str) -> None:
        """Remove a log, if there is one."""
        log = self._logs.pop(workload_id, None)
        if log is not None:
            self._bytes -= sum(size_of(record) for record in log.records)

    async def fence(self, workload_id: str) -> int:
        await trio.lowlevel.checkpoint()
        if (log := self._logs.get(workload_id)) is None:
            raise WorkloadNotFoundError(f"there is no log {workload_id}")
        log.state = replace(log.state, epoch=log.state.epoch + 1)
        return log.state.epoch

    async def read(self, workload_id: str, first: int, max_bytes: int) -> list[Batch | Gap]:
        await trio.lowlevel.checkpoint()
        self._reads += 1
        records = self._records(workload_id)
        found: list[Batch | Gap] = []
        start = max(bisect_right(records, first, key=lambda record: record.first) - 1, 0)
        for i in range(start, len(records)):
            record = records[i]
            if record.last < first:
                continue
            found.append(without_forms(record))
            max_bytes -= record.weight
            if max_bytes <= 0:
                break
        return found

    async def scan(self, workload_id: str, last: int, limit: int) -> list[Run]:
        await trio.lowlevel.checkpoint()
        self._reads += 1
        records = self._records(workload_id)
        found: list[Run] = []
        for i in reversed(range(bisect_right(records, last, key=lambda record: record.first))):
            if len(found) >= limit:
                break
            b = records[i]
            if isinstance(b, Batch):
                found.append(run_of(b))
        return found

    async def visit(
        self,
        workload_id: str,
        first: int,
        last: int,
        visitor: Visitor,
        *,
        newest_first: bool = False,
    ) -> None:
        await trio.lowlevel.checkpoint()
        self._reads += 1
        goes_on = True
        while goes_on and first <= last:
            found = self._some(workload_id, first, last, newest_first=newest_first)
            if not found:
                break
            goes_on = await trio.to_thread.run_sync(
                partial(show, found, visitor), abandon_on_cancel=True
            )
            if newest_first:
                last = found[-1].first - 1
            else:
                first = found[-1].last + 1

    def _some(
        self, workload_id: str, first: int, last: int, *, newest_first: bool
    ) -> list[Batch | Gap]:
        """Some of the records that have a line from `first` to `last`."""
        records = self._records(workload_id)
        start = max(bisect_right(records, first, key=lambda record: record.first) - 1, 0)
        if start < len(records) and records[start].last < first:
            start += 1
        stop = bisect_right(records, last, key=lambda record: record.first)
        if newest_first:
            return records[max(start, stop - VISIT_RECORDS) : stop][::-1]
        return records[start : min(stop, start + VISIT_RECORDS)]

    async def find(self, workload_id: str, time: int, head: int) -> int:
        await trio.lowlevel.checkpoint()
        self._reads += 1
        records = self._records(workload_id)
        known = bisect_right(records, head, key=lambda record: record.first)
        older = bisect_left(records, time, hi=known, key=lambda record: record.time)
        return min(records[older - 1].last, head) + 1 if older else 1

    def _records(self, workload_id: str) -> list[Batch | Gap]:
        return self._logs.get(workload_id, _Log()).records

    async def trim(self, retention: Retention) -> int:
        await trio.lowlevel.checkpoint()
        before = self._trimmed
        if retention.max_age is not None:
            for workload_id, log in self._logs.items():
                oldest = self._oldest(workload_id, retention.max_age)
                while log.records and log.records[0].time < oldest:
                    self._remove_oldest(log)
        if retention.max_bytes is not None:
            held = [log for log in self._logs.values() if log.records]
            finished = [log for log in held if log.state.end is not None]
            for log in sorted(finished, key=lambda log: log.finished_at):
                while log.records and self._bytes > retention.max_bytes:
                    self._remove_oldest(log)
            while self._bytes > retention.max_bytes:
                # Only running workloads have lines left.
                oldest_log = min(
                    (log for log in held if log.records), key=lambda log: log.records[0].time
                )
                self._remove_oldest(oldest_log)
        return self._trimmed - before

    def _oldest(self, workload_id: str, max_age: float) -> int:
        """The time before which lines of the log are too old."""
        return believed_now() - int(max(max_age, self._kept_seconds(workload_id)) * 1_000_000)

    async def share_older(self, max_age: float) -> float:
        await trio.lowlevel.checkpoint()
        old = every = 0
        for workload_id, log in self._logs.items():
            oldest = self._oldest(workload_id, max_age)
            old += sum(record.time < oldest for record in log.records)
            every += len(log.records)
        return old / every if every else 0.0

    def _remove_oldest(self, log: _Log) -> None:
        self._bytes -= size_of(log.records.pop(0))
        self._trimmed += 1

    def statistics(self) -> StoreStatistics:
        return StoreStatistics(
            commits=self._commits.statistics(),
            writes_waiting=0,
            oldest_wait=0.0,
            writes_failed=0,
            reads=self._reads,
            bytes=self._bytes,
            batches_trimmed=self._trimmed,
        )
