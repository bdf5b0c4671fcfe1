"""The jobs of the engine, each a child task of one nursery once it has left the queue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextvars import copy_context
from functools import partial
from typing import Any

import structlog
import trio

from ..broker import Bell
from ..records import Outcome, Status
from ..store.shared import Owned
from .job import NEVER_STARTED, Job, Phase
from .past import Past
from .queue import Queue
from .runner import Runner

__all__ = ["Jobs"]

_log = structlog.get_logger("trio_logs.engine")


class Jobs:
    """Keeps a job from its submission until its end is durable, or until it is left to the next
    start. `finished` counts the outcomes since the start, by status. `fenced` counts the workloads
    that other nodes took over, and `unended` those that this node owns and could not end. `past`
    has those that it has owned and begun.

    Call `open` with the engine's nursery before `add`. `room` is rung when another workload may
    run; without it, `add` fills a queue here.
    """

    def __init__(self, queue: Queue, runner: Runner, room: Bell | None = None) -> None:
        self._queue = queue
        self._runner = runner
        self._room = room
        # What a shutdown gives to jobs that begin later.
        self._grace: float | None = None
        self.fenced = 0
        self.unended = 0
        self._jobs: dict[str, Job] = {}
        self._nursery: trio.Nursery
        self.accepting = False
        self.finished = Counter[Status]()
        self.past = Past()

    def open(self, nursery: trio.Nursery) -> None:
        """Run jobs as children of this nursery, with the context variables of this task."""
        self._nursery = nursery
        self._context = copy_context()

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[Job]:
        """The jobs at this moment."""
        return iter(tuple(self._jobs.values()))

    def get(self, workload_id: str) -> Job | None:
        """The job of a workload, if the engine has one."""
        return self._jobs.get(workload_id)

    def add(self, job: Job) -> None:
        """Queue a job, or start it at once if it runs elsewhere."""
        if not self.accepting:
            # The shutdown began during the commit: the next start runs the workload.
            job.let_go()
            return
        self._jobs[job.workload.id] = job
        job.shed()
        if job.remote:
            self._queue.hold(job)
            self._start(job)
        else:
            self._queue.add(job)
            self._start_ready()

    def begin(self, job: Job) -> None:
        """Start a job that this node owns already."""
        self._jobs[job.workload.id] = job
        if job.epoch is not None:
            self.past.add(job.workload.id, job.epoch)
        self._queue.hold(job)
        self._start(job)
        if self._grace is not None:
            # The shutdown began while the store made this node the owner.
            job.wind_down(self._grace)

    def end(self, job: Job, outcome: Outcome) -> None:
        """Store the end of a job that never ran here, or was not started yet."""
        self._jobs[job.workload.id] = job
        job.end()
        self._start_soon(self._end, job, outcome)

    async def end_again(self, owned: Owned) -> None:
        """Store the end of a workload that this node has run, and the database has lost. Raises
        StoreError."""
        await self._runner.end_again(owned, self.past.end(owned))

    def stop(self, job: Job, grace: float, signal: str | None = None) -> None:
        """Stop a job; see `Job.request_stop`."""
        if job.phase is Phase.QUEUED:
            self._queue.remove(job)
            self.end(job, NEVER_STARTED)
        else:
            job.request_stop(grace, signal)

    def drain(self, grace: float) -> None:
        """Refuse new jobs, leave the queue to the next start, and stop running jobs."""
        self.close()
        self._grace = grace
        for job in self:
            if job.phase is Phase.QUEUED:
                self._let_go(job, ended=False)
            else:
                job.wind_down(grace)

    def hold(self) -> None:
        """Refuse new jobs, and start none of those that wait. A second call does nothing."""
        self.accepting = False

    def close(self) -> None:
        """Start nothing any more."""
        self.accepting = False
        self._queue.clear()

    def _start_ready(self) -> None:
        if self._room is not None:
            self._room.ring()
        elif self.accepting:
            for job in self._queue.take():
                self._start(job)

    def _start(self, job: Job) -> None:
        job.phase = Phase.STARTING
        self._start_soon(self._run, job)

    def _start_soon(self, function: Callable[..., Awaitable[None]], job: Job, *more: Any) -> None:
        # In the engine's context: that of a client would keep its request in memory meanwhile.
        start = partial(self._nursery.start_soon, name=f"workload {job.workload.id}")
        self._context.run(start, function, job, *more)

    async def _run(self, job: Job) -> None:
        try:
            outcome = await self._runner.run(job)
            if outcome is None or job.is_fenced:
                self._let_go(job, ended=False)
            else:
                job.end()
                await self._end(job, outcome)
        finally:
            self._queue.release(job)
        self._start_ready()

    async def _end(self, job: Job, outcome: Outcome) -> None:
        end = await self._runner.end(job, outcome)
        if end is not None:
            self.finished[end.outcome.status] += 1
            if job.epoch is not None:
                self.past.add(job.workload.id, job.epoch, end)
        self._let_go(job, ended=end is not None)

    def _let_go(self, job: Job, *, ended: bool) -> None:
        if job.is_fenced:
            self.fenced += 1
            _log.info("workload fenced: another node owns it", workload=job.workload.id)
        elif not ended and job.epoch is not None and not job.remote:
            self.unended += 1
        if self._jobs.get(job.workload.id) is job:
            del self._jobs[job.workload.id]
        job.let_go()
