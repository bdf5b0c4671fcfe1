"""Nodes on a stage: engines over one shared store in memory, which die and lose their store."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any

import trio
import trio.testing

from tests.failing_parts import Switch
from tests.stage import Stage
from trio_logs import LogBroker, Workload, WorkloadSpec
from trio_logs.backends.push import PushBackend, PushLimits
from trio_logs.engine import Engine, EngineLimits, Nodes, new_node
from trio_logs.errors import NodeLostError
from trio_logs.records import Batch, End, Gap, Status
from trio_logs.store.memory import MemoryTables, SharedMemoryStore

__all__ = ["Cluster", "Member", "cluster"]

MARKS = {"full": b"12", "read_only": b"34"}


class FailingNodeStore(SharedMemoryStore):
    """The store of one node, whose calls fail or hang on command."""

    def __init__(self, tables: MemoryTables) -> None:
        super().__init__(tables)
        self.switch = Switch()
        self.names: set[str] = set()
        for name, method in inspect.getmembers(self, inspect.iscoroutinefunction):
            if not name.startswith("_") and name != "run":
                self.names.add(name)
                setattr(self, name, self._failing(name, method))

    def _failing(
        self, name: str, method: Callable[..., Awaitable[Any]]
    ) -> Callable[..., Awaitable[Any]]:
        @wraps(method)
        async def call(*args: Any, **options: Any) -> Any:
            await self.switch.before(name)
            with self.switch.after(name):
                return await method(*args, **options)

        return call

    def go_away(self) -> None:
        """Have each call fail."""
        self.switch.fail(*self.names)
        self.is_up = False
        self.outages += 1

    def come_back(self) -> None:
        """Have all calls succeed."""
        self.switch.recover()
        self.is_up = True


@dataclass
class Member:
    """One node. `ended` is set once it has left or died; `error` says why it died."""

    name: str
    store: FailingNodeStore
    nodes: Nodes
    broker: LogBroker
    engine: Engine
    stage: Stage
    push: PushBackend
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    stop: trio.Event = field(default_factory=trio.Event)
    ended: trio.Event = field(default_factory=trio.Event)
    error: Exception | None = None

    @property
    def id(self) -> str:
        return self.nodes.own.id

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """As a service does, without a server."""
        try:
            with self.scope:
                async with trio.open_nursery() as store_nursery:
                    await store_nursery.start(self.store.run)
                    await store_nursery.start(self.nodes.run)
                    async with trio.open_nursery() as broker_nursery:
                        await broker_nursery.start(self.broker.run)
                        async with trio.open_nursery() as engine_nursery:
                            await engine_nursery.start(self.engine.run)
                            task_status.started()
                            await self.stop.wait()
                            self.broker.detach()
                            await self.engine.shutdown()
                            engine_nursery.cancel_scope.cancel()
                        broker_nursery.cancel_scope.cancel()
                    if self.engine.may_leave:
                        await self.nodes.leave()
                    store_nursery.cancel_scope.cancel()
        except* NodeLostError as group:
            self.error = group.exceptions[0]
        finally:
            self.ended.set()

    def kill(self) -> None:
        """As `kill -9` does: it stores nothing any more."""
        self.store.switch.hang(*self.store.names)
        self.scope.cancel(reason="killed")

    async def leave(self) -> None:
        """Shut down in order."""
        self.stop.set()
        await self.ended.wait()

    async def submit(self, *command: str, key: str | None = None, **fields: object) -> Workload:
        spec = replace(WorkloadSpec(command, backend="stage"), **fields)  # type: ignore[arg-type]
        workload, _ = await self.engine.submit(spec, key)
        return workload

    async def until(self, workload_id: str, status: Status) -> Workload:
        """The record once it has that status."""
        with self.engine.changes.read() as reader:
            await reader.load()
            while (found := await self.engine.get(workload_id)).status is not status:
                await reader.receive()
        return found

    async def lines(self, workload_id: str) -> tuple[list[str], End | None]:
        """All lines that a reader here gets, and the end."""
        found: list[str] = []
        with self.broker.subscribe(workload_id, 1) as subscription:
            async for record in subscription:
                match record:
                    case Batch():
                        found += [line.decode() for line in record.lines]
                    case Gap():
                        found.append(f"gap {record.reason}")
                    case End():
                        return found, record
        return found, None


@dataclass
class Cluster:
    """Nodes over the same tables."""

    nursery: trio.Nursery
    tables: MemoryTables = field(default_factory=MemoryTables)
    members: dict[str, Member] = field(default_factory=dict)

    async def start(
        self,
        name: str,
        limits: EngineLimits | None = None,
        *,
        push: PushLimits | None = None,
        patience: float = 30.0,
    ) -> Member:
        """Another node."""
        store = FailingNodeStore(self.tables)
        nodes = Nodes(store, replace(new_node(name), host=f"host of {name}"), MARKS, patience)
        broker = LogBroker(store, patience=patience, shared=store)
        stage, pushed = Stage(), PushBackend(push)
        backends = {"stage": stage, "push": pushed}
        engine = Engine(store, broker, backends, limits, patience, nodes.own.id, nodes)
        member = Member(name, store, nodes, broker, engine, stage, pushed)
        await self.nursery.start(member.run)
        self.members[name] = member
        return member


@asynccontextmanager
async def cluster(*names: str, limits: EngineLimits | None = None) -> AsyncIterator[Cluster]:
    """Nodes with these names; all are killed on exit."""
    # In virtual time, a wait that never ends fails at once.
    with trio.fail_after(100_000):
        async with trio.open_nursery() as nursery:
            made = Cluster(nursery)
            for name in names:
                await made.start(name, limits)
            # Nodes look for logs without an owner when they start.
            await trio.testing.wait_all_tasks_blocked()
            yield made
            for member in made.members.values():
                with suppress(RuntimeError):
                    member.scope.cancel(reason="the test is over")
