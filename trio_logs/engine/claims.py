"""What this node owns: it claims queued workloads when it has room, and takes pushed logs over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial

import structlog
import trio

from ..backends import Backend, outlives_server
from ..broker import Bell
from ..errors import FencedError, NotReadyError, StoreError
from ..records import Status, now
from ..store.shared import Owned
from .job import NEVER_STARTED, Job, Phase
from .jobs import Jobs
from .key_locks import KeyLocks
from .nodes import Nodes
from .own_tasks import OwnTasks
from .queue import Queue
from .store_calls import StoreCalls

__all__ = ["Claims"]

_log = structlog.get_logger("trio_logs.nodes")

AT_ONCE = 10
"""Workloads that are claimed in one call, so that the nodes share a short queue."""

LOOK_BEATS = 30
"""Beats between two comparisons of what the store says this node owns with what it runs."""


class Claims:
    """Makes jobs of the workloads that this node owns. Ring the `bell` when there may be work.

    A claim whose result is unknown leaves workloads that this node owns and does not run. So does
    a failover of the database that loses an end. The next comparison finds them. It is made after
    each error or outage, and otherwise every 30 beats.
    """

    def __init__(
        self,
        nodes: Nodes,
        backends: Mapping[str, Backend],
        jobs: Jobs,
        queue: Queue,
        calls: StoreCalls,
        tasks: OwnTasks,
        bell: Bell,
    ) -> None:
        self._store = nodes.store
        self._nodes = nodes
        self._backends = backends
        self._jobs = jobs
        self._queue = queue
        self._calls = calls
        self._tasks = tasks
        self._bell = bell
        self._is_open = True
        # Held while the store makes this node an owner, until there is a job.
        self._owning = trio.Lock()
        # Bound: one lock for each log that a request takes over.
        self._taking = KeyLocks()
        # Whether the result of a call is unknown, and the outages of the store at the last
        # comparison.
        self._is_unsure = False
        self._outages = 0
        self._compare_at = nodes.beats + LOOK_BEATS
        # The nodes that were gone when all logs without an owner were adopted; -1: look again.
        self._gone = -1

    async def run(self) -> None:
        """Claim workloads while there is room, until cancelled."""
        while True:
            await self._bell.wait()
            if not self._is_open:
                continue
            try:
                async with self._owning:
                    if self._must_compare:
                        await self._compare()
                    await self._claim()
                    await self._adopt()
            except FencedError:
                # This node was buried: its next beat ends it.
                self.hold()
            except StoreError as error:
                self._is_unsure = True
                _log.debug("nothing claimed: trying again", error=str(error))

    def hold(self) -> None:
        """Claim nothing more."""
        self._is_open = False

    async def settle(self) -> bool:
        """After `hold`: return once each workload that this node owns has a job; False if the store
        fails, so that this node may own others."""
        async with self._owning:
            if self._must_compare:
                with suppress(StoreError, FencedError):
                    await self._compare()
            return not self._must_compare

    async def take(self, workload_id: str) -> Job | None:
        """The job of a pushed log, whose bytes come to this node from now on. None if the log has
        ended, or is unknown. Raises StoreError, and NotReadyError while shutting down."""
        take = partial(self._take, workload_id)
        return await self._tasks.run(f"takeover of {workload_id}", take)

    async def owns(self, job: Job) -> bool:
        """Whether this node still owns the workload of a job: the news that another node has taken
        it may be late. Raises StoreError."""
        if job.is_fenced:
            return False
        read = partial(self._store.log, job.workload.id)
        state = await self._calls.once("look for the owner of the log", read)
        return state is None or state.epoch == job.epoch

    async def withdraw(self, workload_id: str) -> bool:
        """End a workload before it runs; False if it does not wait any more. Raises StoreError."""
        withdraw = partial(self._withdraw, workload_id)
        return await self._tasks.run(f"withdrawal of {workload_id}", withdraw) is not None

    async def _take(self, workload_id: str) -> Job | None:
        async with self._taking.hold(workload_id):
            job = self._jobs.get(workload_id)
            if job is not None and await self.owns(job):
                # Another request was faster.
                return job
            if not self._jobs.accepting:
                raise NotReadyError("the service is shutting down: go on at another node")
            take = partial(self._store.take, workload_id, now())
            return await self._own("take the log over", take)

    async def _withdraw(self, workload_id: str) -> Job | None:
        withdraw = partial(self._store.withdraw, workload_id)
        return await self._own("stop the workload", withdraw)

    async def _own(self, what: str, call: Callable[[], Awaitable[Owned | None]]) -> Job | None:
        async def own() -> Job | None:
            async with self._owning:
                owned = await call()
                return None if owned is None else self._begin(owned)

        try:
            return await self._calls.once(what, own)
        except FencedError as error:
            raise NotReadyError("the other nodes took this one for dead: try again") from error
        except StoreError:
            self._is_unsure = True
            raise

    async def _claim(self) -> None:
        while self._is_open and (room := min(self._queue.free, AT_ONCE)):
            claimed = await self._store.claim(room, now())
            for owned in claimed:
                self._begin(owned)
            if len(claimed) < room:
                return

    async def _adopt(self) -> None:
        """Own pushed logs whose node is gone. A log needs an owner to become `lost` if its client
        never comes back."""
        gone = self._nodes.gone
        if gone != self._gone and self._is_open and (room := self._queue.free_remote):
            adopted = await self._store.adopt(room, now())
            for owned in adopted:
                self._begin(owned)
            if len(adopted) < room:
                self._gone = gone

    @property
    def _must_compare(self) -> bool:
        is_due = self._nodes.beats >= self._compare_at
        return self._is_unsure or self._outages != self._store.outages or is_due

    async def _compare(self) -> None:
        """Compare what this node owns with what it runs. Nothing is claimed meanwhile."""
        outages = self._store.outages
        before = {job.workload.id: job for job in self._jobs}
        owned = {each.workload.id: each for each in await self._store.owned()}
        for workload_id, each in owned.items():
            if self._jobs.get(workload_id) is None and workload_id not in before:
                # One that was there before has ended since the store was read.
                if each in self._jobs.past:
                    await self._jobs.end_again(each)
                else:
                    self._begin(each)
        for workload_id, job in before.items():
            if job.phase in (Phase.STARTING, Phase.RUNNING):
                if (current := owned.get(workload_id)) is None:
                    job.fence()
                elif job.remote and current.epoch != job.epoch:
                    # This node has taken the log from itself.
                    self._begin(current)
        self._is_unsure, self._outages = False, outages
        # Another node may have locked a log when this one looked for those without an owner.
        self._gone = -1
        self._compare_at = self._nodes.beats + LOOK_BEATS

    def _begin(self, owned: Owned) -> Job:
        workload = owned.workload
        remote = outlives_server(self._backends, workload.spec.backend)
        job = Job(workload, remote, owned.epoch)
        if remote and workload.started_at is not None:
            # It ran on at its client, and may have had another node before.
            job.ran_for = max(0, now() - workload.started_at)
        if (earlier := self._jobs.get(workload.id)) is not None:
            # Its epoch is over: it can't store anything any more.
            earlier.fence()
        if workload.status is Status.QUEUED:
            self._jobs.end(job, NEVER_STARTED)
        else:
            self._jobs.begin(job)
        return job
