"""The stores of logs and workload records.

While the store works, the broker delivers a line only after `append` has returned. Logs and
workload records have separate protocols, so that a broker can be embedded without workloads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import trio

from ..records import Batch, Change, End, Gap, Outcome, Run, Status, Workload
from .changes import ChangePage
from .durations import DurationStatistics
from .query import WorkloadPage, WorkloadQuery
from .sessions import SessionStore

__all__ = [
    "NO_STREAMS",
    "ChangePage",
    "LogState",
    "LogStore",
    "Retention",
    "Store",
    "StoreStatistics",
    "StreamState",
    "Visitor",
    "WorkloadPage",
    "WorkloadQuery",
    "WorkloadStore",
]


@dataclass(frozen=True, slots=True)
class StreamState:
    """How many bytes of a stream the log has, and whether the last of them are a fragment, whose
    line goes on in the next batch of that stream."""

    bytes: int
    unfinished: bool = False


NO_STREAMS: Mapping[str, StreamState] = {}


@dataclass(frozen=True, slots=True)
class LogState:
    """The state of a log in the store: the number of its lines, their bytes, and its end, if any.
    For a log without an end, `time` is that of the last line that is left, in microseconds since
    the Unix epoch. `streams` has the state of each stream that has lines. `epoch` is that of the
    writer whose appends the store accepts.
    """

    lines: int = 0
    bytes: int = 0
    end: End | None = None
    time: int = 0
    streams: Mapping[str, StreamState] = field(default_factory=dict)
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Retention:
    """How much is kept: `max_bytes` of compressed lines, and lines of the last `max_age` seconds;
    `max_records` workloads, and those that ended in the last `max_record_age` seconds. None means
    no limit. The label that `kept_seconds` reads raises both ages for its workload, so that each
    line and the record are kept at least that long; it raises neither other limit.
    """

    max_bytes: int | None = None
    max_age: float | None = None
    max_records: int | None = None
    max_record_age: float | None = None

    @property
    def bounds_records(self) -> bool:
        """Whether workloads are deleted at all."""
        return self.max_records is not None or self.max_record_age is not None


@dataclass(frozen=True, slots=True)
class StoreStatistics:
    """`writes_waiting` are not durable yet, and the oldest has waited for `oldest_wait` seconds.
    `bytes` is the size of the stored lines of all logs. All other fields count since the start:
    transactions with their durations, failed writes, queries, and batches that retention removed.
    """

    commits: DurationStatistics
    writes_waiting: int
    oldest_wait: float
    writes_failed: int
    reads: int
    bytes: int
    batches_trimmed: int


class Visitor(Protocol):
    """Looks at the records of a log in a thread of the store, one after the other."""

    def visit(self, run: Run | Gap, load: Callable[[], Batch | Gap]) -> bool:
        """Look at one record; `load` reads its data. Return False to stop after it."""


class LogStore(Protocol):
    """The duties of a store of logs, and of its caller.

    For each log, the caller appends from one task at a time. When a method has returned, its effect
    is durable. A method that was cancelled, or that raised StoreError, may have taken effect. Every
    method raises StoreError when the store fails. Such an error concerns that call alone: the store
    goes on, and `run` does not raise it.
    """

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve the other methods until cancelled, then close. Start it before any other call.

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
        streams: Mapping[str, StreamState] = NO_STREAMS,
        outcome: Outcome | None = None,
        finished_at: int = 0,
    ) -> None:
        """Add records to a log, which is created on the first append; with an outcome, end it.

        The records and the end become durable together. `expected` is the number of the first line
        of `records`; without records, that of the next line. `size` is how many bytes the log has
        with these records, and `streams` the state of its streams then. The records can't tell
        that: gaps stand for bytes, too. `epoch` is that of the caller's `LogState`, or 0 for a new
        log. A gap takes the place of lost lines. `finished_at` is in microseconds since the Unix
        epoch.

        After an unknown result, a repeated append is safe: the store skips records that the log
        already has, and accepts an end that the log already has with the same `outcome`. Raises
        FencedError if the log has another epoch, has another end, or was deleted, so that it lacks
        lines before `expected`. Raises ValueError if `records` do not begin at `expected`.
        """

    async def fence(self, workload_id: str) -> int:
        """Raise the epoch of a log and return it: later appends with an earlier epoch are refused.
        Raises WorkloadNotFoundError if there is no such log."""

    async def read(self, workload_id: str, first: int, max_bytes: int) -> list[Batch | Gap]:
        """The records from line `first` on, or from the next line that is left, until their weight
        is `max_bytes`; empty if there are none. The work is bounded.

        A record that can't be read any more is a Gap with reason `damaged`."""

    async def scan(self, workload_id: str, last: int, limit: int) -> list[Run]:
        """The newest `limit` runs that begin at or before line `last`, newest first."""

    async def visit(
        self,
        workload_id: str,
        first: int,
        last: int,
        visitor: Visitor,
        *,
        newest_first: bool = False,
    ) -> None:
        """Show the visitor the records that have a line from `first` to `last`, until it stops or
        none is left. It runs in a thread, and limits the time of a call itself. After a
        cancellation, it may see a few more records."""

    async def find(self, workload_id: str, time: int, head: int) -> int:
        """The number of the first line up to `head` that is not older than `time`, in microseconds
        since the Unix epoch; head + 1 if all are older, and 1 if none is known to be older."""

    async def trim(self, retention: Retention) -> int:
        """Remove a bounded number of the oldest records beyond the bounds. Over `max_bytes`, those
        of finished workloads go first. Returns how many were removed: repeat it until that is 0."""

    async def share_older(self, max_age: float) -> float:
        """The share, from 0.0 to 1.0, of all records that `trim` would remove by this age now."""

    def statistics(self) -> StoreStatistics:
        """A snapshot, and counters since the start."""


class WorkloadStore(SessionStore, Protocol):
    """The duties of a store of workload records, and of sessions. As with `LogStore`, the effect of
    a method that has returned is durable, and every method raises StoreError for that call alone.

    Each change of a record in more than `lines` and `bytes` takes the next position, in the same
    transaction: `create`, `start`, `delete`, and an `append` with an outcome. Positions begin at 1
    and outlive restarts. A log without a record has no positions.
    """

    def listen(self, listener: Callable[[Change], object]) -> None:
        """From now on, call `listener` in Trio's thread with each change that this process makes,
        in the order of positions, once it is durable. The call comes even if the task that made the
        change was cancelled. A position that is left out belongs to a change of another process, or
        to a commit whose result is unknown."""

    async def position(self) -> int:
        """The position of the newest change; 0 if there was none."""

    async def changes(self, after: int, max_bytes: int) -> ChangePage:
        """The changes after a position, until their weight is `max_bytes`; the work is bounded. All
        of a page is from one moment."""

    async def create(
        self, workload: Workload, *, key: str | None = None, fingerprint: bytes = b""
    ) -> None:
        """Add a workload record. `key` is its Idempotency-Key, which must be new."""

    async def find_key(self, key: str) -> tuple[str, bytes] | None:
        """The id and fingerprint of the workload that was created with that Idempotency-Key."""

    async def start(self, workload_id: str, started_at: int, node: str | None = None) -> None:
        """Mark a workload as running on the service instance `node`."""

    async def remember(self, workload_id: str, handle: str) -> None:
        """Keep the handle that the backend needs to clean up after a crash."""

    async def workload(self, workload_id: str) -> Workload | None:
        """One workload record."""

    async def workloads(self, query: WorkloadQuery) -> WorkloadPage:
        """A page of workload records, newest first."""

    async def count(self, query: WorkloadQuery) -> dict[Status, int]:
        """How many workloads there are of each status, over all pages. The statuses that the query
        asks for do not count."""

    async def expired(self, retention: Retention, limit: int) -> list[str]:
        """At most `limit` ids of ended workloads beyond the bounds of records, first end first."""

    async def unfinished(self, after: str = "") -> list[tuple[Workload, str | None]]:
        """The queued and running workloads with an id above `after`, oldest first, until their
        weight is PAGE_BYTES, each with the handle of `remember`; empty if there are none."""

    async def delete(self, workload_id: str) -> None:
        """Remove a record and its log. Once this returns, no reader finds either."""


class Store(LogStore, WorkloadStore, Protocol):
    """Both in one: the end of a log also ends its workload's record."""
