"""The bounds of the engine, and what it counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..records import Status

__all__ = ["EngineLimits", "EngineStatistics"]


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """How many workloads run and wait at once; `grace` is in seconds, between TERM and KILL.

    `remote` bounds the workloads that run elsewhere. They neither wait nor count among the others.
    """

    running: int = 100
    remote: int = 1_000
    queued: int = 10_000
    grace: float = 10.0


@dataclass(frozen=True, slots=True)
class EngineStatistics:
    """`queued` and `running` are workloads now; a workload whose end is not durable yet is running.

    Since the start, `submitted` counts new workloads, and `finished` outcomes by status."""

    queued: int
    running: int
    submitted: int
    finished: Mapping[Status, int]
