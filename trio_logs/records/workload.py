"""What a client wants to run, and what the service knows of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from .outcome import Status

__all__ = ["Workload", "WorkloadSpec"]


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
    """A workload's record, as the store has it. `node` names the service instance that runs it, and
    `rerun_of` is the id of the workload that it repeats."""

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
    node: str | None = None
    rerun_of: str | None = None
