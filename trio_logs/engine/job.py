"""One workload while the engine has it: its phase, and the changes of its phase."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum, auto

import trio

from ..backends import Stop
from ..records import Outcome, Reason, Status, Workload, WorkloadSpec

__all__ = ["NEVER_STARTED", "Job", "Phase"]

STOPPED_EARLY = "The workload was stopped before it started."

NEVER_STARTED = Outcome(Status.STOPPED, error=STOPPED_EARLY, reason=Reason.STOP_REQUESTED)

MARK_SECONDS = 1.0
"""Seconds that a shutdown waits for a store which is marking a workload as running. A working store
completes this and then stores the end. Without the wait, the next start would make the workload
`lost`."""


KEPT_BYTES = 4096
"""The weight up to which a workload that waits keeps its specification: a stop can show it then,
whatever the store does. 10,000 of them have 40 MiB."""


class Phase(Enum):
    """A job goes through these phases in order, and may skip some.

    STARTING waits for the store, RUNNING for the backend, ENDING for a durable end.
    """

    QUEUED = auto()
    STARTING = auto()
    RUNNING = auto()
    ENDING = auto()
    GONE = auto()


@dataclass(slots=True, eq=False)
class Job:
    """`workload` is the engine's copy of the record, without most of the specification unless
    `is_whole`; `weight` is that of the record. `remote`: the workload runs elsewhere, and goes on
    while the service is down. `epoch` is that with which a node of a shared store owns the
    workload; None in a store of one service.

    `ran_for`: microseconds that a remote workload has run before this start of the service.
    `marking`: the store may have the workload as running. `leaving`: the service shuts down.
    `begun`: the workload runs, or this engine won't run it. `executed`: its backend has ended, or
    never began. `done`: this engine has let go of the workload. `is_fenced`: another node owns the
    workload now.
    """

    workload: Workload
    remote: bool
    epoch: int | None = None
    phase: Phase = Phase.QUEUED
    stop: Stop = field(default_factory=Stop)
    begun: trio.Event = field(default_factory=trio.Event)
    executed: trio.Event = field(default_factory=trio.Event)
    done: trio.Event = field(default_factory=trio.Event)
    starting: trio.CancelScope = field(default_factory=trio.CancelScope)
    running: trio.CancelScope = field(default_factory=trio.CancelScope)
    marking: bool = False
    leaving: bool = False
    is_fenced: bool = False
    ran_for: int = 0
    weight: int = field(init=False)
    is_whole: bool = True

    def __post_init__(self) -> None:
        # The store has marked a workload that a node has claimed.
        self.marking = self.epoch is not None
        self.weight = self.workload.weight

    def shed(self) -> None:
        """Forget most of a large specification while the workload waits: the start reads it again.
        Thousands of workloads may wait, with a mebibyte each."""
        if self.workload.status is Status.QUEUED and self.weight > KEPT_BYTES:
            self.is_whole = False
            spec = self.workload.spec
            kept = WorkloadSpec((), spec.backend, timeout=spec.timeout, pty=spec.pty)
            self.workload = replace(self.workload, spec=kept)

    def restore(self, spec: WorkloadSpec) -> None:
        """Take back what was forgotten."""
        self.workload = replace(self.workload, spec=spec)
        self.is_whole = True

    def begin(self, started_at: int, node: str) -> None:
        """The store has the workload as running on the service instance `node`."""
        if self.workload.status is Status.QUEUED:
            self.workload = replace(
                self.workload, status=Status.RUNNING, started_at=started_at, node=node
            )
        self.phase = Phase.RUNNING
        self.begun.set()

    def end(self) -> None:
        """The workload runs no more; its end has to be stored."""
        self.phase = Phase.ENDING
        self.begun.set()
        self.executed.set()

    def let_go(self) -> None:
        """The end is durable, or the workload is left to the next start."""
        self.phase = Phase.GONE
        self.begun.set()
        self.executed.set()
        self.done.set()

    def request_stop(self, grace: float, signal: str | None) -> None:
        """Stop the workload, at once if it does not run yet. `grace` is in seconds; `signal` is by
        default SIGTERM.

        A job that is ending is left alone.
        """
        match self.phase:
            case Phase.STARTING:
                self._request(Reason.STOP_REQUESTED, grace, STOPPED_EARLY)
                self.starting.cancel(reason="the workload was stopped")
            case Phase.RUNNING:
                self._request(Reason.STOP_REQUESTED, grace, "The workload was stopped.", signal)

    def wind_down(self, grace: float) -> None:
        """The service shuts down: stop the workload if it runs here; leave it to the next start if
        it runs elsewhere or does not run yet."""
        self.leaving = True
        match self.phase:
            case Phase.STARTING if self.marking:
                deadline = trio.current_time() + MARK_SECONDS
                self.starting.deadline = min(self.starting.deadline, deadline)
            case Phase.STARTING:
                self.starting.cancel(reason="the service is shutting down")
            case Phase.RUNNING if self.remote:
                self.running.cancel(reason="the service is shutting down")
            case Phase.RUNNING:
                self._request(Reason.SHUTDOWN, grace, "The service was shut down.")

    def fence(self) -> None:
        """Another node owns the workload: end what runs here, and store nothing."""
        self.is_fenced = True
        self.starting.cancel(reason="another node owns the workload")
        self.running.cancel(reason="another node owns the workload")

    def _request(self, reason: Reason, grace: float, error: str, signal: str | None = None) -> None:
        self.stop.request(Status.STOPPED, reason, grace, error, signal)

    def stopped(self) -> Outcome | None:
        """The outcome of a workload that was stopped before its backend began; None if it was not
        stopped."""
        if self.stop.status is None:
            return None
        return Outcome(self.stop.status, error=self.stop.error, reason=self.stop.reason)
