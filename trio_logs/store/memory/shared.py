"""A node's store over tables in memory that several nodes share: for tests, in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import trio

from ...records import Batch, Change, Gap, Outcome, Progress
from .. import NO_STREAMS, StreamState
from ..shared import Node, Owned, Remains, Request
from .tables import MemoryTables

__all__ = ["SharedMemoryStore"]


class SharedMemoryStore:
    """The store of one node. See `SharedStore` for the methods."""

    def __init__(self, tables: MemoryTables) -> None:
        self.tables = tables
        self.is_up = True
        self.outages = 0
        self._id = ""
        self._watched: set[str] = set()
        self._listener: Callable[[Change], object] | None = None
        self._lost: Callable[[int], object] | None = None
        self._ring_log: Callable[[str | None], object] | None = None
        self._ring_work: Callable[[], object] | None = None
        self._asked: Callable[[str], object] | None = None
        self._shown: Callable[[str, bytes], object] | None = None
        tables.observe(self)
        # What a node does alone, and reads.
        self.log = tables.log
        self.read = tables.read
        self.scan = tables.scan
        self.visit = tables.visit
        self.find = tables.find
        self.trim = tables.trim
        self.share_older = tables.share_older
        self.statistics = tables.statistics
        self.position = tables.position
        self.changes = tables.changes
        self.create = tables.create
        self.start = tables.start
        self.find_key = tables.find_key
        self.remember = tables.remember
        self.workload = tables.workload
        self.workloads = tables.workloads
        self.count = tables.count
        self.expired = tables.expired
        self.unfinished = tables.unfinished
        self.add_code = tables.add_code
        self.codes = tables.codes
        self.take_code = tables.take_code
        self.add_session = tables.add_session
        self.sessions = tables.sessions
        self.extend_sessions = tables.extend_sessions
        self.end_session = tables.end_session
        self.keep_marks = tables.keep_marks

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await trio.sleep_forever()

    async def append(
        self,
        workload_id: str,
        records: Sequence[Batch | Gap],
        *,
        expected: int,
        epoch: int,
        size: int,
        streams: Mapping[str, StreamState] = NO_STREAMS,
        outcome: Outcome | None = None,
        finished_at: int = 0,
    ) -> None:
        await self.tables.append(
            workload_id,
            records,
            expected=expected,
            epoch=epoch,
            size=size,
            streams=streams,
            outcome=outcome,
            finished_at=finished_at,
        )
        self.tables.tell_log(workload_id, self)

    async def fence(self, workload_id: str) -> int:
        epoch = await self.tables.fence(workload_id)
        self.tables.tell_log(workload_id, self)
        return epoch

    async def delete(self, workload_id: str) -> None:
        await self.tables.delete(workload_id)
        self.tables.tell_log(workload_id, self)

    async def join(self, node: Node, marks: Mapping[str, bytes]) -> None:
        await trio.lowlevel.checkpoint()
        self.tables.join(node, marks)
        self._id = node.id

    async def beat(self, *, address: str | None, draining: bool) -> Sequence[Node]:
        await trio.lowlevel.checkpoint()
        return self.tables.beat(self._id, address=address, draining=draining)

    async def nodes(self) -> Sequence[Node]:
        await trio.lowlevel.checkpoint()
        return self.tables.nodes()

    async def bury(
        self, node_id: str, counter: int, outcome: Outcome, at: int
    ) -> Sequence[str] | None:
        await trio.lowlevel.checkpoint()
        return self.tables.bury(node_id, counter, outcome, at)

    async def leave(self) -> None:
        await trio.lowlevel.checkpoint()
        self.tables.leave(self._id)

    async def claim(self, limit: int, started_at: int) -> Sequence[Owned]:
        await trio.lowlevel.checkpoint()
        return self.tables.claim(self._id, limit, started_at, self)

    async def adopt(self, limit: int, started_at: int) -> Sequence[Owned]:
        await trio.lowlevel.checkpoint()
        return self.tables.adopt(self._id, limit, started_at, self)

    async def withdraw(self, workload_id: str) -> Owned | None:
        await trio.lowlevel.checkpoint()
        return self.tables.withdraw(self._id, workload_id, self)

    async def take(self, workload_id: str, started_at: int) -> Owned | None:
        await trio.lowlevel.checkpoint()
        return self.tables.take(self._id, workload_id, started_at, self)

    async def owned(self) -> Sequence[Owned]:
        await trio.lowlevel.checkpoint()
        return self.tables.owned(self._id)

    async def remember_owned(self, workload_id: str, epoch: int, handle: str) -> None:
        await trio.lowlevel.checkpoint()
        self.tables.remember_owned(workload_id, epoch, handle)

    async def request(self, workload_id: str, content: bytes) -> bool:
        await trio.lowlevel.checkpoint()
        return self.tables.request(workload_id, content)

    async def requests(self, answered: Collection[int] = ()) -> Sequence[Request]:
        await trio.lowlevel.checkpoint()
        return self.tables.requests(self._id, answered)

    async def progress(self) -> Sequence[Progress]:
        await trio.lowlevel.checkpoint()
        return self.tables.progress()

    async def remains(self, host: str) -> Sequence[Remains]:
        await trio.lowlevel.checkpoint()
        return self.tables.remains(host)

    async def forget_remains(self, workload_ids: Sequence[str]) -> None:
        await trio.lowlevel.checkpoint()
        self.tables.forget_remains(workload_ids)

    def listen(self, listener: Callable[[Change], object]) -> None:
        self._listener = listener

    def watch_losses(self, lost: Callable[[int], object]) -> None:
        self._lost = lost

    def watch_logs(self, ring: Callable[[str | None], object]) -> None:
        self._ring_log = ring

    async def watch(self, workload_id: str) -> None:
        await trio.lowlevel.checkpoint()
        self._watched.add(workload_id)

    def unwatch(self, workload_id: str) -> None:
        self._watched.discard(workload_id)

    def watch_work(self, ring: Callable[[], object]) -> None:
        self._ring_work = ring

    def watch_unfinished(
        self, asked: Callable[[str], object], shown: Callable[[str, bytes], object]
    ) -> None:
        self._asked, self._shown = asked, shown

    async def ask_unfinished(self, workload_id: str) -> None:
        await trio.lowlevel.checkpoint()
        for observer in self.tables.others(self):
            observer.tell_asked(workload_id)

    async def show_unfinished(self, workload_id: str, content: bytes) -> None:
        await trio.lowlevel.checkpoint()
        for observer in self.tables.others(self):
            observer.tell_shown(workload_id, content)

    def tell_change(self, change: Change) -> None:
        if self._listener is not None:
            self._listener(change)

    def tell_losses(self, newest: int) -> None:
        if self._lost is not None:
            self._lost(newest)

    def tell_log(self, workload_id: str | None) -> None:
        if self._ring_log is not None and (workload_id is None or workload_id in self._watched):
            self._ring_log(workload_id)

    def tell_work(self, node_id: str | None) -> None:
        if self._ring_work is not None and node_id in (None, self._id):
            self._ring_work()

    def tell_asked(self, workload_id: str) -> None:
        if self._asked is not None:
            self._asked(workload_id)

    def tell_shown(self, workload_id: str, content: bytes) -> None:
        if self._shown is not None and workload_id in self._watched:
            self._shown(workload_id, content)
