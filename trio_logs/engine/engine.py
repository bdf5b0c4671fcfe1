"""The engine: the requests of callers, and the start and shutdown of all workloads."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from functools import partial

import trio

from ..backends import Backend, serving
from ..broker import LogBroker
from ..errors import ConflictError, WorkloadNotFoundError
from ..records import Status, Workload, WorkloadSpec, not_before
from ..store import WorkloadPage, WorkloadQuery, WorkloadStore
from .admission import Admission
from .changes import Changes
from .controls import Controls
from .deletions import Deletions
from .jobs import Jobs
from .life import Life
from .limits import EngineLimits, EngineStatistics
from .nodes import Nodes
from .queue import Queue
from .runner import Runner
from .sharing import Sharing
from .store_calls import StoreCalls
from .submissions import Submissions, is_remote

__all__ = ["Engine"]


class Engine:
    """Runs workloads. Start it in a nursery, `await nursery.start(engine.run)`; the broker and its
    store must run, and be cancelled later.

    `patience`: seconds that a caller waits for a store that hangs. Methods that need the store
    raise StoreError when it fails, and at the latest after that time. `node` is the name of this
    service instance in the records of its workloads, by default that of the host.

    With `nodes`, the store is shared: workloads wait in it, and any node may start them. Then run
    `nodes` before the engine, and cancel it later.
    """

    def __init__(
        self,
        store: WorkloadStore,
        broker: LogBroker,
        backends: Mapping[str, Backend],
        limits: EngineLimits | None = None,
        patience: float = 30.0,
        node: str | None = None,
        nodes: Nodes | None = None,
    ) -> None:
        self._store = store
        self._broker = broker
        self._backends = backends
        self._limits = limits or EngineLimits()
        self.node = node or platform.node()
        self._calls = StoreCalls(patience)
        shared = None if nodes is None else nodes.store
        runner = Runner(store, broker, backends, self._calls, self._limits.grace, self.node, shared)
        self._sharing: Sharing | None = None
        if nodes is None:
            self._queue = Queue(self._limits)
            self._jobs = Jobs(self._queue, runner)
        else:
            self._sharing = Sharing(nodes, backends, runner, self._limits, self._calls, self.get)
            self._queue, self._jobs = self._sharing.queue, self._sharing.jobs
        self._admission = Admission(
            store, self._queue, self._calls, partial(is_remote, self._backends), shared
        )
        self._deletions = Deletions(store, broker, self._calls)
        self._submissions = Submissions(
            store, backends, self._admission, self._jobs, self._calls, self._sharing
        )
        grace, calls = self._limits.grace, self._calls
        self._life = Life(store, backends, self._jobs, self._admission, calls, grace, self._sharing)
        elsewhere = None if self._sharing is None else self._sharing.elsewhere
        self._controls = Controls(self._jobs, backends, self.get, grace, elsewhere)
        self.changes = Changes(store, self._calls, self._written, shared)
        self._nursery: trio.Nursery

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Clean up after a crash, continue the queue, then run submissions until cancelled.

        Raises StoreError if the store can't be read at the start.
        """
        with not_before(await self._life.newest_time()):
            async with serving(self._backends), trio.open_nursery() as self._nursery:
                self._jobs.open(self._nursery)
                self._deletions.open(self._nursery)
                self._submissions.open(self._nursery)
                try:
                    await self._nursery.start(self.changes.run)
                    await self._life.begin(self._nursery)
                    self._nursery.start_soon(self._admission.settle)
                    # A workload that was lost has ended no earlier than its last line.
                    with not_before(await self._life.newest_time()):
                        task_status.started()
                        await trio.sleep_forever()
                finally:
                    # Start nothing while the nursery closes, even without a drain before.
                    self._jobs.close()

    async def submit(self, spec: WorkloadSpec, key: str | None = None) -> tuple[Workload, bool]:
        """Queue a workload; return its record, and whether it is new.

        `key` makes the call idempotent: the same key and spec return the first workload again. The
        key is looked up before anything else. Raises InvalidSpecError, also for a key that was used
        for another request. Raises BusyError when the queue is full, NotReadyError while shutting
        down, and StoreError. After a StoreError there is no workload, and the key is free. But if
        the service dies right after the error, the next start may find the workload and run it.
        With a key, a repeated submission runs once all the same.
        """
        return await self._submissions.submit(spec, key)

    async def rerun(self, workload_id: str, key: str | None = None) -> tuple[Workload, bool]:
        """Queue a new workload with the specification of another one; return as `submit` does.

        Raises WorkloadNotFoundError, ConflictError if that one was pushed, or if it can't run here
        any more, and otherwise as `submit` does.
        """
        return await self._submissions.rerun(workload_id, key)

    def is_live(self, workload_id: str) -> bool:
        """Whether the engine has the workload: it exists, and may not have finished. False proves
        nothing. Unlike `get`, this needs no store."""
        return self._jobs.get(workload_id) is not None

    async def get(self, workload_id: str) -> Workload:
        """The record of a workload. Raises WorkloadNotFoundError."""
        workload = await self._calls.once(
            "read the workload", partial(self._store.workload, workload_id)
        )
        if workload is None:
            raise WorkloadNotFoundError(f"there is no workload {workload_id!r}")
        return workload

    async def finished(self, workload_id: str) -> Workload:
        """The record of a workload, once it has finished, or once this service lets go of it.

        Raises WorkloadNotFoundError."""
        if (job := self._jobs.get(workload_id)) is not None:
            await job.done.wait()
        elif self._sharing is not None:
            await self.changes.until_ended(workload_id, self.get)
        return await self.get(workload_id)

    async def take_over(self, workload_id: str) -> bool:
        """Have the client of a pushed log send its bytes here, whichever node had the log. Returns
        whether this node has it now. Raises StoreError, and NotReadyError while shutting down."""
        return self._sharing is not None and await self._sharing.take_over(workload_id)

    async def owns(self, workload_id: str) -> bool:
        """Whether a workload that ran here is this node's, by a look at the store. Raises
        StoreError."""
        return self._sharing is None or await self._sharing.owns(workload_id)

    async def list(self, query: WorkloadQuery) -> WorkloadPage:
        """A page of records, newest first."""
        return await self._calls.once("list workloads", partial(self._store.workloads, query))

    async def count(self, query: WorkloadQuery) -> dict[Status, int]:
        """How many workloads there are of each status, over all pages and whatever statuses the
        query asks for."""
        return await self._calls.once("count workloads", partial(self._store.count, query))

    async def stop(
        self, workload_id: str, grace: float | None = None, signal: str | None = None
    ) -> Workload:
        """Stop a workload: `signal` now, by default SIGTERM, and KILL after `grace` seconds.
        Returns its record at once.

        A later stop sends its own signal, and can only shorten the grace. A finished workload does
        not change. Raises WorkloadNotFoundError, InvalidSpecError for a signal that the backend
        can't send, and NotReadyError while shutting down, if the workload was left to the next
        start.
        """
        return await self._controls.stop(workload_id, grace, signal)

    async def resize(self, workload_id: str, columns: int, rows: int) -> None:
        """Give the terminal of a running workload another size, in characters.

        Raises WorkloadNotFoundError, and ConflictError if the workload has no pseudo-terminal or
        does not run.
        """
        await self._controls.resize(workload_id, columns, rows)

    async def delete(self, workload_id: str) -> None:
        """Delete a finished workload and its log.

        Raises WorkloadNotFoundError, ConflictError while it is queued or runs, and StoreError.
        After a StoreError, the workload may still be deleted, once the store answers.
        """
        workload = await self.get(workload_id)
        if not workload.status.final:
            raise ConflictError(f"the workload is {workload.status}: stop it first")
        job = self._jobs.get(workload_id)
        if job is not None and not job.executed.is_set():
            # An embedder closed its log, which also finished its record.
            raise ConflictError("the workload still runs, though its log was closed: stop it first")
        await self._deletions.delete(workload_id)

    def hold(self) -> None:
        """Start nothing more. Without a shared store, refuse new workloads, too. A second call does
        nothing."""
        self._life.hold()

    async def idle(self) -> None:
        """After `hold`: return once no workload runs here. Pushed ones do not count."""
        await self._life.idle()

    def drain(self) -> None:
        """Refuse new workloads, and stop running ones. Those that are queued or run elsewhere stay
        in the store. A second call does nothing."""
        self._life.drain()

    async def shutdown(self) -> int:
        """Drain, and wait until all workloads that ran here have finished.

        Waits at most 10 s for a failing store. Returns how many workloads have an end that is not
        durable: the next start, or another node, finds them running, and makes them `lost`.
        """
        return await self._life.shutdown()

    @property
    def may_leave(self) -> bool:
        """After `shutdown`: whether this node owns nothing. If not, the others have to bury it."""
        jobs, unsettled = self._jobs, self._admission.unsettled
        return not (len(jobs) or jobs.unended or unsettled or self._life.may_own_more)

    def statistics(self) -> EngineStatistics:
        """A snapshot, and counters since the start."""
        return EngineStatistics(
            len(self._queue),
            self._queue.running + self._queue.remote,
            self._admission.submitted,
            {status: self._jobs.finished[status] for status in Status if status.final},
            self.changes.readers,
            self.changes.published,
            len(self._jobs),
            self._jobs.fenced,
        )

    def _written(self) -> Iterator[tuple[str, int, int]]:
        # Embedders may write logs of their own, which are no workloads.
        running = {job.workload.id for job in self._jobs}
        return (log for log in self._broker.written() if log[0] in running)
