"""Submissions and reruns of workloads, each decided in a task of the engine."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

import trio

from ..backends import Backend, find_backend, outlives_server
from ..errors import (
    ConflictError,
    InvalidSpecError,
    NotReadyError,
    StoreError,
    TrioLogsError,
    WorkloadNotFoundError,
)
from ..records import KEEP_LABEL, Workload, WorkloadSpec, kept_seconds
from ..store import WorkloadStore
from .admission import Admission, Submission, fingerprint_of, fingerprint_of_rerun
from .job import Job
from .jobs import Jobs
from .sharing import Sharing
from .store_calls import StoreCalls

__all__ = ["Submissions", "is_remote"]


def is_remote(backends: Mapping[str, Backend], spec: WorkloadSpec) -> bool:
    """Whether such a workload runs elsewhere, so that it goes on while the service is down."""
    return outlives_server(backends, spec.backend)


class Submissions:
    """Makes jobs of the requests that are admitted.

    An Idempotency-Key is looked up before all else: before the workload is checked, before the
    source of a rerun is looked for, and also during a shutdown.
    """

    def __init__(
        self,
        store: WorkloadStore,
        backends: Mapping[str, Backend],
        admission: Admission,
        jobs: Jobs,
        calls: StoreCalls,
        sharing: Sharing | None = None,
    ) -> None:
        self._store = store
        self._backends = backends
        self._admission = admission
        self._jobs = jobs
        self._calls = calls
        self._sharing = sharing
        self._nursery: trio.Nursery

    def open(self, nursery: trio.Nursery) -> None:
        """Decide in children of this nursery."""
        self._nursery = nursery

    async def submit(self, spec: WorkloadSpec, key: str | None) -> tuple[Workload, bool]:
        """See `Engine.submit`."""

        async def specify() -> WorkloadSpec:
            if KEEP_LABEL in spec.labels and kept_seconds(spec.labels) is None:
                raise InvalidSpecError(f"the label {KEEP_LABEL} is a duration, such as 90d")
            self._check(spec)
            return spec

        return await self._decide(Submission(specify, key, fingerprint_of(spec)))

    async def rerun(self, workload_id: str, key: str | None) -> tuple[Workload, bool]:
        """See `Engine.rerun`."""

        async def specify() -> WorkloadSpec:
            source = await self._store.workload(workload_id)
            if source is None:
                raise WorkloadNotFoundError(f"there is no workload {workload_id!r}")
            if source.spec.backend == "push":
                raise ConflictError("its lines came from a client: run the workload there again")
            try:
                self._check(source.spec)
            except InvalidSpecError as error:
                raise ConflictError(f"the workload can't run here any more: {error}") from error
            return source.spec

        fingerprint = fingerprint_of_rerun(workload_id)
        return await self._decide(Submission(specify, key, fingerprint, rerun_of=workload_id))

    def _check(self, spec: WorkloadSpec) -> None:
        """Raises InvalidSpecError, NotReadyError, and _MistakeError."""
        backend = find_backend(self._backends, spec.backend)
        try:
            backend.check(spec)
        except TrioLogsError:
            raise
        except Exception as error:
            raise _MistakeError(error) from error
        if not self._jobs.accepting:
            raise NotReadyError("the service is shutting down: submit again when it is back")

    async def _decide(self, submission: Submission) -> tuple[Workload, bool]:
        # A caller that is cancelled together with the engine must not find the engine closed.
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            # Admit in a task of the engine: a disconnect of the client can't undo half a commit.
            self._nursery.start_soon(self._admit, submission)
        except RuntimeError as error:
            raise NotReadyError("the service has ended: submit again when it is back") from error
        await submission.decided.wait()
        if submission.workload is None:
            raise submission.error
        return submission.workload, submission.created

    async def _admit(self, submission: Submission) -> None:
        try:
            workload, created = await self._admission.admit(submission)
            if created:
                workload = await self._begin(workload)
            submission.workload, submission.created = workload, created
        except TrioLogsError as error:
            submission.error = error
        except _MistakeError as error:
            submission.error = error.mistake
        finally:
            submission.decided.set()

    async def _begin(self, workload: Workload) -> Workload:
        """Have a new workload run, or wait; return its record."""
        remote = is_remote(self._backends, workload.spec)
        job: Job | None = None
        if self._sharing is None:
            job = Job(workload, remote)
            self._jobs.add(job)
        elif remote:
            # If the store fails now, the client's first bytes have the log taken over.
            with suppress(StoreError, NotReadyError):
                job = await self._sharing.claims.take(workload.id)
        else:
            self._sharing.queue_up(workload.weight)
        if job is None:
            return workload
        if remote:
            # The client sends lines next, and the workload has to accept them by then.
            with trio.move_on_after(self._calls.patience):
                await job.begun.wait()
        return replace(job.workload, spec=workload.spec)


class _MistakeError(Exception):
    """A backend has raised what it may not raise: that fails its submission, not the engine."""

    def __init__(self, mistake: Exception) -> None:
        super().__init__(repr(mistake))
        self.mistake = mistake
