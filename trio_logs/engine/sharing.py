"""The part of an engine that shares its store with other nodes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

import trio

from ..backends import Backend
from ..broker import Bell
from ..records import Progress, Workload
from ..store.shared import SharedStore
from .claims import Claims
from .jobs import Jobs
from .nodes import Nodes
from .own_tasks import OwnTasks
from .remains import keep_reaped
from .requests import Elsewhere, Requests
from .shared_queue import SharedQueue
from .store_calls import StoreCalls

__all__ = ["Sharing"]


class Sharing:
    """Claims what waits in the store, and lets any node answer for any workload. `room` is the bell
    that `jobs` rings. `get` reads a record from the store."""

    def __init__(
        self,
        nodes: Nodes,
        backends: Mapping[str, Backend],
        jobs: Jobs,
        queue: SharedQueue,
        calls: StoreCalls,
        room: Bell,
        get: Callable[[str], Awaitable[Workload]],
        grace: float,
    ) -> None:
        self._store: SharedStore = nodes.store
        self._nodes = nodes
        self._backends = backends
        self._queue = queue
        self._calls = calls
        self._room = room
        self._requested = Bell()
        self._tasks = OwnTasks()
        self.claims = Claims(nodes, backends, jobs, queue, calls, self._tasks, room)
        self.elsewhere = Elsewhere(self._store, self.claims, calls, get)
        self._requests = Requests(self._store, jobs, backends, grace, self._requested)

    def open(self, nursery: trio.Nursery) -> None:
        """Work in children of this nursery. This node has joined."""
        self._tasks.open(nursery)
        self._store.watch_work(self._ring)
        self._nodes.listeners.append(self._ring)
        nursery.start_soon(self.claims.run)
        nursery.start_soon(self._requests.run)
        nursery.start_soon(keep_reaped, self._store, self._nodes, self._backends, self._calls)
        self._ring()

    def queue_up(self) -> None:
        """This node has submitted a workload that waits in the store."""
        self._queue.count()
        self._room.ring()

    async def progress(self) -> Sequence[Progress]:
        """How far the logs of all running workloads have come. Raises StoreError."""
        return await self._store.progress()

    def _ring(self) -> None:
        self._room.ring()
        self._requested.ring()
