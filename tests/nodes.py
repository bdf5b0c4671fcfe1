"""Brokers of several nodes over one shared store in memory, for virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

from tests.failing_parts import Switch
from tests.shared_stores import MARKS, forget_lines, node
from tests.stores import workload
from trio_logs import Batch, End, Gap, LogBroker
from trio_logs.broker import BrokerLimits
from trio_logs.records import Detached, Outcome, Reason, Record, Reset, Status, WorkloadSpec, now
from trio_logs.store import LogStore
from trio_logs.store.memory import MemoryTables, SharedMemoryStore
from trio_logs.store.shared import PUSHED, Owned, SharedStore

__all__ = ["LOST", "PATIENCE", "Cluster", "NodeStore", "Reader", "TestNode", "cluster"]

LOST = Outcome(Status.LOST, reason=Reason.SERVER_LOST)

PATIENCE = 30.0

CALLS = tuple(
    name
    for name in {**vars(LogStore), **vars(SharedStore)}
    if not name.startswith(("_", "watch_", "is_")) and name not in ("run", "statistics", "unwatch")
)
"""The calls of a shared store that a broker, or a node, makes."""


class NodeStore(SharedMemoryStore):
    """A node's store that fails, hangs, and loses news on command."""

    def __init__(self, tables: MemoryTables) -> None:
        super().__init__(tables)
        self.switch = Switch()
        # Whether the next news is lost; it gets the id of the log.
        self.loses: Callable[[str | None], bool] = lambda workload_id: False
        for name in CALLS:
            setattr(self, name, self._switched(name, getattr(self, name)))

    def _switched(self, name: str, method: Any) -> Any:
        async def call(*arguments: Any, **options: Any) -> Any:
            await self._delay(name)
            await self.switch.before(name)
            with self.switch.after(name):
                return await method(*arguments, **options)

        return call

    async def _delay(self, name: str) -> None:
        """Before each call."""

    @property
    def watched(self) -> set[str]:
        """The logs that this node watches."""
        return self._watched

    def set_mode(self, mode: str) -> None:
        """As `FailingStore.set_mode`. News is lost unless the store works."""
        before = self.is_up
        self.switch.recover()
        match mode:
            case "fails":
                self.switch.fail(*CALLS)
            case "hangs":
                self.switch.hang(*CALLS)
            case "unknown":
                self.switch.fail(*CALLS, after=True)
        self.is_up = mode == "works"
        if self.is_up and not before:
            # The connection that tells news is back.
            self.tell_log(None)

    def tell_log(self, workload_id: str | None) -> None:
        if self.is_up and not self.loses(workload_id):
            super().tell_log(workload_id)


@dataclass
class TestNode:
    """A node: its store, and its broker."""

    __test__ = False

    name: str
    store: NodeStore
    broker: LogBroker
    scope: trio.CancelScope
    owned: dict[str, int] = field(default_factory=dict)

    def know(self, owned: Owned) -> int:
        """Note what the node owns; return the epoch."""
        self.owned[owned.workload.id] = owned.epoch
        return owned.epoch

    async def write(self, workload_id: str, *lines: str) -> None:
        """Write lines to a log that this node owns, and wait until they are durable."""
        with await self.broker.open(workload_id, self.owned[workload_id]) as log:
            await log.writelines(lines)
            await log.flush()

    async def close(self, workload_id: str, outcome: Outcome) -> End:
        """End a log that this node owns."""
        return await self.broker.close(workload_id, outcome, self.owned[workload_id])

    async def claim(self, workload_id: str) -> None:
        """Own the oldest workload that waits, which must be this one."""
        [owned] = await self.store.claim(1, now())
        assert owned.workload.id == workload_id
        self.know(owned)

    async def take(self, workload_id: str) -> None:
        """Own a log that a client pushes to this node now."""
        owned = await self.store.take(workload_id, now())
        assert owned is not None
        self.know(owned)


class Cluster:
    """Nodes over one database."""

    def __init__(self, nursery: trio.Nursery, limits: BrokerLimits | None = None) -> None:
        self.tables = MemoryTables()
        self.nodes: dict[str, TestNode] = {}
        self._nursery = nursery
        self._limits = limits

    async def add(self, name: str, make_store: type[NodeStore] = NodeStore) -> TestNode:
        """Start a node."""
        store = make_store(self.tables)
        broker = LogBroker(store, self._limits, patience=PATIENCE, shared=store)
        made = TestNode(name, store, broker, trio.CancelScope())
        await self._nursery.start(self._run, made)
        await store.join(node(name), MARKS)
        self.nodes[name] = made
        return made

    async def _run(self, made: TestNode, *, task_status: trio.TaskStatus[None]) -> None:
        with made.scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(made.store.run)
                await nursery.start(made.broker.run)
                task_status.started()

    def kill(self, name: str) -> None:
        """End a node without a clean-up; others have to bury it."""
        killed = self.nodes.pop(name)
        killed.store.set_mode("hangs")
        killed.scope.cancel()

    async def bury(self, name: str, by: TestNode) -> None:
        """Have a node bury another one, which may live."""
        counter = next(each.counter for each in await by.store.nodes() if each.id == name)
        await by.store.bury(name, counter, LOST, now())

    async def create(self, workload_id: str, *, backend: str = PUSHED) -> None:
        """Add a workload that waits for a node, or for its client."""
        spec = WorkloadSpec(("true",), backend=backend)
        await self.tables.create(workload(workload_id, spec=spec))

    async def fail_over(self, workload_id: str, lines: int) -> None:
        """A replica that lacks the lines after `lines` takes over; connections break."""
        forget_lines(self.tables, workload_id, lines)
        for each in self.nodes.values():
            each.store.tell_log(None)
        await trio.lowlevel.checkpoint()

    async def stored(self, workload_id: str) -> dict[int, str]:
        """The stored lines, by number; gaps stand as their reason."""
        found: dict[int, str] = {}
        first = 1
        while read := await self.tables.read(workload_id, first, 1 << 20):
            for record in read:
                found |= lines_of(record)
            first = read[-1].last + 1
        return found


@asynccontextmanager
async def cluster(*names: str, limits: BrokerLimits | None = None) -> AsyncIterator[Any]:
    """A cluster and its nodes."""
    with trio.fail_after(10_000):
        async with trio.open_nursery() as nursery:
            made = Cluster(nursery, limits)
            nodes = [await made.add(name) for name in names]
            yield made, *nodes
            nursery.cancel_scope.cancel()


def lines_of(record: Batch | Gap) -> Mapping[int, str]:
    if isinstance(record, Gap):
        return dict.fromkeys(range(record.first, record.last + 1), f"gap {record.reason}")
    return {number: line.decode() for number, line in enumerate(record.lines, record.first)}


class Reader:
    """Notes what a reader at one node gets, and raises unless it is in order."""

    def __init__(self, first: int = 1) -> None:
        self.first = self.next = first
        self.lines: dict[int, str] = {}
        self.gaps: list[Gap] = []
        self.resets: list[Reset] = []
        self.end: End | None = None
        self.is_detached = False
        self.wakes = 0
        self._heard = trio.Event()

    async def run(
        self, at: TestNode, workload_id: str = "w", *, task_status: Any = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Read to the end."""
        with at.broker.subscribe(workload_id, self.next) as subscription:
            task_status.started()
            async for record in subscription:
                self.note(record)

    def note(self, record: Record) -> None:
        assert self.end is None
        assert not self.is_detached
        match record:
            case Batch() | Gap():
                assert record.first == self.next, f"{record} where {self.next} was due"
                self.next = record.last + 1
                if isinstance(record, Gap):
                    self.gaps.append(record)
                self.lines |= lines_of(record)
            case Reset():
                self.resets.append(record)
                self.next = self.first
                self.lines.clear()
            case End():
                assert record.lines == self.next - 1
                self.end = record
            case Detached():
                self.is_detached = True
        self.wakes += 1
        self._heard.set()
        self._heard = trio.Event()

    async def until(self, number: int) -> None:
        """Return once the reader has this line."""
        while self.next <= number:
            await self._heard.wait()

    async def until_end(self) -> End:
        """Return once the log has ended."""
        while self.end is None:
            await self._heard.wait()
        return self.end
