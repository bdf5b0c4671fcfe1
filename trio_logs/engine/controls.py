"""What clients do to a workload that is under way: stop it, and resize its terminal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from ..backends import Backend, Resizable, signals_of
from ..errors import ConflictError, InvalidSpecError, NotReadyError, StoreError
from ..records import Status, Workload
from .job import Phase
from .jobs import Jobs
from .requests import Elsewhere

__all__ = ["Controls"]


class Controls:
    """`get` reads a record from the store. `grace` is in seconds, for a stop that has none.
    `elsewhere` reaches the other nodes of a shared store."""

    def __init__(
        self,
        jobs: Jobs,
        backends: Mapping[str, Backend],
        get: Callable[[str], Awaitable[Workload]],
        grace: float,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._jobs = jobs
        self._backends = backends
        self._get = get
        self._grace = grace
        self._elsewhere = elsewhere

    async def stop(self, workload_id: str, grace: float | None, signal: str | None) -> Workload:
        """See `Engine.stop`."""
        job = self._jobs.get(workload_id)
        if job is not None:
            self._check_signal(job.workload, signal)
            self._jobs.stop(job, self._grace if grace is None else grace, signal)
        try:
            workload = await self._get(workload_id)
        except StoreError:
            if job is None or not job.is_whole:
                raise
            # The stop needs no store.
            return job.workload
        self._check_signal(workload, signal)
        elsewhere = self._elsewhere
        if elsewhere is not None and (job is None or not await elsewhere.is_here(job)):
            return await self._stop_elsewhere(elsewhere, workload, grace, signal)
        if not (self._jobs.accepting or job or workload.status.final):
            raise NotReadyError("the service is shutting down: stop it when it is back")
        return workload

    async def _stop_elsewhere(
        self, elsewhere: Elsewhere, workload: Workload, grace: float | None, signal: str | None
    ) -> Workload:
        workload, job = await elsewhere.stop(workload, grace, signal)
        if job is not None:
            self._jobs.stop(job, self._grace if grace is None else grace, signal)
        return workload

    def _check_signal(self, workload: Workload, signal: str | None) -> None:
        name = workload.spec.backend
        if signal is not None and signal not in signals_of(self._backends, name):
            raise InvalidSpecError(
                f"signal: the backend {name!r} can't send {signal}; leave it out, and the backend"
                " stops the workload in its own way"
            )

    async def resize(self, workload_id: str, columns: int, rows: int) -> None:
        """See `Engine.resize`."""
        job = self._jobs.get(workload_id)
        workload = await self._get(workload_id) if job is None else job.workload
        if not workload.spec.pty:
            raise ConflictError("the workload has no terminal: submit it with `pty`")
        name = workload.spec.backend
        backend = self._backends.get(name)
        if not isinstance(backend, Resizable):
            raise ConflictError(f"the backend {name!r} can't resize terminals")
        if (
            job is None
            and self._elsewhere is not None
            and workload.status is Status.RUNNING
            and await self._elsewhere.resize(workload_id, columns, rows)
        ):
            return
        if job is None or job.phase is not Phase.RUNNING:
            raise ConflictError("the workload does not run now: resize its terminal while it runs")
        await backend.resize(workload_id, columns, rows)
