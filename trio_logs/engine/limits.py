"""The bounds of the engine, and its statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..records import Status

__all__ = ["EngineLimits", "EngineStatistics"]


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """How many workloads run at once, and how many wait, with specifications of `queued_bytes` in
    all. `grace`: seconds between TERM and KILL.

    `remote` bounds the workloads that run elsewhere; they do not wait, and do not count in
    `running`.
    """

    running: int = 100
    remote: int = 1_000
    queued: int = 10_000
    queued_bytes: int = 256 * 1024 * 1024
    grace: float = 10.0


@dataclass(frozen=True, slots=True)
class EngineStatistics:
    """`queued` and `running` count workloads now. A workload whose end is not durable yet is
    running.

    `submitted` counts new workloads since the start, `finished` counts outcomes by status, and
    `changes_published` counts changes of records. `event_readers` are the readers of these changes
    now. `owned` counts the workloads that this service is responsible for now, `fenced` those that
    other nodes took over."""

    queued: int
    running: int
    submitted: int
    finished: Mapping[Status, int]
    event_readers: int
    changes_published: int
    owned: int
    fenced: int
