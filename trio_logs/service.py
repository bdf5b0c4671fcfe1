"""The wiring: store, broker, engine and app in nested nurseries, and the order of shutting down."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import structlog
import trio

from .backends import Backend, installed_backends
from .backends.push import PushBackend
from .broker import BrokerStatistics, LogBroker, SearchStatistics
from .engine import Engine, EngineStatistics, keep_pruned, newest_time
from .errors import StoreError
from .folder_lock import FolderLock
from .own_log import OwnLogStatistics
from .records import not_before
from .sessions import Sessions
from .settings import Settings
from .stderr import statistics as own_log_statistics
from .store import Retention, Store, StoreStatistics
from .store.sqlite import SQLiteStore
from .store.steadiness import lines_to_trim
from .tokens import Tokens, load_tokens

__all__ = ["Service", "ServiceStatistics", "open_service"]

_log = structlog.get_logger("trio_logs.service")

TRIM_SECONDS = 10
"""Seconds between two checks of the history against its bounds. Each second in between has a look
at its size."""

WATCH_SECONDS = 1.0
"""Seconds between two checks whether the store takes writes."""

FAILING_SECONDS = 2.0
"""Seconds that a write waits before the service's log says that the store fails."""


@dataclass(frozen=True, slots=True)
class ServiceStatistics:
    """A snapshot of every part that holds state."""

    store: StoreStatistics
    broker: BrokerStatistics
    searches: SearchStatistics
    engine: EngineStatistics
    own_log: OwnLogStatistics


class Service:
    """The parts of a running service. `open_service` makes it.

    `draining`: the service is shutting down.
    """

    def __init__(
        self, settings: Settings, tokens: Tokens, store: Store, backends: Mapping[str, Backend]
    ) -> None:
        self.settings = settings
        self.tokens = tokens
        self.token = tokens.full
        self.store = store
        self.sessions = Sessions(store, self.tokens)
        self.broker = LogBroker(store, settings.broker, patience=settings.store_patience)
        # Without an entry point: the routes of this service need the instance.
        self.push = PushBackend(settings.push)
        backends = {"push": self.push, **backends}
        self.engine = Engine(store, self.broker, backends, settings.engine, settings.store_patience)
        self.draining = False

    def drain(self) -> None:
        """Begin the shutdown: refuse new workloads, stop running ones, and end every stream, so
        that its client resumes later. A second call does nothing."""
        self.draining = True
        self.engine.drain()
        self.broker.detach()
        self.engine.changes.detach()

    def store_wait(self) -> float:
        """Seconds that the oldest write which is not durable yet has waited for the store."""
        return max(self.store.statistics().oldest_wait, self.broker.statistics().oldest_wait)

    def statistics(self) -> ServiceStatistics:
        """A snapshot of every part."""
        return ServiceStatistics(
            self.store.statistics(),
            self.broker.statistics(),
            self.broker.searches.statistics(),
            self.engine.statistics(),
            own_log_statistics(),
        )


@asynccontextmanager
async def open_service(
    settings: Settings,
    *,
    store: Store | None = None,
    backends: Mapping[str, Backend] | None = None,
) -> AsyncIterator[Service]:
    """A running service, without its server. `store` is by default SQLite in the data folder.

    On exit, the service drains, stops running workloads, and closes its parts from the inside out.
    An exception in any part cancels the others and is raised. Raises DataFolderError if another
    process uses the data folder, if the folder can't be used, and if its files are deleted or
    replaced meanwhile. Raises StoreError if the store can't be opened or read at the
    start, and if a failing store loses ends of workloads or lines on exit.
    """
    backends = installed_backends() if backends is None else backends
    load = partial(load_tokens, settings)
    async with FolderLock.held(settings.data, load) as (lock, tokens):
        path = settings.data / "trio_logs.db"
        own = SQLiteStore(
            path,
            synchronous=settings.synchronous,
            max_bytes=settings.retention.max_bytes,
            has_reserve=True,
        )
        database, store = (path, own) if store is None else (None, store)
        service = Service(settings, tokens, store, backends)
        async with trio.open_nursery() as store_nursery:
            await store_nursery.start(store.run)
            store_nursery.start_soon(_keep_trimmed, store, settings.retention)
            store_nursery.start_soon(_watch_store, service)
            store_nursery.start_soon(lock.watch, database, lambda: own.is_open)
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
            store_nursery.cancel_scope.cancel()
        if ends or lines:
            _log.error("the store failed during the shutdown", ends_lost=ends, lines_lost=lines)
            raise StoreError(
                f"the store failed during the shutdown, so {ends} ends of workloads and {lines}"
                " lines are lost; the next start shows these workloads as lost"
            )


async def _keep_trimmed(store: Store, retention: Retention) -> None:
    """Keep the history within its bounds until cancelled. A failing store only delays this."""
    failing = doubted = noted = False
    with ExitStack() as stack:
        while True:
            try:
                if not noted:
                    # Before the first removal: the clock may have been set meanwhile.
                    stack.enter_context(not_before(await newest_time(store)))
                    noted = True
                bounds = await lines_to_trim(store, retention)
                if bounds != retention and not doubted:
                    _log.warning(
                        "more than a tenth of the history is too old at once: it stays until the"
                        " clock has been steady for an hour"
                    )
                doubted = bounds != retention
                while removed := await store.trim(bounds):
                    _log.debug("history trimmed", batches=removed)
            except StoreError as error:
                if not failing:
                    _log.warning("history not trimmed: trying again", error=str(error))
                failing = True
            else:
                failing = False
            for _ in range(TRIM_SECONDS):
                await trio.sleep(1)
                if (
                    retention.max_bytes is not None
                    and store.statistics().bytes > retention.max_bytes
                ):
                    break


async def _watch_store(service: Service) -> None:
    """Log one line when the store begins to fail, and one when it is back."""
    failing = False
    while True:
        await trio.sleep(WATCH_SECONDS)
        found = service.broker.statistics()
        if failing and service.store_wait() == 0:
            failing = False
            _log.warning("the store is back")
        elif not failing and service.store_wait() > FAILING_SECONDS:
            failing = True
            _log.error(
                "the store takes no writes: make room on its disk, or repair it",
                error=found.store_error or "it does not answer",
                waiting_seconds=round(service.store_wait(), 1),
                logs=found.logs_failing,
            )
