"""Where logs and workload records are kept.

A store is the truth: the broker delivers a line only after `append` has returned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import trio

from ..records import Batch, End, Outcome, Status, Workload
from ..selection import Selection
from .durations import DurationStatistics

__all__ = ["LogState", "LogStore", "Retention", "Selection", "StoreStatistics", "WorkloadQuery"]


@dataclass(frozen=True, slots=True)
class LogState:
    """What the store knows of a log: how many lines, how many bytes they had, and its end, if any;
    or else the time of the last line that is left, and `unfinished`: the stream of its last batch,
    if that is a fragment whose line goes on."""

    lines: int = 0
    bytes: int = 0
    end: End | None = None
    time: int = 0
    unfinished: str | None = None


@dataclass(frozen=True, slots=True)
class WorkloadQuery:
    """A page of workloads, newest first: at most `limit` of those with an id below `before`."""

    limit: int = 50
    before: str | None = None
    status: Status | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Retention:
    """How much history is kept: at most so many bytes of compressed lines, and seconds; None is
    no limit."""

    max_bytes: int | None = None
    max_age: float | None = None


@dataclass(frozen=True, slots=True)
class StoreStatistics:
    """`writes_waiting` are not durable yet; `bytes` is what the lines of all logs take here. The
    rest counts since the start: transactions and how long they took, queries, and batches that
    retention has removed."""

    commits: DurationStatistics
    writes_waiting: int
    reads: int
    bytes: int
    batches_trimmed: int


class LogStore(Protocol):
    """The duties of a store, and of its caller.

    For each log, the caller appends from one task at a time, with numbers that go on where the last
    batch ended. A method that returned has taken effect durably; one that was cancelled may have.
    Every method raises StoreError when the store fails; `run` does too, which stops the service.
    """

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve the other methods until cancelled, then close. Started before any other call."""

    async def create(
        self, workload: Workload, *, key: str | None = None, fingerprint: bytes = b""
    ) -> None:
        """Add a workload record. `key` is its Idempotency-Key, which must be new."""

    async def find_key(self, key: str) -> tuple[str, bytes] | None:
        """The id and fingerprint of the workload that was created with that Idempotency-Key."""

    async def start(self, workload_id: str, started_at: int) -> None:
        """Mark a workload as running."""

    async def remember(self, workload_id: str, handle: str) -> None:
        """Keep what the backend needs to clean up after a crash."""

    async def workload(self, workload_id: str) -> Workload | None:
        """One workload record."""

    async def workloads(self, query: WorkloadQuery) -> list[Workload]:
        """A page of workload records, newest first."""

    async def unfinished(self) -> list[tuple[Workload, str | None]]:
        """The queued and running workloads, oldest first, with what `remember` kept of each."""

    async def delete(self, workload_id: str) -> None:
        """Remove a record and its log."""

    async def log(self, workload_id: str) -> LogState | None:
        """The state of a log, or None if there is none."""

    async def append(
        self,
        workload_id: str,
        batches: Sequence[Batch],
        *,
        outcome: Outcome | None = None,
        finished_at: int = 0,
    ) -> None:
        """Add batches to a log, creating it if need be; with an outcome, end it in the same
        step."""

    async def read(self, workload_id: str, first: int, max_bytes: int) -> list[Batch]:
        """The batches from the one that holds line `first`, or else the next one that is left,
        until they weigh `max_bytes`; empty if there are none. Bounded work."""

    async def seek(self, workload_id: str, selection: Selection, head: int) -> int:
        """Where to start so that, of the lines from there up to `head`, those that `admits` lets
        through are just the selected ones. What retention has removed counts as selected where the
        selection reaches that far back, so that its reader is told of the gap."""

    async def trim(self, retention: Retention) -> int:
        """Remove the oldest batches beyond the bounds: those of finished workloads first, and only
        then, for `max_bytes`, others. Returns how many were removed; zero when none was left to."""

    def statistics(self) -> StoreStatistics:
        """A snapshot, and counters since the start."""
