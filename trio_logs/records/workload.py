"""What a client wants to run, and what the service knows of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from .outcome import Status

__all__ = ["Change", "Progress", "Workload", "WorkloadSpec"]

_Rendered: TypeAlias = dict[object, bytes]


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

    @property
    def weight(self) -> int:
        """About how many bytes this record takes, in memory and on the wire."""
        spec = self.spec
        texts = [*spec.command, *spec.env, *spec.env.values(), *spec.labels, *spec.labels.values()]
        return 800 + sum(map(len, texts)) + len(spec.name or "") + len(spec.cwd or "")


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a workload's record. Positions grow; `workload` is None if it was deleted.

    `rendered` caches the change's wire forms, so that all readers share one computation.
    """

    position: int
    id: str
    workload: Workload | None
    rendered: _Rendered = field(default_factory=dict, compare=False, repr=False)

    @property
    def weight(self) -> int:
        """About how many bytes this change takes, in memory and on the wire."""
        return 100 if self.workload is None else self.workload.weight


@dataclass(frozen=True, slots=True)
class Progress:
    """The log of a running workload has grown: the number of its lines, and their bytes. See
    `Change` for `rendered`."""

    id: str
    lines: int
    bytes: int
    rendered: _Rendered = field(default_factory=dict, compare=False, repr=False)
