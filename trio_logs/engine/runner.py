"""The life of one workload: its log opens, its backend runs it, its end is stored."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack, suppress
from functools import partial

import structlog

from ..backends import Backend
from ..broker import LogBroker, LogWriter
from ..errors import BehindError, FencedError, LogClosedError, WorkloadNotFoundError
from ..records import Batch, End, Gap, Outcome, Reason, Status, now
from ..store import LogState, WorkloadStore
from ..store.shared import Owned, SharedStore
from .clock import Begun
from .execution import execute
from .job import Job
from .store_calls import StoreCalls

__all__ = ["Runner"]

_log = structlog.get_logger("trio_logs.engine")

END_LOST = Outcome(
    Status.LOST,
    error="The database has lost the end of the workload in a failover.",
    reason=Reason.SERVER_LOST,
)


class Runner:
    """Takes a job from STARTING to ENDING. `grace` is in seconds, for a time-out and a shutdown.
    `node` names this service instance."""

    def __init__(
        self,
        store: WorkloadStore,
        broker: LogBroker,
        backends: Mapping[str, Backend],
        calls: StoreCalls,
        grace: float,
        node: str,
        shared: SharedStore | None = None,
    ) -> None:
        self._store = store
        self._broker = broker
        self._backends = backends
        self._calls = calls
        self._grace = grace
        self._node = node
        self._shared = shared

    async def run(self, job: Job) -> Outcome | None:
        """Run a workload; return its outcome, or None if it is left to the next start. The outcome
        of a job that was fenced means nothing."""
        with ExitStack() as stack:
            log: LogWriter | None = None
            try:
                with job.starting:
                    log = await self._open(job, stack)
            except FencedError:
                job.is_fenced = True
                return None
            except (LogClosedError, WorkloadNotFoundError) as error:
                # An embedder has closed the log, which keeps its end, or deleted the record.
                return Outcome(Status.FAILED, error=str(error), reason=Reason.NOT_STARTED)
            if log is None:
                return job.stopped()
            if job.leaving:
                # The service began to shut down while the store marked the workload as running.
                job.wind_down(self._grace)
            if job.stop.status is not None:
                return job.stopped()
            with job.running:
                return await execute(
                    job,
                    self._backends,
                    log,
                    self._remember(job),
                    self._calls,
                    self._grace,
                )
        return None

    async def _open(self, job: Job, stack: ExitStack) -> LogWriter:
        """The workload's log, once its record says that it runs.

        Waits for a failing store without a bound: `job.starting` cancels it. Raises LogClosedError,
        and WorkloadNotFoundError if the record was deleted.
        """
        workload_id = job.workload.id
        log = stack.enter_context(
            await self._calls.until_done(
                f"open the log of {workload_id}",
                partial(self._broker.open, workload_id, epoch=job.epoch),
            )
        )
        started_at = now()
        if job.workload.status is Status.QUEUED:
            job.marking = True
            what = f"mark {workload_id} as running"
            start = partial(self._store.start, workload_id, started_at, self._node)
            await self._calls.until_done(what, start)
            if job.remote:
                begun = partial(self._store.remember, workload_id, Begun.now().encode())
                await self._calls.until_done(what, begun)
            record = partial(self._store.workload, workload_id)
            if (found := await self._calls.until_done(what, record)) is None:
                raise WorkloadNotFoundError("The workload was deleted before it started.")
            job.restore(found.spec)
        job.begin(started_at, self._node)
        return log

    def _remember(self, job: Job) -> Callable[[str], Awaitable[None]]:
        if self._shared is None or job.epoch is None:
            return partial(self._store.remember, job.workload.id)
        return partial(self._shared.remember_owned, job.workload.id, job.epoch)

    async def end(self, job: Job, outcome: Outcome) -> End | None:
        """Make the end of a workload durable, however long the store takes.

        Returns the log's end, which may be an embedder's earlier one, or None if the workload is
        left to the next start.
        """
        workload_id = job.workload.id
        try:
            # A repeated call meets the end of the first one, even if a failover has lost that.
            with self._broker.keeping(workload_id):
                return await self._calls.until_done(
                    f"end the log of {workload_id}",
                    partial(self._broker.close, workload_id, outcome, epoch=job.epoch),
                )
        except FencedError:
            # Another node owns the workload, and ends it.
            job.is_fenced = True
            return None
        except LogClosedError as error:
            # The broker has ended, or another writer has the log: leave the record unchanged.
            _log.warning("workload not ended", workload=workload_id, error=str(error))
            return None

    async def end_again(self, owned: Owned, end: End | None) -> None:
        """Store an end that the database has lost, with the lines that it has lost before: those in
        memory here, and a gap for the others. Without `end`, the workload is `lost`. Raises
        StoreError."""
        assert self._shared is not None
        workload_id = owned.workload.id
        state = await self._shared.log(workload_id) or LogState()
        if end is None:
            end = End(END_LOST, state.lines, state.bytes)
        first = state.lines + 1
        at = now()
        records: list[Batch | Gap] = [*self._broker.held(workload_id, first)]
        held = records[0].first if records else end.lines + 1
        if first < held:
            records.insert(0, Gap(first, held - 1, "store", records[0].time if records else at))
        # Another node may have buried this one, or deleted the record, since it was read.
        with suppress(BehindError, FencedError):
            await self._shared.append(
                workload_id,
                records,
                expected=first,
                epoch=owned.epoch,
                size=end.bytes,
                streams=state.streams,
                outcome=end.outcome,
                finished_at=at,
            )
            _log.warning(
                "the database had lost the end of a workload: stored again", workload=workload_id
            )
