"""The wiring: store, broker, engine and app in nested nurseries, and the order of shutting down."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial

import structlog
import trio

from .backends import Backend, installed_backends
from .backends.push import PushBackend
from .broker import BrokerStatistics, LogBroker, SearchStatistics
from .engine import Engine, EngineStatistics, Nodes, NodeStatistics, keep_pruned, new_node
from .errors import StoreError
from .folder_lock import FolderLock
from .own_log import OwnLogStatistics
from .records import Detached, now
from .sessions import Sessions
from .settings import Settings
from .stderr import statistics as own_log_statistics
from .store import Store, StoreStatistics
from .store.opening import open_shared
from .store.shared import Node, SharedStore
from .store.sqlite import SQLiteStore
from .tokens import Tokens, load_tokens
from .upkeep import keep_trimmed, watch_store

__all__ = ["Service", "ServiceStatistics", "open_service"]

_log = structlog.get_logger("trio_logs.service")

MOVE_MILLISECONDS = 250, 750
"""After how long the clients of a stream go on at another node: the least, and the most."""


@dataclass(frozen=True, slots=True)
class ServiceStatistics:
    """A snapshot of every part that holds state."""

    store: StoreStatistics
    broker: BrokerStatistics
    searches: SearchStatistics
    engine: EngineStatistics
    own_log: OwnLogStatistics
    nodes: NodeStatistics
    store_is_up: bool


class Service:
    """The parts of a running service. `open_service` makes it.

    `draining`: the service takes no more work, because it is about to end. `is_detached`: all
    streams end, and no new ones begin. `nodes` are those of a shared store.
    """

    def __init__(
        self,
        settings: Settings,
        tokens: Tokens,
        store: Store,
        backends: Mapping[str, Backend],
        shared: SharedStore | None = None,
    ) -> None:
        self.settings = settings
        self.tokens = tokens
        self.token = tokens.full
        self.store = store
        self._node = new_node(settings.node)
        self.nodes: Nodes | None = None
        if shared is not None:
            marks = {role: self.tokens.mark(role == "read_only") for role in ("full", "read_only")}
            self.nodes = Nodes(shared, self._node, marks, settings.store_patience)
        self.sessions = Sessions(store, self.tokens)
        self.broker = LogBroker(
            store, settings.broker, patience=settings.store_patience, shared=shared
        )
        # Without an entry point: the routes of this service need the instance.
        self.push = PushBackend(settings.push)
        backends = {"push": self.push, **backends}
        node = settings.node if self.nodes is None else self._node.id
        self.engine = Engine(
            store,
            self.broker,
            backends,
            settings.engine,
            settings.store_patience,
            node,
            self.nodes,
        )
        self.draining = False
        self.is_detached = False
        self._address: str | None = None

    async def wind_down(self) -> None:
        """Before `drain`, give workloads `Settings.drain` seconds to finish, and start no others.
        Where another node lives, streams end at once, and their clients go on there."""
        self.draining = True
        self.engine.hold()
        if self.nodes is not None:
            self.nodes.drain()
            if self.nodes.others:
                self._detach()
        with trio.move_on_after(self.settings.drain):
            await self.engine.idle()

    def drain(self) -> None:
        """Begin the shutdown: refuse new workloads, stop running ones, and end every stream, so
        that its client resumes later. A second call does nothing."""
        self.draining = True
        if self.nodes is not None:
            self.nodes.drain()
        self.engine.drain()
        self._detach()

    def _detach(self) -> None:
        self.is_detached = True
        self.broker.detach()
        self.engine.changes.detach()

    def shutdown_retry(self) -> int:
        """After how many milliseconds the client of a stream that ends is to come back. With other
        nodes, clients come back soon, and not all at once."""
        if self.nodes is not None and self.nodes.others:
            return random.randint(*MOVE_MILLISECONDS)
        return Detached().retry

    def listen_at(self, address: str) -> None:
        """Tell operators where this service answers."""
        self._address = address
        if self.nodes is not None:
            self.nodes.listen_at(address)

    async def list_nodes(self) -> Sequence[Node]:
        """All nodes of the shared store, or this service alone. Raises StoreError."""
        if self.nodes is not None:
            return await self.nodes.list()
        found = self.engine.statistics()
        await trio.lowlevel.checkpoint()
        return [
            replace(
                self._node,
                id=self.engine.node,
                address=self._address,
                seen_at=now(),
                running=found.running,
                queued=found.queued,
                draining=self.draining,
            )
        ]

    def store_wait(self) -> float:
        """Seconds that the oldest write which is not durable yet has waited for the store."""
        beat = 0.0 if self.nodes is None else self.nodes.store_wait
        return max(self.store.statistics().oldest_wait, self.broker.statistics().oldest_wait, beat)

    def statistics(self) -> ServiceStatistics:
        """A snapshot of every part."""
        return ServiceStatistics(
            self.store.statistics(),
            self.broker.statistics(),
            self.broker.searches.statistics(),
            self.engine.statistics(),
            own_log_statistics(),
            NodeStatistics(1, 0, 0) if self.nodes is None else self.nodes.statistics(),
            self.nodes.store.is_up if self.nodes is not None else not self.broker.is_failing,
        )


@asynccontextmanager
async def open_service(
    settings: Settings,
    *,
    store: Store | None = None,
    shared: SharedStore | None = None,
    backends: Mapping[str, Backend] | None = None,
) -> AsyncIterator[Service]:
    """A running service, without its server. `store` is by default SQLite in the data folder. With
    `shared`, or with `Settings.store`, this service is a node among others.

    On exit, the service drains, stops running workloads, and closes its parts from the inside out.
    An exception in any part cancels the others and is raised. Raises NodeLostError once the other
    nodes have taken this one for dead, and TokenMismatchError if they have other tokens. Raises
    DataFolderError if another process uses the data folder, if the folder can't be used, and if its
    files are deleted or replaced meanwhile. Raises StoreError if the store can't be opened or read
    at the start, and if a failing store loses ends of workloads or lines on exit.
    """
    backends = installed_backends() if backends is None else backends
    # A given store may run in virtual time, where nothing waits for a thread.
    hold = FolderLock.held if store is None and shared is None else FolderLock.held_at_once
    if store is None and shared is None and settings.store is not None:
        shared = open_shared(settings.store)
    load = partial(load_tokens, settings, is_shared=shared is not None)
    async with hold(settings.data, load) as (lock, tokens):
        path = settings.data / "trio_logs.db"
        own = SQLiteStore(
            path,
            synchronous=settings.synchronous,
            max_bytes=settings.retention.max_bytes,
            has_reserve=True,
        )
        given = shared or store
        database, store = (path, own) if given is None else (None, given)
        service = Service(settings, tokens, store, backends, shared)
        async with trio.open_nursery() as store_nursery:
            await store_nursery.start(store.run)
            if service.nodes is not None:
                # This node has to live until its ends are stored.
                await store_nursery.start(service.nodes.run)
            store_nursery.start_soon(keep_trimmed, store, settings.retention)
            store_nursery.start_soon(
                watch_store,
                service.broker.statistics,
                service.store_wait,
                "make room on its disk, or repair it" if shared is None else "see to its database",
            )
            await store_nursery.start(lock.watch, database, lambda: own.is_open)
            await store_nursery.start(service.sessions.run)
            async with trio.open_nursery() as broker_nursery:
                await broker_nursery.start(service.broker.run)
                async with trio.open_nursery() as engine_nursery:
                    await engine_nursery.start(service.engine.run)
                    if settings.retention.bounds_records:
                        engine_nursery.start_soon(
                            keep_pruned, service.engine, store, settings.retention
                        )
                    yield service
                    service.drain()
                    ends = await service.engine.shutdown()
                    engine_nursery.cancel_scope.cancel()
                # If ends are lost, the shutdown has waited for the failing store already.
                if not ends:
                    # Embedders may have written to logs of their own.
                    await service.broker.flush()
                lines = service.broker.statistics().lines_unsaved
                broker_nursery.cancel_scope.cancel()
            if service.nodes is not None and service.engine.may_leave:
                await service.nodes.leave()
            store_nursery.cancel_scope.cancel()
        if ends or lines:
            _log.error("the store failed during the shutdown", ends_lost=ends, lines_lost=lines)
            raise StoreError(
                f"the store failed during the shutdown, so {ends} ends of workloads and {lines}"
                " lines are lost; the next start shows these workloads as lost"
            )
