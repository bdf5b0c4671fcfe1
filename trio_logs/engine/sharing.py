"""The part of an engine that shares its store with other nodes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import trio

from ..backends import Backend
from ..broker import Bell
from ..records import Workload
from .claims import Claims
from .jobs import Jobs
from .limits import EngineLimits
from .nodes import Nodes
from .own_tasks import OwnTasks
from .remains import keep_reaped
from .requests import Elsewhere, Requests
from .runner import Runner
from .shared_queue import SharedQueue
from .store_calls import StoreCalls

__all__ = ["Sharing"]


class Sharing:
    """Claims what waits in the store, and lets any node answer for any workload. `get` reads a
    record from the store."""

    def __init__(
        self,
        nodes: Nodes,
        backends: Mapping[str, Backend],
        runner: Runner,
        limits: EngineLimits,
        calls: StoreCalls,
        get: Callable[[str], Awaitable[Workload]],
    ) -> None:
        self._store = store = nodes.store
        self._nodes = nodes
        self._backends = backends
        self._calls = calls
        self._room, self._requested = Bell(), Bell()
        self._tasks = OwnTasks()
        self.queue = SharedQueue(limits, nodes)
        self.jobs = jobs = Jobs(self.queue, runner, self._room)
        self.claims = Claims(nodes, backends, jobs, self.queue, calls, self._tasks, self._room)
        self.elsewhere = Elsewhere(store, self.claims, calls, get)
        self._requests = Requests(store, jobs, backends, limits.grace, self._requested)

    def open(self, nursery: trio.Nursery) -> None:
        """Work in children of this nursery. This node has joined."""
        self._tasks.open(nursery)
        self._store.watch_work(self._ring)
        self._nodes.listeners.append(self._ring)
        nursery.start_soon(self.claims.run)
        nursery.start_soon(self._requests.run)
        nursery.start_soon(keep_reaped, self._store, self._nodes, self._backends, self._calls)
        self._ring()

    def queue_up(self, weight: int) -> None:
        """This node has submitted a workload of this weight, which waits in the store."""
        self.queue.count(weight)
        self._room.ring()

    async def take_over(self, workload_id: str) -> bool:
        """See `Engine.take_over`."""
        job = await self.claims.take(workload_id)
        if job is not None:
            with trio.move_on_after(self._calls.patience):
                await job.begun.wait()
        return job is not None

    async def owns(self, workload_id: str) -> bool:
        """See `Engine.owns`."""
        job = self.jobs.get(workload_id)
        return job is not None and await self.claims.owns(job)

    def _ring(self) -> None:
        self._room.ring()
        self._requested.ring()
