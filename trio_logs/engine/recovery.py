"""Recovery: the workloads that an earlier run of the service has left in the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import structlog

from ..backends import Backend, find_backend, outlives_server
from ..records import Outcome, Reason, Status, Workload
from ..store import WorkloadStore
from .clock import Begun
from .job import Job
from .store_calls import StoreCalls

__all__ = ["Recovered", "recover"]

_log = structlog.get_logger("trio_logs.engine")


@dataclass(frozen=True, slots=True)
class Recovered:
    """`lost` are workloads that ran when the service died, with their outcomes. `waiting` are
    queued workloads, and those that run elsewhere and go on. Both are oldest first."""

    lost: list[tuple[Job, Outcome]]
    waiting: list[Job]


async def recover(
    store: WorkloadStore, backends: Mapping[str, Backend], calls: StoreCalls
) -> Recovered:
    """Read the unfinished workloads, and end the processes that outlived the service.

    Raises StoreError if the store can't be read.
    """
    lost: list[tuple[Job, Outcome]] = []
    waiting: list[Job] = []
    after = ""
    while True:
        read = partial(store.unfinished, after)
        page = await calls.once("read the unfinished workloads", read)
        if not page:
            return Recovered(lost, waiting)
        after = page[-1][0].id
        for workload, handle in page:
            job = Job(workload, outlives_server(backends, workload.spec.backend))
            # Before the next page: all specifications together may not fit into memory.
            job.shed()
            if job.remote and workload.started_at is not None:
                # It ran on while the service was down.
                job.ran_for = Begun.since(handle, workload.started_at)
            if workload.status is Status.QUEUED or job.remote:
                waiting.append(job)
            else:
                lost.append((job, await _reap(workload, handle, backends)))


async def _reap(workload: Workload, handle: str | None, backends: Mapping[str, Backend]) -> Outcome:
    _log.warning("workload lost", workload=workload.id)
    error = "The server died while the workload ran."
    if handle is not None:
        try:
            await find_backend(backends, workload.spec.backend).reap(handle)
        except Exception as problem:
            error += f" What it left running could not be ended: {problem}"
            _log.exception("workload not reaped", workload=workload.id)
    return Outcome(Status.LOST, error=error, reason=Reason.SERVER_LOST)
