"""The values that travel through the service. All are frozen; times are integers, in microseconds
since the Unix epoch."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeAlias

__all__ = [
    "Batch",
    "Detached",
    "End",
    "Gap",
    "Outcome",
    "Reason",
    "Record",
    "Reset",
    "Run",
    "Status",
    "Workload",
    "WorkloadSpec",
    "now",
    "rfc3339",
]


def now() -> int:
    """The wall clock, in microseconds since the Unix epoch."""
    return time.time_ns() // 1000


def rfc3339(moment: int) -> str:
    """A time as RFC 3339 in UTC with microseconds: `2026-01-31T12:00:00.000001Z`."""
    seconds, micros = divmod(moment, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{micros:06d}Z"


@dataclass(frozen=True, slots=True)
class Batch:
    """A run of lines that arrived together on one stream.

    `data` has the bytes as the workload wrote them, line ends included. The lines are numbered
    `first` to `last`. `time` is when they arrived. A line longer than the limit is cut into
    fragments. Each fragment but the last is a batch of its own with `partial` set, and the next
    batch of that stream has `continues` set. Apart from fragments, only the last batch of a stream
    may lack its final line end.

    `rendered` caches the batch's wire forms, so that all subscribers share one computation.
    """

    first: int
    count: int
    time: int
    stream: str
    data: bytes
    partial: bool = False
    continues: bool = False
    rendered: dict[object, bytes] = field(default_factory=dict, compare=False, repr=False)

    @property
    def last(self) -> int:
        """The sequence number of the last line."""
        return self.first + self.count - 1

    @property
    def weight(self) -> int:
        """About how many bytes this batch takes on the wire, where each line is one event."""
        return len(self.data) + 100 * self.count

    @property
    def lines(self) -> list[bytes]:
        """The lines without their ends."""
        lines = self.data.split(b"\n")
        unended = lines.pop()
        lines = [line.removesuffix(b"\r") for line in lines]
        return lines if len(lines) == self.count else [*lines, unended]

    def since(self, first: int) -> Batch:
        """The part of this batch from line `first` on; the batch must hold that line."""
        skip = first - self.first
        if skip == 0:
            return self
        data = self.data.split(b"\n", skip)[skip]
        return Batch(first, self.count - skip, self.time, self.stream, data, self.partial)


@dataclass(frozen=True, slots=True)
class Run:
    """A batch without its data, as `LogStore.scan` returns it. See `Batch` for the fields."""

    first: int
    count: int
    time: int
    stream: str
    partial: bool = False
    continues: bool = False

    @property
    def last(self) -> int:
        """The sequence number of the last line."""
        return self.first + self.count - 1


@dataclass(frozen=True, slots=True)
class Gap:
    """Lines `first` to `last` are missing. `reason` is a wire value: `retention`, `store`,
    `damaged` or `deleted`.

    A store keeps gaps with reason `store` in the place of their lines; the `time` of such a gap is
    not before that of any of its lines, nor after that of the next line. It is 0 for other gaps.
    """

    first: int
    last: int
    reason: str = "retention"
    time: int = field(default=0, compare=False)

    @property
    def weight(self) -> int:
        """About how many bytes the gap's event takes on the wire."""
        return 100


class Status(StrEnum):
    """Where a workload is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    TIMED_OUT = "timed_out"
    LOST = "lost"

    @property
    def final(self) -> bool:
        """Whether the workload has finished, so that its status stays."""
        return self not in (Status.QUEUED, Status.RUNNING)


class Reason(StrEnum):
    """Why a workload ended, for programs; `Outcome.error` tells people.

    `FAILED` has EXITED, SIGNALED, NOT_STARTED, EXCEPTION or OUT_OF_MEMORY; `SUCCEEDED` has EXITED;
    `STOPPED` has STOP_REQUESTED or SHUTDOWN; `TIMED_OUT` has TIMEOUT; `LOST` has SERVER_LOST or
    CLIENT_LOST.
    """

    EXITED = "exited"
    SIGNALED = "signaled"
    NOT_STARTED = "not_started"
    EXCEPTION = "exception"
    STOP_REQUESTED = "stop_requested"
    SHUTDOWN = "shutdown"
    TIMEOUT = "timeout"
    SERVER_LOST = "server_lost"
    CLIENT_LOST = "client_lost"
    OUT_OF_MEMORY = "out_of_memory"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a workload ended. `signal` is a name such as `SIGKILL`, `error` a sentence for people.

    `reason` is one of `Reason`, or another word that a later version of the service sent, or None
    for a workload that ended before version 0.2.
    """

    status: Status
    exit_code: int | None = None
    signal: str | None = None
    error: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class End:
    """The last record of a log: the outcome, the number of lines, and their bytes."""

    outcome: Outcome
    lines: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Detached:
    """The last record of a subscription that the server ends although the log may go on."""


@dataclass(frozen=True, slots=True)
class Reset:
    """The position to resume from does not exist, so the stream goes on with the first line asked
    for. `reason` is a wire value, `beyond_head` or `not_ended`; `detail` is a sentence for
    people."""

    reason: str
    detail: str = ""


Record: TypeAlias = Batch | Gap | End | Detached


@dataclass(frozen=True, slots=True)
class WorkloadSpec:
    """What to run. `command` is an argument vector, never a shell line; `timeout` is in seconds."""

    command: tuple[str, ...]
    backend: str = "process"
    name: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    cwd: str | None = None
    timeout: float | None = None
    labels: dict[str, str] = field(default_factory=dict)
    pty: bool = False


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload's record, as the store has it."""

    id: str
    spec: WorkloadSpec
    created_at: int
    status: Status = Status.QUEUED
    started_at: int | None = None
    finished_at: int | None = None
    exit_code: int | None = None
    signal: str | None = None
    error: str | None = None
    lines: int = 0
    bytes: int = 0
    reason: str | None = None
