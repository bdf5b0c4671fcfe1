"""Where logs and workload records are kept.

A store is the truth: the broker delivers a line only after `append` has returned. Logs and workload
records are two protocols, so that a broker can be embedded without the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import trio

from ..records import Batch, End, Gap, Outcome, Run, Status, Workload
from .durations import DurationStatistics

__all__ = [
    "LogState",
    "LogStore",
    "Retention",
    "Store",
    "StoreStatistics",
    "WorkloadQuery",
    "WorkloadStore",
]


@dataclass(frozen=True, slots=True)
class LogState:
    """What the store knows of a log: how many lines, how many bytes they had, and its end, if any;
    or else the time of the last line that is left, and `unfinished`: the stream of its last batch,
    if that is a fragment whose line goes on. `epoch` is that of the writer it takes lines from."""

    lines: int = 0
    bytes: int = 0
    end: End | None = None
    time: int = 0
    unfinished: str | None = None
    epoch: int = 0


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
    """`writes_waiting` are not durable yet, and the oldest has waited for `oldest_wait` seconds.
    `bytes` is what the lines of all logs take here. The rest counts since the start: transactions
    and how long they took, writes that failed, queries, and batches that retention has removed.
    """

    commits: DurationStatistics
    writes_waiting: int
    oldest_wait: float
    writes_failed: int
    reads: int
    bytes: int
    batches_trimmed: int


class LogStore(Protocol):
    """Where the broker keeps logs. The duties of a store, and of its caller.

    For each log, the caller appends from one task at a time. A method that returned has taken
    effect durably; one that was cancelled, or that raised StoreError, may have. Every method raises
    StoreError when the store fails. Such an error concerns that call alone: the store goes on, and
    `run` does not raise it.
    """

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve the other methods until cancelled, then close. Started before any other call.

        Raises StoreError if the store can't be opened."""

    async def log(self, workload_id: str) -> LogState | None:
        """The state of a log, or None if there is none."""

    async def append(
        self,
        workload_id: str,
        records: Sequence[Batch | Gap],
        *,
        expected: int,
        epoch: int,
        size: int,
        outcome: Outcome | None = None,
        finished_at: int = 0,
    ) -> None:
        """Add records to a log, creating it if need be; with an outcome, end it in the same step.

        `expected` is the number of the first line of `records`, or of the line that would follow.
        `size` is how many bytes the log has with these records. `epoch` is that of the caller's
        `LogState`, or 0 for a new log. A gap takes the place of lines that are lost.

        Appending again after an unknown result is safe: records that the log already has, as far
        as its last line, are left out, and an end that it already has with the same `outcome` is
        its own. Raises FencedError if the log has another epoch, has ended in another way, or lacks
        lines before `expected` since it was deleted, and ValueError if `records` do not begin at
        `expected`.
        """

    async def fence(self, workload_id: str) -> int:
        """Raise the epoch of a log and return it: appends with an earlier one are refused from now
        on. Raises WorkloadNotFoundError if there is no such log."""

    async def read(self, workload_id: str, first: int, max_bytes: int) -> list[Batch | Gap]:
        """The records from the one that holds line `first`, or else the next one that is left,
        until they weigh `max_bytes`; empty if there are none. Bounded work.

        A record that can't be read any more comes as a Gap with reason `damaged`."""

    async def scan(self, workload_id: str, last: int, limit: int) -> list[Run]:
        """The newest `limit` runs that begin at line `last` or before it, newest first."""

    async def find(self, workload_id: str, time: int, head: int) -> int:
        """The number of the first line up to `head` that is not older than `time`, in microseconds
        since the Unix epoch; head + 1 if all are older, and 1 if none is known to be older."""

    async def trim(self, retention: Retention) -> int:
        """Remove the oldest records beyond the bounds: those of finished workloads first, and only
        then, for `max_bytes`, others. Returns how many were removed; zero when none was left to."""

    def statistics(self) -> StoreStatistics:
        """A snapshot, and counters since the start."""


class WorkloadStore(Protocol):
    """Where the engine keeps the records of workloads. As with `LogStore`, a method that returned
    has taken effect durably, and every method raises StoreError for that call alone."""

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
        """Remove a record and its log; both are gone for every reader once this returns."""


class Store(LogStore, WorkloadStore, Protocol):
    """Both in one, as a service needs them: ending a log also ends its workload's record."""
