"""Times over a restart, during which the wall clock may have been set."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec

from ..records import Workload, elapsed, now
from ..store import WorkloadQuery, WorkloadStore

__all__ = ["Begun", "newest_time"]


async def newest_time(store: WorkloadStore) -> int:
    """The newest time of the records that the store has; 0 without records. Raises StoreError.

    New times follow it, so that all keep their order, even if the clock was set back meanwhile.
    """
    times = [0]
    position = await store.position()
    for change in (await store.changes(max(position - 1, 0), 1)).changes:
        times += _times(change.workload)
    for workload in await store.workloads(WorkloadQuery(limit=1)):
        times += _times(workload)
    return max(times)


def _times(workload: Workload | None) -> list[int]:
    if workload is None:
        return []
    times = (workload.created_at, workload.started_at, workload.finished_at)
    return [moment for moment in times if moment is not None]


@dataclass(frozen=True, slots=True)
class Begun:
    """When a workload has begun that runs elsewhere, by a clock that nothing sets: `count` is in
    microseconds since the boot `boot` of this machine."""

    boot: str
    count: int

    @classmethod
    def now(cls) -> Begun:
        """This moment."""
        return cls(_boot_id(), elapsed())

    def encode(self) -> str:
        """As JSON."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def since(cls, handle: str | None, started_at: int) -> int:
        """Microseconds since a begin, whose `encode` gave the handle; by the wall clock if that was
        before a boot, or on another machine."""
        try:
            begun = msgspec.json.decode(handle or "", type=cls)
        except msgspec.DecodeError:
            begun = cls("", 0)  # the handle is the backend's own
        if begun.boot and begun.boot == _boot_id():
            return elapsed() - begun.count
        return max(0, now() - started_at)


@cache
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
