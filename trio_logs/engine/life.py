"""The start and the shutdown of all workloads of an engine."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import structlog
import trio

from ..backends import Backend
from ..store import WorkloadStore
from .admission import Admission
from .clock import newest_time
from .job import Phase
from .jobs import Jobs
from .recovery import recover
from .sharing import Sharing
from .store_calls import StoreCalls

__all__ = ["Life"]

_log = structlog.get_logger("trio_logs.engine")

END_SECONDS = 10.0
"""Seconds that a start and a shutdown wait for a failing store."""


class Life:
    """See `Engine` for the methods. `grace`: seconds between TERM and KILL. `may_own_more`: a
    shutdown could not find out whether this node owns workloads that it never ran."""

    def __init__(
        self,
        store: WorkloadStore,
        backends: Mapping[str, Backend],
        jobs: Jobs,
        admission: Admission,
        calls: StoreCalls,
        grace: float,
        sharing: Sharing | None,
    ) -> None:
        self._store = store
        self._backends = backends
        self._jobs = jobs
        self._admission = admission
        self._calls = calls
        self._grace = grace
        self._sharing = sharing
        self.may_own_more = False

    async def newest_time(self) -> int:
        """See `clock.newest_time`. Raises StoreError."""
        return await self._calls.once("read the newest time", partial(newest_time, self._store))

    async def begin(self, nursery: trio.Nursery) -> None:
        """Accept workloads, after cleaning up after a crash. Raises StoreError if the store can't
        be read."""
        if self._sharing is None:
            await self._take_up()
        else:
            self._jobs.accepting = True
            self._sharing.open(nursery)

    async def _take_up(self) -> None:
        """Continue where the service stopped before."""
        recovered = await recover(self._store, self._backends, self._calls)
        deadline = trio.current_time() + END_SECONDS
        with trio.move_on_at(deadline):
            for job, outcome in recovered.lost:
                self._jobs.end(job, outcome)
            for job, _ in recovered.lost:
                await job.done.wait()
        self._jobs.accepting = True
        for job in recovered.waiting:
            self._jobs.add(job)
        # The clients of remote workloads wait for the service to be back.
        with trio.move_on_at(deadline):
            for job in recovered.waiting:
                if job.remote:
                    await job.begun.wait()

    def hold(self) -> None:
        if self._sharing is None:
            self._jobs.hold()
        else:
            self._sharing.claims.hold()

    async def idle(self) -> None:
        await self._until_claimed()
        for job in self._jobs:
            if job.phase is not Phase.QUEUED and not job.remote:
                await job.done.wait()

    def drain(self) -> None:
        self.hold()
        self._jobs.drain(self._grace)

    async def shutdown(self) -> int:
        self.drain()
        self.may_own_more = True
        with trio.move_on_after(END_SECONDS):
            self.may_own_more = not await self._until_claimed()
        for job in self._jobs:
            await job.executed.wait()
        with trio.move_on_after(END_SECONDS):
            for job in self._jobs:
                await job.done.wait()
            await self._admission.until_settled()
            # A failover may have lost ends meanwhile.
            self.may_own_more = not await self._until_claimed()
        if self._admission.unsettled:
            _log.warning(
                "submissions that failed may run at the next start",
                count=self._admission.unsettled,
            )
        return len(self._jobs) + self._jobs.unended

    async def _until_claimed(self) -> bool:
        """See `Claims.settle`."""
        return self._sharing is None or await self._sharing.claims.settle()
