"""Which workloads a command lists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Literal

from cyclopts import Parameter

from ..client import Workload
from ..client.requests import ListOptions

__all__ = ["AnyStatus", "Labels", "Wanted"]

AnyStatus = Annotated[
    tuple[Literal["queued", "running", "succeeded", "failed", "stopped", "timed_out", "lost"], ...],
    Parameter(negative="", help="Only workloads with this status; repeatable: any of them."),
]

Labels = Annotated[
    tuple[str, ...],
    Parameter(negative="", help="Only workloads with this label, K=V; repeatable: all of them."),
]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Workloads with any of the statuses, by default all; with all of the labels; with exactly this
    name; created at `since` or later."""

    statuses: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    name: str | None = None
    since: datetime | None = None

    @property
    def options(self) -> ListOptions:
        """As the options of a list."""
        return {
            "status": self.statuses,
            "labels": self.labels,
            "name": self.name,
            "since": None if self.since is None else self.since.isoformat(),
        }

    def selects(self, workload: Workload) -> bool:
        """Whether the list would have the workload."""
        return (
            (not self.statuses or workload.status in self.statuses)
            and self.labels.items() <= workload.labels.items()
            and (self.name is None or workload.name == self.name)
            and (self.since is None or workload.created_at >= self.since)
        )
