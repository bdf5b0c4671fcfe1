"""The queue, and the nursery in which each running workload is a child task."""

from __future__ import annotations

import hashlib
import secrets
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from functools import partial

import msgspec
import structlog
import trio

from ..backends import Backend, find_backend, outlives_server, serving
from ..broker import LogBroker
from ..errors import (
    BusyError,
    ConflictError,
    InvalidSpecError,
    NotReadyError,
    TrioLogsError,
    WorkloadNotFoundError,
)
from ..records import SHUT_DOWN, Outcome, Reason, Status, Workload, WorkloadSpec, now
from ..store import LogStore, WorkloadQuery
from .job import Job

__all__ = ["Engine", "EngineLimits", "EngineStatistics"]

_log = structlog.get_logger("trio_logs.engine")


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """How many workloads run and wait at once; `grace` is in seconds, between TERM and KILL.

    `remote` is for those that run elsewhere, and so neither wait nor count among the others.
    """

    running: int = 100
    remote: int = 1_000
    queued: int = 10_000
    grace: float = 10.0


@dataclass(frozen=True, slots=True)
class EngineStatistics:
    """`queued` and `running` are workloads now; since the start, `submitted` counts new ones, and
    `finished` outcomes by status."""

    queued: int
    running: int
    submitted: int
    finished: Mapping[Status, int]


@dataclass(slots=True, eq=False)
class _Submission:
    spec: WorkloadSpec
    key: str | None
    fingerprint: bytes
    decided: trio.Event = field(default_factory=trio.Event)
    workload_id: str = ""
    created: bool = False
    # Until it is decided: who waits for it is told so if its task fails.
    error: TrioLogsError | None = field(
        default_factory=lambda: NotReadyError("the service failed: submit again when it is back")
    )


class Engine:
    """Runs workloads. Start it in a nursery, `await nursery.start(engine.run)`; the broker and its
    store must run, and be cancelled later."""

    def __init__(
        self,
        store: LogStore,
        broker: LogBroker,
        backends: Mapping[str, Backend],
        limits: EngineLimits | None = None,
    ) -> None:
        self._store = store
        self._broker = broker
        self._backends = backends
        self._limits = limits or EngineLimits()
        self._nursery: trio.Nursery
        self._jobs: dict[str, Job] = {}
        self._queue: deque[Job] = deque()
        self._running = 0
        self._remote = 0
        self._accepting = False
        self._submitting = {True: 0, False: 0}  # by whether they run elsewhere
        self._keyed = trio.Lock()
        self._last_id = 0
        self._submitted = 0
        self._finished = dict.fromkeys((status for status in Status if status.final), 0)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Clean up after a crash, take up the queue, then run what is submitted until cancelled."""
        self._context = copy_context()
        async with serving(self._backends), trio.open_nursery() as self._nursery:
            try:
                unfinished = await self._store.unfinished()
                for workload, handle in unfinished:
                    if workload.status is Status.RUNNING and not self._is_remote(workload.spec):
                        await self._bury(workload, handle)
                self._accepting = True
                jobs = [
                    self._enqueue(workload)
                    for workload, _ in unfinished
                    if workload.status is Status.QUEUED or self._is_remote(workload.spec)
                ]
                # As below: the clients of these are waiting for the service to be back.
                for job in jobs:
                    if self._is_remote(job.workload.spec):
                        await job.begun.wait()
                task_status.started()
                await trio.sleep_forever()
            finally:
                # Before the nursery closes: nothing can be started any more, also if nobody drained
                # it.
                self._accepting = False
                self._queue.clear()

    async def _bury(self, workload: Workload, handle: str | None) -> None:
        """What ran when the server died is lost, and what is left of its processes is ended."""
        _log.warning("workload lost", workload=workload.id)
        error = "The server died while the workload ran."
        if handle is not None:
            try:
                await find_backend(self._backends, workload.spec.backend).reap(handle)
            except Exception as problem:
                error += f" What it left running could not be ended: {problem}"
                _log.exception("workload not reaped", workload=workload.id)
        await self._broker.close(workload.id, Outcome(Status.LOST, error=error))
        self._finished[Status.LOST] += 1

    def _is_remote(self, spec: WorkloadSpec) -> bool:
        return outlives_server(self._backends, spec.backend)

    async def submit(self, spec: WorkloadSpec, key: str | None = None) -> tuple[Workload, bool]:
        """Queue a workload; return its record, and whether it is new.

        `key` makes it idempotent: the same key with the same spec answers the first workload again.
        Raises InvalidSpecError, also for a key that was used with another spec, BusyError when the
        queue is full, and NotReadyError while shutting down.
        """
        # Who is cancelled together with the engine is not to find it closed instead.
        await trio.lowlevel.checkpoint_if_cancelled()
        find_backend(self._backends, spec.backend).check(spec)
        try:
            encoded = msgspec.json.encode(spec, order="deterministic")
        except UnicodeEncodeError as error:
            raise InvalidSpecError(f"a text is not Unicode: {error}") from error
        if not self._accepting:
            raise NotReadyError("the service is shutting down: submit again when it is back")
        submission = _Submission(spec, key, hashlib.sha256(encoded).digest())
        # A task of the engine does it: a client that leaves now can't take back a commit half-way.
        self._nursery.start_soon(self._admit, submission)
        await submission.decided.wait()
        if submission.error is not None:
            raise submission.error
        return await self.get(submission.workload_id), submission.created

    async def _admit(self, submission: _Submission) -> None:
        try:
            if submission.key is None:
                await self._create(submission)
                return
            async with self._keyed:
                known = await self._store.find_key(submission.key)
                if known is None:
                    await self._create(submission)
                    return
            submission.workload_id, fingerprint = known
            submission.error = None
            if fingerprint != submission.fingerprint:
                submission.error = InvalidSpecError(
                    "Idempotency-Key: it was used with another body; take a new key"
                )
        except BusyError as error:
            submission.error = error
        finally:
            submission.decided.set()

    async def _create(self, submission: _Submission) -> None:
        moment = now()
        workload = Workload(self._new_id(moment), submission.spec, moment)
        with self._room_for(workload):
            await self._store.create(
                workload, key=submission.key, fingerprint=submission.fingerprint
            )
        submission.workload_id = workload.id
        submission.created = True
        submission.error = None
        self._submitted += 1
        job = self._enqueue(workload)
        if self._is_remote(workload.spec):
            # Its client comes next, and needs not be sent away.
            await job.begun.wait()

    @contextmanager
    def _room_for(self, workload: Workload) -> Iterator[None]:
        """Count it until it is among the jobs. Raises BusyError if it is one too many."""
        is_remote = self._is_remote(workload.spec)
        submitting = self._submitting[is_remote]
        if is_remote:
            if self._remote + submitting >= self._limits.remote:
                raise BusyError(
                    f"{self._limits.remote} workloads run elsewhere: submit again later"
                )
        elif len(self._queue) + submitting >= self._limits.queued + self._free:
            raise BusyError(f"{self._limits.queued} workloads are waiting: submit again later")
        self._submitting[is_remote] += 1
        try:
            yield
        finally:
            self._submitting[is_remote] -= 1

    def _new_id(self, moment: int) -> str:
        """An id that sorts by time: microseconds, never the same twice, and six random digits."""
        self._last_id = max(moment, self._last_id + 1)
        return f"{self._last_id:014x}{secrets.token_hex(3)}"

    def _enqueue(self, workload: Workload) -> Job:
        job = Job(workload)
        self._jobs[workload.id] = job
        if self._is_remote(workload.spec):
            self._remote += 1
            self._start_job(job)
        else:
            self._queue.append(job)
            self._start_ready()
        return job

    @property
    def _free(self) -> int:
        """How many may start at once."""
        return self._limits.running - self._running

    def _start_ready(self) -> None:
        while self._accepting and self._queue and self._free > 0:
            job = self._queue.popleft()
            self._running += 1
            self._start_job(job)

    def _start_job(self, job: Job) -> None:
        # Not with the context variables of whoever submits: they would keep a request in memory for
        # as long as its workload runs.
        name = f"workload {job.workload.id}"
        self._context.run(partial(self._nursery.start_soon, self._run_job, job, name=name))

    async def _run_job(self, job: Job) -> None:
        workload_id = job.workload.id
        outcome = None
        try:
            with await self._broker.open(workload_id) as log:
                if job.workload.status is Status.QUEUED:
                    await self._store.start(workload_id, now())
                job.begun.set()
                with job.leaving:
                    outcome = await job.execute(
                        self._backends,
                        log,
                        partial(self._store.remember, workload_id),
                        self._limits.grace,
                    )
            if outcome is None:
                self._forget(job)
                return
            if job.stop.status is not None:
                outcome = replace(outcome, status=job.stop.status, error=job.stop.error)
            await self._finish(job, outcome)
        finally:
            if self._is_remote(job.workload.spec):
                self._remote -= 1
            else:
                self._running -= 1
        self._start_ready()

    async def _finish(self, job: Job, outcome: Outcome) -> None:
        await self._broker.close(job.workload.id, outcome)
        self._finished[outcome.status] += 1
        self._forget(job)

    def _forget(self, job: Job) -> None:
        del self._jobs[job.workload.id]
        job.done.set()

    def is_live(self, workload_id: str) -> bool:
        """Whether it exists and may not have finished; False says nothing. The store, which `get`
        asks, is not needed for it."""
        return workload_id in self._jobs

    async def get(self, workload_id: str) -> Workload:
        """The record of a workload. Raises WorkloadNotFoundError."""
        workload = await self._store.workload(workload_id)
        if workload is None:
            raise WorkloadNotFoundError(f"there is no workload {workload_id!r}")
        return workload

    async def finished(self, workload_id: str) -> Workload:
        """Its record, once it has finished, or once this service lets go of it.

        Raises WorkloadNotFoundError."""
        job = self._jobs.get(workload_id)
        if job is not None:
            await job.done.wait()
        return await self.get(workload_id)

    async def list(self, query: WorkloadQuery) -> list[Workload]:
        """A page of records, newest first."""
        return await self._store.workloads(query)

    async def stop(self, workload_id: str, grace: float | None = None) -> Workload:
        """Have a workload end: TERM now, KILL after `grace` seconds. Returns its record at once;
        nothing happens if it has finished. Raises WorkloadNotFoundError, and NotReadyError while
        shutting down, if it was left for the next start."""
        job = self._jobs.get(workload_id)
        if job is not None:
            self._stop(job, self._limits.grace if grace is None else grace)
        workload = await self.get(workload_id)
        if not (self._accepting or job or workload.status.final):
            raise NotReadyError("the service is shutting down: stop it when it is back")
        return workload

    def _stop(self, job: Job, grace: float) -> None:
        job.stop.request(Status.STOPPED, Reason.STOP_REQUESTED, grace, "The workload was stopped.")
        if job in self._queue:
            self._queue.remove(job)
            outcome = Outcome(Status.STOPPED, error="The workload was stopped before it started.")
            self._nursery.start_soon(self._finish, job, outcome)

    async def delete(self, workload_id: str) -> None:
        """Forget a finished workload and its log.

        Raises WorkloadNotFoundError, and ConflictError while it is queued or runs.
        """
        workload = await self.get(workload_id)
        if not workload.status.final:
            raise ConflictError(f"the workload is {workload.status}: stop it first")
        # First, or a reader who finds the lines gone before we are back is told another reason; and
        # afterwards, for those who came meanwhile.
        self._broker.forget(workload_id)
        try:
            await self._store.delete(workload_id)
        finally:
            self._broker.forget(workload_id)

    def drain(self) -> None:
        """Take no more workloads, and have what runs stop. What is queued, or runs elsewhere, stays
        in the store, for the next start. Doing it again does nothing."""
        self._accepting = False
        while self._queue:
            self._forget(self._queue.popleft())
        for job in self._jobs.values():
            if self._is_remote(job.workload.spec):
                job.leaving.cancel(reason="the service is shutting down")
            else:
                job.stop.request(Status.STOPPED, Reason.SHUTDOWN, self._limits.grace, SHUT_DOWN)

    async def shutdown(self) -> None:
        """Drain, and return when all that ran here has finished."""
        self.drain()
        for job in list(self._jobs.values()):
            await job.done.wait()

    def statistics(self) -> EngineStatistics:
        """A snapshot, and counters since the start."""
        return EngineStatistics(
            len(self._queue), self._running + self._remote, self._submitted, dict(self._finished)
        )
