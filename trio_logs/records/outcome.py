"""How a workload stands, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Outcome", "Reason", "Status"]


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
