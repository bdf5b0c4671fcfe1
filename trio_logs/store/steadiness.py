"""What retention may remove by age while the clock may be wrong.

A clock that is wrong for a moment makes all history look old. So until the clock has been steady
for an hour, nothing is removed by age if that were more than a tenth at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from ..records import elapsed, is_steady_since, steady_seconds
from . import LogStore, Retention, WorkloadStore
from .query import WorkloadQuery

__all__ = ["Removal", "lines_to_trim", "records_to_prune"]

STEADY_SECONDS = 3600.0
"""The clock is doubted for so many seconds after a step, and after a start that finds records."""

AT_ONCE = 10
"""While the clock is doubted, retention removes by age one in so many lines or records at most."""


async def lines_to_trim(store: LogStore, retention: Retention) -> Retention:
    """The bounds of the history for now: without `max_age` if the clock is doubted. Raises
    StoreError."""
    if retention.max_age is None or steady_seconds() >= STEADY_SECONDS:
        return retention
    if await store.share_older(retention.max_age) * AT_ONCE <= 1:
        return retention
    return replace(retention, max_age=None)


async def records_to_prune(store: WorkloadStore, retention: Retention) -> Retention:
    """The bounds of records for now: without `max_record_age` if the clock is doubted. Raises
    StoreError."""
    if retention.max_record_age is None or steady_seconds() >= STEADY_SECONDS:
        return retention
    of_age = Retention(max_record_age=retention.max_record_age)
    if not await store.expired(of_age, 1):
        return retention
    some = sum((await store.count(WorkloadQuery())).values()) // AT_ONCE
    if len(await store.expired(of_age, some + 1)) <= some:
        return retention
    return replace(retention, max_record_age=None)


@dataclass
class Removal:
    """Removes what is beyond `bounds`, piece by piece. `judge` gives the bounds for now; `remove`
    removes a piece, and returns how much that was; `doubts` is called when the clock begins to be
    doubted."""

    bounds: Retention
    judge: Callable[[Retention], Awaitable[Retention]]
    remove: Callable[[Retention], Awaitable[int]]
    doubts: Callable[[], object]
    is_doubted: bool = False

    async def run(self) -> None:
        """Return once nothing is beyond the bounds for now. Raises what `judge` and `remove` do."""
        while True:
            judged = elapsed()
            bounds = await self.judge(self.bounds)
            was_doubted, self.is_doubted = self.is_doubted, bounds != self.bounds
            if self.is_doubted and not was_doubted:
                self.doubts()
            while await self.remove(bounds):
                if not is_steady_since(judged):
                    # A removal may be long, and the clock has stepped meanwhile: judge again.
                    break
            else:
                return
